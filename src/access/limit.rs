//! Limits as requests and tokens a minute: token buckets in integers. What a call may cost is reserved before it leaves and
//! settled with what it did cost, so that many calls at once can't spend the same room.
//!
//! A bucket holds one minute's worth and is full at first use. Its units are chosen so that a whole number of them flows in
//! each microsecond: nothing is ever rounded, and what the algorithm of virtual arrival times (GCRA) can't do, giving back,
//! is an addition here.

use std::num::NonZeroU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::base::Moment;

/// Units of a bucket per request or token: the microseconds of a minute.
const UNITS: i128 = 60_000_000;

/// What a call may turn out to have cost beyond its reservation is owed, up to so many minutes' worth: a made-up count may
/// not shut a key for good.
const MOST_OWED: i128 = 10;

/// Tokens that an answer is taken to have where its request sets no limit.
const USUAL_ANSWER: u64 = 4_096;

/// What a request may cost in tokens, erring high: a quarter of its bytes, and for each of its `choices` the most that an
/// answer may have (`asked`, the request's own limit; else 4,096, where the model's `window` isn't smaller).
pub fn estimated_tokens(bytes: usize, asked: Option<u64>, choices: u32, window: Option<u64>) -> u64 {
    let answer = asked.unwrap_or_else(|| window.map_or(USUAL_ANSWER, |window| window.min(USUAL_ANSWER)));
    (bytes as u64).div_ceil(4).saturating_add(answer.saturating_mul(u64::from(choices)))
}

/// The tokens that so many bytes of text have at the least: no tokeniser packs more into one, but for white space.
pub fn least_tokens(text: usize) -> u64 {
    text as u64 / 8
}

/// One token bucket: see the module's text.
#[derive(Clone, Debug)]
pub struct Bucket {
    per_minute: NonZeroU64,
    /// In units, at `at`; below zero where a call cost more than was there.
    level: i128,
    at: Moment,
}

impl Bucket {
    /// A full one.
    pub fn new(per_minute: NonZeroU64) -> Self {
        let mut bucket = Self { per_minute, level: 0, at: Moment::START };
        bucket.level = bucket.most();
        bucket
    }

    /// Whether `cost` can be taken; if not, when it can, should nobody else take any. A cost above the whole bucket's needs
    /// a full one: nothing is refused for ever.
    ///
    /// # Errors
    /// The time from which on there is room.
    pub fn room(&self, cost: u64, now: Moment) -> Result<(), Moment> {
        let missing = i128::from(self.most_of(cost)) * UNITS - self.level(now);
        if missing <= 0 { Ok(()) } else { Err(self.after(missing, now)) }
    }

    /// Takes `cost`, or as much of it as the bucket can hold; what was taken is told, to be settled later.
    ///
    /// # Errors
    /// The time from which on there is room; nothing was taken.
    pub fn take(&mut self, cost: u64, now: Moment) -> Result<u64, Moment> {
        self.room(cost, now)?;
        let taken = self.most_of(cost);
        self.add(-i128::from(taken), now);
        Ok(taken)
    }

    /// Puts right what was taken by what was used: the rest comes back, what is missing is owed.
    pub fn settle(&mut self, taken: u64, used: u64, now: Moment) {
        self.add(i128::from(taken) - i128::from(used), now);
    }

    /// The same with another minute's worth: what was used of the old one counts on.
    #[must_use]
    pub fn retuned(&self, per_minute: NonZeroU64, now: Moment) -> Self {
        let used = self.most() - self.level(now);
        let mut bucket = Self { per_minute, level: 0, at: self.at.max(now) };
        bucket.level = (bucket.most() - used).max(-MOST_OWED * bucket.most());
        bucket
    }

    /// It holds so much, as is known from elsewhere.
    pub fn holds(&mut self, left: u64, now: Moment) {
        self.level = i128::from(self.most_of(left)) * UNITS;
        self.at = self.at.max(now);
    }

    /// What can be taken now.
    pub fn left(&self, now: Moment) -> u64 {
        u64::try_from(self.level(now) / UNITS).unwrap_or_default()
    }

    /// When it is full, should nobody take any.
    pub fn full_at(&self, now: Moment) -> Moment {
        self.after(self.most() - self.level(now), now)
    }

    fn most(&self) -> i128 {
        i128::from(self.per_minute.get()) * UNITS
    }

    fn most_of(&self, cost: u64) -> u64 {
        cost.min(self.per_minute.get())
    }

