//! Where the streams are that can be come back to, by who began them and their request's id; and the bound on what they keep
//! together.
//!
//! Where that is reached, streams that have ended lose what they keep, those that ended first before others; those that flow
//! keep as much as they have, and at least a little, for readers who are only just behind.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use dashmap::DashMap;

use super::kept::Kept;

/// What all of them keep together, in bytes.
const TOGETHER: usize = 256 << 20;
/// What one that flows keeps even then.
const LEAST: usize = 64 << 10;

/// Who began a stream: the key's name; None in open mode.
pub type Owner = Option<Arc<str>>;

/// See the module's text. Shared by all workers; touched only by streams that can be come back to.
#[derive(Debug, Default)]
pub struct Shelf {
    streams: DashMap<(Owner, Arc<str>), Arc<Kept>>,
    together: AtomicUsize,
    /// Those that have ended, in that order.
    ended: Mutex<VecDeque<Weak<Kept>>>,
}

impl Shelf {
    /// The stream of that request, if its key began it and it is still there.
    pub fn find(&self, owner: &Owner, id: &str) -> Option<Arc<Kept>> {
        let found = self.streams.get(&(owner.clone(), Arc::from(id)))?;
        Some(Arc::clone(&found))
    }

    /// From now on `kept` is the one that is found; where a caller gives an id again, the last one is.
    pub(super) fn put(&self, kept: &Arc<Kept>) {
        self.streams.insert(kept.name(), Arc::clone(kept));
    }

    /// It is found no more.
    pub(super) fn forget(&self, kept: &Kept) {
        self.streams.remove_if(&kept.name(), |_, found| std::ptr::eq(&**found, kept));
    }

    /// How much a stream may keep that has `size` now and may have `buffer`.
    pub(super) fn most(&self, size: usize, buffer: usize) -> usize {
        if self.is_full() { buffer.min(size.max(LEAST)) } else { buffer }
    }

    /// A stream that kept `before` keeps `after`, both in bytes.
    pub(super) fn changed(&self, before: usize, after: usize) {
        if after >= before {
            self.together.fetch_add(after - before, Ordering::Relaxed);
        } else {
            self.together.fetch_sub(before - after, Ordering::Relaxed);
        }
    }

    /// It has ended: what it keeps may be needed for others.
    pub(super) fn ended(&self, kept: &Arc<Kept>) {
        let mut ended = self.lock();
        while ended.front().is_some_and(|first| first.strong_count() == 0) {
            ended.pop_front();
        }
        ended.push_back(Arc::downgrade(kept));
    }

    /// Takes from those that ended first, where all have more than they may.
    pub(super) fn make_room(&self) {
        while self.is_full() {
            let Some(first) = ({ self.lock().pop_front() }) else { return };
            if let Some(kept) = first.upgrade() {
                kept.empty();
            }
        }
    }

    fn is_full(&self) -> bool {
        self.together.load(Ordering::Relaxed) > TOGETHER
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Weak<Kept>>> {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
