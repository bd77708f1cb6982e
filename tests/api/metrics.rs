//! /metrics: what is there from the start, that each thing is counted once, that no caller makes a series. And the heartbeat:
//! what a stream's caller gets while nothing has come yet.

use std::collections::BTreeSet;
use std::io::Write;
use std::sync::Mutex;
use std::sync::mpsc::channel;
use std::time::Duration;

use super::support::faults::{SHORT, alone, closed_port, healthy, provider_at, spared};
use super::support::{STREAM_END, STREAM_HEAD, TestApp, Upstream, answer, chat_bytes, chunk, event, read_rest, read_until, stream_body};

fn page(app: &TestApp) -> String {
    app.client().get("/metrics").text()
}

/// Each series without its value.
fn series(app: &TestApp) -> BTreeSet<String> {
    let lines = page(app);
    lines.lines().filter(|line| !line.starts_with('#')).filter_map(|line| Some(line.rsplit_once(' ')?.0.to_owned())).collect()
}

#[test]
fn each_series_whose_labels_come_from_settings_is_there_from_the_start() {
    let spare = healthy();
    let (app, _other) = spared(&spare.provider("p"), SHORT);
    let there = series(&app);
    let mut wanted: Vec<String> = vec![
        "stagedoor_overhead_seconds_count".into(),
        "stagedoor_overhead_seconds_sum".into(),
        "stagedoor_overhead_seconds_bucket{le=\"+Inf\"}".into(),
        "stagedoor_dropped_reports_total".into(),
        "stagedoor_stale_reuse_total".into(),
    ];
    wanted.extend(
        ["connect", "reset", "status_500", "status_502", "status_503", "rate_limited"]
            .map(|reason| format!("stagedoor_retries_total{{reason=\"{reason}\"}}")),
    );
    for model in ["m", "spare"] {
        wanted.push(format!("stagedoor_request_duration_seconds_count{{model=\"{model}\"}}"));
        for stream in ["true", "false"] {
            wanted.push(format!("stagedoor_requests_total{{model=\"{model}\",status=\"200\",stream=\"{stream}\"}}"));
        }
    }
    for (provider, model) in [("p", "up"), ("spare", "spare")] {
        wanted.push(format!("stagedoor_in_flight{{provider=\"{provider}\"}}"));
        wanted.push(format!("stagedoor_breaker_state{{provider=\"{provider}\",model=\"\"}}"));
        wanted.push(format!("stagedoor_breaker_state{{provider=\"{provider}\",model=\"{model}\"}}"));
        wanted.push(format!("stagedoor_target_slow{{provider=\"{provider}\",model=\"{model}\"}}"));
        wanted.push(format!("stagedoor_time_to_first_token_seconds_count{{provider=\"{provider}\",model=\"{model}\"}}"));
        for (to, reason) in [
            ("open", "consecutive_failures"),
            ("open", "failure_ratio"),
            ("open", "probe_failed"),
            ("half_open", "period_over"),
            ("closed", "probes_succeeded"),
        ] {
            for model in [model, ""] {
                let labels = format!("provider=\"{provider}\",model=\"{model}\",to=\"{to}\",reason=\"{reason}\"");
                wanted.push(format!("stagedoor_breaker_transitions_total{{{labels}}}"));
            }
        }
        for outcome in ["ok", "transient", "rate_limited", "key_fault", "too_long", "caller_fault", "model_missing", "abandoned"] {
            wanted.push(format!("stagedoor_attempts_total{{provider=\"{provider}\",model=\"{model}\",outcome=\"{outcome}\"}}"));
        }
    }
    let missing: Vec<_> = wanted.iter().filter(|name| !there.contains(*name)).collect();
    assert!(missing.is_empty(), "{missing:#?}\n{}", page(&app));
}

