//! All that limits one key, as one machine: requests and tokens a minute, requests at once, and money. A call takes its share
//! of all of them or of none, and its end puts the real numbers in the place of the estimates.

use std::num::NonZeroU64;
use std::time::Duration;

use super::budget::{Broke, Purse};
use super::common::{Common, Leased, Untold, Word};
use super::limit::Bucket;
use super::virtual_key::{Budget, VirtualKey};
use crate::base::Moment;

/// Where only the end of another call makes room, that is asked about again after so long.
pub(super) const SOON: Duration = Duration::from_secs(1);

/// What a key is held to; 0 is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    /// Requests a minute.
    pub rpm: u64,
    /// Tokens a minute.
    pub tpm: u64,
    /// Requests at once.
    pub concurrency: u64,
    /// Money.
    pub budget: Option<Budget>,
}

impl Terms {
    /// Whether nothing is limited.
    pub fn is_free(&self) -> bool {
        *self == Self::default()
    }
}

impl From<&VirtualKey> for Terms {
    fn from(key: &VirtualKey) -> Self {
        Self { rpm: key.rpm, tpm: key.tpm, concurrency: key.concurrency, budget: key.budget }
    }
}

/// The time, by both clocks.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// Of the clock that only goes forward.
    pub moment: Moment,
    /// Since 1970.
    pub wall: Duration,
}

/// Which limit a call came up against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Requests a minute.
    Requests,
    /// Tokens a minute.
    Tokens,
    /// Requests at once.
    Concurrency,
    /// Money; what others have reserved may come back.
    Budget(Broke),
}

/// A minute's limit may be overdrawn by what comes in so long where others decided: their answer takes its time.
const OVERDRAWN: Duration = Duration::from_secs(1);

/// Why a call isn't let in, and when it is worth asking again; None: only the operator or the calendar helps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The limit.
    pub kind: Kind,
    /// From now.
    pub wait: Option<Duration>,
}

/// What a call may use, or did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amounts {
    /// Tokens of prompt and answer.
    pub tokens: u64,
    /// Nano-dollars.
    pub nanos: u64,
}

/// What is left of a limit a minute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Of a minute.
    pub limit: u64,
    /// Now.
    pub remaining: u64,
    /// Until it is full, should nobody take any.
    pub reset: Duration,
}

/// See the module's text.
#[derive(Debug)]
pub struct Account {
    terms: Terms,
    requests: Option<Bucket>,
    tokens: Option<Bucket>,
    at_once: u64,
    purse: Option<Purse>,
    /// What those that share the limits said last that was spent, and in which window.
    heard: (u64, u64),
    common: Common,
}

impl Account {
    /// A new one: full buckets, and nothing spent.
    pub fn new(terms: Terms, wall: Duration) -> Self {
        let bucket = |per_minute| NonZeroU64::new(per_minute).map(Bucket::new);
        let purse = terms.budget.map(|budget| Purse::new(budget, 0, wall));
        Self { terms, requests: bucket(terms.rpm), tokens: bucket(terms.tpm), at_once: 0, purse, heard: (0, 0), common: Common::new(terms) }
    }

    /// What it is held to.
    pub fn terms(&self) -> Terms {
        self.terms
    }

    /// Puts other terms in force; what was used counts on.
    pub fn retune(&mut self, terms: Terms, now: Now) {
        let turned = |bucket: &Option<Bucket>, per_minute| {
            let per_minute = NonZeroU64::new(per_minute)?;
            Some(bucket.as_ref().map_or_else(|| Bucket::new(per_minute), |bucket| bucket.retuned(per_minute, now.moment)))
        };
        self.requests = turned(&self.requests, terms.rpm);
        self.tokens = turned(&self.tokens, terms.tpm);
        match (&mut self.purse, terms.budget) {
            (Some(purse), Some(budget)) => purse.retune(budget, now.wall),
            (purse, budget) => *purse = budget.map(|budget| Purse::new(budget, 0, now.wall)),
        }
        self.common.retune(terms);
        self.terms = terms;
    }

    /// What was spent in the present window before this account was opened.
    pub fn spent_before(&mut self, nanos: u64, wall: Duration) {
        if let Some(purse) = &mut self.purse {
            purse.settle(0, nanos, wall);
        }
    }

