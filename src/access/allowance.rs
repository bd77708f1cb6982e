//! The accounts of the keys that have limits, shared by all threads. An account's lock is its own: two calls meet there only
//! when they use the same key at the same instant, and keys without limits have none.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dashmap::DashMap;

use super::account::{Account, Amounts, Now, Refusal, Standing, Terms};
use super::common::{Leased, Untold, Word};
use super::virtual_key::{Budget, VirtualKey};
use crate::base::Moment;

/// By the key's id, so that reloads, other names and rotations change nothing of what was used.
#[derive(Debug, Default)]
pub struct Allowances(DashMap<Arc<str>, Arc<Allowance>>);

/// One key's account.
#[derive(Debug)]
pub struct Allowance(Mutex<Account>);

impl Allowances {
    /// The account of a key, with its present terms in force; None where nothing limits it.
    pub fn of(&self, key: &VirtualKey, now: Now) -> Option<Arc<Allowance>> {
        let terms = Terms::from(key);
        if terms.is_free() {
            return None;
        }
        let known = self.0.get(&key.id).map(|known| Arc::clone(&known));
        let fresh = || Arc::new(Allowance(Mutex::new(Account::new(terms, now.wall))));
        let allowance = known.unwrap_or_else(|| Arc::clone(&self.0.entry(Arc::clone(&key.id)).or_insert_with(fresh)));
        {
            let mut account = allowance.lock();
            if account.terms() != terms {
                account.retune(terms, now);
            }
        }
        Some(allowance)
    }

    /// What a key was found to have spent in its budget's present window before this process began.
    pub fn spent_before(&self, key: &VirtualKey, nanos: u64, now: Now) {
        if let Some(allowance) = self.of(key, now) {
            allowance.lock().spent_before(nanos, now.wall);
        }
    }

    /// At least so much a key has spent in its budget's present window, as is known from elsewhere.
    pub fn at_least(&self, key: &VirtualKey, nanos: u64, now: Now) {
        if let Some(allowance) = self.of(key, now) {
            allowance.lock().at_least(nanos, now.wall);
        }
    }

    /// What a key is known here to have spent in its budget's present window, what was reserved for calls whose end nobody knows
    /// with it; None where nothing is known of that.
    pub fn spent(&self, key: &VirtualKey, wall: Duration) -> Option<u64> {
        let known = Arc::clone(&*self.0.get(&key.id)?);
        let account = known.lock();
        let window = |budget: Budget| budget.window;
        let (spent, _) = account.money(wall)?;
        (account.terms().budget.map(window) == key.budget.map(window)).then_some(spent)
    }

    /// What a key has spent in its budget's present window, and what is left of it; None without a budget.
    pub fn money(&self, key: &VirtualKey, now: Now) -> Option<(u64, u64)> {
        self.of(key, now)?.lock().money(now.wall)
    }
}

impl Allowance {
    /// Lets a call in that may use so much.
    ///
    /// # Errors
    /// The limit that it came up against; nothing was taken.
    pub fn admit(self: &Arc<Self>, ask: Amounts, now: Now) -> Result<Grant, Refusal> {
        let taken = self.lock().admit(ask, now)?;
        Ok(self.grant(taken, now))
    }

    /// The same while those that share the limits don't answer, as one of so many gateways.
    ///
    /// # Errors
    /// See [`Account::admit_alone`].
    pub fn admit_alone(self: &Arc<Self>, ask: Amounts, gateways: u64, now: Now) -> Result<Grant, Refusal> {
        let taken = self.lock().admit_alone(ask, gateways, now)?;
        Ok(self.grant(taken, now))
    }

    /// A call that those let in that share the limits.
    ///
    /// # Errors
    /// See [`Account::follow`].
    pub fn follow(self: &Arc<Self>, ask: Amounts, now: Now) -> Result<Grant, Refusal> {
        let taken = self.lock().follow(ask, now)?;
        Ok(self.grant(taken, now))
    }

    fn grant(self: &Arc<Self>, taken: Amounts, now: Now) -> Grant {
        Grant { allowance: Arc::clone(self), taken: Some(taken), began: now }
    }

    /// What was spent in the present window, and what is left; None without a budget.
    pub fn money(&self, wall: Duration) -> Option<(u64, u64)> {
        self.lock().money(wall)
    }

    /// See [`Account::tell`].
    pub fn tell(&self, wall: Duration) -> (u64, Untold) {
        self.lock().tell(wall)
    }

