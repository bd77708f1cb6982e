//! POST /v1/responses: to targets that speak Responses the caller's bytes pass untouched; to all others its request, the answers, the
//! streams and the errors are translated, and what only a vendor that keeps answers can do is refused by name.

use std::io::Write;

use serde_json::{Value, json};

use super::support::anthropic;
use super::support::faults::settled;
use super::support::{Reply, STREAM_END, STREAM_HEAD, TestApp, Upstream, answer, chunk, event, plain, status, stream};

const PATIENT: &str =
    "[retry]\nsame_target = 0\n[breaker]\nconsecutive_failures = 100000\nfailure_ratio = 1.0\nminimum_requests = 100000\n";
const BODY: &str = r#"{ "model":"m", "input": "Hello","x_unknown": {"a": 1.10}, "store": true, "previous_response_id":"resp_0","tools":[{"type":"web_search"}] }"#;
const WHOLE: &str = r#"{ "id":"resp_1","object":"response","status":"completed","error":null,"output":[{"type":"message","content":[]}], "usage":{"input_tokens":12,"input_tokens_details":{"cached_tokens":4},"output_tokens":5,"total_tokens":17} }"#;

fn model(targets: &[(&str, &str)]) -> String {
    let rows: Vec<_> = targets.iter().map(|(provider, model)| format!("{{ provider = \"{provider}\", model = \"{model}\" }}")).collect();
    format!("[models.m]\nstrategy = \"ordered\"\ntargets = [{}]\n", rows.join(", "))
}

/// A gateway whose model is served by one that speaks Responses.
fn native(upstream: &Upstream) -> TestApp {
    TestApp::start(&format!("{PATIENT}{}responses = true\n{}", upstream.provider("o"), model(&[("o", "up")])))
}

/// By one that speaks chat completions alone.
fn chatting(upstream: &Upstream) -> TestApp {
    TestApp::start(&format!("{PATIENT}{}{}", upstream.provider("o"), model(&[("o", "up")])))
}

fn claude(upstream: &Upstream) -> TestApp {
    TestApp::start(&format!("{PATIENT}{}{}", anthropic::provider("a", upstream, ""), model(&[("a", "claude-haiku-4-5")])))
}

fn ask(app: &TestApp, body: &str) -> Reply {
    app.client().post("/v1/responses", &[], body)
}

fn hello() -> Value {
    json!({"model": "m", "instructions": "Be brief.", "input": "Hello", "store": false})
}

fn streamed() -> String {
    let mut body = hello();
    body["stream"] = json!(true);
    body.to_string()
}

/// The events of a stream, each under the name that its data says, numbered without a gap.
fn events(reply: &Reply) -> Vec<Value> {
    let text = reply.text();
    let mut events = Vec::new();
    for event in text.split("\n\n").filter(|event| !event.is_empty() && !event.starts_with(':')) {
        let (name, data) = event.split_once("\ndata: ").unwrap_or_else(|| panic!("{event:?} in {text}"));
        let data: Value = serde_json::from_str(data).unwrap();
        assert_eq!(name.strip_prefix("event: "), data["type"].as_str(), "{text}");
        assert_eq!(data["sequence_number"], events.len(), "{text}");
        events.push(data);
    }
    events
}

fn kinds(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["type"].as_str().unwrap()).collect()
}

fn said(events: &[Value]) -> String {
    events.iter().filter(|event| event["type"] == "response.output_text.delta").filter_map(|event| event["delta"].as_str()).collect()
}

/// A native event.
fn named(data: &Value) -> String {
    chunk(&format!("event: {}\ndata: {data}\n\n", data["type"].as_str().unwrap()))
}

fn native_stream(end: &Value) -> String {
    let begin = [
        json!({"type": "response.created", "response": {"id": "resp_1", "output": []}, "sequence_number": 0}),
        json!({"type": "response.output_text.delta", "delta": "Hi", "sequence_number": 1}),
    ];
    format!("{STREAM_HEAD}{}{}", begin.iter().map(named).collect::<String>(), named(end))
}

