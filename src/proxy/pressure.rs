//! What the machine leaves the gateway: where memory or file descriptors run short, new requests are refused while those
//! under way go on, since one more could cost them all. Looked at once a second, off the request path; a request only reads
//! what was found. Without a limit of its own, what the machine has left is the limit.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use crate::machine::{self, Memory};
use crate::telemetry::Refused;

/// How often is looked.
const LOOK: Duration = Duration::from_secs(1);
/// Of what the gateway could have, a tenth stays free.
const KEPT: u64 = 10;
/// Of the descriptors, one in so many stays free, within these bounds: for calls to upstreams, files and the answers that
/// refuse.
const SPARE_OF: usize = 64;
const LEAST_SPARE: usize = 16;
const MOST_SPARE: usize = 256;

/// See the module's text.
#[derive(Debug)]
pub struct Pressure {
    memory: AtomicBool,
    /// Callers' connections that are open.
    connections: Arc<AtomicUsize>,
    /// So many of them leave enough descriptors for their calls.
    most_connections: AtomicUsize,
}

impl Default for Pressure {
    fn default() -> Self {
        Self { memory: AtomicBool::new(false), connections: Arc::default(), most_connections: AtomicUsize::new(usize::MAX) }
    }
}

/// A caller's connection, counted until dropped.
#[derive(Debug)]
pub struct Connected(Arc<AtomicUsize>);

impl Drop for Connected {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Pressure {
    /// Counts a caller's connection.
    pub fn connected(&self) -> Connected {
        self.connections.fetch_add(1, Ordering::Relaxed);
        Connected(Arc::clone(&self.connections))
    }

    /// What is short, so that a new request has to be refused.
    pub fn shortage(&self) -> Option<Refused> {
        if self.memory.load(Ordering::Relaxed) {
            return Some(Refused::Memory);
        }
        let open = self.connections.load(Ordering::Relaxed);
        (open > self.most_connections.load(Ordering::Relaxed)).then_some(Refused::Descriptors)
    }

    /// Looks at the machine, now and once a second from now on.
    pub async fn watch(&self) {
        loop {
            self.look();
            tokio::time::sleep(LOOK).await;
        }
    }

    fn look(&self) {
        let short = machine::memory().is_some_and(is_short);
        if self.memory.swap(short, Ordering::Relaxed) != short {
            if short {
                tracing::warn!("memory is short: new requests are refused until there is more");
            } else {
                tracing::info!("memory is no longer short");
            }
        }
        let open = self.connections.load(Ordering::Relaxed);
        let most = machine::descriptors().map_or(usize::MAX, |(used, limit)| most_connections(open, used, limit));
        self.most_connections.store(most, Ordering::Relaxed);
    }
}

fn is_short(memory: Memory) -> bool {
    memory.used >= memory.left.saturating_mul(KEPT - 1)
}

/// How many callers' connections may be open where `open` are, with so many descriptors `used` of `limit`: each further one
/// will want a second, to an upstream.
fn most_connections(open: usize, used: usize, limit: usize) -> usize {
    let wanted = used.saturating_add(spare(limit));
    match limit.checked_sub(wanted) {
        Some(left) => open.saturating_add(left / 2),
        None => open.saturating_sub(wanted - limit),
    }
}

fn spare(limit: usize) -> usize {
    (limit / SPARE_OF).clamp(LEAST_SPARE, MOST_SPARE)
}

/// Connections that may be accepted at all, by each of so many workers: what comes on top waits, rather than leave none to
/// tell anyone anything.
pub fn acceptable(workers: usize) -> usize {
    const MOST: usize = 1 << 20;
    let Some((used, limit)) = machine::descriptors() else { return MOST };
    (limit.saturating_sub(used + spare(limit)) / workers.max(1)).clamp(1, MOST)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn memory_is_short_at_nine_tenths_of_what_could_be_had() {
        assert!(!is_short(Memory { used: 899, left: 100 }));
        assert!(is_short(Memory { used: 900, left: 100 }));
        assert!(is_short(Memory { used: 1, left: 0 }));
    }

    #[test]
    fn connections_are_bounded_by_the_descriptors_that_they_and_their_calls_need() {
        assert_eq!(most_connections(0, 50, 20_000), (20_000 - 50 - 256) / 2);
        assert_eq!(most_connections(9_000, 18_050, 20_000), 9_000 + (20_000 - 18_050 - 256) / 2);
        assert_eq!(most_connections(40, 30 + 80, 128), 40 + 1);
        assert_eq!(most_connections(40, 126, 128), 40 - 14, "some have to go");
    }

    #[test]
    fn more_connections_than_fit_are_a_shortage_until_they_go() {
        let pressure = Pressure::default();
        let held: Vec<_> = (0..3).map(|_| pressure.connected()).collect();
        assert_eq!(pressure.shortage(), None);
        pressure.most_connections.store(2, Ordering::Relaxed);
        assert_eq!(pressure.shortage(), Some(Refused::Descriptors));
        pressure.most_connections.store(3, Ordering::Relaxed);
        assert_eq!(pressure.shortage(), None, "they all fit");
        pressure.most_connections.store(2, Ordering::Relaxed);
        drop(held);
        assert_eq!(pressure.shortage(), None);
        pressure.memory.store(true, Ordering::Relaxed);
        assert_eq!(pressure.shortage(), Some(Refused::Memory));
    }

    proptest! {
        /// What is allowed never runs into the limit, each connection with a call of its own.
        #[test]
        fn what_is_allowed_fits(open in 0usize..20_000, base in 0usize..200, calls in 0usize..20_000, limit in 64usize..40_000) {
            let calls = calls.min(open);
            let used = base + open + calls;
            let most = most_connections(open, used, limit);
            if most > open {
                prop_assert!(used + 2 * (most - open) + spare(limit) <= limit);
            }
        }
    }
}