    /// See [`Account::hear`].
    pub fn hear(&self, word: Word, leased: Leased, now: Now) {
        self.lock().hear(word, leased, now);
    }

    /// See [`Account::keep_untold`].
    pub fn untold(&self, untold: Untold, leased: Leased) {
        self.lock().keep_untold(untold, leased);
    }

    /// See [`Account::over_alone`].
    pub fn over_alone(&self, taken: Amounts, used: Amounts) {
        self.lock().over_alone(taken, used);
    }

    /// What is left of requests and of tokens a minute.
    pub fn standing(&self, now: Moment) -> (Option<Standing>, Option<Standing>) {
        self.lock().standing(now)
    }

    fn lock(&self) -> MutexGuard<'_, Account> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A call that was let in: one of those at once until it is dropped. Dropped unsettled, what it took stands: of a call whose
/// real cost nobody told, that is the best that is known.
#[derive(Debug)]
pub struct Grant {
    allowance: Arc<Allowance>,
    /// None once it is settled.
    taken: Option<Amounts>,
    began: Now,
}

impl Grant {
    /// Whether so much money is reserved, or could be: the call is to be made once more, elsewhere.
    pub fn covers(&mut self, nanos: u64, wall: Duration) -> bool {
        let Some(taken) = &mut self.taken else { return true };
        let missing = nanos.saturating_sub(taken.nanos);
        let there = missing == 0 || self.allowance.lock().more(missing, wall);
        if there {
            taken.nanos += missing;
        }
        there
    }

    /// Puts what the call did use in the place of what it took; once.
    pub fn settle(&mut self, used: Amounts, now: Now) {
        if let Some(taken) = self.taken.take() {
            self.allowance.lock().settle(taken, used, now);
        }
    }

    /// What is left of requests and of tokens a minute.
    pub fn standing(&self, now: Moment) -> (Option<Standing>, Option<Standing>) {
        self.allowance.standing(now)
    }
}

impl Drop for Grant {
    fn drop(&mut self) {
        let mut account = self.allowance.lock();
        if let Some(taken) = self.taken {
            account.settle(taken, taken, self.began);
        }
        account.leave();
    }
}

#[cfg(test)]
mod tests {
    use super::super::virtual_key::{Budget, Window};
    use super::*;

    const NOW: Now = Now { moment: Moment::START, wall: Duration::from_secs(1_790_000_000) };

    fn key(rpm: u64, budget: u64) -> VirtualKey {
        let budget = (budget > 0).then_some(Budget { nanos: budget, window: Window::Day, unpriced: false });
        VirtualKey { id: "id".into(), rpm, concurrency: 2, budget, ..VirtualKey::default() }
    }

    #[test]
    fn a_key_without_limits_has_no_account() {
        let all = Allowances::default();
        assert!(all.of(&VirtualKey { id: "id".into(), ..VirtualKey::default() }, NOW).is_none());
        assert!(all.0.is_empty());
    }

    #[test]
    fn a_grant_gives_back_by_itself() {
        let all = Allowances::default();
        all.spent_before(&key(9, 100), 10, NOW);
        let account = all.of(&key(9, 100), NOW).unwrap();
        let ask = Amounts { tokens: 0, nanos: 30 };
        let (mut one, two) = (account.admit(ask, NOW).unwrap(), account.admit(ask, NOW).unwrap());
        assert!(account.admit(ask, NOW).is_err());
        assert!(one.covers(30, NOW.wall) && one.covers(60, NOW.wall) && !one.covers(61, NOW.wall));
        one.settle(Amounts { tokens: 0, nanos: 5 }, NOW);
        one.settle(Amounts { tokens: 0, nanos: 50 }, NOW);
        drop(one);
        assert_eq!(all.money(&key(9, 100), NOW), Some((15, 55)), "settled once");
        drop(two);
        assert_eq!(all.money(&key(9, 100), NOW), Some((45, 55)), "of which nobody told stands as it was taken");
        let at_once = account.lock().at_once();
        assert_eq!((at_once, account.standing(NOW.moment).0.map(|standing| standing.remaining)), (0, Some(7)));
    }

    fn word(requests: u64, spent: u64, reserved: u64, at_once: u64) -> Word {
        Word { requests, spent, reserved, at_once, ..Word::default() }
    }

