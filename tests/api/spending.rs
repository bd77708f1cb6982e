//! What a key has spent: told alike by the admin plane, the command line and the refusals, whoever left before its answer and whenever the
//! budget was given.

use std::io::{Read, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::ledger::{get, rows};
use super::support::{ADMIN, Process, Reply, TestApp, Upstream, chat_body, chat_bytes, plain, stream_body};

/// Each call costs 10 tokens at a dollar a million and 5 at ten: 60 millionths of a dollar.
const CALL: f64 = 0.000_06;

fn spending() -> Upstream {
    Upstream::answering(plain(
        r#"{"choices":[{"index":0,"message":{"role":"assistant","content":"hi"},"finish_reason":"stop"}],
            "usage":{"prompt_tokens":10,"completion_tokens":5,"total_tokens":15}}"#,
    ))
}

fn settings(upstream: &Upstream, folder: &Path) -> String {
    format!(
        "[store]\nurl = \"sqlite://{}/s.db\"\n{}[models.m]\n\
         targets = [{{ provider = \"p\", model = \"up\", price = {{ input = 1.0, output = 10.0 }} }}]\n",
        folder.display(),
        upstream.provider("p")
    )
}

fn admin(app: &TestApp, method: &str, path: &str, body: &Value) -> Reply {
    app.client().call(method, path, &[("authorization", ADMIN), ("content-type", "application/json")], &body.to_string())
}

/// A new key: its id and itself.
fn create(app: &TestApp, body: &Value) -> (String, String) {
    let made = admin(app, "POST", "/admin/keys", body);
    assert_eq!(made.status, 201, "{}", made.text());
    let text = |name: &str| made.json()[name].as_str().unwrap().to_owned();
    (text("id"), text("key"))
}

fn call(app: &TestApp, key: &str) -> Reply {
    let body = chat_body("m").replacen('{', "{\"max_tokens\":5,", 1);
    app.client().post("/v1/chat/completions", &[("authorization", &format!("Bearer {key}"))], &body)
}

/// The dollars that a key's document tells.
fn dollars(key: &Value, name: &str) -> f64 {
    key[name].as_f64().unwrap_or_else(|| panic!("{name}: {key}"))
}

fn is_near(one: f64, other: f64) -> bool {
    (one - other).abs() < 1e-9
}

#[test]
fn who_leaves_before_its_answer_has_used_its_prompt_and_its_budget_says_what_is_left() {
    let folder = tempfile::tempdir().unwrap();
    let silent = Upstream::start(|_, stream| {
        let _ = stream.read(&mut [0; 16]);
        false
    });
    let app = TestApp::administered(&settings(&silent, folder.path()));
    let (id, key) = create(&app, &json!({"name": "team", "budget": {"usd": 0.06, "window": "total"}}));
    let authorization = format!("Bearer {key}");
    for (number, body) in [chat_body("m"), stream_body("m").replacen('{', "{\"max_tokens\":5,", 1)].iter().enumerate() {
        let mut caller = app.client().connect();
        caller.write_all(&chat_bytes(&[("authorization", &authorization)], body)).unwrap();
        app.until("the upstream has it", |_| silent.count() == number + 1);
        drop(caller);
        app.until("its row is there", |app| rows(app, "").len() == number + 1);
        let row = rows(&app, "").remove(0);
        let told = (row["status"].as_u64(), row["state"].as_str(), row["source"].as_str(), row["provider"].as_str());
        assert_eq!(told, (Some(499), Some("partial"), Some("gateway"), Some("p")), "{row}");
        let prompt = row["tokens_in"].as_u64().unwrap();
        assert!(prompt > 0 && row["tokens_out"] == 0, "{row}");
        assert!(is_near(row["cost_usd"].as_f64().unwrap(), prompt as f64 / 1e6), "the prompt's price: {row}");
    }
    let counted = rows(&app, "").iter().map(|row| row["tokens_in"].as_f64().unwrap()).sum::<f64>();
    assert_eq!(app.metric("stagedoor_tokens_total{model=\"m\",kind=\"input\"}"), counted);
    // What the answer cost nobody knows: of the budget what was reserved for it is gone, and that is what is told.
    let told = get(&app, &format!("/admin/keys/{id}")).json();
    assert!(dollars(&told, "spent_usd") > 0.04, "4,096 tokens of answer at most: {told}");
    assert!(is_near(dollars(&told, "spent_usd") + dollars(&told, "left_usd"), 0.06), "{told}");
    let body = chat_body("m");
    let refused = app.client().post("/v1/chat/completions", &[("authorization", &authorization)], &body);
    assert_eq!((refused.status, refused.code().as_str()), (429, "budget_exceeded"), "{}", refused.text());
}

