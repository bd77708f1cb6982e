//! The paths and what their answers are made of: models, routes, health, errors, the headers on each.

use super::support::faults::{SHORT, alone, closed_port, healthy, provider_at};
use super::support::{Call, Reply, TestApp, Upstream, answer, chat_body, status, stream_body};
use serde_json::{Value, json};

/// Two providers, three models in a chain, a wildcard.
fn house(first: &Upstream, second: &Upstream) -> String {
    let models = r#"
[models.alpha]
strategy = "ordered"
targets = [{ provider = "p", model = "up-1", price = { input = 2.5, output = 10.0 } }, { provider = "p", model = "up-2" }]
failover = ["beta"]
context_window = 128000
[models.beta]
targets = [{ provider = "q", model = "up-3" }]
[models."wild/*"]
targets = [{ provider = "q", model = "*" }]
"#;
    format!("{SHORT}{}{}{models}", first.provider("p"), second.provider("q"))
}

fn started() -> (TestApp, Upstream, Upstream) {
    let (first, second) = (Upstream::answering(answer("hi")), healthy());
    (TestApp::start(&house(&first, &second)), first, second)
}

#[test]
fn models_are_listed_as_openai_lists_them_and_with_what_a_router_knows() {
    let (app, _first, _second) = started();
    let reply = app.client().get("/v1/models");
    let list = reply.json();
    assert_eq!((reply.status, &list["object"]), (200, &json!("list")));
    let names: Vec<_> = list["data"].as_array().unwrap().iter().map(|model| model["id"].as_str().unwrap()).collect();
    assert_eq!(names, ["alpha", "beta", "wild/*"]);
    let alpha = &list["data"][0];
    assert_eq!((&alpha["object"], &alpha["owned_by"]), (&json!("model"), &json!("p")));
    assert!(alpha["created"].as_u64().unwrap() > 1_700_000_000, "{alpha}");
    assert_eq!(alpha["context_window"], 128_000);
    assert_eq!(alpha["pricing"], json!({ "input": 2.5, "output": 10.0 }));
    assert_eq!(alpha["targets"], json!([{ "provider": "p", "model": "up-1" }, { "provider": "p", "model": "up-2" }]));
    assert_eq!((&list["data"][1]["context_window"], &list["data"][1]["pricing"]), (&Value::Null, &Value::Null));
    assert_eq!(app.client().get("/v1/models/alpha").json(), *alpha);
    let missing = app.client().get("/v1/models/alpah");
    assert_eq!((missing.status, missing.code().as_str()), (404, "model_not_found"));
}

#[test]
fn every_path_is_there_without_v1_too() {
    let (app, _first, _second) = started();
    for path in ["/models", "/models/beta"] {
        assert_eq!(app.client().get(path).json(), app.client().get(&format!("/v1{path}")).json());
    }
    assert_eq!(app.client().get("/route?model=beta").json()["model"], "beta");
    assert_eq!(app.client().post("/chat/completions", &[], &chat_body("beta")).content(), "spare");
}

#[test]
fn the_front_page_says_what_there_is() {
    let (app, _first, _second) = started();
    let page = app.client().get("/").json();
    assert_eq!((&page["name"], &page["version"]), (&json!("stagedoor"), &json!(env!("CARGO_PKG_VERSION"))));
    for (name, link) in page["links"].as_object().unwrap() {
        let path = link.as_str().unwrap().replace("NAME", "alpha");
        let reply = app.client().get(&path);
        assert!(matches!(reply.status, 200 | 405), "{name}: {path} {}", reply.status);
    }
    let head = app.client().connect();
    let mut asked = head.try_clone().unwrap();
    std::io::Write::write_all(&mut asked, b"HEAD / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").unwrap();
    let answer = super::support::read_rest(&mut asked);
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("\r\n\r\n"), "a head and no body: {answer}");
}

