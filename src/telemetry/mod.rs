//! What is told about the traffic: every metric's name in one file, and the log.

mod audience;
mod book;
mod classic;
mod fine;
mod histogram;
mod intervals;
mod labels;
pub mod metrics;
pub mod names;
pub mod otlp;
mod process;
mod redact;
mod series;
pub mod trace;

pub use audience::{Audience, News, Seat, Second, Tail};
pub use intervals::Strand;
pub use labels::{Cached, Exported, Hedged, RecoveryResult, Refused};
pub use metrics::Metrics;
pub use process::Process;
pub use redact::redacted;
pub use series::TargetMetrics;
