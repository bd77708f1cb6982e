//! When a breaker trips, how long it rests, how it returns: numbers that are read from the settings and judged nowhere else
//! but in the breaker. With their defaults, so that a test or a replay names only what it changes.

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
    /// A first token later than this is a slow call; see [`Thresholds::slow_after`].
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
    /// While half-open without a success yet, at least this long lies between two probes: a second with
    /// `when_all_open = "refuse"`, else zero.
    pub probe_gap: Duration,
}

impl Default for Thresholds {
    /// The built-in defaults.
    fn default() -> Self {
        Self {
            consecutive_failures: 5,
            failure_ratio: 0.5,
            minimum_requests: 10,
            window: Duration::from_secs(30),
            slow_call: Duration::from_secs(20),
            slow_ratio: 0.8,
            open_for: Duration::from_secs(10),
            open_for_max: Duration::from_secs(20),
            half_open_probes: 1,
            close_after: 2,
            ramp: Duration::from_secs(10),
            probe_gap: Duration::ZERO,
        }
    }
}

impl Thresholds {
    /// The first-token time beyond which a call was slow, given the limit `first_token` that it had. Where that limit isn't
    /// longer than `slow_call`, no call could ever be slow, only dead: there, two thirds of the limit are slow.
    pub fn slow_after(&self, first_token: Duration) -> Duration {
        if first_token > self.slow_call { self.slow_call } else { first_token * 2 / 3 }
    }
}
