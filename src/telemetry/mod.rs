//! What is told about the traffic: every metric's name in one file, and the log.

mod histogram;
pub mod metrics;
pub mod trace;

pub use metrics::{Hedged, Metrics, RecoveryResult, Refused, TargetMetrics};