    /// At least so much was spent in the present window.
    pub fn at_least(&mut self, nanos: u64, wall: Duration) {
        if let Some(purse) = &mut self.purse {
            purse.at_least(nanos, wall);
        }
    }

    /// Lets a call in that may use so much, or takes nothing at all. What is to be given to [`Account::settle`] is told.
    ///
    /// # Errors
    /// The limit that it came up against: of several, the one that holds longest.
    pub fn admit(&mut self, ask: Amounts, now: Now) -> Result<Amounts, Refusal> {
        self.has_money(ask, now)?;
        self.has_time(ask, Duration::ZERO, now)?;
        self.has_place()?;
        Ok(self.take(ask, now))
    }

    /// Lets a call in while those that share the limits don't answer, as one of so many gateways: what each of the others might let in at
    /// the same moment has its room as well, so that all of them together stay within the limit as far as it was known.
    ///
    /// # Errors
    /// The limit that it came up against.
    pub fn admit_alone(&mut self, ask: Amounts, gateways: u64, now: Now) -> Result<Amounts, Refusal> {
        let gateways = gateways.max(1);
        self.has_money(ask, now)?;
        self.has_time(ask, Duration::ZERO, now)?;
        self.has_place()?;
        let refused = |kind, wait| Err(Refusal { kind, wait: Some(wait) });
        if let Some(purse) = &self.purse
            && self.common.money(ask.nanos, gateways, now.moment) > purse.left(now.wall)
        {
            return refused(Kind::Budget(Broke::Reserved), SOON);
        }
        if let Some((wait, kind)) = self.common.time(ask, gateways, now.moment) {
            return refused(kind, wait);
        }
        if self.terms.concurrency > 0 && !self.common.place(self.at_once, self.terms.concurrency, gateways, now.moment) {
            return refused(Kind::Concurrency, SOON);
        }
        self.common.take(ask, gateways, now.moment);
        Ok(self.take(ask, now))
    }

    /// A call was let in by those that share the limits: it takes its share here as well, whatever is left of a minute, so that this
    /// account is near theirs should it have to decide.
    ///
    /// # Errors
    /// The limit that leaves no room by what this account knows: they may have lost what they knew. A minute's may be overdrawn a
    /// little, as their clock is another.
    pub fn follow(&mut self, ask: Amounts, now: Now) -> Result<Amounts, Refusal> {
        self.has_money(ask, now)?;
        self.has_time(ask, OVERDRAWN, now)?;
        self.has_place()?;
        self.at_once += 1;
        if let Some(bucket) = &mut self.requests {
            bucket.settle(0, 1, now.moment);
        }
        if let Some(bucket) = &mut self.tokens {
            bucket.settle(0, ask.tokens, now.moment);
        }
        if let Some(purse) = &mut self.purse {
            purse.follow(ask.nanos);
        }
        let tokens = if self.tokens.is_some() { ask.tokens } else { 0 };
        Ok(Amounts { tokens, nanos: if self.purse.is_some() { ask.nanos } else { 0 } })
    }

    /// Takes of all of them, where there is room.
    fn take(&mut self, ask: Amounts, now: Now) -> Amounts {
        self.at_once += 1;
        let take = |bucket: &mut Option<Bucket>, cost| bucket.as_mut().map_or(0, |bucket| bucket.take(cost, now.moment).unwrap_or(0));
        take(&mut self.requests, 1);
        let tokens = take(&mut self.tokens, ask.tokens);
        let reserved = self.purse.as_mut().is_some_and(|purse| purse.reserve(ask.nanos, now.wall).is_ok());
        Amounts { tokens, nanos: if reserved { ask.nanos } else { 0 } }
    }

    fn has_money(&mut self, ask: Amounts, now: Now) -> Result<(), Refusal> {
        let Some(purse) = &mut self.purse else { return Ok(()) };
        let room = purse.room(ask.nanos, now.wall);
        room.map_err(|broke| Refusal { kind: Kind::Budget(broke), wait: (broke == Broke::Reserved).then_some(SOON) })
    }

    fn has_time(&self, ask: Amounts, overdrawn: Duration, now: Now) -> Result<(), Refusal> {
        match slowest(&self.requests, &self.tokens, (1, ask.tokens), now.moment) {
            Some((wait, kind)) if wait > overdrawn => Err(Refusal { kind, wait: Some(wait) }),
            _ => Ok(()),
        }
    }

