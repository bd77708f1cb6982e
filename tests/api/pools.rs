//! Key pools: each key's own limits, kept by what a call is estimated to cost and put right by what it did cost.

use super::support::faults::{SHORT, alone, breaker, closed_port, provider_at};
use super::support::{Call, STREAM_HEAD, TestApp, Upstream, answer, chunk, event, plain, stream, stream_body};

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
