//! Whom an outcome accuses: the target, the provider or the key.

use super::super::breaker::Pass;
use super::super::thresholds::Thresholds;
use super::*;

mod roster;

const MODELS: [&str; 3] = ["a", "b", "*"];

struct Stage {
    health: ProviderHealth,
    rest: Arc<Rest>,
    now: Moment,
}

impl Stage {
    fn new() -> Self {
        let thresholds = Thresholds {
            consecutive_failures: 3,
            failure_ratio: 0.5,
            minimum_requests: 100,
            window: Duration::from_secs(30),
            slow_call: Duration::from_secs(2),
            slow_ratio: 0.5,
            open_for: Duration::from_secs(10),
            open_for_max: Duration::from_secs(20),
            half_open_probes: 1,
            close_after: 1,
            ramp: Duration::ZERO,
            probe_gap: Duration::ZERO,
        };
        let now = Moment::from_millis(1);
        let seat = |model: &str| Seat { model: model.into(), vitals: Arc::default(), rests: [Arc::default()].into() };
        let rest = Arc::default();
        let roster = Roster { targets: MODELS.map(seat).into(), keys: vec![Arc::clone(&rest)] };
        let health = ProviderHealth::new(&thresholds, Duration::from_secs(60), Arc::default(), roster, now);
        Self { health, rest, now }
    }

    fn told(&self, target: usize, outcome: Outcome, first_token: Option<Duration>) -> Told {
        let by = |vitals: &Arc<Vitals>| Admitted::at(vitals, true, self.now).expect("forced");
        Told {
            origin: Origin::default(),
            target: Arc::clone(&self.health.targets[target].vitals),
            key: Some(Arc::clone(&self.rest)),
            outcome,
            at: self.now,
            latency: Duration::from_millis(5),
            first_token,
            first_token_limit: Duration::from_secs(60),
            message: "words".into(),
            by_provider: by(&self.health.vitals),
            by_target: by(&self.health.targets[target].vitals),
        }
    }

    fn tell(&mut self, target: usize, outcome: Outcome) -> Vec<Moved> {
        let told = self.told(target, outcome, None);
        self.health.record(told, 0.0)
    }

    fn fail(&mut self, target: usize, failure: Failure, times: usize) -> Vec<Moved> {
        (0..times).flat_map(|_| self.tell(target, Outcome::Transient(failure))).collect()
    }

    fn states(&self) -> (State, Vec<State>) {
        (self.health.breaker.state(), self.health.targets.iter().map(|target| target.breaker.state()).collect())
    }
}

use State::{Closed, Open};

#[test]
fn a_models_failures_open_the_model_alone() {
    let mut stage = Stage::new();
    let moved = stage.fail(0, Failure::Status(500), 3);
    assert_eq!(stage.states(), (Closed, vec![Open, Closed, Closed]));
    assert_eq!(moved.len(), 1);
    assert_eq!((moved[0].target, moved[0].transition.reason), (Some(0), Reason::Consecutive));
    assert_eq!(stage.health.consecutive, 3);
    assert_eq!(stage.health.last_error.as_ref().unwrap().kind, "status_500");
    assert_eq!((stage.health.targets[0].calls, stage.health.targets[0].failures), (3, 3));
}

#[test]
fn two_models_that_trip_within_a_window_open_the_provider() {
    let mut stage = Stage::new();
    stage.fail(0, Failure::Status(500), 3);
    stage.now = stage.now.plus(Duration::from_secs(30));
    let moved = stage.fail(1, Failure::FirstTokenTimeout, 3);
    assert_eq!(moved.last().unwrap().transition.reason, Reason::SeveralModels);
    assert_eq!(stage.states().0, Open);
    let mut apart = Stage::new();
    apart.fail(0, Failure::Status(500), 3);
    apart.now = apart.now.plus(Duration::from_secs(31));
    apart.fail(1, Failure::Status(500), 3);
    assert_eq!(apart.states().0, Closed, "half a minute and more lies between");
}

#[test]
fn what_tripped_the_provider_once_counts_no_more_and_what_trips_as_it_returns_does() {
    let mut stage = Stage::new();
    stage.fail(2, Failure::Status(500), 2);
    stage.fail(0, Failure::Status(500), 3);
    stage.fail(1, Failure::Status(500), 3);
    stage.now = stage.now.plus(Duration::from_secs(10));
    stage.fail(2, Failure::Status(500), 1);
    assert_eq!(stage.states().0, Closed, "it spoke with us; one model has tripped since, not three");
    assert_eq!(stage.states().1[2], Open);
    stage.tell(0, Outcome::Ok);
    let moved = stage.fail(0, Failure::Status(500), 3);
    assert_eq!(moved.last().unwrap().transition.reason, Reason::SeveralModels, "that one and this");
}