#[test]
fn to_targets_that_speak_it_the_bytes_pass() {
    let end = json!({"type": "response.completed", "response": {"output": [], "usage": {"input_tokens": 3, "output_tokens": 2}}, "sequence_number": 2});
    let whole = native_stream(&end);
    let sent = format!("{whole}0\r\n\r\n");
    let upstream = Upstream::by(move |call| if call.json()["stream"] == true { sent.clone().into_bytes() } else { plain(WHOLE) });
    let app = native(&upstream);
    for path in ["/v1/responses", "/responses"] {
        let reply = app.client().post(path, &[("openai-beta", "b-1")], BODY);
        assert_eq!((reply.status, reply.text().as_str(), reply.header("x-stagedoor-route")), (200, WHOLE, Some("o/up")));
    }
    let call = &upstream.calls()[0];
    assert!(call.head.starts_with("POST /v1/responses HTTP/1.1"), "{}", call.head);
    assert_eq!((call.text(), call.header("openai-beta").as_deref()), (BODY.replace("\"m\"", "\"up\""), Some("b-1")));
    let reply = ask(&app, &streamed());
    assert_eq!((reply.status, reply.whole, said(&events(&reply)).as_str()), (200, true, "Hi"));
    assert_eq!(kinds(&events(&reply)).last(), Some(&"response.completed"));
    assert_eq!(upstream.calls()[2].text(), streamed().replace("\"m\"", "\"up\""), "the usage needs no asking");
    let tokens = |kind| app.metric(&format!("stagedoor_tokens_total{{model=\"m\",kind=\"{kind}\"}}"));
    assert_eq!((tokens("input"), tokens("cached"), tokens("output")), (12.0 + 12.0 + 3.0, 4.0 + 4.0, 5.0 + 5.0 + 2.0));
    settled(&app);
}

#[test]
fn azure_is_asked_without_a_deployment_in_the_path() {
    let upstream = Upstream::answering(plain(WHOLE));
    let row = format!(
        "[providers.z]\ndialect = \"azure\"\nbase_url = \"http://{}\"\nkeys = [{{ value = \"k\" }}]\nresponses = true\n",
        upstream.address
    );
    let app = TestApp::start(&format!("{row}{}", model(&[("z", "my-gpt")])));
    assert_eq!(ask(&app, &hello().to_string()).status, 200);
    let call = &upstream.calls()[0];
    assert!(call.head.starts_with("POST /openai/responses?api-version="), "{}", call.head);
    assert_eq!(call.json()["model"], "my-gpt");
}

