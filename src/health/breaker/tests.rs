//! The breaker's rules one by one, then its properties under random sequences.

use proptest::prelude::*;

use super::*;

mod outside;

struct Bench {
    breaker: Breaker,
    now: Moment,
    moves: Vec<Transition>,
}

impl Bench {
    fn new() -> Self {
        Self { breaker: Breaker::new(Thresholds::default(), Moment::START), now: Moment::START, moves: Vec::new() }
    }

    fn tell(&mut self, vote: Vote, pass: Pass) -> &mut Self {
        let report = Report { vote, slow: false, pass, epoch: self.breaker.epoch() };
        self.breaker.record(report, self.now, 0.0, &mut self.moves);
        self
    }

    fn normal(&mut self, votes: &[Vote]) -> &mut Self {
        for vote in votes {
            self.tell(*vote, Pass::Normal);
        }
        self
    }

    fn later(&mut self, ms: u64) -> &mut Self {
        self.now = self.now.plus(Duration::from_millis(ms));
        self
    }

    fn tick(&mut self) -> &mut Self {
        self.breaker.tick(self.now, &mut self.moves);
        self
    }

    fn last(&self) -> (State, State, Reason) {
        let last = self.moves.last().expect("a transition");
        (last.from, last.to, last.reason)
    }
}

use Vote::{Alive, Failure, HardFailure, Success};

#[test]
fn trips_at_the_fifth_failure_in_a_row_and_not_before() {
    let mut bench = Bench::new();
    bench.normal(&[Failure; 4]);
    assert!(bench.moves.is_empty());
    bench.normal(&[Success]).normal(&[Failure; 4]);
    assert!(bench.moves.is_empty(), "a success ends the run");
    bench.normal(&[Failure]);
    assert_eq!(bench.last(), (State::Closed, State::Open, Reason::Consecutive));
    assert_eq!(bench.breaker.until(), Some(Moment::from_millis(10_000)));
    assert_eq!(bench.breaker.consecutive(), 5);
}

#[test]
fn trips_by_ratio_only_with_enough_calls() {
    let mut bench = Bench::new();
    bench.normal(&[Success, Failure, Failure, Success, Failure, Success, Failure, Success, Failure]);
    assert!(bench.moves.is_empty(), "nine calls are too few");
    bench.normal(&[Failure]);
    assert_eq!(bench.last(), (State::Closed, State::Open, Reason::Ratio));
}

#[test]
fn a_share_just_below_the_ratio_stays_closed_and_the_ratio_itself_trips() {
    let mut bench = Bench::new();
    bench.normal(&[Success; 6]).normal(&[Failure, Failure, Success, Failure, Failure]);
    assert!(bench.moves.is_empty(), "4 of 11");
    bench.normal(&[Success, Failure, Failure, Success, Failure]);
    assert!(bench.moves.is_empty(), "7 of 16");
    bench.normal(&[Failure, Failure]);
    assert_eq!(bench.last().2, Reason::Ratio, "9 of 18 is half");
}

#[test]
fn failures_older_than_the_window_are_forgotten() {
    let mut bench = Bench::new();
    bench.normal(&[Failure, Failure, Failure, Failure, Success]);
    bench.later(31_000).normal(&[Success, Success, Success, Success, Failure, Failure]);
    assert!(bench.moves.is_empty());
}

#[test]
fn a_hard_failure_trips_at_once() {
    let mut bench = Bench::new();
    bench.normal(&[HardFailure]);
    assert_eq!(bench.last(), (State::Closed, State::Open, Reason::Hard));
}

#[test]
fn a_callers_fault_neither_opens_nor_counts() {
    let mut bench = Bench::new();
    bench.normal(&[Failure; 4]).normal(&[Alive; 100]).normal(&[Vote::None; 100]);
    assert!(bench.moves.is_empty());
    assert_eq!(bench.breaker.tally(bench.now).calls, 4);
    bench.normal(&[Failure]);
    assert_eq!(bench.last().1, State::Open, "and it doesn't end a run either");
}

fn open() -> Bench {
    let mut bench = Bench::new();
    bench.normal(&[Failure; 5]);
    bench
}

