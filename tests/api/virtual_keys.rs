//! Callers' keys in the store: made by the admin plane or the command line, used at once, revoked at once, rotated; and what a
//! gateway does that can't ask its store.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::ledger::{get, rows};
use super::support::postgres::Postgres;
use super::support::{ADMIN, Client, Process, Reply, TestApp, Upstream, answer, chat_body};

fn settings(upstream: &Upstream, store: &str) -> String {
    format!(
        "[store]\nurl = \"{store}\"\n{}[models.m]\ntargets = [{{ provider = \"p\", model = \"up\" }}]\nfailover = [\"n\"]\n\
         [models.n]\ntargets = [{{ provider = \"p\", model = \"other\" }}]\n",
        upstream.provider("p")
    )
}

fn admin(app: &TestApp, method: &str, path: &str, body: Value) -> Reply {
    let client = Client::new(app.admin_address.unwrap_or(app.address));
    client.call(method, path, &[("authorization", ADMIN), ("content-type", "application/json")], &body.to_string())
}

fn create(app: &TestApp, body: Value) -> (String, String) {
    let made = admin(app, "POST", "/admin/keys", body);
    assert_eq!(made.status, 201, "{}", made.text());
    let text = |name: &str| made.json()[name].as_str().unwrap().to_owned();
    (text("id"), text("key"))
}

fn chat(client: &Client, key: &str, model: &str) -> Reply {
    client.post("/v1/chat/completions", &[("authorization", &format!("Bearer {key}"))], &chat_body(model))
}

fn status(app: &TestApp, key: &str) -> u16 {
    chat(&app.client(), key, "m").status
}

#[test]
fn null_lifts_what_a_key_was_held_to() {
    let upstream = Upstream::answering(answer("hi"));
    let app = TestApp::administered(&settings(&upstream, "sqlite://data/s.db"));
    let held = json!({"name": "team", "models": ["n"], "rpm": 1, "tpm": 5, "concurrency": 1, "budget": {"usd": 1.0, "window": "day"}, "expires": "1h"});
    let (id, key) = create(&app, held);
    assert_eq!(chat(&app.client(), &key, "m").status, 403);
    let lifted = json!({"models": null, "rpm": null, "tpm": null, "concurrency": null, "budget": null, "expires": null});
    let reply = admin(&app, "PATCH", &format!("/admin/keys/{id}"), lifted);
    assert_eq!(reply.status, 200, "{}", reply.text());
    let now = reply.json();
    for (name, expected) in [
        ("models", json!(["*"])),
        ("rpm", json!(0)),
        ("tpm", json!(0)),
        ("concurrency", json!(0)),
        ("budget", json!(null)),
        ("expires", json!(null)),
    ] {
        assert_eq!(now[name], expected, "{name}");
    }
    for _ in 0..3 {
        assert_eq!(chat(&app.client(), &key, "m").status, 200);
    }
    assert_eq!(
        admin(&app, "PATCH", &format!("/admin/keys/{id}"), json!({"rpm": 7})).json()["models"],
        json!(["*"]),
        "what isn't named stays"
    );
}

#[test]
fn the_admin_plane_asks_for_its_own_key() {
    let upstream = Upstream::answering(answer("hi"));
    let app = TestApp::administered(&settings(&upstream, "sqlite://data/s.db"));
    let (_, key) = create(&app, json!({"name": "team"}));
    let client = Client::new(app.admin_address.unwrap_or(app.address));
    let reply = client.call("GET", "/admin/keys", &[("authorization", &format!("Bearer {key}"))], "");
    assert_eq!((reply.status, reply.code().as_str()), (401, "invalid_api_key"));
    assert!(reply.text().contains("admin key"), "{}", reply.text());
}

