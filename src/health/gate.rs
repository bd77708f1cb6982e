//! Who may pass a breaker, as published: one word of epoch, stand and permits in use, and the times that go with it. One
//! writer publishes, any thread reads, and a probe's permit is claimed by compare-and-swap on the word that holds the stand, so
//! that a claim can't outlive the stand it was made in.
//!
//! The atomics come from the module above, so that `permit_model` can compile this same file over loom's.

use std::time::Duration;

use super::atomic::{AtomicU32, AtomicU64, Ordering};
use crate::base::Moment;
use crate::health::Admission;

/// A breaker's state, and whether an operator holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stand {
    Closed,
    Open,
    HalfOpen,
    HeldOpen,
    HeldClosed,
}

impl Stand {
    const ALL: [Self; 5] = [Self::Closed, Self::Open, Self::HalfOpen, Self::HeldOpen, Self::HeldClosed];
}

/// What a breaker's writer publishes of who may pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sign {
    /// The number of the state.
    pub(super) epoch: u32,
    /// The state.
    pub(super) stand: Stand,
    /// The end of the last open period.
    pub(super) until: Option<Moment>,
    /// Permits that may be out at once.
    pub(super) permits: u16,
    /// Between two claims at least ...
    pub(super) gap: Duration,
    /// ... but not now.
    pub(super) gap_waived: bool,
}

/// See the module's text.
#[derive(Debug, Default)]
pub(super) struct Gate {
    /// epoch (32 bits) | stand (16) | permits in use (16).
    word: AtomicU64,
    until: AtomicU64,
    permits: AtomicU32,
    /// Microseconds, times two, and one more where it is waived.
    gap: AtomicU64,
    /// Where there is a gap: the next claim may be made then.
    next_claim: AtomicU64,
}

fn pack(epoch: u32, stand: Stand, used: u16) -> u64 {
    (u64::from(epoch) << 32) | ((stand as u64) << 16) | u64::from(used)
}

fn unpack(word: u64) -> (u32, Stand, u16) {
    let stand = Stand::ALL.get((word >> 16) as usize & 0xffff).copied().unwrap_or(Stand::Closed);
    ((word >> 32) as u32, stand, word as u16)
}

impl Gate {
    /// Publishes. For the one writer only.
    pub(super) fn publish(&self, sign: Sign) {
        self.permits.store(u32::from(sign.permits), Ordering::Relaxed);
        self.gap.store(((sign.gap.as_micros() as u64) << 1) | u64::from(sign.gap_waived), Ordering::Relaxed);
        // Times first, then the word that makes readers look at them. Where there is no end, the old one stays: the old word
        // may still be read.
        if let Some(until) = sign.until {
            self.until.store(until.micros(), Ordering::Relaxed);
        }
        // Readers change only the permits; those of the same epoch stay claimed.
        let _ = self.word.fetch_update(Ordering::AcqRel, Ordering::Acquire, |word| {
            let (epoch, _, used) = unpack(word);
            Some(pack(sign.epoch, sign.stand, if epoch == sign.epoch { used } else { 0 }))
        });
    }

    /// What was published last: epoch, stand, and the end of the open period where there is one.
    pub(super) fn published(&self) -> (u32, Stand, Option<Moment>) {
        let (epoch, stand, _) = unpack(self.word.load(Ordering::Acquire));
        let until = Moment::from_micros(self.until.load(Ordering::Relaxed));
        (epoch, stand, matches!(stand, Stand::Open | Stand::HalfOpen).then_some(until))
    }

    /// Whether a call may pass at `now`, and in which epoch. Claims nothing.
    pub(super) fn admit(&self, now: Moment) -> (Admission, u32) {
        let (epoch, stand, used) = unpack(self.word.load(Ordering::Acquire));
        let until = Moment::from_micros(self.until.load(Ordering::Relaxed));
        let admission = match stand {
            Stand::Closed | Stand::HeldClosed => Admission::Admit,
            Stand::HeldOpen => Admission::Held,
            Stand::Open if now < until => Admission::Refuse(until),
            Stand::Open | Stand::HalfOpen => {
                let free = u32::from(used) < self.permits.load(Ordering::Relaxed);
                if free && self.gap_is_over(now) { Admission::Due } else { Admission::Busy }
            }
        };
        (admission, epoch)
    }

    /// Claims one of the permits and tells its epoch; None if the last was taken meanwhile, or the stand has changed. To be
    /// given back by [`Gate::release`].
    pub(super) fn claim(&self, now: Moment) -> Option<u32> {
        if !self.take_turn(now) {
            return None;
        }
        let claimed = self.word.fetch_update(Ordering::AcqRel, Ordering::Acquire, |word| {
            let (epoch, stand, used) = unpack(word);
            // After the word, which was published after them: never an earlier period's end with a later one's word.
            let permits = self.permits.load(Ordering::Relaxed);
            let until = Moment::from_micros(self.until.load(Ordering::Relaxed));
            let due = stand == Stand::HalfOpen || (stand == Stand::Open && now >= until);
            (due && u32::from(used) < permits).then(|| pack(epoch, stand, used + 1))
        });
        claimed.ok().map(|word| unpack(word).0)
    }

    /// Gives a permit back, unless its epoch is over: then nobody counts it any more.
    pub(super) fn release(&self, epoch: u32) {
        let _ = self.word.fetch_update(Ordering::AcqRel, Ordering::Acquire, |word| {
            let (current, stand, used) = unpack(word);
            (current == epoch && used > 0).then(|| pack(epoch, stand, used - 1))
        });
    }

    /// Permits in use.
    #[cfg(test)]
    pub(super) fn used(&self) -> u16 {
        unpack(self.word.load(Ordering::Acquire)).2
    }

    fn gap_is_over(&self, now: Moment) -> bool {
        let gap = self.gap.load(Ordering::Relaxed);
        gap < 2 || gap & 1 == 1 || now.micros() >= self.next_claim.load(Ordering::Relaxed)
    }

    /// Where claims keep a distance, takes the place of the next one; false if it isn't time yet.
    fn take_turn(&self, now: Moment) -> bool {
        let gap = self.gap.load(Ordering::Relaxed);
        let later = |next: u64| (gap & 1 == 1 || now.micros() >= next).then(|| now.micros().saturating_add(gap >> 1));
        gap < 2 || self.next_claim.fetch_update(Ordering::Relaxed, Ordering::Relaxed, later).is_ok()
    }
}
