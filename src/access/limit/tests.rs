//! What a bucket lets through, exactly, and what holds for any sequence of calls.

use proptest::prelude::{any, prop_assert, prop_assert_eq, prop_oneof, proptest};
use proptest::strategy::{Just, Strategy};

use super::*;

const MINUTE: Duration = Duration::from_secs(60);

fn at(ms: u64) -> Moment {
    Moment::from_millis(ms)
}

fn bucket(per_minute: u64) -> Bucket {
    Bucket::new(NonZeroU64::new(per_minute).unwrap())
}

fn limit(requests: u64, tokens: u64) -> Arc<Limit> {
    Arc::new(Limit::new(requests, tokens).unwrap())
}

#[test]
fn a_minutes_worth_at_once_then_as_it_flows_in() {
    let mut bucket = bucket(60);
    // Full at first use, however late that is.
    for _ in 0..60 {
        assert_eq!(bucket.take(1, at(500_000)), Ok(1));
    }
    assert_eq!((bucket.take(1, at(500_000)), bucket.left(at(500_000))), (Err(at(501_000)), 0));
    assert_eq!(bucket.room(1, at(500_999)), Err(at(501_000)));
    assert_eq!(bucket.take(1, at(501_000)), Ok(1));
    assert_eq!((bucket.full_at(at(501_000)), bucket.left(at(900_000))), (at(561_000), 60));
}

#[test]
fn a_cost_above_the_whole_bucket_needs_a_full_one() {
    let mut bucket = bucket(100);
    assert_eq!(bucket.take(5_000, at(0)), Ok(100));
    assert_eq!(bucket.take(5_000, at(1)), Err(at(60_000)));
    // It cost as much as it was said to: the next waits for what is owed too.
    bucket.settle(100, 200, at(1));
    assert_eq!(bucket.room(1, at(1)), Err(at(60_600)));
    bucket.settle(0, u64::MAX, at(2));
    assert_eq!(bucket.room(100, at(2)), Err(at(2).plus(MINUTE * 11)), "ten minutes' worth is owed at most");
}

#[test]
fn what_was_not_used_comes_back_but_never_more_than_fits() {
    let mut bucket = bucket(1_000);
    let taken = bucket.take(800, at(0)).unwrap();
    bucket.settle(taken, 50, at(0));
    assert_eq!(bucket.left(at(0)), 950);
    let taken = bucket.take(900, at(0)).unwrap();
    bucket.settle(taken, 0, at(120_000));
    assert_eq!(bucket.left(at(120_000)), 1_000, "it had filled up meanwhile");
}

#[test]
fn both_limits_or_nothing() {
    assert!(Limit::new(0, 0).is_none());
    let limit = limit(2, 1_000);
    assert_eq!(limit.room(400, at(0)), Ok(2));
    let one = limit.reserve(400, at(0)).unwrap();
    let _two = limit.reserve(500, at(0)).unwrap();
    assert_eq!(limit.reserve(10, at(0)).map(|_| ()), Err(at(30_000)), "no request is left");
    assert_eq!(limit.reserve(900, at(30_000)).map(|_| ()), Err(at(48_000)), "a request is there again, the tokens aren't");
    assert_eq!(limit.reserve(500, at(30_000)).map(|_| ()), Ok(()), "the refused one took nothing");
    one.settle(900, at(30_000));
    assert_eq!(limit.room(200, at(60_000)), Err(at(66_000)), "it cost 500 more than was reserved");
}

#[test]
fn a_call_that_never_left_costs_nothing() {
    let limit = limit(1, 100);
    limit.reserve(100, at(0)).unwrap().give_back(at(0));
    drop(limit.reserve(100, at(0)).unwrap());
    assert_eq!(limit.room(1, at(0)), Err(at(60_000)), "dropped, the estimate stands");
}

