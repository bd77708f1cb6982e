//! What is a state rather than a count, read from the board at each scrape: breaker states and calls under way.

use std::sync::Arc;

use arc_swap::ArcSwap;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;

use super::routes::Routes;
use crate::clock::Clock;
use crate::health::{State, Vitals};

/// Reads the vitals of all providers and targets.
#[derive(Debug)]
pub struct Gauges {
    routes: Arc<ArcSwap<Routes>>,
    clock: Clock,
}

impl Gauges {
    /// Over the routing table in force.
    pub fn new(routes: Arc<ArcSwap<Routes>>, clock: Clock) -> Self {
        Self { routes, clock }
    }

    fn state(&self, vitals: &Vitals) -> i64 {
        match vitals.state(self.clock.now()) {
            State::Closed => 0,
            State::HalfOpen => 1,
            State::Open => 2,
        }
    }
}

impl Collector for Gauges {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let routes = self.routes.load();
        let help = "0 closed, 1 half-open, 2 open; an empty model is the provider's own breaker";
        let mut states = encoder.encode_descriptor("stagedoor_breaker_state", help, None, MetricType::Gauge)?;
        for (provider, targets) in &routes.providers {
            let labels = [("provider", &*provider.name), ("model", "")];
            ConstGauge::new(self.state(&provider.vitals)).encode(states.encode_family(&labels)?)?;
            for target in targets {
                let labels = [("provider", &*provider.name), ("model", &*target.model)];
                ConstGauge::new(self.state(&target.vitals)).encode(states.encode_family(&labels)?)?;
            }
        }
        let mut in_flight = encoder.encode_descriptor("stagedoor_in_flight", "Upstream calls under way", None, MetricType::Gauge)?;
        for (provider, _) in &routes.providers {
            let labels = [("provider", &*provider.name)];
            ConstGauge::new(i64::from(provider.vitals.in_flight())).encode(in_flight.encode_family(&labels)?)?;
        }
        Ok(())
    }
}
