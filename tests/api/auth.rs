//! Who comes in: keys, their models, and the open mode that only this machine may use.

use super::support::faults::{SHORT, healthy, provider_at};
use super::support::{Reply, TestApp, Upstream, answer, chat_body, status};

const APP: &str = "sk-app-0123456789abcdef0123456789";
const TEAM: &str = "sk-team-0123456789abcdef012345678";

fn keys(models: &str) -> String {
    format!(
        "[[auth.keys]]\nname = \"app\"\nkey = {{ value = \"{APP}\" }}\n[[auth.keys]]\nname = \"team\"\nkey = {{ value = \"{TEAM}\" }}\nmodels = {models}\n"
    )
}

fn models(upstream: &Upstream, names: &[&str]) -> String {
    let rows = names.iter().map(|name| format!("[models.\"{name}\"]\ntargets = [{{ provider = \"p\", model = \"up\" }}]\n"));
    provider_at("p", &upstream.url(), "") + &rows.collect::<String>()
}

fn chat(app: &TestApp, key: &str, model: &str) -> Reply {
    app.client().post("/v1/chat/completions", &[("authorization", &format!("Bearer {key}"))], &chat_body(model))
}

#[test]
fn a_key_uses_its_models_only() {
    let upstream = Upstream::answering(answer("hi"));
    let app = TestApp::start(&(keys("[\"gpt-*\"]") + &models(&upstream, &["gpt-4o", "gpt-4o-mini", "claude-sonnet"])));
    assert_eq!(chat(&app, TEAM, "gpt-4o").status, 200);
    let refused = chat(&app, TEAM, "claude-sonnet");
    assert_eq!(
        (refused.status, refused.code().as_str(), refused.json()["error"]["type"].as_str()),
        (403, "model_not_allowed", Some("permission_error"))
    );
    assert_eq!(chat(&app, APP, "claude-sonnet").status, 200);
    let unknown = chat(&app, TEAM, "gpt-4p");
    assert_eq!((unknown.status, unknown.code().as_str()), (404, "model_not_found"));
    let message = unknown.json()["error"]["message"].as_str().unwrap().to_owned();
    assert!(message.contains("gpt-4o") && !message.contains("claude"), "only what the key may use: {message}");
    let listed = app.client().call("GET", "/v1/models", &[("authorization", &format!("Bearer {TEAM}"))], "").json();
    let names: Vec<_> = listed["data"].as_array().unwrap().iter().map(|model| model["id"].as_str().unwrap()).collect();
    assert_eq!(names, ["gpt-4o", "gpt-4o-mini"]);
    let hidden = app.client().call("GET", "/v1/models/claude-sonnet", &[("authorization", &format!("Bearer {TEAM}"))], "");
    assert_eq!(hidden.status, 403);
}

#[test]
fn failover_stays_within_what_a_key_may_use() {
    let down = Upstream::answering(status(500, "", ""));
    let spare = healthy();
    let settings = format!(
        "{SHORT}{}{}{}[models.m]\ntargets = [{{ provider = \"p\", model = \"up\" }}]\nfailover = [\"n\"]\n[models.n]\ntargets = [{{ provider = \"s\", model = \"up\" }}]\n",
        keys("[\"m\"]"),
        provider_at("p", &down.url(), ""),
        spare.provider("s")
    );
    let app = TestApp::start(&settings);
    assert_eq!(chat(&app, TEAM, "m").status, 502);
    assert_eq!(spare.count(), 0);
    assert_eq!(chat(&app, APP, "m").content(), "spare");
}

#[test]
fn with_a_key_known_auto_asks_for_it_and_without_one_it_is_open() {
    let upstream = Upstream::answering(answer("hi"));
    let closed = TestApp::start(&(keys("[\"*\"]") + &models(&upstream, &["m"])));
    assert_eq!(closed.chat("m").status, 401);
    let unset = "[[auth.keys]]\nname = \"app\"\nkey = { env = \"NOT_THERE\" }\n";
    let open = TestApp::start(&(unset.to_owned() + &models(&upstream, &["m"])));
    assert_eq!(open.chat("m").status, 200);
    let set = TestApp::with(&(unset.to_owned() + &models(&upstream, &["m"])), &[("NOT_THERE", APP)], Default::default());
    assert_eq!(set.chat("m").status, 401);
    assert_eq!(chat(&set, APP, "m").status, 200);
}

