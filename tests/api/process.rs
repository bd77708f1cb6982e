//! The real binary: what it says when it can't run, how it stops, what it writes to its log.

use std::io::Write;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use super::support::faults::provider_at;
use super::support::{
    Client, Process, STREAM_END, STREAM_HEAD, Upstream, answer, chat_body, chat_bytes, chunk, event, read_rest, read_until, status,
    stream_body,
};

fn settings(upstream: &Upstream, more: &str) -> String {
    format!("{more}\n{}[models.m]\ntargets = [{{ provider = \"p\", model = \"up\" }}]\n", provider_at("p", &upstream.url(), ""))
}

#[test]
fn a_used_port_is_one_clear_line() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let upstream = Upstream::answering(answer("hi"));
    let ended =
        Process::with_settings("serve", &settings(&upstream, ""), &[("STAGEDOOR__SERVER__PORT", &port), ("STAGEDOOR_LOG", "error")])
            .finish();
    assert_eq!(ended.code, Some(3));
    assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
    assert!(ended.stderr.contains(&format!("127.0.0.1:{port}")) && ended.stderr.contains("server.port"), "{}", ended.stderr);
    assert!(!ended.stderr.contains("panicked") && !ended.stderr.contains("backtrace"));
}

#[test]
fn wrong_settings_are_told_all_at_once() {
    let wrong = "[server]\nprot = 1\n[retry]\nattempts = 0\n[models.m]\ntargets = [{ provider = \"nobody\", model = \"x\" }]\n";
    for (verb, code) in [("check", 1), ("serve", 3)] {
        let ended = Process::with_settings(verb, wrong, &[]).finish();
        assert_eq!(ended.code, Some(code), "{verb}");
        for part in ["server.prot", "did you mean `port`", "retry.attempts", "models.m.targets[0].provider", "settings.toml"] {
            assert!(ended.stderr.contains(part), "{part} in {}", ended.stderr);
        }
        assert!(!ended.stderr.contains("panicked"));
    }
    let missing = Process::run(&["check", "--settings", "nowhere.toml"], &[], |_| {}).finish();
    assert!(missing.code == Some(1) && missing.stderr.contains("nowhere.toml"), "{}", missing.stderr);
    let misused = Process::run(&["sreve"], &[], |_| {}).finish();
    assert_eq!(misused.code, Some(2));
}

#[test]
fn check_says_ok_and_what_has_no_effect_yet() {
    let upstream = Upstream::answering(answer("hi"));
    let other = "[providers.q]\ndialect = \"openai\"\nbase_url = \"http://127.0.0.1:9/v1\"\nkeys = []\nhttp2 = true\n";
    let ended = Process::with_settings("check", &settings(&upstream, other), &[]).finish();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(ended.stdout.contains("no effect yet: providers.q.http2") && ended.stdout.contains("ok: 1 models"), "{}", ended.stdout);
    let json = Process::run(&["check", "--json"], &[], |_| {}).finish();
    let told: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!((told["ok"].as_bool(), told["rehearsing"].as_bool(), told["models"].as_array().unwrap().len()), (Some(true), Some(true), 7));
}

#[test]
fn with_no_key_the_rehearsal_answers_and_says_so() {
    let process = Process::run(&[], &[("STAGEDOOR__SERVER__PORT", "0")], |_| {});
    let banner = process.stdout.until("the banner", |text| text.contains("health:"));
    assert!(banner.contains("rehearsal") && banner.contains("OPENAI_API_KEY") && banner.contains("curl http://127.0.0.1:"), "{banner}");
    let reply = process.client().post("/v1/chat/completions", &[], &chat_body("gpt-4o"));
    assert_eq!((reply.status, reply.header("x-stagedoor-provider")), (200, Some("rehearsal")));
    assert!(reply.content().contains("rehearsal"), "{}", reply.content());
    let streamed = process.client().post("/v1/chat/completions", &[], &stream_body("claude-sonnet"));
    assert_eq!((streamed.terminals(), streamed.words().contains("rehearsal")), (1, true));
}

