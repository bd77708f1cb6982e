//! How a provider is, as its actor says: what /health and the dashboard show. Each state that isn't the best has its reason.

use std::sync::Arc;
use std::time::Duration;

use actix::{Handler, Message, MessageResult};

use super::{Provider, SLOW};
use crate::base::Moment;
use crate::health::{Breaker, LastError, Latency, Outcome, ProviderHealth, Reason, State, Tally, TargetHealth};

/// The question that /health asks.
#[derive(Debug, Message)]
#[rtype(result = "Description")]
pub struct Describe;

/// What /health shows of a provider.
#[derive(Debug)]
pub struct Description {
    /// Its name.
    pub name: Arc<str>,
    /// The state, its reason and times: its own, or its targets' where all of them are ejected.
    pub breaker: State,
    /// When that state began.
    pub since: Moment,
    /// When it ends or ended its open period; None when closed, or held open by an operator.
    pub retry_at: Option<Moment>,
    /// Why that state was entered, where it isn't closed.
    pub reason: Option<&'static str>,
    /// Why some target isn't at its best; None: all are.
    pub degraded: Option<&'static str>,
    /// Whether every target was said not to exist.
    pub all_missing: bool,
    /// Calls under way.
    pub in_flight: u32,
    /// The window's length.
    pub window: Duration,
    /// The window's counts.
    pub tally: Tally,
    /// Failures in a row.
    pub consecutive: u32,
    /// Latency of good calls.
    pub latency: Option<Latency>,
    /// First-token time of good streams.
    pub first_token: Option<Latency>,
    /// The last failure.
    pub last_error: Option<LastError>,
    /// Its keys.
    pub keys: Vec<KeyState>,
    /// Its targets.
    pub models: Vec<ModelState>,
}

/// A key in /health.
#[derive(Debug)]
pub struct KeyState {
    /// Its name.
    pub name: Arc<str>,
    /// The end of its rest.
    pub until: Option<Moment>,
    /// Whether it was refused.
    pub refused: bool,
    /// Whether some model can be asked with it now.
    pub usable: bool,
}

/// A target in /health.
#[derive(Debug)]
pub struct ModelState {
    /// The provider's own name for the model.
    pub model: Arc<str>,
    /// Its breaker.
    pub breaker: State,
    /// Calls since the start.
    pub calls: u64,
    /// Of those, failures.
    pub failures: u64,
    /// The provider says that it doesn't have it.
    pub missing: bool,
    /// So many of its streams began late that others are preferred.
    pub slow: bool,
}

impl Handler<Describe> for Provider {
    type Result = MessageResult<Describe>;

    fn handle(&mut self, _: Describe, _: &mut Self::Context) -> Self::Result {
        MessageResult(self.describe())
    }
}

impl Provider {
    pub(super) fn describe(&mut self) -> Description {
        let now = self.clock.now();
        self.tick(now);
        let shown = shown_breaker(&self.health);
        let (breaker, since, until, reason) = (shown.state(), shown.since(), shown.until(), shown.reason());
        let health = &mut self.health;
        let keys = self.slot.keys.iter().enumerate().map(|(place, key)| {
            let rests: Vec<_> = health.targets.iter().filter_map(|target| target.rest(place)?.resting(0, now)).collect();
            let usable = key.rest.until(now).is_none() && rests.len() < health.targets.len();
            let until = key.rest.until(now).into_iter().chain(rests).max();
            KeyState { name: Arc::clone(&key.name), until, refused: key.rest.refused(now), usable }
        });
        let keys = keys.collect();
        let degraded = why_degraded(health, now);
        let models = health.targets.iter().map(|target| ModelState {
            model: Arc::clone(&target.model),
            breaker: target.breaker.state(),
            calls: target.calls,
            failures: target.failures,
            missing: target.vitals.absence().holds(now),
            slow: target.vitals.degraded(),
        });
        let models = models.collect();
        Description {
            name: Arc::clone(&self.slot.name),
            breaker,
            since,
            retry_at: until.filter(|_| breaker != State::Closed),
            reason: reason.filter(|_| breaker != State::Closed).map(Reason::name),
            degraded,
            all_missing: !health.targets.is_empty() && health.targets.iter().all(|t| t.vitals.absence().holds(now)),
            in_flight: health.vitals.in_flight(),
            window: health.breaker.thresholds().window,
            tally: health.window.tally(now),
            consecutive: health.consecutive,
            latency: health.latency.read(now),
            first_token: health.first_token.read(now),
            last_error: health.last_error.clone(),
            keys,
            models,
        }
    }
}

/// The provider's own breaker where it isn't closed; else, where all of its targets are ejected, that of the target that
/// recovers first.
fn shown_breaker(health: &ProviderHealth) -> &Breaker {
    if health.breaker.state() != State::Closed || health.targets.iter().any(|t| t.breaker.state() == State::Closed) {
        return &health.breaker;
    }
    recovers_first(health.targets.iter()).map_or(&health.breaker, |target| &target.breaker)
}

/// Of targets whose breakers aren't closed, the one that will be first.
fn recovers_first<'a>(targets: impl Iterator<Item = &'a TargetHealth>) -> Option<&'a TargetHealth> {
    targets.min_by_key(|t| (t.breaker.state() == State::Open, t.breaker.until().is_none(), t.breaker.until()))
}

/// Why calls prefer others to some target, the gravest reason first; None: all targets are at their best. A breaker's reason, an
/// outcome's label or a setting's key, where there is one.
fn why_degraded(health: &ProviderHealth, now: Moment) -> Option<&'static str> {
    let targets = || health.targets.iter();
    let shut_out = recovers_first(targets().filter(|target| target.breaker.state() != State::Closed));
    if let Some(TargetHealth { breaker, .. }) = shut_out {
        return Some(breaker.reason().map_or(breaker.state().name(), Reason::name));
    }
    if targets().any(|target| target.vitals.absence().holds(now)) {
        return Some(Outcome::ModelMissing.label());
    }
    if targets().any(|target| target.vitals.degraded()) {
        return Some(SLOW);
    }
    let elsewhere = health.vitals.doubted(now) || targets().any(|target| target.vitals.doubted(now));
    elsewhere.then_some("failing_elsewhere")
}
