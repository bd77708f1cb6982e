//! What a provider actor publishes of one breaker's scope, for readers on every thread: atomics, one writer.
//!
//! Readers decide by themselves who may pass ([`Vitals::admit`]); the permit of a half-open breaker is claimed at the gate and
//! given back when its guard drops.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use super::absence::Absence;
use super::breaker::{Breaker, Pass};
use super::ewma::Ewma;
use super::gate::{Gate, Sign, Stand};
use super::hint::Hint;
use super::pace::Pace;
use super::spread::Spread;
use super::transition::{Admission, Reason, State};
use crate::base::Moment;

/// Weight of a target's recent failures when its load is compared: a target that fails fast must not look fast.
const FAILURE_PENALTY: f64 = 20.0;

/// The published state of a provider or a target.
#[derive(Debug, Default)]
pub struct Vitals {
    gate: Gate,
    since: AtomicU64,
    ramp_us: AtomicU64,
    /// The last open period before jitter, and why the state was entered (0: from the start): for a successor of the writer.
    period_us: AtomicU64,
    reason: AtomicU8,
    degraded: AtomicBool,
    absence: Absence,
    in_flight: AtomicU32,
    hint: Hint,
    pace: Pace,
    /// Share of the window's calls that failed, in millionths.
    failing: AtomicU32,
    /// Recent latencies of plain answers and first-token times of streams. Made at the first: most of a provider's own
    /// vitals never have any.
    spreads: [OnceLock<Spread>; 2],
}

/// What a successor needs to go on where a breaker's state was published last.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Published {
    /// The state.
    pub state: State,
    /// Whether an operator holds it.
    pub held: bool,
    /// Its number.
    pub epoch: u32,
    /// The end of the last open period.
    pub until: Option<Moment>,
    /// When it began.
    pub since: Moment,
    /// Why.
    pub reason: Option<Reason>,
    /// The last open period before jitter.
    pub period: Duration,
}

impl Vitals {
    /// Publishes a breaker's state. Called by its one writer only.
    pub fn publish(&self, breaker: &mut Breaker, now: Moment) {
        let tally = breaker.tally(now);
        self.failing.store((tally.failure_ratio() * 1e6) as u32, Ordering::Relaxed);
        self.degraded.store(breaker.degraded(now), Ordering::Relaxed);
        self.since.store(breaker.since().micros(), Ordering::Relaxed);
        let ramp = if breaker.ramps() { breaker.thresholds().ramp } else { Duration::ZERO };
        self.ramp_us.store(ramp.as_micros() as u64, Ordering::Relaxed);
        self.period_us.store(breaker.period().as_micros() as u64, Ordering::Relaxed);
        let reason = breaker.reason().and_then(|reason| Reason::ALL.iter().position(|other| *other == reason));
        self.reason.store(reason.map_or(0, |place| place as u8 + 1), Ordering::Relaxed);
        // Last, since it makes readers look at the rest.
        self.gate.publish(Sign {
            epoch: breaker.epoch(),
            stand: match (breaker.state(), breaker.held()) {
                (State::Closed, false) => Stand::Closed,
                (State::Open, false) => Stand::Open,
                (State::HalfOpen, _) => Stand::HalfOpen,
                (State::Open, true) => Stand::HeldOpen,
                (State::Closed, true) => Stand::HeldClosed,
            },
            until: breaker.until(),
            permits: breaker.thresholds().half_open_probes,
            gap: breaker.thresholds().probe_gap,
            gap_waived: breaker.has_answered(),
        });
    }

    /// What was published last. For a writer only: between another's stores it may be of two states.
    pub fn published(&self) -> Published {
        let (epoch, stand, until) = self.gate.published();
        let (state, held) = match stand {
            Stand::Closed => (State::Closed, false),
            Stand::Open => (State::Open, false),
            Stand::HalfOpen => (State::HalfOpen, false),
            Stand::HeldOpen => (State::Open, true),
            Stand::HeldClosed => (State::Closed, true),
        };
        let reason = usize::from(self.reason.load(Ordering::Relaxed));
        Published {
            state,
            held,
            epoch,
            until,
            since: self.since(),
            reason: reason.checked_sub(1).and_then(|place| Reason::ALL.get(place).copied()),
            period: Duration::from_micros(self.period_us.load(Ordering::Relaxed)),
        }
    }

