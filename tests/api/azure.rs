//! Targets at Azure: OpenAI's bodies at a deployment's address, with a version of the API and the key or a token.

use serde_json::{Value, json};

use super::support::faults::{last_error, settled};
use super::support::names::names;
use super::support::{STREAM_END, STREAM_HEAD, TestApp, Upstream, answer, chunk, event, plain, status, stream};

/// The model `m` at a deployment; `more`: further lines of the provider, which is `p`.
fn gateway(upstream: &Upstream, more: &str) -> TestApp {
    let address = upstream.address;
    TestApp::start(&format!(
        "[retry]\nsame_target = 0\n[providers.p]\ndialect = \"azure\"\nbase_url = \"http://{address}\"\nkeys = [{{ value = \"az-secret\" }}]\n{more}\n\
         [models.m]\ntargets = [{{ provider = \"p\", model = \"my gpt/4o\" }}]\n"
    ))
}

#[test]
fn a_deployment_is_asked_by_its_path_with_a_version_and_the_key() {
    let upstream = Upstream::answering(answer("from azure"));
    let app = gateway(&upstream, "");
    assert_eq!(app.chat("m").content(), "from azure");
    let call = &upstream.calls()[0];
    assert!(
        call.head.starts_with("POST /openai/deployments/my%20gpt%2F4o/chat/completions?api-version=2024-10-21 HTTP/1.1"),
        "{}",
        call.head
    );
    assert_eq!((call.header("api-key").as_deref(), call.header("authorization")), (Some("az-secret"), None));
    let app = gateway(&upstream, "auth = \"bearer\"\napi_version = \"2025-04-01-preview\"");
    assert_eq!(app.chat("m").status, 200);
    let call = &upstream.calls()[1];
    assert!(call.head.lines().next().unwrap().contains("?api-version=2025-04-01-preview "), "{}", call.head);
    assert_eq!((call.header("api-key"), call.header("authorization").as_deref()), (None, Some("Bearer az-secret")));
}

#[test]
fn the_v1_api_is_asked_as_openais_is() {
    let upstream = Upstream::answering(answer("from v1"));
    let app = TestApp::start(&format!(
        "[providers.p]\ndialect = \"azure\"\nbase_url = \"http://{}/openai/v1\"\nkeys = []\n[models.m]\ntargets = [{{ provider = \"p\", model = \"dep\" }}]\n",
        upstream.address
    ));
    assert_eq!(app.chat("m").content(), "from v1");
    let call = &upstream.calls()[0];
    assert!(call.head.starts_with("POST /openai/v1/chat/completions HTTP/1.1"), "{}", call.head);
    assert_eq!(call.json()["model"], "dep");
}

#[test]
fn what_its_filters_say_passes_as_it_came() {
    let body = r#"{"id":"c","object":"chat.completion","created":1,"model":"gpt-4o","prompt_filter_results":[{"prompt_index":0,"content_filter_results":{"hate":{"filtered":false,"severity":"safe"}}}],"choices":[{"index":0,"content_filter_results":{},"message":{"role":"assistant","content":"hi"},"finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}"#;
    let first = "data: {\"choices\":[],\"created\":0,\"id\":\"\",\"model\":\"\",\"object\":\"\",\"prompt_filter_results\":[{\"prompt_index\":0}]}\n\n";
    let streamed = format!("{STREAM_HEAD}{}{}{}0\r\n\r\n", chunk(first), chunk(&event("hi")), chunk(STREAM_END));
    let upstream =
        Upstream::by(move |call| if call.text().contains("\"stream\":true") { streamed.clone().into_bytes() } else { plain(body) });
    let app = gateway(&upstream, "");
    assert_eq!(app.chat("m").text(), body, "byte for byte");
    let reply = app.stream("m");
    assert_eq!((reply.text(), reply.whole), (format!("{first}{}{STREAM_END}", event("hi")), true));
    // Another dialect's caller reads the words.
    let asked = json!({"model": "m", "max_tokens": 9, "stream": true, "messages": [{"role": "user", "content": "Hi"}]});
    let text = app.client().post("/v1/messages", &[], &asked.to_string()).text();
    assert_eq!((text.matches("message_start\n").count(), text.matches("\"text\":\"hi\"").count()), (1, 1), "{text}");
    assert!(text.contains("\"id\":\"chatcmpl-1\""), "the answer's id is that of its words: {text}");
    settled(&app);
}