#[test]
fn a_route_is_explained_in_the_order_in_which_it_would_be_tried_and_nothing_is_sent() {
    let (app, first, second) = started();
    let reply = app.client().get("/v1/route?model=alpha");
    let told = reply.json();
    assert_eq!((reply.status, &told["model"], &told["left_out"]), (200, &json!("alpha"), &json!([])));
    let rows = told["targets"].as_array().unwrap();
    let names: Vec<_> =
        rows.iter().map(|row| format!("{}/{}", row["provider"].as_str().unwrap(), row["model"].as_str().unwrap())).collect();
    assert_eq!(names, ["p/up-1", "p/up-2", "q/up-3"]);
    for (place, row) in rows.iter().enumerate() {
        assert_eq!(row["order"], place + 1);
        assert!(row["score"].is_number() && row["reason"].is_string() && row["state"].is_string(), "{row}");
        assert_eq!(row["in"], true, "{row}");
    }
    assert_eq!((&rows[0]["pool"], &rows[2]["pool"]), (&json!("alpha"), &json!("beta")));
    assert_eq!((first.count(), second.count()), (0, 0));
    for (query, status) in [("?model=nope", 404), ("", 400), ("?model=", 400), ("?model=wild%2Fx", 200)] {
        assert_eq!(app.client().get(&format!("/v1/route{query}")).status, status, "{query}");
    }
}

#[test]
fn a_route_says_why_a_target_is_out_and_that_a_request_goes_elsewhere() {
    let dead = provider_at("p", &format!("http://{}/v1", closed_port()), "");
    let spare = healthy();
    let models = "[models.m]\ntargets = [{ provider = \"p\", model = \"up\" }]\nfailover = [\"n\"]\n[models.n]\ntargets = [{ provider = \"q\", model = \"up\" }]\n";
    let app = TestApp::start(&format!("{SHORT}[breaker]\nconsecutive_failures = 1\n{dead}{}{models}", spare.provider("q")));
    assert_eq!(app.chat("m").status, 200);
    app.until("the breaker is open", |app| app.health()["providers"]["p"]["breaker"] == "open");
    let rows = app.client().get("/v1/route?model=m").json()["targets"].clone();
    assert_eq!((&rows[0]["provider"], &rows[0]["in"]), (&json!("q"), &json!(true)), "{rows}");
    assert_eq!((&rows[1]["provider"], &rows[1]["in"], &rows[1]["state"]), (&json!("p"), &json!(false), &json!("out")), "{rows}");
    assert!(!rows[1]["reason"].as_str().unwrap().is_empty());
}

/// The kinds of a JSON value's members, by name.
fn kinds(value: &Value) -> Vec<(String, &'static str)> {
    let kind = |value: &Value| match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_u64() => "integer",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    value.as_object().unwrap().iter().map(|(name, value)| (name.clone(), kind(value))).collect()
}