    /// Publishes the latencies of whole answers and the first-token times of streams.
    pub fn publish_latency(&self, latency: &Ewma, first_token: &Ewma, now: Moment) {
        self.pace.publish([latency, first_token], now);
    }

    /// Publishes a good call's time for [`Vitals::percentile`]: the first-token time (`stream`) or the latency.
    pub fn publish_time(&self, stream: bool, time: Duration, now: Moment) {
        self.spreads[usize::from(stream)].get_or_init(Spread::default).record(time, now);
    }

    /// A first-token time (`stream`) or latency that this share of the recent calls, in millionths, didn't pass; None where
    /// there were too few.
    pub fn percentile(&self, stream: bool, share: u32) -> Option<Duration> {
        self.spreads[usize::from(stream)].get()?.percentile(share)
    }

    /// The latencies as published last: peaks of latency and first-token time in microseconds, and when.
    pub fn published_latency(&self) -> (u64, u64, Moment) {
        self.pace.published()
    }

    /// Whether a call may pass at `now`. Claims nothing.
    pub fn admit(&self, now: Moment) -> Admission {
        self.gate.admit(now).0
    }

    /// Claims one of the permits; None if the last was taken meanwhile, or the state has changed.
    pub fn claim(self: &Arc<Self>, now: Moment) -> Option<Permit> {
        let epoch = self.gate.claim(now)?;
        Some(Permit { vitals: Arc::clone(self), epoch })
    }

    /// Permits in use.
    #[cfg(test)]
    pub(crate) fn probes(&self) -> u16 {
        self.gate.used()
    }

    /// The number of the published state, to be told with a call's end.
    pub fn epoch(&self) -> u32 {
        self.gate.published().0
    }

    /// The published state's name; an open period that is over counts as half-open.
    pub fn state(&self, now: Moment) -> State {
        match self.admit(now) {
            Admission::Admit => State::Closed,
            Admission::Refuse(_) | Admission::Held => State::Open,
            Admission::Due | Admission::Busy => State::HalfOpen,
        }
    }

    /// When the published state began.
    pub fn since(&self) -> Moment {
        Moment::from_micros(self.since.load(Ordering::Relaxed))
    }

    /// The share of traffic that a target takes while it returns, 0.1 to 1.
    pub fn ramp(&self, now: Moment) -> f64 {
        let ramp = self.ramp_us.load(Ordering::Relaxed);
        if ramp == 0 {
            return 1.0;
        }
        let elapsed = now.since(self.since());
        (0.1 + 0.9 * elapsed.as_micros() as f64 / ramp as f64).min(1.0)
    }

    /// Whether it is slow, so that others are preferred.
    pub fn degraded(&self) -> bool {
        self.degraded.load(Ordering::Relaxed)
    }

    /// What other gateways have said of it.
    pub fn hint(&self) -> &Hint {
        &self.hint
    }

    /// Whether others are preferred: it is slow, or another gateway has found it failing a moment ago.
    pub fn doubted(&self, now: Moment) -> bool {
        self.degraded() || self.hint.holds(now)
    }

    /// Whether the provider said that it doesn't have this model.
    pub fn absence(&self) -> &Absence {
        &self.absence
    }

    /// Says that a call is sent.
    pub fn sent(&self, now: Moment) {
        self.pace.sent(now);
    }

    /// Peak-EWMA of the first-token time (`stream`) or the latency, in microseconds, faded by the time without a call; None
    /// before the first call's end.
    pub fn peak(&self, stream: bool, now: Moment) -> Option<f64> {
        self.pace.peak(stream, now)
    }

