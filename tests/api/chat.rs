//! The main job: a chat call through the gateway, plain and streamed, untouched but for the model's name.

use super::support::{TestApp, Upstream, answer, stream};

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
