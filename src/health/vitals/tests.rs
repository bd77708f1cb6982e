//! The permit: never more out than allowed, always given back, never beyond its state.

use std::time::Duration;

use proptest::prelude::*;

use super::super::breaker::Report;
use super::super::outcome::Vote;
use super::super::thresholds::Thresholds;
use super::super::transition::Reason;
use super::*;

fn thresholds(half_open_probes: u16) -> Thresholds {
    Thresholds { consecutive_failures: 3, failure_ratio: 0.9, minimum_requests: 100, half_open_probes, ..Thresholds::default() }
}

fn open(probes: u16) -> (Breaker, Arc<Vitals>) {
    let (mut breaker, vitals) = (Breaker::new(thresholds(probes), Moment::START), Arc::new(Vitals::default()));
    breaker.trip(Reason::Hard, Moment::START, 0.0, &mut Vec::new());
    vitals.publish(&mut breaker, Moment::START);
    (breaker, vitals)
}

const DUE: Moment = Moment::from_millis(10_000);

#[test]
fn nobody_passes_before_the_period_ends() {
    let (_, vitals) = open(1);
    let before = Moment::from_millis(9_999);
    assert_eq!(vitals.admit(before), Admission::Refuse(DUE));
    assert!(vitals.claim(before).is_none() && Admitted::at(&vitals, false, before).is_none());
    let forced = Admitted::at(&vitals, true, before).unwrap();
    assert_eq!((forced.pass, forced.is_probe()), (Pass::LeastBad, false));
    assert_eq!(vitals.state(before), State::Open);
    assert_eq!(vitals.state(DUE), State::HalfOpen, "also before its actor has noticed");
}

#[test]
fn permits_are_counted_and_given_back() {
    let (_, vitals) = open(2);
    let (one, two) = (vitals.claim(DUE).unwrap(), vitals.claim(DUE).unwrap());
    assert_eq!(vitals.admit(DUE), Admission::Busy);
    assert!(vitals.claim(DUE).is_none());
    assert!(Admitted::at(&vitals, true, DUE).is_none(), "a last resort takes no place from a probe");
    drop(one);
    assert_eq!(vitals.admit(DUE), Admission::Due);
    drop(two);
    assert!(vitals.claim(DUE).is_some());
}

#[test]
fn sixty_threads_at_once_get_one_permit() {
    let (_, vitals) = open(1);
    let barrier = std::sync::Barrier::new(60);
    let claimed = std::thread::scope(|scope| {
        let claims: Vec<_> = (0..60)
            .map(|_| {
                scope.spawn(|| {
                    barrier.wait();
                    vitals.claim(DUE)
                })
            })
            .collect();
        let permits: Vec<_> = claims.into_iter().filter_map(|claim| claim.join().unwrap()).collect();
        permits.len()
    });
    assert_eq!(claimed, 1);
}

#[test]
fn a_permit_of_an_earlier_state_gives_nothing_back_to_a_later_one() {
    let (mut breaker, vitals) = open(1);
    let early = vitals.claim(DUE).unwrap();
    let failed = Report { vote: Vote::Failure, slow: false, pass: Pass::Probe, epoch: early.epoch() };
    breaker.record(failed, DUE, 0.0, &mut Vec::new());
    vitals.publish(&mut breaker, DUE);
    let later = Moment::from_millis(30_000);
    let late = vitals.claim(later).unwrap();
    drop(early);
    assert_eq!(vitals.admit(later), Admission::Busy, "the later permit is still out");
    drop(late);
    assert_eq!(vitals.admit(later), Admission::Due);
}

#[test]
fn probes_keep_their_distance_until_one_succeeds() {
    let (mut breaker, vitals) =
        (Breaker::new(Thresholds { probe_gap: Duration::from_secs(1), ..thresholds(1) }, Moment::START), Arc::new(Vitals::default()));
    breaker.trip(Reason::Hard, Moment::START, 0.0, &mut Vec::new());
    vitals.publish(&mut breaker, Moment::START);
    let after = |ms| DUE.plus(Duration::from_millis(ms));
    drop(vitals.claim(DUE).expect("the first need not wait"));
    assert_eq!((vitals.admit(after(999)), vitals.claim(after(999)).is_none()), (Admission::Busy, true));
    assert_eq!(vitals.admit(after(1_000)), Admission::Due);
    let permit = vitals.claim(after(1_000)).unwrap();
    let good = Report { vote: Vote::Success, slow: false, pass: Pass::Probe, epoch: permit.epoch() };
    breaker.record(good, after(1_001), 0.0, &mut Vec::new());
    vitals.publish(&mut breaker, after(1_001));
    drop(permit);
    assert_eq!(vitals.admit(after(1_002)), Admission::Due, "it answers: no reason to wait");
    let next = vitals.claim(after(1_002)).expect("and so it may pass");
    let bad = Report { vote: Vote::Failure, slow: false, pass: Pass::Probe, epoch: next.epoch() };
    let mut moves = Vec::new();
    breaker.record(bad, after(1_003), 0.0, &mut moves);
    breaker.probed_well(after(1_004), &mut moves);
    vitals.publish(&mut breaker, after(1_004));
    assert_eq!((vitals.admit(after(2_001)), vitals.admit(after(2_002))), (Admission::Busy, Admission::Due), "a second after that one");
}

