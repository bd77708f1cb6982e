//! The health of one provider as a whole: its own breaker, its targets' breakers, its keys. The machine inside a provider
//! actor: it takes the ends of calls in order and publishes what follows from them.

use std::sync::Arc;
use std::time::Duration;

use super::breaker::{Breaker, Report};
use super::ewma::Ewma;
use super::key::{KeyHealth, Rest};
use super::outcome::{Failure, Outcome, Vote};
use super::quantiles::Quantiles;
use super::thresholds::Thresholds;
use super::transition::{Reason, State, Transition};
use super::vitals::{Admitted, Vitals};
use super::window::Window;
use crate::base::Moment;

/// Whose call it was, by names that outlive a reload: for the record, never for a decision.
#[derive(Clone, Debug, Default)]
pub struct Origin {
    /// The request's id.
    pub request_id: Arc<str>,
    /// The public model that was asked for.
    pub model: Arc<str>,
    /// Which of the request's calls it was, from 1.
    pub attempt: u32,
    /// Whether a stream was asked for.
    pub stream: bool,
    /// Whether it was made beside another, since that was late.
    pub hedge: bool,
    /// The provider's own name for the model that was called.
    pub target: Arc<str>,
    /// The name of the key that was sent.
    pub key: Option<Arc<str>>,
}

/// The end of one call, with what it held: permits are given back once the end has been counted.
#[derive(Debug)]
pub struct Told {
    /// Whose call it was.
    pub origin: Origin,
    /// The target, by what is published of it: places may have changed by a reload since the call began.
    pub target: Arc<Vitals>,
    /// The key, by its rest as a whole, if one was sent.
    pub key: Option<Arc<Rest>>,
    /// How it ended.
    pub outcome: Outcome,
    /// When it ended.
    pub at: Moment,
    /// From the call's start to its end.
    pub latency: Duration,
    /// From the call's start to its first content; streams only.
    pub first_token: Option<Duration>,
    /// The limit that its first token had: `timeouts.first_token`.
    pub first_token_limit: Duration,
    /// What went wrong, in words without secrets.
    pub message: String,
    /// How the provider's breaker let it through.
    pub by_provider: Admitted,
    /// How the target's breaker let it through.
    pub by_target: Admitted,
}

impl Told {
    /// When the call began.
    pub fn begun(&self) -> Moment {
        Moment::from_micros(self.at.micros().saturating_sub(self.latency.as_micros() as u64))
    }

    /// Whether its first token came, or would have come, late: [`Thresholds::slow_after`].
    pub fn is_slow(&self, thresholds: &Thresholds) -> bool {
        let limit = thresholds.slow_after(self.first_token_limit);
        // A limit that cut the call is later than what is slow.
        let timed_out = self.outcome == Outcome::Transient(Failure::FirstTokenTimeout);
        timed_out || self.first_token.is_some_and(|time| time > limit)
    }
}

/// A move of one of the provider's breakers.
#[derive(Clone, Debug, PartialEq)]
pub struct Moved {
    /// The target's place; None: the provider's own breaker.
    pub target: Option<usize>,
    /// The move.
    pub transition: Transition,
}

/// The last failure, for /health.
#[derive(Clone, Debug)]
pub struct LastError {
    /// When.
    pub at: Moment,
    /// The failure's name.
    pub kind: String,
    /// A sentence without secrets.
    pub message: String,
}

/// One target's part.
#[derive(Debug)]
pub struct TargetHealth {
    /// The provider's own name for the model.
    pub model: Arc<str>,
    /// Its breaker.
    pub breaker: Breaker,
    /// What is published of it.
    pub vitals: Arc<Vitals>,
    /// Calls since the start that ended with a success or a failure.
    pub calls: u64,
    /// Of those, failures.
    pub failures: u64,
    /// Each key's rest for this model, in the pool's order; one where none is sent.
    keys: Vec<(KeyHealth, Arc<Rest>)>,
    latency: Ewma,
    first_token: Ewma,
    tripped: Option<Moment>,
}

impl TargetHealth {
    /// The rest of the key at `place` for this model.
    pub fn rest(&self, place: usize) -> Option<&Rest> {
        self.keys.get(place).map(|(_, rest)| &**rest)
    }
}

