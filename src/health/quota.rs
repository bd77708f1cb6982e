//! What a key has left of its upstream's limits, as the heads of its answers tell: read at each pick, so that calls go where
//! there is room and a 429 is avoided rather than repaired.
//!
//! Vendors fill their limits up continuously, and tell when they would be full again. Where an answer tells the limit too,
//! what comes back meanwhile is reckoned with; where it doesn't, nothing comes back before the reset. Each call that is sent
//! is taken off at once, since the next answer may be long in coming. What was told is forgotten at its reset, after a
//! minute at the latest: it only ever delays calls, and never for long.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::base::Moment;

/// What was told is forgotten after this.
const LONGEST: Duration = Duration::from_secs(60);

/// What an answer tells of one limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line {
    /// How much of it is left.
    pub remaining: u64,
    /// How much it is when full.
    pub limit: Option<u64>,
    /// In what time it is full again.
    pub reset: Option<Duration>,
}

/// What an answer tells of its key's limits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Said {
    /// Of requests, the tightest limit.
    pub requests: Option<Line>,
    /// Of tokens, the tightest limit.
    pub tokens: Option<Line>,
}

/// What is left for a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// How many such calls are left; `u64::MAX` where nothing is known.
    pub calls: u64,
    /// Until when the key rests, where it was told that nothing is left.
    pub until: Option<Moment>,
}

impl Room {
    /// Of a key of which nothing is known.
    pub const UNKNOWN: Self = Self { calls: u64::MAX, until: None };
}

/// See the module's text. Any thread tells, any thread reads; without anything told a read is one atomic.
#[derive(Debug, Default)]
pub struct Quota {
    told: AtomicBool,
    levels: Mutex<Levels>,
}

#[derive(Debug, Default)]
struct Levels {
    requests: Option<Level>,
    tokens: Option<Level>,
}

impl Quota {
    /// Takes what an answer says; of what it doesn't speak, the word before stands.
    pub fn tell(&self, said: &Said, now: Moment) {
        let mut levels = self.lock();
        levels.requests = said.requests.map(|line| Level::new(line, now)).or(levels.requests);
        levels.tokens = said.tokens.map(|line| Level::new(line, now)).or(levels.tokens);
        self.told.store(true, Ordering::Release);
    }

    /// Forgets what was told: a Retry-After says it better.
    pub fn forget(&self) {
        if self.told.swap(false, Ordering::AcqRel) {
            *self.lock() = Levels::default();
        }
    }

    /// Takes off a call that is sent now and may cost so many tokens.
    pub fn take(&self, tokens: u64) {
        if self.told.load(Ordering::Acquire) {
            let mut levels = self.lock();
            levels.requests.iter_mut().for_each(|level| level.left = level.left.saturating_sub(1));
            levels.tokens.iter_mut().for_each(|level| level.left = level.left.saturating_sub(tokens));
        }
    }

    /// What is left for calls of so many tokens. The estimate errs high, so too few tokens alone don't make the key rest:
    /// only none at all do, and then until there are enough.
    pub fn room(&self, tokens: u64, now: Moment) -> Room {
        if !self.told.load(Ordering::Acquire) {
            return Room::UNKNOWN;
        }
        let levels = self.lock();
        let requests = levels.requests.as_ref().and_then(|level| Some((level, level.at(now)?)));
        let tokens_left = levels.tokens.as_ref().and_then(|level| Some((level, level.at(now)?)));
        let need = tokens.max(1);
        let until = [
            requests.filter(|(_, left)| *left == 0).and_then(|(level, _)| level.reaches(1)),
            tokens_left.filter(|(level, left)| level.left == 0 && *left < level.most(need)).and_then(|(level, _)| level.reaches(need)),
        ];
        let calls = requests.map_or(u64::MAX, |(_, left)| left).min(tokens_left.map_or(u64::MAX, |(_, left)| left / need));
        Room { calls, until: until.into_iter().flatten().max().filter(|until| *until > now) }
    }

    fn lock(&self) -> MutexGuard<'_, Levels> {
        self.levels.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is left of one limit, from the moment it was told.
#[derive(Clone, Copy, Debug)]
struct Level {
    left: u64,
    /// When full; None where that wasn't told, or is no more than was left.
    limit: Option<u64>,
    told_at: Moment,
    /// The time to full from `told_at`.
    span: Duration,
    /// From when on it says nothing any more.
    forgotten: Moment,
    /// Whether anything was said of its coming back.
    comes_back: bool,
}

impl Level {
    fn new(line: Line, now: Moment) -> Self {
        let span = line.reset.unwrap_or(LONGEST);
        Self {
            left: line.remaining,
            limit: line.limit.filter(|limit| *limit > line.remaining),
            told_at: now,
            span,
            forgotten: now.plus(span.min(LONGEST)),
            comes_back: line.reset.is_some() || line.limit.is_some(),
        }
    }

    /// What is left at `now`; None where nothing is known any more.
    fn at(&self, now: Moment) -> Option<u64> {
        let Some(limit) = self.limit else { return (now < self.forgotten).then_some(self.left) };
        let come = u128::from(limit.saturating_sub(self.left)) * now.since(self.told_at).as_micros() / self.span.as_micros().max(1);
        let come = u64::try_from(come).unwrap_or(u64::MAX);
        (now < self.forgotten).then_some(self.left.saturating_add(come))
    }

    /// So much as it can ever have.
    fn most(&self, need: u64) -> u64 {
        self.limit.map_or(need, |limit| need.min(limit))
    }