#[test]
fn a_key_is_shown_once_used_at_once_and_revoked_at_once() {
    let upstream = Upstream::answering(answer("hi"));
    let app = TestApp::administered(&settings(&upstream, "sqlite://data/s.db"));
    assert_eq!(app.chat("m").status, 200, "no key is known, so none is needed");
    let (id, key) = create(&app, json!({"name": "team", "models": ["m"]}));
    assert!(key.starts_with("sk-sd-") && key.len() == 55, "{key}");
    assert_eq!(app.chat("m").status, 401, "a key is known now");
    assert_eq!(chat(&app.client(), &key, "m").status, 200);
    let refused = chat(&app.client(), &key, "n");
    assert_eq!((refused.status, refused.code().as_str()), (403, "model_not_allowed"));

    let listed = get(&app, "/admin/keys").text();
    assert!(!listed.contains(&key) && listed.contains(&key[..12]), "{listed}");
    let one = get(&app, &format!("/admin/keys/{id}")).json();
    for (name, expected) in
        [("name", json!("team")), ("models", json!(["m"])), ("rpm", json!(0)), ("budget", Value::Null), ("revoked", Value::Null)]
    {
        assert_eq!(one[name], expected, "{name}");
    }
    let row = rows(&app, "?key=team").remove(0);
    assert_eq!((row["key"].as_str(), row["key_id"].as_str()), (Some("team"), Some(id.as_str())));
    let used = get(&app, "/admin/usage?by=key").json();
    let of_team = used["data"].as_array().unwrap().iter().find(|line| line["key"] == "team").unwrap();
    assert_eq!((of_team["key_id"].as_str(), of_team["requests"].as_u64()), (Some(id.as_str()), Some(1)), "{used}");

    let revoked = admin(&app, "DELETE", &format!("/admin/keys/{id}"), Value::Null);
    assert_eq!((revoked.status, revoked.json()["revoked"].is_string()), (200, true));
    assert_eq!((status(&app, &key), app.chat("m").status), (401, 401), "with its keys revoked, a gateway isn't open");
    for (method, path) in [("DELETE", "/admin/keys/x"), ("PATCH", "/admin/keys/x"), ("POST", "/admin/keys/x/rotate")] {
        assert_eq!(admin(&app, method, path, json!({})).code(), "key_not_found", "{method}");
    }
    assert_eq!(app.client().call("GET", "/admin/keys", &[("authorization", &format!("Bearer {key}"))], "").status, 401);
}

#[test]
fn a_rotated_key_has_two_secrets_for_a_while() {
    let upstream = Upstream::answering(answer("hi"));
    let app = TestApp::administered(&settings(&upstream, "sqlite://data/s.db"));
    let (id, first) = create(&app, json!({"name": "team"}));
    let rotate = |overlap: &str| {
        let answer = admin(&app, "POST", &format!("/admin/keys/{id}/rotate"), json!({"overlap": overlap}));
        assert_eq!((answer.status, answer.json()["id"].as_str()), (201, Some(id.as_str())), "{}", answer.text());
        answer.json()["key"].as_str().unwrap().to_owned()
    };
    let second = rotate("24h");
    assert_eq!((status(&app, &first), status(&app, &second)), (200, 200));
    let third = rotate("0s");
    assert_eq!((status(&app, &first), status(&app, &second), status(&app, &third)), (401, 401, 200));
    let fourth = rotate("300ms");
    assert_eq!((status(&app, &third), status(&app, &fourth)), (200, 200));
    app.until("the old secret ends", |app| status(app, &third) == 401);
    assert_eq!(admin(&app, "POST", &format!("/admin/keys/{id}/rotate"), json!({"overlap": "soon"})).status, 400);
}

#[test]
fn terms_are_changed_and_mistakes_are_refused() {
    let upstream = Upstream::answering(answer("hi"));
    let app = TestApp::administered(&settings(&upstream, "sqlite://data/s.db"));
    let (id, key) = create(&app, json!({"name": "team", "expires": "30d"}));
    let patch = |body: Value| admin(&app, "PATCH", &format!("/admin/keys/{id}"), body);
    assert_eq!(patch(json!({"models": ["n"], "name": "squad"})).json()["name"], "squad");
    assert_eq!((status(&app, &key), chat(&app.client(), &key, "n").status), (403, 200));
    assert_eq!(patch(json!({"models": ["*"], "expires": "2020-01-01"})).status, 200);
    assert_eq!(status(&app, &key), 401);
    assert_eq!(patch(json!({"expires": null})).json()["expires"], Value::Null);
    assert_eq!(status(&app, &key), 200);
    for bad in [
        json!({"name": ""}),
        json!({"name": "x", "rmp": 5}),
        json!({"name": "x", "rpm": -5}),
        json!({"name": "x", "rpm": 1e18}),
        json!({"name": "x", "budget": {"usd": -1}}),
        json!({"name": "x", "budget": {"usd": 1, "window": "hour"}}),
        json!({"name": "x", "budget": {"window": "day"}}),
        json!({"name": "x", "window": "day"}),
        json!({"name": "x", "expires": "soon"}),
        json!({"name": "x\u{0}"}),
        json!({}),
        json!([]),
    ] {
        let refused = admin(&app, "POST", "/admin/keys", bad.clone());
        assert_eq!((refused.status, refused.code().as_str()), (400, "invalid_value"), "{bad}: {}", refused.text());
    }
    assert_eq!(get(&app, "/admin/keys").json()["data"].as_array().unwrap().len(), 1);
}

