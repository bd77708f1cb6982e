//! What is on record of a real run, replayed: the same moves, in the same order, for the same reasons and periods. And the
//! verb that reads it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use stagedoor::tuning::{Reader, Record, check};

use super::support::faults::provider_at;
use super::support::{Client, Process, STREAM_END, STREAM_HEAD, Upstream, answer, chat_body, chunk, event, status, stream_body};

const SETTINGS: &str = "[telemetry]\nlog = \"json\"\n[server]\nworkers = 2\n[retry]\nbackoff = \"5ms\"\n\
    [breaker]\nconsecutive_failures = 3\nminimum_requests = 6\nwindow = \"500ms\"\nopen_for = \"60ms\"\nopen_for_max = \"150ms\"\n\
    ramp = \"50ms\"\nhalf_open_probes = 2\n";

/// Well, sick, half sick, well again: the phase is the test's.
fn flapping() -> (Upstream, Arc<AtomicUsize>) {
    let phase = Arc::new(AtomicUsize::new(0));
    let told = Arc::clone(&phase);
    let upstream = Upstream::by(move |call| {
        let sick = match told.load(Ordering::SeqCst) {
            1 => true,
            2 => call.number.is_multiple_of(2),
            _ => false,
        };
        if sick {
            status(503, "overloaded", "")
        } else if call.text().contains("\"stream\":true") {
            format!("{STREAM_HEAD}{}{}0\r\n\r\n", chunk(&event("hi")), chunk(STREAM_END)).into_bytes()
        } else {
            answer("hi")
        }
    });
    (upstream, phase)
}

fn ask(client: Client, times: usize) {
    std::thread::scope(|scope| {
        for caller in 0..3 {
            scope.spawn(move || {
                for call in 0..times {
                    let body = if (call + caller) % 2 == 0 { chat_body("m") } else { stream_body("m") };
                    client.post("/v1/chat/completions", &[], &body);
                    std::thread::sleep(Duration::from_millis(3));
                }
            });
        }
    });
}

fn read(log: &str) -> Record {
    let mut reader = Reader::default();
    log.lines().for_each(|line| reader.line(line.as_bytes()));
    reader.finish()
}

/// `stagedoor_breaker_transitions_total` by provider, model, state and reason.
fn counted(client: Client) -> BTreeMap<[String; 4], u64> {
    let page = client.get("/metrics").text();
    let rows = page.lines().filter_map(|line| line.strip_prefix("stagedoor_breaker_transitions_total{"));
    let row = |line: &str| {
        let (labels, count) = line.rsplit_once("} ").unwrap();
        let label = |name: &str| labels.split_once(&format!("{name}=\"")).unwrap().1.split('"').next().unwrap().to_owned();
        (["provider", "model", "to", "reason"].map(label), count.parse().unwrap())
    };
    rows.map(row).filter(|(_, count)| *count > 0).collect()
}

/// A run in which the first of two providers flaps, down to its log; and what its metrics had counted.
fn recorded() -> (String, BTreeMap<[String; 4], u64>) {
    let (upstream, phase) = flapping();
    let spare = Upstream::by(|call| if call.number.is_multiple_of(7) { status(429, "", "retry-after: 1\r\n") } else { answer("spare") });
    let settings = format!(
        "{SETTINGS}{}{}[models.m]\nstrategy = \"ordered\"\ntargets = [{{ provider = \"p\", model = \"up\" }}, {{ provider = \"p\", model = \"up2\" }}, \
         {{ provider = \"q\", model = \"spare\" }}]\n",
        provider_at("p", &upstream.url(), ""),
        provider_at("q", &spare.url(), "")
    );
    let process = Process::serve(&settings, &[]);
    let client = process.client();
    for next in [1, 2, 1, 0] {
        ask(client, 25);
        phase.store(next, Ordering::SeqCst);
    }
    let closed =
        |text: &str| ["p", "q"].iter().all(|p| !text.contains(&format!("stagedoor_breaker_state{{provider=\"{p}\",model=\"up\"}} 1")));
    while !(closed(&client.get("/metrics").text()) && client.get("/health").json()["providers"]["p"]["status"] == "healthy") {
        ask(client, 2);
    }
    let counted = counted(client);
    process.signal("TERM");
    let ended = process.finish();
    assert_eq!(ended.code, Some(0));
    (ended.stderr, counted)
}

#[test]
fn a_replay_of_the_settings_in_force_makes_the_moves_that_were_made() {
    let (log, counted) = recorded();
    let record = read(&log);
    let checked = check(&record);
    let differences: Vec<_> = checked.iter().flat_map(|provider| &provider.differences).collect();
    assert!(differences.is_empty(), "{differences:#?}\n{log}");
    let moves: u64 = counted.values().sum();
    assert_eq!(checked.iter().map(|provider| provider.same as u64).sum::<u64>(), moves, "{counted:?}");
    assert_eq!(checked.iter().map(|provider| provider.unchecked).sum::<usize>(), 0);
    // A run that shows too little proves too little.
    let seen = |reason: &str| counted.keys().any(|[.., known]| known == reason);
    assert!(moves >= 20 && seen("consecutive_failures") && seen("probe_failed") && seen("probes_succeeded"), "{counted:?}");
    assert!(log.contains("probe answered"));
}
