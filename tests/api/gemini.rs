//! Targets that speak the Gemini API, to callers of OpenAI's and Anthropic's: the request in Google's words and at its path,
//! the answer, the stream and the errors in the caller's, and failover to and from them.

use serde_json::{Value, json};

use super::support::continuing::{Death, dying, mortal, onward, text};
use super::support::faults::settled;
use super::support::gemini::{self, error, generated, provider, says, stream_of, streamed};
use super::support::{Reply, TestApp, Upstream, answer, plain, status, stream};

const PATIENT: &str =
    "[retry]\nsame_target = 0\n[breaker]\nconsecutive_failures = 100000\nfailure_ratio = 1.0\nminimum_requests = 100000\n";

/// The model `m` at these targets, in order.
fn model(targets: &[(&str, &str)]) -> String {
    let rows: Vec<_> = targets.iter().map(|(provider, model)| format!("{{ provider = \"{provider}\", model = \"{model}\" }}")).collect();
    format!("[models.m]\nstrategy = \"ordered\"\ntargets = [{}]\n", rows.join(", "))
}

/// A gateway whose model `m` is served by the Gemini API alone.
fn gateway(upstream: &Upstream) -> TestApp {
    TestApp::start(&format!("{PATIENT}{}{}", provider(upstream, ""), model(&[("g", "gemini-3.8-flash")])))
}

fn ask(app: &TestApp, body: &Value) -> Reply {
    app.client().post("/v1/chat/completions", &[], &body.to_string())
}

