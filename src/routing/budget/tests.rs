//! What a budget grants in every order of earning and spending.

use std::sync::atomic::AtomicU32;

use proptest::prelude::*;

use super::*;

const FIFTH: u32 = 200_000;

fn at(micros: u64) -> Moment {
    Moment::from_micros(1_000_000 + micros)
}

fn spend_all(budget: &Budget, least: u64, now: Moment) -> u64 {
    (0..10_000).take_while(|_| budget.spend(least, now)).count() as u64
}

#[test]
fn a_high_floor_is_owed_up_to_what_can_be_saved() {
    let budget = Budget::default();
    assert_eq!(spend_all(&budget, 100, at(0)), 100);
    (0..50).for_each(|_| budget.earn(1_000_000));
    assert!(!budget.spend(0, at(0)), "what was owed is paid");
    budget.earn(1_000_000);
    assert!(budget.spend(0, at(0)));
}

#[test]
fn no_more_than_the_most_is_saved() {
    let budget = Budget::default();
    (0..60).for_each(|_| budget.earn(1_000_000));
    assert_eq!(spend_all(&budget, 0, at(0)), 50);
}

#[test]
fn five_requests_earn_a_call() {
    let budget = Budget::default();
    assert!(!budget.spend(0, at(0)), "nothing is earned yet");
    for _ in 0..4 {
        budget.earn(FIFTH);
        assert!(!budget.spend(0, at(0)));
    }
    budget.earn(FIFTH);
    assert!(budget.spend(0, at(0)));
    assert!(!budget.spend(0, at(0)));
}

#[test]
fn what_is_saved_up_is_bounded() {
    let budget = Budget::default();
    (0..10_000).for_each(|_| budget.earn(FIFTH));
    assert_eq!(spend_all(&budget, 0, at(0)), 50);
}

#[test]
fn the_floor_is_there_at_once_and_comes_back_by_the_second() {
    let budget = Budget::default();
    assert_eq!(spend_all(&budget, 10, at(0)), 10);
    assert_eq!(spend_all(&budget, 10, at(99_999)), 0);
    assert_eq!(spend_all(&budget, 10, at(100_000)), 1);
    assert_eq!(spend_all(&budget, 10, at(1_100_000)), 10);
    assert_eq!(spend_all(&budget, 10, at(3_600_000_000)), 10, "a quiet hour saves up no more than a second's worth");
}

#[test]
fn what_the_floor_granted_is_owed_to_the_share() {
    let budget = Budget::default();
    assert_eq!(spend_all(&budget, 10, at(0)), 10);
    for _ in 0..54 {
        budget.earn(FIFTH);
        assert!(!budget.spend(0, at(0)));
    }
    budget.earn(FIFTH);
    assert!(budget.spend(0, at(0)), "ten calls owed and one earned");
    // Owed is a second's worth at most.
    let quiet = Budget::default();
    (0..100).for_each(|second| _ = spend_all(&quiet, 10, at(second * 1_000_000)));
    (0..55).for_each(|_| quiet.earn(FIFTH));
    assert!(quiet.spend(0, at(0)));
}

#[test]
fn a_floor_beyond_all_measure_is_none() {
    let budget = Budget::default();
    assert_eq!(spend_all(&budget, u64::MAX, at(0)), 10_000);
}

#[test]
fn threads_spend_no_more_than_there_is() {
    let (budget, spent) = (Budget::default(), AtomicU32::new(0));
    (0..200).for_each(|_| budget.earn(FIFTH));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..1_000).filter(|_| budget.spend(5, at(0))).for_each(|_| _ = spent.fetch_add(1, Ordering::Relaxed)));
        }
    });
    let spent = spent.into_inner();
    // The floor's five are owed to the forty that were earned, whoever came first.
    assert!((40..=45).contains(&spent), "{spent}");
}

proptest! {
    /// At an even rate with more wanted than granted, extra calls come to the larger of share and floor.
    #[test]
    fn extra_calls_come_to_the_larger_of_share_and_floor(rate in 1u64..2_000, share in 0u32..1_000_000, least in 0u64..100, seconds in 1u64..20) {
        let budget = Budget::default();
        let mut granted = 0;
        for number in 0..rate * seconds {
            budget.earn(share);
            granted += spend_all(&budget, least, at(number * 1_000_000 / rate));
        }
        let (by_share, by_floor) = (rate * seconds * u64::from(share) / 1_000_000, least * seconds);
        prop_assert!(granted <= by_share.max(by_floor) + 2 * least + 1, "{granted}: {by_share}, {by_floor}");
        prop_assert!(granted + 1 >= by_share.saturating_sub(least).max(by_floor.saturating_sub(least)), "{granted}: {by_share}, {by_floor}");
    }

    /// In no order, and with no clock that leaps or steps back, is more granted than the share, the floor and a bucketful.
    #[test]
    fn never_more_than_earned_and_the_floor(steps in proptest::collection::vec((any::<bool>(), 0u64..3_000_000), 1..400), share in 0u32..1_000_000, least in 0u64..20) {
        let budget = Budget::default();
        let (mut requests, mut granted, mut latest) = (0u64, 0u64, 0u64);
        for (request, when) in steps {
            latest = latest.max(when);
            if request {
                requests += 1;
                budget.earn(share);
            } else {
                granted += u64::from(budget.spend(least, at(when)));
            }
        }
        let earned = requests * u64::from(share) / 1_000_000;
        let floor = least + (latest * least).div_ceil(1_000_000) + 1;
        prop_assert!(granted <= earned + floor, "{granted} of {earned} and {floor}");
    }
}
