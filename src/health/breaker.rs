//! The circuit breaker: closed, open, half-open, and the reason for every move between them.
//!
//! Pure: time and the jitter's draw are arguments, so that a replay gives the same transitions. It only decides; who may
//! pass is published by [`crate::health::Vitals`], where a probe's permit is claimed. Every state has an epoch number: a
//! result of a call that was let through in an earlier state changes nothing.

use std::time::Duration;

use super::outcome::Vote;
use super::window::{Tally, Window};
use crate::base::Moment;

/// When a breaker trips, how long it stays open and how it returns: `[breaker]` of the settings.
#[derive(Clone, Debug, PartialEq)]
pub struct Thresholds {
    /// Opens after this many failures in a row.
    pub consecutive_failures: u32,
    /// Opens when this share of the window's calls failed, 0 to 1 ...
    pub failure_ratio: f64,
    /// ... counted only with at least this many calls in the window.
    pub minimum_requests: u32,
    /// How far back the shares look.
    pub window: Duration,
    /// A first token later than this is a slow call.
    pub slow_call: Duration,
    /// Degraded (ranked last, never open) when this share of the window's calls were slow.
    pub slow_ratio: f64,
    /// The first open period; it doubles at each failed probe ...
    pub open_for: Duration,
    /// ... up to this.
    pub open_for_max: Duration,
    /// Calls let through at once while half-open.
    pub half_open_probes: u16,
    /// Successes in half-open that close it.
    pub close_after: u32,
    /// After closing, the share of traffic grows from a tenth to full over this time; zero: at once.
    pub ramp: Duration,
}

impl Default for Thresholds {
    /// The built-in defaults.
    fn default() -> Self {
        Self {
            consecutive_failures: 5,
            failure_ratio: 0.5,
            minimum_requests: 10,
            window: Duration::from_secs(30),
            slow_call: Duration::from_secs(20),
            slow_ratio: 0.8,
            open_for: Duration::from_secs(10),
            open_for_max: Duration::from_secs(20),
            half_open_probes: 1,
            close_after: 2,
            ramp: Duration::from_secs(10),
        }
    }
}

/// Fewer calls than this say nothing about slowness: one slow call after a quiet hour isn't a slow target.
const FEWEST_FOR_SLOW: u32 = 3;

/// Share of an open period by which it is drawn longer or shorter, so that breakers don't return in step.
const JITTER: f64 = 0.1;

/// The three states.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Serving.
    Closed,
    /// Refusing until its time.
    Open,
    /// Letting a bounded number of probes through.
    HalfOpen,
}

impl State {
    /// The state's name in /health, metrics and logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
        }
    }
}

/// Why a breaker moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Too many failures in a row.
    Consecutive,
    /// Too large a share of the window failed.
    Ratio,
    /// A failure that won't mend by itself, such as a wrong certificate.
    Hard,
    /// Several models of the provider tripped within a window.
    SeveralModels,
    /// The open period ended.
    PeriodOver,
    /// A call made though the breaker was open, since nothing else was left, succeeded.
    LeastBadSucceeded,
    /// A probe failed.
    ProbeFailed,
    /// Enough probes succeeded.
    ProbesSucceeded,
}

impl Reason {
    /// The reason's name in /health, metrics and logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Consecutive => "consecutive_failures",
            Self::Ratio => "failure_ratio",
            Self::Hard => "hard_failure",
            Self::SeveralModels => "several_models",
            Self::PeriodOver => "period_over",
            Self::LeastBadSucceeded => "least_bad_succeeded",
            Self::ProbeFailed => "probe_failed",
            Self::ProbesSucceeded => "probes_succeeded",
        }
    }
}

/// One move of a breaker.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Transition {
    /// The state left.
    pub from: State,
    /// The state entered.
    pub to: State,
    /// Why.
    pub reason: Reason,
    /// The open period as drawn, where `to` is open.
    pub period: Option<Duration>,
}

/// How a call was let through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pass {
    /// The breaker was closed.
    Normal,
    /// With a permit of a half-open breaker.
    Probe,
    /// Though it was open, since nothing else was left.
    LeastBad,
}

impl Pass {
    /// The pass's name on record.
    pub fn name(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::Probe => "probe",
            Self::LeastBad => "least_bad",
        }
    }
}

/// The end of a call, as far as a breaker is told.
#[derive(Clone, Copy, Debug)]
pub struct Report {
    /// How the outcome counts.
    pub vote: Vote,
    /// Whether its first token came later than `slow_call`.
    pub slow: bool,
    /// How it was let through ...
    pub pass: Pass,
    /// ... and in which epoch.
    pub epoch: u32,
}

/// See the module's text.
#[derive(Clone, Debug)]
pub struct Breaker {
    thresholds: Thresholds,
    state: State,
    epoch: u32,
    /// Failures in a row while closed.
    consecutive: u32,
    /// Successes while half-open.
    successes: u32,
    window: Window,
    /// The open period that the next trip takes, before jitter.
    period: Duration,
    /// End of the last open period.
    until: Moment,
    since: Moment,
    reason: Option<Reason>,
}

impl Breaker {
    /// A closed breaker.
    pub fn new(thresholds: Thresholds, now: Moment) -> Self {
        Self {
            state: State::Closed,
            epoch: 0,
            consecutive: 0,
            successes: 0,
            window: Window::new(thresholds.window),
            period: thresholds.open_for,
            until: Moment::START,
            since: now,
            reason: None,
            thresholds,
        }
    }

