//! The process itself, read at each scrape, by the names that Prometheus' own clients use. Where the kernel doesn't tell
//! (elsewhere than on Linux), what it doesn't tell is left out.

use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use super::names::{self, Name};
use super::trace;
use crate::machine;

/// See the module's text.
#[derive(Debug)]
pub struct Process {
    /// When it began, since the Unix epoch.
    pub began: Duration,
}

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let mut gauge = |Name { name, help }: Name, value: f64| {
            ConstGauge::new(value).encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)
        };
        gauge(names::STARTED, self.began.as_secs_f64())?;
        if let Some((open, most)) = machine::descriptors() {
            gauge(names::OPEN_FDS, open as f64)?;
            gauge(names::MAX_FDS, most as f64)?;
        }
        if let Some(process) = machine::process() {
            gauge(names::RESIDENT, process.resident as f64)?;
            gauge(names::VIRTUAL, process.space as f64)?;
            gauge(names::THREADS, process.threads as f64)?;
            let Name { name, help } = names::CPU;
            let cpu = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            ConstCounter::new(process.cpu.as_secs_f64()).encode(cpu)?;
        }
        let Name { name, help } = names::LOG_UNWRITTEN;
        let mut unwritten = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (why, lines) in trace::unwritten() {
            ConstCounter::new(lines).encode(unwritten.encode_family(&[("why", why)])?)?;
        }
        let Name { name, help } = names::BUILD;
        let mut build = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        ConstGauge::new(1).encode(build.encode_family(&[("version", env!("CARGO_PKG_VERSION"))])?)
    }
}
