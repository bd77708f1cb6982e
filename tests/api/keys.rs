//! Keys and waits: what a 429, a 401 or a 403 does to a key, to its model and to the caller, in every spelling of a wait.

use std::time::{Duration, SystemTime};

use super::support::faults::{SHORT, alone, attempts, healthy, provider_at, spared};
use super::support::{TestApp, Upstream, answer, chat_body, status};

fn p(upstream: &Upstream) -> String {
    provider_at("p", &upstream.url(), "")
}

fn two_keys(upstream: &Upstream) -> String {
    let keys = "keys = [{ value = \"sk-pool-one\", name = \"one\" }, { value = \"sk-pool-two\", name = \"two\" }]";
    format!("[providers.p]\ndialect = \"openai\"\nbase_url = \"{}\"\n{keys}\n", upstream.url())
}

fn key_states(app: &TestApp) -> Vec<String> {
    let keys = app.health()["providers"]["p"]["keys"].clone();
    keys.as_array().unwrap().iter().map(|key| key["status"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn every_spelling_of_a_wait_reaches_the_caller_in_seconds() {
    let date = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(90));
    for (headers, least, most) in [
        ("retry-after: 7".to_owned(), 7, 7),
        ("Retry-After: 0.2".to_owned(), 1, 1),
        ("retry-after-ms: 6100".to_owned(), 7, 7),
        ("x-ms-retry-after-ms: 3000".to_owned(), 3, 3),
        ("retry-after-ms: 2000\r\nretry-after: 60".to_owned(), 2, 2),
        (format!("retry-after: {date}"), 60, 90),
        ("retry-after: 99999999".to_owned(), 86_400, 86_400),
        ("retry-after: 1m3s".to_owned(), 63, 63),
        ("x-ratelimit-reset-requests: 6m0s".to_owned(), 360, 360),
        ("x-ratelimit-remaining-tokens: 0\r\nx-ratelimit-reset-tokens: 2100ms\r\nx-ratelimit-remaining-requests: 9\r\nx-ratelimit-reset-requests: 50s".to_owned(), 3, 3),
        ("x-ratelimit-reset-requests: 40s\r\nretry-after: 4".to_owned(), 4, 4),
        ("x-nothing: 1".to_owned(), 5, 5),
        ("retry-after: soon".to_owned(), 5, 5),
    ] {
        let upstream = Upstream::answering(status(429, "rate_limit_exceeded", &format!("{headers}\r\n")));
        let app = alone(&p(&upstream), SHORT);
        let reply = app.chat("m");
        // Nobody's SDK should sleep for a day.
        let should = if most <= 120 { "true" } else { "false" };
        assert_eq!((reply.status, reply.code().as_str(), reply.header("x-should-retry")), (429, "upstream_rate_limited", Some(should)));
        let wait: u64 = reply.header("retry-after").unwrap().parse().unwrap();
        assert!((least..=most).contains(&wait), "{headers}: {wait}");
    }
}

#[test]
fn with_every_provider_limited_the_least_wait_is_told() {
    let (long, short) = (
        Upstream::answering(status(429, "rate_limit_exceeded", "retry-after: 50\r\n")),
        Upstream::answering(status(503, "", "retry-after: 9\r\n")),
    );
    let app = TestApp::start(&format!(
        "{SHORT}{}{}[models.m]\ntargets = [{{ provider = \"p\", model = \"up\" }}]\nfailover = [\"n\"]\n[models.n]\ntargets = [{{ provider = \"q\", model = \"b\" }}]\n",
        p(&long),
        short.provider("q")
    ));
    for reply in [app.chat("m"), app.stream("m"), app.chat("m"), app.stream("m")] {
        assert_eq!((reply.status, reply.code().as_str()), (429, "upstream_rate_limited"), "{}", reply.text());
        let wait: u64 = reply.header("retry-after").unwrap().parse().unwrap();
        assert!((7..=9).contains(&wait), "{wait}");
    }
    assert_eq!((attempts(&app, "transient"), app.health()["providers"]["q"]["breaker"].as_str()), (0.0, Some("closed")));
}

#[test]
fn a_limited_target_serves_again_after_its_wait() {
    let upstream =
        Upstream::by(|call| if call.number == 0 { status(429, "rate_limit_exceeded", "retry-after-ms: 300\r\n") } else { answer("again") });
    let app = alone(&two_keys(&upstream).replace(", { value = \"sk-pool-two\", name = \"two\" }", ""), "[retry]\nattempts = 1\n");
    assert_eq!(app.chat("m").status, 429);
    app.until("the key cools", |app| key_states(app) == ["cooling"] || upstream.count() > 1);
    assert!(upstream.count() == 1);
    app.until("it serves again", |app| app.chat("m").status == 200);
    assert_eq!((key_states(&app), upstream.count()), (vec!["active".to_owned()], 2));
}

#[test]
fn a_limit_on_one_model_leaves_its_key_to_the_others() {
    let upstream = Upstream::by(|call| {
        if call.text().contains("\"up\"") { status(429, "rate_limit_exceeded", "retry-after: 60\r\n") } else { answer("other model") }
    });
    let app = TestApp::start(&format!(
        "{SHORT}{}[models.m]\ntargets = [{{ provider = \"p\", model = \"up\" }}]\n[models.n]\ntargets = [{{ provider = \"p\", model = \"b\" }}]\n",
        two_keys(&upstream)
    ));
    assert_eq!(app.chat("m").status, 429);
    // The actor may be told a moment after the caller.
    app.until("both keys rest for it", |app| {
        let before = upstream.count();
        app.chat("m").status == 429 && upstream.count() == before
    });
    assert_eq!(app.chat("n").content(), "other model");
}

#[test]
fn an_unspecific_refusal_takes_a_key_out_at_the_second_time() {
    let upstream = Upstream::answering(status(403, "", ""));
    let (app, _spare) = spared(&two_keys(&upstream), SHORT);
    assert_eq!(app.chat("m").content(), "spare");
    assert_eq!(upstream.count(), 2, "each key once, neither counted as an attempt");
    app.until("told", |app| attempts(app, "key_fault") == 2.0 && app.health()["providers"]["p"]["last_error"]["kind"] == "key_fault");
    assert_eq!(key_states(&app), ["active", "active"], "it may have been about the request");
    assert_eq!(app.chat("m").content(), "spare");
    app.until("both are out", |app| key_states(app) == ["disabled", "disabled"]);
    assert_eq!(app.chat("m").content(), "spare");
    assert_eq!((upstream.count(), app.health()["providers"]["p"]["status"].as_str()), (4, Some("ejected")));
    assert_eq!(app.health()["providers"]["p"]["breaker"], "closed", "keys are no breaker's matter");
}

#[test]
fn an_upstreams_word_about_keys_reaches_nobody() {
    for code in [401, 402, 403, 429] {
        let body = r#"{"error":{"message":"Incorrect API key sk-op-secret of org-operator","type":"insufficient_quota","code":"insufficient_quota"}}"#;
        let upstream = Upstream::answering(format!(
            "HTTP/1.1 {code} X\r\ncontent-type: application/json\r\nopenai-organization: org-operator\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        ));
        let app = alone(&two_keys(&upstream), SHORT);
        for reply in [app.chat("m"), app.stream("m"), app.client().get("/health"), app.client().get("/metrics")] {
            let all = format!("{:?}{}", reply.headers, reply.text());
            assert!(!all.contains("sk-op-secret") && !all.contains("org-operator") && !all.contains("sk-pool"), "{code}: {all}");
        }
        let reply = app.chat("m");
        assert!([502, 503].contains(&reply.status), "{code}: {} {}", reply.status, reply.text());
        assert_eq!(upstream.count(), 2, "each key once, and never again");
    }
}

#[test]
fn a_refused_request_for_a_stream_is_passed_on_as_it_is() {
    for (code, error) in [(400, "invalid_request"), (422, "unprocessable"), (403, "content_policy_violation")] {
        let sent = status(code, error, "");
        let upstream = Upstream::answering(sent.clone());
        let (app, spare) = spared(&p(&upstream), SHORT);
        let reply = app.stream("m");
        assert!(reply.status == code && sent.ends_with(&reply.body) && spare.count() == 0, "{}", reply.text());
        assert_eq!(reply.header("content-type"), Some("application/json"));
    }
    // What is no JSON is none afterwards either.
    let page = "HTTP/1.1 400 X\r\ncontent-type: text/plain; charset=latin1\r\ncontent-length: 4\r\n\r\nn\u{e9}o";
    let upstream = Upstream::answering(page);
    let reply = alone(&p(&upstream), SHORT).chat("m");
    assert_eq!((reply.status, reply.text().as_str(), reply.header("content-type")), (400, "n\u{e9}o", Some("text/plain; charset=latin1")));
}

#[test]
fn too_long_may_go_to_a_window_that_nobody_knows() {
    for (code, error) in [(400, "context_length_exceeded"), (413, "request_too_large")] {
        let small = Upstream::answering(status(code, error, ""));
        let (app, spare) = spared(&p(&small), SHORT);
        let reply = app.chat("m");
        assert_eq!((reply.content().as_str(), reply.header("x-stagedoor-route")), ("spare", Some("p/up!too_long,spare/spare")));
        assert_eq!((attempts(&app, "too_long"), spare.count()), (1.0, 1));
        let sent = status(code, error, "");
        let reply = alone(&p(&small), SHORT).chat("m");
        assert!(reply.status == code && sent.ends_with(&reply.body), "{}", reply.text());
    }
}

#[test]
fn too_long_then_a_dead_one_is_still_told_as_too_long() {
    let small = Upstream::answering(status(400, "context_length_exceeded", ""));
    let dead = Upstream::answering(status(500, "", ""));
    let app = TestApp::start(&format!(
        "{SHORT}{}{}[models.m]\ntargets = [{{ provider = \"p\", model = \"up\" }}]\nfailover = [\"n\"]\n[models.n]\ntargets = [{{ provider = \"q\", model = \"b\" }}]\n",
        p(&small),
        dead.provider("q")
    ));
    let reply = app.chat("m");
    assert_eq!((reply.status, reply.code().as_str()), (400, "context_length_exceeded"), "{}", reply.text());
}

#[test]
fn only_what_is_usually_short_is_repeated_on_the_same_target() {
    for (code, calls) in [(500, 2), (502, 2), (503, 2), (504, 1), (529, 1), (408, 1), (520, 1)] {
        let upstream = Upstream::answering(status(code, "", ""));
        let app = alone(&p(&upstream), SHORT);
        let reply = app.chat("m");
        assert_eq!((reply.status, upstream.count()), (502, calls), "{code}");
        let hops = vec![format!("p/up!{code}"); calls].join(",");
        assert_eq!(reply.header("x-stagedoor-route"), Some(hops.as_str()));
    }
    let never = Upstream::answering(status(500, "", ""));
    let app = alone(&p(&never), &SHORT.replace("[retry]", "[retry]\nsame_target = 0"));
    assert_eq!((app.chat("m").status, never.count()), (502, 1));
}

#[test]
fn a_providers_own_codes_are_as_its_settings_say() {
    let upstream = Upstream::answering(status(400, "busy_now", ""));
    let p = format!("{}codes = {{ busy_now = \"transient\" }}\n", upstream.provider("p"));
    let spare = healthy();
    let models = "[models.m]\ntargets = [{ provider = \"p\", model = \"up\" }]\nfailover = [\"s\"]\n[models.s]\ntargets = [{ provider = \"s\", model = \"s\" }]\n";
    let app = TestApp::start(&format!("{SHORT}{p}{}{models}", spare.provider("s")));
    assert_eq!((app.chat("m").content().as_str(), attempts(&app, "transient")), ("spare", 1.0));
}

#[test]
fn a_prompt_that_cannot_fit_is_not_sent_to_a_window_too_small_for_it() {
    let (small, large) = (Upstream::answering(status(400, "context_length_exceeded", "")), healthy());
    let app = TestApp::start(&format!(
        "{SHORT}{}{}[models.m]\ntargets = [{{ provider = \"p\", model = \"up\" }}]\nfailover = [\"n\"]\ncontext_window = 1000\n[models.n]\ntargets = [{{ provider = \"q\", model = \"b\" }}]\ncontext_window = 9000\n",
        p(&small),
        large.provider("q")
    ));
    let long = chat_body("m").replace("Hello", &"Hello ".repeat(2_000));
    let reply = app.client().post("/v1/chat/completions", &[], &long);
    assert_eq!((reply.content().as_str(), reply.header("x-stagedoor-route"), small.count()), ("spare", Some("q/b"), 0));
    // Where no window is large enough by our reckoning, the upstreams say so themselves.
    let longer = chat_body("m").replace("Hello", &"Hello ".repeat(20_000));
    let reply = app.client().post("/v1/chat/completions", &[], &longer);
    assert_eq!(reply.header("x-stagedoor-route"), Some("p/up!too_long,q/b"));
}