#[test]
fn open_mode_answers_a_loopback_name_only() {
    let upstream = Upstream::answering(answer("hi"));
    let app = TestApp::start(&models(&upstream, &["m"]));
    let with_host = |host: &str| {
        let body = chat_body("m");
        let head = format!(
            "POST /v1/chat/completions HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
            body.len()
        );
        app.client().raw((head + &body).as_bytes())
    };
    for host in ["evil.example", "evil.example:8000", "localhost.evil.example", "127.0.0.1.evil.example", "10.0.0.1", "[2001:db8::1]:80"] {
        let reply = with_host(host);
        assert_eq!((reply.status, reply.code().as_str()), (403, "host_not_allowed"), "{host}");
    }
    for host in ["localhost", "LOCALHOST:8000", "127.0.0.1:8000", "127.8.9.1", "[::1]:8000"] {
        assert_eq!(with_host(host).status, 200, "{host}");
    }
    assert_eq!(upstream.count(), 5);
}

#[test]
fn an_unknown_model_is_answered_with_the_three_closest_that_the_key_may_use() {
    let upstream = Upstream::answering(answer("hi"));
    let names = ["gpt-4o", "gpt-4o-mini", "claude-sonnet", "gemini-flash", "zeta"];
    let app = TestApp::start(&(keys("[\"gpt-*\", \"zeta\"]") + &models(&upstream, &names)));
    let named = |key: &str, asked: &str| {
        let message = chat(&app, key, asked).json()["error"]["message"].as_str().unwrap().to_owned();
        names
            .into_iter()
            .filter(|name| message.contains(&format!(" {name},")) || message.contains(&format!(" {name}.")))
            .collect::<Vec<_>>()
    };
    assert_eq!(named(TEAM, "nothing-like-it"), ["gpt-4o", "gpt-4o-mini", "zeta"]);
    let close = named(APP, "gpt-4");
    assert!(close.len() == 3 && close[..2] == ["gpt-4o", "gpt-4o-mini"], "{close:?}");
    assert_eq!(upstream.count(), 0);
}

#[test]
fn open_mode_takes_json_only() {
    let upstream = Upstream::answering(answer("hi"));
    let app = TestApp::start(&models(&upstream, &["m"]));
    for kind in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""] {
        let reply = app.client().post("/v1/chat/completions", &[("content-type", kind)], &chat_body("m"));
        assert_eq!((reply.status, reply.code().as_str()), (415, "unsupported_media_type"), "{kind}");
        assert_eq!(reply.json()["error"]["type"], "permission_error");
    }
    let none = app.client().call("POST", "/v1/chat/completions", &[], &chat_body("m"));
    assert_eq!(none.status, 415, "no type at all");
    assert_eq!(upstream.count(), 0);
    for kind in ["application/json", "Application/JSON; charset=utf-8", "application/vnd.x+json"] {
        assert_eq!(app.client().post("/v1/chat/completions", &[("content-type", kind)], &chat_body("m")).status, 200, "{kind}");
    }
    assert!(app.chat("m").headers.iter().all(|(name, _)| !name.starts_with("access-control")), "no CORS headers");
    let keyed = TestApp::start(&(keys("[\"*\"]") + &models(&upstream, &["m"])));
    let reply = keyed.client().call("POST", "/v1/chat/completions", &[("authorization", &format!("Bearer {APP}"))], &chat_body("m"));
    assert_eq!(reply.status, 200, "with a key a missing type is accepted");
}

#[test]
fn metrics_may_ask_for_the_admin_key() {
    let upstream = Upstream::answering(answer("hi"));
    let admin = |key: &str| format!("[telemetry]\nmetrics = \"admin\"\n{key}{}", models(&upstream, &["m"]));
    let app = TestApp::start(&admin("[admin]\nkey = { value = \"sk-admin-0123456789abcdef01234\" }\n"));
    assert_eq!(app.client().get("/metrics").status, 401);
    let wrong = app.client().call("GET", "/metrics", &[("authorization", &format!("Bearer {APP}"))], "");
    assert_eq!(wrong.status, 401);
    let right = app.client().call("GET", "/metrics", &[("authorization", "Bearer sk-admin-0123456789abcdef01234")], "");
    assert_eq!(right.status, 200);
    let unset = TestApp::start(&admin(""));
    assert_eq!((unset.client().get("/metrics").status, unset.client().get("/metrics").code().as_str()), (403, "admin_key_unset"));
    assert_eq!(unset.client().get("/health").status, 200, "no key is asked for it");
}

#[test]
fn a_key_is_refused_once_it_has_expired() {
    let upstream = Upstream::answering(answer("hi"));
    let row = |name: &str, key: &str, expires: &str| {
        format!("[[auth.keys]]\nname = \"{name}\"\nkey = {{ value = \"{key}\" }}\nexpires = \"{expires}\"\n")
    };
    let app = TestApp::start(&(row("old", APP, "2020-01-01") + &row("new", TEAM, "2999-01-01T12:00:00Z") + &models(&upstream, &["m"])));
    let refused = chat(&app, APP, "m");
    assert_eq!((refused.status, refused.code().as_str()), (401, "invalid_api_key"));
    assert_eq!(chat(&app, TEAM, "m").status, 200);
    assert_eq!(upstream.count(), 1);
}
