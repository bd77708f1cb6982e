//! The health of one provider as a whole: its own breaker, its targets' breakers, its keys. The machine inside a provider
//! actor: it takes the ends of calls in order and publishes what follows from them.

use std::sync::Arc;
use std::time::Duration;

use super::breaker::{Breaker, Reason, Report, State, Thresholds, Transition};
use super::ewma::Ewma;
use super::key::{KeyHealth, Rest};
use super::outcome::{Failure, Outcome, Vote};
use super::quantiles::Quantiles;
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
    /// The target's place among its provider's.
    pub target: usize,
    /// The key's place in the pool, if one was sent.
    pub key: Option<usize>,
    /// How it ended.
    pub outcome: Outcome,
    /// When it ended.
    pub at: Moment,
    /// From the call's start to its end.
    pub latency: Duration,
    /// From the call's start to its first content; streams only.
    pub first_token: Option<Duration>,
    /// What went wrong, in words without secrets.
    pub message: String,
    /// How the provider's breaker let it through.
    pub by_provider: Admitted,
    /// How the target's breaker let it through.
    pub by_target: Admitted,
}

impl Told {
    /// Whether its first token came, or would have come, later than `slow_call`.
    pub fn is_slow(&self, slow_call: Duration) -> bool {
        let timed_out = self.outcome == Outcome::Transient(Failure::FirstTokenTimeout) && self.latency > slow_call;
        timed_out || self.first_token.is_some_and(|time| time > slow_call)
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
    rests: Arc<[Rest]>,
    keys: Vec<KeyHealth>,
    latency: Ewma,
    first_token: Ewma,
    tripped: Option<Moment>,
}

impl TargetHealth {
    /// The rest of the key at `place` for this model.
    pub fn rest(&self, place: usize) -> Option<&Rest> {
        self.rests.get(place)
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
    /// A provider without targets or keys yet.
    pub fn new(thresholds: &Thresholds, quarantine: Duration, vitals: Arc<Vitals>, now: Moment) -> Self {
        let mut breaker = Breaker::new(thresholds.clone(), now);
        vitals.publish(&mut breaker, now);
        Self {
            breaker,
            vitals,
            targets: Vec::new(),
            window: Window::new(thresholds.window),
            consecutive: 0,
            latency: Quantiles::new(thresholds.window),
            first_token: Quantiles::new(thresholds.window),
            last_error: None,
            keys: Vec::new(),
            quarantine,
        }
    }

    /// Adds a target; its place is the number of those before it.
    pub fn add_target(&mut self, model: Arc<str>, vitals: Arc<Vitals>, rests: Arc<[Rest]>, now: Moment) {
        let mut breaker = Breaker::new(self.breaker.thresholds().clone(), now);
        vitals.publish(&mut breaker, now);
        let keys = vec![KeyHealth::default(); rests.len()];
        self.targets.push(TargetHealth {
            model,
            breaker,
            vitals,
            calls: 0,
            failures: 0,
            rests,
            keys,
            latency: Ewma::default(),
            first_token: Ewma::default(),
            tripped: None,
        });
    }

    /// Adds a key; its place is the number of those before it.
    pub fn add_key(&mut self, rest: Arc<Rest>) {
        self.keys.push((KeyHealth::default(), rest));
    }

    /// Takes a call's end and publishes what follows. `draw` is a random number from -1 to 1 for the jitter.
    pub fn record(&mut self, told: Told, draw: f64) -> Vec<Moved> {
        let mut moved = Vec::new();
        if told.target >= self.targets.len() {
            return moved;
        }
        self.note(&told);
        self.key_outcome(&told);
        self.target_outcome(&told, draw, &mut moved);
        self.provider_outcome(&told, draw, &mut moved);
        // Only now are the permits given back: what they showed has been published.
        drop(told);
        moved
    }

    fn note(&mut self, told: &Told) {
        let slow = told.is_slow(self.breaker.thresholds().slow_call);
        let failed = match told.outcome.vote() {
            Vote::Success => false,
            Vote::Failure | Vote::HardFailure => true,
            Vote::Alive | Vote::None => {
                self.note_error(told);
                return;
            }
        };
        self.window.record(failed, slow, told.at);
        let target = &mut self.targets[told.target];
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
            target.vitals.publish_latency(target.latency.peak_micros(), target.first_token.peak_micros(), told.at);
        }
        self.note_error(told);
    }

    fn note_error(&mut self, told: &Told) {
        let kind = match &told.outcome {
            Outcome::Ok | Outcome::Abandoned | Outcome::CallerFault | Outcome::TooLong => return,
            Outcome::Transient(failure) => failure.name(),
            Outcome::RateLimited { .. } | Outcome::KeyFault { .. } | Outcome::ModelMissing => told.outcome.label().to_owned(),
        };
        self.last_error = Some(LastError { at: told.at, kind, message: told.message.clone() });
    }

