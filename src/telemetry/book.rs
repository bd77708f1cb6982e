//! The registry as it is filled: each metric is made and entered under its name in one step.

use std::hash::Hash;
use std::sync::atomic::AtomicU64;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Metric, Registry};

use super::histogram::Histogram;
use super::names::Name;

/// In dollars or seconds.
pub(super) type FloatCounter = Counter<f64, AtomicU64>;

/// In seconds.
pub(super) type Seconds = Gauge<f64, AtomicU64>;

/// Histograms by labels.
pub(super) type Histograms<L> = Family<L, Histogram, fn() -> Histogram>;

/// See the module's text.
#[derive(Debug, Default)]
pub(super) struct Book(Registry);

impl Book {
    /// Enters a metric, of which a clone moves the same numbers.
    pub(super) fn enter<M: Metric + Clone>(&mut self, Name { name, help }: Name, metric: M) -> M {
        self.0.register(name, help, metric.clone());
        metric
    }

    /// What is read at each scrape.
    pub(super) fn read(&mut self, live: Box<dyn Collector>) {
        self.0.register_collector(live);
    }

    pub(super) fn counter(&mut self, name: Name) -> Counter {
        self.enter(name, Counter::default())
    }

    pub(super) fn gauge(&mut self, name: Name) -> Gauge {
        self.enter(name, Gauge::default())
    }

    pub(super) fn counters<L>(&mut self, name: Name) -> Family<L, Counter>
    where
        L: Clone + Hash + Eq + EncodeLabelSet + std::fmt::Debug + Send + Sync + 'static,
    {
        self.enter(name, Family::default())
    }

    pub(super) fn histograms<L>(&mut self, name: Name, make: fn() -> Histogram) -> Histograms<L>
    where
        L: Clone + Hash + Eq + EncodeLabelSet + std::fmt::Debug + Send + Sync + 'static,
    {
        self.enter(name, Family::new_with_constructor(make))
    }

    /// The page, in Prometheus' text form.
    pub(super) fn page(&self) -> String {
        let mut page = String::new();
        // Writing to a String can't fail.
        let _ = text::encode(&mut page, &self.0);
        page
    }
}
