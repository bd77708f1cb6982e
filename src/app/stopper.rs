//! How a running gateway is stopped: at once, or when what is under way has ended.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use actix_web::dev::ServerHandle;

use super::DRAIN_LOOK;
use crate::proxy::Gateway;

/// What was handed to the server in the end, error events too, has this long to be sent.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// Stops a running gateway, from wherever.
#[derive(Clone)]
pub struct Stopper {
    pub(super) gateway: Arc<Gateway>,
    pub(super) handles: Vec<ServerHandle>,
}

impl Stopper {
    /// Takes no new requests, lets live ones finish within the grace, ends the rest with an error event, then stops.
    pub async fn drain(&self) {
        let gateway = &self.gateway;
        let grace = gateway.edition.load().settings.server.shutdown_grace;
        gateway.draining.store(true, Ordering::Relaxed);
        let busy = || gateway.requests.load(Ordering::Relaxed) + gateway.streams.load(Ordering::Relaxed);
        tracing::info!(under_way = busy(), grace_s = grace.as_secs_f64(), "draining: no new requests");
        let end = gateway.clock.now().plus(grace);
        while busy() > 0 && gateway.clock.now() < end {
            tokio::time::sleep(DRAIN_LOOK).await;
        }
        if busy() > 0 {
            tracing::warn!(under_way = busy(), "the grace is over: what is still under way ends with an error");
            gateway.closing.store(true, Ordering::Relaxed);
            for (_, closing) in gateway.workers.lock().map(|all| all.clone()).unwrap_or_default() {
                closing.notify_waiters();
            }
        }
        // A request is counted as over when its last bytes are handed to the server, not when they are sent.
        tokio::time::sleep(LAST_WORDS).await;
        // The ends of the last calls go on record before their actors go.
        gateway.settle().await;
        self.end(busy() == 0).await;
    }

    /// Stops at once.
    pub async fn stop(&self) {
        self.end(false).await;
    }

    async fn end(&self, graceful: bool) {
        futures_util::future::join_all(self.handles.iter().map(|handle| handle.stop(graceful))).await;
    }
}
