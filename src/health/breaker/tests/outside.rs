//! Operators, active probes, reloads and successors.

use super::*;
use crate::health::{Force, Published, Vitals};

impl Bench {
    fn force(&mut self, force: Force) -> &mut Self {
        self.breaker.force(force, self.now, &mut self.moves);
        self
    }

    fn probed(&mut self) -> &mut Self {
        self.breaker.probed_well(self.now, &mut self.moves);
        self
    }

    fn retune(&mut self, change: impl FnOnce(&mut Thresholds)) -> &mut Self {
        let mut thresholds = self.breaker.thresholds().clone();
        change(&mut thresholds);
        self.breaker.retune(thresholds, self.now);
        self
    }
}

#[test]
fn forced_open_it_stays_so_until_told_otherwise() {
    let mut bench = Bench::new();
    bench.force(Force::Open);
    assert_eq!(bench.last(), (State::Closed, State::Open, Reason::OperatorOpen));
    assert_eq!((bench.breaker.until(), bench.breaker.held(), bench.moves[0].period), (None, true, None));
    let moves = bench.moves.len();
    bench.later(100_000_000).tick().probed().tell(Success, Pass::LeastBad).tell(Success, Pass::Probe).force(Force::Open);
    assert_eq!((bench.breaker.state(), bench.moves.len()), (State::Open, moves), "neither time nor calls nor the same order");
    bench.force(Force::Reset);
    assert_eq!(bench.last(), (State::Open, State::Closed, Reason::OperatorReset));
    bench.normal(&[Failure; 5]);
    assert_eq!(bench.last().2, Reason::Consecutive, "an ordinary one again");
}

#[test]
fn forced_closed_it_counts_but_does_not_trip() {
    let mut bench = open();
    bench.force(Force::Close);
    assert_eq!(bench.last(), (State::Open, State::Closed, Reason::OperatorClose));
    assert_eq!((bench.breaker.until(), bench.breaker.tally(bench.now).calls), (None, 0));
    let moves = bench.moves.len();
    bench.normal(&[Failure; 30]).normal(&[HardFailure]).force(Force::Close);
    let now = bench.now;
    bench.breaker.trip(Reason::SeveralModels, now, 0.0, &mut bench.moves);
    assert_eq!((bench.breaker.state(), bench.moves.len()), (State::Closed, moves));
    assert_eq!((bench.breaker.tally(now).failures, bench.breaker.consecutive()), (31, 31));
    bench.force(Force::Reset);
    assert_eq!((bench.breaker.held(), bench.breaker.tally(now).calls, bench.breaker.consecutive()), (false, 0, 0));
    assert_eq!(bench.last(), (State::Closed, State::Closed, Reason::OperatorReset), "let go of");
    bench.normal(&[HardFailure]);
    assert_eq!(bench.last().2, Reason::Hard);
}

#[test]
fn an_order_moves_it_from_every_state_and_late_results_count_for_nothing() {
    for (force, to) in [(Force::Open, State::Open), (Force::Close, State::Closed), (Force::Reset, State::Closed)] {
        let mut half_open = open();
        half_open.later(10_000).tick();
        for mut bench in [Bench::new(), open(), half_open] {
            let (epoch, moves) = (bench.breaker.epoch(), bench.moves.len());
            bench.force(force);
            assert_eq!(bench.breaker.state(), to);
            assert_ne!(bench.breaker.epoch(), epoch);
            let late = Report { vote: HardFailure, slow: true, pass: Pass::Probe, epoch };
            bench.breaker.record(late, bench.now, 0.0, &mut bench.moves);
            assert_eq!(bench.breaker.state(), to);
            assert_eq!(bench.breaker.tally(bench.now).calls, 0);
            assert!(bench.moves.len() <= moves + 1);
        }
    }
}

#[test]
fn a_reset_ends_the_doubling_and_takes_no_ramp() {
    let mut bench = open();
    bench.later(10_000).tell(Failure, Pass::Probe).force(Force::Reset).normal(&[Failure; 5]);
    assert_eq!(bench.moves.last().unwrap().period, Some(Duration::from_secs(10)));
    bench.force(Force::Reset);
    let vitals = Vitals::default();
    vitals.publish(&mut bench.breaker, bench.now);
    assert_eq!(vitals.ramp(bench.now), 1.0);
}

#[test]
fn orders_have_names() {
    let all = [("open", Force::Open), ("close", Force::Close), ("reset", Force::Reset)];
    assert!(all.into_iter().all(|(name, force)| Force::named(name) == Some(force)));
    assert_eq!(Force::named("half_open"), None);
    assert_eq!(
        [Reason::OperatorOpen, Reason::OperatorClose, Reason::OperatorReset, Reason::ActiveProbe].map(Reason::name),
        ["operator_open", "operator_close", "operator_reset", "active_probe"]
    );
}

#[test]
fn an_active_probe_only_brings_half_open_forward() {
    let mut bench = open();
    bench.later(1_000).probed();
    assert_eq!(bench.last(), (State::Open, State::HalfOpen, Reason::ActiveProbe));
    bench.probed().probed().probed();
    assert_eq!((bench.breaker.state(), bench.moves.len()), (State::HalfOpen, 2), "it closes nothing");
    bench.tell(Success, Pass::Probe).tell(Success, Pass::Probe).probed();
    assert_eq!(bench.breaker.state(), State::Closed);
}

