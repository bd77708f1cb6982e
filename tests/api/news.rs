//! What gateways over one Redis tell each other: keys that were made and revoked, breakers that have opened, providers' keys that
//! rest. Two gateways in each test, and a real Redis; without it each has what it finds out by itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::support::faults::{healthy, provider_at};
use super::support::{ADMIN, Client, Redis, Reply, TestApp, Upstream, answer, chat_body, status};

fn gateway(redis: &Redis, more: &str) -> TestApp {
    TestApp::administered(&format!("[shared]\nurl = \"{}\"\n{more}", redis.url()))
}

fn told(app: &TestApp) -> f64 {
    app.metric("stagedoor_shared_news_told_total")
}

fn heard(app: &TestApp) -> f64 {
    app.metric("stagedoor_shared_news_heard_total")
}

/// Both listen: each has heard what the other says of nothing.
fn both_listen(redis: &Redis) {
    let end = Instant::now() + Duration::from_secs(10);
    while !redis.order("PUBSUB NUMSUB stagedoor:news").contains("\r\n:2\r\n") {
        assert!(Instant::now() < end, "two gateways listen");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn admin(app: &TestApp, method: &str, path: &str, body: &Value) -> Reply {
    let headers = [("authorization", ADMIN), ("content-type", "application/json")];
    app.client().call(method, path, &headers, &if body.is_null() { String::new() } else { body.to_string() })
}

/// A key's id and the key.
fn create(app: &TestApp) -> (String, String) {
    let made = admin(app, "POST", "/admin/keys", &json!({"name": "team"}));
    assert_eq!(made.status, 201, "{}", made.text());
    ["id", "key"].map(|name| made.json()[name].as_str().unwrap().to_owned()).into()
}

fn knows(app: &TestApp, key: &str) -> bool {
    let reply = Client::new(app.address).call("GET", "/v1/models", &[("authorization", &format!("Bearer {key}"))], "");
    assert!(matches!(reply.status, 200 | 401), "{}", reply.text());
    reply.status == 200
}

/// Two gateways over one store.
fn pair(redis: &Redis, folder: &tempfile::TempDir) -> (TestApp, TestApp, Upstream) {
    let upstream = Upstream::answering(answer("hi"));
    let text = format!(
        "[store]\nurl = \"sqlite://{}/s.db\"\n{}[models.m]\ntargets = [{{ provider = \"p\", model = \"up\" }}]\n",
        folder.path().display(),
        upstream.provider("p")
    );
    let pair = (gateway(redis, &text), gateway(redis, &text), upstream);
    both_listen(redis);
    pair
}

#[test]
fn a_key_made_or_revoked_at_one_gateway_is_known_or_refused_at_the_other() {
    let Some(redis) = Redis::start() else { return };
    let folder = tempfile::tempdir().unwrap();
    let (one, other, _upstream) = pair(&redis, &folder);
    for round in 1..=4 {
        let (id, key) = create(&one);
        assert!(knows(&other, &key), "{round}");
        assert_eq!(admin(&one, "DELETE", &format!("/admin/keys/{id}"), &Value::Null).status, 200);
        let revoked = Instant::now();
        other.until("it is refused", |other| !knows(other, &key));
        assert!(revoked.elapsed() < Duration::from_secs(1), "{:?}", revoked.elapsed());
        other.until("both were told", |other| heard(other) >= f64::from(2 * round));
    }
    assert!(told(&one) >= 8.0 && told(&other) == 0.0);
}

#[test]
fn a_revocation_is_heard_where_the_store_does_not_tell_it() {
    let Some(redis) = Redis::start() else { return };
    let folder = tempfile::tempdir().unwrap();
    let (one, other, _upstream) = pair(&redis, &folder);
    let ((id, key), (_, kept)) = (create(&one), create(&one));
    assert!(knows(&other, &key));
    // As a gateway would say it whose store has gone on, while this one's stands still.
    for noise in ["'not json'", "'{\"from\":\"x\",\"keys\":true,\"revoked\":[\"nobody\"]}'", "'[]'"] {
        redis.order(&format!("PUBLISH stagedoor:news {noise}"));
    }
    assert!(knows(&other, &key));
    redis.call(&["PUBLISH", "stagedoor:news", &json!({"from": "x", "keys": true, "revoked": [id]}).to_string()]);
    other.until("it is refused", |other| !knows(other, &key));
    assert!(knows(&other, &kept));
}

#[test]
fn what_nobody_could_tell_is_found_in_the_store_and_redis_is_found_again() {
    let Some(mut redis) = Redis::start() else { return };
    let folder = tempfile::tempdir().unwrap();
    let (one, other, _upstream) = pair(&redis, &folder);
    let (id, key) = create(&one);
    assert!(knows(&other, &key));
    redis.kill();
    assert_eq!(admin(&one, "DELETE", &format!("/admin/keys/{id}"), &Value::Null).status, 200);
    let revoked = Instant::now();
    other.until("it is refused", |other| !knows(other, &key));
    assert!(revoked.elapsed() < Duration::from_secs(2), "{:?}", revoked.elapsed());
    redis.again();
    both_listen(&redis);
    let before = heard(&other);
    let (_, key) = create(&one);
    assert!(knows(&other, &key));
    other.until("it was told", |other| heard(other) > before);
}

/// What `GET /v1/route` says of the model's first target, wherever it ranks.
fn standing(app: &TestApp) -> (String, String) {
    let route = app.client().get("/v1/route?model=m").json();
    let rows = route["targets"].as_array().unwrap_or_else(|| panic!("{route}"));
    let own = rows.iter().find(|row| row["provider"] == "p").unwrap_or_else(|| panic!("{route}"));
    let text = |name: &str| own[name].as_str().unwrap_or_default().to_owned();
    (text("state"), text("reason"))
}

#[test]
fn a_breaker_that_opened_at_one_gateway_is_a_hint_at_the_other_and_no_more() {
    let Some(redis) = Redis::start() else { return };
    let failing = Arc::new(AtomicBool::new(true));
    let own = Arc::clone(&failing);
    let sick = Upstream::by(move |_| if own.load(Ordering::SeqCst) { status(500, "", "") } else { answer("p") });
    let spare = healthy();
    let text = format!(
        "[breaker]\nopen_for = \"2s\"\nopen_for_max = \"2s\"\n[retry]\nsame_target = 0\n{}{}[models.m]\nstrategy = \"ordered\"\n\
         targets = [{{ provider = \"p\", model = \"up\" }}, {{ provider = \"s\", model = \"spare\" }}]\n",
        provider_at("p", &sick.url(), ""),
        spare.provider("s")
    );
    let (one, other) = (gateway(&redis, &text), gateway(&redis, &text));
    both_listen(&redis);
    assert_eq!(standing(&other), ("ready".into(), "healthy".into()));
    for _ in 0..5 {
        assert_eq!(one.chat("m").content(), "spare");
    }
    one.until("its breaker is open", |one| one.health()["providers"]["p"]["models"]["up"]["breaker"] == "open");
    other.until("it has heard", |other| standing(other).0 == "degraded");
    assert_eq!(standing(&other).1, "failing at another gateway: ranked after every healthy one");
    let calls = sick.count();
    assert_eq!((other.chat("m").content().as_str(), sick.count()), ("spare", calls), "it asks the other first");
    let health = other.health();
    assert_eq!(
        (&health["providers"]["p"]["breaker"], &health["providers"]["p"]["models"]["up"]["breaker"]),
        (&json!("closed"), &json!("closed"))
    );
    assert_eq!(health["providers"]["p"]["reason"], "failing_elsewhere");
    assert!(
        other.metric("stagedoor_breaker_transitions_total{provider=\"p\",model=\"up\",to=\"open\",reason=\"consecutive_failures\"}") == 0.0
    );
    failing.store(false, Ordering::SeqCst);
    other.until("the word is old, and it is asked first again", |other| other.chat("m").content() == "p");
    assert!(heard(&other) >= 1.0);
}

#[test]
fn a_key_that_a_provider_refuses_to_one_gateway_is_left_alone_by_the_other() {
    let Some(redis) = Redis::start() else { return };
    let bearer = |call: &super::support::Call| call.header("authorization").unwrap_or_default();
    let provider = Upstream::by(move |call| match bearer(call).as_str() {
        "Bearer sk-pool-dead" => status(401, "invalid_api_key", ""),
        _ => answer("served"),
    });
    let keys = "keys = [{ value = \"sk-pool-dead\", name = \"dead\", weight = 1000 }, { value = \"sk-pool-good\", name = \"good\" }]";
    let text =
        provider_at("p", &provider.url(), "").replace("keys = []", keys) + "[models.m]\ntargets = [{ provider = \"p\", model = \"up\" }]\n";
    let (one, other) = (gateway(&redis, &text), gateway(&redis, &text));
    both_listen(&redis);
    let dead = || provider.calls().iter().filter(|call| bearer(call) == "Bearer sk-pool-dead").count();
    let of = |app: &TestApp| {
        let health = app.health();
        let keys = health["providers"]["p"]["keys"].as_array().unwrap().clone();
        keys.iter().find(|key| key["name"] == "dead").unwrap()["status"].as_str().unwrap().to_owned()
    };
    assert_eq!(of(&other), "active");
    one.until("it was sent once", |one| one.chat("m").status == 200 && dead() == 1);
    other.until("the other has heard", |other| of(other) == "disabled");
    for _ in 0..20 {
        assert_eq!(other.chat("m").content(), "served");
    }
    assert_eq!(dead(), 1);
}

#[test]
fn a_redis_that_is_silent_or_away_holds_up_no_news_at_home_and_no_request() {
    let Some(mut redis) = Redis::start() else { return };
    let folder = tempfile::tempdir().unwrap();
    let (one, _other, upstream) = pair(&redis, &folder);
    assert!(redis.order("CLIENT PAUSE 2000 ALL").starts_with("+OK"));
    let (id, key) = create(&one);
    let bearer = format!("Bearer {key}");
    let quick = |what: &str| {
        for _ in 0..20 {
            let began = Instant::now();
            assert_eq!(one.client().post("/v1/chat/completions", &[("authorization", &bearer)], &chat_body("m")).status, 200);
            assert!(began.elapsed() < Duration::from_secs(1), "{what}: {:?}", began.elapsed());
        }
    };
    quick("paused");
    redis.kill();
    quick("killed");
    assert_eq!(admin(&one, "DELETE", &format!("/admin/keys/{id}"), &Value::Null).status, 200);
    assert!(!knows(&one, &key), "at once at home");
    assert_eq!(upstream.count(), 40);
    // More than can wait to be told: none of them is held up.
    let (id, _) = create(&one);
    for _ in 0..300 {
        assert_eq!(admin(&one, "PATCH", &format!("/admin/keys/{id}"), &json!({"rpm": 5})).status, 200);
    }
}
