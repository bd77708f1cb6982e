//! Latency quantiles over the last one to two windows, for people to read: two histograms that take turns.

use std::time::Duration;

use hdrhistogram::Histogram;

use super::ewma::Ewma;
use crate::base::Moment;

/// Longest latency told apart, in milliseconds.
const LONGEST: u64 = 3_600_000;

/// Milliseconds at the median, the 95th and the 99th of a hundred.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Latency {
    /// Time-decayed mean.
    pub ewma: u64,
    /// Median.
    pub p50: u64,
    /// 95 of 100 were no slower.
    pub p95: u64,
    /// 99 of 100 were no slower.
    pub p99: u64,
}

/// See the module's text.
#[derive(Clone, Debug)]
pub struct Quantiles {
    now: Histogram<u32>,
    before: Histogram<u32>,
    turn: u64,
    span_us: u64,
    ewma: Ewma,
}

impl Quantiles {
    /// Looks back over one to two `span`s.
    pub fn new(span: Duration) -> Self {
        // Bounds and precision are constants that hdrhistogram accepts: tested below.
        let empty = Histogram::new_with_bounds(1, LONGEST, 2).expect("constant bounds are valid");
        Self { now: empty.clone(), before: empty, turn: 0, span_us: (span.as_micros() as u64).max(1), ewma: Ewma::default() }
    }

    /// Looks back over other spans from now on; what is known stays.
    pub fn respan(&mut self, span: Duration, now: Moment) {
        self.advance(now);
        self.span_us = (span.as_micros() as u64).max(1);
        self.turn = now.micros() / self.span_us;
    }

    /// Takes a latency.
    pub fn record(&mut self, latency: Duration, now: Moment) {
        self.advance(now);
        self.now.saturating_record((latency.as_millis() as u64).max(1));
        self.ewma.observe(latency, now);
    }

    /// The figures; None before the first call. Where the last calls are long ago, those of the last windows that had any.
    pub fn read(&mut self, now: Moment) -> Option<Latency> {
        self.advance(now);
        let ewma = self.ewma.mean()?.as_millis() as u64;
        let mut both = self.now.clone();
        both.add(&self.before).ok()?;
        if both.is_empty() {
            return Some(Latency { ewma, p50: ewma, p95: ewma, p99: ewma });
        }
        let at = |quantile| both.value_at_quantile(quantile);
        Some(Latency { ewma, p50: at(0.5), p95: at(0.95), p99: at(0.99) })
    }

    fn advance(&mut self, now: Moment) {
        let turn = now.micros() / self.span_us;
        if turn <= self.turn {
            return;
        }
        std::mem::swap(&mut self.now, &mut self.before);
        self.now.reset();
        if turn > self.turn + 1 {
            self.before.reset();
        }
        self.turn = turn;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_of_a_hundred_calls() {
        let mut quantiles = Quantiles::new(Duration::from_secs(30));
        assert_eq!(quantiles.read(Moment::START), None);
        for ms in 1..=100u64 {
            quantiles.record(Duration::from_millis(ms), Moment::from_millis(ms));
        }
        let read = quantiles.read(Moment::from_millis(100)).unwrap();
        assert_eq!((read.p50, read.p95, read.p99), (50, 95, 99));
        assert!(quantiles.read(Moment::from_millis(31_000)).unwrap().p99 >= 99, "the window before still counts");
        let later = quantiles.read(Moment::from_millis(200_000)).unwrap();
        assert_eq!(later.p50, later.ewma, "nothing is left but the mean");
    }

    #[test]
    fn what_is_older_than_the_window_before_is_gone() {
        let mut quantiles = Quantiles::new(Duration::from_secs(30));
        quantiles.record(Duration::from_millis(100), Moment::START);
        quantiles.record(Duration::from_millis(10), Moment::from_millis(95_000));
        assert_eq!(quantiles.read(Moment::from_millis(95_000)).unwrap().p99, 10);
    }

    #[test]
    fn other_spans_keep_what_is_known_and_forget_it_in_their_time() {
        let mut quantiles = Quantiles::new(Duration::from_secs(30));
        let now = Moment::from_millis(10_000);
        [10, 10, 10, 10, 1_000].into_iter().for_each(|ms| quantiles.record(Duration::from_millis(ms), now));
        quantiles.respan(Duration::from_secs(60), now);
        let read = quantiles.read(Moment::from_millis(70_000)).unwrap();
        assert!((read.p50, read.ewma) == (10, 108), "of the window before: {read:?}");
        let read = quantiles.read(Moment::from_millis(180_000)).unwrap();
        assert_eq!(read.p50, read.ewma, "nothing is left but the mean");
    }

    #[test]
    fn an_endless_call_is_cut_at_an_hour() {
        let mut quantiles = Quantiles::new(Duration::from_secs(30));
        quantiles.record(Duration::from_secs(1 << 30), Moment::START);
        assert!(quantiles.read(Moment::START).unwrap().p50 >= LONGEST * 98 / 100);
    }
}