#[test]
fn what_never_reached_it_accuses_the_whole_provider() {
    for failure in [Failure::Connect, Failure::Dns, Failure::ConnectTimeout] {
        let mut stage = Stage::new();
        stage.fail(0, failure, 2);
        assert_eq!(stage.states().0, Closed);
        stage.fail(1, failure, 1);
        assert_eq!(stage.states(), (Open, vec![Closed, Closed, Closed]), "{failure:?}: three in a row, whichever model");
    }
    let mut stage = Stage::new();
    stage.fail(0, Failure::Connect, 2);
    stage.tell(1, Outcome::Transient(Failure::Status(500)));
    stage.fail(1, Failure::Connect, 2);
    assert_eq!(stage.states().0, Closed, "it spoke with us in between");
    assert_eq!(Stage::new().fail(2, Failure::Tls, 1).len(), 2, "a wrong certificate opens both at once");
}

#[test]
fn what_is_the_gateways_own_fault_is_held_against_nobody() {
    let mut stage = Stage::new();
    stage.fail(0, Failure::Connect, 2);
    stage.fail(0, Failure::NoDescriptor, 20);
    assert_eq!((stage.states().0, stage.health.consecutive, stage.health.window.tally(stage.now).failures), (Closed, 2, 2));
    assert_eq!(stage.health.last_error.as_ref().map(|error| error.kind.as_str()), Some("connect"));
    stage.fail(0, Failure::Connect, 1);
    assert_eq!(stage.states().0, Open, "nor is it a sign of life");
}

#[test]
fn keys_rest_without_a_vote() {
    let mut stage = Stage::new();
    for _ in 0..20 {
        stage.tell(0, Outcome::RateLimited { wait: None, whole_key: false });
        stage.tell(0, Outcome::KeyFault { sure: true });
        stage.tell(0, Outcome::CallerFault);
        stage.tell(0, Outcome::Abandoned);
    }
    assert_eq!(stage.states(), (Closed, vec![Closed, Closed, Closed]));
    assert!(stage.health.targets[0].rest(0).unwrap().until(stage.now).is_some());
    assert!(stage.health.targets[1].rest(0).unwrap().until(stage.now).is_none(), "vendors limit per model");
    assert!(stage.rest.refused(stage.now), "a refusal is of the whole key");
    assert_eq!(stage.health.window.tally(stage.now).calls, 0);
    let mut whole = Stage::new();
    whole.tell(0, Outcome::RateLimited { wait: None, whole_key: true });
    assert!(whole.rest.until(whole.now).is_some() && !whole.rest.refused(whole.now));
}

#[test]
fn a_missing_model_is_published_but_not_behind_a_wildcard() {
    let mut stage = Stage::new();
    stage.tell(0, Outcome::ModelMissing);
    stage.tell(2, Outcome::ModelMissing);
    assert_eq!(stage.health.targets.iter().map(|t| t.vitals.absence().holds(stage.now)).collect::<Vec<_>>(), [true, false, false]);
    assert_eq!(stage.health.known(&stage.health.targets[1].vitals).map(|target| &*target.model), Some("b"));
    assert!(stage.health.known(&Arc::default()).is_none());
}

#[test]
fn only_a_call_begun_since_says_again_that_a_model_is_missing() {
    let mut stage = Stage::new();
    stage.health.force(super::super::Force::Reset, Some("a"), stage.now);
    stage.now = stage.now.plus(Duration::from_millis(4));
    stage.tell(0, Outcome::ModelMissing);
    assert!(!stage.health.targets[0].vitals.absence().holds(stage.now), "it began a millisecond before");
    stage.now = stage.now.plus(Duration::from_millis(1));
    stage.tell(0, Outcome::ModelMissing);
    assert!(stage.health.targets[0].vitals.absence().holds(stage.now), "as it was reset");
}

