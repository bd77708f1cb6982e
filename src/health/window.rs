//! How many of the last calls failed or were slow: a ring of buckets over monotonic time with exact counts.

use std::time::Duration;

use crate::base::Moment;

/// Buckets of one window: enough that the oldest tenth falls out at a time.
const BUCKETS: usize = 10;

/// The counts of a span of time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Calls that ended with a success or a failure.
    pub calls: u32,
    /// Of those, failures.
    pub failures: u32,
    /// Of those, slow ones.
    pub slow: u32,
}

impl Tally {
    /// Failures as a share of calls; 0 where there is none.
    pub fn failure_ratio(self) -> f64 {
        share(self.failures, self.calls)
    }

    /// Slow calls as a share of calls; 0 where there is none.
    pub fn slow_ratio(self) -> f64 {
        share(self.slow, self.calls)
    }

    fn plus(self, other: Self) -> Self {
        Self {
            calls: self.calls.saturating_add(other.calls),
            failures: self.failures.saturating_add(other.failures),
            slow: self.slow.saturating_add(other.slow),
        }
    }
}

fn share(part: u32, whole: u32) -> f64 {
    if whole == 0 { 0.0 } else { f64::from(part) / f64::from(whole) }
}

/// A sliding window of [`Tally`]s.
#[derive(Clone, Debug)]
pub struct Window {
    width_us: u64,
    buckets: [Tally; BUCKETS],
    /// Number of the newest bucket since the beginning of time.
    newest: u64,
}

impl Window {
    /// A window that looks back over `span`.
    pub fn new(span: Duration) -> Self {
        let width_us = (span.as_micros() as u64 / BUCKETS as u64).max(1);
        Self { width_us, buckets: Default::default(), newest: 0 }
    }

    /// Counts one call.
    pub fn record(&mut self, failed: bool, slow: bool, now: Moment) {
        self.advance(now);
        let bucket = &mut self.buckets[(self.newest % BUCKETS as u64) as usize];
        bucket.calls = bucket.calls.saturating_add(1);
        bucket.failures = bucket.failures.saturating_add(u32::from(failed));
        bucket.slow = bucket.slow.saturating_add(u32::from(slow));
    }

    /// The counts of the last span.
    pub fn tally(&mut self, now: Moment) -> Tally {
        self.advance(now);
        self.buckets.iter().fold(Tally::default(), |sum, bucket| sum.plus(*bucket))
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.buckets = Default::default();
    }

    /// Looks back over another span from now on. What was counted stays as recent as the end of its old bucket, so that
    /// nothing is forgotten early, and falls out where the new span doesn't reach so far.
    pub fn respan(&mut self, span: Duration, now: Moment) {
        self.advance(now);
        let mut other = Self::new(span);
        let end = now.micros().max(self.newest * self.width_us);
        other.advance(Moment::from_micros(end));
        for age in (0..BUCKETS as u64).filter(|age| *age <= self.newest) {
            let number = self.newest - age;
            let at = ((number + 1) * self.width_us - 1).min(end) / other.width_us;
            if at + (BUCKETS as u64) > other.newest {
                let old = self.buckets[(number % BUCKETS as u64) as usize];
                let bucket = &mut other.buckets[(at % BUCKETS as u64) as usize];
                *bucket = bucket.plus(old);
            }
        }
        *self = other;
    }

