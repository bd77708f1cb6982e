//! The operator's plane: who may use it, what its orders do, where it listens.

use stagedoor::app::Parts;

use super::support::faults::{SHORT, alone, breaker, healthy, provider_at};
use super::support::{ADMIN, Client, TestApp, Upstream, answer, chat_body, status};

fn settings(upstream: &Upstream, more: &str) -> String {
    format!("{more}\n{}[models.m]\ntargets = [{{ provider = \"p\", model = \"up\" }}]\n", upstream.provider("p"))
}

fn order(app: &TestApp, action: &str, model: &str) -> super::support::Reply {
    app.admin("/admin/breakers/p", &format!("{{\"action\":\"{action}\",\"model\":{model}}}"))
}

#[test]
fn without_an_admin_key_the_plane_is_shut_and_says_what_to_set() {
    let upstream = healthy();
    let app = TestApp::start(&settings(&upstream, ""));
    for path in ["/admin/reload", "/admin/breakers/p", "/admin/nothing"] {
        let reply = app.client().post(path, &[("authorization", ADMIN)], "{}");
        assert_eq!((reply.status, reply.code().as_str()), (403, "admin_key_unset"), "{path}");
        assert!(reply.text().contains("admin.key"), "{}", reply.text());
    }
}

#[test]
fn only_the_admin_key_as_bearer_opens_it() {
    const KEY: &str = "sk-admin-0123456789abcdef01234";
    let upstream = healthy();
    let caller = "[[auth.keys]]\nname = \"app\"\nkey = { value = \"sk-caller-0123456789abcdef0123\" }\n";
    let app =
        TestApp::with(&settings(&upstream, &format!("[admin]\nkey = {{ env = \"ROOT\" }}\n{caller}")), &[("ROOT", KEY)], Parts::default());
    let ask = |name: &str, value: &str| app.client().post("/admin/breakers/p", &[(name, value)], "{\"action\":\"reset\"}");
    for (name, value) in [
        ("authorization", "Bearer sk-caller-0123456789abcdef0123"),
        ("authorization", "Bearer sk-admin-0123456789abcdef0123"),
        ("authorization", KEY),
        ("x-api-key", KEY),
        ("x-nothing", "1"),
    ] {
        let reply = ask(name, value);
        assert_eq!((reply.status, reply.code().as_str()), (401, "invalid_api_key"), "{name}: {value}");
    }
    assert_eq!(ask("authorization", &format!("bearer {KEY}")).status, 200);
    let chat = app.client().post("/v1/chat/completions", &[("authorization", &format!("Bearer {KEY}"))], &chat_body("m"));
    assert_eq!(chat.status, 401, "the admin key calls no model");
    assert_eq!(app.client().call("GET", "/admin/reload", &[("authorization", &format!("Bearer {KEY}"))], "").status, 405);
    assert_eq!(app.client().call("GET", "/admin/nothing", &[("authorization", &format!("Bearer {KEY}"))], "").status, 404);
    assert_eq!(app.client().get("/admin/nothing").status, 401);
}

#[test]
fn a_provider_is_opened_closed_and_reset_by_hand() {
    let upstream = healthy();
    let app = TestApp::administered(&settings(&upstream, SHORT));
    let opened = order(&app, "open", "null");
    assert_eq!(opened.status, 200, "{}", opened.text());
    let told = opened.json();
    assert_eq!((told["provider"].as_str(), told["breaker"].as_str(), told["status"].as_str()), (Some("p"), Some("open"), Some("ejected")));
    assert_eq!(breaker(&app), "open");
    let refused = app.chat("m");
    assert_eq!((refused.status, upstream.count()), (503, 0), "{}", refused.text());
    assert_eq!(order(&app, "close", "null").json()["breaker"], "closed");
    assert_eq!((app.chat("m").status, upstream.count()), (200, 1));
    order(&app, "open", "null");
    let reset = order(&app, "reset", "null").json();
    assert_eq!((reset["breaker"].as_str(), reset["status"].as_str()), (Some("closed"), Some("healthy")));
    assert_eq!(app.chat("m").status, 200);
}

#[test]
fn one_model_is_opened_and_the_others_serve_on() {
    let upstream = healthy();
    let more = format!("{SHORT}[models.n]\ntargets = [{{ provider = \"p\", model = \"other\" }}]\n");
    let app = TestApp::administered(&settings(&upstream, &more));
    let opened = order(&app, "open", "\"up\"").json();
    assert_eq!((opened["model"].as_str(), opened["models"]["up"]["breaker"].as_str()), (Some("up"), Some("open")));
    assert_eq!(opened["models"]["other"]["breaker"], "closed");
    assert_eq!((app.chat("m").status, app.chat("n").status), (503, 200));
    order(&app, "reset", "\"up\"");
    assert_eq!(app.chat("m").status, 200);
}

