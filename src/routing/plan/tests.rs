//! What follows each outcome, and what holds for any sequence of them.

use std::sync::Arc;

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

fn plan() -> Plan {
    Plan::new(retry(), END)
}

#[test]
fn a_repeatable_failure_is_repeated_once_then_left() {
    let (mut plan, taken) = (plan(), taken(0, None));
    plan.calling();
    let first = plan.after(&taken, &transient(Failure::Status(503)), 1, NOW, 0.5);
    assert_eq!(first, Next::Repeat { after: Duration::from_millis(50) });
    assert!(!plan.tried.has(0));
    plan.calling();
    assert_eq!(plan.after(&taken, &transient(Failure::Status(503)), 1, NOW, 0.5), Next::OtherTarget);
    assert!(plan.tried.has(0));
}

#[test]
fn the_backoff_doubles_up_to_full_jitter() {
    let mut plan = Plan::new(Retry { attempts: 9, same_target: 3, backoff: Duration::from_millis(100) }, END);
    for ms in [100, 200, 400] {
        plan.calling();
        let next = plan.after(&taken(0, None), &transient(Failure::Connect), 0, NOW, 1.0);
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
        assert_eq!(plan.after(&taken(0, None), &transient(failure), 0, NOW, 0.5), Next::OtherTarget, "{failure:?}");
    }
}

#[test]
fn a_repeat_never_takes_a_later_targets_call() {
    let mut plan = plan();
    plan.calling();
    let next = plan.after(&taken(0, None), &transient(Failure::Status(500)), 3, NOW, 0.5);
    assert_eq!(next, Next::OtherTarget, "three calls are left, and three targets need them");
    let mut plan = self::plan();
    plan.calling();
    assert!(matches!(plan.after(&taken(0, None), &transient(Failure::Status(500)), 2, NOW, 0.5), Next::Repeat { .. }));
}

#[test]
fn a_refused_connection_is_repeated_only_with_nothing_behind_it() {
    for (behind, repeated) in [(0, true), (1, false)] {
        let mut plan = plan();
        plan.calling();
        let next = plan.after(&taken(0, None), &transient(Failure::Connect), behind, NOW, 0.5);
        assert_eq!(matches!(next, Next::Repeat { .. }), repeated);
    }
}

#[test]
fn calls_end_with_attempts() {
    let mut plan = plan();
    for number in 0..4 {
        plan.calling();
        let next = plan.after(&taken(number, None), &transient(Failure::Truncated), 5, NOW, 0.5);
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
            assert_eq!(plan.after(&taken(0, Some(key)), &outcome, 0, NOW, 0.5), Next::OtherKey);
            assert_eq!(plan.calls(), 0);
        }
        plan.calling();
        assert_eq!(plan.after(&taken(0, Some(3)), &outcome, 0, NOW, 0.5), Next::OtherTarget);
        assert_eq!(plan.calls(), 1);
    }
    let mut single = Plan::new(Retry { attempts: 1, ..retry() }, END);
    single.calling();
    let limited = Outcome::RateLimited { wait: None, whole_key: false };
    assert_eq!(single.after(&taken(0, Some(0)), &limited, 1, NOW, 0.5), Next::OtherKey);
    assert_eq!(single.leave(&taken(0, Some(0))), Next::Stop(Stop::Exhausted), "there was none: the call counts");
    let mut keyless = plan();
    keyless.calling();
    let limited = Outcome::RateLimited { wait: None, whole_key: false };
    assert_eq!(keyless.after(&taken(0, None), &limited, 0, NOW, 0.5), Next::OtherTarget);
}

#[test]
fn too_long_asks_for_a_larger_window_only() {
    let mut plan = plan();
    let mut small = taken(0, None);
    small.target = Arc::new(crate::routing::Target { context_window: Some(8_000), ..target(&provider("p", 0), "a") });
    plan.calling();
    assert_eq!(plan.after(&small, &Outcome::TooLong, 1, NOW, 0.5), Next::OtherTarget);
    assert_eq!(plan.larger_than, Some(8_000));
}

#[test]
fn what_ends_it() {
    for (outcome, stop) in [(Outcome::CallerFault, Stop::PassOn), (Outcome::Abandoned, Stop::Deadline)] {
        let mut plan = plan();
        plan.calling();
        assert_eq!(plan.after(&taken(0, None), &outcome, 5, NOW, 0.5), Next::Stop(stop));
    }
    let mut late = plan();
    late.calling();
    assert_eq!(late.after(&taken(0, None), &transient(Failure::Truncated), 5, END, 0.5), Next::Stop(Stop::Deadline));
    let mut nearly = plan();
    nearly.calling();
    let before = Moment::from_millis(10_950);
    let next = nearly.after(&taken(0, None), &transient(Failure::Status(500)), 0, before, 1.0);
    assert_eq!(next, Next::Stop(Stop::Deadline), "the wait itself would pass the deadline");
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
        let mut plan = Plan::new(Retry { attempts, same_target, backoff: Duration::from_millis(1) }, END);
        let (mut number, mut key, mut repeats, mut changes, mut counted) = (0usize, 0usize, 0, 0, 0);
        for outcome in outcomes {
            plan.calling();
            counted += 1;
            match plan.after(&taken(number, Some(key)), &outcome, 0, NOW, 0.5) {
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
