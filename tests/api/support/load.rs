//! Many callers at an even pace.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::{Client, Reply};

/// One caller's call.
#[derive(Debug)]
pub struct Sample {
    /// When it began, from the load's start.
    pub at: Duration,
    pub reply: Reply,
}

/// `count` calls of `call`, the nth at `n / per_second` seconds, by as many threads as are needed to keep that pace where a
/// call takes no longer than `threads / per_second`. In the order of their beginning.
pub fn paced(client: Client, count: usize, per_second: usize, threads: usize, call: impl Fn(Client) -> Reply + Sync) -> Vec<Sample> {
    let (next, samples, begun) = (AtomicUsize::new(0), Mutex::new(Vec::new()), Instant::now());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= count {
                        break;
                    }
                    let due = Duration::from_secs_f64(number as f64 / per_second as f64);
                    std::thread::sleep(due.saturating_sub(begun.elapsed()));
                    let at = begun.elapsed();
                    let reply = call(client);
                    samples.lock().unwrap().push(Sample { at, reply });
                }
            });
        }
    });
    let mut samples = samples.into_inner().unwrap();
    samples.sort_by_key(|sample| sample.at);
    samples
}
