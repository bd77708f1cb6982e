//! Callers that speak the Gemini API, as Google's SDKs do: to targets of the same dialect byte for byte, to others translated;
//! the key, the errors, the list of models, the count of tokens and both shapes of a stream.

use std::io::Write;
use std::time::Duration;

use serde_json::{Value, json};

use super::support::faults::settled;
use super::support::gemini::{error, generated, provider, says, stream_of};
use super::support::{Reply, STREAM_HEAD, TestApp, Upstream, answer, anthropic, chunk, event, plain, status, stream};

const PATIENT: &str =
    "[retry]\nsame_target = 0\n[breaker]\nconsecutive_failures = 100000\nfailure_ratio = 1.0\nminimum_requests = 100000\n";

fn model(targets: &[(&str, &str)]) -> String {
    let rows: Vec<_> = targets.iter().map(|(provider, model)| format!("{{ provider = \"{provider}\", model = \"{model}\" }}")).collect();
    format!("[models.m]\nstrategy = \"ordered\"\ntargets = [{}]\n", rows.join(", "))
}

fn gateway(upstream: &Upstream) -> TestApp {
    TestApp::start(&format!("{PATIENT}{}{}", provider(upstream, ""), model(&[("g", "gemini-3.8-flash")])))
}

fn ask(app: &TestApp, method: &str, body: &Value) -> Reply {
    app.client().post(&format!("/v1beta/models/m:{method}"), &[], &body.to_string())
}

fn hello() -> Value {
    json!({"systemInstruction": {"parts": [{"text": "Be brief."}]}, "contents": [{"role": "user", "parts": [{"text": "Hello"}]}]})
}

/// The answers in a stream of events; nothing else may be in it.
pub fn answers(reply: &Reply) -> Vec<Value> {
    let text = reply.text().replace("\r\n", "\n");
    let events = text.split("\n\n").map(|event| event.trim_start_matches('\n')).filter(|event| !event.is_empty());
    events.map(|event| serde_json::from_str(event.strip_prefix("data: ").unwrap_or_else(|| panic!("{event}"))).unwrap()).collect()
}

fn said(answers: &[Value]) -> String {
    answers.iter().filter_map(|answer| answer["candidates"][0]["content"]["parts"][0]["text"].as_str()).collect()
}

#[test]
fn the_same_dialects_bytes_pass_untouched() {
    let odd = "{ \"candidates\" : [ {\"content\":{\"parts\":[{\"text\":\"Hi\"}],\"role\":\"model\"},\"finishReason\":\"STOP\",\"x\":1.10} ],\"usageMetadata\":{\"promptTokenCount\":7,\"candidatesTokenCount\":2,\"totalTokenCount\":9},\"responseId\":\"r\" }";
    let streamed = stream_of(&["He", "l\"lo", " 舞台"]);
    let sent = streamed.clone();
    let upstream = Upstream::by(move |call| if call.head.contains("alt=sse") { sent.clone() } else { plain(odd) });
    let app = gateway(&upstream);
    let body = "{\"contents\" : [{\"parts\":[{\"text\":\"Hello\"}]}], \"generation_config\":{\"temperature\":1e0,\"x_new\":[1.10]}}";
    for path in ["/v1beta/models/m:generateContent", "/v1/models/m:generateContent", "/models/m:generateContent"] {
        let reply = app.client().post(path, &[], body);
        assert_eq!((reply.status, reply.text().as_str()), (200, odd), "{path}");
        assert_eq!(reply.header("content-type"), Some("application/json"));
    }
    let call = &upstream.calls()[0];
    assert!(call.head.starts_with("POST /v1beta/models/gemini-3.8-flash:generateContent HTTP/1.1"), "{}", call.head);
    assert_eq!((call.text().as_str(), call.header("x-goog-api-key").as_deref()), (body, Some("goog-secret")));
    let reply = app.client().post("/v1beta/models/m:streamGenerateContent?alt=sse", &[], body);
    let raw = String::from_utf8(streamed).unwrap();
    assert_eq!((reply.status, reply.whole, reply.header("content-type")), (200, true, Some("text/event-stream; charset=utf-8")));
    assert!(raw.contains(reply.text().split("\r\n\r\n").next().unwrap()) && !reply.text().contains("[DONE]"), "{}", reply.text());
    assert_eq!(said(&answers(&reply)), "Hel\"lo 舞台");
    assert_eq!(upstream.calls()[3].text(), body);
    assert_eq!(app.metric("stagedoor_tokens_total{model=\"m\",kind=\"input\"}"), 7.0 * 3.0 + 12.0, "what was used is counted");
    settled(&app);
}