    /// Whether its first tokens (`stream`) or answers take several times as long as the other's.
    pub fn is_behind(&self, other: &Self, stream: bool, now: Moment) -> bool {
        self.pace.is_behind(&other.pace, stream, now)
    }

    /// What a new call would wait for here, as a number to compare: peak-EWMA x (in-flight + 1) x failure penalty. `unknown`
    /// stands for a peak that isn't known yet.
    pub fn load(&self, stream: bool, unknown: f64, now: Moment) -> f64 {
        let failing = f64::from(self.failing.load(Ordering::Relaxed)) / 1e6;
        self.peak(stream, now).unwrap_or(unknown) * f64::from(self.in_flight() + 1) * (1.0 + FAILURE_PENALTY * failing)
    }

    /// Calls under way.
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Counts a call until the guard drops; None where `limit` (0: none) are under way.
    pub fn enter_within(self: &Arc<Self>, limit: usize) -> Option<InFlight> {
        if limit == 0 {
            return Some(self.enter());
        }
        let entered =
            self.in_flight.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| ((count as usize) < limit).then_some(count + 1));
        entered.ok().map(|_| InFlight(Arc::clone(self)))
    }

    /// Counts a call until the guard drops.
    pub fn enter(self: &Arc<Self>) -> InFlight {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        InFlight(Arc::clone(self))
    }
}

/// A claimed probe; given back on drop, unless its epoch is over.
#[derive(Debug)]
pub struct Permit {
    vitals: Arc<Vitals>,
    epoch: u32,
}

impl Permit {
    /// The epoch it was claimed in.
    pub fn epoch(&self) -> u32 {
        self.epoch
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.vitals.gate.release(self.epoch);
    }
}

/// One call under way.
#[derive(Debug)]
pub struct InFlight(Arc<Vitals>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// How one breaker's scope let a call through, kept with the call and told with its end.
#[derive(Debug)]
pub struct Admitted {
    /// In which way.
    pub pass: Pass,
    /// In which epoch.
    pub epoch: u32,
    permit: Option<Permit>,
}

impl Admitted {
    /// Passes the gate if it is closed or a permit can be had; with `force`, where it is open too.
    pub fn at(vitals: &Arc<Vitals>, force: bool, now: Moment) -> Option<Self> {
        let (admission, epoch) = vitals.gate.admit(now);
        match admission {
            Admission::Admit => Some(Self { pass: Pass::Normal, epoch, permit: None }),
            Admission::Due => vitals.claim(now).map(|permit| Self { pass: Pass::Probe, epoch: permit.epoch(), permit: Some(permit) }),
            Admission::Refuse(_) if force => Some(Self { pass: Pass::LeastBad, epoch, permit: None }),
            Admission::Refuse(_) | Admission::Busy | Admission::Held => None,
        }
    }

    /// As it is on record: let through in this way by this breaker, in this epoch.
    pub fn recorded(vitals: &Arc<Vitals>, pass: Pass, epoch: u32) -> Self {
        let permit = (pass == Pass::Probe).then(|| Permit { vitals: Arc::clone(vitals), epoch });
        Self { pass, epoch, permit }
    }

    /// Splits off what a probe has shown by answering: the permit goes with the report of that, and what is left is an
    /// ordinary call, whose own end doesn't count as a probe's again. None where no permit is held.
    pub fn answered(&mut self) -> Option<Self> {
        let permit = self.permit.take()?;
        self.pass = Pass::Normal;
        Some(Self { pass: Pass::Probe, epoch: self.epoch, permit: Some(permit) })
    }

    /// Whose permit is held.
    pub fn vitals(&self) -> Option<&Arc<Vitals>> {
        self.permit.as_ref().map(|permit| &permit.vitals)
    }

    /// Whether a permit is held.
    pub fn is_probe(&self) -> bool {
        self.permit.is_some()
    }
}

#[cfg(test)]
mod tests;
