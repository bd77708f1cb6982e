//! POST /v1/messages: a caller of Anthropic's dialect. To targets of the same its bytes pass untouched; to others its request,
//! the answers, the streams and the errors are translated, and it sees nothing but its own dialect.

use std::io::Write;
use std::time::Duration;

use serde_json::{Value, json};

use super::support::anthropic::{self, closing, message, opening, word};
use super::support::faults::settled;
use super::support::{Reply, STREAM_HEAD, TestApp, Upstream, answer, chunk, plain, status, stream};

const PATIENT: &str =
    "[retry]\nsame_target = 0\n[breaker]\nconsecutive_failures = 100000\nfailure_ratio = 1.0\nminimum_requests = 100000\n";
const BODY: &str =
    r#"{ "model":"m", "max_tokens": 50,"x_unknown": {"a": 1.10}, "system":"Be brief.","messages":[{"role":"user","content":"Hello"}] }"#;

fn model(targets: &[(&str, &str)]) -> String {
    let rows: Vec<_> = targets.iter().map(|(provider, model)| format!("{{ provider = \"{provider}\", model = \"{model}\" }}")).collect();
    format!("[models.m]\nstrategy = \"ordered\"\ntargets = [{}]\n", rows.join(", "))
}

fn native(upstream: &Upstream) -> TestApp {
    TestApp::start(&format!("{PATIENT}{}{}", anthropic::provider("a", upstream, ""), model(&[("a", "claude-up")])))
}

fn foreign(upstream: &Upstream) -> TestApp {
    TestApp::start(&format!("{PATIENT}{}{}", upstream.provider("o"), model(&[("o", "gpt-4o")])))
}

fn ask(app: &TestApp, body: &str) -> Reply {
    app.client().post("/v1/messages", &[], body)
}

fn hello() -> Value {
    json!({"model": "m", "max_tokens": 50, "system": "Be brief.", "messages": [{"role": "user", "content": "Hello"}]})
}

fn streamed() -> String {
    let mut body = hello();
    body["stream"] = json!(true);
    body.to_string()
}

/// The events of a stream, each under the name that its data says.
fn events(reply: &Reply) -> Vec<Value> {
    let text = reply.text();
    let mut events = Vec::new();
    for event in text.split("\n\n").filter(|event| !event.is_empty() && !event.starts_with(':')) {
        let (name, data) = event.split_once("\ndata: ").unwrap_or_else(|| panic!("{event:?} in {text}"));
        let data: Value = serde_json::from_str(data).unwrap();
        assert_eq!(name.strip_prefix("event: "), data["type"].as_str(), "{text}");
        events.push(data);
    }
    events
}

fn said(events: &[Value]) -> String {
    events.iter().filter_map(|event| event["delta"]["text"].as_str()).collect()
}

#[test]
fn to_anthropics_own_targets_the_bytes_pass() {
    let whole = message(json!([{"type": "text", "text": "Hi", "x_unknown": 1.10}]), "end_turn").replace("\"id\"", "  \"id\"");
    let sent = whole.clone();
    let upstream =
        Upstream::by(move |call| if call.json()["stream"] == true { anthropic::stream_of(&["He", "llo"]) } else { plain(&sent) });
    let app = native(&upstream);
    let headers = [("anthropic-version", "2026-10-21"), ("anthropic-beta", "b-1"), ("x-api-key", "the caller's own")];
    let reply = app.client().post("/v1/messages?beta=true", &headers, BODY);
    assert_eq!((reply.status, reply.text()), (200, whole));
    assert_eq!(reply.header("request-id"), reply.header("x-request-id"));
    assert_eq!(reply.header("x-stagedoor-route"), Some("a/claude-up"));
    let call = &upstream.calls()[0];
    assert_eq!(call.text(), BODY.replace("\"m\"", "\"claude-up\""));
    assert_eq!((call.header("anthropic-version").as_deref(), call.header("anthropic-beta").as_deref()), (Some("2026-10-21"), Some("b-1")));
    assert_eq!(call.header("x-api-key").as_deref(), Some("sk-ant-secret"));
    let reply = ask(&app, &streamed());
    let all: String = [opening(), word("He"), word("llo"), closing("end_turn", 2)].concat();
    assert_eq!((reply.status, reply.whole, reply.text()), (200, true, all));
    assert_eq!(upstream.calls()[1].text(), streamed().replace("\"m\"", "\"claude-up\""), "the usage needs no asking");
    // 7 + 2 + 3 and 7 of the prompt; 4 and 2 of the answer.
    assert_eq!(app.metric("stagedoor_tokens_total{model=\"m\",kind=\"output\"}"), 6.0);
    settled(&app);
}