/// See the module's text.
#[derive(Debug)]
pub struct ProviderHealth {
    /// Its own breaker, moved by failures that accuse the whole provider.
    pub breaker: Breaker,
    /// What is published of it.
    pub vitals: Arc<Vitals>,
    /// Its targets, by their place.
    pub targets: Vec<TargetHealth>,
    /// Calls of the last window, all targets.
    pub window: Window,
    /// Failures in a row, all targets.
    pub consecutive: u32,
    /// Latency of whole answers and streams.
    pub latency: Quantiles,
    /// First-token time of streams.
    pub first_token: Quantiles,
    /// The last failure.
    pub last_error: Option<LastError>,
    keys: Vec<(KeyHealth, Arc<Rest>)>,
    quarantine: Duration,
}

impl ProviderHealth {
    /// Takes a call's end and publishes what follows. `draw` is a random number from -1 to 1 for the jitter.
    pub fn record(&mut self, told: Told, draw: f64) -> Vec<Moved> {
        let mut moved = Vec::new();
        // None: it left by a reload.
        if let Some(target) = self.place_of(&told.target) {
            self.note(target, &told);
            self.key_outcome(target, &told);
            self.target_outcome(target, &told, draw, &mut moved);
        }
        self.provider_outcome(&told, draw, &mut moved);
        // Only now are the permits given back: what they showed has been published.
        drop(told);
        moved
    }

    /// The target whose vitals these are; None where it left by a reload.
    pub fn known(&self, vitals: &Arc<Vitals>) -> Option<&TargetHealth> {
        self.targets.get(self.place_of(vitals)?)
    }

    fn place_of(&self, vitals: &Arc<Vitals>) -> Option<usize> {
        self.targets.iter().position(|target| Arc::ptr_eq(&target.vitals, vitals))
    }

    fn note(&mut self, place: usize, told: &Told) {
        let slow = told.is_slow(self.breaker.thresholds());
        let failed = match told.outcome.vote() {
            Vote::Success => false,
            Vote::Failure | Vote::HardFailure => true,
            Vote::Alive | Vote::None => {
                self.note_error(told);
                return;
            }
        };
        self.window.record(failed, slow, told.at);
        let target = &mut self.targets[place];
        target.calls += 1;
        target.failures += u64::from(failed);
        if failed {
            self.consecutive = self.consecutive.saturating_add(1);
        } else {
            self.consecutive = 0;
            self.latency.record(told.latency, told.at);
            target.latency.observe(told.latency, told.at);
            if let Some(first_token) = told.first_token {
                self.first_token.record(first_token, told.at);
                target.first_token.observe(first_token, told.at);
            }
            target.vitals.publish_time(told.first_token.is_some(), told.first_token.unwrap_or(told.latency), told.at);
            target.vitals.publish_latency(&target.latency, &target.first_token, told.at);
            target.vitals.hint().served(told.at);
            self.vitals.hint().served(told.at);
        }
        self.note_error(told);
    }

    fn note_error(&mut self, told: &Told) {
        let kind = match &told.outcome {
            Outcome::Ok | Outcome::Abandoned | Outcome::CallerFault | Outcome::TooLong => return,
            Outcome::Transient(failure) if failure.is_ours() => return,
            Outcome::Transient(failure) => failure.name(),
            Outcome::RateLimited { .. } | Outcome::KeyFault { .. } | Outcome::ModelMissing => told.outcome.label().to_owned(),
        };
        self.last_error = Some(LastError { at: told.at, kind, message: told.message.clone() });
    }

    fn key_outcome(&mut self, target: usize, told: &Told) {
        let place = match &told.key {
            Some(key) => self.keys.iter().position(|(_, rest)| Arc::ptr_eq(rest, key)),
            // Without a key the target itself is what rests.
            None => self.keys.is_empty().then_some(0),
        };
        // None: the key left by a reload.
        let Some(place) = place else { return };
        let Some((own, own_rest)) = self.targets[target].keys.get_mut(place) else { return };
        let whole = self.keys.get_mut(place);
        match (&told.outcome, whole) {
            (Outcome::RateLimited { wait, whole_key: true }, Some((whole, rest))) => whole.limited(*wait, told.at, rest),
            (Outcome::RateLimited { wait, .. }, _) => own.limited(*wait, told.at, own_rest),
            (Outcome::KeyFault { sure }, Some((whole, rest))) => whole.refused(*sure, self.quarantine, told.at, rest),
            (Outcome::KeyFault { sure }, None) => own.refused(*sure, self.quarantine, told.at, own_rest),
            (Outcome::Ok | Outcome::CallerFault | Outcome::TooLong, whole) => {
                own.served(own_rest);
                if let Some((whole, rest)) = whole {
                    whole.served(rest);
                }
            }
            (Outcome::Transient(_) | Outcome::ModelMissing | Outcome::Abandoned, _) => {}
        }
    }

