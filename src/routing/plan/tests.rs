//! What follows each outcome, and what holds for any sequence of them.

use std::sync::{Arc, LazyLock};

use proptest::prelude::*;

use super::super::fixture::{provider, retry, target};
use super::*;

const NOW: Moment = Moment::from_millis(1_000);
const END: Moment = Moment::from_millis(11_000);

fn taken(number: usize, key: Option<usize>) -> Taken {
    let provider = provider("p", 8);
    Taken { number, model: "m".into(), target: Arc::new(target(&provider, "a")), key }
}

fn transient(failure: Failure) -> Outcome {
    Outcome::Transient(failure)
}

/// With so many targets behind it, and a budget that allows everything.
fn around(behind: usize) -> Around<'static> {
    static BUDGET: LazyLock<Budget> = LazyLock::new(Budget::default);
    Around { behind, again: true, budget: &BUDGET, now: NOW, draw: 0.5 }
}

/// A retry policy whose budget allows everything.
fn rich() -> Retry {
    Retry { budget_min: u64::MAX, ..retry() }
}

fn plan() -> Plan {
    Plan::new(rich(), END)
}

#[test]
fn a_repeatable_failure_is_repeated_once_then_left() {
    let (mut plan, taken) = (plan(), taken(0, None));
    plan.calling();
    let first = plan.after(&taken, &transient(Failure::Status(503)), &around(1));
    assert_eq!(first, Next::Repeat { after: Duration::from_millis(50) });
    assert!(!plan.tried.has(0));
    plan.calling();
    assert_eq!(plan.after(&taken, &transient(Failure::Status(503)), &around(1)), Next::OtherTarget);
    assert!(plan.tried.has(0));
}

#[test]
fn the_backoff_doubles_up_to_full_jitter() {
    let mut plan = Plan::new(Retry { attempts: 9, same_target: 3, ..rich() }, END);
    for ms in [100, 200, 400] {
        plan.calling();
        let next = plan.after(&taken(0, None), &transient(Failure::Connect), &Around { draw: 1.0, ..around(0) });
        assert_eq!(next, Next::Repeat { after: Duration::from_millis(ms) });
    }
}

#[test]
fn what_is_not_repeatable_goes_on_at_once() {
    for failure in [
        Failure::HeadTimeout,
        Failure::ConnectTimeout,
        Failure::Truncated,
        Failure::WrongPlace,
        Failure::Status(504),
        Failure::StatusLater(500),
    ] {
        let mut plan = plan();
        plan.calling();
        assert_eq!(plan.after(&taken(0, None), &transient(failure), &around(0)), Next::OtherTarget, "{failure:?}");
    }
}

#[test]
fn a_repeat_never_takes_a_later_targets_call() {
    let mut plan = plan();
    plan.calling();
    let next = plan.after(&taken(0, None), &transient(Failure::Status(500)), &around(3));
    assert_eq!(next, Next::OtherTarget, "three calls are left, and three targets need them");
    let mut plan = self::plan();
    plan.calling();
    assert!(matches!(plan.after(&taken(0, None), &transient(Failure::Status(500)), &around(2)), Next::Repeat { .. }));
}

#[test]
fn a_refused_connection_is_repeated_only_with_nothing_behind_it() {
    for (behind, repeated) in [(0, true), (1, false)] {
        let mut plan = plan();
        plan.calling();
        let next = plan.after(&taken(0, None), &transient(Failure::Connect), &around(behind));
        assert_eq!(matches!(next, Next::Repeat { .. }), repeated);
    }
}

#[test]
fn calls_end_with_attempts() {
    let mut plan = plan();
    assert_eq!((plan.calls(), plan.deadline()), (0, END));
    for number in 0..4 {
        plan.calling();
        let next = plan.after(&taken(number, None), &transient(Failure::Truncated), &around(5));
        let expected = if number == 3 { Next::Stop(Stop::Exhausted) } else { Next::OtherTarget };
        assert_eq!(next, expected);
    }
    assert_eq!(plan.calls(), 4);
}

#[test]
fn a_change_of_key_costs_no_call_and_ends_after_three() {
    for outcome in [Outcome::RateLimited { wait: None, whole_key: false }, Outcome::KeyFault { sure: true }] {
        let mut plan = plan();
        for key in 0..3 {
            plan.calling();
            assert_eq!(plan.after(&taken(0, Some(key)), &outcome, &around(0)), Next::OtherKey);
            assert_eq!(plan.calls(), 0);
        }
        plan.calling();
        assert_eq!(plan.after(&taken(0, Some(3)), &outcome, &around(0)), Next::OtherTarget);
        assert_eq!(plan.calls(), 1);
    }
    let mut single = Plan::new(Retry { attempts: 1, ..rich() }, END);
    single.calling();
    let limited = Outcome::RateLimited { wait: None, whole_key: false };
    assert_eq!(single.after(&taken(0, Some(0)), &limited, &around(1)), Next::OtherKey);
    assert_eq!(single.leave(&taken(0, Some(0))), Next::Stop(Stop::Exhausted), "there was none: the call counts");
    let mut nobody = plan();
    nobody.calling();
    let next = nobody.after(&taken(0, Some(0)), &limited, &Around { again: false, ..around(1) });
    assert_eq!(next, Next::OtherTarget, "it is known that there is no other");
    let mut keyless = plan();
    keyless.calling();
    let limited = Outcome::RateLimited { wait: None, whole_key: false };
    assert_eq!(keyless.after(&taken(0, None), &limited, &around(0)), Next::OtherTarget);
}