#[test]
fn opens_for_its_period_then_half_opens() {
    let mut bench = open();
    bench.later(9_999).tick();
    assert_eq!(bench.breaker.state(), State::Open);
    bench.later(1).tick();
    assert_eq!(bench.last(), (State::Open, State::HalfOpen, Reason::PeriodOver));
}

#[test]
fn two_good_probes_close_it_and_reset_the_period() {
    let mut bench = open();
    bench.later(10_000).tell(Success, Pass::Probe);
    assert_eq!(bench.breaker.state(), State::HalfOpen);
    bench.tell(Alive, Pass::Probe);
    assert_eq!(bench.last(), (State::HalfOpen, State::Closed, Reason::ProbesSucceeded));
    assert_eq!(bench.breaker.tally(bench.now).calls, 0, "old failures are forgotten");
    assert_eq!(bench.breaker.consecutive(), 0);
    bench.normal(&[Failure; 5]);
    assert_eq!(bench.moves.last().unwrap().period, Some(Duration::from_secs(10)));
}

#[test]
fn a_failed_probe_doubles_the_period_up_to_its_cap() {
    let mut bench = open();
    bench.later(10_000).tell(Failure, Pass::Probe);
    assert_eq!(bench.last(), (State::HalfOpen, State::Open, Reason::ProbeFailed));
    assert_eq!(bench.moves.last().unwrap().period, Some(Duration::from_secs(20)));
    bench.later(20_000).tell(HardFailure, Pass::Probe);
    assert_eq!(bench.moves.last().unwrap().period, Some(Duration::from_secs(20)), "capped");
    bench.later(20_000).tell(Success, Pass::Probe).tell(Failure, Pass::Probe);
    assert_eq!(bench.breaker.state(), State::Open, "a success does not make a later failure good");
}

#[test]
fn an_unknown_end_of_a_probe_leaves_it_half_open() {
    let mut bench = open();
    bench.later(10_000).tell(Vote::None, Pass::Probe);
    assert_eq!(bench.breaker.state(), State::HalfOpen);
    bench.tell(Success, Pass::Probe).tell(Success, Pass::Probe);
    assert_eq!(bench.breaker.state(), State::Closed);
}

#[test]
fn a_least_bad_call_half_opens_by_success_and_changes_nothing_by_failure() {
    let mut bench = open();
    bench.later(1_000).tell(Failure, Pass::LeastBad).tell(Alive, Pass::LeastBad).tell(Success, Pass::Normal);
    assert_eq!(bench.breaker.state(), State::Open);
    assert_eq!(bench.breaker.until(), Some(Moment::from_millis(10_000)));
    bench.tell(Success, Pass::LeastBad);
    assert_eq!(bench.last(), (State::Open, State::HalfOpen, Reason::LeastBadSucceeded));
    bench.tell(Failure, Pass::LeastBad);
    assert_eq!(bench.breaker.state(), State::HalfOpen, "it took no permit");
    bench.tell(Success, Pass::Probe);
    assert_eq!(bench.breaker.state(), State::HalfOpen, "the least-bad success itself does not count as a probe's");
    bench.tell(Success, Pass::Probe);
    assert_eq!(bench.breaker.state(), State::Closed);
}

#[test]
fn a_late_result_of_an_earlier_state_counts_for_nothing() {
    let mut bench = Bench::new();
    let early = bench.breaker.epoch();
    bench.normal(&[Failure; 5]).later(10_000).tell(Success, Pass::Probe).tell(Success, Pass::Probe);
    assert_eq!(bench.breaker.state(), State::Closed);
    let late = Report { vote: HardFailure, slow: false, pass: Pass::Normal, epoch: early };
    bench.breaker.record(late, bench.now, 0.0, &mut bench.moves);
    assert_eq!(bench.breaker.state(), State::Closed);
    assert_eq!(bench.breaker.tally(bench.now).calls, 0);
}

#[test]
fn jitter_moves_the_period_by_a_tenth() {
    for (draw, ms) in [(-1.0, 9_000), (1.0, 11_000), (0.5, 10_500), (7.0, 11_000)] {
        let mut breaker = Breaker::new(Thresholds::default(), Moment::START);
        let mut moves = Vec::new();
        breaker.trip(Reason::SeveralModels, Moment::START, draw, &mut moves);
        assert_eq!(breaker.until(), Some(Moment::from_millis(ms)));
        breaker.trip(Reason::Hard, Moment::START, draw, &mut moves);
        assert_eq!(moves.len(), 1, "an open breaker can't trip");
    }
}

