//! What fails over, what is passed on, what the caller is told when nothing is left.

use std::time::{Duration, Instant};

use super::support::faults::{SHORT, alone, attempts, healthy, provider_at, settled, spared};
use super::support::{TestApp, Upstream, answer, chat_body, status};

fn p(upstream: &Upstream) -> String {
    provider_at("p", &upstream.url(), "")
}

/// `p` with a pool of three keys.
fn pooled(upstream: &Upstream) -> String {
    let keys = "keys = [{ value = \"sk-pool-one\" }, { value = \"sk-pool-two\" }, { value = \"sk-pool-three\" }]";
    format!("[providers.p]\ndialect = \"openai\"\nbase_url = \"{}\"\n{keys}\n", upstream.url())
}

#[test]
fn every_fault_of_a_target_goes_on_to_the_next() {
    for (code, error, headers, outcome) in [
        (500, "server_error", "", "transient"),
        (502, "", "", "transient"),
        (503, "", "", "transient"),
        (504, "", "", "transient"),
        (529, "overloaded_error", "", "transient"),
        (408, "", "", "transient"),
        (429, "rate_limit_exceeded", "", "rate_limited"),
        (503, "", "retry-after: 7\r\n", "rate_limited"),
        (401, "invalid_api_key", "", "key_fault"),
        (402, "", "", "key_fault"),
        (403, "", "", "key_fault"),
        (429, "insufficient_quota", "", "key_fault"),
        (404, "model_not_found", "", "model_missing"),
    ] {
        let upstream = Upstream::answering(status(code, error, headers));
        let (app, _spare) = spared(&p(&upstream), SHORT);
        let reply = app.chat("m");
        assert_eq!((reply.status, reply.content().as_str()), (200, "spare"), "{code} {error}: {}", reply.text());
        assert!(attempts(&app, outcome) >= 1.0, "{code} {error} is {outcome}");
        assert_eq!(app.stream("m").words(), "spare");
        settled(&app);
    }
}

