//! The settings that routing reads: how a target is chosen, how long a call may take, how often it is repeated.

use std::time::Duration;

/// `models.X.strategy`: how one of a pool's targets is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strategy {
    /// Power of two choices on load.
    Healthiest,
    /// By weight.
    Weighted,
    /// Least latency.
    Fastest,
    /// Least price, then load.
    Cheapest,
    /// As written.
    Ordered,
}

/// `breaker.when_all_open`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenAllOpen {
    /// Try the target that recovers soonest, once.
    LeastBad,
    /// Refuse with 503.
    Refuse,
}

/// `[timeouts]` with overrides merged in.
#[derive(Clone, Debug, PartialEq)]
pub struct Timeouts {
    /// DNS, TCP and TLS together.
    pub connect: Duration,
    /// Until the response head.
    pub first_byte: Duration,
    /// Until a stream's first content.
    pub first_token: Duration,
    /// Silence between two pieces of a stream.
    pub idle: Duration,
    /// The whole request, all attempts.
    pub total: Duration,
}

/// `[retry]` with overrides merged in.
#[derive(Clone, Debug, PartialEq)]
pub struct Retry {
    /// Upstream calls per request at most, first included.
    pub attempts: u32,
    /// Of those, repeats on one target.
    pub same_target: u32,
    /// Before a repeat: full jitter up to this, doubling.
    pub backoff: Duration,
}
