//! A provider actor's record: one line of the log for everything that its breakers were told, in the order in which they
//! were told it, and for every move that followed. With the thresholds, which are on record too, the lines are all that a
//! replay needs to make the same moves again (`stagedoor tune`). Written on the actor's own thread, never a request's.

use std::sync::Arc;

use super::ledger::Ledger;
use super::routes::Routes;
use crate::base::{Moment, request_id};
use crate::clock::{Clock, seeded_rng};
use crate::health::{Admitted, Force, Moved, Outcome, ProviderHealth, Reason, Told, Transition};
use crate::ledger;
use crate::routing;
use crate::telemetry::Audience;
use crate::tuning;

/// A random number from -1 to 1, in steps that the record can hold.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Draw(i32);

impl Draw {
    /// Draws one.
    pub(super) fn new(rng: &mut impl rand::RngExt) -> Self {
        Self(rng.random_range(-tuning::DRAWN..=tuning::DRAWN))
    }

    /// The number.
    pub(super) fn value(self) -> f64 {
        f64::from(self.0) / f64::from(tuning::DRAWN)
    }
}

/// Puts the routing table on record: whom a request could have been sent to.
pub fn put_on_record(routes: &Routes) {
    for (name, route) in routes.served() {
        let retry = &route.chain.retry;
        tracing::info!(
            model = name,
            chain = tuning::chain_line(&route.chain),
            attempts = retry.attempts,
            same_target = retry.same_target,
            backoff_ms = retry.backoff.as_millis() as u64,
            budget_ratio = retry.budget_ratio,
            budget_min = retry.budget_min,
            "chain"
        );
    }
}

/// See the module's text.
#[derive(Debug)]
pub(super) struct Chronicle {
    slot: Arc<routing::Provider>,
    clock: Clock,
    /// Where moves are kept, too.
    ledger: Option<Arc<Ledger>>,
    /// Who is told of them.
    audience: Arc<Audience>,
    settings: String,
    /// Number of the last thing told.
    seq: u64,
    /// The latest time that was let pass: windows empty by it, whatever the next call's own time is.
    seen: Moment,
}

/// Puts the thresholds on record, and whom they are for.
macro_rules! in_force {
    ($own:expr, $health:expr, $at:expr, $message:literal) => {{
        let models: Vec<_> = $health.targets.iter().map(|target| &*target.model).collect();
        let targets = $health.targets.iter().map(|target| (&*target.model, target.vitals.published()));
        let resumed = tuning::resumed_line(std::iter::once(("", $health.vitals.published())).chain(targets));
        tracing::info!(
            seq = $own.seq,
            provider = &*$own.slot.name,
            models = models.join(" "),
            thresholds = tuning::line($health.breaker.thresholds()),
            settings = $own.settings,
            when_all_open = $own.slot.when_all_open.name(),
            resumed = Some(resumed).filter(|line| !line.is_empty()),
            seen_us = $own.seen.micros(),
            at_us = $at.micros(),
            at_unix_us = unix($own.clock, $at),
            $message
        );
    }};
}

impl Chronicle {
    /// Opens the record with the thresholds in force.
    pub(super) fn open(
        slot: Arc<routing::Provider>,
        health: &ProviderHealth,
        clock: Clock,
        ledger: Option<Arc<Ledger>>,
        audience: Arc<Audience>,
    ) -> Self {
        let seen = clock.now();
        let own = Self { settings: tuning::fingerprint(health.breaker.thresholds()), slot, clock, ledger, audience, seq: 0, seen };
        in_force!(own, health, seen, "provider watched");
        own
    }

    /// Other settings are in force from here on. What the breakers knew stays.
    pub(super) fn retuned(&mut self, slot: Arc<routing::Provider>, health: &ProviderHealth, now: Moment) {
        self.seq += 1;
        self.slot = slot;
        self.settings = tuning::fingerprint(health.breaker.thresholds());
        in_force!(self, health, now, "provider retuned");
        self.passed(now);
    }

    /// An operator's order, which also forgets what was counted, and the moves that it made.
    pub(super) fn ordered(&mut self, order: (Force, Option<&str>), moved: &[Moved], health: &ProviderHealth, now: Moment) {
        self.seq += 1;
        let (force, upstream_model) = order;
        tracing::warn!(
            seq = self.seq,
            provider = &*self.slot.name,
            upstream_model,
            action = force.name(),
            at_us = now.micros(),
            at_unix_us = unix(self.clock, now),
            "operator ordered"
        );
        self.moved(moved, Draw::default(), health, now);
        self.passed(now);
    }

    /// Time was let pass.
    pub(super) fn passed(&mut self, now: Moment) {
        self.seen = self.seen.max(now);
    }

