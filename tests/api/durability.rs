//! What the ledger keeps when things go wrong: the process is killed, the store is locked, broken or full.

use std::collections::{HashMap, HashSet};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use sqlx::Executor;

use super::ledger::{get, rows};
use stagedoor::base::request_id;
use stagedoor::ledger::{Entry, Row};
use stagedoor::settings::Keep;
use stagedoor::store::Store;

use super::support::{Client, Process, TestApp, Upstream, answer, chat_body};

const KEY: &str = "admin-key-of-every-test";

pub(super) fn settings(upstream: &Upstream, store: &str) -> String {
    format!(
        "[admin]\nkey = {{ value = \"{KEY}\" }}\n[store]\nurl = \"sqlite://{store}\"\n{}[models.m]\ntargets = [{{ provider = \"p\", model = \"up\" }}]\n",
        upstream.provider("p")
    )
}

/// All rows' ids, and how often each is there.
pub(super) fn ids(client: &Client) -> HashMap<String, usize> {
    let (mut ids, mut next) = (HashMap::new(), String::new());
    loop {
        let reply = client.call("GET", &format!("/admin/requests?limit=1000{next}"), &[("authorization", &format!("Bearer {KEY}"))], "");
        assert_eq!(reply.status, 200, "{}", reply.text());
        let page = reply.json();
        for row in page["data"].as_array().unwrap() {
            *ids.entry(row["id"].as_str().unwrap().to_owned()).or_default() += 1;
        }
        match page["next"].as_str() {
            Some(id) => next = format!("&before={id}"),
            None => return ids,
        }
    }
}

#[test]
fn row_50_whatever_was_answered_a_moment_before_a_kill_is_there_exactly_once() {
    let cycles = std::env::var("STAGEDOOR_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(20);
    let upstream = Upstream::answering(answer("hi"));
    let folder = tempfile::tempdir().unwrap();
    let text = settings(&upstream, &format!("{}/s.db", folder.path().display()));
    let (mut due, mut answered) = (HashSet::new(), HashSet::new());
    for cycle in 0..cycles {
        let process = Process::serve(&text, &[]);
        let client = process.client();
        let told: Mutex<Vec<(String, Instant)>> = Mutex::default();
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    while !stop.load(Ordering::Relaxed) {
                        let sent = std::panic::catch_unwind(|| client.post("/v1/chat/completions", &[], &chat_body("m")));
                        let Ok(reply) = sent else { return };
                        if let Some(id) = reply.header("x-request-id").filter(|_| reply.status == 200) {
                            told.lock().unwrap().push((id.to_owned(), Instant::now()));
                        }
                    }
                });
            }
            std::thread::sleep(Duration::from_millis(150 + 37 * (cycle % 10)));
            let killed = Instant::now();
            process.signal("KILL");
            stop.store(true, Ordering::Relaxed);
            process.gone();
            let told = told.lock().unwrap().clone();
            due.extend(
                told.iter().filter(|(_, at)| killed.saturating_duration_since(*at) > Duration::from_millis(100)).map(|(id, _)| id.clone()),
            );
            answered.extend(told.into_iter().map(|(id, _)| id));
        });
    }
    let process = Process::serve(&text, &[]);
    let kept = ids(&process.client());
    let lost: Vec<_> = due.iter().filter(|id| !kept.contains_key(*id)).collect();
    assert!(lost.is_empty(), "{} of {} are lost", lost.len(), due.len());
    assert!(kept.values().all(|count| *count == 1));
    assert!(due.len() > cycles as usize, "the load was one: {}", due.len());
    assert!(kept.len() <= upstream.count(), "nothing is there that wasn't asked of an upstream");
    let total = process.client().call("GET", "/admin/usage", &[("authorization", &format!("Bearer {KEY}"))], "").json();
    assert_eq!(total["total"]["requests"], kept.len(), "sums are of the rows");
    eprintln!("{cycles} kills: {} answered, {} due, {} kept, {} upstream calls", answered.len(), due.len(), kept.len(), upstream.count());
}