    fn level(&self, now: Moment) -> i128 {
        let come = now.since(self.at).as_micros() as i128;
        self.level.saturating_add(come.saturating_mul(i128::from(self.per_minute.get()))).min(self.most())
    }

    /// When `missing` units will have come.
    fn after(&self, missing: i128, now: Moment) -> Moment {
        let rate = i128::from(self.per_minute.get());
        let micros = u64::try_from((missing + rate - 1) / rate).unwrap_or(u64::MAX);
        now.max(self.at).plus(Duration::from_micros(micros))
    }

    fn add(&mut self, count: i128, now: Moment) {
        let level = self.level(now).saturating_add(count.saturating_mul(UNITS));
        self.level = level.clamp(-MOST_OWED * self.most(), self.most());
        self.at = self.at.max(now);
    }
}

/// Requests and tokens a minute of one key, shared by all threads. Its lock is its own: two calls meet there only when they
/// use the same key at the same instant.
#[derive(Debug)]
pub struct Limit {
    per_minute: (u64, u64),
    buckets: Mutex<Buckets>,
}

#[derive(Debug)]
struct Buckets {
    requests: Option<Bucket>,
    tokens: Option<Bucket>,
}

impl Limit {
    /// Of `requests` and `tokens` a minute, 0 each for no limit; None where neither has one.
    pub fn new(requests: u64, tokens: u64) -> Option<Self> {
        let bucket = |per_minute| NonZeroU64::new(per_minute).map(Bucket::new);
        let buckets = Buckets { requests: bucket(requests), tokens: bucket(tokens) };
        (requests > 0 || tokens > 0).then(|| Self { per_minute: (requests, tokens), buckets: Mutex::new(buckets) })
    }

    /// Requests and tokens a minute, as given.
    pub fn per_minute(&self) -> (u64, u64) {
        self.per_minute
    }

    /// How many calls of so many tokens there is room for, one at least.
    ///
    /// # Errors
    /// The time from which on there is room for one.
    pub fn room(&self, tokens: u64, now: Moment) -> Result<u64, Moment> {
        let buckets = self.lock();
        buckets.check(tokens, now)?;
        let requests = buckets.requests.as_ref().map_or(u64::MAX, |bucket| bucket.left(now));
        let calls = buckets.tokens.as_ref().map_or(u64::MAX, |bucket| bucket.left(now) / tokens.max(1));
        Ok(requests.min(calls).max(1))
    }

    /// Takes one request and so many tokens, or nothing at all.
    ///
    /// # Errors
    /// The time from which on there is room.
    pub fn reserve(self: &Arc<Self>, tokens: u64, now: Moment) -> Result<Reservation, Moment> {
        let mut buckets = self.lock();
        buckets.check(tokens, now)?;
        if let Some(bucket) = &mut buckets.requests {
            bucket.take(1, now)?;
        }
        let tokens = buckets.tokens.as_mut().map_or(Ok(0), |bucket| bucket.take(tokens, now))?;
        Ok(Reservation { limit: Arc::clone(self), tokens })
    }

    fn lock(&self) -> MutexGuard<'_, Buckets> {
        self.buckets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Buckets {
    fn check(&self, tokens: u64, now: Moment) -> Result<(), Moment> {
        let requests = self.requests.as_ref().and_then(|bucket| bucket.room(1, now).err());
        let tokens = self.tokens.as_ref().and_then(|bucket| bucket.room(tokens, now).err());
        requests.max(tokens).map_or(Ok(()), Err)
    }
}

/// What a call has taken of a limit. Dropped as it is, the estimate stands: of a call whose real cost nobody told, that is
/// the best that is known.
#[derive(Debug)]
pub struct Reservation {
    limit: Arc<Limit>,
    tokens: u64,
}

impl Reservation {
    /// The call cost so many tokens.
    pub fn settle(self, tokens: u64, now: Moment) {
        if let Some(bucket) = &mut self.limit.lock().tokens {
            bucket.settle(self.tokens, tokens, now);
        }
    }

    /// The call never left: it cost nothing, not even a request.
    pub fn give_back(self, now: Moment) {
        let mut buckets = self.limit.lock();
        if let Some(bucket) = &mut buckets.requests {
            bucket.settle(1, 0, now);
        }
        if let Some(bucket) = &mut buckets.tokens {
            bucket.settle(self.tokens, 0, now);
        }
    }
}

#[cfg(test)]
mod tests;
