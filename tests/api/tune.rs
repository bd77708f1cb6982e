//! What is on record of a real run, replayed: the same moves, in the same order, for the same reasons and periods. And the
//! verb that reads it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use stagedoor::tuning::{Reader, Record, check};

use super::support::faults::provider_at;
use super::support::{Client, Finished, Process, STREAM_END, STREAM_HEAD, Upstream, answer, chat_body, chunk, event, status, stream_body};

const ADMIN: &str = "Bearer admin-key-of-these-tests-0001";
const SETTINGS: &str = "[admin]\nkey = { value = \"admin-key-of-these-tests-0001\" }\n[telemetry]\nlog = \"json\"\n[server]\nworkers = 2\n[retry]\nbackoff = \"5ms\"\n\
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
    let spare =
        Upstream::by(|call| if call.number.is_multiple_of(7) { status(429, "", "retry-after-ms: 20\r\n") } else { answer("spare") });
    let settings = format!(
        "{SETTINGS}{}{}[models.m]\nstrategy = \"ordered\"\ntargets = [{{ provider = \"p\", model = \"up\" }}, {{ provider = \"p\", model = \"up2\" }}, \
         {{ provider = \"q\", model = \"spare\" }}]\n",
        provider_at("p", &upstream.url(), ""),
        provider_at("q", &spare.url(), "")
    );
    let process = Process::serve(&settings, &[]);
    let client = process.client();
    let order = |body: &str| assert_eq!(client.post("/admin/breakers/p", &[("authorization", ADMIN)], body).status, 200);
    for next in [1, 2, 1, 0] {
        ask(client, 25);
        phase.store(next, Ordering::SeqCst);
        match next {
            1 => order("{\"action\":\"reset\"}"),
            2 => {
                order("{\"action\":\"open\",\"model\":\"up2\"}");
                process.write("settings.toml", &settings.replace("consecutive_failures = 3", "consecutive_failures = 2"));
                process.signal("HUP");
                process.stderr.until("the reload", |log| log.contains("provider retuned"));
            }
            _ => {}
        }
    }
    order("{\"action\":\"reset\",\"model\":\"up2\"}");
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
    assert!(
        moves >= 20 && seen("consecutive_failures") && seen("probe_failed") && seen("probes_succeeded") && seen("operator_open"),
        "{counted:?}"
    );
    assert!(log.contains("probe answered"));
}

/// `stagedoor tune ARGS`, with a log at hand as `log.json`.
fn tune(args: &[&str], log: &str) -> Finished {
    Process::run(&[&["tune"], args].concat(), &[], |folder| std::fs::write(folder.join("log.json"), log).unwrap()).finish()
}

#[test]
fn tune_reads_a_log_and_compares_settings() {
    let (log, counted) = recorded();
    let moves: u64 = counted.values().sum();
    let told = tune(&["--from", "log.json", "--set", "breaker.consecutive_failures=50", "--set", "providers.q.breaker.ramp=0s"], &log);
    assert_eq!((told.code, told.stderr.as_str()), (Some(0), ""));
    assert!(told.stdout.contains(&format!("replay of the settings in force: {moves} transitions, all as recorded")), "{}", told.stdout);
    for part in [
        "p/up\n",
        "  in force",
        "  as set",
        "  on record",
        "[breaker]\nconsecutive_failures = 50\n[providers.q.breaker]\nramp = \"0s\"\n",
        "UTC",
    ] {
        assert!(told.stdout.contains(part), "{part} in {}", told.stdout);
    }
    assert!(told.stdout.is_ascii(), "no terminal, no blocks");

    let torn = format!("{{\"message\":\"attempt\"}}\n{}\n{log}", "x".repeat(100_000));
    let json: serde_json::Value = serde_json::from_str(&tune(&["--from", "log.json", "--search", "--json"], &torn).stdout).unwrap();
    assert_eq!((&json["replay"]["same"], &json["replay"]["different"]), (&moves.into(), &0.into()));
    assert_eq!((&json["lines"]["unreadable"], &json["variants"][0]["name"]), (&2.into(), &"in force".into()));
    let cost = |variant: &serde_json::Value| variant["cost"].as_u64().unwrap();
    let all = json["variants"].as_array().unwrap();
    assert!(
        all[1..].iter().all(|found| cost(found) < cost(&all[0]) && found["settings"].as_str().unwrap().starts_with("[breaker]")),
        "{all:?}"
    );
    assert!(json["recorded"]["p/up"].as_array().unwrap().len() > 2);

    let trip = log.lines().find(|line| line.contains("\"to\":\"open\"")).unwrap();
    let other = tune(&["--from", "log.json"], &log.replace(trip, &trip.replace("period_us\":", "period_us\":1")));
    assert_eq!(other.code, Some(1));
    assert!(other.stdout.contains("1 OTHER THAN RECORDED") && other.stdout.contains("replayed up closed -> open"), "{}", other.stdout);
}

