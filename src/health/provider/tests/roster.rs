//! Orders, reloads, and a successor after an actor's death: who keeps what.

use super::*;
use crate::health::{Admission, Force};

impl Stage {
    fn roster(&self, models: &[&str], keys: &[&Arc<Rest>]) -> Roster {
        let known = |model: &str| self.health.targets.iter().find(|target| *target.model == *model);
        let own = |model: &str| known(model).into_iter().flat_map(|target| &target.keys).map(|(_, rest)| Arc::clone(rest));
        let more = || std::iter::repeat_with(Arc::default);
        let seat = |model: &&str| Seat {
            model: (*model).into(),
            vitals: known(model).map_or_else(Arc::default, |target| Arc::clone(&target.vitals)),
            rests: own(model).chain(more()).take(keys.len().max(1)).collect(),
        };
        Roster { targets: models.iter().map(seat).collect(), keys: keys.iter().map(|key| Arc::clone(key)).collect() }
    }

    fn retune(&mut self, roster: Roster) {
        let thresholds = self.health.breaker.thresholds().clone();
        self.health.retune(&thresholds, Duration::from_secs(60), roster, self.now);
    }

    fn force(&mut self, force: Force, model: Option<&str>) -> Vec<(Option<usize>, Reason)> {
        let moved = self.health.force(force, model, self.now).expect("a known model");
        moved.iter().map(|moved| (moved.target, moved.transition.reason)).collect()
    }

    fn admits(&self, target: usize) -> (Admission, Admission) {
        (self.health.vitals.admit(self.now), self.health.targets[target].vitals.admit(self.now))
    }
}

#[test]
fn a_provider_forced_open_shuts_out_all_its_models_until_it_is_closed() {
    let mut stage = Stage::new();
    assert_eq!(stage.force(Force::Open, None), [(None, Reason::OperatorOpen)]);
    assert_eq!(stage.admits(0), (Admission::Held, Admission::Admit));
    assert!(Admitted::at(&stage.health.vitals, true, stage.now).is_none(), "not as a last resort either");
    assert_eq!(stage.health.vitals.state(stage.now), Open);
    let moves = stage.force(Force::Close, None);
    assert_eq!(moves.iter().map(|(target, _)| *target).collect::<Vec<_>>(), [None, Some(0), Some(1), Some(2)]);
    assert!(moves.iter().all(|(_, reason)| *reason == Reason::OperatorClose));
    stage.fail(0, Failure::Connect, 20);
    assert_eq!(stage.states(), (Closed, vec![Closed; 3]));
    assert_eq!(stage.admits(0), (Admission::Admit, Admission::Admit));
}

#[test]
fn closing_a_provider_closes_its_open_models() {
    let mut stage = Stage::new();
    stage.fail(0, Failure::Status(500), 3);
    stage.force(Force::Close, None);
    assert_eq!(stage.states(), (Closed, vec![Closed; 3]));
}

#[test]
fn one_models_orders_move_no_other() {
    let mut stage = Stage::new();
    assert_eq!(stage.force(Force::Open, Some("b")), [(Some(1), Reason::OperatorOpen)]);
    assert_eq!(stage.states(), (Closed, vec![Closed, Open, Closed]));
    assert_eq!((stage.admits(0).1, stage.admits(1).1), (Admission::Admit, Admission::Held));
    assert_eq!(stage.force(Force::Open, Some("b")), []);
    assert_eq!(stage.force(Force::Reset, Some("b")), [(Some(1), Reason::OperatorReset)]);
    assert_eq!(stage.states().1, [Closed; 3]);
    assert!(stage.health.force(Force::Open, Some("nobody"), stage.now).is_none());
}

#[test]
fn a_reset_frees_keys_and_missing_models() {
    let mut stage = Stage::new();
    stage.tell(0, Outcome::ModelMissing);
    stage.tell(1, Outcome::ModelMissing);
    stage.tell(0, Outcome::RateLimited { wait: None, whole_key: false });
    stage.tell(1, Outcome::RateLimited { wait: None, whole_key: false });
    stage.tell(1, Outcome::KeyFault { sure: true });
    stage.fail(0, Failure::Status(500), 2);
    let resting = |stage: &Stage| [0, 1].map(|place| stage.health.targets[place].rest(0).unwrap().until(stage.now).is_some());
    let missing = |stage: &Stage| [0, 1].map(|place| stage.health.targets[place].vitals.absence().holds(stage.now));
    assert_eq!((resting(&stage), missing(&stage), stage.rest.refused(stage.now)), ([true; 2], [true; 2], true));
    stage.force(Force::Reset, Some("a"));
    assert_eq!((resting(&stage), missing(&stage), stage.rest.refused(stage.now)), ([false, true], [false, true], true));
    stage.force(Force::Reset, None);
    assert_eq!((resting(&stage), missing(&stage), stage.rest.until(stage.now)), ([false; 2], [false; 2], None));
    assert_eq!((stage.health.consecutive, stage.health.window.tally(stage.now).calls), (0, 0));
    stage.fail(0, Failure::Status(500), 2);
    assert_eq!(stage.states().1, [Closed; 3], "the two failures of before are forgotten");
}