#[test]
fn what_a_switch_or_a_time_can_do_nothing_for_is_said() {
    let text = "[store]\nledger = \"off\"\n[providers.p]\ndialect = \"openai\"\nbase_url = \"http://127.0.0.1:9/v1\"\nkeys = []\n\
                [models.m]\ntargets = [{ provider = \"p\", model = \"up\" }]\n";
    let line = |args: &[&str]| {
        let args: Vec<&str> = args.iter().copied().chain(["--settings", "s.toml"]).collect();
        Process::run(&args, &[], |folder| std::fs::write(folder.join("s.toml"), text).unwrap()).finish()
    };
    for args in [&["usage"][..], &["tune", "--since", "1d"]] {
        let told = line(args);
        assert!(told.stderr.contains("store.ledger = \"off\""), "{args:?}: {told:?}");
    }
    let ahead = line(&["usage", "--since", "2999-01-01"]);
    assert!(ahead.code == Some(2) && ahead.stderr.contains("a time to come"), "{ahead:?}");
    let unread = line(&["prices", "update", "nothing.json"]);
    assert!(unread.stderr.contains("--settings s.toml has no effect"), "{unread:?}");
}

#[test]
fn the_banner_says_when_the_network_reaches_it_and_how_to_try_it_from_here() {
    let upstream = Upstream::answering(answer("hi"));
    let open = "[server]\nhost = \"0.0.0.0\"\n[[auth.keys]]\nkey = { value = \"sk-test-of-the-banner-0001\" }\n";
    let process = Process::serve(&settings(&upstream, open), &[]);
    let banner = process.stdout.until("the banner", |text| text.contains("health:"));
    assert!(banner.contains("listens on http://0.0.0.0:") && banner.contains("every IPv4 address of this machine"), "{banner}");
    assert!(banner.contains("curl http://127.0.0.1:") && banner.contains("health: http://127.0.0.1:"), "{banner}");
    let loopback = Process::serve(&settings(&upstream, ""), &[]);
    let banner = loopback.stdout.until("the banner", |text| text.contains("health:"));
    assert!(banner.contains("listens on http://127.0.0.1:") && !banner.contains("every"), "{banner}");
}

#[test]
fn a_dotenv_file_sets_keys_and_overrides_without_entering_the_environment() {
    let upstream = Upstream::answering(answer("hi"));
    let text = settings(&upstream, "").replace("keys = []", "keys = [{ env = \"POOL_KEY\" }]");
    let process = Process::run(&["serve", "--settings", "s.toml"], &[], |folder| {
        std::fs::write(folder.join("s.toml"), &text).unwrap();
        std::fs::write(folder.join(".env"), "POOL_KEY=sk-from-dotenv\nSTAGEDOOR__SERVER__PORT=0\n").unwrap();
    });
    assert_eq!(process.client().post("/v1/chat/completions", &[], &chat_body("m")).status, 200);
    assert_eq!(upstream.calls()[0].header("authorization").as_deref(), Some("Bearer sk-from-dotenv"));
}

/// An upstream whose stream says a word and then waits until it is told to end.
fn held(release: std::sync::mpsc::Receiver<()>) -> Upstream {
    let release = std::sync::Mutex::new(release);
    Upstream::start(move |_, stream| {
        let _ = stream.write_all(format!("{STREAM_HEAD}{}", chunk(&event("begun "))).as_bytes());
        let _ = release.lock().unwrap().recv_timeout(Duration::from_secs(20));
        stream.write_all(format!("{}{}0\r\n\r\n", chunk(&event("ended")), chunk(STREAM_END)).as_bytes()).is_ok()
    })
}

fn ready(client: Client) -> u16 {
    client.get("/health/ready").status
}

