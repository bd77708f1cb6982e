//! What is known of a target's health, as pure machines: outcomes are classified, windows count them, the breaker decides,
//! the vitals publish. Time and chance are arguments.

mod breaker;
mod ewma;
mod key;
mod outcome;
mod provider;
mod quantiles;
mod spread;
mod vitals;
mod window;

pub use breaker::{Breaker, Pass, Reason, Report, State, Thresholds, Transition};
pub use ewma::Ewma;
pub use key::{KeyHealth, Rest};
pub use outcome::{Failure, Outcome, Vote};
pub use provider::{LastError, Moved, Origin, ProviderHealth, TargetHealth, Told};
pub use quantiles::{Latency, Quantiles};
pub use vitals::{Admission, Admitted, InFlight, Permit, Vitals};
pub use window::{Tally, Window};