#[test]
fn who_does_not_ask_for_events_gets_one_list() {
    let upstream = Upstream::answering(stream_of(&["He", "llo"]));
    let app = gateway(&upstream);
    let reply = ask(&app, "streamGenerateContent", &hello());
    assert_eq!((reply.status, reply.whole, reply.header("content-type")), (200, true, Some("application/json; charset=utf-8")));
    let list = reply.json();
    assert_eq!((list.as_array().unwrap().len(), said(list.as_array().unwrap()).as_str()), (3, "Hello"));
    // A refusal is an object, and what breaks is told in the list.
    let refusing = Upstream::answering(error(400, "INVALID_ARGUMENT", "no"));
    let refused = gateway(&refusing);
    assert_eq!(ask(&refused, "streamGenerateContent", &hello()).json()[0]["error"]["status"], "INVALID_ARGUMENT", "as it came: a list");
    let cut = Upstream::start(|_, socket| {
        let one = chunk(&format!("data: {}\r\n\r\n", generated(&json!([{"text": "He"}]), None)));
        let _ = socket.write_all(format!("{STREAM_HEAD}{one}").as_bytes());
        false
    });
    let list = ask(&gateway(&cut), "streamGenerateContent", &hello()).json();
    assert_eq!((list.as_array().unwrap().len(), &list[1]["error"]["status"]), (2, &json!("UNAVAILABLE")));
}