fn named(kinds: &[(&str, &'static str)]) -> Vec<(String, &'static str)> {
    let mut kinds: Vec<_> = kinds.iter().map(|(name, kind)| ((*name).to_owned(), *kind)).collect();
    kinds.sort();
    kinds
}

const PROVIDER: &[&str] = &[
    "breaker",
    "consecutive_failures",
    "in_flight",
    "keys",
    "last_error",
    "latency_ms",
    "models",
    "reason",
    "retry_at",
    "since",
    "status",
    "ttft_ms",
    "window",
];

#[test]
fn health_has_the_promised_fields_and_kinds_from_the_start() {
    let (app, _first, _second) = started();
    let reply = app.client().get("/health");
    let health = reply.json();
    assert_eq!((reply.status, reply.header("content-type")), (200, Some("application/json")));
    let top =
        named(&[("status", "string"), ("version", "string"), ("uptime_s", "integer"), ("models", "integer"), ("providers", "object")]);
    assert_eq!(kinds(&health), top);
    assert_eq!((&health["status"], &health["models"], &health["version"]), (&json!("ok"), &json!(3), &json!(env!("CARGO_PKG_VERSION"))));
    let p = &health["providers"]["p"];
    assert_eq!(p.as_object().unwrap().keys().collect::<Vec<_>>(), PROVIDER);
    assert_eq!(
        (&p["status"], &p["breaker"], &p["reason"], &p["retry_at"]),
        (&json!("healthy"), &json!("closed"), &json!(null), &json!(null))
    );
    assert!(p["since"].as_str().unwrap().ends_with('Z'), "{p}");
    let none = json!({ "ewma": null, "p50": null, "p95": null, "p99": null });
    assert_eq!((&p["latency_ms"], &p["ttft_ms"], &p["last_error"]), (&none, &none, &Value::Null));
    let window = json!({ "seconds": 30, "calls": 0, "failures": 0, "failure_ratio": 0.0, "slow": 0 });
    assert_eq!(p["window"], window);
    let models =
        json!({ "up-1": { "breaker": "closed", "calls": 0, "failures": 0 }, "up-2": { "breaker": "closed", "calls": 0, "failures": 0 } });
    assert_eq!((&p["models"], &p["keys"], &p["in_flight"]), (&models, &json!([]), &json!(0)));
}

#[test]
fn health_counts_what_was_answered_before_it_was_asked() {
    let (app, _first, _second) = started();
    for _ in 0..3 {
        assert_eq!(app.stream("beta").status, 200);
    }
    let q = app.health()["providers"]["q"].clone();
    assert_eq!((&q["window"]["calls"], &q["window"]["failures"]), (&json!(3), &json!(0)));
    assert_eq!(q["models"]["up-3"], json!({ "breaker": "closed", "calls": 3, "failures": 0 }));
    for figures in ["latency_ms", "ttft_ms"] {
        let expected = named(&[("ewma", "integer"), ("p50", "integer"), ("p95", "integer"), ("p99", "integer")]);
        assert_eq!(kinds(&q[figures]), expected, "{figures}: {q}");
    }
}

#[test]
fn health_tells_of_a_failing_provider_and_its_keys_without_their_values() {
    let key = "sk-upstream-canary-0123456789abcdef";
    let refusing = Upstream::by(|call: &Call| match call.header("authorization").as_deref() {
        Some(_) => status(429, "rate_limit_exceeded", "retry-after: 60\r\n"),
        None => answer("hi"),
    });
    let settings = format!(
        "{SHORT}[providers.p]\ndialect = \"openai\"\nbase_url = \"{}\"\nkeys = [{{ env = \"P_KEY\" }}]\n[models.m]\ntargets = [{{ provider = \"p\", model = \"up\" }}]\n",
        refusing.url()
    );
    let app = TestApp::with(&settings, &[("P_KEY", key)], Default::default());
    let refused = app.chat("m");
    assert_eq!((refused.status, refused.code().as_str()), (429, "upstream_rate_limited"));
    assert_eq!(refused.header("x-should-retry"), Some("true"));
    let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=60).contains(&wait), "{wait}");
    let told = app.client().get("/health");
    let p = told.json()["providers"]["p"].clone();
    assert_eq!((&p["keys"][0]["name"], &p["keys"][0]["status"]), (&json!("P_KEY"), &json!("cooling")), "{p}");
    assert!(p["keys"][0]["until"].as_str().unwrap().ends_with('Z'));
    assert_eq!((&p["breaker"], &p["window"]["failures"]), (&json!("closed"), &json!(0)), "a 429 is no vote: {p}");
    assert!(!told.text().contains(key) && !refused.text().contains(key));
}

#[test]
fn health_and_ready_say_503_when_nothing_can_serve() {
    let dead = provider_at("p", &format!("http://{}/v1", closed_port()), "");
    let app = alone(&dead, &format!("{SHORT}[breaker]\nconsecutive_failures = 1\n"));
    assert_eq!(app.client().get("/health/ready").status, 200);
    assert_eq!(app.chat("m").status, 502);
    app.until("not ready", |app| app.client().get("/health/ready").status == 503);
    let down = app.client().get("/health");
    let health = down.json();
    assert_eq!((down.status, &health["status"]), (503, &json!("down")));
    let p = &health["providers"]["p"];
    assert_eq!((&p["status"], &p["breaker"]), (&json!("ejected"), &json!("open")));
    assert!(p["reason"].is_string() && p["retry_at"].as_str().unwrap().ends_with('Z'), "{p}");
    assert_eq!(kinds(&p["last_error"]), named(&[("at", "string"), ("kind", "string"), ("message", "string")]));
    assert_eq!(app.client().get("/health/live").status, 200, "the process is well");
}

