//! The ledger's rows taken away: over HTTP as they are read, and what the command line says of rows that aren't in the store.

use serde_json::Value;

use super::ledger::get;
use super::support::faults::{healthy, provider_at};
use super::support::{Process, TestApp, Upstream, answer, chat_body, status};

/// Failover from `p`, which is down where `down` says so, to `s`.
fn app(down: bool) -> (TestApp, Upstream, Upstream) {
    let (first, spare) = (Upstream::answering(if down { status(500, "", "") } else { answer("hi") }), healthy());
    let app = TestApp::administered(&format!(
        "[store]\nledger = \"all\"\n[retry]\nbackoff = \"0ms\"\nsame_target = 0\n{}{}[models.m]\nstrategy = \"ordered\"\n\
         targets = [{{ provider = \"p\", model = \"up\" }}]\nfailover = [\"n\"]\n[models.n]\ntargets = [{{ provider = \"s\", model = \"down\" }}]\n",
        provider_at("p", &first.url(), ""),
        provider_at("s", &spare.url(), "")
    ));
    (app, first, spare)
}

fn documents(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn all_rows_are_exported_oldest_first_and_filtered_like_pages() {
    let (app, _first, _spare) = app(false);
    // More than are read at a time.
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| (0..175).for_each(|_| assert_eq!(app.chat("m").status, 200)));
        }
    });
    app.client().post("/v1/chat/completions", &[("x-stagedoor-tags", "team=a,b=1")], &chat_body("n"));
    let lines = get(&app, "/admin/requests?format=jsonl");
    assert_eq!((lines.status, lines.header("content-type")), (200, Some("application/x-ndjson")));
    let all = documents(&lines.text());
    assert_eq!(all.len(), 1_051);
    let ids: Vec<&str> = all.iter().map(|row| row["id"].as_str().unwrap()).collect();
    assert!(ids.is_sorted() && ids.windows(2).all(|pair| pair[0] != pair[1]));
    let page = get(&app, "/admin/requests?limit=1").json();
    assert_eq!(page["data"][0], all[1_050], "the same documents");
    assert_eq!(documents(&get(&app, "/admin/requests?format=jsonl&limit=1001").text()), all[..1_001]);
    assert_eq!(documents(&get(&app, "/admin/requests?format=jsonl&model=n").text()), all[1_050..]);
    assert!(get(&app, "/admin/requests?format=jsonl&since=2999-01-01").text().is_empty());
    let sheet = get(&app, "/admin/requests?format=csv&model=n");
    assert_eq!(sheet.header("content-type"), Some("text/csv; charset=utf-8"));
    let text = sheet.text();
    let mut lines = text.lines();
    assert!(lines.next().unwrap().starts_with("id,request_id,time,key,"));
    assert!(lines.next().unwrap().contains(",b=1 team=a,false"), "{text}");
    assert_eq!(get(&app, "/admin/requests?format=csv&model=nobody").text().lines().count(), 1, "the names alone");
    for bad in ["requests?format=xml", "requests?format=csv&before=x", "attempts?limit=0", "attempts?sine=1d"] {
        assert_eq!(get(&app, &format!("/admin/{bad}")).status, 400, "{bad}");
    }
    assert_eq!(app.client().get("/admin/attempts").status, 401);
}

#[test]
fn attempts_are_exported_each_with_its_request() {
    let (app, _first, _spare) = app(true);
    (0..2).for_each(|_| _ = app.chat("m"));
    let attempts = documents(&get(&app, "/admin/attempts").text());
    let told: Vec<_> = attempts.iter().map(|a| format!("{} {} {}", a["order"], a["provider"], a["outcome"])).collect();
    assert_eq!(told, [r#"1 "p" "transient""#, r#"2 "s" "ok""#].repeat(2));
    assert_eq!((&attempts[0]["request"], attempts[1]["request"] == attempts[2]["request"]), (&attempts[1]["request"], false));
    let sheet = get(&app, "/admin/attempts?format=csv").text();
    assert!(sheet.starts_with("request,order,provider,key,model,start,outcome,") && sheet.lines().count() == 5, "{sheet}");
}

#[test]
fn what_lies_in_the_journal_is_said_beside_the_answer() {
    let upstream = Upstream::answering(answer("hi"));
    let text = format!(
        "[store]\nurl = \"sqlite://s.db\"\n{}[models.m]\ntargets = [{{ provider = \"p\", model = \"up\" }}]\n",
        upstream.provider("p")
    );
    for waiting in [0, 3] {
        let told = Process::run(&["usage", "--settings", "settings.toml", "--json"], &[], |folder| {
            std::fs::write(folder.join("settings.toml"), &text).unwrap();
            // Another store's journal is none of this one's.
            std::fs::write(folder.join("other.db.ledger-x-0.jsonl"), "{}\n").unwrap();
            std::fs::write(folder.join("s.db.ledger-x-0.jsonl"), "{}\n".repeat(waiting) + "{\"cut").unwrap();
        });
        let told = told.finish();
        assert_eq!(told.code, Some(0), "{}", told.stderr);
        assert_eq!(serde_json::from_str::<Value>(&told.stdout).unwrap()["total"]["requests"], 0);
        assert_eq!(told.stderr.contains("up to 3 more rows wait in the journal"), waiting > 0, "{}", told.stderr);
    }
}
