//! A clock that is set once and moved lazily: a stream's deadline moves with each piece, and a timer per piece would cost
//! more than the piece.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::time::{Instant, Sleep};

use crate::base::Moment;
use crate::clock::Clock;

/// See the module's text.
#[derive(Debug)]
pub struct Watch {
    clock: Clock,
    sleep: Option<(Pin<Box<Sleep>>, Moment)>,
}

impl Watch {
    /// Not set yet.
    pub fn new(clock: Clock) -> Self {
        Self { clock, sleep: None }
    }

    /// Ready once `deadline` has passed. Wakes the task then, or earlier.
    pub fn poll(&mut self, deadline: Moment, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let now = self.clock.now();
            if now >= deadline {
                return Poll::Ready(());
            }
            let wait = || Instant::now() + deadline.since(now);
            match &mut self.sleep {
                None => self.sleep = Some((Box::pin(tokio::time::sleep_until(wait())), deadline)),
                Some((sleep, set)) if *set > deadline => {
                    sleep.as_mut().reset(wait());
                    *set = deadline;
                }
                Some(_) => {}
            }
            let Some((sleep, set)) = &mut self.sleep else { return Poll::Pending };
            if sleep.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            // It rang for an earlier deadline that has moved meanwhile.
            sleep.as_mut().reset(wait());
            *set = deadline;
            if sleep.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
        }
    }
}
