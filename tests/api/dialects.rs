//! A caller of one dialect and targets of another: the request in the target's words, the answer, the stream and the errors in
//! the caller's; failover and recovery between them; and what can't be said, told by name or refused.

use std::time::Duration;

use serde_json::{Value, json};

use super::support::anthropic::{self, closing, message, opening, word};
use super::support::continuing::{Death, dying, mortal, onward, text, words};
use super::support::faults::settled;
use super::support::{Reply, TestApp, Upstream, answer, plain, status, stream};

const PATIENT: &str =
    "[retry]\nsame_target = 0\n[breaker]\nconsecutive_failures = 100000\nfailure_ratio = 1.0\nminimum_requests = 100000\n";

/// The model `m` at these targets, in order.
fn model(targets: &[(&str, &str)]) -> String {
    let rows: Vec<_> = targets.iter().map(|(provider, model)| format!("{{ provider = \"{provider}\", model = \"{model}\" }}")).collect();
    format!("[models.m]\nstrategy = \"ordered\"\ntargets = [{}]\n", rows.join(", "))
}

/// A gateway whose model `m` is served by Anthropic's dialect alone.
fn gateway(upstream: &Upstream) -> TestApp {
    TestApp::start(&format!("{PATIENT}{}{}", anthropic::provider("a", upstream, ""), model(&[("a", "claude-haiku-4-5")])))
}

fn ask(app: &TestApp, body: &Value) -> Reply {
    app.client().post("/v1/chat/completions", &[], &body.to_string())
}