#[test]
fn row_52_sigterm_lets_live_streams_finish_and_takes_no_new_ones() {
    let (release, held_back) = std::sync::mpsc::channel();
    let upstream = held(held_back);
    let process = Process::serve(&settings(&upstream, "[server]\nshutdown_grace = \"15s\"\n"), &[]);
    let client = process.client();
    let mut live = client.connect();
    live.write_all(&chat_bytes(&[], &stream_body("m"))).unwrap();
    read_until(&mut live, "begun");
    assert_eq!(ready(client), 200);
    process.signal("TERM");
    process.stderr.until("the drain", |log| log.contains("draining"));
    assert_eq!(ready(client), 503, "not ready first");
    assert_eq!(client.get("/health/live").status, 200);
    let refused = client.post("/v1/chat/completions", &[], &chat_body("m"));
    assert_eq!((refused.status, refused.code().as_str(), refused.header("x-should-retry")), (503, "shutting_down", Some("true")));
    assert!(refused.header("retry-after").is_some());
    release.send(()).unwrap();
    let rest = read_rest(&mut live);
    assert!(rest.contains("ended") && rest.contains("[DONE]"), "{rest}");
    assert_eq!(process.finish().code, Some(0));
}

#[test]
fn row_52_what_outlasts_the_grace_ends_with_an_error_event() {
    let (_release, held_back) = std::sync::mpsc::channel();
    let upstream = held(held_back);
    let process = Process::serve(&settings(&upstream, "[server]\nshutdown_grace = \"300ms\"\n"), &[]);
    let mut live = process.client().connect();
    live.write_all(&chat_bytes(&[], &stream_body("m"))).unwrap();
    read_until(&mut live, "begun");
    process.signal("TERM");
    let rest = read_rest(&mut live);
    assert!(rest.contains("\"error\"") && rest.contains("shutting down") && !rest.contains("[DONE]"), "{rest}");
    assert_eq!(process.finish().code, Some(0));
}

#[test]
fn a_second_interrupt_stops_at_once() {
    let (_release, held_back) = std::sync::mpsc::channel();
    let upstream = held(held_back);
    let process = Process::serve(&settings(&upstream, ""), &[]);
    let mut live = process.client().connect();
    live.write_all(&chat_bytes(&[], &stream_body("m"))).unwrap();
    read_until(&mut live, "begun");
    let begun = Instant::now();
    process.signal("INT");
    process.stderr.until("the drain", |log| log.contains("draining"));
    process.signal("INT");
    process.finish();
    assert!(begun.elapsed() < Duration::from_secs(5));
}

