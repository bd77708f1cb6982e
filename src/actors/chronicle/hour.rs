//! An hour of a gateway whose first provider falls sick again and again, as its log would have it: real breakers and picks
//! on a clock of the test's own, put on record by the real chronicle.

use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use tracing_subscriber::fmt::MakeWriter;

use super::{Chronicle, Draw};
use crate::actors::Answered;
use crate::base::Moment;
use crate::clock::Clock;
use crate::health::{Admitted, Failure, Moved, Origin, Outcome, ProviderHealth, Thresholds, Told};
use crate::routing::{Provider, Retry, Strategy, WhenAllOpen};
use crate::tuning::{End, Listener, Rule, Scene, SceneModel, ScenePool, SceneProvider, SceneRequest, SceneTarget, Witness, World, play};

const CHAIN: &str = "ordered: 1,-,alpha/m 1,-,beta/m";

/// The log of an hour with two requests in three seconds, under the built-in thresholds.
pub(crate) fn hour() -> String {
    let scene = scene();
    let rule = Rule { thresholds: Thresholds::default(), when_all_open: WhenAllOpen::LeastBad };
    let written = Written::default();
    let lines = tracing_subscriber::fmt().json().flatten_event(true).with_current_span(false).with_writer(written.clone()).finish();
    tracing::subscriber::with_default(lines, || {
        tracing::info!(
            model = "m",
            chain = CHAIN,
            attempts = 4,
            same_target = 1,
            backoff_ms = 100,
            budget_ratio = 200_000,
            budget_min = 10,
            "chain"
        );
        let mut witness = Hand { scene: &scene, clock: Clock::start(), chronicles: Vec::new() };
        let mut world = Flapping { rng: SmallRng::seed_from_u64(11) };
        play(&scene, &[rule.clone(), rule], 0..scene.requests.len(), &mut world, &mut witness);
    });
    let bytes = written.0.lock().unwrap_or_else(PoisonError::into_inner);
    String::from_utf8_lossy(&bytes).into_owned()
}

fn scene() -> Scene {
    let provider = |name: &str, target: usize| SceneProvider {
        name: name.into(),
        thresholds: None,
        when_all_open: WhenAllOpen::LeastBad,
        targets: vec![target],
    };
    let target = |provider| SceneTarget { provider, name: "m".into(), calls: Vec::new(), spells: Vec::new() };
    let pool = ScenePool { strategy: Strategy::Ordered, members: vec![(0, 1, None), (1, 1, None)] };
    let mut rng = SmallRng::seed_from_u64(5);
    let mut at = Moment::from_millis(2_000);
    let mut scene = Scene::default();
    scene.providers = vec![provider("alpha", 0), provider("beta", 1)];
    scene.targets = vec![target(0), target(1)];
    scene.models = vec![SceneModel { name: "m".into(), pools: vec![pool], retry: Retry::default(), guessed: false }];
    while at < Moment::from_millis(3_600_000) {
        scene.requests.push(SceneRequest::new(at, 0, rng.random_bool(0.3)));
        at = at.plus(Duration::from_millis(rng.random_range(300..2_700)));
    }
    scene
}

/// Alpha is sick for 8 to 48 seconds every two minutes; both fail once in two hundred calls by chance.
struct Flapping {
    rng: SmallRng,
}

impl World for Flapping {
    fn meets(&mut self, _: usize, target: usize, _: usize, at: Moment) -> Witness {
        let (round, within) = (at.millis() / 120_000, at.millis() % 120_000);
        let sick = target == 0 && within < 8_000 + round * 7_919 % 40_000;
        let fails = self.rng.random_bool(if sick { 0.97 } else { 0.005 });
        let (outcome, ms) = match (fails, target) {
            (true, _) => (Outcome::Transient(Failure::Status(503)), 60),
            (false, 0) => (Outcome::Ok, 350),
            (false, _) => (Outcome::Ok, 700),
        };
        let latency = Duration::from_millis(self.rng.random_range(ms..ms * 2));
        let first_token = (!fails).then_some(latency / 2);
        Witness { at, outcome, latency, first_token, first_token_limit: Duration::from_secs(60) }
    }
}

/// Puts on record what happens.
struct Hand<'a> {
    scene: &'a Scene,
    clock: Clock,
    chronicles: Vec<Chronicle>,
}

impl Listener for Hand<'_> {
    fn came(&mut self, _: usize, healths: &[ProviderHealth]) {
        if self.chronicles.is_empty() {
            let open = |(place, health): (usize, &ProviderHealth)| {
                let name = Arc::clone(&self.scene.providers[place].name);
                let (vitals, when_all_open) = (Arc::clone(&health.vitals), WhenAllOpen::LeastBad);
                let slot = Provider { name, place, vitals, keys: Vec::new(), max_concurrency: 0, when_all_open };
                Chronicle::open(Arc::new(slot), health, self.clock, None, Arc::default())
            };
            self.chronicles = healths.iter().enumerate().map(open).collect();
        }
    }

    fn origin(&mut self, request: usize, attempt: u32, _: usize) -> Origin {
        let stream = self.scene.requests[request].stream;
        let request_id = format!("r-{request}").into();
        Origin { request_id, model: "m".into(), attempt, stream, target: "m".into(), ..Origin::default() }
    }

    fn told(&mut self, provider: usize, told: &Told, health: &ProviderHealth) {
        self.chronicles[provider].attempt(told, health);
    }

    fn answered(&mut self, provider: usize, by: (&Origin, &Option<Admitted>, &Option<Admitted>), now: Moment) {
        // Only its epochs are written down: the permits stay where they are.
        let noted = |by: &Option<Admitted>| by.as_ref().map(|by| Admitted::recorded(&Arc::default(), by.pass, by.epoch));
        let said = Answered { origin: by.0.clone(), by_provider: noted(by.1), by_target: noted(by.2) };
        self.chronicles[provider].answered(&said, now);
    }

    fn moved(&mut self, provider: usize, moved: &[Moved], draw: i32, health: &ProviderHealth, at: Moment) {
        self.chronicles[provider].moved(moved, Draw(draw), health, at);
    }

    fn ticked(&mut self, provider: usize, moved: &[Moved], health: &ProviderHealth, now: Moment) {
        if let Some(chronicle) = self.chronicles.get_mut(provider) {
            chronicle.ticked(moved, health, now);
        }
    }

    fn ended(&mut self, request: usize, end: End, _: Moment) {
        let status = if end == End::Served { 200u16 } else { 502 };
        let start_us = self.scene.requests[request].at.micros();
        let stream = self.scene.requests[request].stream;
        tracing::info!(request_id = %format!("r-{request}"), model = ?"m", status, stream, start_us, "request");
    }
}

/// What is written, for whoever holds a clone.
#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Written {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}