#[test]
fn a_good_active_probe_half_opens_the_provider_and_its_models_only() {
    let mut stage = Stage::new();
    stage.fail(0, Failure::Connect, 3);
    stage.force(Force::Open, Some("b"));
    let moved = stage.health.probed_well(stage.now);
    assert!(moved.iter().all(|moved| moved.transition.reason == Reason::ActiveProbe));
    assert_eq!(stage.states(), (State::HalfOpen, vec![State::HalfOpen, Open, Closed]));
    assert_eq!(stage.admits(0), (Admission::Due, Admission::Due), "and it is published");
}

#[test]
fn a_reload_keeps_states_by_name_and_takes_late_reports_of_those_who_left() {
    let mut stage = Stage::new();
    stage.fail(1, Failure::Status(500), 3);
    stage.fail(0, Failure::Status(500), 2);
    let late = stage.told(0, Outcome::Transient(Failure::Status(500)), None);
    let permit = {
        stage.now = stage.now.plus(Duration::from_secs(10));
        stage.told(1, Outcome::Ok, None)
    };
    let rest = Arc::clone(&stage.rest);
    stage.retune(stage.roster(&["new", "b"], &[&rest]));
    assert_eq!(stage.states().1, [Closed, Open]);
    assert_eq!((stage.health.targets[1].calls, &*stage.health.targets[1].model), (3, "b"));
    let moved = stage.health.record(late, 0.0);
    assert!(moved.is_empty() && stage.states().1 == [Closed, Open], "the new one isn't blamed for it");
    stage.health.record(permit, 0.0);
    assert_eq!(stage.states().1, [Closed, Closed], "a probe of before the reload closes it after");
    stage.retune(stage.roster(&["b"], &[]));
    assert_eq!(stage.states().1, [Closed]);
}

#[test]
fn a_reload_keeps_rests_and_ends_quarantines() {
    let mut stage = Stage::new();
    let (first, other) = (Arc::clone(&stage.rest), Arc::<Rest>::default());
    stage.tell(0, Outcome::RateLimited { wait: Some(Duration::from_secs(30)), whole_key: true });
    stage.tell(1, Outcome::ModelMissing);
    stage.retune(stage.roster(&["a", "b"], &[&other, &first]));
    assert_eq!(first.until(stage.now), Some(stage.now.plus(Duration::from_secs(30))), "out of quota it still is");
    assert!(!stage.health.targets[1].vitals.absence().holds(stage.now));
    let late = Told { key: Some(Arc::clone(&first)), ..stage.told(0, Outcome::KeyFault { sure: true }, None) };
    stage.health.record(late, 0.0);
    assert!(first.refused(stage.now) && other.until(stage.now).is_none(), "by name, not by place");
    stage.retune(stage.roster(&["a", "b"], &[&first]));
    assert_eq!(first.until(stage.now), None);
    stage.retune(stage.roster(&["a", "b"], &[&other]));
    stage.tell(0, Outcome::KeyFault { sure: true });
    assert!(!first.refused(stage.now) && !other.refused(stage.now), "a key that left is told nothing, nor is another instead");
    let bare = Told { key: None, ..stage.told(0, Outcome::KeyFault { sure: true }, None) };
    stage.health.record(bare, 0.0);
    assert!(!other.refused(stage.now), "sent without a key, before there was one");
}

#[test]
fn a_reloads_window_and_quarantine_are_in_force() {
    let mut stage = Stage::new();
    stage.fail(0, Failure::Status(500), 2);
    let rest = Arc::clone(&stage.rest);
    let (roster, mut thresholds) = (stage.roster(&MODELS, &[&rest]), stage.health.breaker.thresholds().clone());
    thresholds.window = Duration::from_secs(300);
    stage.health.retune(&thresholds, Duration::from_secs(5), roster, stage.now);
    stage.now = stage.now.plus(Duration::from_secs(100));
    assert_eq!(stage.health.window.tally(stage.now).failures, 2);
    let now = stage.now;
    assert_eq!(stage.health.targets[0].breaker.tally(now).failures, 2);
    stage.tell(0, Outcome::KeyFault { sure: true });
    assert_eq!(stage.rest.until(stage.now), Some(stage.now.plus(Duration::from_secs(5))));
}