#[test]
fn a_chats_answer_is_a_response_to_the_caller() {
    let upstream = Upstream::answering(answer("Hi \\\"there\\\""));
    let app = chatting(&upstream);
    let mut body = hello();
    body["metadata"] = json!({"a": "b"});
    body["max_output_tokens"] = json!(50);
    let reply = ask(&app, &body.to_string());
    let told = reply.json();
    assert_eq!(
        (reply.status, &told["object"], &told["status"], &told["id"]),
        (200, &json!("response"), &json!("completed"), &json!("resp_chatcmpl-1"))
    );
    let [message] = &told["output"].as_array().unwrap()[..] else { panic!("{told}") };
    assert_eq!(
        (&message["type"], &message["role"], &message["content"][0]["text"]),
        (&json!("message"), &json!("assistant"), &json!("Hi \"there\""))
    );
    assert_eq!(
        (&told["usage"]["input_tokens"], &told["usage"]["output_tokens"], &told["usage"]["total_tokens"]),
        (&json!(1), &json!(1), &json!(2))
    );
    assert_eq!((&told["instructions"], &told["metadata"], &told["store"]), (&json!("Be brief."), &json!({"a": "b"}), &json!(false)));
    assert_eq!(reply.header("x-stagedoor-dropped"), Some("metadata"));
    let call = &upstream.calls()[0];
    assert!(call.head.starts_with("POST /v1/chat/completions HTTP/1.1"), "{}", call.head);
    assert_eq!(
        call.json(),
        json!({"model": "up", "max_tokens": 50, "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}]})
    );
    settled(&app);
}

#[test]
fn a_chats_stream_is_a_responses_to_the_caller() {
    for (upstream, translate) in [
        (
            Upstream::by(|call| {
                assert_eq!(call.json()["stream_options"]["include_usage"], true);
                stream(&["He", "llo"])
            }),
            chatting as fn(&Upstream) -> TestApp,
        ),
        (Upstream::by(|_| anthropic::stream_of(&["He", "llo"])), claude),
    ] {
        let app = translate(&upstream);
        let reply = ask(&app, &streamed());
        let events = events(&reply);
        assert_eq!((reply.status, reply.whole, said(&events).as_str()), (200, true, "Hello"));
        assert_eq!(
            kinds(&events),
            [
                "response.created",
                "response.in_progress",
                "response.output_item.added",
                "response.content_part.added",
                "response.output_text.delta",
                "response.output_text.delta",
                "response.output_text.done",
                "response.content_part.done",
                "response.output_item.done",
                "response.completed",
            ]
        );
        let last = &events.last().unwrap()["response"];
        assert_eq!(
            (&last["status"], &last["output"][0]["content"][0]["text"], &last["instructions"]),
            (&json!("completed"), &json!("Hello"), &json!("Be brief."))
        );
        settled(&app);
    }
}

#[test]
fn tools_go_round() {
    let upstream = Upstream::by(|call| {
        let body = call.json();
        if body["messages"].as_array().unwrap().last().unwrap()["role"] == "tool" {
            return answer("18 degrees");
        }
        let calls = json!([{"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": "{\"city\":\"Wien\"}"}}]);
        let message = json!({"role": "assistant", "content": null, "tool_calls": calls});
        plain(&json!({"id": "c", "object": "chat.completion", "created": 1, "model": "up", "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}]}).to_string())
    });
    let app = chatting(&upstream);
    let mut body = hello();
    let schema = json!({"type": "object", "properties": {"city": {"type": "string"}}});
    body["tools"] = json!([{"type": "function", "name": "weather", "parameters": schema, "strict": false}]);
    let told = ask(&app, &body.to_string()).json();
    let call = &told["output"][0];
    assert_eq!(
        (&call["type"], &call["call_id"], &call["name"], &call["arguments"]),
        (&json!("function_call"), &json!("call_1"), &json!("weather"), &json!("{\"city\":\"Wien\"}"))
    );
    body["input"] =
        json!([{"role": "user", "content": "Hello"}, call, {"type": "function_call_output", "call_id": "call_1", "output": "18"}]);
    let told = ask(&app, &body.to_string()).json();
    assert_eq!(told["output"][0]["content"][0]["text"], "18 degrees");
    let sent = upstream.calls()[1].json();
    assert_eq!(sent["tools"][0]["function"], json!({"name": "weather", "parameters": schema, "strict": false}));
    assert_eq!(sent["messages"][2]["tool_calls"][0]["function"]["name"], "weather");
    assert_eq!(sent["messages"][3], json!({"role": "tool", "tool_call_id": "call_1", "content": "18"}));
}

#[test]
fn a_thoughts_proof_comes_back_to_its_vendor() {
    let content = json!([{"type": "thinking", "thinking": "Hm.", "signature": "sig"}, {"type": "redacted_thinking", "data": "sealed"}, {"type": "text", "text": "Hi"}]);
    let upstream = Upstream::answering(plain(&anthropic::message(content, "end_turn")));
    let app = TestApp::start(&format!("{PATIENT}{}{}", anthropic::provider("a", &upstream, ""), model(&[("a", "claude-sonnet-4-6")])));
    let mut body = hello();
    body["reasoning"] = json!({"effort": "low"});
    let told = ask(&app, &body.to_string()).json();
    let output = told["output"].as_array().unwrap();
    assert_eq!(output.iter().map(|item| item["type"].as_str().unwrap()).collect::<Vec<_>>(), ["reasoning", "reasoning", "message"]);
    assert_eq!(output[0]["summary"], json!([{"type": "summary_text", "text": "Hm."}]));
    let mut input = vec![json!({"role": "user", "content": "Hello"})];
    input.extend(output.iter().cloned());
    input.push(json!({"role": "user", "content": "And?"}));
    body["input"] = json!(input);
    assert_eq!(ask(&app, &body.to_string()).status, 200);
    let turns = upstream.calls()[1].json()["messages"].clone();
    assert_eq!(turns[1]["content"][0], json!({"type": "thinking", "thinking": "Hm.", "signature": "sig"}));
    assert_eq!(turns[1]["content"][1], json!({"type": "redacted_thinking", "data": "sealed"}));
}

#[test]
fn what_needs_kept_answers_is_refused_by_name_or_goes_to_who_keeps_them() {
    let chat = Upstream::answering(answer("no"));
    let keeps = Upstream::answering(plain(WHOLE));
    let app = chatting(&chat);
    let both = TestApp::start(&format!(
        "{PATIENT}{}{}responses = true\n{}",
        chat.provider("c"),
        keeps.provider("k"),
        model(&[("c", "up-c"), ("k", "up-k")])
    ));
    for (field, value, says) in [
        ("store", json!(true), "`store`: it keeps no responses"),
        ("previous_response_id", json!("resp_1"), "`previous_response_id`: it keeps no responses"),
        ("conversation", json!({"id": "conv_1"}), "`conversation`: it keeps no conversations"),
        ("background", json!(true), "`background`: it keeps no responses"),
        ("tools", json!([{"type": "web_search"}]), "a tool of type \"web_search\""),
        ("nobody_knows", json!(1), "`nobody_knows`"),
    ] {
        let mut body = hello();
        body[field] = value;
        let reply = ask(&app, &body.to_string());
        assert_eq!((reply.status, reply.code()), (400, "no_fitting_target".into()), "{field}");
        assert!(reply.json()["error"]["message"].as_str().unwrap().contains(says), "{field}: {}", reply.text());
        let reply = ask(&both, &body.to_string());
        assert_eq!((reply.status, reply.header("x-stagedoor-route")), (200, Some("c/up-c!unfit,k/up-k")), "{field}");
    }
    assert_eq!(chat.count(), 0);
    for (field, value) in
        [("store", json!(false)), ("store", Value::Null), ("background", json!(false)), ("previous_response_id", Value::Null)]
    {
        let mut body = hello();
        body[field] = value;
        assert_eq!(ask(&app, &body.to_string()).status, 200, "{field}");
    }
}

#[test]
fn a_stream_that_breaks_is_an_error_and_never_completed() {
    let cut_chat = |bytes: String| {
        Upstream::start(move |_, stream| {
            let _ = stream.write_all(bytes.as_bytes());
            false
        })
    };
    let failed = json!({"type": "response.failed", "response": {"status": "failed", "error": {"code": "server_error", "message": "sk-live-9"}}, "sequence_number": 2});
    let alone = json!({"type": "error", "code": "server_error", "message": "sk-live-9", "sequence_number": 2});
    let going_on = json!({"type": "response.output_text.done", "text": "Hi", "sequence_number": 2});
    for (bytes, start, place) in [
        (format!("{STREAM_HEAD}{}", chunk(&event("Hi"))), chatting as fn(&Upstream) -> TestApp, 5),
        (
            format!(
                "{STREAM_HEAD}{}{}",
                chunk(&event("Hi")),
                chunk("data: {\"error\":{\"message\":\"sk-live-9\",\"code\":\"server_error\"}}\n\n")
            ),
            chatting,
            5,
        ),
        (native_stream(&going_on), native, 3),
        (native_stream(&failed), native, 2),
        (native_stream(&alone), native, 2),
    ] {
        let upstream = cut_chat(bytes.clone());
        let app = start(&upstream);
        let reply = ask(&app, &streamed());
        let events = events(&reply);
        let last = events.last().unwrap();
        assert_eq!((reply.status, reply.whole, said(&events).as_str()), (200, true, "Hi"), "{bytes}");
        assert_eq!((&last["type"], &last["sequence_number"]), (&json!("error"), &json!(place)), "{}", reply.text());
        assert_eq!((&last["code"], &last["error"]["code"]), (&json!("stream_interrupted"), &json!("stream_interrupted")), "{last}");
        assert!(!reply.text().contains("completed") && !reply.text().contains("sk-live"), "{}", reply.text());
        settled(&app);
    }
}

#[test]
fn before_its_first_content_a_stream_moves_on() {
    let second = Upstream::answering(stream(&["Well."]));
    let failed = json!({"type": "response.failed", "response": {"status": "failed", "error": {"code": "rate_limit_exceeded", "message": "m"}}, "sequence_number": 1});
    let created = json!({"type": "response.created", "response": {"id": "resp_1", "output": []}, "sequence_number": 0});
    for first in
        [format!("{STREAM_HEAD}{}{}0\r\n\r\n", named(&created), named(&failed)), format!("{STREAM_HEAD}{}0\r\n\r\n", named(&created))]
    {
        let first = Upstream::answering(first);
        let app = TestApp::start(&format!(
            "{PATIENT}{}responses = true\n{}{}",
            first.provider("a"),
            second.provider("b"),
            model(&[("a", "up-a"), ("b", "up-b")])
        ));
        let reply = ask(&app, &streamed());
        assert_eq!((reply.status, said(&events(&reply)).as_str()), (200, "Well."), "{}", reply.text());
        assert!(reply.header("x-stagedoor-route").unwrap().ends_with(",b/up-b"));
    }
}

#[test]
fn an_answer_that_is_too_long_is_incomplete() {
    let long = json!({"id": "c", "object": "chat.completion", "created": 1, "model": "up", "choices": [{"index": 0, "message": {"role": "assistant", "content": "Once"}, "finish_reason": "length"}]});
    let upstream = Upstream::answering(plain(&long.to_string()));
    let told = ask(&chatting(&upstream), &hello().to_string()).json();
    assert_eq!((&told["status"], &told["incomplete_details"]), (&json!("incomplete"), &json!({"reason": "max_output_tokens"})));
    let end = STREAM_END.replace("\"stop\"", "\"length\"");
    let upstream = Upstream::answering(format!("{STREAM_HEAD}{}{}0\r\n\r\n", chunk(&event("Once")), chunk(&end)));
    let reply = ask(&chatting(&upstream), &streamed());
    assert_eq!(kinds(&events(&reply)).last(), Some(&"response.incomplete"), "{}", reply.text());
}

#[test]
fn errors_are_openais() {
    let upstream = Upstream::answering(status(400, "invalid_prompt", ""));
    for app in [native(&upstream), chatting(&upstream)] {
        let reply = ask(&app, &hello().to_string());
        assert_eq!((reply.status, reply.code()), (400, "invalid_prompt".into()), "the provider's own refusal");
        let reply = ask(&app, "{}");
        assert_eq!((reply.status, reply.code()), (400, "missing_model".into()));
        let reply = ask(&app, r#"{"model":"nobody","input":"x"}"#);
        assert_eq!((reply.status, reply.code()), (404, "model_not_found".into()));
        let reply = ask(&app, r#"{"model":"m","input":"x","max_output_tokens":-1}"#);
        assert_eq!((reply.status, reply.json()["error"]["param"].as_str()), (400, Some("max_output_tokens")));
    }
    let claude_refuses = Upstream::answering(anthropic::error(400, "invalid_request_error", ""));
    let reply = ask(&claude(&claude_refuses), &hello().to_string());
    assert_eq!((reply.status, reply.json()["error"]["message"].as_str()), (400, Some("anthropic says 400")));
    let silent = Upstream::answering(status(500, "server_error", ""));
    let reply = ask(&chatting(&silent), &streamed());
    assert_eq!((reply.status, reply.code()), (502, "all_targets_failed".into()));
}

#[test]
fn the_rehearsal_answers() {
    let app = TestApp::start("[providers.r]\ndialect = \"rehearsal\"\n[models.m]\ntargets = [{ provider = \"r\", model = \"x\" }]\n");
    let told = ask(&app, &hello().to_string()).json();
    let text = told["output"][0]["content"][0]["text"].as_str().unwrap().to_owned();
    assert!(text.starts_with("This is a rehearsal"), "{told}");
    assert_eq!(said(&events(&ask(&app, &streamed()))), text);
}

#[test]
fn a_response_by_its_id_is_not_here_whatever_gave_it() {
    let keeps = Upstream::answering(plain(WHOLE));
    let app = native(&keeps);
    for path in ["/v1/responses/resp_1", "/responses/resp_1", "/v1/responses/resp_1/input_items"] {
        let reply = app.client().get(path);
        assert_eq!((reply.status, reply.code().as_str()), (404, "response_not_found"), "{path}");
        let message = reply.json()["error"]["message"].as_str().unwrap().to_owned();
        assert!(message.contains("\"resp_1\"") && message.contains("send the turns so far as `input`"), "{message}");
        assert_eq!(reply.header("x-should-retry"), Some("false"));
    }
    assert_eq!(app.client().call("DELETE", "/v1/responses/resp_1", &[], "").code(), "response_not_found");
    assert_eq!(app.client().post("/v1/responses/resp_1/cancel", &[], "").code(), "response_not_found");
    let long = app.client().get(&format!("/v1/responses/{}", "x".repeat(9_000)));
    assert!(long.status == 404 && long.body.len() < 1_000, "{}", long.text());
    assert_eq!(app.client().post("/v1/responses/input_tokens", &[], "{}").code(), "unknown_url");
    assert_eq!(app.client().call("PUT", "/v1/responses/resp_1", &[], "").status, 405);
    assert_eq!(keeps.count(), 0);
    let keyed = TestApp::start("[auth]\nkeys = [{ name = \"a\", key = { value = \"a-key-of-some-length-0001\" } }]\n");
    assert_eq!(keyed.client().get("/v1/responses/resp_1").status, 401, "a stranger learns nothing");
}

#[test]
fn of_the_tools_that_are_allowed_none_but_those_go_to_who_has_no_word_for_it() {
    let tool = |name: &str| json!({"type": "function", "name": name, "parameters": {"type": "object", "properties": {}}});
    let mut body = hello();
    body["tools"] = json!([tool("a"), tool("b"), tool("c")]);
    let allowed = |mode: &str, names: &[&str]| {
        let tools: Vec<_> = names.iter().map(|name| json!({"type": "function", "name": name})).collect();
        json!({"type": "allowed_tools", "mode": mode, "tools": tools})
    };
    let chat = Upstream::answering(answer("Hi"));
    let (app, named) = (chatting(&chat), |sent: &Value| {
        sent["tools"].as_array().unwrap().iter().map(|tool| tool["function"]["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    });
    for (mode, told) in [("auto", "auto"), ("required", "required")] {
        body["tool_choice"] = allowed(mode, &["a", "c"]);
        let reply = ask(&app, &body.to_string());
        assert_eq!((reply.status, reply.header("x-stagedoor-dropped")), (200, None), "{}", reply.text());
        assert_eq!(reply.json()["tools"].as_array().unwrap().len(), 3, "the answer says what was asked");
        let sent = chat.calls().last().unwrap().json();
        assert_eq!((named(&sent), sent["tool_choice"].as_str()), (vec!["a".into(), "c".into()], Some(told)));
    }
    // Chats say the same in words of their own.
    let claude_says = Upstream::answering(anthropic::says("Hi"));
    let app = claude(&claude_says);
    let function = |name: &str| json!({"type": "function", "function": {"name": name, "parameters": {"type": "object", "properties": {}}}});
    let choice =
        json!({"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [{"type": "function", "function": {"name": "b"}}]}});
    let asked = json!({"model": "m", "messages": [{"role": "user", "content": "Hi"}], "tools": [function("a"), function("b")], "tool_choice": choice});
    assert_eq!(app.client().post("/v1/chat/completions", &[], &asked.to_string()).status, 200);
    let sent = claude_says.calls()[0].json();
    assert_eq!(
        (sent["tools"].as_array().unwrap().len(), &sent["tools"][0]["name"], &sent["tool_choice"]["type"]),
        (1, &json!("b"), &json!("any"))
    );
}

#[test]
fn tools_that_only_openai_has_pass_over_whom_else_with_the_reason_and_are_400_where_none_fits() {
    let (chat, keeps) = (Upstream::answering(answer("no")), Upstream::answering(plain(WHOLE)));
    let app = chatting(&chat);
    let both = TestApp::start(&format!(
        "{PATIENT}{}{}responses = true\n{}",
        chat.provider("c"),
        keeps.provider("k"),
        model(&[("c", "up-c"), ("k", "up-k")])
    ));
    let function = json!({"type": "function", "name": "f", "parameters": {}});
    let allowed = |tools: Value| json!({"type": "allowed_tools", "mode": "auto", "tools": tools});
    for (tool, choice, says) in [
        (
            json!({"type": "file_search", "vector_store_ids": ["v"]}),
            Value::Null,
            "a tool of type \"file_search\", which only OpenAI's own servers run, as tools[1]",
        ),
        (json!({"type": "custom", "name": "code"}), Value::Null, "a tool of type \"custom\", whose input is no JSON, as tools[1]"),
        (function.clone(), json!({"type": "mcp", "server_label": "x"}), "a tool_choice of type \"mcp\""),
        (function.clone(), allowed(json!([{"type": "function", "name": "g"}])), "a tool_choice of tools that aren't in `tools`"),
        (function.clone(), allowed(json!([{"type": "mcp", "server_label": "x"}])), "a tool of type \"mcp\" in tool_choice"),
    ] {
        let mut body = hello();
        body["tools"] = json!([function, tool]);
        body["tool_choice"] = choice;
        let reply = ask(&app, &body.to_string());
        assert_eq!((reply.status, reply.code().as_str()), (400, "no_fitting_target"), "{says}");
        let message = reply.json()["error"]["message"].as_str().unwrap().to_owned();
        assert!(message.contains("o/up") && message.contains(says), "{message}");
        let reply = ask(&both, &body.to_string());
        assert_eq!((reply.status, reply.header("x-stagedoor-route")), (200, Some("c/up-c!unfit,k/up-k")), "{says}");
        assert_eq!(keeps.calls().last().unwrap().text(), body.to_string().replace("\"m\"", "\"up-k\""), "to the byte");
    }
    assert_eq!(chat.count(), 0);
}
