//! What a provider actor publishes of one breaker's scope, for readers on every thread: atomics, one writer.
//!
//! Readers decide by themselves who may pass ([`Vitals::admit`]); the permit of a half-open breaker is claimed by
//! compare-and-swap on the same word that holds the state, so that a claim can't outlive the state it was made in, and is
//! given back when its guard drops.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use super::breaker::{Breaker, Pass};
use super::ewma::decay;
use super::spread::Spread;
use super::transition::{Reason, State};
use crate::base::Moment;

/// What stands for "no data" when targets are compared: an unknown target is worth a try before a slow one.
const UNKNOWN_MICROS: u64 = 1_000;

/// Weight of a target's recent failures when its load is compared: a target that fails fast must not look fast.
const FAILURE_PENALTY: f64 = 20.0;

/// The published state of a provider or a target.
#[derive(Debug, Default)]
pub struct Vitals {
    /// epoch (32 bits) | state (16) | permits in use (16).
    gate: AtomicU64,
    until: AtomicU64,
    probes: AtomicU32,
    /// Between two probes at least; zero: none.
    probe_gap_us: AtomicU64,
    /// Where there is a gap: the next probe may go then.
    next_probe: AtomicU64,
    since: AtomicU64,
    ramp_us: AtomicU64,
    /// The last open period before jitter, and why the state was entered (0: from the start): for a successor of the writer.
    period_us: AtomicU64,
    reason: AtomicU8,
    degraded: AtomicBool,
    missing: AtomicBool,
    in_flight: AtomicU32,
    latency_peak: AtomicU64,
    first_token_peak: AtomicU64,
    observed_at: AtomicU64,
    /// Share of the window's calls that failed, in millionths.
    failing: AtomicU32,
    /// Recent latencies of plain answers and first-token times of streams. Made at the first: most of a provider's own
    /// vitals never have any.
    spreads: [OnceLock<Spread>; 2],
}

/// Whether a call may pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// Closed.
    Admit,
    /// The open period is over and a permit is free: [`Vitals::claim`] it.
    Due,
    /// Half-open, all permits taken, or the last one too short a while ago.
    Busy,
    /// Open until then.
    Refuse(Moment),
    /// Held open by an operator.
    Held,
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

const CLOSED: u64 = 0;
const OPEN: u64 = 1;
const HALF_OPEN: u64 = 2;
const HELD_OPEN: u64 = 3;
const HELD_CLOSED: u64 = 4;

fn pack(epoch: u32, state: u64, used: u16) -> u64 {
    (u64::from(epoch) << 32) | (state << 16) | u64::from(used)
}

fn unpack(word: u64) -> (u32, u64, u16) {
    ((word >> 32) as u32, (word >> 16) & 0xffff, word as u16)
}

impl Vitals {
    /// Publishes a breaker's state. Called by its one writer only.
    pub fn publish(&self, breaker: &mut Breaker, now: Moment) {
        let tally = breaker.tally(now);
        self.failing.store((tally.failure_ratio() * 1e6) as u32, Ordering::Relaxed);
        self.degraded.store(breaker.degraded(now), Ordering::Relaxed);
        self.probes.store(u32::from(breaker.thresholds().half_open_probes), Ordering::Relaxed);
        self.probe_gap_us.store(breaker.probe_gap().as_micros() as u64, Ordering::Relaxed);
        let state = match (breaker.state(), breaker.held()) {
            (State::Closed, false) => CLOSED,
            (State::Open, false) => OPEN,
            (State::HalfOpen, _) => HALF_OPEN,
            (State::Open, true) => HELD_OPEN,
            (State::Closed, true) => HELD_CLOSED,
        };
        // Times first, then the word that makes readers look at them.
        self.until.store(breaker.until().map_or(0, Moment::micros), Ordering::Relaxed);
        self.since.store(breaker.since().micros(), Ordering::Relaxed);
        let ramp = if breaker.ramps() { breaker.thresholds().ramp } else { Duration::ZERO };
        self.ramp_us.store(ramp.as_micros() as u64, Ordering::Relaxed);
        self.period_us.store(breaker.period().as_micros() as u64, Ordering::Relaxed);
        let reason = breaker.reason().and_then(|reason| Reason::ALL.iter().position(|other| *other == reason));
        self.reason.store(reason.map_or(0, |place| place as u8 + 1), Ordering::Relaxed);
        let epoch = breaker.epoch();
        // Readers change only the permits; those of the same epoch stay claimed.
        let _ = self.gate.fetch_update(Ordering::AcqRel, Ordering::Acquire, |word| {
            let (old, _, used) = unpack(word);
            Some(pack(epoch, state, if old == epoch { used } else { 0 }))
        });
    }

