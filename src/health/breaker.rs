//! breaker (being written)
use std::time::Duration;

/// When a breaker trips, how long it stays open and how it returns: `[breaker]` of the settings.
#[derive(Clone, Debug, PartialEq)]
pub struct Thresholds {
    /// Opens after this many failures in a row.
    pub consecutive_failures: u32,
    /// Opens when this share of the window's calls failed, 0 to 1 ...
    pub failure_ratio: f64,
    /// ... counted only with at least this many calls in the window.
    pub minimum_requests: u32,
    /// How far back the shares look.
    pub window: Duration,
    /// A first token later than this is a slow call.
    pub slow_call: Duration,
    /// Degraded (ranked last, never open) when this share of the window's calls were slow.
    pub slow_ratio: f64,
    /// The first open period; it doubles at each failed probe ...
    pub open_for: Duration,
    /// ... up to this.
    pub open_for_max: Duration,
    /// Calls let through at once while half-open.
    pub half_open_probes: u16,
    /// Successes in half-open that close it.
    pub close_after: u32,
    /// After closing, the share of traffic grows from a tenth to full over this time; zero: at once.
    pub ramp: Duration,
}
