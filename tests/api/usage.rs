//! What is known of a request's tokens: asked of every stream, hidden from callers who didn't ask, counted once, and estimated
//! where the upstream doesn't say.

use serde_json::{Value, json};

use super::support::continuing::{Death, dying, end, finish, mortal, onward, speak, text, words};
use super::support::faults::{alone, provider_at};
use super::support::{Reply, TestApp, Upstream, answer, plain, status, stream_body};

fn tokens(app: &TestApp, model: &str, kind: &str) -> f64 {
    app.metric(&format!("stagedoor_tokens_total{{model=\"{model}\",kind=\"{kind}\"}}"))
}

fn usages(reply: &Reply) -> Vec<Value> {
    let parsed = reply.events().into_iter().filter_map(|data| serde_json::from_str::<Value>(&data).ok());
    parsed.map(|event| event["usage"].clone()).filter(Value::is_object).collect()
}

/// Says the sixty words, and the usage where it is asked for.
fn telling() -> Upstream {
    Upstream::start(|call, stream| {
        speak(stream, "first", &words());
        finish(stream, &end("first", &call.json(), 60))
    })
}

fn asking(model: &str) -> String {
    stream_body(model).replacen('{', r#"{"stream_options":{"include_usage":true},"#, 1)
}

#[test]
fn a_streams_usage_is_asked_for_and_shown_to_those_who_asked() {
    let upstream = telling();
    let app = alone(&provider_at("p", &upstream.url(), ""), "");
    let reply = app.stream("m");
    assert_eq!((reply.words(), reply.terminals(), usages(&reply).len()), (text(), 1, 0), "{}", reply.text());
    assert_eq!(upstream.calls()[0].json()["stream_options"], json!({"include_usage": true}));
    assert_eq!((tokens(&app, "m", "input"), tokens(&app, "m", "output")), (20.0, 60.0));
    let reply = app.client().post("/v1/chat/completions", &[], &asking("m"));
    assert_eq!((usages(&reply).len(), usages(&reply)[0]["total_tokens"].clone()), (1, json!(80)));
    assert_eq!((tokens(&app, "m", "input"), tokens(&app, "m", "output")), (40.0, 120.0));
}

#[test]
fn a_plain_answers_usage_counts_as_it_says() {
    let details = r#""usage":{"prompt_tokens":9,"completion_tokens":8,"prompt_tokens_details":{"cached_tokens":7},"completion_tokens_details":{"reasoning_tokens":6}}"#;
    let body = format!(r#"{{"choices":[{{"index":0,"message":{{"role":"assistant","content":"hi"}},"finish_reason":"stop"}}],{details}}}"#);
    let upstream = Upstream::answering(plain(&body));
    let app = alone(&provider_at("p", &upstream.url(), ""), "");
    assert_eq!(tokens(&app, "m", "input"), 0.0, "the series is there from the start");
    app.chat("m");
    let all = ["input", "cached", "output", "reasoning"].map(|kind| tokens(&app, "m", kind));
    assert_eq!(all, [9.0, 7.0, 8.0, 6.0]);
}

#[test]
fn row_28_where_it_is_missing_or_absurd_it_is_estimated() {
    for usage in ["", ",\"usage\":null", ",\"usage\":{\"prompt_tokens\":-5,\"completion_tokens\":1e18}"] {
        let words = "The curtain rises at eight and the stage door stays open for everyone who knocks.";
        let body =
            format!(r#"{{"choices":[{{"index":0,"message":{{"role":"assistant","content":"{words}"}},"finish_reason":"stop"}}]{usage}}}"#);
        let upstream = Upstream::answering(plain(&body));
        let app = alone(&provider_at("p", &upstream.url(), ""), "");
        app.chat("m");
        let (input, output) = (tokens(&app, "m", "input"), tokens(&app, "m", "output"));
        assert!((1.0..20.0).contains(&input) && (14.0..20.0).contains(&output), "{usage}: {input} and {output}");
        let streaming = Upstream::start(move |_, stream| {
            speak(stream, "first", &words.split_inclusive(' ').map(str::to_owned).collect::<Vec<_>>());
            finish(
                stream,
                &end("first", &Value::Null, 0).replace("data: [DONE]", &format!("data: {{\"choices\":[]{usage}}}\n\ndata: [DONE]")),
            )
        });
        let app = alone(&provider_at("p", &streaming.url(), ""), "");
        assert_eq!(app.stream("m").words(), words);
        let output = tokens(&app, "m", "output");
        assert!((14.0..20.0).contains(&output), "{usage}: {output}");
    }
}

#[test]
fn who_refuses_the_question_is_asked_without_it() {
    let refusing = Upstream::start(|call, stream| {
        use std::io::Write;
        if !call.json()["stream_options"].is_null() {
            let body = r#"{"error":{"message":"Unknown field: stream_options","type":"invalid_request_error","param":null,"code":null}}"#;
            let head = format!("HTTP/1.1 422 X\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n", body.len());
            return stream.write_all(format!("{head}{body}").as_bytes()).is_ok();
        }
        speak(stream, "first", &words());
        finish(stream, &end("first", &Value::Null, 0))
    });
    let app = alone(&provider_at("p", &refusing.url(), ""), "[server]\nworkers = 1\n");
    for round in 1..=3 {
        let reply = app.stream("m");
        assert_eq!((reply.words(), reply.header("x-stagedoor-attempts")), (text(), Some("1")), "{}", reply.text());
        assert_eq!(refusing.count(), round + 1, "asked with it only once");
    }
    let own = app.client().post("/v1/chat/completions", &[], &asking("m"));
    assert_eq!(own.status, 422, "the caller's own question is the caller's own fault");
}

/// A caller may not make the gateway count by guessing, for everyone and until it is restarted.
#[test]
fn a_refusal_that_only_quotes_the_name_does_not_end_the_question() {
    let upstream = Upstream::start(|call, stream| {
        use std::io::Write;
        if call.text().contains("odd") {
            let body =
                r#"{"error":{"message":"Invalid value: 'odd stream_options'.","type":"invalid_request_error","param":"messages[0].role"}}"#;
            let head = format!("HTTP/1.1 400 X\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n", body.len());
            return stream.write_all(format!("{head}{body}").as_bytes()).is_ok();
        }
        speak(stream, "first", &words());
        finish(stream, &end("first", &call.json(), 30))
    });
    let app = alone(&provider_at("p", &upstream.url(), ""), "[server]\nworkers = 1\n");
    let odd = r#"{"model":"m","stream":true,"messages":[{"role":"odd stream_options","content":"x"}]}"#;
    assert_eq!(app.client().post("/v1/chat/completions", &[], odd).status, 400);
    assert_eq!(app.stream("m").words(), text());
    assert_eq!(upstream.calls().last().unwrap().json()["stream_options"], json!({"include_usage": true}));
}

#[test]
fn a_continued_stream_has_one_usage_the_sum_of_both_legs() {
    let (p, spare) = (mortal(), onward("prefill"));
    let app = TestApp::start(&format!(
        "{}{}[models.m]\nstrategy = \"ordered\"\ntargets = [{{ provider = \"p\", model = \"up\" }}, {{ provider = \"s\", model = \"second\" }}]\n",
        p.provider("p"),
        provider_at("s", &spare.url(), "continuation = \"prefill\"")
    ));
    let reply = app.client().post("/v1/chat/completions", &[], &dying("m", Death::Fin, 30));
    assert_eq!((reply.words(), usages(&reply).len()), (text(), 0));
    let asking = dying("m", Death::Fin, 30).replacen('{', r#"{"stream_options":{"include_usage":true},"#, 1);
    let before = tokens(&app, "m", "output");
    let reply = app.client().post("/v1/chat/completions", &[], &asking);
    let usages = usages(&reply);
    assert_eq!((reply.words(), usages.len(), reply.terminals()), (text(), 1, 1), "{}", reply.text());
    let (input, output) = (usages[0]["prompt_tokens"].as_f64().unwrap(), usages[0]["completion_tokens"].as_f64().unwrap());
    assert_eq!(tokens(&app, "m", "output"), before + output);
    assert!(input > 20.0 && output > 60.0, "both prompts, and thirty words more than the second leg's: {}", usages[0]);
    assert!(reply.text().find("\"usage\":{").unwrap() > reply.text().find("\"finish_reason\":\"stop\"").unwrap());
}

#[test]
fn a_caller_who_leaves_has_used_what_was_said() {
    let endless = Upstream::start(|_, stream| {
        use std::io::{Read, Write};
        speak(stream, "first", &words());
        let _ = stream.flush();
        let _ = stream.read(&mut [0; 16]);
        false
    });
    let app = alone(&provider_at("p", &endless.url(), ""), "");
    let mut caller = app.client().connect();
    std::io::Write::write_all(&mut caller, &super::support::chat_bytes(&[], &stream_body("m"))).unwrap();
    super::support::read_until(&mut caller, "🎭59");
    drop(caller);
    app.until("what was said is counted", |app| tokens(app, "m", "output") >= 60.0);
    assert!(tokens(&app, "m", "output") < 400.0);
}

#[test]
fn an_answer_that_never_came_cost_nothing() {
    let refusing = Upstream::answering(status(400, "invalid", ""));
    let app = alone(&provider_at("p", &refusing.url(), ""), "");
    assert_eq!(app.chat("m").status, 400);
    assert_eq!(tokens(&app, "m", "input"), 0.0);
    let answering = Upstream::answering(answer("hi"));
    let good = alone(&provider_at("p", &answering.url(), ""), "");
    good.chat("m");
    assert_eq!((tokens(&good, "m", "input"), tokens(&good, "m", "output")), (1.0, 1.0));
}
