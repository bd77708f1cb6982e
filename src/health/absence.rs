//! Whether a provider doesn't have a target's model, as it said itself: decided by the provider's actor until a reload or a
//! reset; and for the instant until the actor has decided, held by whoever heard it, so that no request that begins meanwhile
//! asks for the model again.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::base::Moment;

/// A word that its writer doesn't confirm is believed for this long.
const HELD: Duration = Duration::from_secs(1);
/// An absence without an end.
const FOR_GOOD: u64 = u64::MAX;

/// See the module's text. One writer decides; any thread may hold.
#[derive(Debug, Default)]
pub struct Absence {
    /// Until when the model is taken to be missing, in microseconds; 0: it isn't.
    until: AtomicU64,
    /// When it was last given another try: calls begun before say nothing of it any more.
    renewed: AtomicU64,
}

impl Absence {
    /// Whether the model is taken to be missing.
    pub fn holds(&self, now: Moment) -> bool {
        self.until.load(Ordering::Relaxed) > now.micros()
    }

    /// Whether what a call found that began then still says something.
    pub fn concerns(&self, begun: Moment) -> bool {
        begun.micros() >= self.renewed.load(Ordering::Relaxed)
    }

    /// Any thread's word that a call begun then was told so: it is out at once, until the writer has decided.
    pub fn hold(&self, begun: Moment, now: Moment) {
        if self.concerns(begun) {
            self.until.fetch_max(now.plus(HELD).micros(), Ordering::Relaxed);
        }
    }

    /// The writer's decision: the model is missing until it is given another try.
    pub fn decide(&self) {
        self.until.store(FOR_GOOD, Ordering::Relaxed);
    }

    /// The writer gives it another try: whoever put it right is believed more than a call begun before.
    pub fn renew(&self, now: Moment) {
        self.renewed.store(now.micros(), Ordering::Relaxed);
        self.until.store(0, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: fn(u64) -> Moment = Moment::from_millis;

    #[test]
    fn what_was_heard_holds_at_once_and_no_longer_than_a_second_without_a_decision() {
        let absence = Absence::default();
        assert!(!absence.holds(MS(10)));
        absence.hold(MS(5), MS(10));
        assert!(absence.holds(MS(10)) && absence.holds(MS(1_009)) && !absence.holds(MS(1_010)));
        absence.decide();
        absence.hold(MS(5), MS(11));
        assert!(absence.holds(MS(1_000_000)), "a word never shortens a decision");
    }

    #[test]
    fn another_try_ends_it_and_older_calls_say_nothing_any_more() {
        let absence = Absence::default();
        absence.hold(MS(5), MS(10));
        absence.renew(MS(20));
        assert!(!absence.holds(MS(20)), "a word ends with it");
        absence.decide();
        absence.renew(MS(30));
        absence.hold(MS(29), MS(40));
        assert!(!absence.holds(MS(40)) && !absence.concerns(MS(29)), "it began before");
        absence.hold(MS(30), MS(50));
        assert!(absence.holds(MS(50)) && absence.concerns(MS(30)));
    }
}
