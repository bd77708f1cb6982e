//! What is known of a target's health, as pure machines: outcomes are classified, windows count them, the breaker decides,
//! the vitals publish. Time and chance are arguments.

/// The atomics of the gate: a model of it has others.
mod atomic {
    pub(super) use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
}
mod absence;
mod breaker;
mod ewma;
mod gate;
mod hint;
mod key;
mod outcome;
mod pace;
#[cfg(test)]
mod permit_model;
mod provider;
mod quantiles;
mod quota;
mod spread;
mod thresholds;
mod transition;
mod vitals;
mod window;

pub use absence::Absence;
pub use breaker::{Breaker, Pass, Report};
pub use ewma::Ewma;
pub use hint::{BELIEVED, Hint};
pub use key::{KeyHealth, Rest};
pub use outcome::{Failure, Outcome, Vote};
pub use provider::{LastError, Moved, Origin, ProviderHealth, Roster, Seat, TargetHealth, Told};
pub use quantiles::{Latency, Quantiles};
pub use quota::{Line, Quota, Room, Said};
pub use thresholds::Thresholds;
pub use transition::{Admission, Force, Reason, State, Transition};
pub use vitals::{Admitted, InFlight, Permit, Published, Vitals};
pub use window::{Tally, Window};