    /// Empties the buckets that time has passed by. A clock that steps back changes nothing.
    fn advance(&mut self, now: Moment) {
        let current = now.micros() / self.width_us;
        if current <= self.newest {
            return;
        }
        let passed = (current - self.newest).min(BUCKETS as u64);
        for step in 1..=passed {
            self.buckets[((self.newest + step) % BUCKETS as u64) as usize] = Tally::default();
        }
        // Where more than a whole ring has passed, all were emptied, and the numbering may jump.
        self.newest = current;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SPAN: Duration = Duration::from_secs(10);

    fn at(ms: u64) -> Moment {
        Moment::from_millis(ms)
    }

    #[test]
    fn counts_what_is_within_the_span() {
        let mut window = Window::new(SPAN);
        window.record(true, false, at(0));
        window.record(false, true, at(500));
        window.record(false, false, at(9_999));
        assert_eq!(window.tally(at(9_999)), Tally { calls: 3, failures: 1, slow: 1 });
        assert_eq!(window.tally(at(10_000)), Tally { calls: 1, failures: 0, slow: 0 });
        assert_eq!(window.tally(at(19_000)), Tally::default());
    }

    #[test]
    fn a_long_silence_empties_it() {
        let mut window = Window::new(SPAN);
        for ms in [0, 1_000, 5_000, 9_000] {
            window.record(true, false, at(ms));
        }
        assert_eq!(window.tally(at(1_000_003)), Tally::default());
        window.record(true, false, at(1_000_003));
        assert_eq!(window.tally(at(1_000_004)).failures, 1);
    }

    #[test]
    fn a_clock_that_steps_back_changes_nothing() {
        let mut window = Window::new(SPAN);
        window.record(true, false, at(50_000));
        assert_eq!(window.tally(at(1)).calls, 1);
        window.record(true, false, at(2));
        assert_eq!(window.tally(at(50_000)).calls, 2);
    }

    #[test]
    fn ratios() {
        let tally = Tally { calls: 4, failures: 1, slow: 2 };
        assert_eq!((tally.failure_ratio(), tally.slow_ratio()), (0.25, 0.5));
        assert_eq!(Tally::default().failure_ratio(), 0.0);
    }

    #[test]
    fn another_span_keeps_what_it_reaches() {
        let mut window = Window::new(SPAN);
        for ms in [500, 4_500, 9_500] {
            window.record(true, ms == 9_500, at(ms));
        }
        window.respan(Duration::from_secs(100), at(9_600));
        assert_eq!(window.tally(at(9_600)), Tally { calls: 3, failures: 3, slow: 1 });
        assert_eq!(window.tally(at(99_999)).calls, 3);
        assert_eq!(window.tally(at(100_000)).calls, 0);
        let mut window = Window::new(SPAN);
        for ms in [500, 4_500, 9_500] {
            window.record(true, ms == 9_500, at(ms));
        }
        window.respan(Duration::from_secs(2), at(9_600));
        assert_eq!(window.tally(at(9_600)), Tally { calls: 1, failures: 1, slow: 1 });
        assert_eq!(window.tally(at(11_600)), Tally::default());
    }

    #[test]
    fn what_was_counted_keeps_its_bucket_where_the_span_stays() {
        let mut window = Window::new(SPAN);
        window.record(true, false, at(500));
        window.respan(SPAN, at(9_600));
        assert_eq!((window.tally(at(9_999)).calls, window.tally(at(10_000)).calls), (1, 0));
    }

    #[test]
    fn a_bucket_that_ends_just_before_another_span_is_left_behind() {
        let mut window = Window::new(SPAN);
        window.record(true, false, at(8_500));
        window.respan(Duration::from_secs(1), at(9_950));
        assert_eq!(window.tally(at(9_950)), Tally::default(), "its second ended 951 ms ago, and nine tenths are looked back over");
    }

    #[test]
    fn another_span_at_a_time_gone_back_loses_nothing() {
        let mut window = Window::new(SPAN);
        window.record(true, false, at(50_500));
        window.respan(Duration::from_secs(20), at(1));
        assert_eq!(window.tally(at(50_500)).calls, 1);
    }

    proptest! {
        /// Whatever spans follow each other: nothing is counted twice, and what is younger than every span stays.
        #[test]
        fn respanning_neither_adds_nor_forgets_early(
            steps in proptest::collection::vec((0u64..3_000, proptest::option::of(1u64..40)), 1..60)
        ) {
            let (mut window, mut calls, mut now, mut span) = (Window::new(SPAN), Vec::new(), 0, 10);
            let mut shortest = span;
            for (gap, other) in steps {
                now += gap;
                if let Some(other) = other {
                    window.respan(Duration::from_secs(other), at(now));
                    span = other;
                    shortest = shortest.min(span);
                }
                window.record(false, false, at(now));
                calls.push(now);
            }
            let tally = window.tally(at(now)).calls as usize;
            prop_assert!(tally <= calls.len());
            // A bucket may fall out up to a tenth of the span early, and each move to another span may cost as much.
            let young = calls.iter().filter(|call| now - **call < shortest * 900).count();
            prop_assert!(tally >= young, "{} < {}", tally, young);
        }

        /// Against a list of all calls: the window holds those of the last nine to ten bucket widths.
        #[test]
        fn agrees_with_a_list(steps in proptest::collection::vec((0u64..4_000, any::<bool>()), 1..80)) {
            let mut window = Window::new(SPAN);
            let mut calls = Vec::new();
            let mut now = 0;
            for (gap, failed) in steps {
                now += gap;
                window.record(failed, !failed, at(now));
                calls.push((now / 1_000, failed));
            }
            let first = (now / 1_000).saturating_sub(9);
            let inside: Vec<_> = calls.iter().filter(|(bucket, _)| *bucket >= first).collect();
            let failures = inside.iter().filter(|(_, failed)| *failed).count() as u32;
            let tally = window.tally(at(now));
            prop_assert_eq!(tally.calls, inside.len() as u32);
            prop_assert_eq!(tally.failures, failures);
            prop_assert_eq!(tally.slow, tally.calls - failures);
        }
    }
}
