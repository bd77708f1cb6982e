//! What a key may spend in a day, a week, a month or ever: reserved before a call leaves, settled with what it did cost, so
//! that many calls at once can't spend the same money. All in nano-dollars, by UTC, and by a wall clock that may be set.

use std::time::Duration;

use super::virtual_key::{Budget, Window};

const DAY: u64 = 86_400;

impl Window {
    /// Which of its kind a time (since 1970) is in, counted from 0.
    pub fn number(self, wall: Duration) -> u64 {
        let days = wall.as_secs() / DAY;
        match self {
            Self::Day => days,
            // The first day of 1970 was a Thursday.
            Self::Week => (days + 3) / 7,
            Self::Month => month(days),
            Self::Total => 0,
        }
    }
}

/// Months since January 1970, by the Gregorian calendar.
fn month(days: u64) -> u64 {
    let (year, month) = year_and_month(days);
    (year - 1970) * 12 + month - 1
}

/// Year and month of a day since 1970: the calendar in eras of 400 years that begin in March, so that the day in excess
/// is a year's last.
fn year_and_month(days: u64) -> (u64, u64) {
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let from_march = (5 * of_year + 2) / 153;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    (year + era * 400 + u64::from(month <= 2), month)
}

/// Why a call's money isn't there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broke {
    /// It is spent: only the next window, or a larger budget, helps.
    Spent,
    /// Calls under way have reserved what it would take: some of it may come back.
    Reserved,
}

/// One key's money.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Purse {
    budget: Budget,
    /// Which window `spent` is of.
    window: u64,
    spent: u64,
    reserved: u64,
}

impl Purse {
    /// Of which so much was spent before, in the window that `wall` is in.
    pub fn new(budget: Budget, spent: u64, wall: Duration) -> Self {
        Self { budget, window: budget.window.number(wall), spent, reserved: 0 }
    }

    /// Its terms.
    pub fn budget(&self) -> Budget {
        self.budget
    }

    /// Puts other terms in force. What was spent counts on, unless the window is another one: then only what is under way
    /// does.
    pub fn retune(&mut self, budget: Budget, wall: Duration) {
        if budget.window != self.budget.window {
            self.spent = 0;
            self.window = budget.window.number(wall);
        }
        self.budget = budget;
    }

    /// At least so much was spent in the window: others know of it.
    pub fn at_least(&mut self, spent: u64, wall: Duration) {
        self.turn(wall);
        self.spent = self.spent.max(spent);
    }

    /// Reserves without a question: it was allowed elsewhere.
    pub fn follow(&mut self, nanos: u64) {
        self.reserved = self.reserved.saturating_add(nanos);
    }

    /// What was spent in the window.
    pub fn spent(&self, wall: Duration) -> u64 {
        let mut now = *self;
        now.turn(wall);
        now.spent
    }

    /// What nobody has spent or reserved.
    pub fn left(&self, wall: Duration) -> u64 {
        let mut now = *self;
        now.turn(wall);
        now.budget.nanos.saturating_sub(now.spent.saturating_add(now.reserved))
    }

    /// Whether `nanos` could be reserved.
    ///
    /// # Errors
    /// Why not.
    pub fn room(&mut self, nanos: u64, wall: Duration) -> Result<(), Broke> {
        self.turn(wall);
        if self.spent.saturating_add(nanos) > self.budget.nanos || self.spent >= self.budget.nanos {
            Err(Broke::Spent)
        } else if self.spent.saturating_add(self.reserved).saturating_add(nanos) > self.budget.nanos {
            Err(Broke::Reserved)
        } else {
            Ok(())
        }
    }

    /// Reserves what a call may cost.
    ///
    /// # Errors
    /// Why it can't; nothing is reserved then.
    pub fn reserve(&mut self, nanos: u64, wall: Duration) -> Result<(), Broke> {
        self.room(nanos, wall)?;
        self.reserved += nanos;
        Ok(())
    }

    /// Puts what a call did cost in the place of what was reserved for it. It counts in the window in which it ended.
    pub fn settle(&mut self, reserved: u64, cost: u64, wall: Duration) {
        self.turn(wall);
        self.reserved = self.reserved.saturating_sub(reserved);
        self.spent = self.spent.saturating_add(cost);
    }

