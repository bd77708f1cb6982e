//! What the gateway promises of a sick first target: few calls reach it, no caller notices, and it comes back.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::support::{STREAM_HEAD, TestApp, Upstream, answer, chat_bytes, chunk, event, read_until, status, stream_body};

const OPEN_FOR: Duration = Duration::from_millis(400);

/// A first target that answers 503 while it is sick, and a second that always answers.
struct Pair {
    app: TestApp,
    sick: Arc<AtomicBool>,
    first: Upstream,
    second: Upstream,
}

impl Pair {
    fn new(delay: Duration) -> Self {
        let sick = Arc::new(AtomicBool::new(true));
        let told = Arc::clone(&sick);
        let first = Upstream::by(move |_| {
            if told.load(Ordering::SeqCst) {
                return status(503, "overloaded", "");
            }
            std::thread::sleep(delay);
            answer("first")
        });
        let second = Upstream::answering(answer("second"));
        let settings = format!(
            "{}{}[breaker]\nopen_for = \"{}ms\"\nopen_for_max = \"1s\"\nramp = \"0s\"\n[retry]\nbackoff = \"20ms\"\n\
             [models.m]\nstrategy = \"ordered\"\ntargets = [{{ provider = \"first\", model = \"a\" }}, {{ provider = \"second\", model = \"b\" }}]\n",
            first.provider("first"),
            second.provider("second"),
            OPEN_FOR.as_millis(),
        );
        Self { app: TestApp::start(&settings), sick, first, second }
    }

    fn trip(&self) {
        while self.app.metric("stagedoor_breaker_state{provider=\"first\",model=\"a\"}") != 2.0 {
            assert_eq!(self.app.chat("m").status, 200);
        }
    }

    /// After its open period, whether or not a call has shown it.
    fn due(&self) {
        self.app.until("the open period ends", |app| app.metric("stagedoor_breaker_state{provider=\"first\",model=\"a\"}") == 1.0);
    }
}

#[test]
fn forty_calls_get_forty_answers_while_at_most_six_reach_the_sick_target() {
    let pair = Pair::new(Duration::ZERO);
    for _ in 0..40 {
        let reply = pair.app.chat("m");
        assert_eq!((reply.status, reply.content().as_str()), (200, "second"), "{}", reply.text());
        // Only what reached it before its breaker opened is counted: probes later are its way back.
        if pair.app.metric("stagedoor_breaker_state{provider=\"first\",model=\"a\"}") == 0.0 {
            assert!(pair.first.count() < 6, "closed, though {} calls failed", pair.first.count());
        }
    }
    let opened =
        pair.app.metric("stagedoor_breaker_transitions_total{provider=\"first\",model=\"a\",to=\"open\",reason=\"consecutive_failures\"}");
    assert_eq!(opened, 1.0);
    let probes = pair.app.metric("stagedoor_breaker_transitions_total{provider=\"first\",model=\"a\",to=\"open\",reason=\"probe_failed\"}");
    assert!(pair.first.count() <= 6 + probes as usize, "{} calls, {probes} probes", pair.first.count());
    assert_eq!(pair.second.count(), 40);
}

#[test]
fn once_healed_it_serves_within_its_open_period_and_two_seconds() {
    let pair = Pair::new(Duration::ZERO);
    pair.trip();
    pair.sick.store(false, Ordering::SeqCst);
    let healed = Instant::now();
    while pair.app.chat("m").content() != "first" {
        assert!(healed.elapsed() < OPEN_FOR.mul_f64(1.1) + Duration::from_secs(2), "still not back");
    }
    pair.app.until("its breaker closes", |app| {
        app.chat("m");
        app.health()["providers"]["first"]["models"]["a"]["breaker"] == "closed"
    });
}

#[test]
fn of_sixty_calls_at_once_a_half_open_target_gets_its_probes_alone() {
    let pair = Pair::new(Duration::from_millis(300));
    pair.trip();
    pair.sick.store(false, Ordering::SeqCst);
    pair.due();
    let before = pair.first.count();
    let served_by_first = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..60 {
            scope.spawn(|| {
                let reply = pair.app.chat("m");
                assert_eq!(reply.status, 200, "{}", reply.text());
                served_by_first.fetch_add(usize::from(reply.content() == "first"), Ordering::SeqCst);
            });
        }
    });
    assert_eq!((pair.first.count() - before, served_by_first.into_inner()), (1, 1));
}

/// Trips the breaker of `p`'s target `a`, heals it and waits for its open period to end.
fn half_open(app: &TestApp, sick: &AtomicBool) {
    let state = |app: &TestApp| app.metric("stagedoor_breaker_state{provider=\"p\",model=\"a\"}");
    while state(app) != 2.0 {
        assert_eq!(app.chat("m").status, 502);
    }
    sick.store(false, Ordering::SeqCst);
    app.until("the open period ends", |app| state(app) == 1.0);
}

#[test]
fn with_nothing_behind_it_the_others_are_told_to_come_again() {
    let sick = Arc::new(AtomicBool::new(true));
    let told = Arc::clone(&sick);
    let upstream = Upstream::by(move |_| {
        if told.load(Ordering::SeqCst) {
            return status(500, "server_error", "");
        }
        std::thread::sleep(Duration::from_millis(300));
        answer("back")
    });
    let app = TestApp::start(&format!(
        "{}[breaker]\nopen_for = \"200ms\"\nopen_for_max = \"200ms\"\nramp = \"0s\"\n[models.m]\ntargets = [{{ provider = \"p\", model = \"a\" }}]\n",
        upstream.provider("p")
    ));
    half_open(&app, &sick);
    let before = upstream.count();
    let replies: Vec<_> = std::thread::scope(|scope| {
        let calls: Vec<_> = (0..60).map(|_| scope.spawn(|| app.chat("m"))).collect();
        calls.into_iter().map(|call| call.join().unwrap()).collect()
    });
    assert_eq!(upstream.count() - before, 1);
    for reply in replies {
        match reply.status {
            200 => assert_eq!(reply.content(), "back"),
            503 => {
                assert_eq!((reply.code().as_str(), reply.header("x-should-retry")), ("no_healthy_target", Some("true")));
                assert!(reply.header("retry-after").is_some());
            }
            other => panic!("{other}: {}", reply.text()),
        }
    }
}

#[test]
fn a_long_stream_that_probes_keeps_nobody_out() {
    let sick = Arc::new(AtomicBool::new(true));
    let told = Arc::clone(&sick);
    let upstream = Upstream::start(move |call, stream| {
        if told.load(Ordering::SeqCst) {
            return stream.write_all(&status(500, "server_error", "")).is_ok();
        }
        if !call.text().contains("\"stream\":true") {
            return stream.write_all(&answer("served")).is_ok();
        }
        let _ = stream.write_all(format!("{STREAM_HEAD}{}", chunk(&event("begun"))).as_bytes());
        std::thread::sleep(Duration::from_secs(5));
        false
    });
    let app = TestApp::start(&format!(
        "{}[breaker]\nopen_for = \"200ms\"\nopen_for_max = \"200ms\"\n[models.m]\ntargets = [{{ provider = \"p\", model = \"a\" }}]\n",
        upstream.provider("p")
    ));
    half_open(&app, &sick);
    let mut probing = app.client().connect();
    probing.write_all(&chat_bytes(&[], &stream_body("m"))).unwrap();
    read_until(&mut probing, "begun");
    app.until("another is served meanwhile", |app| app.chat("m").content_or_empty() == "served");
    assert_eq!(app.metric("stagedoor_in_flight{provider=\"p\"}"), 1.0, "the stream still goes on");
}
