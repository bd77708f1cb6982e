//! What another gateway has said of a provider or a target: that its breaker is open there. That isn't this gateway's own
//! finding: no breaker moves by it, it only ranks behind those of whom nothing is said, until the word is old, or until a call
//! from here has ended well since.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::base::Moment;

/// A word is believed for so long at most, however long the other's breaker stays open.
pub const BELIEVED: Duration = Duration::from_secs(60);

/// See the module's text. Any thread may say something.
#[derive(Debug, Default)]
pub struct Hint {
    /// When the other's breaker opened, and until when that is believed, in microseconds.
    since: AtomicU64,
    until: AtomicU64,
    /// When the last call from here ended well.
    served: AtomicU64,
}

impl Hint {
    /// It is failing elsewhere: since then, and by the other's reckoning until then.
    pub fn failing(&self, since: Moment, until: Moment) {
        self.since.fetch_max(since.micros(), Ordering::Relaxed);
        self.until.fetch_max(until.min(since.plus(BELIEVED)).micros(), Ordering::Relaxed);
    }

    /// A call from here has ended well.
    pub fn served(&self, now: Moment) {
        self.served.fetch_max(now.micros(), Ordering::Relaxed);
    }

    /// Whether it is believed.
    pub fn holds(&self, now: Moment) -> bool {
        self.until.load(Ordering::Relaxed) > now.micros() && self.served.load(Ordering::Relaxed) <= self.since.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: fn(u64) -> Moment = |s| Moment::from_millis(s * 1_000);

    #[test]
    fn a_word_is_believed_until_its_time_and_no_longer_than_a_minute() {
        let hint = Hint::default();
        assert!(!hint.holds(S(0)));
        hint.failing(S(10), S(30));
        assert!(hint.holds(S(11)) && hint.holds(S(29)) && !hint.holds(S(30)));
        hint.failing(S(40), S(400));
        assert!(hint.holds(S(99)) && !hint.holds(S(100)));
    }

    #[test]
    fn what_served_here_since_is_believed_more() {
        let hint = Hint::default();
        hint.served(S(9));
        hint.failing(S(10), S(30));
        assert!(hint.holds(S(11)), "what it did before says nothing");
        hint.served(S(12));
        assert!(!hint.holds(S(13)));
        hint.failing(S(10), S(30));
        assert!(!hint.holds(S(14)), "the same word again");
        hint.failing(S(15), S(35));
        assert!(hint.holds(S(16)), "it has failed anew");
    }
}
