//! What a failed call costs the upstreams: waiting where that is asked for, repeats within a budget, and little more than one
//! call a request when everything fails.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::support::faults::{alone, spared};
use super::support::load::paced;
use super::support::{TestApp, Upstream, answer, chat_body, status};

/// Never trips, so that what is seen is the retry policy alone.
const NO_BREAKER: &str = "[breaker]\nconsecutive_failures = 1000000\nminimum_requests = 1000000\n";

/// Limited once, for this long.
fn limited_once(wait: &'static str) -> Upstream {
    Upstream::by(
        move |call| {
            if call.number == 0 { status(429, "rate_limit_exceeded", &format!("{wait}\r\n")) } else { answer("after the wait") }
        },
    )
}

#[test]
fn a_wait_that_the_settings_allow_is_waited_out_on_the_same_target() {
    let upstream = limited_once("retry-after-ms: 300");
    let (app, spare) = spared(&upstream.provider("p"), "[retry]\nwait = \"500ms\"\n");
    let begun = Instant::now();
    let reply = app.chat("m");
    assert!(begun.elapsed() >= Duration::from_millis(300), "{:?}", begun.elapsed());
    assert_eq!((reply.content().as_str(), reply.header("x-stagedoor-attempts")), ("after the wait", Some("2")));
    assert_eq!(reply.header("x-stagedoor-route"), Some("p/up!rate_limited,p/up"));
    assert_eq!((upstream.count(), spare.count()), (2, 0));
    assert_eq!(app.metric("stagedoor_retries_total{reason=\"rate_limited\"}"), 1.0);
    let overhead: u64 = reply.header("x-stagedoor-overhead-us").unwrap().parse().unwrap();
    assert!(overhead < 250_000, "waiting isn't the gateway's own time: {overhead}");
}

#[test]
fn a_longer_wait_and_by_default_any_goes_on_to_the_next_target() {
    for settings in ["[retry]\nwait = \"200ms\"\n", ""] {
        let upstream = limited_once("retry-after-ms: 300");
        let (app, _spare) = spared(&upstream.provider("p"), settings);
        assert_eq!((app.chat("m").content().as_str(), upstream.count()), ("spare", 1));
    }
}

#[test]
fn another_key_comes_before_a_wait() {
    let upstream = Upstream::by(|call| match call.header("authorization").as_deref() {
        Some("Bearer sk-pool-one") => status(429, "rate_limit_exceeded", "retry-after-ms: 400\r\n"),
        _ => answer("by the other"),
    });
    let provider =
        upstream.provider("p").replace("keys = []", "keys = [{ value = \"sk-pool-one\", weight = 1000000 }, { value = \"sk-pool-two\" }]");
    let app = alone(&provider, "[retry]\nwait = \"5s\"\n");
    let begun = Instant::now();
    assert_eq!(app.chat("m").content(), "by the other");
    assert!(begun.elapsed() < Duration::from_millis(400), "nobody waited");
}

#[test]
fn with_no_other_target_a_short_wait_is_waited_out_once() {
    let upstream = limited_once("retry-after-ms: 200");
    let app = alone(&upstream.provider("p"), "");
    assert_eq!((app.chat("m").content().as_str(), upstream.count()), ("after the wait", 2));
    let always = Upstream::answering(status(429, "rate_limit_exceeded", "retry-after-ms: 200\r\n"));
    let app = alone(&always.provider("p"), "");
    let reply = app.chat("m");
    assert_eq!((reply.status, reply.header("retry-after"), always.count()), (429, Some("1"), 2), "{}", reply.text());
    let long = Upstream::answering(status(429, "rate_limit_exceeded", "retry-after: 6\r\n"));
    let begun = Instant::now();
    assert_eq!((alone(&long.provider("p"), "").chat("m").status, long.count()), (429, 1));
    assert!(begun.elapsed() < Duration::from_secs(5), "nobody waits for so long");
}

#[test]
fn a_caller_without_the_time_is_told_of_the_wait_at_once() {
    let upstream = limited_once("retry-after: 3");
    let app = alone(&upstream.provider("p"), "");
    let begun = Instant::now();
    let reply = app.client().post("/v1/chat/completions", &[("x-stagedoor-timeout", "2s")], &chat_body("m"));
    assert!(begun.elapsed() < Duration::from_secs(2));
    assert_eq!((reply.status, reply.code().as_str(), reply.header("retry-after")), (429, "upstream_rate_limited", Some("3")));
}

