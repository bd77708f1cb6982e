//! What is a state rather than a count, read at each scrape: breaker states, what is under way, what waits for an actor.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arc_swap::ArcSwap;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;

use super::cast::Cast;
use super::routes::Routes;
use crate::clock::Clock;
use crate::health::{State, Vitals};
use crate::telemetry::names::{self, Name};

/// See the module's text.
#[derive(Debug)]
pub struct Gauges {
    /// The routing table in force, with the vitals of all providers and targets.
    pub routes: Arc<ArcSwap<Routes>>,
    /// The provider actors.
    pub cast: Arc<Cast>,
    /// Requests under way that are no streams, and streams.
    pub open: [Arc<AtomicUsize>; 2],
    /// The time.
    pub clock: Clock,
}

type Written = Result<(), std::fmt::Error>;

impl Gauges {
    fn state(&self, vitals: &Vitals) -> i64 {
        match vitals.state(self.clock.now()) {
            State::Closed => 0,
            State::HalfOpen => 1,
            State::Open => 2,
        }
    }
}

impl Collector for Gauges {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Written {
        let routes = self.routes.load();
        let states = routes.providers.iter().flat_map(|(provider, targets)| {
            let own = std::iter::once(("", &provider.vitals));
            let all = own.chain(targets.iter().map(|target| (&*target.model, &target.vitals)));
            all.map(|(model, vitals)| ([("provider", &*provider.name), ("model", model)], self.state(vitals)))
        });
        write(&mut encoder, names::BREAKER_STATE, states)?;
        let slow = routes.providers.iter().flat_map(|(provider, targets)| {
            let slow = targets.iter().map(|target| (&*target.model, i64::from(target.vitals.degraded())));
            slow.map(|(model, slow)| ([("provider", &*provider.name), ("model", model)], slow))
        });
        write(&mut encoder, names::SLOW, slow)?;
        let in_flight = routes.providers.iter().map(|(provider, _)| ([("provider", &*provider.name)], provider.vitals.in_flight().into()));
        write(&mut encoder, names::IN_FLIGHT, in_flight)?;
        let waiting = routes.providers.iter().map(|(provider, _)| ([("provider", &*provider.name)], self.cast.waiting(provider.place)));
        write(&mut encoder, names::WAITING_REPORTS, waiting)?;
        let open = ["false", "true"].into_iter().zip(&self.open);
        let open = open.map(|(stream, open)| ([("stream", stream)], open.load(Ordering::Relaxed) as i64));
        write(&mut encoder, names::OPEN, open)
    }
}

/// A gauge's series, by their labels.
fn write<'a, const LABELS: usize>(
    encoder: &mut DescriptorEncoder<'_>,
    Name { name, help }: Name,
    series: impl Iterator<Item = ([(&'a str, &'a str); LABELS], i64)>,
) -> Written {
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    for (labels, value) in series {
        ConstGauge::new(value).encode(family.encode_family(&labels)?)?;
    }
    Ok(())
}
