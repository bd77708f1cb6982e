//! The router actor: one per HTTP worker, on that worker's own thread. Answers picks from the board, and sends the ends of
//! its worker's calls to the provider actors, batch by batch.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, AsyncContext, Context, Handler, Message, MessageResult};
use rand::rngs::SmallRng;

use super::ends::Ends;
use crate::clock::{Clock, seeded_rng};
use crate::routing::{Ask, Chain, Choice, Needs, NoTarget, Tried, Turns, pick};

/// Picks that may wait on one worker.
const MAILBOX: usize = 16_384;

/// How long a success may wait for others.
const BATCH: Duration = Duration::from_millis(50);

/// See the module's text.
#[derive(Debug)]
pub struct Router {
    clock: Clock,
    rng: SmallRng,
    turns: Turns,
    ends: Rc<Ends>,
}

impl Router {
    /// A router that sends these ends.
    pub fn new(clock: Clock, ends: Rc<Ends>) -> Self {
        Self { clock, rng: seeded_rng(), turns: Turns::default(), ends }
    }
}

impl Actor for Router {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(MAILBOX);
        ctx.run_interval(BATCH, |router, _| router.ends.send_all());
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

/// Sends everything that waits.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Flush;

impl Handler<Flush> for Router {
    type Result = ();

    fn handle(&mut self, _: Flush, _: &mut Self::Context) {
        self.ends.send_all();
    }
}