#[test]
fn its_refusals_mean_what_they_mean() {
    let refusing = |code: u16, body: Value| {
        let body = body.to_string();
        let head = format!("HTTP/1.1 {code} X\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n", body.len());
        Upstream::answering(format!("{head}{body}"))
    };
    let policy = json!({"error": {"message": "filtered", "type": null, "param": "prompt", "code": "content_filter", "status": 400,
        "innererror": {"code": "ResponsibleAIPolicyViolation"}}});
    let filtered = refusing(400, policy.clone());
    let app = gateway(&filtered, "");
    let reply = app.chat("m");
    assert_eq!((reply.status, reply.json()), (400, policy), "the caller's own fault is told as it came");
    let gone =
        refusing(404, json!({"error": {"code": "DeploymentNotFound", "message": "The API deployment for this resource does not exist."}}));
    let app = gateway(&gone, "");
    assert_eq!(app.chat("m").status, 404);
    app.until("it isn't asked again", |app| app.health()["providers"].to_string().contains("no such model"));
    assert_eq!((app.chat("m").code().as_str(), gone.count()), ("model_not_found", 1));
    let denied = refusing(401, json!({"error": {"code": "401", "message": "Access denied due to invalid subscription key az-secret"}}));
    let app = gateway(&denied, "");
    let reply = app.chat("m");
    assert!(reply.status >= 500 && !reply.text().contains("subscription"), "{}", reply.text());
    let lost = refusing(404, json!({"error": {"code": "404", "message": "Resource not found"}}));
    let app = gateway(&lost, "");
    assert_eq!((app.chat("m").status, last_error(&app).as_str()), (502, "wrong_place"));
    let busy = Upstream::answering(status(429, "429", "retry-after: 7\r\n"));
    let app = gateway(&busy, "");
    let reply = app.chat("m");
    assert_eq!((reply.status, reply.header("retry-after")), (429, Some("7")));
}

#[test]
fn what_is_known_of_a_vendor_goes_by_its_host() {
    let speaking =
        Upstream::by(|call| if call.text().contains("\"stream\":true") { stream(&["hi"]) } else { status(498, "capacity_exceeded", "") });
    let (address, port) = (speaking.address, speaking.address.port());
    let rows = [("p", "api.mistral.ai"), ("groq", "api.groq.com"), ("q", "elsewhere.example")];
    let providers: String = rows
        .iter()
        .map(|(name, host)| {
            format!(
                "[providers.{name}]\ndialect = \"openai\"\nbase_url = \"http://{host}:{port}/v1\"\nkeys = []\n\
                 [models.{name}]\ntargets = [{{ provider = \"{name}\", model = \"up\" }}]\n"
            )
        })
        .collect();
    let app = TestApp::with(&format!("[retry]\nsame_target = 0\n{providers}"), &[], names(move |_| Ok(vec![address])));
    for (name, asks) in [("p", false), ("groq", true), ("q", true)] {
        assert_eq!(app.stream(name).words(), "hi");
        let asked = speaking.calls().last().unwrap().json();
        assert_eq!(asked["stream_options"]["include_usage"] == true, asks, "{name} tells its usage unasked, or is asked");
    }
    assert_eq!(app.chat("groq").status, 502, "a capacity that is exceeded is no fault of the caller's");
    assert_eq!((app.chat("q").status, app.chat("q").code().as_str()), (498, "capacity_exceeded"), "of others nothing is known");
    settled(&app);
}
