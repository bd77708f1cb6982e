//! The endpoints beside chat: what is asked and answered passes byte for byte but for the model's name, under the same keys, routing,
//! failover, limits and metrics as a chat's.

use std::io::Write;
use std::time::Duration;

use serde_json::{Value, json};

use super::support::anthropic;
use super::support::faults::settled;
use super::support::{Reply, STREAM_HEAD, TestApp, Upstream, answer, chat_body, chunk, plain, read_rest, read_until, status};

const PATIENT: &str =
    "[retry]\nsame_target = 0\n[breaker]\nconsecutive_failures = 100000\nfailure_ratio = 1.0\nminimum_requests = 100000\n";

fn model(targets: &[(&str, &str)]) -> String {
    let rows: Vec<_> = targets.iter().map(|(provider, model)| format!("{{ provider = \"{provider}\", model = \"{model}\" }}")).collect();
    format!("[models.m]\nstrategy = \"ordered\"\ntargets = [{}]\n", rows.join(", "))
}

fn gateway(upstream: &Upstream) -> TestApp {
    TestApp::start(&format!("{PATIENT}{}{}", upstream.provider("o"), model(&[("o", "up")])))
}

/// One target after the other.
fn chain(first: &Upstream, second: &Upstream) -> TestApp {
    TestApp::start(&format!("{PATIENT}{}{}{}", first.provider("a"), second.provider("b"), model(&[("a", "up-a"), ("b", "up-b")])))
}

