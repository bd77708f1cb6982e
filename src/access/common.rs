//! What is known of limits that several gateways share, for when whoever keeps them doesn't answer: what they said last, and what
//! was let in since without them. A gateway that is alone takes as if each of the others did the same at the same moment, so that
//! all of them together stay below the limit without a word between them.

use std::num::NonZeroU64;
use std::time::Duration;

use super::account::{Amounts, Kind, Now, Terms, slowest};
use super::limit::Bucket;
use crate::base::Moment;

/// What others had under way is believed for so long: by then some of it is over.
const BELIEVED: Duration = Duration::from_secs(2);

/// Once they answer again, all have told within this of what they had let in alone.
const GRACE: Duration = Duration::from_secs(1);

/// What those that share the limits say of a key, of all gateways together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Word {
    /// Requests of the minute that are left.
    pub requests: u64,
    /// Tokens of the minute that are left.
    pub tokens: u64,
    /// Nano-dollars spent in the window.
    pub spent: u64,
    /// Nano-dollars reserved.
    pub reserved: u64,
    /// Calls under way.
    pub at_once: u64,
}

/// Calls of this gateway that they know of, or that came to be known or over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Leased {
    /// How many.
    pub calls: i64,
    /// What they have reserved, in nano-dollars.
    pub nanos: i64,
}

/// What was used that they haven't been told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Untold {
    /// Requests.
    pub requests: u64,
    /// Tokens.
    pub tokens: u64,
    /// Nano-dollars.
    pub nanos: u64,
}

impl Untold {
    fn plus(self, more: Self) -> Self {
        Self {
            requests: self.requests.saturating_add(more.requests),
            tokens: self.tokens.saturating_add(more.tokens),
            nanos: self.nanos.saturating_add(more.nanos),
        }
    }
}

/// See the module's text.
#[derive(Debug, Default)]
pub(super) struct Common {
    requests: Option<Bucket>,
    tokens: Option<Bucket>,
    untold: Untold,
    /// Nano-dollars let in alone, until the others have told of theirs: they are taken to have let in as much, each.
    alone: Option<u64>,
    /// Since when they answer again.
    back: Option<Moment>,
    leased: Leased,
    /// When they spoke last, and what others had under way then.
    others: Option<(Moment, Leased)>,
}

impl Common {
    pub(super) fn new(terms: Terms) -> Self {
        let bucket = |per_minute| NonZeroU64::new(per_minute).map(Bucket::new);
        Self { requests: bucket(terms.rpm), tokens: bucket(terms.tpm), ..Self::default() }
    }

    /// Other terms: their next word says what is left.
    pub(super) fn retune(&mut self, terms: Terms) {
        let fresh = Self::new(terms);
        (self.requests, self.tokens) = (fresh.requests, fresh.tokens);
    }

    /// Their word, and which calls of this gateway's own came to be known to them with it.
    pub(super) fn hear(&mut self, word: Word, leased: Leased, now: Now) {
        self.leased(leased);
        let others = |all: u64, own: i64| i64::try_from(all).unwrap_or(i64::MAX).saturating_sub(own).max(0);
        let others = Leased { calls: others(word.at_once, self.leased.calls), nanos: others(word.reserved, self.leased.nanos) };
        self.others = Some((now.moment, others));
        if self.alone.is_some() && now.moment.since(*self.back.get_or_insert(now.moment)) >= GRACE {
            (self.alone, self.back) = (None, None);
        }
        // Until then they say more is left than there is.
        let known = |bucket: &Bucket, left: u64| if self.alone.is_some() { left.min(bucket.left(now.moment)) } else { left };
        if let Some(bucket) = &mut self.requests {
            bucket.holds(known(bucket, word.requests), now.moment);
        }
        if let Some(bucket) = &mut self.tokens {
            bucket.holds(known(bucket, word.tokens), now.moment);
        }
    }

    /// Calls of this gateway's own came to be known to them, or are over.
    pub(super) fn leased(&mut self, leased: Leased) {
        self.leased.calls += leased.calls;
        self.leased.nanos += leased.nanos;
    }

    /// What they are to be told; from here on they have been.
    pub(super) fn tell(&mut self) -> Untold {
        std::mem::take(&mut self.untold)
    }

    /// Nano-dollars spent that they haven't been told.
    pub(super) fn untold_nanos(&self) -> u64 {
        self.untold.nanos
    }

    /// Something more is to be told.
    pub(super) fn untold(&mut self, more: Untold) {
        self.untold = self.untold.plus(more);
    }

    /// What one call more takes of money where this gateway is one of so many: its own share and as much for each of the others,
    /// and what the others have reserved or would have taken as this one has.
    pub(super) fn money(&self, ask: u64, gateways: u64, now: Moment) -> u64 {
        let alone = self.alone.unwrap_or(0).saturating_mul(gateways - 1);
        let others = u64::try_from(self.others(now).map_or(0, |others| others.nanos)).unwrap_or(0);
        ask.saturating_mul(gateways).saturating_add(alone).saturating_add(others)
    }

    /// A call that was let in alone is over and has used `nanos` of what it took.
    pub(super) fn over(&mut self, taken: u64, nanos: u64) {
        self.alone = self.alone.map(|alone| alone.saturating_sub(taken).saturating_add(nanos));
    }

    /// Which minute's limit holds up a call of one among so many gateways, and for how long.
    pub(super) fn time(&self, ask: Amounts, gateways: u64, now: Moment) -> Option<(Duration, Kind)> {
        slowest(&self.requests, &self.tokens, (gateways, ask.tokens.saturating_mul(gateways)), now)
    }

    /// Whether there is a place for one call more, of `at_once` under way here.
    pub(super) fn place(&self, at_once: u64, most: u64, gateways: u64, now: Moment) -> bool {
        // Nothing is refused for ever: one at a time there always is.
        let share = at_once == 0 || at_once.saturating_add(1).saturating_mul(gateways) <= most;
        let Some(others) = self.others(now) else { return share };
        let count = |calls: i64| u64::try_from(calls).unwrap_or(0);
        let known = count(self.leased.calls).min(at_once);
        let alone = at_once - known + 1;
        let room = count(others.calls).saturating_add(known).saturating_add(alone.saturating_mul(gateways)) <= most;
        // What others let in alone isn't in their word yet.
        room && (share || self.alone.is_none())
    }

    /// A call is let in by one among so many gateways.
    pub(super) fn take(&mut self, ask: Amounts, gateways: u64, now: Moment) {
        self.alone = Some(self.alone.unwrap_or(0).saturating_add(ask.nanos));
        self.back = None;
        if let Some(bucket) = &mut self.requests {
            bucket.settle(0, gateways, now);
        }
        if let Some(bucket) = &mut self.tokens {
            bucket.settle(0, ask.tokens.saturating_mul(gateways), now);
        }
    }

    fn others(&self, now: Moment) -> Option<Leased> {
        self.others.filter(|(at, _)| now.since(*at) <= BELIEVED).map(|(_, others)| others)
    }
}