/// One caller's mistake, such as a field that a model doesn't take, or malice takes a target or a key from nobody else.
#[test]
fn what_the_caller_did_wrong_costs_others_nothing() {
    for (param, message) in [
        ("max_tokens", "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."),
        ("messages[0].role", "Invalid value: 'model not found'. Supported values are: 'system' and 'user'."),
        ("messages[0].role", "Invalid value: 'incorrect api key'. Supported values are: 'system' and 'user'."),
    ] {
        let body = format!(r#"{{"error":{{"message":"{message}","type":"invalid_request_error","param":"{param}","code":"odd"}}}}"#);
        let refusal = format!("HTTP/1.1 400 X\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        let upstream = Upstream::by(move |call| if call.number == 0 { refusal.clone().into_bytes() } else { answer("own") });
        let (app, spare) = spared(&p(&upstream), SHORT);
        let refused = app.chat("m");
        assert_eq!((refused.status, refused.json()["error"]["param"].as_str()), (400, Some(param)));
        assert_eq!((app.chat("m").content().as_str(), spare.count()), ("own", 0), "{message}");
    }
}

#[test]
fn what_the_caller_did_wrong_is_passed_on_byte_for_byte() {
    for (code, error) in
        [(400, "invalid_request"), (413, ""), (422, "unprocessable"), (400, "content_policy_violation"), (403, "content_policy_violation")]
    {
        let sent = status(code, error, "set-cookie: a=b\r\nopenai-organization: org-secret\r\n");
        let upstream = Upstream::answering(sent.clone());
        let (app, spare) = spared(&p(&upstream), SHORT);
        let reply = app.chat("m");
        assert_eq!(reply.status, code);
        assert!(sent.ends_with(&reply.body), "{}", reply.text());
        assert_eq!((reply.header("set-cookie"), reply.header("openai-organization")), (None, None));
        assert_eq!((spare.count(), attempts(&app, "caller_fault")), (0, 1.0));
    }
}

#[test]
fn a_callers_fault_never_opens_a_breaker() {
    let upstream = Upstream::answering(status(400, "invalid_request", ""));
    let app = alone(&p(&upstream), SHORT);
    for _ in 0..20 {
        assert_eq!(app.chat("m").status, 400);
    }
    assert_eq!(app.health()["providers"]["p"]["breaker"], "closed");
    assert_eq!(upstream.count(), 20);
}

#[test]
fn too_long_goes_to_a_larger_window_else_it_is_passed_on() {
    let small = Upstream::answering(status(400, "context_length_exceeded", ""));
    let large = healthy();
    let settings = |windows: [u32; 2]| {
        format!(
            "{}{}[models.m]\ncontext_window = {}\ntargets = [{{ provider = \"p\", model = \"up\" }}]\nfailover = [\"l\"]\n\
             [models.l]\ncontext_window = {}\ntargets = [{{ provider = \"large\", model = \"l\" }}]\n",
            p(&small),
            large.provider("large"),
            windows[0],
            windows[1]
        )
    };
    assert_eq!(TestApp::start(&settings([8_000, 128_000])).chat("m").content(), "spare");
    let refused = TestApp::start(&settings([8_000, 8_000])).chat("m");
    assert_eq!((refused.status, refused.code().as_str()), (400, "context_length_exceeded"));
    assert_eq!(large.count(), 1);
}

#[test]
fn a_refused_key_is_changed_for_another_at_no_cost() {
    let upstream = Upstream::by(|call| match call.header("authorization").as_deref() {
        Some("Bearer sk-pool-two") => answer("two"),
        _ => status(401, "invalid_api_key", ""),
    });
    let app = alone(&pooled(&upstream), SHORT);
    for _ in 0..6 {
        let reply = app.chat("m");
        assert_eq!((reply.status, reply.content().as_str()), (200, "two"), "{}", reply.text());
    }
    // Which key comes first is by chance: asked until both bad ones have been.
    app.until("the refused keys rest", |app| {
        assert_eq!(app.chat("m").content(), "two");
        let keys = app.health()["providers"]["p"]["keys"].clone();
        keys.as_array().unwrap().iter().filter(|key| key["status"] == "disabled").count() == 2
    });
    let before = upstream.count();
    assert_eq!(app.chat("m").content(), "two");
    assert_eq!(upstream.count(), before + 1, "a key in quarantine is not sent");
}

#[test]
fn a_limited_key_rests_and_the_others_serve() {
    let upstream = Upstream::by(|call| match call.header("authorization").as_deref() {
        Some("Bearer sk-pool-one") => status(429, "rate_limit_exceeded", "retry-after-ms: 60000\r\n"),
        _ => answer("other"),
    });
    let app = alone(&pooled(&upstream), SHORT);
    let begun = Instant::now();
    while attempts(&app, "rate_limited") == 0.0 {
        assert_eq!(app.chat("m").content(), "other");
        assert!(begun.elapsed() < Duration::from_secs(10));
    }
    app.until("the key cools", |app| app.health()["providers"]["p"]["keys"][0]["status"] == "cooling");
    for _ in 0..20 {
        assert_eq!(app.chat("m").content(), "other");
    }
    assert_eq!(attempts(&app, "rate_limited"), 1.0);
    assert_eq!(app.health()["providers"]["p"]["breaker"], "closed", "a limit is no failure");
}

#[test]
fn all_limited_is_429_with_the_least_wait() {
    let upstream = Upstream::by(|call| {
        let wait = if call.header("authorization").unwrap().ends_with("two") { 20 } else { 40 };
        status(429, "rate_limit_exceeded", &format!("retry-after: {wait}\r\n"))
    });
    let app = alone(&pooled(&upstream), SHORT);
    let first = app.chat("m");
    assert_eq!((first.status, first.code().as_str(), first.header("x-should-retry")), (429, "upstream_rate_limited", Some("true")));
    assert_eq!(first.json()["error"]["type"], "rate_limit_error");
    assert_eq!(first.header("retry-after"), Some("20"));
    app.until("all keys cool", |app| app.health()["providers"]["p"]["status"] == "ejected");
    assert_eq!(app.health()["providers"]["p"]["reason"], "rate_limited");
    let calls = upstream.count();
    let second = app.chat("m");
    assert_eq!((second.status, second.code().as_str()), (429, "upstream_rate_limited"));
    let wait: u64 = second.header("retry-after").unwrap().parse().unwrap();
    assert!((19..=20).contains(&wait), "{wait}");
    assert_eq!(upstream.count(), calls, "a resting key is not sent");
}

#[test]
fn the_message_names_each_target_the_last_first_and_no_secret() {
    let refusing = Upstream::answering(status(401, "invalid_api_key", ""));
    let broken = Upstream::answering(status(500, "server_error", ""));
    let app = TestApp::start(&format!(
        "{SHORT}{}{}[models.m]\nstrategy = \"ordered\"\ntargets = [{{ provider = \"p\", model = \"a\" }}, {{ provider = \"q\", model = \"b\" }}]\n",
        p(&refusing),
        broken.provider("q")
    ));
    let reply = app.chat("m");
    assert_eq!((reply.status, reply.code().as_str(), reply.header("x-should-retry")), (502, "all_targets_failed", Some("false")));
    let message = reply.json()["error"]["message"].as_str().unwrap().to_owned();
    let (last, first) = (message.find("q/b answered 500").unwrap(), message.find("p/a refused the gateway's key (401)").unwrap());
    assert!(last < first, "{message}");
    assert!(!message.contains("upstream says"), "{message}");
    assert_eq!(reply.header("x-stagedoor-route"), Some("p/a!key_fault,q/b!500,q/b!500"));
    assert_eq!(reply.header("x-stagedoor-attempts"), Some("3"));
}

#[test]
fn a_repeat_is_made_once_and_never_after_a_time_out() {
    let healing = Upstream::by(|call| if call.number == 0 { status(503, "", "") } else { answer("second try") });
    let app = alone(&p(&healing), SHORT);
    let reply = app.chat("m");
    assert_eq!((reply.content().as_str(), reply.header("x-stagedoor-attempts")), ("second try", Some("2")));
    assert_eq!(reply.header("x-stagedoor-route"), Some("p/up!503,p/up"));
    assert_eq!(app.metric("stagedoor_retries_total{reason=\"status_503\"}"), 1.0);
    let slow = Upstream::start(|_, _| {
        std::thread::sleep(Duration::from_secs(2));
        false
    });
    assert_eq!(alone(&p(&slow), SHORT).chat("m").status, 504);
    assert_eq!(slow.count(), 1);
    let asked_not_to = Upstream::answering(status(500, "", "retry-after: 3\r\n"));
    assert_eq!(alone(&p(&asked_not_to), SHORT).chat("m").status, 502);
    assert_eq!(asked_not_to.count(), 1);
}

#[test]
fn a_request_makes_at_most_its_attempts() {
    let upstreams: Vec<_> = (0..6).map(|_| Upstream::answering(status(500, "", ""))).collect();
    let providers: String = upstreams.iter().enumerate().map(|(n, upstream)| upstream.provider(&format!("p{n}"))).collect();
    let targets: Vec<_> = (0..6).map(|n| format!("{{ provider = \"p{n}\", model = \"x\" }}")).collect();
    let app = TestApp::start(&format!("{SHORT}{providers}[models.m]\nstrategy = \"ordered\"\ntargets = [{}]\n", targets.join(", ")));
    assert_eq!(app.chat("m").status, 502);
    assert_eq!(upstreams.iter().map(Upstream::count).collect::<Vec<_>>(), [1, 1, 1, 1, 0, 0]);
}

#[test]
fn a_models_own_targets_come_before_the_chains() {
    let down = Upstream::answering(status(500, "", ""));
    let (one, two) = (Upstream::answering(answer("one")), Upstream::answering(answer("two")));
    let app = TestApp::start(&format!(
        "{SHORT}{}{}{}[models.m]\nstrategy = \"ordered\"\ntargets = [{{ provider = \"p\", model = \"a\" }}, {{ provider = \"one\", model = \"b\" }}]\nfailover = [\"n\"]\n\
         [models.n]\ntargets = [{{ provider = \"two\", model = \"c\" }}]\n",
        p(&down),
        one.provider("one"),
        two.provider("two")
    ));
    assert_eq!(app.chat("m").content(), "one");
    assert_eq!((app.chat("n").content().as_str(), two.count()), ("two", 1));
}

#[test]
fn a_callers_own_chain_is_tried_in_its_order_and_not_sent() {
    let down = Upstream::answering(status(500, "", ""));
    let spare = healthy();
    let app = TestApp::start(&format!(
        "{SHORT}{}{}[models.m]\ntargets = [{{ provider = \"p\", model = \"up\" }}]\n[models.n]\ntargets = [{{ provider = \"s\", model = \"sp\" }}]\n",
        p(&down),
        spare.provider("s")
    ));
    assert_eq!(app.chat("m").status, 502, "no chain of its own in the settings");
    let own = r#"{"model":"m","models":["n"],"messages":[{"role":"user","content":"Hello"}]}"#;
    let reply = app.client().post("/v1/chat/completions", &[], own);
    assert_eq!(reply.content(), "spare");
    assert_eq!(spare.calls()[0].text(), chat_body("sp"), "`models` is the gateway's own");
    for led in [r#"["n","m"]"#, r#"["m","n"]"#] {
        let led = format!(r#"{{"models":{led},"messages":[{{"role":"user","content":"Hello"}}]}}"#);
        let reply = app.client().post("/v1/chat/completions", &[], &led);
        assert_eq!((reply.status, reply.content().as_str()), (200, "spare"), "without `model` the first is it");
        assert_eq!(spare.calls().last().unwrap().text(), chat_body("sp"));
    }
    let unknown = r#"{"model":"m","models":["nn"],"messages":[{"role":"user","content":"Hello"}]}"#;
    assert_eq!(app.client().post("/v1/chat/completions", &[], unknown).status, 404);
}

#[test]
fn a_callers_time_ends_it_without_blaming_the_target() {
    let slow = Upstream::start(|_, _| {
        std::thread::sleep(Duration::from_secs(5));
        false
    });
    let (app, spare) = spared(&p(&slow), "");
    let begun = Instant::now();
    let reply = app.client().post("/v1/chat/completions", &[("x-stagedoor-timeout", "300ms")], &chat_body("m"));
    assert!(begun.elapsed() < Duration::from_secs(2));
    assert_eq!((reply.status, reply.code().as_str()), (504, "upstream_timeout"), "{}", reply.text());
    assert_eq!((attempts(&app, "abandoned"), attempts(&app, "transient"), spare.count()), (1.0, 0.0, 0));
    let odd = app.client().post("/v1/chat/completions", &[("x-stagedoor-timeout", "soon")], &chat_body("m"));
    assert_eq!((odd.status, odd.json()["error"]["param"].as_str()), (400, Some("x-stagedoor-timeout")));
    let forbidden = spared(&p(&slow), "[server]\nrequest_headers = []\n[timeouts]\nfirst_byte = \"400ms\"\n");
    let reply = forbidden.0.client().post("/v1/chat/completions", &[("x-stagedoor-timeout", "1ms")], &chat_body("m"));
    assert_eq!(reply.content(), "spare", "not a caller's to say");
}

#[test]
fn a_model_that_no_provider_has_is_404_and_is_not_asked_for_again() {
    let upstream = Upstream::answering(status(404, "model_not_found", ""));
    let app = alone(&p(&upstream), SHORT);
    let reply = app.chat("m");
    assert_eq!((reply.status, reply.code().as_str()), (404, "model_not_found"));
    app.until("it is disabled", |app| app.health()["providers"]["p"]["status"] == "disabled");
    let again = app.chat("m");
    assert_eq!((again.status, again.code().as_str(), again.header("x-should-retry")), (404, "model_not_found", Some("false")));
    assert_eq!(upstream.count(), 1);
}

#[test]
fn two_models_that_trip_take_their_provider_along() {
    let upstream = Upstream::answering(status(500, "", ""));
    let app = TestApp::start(&format!(
        "{SHORT}[breaker]\nwhen_all_open = \"refuse\"\n{}[models.m]\ntargets = [{{ provider = \"p\", model = \"a\" }}]\n\
         [models.n]\ntargets = [{{ provider = \"p\", model = \"b\" }}]\n[models.o]\ntargets = [{{ provider = \"p\", model = \"c\" }}]\n",
        p(&upstream)
    ));
    for model in ["m", "n"] {
        app.until("it trips", |app| app.chat(model).status == 503);
    }
    assert_eq!(app.health()["providers"]["p"]["reason"], "several_models");
    let calls = upstream.count();
    let reply = app.chat("o");
    assert_eq!((reply.status, reply.code().as_str(), reply.header("x-should-retry")), (503, "no_healthy_target", Some("true")));
    assert!(reply.header("retry-after").unwrap().parse::<u64>().unwrap() <= 11);
    assert_eq!(upstream.count(), calls);
}

#[test]
fn with_all_open_the_least_bad_is_tried_once_and_may_bring_it_back() {
    let upstream = Upstream::by(|call| if call.number < 6 { status(500, "", "") } else { answer("back") });
    let app = alone(&p(&upstream), &format!("{SHORT}[breaker]\nopen_for = \"10m\"\nopen_for_max = \"10m\"\n"));
    while app.metric("stagedoor_breaker_state{provider=\"p\",model=\"up\"}") != 2.0 {
        assert_eq!(app.chat("m").status, 502);
    }
    app.until("a last resort serves", |app| app.chat("m").content_or_empty() == "back");
    app.until("half-open by its success", |app| {
        app.metric("stagedoor_breaker_transitions_total{provider=\"p\",model=\"up\",to=\"half_open\",reason=\"least_bad_succeeded\"}")
            == 1.0
    });
}
