//! How fast a target has been, published for the choice among targets: of whole answers and of streams' first tokens, a peak
//! that is compared under load and a mean by which one is told apart that has become much slower.
//!
//! What isn't used fades, so that one that was slow once is tried again: by one call, since the fading begins anew whenever a
//! call is sent. Otherwise everybody would follow the first, and find out together.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::ewma::{Ewma, decay};
use crate::base::Moment;

/// Means fade more slowly than peaks: a target that is ten times slower than the others is tried every half minute.
const MEAN_FADES: u32 = 3;
/// A target is left behind by another whose mean is less than this part of its own ...
const BEHIND: f64 = 4.0;
/// ... by more than this many microseconds: below that it's noise.
const NOISE: f64 = 10_000.0;

/// One writer of what was observed; any thread says that it sends. Indices: whole answers, first tokens.
#[derive(Debug, Default)]
pub(super) struct Pace {
    peaks: [AtomicU64; 2],
    means: [AtomicU64; 2],
    observed_at: AtomicU64,
    sent_at: AtomicU64,
}

impl Pace {
    /// Publishes what was observed, in microseconds; zeros: nothing yet.
    pub(super) fn publish(&self, ewmas: [&Ewma; 2], now: Moment) {
        for (place, ewma) in ewmas.into_iter().enumerate() {
            self.peaks[place].store(ewma.peak_micros(), Ordering::Relaxed);
            self.means[place].store(ewma.mean().map_or(0, |mean| mean.as_micros() as u64), Ordering::Relaxed);
        }
        self.observed_at.store(now.micros(), Ordering::Relaxed);
    }

    /// The peaks as published last, and when.
    pub(super) fn published(&self) -> (u64, u64, Moment) {
        let [latency, first_token] = &self.peaks;
        (
            latency.load(Ordering::Relaxed),
            first_token.load(Ordering::Relaxed),
            Moment::from_micros(self.observed_at.load(Ordering::Relaxed)),
        )
    }

    /// A call is sent.
    pub(super) fn sent(&self, now: Moment) {
        self.sent_at.store(now.micros(), Ordering::Relaxed);
    }

    /// The peak as far as it hasn't faded, in microseconds; None before the first call's end.
    pub(super) fn peak(&self, stream: bool, now: Moment) -> Option<f64> {
        let micros = self.peaks[usize::from(stream)].load(Ordering::Relaxed);
        (micros > 0).then(|| (micros as f64 * decay(self.unused(now))).max(1.0))
    }

    /// Whether it has become much slower than another.
    pub(super) fn is_behind(&self, other: &Self, stream: bool, now: Moment) -> bool {
        match (self.mean(stream, now), other.mean(stream, now)) {
            (Some(own), Some(other)) => own > BEHIND * other && own > other + NOISE,
            _ => false,
        }
    }

    fn mean(&self, stream: bool, now: Moment) -> Option<f64> {
        let micros = self.means[usize::from(stream)].load(Ordering::Relaxed);
        (micros > 0).then(|| micros as f64 * decay(self.unused(now) / MEAN_FADES))
    }

    fn unused(&self, now: Moment) -> Duration {
        let last = self.observed_at.load(Ordering::Relaxed).max(self.sent_at.load(Ordering::Relaxed));
        now.since(Moment::from_micros(last))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(seconds: u64) -> Moment {
        Moment::from_millis(seconds * 1_000)
    }

    fn pace(ms: u64, at: Moment) -> Pace {
        let (pace, mut ewma) = (Pace::default(), Ewma::default());
        ewma.observe(Duration::from_millis(ms), at);
        pace.publish([&ewma, &Ewma::default()], at);
        pace
    }

    #[test]
    fn unused_it_fades_until_a_call_is_sent() {
        let pace = pace(1_000, after(0));
        assert_eq!(pace.published(), (1_000_000, 0, after(0)));
        assert_eq!((pace.peak(true, after(0)), pace.peak(false, after(0))), (None, Some(1e6)));
        assert!(pace.peak(false, after(20)).unwrap() < 140_000.0);
        pace.sent(after(20));
        assert_eq!(pace.peak(false, after(20)), Some(1e6), "the one that tries it is on its way");
        assert!(pace.peak(false, after(40)).unwrap() < 140_000.0, "and may never come back");
    }

    #[test]
    fn much_slower_is_behind() {
        let behind = |own, other| pace(own, after(9)).is_behind(&pace(other, after(9)), false, after(9));
        assert!(behind(1_000, 100) && behind(401, 100) && !behind(399, 100) && !behind(100, 1_000));
        assert!(!behind(10, 1) && behind(15, 1), "a few milliseconds are noise");
        assert!(!behind(400, 100) && !behind(12, 2) && behind(13, 2), "the marks themselves are not yet behind");
        assert!(!pace(1_000, after(0)).is_behind(&Pace::default(), false, after(0)), "of the other nothing is known");
        let slow = pace(1_000, after(0));
        assert!(slow.is_behind(&pace(100, after(26)), false, after(26)) && !slow.is_behind(&pace(100, after(29)), false, after(29)));
    }
}
