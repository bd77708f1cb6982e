//! The router actor: one per HTTP worker, on that worker's own thread. Answers picks from the board and carries the ends of
//! calls to the provider actors: failures at once, successes in batches, since telling another thread's actor after each
//! call would cost a third of a request.

use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, AsyncContext, Context, Handler, Message, MessageResult};
use rand::rngs::SmallRng;

use super::cast::Cast;
use super::provider::Reports;
use crate::clock::{Clock, seeded_rng};
use crate::health::{Outcome, Pass, Told};
use crate::routing::{Ask, Chain, Choice, Needs, NoTarget, Tried, Turns, pick};
use crate::telemetry::Metrics;

/// Picks and reports that may wait on one worker.
const MAILBOX: usize = 16_384;

/// How long a success may wait for others.
const BATCH: Duration = Duration::from_millis(50);

/// Successes that are sent before their time, so that a batch stays small.
const FULL: usize = 512;

/// See the module's text.
#[derive(Debug)]
pub struct Router {
    clock: Clock,
    rng: SmallRng,
    turns: Turns,
    metrics: Arc<Metrics>,
    cast: Arc<Cast>,
    /// What waits to be told, by the provider's place.
    waiting: Vec<Vec<Told>>,
}

impl Router {
    /// A router that tells the provider actors.
    pub fn new(clock: Clock, cast: Arc<Cast>, metrics: Arc<Metrics>) -> Self {
        Self { clock, rng: seeded_rng(), turns: Turns::default(), metrics, cast, waiting: Vec::new() }
    }

    fn send_all(&mut self) {
        for place in 0..self.waiting.len() {
            self.send(place);
        }
    }

    fn send(&mut self, place: usize) {
        let waiting = &mut self.waiting[place];
        if waiting.is_empty() {
            return;
        }
        let count = waiting.len() as u64;
        let reports = Reports(std::mem::take(waiting));
        if !self.cast.tell(place, reports) {
            self.metrics.dropped_reports.inc_by(count);
        }
    }
}

impl Drop for Router {
    fn drop(&mut self) {
        // Ends of calls that it takes along.
        let lost = self.waiting.iter().map(|waiting| waiting.len() as u64).sum();
        self.metrics.dropped_reports.inc_by(lost);
    }
}

impl Actor for Router {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(MAILBOX);
        // Always ticking also spares each call a system call: awc starts a timer of 500 ms per request, and tokio wakes its
        // own thread for a timer that is due before all others.
        ctx.run_interval(BATCH, |router, _| router.send_all());
    }
}

/// A request for a target: see [`Ask`].
#[derive(Debug, Message)]
#[rtype(result = "Result<Choice, NoTarget>")]
pub struct Pick {
    /// The pools in their order.
    pub chain: Arc<Chain>,
    /// What the request has used up.
    pub tried: Tried,
    /// What it needs.
    pub needs: Needs,
    /// A window that was too small for it.
    pub larger_than: Option<u64>,
    /// Tokens that its prompt has at the least.
    pub prompt: u64,
    /// Tokens that it may cost.
    pub tokens: u64,
    /// Whether it is compared by first-token time.
    pub stream: bool,
    /// The one target to be asked again.
    pub only: Option<usize>,
    /// Whether an open target may be tried where nothing else is left.
    pub last_resort: bool,
}

impl Pick {
    /// The choice itself, by the same code wherever it runs.
    pub fn decide(&self, clock: Clock, turns: &mut Turns, rng: &mut SmallRng) -> Result<Choice, NoTarget> {
        let ask = Ask {
            chain: &self.chain,
            tried: &self.tried,
            needs: self.needs,
            larger_than: self.larger_than,
            prompt: self.prompt,
            tokens: self.tokens,
            only: self.only,
            stream: self.stream,
            last_resort: self.last_resort,
            now: clock.now(),
        };
        pick(&ask, turns, rng)
    }
}

impl Handler<Pick> for Router {
    type Result = MessageResult<Pick>;

    fn handle(&mut self, ask: Pick, _: &mut Self::Context) -> Self::Result {
        MessageResult(ask.decide(self.clock, &mut self.turns, &mut self.rng))
    }
}

/// The end of a call, for the provider at `place`.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Tell {
    /// The provider's place.
    pub place: usize,
    /// The end.
    pub told: Told,
}

impl Handler<Tell> for Router {
    type Result = ();

    fn handle(&mut self, Tell { place, told }: Tell, _: &mut Self::Context) {
        // What moves a breaker can't wait, and takes along the successes before it, so that "in a row" means what happened.
        let routine = told.outcome == Outcome::Ok && told.by_target.pass == Pass::Normal && told.by_provider.pass == Pass::Normal;
        if place >= self.waiting.len() {
            self.waiting.resize_with(place + 1, Vec::new);
        }
        let waiting = &mut self.waiting[place];
        waiting.push(told);
        if !routine || waiting.len() >= FULL {
            self.send(place);
        }
    }
}

/// Sends everything that waits.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Flush;

impl Handler<Flush> for Router {
    type Result = ();

    fn handle(&mut self, _: Flush, _: &mut Self::Context) {
        self.send_all();
    }
}
