//! Key pools: each key's own limits, kept by what a call is estimated to cost and put right by what it did cost.

use super::support::faults::{SHORT, alone, breaker, closed_port, provider_at};
use super::support::{Call, STREAM_HEAD, TestApp, Upstream, answer, chunk, event, plain, status, stream, stream_body};

/// A `[providers.p]` table with keys `sk-pool-NAME`, each with more to its row.
fn pool(base_url: &str, keys: &[(&str, &str)]) -> String {
    let rows = keys.iter().map(|(name, more)| format!("{{ value = \"sk-pool-{name}\", name = \"{name}\"{more} }}"));
    provider_at("p", base_url, "").replace("keys = []", &format!("keys = [{}]", rows.collect::<Vec<_>>().join(", ")))
}

/// The key that a call was sent with.
fn key(call: &Call) -> String {
    call.header("authorization").unwrap_or_default().trim_start_matches("Bearer sk-pool-").to_owned()
}

fn sent(upstream: &Upstream, name: &str) -> usize {
    upstream.calls().iter().filter(|call| key(call) == name).count()
}

fn served(app: &TestApp, streamed: bool, most: usize) -> usize {
    (0..most).take_while(|_| if streamed { app.stream("m").status == 200 } else { app.chat("m").status == 200 }).count()
}

#[test]
fn each_keys_requests_a_minute_are_kept() {
    let upstream = Upstream::answering(answer("served"));
    let app = alone(&pool(&upstream.url(), &[("one", ", rpm = 2"), ("two", ", rpm = 3")]), SHORT);
    assert_eq!(served(&app, false, 20), 5);
    let refused = app.chat("m");
    assert_eq!((refused.status, refused.code().as_str()), (429, "upstream_rate_limited"), "{}", refused.text());
    let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=20).contains(&wait), "the next of three a minute comes within 20 s: {wait}");
    assert_eq!((sent(&upstream, "one"), sent(&upstream, "two")), (2, 3));
    assert_eq!(breaker(&app), "closed", "a limit is no failure");
}

