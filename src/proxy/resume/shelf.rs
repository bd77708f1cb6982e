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
use crate::access::VirtualKey;

/// What all of them keep together, in bytes.
const TOGETHER: usize = 256 << 20;
/// What one that flows keeps even then.
const LEAST: usize = 64 << 10;

/// Who began a stream: the key's id; None in open mode.
pub type Owner = Option<Arc<str>>;

/// Who may come back to what is begun with this key.
pub fn owner(key: Option<&Arc<VirtualKey>>) -> Owner {
    key.map(|key| Arc::clone(&key.id))
}

/// See the module's text. Shared by all workers; touched only by streams that can be come back to.
#[derive(Debug)]
pub struct Shelf {
    /// What all of them may keep together, in bytes.
    bound: usize,
    streams: DashMap<(Owner, Arc<str>), Arc<Kept>>,
    together: AtomicUsize,
    /// Those that have ended, in that order.
    ended: Mutex<VecDeque<Weak<Kept>>>,
}

impl Default for Shelf {
    fn default() -> Self {
        Self::bounded(TOGETHER)
    }
}

impl Shelf {
    fn bounded(bound: usize) -> Self {
        Self { bound, streams: DashMap::new(), together: AtomicUsize::new(0), ended: Mutex::default() }
    }

    /// The stream of that request, if its key began it and it is still there.
    pub fn find(&self, owner: &Owner, id: &str) -> Option<Arc<Kept>> {
        let found = self.streams.get(&(owner.clone(), Arc::from(id)))?;
        Some(Arc::clone(&found))
    }

    /// From now on `kept` is the one that is found; where a caller gives an id again, the last one is.
    pub(super) fn put(&self, kept: &Arc<Kept>) {
        if let Some(before) = self.streams.insert(kept.name(), Arc::clone(kept)) {
            before.replace();
        }
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
        self.together.load(Ordering::Relaxed) > self.bound
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Weak<Kept>>> {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use actix::{AsyncContext, Context};
    use bytes::Bytes;

    use super::super::kept::{Terms, Unreadable};
    use super::super::pump::Pump;
    use super::*;
    use crate::dialect::Wire;

    const BUFFER: usize = 1 << 20;

    fn kept(shelf: &Arc<Shelf>, owner: &str, id: &str) -> Arc<Kept> {
        let terms = Terms { owner: Some(owner.into()), id: id.into(), window: Duration::from_secs(1), buffer: BUFFER, wire: Wire::OpenAi };
        let kept = Arc::new(Kept::new(terms, Arc::clone(shelf), Context::<Pump>::new().address()));
        shelf.put(&kept);
        kept
    }

    fn write(kept: &Kept, bytes: usize) {
        for _ in 0..bytes >> 10 {
            kept.write(Bytes::from(format!("data: {}\n\n", "x".repeat(980))));
        }
    }

    #[test]
    fn a_stream_is_found_by_its_key_and_the_last_of_an_id_counts() {
        let shelf = Arc::new(Shelf::default());
        let (first, other) = (kept(&shelf, "a", "1"), kept(&shelf, "b", "1"));
        let same = |owner: &str, kept: &Arc<Kept>| shelf.find(&Some(owner.into()), "1").is_some_and(|found| Arc::ptr_eq(&found, kept));
        assert!(same("a", &first) && same("b", &other));
        assert!(shelf.find(&None, "1").is_none() && shelf.find(&Some("a".into()), "2").is_none());
        let second = kept(&shelf, "a", "1");
        shelf.forget(&first);
        assert!(same("a", &second), "the end of the first leaves the second where it is");
        shelf.forget(&second);
        assert!(shelf.find(&Some("a".into()), "1").is_none());
    }

    #[test]
    fn beyond_the_bound_those_that_ended_first_are_emptied_and_live_ones_stay_as_they_are() {
        let shelf = Arc::new(Shelf::bounded(1 << 20));
        let all: Vec<_> = (0..5).map(|number| kept(&shelf, "a", &number.to_string())).collect();
        for ended in &all[..2] {
            write(ended, 256 << 10);
            ended.end(|_| None);
        }
        write(&all[2], 256 << 10);
        assert!(all.iter().all(|kept| kept.join(0).is_ok()));
        write(&all[3], 400 << 10);
        let gone = |kept: &Kept| matches!(kept.join(0), Err(Unreadable::Gone(_)));
        assert_eq!(all.iter().map(|kept| gone(kept)).collect::<Vec<_>>(), [true, false, false, false, false]);
        // Nothing is left to be emptied: what flows keeps what it has, or a little.
        write(&all[2], BUFFER);
        write(&all[4], BUFFER);
        assert_eq!(all.iter().map(|kept| gone(kept)).collect::<Vec<_>>(), [true, true, true, false, true]);
        let together = shelf.together.load(Ordering::Relaxed);
        assert!(together <= shelf.bound + LEAST + 2_048, "{together}");
        drop(all);
        shelf.streams.clear();
        assert_eq!(shelf.together.load(Ordering::Relaxed), 0);
    }
}
