//! What moves or changes a breaker besides calls and time: an operator, an active probe, new settings, a predecessor.

use super::super::transition::{Force, Reason, State, Transition};
use super::super::vitals::Published;
use super::{Breaker, JITTER, Thresholds};
use crate::base::Moment;

impl Breaker {
    /// A breaker that goes on where the published one ended: state, epoch and times; counts begin anew. Of vitals that were
    /// never published: a new one.
    pub fn resume(thresholds: Thresholds, published: Published, now: Moment) -> Self {
        let Published { state, held, epoch, until, since, reason, period } = published;
        let since = if since == Moment::START { now } else { since };
        let period =
            if state == State::Closed { thresholds.open_for } else { period.max(thresholds.open_for).min(thresholds.open_for_max) };
        Self { state, held, epoch, until, since, reason, period, ..Self::new(thresholds, now) }
    }

    /// Does what an operator orders. What was counted is forgotten and the epoch is a new one, so that calls of before don't
    /// speak for what comes after. Repeating an order changes nothing.
    pub fn force(&mut self, force: Force, now: Moment, moves: &mut Vec<Transition>) {
        let (to, held, reason) = match force {
            Force::Open => (State::Open, true, Reason::OperatorOpen),
            Force::Close => (State::Closed, true, Reason::OperatorClose),
            Force::Reset => (State::Closed, false, Reason::OperatorReset),
        };
        let stays = (self.state, self.held) == (to, held);
        if stays && held {
            return;
        }
        self.forget();
        self.held = held;
        self.epoch = self.epoch.wrapping_add(1);
        if !stays {
            self.shift(to, reason, None, now, moves);
        }
    }

    /// Takes what an active probe has shown: the provider answers, so real calls may find out about the rest. Only brings
    /// half-open forward. Not again once that has misled: a model that fails while its provider answers rests in full.
    pub fn probed_well(&mut self, now: Moment, moves: &mut Vec<Transition>) {
        if self.state == State::Open && !self.held && !self.misled {
            self.half_open(Reason::ActiveProbe, now, moves);
        }
    }

    /// Puts other thresholds in force. State, epoch and counts stay, and nothing moves by itself; an open period ends no
    /// later than the longest one that the new thresholds would draw now.
    pub fn retune(&mut self, thresholds: Thresholds, now: Moment) {
        if thresholds.window != self.thresholds.window {
            self.window.respan(thresholds.window, now);
        }
        self.period = match self.state {
            State::Closed => thresholds.open_for,
            State::Open | State::HalfOpen => self.period.max(thresholds.open_for).min(thresholds.open_for_max),
        };
        let longest = now.plus(thresholds.open_for_max.mul_f64(1.0 + JITTER));
        self.until = self.until.map(|until| until.min(longest));
        self.thresholds = thresholds;
    }
}