#[test]
fn tune_reads_the_ledger_and_says_that_nothing_is_checked() {
    let (upstream, phase) = flapping();
    let spare = Upstream::answering(answer("spare"));
    let folder = tempfile::tempdir().unwrap();
    let settings = format!(
        "{SETTINGS}[store]\nurl = \"sqlite://{}/s.db\"\n{}{}[models.m]\nstrategy = \"ordered\"\n\
         targets = [{{ provider = \"p\", model = \"up\" }}, {{ provider = \"q\", model = \"spare\" }}]\n",
        folder.path().display(),
        provider_at("p", &upstream.url(), ""),
        provider_at("q", &spare.url(), "")
    );
    let process = Process::serve(&settings, &[]);
    let client = process.client();
    for next in [1, 0] {
        ask(client, 15);
        phase.store(next, Ordering::SeqCst);
    }
    let rows = client.call("GET", "/admin/attempts", &[("authorization", ADMIN)], "").text();
    let tune = |args: &[&str]| {
        Process::run(&[&["tune", "--since", "1h", "--settings", "settings.toml"], args].concat(), &[], |folder| {
            std::fs::write(folder.join("settings.toml"), &settings).unwrap();
        })
        .finish()
    };
    let told = tune(&["--set", "breaker.consecutive_failures=50"]);
    assert_eq!(told.code, Some(0), "{}", told.stderr);
    let calls = format!("90 requests, {} calls", rows.lines().count());
    for part in [calls.as_str(), "the replay isn't checked", "p/up\n", "  in force", "  as set", "the chain of m is not on record"] {
        assert!(told.stdout.contains(part), "{part} in {}", told.stdout);
    }
    let json: serde_json::Value = serde_json::from_str(&tune(&["--json"]).stdout).unwrap();
    assert!(json["replay"].is_null() && json["lines"]["unreadable"] == 0, "{json}");
    assert_eq!((&json["requests"], &json["thresholds_assumed"]), (&90.into(), &serde_json::json!([])));
    assert!(json["seen_on_record"].as_u64().unwrap() < 90 && json["sick"].to_string().contains("p/up"), "{json}");
}

#[test]
fn tune_says_what_it_cannot_do() {
    for (args, code, part) in [
        (&[][..], 2, "give --since TIME, or --from FILE"),
        (&["--since", "24h"], 3, "the ledger: no call is on record there; it is empty"),
        (&["--since", "soon"], 2, "must be a duration such as 7d"),
        (&["--from", "log.json", "--since", "24h"], 2, "cannot be used with"),
        (&["--from", "log.json", "--set", "breaker.open_fro=1s"], 2, "open_fro is none of breaker's keys"),
        (&["--from", "log.json", "--set", "breaker.open_for=soon"], 2, "can't be \"soon\""),
        (&["--from", "nowhere.json"], 3, "nowhere.json: No such file"),
        (&["--from", "log.json"], 3, "no call is on record there; 2 lines were read"),
    ] {
        let told = tune(args, "{}\nnot json\n");
        assert_eq!(told.code, Some(code), "{args:?}: {}", told.stderr);
        assert!(told.stderr.contains(part) && !told.stderr.contains("panicked"), "{args:?}: {}", told.stderr);
    }
    assert!(tune(&["--from", "log.json"], "").stderr.contains("it is empty"));
    // Standard input is closed here.
    assert_eq!(tune(&["--from", "-"], "").code, Some(3));
    let help = tune(&["--help"], "").stdout;
    assert!(help.contains("nearest to it") && help.contains("cost ="), "{help}");
}
