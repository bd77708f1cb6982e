//! What is known of a target's health, as pure machines: outcomes are classified, windows count them, the breaker decides,
//! the vitals publish. Time and chance are arguments.

mod breaker;

pub use breaker::Thresholds;
