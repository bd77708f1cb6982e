//! How long each wait is: what the script says, times a fault's factor, give or take the jitter. Only the length; `stream` and
//! `act` do the waiting.

use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

/// A stream's waits. Small, because thousands of idle streams hold one each.
#[derive(Debug)]
pub(super) struct Waits {
    pub(super) first_token: Duration,
    pub(super) pace: Duration,
    jitter: f64,
    factor: f64,
    chance: SmallRng,
}

impl Waits {
    pub(super) fn new(script: &super::Script, factor: f64, seed: u64) -> Self {
        let chance = SmallRng::seed_from_u64(seed);
        Self { first_token: script.first_token, pace: script.pace, jitter: script.jitter, factor, chance }
    }

    /// One wait of about `usual`. Zero stays zero: it must not need a timer.
    pub(super) fn draw(&mut self, usual: Duration) -> Duration {
        if usual.is_zero() {
            return usual;
        }
        let stray = if self.jitter == 0.0 { 1.0 } else { 1.0 + self.jitter * self.chance.random_range(-1.0..=1.0) };
        Duration::try_from_secs_f64(usual.as_secs_f64() * self.factor * stray).unwrap_or(Duration::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rehearsal::Script;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn jitter_stays_within_its_ratio(ms in 0u64..10_000, jitter in 0.0f64..=1.0, seed: u64) {
            let script = Script { jitter, ..Script::default() };
            let usual = Duration::from_millis(ms);
            let drawn = Waits::new(&script, 2.0, seed).draw(usual).as_secs_f64() / 2.0;
            prop_assert!((drawn - usual.as_secs_f64()).abs() <= usual.as_secs_f64() * jitter + 1e-6);
        }
    }
}