    /// What was published last. For a writer only: between another's stores it may be of two states.
    pub fn published(&self) -> Published {
        let (epoch, code, _) = unpack(self.gate.load(Ordering::Acquire));
        let (state, held) = match code {
            OPEN => (State::Open, false),
            HALF_OPEN => (State::HalfOpen, false),
            HELD_OPEN => (State::Open, true),
            HELD_CLOSED => (State::Closed, true),
            _ => (State::Closed, false),
        };
        let until = self.until.load(Ordering::Relaxed);
        let reason = usize::from(self.reason.load(Ordering::Relaxed));
        Published {
            state,
            held,
            epoch,
            until: (until > 0).then(|| Moment::from_micros(until)),
            since: Moment::from_micros(self.since.load(Ordering::Relaxed)),
            reason: reason.checked_sub(1).and_then(|place| Reason::ALL.get(place).copied()),
            period: Duration::from_micros(self.period_us.load(Ordering::Relaxed)),
        }
    }

    /// Publishes latencies (peak-EWMA, in microseconds).
    pub fn publish_latency(&self, latency_peak: u64, first_token_peak: u64, now: Moment) {
        self.latency_peak.store(latency_peak, Ordering::Relaxed);
        self.first_token_peak.store(first_token_peak, Ordering::Relaxed);
        self.observed_at.store(now.micros(), Ordering::Relaxed);
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
        let at = Moment::from_micros(self.observed_at.load(Ordering::Relaxed));
        (self.latency_peak.load(Ordering::Relaxed), self.first_token_peak.load(Ordering::Relaxed), at)
    }

    /// Whether a call may pass at `now`. Claims nothing.
    pub fn admit(&self, now: Moment) -> Admission {
        let (_, state, used) = unpack(self.gate.load(Ordering::Acquire));
        let until = Moment::from_micros(self.until.load(Ordering::Relaxed));
        match state {
            CLOSED | HELD_CLOSED => Admission::Admit,
            HELD_OPEN => Admission::Held,
            OPEN if now < until => Admission::Refuse(until),
            _ if u32::from(used) < self.probes.load(Ordering::Relaxed) && self.gap_is_over(now) => Admission::Due,
            _ => Admission::Busy,
        }
    }

    fn gap_is_over(&self, now: Moment) -> bool {
        self.probe_gap_us.load(Ordering::Relaxed) == 0 || now.micros() >= self.next_probe.load(Ordering::Relaxed)
    }

    /// Where probes keep a distance, takes the place of the next one; false if it isn't time yet.
    fn take_turn(&self, now: Moment) -> bool {
        let gap = self.probe_gap_us.load(Ordering::Relaxed);
        let later = |next: u64| (now.micros() >= next).then(|| now.micros().saturating_add(gap));
        gap == 0 || self.next_probe.fetch_update(Ordering::Relaxed, Ordering::Relaxed, later).is_ok()
    }

