//! What counts and what waits: metrics, wildcard rows, heartbeats, places, the rehearsal's own rule.

use std::time::Duration;

use serde_json::Value;

use super::support::faults::{alone, healthy, provider_at};
use super::support::{Process, TestApp, Upstream, answer, stream_body};

fn serving() -> (Upstream, TestApp) {
    let upstream = Upstream::answering(answer("hi"));
    let rows =
        "[models.m]\ntargets = [{ provider = \"p\", model = \"up\" }]\n[models.other]\ntargets = [{ provider = \"p\", model = \"up\" }]\n";
    let app = TestApp::start(&(provider_at("p", &upstream.url(), "") + rows));
    (upstream, app)
}

#[test]
fn series_exist_from_the_start_and_count_once() {
    let (_upstream, app) = serving();
    let page = app.client().get("/metrics").text();
    for series in [
        "stagedoor_requests_total{model=\"m\",status=\"200\",stream=\"true\"} 0",
        "stagedoor_requests_total{model=\"other\",status=\"200\",stream=\"false\"} 0",
        "stagedoor_attempts_total{provider=\"p\",model=\"up\",outcome=\"transient\"} 0",
        "stagedoor_breaker_state{provider=\"p\",model=\"up\"} 0",
        "stagedoor_breaker_state{provider=\"p\",model=\"\"} 0",
        "stagedoor_in_flight{provider=\"p\"} 0",
        "stagedoor_request_duration_seconds_count{model=\"m\"} 0",
        "stagedoor_time_to_first_token_seconds_count{provider=\"p\",model=\"up\"} 0",
        "stagedoor_overhead_seconds_count 0",
        "stagedoor_dropped_reports_total 0",
    ] {
        assert!(page.lines().any(|line| line == series), "{series} in\n{page}");
    }
    assert!(page.contains("le=\"+Inf\""));
    for _ in 0..3 {
        app.chat("m");
    }
    app.chat("nope");
    assert_eq!(app.metric("stagedoor_requests_total{model=\"m\",status=\"200\",stream=\"false\"}"), 3.0);
    assert_eq!(app.metric("stagedoor_attempts_total{provider=\"p\",model=\"up\",outcome=\"ok\"}"), 3.0);
    assert_eq!(app.metric("stagedoor_request_duration_seconds_count{model=\"m\"}"), 3.0);
    assert_eq!(app.metric("stagedoor_requests_total{model=\"unknown\",status=\"404\",stream=\"false\"}"), 1.0);
    assert!(!app.client().get("/metrics").text().contains("nope"), "a caller's words are no label");
}

#[test]
fn a_wildcard_row_serves_all_its_names_under_one_label() {
    let upstream = Upstream::answering(answer("hi"));
    let row = "[models.\"open/*\"]\ntargets = [{ provider = \"p\", model = \"*\" }]\n";
    let app = TestApp::start(&(provider_at("p", &upstream.url(), "") + row));
    for name in ["open/a", "open/b/c"] {
        let reply = app.chat(name);
        let asked = name.strip_prefix("open/").unwrap();
        assert_eq!((reply.status, reply.header("x-stagedoor-model")), (200, Some(asked)));
        assert_eq!(reply.header("x-stagedoor-route"), Some(&*format!("p/{asked}")));
    }
    let sent: Vec<_> = upstream.calls().iter().map(|call| call.json()["model"].as_str().unwrap().to_owned()).collect();
    assert_eq!(sent, ["a", "b/c"]);
    assert_eq!(app.chat("open/").status, 404);
    assert_eq!(app.metric("stagedoor_requests_total{model=\"open/*\",status=\"200\",stream=\"false\"}"), 2.0);
}

#[test]
fn while_nothing_came_a_heartbeat_goes_out_and_failover_goes_on_unseen() {
    let slow = Upstream::start(|_, _| {
        std::thread::sleep(Duration::from_secs(2));
        false
    });
    let spare = healthy();
    let settings = |chain: &str| {
        format!(
            "[server]\nheartbeat = \"100ms\"\n[timeouts]\nfirst_byte = \"350ms\"\n{}{}[models.m]\ntargets = [{{ provider = \"p\", model = \"up\" }}]\nfailover = [{chain}]\n\
             [models.n]\ntargets = [{{ provider = \"s\", model = \"sp\" }}]\n",
            provider_at("p", &slow.url(), ""),
            spare.provider("s")
        )
    };
    let app = TestApp::start(&settings("\"n\""));
    let reply = app.stream("m");
    assert_eq!((reply.status, reply.words().as_str(), reply.terminals()), (200, "spare", 1));
    let comments = reply.text().lines().filter(|line| line.starts_with(':')).count();
    assert!((2..=4).contains(&comments), "{comments} in {}", reply.text());
    assert!(reply.header("x-request-id").is_some());
    assert_eq!(app.metric("stagedoor_requests_total{model=\"m\",status=\"200\",stream=\"true\"}"), 1.0);
    let alone = TestApp::start(&settings(""));
    let failed = alone.stream("m");
    assert_eq!((failed.status, failed.terminals(), failed.whole), (200, 0, true));
    let last: Value = serde_json::from_str(failed.events().last().unwrap()).unwrap();
    assert_eq!(last["error"]["code"], "upstream_timeout", "{last}");
    let counted = alone.metric("stagedoor_requests_total{model=\"m\",status=\"200\",stream=\"true\"}");
    assert_eq!(counted, 1.0, "by the status that was sent");
    let plain = app.client().post("/v1/chat/completions", &[], &stream_body("n"));
    assert!(!plain.text().contains("waiting"), "no heartbeat where content came in time");
}

#[test]
fn places_are_limited_and_given_back() {
    let slow = Upstream::start(|_, _| {
        std::thread::sleep(Duration::from_secs(2));
        false
    });
    let app = alone(&provider_at("p", &slow.url(), ""), "[server]\nmax_requests = 1\n");
    std::thread::scope(|scope| {
        let held = scope.spawn(|| app.chat("m"));
        app.until("the place is taken", |app| app.metric("stagedoor_in_flight{provider=\"p\"}") == 1.0);
        let refused = app.chat("m");
        assert_eq!((refused.status, refused.code().as_str(), refused.header("x-should-retry")), (503, "overloaded", Some("true")));
        assert_eq!(app.client().get("/health").status, 200, "health is never shed");
        assert_eq!(held.join().unwrap().status, 502);
    });
    assert_eq!(app.chat("m").status, 502, "the place is free again");
}

#[test]
fn the_rehearsal_never_serves_where_a_key_is_set() {
    let process = Process::run(&["check", "--json"], &[("OPENAI_API_KEY", "sk-proj-0123456789")], |_| {}).finish();
    let told: Value = serde_json::from_str(&process.stdout).unwrap();
    assert_eq!((&told["rehearsing"], &told["providers"]), (&false.into(), &serde_json::json!(["openai"])));
}

#[test]
fn a_load_balancer_may_ask_for_health_by_head() {
    let (_upstream, app) = serving();
    for path in ["/health", "/health/live", "/health/ready"] {
        let reply = app.client().raw(format!("HEAD {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").as_bytes());
        assert_eq!((reply.status, reply.body.len()), (200, 0), "{path}");
    }
}