    /// The end of a call, before it is counted.
    pub(super) fn attempt(&mut self, told: &Told, health: &ProviderHealth) {
        self.seq += 1;
        let started = told.begun();
        let kind = match &told.outcome {
            Outcome::Transient(failure) => Some(failure.name()),
            _ => None,
        };
        let wait_ms = match &told.outcome {
            Outcome::RateLimited { wait, .. } => wait.map(|wait| wait.as_millis() as u64),
            _ => None,
        };
        macro_rules! line {
            ($level:ident) => {
                tracing::$level!(
                    seq = self.seq,
                    request_id = %told.origin.request_id,
                    attempt = told.origin.attempt,
                    model = &*told.origin.model,
                    stream = told.origin.stream,
                    hedge = told.origin.hedge,
                    provider = &*self.slot.name,
                    upstream_model = &*told.origin.target,
                    key = told.origin.key.as_deref(),
                    outcome = told.outcome.label(),
                    kind,
                    wait_ms,
                    latency_ms = told.latency.as_millis() as u64,
                    first_token_ms = told.first_token.map(|time| time.as_millis() as u64),
                    first_token_limit_ms = told.first_token_limit.as_millis() as u64,
                    slow = told.is_slow(health.breaker.thresholds()),
                    start_us = started.micros(),
                    start_unix_us = unix(self.clock, started),
                    end_us = told.at.micros(),
                    first_token_us = told.first_token.map(|time| time.as_micros() as u64),
                    state_in = told.by_target.pass.name(),
                    epoch = told.by_target.epoch,
                    provider_state_in = told.by_provider.pass.name(),
                    provider_epoch = told.by_provider.epoch,
                    seen_us = self.seen.micros(),
                    error = told.message,
                    "attempt"
                )
            };
        }
        match &told.outcome {
            Outcome::Ok | Outcome::CallerFault | Outcome::TooLong | Outcome::Abandoned => line!(info),
            Outcome::Transient(_) | Outcome::RateLimited { .. } | Outcome::KeyFault { .. } | Outcome::ModelMissing => line!(warn),
        }
    }

    /// What a probe has shown by its first content, before it is counted.
    pub(super) fn answered(&mut self, said: &super::Answered, now: Moment) {
        self.seq += 1;
        let epoch = |by: &Option<Admitted>| by.as_ref().map(|by| by.epoch);
        tracing::info!(
            seq = self.seq,
            request_id = %said.origin.request_id,
            provider = &*self.slot.name,
            upstream_model = &*said.origin.target,
            epoch = epoch(&said.by_target),
            provider_epoch = epoch(&said.by_provider),
            at_us = now.micros(),
            seen_us = self.seen.micros(),
            "probe answered"
        );
        self.passed(now);
    }

    /// Moves that time alone has made: something that the breakers were told, too.
    pub(super) fn ticked(&mut self, moved: &[Moved], health: &ProviderHealth, now: Moment) {
        if !moved.is_empty() {
            self.seq += 1;
            self.moved(moved, Draw::default(), health, now);
        }
        self.passed(now);
    }

    /// The moves that followed from what was told last.
    pub(super) fn moved(&self, moved: &[Moved], draw: Draw, health: &ProviderHealth, at: Moment) {
        for Moved { target, transition } in moved {
            let drawn = transition.period.map(|_| draw.0);
            let period_ms = transition.period.map(|period| period.as_millis() as u64);
            let period_us = transition.period.map(|period| period.as_micros() as u64);
            let hard = transition.reason == Reason::Hard;
            macro_rules! line {
                ($level:ident, $message:literal) => {
                    tracing::$level!(
                        seq = self.seq,
                        provider = &*self.slot.name,
                        model = model(health, *target),
                        from = transition.from.name(),
                        to = transition.to.name(),
                        reason = transition.reason.name(),
                        period_ms,
                        period_us,
                        draw = drawn,
                        settings = self.settings,
                        at_us = at.micros(),
                        at_unix_us = unix(self.clock, at),
                        $message
                    )
                };
            }
            self.keep(health, *target, transition, at);
            if hard { line!(error, "breaker moved: this won't mend by itself") } else { line!(warn, "breaker moved") }
        }
    }
}

impl Chronicle {
    /// Tells of a move, and puts it into the ledger.
    fn keep(&self, health: &ProviderHealth, target: Option<usize>, transition: &Transition, at: Moment) {
        let time = self.clock.wall_at(at);
        let moved = ledger::Transition {
            id: request_id(time, &mut seeded_rng()),
            time_us: time.as_micros() as u64,
            seq: self.seq,
            provider: Arc::clone(&self.slot.name),
            model: model(health, target).to_owned(),
            from: transition.from.name().into(),
            to: transition.to.name().into(),
            reason: transition.reason.name().into(),
            period_us: transition.period.map(|period| period.as_micros() as u64),
            settings: self.settings.clone(),
        };
        self.audience.moved(&moved);
        if let Some(ledger) = &self.ledger {
            ledger.put(ledger::Row::Transition(Box::new(moved)));
        }
    }
}

fn unix(clock: Clock, at: Moment) -> u64 {
    clock.wall_at(at).as_micros() as u64
}

/// The target's own name; empty for the provider's own breaker.
fn model(health: &ProviderHealth, target: Option<usize>) -> &str {
    target.and_then(|place| health.targets.get(place)).map_or("", |target| &*target.model)
}

#[cfg(test)]
pub(crate) mod hour;
