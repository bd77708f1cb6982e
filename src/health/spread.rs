//! How recent latencies spread, published for readers on every thread: counts in buckets that grow with the latency, so that
//! any percentile can be read without asking the actor that writes them. Two sets of buckets take turns, so that what is
//! read is of the last one to two spans that had any call.

use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use crate::base::Moment;

/// Buckets per doubling of the latency, as a power of two: a percentile is read an eighth too late at most, never too early.
const STEPS: u32 = 3;
/// Latencies above this (an hour and a bit) share the last bucket, in microseconds.
const LONGEST: u64 = (1 << 32) - 1;
const BUCKETS: usize = bucket(LONGEST) + 1;
/// How long a set of buckets is filled.
const SPAN: Duration = Duration::from_secs(30);
/// Fewer calls have no percentiles worth acting on.
const FEWEST: u64 = 10;

/// See the module's text. One writer, any readers.
#[derive(Debug)]
pub(super) struct Spread {
    sets: [Box<[AtomicU32]>; 2],
    /// The place of the set that is being filled, and the number of the span in which that began.
    filling: AtomicUsize,
    span: AtomicU64,
}

impl Default for Spread {
    fn default() -> Self {
        let set = || (0..BUCKETS).map(|_| AtomicU32::new(0)).collect();
        Self { sets: [set(), set()], filling: AtomicUsize::new(0), span: AtomicU64::new(0) }
    }
}

impl Spread {
    /// Takes a latency. Called by the one writer only.
    pub(super) fn record(&self, latency: Duration, now: Moment) {
        let span = now.micros() / SPAN.as_micros() as u64;
        let mut filling = self.filling.load(Ordering::Relaxed);
        if span > self.span.load(Ordering::Relaxed) {
            filling = 1 - filling;
            // A reader in between sees fewer calls, and at worst acts on none.
            self.sets[filling].iter().for_each(|count| count.store(0, Ordering::Relaxed));
            self.filling.store(filling, Ordering::Relaxed);
            self.span.store(span, Ordering::Relaxed);
        }
        let micros = u64::try_from(latency.as_micros()).unwrap_or(LONGEST).min(LONGEST);
        self.sets[filling][bucket(micros)].fetch_add(1, Ordering::Relaxed);
    }

    /// A time that this share of the calls, in millionths, didn't pass; None where there were too few calls.
    pub(super) fn percentile(&self, share: u32) -> Option<Duration> {
        let count = |place: usize| self.sets.iter().map(|set| u64::from(set[place].load(Ordering::Relaxed))).sum::<u64>();
        let all = (0..BUCKETS).map(count).sum::<u64>();
        if all < FEWEST {
            return None;
        }
        let wanted = (all * u64::from(share)).div_ceil(1_000_000).max(1);
        let mut passed = 0;
        let place = (0..BUCKETS).find(|place| {
            passed += count(*place);
            passed >= wanted
        })?;
        Some(Duration::from_micros(end(place)))
    }
}

/// The bucket of a time in microseconds.
const fn bucket(micros: u64) -> usize {
    let doublings = 63 - (micros | 1).leading_zeros();
    if doublings < STEPS {
        return micros as usize;
    }
    let shift = doublings - STEPS;
    ((shift as usize) << STEPS) + (micros >> shift) as usize
}

/// The first time past a bucket, in microseconds.
const fn end(bucket: usize) -> u64 {
    let steps = 1 << STEPS;
    if bucket < 2 * steps {
        return bucket as u64 + 1;
    }
    let shift = bucket / steps - 1;
    ((bucket % steps + steps + 1) as u64) << shift
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;
    const MEDIAN: u32 = 500_000;

    fn read(spread: &Spread, share: u32) -> u64 {
        spread.percentile(share).unwrap().as_micros() as u64
    }

    #[test]
    fn a_hundred_calls_have_percentiles() {
        let spread = Spread::default();
        (1..=100).for_each(|ms| spread.record(MS(ms), Moment::START));
        for (share, ms) in [(10_000, 1), (MEDIAN, 50), (950_000, 95), (999_000, 100)] {
            let read = read(&spread, share);
            assert!(read > ms * 1_000 && read <= ms * 1_125 + 1, "{share}: {read}");
        }
    }

    #[test]
    fn calls_of_one_span_count_together() {
        let spread = Spread::default();
        (1..=100).for_each(|ms| spread.record(MS(ms), Moment::from_millis(ms * 200)));
        assert!((50_000..=57_000).contains(&read(&spread, MEDIAN)), "{}", read(&spread, MEDIAN));
    }

    #[test]
    fn a_few_calls_have_none() {
        let spread = Spread::default();
        (1..10).for_each(|_| spread.record(MS(5), Moment::START));
        assert_eq!(spread.percentile(MEDIAN), None);
        spread.record(MS(5), Moment::START);
        assert!(spread.percentile(MEDIAN).is_some());
    }

    #[test]
    fn what_is_old_goes_once_there_are_newer_calls() {
        let spread = Spread::default();
        let at = |second: u64, ms: u64| (0..20).for_each(|_| spread.record(MS(ms), Moment::from_millis(second * 1_000)));
        at(0, 100);
        at(31, 10);
        assert!(read(&spread, MEDIAN) < 12_000 && read(&spread, 950_000) > 100_000, "both spans count");
        at(61, 10);
        assert!(read(&spread, 999_000) < 12_000, "the first is gone");
        at(3_600, 40);
        assert!(read(&spread, 1) < 12_000, "the last before a long pause still counts");
        // A clock that steps back changes nothing but the count.
        at(10, 40);
        assert!(read(&spread, 999_000) > 40_000);
    }

    #[test]
    fn an_endless_call_is_in_the_last_bucket() {
        let spread = Spread::default();
        (0..10).for_each(|_| spread.record(Duration::MAX, Moment::START));
        assert!(read(&spread, MEDIAN) > LONGEST);
    }

    /// The bucket of a time begins at or before it, ends after it, and is no wider than an eighth of it.
    fn has_a_narrow_bucket(micros: u64) -> bool {
        let place = bucket(micros);
        let (begins, ends) = (place.checked_sub(1).map_or(0, end), end(place));
        place < BUCKETS && begins <= micros && micros < ends && ends - begins <= 1.max(micros / 8)
    }

    #[test]
    fn the_shortest_times_have_buckets_of_their_own_and_the_longest_has_one() {
        assert!((0..16).all(|micros| bucket(micros) == micros as usize));
        assert!((0..5_000).chain([LONGEST]).all(has_a_narrow_bucket));
    }

    proptest! {
        #[test]
        fn every_time_lies_in_a_narrow_bucket(micros in 0..=LONGEST) {
            prop_assert!(has_a_narrow_bucket(micros), "{micros} in {}", bucket(micros));
        }
    }
}
