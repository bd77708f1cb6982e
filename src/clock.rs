//! The only place that reads the machine's clocks and draws the random seed.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use crate::base::{Moment, Secret};

/// The machine's time, counted from the process's start.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    began: Instant,
    began_wall: Duration,
}

impl Clock {
    /// Starts counting.
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    pub fn start() -> Self {
        let began_wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { began: Instant::now(), began_wall }
    }

    /// The monotonic time.
    pub fn now(&self) -> Moment {
        Moment::from_micros(u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX))
    }

    /// The time of day, since the Unix epoch: for ids, logs and HTTP dates, never for waiting.
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    pub fn wall(&self) -> Duration {
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
    }

    /// The time of day at a moment, as if the wall clock had never been set: for /health.
    pub fn wall_at(&self, moment: Moment) -> Duration {
        self.began_wall + moment.since(Moment::START)
    }
}

/// Seconds since the Unix epoch.
pub fn unix_seconds() -> u64 {
    Clock::start().wall().as_secs()
}

/// A key that nobody can guess: 256 bits of the system's chance.
pub fn random_key() -> Secret {
    let bytes: [u8; 32] = rand::rng().random();
    Secret::new(bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
}

/// A key for a caller, of the system's chance.
pub fn issued_key() -> Secret {
    crate::access::issue(&mut rand::rng())
}

/// A generator seeded by the system.
pub fn seeded_rng() -> SmallRng {
    SmallRng::from_rng(&mut rand::rng())
}
