//! The breaker as a caller and an operator see it: what opens it, what does not, what /health and the metrics say meanwhile,
//! and how it comes back. The acceptance figures are in `acceptance`.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::support::faults::{SHORT, alone, attempts, closed_port, healthy, provider_at, settled, spared};
use super::support::load::paced;
use super::support::names::Gate;
use super::support::{TestApp, Upstream, answer, read_rest, status};

const QUICK: &str = "[breaker]\nopen_for = \"300ms\"\nopen_for_max = \"1200ms\"\nramp = \"0s\"\n";

fn p(upstream: &Upstream) -> String {
    provider_at("p", &upstream.url(), "")
}

/// Settings in which only `[breaker]` of them is written once: more of it, before the rest.
fn with(breaker: &str) -> String {
    format!("{QUICK}{breaker}\n{SHORT}")
}

fn state(app: &TestApp) -> f64 {
    app.metric("stagedoor_breaker_state{provider=\"p\",model=\"up\"}")
}

fn moves(app: &TestApp, to: &str, reason: &str) -> f64 {
    app.metric(&format!("stagedoor_breaker_transitions_total{{provider=\"p\",model=\"up\",to=\"{to}\",reason=\"{reason}\"}}"))
}

/// An upstream that answers 500 while it is sick.
fn sick() -> (Upstream, Arc<AtomicBool>) {
    let sick = Arc::new(AtomicBool::new(true));
    let told = Arc::clone(&sick);
    let upstream = Upstream::by(move |_| if told.load(Ordering::SeqCst) { status(500, "server_error", "") } else { answer("well") });
    (upstream, sick)
}

fn trip(app: &TestApp) {
    app.until("it trips", |app| {
        app.chat("m");
        state(app) == 2.0
    });
}

#[test]
fn health_tells_the_state_its_reason_and_its_end() {
    let (upstream, sick) = sick();
    let (app, _spare) = spared(&p(&upstream), &with("").replace("300ms", "1s"));
    assert_eq!(app.health()["providers"]["p"]["retry_at"], serde_json::Value::Null);
    trip(&app);
    let health = app.health();
    let own = &health["providers"]["p"];
    assert_eq!((own["breaker"].as_str(), own["status"].as_str()), (Some("open"), Some("ejected")));
    assert_eq!((own["reason"].as_str(), own["models"]["up"]["breaker"].as_str()), (Some("consecutive_failures"), Some("open")));
    assert_eq!((own["last_error"]["kind"].as_str(), health["status"].as_str()), (Some("status_500"), Some("degraded")));
    let time = |field: &str| own[field].as_str().unwrap().parse::<jiff::Timestamp>().unwrap().as_millisecond();
    let period = time("retry_at") - time("since");
    assert!((900..=1_100).contains(&period), "a tenth of jitter at most: {period} ms");
    assert_eq!(moves(&app, "open", "consecutive_failures"), 1.0);
    sick.store(false, Ordering::SeqCst);
    app.until("closed again", |app| {
        app.chat("m");
        state(app) == 0.0
    });
    assert_eq!((moves(&app, "half_open", "period_over"), moves(&app, "closed", "probes_succeeded")), (1.0, 1.0));
    assert_eq!(app.health()["providers"]["p"]["status"], "healthy");
}

#[test]
fn a_failed_probe_doubles_the_period_up_to_its_limit() {
    let (upstream, _sick) = sick();
    let (app, _spare) = spared(&p(&upstream), &with(""));
    trip(&app);
    let period = || {
        let health = app.health();
        let time = |field: &str| health["providers"]["p"][field].as_str().unwrap().parse::<jiff::Timestamp>().unwrap().as_millisecond();
        time("retry_at") - time("since")
    };
    for (probes, expected) in [(1.0, 600), (2.0, 1_200), (3.0, 1_200)] {
        app.until("the next probe has failed", |app| {
            app.chat("m");
            moves(app, "open", "probe_failed") == probes
        });
        let drawn = period();
        assert!((expected * 9 / 10 - 2..=expected * 11 / 10 + 2).contains(&drawn), "after probe {probes}: {drawn} ms");
    }
}

#[test]
fn a_share_of_failures_opens_it_though_none_are_in_a_row() {
    let upstream = Upstream::by(|call| if call.number.is_multiple_of(2) { status(504, "", "") } else { answer("ok") });
    let (app, _spare) = spared(
        &p(&upstream),
        &with("open_for = \"10m\"").replacen("open_for = \"300ms\"\nopen_for_max = \"1200ms\"\n", "open_for_max = \"20m\"\n", 1),
    );
    for _ in 0..9 {
        assert_eq!(app.chat("m").status, 200);
        // Successes travel in batches: /health has them counted.
        app.health();
    }
    assert_eq!(state(&app), 0.0, "nine calls are too few to tell");
    for _ in 0..2 {
        app.chat("m");
        app.health();
    }
    app.until("open", |app| state(app) == 2.0);
    assert_eq!(moves(&app, "open", "failure_ratio"), 1.0);
}