#[test]
fn a_key_that_has_ended_gets_no_other_secret() {
    let upstream = Upstream::answering(answer("hi"));
    let app = TestApp::administered(&settings(&upstream, "sqlite://data/s.db"));
    let (revoked, _) = create(&app, json!({"name": "revoked"}));
    let (expired, key) = create(&app, json!({"name": "expired"}));
    assert_eq!(admin(&app, "DELETE", &format!("/admin/keys/{revoked}"), Value::Null).status, 200);
    assert_eq!(admin(&app, "PATCH", &format!("/admin/keys/{expired}"), json!({"expires": "2020-01-01"})).status, 200);
    for id in [&revoked, &expired] {
        let refused = admin(&app, "POST", &format!("/admin/keys/{id}/rotate"), json!({}));
        assert_eq!((refused.status, refused.code().as_str()), (400, "invalid_value"), "{}", refused.text());
        assert_eq!(get(&app, &format!("/admin/keys/{id}")).json()["old_key_until"], Value::Null, "it stays as it was");
    }
    // Put right, it is let in with the secret that it has.
    assert_eq!(admin(&app, "PATCH", &format!("/admin/keys/{expired}"), json!({"expires": null})).status, 200);
    assert_eq!(status(&app, &key), 200);
}

#[test]
fn what_one_gateway_revokes_another_refuses_within_a_second() {
    let upstream = Upstream::answering(answer("hi"));
    let folder = tempfile::tempdir().unwrap();
    let text = settings(&upstream, &format!("sqlite://{}/shared.db", folder.path().display()));
    let (one, other) = (TestApp::administered(&text), TestApp::administered(&text));
    let (id, key) = create(&one, json!({"name": "team"}));
    assert_eq!(status(&other, &key), 200, "a key that another has just made waits for a look");
    admin(&one, "DELETE", &format!("/admin/keys/{id}"), Value::Null);
    let revoked = Instant::now();
    other.until("it is refused", |other| status(other, &key) == 401);
    assert!(revoked.elapsed() < Duration::from_secs(1), "{:?}", revoked.elapsed());
    let used = get(&other, "/admin/usage").json()["total"].clone();
    assert_eq!(get(&one, "/admin/usage").json()["total"], used, "one ledger");
}

#[test]
fn a_key_that_has_to_be_looked_up_is_held_to_the_same() {
    let upstream = Upstream::answering(answer("hi"));
    let folder = tempfile::tempdir().unwrap();
    let text = settings(&upstream, &format!("sqlite://{}/shared.db", folder.path().display()));
    let (one, other) = (TestApp::administered(&text), TestApp::administered(&text));
    let (_, key) = create(&one, json!({"name": "team"}));
    let mut caller = other.client().connect();
    let head = "GET /v1/models HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n";
    std::io::Write::write_all(&mut caller, format!("{head}authorization: Bearer {key}\r\n\r\n").as_bytes()).unwrap();
    let answer = super::support::read_rest(&mut caller);
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("invalid_body"), "nobody's body holds its connection: {answer}");
    let (_, key) = create(&one, json!({"name": "team"}));
    assert_eq!(status(&other, &key), 200, "and a body that is read is there");
}