#[test]
fn other_dialects_targets_are_asked_in_their_own_words() {
    let openai = Upstream::by(|call| if call.json()["stream"] == true { stream(&["He", "llo"]) } else { answer("Hello") });
    let claude =
        Upstream::by(|call| if call.json()["stream"] == true { anthropic::stream_of(&["He", "llo"]) } else { anthropic::says("Hello") });
    for (row, target) in [(openai.provider("o"), ("o", "gpt-4o")), (anthropic::provider("a", &claude, ""), ("a", "claude-haiku-4-5"))] {
        let app = TestApp::start(&format!("{PATIENT}{row}{}", model(&[target])));
        let mut body = hello();
        body["generationConfig"] = json!({"maxOutputTokens": 40, "temperature": 0.5});
        body["safetySettings"] = json!([{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"}]);
        let reply = ask(&app, "generateContent", &body);
        let told = reply.json();
        assert_eq!((reply.status, said(std::slice::from_ref(&told)).as_str()), (200, "Hello"), "{}", reply.text());
        assert_eq!((&told["candidates"][0]["finishReason"], &told["candidates"][0]["content"]["role"]), (&json!("STOP"), &json!("model")));
        assert!(told["usageMetadata"]["totalTokenCount"].as_u64().unwrap() > 0, "{told}");
        assert_eq!(reply.header("x-stagedoor-dropped"), Some("safetySettings"));
        for method in ["streamGenerateContent?alt=sse", "streamGenerateContent"] {
            let reply = ask(&app, method, &body);
            let all = if method.contains("alt") { answers(&reply) } else { reply.json().as_array().unwrap().clone() };
            let ends = all.iter().filter(|answer| answer["candidates"][0]["finishReason"] == "STOP").count();
            assert_eq!((said(&all).as_str(), ends, reply.whole), ("Hello", 1, true), "{method}: {}", reply.text());
        }
        settled(&app);
    }
    let asked = openai.calls()[0].json();
    assert_eq!(asked["messages"], json!([{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}]));
    assert_eq!((&asked["model"], &asked["stream"], &openai.calls()[1].json()["stream"]), (&json!("gpt-4o"), &Value::Null, &json!(true)));
}

#[test]
fn tools_of_googles_are_called_and_given_back() {
    let call = json!({"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": "{\"a\":\"Paris\"}"}});
    let message = json!({"role": "assistant", "content": null, "tool_calls": [call]});
    let body = json!({"id": "c", "object": "chat.completion", "created": 1, "model": "up", "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}});
    let upstream = Upstream::answering(plain(&body.to_string()));
    let app = TestApp::start(&format!("{PATIENT}{}{}", upstream.provider("o"), model(&[("o", "gpt-4o")])));
    let mut body = hello();
    body["tools"] =
        json!([{"functionDeclarations": [{"name": "weather", "parameters": {"type": "OBJECT", "properties": {"a": {"type": "STRING"}}}}]}]);
    let told = ask(&app, "generateContent", &body).json();
    let part = &told["candidates"][0]["content"]["parts"][0];
    assert_eq!(part["functionCall"], json!({"id": "call_1", "name": "weather", "args": {"a": "Paris"}}));
    assert_eq!(upstream.calls()[0].json()["tools"][0]["function"]["parameters"]["type"], "object");
    body["contents"].as_array_mut().unwrap().extend([
        told["candidates"][0]["content"].clone(),
        json!({"role": "user", "parts": [{"functionResponse": {"id": "call_1", "name": "weather", "response": {"output": "rain"}}}]}),
    ]);
    assert_eq!(ask(&app, "generateContent", &body).status, 200);
    let sent = upstream.calls()[1].json();
    assert_eq!(sent["messages"][3], json!({"role": "tool", "tool_call_id": "call_1", "content": "rain"}));
}

#[test]
fn a_key_comes_by_googles_header_and_never_by_the_url() {
    let upstream = Upstream::answering(says("Hi"));
    let keys = "[auth]\nmode = \"keys\"\n[[auth.keys]]\nname = \"app\"\nkey = { value = \"key-for-tests-0123456789abcdef\" }\n";
    let app = TestApp::start(&format!("{keys}{}{}", provider(&upstream, ""), model(&[("g", "gemini-3.8-flash")])));
    let key = "key-for-tests-0123456789abcdef";
    let post = |path: &str, headers: &[(&str, &str)]| app.client().post(path, headers, &hello().to_string());
    let path = "/v1beta/models/m:generateContent";
    assert_eq!(post(path, &[("x-goog-api-key", key)]).status, 200);
    assert_eq!(post(path, &[("authorization", &format!("Bearer {key}"))]).status, 200);
    assert_eq!(post(&path.replace("v1beta", "v1"), &[("x-goog-api-key", key)]).status, 200);
    for (path, headers) in [
        (path.to_owned(), vec![]),
        (path.to_owned(), vec![("x-goog-api-key", "wrong")]),
        (path.to_owned(), vec![("x-goog-api-key", key), ("x-goog-api-key", key)]),
        (format!("{path}?key={key}"), vec![]),
        ("/v1beta/models".to_owned(), vec![("x-api-key", key)]),
        ("/v1beta/nothing".to_owned(), vec![]),
    ] {
        let reply = post(&path, &headers);
        let error = &reply.json()["error"];
        assert_eq!((reply.status, &error["code"], &error["status"]), (401, &json!(401), &json!("UNAUTHENTICATED")), "{path}");
        assert!(error["message"].as_str().unwrap().contains("x-goog-api-key") && !reply.text().contains(key));
    }
    // Where it isn't needed it isn't passed on.
    let open = gateway(&upstream);
    assert_eq!(open.client().post(&format!("{path}?key=abc&alt=json"), &[], &hello().to_string()).status, 200);
    let call = upstream.calls().pop().unwrap();
    assert!(!call.head.contains("key=abc") && call.header("x-goog-api-key").as_deref() == Some("goog-secret"), "{}", call.head);
}

#[test]
fn errors_have_googles_shape() {
    let failing = Upstream::answering(status(500, "", ""));
    let app = gateway(&failing);
    let post = |path: &str, body: &str| app.client().post(path, &[], body);
    let path = "/v1beta/models/m:generateContent";
    for (path, body, code, kind, says) in [
        (path, "{", 400, "INVALID_ARGUMENT", "not valid JSON"),
        (path, "{}", 400, "INVALID_ARGUMENT", "contents"),
        (path, r#"{"contents":[{}],"contents":[{}]}"#, 400, "INVALID_ARGUMENT", "second time"),
        (path, r#"{"contents":[{}],"generationConfig":{"maxOutputTokens":-1}}"#, 400, "INVALID_ARGUMENT", "maxOutputTokens"),
        ("/v1beta/models/nobody:generateContent", r#"{"contents":[{}]}"#, 404, "NOT_FOUND", "nobody"),
        ("/v1beta/models/m:embedContent", "{}", 404, "NOT_FOUND", "nothing at"),
        ("/v1beta/models/..%2F..%2Fadmin%2Freload:generateContent", r#"{"contents":[{}]}"#, 404, "NOT_FOUND", "reload"),
        (path, r#"{"contents":[{"parts":[{"text":"a"}]}]}"#, 502, "UNAVAILABLE", "answered 500"),
    ] {
        let reply = post(path, body);
        let error = reply.json()["error"].clone();
        assert_eq!((reply.status, &error["code"], &error["status"]), (code, &json!(code), &json!(kind)), "{path} {body}: {}", reply.text());
        assert!(error["message"].as_str().unwrap().contains(says), "{path} {body}: {}", reply.text());
    }
    // A vendor's own refusal, from whichever dialect.
    let openai = Upstream::answering(status(400, "invalid_value", ""));
    let app = TestApp::start(&format!("{}{}", openai.provider("o"), model(&[("o", "gpt-4o")])));
    let reply = ask(&app, "generateContent", &hello());
    assert_eq!(reply.json(), json!({"error": {"code": 400, "message": "upstream says 400", "status": "INVALID_ARGUMENT"}}));
}

#[test]
fn tokens_are_counted_by_gemini_and_else_estimated() {
    let upstream = Upstream::answering(plain(r#"{"totalTokens": 31, "promptTokensDetails": []}"#));
    let app = gateway(&upstream);
    let body = json!({"generateContentRequest": {"model": "models/m", "contents": hello()["contents"]}});
    assert_eq!(ask(&app, "countTokens", &body).json()["totalTokens"], 31);
    let call = &upstream.calls()[0];
    assert!(call.head.starts_with("POST /v1beta/models/gemini-3.8-flash:countTokens HTTP/1.1"), "{}", call.head);
    assert_eq!(call.json(), body);
    let openai = Upstream::answering(answer("x"));
    let app = TestApp::start(&format!("{}{}", openai.provider("o"), model(&[("o", "gpt-4o")])));
    assert_eq!((ask(&app, "countTokens", &hello()).json(), openai.count()), (json!({"totalTokens": 8}), 0));
}

#[test]
fn models_are_listed_as_google_lists_them() {
    let app = TestApp::start(&format!("{}{}context_window = 1000\n", provider(&Upstream::answering(says("x")), ""), model(&[("g", "up")])));
    let listed = app.client().get("/v1beta/models").json();
    let expected = json!({"name": "models/m", "displayName": "m", "version": "001", "inputTokenLimit": 1000, "supportedGenerationMethods": ["generateContent", "countTokens"]});
    assert_eq!(listed, json!({"models": [expected]}));
    assert_eq!(app.client().get("/v1beta/models/m").json(), expected);
    assert_eq!(app.client().get("/v1beta/models/x").json()["error"]["status"], "NOT_FOUND");
    assert_eq!(app.client().get("/v1/models").json()["data"][0]["id"], "m", "and as OpenAI does elsewhere");
    // Google's newer SDKs ask under /v1: their key's header tells them from OpenAI's.
    let googles = |path: &str| app.client().call("GET", path, &[("x-goog-api-key", "any")], "").json();
    assert_eq!((googles("/v1/models"), googles("/v1/models/m")), (json!({"models": [expected]}), expected));
    assert_eq!(googles("/v1/models/x")["error"]["status"], "NOT_FOUND");
    assert_eq!(app.client().get("/v1/models/x:8b").json()["error"]["code"], "model_not_found");
}

#[test]
fn a_stream_has_no_comments() {
    let upstream = Upstream::start(|_, socket| {
        let _ = socket.write_all(format!("{STREAM_HEAD}{}", chunk(": theirs\n\n")).as_bytes());
        std::thread::sleep(Duration::from_millis(300));
        let _ = socket.write_all(chunk(&event("He")).as_bytes());
        std::thread::sleep(Duration::from_millis(300));
        let end = "data: {\"id\":\"c\",\"model\":\"up\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"y\"},\"finish_reason\":\"stop\"}]}\n\n";
        let _ = socket.write_all(format!("{}0\r\n\r\n", chunk(end)).as_bytes());
        true
    });
    let row = upstream.provider("o");
    let app = TestApp::start(&format!("[server]\nheartbeat = \"100ms\"\n{row}{}", model(&[("o", "gpt-4o")])));
    let reply = ask(&app, "streamGenerateContent?alt=sse", &hello());
    assert!(!reply.text().lines().any(|line| line.starts_with(':')) && reply.text().starts_with('\n'), "{:?}", reply.text());
    let all = answers(&reply);
    let ends = all.iter().filter(|answer| answer["candidates"][0]["finishReason"] == "STOP").count();
    assert_eq!((said(&all).as_str(), ends), ("Hey", 1), "without its terminal event it is whole by its reason");
    assert_eq!(said(ask(&app, "streamGenerateContent", &hello()).json().as_array().unwrap()), "Hey");
    let same = Upstream::start(|_, socket| {
        let one = chunk(&format!(": theirs\r\n\r\ndata: {}\r\n\r\n", generated(&json!([{"text": "Hey"}]), Some("STOP"))));
        socket.write_all(format!("{STREAM_HEAD}{one}0\r\n\r\n").as_bytes()).is_ok()
    });
    let reply = ask(&gateway(&same), "streamGenerateContent?alt=sse", &hello());
    assert_eq!((answers(&reply).len(), reply.text().contains("theirs")), (1, false));
}

#[test]
fn failures_before_the_first_word_go_unseen_and_after_it_are_told() {
    let other = Upstream::answering(stream(&["spare"]));
    let malformed = generated(&json!([]), Some("MALFORMED_FUNCTION_CALL"));
    for failure in [
        error(503, "UNAVAILABLE", "overloaded"),
        format!("{STREAM_HEAD}{}0\r\n\r\n", chunk(&format!("data: {malformed}\r\n\r\n"))).into_bytes(),
        format!("{STREAM_HEAD}0\r\n\r\n").into_bytes(),
    ] {
        let upstream = Upstream::answering(failure);
        let rows = format!("{}{}", provider(&upstream, ""), other.provider("o"));
        let app = TestApp::start(&format!("{PATIENT}{rows}{}", model(&[("g", "gemini-3.8-flash"), ("o", "gpt-4o")])));
        let reply = ask(&app, "streamGenerateContent?alt=sse", &hello());
        assert_eq!(said(&answers(&reply)), "spare", "{}", reply.text());
    }
    let cut = Upstream::start(|_, socket| {
        let one = chunk(&format!("data: {}\r\n\r\n", generated(&json!([{"text": "He"}]), None)));
        let _ = socket.write_all(format!("{STREAM_HEAD}{one}0\r\n\r\n").as_bytes());
        false
    });
    let app = gateway(&cut);
    let all = answers(&ask(&app, "streamGenerateContent?alt=sse", &hello()));
    assert_eq!((all.len(), &all[1]["error"]["code"], &all[1]["error"]["status"]), (2, &json!(502), &json!("UNAVAILABLE")));
    assert!(all.iter().all(|answer| answer["candidates"][0]["finishReason"].is_null()), "never an end that was none");
    settled(&app);
}