#[test]
fn too_long_asks_for_a_larger_window_only() {
    let mut plan = plan();
    let mut small = taken(0, None);
    small.target = Arc::new(crate::routing::Target { context_window: Some(8_000), ..target(&provider("p", 0), "a") });
    plan.calling();
    assert_eq!(plan.after(&small, &Outcome::TooLong, &around(1)), Next::OtherTarget);
    assert_eq!(plan.larger_than, Some(8_000));
}

#[test]
fn what_ends_it() {
    for (outcome, stop) in [(Outcome::CallerFault, Stop::PassOn), (Outcome::Abandoned, Stop::Deadline)] {
        let mut plan = plan();
        plan.calling();
        assert_eq!(plan.after(&taken(0, None), &outcome, &around(5)), Next::Stop(stop));
    }
    let mut late = plan();
    late.calling();
    assert_eq!(late.after(&taken(0, None), &transient(Failure::Truncated), &Around { now: END, ..around(5) }), Next::Stop(Stop::Deadline));
    let mut nearly = plan();
    nearly.calling();
    let before = Moment::from_millis(10_950);
    let next = nearly.after(&taken(0, None), &transient(Failure::Status(500)), &Around { now: before, draw: 1.0, ..around(0) });
    assert_eq!(next, Next::Stop(Stop::Deadline), "the wait itself would pass the deadline");
}

fn limited(ms: u64) -> Outcome {
    Outcome::RateLimited { wait: Some(Duration::from_millis(ms)), whole_key: false }
}

#[test]
fn a_short_wait_is_waited_out_before_another_target_is_tried() {
    let patient = || Plan::new(Retry { wait: Duration::from_secs(2), ..rich() }, END);
    for (ms, behind, waits) in [(2_000, 1, true), (2_001, 1, false), (2_001, 0, true), (5_000, 0, true), (5_001, 0, false)] {
        let mut plan = patient();
        plan.calling();
        let next = plan.after(&taken(0, None), &limited(ms), &around(behind));
        let expected = if waits { Next::Repeat { after: Duration::from_millis(ms) } } else { Next::OtherTarget };
        assert_eq!(next, expected, "{ms} ms with {behind} behind");
    }
    let mut hasty = plan();
    hasty.calling();
    assert_eq!(hasty.after(&taken(0, None), &limited(1), &around(1)), Next::OtherTarget, "waiting is off");
}

#[test]
fn another_key_comes_before_waiting_and_nobody_waits_twice_on_one_target() {
    let mut plan = Plan::new(Retry { wait: Duration::from_secs(2), ..rich() }, END);
    plan.calling();
    assert_eq!(plan.after(&taken(0, Some(0)), &limited(50), &around(1)), Next::OtherKey);
    plan.calling();
    let last_key = Around { again: false, ..around(1) };
    assert_eq!(plan.after(&taken(0, Some(1)), &limited(50), &last_key), Next::Repeat { after: Duration::from_millis(50) });
    plan.calling();
    assert_eq!(plan.after(&taken(0, Some(1)), &limited(50), &last_key), Next::OtherTarget);
    plan.calling();
    assert!(matches!(plan.after(&taken(1, None), &limited(50), &around(0)), Next::Repeat { .. }), "another target, another wait");
}

#[test]
fn what_leaves_no_time_or_no_call_is_not_waited_for() {
    let late = Around { now: Moment::from_millis(8_000), ..around(0) };
    let mut plan = plan();
    plan.calling();
    assert_eq!(plan.after(&taken(0, None), &limited(3_000), &late), Next::OtherTarget, "the deadline comes first");
    let mut single = Plan::new(Retry { attempts: 1, ..rich() }, END);
    single.calling();
    assert_eq!(single.after(&taken(0, None), &limited(50), &around(0)), Next::Stop(Stop::Exhausted));
    let mut patient = Plan::new(Retry { attempts: 2, wait: Duration::from_secs(2), ..rich() }, END);
    patient.calling();
    assert_eq!(patient.after(&taken(0, None), &limited(50), &around(1)), Next::OtherTarget, "the last call is the other target's");
    let silent = Outcome::RateLimited { wait: None, whole_key: false };
    let mut plan = self::plan();
    plan.calling();
    assert_eq!(plan.after(&taken(0, None), &silent, &around(0)), Next::OtherTarget, "nobody said how long");
}

