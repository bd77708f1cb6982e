//! Runs awc's part of a call with the tasks that it spawns kept apart, in a set that nobody runs.
//!
//! awc starts a task per call that refreshes a `date` it has written already. Run, it arms a timer that is due before all
//! others, for which tokio wakes its own thread by a system call, and it wakes twice a second for as long as a stream flows:
//! together a tenth of what a request costs. What else awc spawns before a call's head closes TLS connections that can't be
//! used again; dropping those closes them too. A set serves some calls, as making one costs more than what it keeps.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::rc::Rc;

use futures_util::FutureExt;
use tokio::task::LocalSet;

/// So many calls' tasks are kept until they are dropped.
const CALLS: u32 = 32;

/// Where the tasks of some calls are kept.
#[derive(Default)]
pub(super) struct Apart {
    spawned: RefCell<Rc<LocalSet>>,
    calls: Cell<u32>,
}

impl Apart {
    /// Waits for `call`; what it spawned is dropped with that of others, without having run.
    pub(super) async fn run<F: Future + Unpin>(&self, mut call: F) -> F::Output {
        if self.calls.replace(self.calls.get() + 1) == CALLS {
            self.renew();
        }
        let spawned = Rc::clone(&self.spawned.borrow());
        poll_fn(|cx| {
            let _entered = spawned.enter();
            call.poll_unpin(cx)
        })
        .await
    }

    /// Drops what is kept of calls that have ended.
    pub(super) fn renew(&self) {
        self.calls.set(0);
        self.spawned.take();
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::rc::Rc;

    use super::*;

    #[actix_rt::test]
    async fn what_calls_spawn_never_runs_and_goes_before_it_is_much() {
        let (apart, ran) = (Apart::default(), Rc::new(Cell::new(false)));
        let call = || {
            let told = Rc::clone(&ran);
            Box::pin(async move {
                drop(actix_rt::spawn(async move { told.set(true) }));
                tokio::task::yield_now().await;
                7
            })
        };
        for number in 0..3 * CALLS as usize {
            assert_eq!(apart.run(call()).await, 7);
            assert!(Rc::strong_count(&ran) <= 2 + number.min(CALLS as usize), "{number}");
        }
        assert!(Rc::strong_count(&ran) > 1);
        apart.renew();
        assert_eq!(Rc::strong_count(&ran), 1, "the tasks are gone");
        tokio::task::yield_now().await;
        assert!(!ran.get());
    }

    #[actix_rt::test]
    async fn what_is_spawned_beside_a_call_runs_as_ever() {
        let (tell, told) = tokio::sync::oneshot::channel();
        let call = Box::pin(async { told.await.is_ok() });
        drop(actix_rt::spawn(async move { tell.send(()) }));
        assert!(Apart::default().run(call).await);
    }
}