    /// Takes a call's end; pushes the moves that follow from it. `draw` is a random number from -1 to 1 for the jitter.
    pub fn record(&mut self, report: Report, now: Moment, draw: f64, moves: &mut Vec<Transition>) {
        if report.epoch != self.epoch {
            return;
        }
        self.tick(now, moves);
        match self.state {
            State::Closed => self.record_closed(report, now, draw, moves),
            State::Open => {
                if report.pass == Pass::LeastBad && report.vote == Vote::Success {
                    self.half_open(Reason::LeastBadSucceeded, now, moves);
                }
            }
            State::HalfOpen => self.record_half_open(report, now, draw, moves),
        }
    }

    fn record_closed(&mut self, report: Report, now: Moment, draw: f64, moves: &mut Vec<Transition>) {
        match report.vote {
            Vote::Success => {
                self.consecutive = 0;
                self.window.record(false, report.slow, now);
            }
            Vote::Failure => {
                self.consecutive += 1;
                self.window.record(true, report.slow, now);
                if self.consecutive >= self.thresholds.consecutive_failures {
                    self.trip(Reason::Consecutive, now, draw, moves);
                } else if self.ratio_reached(now) {
                    self.trip(Reason::Ratio, now, draw, moves);
                }
            }
            Vote::HardFailure => {
                self.consecutive += 1;
                self.window.record(true, report.slow, now);
                self.trip(Reason::Hard, now, draw, moves);
            }
            Vote::Alive | Vote::None => {}
        }
    }

    fn ratio_reached(&mut self, now: Moment) -> bool {
        let tally = self.window.tally(now);
        tally.calls >= self.thresholds.minimum_requests && tally.failure_ratio() >= self.thresholds.failure_ratio
    }

    fn record_half_open(&mut self, report: Report, now: Moment, draw: f64, moves: &mut Vec<Transition>) {
        match report.vote {
            // What took no permit was never a probe, however it ends.
            _ if report.pass != Pass::Probe => {}
            Vote::Success | Vote::Alive => {
                self.successes += 1;
                if self.successes >= self.thresholds.close_after {
                    self.close(now, moves);
                }
            }
            Vote::Failure | Vote::HardFailure => {
                self.period = (self.period * 2).min(self.thresholds.open_for_max);
                self.open(Reason::ProbeFailed, now, draw, moves);
            }
            Vote::None => {}
        }
    }

    /// Lets time pass: an open period that is over makes it half-open.
    pub fn tick(&mut self, now: Moment, moves: &mut Vec<Transition>) {
        if self.state == State::Open && now >= self.until {
            self.half_open(Reason::PeriodOver, now, moves);
        }
    }

    /// Opens a closed breaker for a reason from outside, such as its fellows.
    pub fn trip(&mut self, reason: Reason, now: Moment, draw: f64, moves: &mut Vec<Transition>) {
        if self.state == State::Closed {
            self.period = self.thresholds.open_for;
            self.open(reason, now, draw, moves);
        }
    }

    fn open(&mut self, reason: Reason, now: Moment, draw: f64, moves: &mut Vec<Transition>) {
        let period = self.period.mul_f64(1.0 + JITTER * draw.clamp(-1.0, 1.0));
        self.until = now.plus(period);
        self.epoch = self.epoch.wrapping_add(1);
        self.shift(State::Open, reason, Some(period), now, moves);
    }

    /// Keeps the epoch: a probe that was let through as the period ended, before this machine was told the time, counts.
    fn half_open(&mut self, reason: Reason, now: Moment, moves: &mut Vec<Transition>) {
        self.successes = 0;
        self.shift(State::HalfOpen, reason, None, now, moves);
    }

    fn close(&mut self, now: Moment, moves: &mut Vec<Transition>) {
        self.consecutive = 0;
        self.window.clear();
        self.period = self.thresholds.open_for;
        self.epoch = self.epoch.wrapping_add(1);
        self.shift(State::Closed, Reason::ProbesSucceeded, None, now, moves);
    }

    fn shift(&mut self, to: State, reason: Reason, period: Option<Duration>, now: Moment, moves: &mut Vec<Transition>) {
        moves.push(Transition { from: self.state, to, reason, period });
        self.state = to;
        self.since = now;
        self.reason = Some(reason);
    }

    /// Whether so many calls were slow that others are preferred.
    pub fn degraded(&mut self, now: Moment) -> bool {
        let tally = self.window.tally(now);
        self.state == State::Closed && tally.calls >= FEWEST_FOR_SLOW && tally.slow_ratio() >= self.thresholds.slow_ratio
    }

    /// The state at present.
    pub fn state(&self) -> State {
        self.state
    }

    /// The number of the present state: half-open shares its open state's.
    pub fn epoch(&self) -> u32 {
        self.epoch
    }

    /// The end of the last open period.
    pub fn until(&self) -> Moment {
        self.until
    }

    /// When the present state began.
    pub fn since(&self) -> Moment {
        self.since
    }

    /// Why the present state was entered; None from the start.
    pub fn reason(&self) -> Option<Reason> {
        self.reason
    }

    /// Failures in a row.
    pub fn consecutive(&self) -> u32 {
        self.consecutive
    }

    /// The counts that the shares are made of.
    pub fn tally(&mut self, now: Moment) -> Tally {
        self.window.tally(now)
    }

    /// The thresholds in force.
    pub fn thresholds(&self) -> &Thresholds {
        &self.thresholds
    }
}

#[cfg(test)]
mod tests;