#[test]
fn repeats_end_with_the_budget_and_failover_does_not() {
    let poor = || Plan::new(Retry { budget_min: 0, ..retry() }, END);
    let budget = Budget::default();
    budget.earn(1_000_000);
    let around = |behind| Around { budget: &budget, ..around(behind) };
    for (outcome, expected) in [
        (transient(Failure::Status(500)), Next::Repeat { after: Duration::from_millis(50) }),
        (transient(Failure::Status(500)), Next::OtherTarget),
        (limited(50), Next::OtherTarget),
        (transient(Failure::Truncated), Next::OtherTarget),
    ] {
        let mut plan = poor();
        plan.calling();
        assert_eq!(plan.after(&taken(0, None), &outcome, &around(0)), expected);
    }
    budget.earn(1_000_000);
    let mut plan = poor();
    plan.calling();
    assert_eq!(plan.after(&taken(0, None), &transient(Failure::Truncated), &around(1)), Next::OtherTarget);
    assert!(budget.spend(0, NOW), "failover has cost nothing");
}

#[test]
fn a_target_that_just_shut_is_left_without_a_wait() {
    let mut plan = plan();
    plan.calling();
    let next = plan.after(&taken(0, None), &transient(Failure::Status(500)), &Around { again: false, ..around(0) });
    assert_eq!(next, Next::OtherTarget);
}

#[test]
fn what_may_be_billed_is_not_asked_again_where_it_must_not_be_billed_twice() {
    for (failure, ends) in [
        (Failure::ResetBeforeHead, true),
        (Failure::ResetInBody, true),
        (Failure::HeadTimeout, true),
        (Failure::Truncated, true),
        (Failure::Status(502), true),
        (Failure::StatusLater(504), true),
        (Failure::Status(500), false),
        (Failure::Status(503), false),
        (Failure::Connect, false),
        (Failure::ConnectTimeout, false),
        (Failure::WrongPlace, false),
    ] {
        let mut image = plan().billed_once();
        image.calling();
        let next = image.after(&taken(0, None), &transient(failure), &around(1));
        assert_eq!(next == Next::Stop(Stop::Ambiguous), ends, "{failure:?}");
        let mut chat = plan();
        chat.calling();
        assert!(!matches!(chat.after(&taken(0, None), &transient(failure), &around(1)), Next::Stop(_)), "{failure:?}");
    }
}

#[test]
fn a_request_is_hedged_once_and_within_its_calls() {
    let mut plan = plan();
    plan.calling();
    assert!(plan.may_hedge());
    plan.hedging();
    assert_eq!((plan.may_hedge(), plan.calls()), (false, 2));
    let mut single = Plan::new(Retry { attempts: 1, ..rich() }, END);
    single.calling();
    assert!(!single.may_hedge());
    assert!(!self::plan().billed_once().may_hedge());
}

#[test]
fn of_two_calls_one_that_fails_leaves_the_other_unless_it_speaks_for_both() {
    for (outcome, goes_on) in [
        (transient(Failure::Status(500)), true),
        (limited(50), true),
        (Outcome::KeyFault { sure: true }, true),
        (Outcome::ModelMissing, true),
        (Outcome::TooLong, true),
        (Outcome::CallerFault, false),
        (Outcome::Abandoned, false),
    ] {
        let mut plan = plan();
        plan.calling();
        assert_eq!(plan.fell_out(&taken(3, None), &outcome), goes_on, "{outcome:?}");
        assert!(plan.tried.has(3));
    }
    let mut plan = plan();
    let mut small = taken(0, None);
    small.target = Arc::new(crate::routing::Target { context_window: Some(8_000), ..target(&provider("p", 0), "a") });
    assert!(plan.fell_out(&small, &Outcome::TooLong));
    assert_eq!(plan.larger_than, Some(8_000));
}

fn outcomes() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        3 => Just(transient(Failure::Status(503))),
        2 => Just(transient(Failure::HeadTimeout)),
        2 => Just(Outcome::RateLimited { wait: None, whole_key: false }),
        2 => Just(Outcome::KeyFault { sure: false }),
        1 => Just(Outcome::TooLong),
        1 => Just(Outcome::ModelMissing),
    ]
}

proptest! {
    /// However a request fails, it makes at most `attempts` counted calls, and at most three changes of key per target.
    #[test]
    fn calls_are_bounded(outcomes in proptest::collection::vec(outcomes(), 64), attempts in 1u32..6, same_target in 0u32..4) {
        let mut plan = Plan::new(Retry { attempts, same_target, ..rich() }, END);
        let (mut number, mut key, mut repeats, mut changes, mut counted) = (0usize, 0usize, 0, 0, 0);
        for outcome in outcomes {
            plan.calling();
            counted += 1;
            match plan.after(&taken(number, Some(key)), &outcome, &around(0)) {
                Next::Repeat { .. } => { repeats += 1; prop_assert!(repeats <= same_target); }
                Next::OtherKey => { changes += 1; counted -= 1; key += 1; prop_assert!(changes <= 3); }
                Next::OtherTarget => { prop_assert!(plan.tried.has(number)); number += 1; key = 0; repeats = 0; changes = 0; }
                Next::Stop(stop) => { prop_assert_eq!(stop, Stop::Exhausted); break; }
            }
            prop_assert!(counted <= attempts);
        }
        prop_assert!(counted <= attempts);
    }
}
