//! The log as its reader sees it, of the real binary: bodies only where they are wanted and never with a credential, a line for what
//! was slow, and a flood that is bounded and told of.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::support::faults::closed_port;
use super::support::{Process, Upstream, answer, chat_body, stream, stream_body};

const SECRET: &str = "sk-canary-0123456789abcdefghij";

fn settings(base_url: &str, more: &str) -> String {
    format!(
        "[store]\nurl = \"\"\n[providers.p]\ndialect = \"openai\"\nbase_url = \"{base_url}\"\nkeys = []\n\
         [models.m]\ntargets = [{{ provider = \"p\", model = \"up\" }}]\n{more}"
    )
}

/// The lines so far of this message.
fn lines(process: &Process, message: &str) -> Vec<Value> {
    let text = process.stderr.text();
    let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.filter(|line| line["message"] == message).collect()
}

fn until(process: &Process, message: &str, count: usize) -> Vec<Value> {
    process.stderr.until(message, |text| text.matches(&format!("\"message\":\"{message}\"")).count() >= count);
    lines(process, message)
}

fn saying(body: &str, text: &str) -> String {
    body.replace("Hello", text)
}

#[test]
fn bodies_are_logged_where_that_is_on_in_their_share_and_without_credentials() {
    let upstream =
        Upstream::by(|call| if call.text().contains("\"stream\":true") { stream(&["str", "eamed words"]) } else { answer("whole words") });
    let on = "[telemetry]\nlog = \"json\"\nlog_bodies = true\nlog_bodies_sample = 1.0\n";
    let process = Process::serve(&settings(&upstream.url(), on), &[]);
    let client = process.client();
    let said = format!("my key is {SECRET}, and this long: {}", "x".repeat(100_000));
    assert_eq!(client.post("/v1/chat/completions", &[], &saying(&chat_body("m"), &said)).status, 200);
    assert_eq!(client.post("/v1/chat/completions", &[], &saying(&stream_body("m"), "short")).terminals(), 1);
    let bodies = until(&process, "bodies", 2);
    let text = |line: &Value, name: &str| line[name].as_str().unwrap().to_owned();
    assert!(text(&bodies[0], "asked").contains("my key is [redacted]") && text(&bodies[0], "answered").contains("whole words"));
    assert!(bodies[0]["cut_bytes"].as_u64().unwrap() > 80_000 && text(&bodies[0], "asked").len() < 17_000);
    assert!(text(&bodies[1], "asked").contains("short") && text(&bodies[1], "answered").contains("eamed words"), "{bodies:?}");
    assert!(!process.stderr.text().contains(SECRET));

    for off in ["log_bodies_sample = 1.0\n", "log_bodies = true\nlog_bodies_sample = 0.0\n"] {
        let process =
            Process::serve(&settings(&upstream.url(), &format!("[telemetry]\nlog = \"json\"\n{off}")), &[("STAGEDOOR_LOG", "debug")]);
        assert_eq!(process.client().post("/v1/chat/completions", &[], &saying(&chat_body("m"), "unheard of")).status, 200);
        until(&process, "request", 1);
        assert!(!process.stderr.text().contains("unheard of") && !process.stderr.text().contains("whole words"), "{off}");
    }
}