#[test]
fn tokens_are_reserved_by_estimate_and_settled_by_the_answers_usage() {
    // An answer of which nothing is known is taken to have 4,096 tokens: two fit into 10,000 at once, and into a minute.
    let told = Upstream::answering(answer("its usage is 2"));
    let untold = Upstream::answering(plain(r#"{"choices":[{"index":0,"message":{"content":"no usage"},"finish_reason":"stop"}]}"#));
    for (upstream, most) in [(told, 12), (untold, 2)] {
        let app = alone(&pool(&upstream.url(), &[("one", ", tpm = 10000")]), SHORT);
        assert_eq!(served(&app, false, 12), most);
    }
}

#[test]
fn a_streams_usage_settles_too() {
    let usage = chunk("data: {\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":4,\"total_tokens\":7}}\n\n");
    let finish = event("").replace("\"finish_reason\":null", "\"finish_reason\":\"stop\"");
    let told = format!("{STREAM_HEAD}{}{}{usage}{}0\r\n\r\n", chunk(&event("a")), chunk(&finish), chunk("data: [DONE]\n\n"));
    for (upstream, most) in [(Upstream::answering(told), 12), (Upstream::answering(stream(&["a"])), 2)] {
        let app = alone(&pool(&upstream.url(), &[("one", ", tpm = 10000")]), SHORT);
        assert_eq!(served(&app, true, 12), most);
    }
}

#[test]
fn a_requests_own_limit_is_what_is_reserved() {
    let upstream = Upstream::answering(plain(r#"{"choices":[{"index":0,"message":{"content":"no usage"},"finish_reason":"stop"}]}"#));
    let app = alone(&pool(&upstream.url(), &[("one", ", tpm = 10000")]), SHORT);
    for field in ["max_tokens", "max_completion_tokens"] {
        let body = format!(r#"{{"model":"m","{field}":1000,"messages":[{{"role":"user","content":"Hello"}}]}}"#);
        for _ in 0..4 {
            assert_eq!(app.client().post("/v1/chat/completions", &[], &body).status, 200);
        }
    }
    // 8 times 1,000 and a little for the prompts; a stream asks for 4,096 more.
    assert_eq!(app.client().post("/v1/chat/completions", &[], &stream_body("m")).status, 429);
    assert_eq!(upstream.count(), 8);
}

#[test]
fn a_call_that_never_left_costs_nothing() {
    let app = alone(&pool(&format!("http://{}/v1", closed_port()), &[("one", ", rpm = 1")]), SHORT);
    for _ in 0..2 {
        let reply = app.chat("m");
        assert_eq!((reply.status, reply.code().as_str()), (502, "all_targets_failed"), "{}", reply.text());
    }
}

/// A good answer whose head says more.
fn telling(headers: &str) -> Vec<u8> {
    let answer = String::from_utf8(answer("served")).unwrap();
    answer.replacen("\r\n", &format!("\r\n{headers}\r\n"), 1).into_bytes()
}

#[test]
fn a_key_whose_answers_say_that_nothing_is_left_rests_until_its_reset() {
    for spent in [
        "x-ratelimit-remaining-requests: 0\r\nx-ratelimit-reset-requests: 1m0s",
        "x-ratelimit-limit-tokens: 100\r\nx-ratelimit-remaining-tokens: 0\r\nx-ratelimit-reset-tokens: 60s",
        "anthropic-ratelimit-requests-remaining: 0\r\nanthropic-ratelimit-requests-reset: 2100-01-01T00:00:00Z",
        "x-ratelimit-remaining: 0\r\nx-ratelimit-reset: 4102444800",
    ] {
        let upstream = Upstream::by(move |call| match (key(call).as_str(), call.number) {
            ("one", 0 | 1) => telling(spent),
            ("one", _) => status(429, "rate_limit_exceeded", ""),
            _ => telling("x-ratelimit-remaining-requests: 99\r\nx-ratelimit-reset-requests: 1s"),
        });
        let app = alone(&pool(&upstream.url(), &[("one", ""), ("two", "")]), SHORT);
        for _ in 0..20 {
            let reply = app.chat("m");
            assert_eq!((reply.status, reply.header("x-stagedoor-attempts")), (200, Some("1")), "{}", reply.text());
            assert!(reply.headers.iter().all(|(name, _)| !name.contains("ratelimit")), "{:?}", reply.headers);
        }
        assert_eq!((sent(&upstream, "one"), sent(&upstream, "two")), (1, 19), "{spent}");
        let keys = app.health()["providers"]["p"]["keys"].clone();
        assert_eq!((keys[0]["status"].as_str(), keys[1]["status"].as_str()), (Some("cooling"), Some("active")));
    }
}

#[test]
fn a_target_whose_only_key_has_nothing_left_is_passed_over_before_it_says_429() {
    let upstream = Upstream::answering(telling("x-ratelimit-remaining-requests: 0\r\nx-ratelimit-reset-requests: 30s"));
    let (app, spare) = super::support::faults::spared(&pool(&upstream.url(), &[("one", "")]), SHORT);
    assert_eq!(app.chat("m").content(), "served");
    for _ in 0..5 {
        let reply = app.chat("m");
        assert_eq!((reply.content().as_str(), reply.header("x-stagedoor-attempts")), ("spare", Some("1")));
    }
    assert_eq!((upstream.count(), spare.count()), (1, 5));
}

/// All but one of three equal keys' calls, by three callers at once.
#[test]
fn a_refused_key_costs_no_request_and_the_others_share_alike() {
    const CALLERS: usize = 6;
    for code in ["invalid_api_key", "insufficient_quota"] {
        let upstream = Upstream::by(move |call| match key(call).as_str() {
            "two" => status(if code == "insufficient_quota" { 429 } else { 401 }, code, ""),
            _ => answer("served"),
        });
        let app = alone(&pool(&upstream.url(), &[("one", ""), ("two", ""), ("three", "")]), SHORT);
        std::thread::scope(|scope| {
            for _ in 0..CALLERS {
                scope.spawn(|| (0..50).for_each(|_| assert_eq!(app.chat("m").status, 200)));
            }
        });
        let (one, two, three) = (sent(&upstream, "one"), sent(&upstream, "two"), sent(&upstream, "three"));
        println!("{code}: 0 of {} requests failed; {one}, {two} and {three} calls with each key", CALLERS * 50);
        // One, and what each other caller had on its way before the first refusal was heard.
        assert!((1..=CALLERS).contains(&two), "{two}");
        assert_eq!(one + three, CALLERS * 50);
        assert!(one.abs_diff(three) * 10 <= one + three, "{one} and {three}");
        assert_eq!((breaker(&app).as_str(), app.health()["providers"]["p"]["keys"][1]["status"].as_str()), ("closed", Some("disabled")));
    }
}

#[test]
fn with_one_caller_a_refused_key_is_sent_once() {
    let upstream = Upstream::by(|call| if key(call) == "two" { status(401, "invalid_api_key", "") } else { answer("served") });
    let app = alone(&pool(&upstream.url(), &[("one", ""), ("two", ""), ("three", "")]), SHORT);
    for _ in 0..100 {
        let reply = app.chat("m");
        assert_eq!((reply.status, reply.content().as_str()), (200, "served"));
    }
    let (one, two, three) = (sent(&upstream, "one"), sent(&upstream, "two"), sent(&upstream, "three"));
    assert_eq!((two, one + three), (1, 100));
    assert!(one.abs_diff(three) <= 5, "{one} and {three}");
}

#[test]
fn with_every_key_limited_the_least_wait_is_told_and_no_breaker_moves() {
    let upstream = Upstream::by(|call| {
        let wait = match key(call).as_str() {
            "one" => 50,
            "two" => 9,
            _ => 30,
        };
        status(429, "rate_limit_exceeded", &format!("retry-after: {wait}\r\n"))
    });
    let app = alone(&pool(&upstream.url(), &[("one", ""), ("two", ""), ("three", "")]), SHORT);
    for reply in [app.chat("m"), app.stream("m"), app.chat("m")] {
        assert_eq!((reply.status, reply.code().as_str()), (429, "upstream_rate_limited"), "{}", reply.text());
        let wait: u64 = reply.header("retry-after").unwrap().parse().unwrap();
        assert!((7..=9).contains(&wait), "{wait}");
    }
    assert_eq!((upstream.count(), breaker(&app).as_str()), (3, "closed"));
    let models = app.health()["providers"]["p"]["models"].clone();
    assert_eq!(models["up"]["breaker"], "closed");
}

#[test]
fn the_route_tells_how_each_key_stands() {
    let upstream = Upstream::by(|call| match key(call).as_str() {
        "one" => telling("x-ratelimit-remaining-requests: 7\r\nx-ratelimit-reset-requests: 30s"),
        "two" => status(429, "rate_limit_exceeded", "retry-after: 20\r\n"),
        _ => status(401, "invalid_api_key", ""),
    });
    let app = alone(&pool(&upstream.url(), &[("one", ""), ("two", ""), ("three", ""), ("four", ", rpm = 9")]), SHORT);
    // A refused key's call goes on with the next, so that each is sent.
    app.until("each key was sent", |app| {
        app.chat("m").status == 200 && ["one", "two", "three", "four"].iter().all(|name| sent(&upstream, name) > 0)
    });
    app.until("told", |app| app.health()["providers"]["p"]["keys"][3]["status"] == "disabled");
    let keys = app.client().get("/v1/route?model=m").json()["targets"][0]["keys"].clone();
    let told: Vec<_> =
        keys.as_array().unwrap().iter().map(|key| (key["name"].as_str().unwrap(), key["status"].as_str().unwrap())).collect();
    assert_eq!(told, [("one", "active"), ("two", "cooling"), ("three", "disabled"), ("four", "disabled")]);
    assert_eq!((keys[0]["calls_left"].as_u64(), &keys[0]["wait_s"]), (Some(7), &serde_json::Value::Null));
    let wait = keys[1]["wait_s"].as_f64().unwrap();
    assert!(wait > 10.0 && wait <= 20.0, "{wait}");
}
