//! The circuit breaker: closed, open, half-open, and the reason for every move between them.
//!
//! Pure: time and the jitter's draw are arguments, so that a replay gives the same transitions. It only decides; who may
//! pass is published by [`crate::health::Vitals`], where a probe's permit is claimed. Every state has an epoch number: a
//! result of a call that was let through in an earlier state changes nothing.

use std::time::Duration;

use super::outcome::Vote;
use super::thresholds::Thresholds;
use super::transition::{Reason, State, Transition};
use super::window::{Tally, Window};
use crate::base::Moment;

/// Fewer calls than this say nothing about slowness: one slow call after a quiet hour isn't a slow target.
const FEWEST_FOR_SLOW: u32 = 3;

/// Share of an open period by which it is drawn longer or shorter, so that breakers don't return in step.
const JITTER: f64 = 0.1;

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
    /// Whether its first token came late: [`Thresholds::slow_after`].
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
    /// The last open period, before jitter: doubled by the next failed probe.
    period: Duration,
    /// End of the open period; None where there is none.
    until: Option<Moment>,
    /// An operator holds the state: time and calls don't move it.
    held: bool,
    /// An active probe brought half-open forward, and real probes then failed: what it sees is not what fails.
    misled: bool,
    since: Moment,
    reason: Option<Reason>,
}

impl Breaker {
    /// A closed breaker, nothing counted.
    pub fn new(thresholds: Thresholds, now: Moment) -> Self {
        Self {
            state: State::Closed,
            epoch: 0,
            consecutive: 0,
            successes: 0,
            window: Window::new(thresholds.window),
            period: thresholds.open_for,
            until: None,
            held: false,
            misled: false,
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
                if report.pass == Pass::LeastBad && report.vote == Vote::Success && !self.held {
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
                self.consecutive = self.consecutive.saturating_add(1);
                self.window.record(true, report.slow, now);
                if self.consecutive >= self.thresholds.consecutive_failures {
                    self.trip(Reason::Consecutive, now, draw, moves);
                } else if self.ratio_reached(now) {
                    self.trip(Reason::Ratio, now, draw, moves);
                }
            }
            Vote::HardFailure => {
                self.consecutive = self.consecutive.saturating_add(1);
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
                self.misled |= self.reason == Some(Reason::ActiveProbe);
                self.period = (self.period * 2).min(self.thresholds.open_for_max);
                self.open(Reason::ProbeFailed, now, draw, moves);
            }
            Vote::None => {}
        }
    }

    /// Lets time pass: an open period that is over makes it half-open.
    pub fn tick(&mut self, now: Moment, moves: &mut Vec<Transition>) {
        if self.state == State::Open && self.until.is_some_and(|until| now >= until) {
            self.half_open(Reason::PeriodOver, now, moves);
        }
    }

    /// Opens a closed breaker for a reason from outside, such as its fellows.
    pub fn trip(&mut self, reason: Reason, now: Moment, draw: f64, moves: &mut Vec<Transition>) {
        if self.state == State::Closed && !self.held {
            self.period = self.thresholds.open_for;
            self.open(reason, now, draw, moves);
        }
    }

    fn open(&mut self, reason: Reason, now: Moment, draw: f64, moves: &mut Vec<Transition>) {
        let period = self.period.mul_f64(1.0 + JITTER * draw.clamp(-1.0, 1.0));
        self.until = Some(now.plus(period));
        self.successes = 0;
        self.epoch = self.epoch.wrapping_add(1);
        self.shift(State::Open, reason, Some(period), now, moves);
    }

    /// Keeps the epoch: a probe that was let through as the period ended, before this machine was told the time, counts.
    fn half_open(&mut self, reason: Reason, now: Moment, moves: &mut Vec<Transition>) {
        self.successes = 0;
        self.shift(State::HalfOpen, reason, None, now, moves);
    }

    fn close(&mut self, now: Moment, moves: &mut Vec<Transition>) {
        self.forget();
        self.epoch = self.epoch.wrapping_add(1);
        self.shift(State::Closed, Reason::ProbesSucceeded, None, now, moves);
    }

    fn forget(&mut self) {
        self.consecutive = 0;
        self.successes = 0;
        self.window.clear();
        self.period = self.thresholds.open_for;
        self.until = None;
        self.misled = false;
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

    /// The end of the open period; None where it is closed, or held by an operator.
    pub fn until(&self) -> Option<Moment> {
        self.until
    }

    /// Whether an operator holds it in its state.
    pub fn held(&self) -> bool {
        self.held
    }

    /// Whether it returned by itself, so that its share of traffic grows slowly.
    pub(super) fn ramps(&self) -> bool {
        self.state == State::Closed && self.reason == Some(Reason::ProbesSucceeded)
    }

    /// Whether a probe of the present half-open state has succeeded.
    pub(super) fn has_answered(&self) -> bool {
        self.successes > 0
    }

    /// The open period that a failed probe would double.
    pub(super) fn period(&self) -> Duration {
        self.period
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

mod outside;
#[cfg(test)]
mod tests;