/// Holds a SQLite file's lock until it is dropped.
pub(super) struct Locked(Option<std::sync::mpsc::Sender<()>>, Option<std::thread::JoinHandle<()>>);

impl Locked {
    pub(super) fn on(path: &std::path::Path) -> Self {
        let (release, released) = std::sync::mpsc::channel::<()>();
        let (tell, told) = std::sync::mpsc::channel();
        let url = format!("sqlite://{}", path.display());
        let thread = std::thread::spawn(move || {
            actix_rt::System::new().block_on(async {
                sqlx::any::install_default_drivers();
                let pool = sqlx::any::AnyPoolOptions::new().max_connections(1).connect(&url).await.unwrap();
                let mut connection = pool.acquire().await.unwrap();
                connection.execute("BEGIN EXCLUSIVE").await.unwrap();
                tell.send(()).unwrap();
                let _ = released.recv();
                connection.execute("COMMIT").await.unwrap();
            });
        });
        told.recv().unwrap();
        Self(Some(release), Some(thread))
    }
}

impl Drop for Locked {
    fn drop(&mut self) {
        drop(self.0.take());
        let _ = self.1.take().unwrap().join();
    }
}

#[test]
fn row_54_while_the_store_is_locked_calls_go_on_and_their_rows_are_there_once() {
    let long = std::env::var("STAGEDOOR_LOCK_S").ok().and_then(|text| text.parse().ok()).unwrap_or(7);
    let upstream = Upstream::answering(answer("hi"));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s.db");
    let app = TestApp::start(&settings(&upstream, &path.display().to_string()));
    app.chat("m");
    assert_eq!(rows(&app, "").len(), 1);
    let locked = Locked::on(&path);
    let (end, mut calls, mut slowest) = (Instant::now() + Duration::from_secs(long), 1, Duration::ZERO);
    while Instant::now() < end {
        let began = Instant::now();
        assert_eq!(app.chat("m").status, 200);
        slowest = slowest.max(began.elapsed());
        calls += 1;
        let ledger = &app.health()["ledger"];
        assert!(ledger["journaled"] == 0 || ledger["status"] == "journaling", "{ledger}");
        std::thread::sleep(Duration::from_millis(10));
    }
    let journal = || {
        std::fs::read_dir(folder.path())
            .unwrap()
            .filter(|entry| entry.as_ref().unwrap().path().extension().is_some_and(|e| e == "jsonl"))
            .count()
    };
    assert!(journal() > 0, "rows wait in the journal");
    assert!(slowest < Duration::from_secs(1), "no call waits for the store: {slowest:?}");
    drop(locked);
    app.until("nothing waits", |app| app.metric("stagedoor_ledger_queue") == 0.0);
    assert_eq!(rows(&app, "?limit=1000").len(), calls.min(1_000));
    assert_eq!(get(&app, "/admin/usage").json()["total"]["requests"], calls);
    assert_eq!((upstream.count(), app.metric("stagedoor_ledger_lost_total"), journal()), (calls, 0.0, 0));
    assert_eq!(app.health()["ledger"]["status"], "ok");
}

#[test]
fn row_54_a_store_that_is_no_database_is_refused_with_the_reason() {
    let upstream = Upstream::answering(answer("hi"));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s.db");
    std::fs::write(&path, "this is a letter, not a database, and a long one at that: ".repeat(100)).unwrap();
    let text = settings(&upstream, &path.display().to_string());
    let refused = Process::serve(&text, &[]).finish();
    assert_eq!(refused.code, Some(3));
    assert!(
        refused.stderr.contains("s.db") && refused.stderr.contains("not a database") && refused.stderr.contains("store.url"),
        "{}",
        refused.stderr
    );
    let checked = Process::with_settings("check", &text, &[]).finish();
    assert!(checked.code == Some(1) && checked.stderr.contains("store.url"), "{}", checked.stderr);
    assert!(std::fs::read_to_string(&path).unwrap().starts_with("this is a letter"), "it is left as it was");
}