/// A request of each, and an answer to it.
const JSON: [(&str, &str, &str); 5] = [
    (
        "/v1/embeddings",
        r#"{ "model":"m", "input": ["a", "b"], "dimensions": 1.0, "x": {"a": 1.10} }"#,
        r#"{ "object":"list","data":[{"embedding":[0.10,1e-9]}],"model":"up", "usage":{"prompt_tokens":8,"total_tokens":8} }"#,
    ),
    (
        "/v1/completions",
        r#"{"prompt":"Once","model":"m","max_tokens":9}"#,
        r#"{"id":"c","object":"text_completion","choices":[{"index":0,"text":" upon","finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3}}"#,
    ),
    ("/v1/moderations", r#"{"model":"m","input":"words"}"#, r#"{"id":"modr-1","model":"up","results":[{"flagged":false}]}"#),
    (
        "/v1/rerank",
        r#"{"model":"m","query":"q","documents":["a","b"],"top_n":1}"#,
        r#"{"id":"r","results":[{"index":1,"relevance_score":0.50}],"meta":{"billed_units":{"search_units":1}}}"#,
    ),
    (
        "/v1/images/generations",
        r#"{"model":"m","prompt":"a cat","n":2,"response_format":"b64_json"}"#,
        r#"{"created":1,"data":[{"b64_json":"AAAA"}],"usage":{"input_tokens":3,"output_tokens":50,"total_tokens":53}}"#,
    ),
];

const FORM: &str = "multipart/form-data; boundary=XX";

fn form(parts: &[(&str, &str)]) -> String {
    let parts: String =
        parts.iter().map(|(head, value)| format!("--XX\r\nContent-Disposition: form-data; {head}\r\n\r\n{value}\r\n")).collect();
    format!("{parts}--XX--\r\n")
}

fn sound() -> String {
    form(&[
        ("name=\"file\"; filename=\"a.mp3\"", "\0\r\n--X name=\"model\"\r\n\r\nx"),
        ("name=\"model\"", "m"),
        ("name=\"language\"", "en"),
    ])
}

fn transcribe(app: &TestApp, body: &str) -> Reply {
    app.client().post("/v1/audio/transcriptions", &[("content-type", FORM)], body)
}

const SPEECH: &str = r#"{"model":"m","input":"Hello there","voice":"alloy","response_format":"mp3"}"#;

fn speak(app: &TestApp) -> Reply {
    app.client().post("/v1/audio/speech", &[], SPEECH)
}

fn ok(headers: &str) -> String {
    format!("HTTP/1.1 200 OK\r\n{headers}\r\n")
}

fn mp3(body: &str) -> Vec<u8> {
    format!("{}{body}", ok(&format!("content-type: audio/mpeg\r\ncontent-length: {}\r\n", body.len()))).into_bytes()
}

#[test]
fn bodies_pass_but_for_the_models_name() {
    for (path, body, reply) in JSON {
        let upstream = Upstream::answering(plain(reply));
        let app = gateway(&upstream);
        for path in [path, path.trim_start_matches("/v1")] {
            let got = app.client().post(path, &[("openai-beta", "b"), ("cookie", "c")], body);
            assert_eq!((got.status, got.text().as_str()), (200, reply), "{path}");
            assert_eq!((got.header("x-stagedoor-route"), got.header("content-type")), (Some("o/up"), Some("application/json")));
        }
        let call = &upstream.calls()[0];
        assert!(call.head.starts_with(&format!("POST {path} HTTP/1.1")), "{}", call.head);
        assert_eq!(call.text(), body.replace("\"m\"", "\"up\""), "{path}");
        assert_eq!((call.header("openai-beta").as_deref(), call.header("cookie")), (Some("b"), None));
        settled(&app);
    }
}

#[test]
fn what_they_use_is_counted_and_what_nobody_knows_has_no_cost() {
    let price = "[models.m]\ntargets = [{ provider = \"o\", model = \"up\", price = { input = 1.0, output = 2.0 } }]\n";
    for ((path, body, reply), (input, output, cost)) in JSON.into_iter().zip([
        (8.0, 0.0, Some("0.000008")),
        (1.0, 2.0, Some("0.000005")),
        (2.0, 0.0, Some("0.000002")),
        (1.0, 0.0, Some("0.000001")),
        (3.0, 50.0, Some("0.000103")),
    ]) {
        let upstream = Upstream::answering(plain(reply));
        let app = TestApp::start(&format!("{PATIENT}{}{price}", upstream.provider("o")));
        let got = app.client().post(path, &[], body);
        assert_eq!(got.header("x-stagedoor-cost"), cost, "{path}");
        let tokens = |kind| app.metric(&format!("stagedoor_tokens_total{{model=\"m\",kind=\"{kind}\"}}"));
        assert_eq!((tokens("input"), tokens("output")), (input, output), "{path}");
    }
    let upstream = Upstream::answering(plain(r#"{"created":1,"data":[]}"#));
    let app = TestApp::start(&format!("{PATIENT}{}{price}", upstream.provider("o")));
    let got = app.client().post("/v1/images/generations", &[], JSON[4].1);
    assert_eq!((got.status, got.header("x-stagedoor-cost")), (200, None), "a picture's price isn't made up");
}

#[test]
fn of_a_budget_what_was_reserved_is_gone_where_nobody_tells_the_cost() {
    let key = "[auth]\nmode = \"keys\"\n[[auth.keys]]\nname = \"k\"\nkey = { value = \"sk-caller-key-of-these-tests\" }\nbudget = { usd = 0.02, window = \"total\" }\n";
    let price = "[models.m]\ntargets = [{ provider = \"o\", model = \"up\", price = { input = 1.0, output = 2.0 } }]\n";
    // A picture may have 6,240 tokens: 0.0125 dollars are reserved for it.
    for (reply, second) in [(JSON[4].2, 200), (r#"{"created":1,"data":[]}"#, 429)] {
        let upstream = Upstream::answering(plain(reply));
        let app = TestApp::start(&format!("{PATIENT}{key}{}{price}", upstream.provider("o")));
        let headers = [("authorization", "Bearer sk-caller-key-of-these-tests")];
        let ask = || app.client().post("/v1/images/generations", &headers, r#"{"model":"m","prompt":"a cat"}"#);
        assert_eq!((ask().status, ask().status), (200, second), "{reply}");
    }
}

#[test]
fn keys_and_allow_lists_hold_everywhere() {
    let upstream = Upstream::answering(plain("{}"));
    let keys =
        "[auth]\nmode = \"keys\"\n[[auth.keys]]\nname = \"k\"\nkey = { value = \"sk-caller-key-of-these-tests\" }\nmodels = [\"other\"]\n";
    let app = TestApp::start(&format!(
        "{keys}{}{}[models.other]\ntargets = [{{ provider = \"o\", model = \"x\" }}]\n",
        upstream.provider("o"),
        model(&[("o", "up")])
    ));
    let sound = sound();
    let all = JSON.map(|(path, body, _)| (path, body, "application/json"));
    for (path, body, kind) in
        all.into_iter().chain([("/v1/audio/speech", SPEECH, "application/json"), ("/v1/audio/transcriptions", &sound, FORM)])
    {
        let ask = |key: &str, body: &str| app.client().post(path, &[("authorization", key), ("content-type", kind)], body);
        assert_eq!((ask("Bearer wrong", body).status, ask("Bearer wrong", body).code()), (401, "invalid_api_key".into()), "{path}");
        let reply = ask("Bearer sk-caller-key-of-these-tests", body);
        assert_eq!((reply.status, reply.code()), (403, "model_not_allowed".into()), "{path}");
        let reply = ask(
            "Bearer sk-caller-key-of-these-tests",
            &body.replace("\"m\"", "\"nobody\"").replace(
                "\r\n\r\nm\r\n--XX\r\nContent-Disposition: form-data; name=\"language",
                "\r\n\r\nnobody\r\n--XX\r\nContent-Disposition: form-data; name=\"language",
            ),
        );
        assert_eq!((reply.status, reply.code()), (404, "model_not_found".into()), "{path}");
        let reply = app.client().call("GET", path, &[("authorization", "Bearer sk-caller-key-of-these-tests")], "");
        assert_eq!(reply.status, 405, "{path}");
    }
    assert_eq!(upstream.count(), 0);
}

#[test]
fn wrong_bodies_are_refused_as_chats_are() {
    let upstream = Upstream::answering(plain("{}"));
    let app = gateway(&upstream);
    for (path, ..) in JSON {
        for (body, code) in
            [("{}", "missing_model"), ("[]", "invalid_json"), (r#"{"model":"m","model":"m"}"#, "duplicate_field"), ("", "invalid_json")]
        {
            let reply = app.client().post(path, &[], body);
            assert_eq!((reply.status, reply.code()), (400, code.to_owned()), "{path} {body}");
        }
        assert_eq!(app.client().post(path, &[("content-type", "text/plain")], "{}").status, 415);
    }
    assert_eq!(upstream.count(), 0);
}

#[test]
fn a_target_that_fails_is_followed_by_the_next_unless_it_may_have_billed() {
    let second = Upstream::by(|call| plain(JSON.iter().find(|(path, ..)| call.head.contains(path)).unwrap().2));
    for (path, body, reply) in JSON {
        for (broken, moves_on) in [("status", true), ("silent close", path != "/v1/images/generations")] {
            let first = Upstream::start(move |_, stream| broken == "status" && stream.write_all(&status(500, "server_error", "")).is_ok());
            let app = chain(&first, &second);
            let got = app.client().post(path, &[], body);
            if moves_on {
                assert_eq!((got.status, got.text().as_str()), (200, reply), "{path} {broken}");
                assert!(got.header("x-stagedoor-route").unwrap().ends_with(",b/up-b"), "{path}");
            } else {
                assert_eq!((got.status, got.code()), (502, "all_targets_failed".into()), "{path} {broken}");
            }
        }
    }
    let count = second.count();
    // What isn't the endpoint's answer is no answer: a picture of which nobody knows whether it was made isn't made again.
    let first = Upstream::answering(answer("a chat's"));
    assert_eq!(chain(&first, &second).client().post(JSON[0].0, &[], JSON[0].1).text(), JSON[0].2);
    assert_eq!(chain(&first, &second).client().post(JSON[4].0, &[], JSON[4].1).status, 502);
    assert_eq!(second.count(), count + 1);
}

#[test]
fn a_target_of_another_dialect_is_passed_over_as_unfit() {
    let claude = Upstream::answering(anthropic::says("no"));
    for (path, body, reply) in JSON {
        let upstream = Upstream::answering(plain(reply));
        let (a, o) = (anthropic::provider("a", &claude, ""), upstream.provider("o"));
        let app = TestApp::start(&format!("{PATIENT}{a}{o}{}", model(&[("a", "claude-haiku-4-5"), ("o", "up")])));
        let got = app.client().post(path, &[], body);
        assert_eq!((got.status, got.header("x-stagedoor-route")), (200, Some("a/claude-haiku-4-5!unfit,o/up")), "{path}");
        let alone = TestApp::start(&format!("{PATIENT}{a}{}", model(&[("a", "claude-haiku-4-5")])));
        let got = alone.client().post(path, &[], body);
        assert_eq!((got.status, got.code()), (400, "no_fitting_target".into()), "{path}");
        assert!(got.text().contains("a/claude-haiku-4-5: can't carry a request for "), "{}", got.text());
    }
    assert_eq!(claude.count(), 0);
}

#[test]
fn an_endpoint_that_a_target_does_not_offer_says_nothing_of_its_chats() {
    for refusal in [
        (404, r#"{"error":{"message":"This is a chat model and not supported in the v1/completions endpoint.","param":"model"}}"#),
        (
            403,
            r#"{"error":{"message":"You are not allowed to generate embeddings from this model","type":"invalid_request_error","code":null}}"#,
        ),
        (404, "<html>nothing here</html>"),
        (405, "{}"),
        (404, r#"{"error":{"message":"The model `up` does not exist","code":"model_not_found"}}"#),
    ] {
        let upstream = Upstream::by(move |call| {
            if call.head.contains("/chat/") {
                return answer("still here");
            }
            format!(
                "HTTP/1.1 {} X\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{}",
                refusal.0,
                refusal.1.len(),
                refusal.1
            )
            .into_bytes()
        });
        let key = format!("[providers.o]\ndialect = \"openai\"\nbase_url = \"{}\"\nkeys = [{{ value = \"only\" }}]\n", upstream.url());
        let app = TestApp::start(&format!(
            "[breaker]\nconsecutive_failures = 2\nfailure_ratio = 0.1\nminimum_requests = 1\n{key}{}",
            model(&[("o", "up")])
        ));
        for (path, body, _) in JSON.iter().chain(&JSON) {
            let got = app.client().post(path, &[], body);
            assert_eq!((got.status, got.code()), (400, "no_fitting_target".into()), "{path} {refusal:?} {}", got.text());
            assert!(got.text().contains("o/up doesn't offer this endpoint for this model"), "{}", got.text());
        }
        let chat = app.client().post("/v1/chat/completions", &[], &chat_body("m"));
        assert_eq!((chat.status, chat.content()), (200, "still here".into()), "{refusal:?}");
    }
}

#[test]
fn a_chat_asked_of_a_model_that_has_none_leaves_its_embeddings_alone() {
    let said = "This is not a chat model and thus not supported in the v1/chat/completions endpoint. Did you mean to use v1/completions?";
    let upstream = Upstream::by(move |call| {
        if call.head.contains("/embeddings") {
            return plain(JSON[0].2);
        }
        let body = json!({"error": {"message": said, "type": "invalid_request_error", "param": "model", "code": null}}).to_string();
        format!("HTTP/1.1 404 X\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_bytes()
    });
    let app = gateway(&upstream);
    for _ in 0..3 {
        let reply = app.client().post("/v1/chat/completions", &[], &chat_body("m"));
        assert_eq!((reply.status, reply.json()["error"]["message"].as_str()), (404, Some(said)));
    }
    assert_eq!(app.client().post(JSON[0].0, &[], JSON[0].1).status, 200);
}

fn completion(text: &str, finish: &str) -> String {
    chunk(&format!(
        "data: {{\"id\":\"c\",\"object\":\"text_completion\",\"choices\":[{{\"index\":0,\"text\":\"{text}\",\"finish_reason\":{finish}}}]}}\n\n"
    ))
}

#[test]
fn a_completions_stream_is_relayed_and_a_cut_one_is_an_error() {
    const BODY: &str = r#"{"model":"m","prompt":"Once","stream":true}"#;
    let events = [completion(" upon", "null"), completion(" a", "\"stop\""), chunk("data: [DONE]\n\n")].concat();
    let upstream = Upstream::answering(format!("{STREAM_HEAD}{events}0\r\n\r\n"));
    let app = gateway(&upstream);
    let reply = app.client().post("/v1/completions", &[], BODY);
    assert_eq!((reply.status, reply.whole, reply.terminals(), reply.events().len()), (200, true, 1, 3));
    assert!(reply.events()[0].contains("\" upon\""), "{}", reply.text());
    assert_eq!(upstream.calls()[0].json()["stream_options"], json!({"include_usage": true}));
    for (cut, status) in [(format!("{STREAM_HEAD}{}", completion(" upon", "null")), 200), (STREAM_HEAD.to_owned(), 502)] {
        let upstream = Upstream::start(move |_, stream| {
            let _ = stream.write_all(cut.as_bytes());
            false
        });
        let app = gateway(&upstream);
        let reply = app.client().post("/v1/completions", &[], BODY);
        assert_eq!((reply.status, reply.terminals()), (status, 0), "{}", reply.text());
        assert!(reply.text().contains("\"error\""), "{}", reply.text());
        settled(&app);
    }
    // Who answers a stream's request by a whole answer.
    let upstream = Upstream::answering(plain(JSON[1].2));
    let reply = gateway(&upstream).client().post("/v1/completions", &[], BODY);
    assert_eq!((reply.status, reply.terminals(), reply.events()[0].as_str()), (200, 1, JSON[1].2));
}

#[test]
fn sound_passes_as_it_comes() {
    let (tell, told) = std::sync::mpsc::channel::<()>();
    let told = std::sync::Mutex::new(told);
    let upstream = Upstream::start(move |_, stream| {
        let head = ok("content-type: audio/mpeg\r\ntransfer-encoding: chunked\r\n");
        let _ = stream.write_all(format!("{head}{}", chunk("first")).as_bytes());
        let _ = told.lock().unwrap().recv_timeout(Duration::from_secs(10));
        stream.write_all(format!("{}0\r\n\r\n", chunk("second")).as_bytes()).is_ok()
    });
    let app = gateway(&upstream);
    let mut stream = app.client().connect();
    let head = format!(
        "POST /v1/audio/speech HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{SPEECH}",
        SPEECH.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    let begun = read_until(&mut stream, "first");
    assert!(begun.contains("200 OK") && begun.contains("content-type: audio/mpeg") && !begun.contains("second"), "{begun}");
    tell.send(()).unwrap();
    let rest = read_rest(&mut stream);
    assert!(rest.contains("second") && rest.ends_with("0\r\n\r\n"), "{rest}");
    assert_eq!(upstream.calls()[0].text(), SPEECH.replace("\"m\"", "\"up\""));
    settled(&app);
    let whole = Upstream::answering(mp3("counted"));
    let reply = speak(&gateway(&whole));
    assert_eq!((reply.status, reply.text(), reply.whole), (200, "counted".into(), true));
    assert_eq!((reply.header("content-length"), reply.header("x-stagedoor-cost")), (Some("7"), None));
}

#[test]
fn sound_that_breaks_off_is_never_whole() {
    let head = ok("content-type: audio/mpeg\r\ntransfer-encoding: chunked\r\n");
    for cut in [
        format!("{head}{}", chunk("first")),
        format!("{head}{}9\r\nsec", chunk("first")),
        format!("{}first", ok("content-type: audio/mpeg\r\ncontent-length: 50\r\n")),
    ] {
        let sent = cut.clone();
        let upstream = Upstream::start(move |_, stream| {
            let _ = stream.write_all(sent.as_bytes());
            false
        });
        let app = gateway(&upstream);
        let reply = speak(&app);
        assert_eq!((reply.status, reply.whole), (200, false), "{cut}");
        assert!(reply.text().starts_with("first"), "what came is handed over: {cut} {}", reply.text());
        let calls = &app.client().get("/health").json()["providers"]["o"]["models"]["up"];
        settled(&app);
        assert!(calls.is_object(), "{calls}");
        assert_eq!(app.metric("stagedoor_attempts_total{provider=\"o\",model=\"up\",outcome=\"transient\"}"), 1.0, "{cut}");
    }
}

#[test]
fn what_is_no_sound_moves_on_and_silence_ends_it() {
    let second = Upstream::answering(mp3("sound"));
    for first in [
        plain(r#"{"error":{"message":"m","code":"rate_limit_exceeded"}}"#),
        plain(r#"{"choices":[]}"#),
        format!("{}<html>", ok("content-type: text/html\r\ncontent-length: 6\r\n")).into_bytes(),
        status(500, "server_error", ""),
    ] {
        let first = Upstream::answering(first);
        let reply = speak(&chain(&first, &second));
        assert_eq!((reply.status, reply.text()), (200, "sound".into()));
    }
    let first = Upstream::answering(ok("content-type: audio/mpeg\r\ncontent-length: 0\r\n"));
    assert_eq!(speak(&chain(&first, &second)).status, 502, "nothing came, though it may have been billed");
    let silent = Upstream::start(|_, stream| {
        let _ =
            stream.write_all(format!("{}{}", ok("content-type: audio/mpeg\r\ntransfer-encoding: chunked\r\n"), chunk("first")).as_bytes());
        std::thread::sleep(Duration::from_secs(5));
        false
    });
    let app = TestApp::start(&format!("[timeouts]\nidle = \"200ms\"\n{PATIENT}{}{}", silent.provider("o"), model(&[("o", "up")])));
    let reply = speak(&app);
    assert_eq!((reply.status, reply.text(), reply.whole), (200, "first".into(), false));
}

#[test]
fn a_form_passes_but_for_the_models_name() {
    let upstream =
        Upstream::answering(plain(r#"{"text":"Hello", "usage":{"type":"tokens","input_tokens":14,"output_tokens":2,"total_tokens":16}}"#));
    let app = gateway(&upstream);
    let reply = transcribe(&app, &sound());
    assert_eq!((reply.status, reply.json()["text"].as_str(), reply.header("content-type")), (200, Some("Hello"), Some("application/json")));
    let call = &upstream.calls()[0];
    assert!(call.head.starts_with("POST /v1/audio/transcriptions HTTP/1.1"), "{}", call.head);
    assert_eq!(call.header("content-type").as_deref(), Some(FORM));
    let sent = sound().replace("name=\"model\"\r\n\r\nm\r\n--XX", "name=\"model\"\r\n\r\nup\r\n--XX");
    assert_eq!(call.text(), sent);
    assert_eq!(app.metric("stagedoor_tokens_total{model=\"m\",kind=\"output\"}"), 2.0);
    settled(&app);
}

#[test]
fn a_form_is_sent_again_to_the_next_target() {
    let first = Upstream::answering(status(503, "server_error", ""));
    let second = Upstream::answering(format!("{}Hello\n", ok("content-type: text/plain; charset=utf-8\r\ncontent-length: 6\r\n")));
    let app = chain(&first, &second);
    let reply = transcribe(&app, &sound());
    assert_eq!((reply.status, reply.text(), reply.header("content-type")), (200, "Hello\n".into(), Some("text/plain; charset=utf-8")));
    assert_eq!(first.calls()[0].text().replace("up-a", "up-b"), second.calls()[0].text());
    // Nothing but the connection's end shows that a plain text was cut.
    let cut = Upstream::start(|_, stream| {
        let _ =
            stream.write_all(format!("{}{}", ok("content-type: text/plain\r\ntransfer-encoding: chunked\r\n"), chunk("Hel")).as_bytes());
        false
    });
    let reply = transcribe(&gateway(&cut), &sound());
    assert_eq!((reply.status, reply.code()), (502, "all_targets_failed".into()), "{}", reply.text());
    let whole =
        Upstream::answering(format!("{}{}0\r\n\r\n", ok("content-type: text/plain\r\ntransfer-encoding: chunked\r\n"), chunk("Hello")));
    assert_eq!(transcribe(&gateway(&whole), &sound()).text(), "Hello");
}

#[test]
fn events_of_a_transcription_pass() {
    let events =
        "data: {\"type\":\"transcript.text.delta\",\"delta\":\"Hi\"}\n\ndata: {\"type\":\"transcript.text.done\",\"text\":\"Hi\"}\n\n";
    let upstream = Upstream::answering(format!("{STREAM_HEAD}{}0\r\n\r\n", chunk(events)));
    let reply = transcribe(&gateway(&upstream), &form(&[("name=\"model\"", "m"), ("name=\"stream\"", "true")]));
    assert_eq!((reply.status, reply.text(), reply.header("content-type")), (200, events.into(), Some("text/event-stream")));
}

#[test]
fn what_is_no_form_is_refused() {
    let upstream = Upstream::answering(plain(r#"{"text":""}"#));
    let app = TestApp::start(&format!("[server]\nmax_body = \"1KiB\"\n{}{}", upstream.provider("o"), model(&[("o", "up")])));
    let client = app.client();
    let ask = |headers: &[(&str, &str)], body: &str| {
        let reply = client.post("/v1/audio/transcriptions", headers, body);
        (reply.status, reply.code())
    };
    let form_type = ("content-type", FORM);
    assert_eq!(ask(&[], "{}"), (415, "unsupported_media_type".into()));
    assert_eq!(ask(&[form_type], &form(&[("name=\"file\"; filename=\"a\"", "x")])), (400, "missing_model".into()));
    assert_eq!(ask(&[form_type], &form(&[("name=\"model\"", "m"), ("name=\"model\"", "x")])), (400, "duplicate_field".into()));
    assert_eq!(ask(&[form_type], "--XX\r\n"), (400, "invalid_form".into()));
    assert_eq!(ask(&[form_type], &form(&[("name=\"model\"", "m"), ("name=\"file\"", &"x".repeat(2_000))])), (413, "body_too_large".into()));
    assert_eq!(ask(&[form_type, ("content-encoding", "gzip")], &sound()), (415, "unsupported_encoding".into()));
    assert_eq!(ask(&[form_type, ("origin", "https://evil.example")], &sound()), (403, "host_not_allowed".into()));
    assert_eq!(upstream.count(), 0);
    assert_eq!(ask(&[form_type], &sound()).0, 200);
}

#[test]
fn the_rehearsal_answers_each() {
    let app = TestApp::start("[providers.r]\ndialect = \"rehearsal\"\n[models.m]\ntargets = [{ provider = \"r\", model = \"x\" }]\n");
    for ((path, body, _), there) in
        JSON.iter().zip(["/data/0/embedding/0", "/choices/0/text", "/results/0/flagged", "/results/0/index", "/data/1/b64_json"])
    {
        let reply = app.client().post(path, &[], &body.replace("1.0,", "1,"));
        assert_eq!((reply.status, reply.json().pointer(there).is_some()), (200, true), "{path}: {}", reply.text());
    }
    let reply =
        app.client().post("/v1/completions", &[], r#"{"model":"m","prompt":"Once","stream":true,"stream_options":{"include_usage":true}}"#);
    let events: Vec<Value> = reply.events().iter().filter_map(|data| serde_json::from_str(data).ok()).collect();
    let said: String = events.iter().filter_map(|event| event["choices"][0]["text"].as_str()).collect();
    assert!(reply.terminals() == 1 && said.starts_with("This is a rehearsal"), "{}", reply.text());
    assert_eq!(
        (&events[events.len() - 2]["choices"][0]["finish_reason"], &events[events.len() - 1]["usage"]["completion_tokens"]),
        (&json!("length"), &json!(16))
    );
    let reply = speak(&app);
    assert_eq!((reply.status, reply.header("content-type"), &reply.body[..2]), (200, Some("audio/mpeg"), &[0xFF, 0xFB][..]));
    let reply = transcribe(&app, &sound());
    assert!(reply.status == 200 && reply.json()["text"].as_str().unwrap().contains("bytes of sound"), "{}", reply.text());
    let reply =
        transcribe(&app, &form(&[("name=\"model\"", "m"), ("name=\"file\"; filename=\"a\"", "x"), ("name=\"response_format\"", "vtt")]));
    assert!(reply.text().starts_with("WEBVTT"), "{}", reply.text());
}