#[test]
fn a_slow_request_has_a_line_of_its_own_and_a_long_stream_has_none() {
    let upstream = Upstream::start(|call, stream| {
        let slow = call.text().contains("slow");
        std::thread::sleep(Duration::from_millis(if slow { 700 } else { 0 }));
        if !call.text().contains("\"stream\":true") {
            return std::io::Write::write_all(stream, &answer("hi")).is_ok();
        }
        let bytes = super::support::stream(&["one", "two"]);
        let half = bytes.len() / 2;
        let _ = std::io::Write::write_all(stream, &bytes[..half]);
        std::thread::sleep(Duration::from_millis(700));
        std::io::Write::write_all(stream, &bytes[half..]).is_ok()
    });
    let process = Process::serve(&settings(&upstream.url(), "[telemetry]\nlog = \"json\"\nslow_request = \"500ms\"\n"), &[]);
    let client = process.client();
    let ask = |body: &str, text: &str| client.post("/v1/chat/completions", &[], &saying(body, text));
    let quick = ask(&chat_body("m"), "quick");
    assert_eq!((quick.status, ask(&stream_body("m"), "quick").terminals()), (200, 1));
    let slow = [ask(&chat_body("m"), "slow"), ask(&stream_body("m"), "slow")];
    let told = until(&process, "slow request", 2);
    let ids: Vec<_> = told.iter().map(|line| line["request_id"].as_str()).collect();
    assert_eq!(ids, slow.iter().map(|reply| reply.header("x-request-id")).collect::<Vec<_>>());
    assert!(told.iter().all(|line| line["waited_ms"].as_u64().unwrap() >= 500 && line["route"] == "\"p/up\""), "{told:?}");
}

#[test]
fn a_target_that_becomes_slow_and_is_so_no_more_has_a_line_each_time() {
    let upstream = Upstream::by(|_| {
        std::thread::sleep(Duration::from_millis(60));
        stream(&["late"])
    });
    let more = "[breaker]\nslow_call = \"30ms\"\nwindow = \"1s\"\n[telemetry]\nlog = \"json\"\n";
    let process = Process::serve(&settings(&upstream.url(), more), &[]);
    for _ in 0..3 {
        assert_eq!(process.client().post("/v1/chat/completions", &[], &stream_body("m")).words(), "late");
    }
    let slow = until(&process, "target slow: ranked last", 1);
    let said = |name: &str| slow[0][name].clone();
    assert_eq!((said("provider"), said("upstream_model"), said("reason")), ("p".into(), "up".into(), "slow_ratio".into()), "{slow:?}");
    assert_eq!((said("calls"), said("slow")), (3.into(), 3.into()), "{slow:?}");
    // The window empties without a call.
    until(&process, "target no longer ranked as slow", 1);
    assert_eq!(lines(&process, "target slow: ranked last").len(), 1, "once");
}

#[test]
fn ten_thousand_failures_under_a_dead_provider_make_few_lines_and_are_counted() {
    let more = "[retry]\nattempts = 1\n[telemetry]\nlog = \"json\"\n";
    let process = Process::serve(&settings(&format!("http://{}/v1", closed_port()), more), &[]);
    let client = process.client();
    let began = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..2_500 {
                    assert!(client.post("/v1/chat/completions", &[], &chat_body("m")).status >= 500);
                }
            });
        }
    });
    let minutes = began.elapsed().as_secs() as usize / 60 + 1;
    let ended = Instant::now();
    let counted = |name: &str| client.get("/metrics").text().lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<f64>().ok());
    let (mut written, mut suppressed);
    loop {
        let all: u64 =
            lines(&process, "lines like many before them weren't written").iter().filter_map(|line| line["suppressed"].as_u64()).sum();
        (written, suppressed) = (lines(&process, "request").len() as u64, all);
        let attempts = lines(&process, "attempt").len() as u64;
        let told = counted("stagedoor_log_unwritten_lines_total{why=\"flood\"} ").unwrap_or(0.0) as u64;
        // Each request has a line of its own, and those that made a call one more.
        if written + suppressed >= 10_000 && written + attempts + suppressed >= 10_000 && told == suppressed {
            break;
        }
        assert!(ended.elapsed() < Duration::from_secs(40), "{written} written, {suppressed} suppressed, {told} counted");
        std::thread::sleep(Duration::from_millis(100));
    }
    let all = process.stderr.text().lines().count();
    println!("10,000 failures in {:?}: {all} lines, {suppressed} suppressed", ended - began);
    // A thousand a minute of requests' ends, as many of calls', and few besides.
    assert!(written <= 1_000 * (minutes as u64 + 1) && all <= 2_400 * (minutes + 1), "{written} of {all} lines");
}
