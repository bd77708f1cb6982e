//! A point in monotonic time, as a number: what the pure machines take as `now`.
//!
//! Only `clock.rs` makes one from the machine's clock; tests and simulations make their own.

use std::time::Duration;

/// Microseconds since the process (or a simulation) began. Never goes back by itself; subtraction saturates, so that a
/// clock that steps back changes nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(u64);

impl Moment {
    /// The beginning of the process.
    pub const START: Moment = Moment(0);

    /// From microseconds since the beginning.
    pub const fn from_micros(us: u64) -> Self {
        Self(us)
    }

    /// From milliseconds since the beginning.
    pub const fn from_millis(ms: u64) -> Self {
        Self(ms.saturating_mul(1000))
    }

    /// Microseconds since the beginning.
    pub const fn micros(self) -> u64 {
        self.0
    }

    /// Milliseconds since the beginning.
    pub const fn millis(self) -> u64 {
        self.0 / 1000
    }

    /// Time from `earlier` to `self`; zero where `earlier` is later.
    pub const fn since(self, earlier: Moment) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }

    /// This moment and `by` more.
    #[must_use]
    pub const fn plus(self, by: Duration) -> Self {
        let us = by.as_micros();
        let us = if us > u64::MAX as u128 { u64::MAX } else { us as u64 };
        Self(self.0.saturating_add(us))
    }
}
