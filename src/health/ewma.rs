//! Latency in two numbers: a time-decayed mean to show, and a peak that jumps up at once and decays slowly to pick by
//! (peak-EWMA, after Finagle's `PeakEwma` and tower's `load::PeakEwma`).

use std::time::Duration;

use crate::base::Moment;

/// Time after which a sample weighs 1/e of a new one.
const DECAY: Duration = Duration::from_secs(10);

/// A time-decayed mean and a peak over the same samples, in microseconds.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ewma {
    mean_us: f64,
    peak_us: f64,
    at: Moment,
    seen: bool,
}

impl Ewma {
    /// One that goes on from a published peak, in microseconds; zero: nothing is known.
    pub fn resume(peak_us: u64, at: Moment) -> Self {
        let peak = peak_us as f64;
        Self { mean_us: peak, peak_us: peak, at, seen: peak_us > 0 }
    }

    /// Takes a sample.
    pub fn observe(&mut self, sample: Duration, now: Moment) {
        let sample = sample.as_micros() as f64;
        if !self.seen {
            *self = Self { mean_us: sample, peak_us: sample, at: now, seen: true };
            return;
        }
        let keep = decay(now.since(self.at));
        // Without a floor on the new sample's weight a burst within a millisecond would count as one call.
        let keep_mean = keep.min(0.9);
        self.mean_us = self.mean_us * keep_mean + sample * (1.0 - keep_mean);
        self.peak_us = if sample > self.peak_us { sample } else { self.peak_us * keep + sample * (1.0 - keep) };
        self.at = self.at.max(now);
    }

    /// The mean; None before the first sample.
    pub fn mean(&self) -> Option<Duration> {
        self.seen.then(|| Duration::from_micros(self.mean_us as u64))
    }

    /// The peak as last observed; zero before the first sample.
    pub fn peak_micros(&self) -> u64 {
        self.peak_us as u64
    }
}

/// What is left of a value after `elapsed` without a sample, 0 to 1. A target that was slow once and then unused comes
/// back into sight.
pub(super) fn decay(elapsed: Duration) -> f64 {
    (-elapsed.as_secs_f64() / DECAY.as_secs_f64()).exp()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    #[test]
    fn a_peak_shows_at_once_and_fades() {
        let mut ewma = Ewma::default();
        ewma.observe(MS(10), Moment::from_millis(0));
        ewma.observe(MS(1_000), Moment::from_millis(1));
        assert_eq!(ewma.peak_micros(), 1_000_000);
        for i in 1..=30 {
            ewma.observe(MS(10), Moment::from_millis(i * 1_000));
        }
        assert!(ewma.peak_micros() < 100_000, "{}", ewma.peak_micros());
        assert!(ewma.peak_micros() >= 10_000);
    }

    #[test]
    fn a_peak_moves_to_lower_samples_as_a_mean_does() {
        let mut ewma = Ewma::default();
        ewma.observe(MS(1_000), Moment::from_millis(0));
        ewma.observe(MS(10), Moment::START.plus(DECAY));
        // What is left of 990 ms after one such time, and 10 ms.
        assert_eq!((ewma.peak_micros(), ewma.mean()), (374_200, Some(Duration::from_micros(374_200))));
    }

    #[test]
    fn a_successor_goes_on_from_the_peak() {
        let mut known = Ewma::resume(250_000, Moment::START);
        assert_eq!((known.peak_micros(), known.mean()), (250_000, Some(MS(250))));
        known.observe(MS(10), Moment::from_millis(1));
        assert!(known.peak_micros() > 240_000, "one quick call isn't all that is known");
        let mut unknown = Ewma::resume(0, Moment::START);
        assert_eq!(unknown.mean(), None);
        unknown.observe(MS(10), Moment::from_millis(1));
        assert_eq!((unknown.peak_micros(), unknown.mean()), (10_000, Some(MS(10))));
    }

    #[test]
    fn the_mean_stays_between_its_samples() {
        let mut ewma = Ewma::default();
        assert_eq!(ewma.mean(), None);
        for (i, ms) in [20, 40, 30, 25, 39].into_iter().enumerate() {
            ewma.observe(MS(ms), Moment::from_millis(i as u64));
            let mean = ewma.mean().unwrap();
            assert!(mean >= MS(20) && mean <= MS(40), "{mean:?}");
        }
    }

    #[test]
    fn unused_it_decays() {
        assert_eq!(decay(Duration::ZERO), 1.0);
        assert!(decay(DECAY) < 0.37 && decay(DECAY) > 0.36);
    }
}
