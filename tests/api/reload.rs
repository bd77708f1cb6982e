//! Settings that change while the gateway serves: by order, by signal, by file. No request fails of it, and a bad file
//! changes nothing.

use std::io::Write;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::support::faults::{SHORT, breaker, closed_port, provider_at};
use super::support::{
    Client, Process, STREAM_END, STREAM_HEAD, TestApp, Upstream, answer, chat_body, chat_bytes, chunk, event, read_rest, read_until, status,
};

/// The model `m`, served by the provider `p` at an upstream.
fn served_by(upstream: &Upstream, more: &str) -> String {
    format!("{more}\n{}[models.m]\ntargets = [{{ provider = \"p\", model = \"up\" }}]\n", upstream.provider("p"))
}

fn changed(app: &TestApp, settings: &str) -> Vec<String> {
    let reply = app.reload(settings);
    assert_eq!(reply.status, 200, "{}", reply.text());
    reply.json()["changed"].as_array().unwrap().iter().map(|path| path.as_str().unwrap().to_owned()).collect()
}

fn reloads(app: &TestApp, result: &str) -> f64 {
    app.metric(&format!("stagedoor_reloads_total{{result=\"{result}\"}}"))
}

#[test]
fn routes_change_at_once_and_the_answer_names_what_did() {
    let (one, two) = (Upstream::answering(answer("one")), Upstream::answering(answer("two")));
    let app = TestApp::administered(&served_by(&one, SHORT));
    assert_eq!(app.chat("m").content(), "one");
    let settings = served_by(&one, SHORT).replace("provider = \"p\"", "provider = \"q\"") + &two.provider("q");
    let more = format!("{settings}[models.n]\ntargets = [{{ provider = \"p\", model = \"up\" }}]\n");
    assert_eq!(changed(&app, &more), ["models.m.targets[0].provider", "models.n", "providers.q"]);
    assert_eq!((app.chat("m").content().as_str(), app.chat("n").content().as_str()), ("two", "one"));
    assert_eq!(app.health()["providers"].as_object().unwrap().keys().collect::<Vec<_>>(), ["p", "q"]);
    // What is new has its series at once, and what went keeps its counts.
    let page = app.client().get("/metrics").text();
    assert!(page.contains("stagedoor_breaker_state{provider=\"q\",model=\"up\"} 0"), "{page}");
    assert!(page.contains("stagedoor_attempts_total{provider=\"q\",model=\"up\",outcome=\"transient\"} 0"), "{page}");
    let alone = served_by(&two, SHORT).replace("\"p\"", "\"q\"").replace("providers.p", "providers.q");
    assert_eq!(changed(&app, &alone), ["models.n", "providers.p"]);
    assert_eq!((app.chat("m").content().as_str(), app.chat("n").status), ("two", 404));
    let page = app.client().get("/metrics").text();
    assert!(!page.contains("stagedoor_breaker_state{provider=\"p\""), "{page}");
    assert!(page.contains("stagedoor_attempts_total{provider=\"p\",model=\"up\",outcome=\"ok\"} 2"), "{page}");
    assert!(app.health()["providers"].as_object().unwrap().keys().eq(["q"]));
    assert_eq!((changed(&app, &alone), reloads(&app, "ok")), (vec![], 3.0));
}