#[test]
fn the_command_line_makes_lists_rotates_and_revokes_while_a_gateway_serves() {
    let upstream = Upstream::answering(answer("hi"));
    let folder = tempfile::tempdir().unwrap();
    let text = settings(&upstream, &format!("sqlite://{}/shared.db", folder.path().display()));
    let app = TestApp::administered(&text);
    let line = |args: &[&str]| {
        let args: Vec<&str> = args.iter().copied().chain(["--settings", "settings.toml"]).collect();
        Process::run(&args, &[], |folder| std::fs::write(folder.join("settings.toml"), &text).unwrap()).finish()
    };
    let made = line(&["keys", "create", "team", "--models", "m,n*", "--expires", "30d", "--json"]);
    assert_eq!(made.code, Some(0), "{}", made.stderr);
    let made: Value = serde_json::from_str(&made.stdout).unwrap();
    let (id, key) = (made["id"].as_str().unwrap(), made["key"].as_str().unwrap());
    assert_eq!(status(&app, key), 200);
    app.until("a key is known, so it is closed", |app| app.chat("m").status == 401);
    let listed = line(&["keys", "list"]).stdout;
    assert!(listed.contains(id) && listed.contains("team") && listed.contains("m,n*") && !listed.contains(key), "{listed}");
    let plain = line(&["keys", "create", "other"]).stdout;
    let second = plain.lines().next().unwrap();
    assert_eq!(status(&app, second), 200);
    let rotated: Value = serde_json::from_str(&line(&["keys", "rotate", id, "--overlap", "0s", "--json"]).stdout).unwrap();
    assert_eq!(status(&app, rotated["key"].as_str().unwrap()), 200);
    app.until("the old secret ends", |app| status(app, key) == 401);
    assert_eq!(line(&["keys", "revoke", id]).code, Some(0));
    app.until("it is refused", |app| status(app, rotated["key"].as_str().unwrap()) == 401);
    assert_eq!(
        (line(&["keys", "revoke", "x"]).code, line(&["keys", "create"]).code, line(&["keys", "create", " "]).code),
        (Some(2), Some(2), Some(2))
    );

    let again = line(&["keys", "rotate", id, "--json"]);
    assert!(again.code == Some(2) && again.stdout.is_empty() && again.stderr.contains("is revoked"), "{again:?}");
    for (nothing, why) in [
        (&["--window", "day"][..], "--budget-usd"),
        (&["--window", "day", "--budget-usd", "0"], "--budget-usd"),
        (&["--models", ""], "--models"),
        (&["--models", "m,,n"], "--models"),
    ] {
        let refused = line(&[&["keys", "create", "x"], nothing].concat());
        assert!(refused.code == Some(2) && refused.stderr.contains(why), "{nothing:?}: {refused:?}");
    }
    let over = line(&["keys", "create", "late", "--expires", "2020-01-01"]);
    assert!(over.code == Some(0) && over.stderr.contains("the key lets nobody in"), "{over:?}");
    let mistyped = line(&["keys", "create", "typo", "--models", "m,mm"]);
    assert!(mistyped.code == Some(0) && mistyped.stderr.contains("no model is called \"mm\""), "{mistyped:?}");
    assert_eq!(line(&["keys", "create", "paid", "--window", "day", "--budget-usd", "2.5"]).code, Some(0));
    let listed = line(&["keys", "list"]).stdout;
    assert!(listed.contains("$2.5/day") && listed.lines().count() == 6, "what is refused makes nothing: {listed}");

    let used: Value = serde_json::from_str(&line(&["usage", "--by", "key", "--json"]).stdout).unwrap();
    assert!(used["total"]["requests"].as_u64().unwrap() >= 3, "{used}");
    let table = line(&["usage"]).stdout;
    assert!(table.starts_with("model") && table.contains("in all"), "{table}");
    assert!(line(&["usage", "--csv"]).stdout.starts_with("model,requests,errors,tokens_in"));
    assert_eq!(line(&["usage", "--by", "x"]).code, Some(2));
    let sheet = line(&["usage", "--rows", "requests"]).stdout;
    assert!(sheet.starts_with("id,request_id,time,key,") && sheet.lines().count() > 3 && sheet.contains(",team,"), "{sheet}");
    let documents = line(&["usage", "--rows", "attempts", "--json", "--since", "1h"]).stdout;
    let first: Value = serde_json::from_str(documents.lines().next().unwrap()).unwrap();
    assert_eq!(
        (first["provider"].as_str(), first["order"].as_u64(), documents.lines().count()),
        (Some("p"), Some(1), sheet.lines().count() - 1)
    );
}

#[test]
fn a_store_without_keys_on_a_host_that_others_reach_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let upstream = Upstream::answering(answer("hi"));
    let text = format!("[server]\nhost = \"0.0.0.0\"\n{}", settings(&upstream, &format!("sqlite://{}/s.db", folder.path().display())));
    let line = |args: &[&str]| Process::run(args, &[], |folder| std::fs::write(folder.join("settings.toml"), &text).unwrap()).finish();
    let refused = line(&["check", "--settings", "settings.toml"]);
    assert!(refused.code == Some(1) && refused.stderr.contains("no caller key is known"), "{}", refused.stderr);
    assert!(!folder.path().join("s.db").exists(), "a check makes nothing");
    // What makes a key needs no gateway: nor settings that one could serve with.
    let made = line(&["keys", "create", "first", "--settings", "settings.toml"]);
    assert_eq!(made.code, Some(0), "{}", made.stderr);
    assert_eq!(line(&["check", "--settings", "settings.toml"]).code, Some(0));
}