#[test]
fn the_least_distance_is_one_and_none_keeps_nobody_waiting() {
    let spaced = |gap| Thresholds { probe_gap: gap, ..thresholds(1) };
    let (mut breaker, vitals) = (Breaker::new(spaced(Duration::from_micros(1)), Moment::START), Arc::new(Vitals::default()));
    breaker.trip(Reason::Hard, Moment::START, 0.0, &mut Vec::new());
    vitals.publish(&mut breaker, Moment::START);
    let after = |micros| DUE.plus(Duration::from_micros(micros));
    drop(vitals.claim(DUE).unwrap());
    assert_eq!((vitals.admit(DUE), vitals.claim(DUE).is_none()), (Admission::Busy, true));
    breaker.retune(spaced(Duration::from_secs(1)), after(1));
    vitals.publish(&mut breaker, after(1));
    drop(vitals.claim(after(1)).unwrap());
    assert_eq!(vitals.admit(after(2)), Admission::Busy);
    breaker.retune(spaced(Duration::ZERO), after(2));
    vitals.publish(&mut breaker, after(2));
    assert_eq!(vitals.admit(after(2)), Admission::Due);
    assert!(vitals.claim(after(2)).is_some());
}

#[test]
fn nothing_can_be_given_back_that_was_not_taken() {
    let (_, vitals) = open(1);
    drop(Permit { vitals: Arc::clone(&vitals), epoch: vitals.epoch() });
    assert_eq!(vitals.probes(), 0);
}

#[test]
fn the_load_is_what_a_call_would_wait_for_and_weighs_failures() {
    let (mut breaker, vitals) = (Breaker::new(thresholds(1), Moment::START), Arc::new(Vitals::default()));
    for vote in [Vote::Success, Vote::Failure] {
        let report = Report { vote, slow: false, pass: Pass::Normal, epoch: 0 };
        breaker.record(report, Moment::START, 0.0, &mut Vec::new());
    }
    vitals.publish(&mut breaker, Moment::START);
    let load = |stream, now| vitals.load(stream, 3_000.0, now);
    assert_eq!(load(false, Moment::START), 3_000.0 * 11.0, "half of its calls failed");
    let mut latency = Ewma::default();
    latency.observe(Duration::from_millis(10), Moment::START);
    vitals.publish_latency(&latency, &Ewma::default(), Moment::START);
    let _calls = [vitals.enter(), vitals.enter()];
    assert_eq!((load(false, Moment::START), load(true, Moment::START)), (10_000.0 * 3.0 * 11.0, 3_000.0 * 3.0 * 11.0));
    assert!(load(false, DUE) < 200_000.0, "unused, it fades");
    vitals.sent(DUE);
    assert_eq!(load(false, DUE), 330_000.0, "until a call is sent");
}

#[test]
fn no_more_calls_enter_than_the_limit() {
    let vitals = Arc::new(Vitals::default());
    let inside: Vec<_> = (0..3).filter_map(|_| vitals.enter_within(2)).collect();
    assert_eq!((inside.len(), vitals.in_flight()), (2, 2));
    assert!(vitals.enter_within(0).is_some(), "without a limit");
    drop(inside);
    assert_eq!(vitals.in_flight(), 0);
}

#[test]
fn what_is_on_record_as_a_probe_holds_a_permit() {
    let vitals = Arc::new(Vitals::default());
    let probes = [Pass::Normal, Pass::Probe, Pass::LeastBad].map(|pass| Admitted::recorded(&vitals, pass, 3));
    assert_eq!(probes.each_ref().map(|by| (by.is_probe(), by.epoch)), [(false, 3), (true, 3), (false, 3)]);
}

#[test]
fn the_ramp_grows_from_a_tenth() {
    let (mut breaker, vitals) = open(1);
    for _ in 0..2 {
        let good = Report { vote: Vote::Success, slow: false, pass: Pass::Probe, epoch: breaker.epoch() };
        breaker.record(good, DUE, 0.0, &mut Vec::new());
        vitals.publish(&mut breaker, DUE);
    }
    let share = |seconds| vitals.ramp(DUE.plus(Duration::from_secs(seconds)));
    assert!((share(0) - 0.1).abs() < 1e-9 && (share(5) - 0.55).abs() < 1e-9, "{} {}", share(0), share(5));
    assert_eq!((share(10), share(100)), (1.0, 1.0));
    let fresh = Arc::new(Vitals::default());
    fresh.publish(&mut Breaker::new(thresholds(1), Moment::START), Moment::START);
    assert_eq!(fresh.ramp(Moment::START), 1.0, "a start is no return");
}

proptest! {
    /// Claims, drops, ticks, trips and results in any order: never more permits out of one epoch than allowed.
    #[test]
    fn never_more_probes_than_permits(steps in proptest::collection::vec((0u8..6, 0u64..8_000), 1..120), probes in 1u16..4) {
        let (mut breaker, vitals) = open(probes);
        let mut now = Moment::START;
        let mut out: Vec<Permit> = Vec::new();
        for (step, gap) in steps {
            now = now.plus(Duration::from_millis(gap));
            match step {
                0 | 1 => out.extend(vitals.claim(now)),
                2 => drop(out.pop()),
                3 => breaker.tick(now, &mut Vec::new()),
                _ => {
                    let vote = if step == 4 { Vote::Failure } else { Vote::Success };
                    let epoch = out.last().map_or(breaker.epoch(), Permit::epoch);
                    let pass = if out.is_empty() { Pass::Normal } else { Pass::Probe };
                    breaker.record(Report { vote, slow: false, pass, epoch }, now, 0.0, &mut Vec::new());
                    vitals.publish(&mut breaker, now);
                    out.pop();
                }
            }
            vitals.publish(&mut breaker, now);
            let current = out.iter().filter(|permit| permit.epoch() == vitals.epoch()).count();
            prop_assert!(current <= usize::from(probes));
            prop_assert_eq!(usize::from(vitals.probes()), current, "what is out is what is counted");
        }
    }
}