#[test]
fn an_active_probe_that_misled_is_not_believed_again_until_it_closed() {
    let mut bench = open();
    bench.later(1_000).probed().tell(Failure, Pass::Probe).later(1_000).probed();
    assert_eq!((bench.breaker.state(), bench.breaker.until()), (State::Open, Some(Moment::from_millis(21_000))));
    bench.later(20_000).tell(Success, Pass::Probe).tell(Success, Pass::Probe).normal(&[Failure; 5]).probed();
    assert_eq!(bench.last(), (State::Open, State::HalfOpen, Reason::ActiveProbe));
}

#[test]
fn new_thresholds_keep_state_epoch_and_counts() {
    let mut bench = Bench::new();
    bench.normal(&[Failure; 4]);
    bench.retune(|t| t.consecutive_failures = 3);
    assert_eq!((bench.breaker.state(), bench.breaker.epoch(), bench.breaker.consecutive()), (State::Closed, 0, 4));
    assert_eq!(bench.breaker.tally(bench.now).failures, 4);
    bench.normal(&[Success; 20]);
    assert!(bench.moves.is_empty(), "a reload and a success open nothing");
    bench.normal(&[Failure; 3]);
    assert_eq!(bench.last().2, Reason::Consecutive);
    let epoch = bench.breaker.epoch();
    bench.retune(|t| t.close_after = 1).later(10_000).tell(Success, Pass::Probe);
    assert_eq!((bench.breaker.state(), bench.breaker.epoch()), (State::Closed, epoch + 1));
}

#[test]
fn an_open_period_ends_within_the_longest_of_the_new_thresholds() {
    let mut bench = open();
    bench.retune(|t| (t.open_for, t.open_for_max) = (Duration::from_secs(1), Duration::from_secs(2)));
    assert_eq!((bench.breaker.state(), bench.breaker.until()), (State::Open, Some(Moment::from_millis(2_200))));
    bench.later(2_200).tell(Failure, Pass::Probe);
    assert_eq!(bench.moves.last().unwrap().period, Some(Duration::from_secs(2)), "what is doubled lies within them too");
    bench.retune(|t| (t.open_for, t.open_for_max) = (Duration::from_secs(60), Duration::from_secs(600)));
    assert_eq!(bench.breaker.until(), Some(Moment::from_millis(4_200)), "longer ones don't lengthen it");
    bench.later(2_000).tell(Failure, Pass::Probe);
    assert_eq!(bench.moves.last().unwrap().period, Some(Duration::from_secs(120)));
}

#[test]
fn a_closed_breakers_next_period_is_the_new_one() {
    let mut bench = Bench::new();
    bench.retune(|t| t.open_for = Duration::from_secs(4)).normal(&[Failure; 5]);
    assert_eq!(bench.moves[0].period, Some(Duration::from_secs(4)));
}

#[test]
fn a_successor_goes_on_where_the_published_one_ended() {
    let mut bench = Bench::new();
    let vitals = Vitals::default();
    let check = |bench: &mut Bench| {
        vitals.publish(&mut bench.breaker, bench.now);
        let next = Breaker::resume(Thresholds::default(), vitals.published(), bench.now.plus(Duration::from_secs(1)));
        let of = |b: &Breaker| (b.state(), b.held(), b.epoch(), b.until(), b.reason(), b.period());
        assert_eq!(of(&next), of(&bench.breaker));
        if bench.now > Moment::START {
            assert_eq!(next.since(), bench.breaker.since());
        }
    };
    check(&mut bench);
    bench.later(1_000).normal(&[Failure; 5]);
    check(&mut bench);
    bench.later(10_000).tick();
    check(&mut bench);
    bench.tell(Failure, Pass::Probe);
    check(&mut bench);
    bench.later(20_000).tell(Success, Pass::Probe).tell(Success, Pass::Probe);
    check(&mut bench);
    for force in [Force::Open, Force::Close, Force::Reset] {
        bench.later(1).force(force);
        check(&mut bench);
    }
    let fresh = Breaker::resume(Thresholds::default(), Vitals::default().published(), Moment::from_millis(7));
    assert_eq!((fresh.state(), fresh.epoch(), fresh.since(), fresh.reason()), (State::Closed, 0, Moment::from_millis(7), None));
}

#[test]
fn a_successors_period_goes_on_doubling() {
    let thresholds = Thresholds { open_for_max: Duration::from_secs(300), ..Thresholds::default() };
    let mut bench = open();
    bench.retune(|t| *t = thresholds.clone()).later(10_000).tell(Failure, Pass::Probe);
    let vitals = Vitals::default();
    vitals.publish(&mut bench.breaker, bench.now);
    assert_eq!(vitals.published().period, Duration::from_secs(20));
    bench.breaker = Breaker::resume(thresholds, vitals.published(), bench.now);
    bench.later(20_000).tell(Failure, Pass::Probe);
    assert_eq!(bench.moves.last().unwrap().period, Some(Duration::from_secs(40)));
}

#[test]
fn every_reason_can_be_published() {
    let vitals = Vitals::default();
    for reason in Reason::ALL {
        let published = Published { reason: Some(reason), ..vitals.published() };
        let mut breaker = Breaker::resume(Thresholds::default(), published, Moment::START);
        vitals.publish(&mut breaker, Moment::START);
        assert_eq!(vitals.published().reason, Some(reason));
    }
}

#[test]
fn slow_is_what_can_be_told_from_dead() {
    let thresholds = Thresholds { slow_call: Duration::from_secs(20), ..Thresholds::default() };
    for (limit, slow) in [(60, 20), (21, 20), (20, 13), (15, 10), (3, 2)] {
        assert_eq!(thresholds.slow_after(Duration::from_secs(limit)).as_secs(), slow, "{limit}");
    }
}