    /// Claims one of the permits; None if the last was taken meanwhile, or the state has changed.
    pub fn claim(self: &Arc<Self>, now: Moment) -> Option<Permit> {
        if !self.take_turn(now) {
            return None;
        }
        let claimed = self.gate.fetch_update(Ordering::AcqRel, Ordering::Acquire, |word| {
            let (epoch, state, used) = unpack(word);
            // After the word, which was published after them: never an earlier period's end with a later one's word.
            let probes = self.probes.load(Ordering::Relaxed);
            let until = Moment::from_micros(self.until.load(Ordering::Relaxed));
            let due = state == HALF_OPEN || (state == OPEN && now >= until);
            (due && u32::from(used) < probes).then(|| pack(epoch, state, used + 1))
        });
        claimed.ok().map(|word| Permit { vitals: Arc::clone(self), epoch: unpack(word).0 })
    }

    /// The number of the published state, to be told with a call's end.
    pub fn epoch(&self) -> u32 {
        unpack(self.gate.load(Ordering::Acquire)).0
    }

    /// The published state's name; an open period that is over counts as half-open.
    pub fn state(&self, now: Moment) -> State {
        match self.admit(now) {
            Admission::Admit => State::Closed,
            Admission::Refuse(_) | Admission::Held => State::Open,
            Admission::Due | Admission::Busy => State::HalfOpen,
        }
    }

    /// The share of traffic that a target takes while it returns, 0.1 to 1.
    pub fn ramp(&self, now: Moment) -> f64 {
        let ramp = self.ramp_us.load(Ordering::Relaxed);
        if ramp == 0 {
            return 1.0;
        }
        let elapsed = now.since(Moment::from_micros(self.since.load(Ordering::Relaxed)));
        (0.1 + 0.9 * elapsed.as_micros() as f64 / ramp as f64).min(1.0)
    }

    /// Whether it is slow, so that others are preferred.
    pub fn degraded(&self) -> bool {
        self.degraded.load(Ordering::Relaxed)
    }

    /// Whether the provider said that it doesn't have this model.
    pub fn missing(&self) -> bool {
        self.missing.load(Ordering::Relaxed)
    }

    /// Publishes whether the provider lacks this model.
    pub fn publish_missing(&self, missing: bool) {
        self.missing.store(missing, Ordering::Relaxed);
    }

    /// Peak-EWMA of the first-token time (`stream`) or the latency, in microseconds, decayed by the time without a call.
    pub fn peak(&self, stream: bool, now: Moment) -> f64 {
        let peak = if stream { &self.first_token_peak } else { &self.latency_peak };
        match peak.load(Ordering::Relaxed) {
            0 => UNKNOWN_MICROS as f64,
            micros => {
                let idle = now.since(Moment::from_micros(self.observed_at.load(Ordering::Relaxed)));
                (micros as f64 * decay(idle)).max(1.0)
            }
        }
    }

    /// What a new call would wait for here, as a number to compare: peak-EWMA x (in-flight + 1) x failure penalty.
    pub fn load(&self, stream: bool, now: Moment) -> f64 {
        let failing = f64::from(self.failing.load(Ordering::Relaxed)) / 1e6;
        self.peak(stream, now) * f64::from(self.in_flight() + 1) * (1.0 + FAILURE_PENALTY * failing)
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
        let _ = self.vitals.gate.fetch_update(Ordering::AcqRel, Ordering::Acquire, |word| {
            let (epoch, state, used) = unpack(word);
            (epoch == self.epoch && used > 0).then(|| pack(epoch, state, used - 1))
        });
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
        // Before the look: should the state change in between, the call's end is an earlier state's, which counts for nothing.
        let epoch = vitals.epoch();
        match vitals.admit(now) {
            Admission::Admit => Some(Self { pass: Pass::Normal, epoch, permit: None }),
            Admission::Due => vitals.claim(now).map(|permit| Self { pass: Pass::Probe, epoch: permit.epoch(), permit: Some(permit) }),
            Admission::Refuse(_) if force => Some(Self { pass: Pass::LeastBad, epoch, permit: None }),
            Admission::Refuse(_) | Admission::Busy | Admission::Held => None,
        }
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
