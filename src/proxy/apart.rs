//! Runs awc's part of a call with the tasks that it spawns kept apart, in a set that nobody runs and that goes with the call.
//!
//! awc starts a task per call that refreshes a `date` it has written already. Run, it arms a timer that is due before all
//! others, for which tokio wakes its own thread by a system call, and it wakes twice a second for as long as a stream flows:
//! together a tenth of what a request costs. What else awc spawns before a call's head closes connections that can't be used
//! again; dropping those closes them too.

use std::future::{Future, poll_fn};

use futures_util::FutureExt;
use tokio::task::LocalSet;

/// Waits for `call`; what it spawned is dropped with its end, without having run.
pub(super) async fn apart<F: Future + Unpin>(mut call: F) -> F::Output {
    let spawned = LocalSet::new();
    poll_fn(|cx| {
        let _entered = spawned.enter();
        call.poll_unpin(cx)
    })
    .await
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::rc::Rc;

    use super::*;

    #[actix_rt::test]
    async fn what_a_call_spawns_never_runs_and_goes_with_it() {
        let ran = Rc::new(Cell::new(false));
        let told = Rc::clone(&ran);
        let call = Box::pin(async move {
            drop(actix_rt::spawn(async move { told.set(true) }));
            tokio::task::yield_now().await;
            7
        });
        assert_eq!(apart(call).await, 7);
        assert_eq!(Rc::strong_count(&ran), 1, "the task is gone");
        tokio::task::yield_now().await;
        assert!(!ran.get());
    }

    #[actix_rt::test]
    async fn what_is_spawned_beside_a_call_runs_as_ever() {
        let (tell, told) = tokio::sync::oneshot::channel();
        let call = Box::pin(async { told.await.is_ok() });
        drop(actix_rt::spawn(async move { tell.send(()) }));
        assert!(apart(call).await);
    }
}