    fn key_outcome(&mut self, told: &Told) {
        // Without a key the target itself is what rests.
        let place = told.key.unwrap_or(0);
        let target = &mut self.targets[told.target];
        let (Some(own), Some(own_rest)) = (target.keys.get_mut(place), target.rests.get(place)) else { return };
        let whole = self.keys.get_mut(place);
        match (&told.outcome, whole) {
            (Outcome::RateLimited { wait, whole_key: true }, Some((whole, rest))) => whole.limited(*wait, told.at, rest),
            (Outcome::RateLimited { wait, .. }, _) => own.limited(*wait, told.at, own_rest),
            (Outcome::KeyFault { sure }, Some((whole, rest))) => whole.refused(*sure, self.quarantine, told.at, rest),
            (Outcome::KeyFault { sure }, None) => own.refused(*sure, self.quarantine, told.at, own_rest),
            (Outcome::Ok | Outcome::CallerFault | Outcome::TooLong, whole) => {
                own.served();
                if let Some((whole, _)) = whole {
                    whole.served();
                }
            }
            (Outcome::Transient(_) | Outcome::ModelMissing | Outcome::Abandoned, _) => {}
        }
    }

    fn target_outcome(&mut self, told: &Told, draw: f64, moved: &mut Vec<Moved>) {
        let slow = told.is_slow(self.breaker.thresholds().slow_call);
        let target = &mut self.targets[told.target];
        // One name behind a wildcard says nothing of the others.
        if told.outcome == Outcome::ModelMissing && &*target.model != "*" {
            target.vitals.publish_missing();
        }
        let report = Report { vote: told.outcome.vote(), slow, pass: told.by_target.pass, epoch: told.by_target.epoch };
        let mut moves = Vec::new();
        target.breaker.record(report, told.at, draw, &mut moves);
        target.vitals.publish(&mut target.breaker, told.at);
        if moves.iter().any(|step| step.from == State::Closed && step.to == State::Open) {
            target.tripped = Some(told.at);
        }
        moved.extend(moves.into_iter().map(|transition| Moved { target: Some(told.target), transition }));
    }

    fn provider_outcome(&mut self, told: &Told, draw: f64, moved: &mut Vec<Moved>) {
        let vote = match (&told.outcome, told.outcome.vote()) {
            (Outcome::Transient(failure), vote) if failure.accuses_provider() => vote,
            // It spoke with us, whatever it said.
            (Outcome::Transient(_), _) | (_, Vote::Success) => Vote::Success,
            (_, vote) => vote,
        };
        let report = Report { vote, slow: false, pass: told.by_provider.pass, epoch: told.by_provider.epoch };
        let mut moves = Vec::new();
        self.breaker.record(report, told.at, draw, &mut moves);
        let span = self.breaker.thresholds().window;
        let tripped = self.targets.iter().filter(|t| t.tripped.is_some_and(|at| told.at.since(at) <= span));
        if moved.iter().any(|m| m.transition.to == State::Open) && tripped.count() >= 2 {
            self.breaker.trip(Reason::SeveralModels, told.at, draw, &mut moves);
        }
        self.vitals.publish(&mut self.breaker, told.at);
        moved.extend(moves.into_iter().map(|transition| Moved { target: None, transition }));
    }

    /// Takes what a probe has shown by a stream's first content, long before its end: the target answers, and the next
    /// probe may go. Without it a long stream would keep everyone else out.
    pub fn answered(&mut self, target: usize, by_provider: Option<Admitted>, by_target: Option<Admitted>, now: Moment) -> Vec<Moved> {
        let mut moved = Vec::new();
        let mut tell = |place: Option<usize>, breaker: &mut Breaker, vitals: &Vitals, by: Option<Admitted>| {
            let Some(by) = by else { return };
            let mut moves = Vec::new();
            breaker.record(Report { vote: Vote::Alive, slow: false, pass: by.pass, epoch: by.epoch }, now, 0.0, &mut moves);
            vitals.publish(breaker, now);
            moved.extend(moves.into_iter().map(|transition| Moved { target: place, transition }));
        };
        if let Some(own) = self.targets.get_mut(target) {
            tell(Some(target), &mut own.breaker, &own.vitals, by_target);
        }
        tell(None, &mut self.breaker, &self.vitals, by_provider);
        moved
    }

    /// Lets time pass: open periods end, windows empty.
    pub fn tick(&mut self, now: Moment) -> Vec<Moved> {
        let mut moved = Vec::new();
        let own = (None, &mut self.breaker, &self.vitals);
        let targets = self.targets.iter_mut().enumerate().map(|(place, t)| (Some(place), &mut t.breaker, &t.vitals));
        for (target, breaker, vitals) in std::iter::once(own).chain(targets) {
            let mut moves = Vec::new();
            breaker.tick(now, &mut moves);
            vitals.publish(breaker, now);
            moved.extend(moves.into_iter().map(|transition| Moved { target, transition }));
        }
        moved
    }
}

#[cfg(test)]
mod tests;
