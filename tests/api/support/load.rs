//! Many callers at an even pace, and how long each waited.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::{Client, Reply};

/// One caller's call.
#[derive(Debug)]
pub struct Sample<R = Reply> {
    /// When it began, from the load's start.
    pub at: Duration,
    /// How long it took.
    pub took: Duration,
    pub reply: R,
}

/// `count` calls of `call`, the nth at `n / per_second` seconds, by as many threads as are needed to keep that pace where a
/// call takes no longer than `threads / per_second`. In the order of their beginning.
pub fn paced<R: Send>(
    client: Client,
    count: usize,
    per_second: usize,
    threads: usize,
    call: impl Fn(Client) -> R + Sync,
) -> Vec<Sample<R>> {
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
                    samples.lock().unwrap().push(Sample { at, took: begun.elapsed() - at, reply });
                }
            });
        }
    });
    let mut samples = samples.into_inner().unwrap();
    samples.sort_by_key(|sample| sample.at);
    samples
}

/// The time that this share of the samples didn't pass, from 0 to 1.
pub fn quantile<R>(samples: &[Sample<R>], share: f64) -> Duration {
    let mut times: Vec<Duration> = samples.iter().map(|sample| sample.took).collect();
    times.sort();
    let place = (times.len() as f64 * share).ceil() as usize;
    times[place.clamp(1, times.len()) - 1]
}