#[test]
fn what_is_too_long_for_a_target_may_fit_one_whose_window_nobody_knows() {
    let small = Upstream::answering(status(400, "context_length_exceeded", ""));
    let unknown = Upstream::answering(answer("it fits"));
    let app = TestApp::start(&format!(
        "{}{}[models.m]\ncontext_window = 8000\ntargets = [{{ provider = \"p\", model = \"up\" }}]\nfailover = [\"n\"]\n\
         [models.n]\ntargets = [{{ provider = \"q\", model = \"b\" }}]\n",
        small.provider("p"),
        unknown.provider("q")
    ));
    assert_eq!(app.chat("m").content(), "it fits");
}

#[test]
fn repeats_are_a_share_of_the_requests() {
    let failing = Upstream::answering(status(500, "", ""));
    let app = alone(&failing.provider("p"), &format!("{NO_BREAKER}[retry]\nbackoff = \"0ms\"\nbudget_ratio = 0.1\nbudget_min = 0\n"));
    for _ in 0..40 {
        assert_eq!(app.chat("m").status, 502);
    }
    assert_eq!(failing.count(), 44, "each tenth request earns a repeat");
    assert_eq!(app.metric("stagedoor_retries_total{reason=\"status_500\"}"), 4.0);
}

#[test]
fn a_quiet_gateway_may_still_repeat() {
    let failing = Upstream::answering(status(500, "", ""));
    let app = alone(&failing.provider("p"), &format!("{NO_BREAKER}[retry]\nbackoff = \"0ms\"\nbudget_ratio = 0\nbudget_min = 2\n"));
    assert_eq!((app.chat("m").status, app.chat("m").status, failing.count()), (502, 502, 4));
    app.until("a second's worth comes back", |app| {
        let before = failing.count();
        app.chat("m");
        failing.count() == before + 2
    });
}

#[test]
fn failover_costs_no_budget_and_a_model_may_have_its_own() {
    let failing = Upstream::answering(status(500, "", ""));
    let (app, spare) = spared(
        &failing.provider("p"),
        &format!(
            "{NO_BREAKER}[retry]\nbackoff = \"0ms\"\nbudget_ratio = 0\nbudget_min = 0\n\
             [models.own]\ntargets = [{{ provider = \"p\", model = \"up\" }}]\n[models.own.retry]\nbudget_ratio = 1\n"
        ),
    );
    for _ in 0..10 {
        assert_eq!(app.chat("m").content(), "spare");
    }
    assert_eq!((failing.count(), spare.count()), (10, 10));
    assert_eq!((app.chat("own").status, failing.count()), (502, 12));
    assert_eq!((app.chat("m").content().as_str(), failing.count()), ("spare", 13), "nothing of it is left to others");
}

/// The acceptance's minute, where `STAGEDOOR_TEST_LONG` is set; else a tenth of it.
fn seconds() -> usize {
    if std::env::var_os("STAGEDOOR_TEST_LONG").is_some() { 60 } else { 6 }
}

#[test]
fn row_67_with_every_upstream_failing_calls_stay_near_one_a_request() {
    const RATE: usize = 200;
    const MOMENTS: Duration = Duration::from_secs(2);
    let called: Arc<Mutex<Vec<Instant>>> = Arc::default();
    let upstreams: Vec<_> = (0..3)
        .map(|_| {
            let called = Arc::clone(&called);
            Upstream::by(move |_| {
                called.lock().unwrap().push(Instant::now());
                status(500, "server_error", "")
            })
        })
        .collect();
    let providers: String = upstreams.iter().enumerate().map(|(n, upstream)| upstream.provider(&format!("p{n}"))).collect();
    let targets: Vec<_> = (0..3).map(|n| format!("{{ provider = \"p{n}\", model = \"up\" }}")).collect();
    // All at the defaults; then with breakers that never trip, so that the budget alone holds.
    for breaker in ["", NO_BREAKER] {
        let models = if breaker.is_empty() { targets.join(", ") } else { targets[0].clone() };
        let app = TestApp::start(&format!("{breaker}{providers}[models.m]\ntargets = [{models}]\n"));
        called.lock().unwrap().clear();
        let begun = Instant::now();
        let samples = paced(app.client(), RATE * seconds(), RATE, 32, |client| client.post("/v1/chat/completions", &[], &chat_body("m")));
        assert!(samples.iter().all(|sample| sample.reply.status == 502));
        let requests = samples.iter().filter(|sample| sample.at >= MOMENTS).count();
        let calls = called.lock().unwrap().iter().filter(|at| **at >= begun + MOMENTS).count();
        let share = calls as f64 / requests as f64;
        println!("{requests} requests, {calls} calls: {share:.3} each, after the first 2 s of {} s", seconds());
        assert!(share <= 1.25, "{calls} calls of {requests} requests");
        assert!(requests > RATE * (seconds() - 3), "the pace was kept");
    }
    assert!(upstreams.iter().all(|upstream| upstream.count() > 0));
}
