//! The plan of one request's attempts: after each failure, whether to repeat, to change the key, to go on to another
//! target, or to stop, and what has been used up.

use std::time::Duration;

use super::budget::Budget;
use super::onward::Onward;
use super::pick::{Taken, Tried};
use super::policy::Retry;
use crate::base::Moment;
use crate::health::{Failure, Outcome};

/// Changes of key on one target that cost no attempt: a long pool of spent keys may not hold a request for good.
const KEY_CHANGES: u32 = 3;
/// A Retry-After up to this is waited out where no other target could serve: better late than refused.
const LAST_WAIT: Duration = Duration::from_secs(5);

/// What to do after a failed attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// The same target again, after this time.
    Repeat {
        /// Full jitter, doubling; or what the target asked for.
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
    /// The call may have been billed, and the request may not be billed twice.
    Ambiguous,
}

/// What a failure finds around it.
#[derive(Clone, Copy, Debug)]
pub struct Around<'a> {
    /// Targets besides the failed one that could be tried now.
    pub behind: usize,
    /// Whether the failed one could be asked again now, with another key where its key was at fault.
    pub again: bool,
    /// What repeats are paid from.
    pub budget: &'a Budget,
    /// The time.
    pub now: Moment,
    /// A random number, 0 to 1.
    pub draw: f64,
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
    /// A Retry-After of the present target was waited out.
    waited: bool,
    /// A call that may have been billed is the last.
    billed_once: bool,
    /// A second call was made beside another.
    hedged: bool,
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
            waited: false,
            billed_once: false,
            hedged: false,
            uncounted: false,
            tried: Tried::default(),
            larger_than: None,
            last_resort_used: false,
            failures: Vec::new(),
        }
    }

    /// The same for what must not be billed twice, such as images: a call that may have been is never followed by another.
    pub fn billed_once(self) -> Self {
        Self { billed_once: true, ..self }
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

    /// Whether a second call may be made beside the present one: once a request, within its calls, and never of what must
    /// not be billed twice.
    pub fn may_hedge(&self) -> bool {
        !self.hedged && !self.billed_once && self.calls < self.retry.attempts
    }

    /// Counts a call that is about to be made beside another.
    pub fn hedging(&mut self) {
        self.hedged = true;
        self.calling();
    }

    /// One of two calls failed, and the other goes on: whether its failure leaves the other any sense.
    pub fn fell_out(&mut self, taken: &Taken, outcome: &Outcome) -> bool {
        self.tried.target(taken.number);
        match outcome {
            Outcome::TooLong => self.larger_than = self.larger_than.max(taken.target.context_window),
            Outcome::Ok | Outcome::CallerFault | Outcome::Abandoned => return false,
            Outcome::Transient(_) | Outcome::RateLimited { .. } | Outcome::KeyFault { .. } | Outcome::ModelMissing => {}
        }
        true
    }

    /// The plan for going on with the stream that its last call began, should that break.
    /// What was tried goes over to it.
    pub fn onward(&mut self) -> Onward {
        Onward::new(std::mem::take(&mut self.tried), self.larger_than, self.last_resort_used, self.retry.attempts, self.calls)
    }

    /// Decides after a failure of `taken`.
    pub fn after(&mut self, taken: &Taken, outcome: &Outcome, around: &Around<'_>) -> Next {
        let next = match outcome {
            Outcome::Transient(failure) if self.billed_once && failure.may_be_billed() => Next::Stop(Stop::Ambiguous),
            Outcome::Transient(failure) => self.repeat(*failure, around).unwrap_or_else(|| self.leave(taken)),
            Outcome::RateLimited { wait, whole_key } => {
                let next = self.other_key(taken, *whole_key, around).or_else(|| self.wait((*wait)?, around));
                next.unwrap_or_else(|| self.leave(taken))
            }
            Outcome::KeyFault { .. } => self.other_key(taken, true, around).unwrap_or_else(|| self.leave(taken)),
            Outcome::TooLong => {
                self.larger_than = self.larger_than.max(taken.target.context_window);
                self.leave(taken)
            }
            Outcome::ModelMissing => self.leave(taken),
            Outcome::CallerFault | Outcome::Ok => Next::Stop(Stop::PassOn),
            Outcome::Abandoned => Next::Stop(Stop::Deadline),
        };
        match next {
            Next::OtherKey | Next::OtherTarget if around.now >= self.deadline => Next::Stop(Stop::Deadline),
            next => next,
        }
    }

    /// The target can't be taken again after all: its gate closed, or it has no other key.
    pub fn leave(&mut self, taken: &Taken) -> Next {
        self.tried.target(taken.number);
        // There was no other key after all.
        self.calls += u32::from(std::mem::take(&mut self.uncounted));
        self.repeats = 0;
        self.key_changes = 0;
        self.waited = false;
        if self.calls >= self.retry.attempts { Next::Stop(Stop::Exhausted) } else { Next::OtherTarget }
    }

    /// The same target again; None: not this failure, not now, or the budget is spent.
    fn repeat(&mut self, failure: Failure, around: &Around<'_>) -> Option<Next> {
        // Nobody listened: with another target behind it, asking there is quicker than asking again.
        let worth = failure.repeatable() && (around.behind == 0 || failure != Failure::Connect);
        if !worth || self.repeats >= self.retry.same_target || !self.may_call_again(around) || !around.again {
            return None;
        }
        let longest = self.retry.backoff.saturating_mul(1 << self.repeats.min(16));
        let after = longest.mul_f64(around.draw.clamp(0.0, 1.0));
        if !self.in_time(after, around.now) {
            return (around.behind == 0).then_some(Next::Stop(Stop::Deadline));
        }
        self.repeats += 1;
        self.paid(around).then_some(Next::Repeat { after })
    }

    /// The same target once it said that it may be asked; None: that is too late, or it has been waited for before.
    fn wait(&mut self, asked: Duration, around: &Around<'_>) -> Option<Next> {
        let longest = if around.behind == 0 { self.retry.wait.max(LAST_WAIT) } else { self.retry.wait };
        if asked > longest || self.waited || !self.may_call_again(around) || !self.in_time(asked, around.now) {
            return None;
        }
        self.waited = true;
        self.paid(around).then_some(Next::Repeat { after: asked })
    }

    fn other_key(&mut self, taken: &Taken, whole_key: bool, around: &Around<'_>) -> Option<Next> {
        if taken.key.is_none() || self.key_changes >= KEY_CHANGES || !around.again {
            return None;
        }
        self.tried.key(taken, whole_key);
        self.key_changes += 1;
        // Not counted: the call that was refused made no answer for anyone.
        self.calls = self.calls.saturating_sub(1);
        self.uncounted = true;
        Some(Next::OtherKey)
    }

    /// A repeat never takes the call that a later target would need.
    fn may_call_again(&self, around: &Around<'_>) -> bool {
        self.retry.attempts.saturating_sub(self.calls) as usize > around.behind
    }

    fn in_time(&self, wait: Duration, now: Moment) -> bool {
        now.plus(wait) < self.deadline
    }

    fn paid(&self, around: &Around<'_>) -> bool {
        around.budget.spend(self.retry.budget_min, around.now)
    }
}

#[cfg(test)]
mod tests;