#[test]
fn a_clean_stop_loses_no_row() {
    let upstream = Upstream::answering(answer("hi"));
    let folder = tempfile::tempdir().unwrap();
    let text = settings(&upstream, &format!("{}/s.db", folder.path().display()));
    let process = Process::serve(&text, &[]);
    for _ in 0..10 {
        assert_eq!(process.client().post("/v1/chat/completions", &[], &chat_body("m")).status, 200);
    }
    process.signal("TERM");
    assert_eq!(process.finish().code, Some(0));
    assert_eq!(ids(&Process::serve(&text, &[]).client()).len(), 10);
}

/// A small file system; None where none can be mounted.
struct Small(tempfile::TempDir);

impl Small {
    fn mount(size: &str) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let mounted = mount(&["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"], folder.path());
        if !mounted {
            eprintln!("skipped: no file system can be mounted here");
        }
        mounted.then_some(Self(folder))
    }

    fn grow(&self, size: &str) {
        assert!(mount(&["-o", &format!("remount,size={size}")], self.0.path()));
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

fn mount(arguments: &[&str], folder: &std::path::Path) -> bool {
    Command::new("mount").args(arguments).arg(folder).stderr(std::process::Stdio::null()).status().is_ok_and(|status| status.success())
}

#[test]
fn row_53_on_a_full_disk_serving_goes_on_and_the_rows_come_later() {
    let Some(disk) = Small::mount("1M") else { return };
    let upstream = Upstream::answering(answer("hi"));
    let app = TestApp::start(&settings(&upstream, &disk.0.path().join("s.db").display().to_string()));
    let mut calls = 0;
    let full = |app: &TestApp| app.health()["ledger"]["status"] == "failing";
    while !full(&app) {
        for _ in 0..200 {
            assert_eq!(app.chat("m").status, 200);
        }
        calls += 200;
        assert!(calls < 20_000, "the disk isn't full");
    }
    let health = app.health();
    assert!(health["status"] == "degraded" && health["ledger"]["journal_error"].is_string(), "{health}");
    assert!(app.metric("stagedoor_ledger_queue") > 0.0);
    assert_eq!(app.chat("m").status, 200);
    disk.grow("64M");
    app.until("nothing waits", |app| app.metric("stagedoor_ledger_queue") == 0.0);
    assert_eq!(get(&app, "/admin/usage").json()["total"]["requests"], calls + 1);
    assert_eq!(app.metric("stagedoor_ledger_lost_total"), 0.0);
}

#[test]
fn rows_older_than_the_retention_are_deleted_while_it_serves() {
    let upstream = Upstream::answering(answer("hi"));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s.db");
    let now = stagedoor::clock::Clock::start().wall();
    actix_rt::System::new().block_on(async {
        let store = Store::open(&Keep::Sqlite(path.clone())).await.unwrap().unwrap();
        let old = (0..2_500).map(|n| {
            let at = now - Duration::from_secs(100 * 86_400 + n);
            let id = request_id(at, &mut stagedoor::clock::seeded_rng());
            Row::Request(Box::new(Entry { id, time_us: at.as_micros() as u64, model: "m".into(), status: 200, ..Entry::default() }))
        });
        store.write(old.collect::<Vec<_>>(), false).await.unwrap();
        store.close().await;
    });
    let app = TestApp::start(&settings(&upstream, &path.display().to_string()).replace("[store]\n", "[store]\nretention = \"99d\"\n"));
    app.chat("m");
    assert_eq!(get(&app, "/admin/usage?since=2000-01-01").json()["total"]["requests"], 2_501);
    app.until("the old ones are gone", |app| get(app, "/admin/usage?since=2000-01-01").json()["total"]["requests"] == 1);
    app.until("their rows too", |app| rows(app, "").len() == 1);
}