fn hello() -> Value {
    json!({"model": "m", "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}]})
}

#[test]
fn an_answer_of_anthropics_is_openais_to_the_caller() {
    let upstream = Upstream::answering(anthropic::says("Hi \\\"there\\\""));
    let app = gateway(&upstream);
    let reply = app.client().post(
        "/v1/chat/completions",
        &[("openai-beta", "x=1"), ("anthropic-beta", "y"), ("idempotency-key", "i-1"), ("traceparent", "00-a-b-01")],
        &hello().to_string(),
    );
    let said = reply.json();
    assert_eq!(
        (reply.status, &said["object"], &said["id"], &said["model"]),
        (200, &json!("chat.completion"), &json!("msg_01"), &json!("claude-up"))
    );
    let choice = &said["choices"][0];
    assert_eq!(choice["message"], json!({"role": "assistant", "content": "Hi \\\"there\\\"", "refusal": null}));
    assert_eq!((&choice["finish_reason"], &choice["index"]), (&json!("stop"), &json!(0)));
    let usage = &said["usage"];
    assert_eq!((&usage["prompt_tokens"], &usage["completion_tokens"], &usage["total_tokens"]), (&json!(12), &json!(4), &json!(16)));
    assert_eq!(usage["prompt_tokens_details"], json!({"cached_tokens": 3, "cache_write_tokens": 2}));
    assert!(said["created"].as_u64().is_some_and(|at| at > 1_700_000_000), "{said}");
    assert_eq!(reply.header("x-stagedoor-route"), Some("a/claude-haiku-4-5"));
    assert_eq!(reply.header("x-stagedoor-dropped"), None);
    let call = &upstream.calls()[0];
    assert!(call.head.starts_with("POST /v1/messages HTTP/1.1"), "{}", call.head);
    for (name, value) in [
        ("x-api-key", Some("sk-ant-secret")),
        ("anthropic-version", Some("2023-06-01")),
        ("authorization", None),
        ("openai-beta", None),
        ("anthropic-beta", None),
        ("idempotency-key", Some("i-1")),
        ("traceparent", Some("00-a-b-01")),
        ("content-type", Some("application/json")),
    ] {
        assert_eq!(call.header(name).as_deref(), value, "{name}");
    }
    let sent = json!({
        "model": "claude-haiku-4-5", "max_tokens": 64_000, "system": [{"type": "text", "text": "Be brief."}],
        "messages": [{"role": "user", "content": [{"type": "text", "text": "Hello"}]}],
    });
    assert_eq!(call.json(), sent);
    assert_eq!(
        app.metric("stagedoor_tokens_total{model=\"m\",kind=\"input\"}")
            + app.metric("stagedoor_tokens_total{model=\"m\",kind=\"cached\"}"),
        12.0 + 3.0
    );
    settled(&app);
}

#[test]
fn a_base_url_with_or_without_the_version_and_a_bearer_key() {
    let upstream = Upstream::answering(anthropic::says("ok"));
    let row = format!(
        "[providers.a]\ndialect = \"anthropic\"\nbase_url = \"{}\"\nauth = \"bearer\"\nkeys = [{{ value = \"k\" }}]\nheaders = {{ anthropic-version = \"2026-10-21\" }}\n",
        upstream.url()
    );
    let app = TestApp::start(&format!("{row}{}", model(&[("a", "claude-haiku-4-5")])));
    assert_eq!(ask(&app, &hello()).content(), "ok");
    let call = &upstream.calls()[0];
    assert!(call.head.starts_with("POST /v1/messages HTTP/1.1"), "{}", call.head);
    assert_eq!((call.header("authorization").as_deref(), call.header("x-api-key")), (Some("Bearer k"), None));
    assert_eq!(call.header("anthropic-version").as_deref(), Some("2026-10-21"), "the settings' own");
}

#[test]
fn tools_go_there_and_calls_come_back() {
    let calls = json!([
        {"type": "thinking", "thinking": "Hm.", "signature": "sig"},
        {"type": "text", "text": "Let me see."},
        {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"z": 1.10, "a": "Paris"}},
        {"type": "tool_use", "id": "toolu_2", "name": "time", "input": {}},
    ]);
    let upstream = Upstream::answering(plain(&message(calls, "tool_use")));
    let app = gateway(&upstream);
    let mut body = hello();
    let schema = json!({"type": "object", "properties": {"a": {"type": "string"}}});
    body["tools"] =
        json!([{"type": "function", "function": {"name": "weather", "description": "d", "parameters": schema, "strict": true}}]);
    body["tool_choice"] = json!({"type": "function", "function": {"name": "weather"}});
    let said = ask(&app, &body).json();
    let message = &said["choices"][0]["message"];
    assert_eq!(said["choices"][0]["finish_reason"], "tool_calls");
    assert_eq!(
        message["tool_calls"][0],
        json!({"id": "toolu_1", "type": "function", "function": {"name": "weather", "arguments": "{\"a\":\"Paris\",\"z\":1.1}"}})
    );
    assert_eq!(message["tool_calls"][1]["function"]["arguments"], "{}");
    assert_eq!((&message["content"], &message["reasoning_content"]), (&json!("Let me see."), &json!("Hm.")));
    let sent = upstream.calls()[0].json();
    assert_eq!(sent["tools"], json!([{"name": "weather", "description": "d", "input_schema": schema, "strict": true}]));
    assert_eq!(sent["tool_choice"], json!({"type": "tool", "name": "weather"}));
    // The whole turn goes back, thoughts with their proof, and the results behind it.
    let mut next = body.clone();
    let turns = next["messages"].as_array_mut().unwrap();
    turns.push(message.clone());
    turns.push(json!({"role": "tool", "tool_call_id": "toolu_1", "content": "rain"}));
    turns.push(json!({"role": "tool", "tool_call_id": "toolu_2", "content": "noon"}));
    assert_eq!(ask(&app, &next).status, 200);
    let sent = upstream.calls()[1].json();
    assert_eq!(sent["messages"][1]["content"][0], json!({"type": "thinking", "thinking": "Hm.", "signature": "sig"}));
    assert_eq!(sent["messages"][1]["content"][2]["input"], json!({"z": 1.1, "a": "Paris"}));
    assert_eq!(
        sent["messages"][2],
        json!({"role": "user", "content": [
        {"type": "tool_result", "tool_use_id": "toolu_1", "content": "rain"}, {"type": "tool_result", "tool_use_id": "toolu_2", "content": "noon"}]})
    );
}

#[test]
fn a_stream_of_anthropics_is_openais_to_the_caller() {
    let upstream = Upstream::by(|call| {
        assert_eq!(call.json()["stream"], true);
        assert!(call.json().get("stream_options").is_none());
        anthropic::stream_of(&["He", "l\\\"lo", " 舞台"])
    });
    let app = gateway(&upstream);
    for usage in [true, false] {
        let mut body = hello();
        body["stream"] = json!(true);
        if usage {
            body["stream_options"] = json!({"include_usage": true});
        }
        let reply = ask(&app, &body);
        let text = reply.text();
        assert_eq!((reply.status, reply.whole, reply.terminals(), reply.words().as_str()), (200, true, 1, "Hel\\\"lo 舞台"), "{text}");
        assert_eq!((text.matches("\"role\"").count(), text.matches("\"finish_reason\":\"stop\"").count()), (1, 1), "{text}");
        let events: Vec<Value> = reply.events().iter().filter_map(|data| serde_json::from_str(data).ok()).collect();
        assert!(
            events
                .iter()
                .all(|event| event["id"] == "msg_01" && event["model"] == "claude-up" && event["object"] == "chat.completion.chunk")
        );
        let told: Vec<_> = events.iter().filter(|event| event["usage"].is_object()).collect();
        assert_eq!(told.len(), usize::from(usage), "{text}");
        assert!(!usage || told[0]["usage"]["total_tokens"] == 10, "{text}");
        assert!(!text.contains("message_start") && !text.contains("event:"), "{text}");
    }
    settled(&app);
}

#[test]
fn a_plain_answer_to_a_streamed_request_becomes_a_stream() {
    let upstream = Upstream::answering(anthropic::says("all at once"));
    let app = gateway(&upstream);
    let mut body = hello();
    body["stream"] = json!(true);
    let reply = ask(&app, &body);
    assert_eq!((reply.words().as_str(), reply.terminals()), ("all at once", 1), "{}", reply.text());
}

/// As it says that it has no such model, and that its account has run dry: neither is the request's fault, nor the caller's to read.
#[test]
fn anthropics_words_for_a_retired_model_and_an_empty_account_are_understood() {
    let other = Upstream::answering(answer("from openai"));
    for (code, kind, message, name) in [
        (404, "not_found_error", "model: claude-haiku-4-5", "model_missing"),
        (
            400,
            "invalid_request_error",
            "Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing to upgrade or purchase credits.",
            "key_fault",
        ),
    ] {
        let body = json!({"type": "error", "error": {"type": kind, "message": message}}).to_string();
        let text = format!("HTTP/1.1 {code} No\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        let upstream = Upstream::answering(text);
        let providers = anthropic::provider("a", &upstream, "") + &other.provider("o");
        let app = TestApp::start(&format!("{providers}{}", model(&[("a", "claude-haiku-4-5"), ("o", "gpt-4o")])));
        let reply = app.chat("m");
        let route = format!("a/claude-haiku-4-5!{name},o/gpt-4o");
        assert_eq!((reply.status, reply.header("x-stagedoor-route")), (200, Some(&*route)), "{}", reply.text());
        app.until("it is out", |app| {
            let provider = app.health()["providers"]["a"].to_string();
            provider.contains("no such model") || provider.contains("disabled")
        });
        app.chat("m");
        assert_eq!(upstream.count(), 1, "{name}: it isn't asked again");

        let alone = TestApp::start(&(anthropic::provider("a", &upstream, "") + &model(&[("a", "claude-haiku-4-5")])));
        let reply = alone.chat("m");
        assert!(!reply.text().contains("Billing"), "{}", reply.text());
    }
}

#[test]
fn anthropics_errors_move_on_and_the_last_is_told_in_openais_shape() {
    let other = Upstream::answering(answer("from openai"));
    for (failure, name) in [
        (anthropic::error(529, "overloaded_error", ""), "529"),
        (anthropic::error(500, "api_error", ""), "500"),
        (anthropic::error(429, "rate_limit_error", "retry-after: 9\r\n"), "rate_limited"),
        (anthropic::error(401, "authentication_error", ""), "key_fault"),
        (anthropic::error(404, "not_found_error", ""), "wrong_place"),
        (
            anthropic::stream(&[anthropic::event(&json!({"type": "error", "error": {"type": "overloaded_error", "message": "m"}}))]),
            "error_body",
        ),
    ] {
        let upstream = Upstream::answering(failure);
        let settings = format!(
            "{PATIENT}{}{}{}",
            anthropic::provider("a", &upstream, ""),
            other.provider("o"),
            model(&[("a", "claude-haiku-4-5"), ("o", "gpt-4o")])
        );
        let app = TestApp::start(&settings);
        let mut body = hello();
        body["stream"] = json!(name == "error_body");
        let reply = ask(&app, &body);
        let route = reply.header("x-stagedoor-route").unwrap_or_default().to_owned();
        assert_eq!(reply.status, 200, "{name}: {}", reply.text());
        assert!(route.starts_with(&format!("a/claude-haiku-4-5!{name}")) && route.ends_with("o/gpt-4o"), "{name}: {route}");
    }
    // What is the caller's own fault is its to see.
    let upstream = Upstream::answering(anthropic::error(400, "invalid_request_error", ""));
    let reply = ask(&gateway(&upstream), &hello());
    let error = &reply.json()["error"];
    assert_eq!((reply.status, &error["type"], &error["message"]), (400, &json!("invalid_request_error"), &json!("anthropic says 400")));
    assert!(reply.json().get("request_id").is_none() && error.get("param").is_some() && error.get("code").is_some());
    // What isn't is not.
    let reply = ask(&gateway(&Upstream::answering(anthropic::error(401, "authentication_error", ""))), &hello());
    assert_eq!((reply.status, reply.code().as_str(), reply.text().contains("anthropic says")), (502, "all_targets_failed", false));
}

#[test]
fn a_cut_or_odd_answer_of_anthropics_moves_on() {
    let whole = message(json!([{"type": "text", "text": "x"}]), "end_turn");
    for body in [&whole[..whole.len() - 3], "{\"type\":\"message\"}", "{\"content\":3}", "[]", ""] {
        let odd = Upstream::answering(plain(body));
        let other = Upstream::answering(answer("from openai"));
        let settings = format!(
            "{PATIENT}{}{}{}",
            anthropic::provider("a", &odd, ""),
            other.provider("o"),
            model(&[("a", "claude-haiku-4-5"), ("o", "gpt-4o")])
        );
        assert_eq!(ask(&TestApp::start(&settings), &hello()).content_or_empty(), "from openai", "{body}");
    }
}

#[test]
fn an_openai_targets_failure_ends_at_anthropic() {
    let broken = Upstream::answering(status(500, "server_error", ""));
    let upstream =
        Upstream::by(|call| if call.json()["stream"] == true { anthropic::stream_of(&["a", "b"]) } else { anthropic::says("ab") });
    let settings = format!(
        "{PATIENT}{}{}{}",
        broken.provider("o"),
        anthropic::provider("a", &upstream, ""),
        model(&[("o", "gpt-4o"), ("a", "claude-haiku-4-5")])
    );
    let app = TestApp::start(&settings);
    let reply = ask(&app, &hello());
    assert_eq!((reply.content().as_str(), reply.header("x-stagedoor-route")), ("ab", Some("o/gpt-4o!500,a/claude-haiku-4-5")));
    let reply = app.stream("m");
    assert_eq!((reply.words().as_str(), reply.terminals()), ("ab", 1), "{}", reply.text());
    assert_eq!(broken.calls()[0].text(), hello().to_string().replace("\"m\"", "\"gpt-4o\""), "the same dialect's bytes pass as they are");
}

fn assert_whole(reply: &Reply, about: &str) {
    let text = reply.text();
    assert_eq!((reply.status, reply.whole, reply.terminals()), (200, true, 1), "{about}: {text}");
    assert_eq!(reply.words(), self::text(), "{about}: {text}");
    assert_eq!((text.matches("\"finish_reason\":\"stop\"").count(), text.matches("\"role\"").count()), (1, 1), "{about}: {text}");
    assert!(!text.contains("\"error\"") && !text.contains("sk-live"), "{about}: {text}");
}

#[test]
fn a_stream_begun_at_one_dialect_ends_at_the_other() {
    let (a_dies, o_dies, a_goes_on, o_goes_on) = (anthropic::mortal(), mortal(), anthropic::onward(), onward("prefix"));
    let quick = "timeouts = { idle = \"250ms\", first_token = \"2s\" }";
    let providers = [
        anthropic::provider("ad", &a_dies, quick),
        o_dies.provider("od") + quick + "\n",
        anthropic::provider("ag", &a_goes_on, ""),
        o_goes_on.provider("og") + "continuation = \"prefix\"\n",
    ];
    let chains = [
        ("to_openai", "ad", "claude-haiku-4-5", "og", "deepseek"),
        ("prefilled", "od", "gpt-4o", "ag", "claude-haiku-4-5"),
        ("quoted", "od", "gpt-4o", "ag", "claude-opus-4-6"),
    ];
    let models: String = chains
        .iter()
        .map(|(name, first, up, second, then)| {
            format!("[models.{name}]\nstrategy = \"ordered\"\ntargets = [{{ provider = \"{first}\", model = \"{up}\" }}, {{ provider = \"{second}\", model = \"{then}\" }}]\n")
        })
        .collect();
    let app = TestApp::start(&format!("{PATIENT}{}{models}", providers.concat()));
    for (name, first, up, second, then) in chains {
        for death in Death::ALL {
            for at in [1, 7, 30, 59] {
                let mut body: Value = serde_json::from_str(&dying(name, death, at)).unwrap();
                body.as_object_mut().unwrap().remove("x_unknown");
                let reply = ask(&app, &body);
                let about = format!("{name} after {death:?} at {at}");
                assert_whole(&reply, &about);
                let seam =
                    format!(": stagedoor recovered from={first}/{up} to={second}/{then} at={}", words()[..at].concat().chars().count());
                assert!(reply.text().contains(&seam), "{about}: {}", reply.text());
            }
        }
    }
    let sent = |upstream: &Upstream| upstream.calls().last().unwrap().json();
    let asked = sent(&a_goes_on);
    assert_eq!((&asked["model"], &asked["messages"][0]["role"]), (&json!("claude-opus-4-6"), &json!("user")));
    assert!(asked["max_tokens"].as_u64().unwrap() < 500, "less what was said: {asked}");
    let prefilled = a_goes_on.calls().into_iter().map(|call| call.json()).find(|asked| asked["model"] == "claude-haiku-4-5").unwrap();
    let last = prefilled["messages"].as_array().unwrap().last().unwrap().clone();
    assert_eq!(last["role"], "assistant");
    settled(&app);
}

#[test]
fn with_nobody_behind_it_a_death_is_told_and_never_an_end() {
    let upstream = anthropic::mortal();
    let row = anthropic::provider("a", &upstream, "timeouts = { idle = \"250ms\" }");
    let app = TestApp::start(&format!("{PATIENT}{row}{}", model(&[("a", "claude-haiku-4-5")])));
    for death in Death::ALL {
        let mut body: Value = serde_json::from_str(&dying("m", death, 5)).unwrap();
        body.as_object_mut().unwrap().remove("x_unknown");
        let reply = ask(&app, &body);
        assert_eq!((reply.terminals(), reply.words()), (0, words()[..5].concat()), "{death:?}");
        let last: Value = serde_json::from_str(reply.events().last().unwrap()).unwrap();
        assert_eq!(last["error"]["type"], "upstream_error", "{death:?}: {}", reply.text());
        assert!(!reply.text().contains("sk-live"), "{death:?}");
    }
}

#[test]
fn pings_are_no_words() {
    let upstream = Upstream::start(|_, stream| {
        use std::io::Write;
        let ping = super::support::chunk(&anthropic::event(&json!({"type": "ping"})));
        let head = format!("{}{}", super::support::STREAM_HEAD, super::support::chunk(&opening()));
        let _ = stream.write_all(head.as_bytes());
        for _ in 0..20 {
            if stream.write_all(ping.as_bytes()).is_err() {
                return false;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        false
    });
    let other = Upstream::answering(stream(&["from openai"]));
    let row = anthropic::provider("a", &upstream, "timeouts = { first_token = \"200ms\" }");
    let app = TestApp::start(&format!("{PATIENT}{row}{}{}", other.provider("o"), model(&[("a", "claude-haiku-4-5"), ("o", "gpt-4o")])));
    let reply = app.stream("m");
    assert_eq!(reply.words(), "from openai");
    assert_eq!(reply.header("x-stagedoor-route"), Some("a/claude-haiku-4-5!first_token_timeout,o/gpt-4o"));
}

#[test]
fn what_is_left_out_is_told_and_what_cannot_be_left_out_moves_on() {
    let upstream = Upstream::answering(anthropic::says("a"));
    let app = gateway(&upstream);
    let mut body = hello();
    body["seed"] = json!(7);
    body["metadata"] = json!({"a": "b"});
    body["presence_penalty"] = json!(0.5);
    body["frequency_penalty"] = json!(0);
    let reply = ask(&app, &body);
    assert_eq!((reply.status, reply.header("x-stagedoor-dropped")), (200, Some("metadata, presence_penalty, seed")));
    // Nobody can say it: the reason is told, and nobody was called.
    let calls = upstream.count();
    for (field, value, reason) in [
        ("n", json!(2), "can't carry several answers at once (`n`)"),
        ("logprobs", json!(true), "can't carry `logprobs`"),
        ("guided_json", json!({}), "can't carry `guided_json`"),
        ("response_format", json!({"type": "json_object"}), "any JSON object"),
        ("stop", json!("\n"), "only white space"),
    ] {
        let mut body = hello();
        body[field] = value;
        let reply = ask(&app, &body);
        assert_eq!((reply.status, reply.code().as_str()), (400, "no_fitting_target"), "{field}: {}", reply.text());
        assert!(reply.text().contains(reason) && reply.text().contains("a/claude-haiku-4-5"), "{field}: {}", reply.text());
    }
    assert_eq!(upstream.count(), calls);
    // Somebody can: the other is passed over, and the route says so.
    let other = Upstream::answering(answer("from openai"));
    let settings = format!(
        "{PATIENT}{}{}{}",
        anthropic::provider("a", &upstream, ""),
        other.provider("o"),
        model(&[("a", "claude-haiku-4-5"), ("o", "gpt-4o")])
    );
    let app = TestApp::start(&settings);
    let mut body = hello();
    body["n"] = json!(2);
    let reply = ask(&app, &body);
    assert_eq!(
        (reply.content().as_str(), reply.header("x-stagedoor-route"), reply.header("x-stagedoor-attempts")),
        ("from openai", Some("a/claude-haiku-4-5!unfit,o/gpt-4o"), Some("1"))
    );
    assert_eq!((other.calls()[0].json()["n"].clone(), upstream.count()), (json!(2), calls));
    settled(&app);
}

#[test]
fn an_event_that_is_not_json_is_passed_over() {
    let events = [
        opening(),
        "event: x\ndata: nonsense\n\n".to_owned(),
        word("a"),
        "data: {\"type\":\n\n".to_owned(),
        word("b"),
        closing("max_tokens", 2),
    ];
    let upstream = Upstream::answering(anthropic::stream(&events));
    let app = gateway(&upstream);
    let reply = app.stream("m");
    assert_eq!((reply.words().as_str(), reply.terminals()), ("ab", 1), "{}", reply.text());
    assert!(reply.text().contains("\"finish_reason\":\"length\"") && !reply.text().contains("nonsense"));
}

#[test]
fn a_large_request_and_a_large_answer_are_carried_whole() {
    let long = "a \"long\" word ".repeat(60_000);
    let said = long.clone();
    let upstream =
        Upstream::by(move |call| if call.json()["stream"] == true { anthropic::stream_of(&["a", "b"]) } else { anthropic::says(&said) });
    let app = gateway(&upstream);
    let mut body = hello();
    body["messages"].as_array_mut().unwrap().push(json!({"role": "user", "content": long}));
    let reply = ask(&app, &body);
    assert_eq!((reply.status, reply.content() == long), (200, true));
    body["stream"] = json!(true);
    assert_eq!(ask(&app, &body).words(), "ab");
    let sent = upstream.calls()[1].json();
    let last = &sent["messages"].as_array().unwrap().last().unwrap()["content"];
    assert!(last.as_array().unwrap().iter().any(|block| block["text"] == *long), "the words as they are");
    body["n"] = json!(2);
    assert_eq!(ask(&app, &body).code(), "no_fitting_target");
}