#[test]
fn what_is_no_fault_of_the_target_never_opens_it() {
    for (code, error) in
        [(400, "invalid_request"), (413, ""), (422, ""), (400, "context_length_exceeded"), (403, "content_policy_violation")]
    {
        let upstream = Upstream::answering(status(code, error, ""));
        let (app, _spare) = spared(&p(&upstream), &with(""));
        for _ in 0..20 {
            app.chat("m");
        }
        assert_eq!((upstream.count(), state(&app)), (20, 0.0), "{code} {error}");
    }
}

#[test]
fn refused_connections_open_the_provider_for_all_its_models() {
    let app = TestApp::start(&format!(
        "{SHORT}[breaker]\nwhen_all_open = \"refuse\"\n{}[models.m]\ntargets = [{{ provider = \"p\", model = \"up\" }}]\n\
         [models.n]\ntargets = [{{ provider = \"p\", model = \"other\" }}]\n",
        provider_at("p", &format!("http://{}/v1", closed_port()), "")
    ));
    app.until("it trips", |app| app.chat("m").status == 503);
    let other = app.chat("n");
    assert_eq!((other.status, other.code().as_str(), other.header("x-should-retry")), (503, "no_healthy_target", Some("true")));
    let wait: u64 = other.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=11).contains(&wait), "{wait}");
    assert_eq!(app.metric("stagedoor_breaker_state{provider=\"p\",model=\"\"}"), 2.0);
    let (ready, health) = (app.client().get("/health/ready"), app.client().get("/health"));
    assert_eq!((ready.status, health.status, health.json()["status"].as_str()), (503, 503, Some("down")));
    assert_eq!(app.metric("stagedoor_requests_total{model=\"n\",status=\"503\",stream=\"false\"}"), 1.0);
}

#[test]
fn with_refuse_no_call_reaches_it_and_the_answer_comes_at_once() {
    let (upstream, _sick) = sick();
    let app = alone(&p(&upstream), &with("when_all_open = \"refuse\"").replace("300ms", "10m").replace("1200ms", "10m"));
    trip(&app);
    let before = upstream.count();
    let took = (0..20).map(|_| {
        let begun = Instant::now();
        let reply = app.chat("m");
        assert_eq!((reply.status, reply.code().as_str()), (503, "no_healthy_target"), "{}", reply.text());
        assert!(reply.header("retry-after").unwrap().parse::<u64>().unwrap() <= 661);
        begun.elapsed()
    });
    assert!(took.min().unwrap() < Duration::from_millis(5));
    assert_eq!(upstream.count(), before);
    let stream = app.stream("m");
    assert_eq!((stream.status, stream.code().as_str()), (503, "no_healthy_target"));
}

#[test]
fn least_bad_makes_one_call_a_request_and_its_failures_change_nothing() {
    let (upstream, _sick) = sick();
    let app = alone(&p(&upstream), &with("").replace("300ms", "10m").replace("1200ms", "10m"));
    trip(&app);
    let before = upstream.count();
    for _ in 0..5 {
        assert_eq!(app.chat("m").status, 502);
    }
    assert_eq!(upstream.count() - before, 5, "no repeat of a last resort");
    assert_eq!((state(&app), moves(&app, "open", "probe_failed")), (2.0, 0.0));
}

