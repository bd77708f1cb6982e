//! Times between a stream's pieces of content: so many that even an atomic addition shared by all workers would be felt. Each
//! worker counts in a strand of its own, which it alone writes; a scrape adds the strands up.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::encoding::{EncodeMetric, MetricEncoder};
use prometheus_client::metrics::{MetricType, TypedMetric};

use super::histogram::{micros, write};

/// Upper bounds in microseconds: from tokens that come in one packet to a model that thinks.
const BOUNDS: [u64; 14] =
    [500, 1_000, 2_500, 5_000, 10_000, 20_000, 35_000, 50_000, 75_000, 100_000, 200_000, 500_000, 1_000_000, 5_000_000];

/// See the module's text.
#[derive(Clone, Debug, Default)]
pub(super) struct Intervals(Arc<Mutex<Vec<Arc<Strand>>>>);

/// One worker's. To be written by one thread at a time: what two add at once may be counted once.
#[derive(Debug, Default)]
pub struct Strand {
    counts: [AtomicU64; BOUNDS.len() + 1],
    sum_us: AtomicU64,
}

impl Intervals {
    /// A worker's own strand; it is counted for as long as the metric lives.
    pub(super) fn strand(&self) -> Arc<Strand> {
        let strand = Arc::<Strand>::default();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&strand));
        strand
    }
}

impl Strand {
    /// Counts `pieces` that came together so long after those before.
    pub fn add(&self, gap: Duration, pieces: u32) {
        let gap = micros(gap);
        let each = gap / u64::from(pieces.max(1));
        let bucket = BOUNDS.partition_point(|bound| *bound < each);
        // A load and a store, since nobody else writes: no bus is locked.
        let more = |counter: &AtomicU64, by| counter.store(counter.load(Ordering::Relaxed).wrapping_add(by), Ordering::Relaxed);
        more(&self.counts[bucket], u64::from(pieces));
        more(&self.sum_us, gap);
    }
}

impl TypedMetric for Intervals {
    const TYPE: MetricType = MetricType::Histogram;
}

impl EncodeMetric for Intervals {
    fn encode(&self, encoder: MetricEncoder<'_>) -> Result<(), std::fmt::Error> {
        let (mut counts, mut sum) = ([0; BOUNDS.len() + 1], 0);
        for strand in self.0.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            counts.iter_mut().zip(&strand.counts).for_each(|(all, own)| *all += own.load(Ordering::Relaxed));
            sum += strand.sum_us.load(Ordering::Relaxed);
        }
        write(encoder, &BOUNDS, counts.into_iter(), sum)
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_that_come_together_share_their_gap() {
        let strand = Strand::default();
        strand.add(Duration::from_millis(40), 4);
        strand.add(Duration::from_secs(60), 1);
        let counts: Vec<u64> = strand.counts.iter().map(|count| count.load(Ordering::Relaxed)).collect();
        assert_eq!((counts[4], counts[14], counts.iter().sum::<u64>()), (4, 1, 5), "{counts:?}");
        assert_eq!(strand.sum_us.load(Ordering::Relaxed), 60_040_000);
    }
}