#[test]
fn the_log_has_a_line_per_request_and_attempt_and_never_a_secret() {
    let canaries =
        ["canary-prompt-1", "sk-canary-pool-2", "sk-canary-caller-000000000003", "canary-cookie-4", "canary-answer-5", "canary-upstream-6"];
    let failing = Upstream::answering(status(500, "canary-upstream-6", "set-cookie: canary-upstream-6\r\n"));
    let serving = Upstream::answering(answer(canaries[4]));
    let text = format!(
        "[telemetry]\nlog = \"json\"\n[[auth.keys]]\nname = \"app\"\nkey = {{ value = \"{}\" }}\n[retry]\nbackoff = \"1ms\"\nsame_target = 0\n{}{}\
         [models.m]\nstrategy = \"ordered\"\ntargets = [{{ provider = \"p\", model = \"a\" }}, {{ provider = \"q\", model = \"b\" }}]\n",
        canaries[2],
        provider_at("p", &failing.url(), "").replace("keys = []", "keys = [{ value = \"sk-canary-pool-2\" }]"),
        serving.provider("q")
    );
    let process = Process::serve(&text, &[("STAGEDOOR_LOG", "trace,h2=off")]);
    let client = process.client();
    let key = format!("Bearer {}", canaries[2]);
    let headers = [("authorization", key.as_str()), ("cookie", canaries[3]), ("x-request-id", "req-42")];
    let body = r#"{"model":"m","messages":[{"role":"user","content":"canary-prompt-1"}]}"#;
    assert_eq!(client.post("/v1/chat/completions", &headers, body).content(), canaries[4]);
    assert_eq!(client.post("/v1/chat/completions", &[("authorization", "Bearer sk-canary-wrong")], body).status, 401);
    // An attempt's line comes with its report to the provider's actor, a moment after the request's.
    let log =
        process.stderr.until("the lines", |log| log.matches("\"message\":\"attempt\"").count() == 2 && log.contains("request refused"));
    let lines: Vec<serde_json::Value> = log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let of = |message: &str| {
        lines.iter().filter(|line| line["message"] == message && line["request_id"] == "req-42").cloned().collect::<Vec<_>>()
    };
    let (attempts, requests) = (of("attempt"), of("request"));
    assert_eq!((attempts.len(), requests.len()), (2, 1), "{log}");
    assert_eq!((&attempts[0]["provider"], &attempts[0]["outcome"]), (&"p".into(), &"transient".into()));
    assert_eq!((&attempts[1]["upstream_model"], &attempts[1]["outcome"]), (&"b".into(), &"ok".into()));
    let request = &requests[0];
    assert_eq!((&request["key"], &request["status"], &request["attempts"]), (&"app".into(), &200.into(), &2.into()));
    assert!(request["latency_ms"].is_u64() && request["model"].as_str().unwrap().contains('m'), "{request}");
    let pages = ["/health", "/metrics", "/v1/route?model=m", "/v1/models"]
        .map(|path| client.call("GET", path, &[("authorization", &key)], "").text());
    for canary in canaries.iter().chain(&["sk-canary-wrong"]) {
        assert!(!log.contains(canary), "{canary} in the log");
        assert!(pages.iter().all(|page| !page.contains(canary)), "{canary} in a page");
    }
}

#[test]
fn a_clean_stop_loses_no_line_of_the_record() {
    let upstream = Upstream::answering(answer("hi"));
    let process = Process::serve(&settings(&upstream, "[telemetry]\nlog = \"json\"\n"), &[]);
    for _ in 0..3 {
        assert_eq!(process.client().post("/v1/chat/completions", &[], &chat_body("m")).status, 200);
    }
    process.signal("TERM");
    let ended = process.finish();
    let lines = ended.stderr.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let attempts: Vec<_> = lines.filter(|line| line["message"] == "attempt").collect();
    assert_eq!(attempts.iter().map(|line| line["seq"].as_u64()).collect::<Vec<_>>(), [Some(1), Some(2), Some(3)], "{}", ended.stderr);
    assert_eq!((ended.code, &attempts[0]["state_in"], &attempts[0]["attempt"]), (Some(0), &"normal".into(), &1.into()));
}

#[test]
fn the_simulated_upstream_plays_its_script_behind_a_port() {
    let process = Process::run(&["sim", "--port", "0", "--script", "play.toml"], &[], |folder| {
        std::fs::write(
            folder.join("play.toml"),
            "latency = \"0ms\"\npace = \"0ms\"\ntext = \"as written\"\nfaults = [{ kind = \"status\", status = 503, count = 1 }]\n",
        )
        .unwrap();
    });
    let client = process.client();
    assert_eq!(client.post("/v1/chat/completions", &[], &chat_body("x")).status, 503);
    assert_eq!(client.post("/v1/chat/completions", &[], &chat_body("x")).content(), "as written");
    assert_eq!(client.get("/__sim/stats").json()["calls"], 2);
    assert_eq!(client.post("/__sim/script", &[], r#"{"text":"anew"}"#).status, 204);
    assert_eq!(client.post("/v1/chat/completions", &[], &stream_body("x")).words(), "anew");
    process.signal("TERM");
    assert_eq!(process.finish().code, Some(0));
}