#[test]
fn three_probes_at_once_where_three_are_allowed() {
    let (gate, sick, inside, most) =
        (Gate::default(), Arc::new(AtomicBool::new(true)), Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let opener = gate.opener();
    let (held, told, within, seen) = (gate.clone(), Arc::clone(&sick), Arc::clone(&inside), Arc::clone(&most));
    let upstream = Upstream::by(move |_| {
        if told.load(Ordering::SeqCst) {
            return status(500, "", "");
        }
        seen.fetch_max(within.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        held.wait();
        within.fetch_sub(1, Ordering::SeqCst);
        answer("well")
    });
    let (app, _spare) = spared(&p(&upstream), &with("half_open_probes = 3").replace("first_byte = \"400ms\"", "first_byte = \"20s\""));
    trip(&app);
    sick.store(false, Ordering::SeqCst);
    app.until("the open period ends", |app| state(app) == 1.0);
    std::thread::scope(|scope| {
        let calls: Vec<_> = (0..60).map(|_| scope.spawn(|| app.chat("m"))).collect();
        app.until("all that may be under way are", |_| inside.load(Ordering::SeqCst) == 3);
        app.until("the others went elsewhere", |app| {
            app.metric("stagedoor_attempts_total{provider=\"spare\",model=\"spare\",outcome=\"ok\"}") >= 57.0
        });
        gate.open();
        let served = calls.into_iter().map(|call| call.join().unwrap().content()).filter(|content| content == "well").count();
        assert_eq!(served, 3);
    });
    assert_eq!(most.load(Ordering::SeqCst), 3);
    drop(opener);
    app.until("closed", |app| state(app) == 0.0);
}

#[test]
fn row_65_of_five_thousand_callers_one_probes_and_then_a_tenth_is_served_by_it() {
    const CALLERS: usize = 5_000;
    let (gate, sick, inside, most) =
        (Gate::default(), Arc::new(AtomicBool::new(true)), Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let opener = gate.opener();
    let (held, told, within, seen) = (gate.clone(), Arc::clone(&sick), Arc::clone(&inside), Arc::clone(&most));
    let upstream = Upstream::by(move |_| {
        if told.load(Ordering::SeqCst) {
            return status(500, "", "");
        }
        seen.fetch_max(within.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        held.wait();
        within.fetch_sub(1, Ordering::SeqCst);
        answer("well")
    });
    let spare = healthy();
    let app = TestApp::start(&format!(
        "[server]\nmax_requests = {}\n{}{}{}[models.m]\ntargets = [{{ provider = \"p\", model = \"up\" }}]\n\
         [models.either]\ntargets = [{{ provider = \"p\", model = \"up\" }}]\nfailover = [\"spare\"]\n\
         [models.spare]\ntargets = [{{ provider = \"spare\", model = \"spare\" }}]\n",
        CALLERS * 2,
        with("ramp = \"10m\"").replacen("ramp = \"0s\"\n", "", 1).replace("first_byte = \"400ms\"", "first_byte = \"60s\""),
        p(&upstream),
        spare.provider("spare"),
    ));
    trip(&app);
    sick.store(false, Ordering::SeqCst);
    app.until("the open period ends", |app| state(app) == 1.0);
    let before = upstream.count();
    let mut callers: Vec<_> = (0..CALLERS).map(|_| app.client().connect()).collect();
    let request = super::support::chat_bytes(&[("connection", "close")], &super::support::chat_body("m"));
    callers.iter_mut().for_each(|caller| caller.write_all(&request).unwrap());
    let refused = "stagedoor_requests_total{model=\"m\",status=\"503\",stream=\"false\"}";
    app.until("all but one are refused", |app| app.metric(refused) >= (CALLERS - 1) as f64);
    // Those with another target behind it are served by that meanwhile.
    assert!((0..100).all(|_| app.chat("either").content() == "spare"));
    assert_eq!((upstream.count() - before, inside.load(Ordering::SeqCst)), (1, 1));
    gate.open();
    let replies: Vec<_> = callers.iter_mut().map(read_rest).collect();
    let begins = |with: &str| replies.iter().filter(|reply| reply.starts_with(with)).count();
    assert_eq!((begins("HTTP/1.1 200"), begins("HTTP/1.1 503")), (1, CALLERS - 1));
    assert_eq!(replies.iter().filter(|reply| reply.contains("retry-after: ")).count(), CALLERS - 1);
    assert_eq!(most.load(Ordering::SeqCst), 1);
    app.until("closed again", |app| {
        app.chat("m");
        state(app) == 0.0
    });
    let before = upstream.count();
    let calls =
        paced(app.client(), 1_000, 1_000, 8, |client| client.post("/v1/chat/completions", &[], &super::support::chat_body("either")));
    assert!(calls.iter().all(|call| call.reply.status == 200));
    let own = upstream.count() - before;
    println!("{CALLERS} callers at once: 1 probe; then {own} of 1000 calls in the first seconds of its ramp");
    // A tenth, five times the spread of chance off at most.
    assert!((52..=148).contains(&own), "{own} of 1000");
    drop(opener);
}

#[test]
fn row_72_a_caller_who_leaves_gives_the_probes_permit_back() {
    let (gate, sick, held_calls) = (Gate::default(), Arc::new(AtomicBool::new(true)), Arc::new(AtomicUsize::new(0)));
    let _opener = gate.opener();
    let (held, told, counted) = (gate.clone(), Arc::clone(&sick), Arc::clone(&held_calls));
    let upstream = Upstream::by(move |_| {
        if told.load(Ordering::SeqCst) {
            return status(500, "", "");
        }
        if counted.fetch_add(1, Ordering::SeqCst) == 0 {
            held.wait();
        }
        answer("well")
    });
    let (app, _spare) = spared(&p(&upstream), &with("").replace("first_byte = \"400ms\"", "first_byte = \"20s\""));
    trip(&app);
    sick.store(false, Ordering::SeqCst);
    app.until("the open period ends", |app| state(app) == 1.0);
    let body = super::support::chat_body("m");
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let mut leaving = app.client().connect();
    leaving.write_all(format!("{head}{body}").as_bytes()).unwrap();
    app.until("the probe is under way", |_| held_calls.load(Ordering::SeqCst) == 1);
    assert_eq!(app.chat("m").content(), "spare", "its permit is taken");
    drop(leaving);
    app.until("the permit is back", |app| app.chat("m").content() == "well");
    assert_eq!(attempts(&app, "abandoned"), 1.0);
    assert_eq!(moves(&app, "open", "probe_failed"), 0.0, "a caller who leaves says nothing of the target");
    gate.open();
    settled(&app);
}

#[test]
fn a_success_that_comes_late_does_not_close_what_opened_meanwhile() {
    let gate = Gate::default();
    let _opener = gate.opener();
    let held = gate.clone();
    let upstream = Upstream::by(move |call| {
        if call.number == 0 {
            held.wait();
            return answer("late");
        }
        status(500, "", "")
    });
    let clocks = with("")
        .replace("300ms\"\nopen_for_max", "10m\"\nopen_for_max")
        .replace("1200ms", "10m")
        .replace("first_byte = \"400ms\"", "first_byte = \"20s\"");
    let (app, _spare) = spared(&p(&upstream), &clocks);
    std::thread::scope(|scope| {
        let late = scope.spawn(|| app.chat("m"));
        app.until("the slow call is under way", |_| upstream.count() == 1);
        trip(&app);
        gate.open();
        assert_eq!(late.join().unwrap().content(), "late");
    });
    settled(&app);
    assert_eq!(app.health()["providers"]["p"]["models"]["up"]["breaker"], "open");
    assert_eq!((state(&app), attempts(&app, "ok")), (2.0, 1.0));
}

#[test]
fn a_target_that_returns_takes_a_growing_share() {
    let (upstream, sick) = sick();
    let (app, spare) = spared(&p(&upstream), &with("ramp = \"10m\"").replacen("ramp = \"0s\"\n", "", 1));
    trip(&app);
    sick.store(false, Ordering::SeqCst);
    app.until("closed again", |app| {
        app.chat("m");
        state(app) == 0.0
    });
    let before = (upstream.count(), spare.count());
    for _ in 0..100 {
        assert_eq!(app.chat("m").status, 200);
    }
    let (own, other) = (upstream.count() - before.0, spare.count() - before.1);
    assert_eq!(own + other, 100);
    assert!((1..=35).contains(&own), "a tenth at first: {own}");
}

#[test]
fn a_slow_target_is_ranked_last_and_never_ejected() {
    let slow = Upstream::by(|_| {
        std::thread::sleep(Duration::from_millis(60));
        super::support::stream(&["sl", "ow"])
    });
    let quick = healthy();
    let app = TestApp::start(&format!(
        "[breaker]\nslow_call = \"30ms\"\n{}{}[models.m]\nstrategy = \"ordered\"\n\
         targets = [{{ provider = \"p\", model = \"up\" }}, {{ provider = \"quick\", model = \"q\" }}]\n[models.only]\ntargets = [{{ provider = \"p\", model = \"up\" }}]\n",
        p(&slow),
        quick.provider("quick")
    ));
    for _ in 0..3 {
        assert_eq!(app.stream("m").words(), "slow");
        app.health();
    }
    app.until("it is ranked last", |app| app.stream("m").words() == "spare");
    let own = app.health()["providers"]["p"].clone();
    assert_eq!((own["status"].as_str(), own["breaker"].as_str()), (Some("degraded"), Some("closed")));
    assert_eq!((own["reason"].as_str(), &own["retry_at"]), (Some("slow_ratio"), &serde_json::Value::Null));
    assert_eq!(own["models"]["up"]["note"], "slow: ranked after every healthy one");
    assert!(app.health()["providers"]["quick"]["reason"].is_null(), "what is healthy needs none");
    assert_eq!(app.stream("only").words(), "slow", "slow beats none");
}
