//! Active probes: asked while open and only then, never with a key that was refused, and a good answer opens the way for real
//! calls, no more.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::support::faults::alone;
use super::support::{Call, TestApp, Upstream, answer, plain, status};

/// Open for longer than any test, and probed five times a second.
pub(super) const ACTIVE: &str = "[breaker]\nconsecutive_failures = 3\nopen_for = \"60s\"\nopen_for_max = \"60s\"\nramp = \"0s\"\nprobe = \"active\"\n\
                      probe_every = \"200ms\"\n[retry]\nsame_target = 0\n";

/// An upstream whose chat and whose list of models are sick or well, each by itself.
pub(super) struct Patient {
    pub(super) upstream: Upstream,
    chat_well: Arc<AtomicBool>,
    models_well: Arc<AtomicBool>,
}

fn is_probe(call: &Call) -> bool {
    call.head.starts_with("GET /v1/models HTTP/1.1")
}

impl Patient {
    pub(super) fn new() -> Self {
        let (chat_well, models_well): (Arc<AtomicBool>, Arc<AtomicBool>) = Default::default();
        let (chat, models) = (Arc::clone(&chat_well), Arc::clone(&models_well));
        let upstream = Upstream::by(move |call| match (is_probe(call), chat.load(Ordering::SeqCst), models.load(Ordering::SeqCst)) {
            (true, _, true) => plain("{\"object\":\"list\",\"data\":[]}"),
            (false, true, _) => answer("well"),
            (true, _, false) | (false, false, _) => status(500, "", ""),
        });
        Self { upstream, chat_well, models_well }
    }

    pub(super) fn probes(&self) -> Vec<Call> {
        self.upstream.calls().into_iter().filter(is_probe).collect()
    }

    pub(super) fn trip(&self, app: &TestApp) {
        app.until("it is open", |app| {
            assert_ne!(app.chat("m").status, 200);
            state(app) == 2.0
        });
    }
}

fn state(app: &TestApp) -> f64 {
    app.metric("stagedoor_breaker_state{provider=\"p\",model=\"up\"}")
}

fn probed(app: &TestApp, result: &str) -> f64 {
    app.metric(&format!("stagedoor_probes_total{{provider=\"p\",result=\"{result}\"}}"))
}

fn brought_forward(app: &TestApp) -> f64 {
    app.metric("stagedoor_breaker_transitions_total{provider=\"p\",model=\"up\",to=\"half_open\",reason=\"active_probe\"}")
}

#[test]
fn a_good_answer_brings_half_open_forward() {
    let patient = Patient::new();
    let app = alone(&patient.upstream.provider("p"), ACTIVE);
    assert!(patient.probes().is_empty(), "nobody is probed while closed");
    patient.trip(&app);
    app.until("it is probed", |app| probed(app, "bad") >= 2.0);
    assert_eq!((state(&app), probed(&app, "good")), (2.0, 0.0), "a bad answer changes nothing");
    patient.chat_well.store(true, Ordering::SeqCst);
    patient.models_well.store(true, Ordering::SeqCst);
    app.until("it is half open", |app| state(app) == 1.0);
    app.until("that is counted", |app| brought_forward(app) == 1.0 && probed(app, "good") >= 1.0);
    // Only real calls close it.
    assert_eq!(app.chat("m").content(), "well");
    // The one permit is back when the actor has heard of that call's end.
    app.until("the next call is let through", |app| app.chat("m").content() == "well");
    app.until("it is closed", |app| state(app) == 0.0);
    let probes = patient.probes();
    std::thread::sleep(Duration::from_millis(600));
    assert_eq!(patient.probes().len(), probes.len(), "nobody is probed while closed");
    assert!(
        probes.iter().all(|call| call.body.is_empty() && call.header("content-type").is_none() && call.header("authorization").is_none())
    );
}

