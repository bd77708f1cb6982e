//! The main job: a chat call through the gateway, plain and streamed, untouched but for the model's name.

use std::io::{Read, Write};

use super::support::{STREAM_END, STREAM_HEAD, TestApp, Upstream, answer, chunk, event, stream, stream_body};

fn one(upstream: &Upstream) -> String {
    format!("{}[models.m]\ntargets = [{{ provider = \"p\", model = \"upstream-name\" }}]\n", upstream.provider("p"))
}

#[test]
fn a_body_passes_untouched_but_for_the_models_name() {
    let upstream = Upstream::answering(answer("hi"));
    let app = TestApp::start(&one(&upstream));
    let odd = "{ \"zeta\":1.10 ,\n \"model\" : \"m\", \"big\": 123456789012345678901234567890, \"messages\":[{\"role\":\"user\",\"content\":\"\\ud83d ü\"}], \"x\":1e400 }";
    let reply = app.client().post("/v1/chat/completions", &[], odd);
    assert_eq!((reply.status, reply.content().as_str()), (200, "hi"));
    assert_eq!(upstream.calls()[0].text(), odd.replace("\"m\"", "\"upstream-name\""));
    assert_eq!(reply.header("x-stagedoor-provider"), Some("p"));
    assert_eq!(reply.header("x-stagedoor-model"), Some("upstream-name"));
    assert_eq!(reply.header("x-stagedoor-route"), Some("p/upstream-name"));
    assert_eq!(reply.header("x-stagedoor-attempts"), Some("1"));
}

#[test]
fn a_stream_passes_byte_for_byte() {
    let upstream = Upstream::answering(stream(&["one ", "two ", "three"]));
    let app = TestApp::start(&one(&upstream));
    let reply = app.stream("m");
    assert_eq!((reply.status, reply.words().as_str(), reply.terminals(), reply.whole), (200, "one two three", 1, true));
    let sent = String::from_utf8(stream(&["one ", "two ", "three"])).unwrap();
    for event in reply.events() {
        assert!(sent.contains(&event), "{event}");
    }
    assert_eq!(app.metric("stagedoor_requests_total{model=\"m\",status=\"200\",stream=\"true\"}"), 1.0);
}

#[test]
fn the_first_word_goes_out_by_itself_though_more_came_with_it() {
    let words: String = ["one ", "two ", "three"].map(event).concat();
    let upstream = Upstream::answering(format!("{STREAM_HEAD}{}0\r\n\r\n", chunk(&(words.clone() + STREAM_END))).into_bytes());
    let app = TestApp::start(&one(&upstream));
    let (mut caller, body) = (app.client().connect(), stream_body("m"));
    let head = format!("POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: {}\r\n", body.len());
    write!(caller, "{head}content-type: application/json\r\n\r\n{body}").unwrap();
    let mut got = String::new();
    caller.read_to_string(&mut got).unwrap();
    let chunks = got.split_once("\r\n\r\n").unwrap().1;
    let expected = [event("one "), ["two ", "three"].map(event).concat() + STREAM_END].map(|events| chunk(&events)).concat();
    // The sizes are written in either case.
    assert_eq!(chunks.to_lowercase(), (expected + "0\r\n\r\n").to_lowercase());
}
