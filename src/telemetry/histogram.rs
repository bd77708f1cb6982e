//! A classic Prometheus histogram without a lock: the request path only adds to atomics.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::encoding::{EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::{MetricType, TypedMetric};

/// Counts durations in buckets whose upper bounds are given in microseconds.
#[derive(Clone, Debug)]
pub struct Histogram {
    bounds: &'static [u64],
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    buckets: Box<[AtomicU64]>,
    sum_us: AtomicU64,
}

impl Histogram {
    /// An empty one; `bounds` rise.
    pub fn new(bounds: &'static [u64]) -> Self {
        let buckets = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Self { bounds, inner: Arc::new(Inner { buckets, sum_us: AtomicU64::new(0) }) }
    }

    /// Counts one.
    pub fn observe(&self, duration: Duration) {
        let us = micros(duration);
        let bucket = self.bounds.partition_point(|bound| *bound < us);
        self.inner.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        self.inner.sum_us.fetch_add(us, Ordering::Relaxed);
    }
}

impl TypedMetric for Histogram {
    const TYPE: MetricType = MetricType::Histogram;
}

impl EncodeMetric for Histogram {
    fn encode(&self, encoder: MetricEncoder<'_>) -> Result<(), std::fmt::Error> {
        let counts = self.inner.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed));
        write(encoder, self.bounds, counts, self.inner.sum_us.load(Ordering::Relaxed))
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}

/// A duration as the buckets count it.
pub(super) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// Writes buckets, the last of which has no bound, in seconds.
pub(super) fn write(
    mut encoder: MetricEncoder<'_>,
    bounds: &[u64],
    counts: impl Iterator<Item = u64>,
    sum_us: u64,
) -> Result<(), std::fmt::Error> {
    let seconds = |us: &u64| *us as f64 / 1e6;
    let buckets: Vec<(f64, u64)> = bounds.iter().map(seconds).chain(std::iter::once(f64::INFINITY)).zip(counts).collect();
    let count = buckets.iter().map(|(_, count)| count).sum();
    encoder.encode_histogram::<NoLabelSet>(seconds(&sum_us), count, &buckets, None)
}
