//! A clock that is set once and moved lazily: a stream's deadline moves with each piece, and a timer per piece would cost
//! more than the piece.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use tokio::time::{Instant, Sleep};

use crate::base::Moment;
use crate::clock::Clock;

/// See the module's text.
#[derive(Debug)]
pub struct Watch {
    clock: Clock,
    set: Option<Set>,
}

/// A timer that will wake somebody.
#[derive(Debug)]
struct Set {
    sleep: Pin<Box<Sleep>>,
    rings: Moment,
    wakes: Waker,
}

impl Set {
    /// Whether it rings later than now and no later than the deadline, and wakes who asks: there is nothing to do then, and
    /// the timer isn't even touched, which each piece of each stream would pay for.
    fn stands(&self, now: Moment, deadline: Moment, cx: &Context<'_>) -> bool {
        now < self.rings && self.rings <= deadline && self.wakes.will_wake(cx.waker())
    }
}

impl Watch {
    /// Not set yet.
    pub fn new(clock: Clock) -> Self {
        Self { clock, set: None }
    }

    /// Ready once `deadline` has passed. Wakes the task then, or earlier.
    pub fn poll(&mut self, deadline: Moment, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let now = self.clock.now();
            if now >= deadline {
                return Poll::Ready(());
            }
            if self.set.as_ref().is_some_and(|set| set.stands(now, deadline, cx)) {
                return Poll::Pending;
            }
            let wait = || Instant::now() + deadline.since(now);
            let set = self.set.get_or_insert_with(|| Set {
                sleep: Box::pin(tokio::time::sleep_until(wait())),
                rings: deadline,
                wakes: cx.waker().clone(),
            });
            // It would ring too late, or has rung for an earlier deadline that has moved meanwhile.
            if set.rings > deadline || set.rings <= now {
                set.sleep.as_mut().reset(wait());
                set.rings = deadline;
            }
            set.wakes.clone_from(cx.waker());
            if set.sleep.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
        }
    }
}