#[test]
fn mostly_slow_is_degraded_never_open() {
    let mut bench = Bench::new();
    let slow = |epoch| Report { vote: Success, slow: true, pass: Pass::Normal, epoch };
    for calls in 1..=40 {
        let report = slow(bench.breaker.epoch());
        bench.breaker.record(report, bench.now, 0.0, &mut bench.moves);
        assert_eq!(bench.breaker.degraded(bench.now), calls >= FEWEST_FOR_SLOW, "{calls}");
    }
    assert!(bench.moves.is_empty());
    bench.normal(&[Success; 10]);
    assert!(bench.breaker.degraded(bench.now), "40 of 50 is four fifths");
    bench.normal(&[Success]);
    assert!(!bench.breaker.degraded(bench.now));
}

#[test]
fn passes_have_names() {
    assert_eq!([Pass::Normal, Pass::Probe, Pass::LeastBad].map(Pass::name), ["normal", "probe", "least_bad"]);
}

fn votes() -> impl Strategy<Value = Vote> {
    prop_oneof![3 => Just(Success), 4 => Just(Failure), 1 => Just(HardFailure), 1 => Just(Alive), 1 => Just(Vote::None)]
}

fn steps() -> impl Strategy<Value = Vec<(Vote, u8, u64, f64, bool)>> {
    proptest::collection::vec((votes(), 0u8..3, 0u64..12_000, -1.0f64..1.0, any::<bool>()), 1..200)
}

fn run(
    steps: &[(Vote, u8, u64, f64, bool)],
    mut check: impl FnMut(&mut Breaker, &Report, &[Transition], State, Moment),
) -> Vec<Transition> {
    let mut breaker = Breaker::new(Thresholds::default(), Moment::START);
    let mut now = Moment::START;
    let mut all = Vec::new();
    for &(vote, pass, gap, draw, late) in steps {
        now = now.plus(Duration::from_millis(gap));
        let pass = [Pass::Normal, Pass::Probe, Pass::LeastBad][usize::from(pass)];
        let epoch = breaker.epoch().wrapping_sub(u32::from(late));
        let report = Report { vote, slow: late, pass, epoch };
        let mut moves = Vec::new();
        let before = breaker.state();
        breaker.record(report, now, draw, &mut moves);
        check(&mut breaker, &report, &moves, before, now);
        all.extend(moves);
    }
    all
}

proptest! {
    #[test]
    fn its_properties_hold_in_any_sequence(steps in steps()) {
        run(&steps, |breaker, report, moves, before, now| {
            let mut state = before;
            for step in moves {
                assert_eq!(step.from, state, "moves are a path");
                assert_ne!(step.from, step.to);
                let allowed = matches!(
                    (step.from, step.to),
                    (State::Closed, State::Open) | (State::Open, State::HalfOpen) | (State::HalfOpen, State::Closed | State::Open)
                );
                assert!(allowed, "{step:?}");
                if step.to == State::Open {
                    assert!(matches!(report.vote, Failure | HardFailure), "only a failure opens: {report:?}");
                    let period = step.period.expect("a drawn period");
                    assert!(period >= Duration::from_secs(9) && period <= Duration::from_secs(22), "{period:?}");
                }
                state = step.to;
            }
            assert_eq!(breaker.state(), state, "no move without a transition");
            assert_eq!(breaker.reason().is_some(), breaker.epoch() != 0 || breaker.state() != State::Closed);
            if report.epoch != breaker.epoch() && moves.is_empty() {
                assert_eq!(breaker.state(), before);
            }
            // Open always ends.
            let mut end = breaker.clone();
            end.tick(now.plus(Duration::from_secs(22)), &mut Vec::new());
            assert_ne!(end.state(), State::Open);
            // A clock that steps back changes nothing.
            let mut back = breaker.clone();
            back.tick(Moment::START, &mut Vec::new());
            assert!(back.state() == breaker.state());
        });
    }

    #[test]
    fn equal_inputs_give_equal_outputs(steps in steps()) {
        let first = run(&steps, |_, _, _, _, _| {});
        let second = run(&steps, |_, _, _, _, _| {});
        prop_assert_eq!(first, second);
    }
}