#[test]
fn estimates_err_high_and_never_overflow() {
    assert_eq!(estimated_tokens(401, Some(50), 1, None), 101 + 50);
    assert_eq!(estimated_tokens(400, None, 1, None), 100 + 4_096);
    assert_eq!(estimated_tokens(400, None, 2, Some(1_000)), 100 + 2_000);
    assert_eq!(estimated_tokens(400, Some(0), 128, Some(1)), 100);
    assert_eq!(estimated_tokens(usize::MAX, Some(u64::MAX), u32::MAX, None), u64::MAX);
}

/// A call: after so many microseconds, so many tokens reserved, so many used; None: it never left.
type Step = (u64, u64, Option<u64>);

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let size = || prop_oneof![0u64..2_000, Just(u64::MAX), any::<u64>()];
    proptest::collection::vec((0u64..20_000_000, size(), proptest::option::of(size())), 1..60)
}

proptest! {
    /// What was let through by estimates never exceeds a minute's worth and what has flowed in since; what is told as the
    /// time to come again is exact; nothing overflows at either end of the scale.
    #[test]
    fn never_more_than_a_minutes_worth_and_the_flow(
        per_minute in prop_oneof![1u64..5_000, Just(1_000_000_000_000_000), Just(u64::MAX)],
        steps in steps(),
    ) {
        let mut bucket = bucket(per_minute);
        let (mut now, mut let_through) = (Moment::START, 0i128);
        for (wait, cost, used) in steps {
            now = now.plus(Duration::from_micros(wait));
            let before = bucket.left(now);
            match bucket.take(cost, now) {
                Ok(taken) => {
                    prop_assert_eq!(taken, cost.min(per_minute));
                    bucket.settle(taken, used.unwrap_or(0), now);
                    // What an estimate fell short by is owed, and paid back later.
                    let_through += i128::from(used.unwrap_or(0).min(taken));
                }
                Err(until) => {
                    prop_assert!(until > now && bucket.room(cost, until).is_ok(), "there is room when it said so");
                    prop_assert!(bucket.room(cost, Moment::from_micros(until.micros() - 1)).is_err() || until.micros() == u64::MAX, "and not before");
                    prop_assert_eq!(bucket.left(now), before, "a refusal takes nothing");
                }
            }
            let flow = i128::from(now.micros()) * i128::from(per_minute) / UNITS;
            prop_assert!(let_through <= i128::from(per_minute) + flow + 1, "{} let through", let_through);
            prop_assert!(bucket.left(now) <= per_minute);
        }
    }

    /// A clock that steps back changes nothing.
    #[test]
    fn an_earlier_now_gives_nothing(back in 1u64..1_000_000, cost in 1u64..100) {
        let mut bucket = bucket(100);
        let now = at(2_000_000);
        bucket.take(100, now).unwrap();
        let earlier = Moment::from_micros(now.micros() - back);
        prop_assert!(bucket.take(cost, earlier).is_err());
        bucket.settle(1, 1, earlier);
        prop_assert_eq!(bucket.left(now), 0);
        prop_assert_eq!(bucket.room(100, earlier), Err(now.plus(MINUTE)));
    }

    /// Given back whole, a limit is as it was; two threads' worth of calls in any order never pass it.
    #[test]
    fn giving_back_restores(requests in 1u64..50, tokens in 1u64..5_000, costs in proptest::collection::vec(0u64..3_000, 1..80)) {
        let limit = limit(requests, tokens);
        let mut held = Vec::new();
        let (mut count, mut sum) = (0u64, 0u64);
        for cost in costs {
            if let Ok(reserved) = limit.reserve(cost, at(7)) {
                count += 1;
                sum += cost.min(tokens);
                held.push(reserved);
            }
        }
        prop_assert!(count <= requests && sum <= tokens);
        held.into_iter().for_each(|reserved| reserved.give_back(at(7)));
        prop_assert_eq!(limit.room(1, at(7)), Ok(requests.min(tokens)));
    }
}
