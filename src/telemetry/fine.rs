//! A histogram fine enough to read quantiles from, to about 6 %: sixteen steps to each doubling. Adding to it is one atomic
//! addition; whoever reads it takes what was added since the last time.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Steps to each doubling.
const STEPS: usize = 16;
/// Doublings above the first [`STEPS`] microseconds: up to half an hour, where the last step holds all that is longer.
const DOUBLINGS: usize = 28;
const BUCKETS: usize = STEPS * (DOUBLINGS + 1);

/// See the module's text.
#[derive(Debug)]
pub(super) struct Fine(Box<[AtomicU64]>);

/// What was counted in some time.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Counted(Vec<u64>);

impl Default for Fine {
    fn default() -> Self {
        Self((0..BUCKETS).map(|_| AtomicU64::new(0)).collect())
    }
}

impl Fine {
    pub(super) fn observe(&self, duration: Duration) {
        let us = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        self.0[bucket(us)].fetch_add(1, Ordering::Relaxed);
    }

    /// What was counted since this was asked last.
    pub(super) fn take(&self) -> Counted {
        Counted(self.0.iter().map(|count| count.swap(0, Ordering::Relaxed)).collect())
    }
}

impl Counted {
    /// Several times together.
    pub(super) fn sum<'a>(all: impl Iterator<Item = &'a Self>) -> Self {
        let mut sum = Self(vec![0; BUCKETS]);
        for Self(counts) in all {
            sum.0.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
        }
        sum
    }

    /// The time within which this share of all was, in milliseconds; None where there was nothing.
    pub(super) fn quantile_ms(&self, share: f64) -> Option<f64> {
        let all: u64 = self.0.iter().sum();
        let rank = ((all as f64 * share).ceil() as u64).max(1);
        let mut seen = 0;
        let place = self.0.iter().position(|count| {
            seen += count;
            seen >= rank
        });
        place.filter(|_| all > 0).map(|place| middle_us(place) / 1e3)
    }
}

fn bucket(us: u64) -> usize {
    if us < STEPS as u64 {
        return us as usize;
    }
    let doubling = us.ilog2() as usize - STEPS.ilog2() as usize;
    let step = (us >> doubling) as usize - STEPS;
    (STEPS * (doubling + 1) + step).min(BUCKETS - 1)
}

/// The middle of a bucket.
fn middle_us(place: usize) -> f64 {
    let Some(doubling) = (place / STEPS).checked_sub(1) else { return place as f64 };
    let width = (1u64 << doubling) as f64;
    (STEPS + place % STEPS) as f64 * width + (width - 1.0) / 2.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_time_has_a_bucket_near_it() {
        for us in (0..64).flat_map(|shift| [1u64 << shift, (1 << shift) + (1 << shift) / 3, (1 << shift) - 1]) {
            let place = bucket(us);
            if place < BUCKETS - 1 {
                assert!((middle_us(place) - us as f64).abs() <= us as f64 * 0.04, "{us}: {}", middle_us(place));
            }
        }
        assert!((1..3_000_000).step_by(7).all(|us| bucket(us) >= bucket(us - 1) && bucket(us) - bucket(us - 1) < 2));
    }

    #[test]
    fn quantiles_are_near_the_true_ones_and_taken_once() {
        let fine = Fine::default();
        assert_eq!(fine.take().quantile_ms(0.5), None);
        (1..=1_000).for_each(|ms| fine.observe(Duration::from_millis(ms)));
        let counted = fine.take();
        for (share, ms) in [(0.5, 500.0), (0.95, 950.0), (0.99, 990.0), (1.0, 1_000.0)] {
            let found = counted.quantile_ms(share).unwrap();
            assert!((found - ms).abs() < ms * 0.06, "{share}: {found}");
        }
        assert_eq!(fine.take().quantile_ms(0.5), None);
        fine.observe(Duration::from_secs(100_000));
        let both = Counted::sum([&counted, &fine.take()].into_iter());
        assert!(both.quantile_ms(1.0).unwrap() > 1_000_000.0 && both.quantile_ms(0.5).unwrap() < 600.0);
    }
}
