//! What repeats and hedges may cost: a bucket that each live request fills by a share of a call and each extra call empties
//! by a whole one, so that when everything fails the upstreams see little more than the requests themselves. A floor in
//! calls a second keeps a quiet gateway able to repeat at all.
//!
//! The share and the floor bound each other's sum: what the floor grants is owed to the share, so that extra calls come to
//! the larger of the two, not to both. Lock-free: any thread earns and spends, and a full bucket is only read.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use crate::base::Moment;

/// A call, in the bucket's unit: shares are millionths.
const CALL: i64 = 1_000_000;
/// What a long good time saves up for a bad moment.
const MOST: i64 = 50 * CALL;
/// The floor is counted over a second, and as much may be taken at once.
const SECOND_US: u64 = 1_000_000;

/// See the module's text.
#[derive(Debug, Default)]
pub struct Budget {
    /// Millionths of a call; below zero: what the floor has granted ahead.
    earned: AtomicI64,
    /// Until when the floor's calls are given out, in microseconds (the virtual time of a leaky bucket).
    granted_to: AtomicU64,
}

impl Budget {
    /// A live request adds its share, in millionths of a call.
    pub fn earn(&self, share: u32) {
        let earned = self.earned.load(Ordering::Relaxed);
        if share == 0 || earned >= MOST {
            return;
        }
        // May pass the mark by a share, and by what other threads add at the same moment.
        self.earned.fetch_add(i64::from(share), Ordering::Relaxed);
    }

    /// Takes one call: what was earned, or what the floor of `least` calls a second still has. False: none is left.
    pub fn spend(&self, least: u64, now: Moment) -> bool {
        let deepest = if self.floor_grants(least, now) {
            // Owed, up to a second's worth: more would punish a gateway for its quiet hours.
            -i64::try_from(least).unwrap_or(i64::MAX).min(MOST / CALL).saturating_mul(CALL)
        } else {
            CALL
        };
        let spent = self.earned.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |earned| {
            if deepest < CALL { Some((earned - CALL).max(deepest)) } else { (earned >= CALL).then_some(earned - CALL) }
        });
        spent.is_ok()
    }

    fn floor_grants(&self, least: u64, now: Moment) -> bool {
        let Some(step) = SECOND_US.checked_div(least) else { return false };
        let end = now.micros().saturating_add(SECOND_US);
        let granted = self.granted_to.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |to| {
            let next = to.max(now.micros()).saturating_add(step);
            (next <= end).then_some(next)
        });
        granted.is_ok()
    }
}

/// The buckets that a chain's requests share with each other, and with those of every chain of the same terms.
#[derive(Debug, Default)]
pub struct Budgets {
    /// For repeats and hedges.
    pub extra: Budget,
    /// For hedges alone, besides.
    pub hedges: Budget,
}

#[cfg(test)]
mod tests;
