//! Takes all or nothing; what is taken comes back; never beyond a limit.

use super::*;
use crate::access::Window;
use proptest::prelude::*;

fn at(ms: u64) -> Now {
    Now { moment: Moment::from_micros(ms * 1_000), wall: Duration::from_secs(1_790_000_000) + Duration::from_millis(ms) }
}

fn usd(nanos: u64) -> Option<Budget> {
    Some(Budget { nanos, window: Window::Month, unpriced: false })
}

fn ask(tokens: u64, nanos: u64) -> Amounts {
    Amounts { tokens, nanos }
}

#[test]
fn a_call_takes_of_all_or_of_none() {
    let mut account = Account::new(Terms { rpm: 60, tpm: 6_000, concurrency: 2, budget: usd(100) }, at(0).wall);
    assert_eq!(account.admit(ask(1_000, 101), at(0)), Err(Refusal { kind: Kind::Budget(Broke::Spent), wait: None }));
    let full = (
        Some(Standing { limit: 60, remaining: 60, reset: Duration::ZERO }),
        Some(Standing { limit: 6_000, remaining: 6_000, reset: Duration::ZERO }),
    );
    assert_eq!((account.standing(at(0).moment), account.money(at(0).wall)), (full, Some((0, 100))));
    assert_eq!(account.admit(ask(1_000, 60), at(0)), Ok(ask(1_000, 60)));
    assert_eq!(account.admit(ask(10, 60), at(0)), Err(Refusal { kind: Kind::Budget(Broke::Reserved), wait: Some(SOON) }));
    assert_eq!(account.admit(ask(5_500, 1), at(0)).map_err(|r| (r.kind, r.wait)), Err((Kind::Tokens, Some(Duration::from_secs(5)))));
    assert_eq!(account.admit(ask(0, 1), at(0)), Ok(ask(0, 1)));
    assert_eq!(account.admit(ask(0, 1), at(0)).map_err(|r| r.kind), Err(Kind::Concurrency));
    account.settle(ask(1_000, 60), ask(400, 70), at(0));
    account.leave();
    let (requests, tokens) = account.standing(at(0).moment);
    assert_eq!((requests.unwrap().remaining, tokens.unwrap().remaining, account.money(at(0).wall)), (58, 5_600, Some((70, 29))));
    assert_eq!((account.more(29, at(0).wall), account.more(1, at(0).wall)), (true, false));
}

#[test]
fn other_terms_keep_what_was_used() {
    let mut account = Account::new(Terms { rpm: 10, ..Terms::default() }, at(0).wall);
    for _ in 0..10 {
        account.admit(ask(0, 0), at(0)).unwrap();
    }
    account.retune(Terms { rpm: 12, tpm: 5, concurrency: 1, budget: usd(9) }, at(0));
    assert_eq!(account.standing(at(0).moment).0.map(|standing| standing.remaining), Some(2), "no fresh minute");
    assert_eq!((account.at_once(), account.admit(ask(0, 0), at(0)).map_err(|r| r.kind)), (10, Err(Kind::Concurrency)));
    account.retune(Terms::default(), at(0));
    assert!(account.admit(ask(u64::MAX, u64::MAX), at(0)).is_ok());
}

#[test]
fn row_58_a_wall_clock_set_by_an_hour_gives_no_budget_twice() {
    const DAY: u64 = 86_400;
    let midnight = 20_000 * DAY;
    let budget = Some(Budget { nanos: 100, window: Window::Day, unpriced: false });
    // The process's own time goes on; the wall clock stands half an hour before midnight, and is set forth and back.
    let at = |second: u64, wall: u64| Now { moment: Moment::from_micros(second * 1_000_000), wall: Duration::from_secs(wall) };
    let (before, after) = (midnight - 1_800, midnight + 1_800);
    let mut account = Account::new(Terms { rpm: 6, budget, ..Terms::default() }, Duration::from_secs(before));
    let mut spent = |now: Now| {
        let admitted = account.admit(ask(0, 100), now);
        if let Ok(taken) = admitted {
            account.settle(taken, ask(0, 100), now);
            account.leave();
        }
        admitted.map_err(|refusal| refusal.kind).map(drop)
    };
    let broke = Err(Kind::Budget(Broke::Spent));
    assert_eq!((spent(at(0, before)), spent(at(1, before))), (Ok(()), broke));
    assert_eq!((spent(at(2, after)), spent(at(3, after))), (Ok(()), broke), "the next day's");
    for (second, wall) in [(4, before), (5, after), (6, before + 3_600), (7, before), (8, after)] {
        assert_eq!(spent(at(second, wall)), broke, "set to {wall}: no day begins twice");
    }
    assert_eq!(spent(at(9, midnight + DAY)), Ok(()), "the day after does");
    // What is a minute goes by the process's own time, whatever the wall clock says.
    assert_eq!(account.standing(at(9, before).moment).0.map(|standing| standing.remaining), Some(3));
    assert_eq!(account.standing(at(39, after).moment).0.map(|standing| standing.remaining), Some(6));
}

#[test]
fn what_was_spent_before_counts() {
    let mut account = Account::new(Terms { budget: usd(100), ..Terms::default() }, at(0).wall);
    account.spent_before(95, at(0).wall);
    assert_eq!(account.admit(ask(0, 6), at(0)).map_err(|r| r.kind), Err(Kind::Budget(Broke::Spent)));
    assert!(account.admit(ask(0, 5), at(0)).is_ok());
}

proptest! {
    /// Calls come and go as they like: none beyond a limit, and at rest all that isn't used is there.
    #[test]
    fn never_beyond_a_limit(
        (rpm, tpm, concurrency, budget) in (0u64..20, 0u64..500, 0u64..5, 1u64..500),
        steps in prop::collection::vec((0u64..3_000, 0u64..100, 0u64..100, any::<bool>()), 1..120),
    ) {
        let mut account = Account::new(Terms { rpm, tpm, concurrency, budget: usd(budget) }, at(0).wall);
        let (mut now, mut calls, mut spent, mut admitted) = (0, Vec::new(), 0, 0);
        for (wait, tokens, nanos, ends) in steps {
            now += wait;
            if ends && !calls.is_empty() {
                let taken: Amounts = calls.swap_remove(tokens as usize % calls.len());
                let used = ask(tokens, nanos.min(taken.nanos));
                account.settle(taken, used, at(now));
                account.leave();
                spent += used.nanos;
            } else if let Ok(taken) = account.admit(ask(tokens, nanos), at(now)) {
                calls.push(taken);
                admitted += 1;
            }
            let reserved: u64 = calls.iter().map(|taken| taken.nanos).sum();
            prop_assert_eq!(account.money(at(now).wall), Some((spent, budget - spent - reserved)));
            prop_assert!(concurrency == 0 || calls.len() as u64 <= concurrency);
            prop_assert!(rpm == 0 || admitted <= rpm + rpm * now / 60_000 + 1, "{} of {} after {} ms", admitted, rpm, now);
            prop_assert_eq!(account.at_once(), calls.len() as u64);
        }
    }
}