#[test]
fn a_budget_that_is_given_later_counts_what_was_spent_before() {
    let folder = tempfile::tempdir().unwrap();
    let upstream = spending();
    let text = settings(&upstream, folder.path());
    let (one, other) = (TestApp::administered(&text), TestApp::administered(&text));
    let (id, key) = create(&one, &json!({"name": "team"}));
    (0..5).for_each(|_| assert_eq!(call(&one, &key).status, 200));
    let patch = |usd: f64, window: &str| {
        let changed = admin(&one, "PATCH", &format!("/admin/keys/{id}"), &json!({"budget": {"usd": usd, "window": window}}));
        assert_eq!(changed.status, 200, "{}", changed.text());
        changed.json()
    };
    let told = patch(4.0 * CALL, "day");
    assert!(is_near(dollars(&told, "spent_usd"), 5.0 * CALL) && dollars(&told, "left_usd") == 0.0, "{told}");
    assert_eq!(call(&one, &key).code(), "budget_exceeded", "it is spent here at once");
    other.until("and at another gateway of the same store", |app| call(app, &key).status == 429);
    patch(100.0 * CALL, "day");
    assert_eq!(call(&one, &key).status, 200);
    patch(4.0 * CALL, "total");
    assert_eq!(call(&one, &key).code(), "budget_exceeded", "in another window it is spent as well");
}

#[test]
fn a_budget_that_comes_by_a_reload_counts_what_was_spent_before() {
    const KEY: &str = "sk-settings-0123456789abcdef0123";
    let folder = tempfile::tempdir().unwrap();
    let upstream = spending();
    let text = format!("{}[[auth.keys]]\nname = \"app\"\nkey = {{ value = \"{KEY}\" }}\n", settings(&upstream, folder.path()));
    let app = TestApp::administered(&text);
    (0..5).for_each(|_| assert_eq!(call(&app, KEY).status, 200));
    let reloaded = app.reload(&format!("{text}budget = {{ usd = 0.00024, window = \"month\" }}\n"));
    assert_eq!(reloaded.status, 200, "{}", reloaded.text());
    app.until("it is spent", |app| call(app, KEY).status == 429);
    assert!(upstream.count() < 10, "none of them was a new budget");
}

#[test]
fn budgets_that_many_keys_are_given_at_once_are_looked_up_once_for_each_window() {
    const KEYS: usize = 8;
    let upstream = spending();
    let key = |number: usize| format!("sk-settings-0123456789abcdef-{number:02}");
    let text = |budget: fn(usize) -> &'static str| {
        let rows = (0..KEYS)
            .map(|number| format!("[[auth.keys]]\nname = \"app{number}\"\nkey = {{ value = \"{}\" }}\n{}\n", key(number), budget(number)));
        settings(&upstream, Path::new("data")) + &rows.collect::<String>()
    };
    let process = Process::serve(&text(|_| ""), &[("STAGEDOOR_LOG", "info,stagedoor::proxy::recall=debug")]);
    let status = |number: usize| {
        let body = chat_body("m").replacen('{', "{\"max_tokens\":5,", 1);
        process.client().post("/v1/chat/completions", &[("authorization", &format!("Bearer {}", key(number)))], &body).status
    };
    let asked = |text: &str| text.matches("the store is asked what keys have spent").count();
    (0..KEYS).for_each(|number| assert_eq!(status(number), 200));
    assert_eq!(asked(&process.stderr.text()), 0, "without budgets nothing is looked up");

    process.write(
        "settings.toml",
        &text(|number| match number % 2 {
            0 => "budget = { usd = 0.00006, window = \"month\" }",
            _ => "budget = { usd = 0.00006, window = \"total\" }",
        }),
    );
    process.signal("HUP");
    process.stderr.until("the store has been asked", |text| asked(text) == 2);
    let end = Instant::now() + Duration::from_secs(10);
    for number in 0..KEYS {
        while status(number) != 429 {
            assert!(Instant::now() < end, "key {number} has a new budget");
        }
    }
    assert_eq!(asked(&process.stderr.text()), 2);
}

#[test]
fn the_command_line_tells_what_keys_have_spent() {
    let folder = tempfile::tempdir().unwrap();
    let upstream = spending();
    let text = settings(&upstream, folder.path());
    let app = TestApp::administered(&text);
    let (id, key) = create(&app, &json!({"name": "team", "budget": {"usd": 1.0, "window": "day"}}));
    (0..5).for_each(|_| assert_eq!(call(&app, &key).status, 200));
    let told = get(&app, &format!("/admin/keys/{id}")).json();
    assert!(is_near(dollars(&told, "spent_usd"), 5.0 * CALL), "{told}");
    let line = |args: &[&str]| {
        let args: Vec<&str> = args.iter().copied().chain(["--settings", "settings.toml"]).collect();
        Process::run(&args, &[], |folder| std::fs::write(folder.join("settings.toml"), &text).unwrap()).finish()
    };
    let json = |text: &str| serde_json::from_str::<Value>(text).unwrap();
    assert_eq!(json(&line(&["keys", "list", "--json"]).stdout)["data"][0], told, "the same as the admin plane");
    assert!(line(&["keys", "list"]).stdout.contains("$0.000300"));
    let rotated = json(&line(&["keys", "rotate", &id, "--json"]).stdout);
    assert_eq!((&rotated["spent_usd"], &rotated["left_usd"]), (&told["spent_usd"], &told["left_usd"]));

    let revoked = json(&line(&["keys", "revoke", &id, "--json"]).stdout);
    assert!(revoked["revoked"].is_string() && revoked["spent_usd"] == told["spent_usd"], "{revoked}");
    let list = admin(&app, "POST", "/admin/keys", &json!(["team", ["*"], 0, 0, 0, null, null]));
    assert_eq!((list.status, list.code().as_str()), (400, "invalid_value"), "terms have names: {}", list.text());
}
