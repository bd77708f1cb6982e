//! A credential's own health: how long it rests after a 429, and when a refusal takes it out.
//!
//! `KeyHealth` is the machine, owned by the provider actor; `Rest` is what it publishes, one for the key as a whole and
//! one for the key with each model, since vendors limit per model.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use super::quota::Quota;
use crate::base::Moment;

/// Rest after the first 429 without a Retry-After; doubles with each further one ...
const FIRST_REST: Duration = Duration::from_secs(5);
/// ... up to this.
const LONGEST_OWN_REST: Duration = Duration::from_secs(60);
/// No upstream may ask for more.
const LONGEST_REST: Duration = Duration::from_secs(24 * 3600);
/// A refused key is held back for this long without its writer.
const HELD_REFUSED: Duration = Duration::from_secs(1);
/// Two unspecific refusals within this are a refusal.
const DOUBT: Duration = Duration::from_secs(60);

/// Until when a key (or a key with one model) rests. One writer, any readers; and for the instant until the writer knows, a
/// hold that any thread may set.
#[derive(Debug, Default)]
pub struct Rest {
    until: AtomicU64,
    refused: AtomicBool,
    /// Until when it rests by what a caller's thread has heard: microseconds, times two, and one more where it was refused.
    held: AtomicU64,
    /// Its writer's count of rests without an answer between them, by which the next one's length goes.
    in_a_row: AtomicU32,
    /// What its answers say is left.
    pub quota: Quota,
}

impl Rest {
    /// The end of the rest, if there is one at `now`.
    pub fn until(&self, now: Moment) -> Option<Moment> {
        self.decided(now).max(self.held(now).0)
    }

    /// Whether the rest is a quarantine: the key was refused, not only out of quota.
    pub fn refused(&self, now: Moment) -> bool {
        self.refused.load(Ordering::Relaxed) && self.decided(now).is_some() || self.held(now).1
    }

    /// The end of its rest, be it one after a 429, or since its answers say that nothing is left for a call of so many tokens.
    pub fn resting(&self, tokens: u64, now: Moment) -> Option<Moment> {
        self.until(now).max(self.quota.room(tokens, now).until)
    }

    /// Any thread's word that a 429 has come: it rests at once, for as long as the writer will decide at the least.
    pub fn hold_limited(&self, wait: Option<Duration>, now: Moment) {
        let wait = wait.unwrap_or_else(|| own_rest(self.rests_before(now)));
        self.hold(now.plus(wait.min(LONGEST_REST)), false);
    }

    /// Any thread's word that it was refused for sure: it is out at once, until the writer has decided for how long.
    pub fn hold_refused(&self, now: Moment) {
        self.hold(now.plus(HELD_REFUSED), true);
    }

    /// Another gateway's word that it rests: believed until then.
    pub fn hold_hinted(&self, until: Moment, refused: bool) {
        self.hold(until, refused);
    }

    /// The end of the rest that this gateway's own calls have brought, and whether they were refused.
    pub fn own(&self, now: Moment) -> Option<(Moment, bool)> {
        self.decided(now).map(|until| (until, self.refused.load(Ordering::Relaxed)))
    }

    fn hold(&self, until: Moment, refused: bool) {
        self.held.fetch_max(until.micros().saturating_mul(2) | u64::from(refused), Ordering::Relaxed);
    }

    /// How many rests in a row were over before the one that a 429 brings now. Calls that were under way together are one
    /// reason to rest, not several.
    fn rests_before(&self, now: Moment) -> u32 {
        let begun = self.in_a_row.load(Ordering::Relaxed);
        if self.decided(now).is_none() { begun } else { begun.saturating_sub(1) }
    }

    fn decided(&self, now: Moment) -> Option<Moment> {
        let until = Moment::from_micros(self.until.load(Ordering::Relaxed));
        (until > now).then_some(until)
    }

    fn held(&self, now: Moment) -> (Option<Moment>, bool) {
        let word = self.held.load(Ordering::Relaxed);
        let until = Some(Moment::from_micros(word / 2)).filter(|until| *until > now);
        (until, until.is_some() && word % 2 == 1)
    }

    /// Ends the rest at once.
    fn free(&self) {
        self.refused.store(false, Ordering::Relaxed);
        self.until.store(0, Ordering::Relaxed);
        self.held.store(0, Ordering::Relaxed);
        self.in_a_row.store(0, Ordering::Relaxed);
        self.quota.forget();
    }

    /// A deadline only ever moves later.
    fn extend(&self, until: Moment, refused: bool, now: Moment) {
        if refused || self.decided(now).is_none() {
            self.refused.store(refused, Ordering::Relaxed);
        }
        self.until.fetch_max(until.micros(), Ordering::Relaxed);
    }
}

/// A rest that no Retry-After says, after so many others.
fn own_rest(before: u32) -> Duration {
    FIRST_REST.saturating_mul(1 << before.min(8)).min(LONGEST_OWN_REST)
}

/// The machine of one key, or of one key with one model.
#[derive(Clone, Debug, Default)]
pub struct KeyHealth {
    doubted_at: Option<Moment>,
}

