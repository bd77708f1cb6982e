//! Who belongs to a provider: its targets and keys, at its start, after its actor's death, and after a reload. All three are
//! one thing, since what is on the board stays: whoever was known by name goes on where it was published last.

use std::sync::Arc;
use std::time::Duration;

use super::super::breaker::Breaker;
use super::super::ewma::Ewma;
use super::super::key::{KeyHealth, Rest};
use super::super::quantiles::Quantiles;
use super::super::thresholds::Thresholds;
use super::super::vitals::Vitals;
use super::super::window::Window;
use super::{ProviderHealth, TargetHealth};
use crate::base::Moment;

/// A provider's targets and keys, in the order of their places.
#[derive(Clone, Debug, Default)]
pub struct Roster {
    /// The targets.
    pub targets: Vec<Seat>,
    /// Each key's rest as a whole.
    pub keys: Vec<Arc<Rest>>,
}

/// One target of a roster.
#[derive(Clone, Debug)]
pub struct Seat {
    /// The provider's own name for the model.
    pub model: Arc<str>,
    /// What is published of it.
    pub vitals: Arc<Vitals>,
    /// Each key's rest for this model, in the order of the keys; one where none is sent.
    pub rests: Arc<[Arc<Rest>]>,
}

impl ProviderHealth {
    /// A provider that goes on where it was published last: state, epoch, times and permits under way. Where nothing was
    /// published, closed and idle. Counts begin anew.
    pub fn new(thresholds: &Thresholds, quarantine: Duration, vitals: Arc<Vitals>, roster: Roster, now: Moment) -> Self {
        let mut breaker = Breaker::resume(thresholds.clone(), vitals.published(), now);
        vitals.publish(&mut breaker, now);
        let mut health = Self {
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
        };
        health.seat(roster, now);
        health
    }

    /// Puts other settings in force at a reload. Breakers keep state, epoch and counts, keys their rests. What a person may
    /// have mended is tried again: keys that were refused, models that were said to be missing.
    pub fn retune(&mut self, thresholds: &Thresholds, quarantine: Duration, roster: Roster, now: Moment) {
        self.quarantine = quarantine;
        if thresholds.window != self.breaker.thresholds().window {
            self.window.respan(thresholds.window, now);
            self.latency.respan(thresholds.window, now);
            self.first_token.respan(thresholds.window, now);
        }
        self.breaker.retune(thresholds.clone(), now);
        self.vitals.publish(&mut self.breaker, now);
        for target in &mut self.targets {
            target.breaker.retune(thresholds.clone(), now);
        }
        self.seat(roster, now);
        for target in &mut self.targets {
            target.vitals.absence().renew(now);
            target.vitals.publish(&mut target.breaker, now);
        }
        let own = self.targets.iter_mut().flat_map(|target| &mut target.keys);
        for (health, rest) in self.keys.iter_mut().chain(own) {
            if rest.refused(now) {
                health.free(rest);
            }
        }
    }

    /// Gives everyone on the roster a place; who is known keeps what is known of it.
    fn seat(&mut self, roster: Roster, now: Moment) {
        let mut before = std::mem::take(&mut self.targets);
        for Seat { model, vitals, rests } in roster.targets {
            let known = before.iter().position(|target| target.model == model).map(|place| before.swap_remove(place));
            let mut target = known.unwrap_or_else(|| TargetHealth::join(model, &vitals, self.breaker.thresholds(), now));
            target.vitals = vitals;
            target.keys = keep(&target.keys, rests.iter());
            self.targets.push(target);
        }
        self.keys = keep(&self.keys, roster.keys.iter());
    }
}

impl TargetHealth {
    fn join(model: Arc<str>, vitals: &Arc<Vitals>, thresholds: &Thresholds, now: Moment) -> Self {
        let mut breaker = Breaker::resume(thresholds.clone(), vitals.published(), now);
        vitals.publish(&mut breaker, now);
        let (latency, first_token, at) = vitals.published_latency();
        Self {
            model,
            breaker,
            vitals: Arc::clone(vitals),
            calls: 0,
            failures: 0,
            keys: Vec::new(),
            latency: Ewma::resume(latency, at),
            first_token: Ewma::resume(first_token, at),
            tripped: None,
        }
    }
}

/// The machines of these rests: those that are known, else new ones.
fn keep<'a>(known: &[(KeyHealth, Arc<Rest>)], rests: impl Iterator<Item = &'a Arc<Rest>>) -> Vec<(KeyHealth, Arc<Rest>)> {
    let health = |rest: &Arc<Rest>| known.iter().find(|(_, other)| Arc::ptr_eq(other, rest)).map(|(health, _)| health.clone());
    rests.map(|rest| (health(rest).unwrap_or_default(), Arc::clone(rest))).collect()
}
