//! The plan of one request's attempts: after each failure, whether to repeat, to change the key, to go on to another
//! target, or to stop, and what has been used up.

use std::time::Duration;

use super::pick::{Taken, Tried};
use super::policy::Retry;
use crate::base::Moment;
use crate::health::{Failure, Outcome};

/// Changes of key on one target that cost no attempt: a long pool of spent keys may not hold a request for good.
const KEY_CHANGES: u32 = 3;

/// What to do after a failed attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// The same target again, after this time.
    Repeat {
        /// Full jitter, doubling.
        after: Duration,
    },
    /// The same target with another key, at once.
    OtherKey,
    /// Another target, at once.
    OtherTarget,
    /// No further call.
    Stop(Stop),
}

/// Why there is no further call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The upstream refused the request itself: its answer goes to the caller as it is.
    PassOn,
    /// All calls that a request may make were made.
    Exhausted,
    /// The request's deadline is over.
    Deadline,
}

/// One failed attempt, for the route header and the final message.
#[derive(Clone, Debug)]
pub struct Failed {
    /// `provider/model`.
    pub target: String,
    /// How it ended.
    pub outcome: Outcome,
    /// The end's name: a failure's, or the outcome's label.
    pub name: String,
    /// A sentence without secrets.
    pub message: String,
}

/// See the module's text.
#[derive(Debug)]
pub struct Plan {
    retry: Retry,
    deadline: Moment,
    calls: u32,
    repeats: u32,
    key_changes: u32,
    /// The last call wasn't counted, since another key was to make up for it.
    uncounted: bool,
    /// What this request has used up.
    pub tried: Tried,
    /// A window that was too small for it.
    pub larger_than: Option<u64>,
    /// Whether the one call on an open target was made.
    pub last_resort_used: bool,
    /// The failures so far, in order.
    pub failures: Vec<Failed>,
}

impl Plan {
    /// A request's plan, before its first attempt.
    pub fn new(retry: Retry, deadline: Moment) -> Self {
        Self {
            retry,
            deadline,
            calls: 0,
            repeats: 0,
            key_changes: 0,
            uncounted: false,
            tried: Tried::default(),
            larger_than: None,
            last_resort_used: false,
            failures: Vec::new(),
        }
    }

    /// The time by which the request must have its answer.
    pub fn deadline(&self) -> Moment {
        self.deadline
    }

    /// Counts a call that is about to be made.
    pub fn calling(&mut self) {
        self.calls += 1;
        self.uncounted = false;
    }

    /// Calls made and counted.
    pub fn calls(&self) -> u32 {
        self.calls
    }

    /// Decides after a failure of `taken`. `behind`: targets that could still serve; `draw`: a random number, 0 to 1.
    pub fn after(&mut self, taken: &Taken, outcome: &Outcome, behind: usize, now: Moment, draw: f64) -> Next {
        let next = match outcome {
            Outcome::Transient(failure) => {
                let left = self.retry.attempts.saturating_sub(self.calls) as usize;
                // Nobody listened: with another target behind it, asking there is quicker than asking again.
                let worth = failure.repeatable() && (behind == 0 || *failure != Failure::Connect);
                // A repeat never takes the call that a later target would need.
                if worth && self.repeats < self.retry.same_target && left > behind {
                    self.repeats += 1;
                    let longest = self.retry.backoff.saturating_mul(1 << (self.repeats - 1).min(16));
                    return self.in_time(Next::Repeat { after: longest.mul_f64(draw.clamp(0.0, 1.0)) }, now);
                }
                self.leave(taken)
            }
            Outcome::RateLimited { whole_key, .. } => self.change_key(taken, *whole_key),
            Outcome::KeyFault { .. } => self.change_key(taken, true),
            Outcome::TooLong => {
                self.larger_than = self.larger_than.max(taken.target.context_window);
                self.leave(taken)
            }
            Outcome::ModelMissing => self.leave(taken),
            Outcome::CallerFault | Outcome::Ok => Next::Stop(Stop::PassOn),
            Outcome::Abandoned => Next::Stop(Stop::Deadline),
        };
        self.in_time(next, now)
    }

    /// The target can't be taken again after all: its gate closed, or it has no other key.
    pub fn leave(&mut self, taken: &Taken) -> Next {
        self.tried.target(taken.number);
        // There was no other key after all.
        self.calls += u32::from(std::mem::take(&mut self.uncounted));
        self.repeats = 0;
        self.key_changes = 0;
        if self.calls >= self.retry.attempts { Next::Stop(Stop::Exhausted) } else { Next::OtherTarget }
    }

    fn change_key(&mut self, taken: &Taken, whole_key: bool) -> Next {
        if taken.key.is_none() || self.key_changes >= KEY_CHANGES {
            return self.leave(taken);
        }
        self.tried.key(taken, whole_key);
        self.key_changes += 1;
        // Not counted: the call that was refused made no answer for anyone.
        self.calls = self.calls.saturating_sub(1);
        self.uncounted = true;
        Next::OtherKey
    }

    fn in_time(&self, next: Next, now: Moment) -> Next {
        let wait = if let Next::Repeat { after } = next { after } else { Duration::ZERO };
        match next {
            Next::Stop(_) => next,
            _ if now.plus(wait) >= self.deadline => Next::Stop(Stop::Deadline),
            _ => next,
        }
    }
}

#[cfg(test)]
mod tests;