#[test]
fn row_47_and_48_wrong_keys_are_refused_alike_and_cheaply() {
    let upstream = Upstream::answering(answer("hi"));
    let app = TestApp::administered(&settings(&upstream, "sqlite://data/s.db"));
    let (_, key) = create(&app, json!({"name": "team"}));
    let mut wrong = key.clone();
    wrong.replace_range(10..11, if &key[10..11] == "a" { "b" } else { "a" });
    let bodies: Vec<_> = ["", "null", "' OR 1=1 --", "sk-sd-", &wrong, &key[..54], &"x".repeat(3_000)]
        .iter()
        .map(|sent| {
            let reply = chat(&app.client(), sent, "m");
            assert_eq!(reply.status, 401, "{sent}");
            reply.json()
        })
        .collect();
    assert!(bodies.windows(2).all(|pair| pair[0] == pair[1]));
    // Well made, and nobody's: those who wait share their looks.
    let began = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                for _ in 0..20 {
                    let forged = stagedoor::clock::issued_key();
                    assert_eq!(chat(&app.client(), forged.expose(), "m").status, 401);
                }
            });
        }
    });
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    assert_eq!(status(&app, &key), 200);
    assert_eq!(upstream.count(), 1);
}

#[test]
fn row_55_while_postgresql_is_down_known_keys_are_served_and_unknown_ones_get_503() {
    let Some(server) = Postgres::start() else { return };
    let upstream = Upstream::answering(answer("hi"));
    let text = settings(&upstream, &server.url());
    let app = TestApp::administered(&text);
    let (_, key) = create(&app, json!({"name": "team"}));
    for _ in 0..5 {
        assert_eq!(status(&app, &key), 200);
    }
    assert_eq!(rows(&app, "").len(), 5);
    server.down();
    let forged = stagedoor::clock::issued_key();
    app.until("nobody can tell", |app| status(app, forged.expose()) == 503);
    let unknown = chat(&app.client(), forged.expose(), "m");
    assert_eq!((unknown.status, unknown.code().as_str(), unknown.header("retry-after")), (503, "store_unavailable", Some("1")));
    assert_eq!(status(&app, "sk-wrong"), 401, "what no gateway has made is nobody's");
    for _ in 0..20 {
        assert_eq!(status(&app, &key), 200);
    }
    app.until("/health says so", |app| app.health()["ledger"]["status"] == "journaling");
    assert_eq!(get(&app, "/admin/usage").status, 503);
    server.up();
    app.until("the rows are there", |app| get(app, "/admin/usage").json()["total"]["requests"] == 25);
    assert_eq!(status(&app, forged.expose()), 401);
    app.until("nothing waits", |app| app.health()["ledger"]["waiting"] == 0);
    assert_eq!((app.health()["ledger"]["status"].as_str(), app.metric("stagedoor_ledger_lost_total")), (Some("ok"), 0.0));
    assert_eq!(get(&app, "/admin/usage").json()["total"]["requests"], 25);
}

#[test]
fn a_gateway_starts_without_its_postgresql_and_fails_closed() {
    let Some(server) = Postgres::start() else { return };
    server.down();
    let upstream = Upstream::answering(answer("hi"));
    let app = TestApp::administered(&settings(&upstream, &server.url()));
    assert_eq!(app.chat("m").status, 401, "whether keys are known can't be told, so it isn't open");
    server.up();
    app.until("it is open: there is none", |app| app.chat("m").status == 200);
}

#[test]
fn a_restart_is_no_new_budget() {
    let upstream = Upstream::answering(answer("hi"));
    let folder = tempfile::tempdir().unwrap();
    let priced = settings(&upstream, &format!("sqlite://{}/s.db", folder.path().display()))
        .replace("model = \"up\" }", "model = \"up\", price = { input = 1000.0, output = 1000.0 } }");
    let first = TestApp::administered(&priced);
    let (id, key) = create(&first, json!({"name": "team", "budget": {"usd": 0.06, "window": "total"}}));
    let body = chat_body("m").replacen('{', "{\"max_tokens\":10,", 1);
    let call = |app: &TestApp| app.client().post("/v1/chat/completions", &[("authorization", &format!("Bearer {key}"))], &body);
    let served = (0..100).take_while(|_| call(&first).status == 200).count();
    assert!((5..31).contains(&served), "each costs $0.002: {served}");
    let spent = get(&first, &format!("/admin/keys/{id}")).json();
    let dollars = |name: &str| (spent[name].as_f64().unwrap() * 1e6).round() as usize;
    assert_eq!((dollars("spent_usd"), dollars("left_usd")), (served * 2_000, 60_000 - served * 2_000), "{spent}");
    drop(first);
    let second = TestApp::administered(&priced);
    let refused = call(&second);
    assert_eq!((refused.status, refused.code().as_str()), (429, "budget_exceeded"), "{}", refused.text());
    let higher = json!({"budget": {"usd": 10.0, "window": "total"}});
    assert_eq!(admin(&second, "PATCH", &format!("/admin/keys/{id}"), higher).status, 200);
    assert_eq!(call(&second).status, 200);
}