    #[test]
    fn what_was_decided_elsewhere_is_followed() {
        let all = Allowances::default();
        let account = all.of(&key(20, 100), NOW).unwrap();
        let minute = all.of(&VirtualKey { id: "minute".into(), concurrency: 0, ..key(20, 0) }, NOW).unwrap();
        let let_in = (0..40).filter(|_| minute.follow(Amounts::default(), NOW).is_ok()).count();
        assert!((20..=21).contains(&let_in), "a minute's worth, and next to nothing more: {let_in}");
        let (ask, one_more) = (Amounts { tokens: 0, nanos: 30 }, Leased { calls: 1, nanos: 30 });
        account.hear(word(19, 40, 30, 1), one_more, NOW);
        let one = account.follow(ask, NOW).unwrap();
        account.hear(word(18, 30, 60, 2), one_more, NOW);
        let two = account.follow(ask, NOW).unwrap();
        assert_eq!((account.money(NOW.wall), account.tell(NOW.wall)), (Some((40, 0)), (40, Untold::default())));
        let refused = account.follow(Amounts::default(), NOW).unwrap_err();
        assert_eq!(refused.kind, super::super::account::Kind::Concurrency, "two are under way, whoever let them in");
        account.hear(word(18, 60, 60, 2), Leased::default(), NOW);
        drop((one, two));
        assert_eq!((account.money(NOW.wall), account.tell(NOW.wall).0), (Some((120, 0)), 60));
        assert!(matches!(account.follow(ask, NOW).unwrap_err().kind, super::super::account::Kind::Budget(_)), "they don't know of it all");
        assert_eq!(account.tell(NOW.wall + Duration::from_secs(86_400)), (0, Untold::default()), "that was yesterday");
        let more = Untold { requests: 1, tokens: 3, nanos: 7 };
        account.untold(more, Leased { calls: -2, nanos: -60 });
        account.untold(Untold { tokens: 5, ..Untold::default() }, Leased::default());
        assert_eq!(account.tell(NOW.wall).1, Untold { tokens: 8, ..more });
        assert_eq!(account.tell(NOW.wall).1, Untold::default(), "told once");
    }

    #[test]
    fn who_is_alone_leaves_the_others_their_share() {
        let all = Allowances::default();
        let terms = |concurrency| VirtualKey { id: format!("at once {concurrency}").into(), concurrency, ..key(100, 1_000) };
        let let_in = |account: &Arc<Allowance>, gateways, now| -> Vec<Grant> {
            std::iter::from_fn(|| account.admit_alone(Amounts { tokens: 0, nanos: 10 }, gateways, now).ok()).collect()
        };
        let account = all.of(&terms(0), NOW).unwrap();
        let granted = let_in(&account, 2, NOW);
        assert_eq!(granted.len(), 50, "half of what there is");
        drop(granted);
        // Later they answer again: what has come meanwhile is for both, what others have reserved just now is known, and so is, a second
        // after that, what they had let in alone.
        let at = |second| Now { moment: NOW.moment.plus(Duration::from_secs(second)), ..NOW };
        account.hear(word(30, 500, 300, 30), Leased::default(), at(29));
        assert_eq!(let_in(&account, 1, at(29)).len(), 20, "of 1,000: spent 500, reserved by others 300");
        account.hear(word(30, 700, 0, 0), Leased::default(), at(30));
        assert_eq!(let_in(&account, 3, at(30)).len(), 0, "the two others may have spent as much as this one has");
        account.hear(word(30, 700, 0, 0), Leased::default(), at(31));
        assert_eq!(let_in(&account, 3, at(31)).len(), 10, "they haven't");
        let ten = all.of(&terms(10), NOW).unwrap();
        assert_eq!(let_in(&ten, 2, NOW).len(), 5);
        [29, 30].into_iter().for_each(|second| ten.hear(word(100, 0, 0, 7), Leased::default(), at(second)));
        assert_eq!(let_in(&ten, 2, at(30)).len(), 1, "seven were under way just now");
        let one = all.of(&terms(1), NOW).unwrap();
        assert_eq!(let_in(&one, 5, NOW).len(), 1, "nobody is shut out for ever");
    }

    #[test]
    fn other_terms_find_the_same_account() {
        let all = Allowances::default();
        let before = all.of(&key(1, 0), NOW).unwrap();
        let grant = before.admit(Amounts::default(), NOW).unwrap();
        let after = all.of(&key(2, 0), NOW).unwrap();
        assert!(Arc::ptr_eq(&before, &after) && after.admit(Amounts::default(), NOW).is_ok());
        assert!(after.admit(Amounts::default(), NOW).is_err());
        drop(grant);
    }
}