#[test]
fn good_calls_publish_their_latency_and_slow_ones_degrade() {
    let mut stage = Stage::new();
    for _ in 0..4 {
        let told = stage.told(0, Outcome::Ok, Some(Duration::from_secs(3)));
        stage.health.record(told, 0.0);
    }
    let target = &stage.health.targets[0];
    assert!(target.vitals.degraded() && !stage.health.targets[1].vitals.degraded());
    assert_eq!((target.vitals.peak(true, stage.now), target.vitals.peak(false, stage.now)), (Some(3e6), Some(5e3)));
    assert_eq!(target.vitals.published_latency(), (5_000, 3_000_000, stage.now));
    assert_eq!(stage.health.first_token.read(stage.now).unwrap().ewma, 3_000);
    assert_eq!(stage.health.window.tally(stage.now).slow, 4);
    assert_eq!(stage.states().0, Closed);
}

#[test]
fn slow_is_later_than_what_is_slow() {
    let stage = Stage::new();
    let slow = |ms| stage.told(0, Outcome::Ok, Some(Duration::from_millis(ms))).is_slow(stage.health.breaker.thresholds());
    assert!(!slow(2_000) && slow(2_001));
    assert!(stage.told(0, Outcome::Transient(Failure::FirstTokenTimeout), None).is_slow(stage.health.breaker.thresholds()));
}

#[test]
fn a_probes_permit_is_out_until_its_end_is_published() {
    let mut stage = Stage::new();
    stage.fail(0, Failure::Status(500), 3);
    stage.now = stage.now.plus(Duration::from_secs(10));
    let told = stage.told(0, Outcome::Transient(Failure::Status(500)), None);
    assert_eq!(told.by_target.pass, Pass::Probe);
    assert!(Admitted::at(&stage.health.targets[0].vitals, false, stage.now).is_none());
    stage.health.record(told, 0.0);
    let after = Admitted::at(&stage.health.targets[0].vitals, false, stage.now);
    assert!(after.is_none(), "open again, not free for another probe in between");
}

#[test]
fn time_alone_ends_an_open_period() {
    let mut stage = Stage::new();
    stage.fail(0, Failure::Status(500), 3);
    assert!(stage.health.tick(stage.now).is_empty());
    let moved = stage.health.tick(stage.now.plus(Duration::from_secs(10)));
    assert_eq!((moved[0].target, moved[0].transition.to), (Some(0), State::HalfOpen));
}

#[test]
fn a_probes_first_content_frees_the_next_probe_and_counts_once() {
    let mut stage = Stage::new();
    stage.health = {
        let mut thresholds = stage.health.breaker.thresholds().clone();
        thresholds.close_after = 2;
        let seat = Seat { model: "a".into(), vitals: Arc::default(), rests: [Arc::default()].into() };
        let roster = Roster { targets: vec![seat], keys: Vec::new() };
        ProviderHealth::new(&thresholds, Duration::from_secs(60), Arc::default(), roster, stage.now)
    };
    stage.fail(0, Failure::Status(500), 3);
    stage.now = stage.now.plus(Duration::from_secs(10));
    let mut told = stage.told(0, Outcome::Ok, Some(Duration::from_millis(5)));
    let answered = told.by_target.answered();
    assert!(answered.is_some() && told.by_provider.answered().is_none());
    stage.health.answered(None, answered, stage.now);
    assert_eq!(stage.states().1, [State::HalfOpen]);
    assert!(
        Admitted::at(&stage.health.targets[0].vitals, false, stage.now).is_some_and(|next| next.is_probe()),
        "while the first still streams"
    );
    stage.health.record(told, 0.0);
    assert_eq!(stage.states().1, [State::HalfOpen], "its end is not a second probe");
    stage.tell(0, Outcome::Ok);
    assert_eq!(stage.states().1, [State::Closed]);
}

#[test]
fn good_calls_spread_is_published_streams_apart() {
    let mut stage = Stage::new();
    const MEDIAN: u32 = 500_000;
    for _ in 0..10 {
        let stream = stage.told(0, Outcome::Ok, Some(Duration::from_millis(100)));
        stage.health.record(stream, 0.0);
        let failed = stage.told(0, Outcome::Transient(Failure::Truncated), Some(Duration::from_secs(9)));
        stage.health.record(failed, 0.0);
    }
    let read = |stage: &Stage, stream: bool| stage.health.targets[0].vitals.percentile(stream, MEDIAN).map(|time| time.as_millis());
    assert!(matches!(read(&stage, true), Some(100..=112)), "{:?}", read(&stage, true));
    assert_eq!(read(&stage, false), None);
    (0..10).for_each(|_| _ = stage.tell(0, Outcome::Ok));
    assert!(matches!(read(&stage, false), Some(5)), "{:?}", read(&stage, false));
}