    fn target_outcome(&mut self, place: usize, told: &Told, draw: f64, moved: &mut Vec<Moved>) {
        let slow = told.is_slow(self.breaker.thresholds());
        let target = &mut self.targets[place];
        // One name behind a wildcard says nothing of the others.
        if told.outcome == Outcome::ModelMissing && &*target.model != "*" && target.vitals.absence().concerns(told.begun()) {
            target.vitals.absence().decide();
        }
        let report = Report { vote: told.outcome.vote(), slow, pass: told.by_target.pass, epoch: told.by_target.epoch };
        let mut moves = Vec::new();
        target.breaker.record(report, told.at, draw, &mut moves);
        target.vitals.publish(&mut target.breaker, told.at);
        if moves.iter().any(|step| step.from == State::Closed && step.to == State::Open) {
            target.tripped = Some(told.at);
        }
        moved.extend(moves.into_iter().map(|transition| Moved { target: Some(place), transition }));
    }

    fn provider_outcome(&mut self, told: &Told, draw: f64, moved: &mut Vec<Moved>) {
        let vote = match (&told.outcome, told.outcome.vote()) {
            (Outcome::Transient(failure), vote) if failure.accuses_provider() || failure.is_ours() => vote,
            // It spoke with us, whatever it said.
            (Outcome::Transient(_), _) | (_, Vote::Success) => Vote::Success,
            (_, vote) => vote,
        };
        let report = Report { vote, slow: false, pass: told.by_provider.pass, epoch: told.by_provider.epoch };
        let mut moves = Vec::new();
        self.breaker.record(report, told.at, draw, &mut moves);
        let span = self.breaker.thresholds().window;
        let tripped = self.targets.iter().filter(|t| t.tripped.is_some_and(|at| told.at.since(at) <= span));
        if moved.iter().any(|m| m.transition.from == State::Closed) && tripped.count() >= 2 {
            self.breaker.trip(Reason::SeveralModels, told.at, draw, &mut moves);
        }
        // What tripped it once is no reason to trip it again.
        if moves.iter().any(|step| step.to == State::Open) {
            self.targets.iter_mut().for_each(|target| target.tripped = None);
        }
        self.vitals.publish(&mut self.breaker, told.at);
        moved.extend(moves.into_iter().map(|transition| Moved { target: None, transition }));
    }

    /// Takes what a probe has shown by a stream's first content, long before its end: the target answers, and the next
    /// probe may go. Without it a long stream would keep everyone else out.
    pub fn answered(&mut self, by_provider: Option<Admitted>, by_target: Option<Admitted>, now: Moment) -> Vec<Moved> {
        let mut moved = Vec::new();
        let mut tell = |place: Option<usize>, breaker: &mut Breaker, vitals: &Vitals, by: Option<Admitted>| {
            let Some(by) = by else { return };
            let mut moves = Vec::new();
            breaker.record(Report { vote: Vote::Alive, slow: false, pass: by.pass, epoch: by.epoch }, now, 0.0, &mut moves);
            vitals.publish(breaker, now);
            moved.extend(moves.into_iter().map(|transition| Moved { target: place, transition }));
        };
        let target = by_target.as_ref().and_then(|by| self.place_of(by.vitals()?));
        if let Some(place) = target {
            let own = &mut self.targets[place];
            tell(Some(place), &mut own.breaker, &own.vitals, by_target);
        }
        tell(None, &mut self.breaker, &self.vitals, by_provider);
        moved
    }

    /// Lets time pass: open periods end, windows empty.
    pub fn tick(&mut self, now: Moment) -> Vec<Moved> {
        self.each(now, |breaker, moves| breaker.tick(now, moves))
    }

    /// Moves all breakers in one way and publishes them.
    fn each(&mut self, now: Moment, mut by: impl FnMut(&mut Breaker, &mut Vec<Transition>)) -> Vec<Moved> {
        let mut moved = Vec::new();
        let own = (None, &mut self.breaker, &self.vitals);
        let targets = self.targets.iter_mut().enumerate().map(|(place, t)| (Some(place), &mut t.breaker, &t.vitals));
        for (target, breaker, vitals) in std::iter::once(own).chain(targets) {
            let mut moves = Vec::new();
            by(breaker, &mut moves);
            vitals.publish(breaker, now);
            moved.extend(moves.into_iter().map(|transition| Moved { target, transition }));
        }
        moved
    }
}

mod operator;
mod roster;
pub use roster::{Roster, Seat};

#[cfg(test)]
mod tests;