#[test]
fn the_page_is_what_a_scraper_reads() {
    let upstream = Upstream::answering(answer("hi"));
    let app = alone(&upstream.provider("p"), SHORT);
    app.chat("m");
    // As Prometheus asks.
    let accept = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,text/plain;version=0.0.4;q=0.4,*/*;q=0.1";
    let reply = app.client().call("GET", "/metrics", &[("accept", accept)], "");
    assert!(reply.header("content-type").unwrap().starts_with("application/openmetrics-text; version=1.0.0"));
    let text = reply.text();
    assert!(text.ends_with("# EOF\n"), "{text}");
    let mut typed = BTreeSet::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            assert!(typed.insert(rest.split(' ').next().unwrap().to_owned()), "typed twice: {line}");
        } else if !line.starts_with('#') {
            let (name, value) = line.rsplit_once(' ').unwrap();
            let family = name.split('{').next().unwrap();
            let known =
                ["", "_total", "_count", "_sum", "_bucket"].iter().any(|end| typed.contains(family.strip_suffix(end).unwrap_or("-")));
            assert!(known && value.parse::<f64>().is_ok(), "{line}");
        }
    }
    let buckets: Vec<f64> = text
        .lines()
        .filter(|line| line.starts_with("stagedoor_request_duration_seconds_bucket{") && line.contains("model=\"m\""))
        .map(|line| line.rsplit(' ').next().unwrap().parse().unwrap())
        .collect();
    assert!(buckets.len() > 5 && buckets.is_sorted() && *buckets.last().unwrap() == 1.0, "{buckets:?}");
}

#[test]
fn a_scraper_that_asks_for_nothing_gets_the_form_that_all_read() {
    let upstream = Upstream::answering(answer("hi"));
    let app = alone(&upstream.provider("p"), SHORT);
    app.chat("m");
    for accept in [&[][..], &[("accept", "*/*")], &[("accept", "text/plain")]] {
        let reply = app.client().call("GET", "/metrics", accept, "");
        assert_eq!(reply.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
        let text = reply.text();
        let mut types = std::collections::BTreeMap::new();
        for line in text.lines() {
            if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) {
                types.insert(name.to_owned(), kind.to_owned());
            } else if !line.starts_with("# HELP ") {
                let family = line.split(['{', ' ']).next().unwrap();
                let ends = ["_bucket", "_sum", "_count"].iter().find_map(|end| types.get(family.strip_suffix(end)?));
                let typed = types.get(family).or(ends.filter(|kind| *kind == "histogram"));
                assert!(typed.is_some(), "a sample of no family: {line}");
            }
        }
        for (name, kind) in [
            ("stagedoor_requests_total", "counter"),
            ("stagedoor_breaker_state", "gauge"),
            ("stagedoor_request_duration_seconds", "histogram"),
        ] {
            assert_eq!(types.get(name).map(String::as_str), Some(kind), "{name}");
        }
    }
}

#[test]
fn a_request_and_its_attempts_are_counted_once_before_its_last_byte() {
    let dead = provider_at("p", &format!("http://{}/v1", closed_port()), "");
    let (app, _spare) = spared(&dead, &SHORT.replace("[retry]", "[retry]\nsame_target = 0"));
    for _ in 0..2 {
        assert_eq!(app.chat("m").status, 200);
        assert_eq!(app.stream("m").terminals(), 1);
    }
    // Nothing is waited for: whoever has the answer finds it counted.
    for (series, count) in [
        ("stagedoor_requests_total{model=\"m\",status=\"200\",stream=\"false\"}", 2.0),
        ("stagedoor_requests_total{model=\"m\",status=\"200\",stream=\"true\"}", 2.0),
        ("stagedoor_requests_total{model=\"spare\",status=\"200\",stream=\"false\"}", 0.0),
        ("stagedoor_attempts_total{provider=\"p\",model=\"up\",outcome=\"transient\"}", 4.0),
        ("stagedoor_attempts_total{provider=\"spare\",model=\"spare\",outcome=\"ok\"}", 4.0),
        ("stagedoor_request_duration_seconds_count{model=\"m\"}", 4.0),
        ("stagedoor_time_to_first_token_seconds_count{provider=\"spare\",model=\"spare\"}", 2.0),
        ("stagedoor_overhead_seconds_count", 4.0),
    ] {
        assert_eq!(app.metric(series), count, "{series}\n{}", page(&app));
    }
}

#[test]
fn refusals_are_counted_once_each_by_their_status() {
    let upstream = Upstream::answering(answer("hi"));
    let app = alone(&upstream.provider("p"), "");
    assert_eq!(app.chat("nope").status, 404);
    assert_eq!(app.client().post("/v1/chat/completions", &[], "{").status, 400);
    for (status, count) in [(404, 1.0), (400, 1.0)] {
        let series = format!("stagedoor_requests_total{{model=\"unknown\",status=\"{status}\",stream=\"false\"}}");
        assert_eq!(app.metric(&series), count, "{series}\n{}", page(&app));
    }
}

#[test]
fn no_caller_makes_a_series() {
    let upstream = healthy();
    let models = "[models.m]\ntargets = [{ provider = \"p\", model = \"up\" }]\n[models.\"wild/*\"]\ntargets = [{ provider = \"p\", model = \"*\" }]\n";
    let app = TestApp::start(&format!("{SHORT}{}{models}", upstream.provider("p")));
    let names = |from: usize| (from..from + 20).flat_map(|n| [format!("wild/{n}"), format!("made-up-{n}")]);
    let ask = |name: &str| (app.chat(name), app.stream(name));
    for name in names(0) {
        ask(&name);
    }
    let before = series(&app);
    for name in names(100) {
        let (plain, stream) = ask(&name);
        assert_eq!(plain.status, if name.starts_with("wild") { 200 } else { 404 });
        assert_eq!(stream.status, plain.status);
        app.client().get(&format!("/v1/{name}"));
    }
    let after = series(&app);
    let new: Vec<_> = after.difference(&before).collect();
    assert!(new.is_empty(), "{new:#?}");
    assert_eq!(app.metric("stagedoor_requests_total{model=\"wild/*\",status=\"200\",stream=\"true\"}"), 40.0);
}