#[test]
fn row_59_a_bad_file_changes_nothing_and_every_mistake_is_told() {
    let upstream = Upstream::answering(answer("hi"));
    let good = served_by(&upstream, SHORT);
    let app = TestApp::administered(&good);
    let bad = format!("{good}[retry.x]\n[breaker]\nopen_for = \"never\"\nconsecutive_failures = 0\n").replace("[retry]", "[rtry]");
    let reply = app.reload(&bad);
    assert_eq!(reply.status, 422, "{}", reply.text());
    let errors = reply.json()["errors"].as_array().unwrap().clone();
    let paths: Vec<_> = errors.iter().map(|error| error["path"].as_str().unwrap()).collect();
    for path in ["breaker.consecutive_failures", "breaker.open_for", "rtry"] {
        assert!(paths.contains(&path), "{paths:?}");
    }
    assert!(errors.iter().all(|e| e["file"].as_str().unwrap().ends_with("settings.toml") && !e["message"].as_str().unwrap().is_empty()));
    assert_eq!((app.chat("m").content().as_str(), app.client().get("/health").status), ("hi", 200));
    assert_eq!((reloads(&app, "error"), reloads(&app, "ok")), (1.0, 0.0));
    // Nor does one that isn't TOML, or one whose provider can't be used.
    let torn = app.reload("[providers.p\nkeys = \"sk-planted-secret\"");
    assert_eq!(torn.status, 422);
    assert!(!torn.text().contains("planted"), "{}", torn.text());
    let unusable = good.replace("keys = []", "keys = []\nca_file = \"ca.pem\"");
    app.write("ca.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    let refused = app.reload(&unusable);
    assert_eq!((refused.status, refused.json()["errors"][0]["path"].as_str()), (422, Some("providers.p")), "{}", refused.text());
    assert_eq!(app.chat("m").content(), "hi");
    // And the next good one is taken.
    assert_eq!(changed(&app, &good.replace("[retry]", "[retry]\nattempts = 2")), ["retry.attempts"]);
}

#[test]
fn row_59_a_stream_ends_on_the_settings_it_began_with() {
    let (release, held) = channel::<()>();
    let held = Mutex::new(held);
    let slow = Upstream::start(move |_, stream| {
        stream.write_all(format!("{STREAM_HEAD}{}", chunk(&event("first"))).as_bytes()).unwrap();
        let _ = held.lock().unwrap().recv_timeout(Duration::from_secs(20));
        stream.write_all(format!("{}{}0\r\n\r\n", chunk(&event("last")), chunk(STREAM_END)).as_bytes()).is_ok()
    });
    let other = Upstream::answering(answer("other"));
    let app = TestApp::administered(&served_by(&slow, ""));
    let mut caller = app.client().connect();
    caller.write_all(&chat_bytes(&[("connection", "close")], &super::support::stream_body("m"))).unwrap();
    read_until(&mut caller, "first");
    // Its provider goes, and with it its model's only target.
    changed(&app, &served_by(&other, "").replace("\"p\"", "\"q\"").replace("providers.p", "providers.q"));
    assert_eq!(app.chat("m").content(), "other");
    assert_eq!(app.metric("stagedoor_attempts_total{provider=\"p\",model=\"up\",outcome=\"ok\"}"), 0.0);
    release.send(()).unwrap();
    let rest = read_rest(&mut caller);
    assert!(rest.contains("last") && rest.contains("[DONE]"), "{rest}");
    assert_eq!(app.metric("stagedoor_attempts_total{provider=\"p\",model=\"up\",outcome=\"ok\"}"), 1.0);
    assert_eq!(app.metric("stagedoor_dropped_reports_total"), 0.0);
}

#[test]
fn a_breaker_keeps_its_state_and_its_thresholds_are_others_at_once() {
    let port = closed_port();
    let settings = |breaker: &str| {
        let p = provider_at("p", &format!("http://{port}/v1"), "");
        format!("{SHORT}same_target = 0\n[breaker]\nramp = \"0s\"\n{breaker}\n{p}[models.m]\ntargets = [{{ provider = \"p\", model = \"up\" }}]\n")
            .replace("[stream]\nrecovery = \"error\"\nsame_target = 0\n", "[stream]\nrecovery = \"error\"\n")
            .replace("[retry]", "[retry]\nsame_target = 0")
    };
    let app = TestApp::administered(&settings("consecutive_failures = 2\nopen_for = \"1h\"\nopen_for_max = \"1h\""));
    for _ in 0..2 {
        assert_eq!(app.chat("m").status, 502);
    }
    assert_eq!(breaker(&app), "open");
    let more = settings("consecutive_failures = 2\nopen_for = \"1h\"\nopen_for_max = \"1h\"\nwhen_all_open = \"refuse\"");
    assert_eq!(changed(&app, &more), ["breaker.when_all_open"]);
    let health = app.health();
    assert_eq!((breaker(&app).as_str(), app.chat("m").status), ("open", 503), "{health}");
    // Reset by taking the order of the operator; then one failure is enough under the new threshold.
    app.admin("/admin/breakers/p", "{\"action\":\"reset\"}");
    assert_eq!(breaker(&app), "closed");
    changed(&app, &settings("consecutive_failures = 1\nopen_for = \"1h\"\nopen_for_max = \"1h\""));
    assert_eq!((app.chat("m").status, breaker(&app).as_str()), (502, "open"));
}

#[test]
fn keys_come_go_and_rotate_by_name_and_a_refused_one_is_tried_again() {
    let upstream = Upstream::by(|call| match call.header("authorization").as_deref() {
        Some("Bearer sk-old") => status(401, "invalid_api_key", ""),
        Some(key) => answer(key),
        None => answer("none"),
    });
    let settings = |keys: &str| {
        let provider = upstream.provider("p").replace("keys = []", &format!("keys = [{keys}]"));
        format!("{SHORT}{provider}[models.m]\ntargets = [{{ provider = \"p\", model = \"up\" }}]\n")
    };
    let app = TestApp::administered(&settings("{ value = \"sk-old\", name = \"a\" }"));
    assert_ne!(app.chat("m").status, 200);
    assert_eq!(app.health()["providers"]["p"]["keys"][0]["status"], "disabled");
    // Rotated: the same name with another secret is asked at once.
    assert_eq!(changed(&app, &settings("{ value = \"sk-new\", name = \"a\" }")), ["providers.p.keys[0].value"]);
    assert_eq!(
        (app.chat("m").content().as_str(), app.health()["providers"]["p"]["keys"][0]["status"].as_str()),
        ("Bearer sk-new", Some("active"))
    );
    // Another comes in front of it.
    changed(&app, &settings("{ value = \"sk-b\", name = \"b\" }, { value = \"sk-new\", name = \"a\" }"));
    let said: std::collections::BTreeSet<_> = (0..40).map(|_| app.chat("m").content()).collect();
    assert_eq!(said, ["Bearer sk-b", "Bearer sk-new"].map(str::to_owned).into());
    // The first goes.
    changed(&app, &settings("{ value = \"sk-b\", name = \"b\" }"));
    assert_eq!(app.chat("m").content(), "Bearer sk-b");
    assert_eq!(app.health()["providers"]["p"]["keys"].as_array().unwrap().len(), 1);
    // And none is sent any more.
    changed(&app, &settings(""));
    assert_eq!(app.chat("m").content(), "none");
}

#[test]
fn a_model_that_was_missing_is_asked_again() {
    let there = Arc::new(AtomicBool::new(false));
    let upstream = {
        let there = Arc::clone(&there);
        Upstream::by(move |_| if there.load(Ordering::SeqCst) { answer("hi") } else { status(404, "model_not_found", "") })
    };
    let app = TestApp::administered(&served_by(&upstream, SHORT));
    assert_eq!(app.chat("m").status, 404);
    app.until("it is disabled", |app| app.health()["providers"]["p"]["status"] == "disabled");
    assert_eq!((app.chat("m").status, upstream.count()), (404, 1));
    there.store(true, Ordering::SeqCst);
    changed(&app, &served_by(&upstream, SHORT));
    assert_eq!(app.chat("m").content(), "hi");
}

#[test]
fn connections_outlive_a_reload_that_is_not_about_them() {
    let upstream = Upstream::answering(answer("hi"));
    let one_worker = "[server]\nworkers = 1\n";
    let app = TestApp::administered(&served_by(&upstream, one_worker));
    assert_eq!((app.chat("m").status, upstream.connections()), (200, 1));
    changed(&app, &served_by(&upstream, &format!("{one_worker}[breaker]\nopen_for = \"3s\"\n[retry]\nattempts = 2\n")));
    assert_eq!((app.chat("m").status, upstream.connections()), (200, 1));
    // Another key is another header on the same connection.
    let keyed = served_by(&upstream, one_worker).replace("keys = []", "keys = [{ value = \"sk-one\" }]");
    changed(&app, &keyed);
    assert_eq!((app.chat("m").status, upstream.connections()), (200, 1));
    assert_eq!(upstream.calls()[2].header("authorization").as_deref(), Some("Bearer sk-one"));
    changed(&app, &served_by(&upstream, &format!("{one_worker}[timeouts]\nconnect = \"1s\"\n")));
    assert_eq!((app.chat("m").status, upstream.connections()), (200, 2), "another connect time is another connector");
}

#[test]
fn callers_keys_and_limits_change_at_once() {
    const KEY: &str = "sk-caller-0123456789abcdef0123";
    let upstream = Upstream::answering(answer("hi"));
    let app = TestApp::administered(&served_by(&upstream, ""));
    assert_eq!(app.chat("m").status, 200);
    let keyed = format!("[server]\nmax_body = \"100B\"\n[[auth.keys]]\nname = \"app\"\nkey = {{ value = \"{KEY}\" }}\n");
    let now = changed(&app, &served_by(&upstream, &keyed));
    assert_eq!(now, ["auth.keys", "server.max_body"]);
    assert_eq!(app.chat("m").status, 401);
    let ask = |size: usize| {
        let body = chat_body("m").replace("Hello", &"x".repeat(size));
        app.client().post("/v1/chat/completions", &[("authorization", &format!("Bearer {KEY}"))], &body).status
    };
    assert_eq!((ask(5), ask(200)), (200, 413));
}

#[test]
fn what_is_read_at_a_start_only_is_said_to_wait() {
    let upstream = Upstream::answering(answer("hi"));
    let app = TestApp::administered(&served_by(&upstream, ""));
    let reply = app.reload(&served_by(&upstream, "[server]\nworkers = 3\n[telemetry]\nlog = \"json\"\n"));
    let told = reply.json();
    assert_eq!(told["changed"], serde_json::json!(["server.workers", "telemetry.log"]));
    assert_eq!(told["needs_restart"], told["changed"]);
    let again = app.reload(&served_by(&upstream, "[server]\nworkers = 3\n[retry]\nattempts = 2\n")).json();
    assert_eq!(again["changed"], serde_json::json!(["retry.attempts", "telemetry.log"]));
    assert_eq!(again["needs_restart"], serde_json::json!(["server.workers"]), "it still waits");
    assert_eq!(app.reload(&served_by(&upstream, "")).json().get("needs_restart"), None);
}

#[test]
fn a_file_that_changes_is_read_without_being_told() {
    let (one, two) = (Upstream::answering(answer("one")), Upstream::answering(answer("two")));
    let app = TestApp::administered(&served_by(&one, SHORT));
    assert_eq!(app.chat("m").content(), "one");
    app.write("settings.toml", &served_by(&two, SHORT));
    app.until("the new file is in force", |app| app.chat("m").content() == "two");
    app.write("settings.toml", "[models.m\n");
    app.until("the bad file was read", |app| reloads(app, "error") == 1.0);
    assert_eq!((app.chat("m").content().as_str(), app.client().get("/health").status), ("two", 200));
    app.write("settings.toml", &served_by(&one, SHORT));
    app.until("the next good one is in force", |app| app.chat("m").content() == "one");
    // Written again with the same content, and a file that is none of the settings': no news.
    let before = (reloads(&app, "ok"), reloads(&app, "error"));
    app.write("settings.toml", &served_by(&one, SHORT));
    app.write("other.txt", "x");
    app.write(".env", "POOL_KEY=sk-from-dotenv\n");
    app.until("the new .env was read", |app| reloads(app, "ok") > before.0);
    assert_eq!((reloads(&app, "ok"), reloads(&app, "error")), (before.0 + 1.0, before.1));
}

#[test]
fn a_mounted_volume_whose_link_is_swapped_is_read() {
    let (one, two) = (Upstream::answering(answer("one")), Upstream::answering(answer("two")));
    let process = Process::run(&["serve", "--settings", "volume/s.toml"], &[("STAGEDOOR__SERVER__PORT", "0")], |folder| {
        let volume = folder.join("volume");
        for (version, upstream) in [("..1", &one), ("..2", &two)] {
            std::fs::create_dir_all(volume.join(version)).unwrap();
            std::fs::write(volume.join(version).join("s.toml"), served_by(upstream, SHORT)).unwrap();
        }
        std::os::unix::fs::symlink("..1", volume.join("..data")).unwrap();
        std::os::unix::fs::symlink("..data/s.toml", volume.join("s.toml")).unwrap();
    });
    let said = || process.client().post("/v1/chat/completions", &[], &chat_body("m")).content_or_empty();
    assert_eq!(said(), "one");
    let volume = process.folder().join("volume");
    std::os::unix::fs::symlink("..2", volume.join("..data_tmp")).unwrap();
    std::fs::rename(volume.join("..data_tmp"), volume.join("..data")).unwrap();
    process.stderr.until("the reload", |text| text.contains("settings reloaded"));
    assert_eq!(said(), "two");
}

#[test]
fn a_settings_folder_that_comes_later_is_found() {
    let upstream = Upstream::answering(answer("hi"));
    let process = Process::run(&["serve"], &[("STAGEDOOR__SERVER__PORT", "0")], |_| {});
    let said = || process.client().post("/v1/chat/completions", &[], &chat_body("m"));
    assert_eq!(said().status, 404);
    std::fs::create_dir(process.folder().join("settings")).unwrap();
    process.write("settings/local.toml", &served_by(&upstream, ""));
    process.stderr.until("the reload", |text| text.contains("settings reloaded"));
    assert_eq!(said().content_or_empty(), "hi");
    // One that goes and comes again is another folder, and is watched again.
    let other = Upstream::answering(answer("other"));
    std::fs::remove_dir_all(process.folder().join("settings")).unwrap();
    std::fs::create_dir(process.folder().join("settings")).unwrap();
    process.stderr.until("the reload without it", |text| text.matches("settings reloaded").count() == 2);
    process.write("settings/local.toml", &served_by(&other, ""));
    process.stderr.until("the reload with it", |text| text.matches("settings reloaded").count() == 3);
    assert_eq!(said().content_or_empty(), "other");
}

#[test]
fn a_secret_that_is_rotated_in_its_file_or_in_dotenv_is_sent() {
    let upstream = Upstream::by(|call| answer(&call.header("authorization").unwrap_or_default()));
    for (reference, file, written) in [
        ("file = \"key.txt\"", "key.txt", ["sk-one\n", "sk-two\n"]),
        ("env = \"POOL_KEY\"", ".env", ["POOL_KEY=sk-one\n", "POOL_KEY=sk-two\n"]),
    ] {
        let keyed = served_by(&upstream, "").replace("keys = []", &format!("keys = [{{ {reference} }}]"));
        let app = TestApp::administered(&served_by(&upstream, ""));
        app.write(file, written[0]);
        changed(&app, &keyed);
        assert_eq!(app.chat("m").content(), "Bearer sk-one");
        app.write(file, written[1]);
        app.until("the other secret is sent", |app| app.chat("m").content() == "Bearer sk-two");
    }
}

#[test]
fn a_gateway_that_stopped_watches_nothing() {
    // Of the process's descriptors; tests beside this one hold a few.
    let watches = || {
        let descriptors = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
        descriptors.filter(|one| std::fs::read_link(one.path()).is_ok_and(|to| to.to_string_lossy().contains("inotify"))).count()
    };
    let upstream = Upstream::answering(answer("hi"));
    let before = watches();
    for _ in 0..30 {
        assert_eq!(TestApp::start(&served_by(&upstream, "")).chat("m").status, 200);
    }
    let end = std::time::Instant::now() + Duration::from_secs(10);
    while watches() >= before + 15 {
        assert!(std::time::Instant::now() < end, "{} watches are left, {before} before", watches());
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_hundred_reloads_under_load_fail_no_request() {
    let upstreams = [0, 1].map(|_| {
        Upstream::by(|call| if call.text().contains(r#""stream":true"#) { super::support::stream(&["h", "i"]) } else { answer("hi") })
    });
    let settings = |round: usize| {
        let target = |name: &str| format!("{{ provider = \"{name}\", model = \"up\" }}");
        let both = format!("{}, {}", target("p"), target("q"));
        // Providers come and go, keys and thresholds change.
        let (targets, second) = if round.is_multiple_of(3) { (target("p"), String::new()) } else { (both, upstreams[1].provider("q")) };
        let keys = format!("keys = [{{ value = \"sk-{round}\", name = \"k{}\" }}]", round % 4);
        let first = upstreams[0].provider("p").replace("keys = []", &keys);
        format!("[breaker]\nopen_for = \"{}ms\"\n{first}{second}[models.m]\ntargets = [{targets}]\n", round + 1_000)
    };
    let app = TestApp::administered(&settings(0));
    let (over, asked) = (AtomicBool::new(false), AtomicUsize::new(0));
    let client = app.client();
    std::thread::scope(|scope| {
        let callers: Vec<_> = (0..4)
            .map(|caller| {
                let (over, asked) = (&over, &asked);
                scope.spawn(move || {
                    let mut failed = Vec::new();
                    while !over.load(Ordering::Relaxed) {
                        asked.fetch_add(1, Ordering::Relaxed);
                        let stream = caller % 2 == 1;
                        let body = if stream { super::support::stream_body("m") } else { chat_body("m") };
                        let reply = client.post("/v1/chat/completions", &[], &body);
                        let good = reply.status == 200 && reply.whole && (!stream || reply.terminals() == 1);
                        if !good {
                            failed.push(reply.text());
                        }
                    }
                    failed
                })
            })
            .collect();
        // Judged once the callers have ended: a panic here would leave them calling for ever.
        let replies: Vec<_> = (1..=100).map(|round| app.reload(&settings(round))).collect();
        over.store(true, Ordering::Relaxed);
        for reply in replies {
            assert_eq!(reply.status, 200, "{}", reply.text());
        }
        for caller in callers {
            assert_eq!(caller.join().unwrap(), Vec::<String>::new());
        }
    });
    let asked = asked.into_inner();
    assert!(asked >= 100, "{asked}");
    assert!(reloads(&app, "ok") >= 100.0);
    for outcome in ["transient", "abandoned", "key_fault"] {
        assert_eq!(app.metric(&format!("stagedoor_attempts_total{{provider=\"p\",model=\"up\",outcome=\"{outcome}\"}}")), 0.0);
    }
    app.until("no call in flight", |app| app.metric("stagedoor_in_flight{provider=\"p\"}") == 0.0);
    println!("{asked} requests over 100 reloads, 0 failed");
}

#[test]
fn sighup_reads_the_settings_again_and_the_log_says_what_came_of_it() {
    let (one, two) = (Upstream::answering(answer("one")), Upstream::answering(answer("two")));
    let process = Process::serve(&served_by(&one, SHORT), &[]);
    let said = |client: &Client| client.post("/v1/chat/completions", &[], &chat_body("m")).content_or_empty();
    let client = process.client();
    assert_eq!(said(&client), "one");
    process.write("settings.toml", &served_by(&two, SHORT));
    process.signal("HUP");
    process.stderr.until("the reload", |text| text.contains("settings reloaded") && text.contains("providers.p.base_url"));
    assert_eq!(said(&client), "two");
    process.write("settings.toml", &served_by(&one, SHORT).replace("[retry]", "[retry]\nattemps = 1"));
    process.signal("HUP");
    let log = process.stderr.until("the mistake", |text| text.contains("settings not reloaded"));
    let line = log.lines().find(|line| line.contains("settings not reloaded")).unwrap();
    assert!(
        line.contains("ERROR") && line.contains("settings.toml") && line.contains("retry.attemps") && line.contains("did you mean"),
        "{line}"
    );
    assert_eq!((said(&client).as_str(), client.get("/health").status), ("two", 200));
    // Not a terminal: no key is shown, and the plane is shut.
    assert!(!process.stdout.text().contains("admin key"), "{}", process.stdout.text());
    assert_eq!(client.post("/admin/reload", &[], "").code(), "admin_key_unset");
}