    /// When so much is there, or nothing is known any more; None where nothing was said of its coming back.
    fn reaches(&self, need: u64) -> Option<Moment> {
        let Some(limit) = self.limit else { return self.comes_back.then_some(self.forgotten) };
        let missing = u128::from(self.most(need).saturating_sub(self.left));
        let micros = (missing * self.span.as_micros()).div_ceil(u128::from(limit.saturating_sub(self.left)).max(1));
        Some(self.told_at.plus(Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))).min(self.forgotten))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};

    use super::*;

    fn at(ms: u64) -> Moment {
        Moment::from_millis(ms)
    }

    fn line(remaining: u64, limit: Option<u64>, reset_ms: Option<u64>) -> Option<Line> {
        Some(Line { remaining, limit, reset: reset_ms.map(Duration::from_millis) })
    }

    fn told(requests: Option<Line>, tokens: Option<Line>) -> Quota {
        let quota = Quota::default();
        quota.tell(&Said { requests, tokens }, at(0));
        quota
    }

    #[test]
    fn nothing_told_is_nothing_known() {
        let quota = Quota::default();
        quota.take(1_000);
        assert_eq!(quota.room(1_000, at(0)), Room::UNKNOWN);
    }

    #[test]
    fn none_left_rests_until_the_reset() {
        let quota = told(line(0, None, Some(7_000)), None);
        assert_eq!(quota.room(5, at(6_999)), Room { calls: 0, until: Some(at(7_000)) });
        assert_eq!(quota.room(5, at(7_000)), Room::UNKNOWN);
        let day = told(line(0, None, Some(86_400_000)), None);
        assert_eq!(day.room(5, at(0)).until, Some(at(60_000)), "a minute at the longest; then it is asked again");
        let wordless = told(line(0, None, None), None);
        assert_eq!(wordless.room(5, at(0)), Room { calls: 0, until: None }, "last in line, but of no rest was anything said");
    }

    #[test]
    fn what_is_forgotten_is_not_known_and_comes_back_with_nothing() {
        let quota = told(line(0, None, Some(7_000)), None);
        quota.forget();
        assert_eq!(quota.room(5, at(0)), Room::UNKNOWN);
        quota.tell(&Said { requests: None, tokens: line(1_000, None, Some(7_000)) }, at(1));
        assert_eq!(quota.room(5, at(1)), Room { calls: 200, until: None }, "of requests nothing was said since");
    }

    #[test]
    fn where_the_limit_is_told_what_comes_back_is_reckoned_with() {
        // 500 a minute, all spent: the next comes after 120 ms, however late all of them are back.
        let quota = told(line(0, Some(500), Some(60_000)), None);
        assert_eq!(quota.room(0, at(0)), Room { calls: 0, until: Some(at(120)) });
        assert_eq!(quota.room(0, at(30_000)), Room { calls: 250, until: None });
        assert_eq!(quota.room(0, at(60_000)), Room::UNKNOWN);
        // Tokens: not one at a time, but as many as the call may cost.
        let quota = told(None, line(0, Some(60_000), Some(60_000)));
        assert_eq!(quota.room(4_000, at(10)).until, Some(at(4_000)));
        assert_eq!(quota.room(4_000, at(4_000)), Room { calls: 1, until: None });
        assert_eq!(quota.room(1_000_000, at(10)).until, Some(at(60_000)), "more than fits needs all");
    }

    #[test]
    fn too_few_tokens_are_not_none() {
        let quota = told(None, line(3_000, Some(60_000), Some(57_000)));
        assert_eq!(quota.room(4_000, at(0)), Room { calls: 0, until: None }, "last in line, yet it may do");
        quota.take(4_000);
        assert_eq!(quota.room(4_000, at(0)), Room { calls: 0, until: Some(at(3_800)) }, "until the next answer tells");
        quota.tell(&Said { requests: None, tokens: line(2_500, Some(60_000), Some(57_500)) }, at(5));
        assert_eq!(quota.room(4_000, at(5)).until, None);
    }

    #[test]
    fn calls_on_their_way_are_taken_off() {
        let quota = told(line(2, None, Some(30_000)), line(1_000, None, Some(30_000)));
        assert_eq!(quota.room(400, at(0)), Room { calls: 2, until: None });
        quota.take(400);
        assert_eq!(quota.room(400, at(0)), Room { calls: 1, until: None });
        quota.take(400);
        assert_eq!(quota.room(400, at(0)), Room { calls: 0, until: Some(at(30_000)) });
        quota.tell(&Said { requests: line(9, None, Some(10_000)), tokens: None }, at(100));
        assert_eq!(quota.room(100, at(100)).calls, 2, "of tokens nothing new was said");
    }

    proptest! {
        #[test]
        fn it_never_delays_a_call_beyond_a_minute_and_never_panics(
            remaining in any::<u64>(), limit in any::<Option<u64>>(), reset in any::<Option<u64>>(),
            tokens in any::<u64>(), takes in 0usize..4, after in any::<u64>(), began in 0u64..1 << 50,
        ) {
            let (quota, now) = (Quota::default(), Moment::from_micros(began));
            let line = Some(Line { remaining, limit, reset: reset.map(Duration::from_micros) });
            quota.tell(&Said { requests: line, tokens: line }, now);
            (0..takes).for_each(|_| quota.take(tokens));
            let later = now.plus(Duration::from_micros(after));
            let room = quota.room(tokens, later);
            prop_assert!(room.until.is_none_or(|until| until > later && until <= now.plus(LONGEST)));
            if let Some(until) = room.until {
                prop_assert!(quota.room(tokens, until).until.is_none(), "what was told as the end is the end");
            }
            prop_assert_eq!(quota.room(tokens, now.plus(LONGEST)), Room::UNKNOWN);
        }
    }
}