    /// Begins anew where another window has begun. A clock that is set back by less than a window changes nothing, so that the
    /// same midnight isn't met twice; one that is set back further had been far ahead: what was spent then counts now.
    fn turn(&mut self, wall: Duration) {
        let number = self.budget.window.number(wall);
        if number > self.window {
            (self.window, self.spent) = (number, 0);
        } else if number + 1 < self.window {
            self.window = number;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(text: &str) -> Duration {
        crate::base::date(text).unwrap()
    }

    fn purse(nanos: u64, window: Window, now: &str) -> Purse {
        Purse::new(Budget { nanos, window, unpriced: false }, 0, at(now))
    }

    #[test]
    fn windows_begin_by_the_calendar() {
        for (window, began, ends) in [
            (Window::Day, "2026-11-26", "2026-11-27"),
            (Window::Week, "2026-11-23", "2026-11-30"),
            (Window::Month, "2028-02-01", "2028-03-01"),
            (Window::Month, "2100-02-01", "2100-03-01"),
            (Window::Month, "2026-12-01", "2027-01-01"),
        ] {
            let (number, second) = (window.number(at(began)), Duration::from_secs(1));
            assert_eq!(window.number(at(ends) - second), number, "{} {began}", window.name());
            assert_eq!((window.number(at(began) - second), window.number(at(ends))), (number - 1, number + 1), "{} {began}", window.name());
        }
        assert_eq!((Window::Month.number(at("2000-01-31")), Window::Total.number(at("2100-02-28"))), (360, 0));
    }

    #[test]
    fn money_is_reserved_then_settled() {
        let now = at("2026-11-26T12:00:00Z");
        let mut purse = purse(100, Window::Day, "2026-11-26");
        assert_eq!((purse.reserve(60, now), purse.reserve(60, now)), (Ok(()), Err(Broke::Reserved)));
        assert_eq!(purse.reserve(101, now), Err(Broke::Spent), "more than there ever is");
        purse.settle(60, 10, now);
        assert_eq!((purse.spent(now), purse.left(now), purse.reserve(90, now)), (10, 90, Ok(())));
        purse.settle(90, 95, now);
        assert_eq!(
            (purse.spent(now), purse.left(now), purse.room(0, now)),
            (105, 0, Err(Broke::Spent)),
            "what it cost counts, whatever was thought"
        );
        assert_eq!(purse.room(100, at("2026-11-27")), Ok(()));
    }

    #[test]
    fn a_clock_that_is_set_resets_nothing_twice() {
        let mut purse = purse(100, Window::Day, "2026-11-26");
        let spend = |purse: &mut Purse, now: &str| {
            let now = at(now);
            let room = purse.reserve(60, now).is_ok();
            if room {
                purse.settle(60, 60, now);
            }
            room
        };
        assert!(spend(&mut purse, "2026-11-26T23:30:00Z") && !spend(&mut purse, "2026-11-26T23:31:00Z"));
        assert!(spend(&mut purse, "2026-11-27T00:30:00Z"), "an hour ahead: a new day");
        assert!(!spend(&mut purse, "2026-11-26T23:40:00Z") && !spend(&mut purse, "2026-11-27T00:10:00Z"), "the same midnight again");
        assert!(spend(&mut purse, "2026-11-28T00:00:00Z"));
        assert!(spend(&mut purse, "2099-01-01T00:00:00Z") && !spend(&mut purse, "2026-11-28T00:01:00Z"), "far ahead and back");
        assert!(spend(&mut purse, "2026-11-29T00:00:00Z"), "and days go on as before");
    }

    #[test]
    fn other_terms_keep_what_was_spent() {
        let now = at("2026-11-26");
        let mut purse = purse(100, Window::Day, "2026-11-26");
        purse.settle(0, 80, now);
        purse.retune(Budget { nanos: 90, window: Window::Day, unpriced: true }, now);
        assert_eq!((purse.left(now), purse.budget().unpriced), (10, true));
        purse.retune(Budget { nanos: 90, window: Window::Month, unpriced: true }, now);
        assert_eq!(purse.left(now), 90);
    }

    proptest! {
        /// Whatever comes: no reservation goes beyond what is left, and all that was settled adds up.
        #[test]
        fn it_adds_up(budget in 1u64..1_000, steps in prop::collection::vec((0u64..300, 0u64..300, any::<bool>()), 1..80)) {
            let now = at("2026-11-26");
            let mut purse = purse(budget, Window::Total, "2026-11-26");
            let (mut held, mut spent) = (Vec::new(), 0);
            for (amount, cost, settles) in steps {
                if settles && !held.is_empty() {
                    let reserved = held.swap_remove(amount as usize % held.len());
                    let cost = cost.min(reserved);
                    purse.settle(reserved, cost, now);
                    spent += cost;
                } else {
                    let fits = spent + held.iter().sum::<u64>() + amount <= budget && spent < budget;
                    prop_assert_eq!(purse.reserve(amount, now).is_ok(), fits);
                    held.extend(fits.then_some(amount));
                }
                prop_assert_eq!(purse.spent(now), spent);
                prop_assert_eq!(purse.left(now), budget - spent - held.iter().sum::<u64>());
            }
        }
    }
}