fn hello() -> Value {
    json!({"model": "m", "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}]})
}

#[test]
fn an_answer_of_geminis_is_openais_to_the_caller() {
    let upstream = Upstream::answering(says("Hi \"there\""));
    let app = gateway(&upstream);
    let mut body = hello();
    body["frequency_penalty"] = json!(0.5);
    let reply = ask(&app, &body);
    let said = reply.json();
    assert_eq!(
        (reply.status, &said["object"], &said["id"], &said["model"]),
        (200, &json!("chat.completion"), &json!("resp1"), &json!("gemini-up"))
    );
    assert_eq!(said["choices"][0]["message"], json!({"role": "assistant", "content": "Hi \"there\"", "refusal": null}));
    assert_eq!(said["choices"][0]["finish_reason"], "stop");
    let usage = &said["usage"];
    assert_eq!((&usage["prompt_tokens"], &usage["completion_tokens"], &usage["total_tokens"]), (&json!(12), &json!(6), &json!(18)));
    assert_eq!(
        (&usage["prompt_tokens_details"]["cached_tokens"], &usage["completion_tokens_details"]["reasoning_tokens"]),
        (&json!(3), &json!(2))
    );
    assert_eq!(reply.header("x-stagedoor-dropped"), Some("frequency_penalty"));
    let call = &upstream.calls()[0];
    assert!(call.head.starts_with("POST /v1beta/models/gemini-3.8-flash:generateContent HTTP/1.1"), "{}", call.head);
    assert_eq!((call.header("x-goog-api-key").as_deref(), call.header("authorization")), (Some("goog-secret"), None));
    let sent =
        json!({"systemInstruction": {"parts": [{"text": "Be brief."}]}, "contents": [{"role": "user", "parts": [{"text": "Hello"}]}]});
    assert_eq!(call.json(), sent);
    settled(&app);
}

#[test]
fn tools_go_there_and_calls_come_back_with_their_proof() {
    let parts = json!([
        {"text": "Hm.", "thought": true},
        {"functionCall": {"name": "weather", "args": {"a": "Paris"}}, "thoughtSignature": "c2ln"},
        {"functionCall": {"id": "own-1", "name": "time", "args": {}}},
    ]);
    let upstream = Upstream::answering(plain(&generated(&parts, Some("STOP")).to_string()));
    let app = gateway(&upstream);
    let mut body = hello();
    let schema = json!({"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": false});
    body["tools"] = json!([{"type": "function", "function": {"name": "weather", "description": "d", "parameters": schema}}]);
    let said = ask(&app, &body).json();
    let message = &said["choices"][0]["message"];
    assert_eq!(said["choices"][0]["finish_reason"], "tool_calls");
    assert_eq!(
        message["tool_calls"][0],
        json!({"id": "call_resp1_0", "type": "function", "function": {"name": "weather", "arguments": "{\"a\":\"Paris\"}"}})
    );
    assert_eq!(message["tool_calls"][1]["id"], "own-1");
    let sent = upstream.calls()[0].json();
    assert_eq!(sent["tools"], json!([{"functionDeclarations": [{"name": "weather", "description": "d", "parametersJsonSchema": schema}]}]));
    let results = [("call_resp1_0", "rain"), ("own-1", "{\"hour\": 12}")];
    for keeps_thoughts in [true, false] {
        let mut next = body.clone();
        let turns = next["messages"].as_array_mut().unwrap();
        turns.push(message.clone());
        if !keeps_thoughts {
            turns.last_mut().unwrap().as_object_mut().unwrap().retain(|name, _| name == "role" || name == "tool_calls");
        }
        turns.extend(results.map(|(id, text)| json!({"role": "tool", "tool_call_id": id, "content": text})));
        assert_eq!(ask(&app, &next).status, 200);
        let sent = upstream.calls().last().unwrap().json();
        let turn = sent["contents"][1]["parts"].as_array().unwrap();
        let call = turn.iter().find(|part| part["functionCall"]["name"] == "weather").unwrap();
        let proof = if keeps_thoughts { "c2ln" } else { "skip_thought_signature_validator" };
        assert_eq!(call["thoughtSignature"], proof, "{sent}");
        assert_eq!(
            sent["contents"][2],
            json!({"role": "user", "parts": [
                {"functionResponse": {"id": "call_resp1_0", "name": "weather", "response": {"output": "rain"}}},
                {"functionResponse": {"id": "own-1", "name": "time", "response": {"hour": 12}}}]})
        );
    }
}

#[test]
fn a_stream_of_geminis_is_the_callers_and_ends_as_it_ends() {
    let upstream = Upstream::answering(stream_of(&["He", "l\"lo", " 舞台"]));
    let app = gateway(&upstream);
    let mut body = hello();
    body["stream"] = json!(true);
    body["stream_options"] = json!({"include_usage": true});
    let reply = ask(&app, &body);
    let text = reply.text();
    assert_eq!((reply.status, reply.whole, reply.terminals(), reply.words().as_str()), (200, true, 1, "Hel\"lo 舞台"), "{text}");
    assert_eq!((text.matches("\"role\"").count(), text.matches("\"finish_reason\":\"stop\"").count()), (1, 1), "{text}");
    assert_eq!((text.matches("\"usage\":{").count(), text.contains("\"total_tokens\":18")), (1, true), "{text}");
    let head = &upstream.calls()[0].head;
    assert!(head.starts_with("POST /v1beta/models/gemini-3.8-flash:streamGenerateContent?alt=sse HTTP/1.1"), "{head}");
    assert!(!head.lines().next().unwrap().contains("goog-secret"));
    // Anthropic's caller reads the same in its own events.
    let asked = json!({"model": "m", "max_tokens": 50, "stream": true, "messages": [{"role": "user", "content": "Hello"}]});
    let text = app.client().post("/v1/messages", &[], &asked.to_string()).text();
    assert_eq!((text.matches("event: message_start").count(), text.matches("event: message_stop").count()), (1, 1), "{text}");
    assert!(text.contains("\"text\":\" 舞台\"") && text.contains("\"stop_reason\":\"end_turn\""), "{text}");
    settled(&app);
}

#[test]
fn geminis_failures_move_on_and_the_callers_own_are_told() {
    let other = Upstream::answering(answer("from openai"));
    let malformed = generated(&json!([]), Some("MALFORMED_FUNCTION_CALL"));
    for (failure, name) in [
        (error(503, "UNAVAILABLE", "The model is overloaded."), "503"),
        (error(429, "RESOURCE_EXHAUSTED", "Quota exceeded."), "rate_limited"),
        (error(400, "INVALID_ARGUMENT", "API key not valid. Please pass a valid API key."), "key_fault"),
        (error(404, "NOT_FOUND", "models/gemini-9 is not found for API version v1beta"), "model_missing"),
        (plain(&malformed.to_string()), "malformed"),
        (plain("{}"), "malformed"),
    ] {
        let upstream = Upstream::answering(failure);
        let rows = format!("{}{}", provider(&upstream, ""), other.provider("o"));
        let app = TestApp::start(&format!("{PATIENT}{rows}{}", model(&[("g", "gemini-3.8-flash"), ("o", "gpt-4o")])));
        let reply = ask(&app, &hello());
        let route = reply.header("x-stagedoor-route").unwrap_or_default().to_owned();
        assert_eq!(reply.content_or_empty(), "from openai", "{name}: {}", reply.text());
        assert!(route.starts_with(&format!("g/gemini-3.8-flash!{name}")), "{name}: {route}");
    }
    // The wait stands in the body there.
    let info = json!({"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34s"});
    let body = json!({"error": {"code": 429, "message": "Quota exceeded.", "status": "RESOURCE_EXHAUSTED", "details": [info]}}).to_string();
    let limited = format!("HTTP/1.1 429 X\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    let reply = ask(&gateway(&Upstream::answering(limited)), &hello());
    assert_eq!((reply.status, reply.code().as_str(), reply.header("retry-after")), (429, "upstream_rate_limited", Some("34")));
    // What is the caller's own fault is its to see, in its own shape.
    let upstream = Upstream::answering(error(400, "INVALID_ARGUMENT", "Unable to submit request."));
    let reply = ask(&gateway(&upstream), &hello());
    assert_eq!((reply.status, &reply.json()["error"]["message"]), (400, &json!("Unable to submit request.")));
    assert!(reply.json()["error"].get("param").is_some());
}

#[test]
fn what_was_held_back_is_told_as_that() {
    let blocked = json!({"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": {"promptTokenCount": 8, "totalTokenCount": 8}, "modelVersion": "g", "responseId": "r"});
    let upstream = Upstream::by(move |call| match call.head.contains(":streamGenerateContent") {
        true => streamed(std::slice::from_ref(&blocked)),
        false => plain(&blocked.to_string()),
    });
    let app = gateway(&upstream);
    let said = ask(&app, &hello()).json();
    assert_eq!((&said["choices"][0]["finish_reason"], &said["choices"][0]["message"]["content"]), (&json!("content_filter"), &Value::Null));
    let reply = app.stream("m");
    assert_eq!((reply.terminals(), reply.text().matches("\"finish_reason\":\"content_filter\"").count()), (1, 1), "{}", reply.text());
}

#[test]
fn other_targets_failures_end_at_gemini() {
    let broken = Upstream::answering(status(500, "server_error", ""));
    let upstream = Upstream::by(|call| if call.head.contains("alt=sse") { stream_of(&["a", "b"]) } else { says("ab") });
    let rows = format!("{}{}", broken.provider("o"), provider(&upstream, ""));
    let app = TestApp::start(&format!("{PATIENT}{rows}{}", model(&[("o", "gpt-4o"), ("g", "gemini-3.8-flash")])));
    let reply = ask(&app, &hello());
    assert_eq!((reply.content().as_str(), reply.header("x-stagedoor-route")), ("ab", Some("o/gpt-4o!500,g/gemini-3.8-flash")));
    let reply = app.stream("m");
    assert_eq!((reply.words().as_str(), reply.terminals()), ("ab", 1), "{}", reply.text());
    // What it can't be asked leaves the others.
    let openai = Upstream::answering(stream(&["c"]));
    let rows = format!("{}{}", provider(&upstream, ""), openai.provider("o"));
    let app = TestApp::start(&format!("{PATIENT}{rows}{}", model(&[("g", "gemini-3.8-flash"), ("o", "gpt-4o")])));
    let mut body = hello();
    (body["stream"], body["logprobs"]) = (json!(true), json!(true));
    let reply = ask(&app, &body);
    assert_eq!(
        (reply.words().as_str(), reply.header("x-stagedoor-route")),
        ("c", Some("g/gemini-3.8-flash!unfit,o/gpt-4o")),
        "{}",
        reply.text()
    );
}

#[test]
fn a_stream_begun_at_one_dialect_ends_at_the_other() {
    let (dies, goes_on) = (gemini::mortal(), gemini::onward());
    let (openai_dies, openai_goes_on) = (mortal(), onward("prefix"));
    let rows = [
        provider(&dies, ""),
        provider(&goes_on, "continuation = \"prefill\"").replace("providers.g", "providers.h"),
        openai_dies.provider("o"),
        openai_goes_on.provider("p") + "continuation = \"prefix\"\n",
        model(&[("g", "gemini-3.8-flash"), ("p", "deepseek")]),
        model(&[("o", "gpt-4o"), ("h", "gemini-3.5-flash")]).replace("models.m", "models.n"),
    ];
    let app = TestApp::start(&format!("{PATIENT}{}", rows.concat()));
    for (name, from, to) in [("m", "g/gemini-3.8-flash", "p/deepseek"), ("n", "o/gpt-4o", "h/gemini-3.5-flash")] {
        let mut body: Value = serde_json::from_str(&dying(name, Death::ALL[0], 7)).unwrap();
        body.as_object_mut().unwrap().remove("x_unknown");
        let reply = ask(&app, &body);
        let told = reply.text();
        assert_eq!(
            (reply.words(), reply.terminals(), told.matches("\"finish_reason\":\"stop\"").count()),
            (text(), 1, 1),
            "{name}: {told}"
        );
        assert!(told.contains(&format!(": stagedoor recovered from={from} to={to}")), "{name}: {told}");
    }
    settled(&app);
}