#[test]
fn a_heartbeat_goes_out_while_nothing_has_come_and_then_the_content() {
    let (release, held) = channel::<()>();
    let held = Mutex::new(held);
    let upstream = Upstream::start(move |_, stream| {
        let _ = held.lock().unwrap().recv_timeout(Duration::from_secs(20));
        let body = chunk(&event("late")) + &chunk(STREAM_END) + "0\r\n\r\n";
        stream.write_all(format!("{STREAM_HEAD}{body}").as_bytes()).is_ok()
    });
    let app = alone(&upstream.provider("p"), "[server]\nheartbeat = \"50ms\"");
    let mut caller = app.client().connect();
    caller.write_all(&chat_bytes(&[("connection", "close")], &stream_body("m"))).unwrap();
    let first = read_until(&mut caller, ": stagedoor is waiting").replace("\r\n", "\n");
    assert!(first.starts_with("HTTP/1.1 200 ") && first.to_lowercase().contains("content-type: text/event-stream"), "{first}");
    assert!(first.to_lowercase().contains("x-request-id: "), "{first}");
    read_until(&mut caller, ": ");
    release.send(()).unwrap();
    let rest = read_rest(&mut caller);
    assert!(rest.contains("late") && rest.contains("data: [DONE]\n\n") && rest.ends_with("0\r\n\r\n"), "{rest}");
    assert_eq!(app.metric("stagedoor_requests_total{model=\"m\",status=\"200\",stream=\"true\"}"), 1.0);
}

#[test]
fn after_a_heartbeat_failover_goes_on_unseen() {
    let silent = Upstream::start(|_, stream| {
        let _ = std::io::Read::read(stream, &mut [0; 1]);
        false
    });
    let (app, spare) = spared(&silent.provider("p"), &format!("[server]\nheartbeat = \"50ms\"\n{SHORT}"));
    let reply = app.stream("m");
    assert_eq!((reply.status, reply.words().as_str(), reply.terminals()), (200, "spare", 1), "{}", reply.text());
    assert!(reply.text().starts_with(": "), "{}", reply.text());
    assert_eq!((silent.count(), spare.count()), (1, 1));
}

#[test]
fn after_a_heartbeat_a_final_failure_is_an_error_event_and_no_done() {
    let silent = Upstream::start(|_, stream| {
        let _ = std::io::Read::read(stream, &mut [0; 1]);
        false
    });
    let app = alone(&silent.provider("p"), &format!("[server]\nheartbeat = \"50ms\"\n{SHORT}"));
    let reply = app.stream("m");
    assert_eq!((reply.status, reply.whole, reply.terminals()), (200, true, 0), "{}", reply.text());
    let last: serde_json::Value = serde_json::from_str(reply.events().last().unwrap()).unwrap();
    assert_eq!(last["error"]["code"], "upstream_timeout", "{last}");
    let counted: f64 = [200, 504]
        .map(|code| app.metric(&format!("stagedoor_requests_total{{model=\"m\",status=\"{code}\",stream=\"true\"}}")))
        .iter()
        .sum();
    assert_eq!(counted, 1.0);
}

#[test]
fn a_stream_that_falls_silent_is_kept_alive_and_without_heartbeat_it_is_not() {
    for (beat, kept) in [("40ms", true), ("0s", false)] {
        let (release, held) = channel::<()>();
        let held = Mutex::new(held);
        let upstream = Upstream::start(move |_, stream| {
            let _ = stream.write_all(format!("{STREAM_HEAD}{}", chunk(&event("one"))).as_bytes());
            let _ = held.lock().unwrap().recv_timeout(Duration::from_millis(if kept { 20_000 } else { 300 }));
            stream.write_all(format!("{}{}0\r\n\r\n", chunk(&event("two")), chunk(STREAM_END)).as_bytes()).is_ok()
        });
        let app = alone(&upstream.provider("p"), &format!("[server]\nheartbeat = \"{beat}\""));
        let mut caller = app.client().connect();
        caller.write_all(&chat_bytes(&[("connection", "close")], &stream_body("m"))).unwrap();
        read_until(&mut caller, "one");
        if kept {
            read_until(&mut caller, "\n: ");
            release.send(()).unwrap();
        }
        let rest = read_rest(&mut caller);
        assert!(rest.contains("two") && rest.contains("[DONE]"), "{rest}");
        assert!(kept || !rest.contains("\n: "), "{rest}");
    }
}