#[test]
fn a_reset_frees_a_key_that_was_refused() {
    let upstream = Upstream::by(|call| if call.number == 0 { status(401, "invalid_api_key", "") } else { answer("hi") });
    let keys = upstream.provider("p").replace("keys = []", "keys = [{ value = \"sk-one\", name = \"one\" }]");
    let app = TestApp::administered(&format!("{SHORT}{keys}[models.m]\ntargets = [{{ provider = \"p\", model = \"up\" }}]\n"));
    assert_ne!(app.chat("m").status, 200);
    assert_ne!(app.chat("m").status, 200);
    let own = app.health()["providers"]["p"].clone();
    assert_eq!((own["status"].as_str(), own["reason"].as_str()), (Some("ejected"), Some("key_fault")));
    assert_eq!((own["keys"][0]["status"].as_str(), upstream.count()), (Some("disabled"), 1));
    assert_eq!(order(&app, "reset", "null").json()["keys"][0]["status"], "active");
    assert_eq!(app.chat("m").status, 200);
}

#[test]
fn an_order_that_cannot_be_understood_does_nothing() {
    let upstream = healthy();
    let app = TestApp::administered(&settings(&upstream, ""));
    for (path, body, status, code) in [
        ("/admin/breakers/p", "{\"action\":\"explode\"}", 400, "invalid_value"),
        ("/admin/breakers/p", "{}", 400, "invalid_value"),
        ("/admin/breakers/p", "{\"action\":\"open\",\"modle\":\"up\"}", 400, "invalid_value"),
        ("/admin/breakers/p", "not json", 400, "invalid_value"),
        ("/admin/breakers/nobody", "{\"action\":\"open\"}", 404, "provider_not_found"),
        ("/admin/breakers/p", "{\"action\":\"open\",\"model\":\"nothing\"}", 404, "target_not_found"),
    ] {
        let reply = app.admin(path, body);
        assert_eq!((reply.status, reply.code().as_str()), (status, code), "{path} {body}");
    }
    assert_eq!(breaker(&app), "closed");
}

#[test]
fn the_plane_may_have_an_address_of_its_own() {
    let upstream = healthy();
    let app = TestApp::administered(&settings(&upstream, "[admin]\nlisten = \"127.0.0.1:0\"\n"));
    let admin = Client::new(app.admin_address.unwrap());
    assert_ne!(app.admin_address, Some(app.address));
    assert_eq!(order(&app, "reset", "null").status, 200);
    assert!(admin.get("/metrics").text().contains("stagedoor_breaker_state"));
    for path in ["/metrics", "/admin/reload", "/admin/breakers/p"] {
        assert_eq!(app.client().call("GET", path, &[("authorization", ADMIN)], "").status, 404, "{path}");
        assert_eq!(app.client().post(path, &[("authorization", ADMIN)], "{\"action\":\"reset\"}").status, 404, "{path}");
    }
    let elsewhere = admin.post("/v1/chat/completions", &[("authorization", ADMIN)], &chat_body("m"));
    assert_eq!((elsewhere.status, upstream.count()), (404, 0), "no model is served there");
    assert_eq!(app.chat("m").status, 200);
    assert_eq!(app.client().get("/health").status, 200);
}

#[test]
fn an_overloaded_gateway_still_obeys() {
    let upstream = Upstream::start(|_, stream| {
        let _ = std::io::Read::read(stream, &mut [0; 1]);
        false
    });
    let app = TestApp::administered(&settings(&upstream, "[server]\nmax_requests = 1\n"));
    let held = {
        let client = app.client();
        std::thread::spawn(move || client.post("/v1/chat/completions", &[("x-stagedoor-timeout", "3s")], &chat_body("m")))
    };
    app.until("the one place is taken", |_| upstream.count() == 1);
    assert_eq!((app.chat("m").status, app.chat("m").code().as_str()), (503, "overloaded"));
    assert_eq!(order(&app, "open", "null").status, 200);
    assert_eq!(app.admin("/admin/reload", "").status, 200);
    assert_eq!(app.client().get("/metrics").status, 200);
    let _ = held.join();
}

#[test]
fn a_caller_learns_nothing_of_the_plane_by_asking_otherwise() {
    let upstream = healthy();
    let app = alone(&provider_at("p", &upstream.url(), ""), "[admin]\nkey = { value = \"sk-admin-0123456789abcdef01234\" }\n");
    for path in ["/admin", "/admin/", "/admin/reload", "/admin/breakers", "/admin/../admin/reload"] {
        assert_eq!(app.client().post(path, &[], "{}").status, 401, "{path}");
    }
}
