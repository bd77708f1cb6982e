//! What is told about the traffic: every metric's name in one file, and the log.

mod audience;
mod book;
mod fine;
mod histogram;
mod intervals;
mod labels;
pub mod metrics;
pub mod names;
mod process;
mod series;
pub mod trace;

pub use audience::{Audience, News, Seat, Second, Tail};
pub use intervals::Strand;
pub use labels::{Cached, Hedged, RecoveryResult, Refused};
pub use metrics::Metrics;
pub use process::Process;
pub use series::TargetMetrics;