#[test]
fn an_answer_of_openais_is_anthropics_to_the_caller() {
    let upstream = Upstream::answering(answer("Hi"));
    let app = foreign(&upstream);
    let reply = ask(&app, &hello().to_string());
    let told = reply.json();
    assert_eq!((reply.status, &told["type"], &told["role"], &told["model"]), (200, &json!("message"), &json!("assistant"), &json!("up")));
    assert_eq!(told["content"], json!([{"type": "text", "text": "Hi"}]));
    assert_eq!((&told["stop_reason"], &told["stop_sequence"]), (&json!("end_turn"), &Value::Null));
    assert_eq!((&told["usage"]["input_tokens"], &told["usage"]["output_tokens"]), (&json!(1), &json!(1)));
    let sent = upstream.calls()[0].json();
    let asked = json!({"model": "gpt-4o", "max_tokens": 50, "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}]});
    assert_eq!(sent, asked);
}

#[test]
fn a_stream_of_openais_is_anthropics_to_the_caller() {
    let upstream = Upstream::by(|call| {
        assert_eq!(call.json()["stream_options"]["include_usage"], true);
        stream(&["He", "llo"])
    });
    let app = foreign(&upstream);
    let reply = ask(&app, &streamed());
    let events = events(&reply);
    let kinds: Vec<_> = events.iter().map(|event| event["type"].as_str().unwrap()).collect();
    assert_eq!(
        kinds,
        [
            "message_start",
            "content_block_start",
            "content_block_delta",
            "content_block_delta",
            "content_block_stop",
            "message_delta",
            "message_stop"
        ]
    );
    assert_eq!((said(&events).as_str(), &events[5]["delta"]["stop_reason"]), ("Hello", &json!("end_turn")));
    assert!(events[5]["usage"]["output_tokens"].is_u64());
    assert!(!reply.text().contains("[DONE]") && !reply.text().contains("choices"));
    settled(&app);
}

#[test]
fn tools_go_to_openai_and_calls_come_back() {
    let calls = r#"{"id":"c","object":"chat.completion","created":1,"model":"up","choices":[{"index":0,"finish_reason":"stop","message":{"role":"assistant","content":null,"tool_calls":[{"id":"call_1","type":"function","function":{"name":"f","arguments":"{\"z\":1.10,\"a\":2}"}}]}}],"usage":{"prompt_tokens":1,"completion_tokens":1}}"#;
    let upstream = Upstream::answering(plain(calls));
    let app = foreign(&upstream);
    let mut body = hello();
    body["tools"] = json!([{"name": "f", "input_schema": {"type": "object"}}]);
    body["tool_choice"] = json!({"type": "any"});
    let reply = ask(&app, &body.to_string());
    assert!(reply.text().contains(r#""input":{"z":1.10,"a":2}"#), "as the model wrote it: {}", reply.text());
    assert_eq!(reply.json()["stop_reason"], "tool_use");
    let sent = upstream.calls()[0].json();
    assert_eq!(sent["tools"], json!([{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]));
    assert_eq!(sent["tool_choice"], "required");
    body["messages"] = json!([{"role": "user", "content": "?"}, {"role": "assistant", "content": reply.json()["content"]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "call_1", "content": "42"}, {"type": "text", "text": "So?"}]}]);
    assert_eq!(ask(&app, &body.to_string()).status, 200);
    let turns = &upstream.calls()[1].json()["messages"];
    assert_eq!(turns[2]["tool_calls"][0]["id"], "call_1");
    assert_eq!(
        (&turns[3], &turns[4]),
        (&json!({"role": "tool", "tool_call_id": "call_1", "content": "42"}), &json!({"role": "user", "content": "So?"}))
    );
}

#[test]
fn errors_are_anthropics() {
    let keyed = "[auth]\nmode = \"keys\"\n[[auth.keys]]\nname = \"me\"\nkey = { value = \"sk-sd-mine-0123456789abcdef012345\" }\n";
    let upstream = Upstream::answering(anthropic::says("ok"));
    let app = TestApp::start(&format!("{keyed}{}{}", anthropic::provider("a", &upstream, ""), model(&[("a", "claude-up")])));
    let post = |headers: &[(&str, &str)], body: &str| app.client().post("/v1/messages", headers, body);
    let mine = [("x-api-key", "sk-sd-mine-0123456789abcdef012345")];
    for (reply, status, kind) in [
        (post(&[], BODY), 401, "authentication_error"),
        (post(&[("x-api-key", "wrong")], BODY), 401, "authentication_error"),
        (post(&mine, "{"), 400, "invalid_request_error"),
        (post(&mine, &BODY.replace("\"m\"", "\"nobody\"")), 404, "not_found_error"),
        (app.client().call("GET", "/v1/messages", &mine, ""), 405, "invalid_request_error"),
    ] {
        let told = reply.json();
        assert_eq!((reply.status, &told["type"], &told["error"]["type"]), (status, &json!("error"), &json!(kind)), "{told}");
        assert!(told["error"]["message"].as_str().is_some_and(|text| text.len() > 10), "{told}");
        assert!(reply.header("request-id").is_some());
    }
    for headers in [&mine[..], &[("authorization", "Bearer sk-sd-mine-0123456789abcdef012345")]] {
        assert_eq!(post(headers, BODY).status, 200);
    }
    assert_eq!(app.client().post("/v1/chat/completions", &mine, BODY).status, 401, "there it is no key");
    // An upstream's own refusal: of the same dialect as it is, of the other in the caller's words.
    let refusal = anthropic::error(400, "invalid_request_error", "");
    let reply = ask(&native(&Upstream::answering(refusal)), BODY);
    assert_eq!((reply.status, reply.json()["request_id"].as_str()), (400, Some("req_1")));
    let reply = ask(&foreign(&Upstream::answering(status(400, "bad_thing", ""))), &hello().to_string());
    assert_eq!(
        (reply.status, reply.json()),
        (400, json!({"type": "error", "error": {"type": "invalid_request_error", "message": "upstream says 400"}}))
    );
    // Every target failed.
    let reply = ask(&foreign(&Upstream::answering(status(500, "x", ""))), &hello().to_string());
    assert_eq!((reply.status, &reply.json()["error"]["type"]), (502, &json!("api_error")));
    let reply = ask(&foreign(&Upstream::answering(status(429, "rate_limit_exceeded", "retry-after: 7\r\n"))), &hello().to_string());
    assert_eq!((reply.status, &reply.json()["error"]["type"], reply.header("retry-after")), (429, &json!("rate_limit_error"), Some("7")));
}

#[test]
fn failover_is_unseen_either_way() {
    let (broken, ok) = (
        Upstream::answering(anthropic::error(529, "overloaded_error", "")),
        Upstream::by(|call| if call.json()["stream"] == true { stream(&["a"]) } else { answer("a") }),
    );
    let app = TestApp::start(&format!(
        "{PATIENT}{}{}{}",
        anthropic::provider("a", &broken, ""),
        ok.provider("o"),
        model(&[("a", "claude-up"), ("o", "gpt-4o")])
    ));
    let reply = ask(&app, &hello().to_string());
    assert_eq!(
        (reply.json()["content"][0]["text"].as_str(), reply.header("x-stagedoor-route")),
        (Some("a"), Some("a/claude-up!529,o/gpt-4o"))
    );
    assert_eq!(said(&events(&ask(&app, &streamed()))), "a");
    let (broken, ok) = (Upstream::answering(status(500, "x", "")), Upstream::answering(anthropic::says("b")));
    let app = TestApp::start(&format!(
        "{PATIENT}{}{}{}",
        broken.provider("o"),
        anthropic::provider("a", &ok, ""),
        model(&[("o", "gpt-4o"), ("a", "claude-up")])
    ));
    assert_eq!(ask(&app, BODY.replace("\"x_unknown\": {\"a\": 1.10}, ", "").as_str()).json()["content"][0]["text"], "b");
}

#[test]
fn a_stream_that_breaks_ends_with_an_error_event() {
    let half = [opening(), word("He")].map(|event| chunk(&event)).concat();
    let foreign_half = chunk(&super::support::event("He"));
    for (app, _upstream) in [
        {
            let upstream = Upstream::answering(format!("{STREAM_HEAD}{half}0\r\n\r\n"));
            (native(&upstream), upstream)
        },
        {
            let upstream = Upstream::answering(format!("{STREAM_HEAD}{foreign_half}0\r\n\r\n"));
            (foreign(&upstream), upstream)
        },
    ] {
        let reply = ask(&app, &streamed());
        let events = events(&reply);
        let last = events.last().unwrap();
        assert_eq!(
            (said(&events).as_str(), &last["type"], &last["error"]["type"]),
            ("He", &json!("error"), &json!("api_error")),
            "{}",
            reply.text()
        );
        assert!(last["error"]["message"].as_str().unwrap().contains("broke off"), "{last}");
        assert!(!reply.text().contains("message_stop"));
        settled(&app);
    }
}

#[test]
fn a_heartbeat_is_a_ping() {
    let upstream = Upstream::start(|_, connection| {
        std::thread::sleep(Duration::from_millis(400));
        connection.write_all(&stream(&["late"])).is_ok()
    });
    let app = TestApp::start(&format!("[server]\nheartbeat = \"100ms\"\n{}{}", upstream.provider("o"), model(&[("o", "gpt-4o")])));
    let reply = ask(&app, &streamed());
    let events = events(&reply);
    assert_eq!((&events[0]["type"], said(&events).as_str()), (&json!("ping"), "late"), "{}", reply.text());
    assert!(!reply.text().contains(": stagedoor"), "{}", reply.text());
}

#[test]
fn what_only_anthropic_can_do_is_told_or_goes_to_anthropic() {
    let (openai, claude) = (Upstream::answering(answer("o")), Upstream::answering(anthropic::says("a")));
    let app = TestApp::start(&format!(
        "{PATIENT}{}{}{}",
        openai.provider("o"),
        anthropic::provider("a", &claude, ""),
        model(&[("o", "gpt-4o"), ("a", "claude-up")])
    ));
    let mut body = hello();
    body["tools"] = json!([{"type": "web_search_20250305", "name": "web_search"}]);
    let reply = ask(&app, &body.to_string());
    assert_eq!(
        (reply.json()["content"][0]["text"].as_str(), reply.header("x-stagedoor-route")),
        (Some("a"), Some("o/gpt-4o!unfit,a/claude-up"))
    );
    let alone = foreign(&openai);
    let reply = ask(&alone, &body.to_string());
    assert_eq!((reply.status, &reply.json()["error"]["type"]), (400, &json!("invalid_request_error")));
    assert!(reply.text().contains("web_search_20250305"), "{}", reply.text());
    let mut body = hello();
    body["thinking"] = json!({"type": "enabled", "budget_tokens": 2000});
    body["top_k"] = json!(5);
    let reply = ask(&alone, &body.to_string());
    assert_eq!((reply.status, reply.header("x-stagedoor-dropped")), (200, Some("top_k, thinking")), "{}", reply.text());
}

#[test]
fn tokens_are_counted_by_anthropic_or_about() {
    let upstream = Upstream::answering(plain(r#"{"input_tokens": 2095}"#));
    let app = native(&upstream);
    let count = |app: &TestApp, body: &str| app.client().post("/v1/messages/count_tokens", &[], body);
    let reply = count(&app, BODY);
    assert_eq!((reply.status, reply.text().as_str()), (200, r#"{"input_tokens": 2095}"#));
    let call = &upstream.calls()[0];
    assert!(call.head.starts_with("POST /v1/messages/count_tokens HTTP/1.1"), "{}", call.head);
    assert_eq!(call.text(), BODY.replace("\"m\"", "\"claude-up\""));
    assert_eq!(app.metric("stagedoor_tokens_total{model=\"m\",kind=\"input\"}"), 0.0, "it costs nothing");
    let openai = Upstream::answering(answer("Hi"));
    let told = count(&foreign(&openai), &hello().to_string()).json();
    assert!(told["input_tokens"].as_u64().is_some_and(|tokens| (1..50).contains(&tokens)), "{told}");
    assert_eq!(openai.count(), 0);
    let reply = count(&native(&Upstream::answering(anthropic::error(400, "invalid_request_error", ""))), BODY);
    assert_eq!((reply.status, &reply.json()["error"]["type"]), (400, &json!("invalid_request_error")));
    let odd = Upstream::answering(plain("{}"));
    assert_eq!(count(&native(&odd), BODY).status, 502, "no count is no answer");
}

#[test]
fn thoughts_without_their_proof_leave_no_empty_turn() {
    let upstream = Upstream::answering(anthropic::says("a"));
    let app = native(&upstream);
    let mut body = json!({"model": "m", "messages": [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "", "reasoning_content": "Hm."},
        {"role": "user", "content": "So?"}]});
    let reply = app.client().post("/v1/chat/completions", &[], &body.to_string());
    assert_eq!((reply.status, reply.header("x-stagedoor-dropped")), (200, Some("messages[].reasoning_content")));
    let turns = [json!({"type": "text", "text": "Hello"}), json!({"type": "text", "text": "So?"})];
    assert_eq!(upstream.calls()[0].json()["messages"], json!([{"role": "user", "content": turns}]));
    body["messages"][1]["content"] = json!("Yes.");
    assert_eq!(app.client().post("/v1/chat/completions", &[], &body.to_string()).status, 200);
    assert_eq!(upstream.calls()[1].json()["messages"][1], json!({"role": "assistant", "content": [{"type": "text", "text": "Yes."}]}));
}