impl KeyHealth {
    /// It answered: the next rest begins at the shortest again, and doubts are gone.
    pub fn served(&mut self, rest: &Rest) {
        *self = Self::default();
        rest.in_a_row.store(0, Ordering::Relaxed);
    }

    /// A 429. Publishes the rest's end.
    pub fn limited(&mut self, wait: Option<Duration>, now: Moment, rest: &Rest) {
        let before = rest.rests_before(now);
        rest.in_a_row.store(before.saturating_add(1), Ordering::Relaxed);
        rest.extend(now.plus(wait.unwrap_or_else(|| own_rest(before)).min(LONGEST_REST)), false, now);
    }

    /// As new, and its rest is over.
    pub fn free(&mut self, rest: &Rest) {
        *self = Self::default();
        rest.free();
    }

    /// A refusal. Publishes the quarantine where the refusal is sure, or the second within a minute.
    pub fn refused(&mut self, sure: bool, quarantine: Duration, now: Moment, rest: &Rest) {
        let again = self.doubted_at.is_some_and(|at| now.since(at) <= DOUBT);
        if sure || again {
            rest.extend(now.plus(quarantine), true, now);
        } else {
            self.doubted_at = Some(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: fn(u64) -> Moment = |s| Moment::from_millis(s * 1_000);

    #[test]
    fn rests_double_up_to_a_minute_and_start_again_after_an_answer() {
        let (mut key, rest) = (KeyHealth::default(), Rest::default());
        let mut now = S(0);
        for wait in [5, 10, 20, 40, 60, 60] {
            rest.hold_limited(None, now);
            assert_eq!(rest.until(now), Some(now.plus(Duration::from_secs(wait))), "whoever hears of it says the same at once");
            key.limited(None, now, &rest);
            assert_eq!(rest.until(now), Some(now.plus(Duration::from_secs(wait))));
            now = now.plus(Duration::from_secs(wait));
            assert_eq!(rest.until(now), None);
        }
        key.served(&rest);
        key.limited(None, now, &rest);
        assert_eq!(rest.until(now), Some(now.plus(Duration::from_secs(5))));
        assert!(!rest.refused(now));
    }

    #[test]
    fn what_is_freed_is_held_back_no_more() {
        let (mut key, rest) = (KeyHealth::default(), Rest::default());
        rest.hold(S(1), true);
        key.refused(true, Duration::from_secs(60), S(0), &rest);
        key.free(&rest);
        assert_eq!((rest.until(S(0)), rest.refused(S(0))), (None, false));
    }

    #[test]
    fn a_deadline_only_moves_later_and_has_a_cap() {
        let (mut key, rest) = (KeyHealth::default(), Rest::default());
        key.limited(Some(Duration::from_secs(90)), S(0), &rest);
        key.limited(Some(Duration::from_secs(1)), S(1), &rest);
        assert_eq!(rest.until(S(1)), Some(S(90)));
        key.limited(Some(Duration::from_secs(1 << 40)), S(1), &rest);
        assert_eq!(rest.until(S(1)), Some(S(1 + 24 * 3600)));
    }

    #[test]
    fn a_hold_is_at_once_and_what_is_decided_follows() {
        let (mut key, rest) = (KeyHealth::default(), Rest::default());
        rest.hold_limited(Some(Duration::from_secs(7)), S(0));
        assert_eq!((rest.until(S(0)), rest.refused(S(0))), (Some(S(7)), false));
        key.limited(None, S(0), &rest);
        key.limited(None, S(6), &rest);
        assert_eq!(rest.until(S(6)), Some(S(16)), "a hold is no rest that counts");
        rest.hold_refused(S(20));
        assert!(rest.refused(S(20)) && rest.until(S(21)).is_none());
        rest.hold_limited(Some(Duration::MAX), S(30));
        assert_eq!(rest.until(S(30)), Some(S(30 + 24 * 3600)));
        key.free(&rest);
        assert_eq!(rest.until(S(30)), None);
    }

    #[test]
    fn calls_limited_together_count_once() {
        let (mut key, rest) = (KeyHealth::default(), Rest::default());
        for _ in 0..5 {
            key.limited(None, S(0), &rest);
        }
        assert_eq!(rest.until(S(0)), Some(S(5)));
        key.limited(None, S(100), &rest);
        assert_eq!(rest.until(S(100)), Some(S(110)), "the second rest, not the sixth");
    }

    #[test]
    fn an_unspecific_refusal_needs_a_second_within_a_minute() {
        let quarantine = Duration::from_secs(1_800);
        let (mut key, rest) = (KeyHealth::default(), Rest::default());
        key.refused(false, quarantine, S(0), &rest);
        assert_eq!(rest.until(S(0)), None);
        key.refused(false, quarantine, S(61), &rest);
        assert_eq!(rest.until(S(61)), None);
        key.refused(false, quarantine, S(121), &rest);
        assert_eq!(rest.until(S(121)), Some(S(1_921)));
        assert!(rest.refused(S(121)) && !rest.refused(S(1_921)));
        let (mut key, rest) = (KeyHealth::default(), Rest::default());
        key.refused(true, quarantine, S(0), &rest);
        assert!(rest.refused(S(0)), "a sure one is enough");
    }
}
