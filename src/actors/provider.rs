//! The provider actor: takes the ends of its provider's calls in order, puts them on record, publishes what follows, tells
//! every move of a breaker to the log and the metrics. The sole writer of its provider's health.

mod description;
mod orders;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, AsyncContext, Context, Handler, Message, WrapFuture};
use rand::rngs::SmallRng;

pub use self::description::{Describe, Description, KeyState, ModelState};
pub use self::orders::{Order, Retune};
use super::cast::Waiting;
use super::chronicle::{Chronicle, Draw};
use super::ledger::Ledger;
use crate::base::Moment;
use crate::clock::{Clock, seeded_rng};
use crate::health::{Admitted, Moved, Origin, Outcome, ProviderHealth, Roster, Seat, Tally, Told};
use crate::routing;
use crate::settings;
use crate::telemetry::Metrics;

/// Reports that may wait for the actor: about a second's worth of a busy gateway, in batches.
const MAILBOX: usize = 1024;

/// How often time is let pass, so that an open period ends in /health and the metrics without a call.
const TICK: Duration = Duration::from_millis(100);

/// Why a target is degraded without a move of its breaker, by the setting that says when.
const SLOW: &str = "slow_ratio";

/// After so long at its mailbox, it lets the other actors of its thread, and its own timer, have a turn: actix asks a mailbox
/// until it is empty, and one that is told more than it can take never is.
const TURN: Duration = Duration::from_millis(2);

/// See the module's text.
#[derive(Debug)]
pub struct Provider {
    slot: Arc<routing::Provider>,
    health: ProviderHealth,
    chronicle: Chronicle,
    clock: Clock,
    metrics: Arc<Metrics>,
    rng: SmallRng,
    /// Models that the log says are slow.
    slow: BTreeSet<Arc<str>>,
    /// When its turn began.
    turn: Moment,
    /// What its mailbox holds of what the cast is told.
    pub(super) waiting: Waiting,
}

impl Provider {
    /// The actor of a provider and its targets, which goes on where they were published last.
    pub fn new(
        settings: &settings::Provider,
        slot: Arc<routing::Provider>,
        targets: &[Arc<routing::Target>],
        clock: Clock,
        metrics: Arc<Metrics>,
        ledger: Option<Arc<Ledger>>,
    ) -> Self {
        let now = clock.now();
        let vitals = Arc::clone(&slot.vitals);
        let health = ProviderHealth::new(&settings.breaker, settings.key_quarantine, vitals, roster(&slot, targets), now);
        let chronicle = Chronicle::open(Arc::clone(&slot), &health, clock, ledger, Arc::clone(&metrics.audience));
        Self { slot, health, chronicle, clock, metrics, rng: seeded_rng(), slow: BTreeSet::new(), turn: now, waiting: Waiting::default() }
    }

    fn tick(&mut self, now: Moment) {
        let moved = self.health.tick(now);
        self.chronicle.ticked(&moved, &self.health, now);
        self.count(&moved);
        self.tell_slow(now);
    }

    /// Says in the log whom others are preferred to since its streams begin late, and who is no more: that moves no breaker, but
    /// calls.
    fn tell_slow(&mut self, now: Moment) {
        let Self { health, slow, slot, .. } = self;
        let is_slow = |model: &str| health.targets.iter().any(|target| &*target.model == model && target.vitals.degraded());
        slow.retain(|model| {
            let stays = is_slow(model);
            if !stays {
                tracing::info!(provider = &*slot.name, upstream_model = &**model, "target no longer ranked as slow");
            }
            stays
        });
        for target in health.targets.iter_mut().filter(|target| target.vitals.degraded()) {
            if slow.insert(Arc::clone(&target.model)) {
                let Tally { calls, slow, .. } = target.breaker.tally(now);
                tracing::warn!(
                    provider = &*slot.name,
                    upstream_model = &*target.model,
                    calls,
                    slow,
                    reason = SLOW,
                    "target slow: ranked last"
                );
            }
        }
    }

    fn count(&self, moved: &[Moved]) {
        for Moved { target, transition } in moved {
            let model = target.and_then(|place| self.health.targets.get(place)).map_or("", |target| &*target.model);
            self.metrics.transition(&self.slot.name, model, transition);
        }
    }
}

/// Who belongs to it.
fn roster(slot: &routing::Provider, targets: &[Arc<routing::Target>]) -> Roster {
    let seat = |target: &Arc<routing::Target>| Seat {
        model: Arc::clone(&target.model),
        vitals: Arc::clone(&target.vitals),
        rests: Arc::clone(&target.key_rests),
    };
    Roster { targets: targets.iter().map(seat).collect(), keys: slot.keys.iter().map(|key| Arc::clone(&key.rest)).collect() }
}

impl Actor for Provider {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(MAILBOX);
        ctx.run_interval(TICK, |actor, _| actor.tick(actor.clock.now()));
    }
}

/// Ends of calls, oldest first.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Reports(pub Vec<Told>);

impl Handler<Reports> for Provider {
    type Result = ();

    fn handle(&mut self, Reports(told): Reports, ctx: &mut Self::Context) {
        self.waiting.heard();
        let now = self.clock.now();
        if now.since(self.turn) > TURN {
            self.turn = now;
            ctx.wait(tokio::task::yield_now().into_actor(self));
        }
        for told in told {
            let at = told.at;
            let missing = (told.outcome == Outcome::ModelMissing).then(|| Arc::clone(&told.target));
            let draw = Draw::new(&mut self.rng);
            self.chronicle.attempt(&told, &self.health);
            let moved = self.health.record(told, draw.value());
            self.chronicle.moved(&moved, draw, &self.health, at);
            self.count(&moved);
            if let Some(target) = missing.and_then(|vitals| self.health.known(&vitals)) {
                tracing::error!(provider = &*self.slot.name, model = &*target.model, "the provider says that it has no such model");
            }
        }
    }
}

/// A probe's stream has its first content.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Answered {
    /// Whose call it was.
    pub origin: Origin,
    /// How the provider's breaker let it through, if with a permit.
    pub by_provider: Option<Admitted>,
    /// How the target's breaker let it through, if with a permit.
    pub by_target: Option<Admitted>,
}

impl Handler<Answered> for Provider {
    type Result = ();

    fn handle(&mut self, said: Answered, _: &mut Self::Context) {
        self.waiting.heard();
        let now = self.clock.now();
        self.chronicle.answered(&said, now);
        let moved = self.health.answered(said.by_provider, said.by_target, now);
        self.chronicle.moved(&moved, Draw::default(), &self.health, now);
        self.count(&moved);
    }
}

/// An active probe was answered well.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct ProbedWell;

impl Handler<ProbedWell> for Provider {
    type Result = ();

    fn handle(&mut self, _: ProbedWell, _: &mut Self::Context) {
        self.waiting.heard();
        let now = self.clock.now();
        let moved = self.health.probed_well(now);
        self.chronicle.ticked(&moved, &self.health, now);
        self.count(&moved);
    }
}
