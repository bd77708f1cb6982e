//! Whom to ask to go on with a stream that broke: targets that weren't asked yet first, those whose streams died last, and a
//! target that doesn't take the way it is asked in once more by the way that everyone takes.

use std::collections::VecDeque;

use super::pick::{Taken, Tried};
use crate::health::Outcome;

/// Calls that going on may cost beyond `attempts`.
const BEYOND: u32 = 2;

/// See the module's text.
#[derive(Clone, Debug)]
pub struct Onward {
    /// Targets and keys that aren't asked any more, or not yet.
    pub tried: Tried,
    /// A window that was too small.
    pub larger_than: Option<u64>,
    /// Whether the one call on an open target was made.
    pub last_resort_used: bool,
    /// The one target to be asked.
    only: Option<usize>,
    /// It is asked by the way that everyone takes.
    plainly: bool,
    /// Those whose streams died, the first of them first.
    died: VecDeque<usize>,
    left: u32,
}

impl Onward {
    /// After a request whose plan has come so far; of `attempts` calls it has made `calls`.
    pub fn new(tried: Tried, larger_than: Option<u64>, last_resort_used: bool, attempts: u32, calls: u32) -> Self {
        let left = (attempts + BEYOND).saturating_sub(calls);
        Self { tried, larger_than, last_resort_used, only: None, plainly: false, died: VecDeque::new(), left }
    }

    /// Its stream broke off.
    pub fn died(&mut self, number: usize) {
        self.tried.target(number);
        self.died.push_back(number);
        (self.only, self.plainly) = (None, false);
    }

    /// The one target to be asked, if it has to be that one.
    pub fn only(&self) -> Option<usize> {
        self.only
    }

    /// Whether it is to be asked by the way that everyone takes.
    pub fn plainly(&self) -> bool {
        self.plainly
    }

    /// Counts a call that is about to be made; false where none may be made any more.
    pub fn call(&mut self) -> bool {
        let may = self.left > 0;
        self.left = self.left.saturating_sub(1);
        may
    }

    /// Nobody can be asked as things are; true where there is still someone who died before.
    pub fn nobody(&mut self) -> bool {
        if self.only.take().is_some() {
            // It can't be asked now; the others may still be.
            self.plainly = false;
            return true;
        }
        self.only = self.died.pop_front();
        if let Some(number) = self.only {
            self.tried.forget(number);
        }
        self.only.is_some()
    }

    /// A call didn't go on. `way_refused`: it refused a way that it needn't be asked in.
    pub fn failed(&mut self, taken: &Taken, outcome: &Outcome, way_refused: bool) {
        if way_refused && !self.plainly {
            (self.only, self.plainly) = (Some(taken.number), true);
            return;
        }
        (self.only, self.plainly) = (None, false);
        match (outcome, taken.key) {
            (Outcome::RateLimited { whole_key, .. }, Some(_)) => self.tried.key(taken, *whole_key),
            (Outcome::KeyFault { .. }, Some(_)) => self.tried.key(taken, true),
            (Outcome::TooLong, _) => {
                self.larger_than = self.larger_than.max(taken.target.context_window);
                self.tried.target(taken.number);
            }
            _ => self.tried.target(taken.number),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::fixture::{provider, target};
    use super::*;
    use crate::health::Failure;

    const GONE: Outcome = Outcome::Transient(Failure::Connect);

    fn taken(number: usize) -> Taken {
        Taken { number, model: "m".into(), target: Arc::new(target(&provider("p", 0), "up")), key: None }
    }

    fn onward(calls: u32) -> Onward {
        let mut onward = Onward::new(Tried::default(), None, false, 4, calls);
        onward.died(0);
        onward
    }

    #[test]
    fn who_died_is_asked_last_and_once() {
        let mut onward = onward(1);
        assert!(onward.tried.has(0) && onward.only().is_none());
        onward.failed(&taken(1), &GONE, false);
        assert!(onward.tried.has(1));
        assert!(onward.nobody());
        assert_eq!((onward.only(), onward.tried.has(0)), (Some(0), false));
        onward.failed(&taken(0), &GONE, false);
        assert!(onward.tried.has(0) && !onward.nobody(), "there is nobody left");
    }

    #[test]
    fn a_refused_way_is_asked_plainly_once_and_then_left() {
        let mut onward = onward(1);
        onward.failed(&taken(1), &Outcome::CallerFault, true);
        assert_eq!((onward.only(), onward.plainly()), (Some(1), true));
        onward.failed(&taken(1), &Outcome::CallerFault, true);
        assert!(onward.tried.has(1) && onward.only().is_none() && !onward.plainly());
        let mut busy = self::onward(1);
        busy.failed(&taken(1), &Outcome::CallerFault, true);
        assert!(busy.nobody() && busy.only().is_none(), "the others may still be asked");
    }

    #[test]
    fn a_keys_fault_takes_the_key_out_and_a_small_window_the_small_ones() {
        let provider = provider("p", 2);
        let target = Arc::new(crate::routing::Target { context_window: Some(8_000), ..target(&provider, "up") });
        let taken = |key| Taken { number: 1, model: "m".into(), target: Arc::clone(&target), key };
        let mut onward = onward(1);
        onward.failed(&taken(Some(0)), &Outcome::RateLimited { wait: None, whole_key: false }, false);
        assert_eq!((onward.tried.has(1), onward.tried.keys_of(1, &target), onward.tried.keys_of(2, &target)), (false, 0b01, 0));
        onward.failed(&taken(Some(1)), &Outcome::KeyFault { sure: false }, false);
        assert_eq!((onward.tried.has(1), onward.tried.keys_of(1, &target), onward.tried.keys_of(2, &target)), (false, 0b11, 0b10));
        onward.failed(&taken(Some(1)), &Outcome::TooLong, false);
        assert_eq!((onward.tried.has(1), onward.larger_than), (true, Some(8_000)));
        let mut keyless = self::onward(1);
        keyless.failed(&taken(None), &Outcome::RateLimited { wait: None, whole_key: false }, false);
        assert!(keyless.tried.has(1));
    }

    #[test]
    fn two_calls_beyond_the_attempts() {
        for (calls, left) in [(1, 5), (4, 2), (6, 0), (9, 0)] {
            let mut onward = onward(calls);
            assert_eq!((0..10).filter(|_| onward.call()).count(), left, "after {calls}");
        }
    }

    #[test]
    fn another_stream_that_dies_waits_behind_the_first() {
        let mut onward = onward(1);
        onward.died(1);
        assert!(onward.nobody());
        assert_eq!(onward.only(), Some(0));
        onward.failed(&taken(0), &GONE, false);
        assert!(onward.nobody());
        assert_eq!(onward.only(), Some(1));
    }
}