#[test]
fn a_provider_that_answers_while_its_model_fails_is_tried_once_early() {
    let patient = Patient::new();
    patient.models_well.store(true, Ordering::SeqCst);
    let app = alone(&patient.upstream.provider("p"), ACTIVE);
    patient.trip(&app);
    app.until("it is half open", |app| state(app) == 1.0);
    assert_eq!(app.chat("m").status, 502);
    app.until("it is open again", |app| state(app) == 2.0);
    let good = probed(&app, "good");
    app.until("it is probed again", |app| probed(app, "good") >= good + 2.0);
    assert_eq!((state(&app), brought_forward(&app)), (2.0, 1.0), "it rests in full");
}

#[test]
fn by_default_only_real_calls_probe() {
    let patient = Patient::new();
    let app = alone(&patient.upstream.provider("p"), &ACTIVE.replace("probe = \"active\"\n", ""));
    patient.trip(&app);
    std::thread::sleep(Duration::from_millis(600));
    assert_eq!((patient.probes().len(), probed(&app, "bad")), (0, 0.0));
}

#[test]
fn a_refused_key_is_never_sent_with_a_probe() {
    let upstream = Upstream::by(|call| match call.header("authorization").as_deref() {
        _ if is_probe(call) => status(500, "", ""),
        Some("Bearer sk-pool-one") => status(401, "invalid_api_key", ""),
        _ => status(500, "", ""),
    });
    let keys = |keys: &str| upstream.provider("p").replace("keys = []", &format!("keys = [{keys}]"));
    let both = keys("{ value = \"sk-pool-one\", weight = 1000000 }, { value = \"sk-pool-two\" }");
    let app = alone(&both, ACTIVE);
    app.until("it is open and the first key is out", |app| {
        app.chat("m");
        let key = &app.health()["providers"]["p"]["keys"][0];
        state(app) == 2.0 && key["status"] == "disabled"
    });
    app.until("it is probed", |app| probed(app, "bad") >= 2.0);
    let sent = |upstream: &Upstream| -> Vec<_> {
        upstream.calls().iter().filter(|call| is_probe(call)).map(|call| call.header("authorization")).collect()
    };
    assert!(sent(&upstream).iter().all(|key| key.as_deref() == Some("Bearer sk-pool-two")), "{:?}", sent(&upstream));
}

#[test]
fn with_every_key_refused_nobody_is_probed() {
    let fails = Arc::new(AtomicBool::new(true));
    let told = Arc::clone(&fails);
    let upstream =
        Upstream::by(move |_| if told.load(Ordering::SeqCst) { status(500, "", "") } else { status(401, "invalid_api_key", "") });
    let provider = upstream.provider("p").replace("keys = []", "keys = [{ value = \"sk-pool-one\" }]");
    let app = alone(&provider, &ACTIVE.replace("probe_every = \"200ms\"", "probe_every = \"2s\""));
    app.until("it is open", |app| {
        app.chat("m");
        state(app) == 2.0
    });
    // The one call that is made though it is open shows that the key is refused.
    fails.store(false, Ordering::SeqCst);
    app.until("the key is out", |app| {
        app.chat("m");
        app.health()["providers"]["p"]["keys"][0]["status"] == "disabled"
    });
    std::thread::sleep(Duration::from_millis(2_500));
    let probes = upstream.calls().iter().filter(|call| is_probe(call)).count();
    assert_eq!((probes, probed(&app, "bad")), (0, 0.0));
}

#[test]
fn a_provider_may_be_probed_by_its_own_settings() {
    let patient = Patient::new();
    let provider = format!("{}[providers.p.breaker]\nprobe = \"active\"\nprobe_every = \"100ms\"\n", patient.upstream.provider("p"));
    let app = alone(&provider, &ACTIVE.replace("probe = \"active\"\nprobe_every = \"200ms\"\n", ""));
    patient.trip(&app);
    app.until("it is probed", |app| probed(app, "bad") >= 3.0);
}