#[test]
fn one_provider_of_two_at_fault_is_degraded_and_still_ready() {
    let dead = provider_at("p", &format!("http://{}/v1", closed_port()), "");
    let spare = healthy();
    let models =
        "[models.m]\ntargets = [{ provider = \"p\", model = \"up\" }]\n[models.n]\ntargets = [{ provider = \"q\", model = \"up\" }]\n";
    let app = TestApp::start(&format!("{SHORT}[breaker]\nconsecutive_failures = 1\n{dead}{}{models}", spare.provider("q")));
    assert_eq!(app.chat("m").status, 502);
    app.until("it is told", |app| app.health()["status"] == "degraded");
    let reply = app.client().get("/health");
    assert_eq!((reply.status, &reply.json()["providers"]["q"]["status"]), (200, &json!("healthy")));
    assert_eq!(app.client().get("/health/ready").status, 200);
}

/// An answer of every kind that the gateway gives.
fn all_answers(app: &TestApp, headers: &[(&str, &str)]) -> Vec<(&'static str, Reply)> {
    let client = app.client();
    let post = |path: &str, body: &str| client.call("POST", path, &[headers, &[("content-type", "application/json")]].concat(), body);
    let get = |path: &str| client.call("GET", path, headers, "");
    vec![
        ("chat", post("/v1/chat/completions", &chat_body("beta"))),
        ("stream", post("/v1/chat/completions", &stream_body("beta"))),
        ("all failed", post("/v1/chat/completions", &chat_body("dead"))),
        ("stream failed", post("/v1/chat/completions", &stream_body("dead"))),
        ("no model", post("/v1/chat/completions", &chat_body("none"))),
        ("no JSON", post("/v1/chat/completions", "{")),
        ("encoded", client.call("POST", "/v1/chat/completions", &[headers, &[("content-encoding", "gzip")]].concat(), "{}")),
        ("models", get("/v1/models")),
        ("model", get("/v1/models/beta")),
        ("no such model", get("/v1/models/none")),
        ("route", get("/v1/route?model=beta")),
        ("health", get("/health")),
        ("live", get("/health/live")),
        ("ready", get("/health/ready")),
        ("metrics", get("/metrics")),
        ("front", get("/")),
        ("no such path", get("/v1/nothing")),
        ("wrong method", get("/v1/chat/completions")),
    ]
}

fn with_a_dead_one() -> (TestApp, Upstream) {
    let spare = healthy();
    let dead = provider_at("p", &format!("http://{}/v1", closed_port()), "");
    let models = "[models.beta]\ntargets = [{ provider = \"q\", model = \"up\" }]\n[models.dead]\ntargets = [{ provider = \"p\", model = \"up\" }]\n";
    (TestApp::start(&format!("{SHORT}{dead}{}{models}", spare.provider("q"))), spare)
}

#[test]
fn every_answer_has_a_request_id_the_callers_own_where_it_is_harmless() {
    let (app, _spare) = with_a_dead_one();
    for (what, reply) in all_answers(&app, &[("x-request-id", "my.own_id-1")]) {
        assert_eq!(reply.header("x-request-id"), Some("my.own_id-1"), "{what}: {}", reply.status);
    }
    let mut seen = std::collections::BTreeSet::new();
    for bad in ["", "a b", "<script>", &"a".repeat(65), "ü"] {
        for (what, reply) in all_answers(&app, &[("x-request-id", bad)]) {
            let id = reply.header("x-request-id").unwrap_or_else(|| panic!("{what} has no id")).to_owned();
            assert!(id.len() == 36 && id != bad, "{what}: {id}");
            assert!(seen.insert(id), "{what}: an id is given once");
        }
    }
}

#[test]
fn an_error_is_small_json_in_openais_shape() {
    let (app, _spare) = with_a_dead_one();
    for (what, reply) in all_answers(&app, &[]).into_iter().filter(|(_, reply)| reply.status >= 400) {
        assert_eq!(reply.header("content-type"), Some("application/json"), "{what}");
        assert_eq!(reply.header("cache-control"), Some("no-store"), "{what}");
        assert!(reply.body.len() < 8_192, "{what}");
        let wire = reply.json();
        assert_eq!(wire.as_object().unwrap().len(), 1, "{what}: {wire}");
        let fields: Vec<_> = wire["error"].as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(fields, ["code", "message", "param", "type"], "{what}");
        assert!(!reply.code().is_empty() && wire["error"]["message"].as_str().unwrap().len() > 10, "{what}: {wire}");
    }
}