#[test]
fn a_successor_takes_over_states_and_permits_and_no_late_result_counts_twice() {
    let mut stage = Stage::new();
    stage.fail(0, Failure::Status(500), 3);
    stage.force(Force::Open, Some("b"));
    let told = stage.told(2, Outcome::Ok, Some(Duration::from_millis(70)));
    stage.health.record(told, 0.0);
    let early = stage.told(2, Outcome::Transient(Failure::Tls), None);
    stage.force(Force::Reset, Some("*"));
    stage.now = stage.now.plus(Duration::from_secs(10));
    let probe = stage.told(0, Outcome::Ok, None);
    assert!(probe.by_target.is_probe());
    let vitals = Arc::clone(&stage.health.vitals);
    let rest = Arc::clone(&stage.rest);
    let (roster, thresholds) = (stage.roster(&MODELS, &[&rest]), stage.health.breaker.thresholds().clone());
    stage.health = ProviderHealth::new(&thresholds, Duration::from_secs(60), vitals, roster, stage.now);
    assert_eq!(stage.states().1, [Open, Open, Closed]);
    assert_eq!(stage.admits(0).1, Admission::Busy, "the permit is still out");
    assert_eq!(stage.admits(1).1, Admission::Held);
    assert_eq!(stage.health.targets[2].vitals.peak(true, stage.now), Some(70_000.0 * (-1.0f64).exp()));
    stage.health.record(early, 0.0);
    assert_eq!(stage.states().1[2], Closed, "of an earlier epoch");
    stage.health.record(probe, 0.0);
    assert_eq!(stage.states().1[0], Closed, "and its result counts, once");
    assert_eq!(stage.admits(0).1, Admission::Admit);
}

#[test]
fn a_probe_that_died_with_its_actor_gives_its_permit_back() {
    let mut stage = Stage::new();
    stage.fail(0, Failure::Status(500), 3);
    stage.now = stage.now.plus(Duration::from_secs(10));
    let probe = stage.told(0, Outcome::Ok, None);
    let (roster, thresholds) = (stage.roster(&MODELS, &[]), stage.health.breaker.thresholds().clone());
    drop(probe);
    stage.health = ProviderHealth::new(&thresholds, Duration::from_secs(60), Arc::clone(&stage.health.vitals), roster, stage.now);
    assert_eq!(stage.admits(0).1, Admission::Due);
}

#[test]
fn what_tripped_a_provider_once_does_not_trip_it_again() {
    let mut stage = Stage::new();
    stage.fail(0, Failure::Status(500), 3);
    stage.fail(1, Failure::Status(500), 3);
    assert_eq!(stage.states().0, Open);
    stage.now = stage.now.plus(Duration::from_secs(10));
    let told = stage.told(2, Outcome::Ok, None);
    stage.health.record(told, 0.0);
    assert_eq!(stage.states(), (Closed, vec![Open, Open, Closed]));
    stage.tell(0, Outcome::Transient(Failure::Status(500)));
    assert_eq!(stage.states().0, Closed, "a probe of one model failed, that is all");
    stage.fail(2, Failure::Status(500), 3);
    assert_eq!(stage.states().0, Closed, "and one model's trip is not two");
}

#[test]
fn a_call_is_slow_by_the_limit_that_it_had() {
    let mut stage = Stage::new();
    for (limit, slow) in [(2_100, 0), (1_900, 1)] {
        let told =
            Told { first_token_limit: Duration::from_millis(limit), ..stage.told(0, Outcome::Ok, Some(Duration::from_millis(1_500))) };
        stage.health.record(told, 0.0);
        assert_eq!(stage.health.window.tally(stage.now).slow, slow);
    }
    stage.tell(0, Outcome::Transient(Failure::FirstTokenTimeout));
    stage.tell(0, Outcome::Transient(Failure::HeadTimeout));
    assert_eq!(stage.health.window.tally(stage.now).slow, 2, "no first token at all is later than any");
}

#[test]
fn a_call_begun_before_a_reload_or_a_reset_says_no_more_that_a_model_is_missing() {
    for reset in [false, true] {
        let mut stage = Stage::new();
        stage.tell(0, Outcome::ModelMissing);
        assert!(stage.health.targets[0].vitals.absence().holds(stage.now));
        // Under way since before ...
        let late = stage.told(0, Outcome::ModelMissing, None);
        stage.now = stage.now.plus(Duration::from_secs(1));
        if reset {
            stage.health.force(Force::Reset, Some("a"), stage.now).expect("a known model");
        } else {
            let thresholds = stage.health.breaker.thresholds().clone();
            let roster = stage.roster(&MODELS, &[&stage.rest]);
            stage.health.retune(&thresholds, Duration::from_secs(60), roster, stage.now);
        }
        // ... it ends a moment after.
        let end = stage.now.plus(Duration::from_millis(10));
        stage.health.record(Told { at: end, latency: Duration::from_millis(1_010), ..late }, 0.0);
        assert!(!stage.health.targets[0].vitals.absence().holds(stage.now), "what was mended meanwhile is asked again");
        // One that began since has seen how it is now.
        stage.now = end.plus(Duration::from_millis(10));
        stage.tell(0, Outcome::ModelMissing);
        assert!(stage.health.targets[0].vitals.absence().holds(stage.now));
    }
}
