//! What is told about the traffic: every metric's name in one file, and the log.

mod histogram;
pub mod metrics;
pub mod trace;

pub use metrics::{Cached, Hedged, Metrics, RecoveryResult, Refused, TargetMetrics};