#[test]
fn what_was_sent_is_echoed_100_characters_of_it_at_most() {
    let (app, _spare) = with_a_dead_one();
    let long = "ü".repeat(5_000);
    let path = format!("/v1/{}", "a".repeat(5_000));
    for reply in [
        app.chat(&long),
        app.client().get(&path),
        app.client().get(&format!("/v1/models/{}", "a".repeat(5_000))),
        app.client().get(&format!("/v1/route?model={}", "a".repeat(5_000))),
        app.client().post("/v1/chat/completions", &[], &format!(r#"{{"model":"beta","messages":[{{}}],"n":"{}"}}"#, "a".repeat(5_000))),
    ] {
        let text = reply.text();
        assert!(matches!(reply.status, 400 | 404) && reply.body.len() < 1_000, "{text}");
        assert!(!text.contains(&"a".repeat(101)) && !text.contains(&"ü".repeat(101)), "{text}");
    }
}

#[test]
fn a_wrong_method_is_405() {
    let (app, _first, _second) = started();
    for (method, path) in [
        ("GET", "/v1/chat/completions"),
        ("DELETE", "/v1/models"),
        ("POST", "/v1/route"),
        ("POST", "/health"),
        ("PUT", "/metrics"),
        ("POST", "/"),
    ] {
        let reply = app.client().call(method, path, &[], "");
        assert_eq!((reply.status, reply.code().as_str()), (405, "method_not_allowed"), "{method} {path}");
    }
}

#[test]
fn the_sdks_are_told_whether_to_repeat() {
    let (app, _spare) = with_a_dead_one();
    let failed = app.chat("dead");
    assert_eq!((failed.status, failed.header("x-should-retry")), (502, Some("false")));
    assert_eq!(app.stream("dead").header("x-should-retry"), Some("false"));
    let refusing = Upstream::answering(status(429, "rate_limit_exceeded", "retry-after: 7\r\n"));
    let limited = alone(&refusing.provider("p"), SHORT);
    let reply = limited.chat("m");
    assert_eq!((reply.status, reply.header("x-should-retry"), reply.header("retry-after")), (429, Some("true"), Some("7")));
}

#[test]
fn an_answers_head_says_who_served_and_what_the_gateway_itself_took() {
    let slow = Upstream::start(|_, stream| {
        std::thread::sleep(std::time::Duration::from_millis(200));
        std::io::Write::write_all(stream, &answer("hi")).is_ok()
    });
    let app = alone(&slow.provider("p"), SHORT);
    app.chat("m");
    let reply = app.chat("m");
    let number = |name: &str| reply.header(name).unwrap_or_else(|| panic!("no {name}")).parse::<u64>().unwrap();
    assert!(number("x-stagedoor-overhead-us") < 100_000, "the upstream's 200 ms are not the gateway's: {:?}", reply.headers);
    assert!((190..5_000).contains(&number("openai-processing-ms")), "{:?}", reply.headers);
    assert_eq!((reply.header("vary"), reply.header("cache-control")), (Some("authorization"), Some("no-store")));
    assert_eq!((reply.header("x-stagedoor-provider"), reply.header("x-stagedoor-attempts")), (Some("p"), Some("1")));
}

#[test]
fn of_the_upstreams_head_nothing_passes() {
    let body = r#"{"choices":[]}"#;
    let telling = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nset-cookie: a=1\r\nopenai-organization: org-x\r\nserver: up\r\nalt-svc: h3\r\nx-goog-api-key: k\r\nx-ratelimit-remaining-requests: 1\r\nx-request-id: theirs\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let upstream = Upstream::answering(telling);
    let app = alone(&upstream.provider("p"), SHORT);
    let reply = app.chat("m");
    assert_eq!(reply.status, 200, "{}", reply.text());
    for name in ["set-cookie", "openai-organization", "server", "alt-svc", "x-goog-api-key", "x-ratelimit-remaining-requests"] {
        assert_eq!(reply.header(name), None, "{name}");
    }
    assert_ne!(reply.header("x-request-id"), Some("theirs"));
}