    fn has_place(&self) -> Result<(), Refusal> {
        let full = self.terms.concurrency > 0 && self.at_once >= self.terms.concurrency;
        if full { Err(Refusal { kind: Kind::Concurrency, wait: Some(SOON) }) } else { Ok(()) }
    }

    /// What those that share the limits say, and which calls of this gateway they know of since.
    pub fn hear(&mut self, word: Word, leased: Leased, now: Now) {
        self.common.hear(word, leased, now);
        if let Some(purse) = &mut self.purse {
            // What they weren't told isn't in it.
            purse.at_least(word.spent.saturating_add(self.common.untold_nanos()), now.wall);
            let window = purse.budget().window.number(now.wall);
            let before = if self.heard.0 == window { self.heard.1 } else { 0 };
            self.heard = (window, word.spent.max(before));
        }
    }

    /// What those that share the limits are to know: what they said themselves that was spent, should they have lost it, and what
    /// they haven't been told; from here on they have.
    pub fn tell(&mut self, wall: Duration) -> (u64, Untold) {
        let window = self.purse.as_ref().map(|purse| purse.budget().window.number(wall));
        let heard = if window == Some(self.heard.0) { self.heard.1 } else { 0 };
        (heard, self.common.tell())
    }

    /// So much was used that those that share the limits haven't been told; calls of this gateway that they don't know of any more.
    pub fn keep_untold(&mut self, untold: Untold, leased: Leased) {
        self.common.untold(untold);
        self.common.leased(leased);
    }

    /// A call that was let in alone is over: what it took, and what it used.
    pub fn over_alone(&mut self, taken: Amounts, used: Amounts) {
        self.common.over(taken.nanos, used.nanos);
    }

    /// Reserves more money for a call that is let in already: it is to be made once more, elsewhere. False: there isn't any.
    pub fn more(&mut self, nanos: u64, wall: Duration) -> bool {
        self.purse.as_mut().is_none_or(|purse| purse.reserve(nanos, wall).is_ok())
    }

    /// A call is over that had taken so much: what it did use.
    pub fn settle(&mut self, taken: Amounts, used: Amounts, now: Now) {
        if let Some(bucket) = &mut self.tokens {
            bucket.settle(taken.tokens, used.tokens, now.moment);
        }
        if let Some(purse) = &mut self.purse {
            purse.settle(taken.nanos, used.nanos, now.wall);
        }
    }

    /// A call's last byte went out.
    pub fn leave(&mut self) {
        self.at_once = self.at_once.saturating_sub(1);
    }

    /// What is left of requests and of tokens a minute, where they are limited.
    pub fn standing(&self, now: Moment) -> (Option<Standing>, Option<Standing>) {
        let of = |bucket: &Option<Bucket>, limit| {
            let bucket = bucket.as_ref()?;
            Some(Standing { limit, remaining: bucket.left(now), reset: bucket.full_at(now).since(now) })
        };
        (of(&self.requests, self.terms.rpm), of(&self.tokens, self.terms.tpm))
    }

    /// What was spent in the present window, and what nobody has spent or reserved; None without a budget.
    pub fn money(&self, wall: Duration) -> Option<(u64, u64)> {
        self.purse.as_ref().map(|purse| (purse.spent(wall), purse.left(wall)))
    }

    /// Calls under way.
    pub fn at_once(&self) -> u64 {
        self.at_once
    }
}

/// Which of two minute's limits holds up what asks for so many requests and tokens, and for how long; of both, the one that holds longer.
pub(super) fn slowest(requests: &Option<Bucket>, tokens: &Option<Bucket>, ask: (u64, u64), now: Moment) -> Option<(Duration, Kind)> {
    let full = |bucket: &Option<Bucket>, cost| bucket.as_ref().and_then(|bucket| bucket.room(cost, now).err());
    let waits = [(full(requests, ask.0), Kind::Requests), (full(tokens, ask.1), Kind::Tokens)];
    waits.into_iter().filter_map(|(until, kind)| Some((until?.since(now), kind))).max_by_key(|(wait, _)| *wait)
}

#[cfg(test)]
mod tests;
