//! Good lines, torn lines, strange lines.

use proptest::prelude::*;

use super::*;
use crate::routing::Strategy;

const WATCHED: &str = r#"{"timestamp":"2026-01-02T03:04:05.000000Z","level":"INFO","message":"provider watched","seq":0,"provider":"alpha","models":"a b","thresholds":"consecutive_failures=2 failure_ratio=0.5 minimum_requests=10 window=30s slow_call=20s slow_ratio=0.8 open_for=10s open_for_max=20s half_open_probes=1 close_after=2 ramp=10s","settings":"0","when_all_open":"refuse","at_us":1000,"at_unix_us":1700000000001000,"target":"stagedoor"}"#;
const CHAIN: &str = r#"{"message":"chain","model":"m","chain":"ordered: 1,-,alpha/a 1,-,beta/x","attempts":4,"same_target":1,"backoff_ms":100,"budget_ratio":200000,"budget_min":10}"#;
const REQUEST: &str =
    r#"{"message":"request","request_id":"r-9","model":"\"m\"","status":503,"stream":false,"start_us":5000,"latency_ms":1}"#;
const MOVED: &str = r#"{"message":"breaker moved","seq":2,"provider":"alpha","model":"a","from":"closed","to":"open","reason":"consecutive_failures","period_us":10200000,"draw":200000,"at_us":30000,"at_unix_us":1700000000030000}"#;

pub(crate) fn attempt(seq: u64, outcome: &str, more: &str) -> String {
    let (start, end) = (seq * 10_000, seq * 10_000 + 5_000);
    format!(
        r#"{{"message":"attempt","seq":{seq},"request_id":"r-{seq}","attempt":1,"model":"m","stream":true,"provider":"alpha","upstream_model":"a","outcome":"{outcome}","first_token_limit_ms":60000,"start_us":{start},"start_unix_us":{},"end_us":{end},"state_in":"normal","epoch":0,"provider_state_in":"probe","provider_epoch":0,"seen_us":900{more}}}"#,
        1_700_000_000_000_000u64 + start
    )
}

pub(crate) fn read<'a>(lines: impl IntoIterator<Item = &'a str>) -> Record {
    let mut reader = Reader::default();
    lines.into_iter().for_each(|line| reader.line(line.as_bytes()));
    reader.finish()
}

#[test]
fn a_record_is_read_line_by_line() {
    let failed = attempt(1, "transient", r#","kind":"status_503""#);
    let limited = attempt(2, "rate_limited", r#","wait_ms":1500,"first_token_us":700"#);
    let record = read([CHAIN, WATCHED, &failed, &limited, MOVED, REQUEST, r#"{"message":"draining: no new requests"}"#, ""]);
    assert_eq!((record.lines.used, record.lines.other, record.lines.bad), (6, 1, 0));
    let provider = &record.providers[0];
    assert_eq!((provider.name.as_str(), &provider.targets[..], provider.runs.len()), ("alpha", &["a".to_owned(), "b".into()][..], 1));
    let run = &provider.runs[0];
    let watched = run.watched.as_ref().unwrap();
    assert_eq!((watched.thresholds.consecutive_failures, watched.when_all_open, watched.targets.len()), (2, WhenAllOpen::Refuse, 2));
    assert_eq!(run.unix_us, 1_700_000_000_000_000);
    let calls: Vec<_> = record.calls().collect();
    assert_eq!(calls[0].outcome, Outcome::Transient(Failure::Status(503)));
    assert_eq!(calls[1].outcome, Outcome::RateLimited { wait: Some(Duration::from_millis(1_500)), whole_key: false });
    assert_eq!((calls[1].first_token, calls[1].by_provider), (Some(Duration::from_micros(700)), (Pass::Probe, 0)));
    assert_ne!(calls[0].request, calls[1].request);
    assert_eq!((run.moves[0].reason, run.moves[0].draw, run.events.len()), (Reason::Consecutive, Some(200_000), 2));
    let (pools, retry) = record.models[0].chain.as_ref().unwrap();
    assert_eq!((pools[0].strategy, pools[0].members.len(), retry.attempts), (Strategy::Ordered, 2, 4));
    assert_eq!((record.requests[0].model, record.requests[0].status, record.requests[0].at.micros()), (0, 503, 1_700_000_000_005_000));
}

#[test]
fn a_move_without_a_report_is_an_event_of_its_own() {
    let record = read([WATCHED, &attempt(1, "ok", ""), MOVED]);
    assert!(matches!(record.providers[0].runs[0].events[1].kind, EventKind::Outside(at) if at.micros() == 30_000));
}

#[test]
fn each_start_is_a_run_and_a_retuning_is_none() {
    let retuned = WATCHED.replace("provider watched", "provider retuned").replace("\"seq\":0", "\"seq\":2");
    let ordered = r#"{"message":"operator ordered","seq":3,"provider":"alpha","upstream_model":"b","action":"reset","at_us":7}"#;
    let record = read([WATCHED, &attempt(1, "ok", ""), &retuned, ordered, WATCHED, &attempt(1, "ok", "")]);
    let runs = &record.providers[0].runs;
    assert_eq!((runs.len(), runs[0].events.len(), runs[1].events.len()), (2, 3, 1));
    assert!(matches!(&runs[0].events[1].kind, EventKind::Retuned(watched) if watched.targets == [0, 1]));
    let order = Ordered { force: Force::Reset, target: Some(1), at: Moment::from_micros(7) };
    assert!(matches!(runs[0].events[2].kind, EventKind::Ordered(known) if known == order));
}

#[test]
fn what_goes_on_from_an_earlier_actor_is_known() {
    let resumed = WATCHED.replace("\"settings\":\"0\"", "\"resumed\":\"a=open,false,3,91000,81000,probe_failed,20000\"");
    let record = read([&*resumed]);
    let watched = record.providers[0].runs[0].watched.as_ref().unwrap();
    assert_eq!((watched.resumed[0].target, watched.resumed[0].published.epoch), (Some(0), 3));
}

#[test]
fn what_cannot_be_read_is_counted() {
    let good = attempt(1, "ok", "");
    for bad in [
        "not json",
        "[1]",
        "{",
        &good[..good.len() / 2],
        &good.replace("\"seq\":1", "\"seq\":\"1\""),
        &good.replace("\"seq\":1,", ""),
        &good.replace("\"ok\"", "\"fine\""),
        &good.replace("\"ok\"", "\"transient\""),
        &good.replace("normal", "abnormal"),
        &MOVED.replace("\"open\"", "\"ajar\""),
        &WATCHED.replace("ramp=10s", "ramp=ten"),
        &WATCHED.replace("refuse", "hope"),
        &CHAIN.replace("ordered:", "sideways:"),
        r#"{"message":"probe answered"}"#,
        r#"{"message":"operator ordered","seq":3,"provider":"alpha","action":"explode","at_us":7}"#,
    ] {
        let record = read([bad]);
        assert_eq!((record.lines.bad, record.lines.used), (1, 0), "{bad}");
        assert_eq!(record.calls().count(), 0);
    }
}

#[test]
fn no_more_than_the_most_is_kept() {
    let mut reader = Reader { most: 3, ..Reader::default() };
    (1..=5).for_each(|seq| reader.line(attempt(seq, "ok", "").as_bytes()));
    (1..=5).for_each(|_| reader.line(REQUEST.as_bytes()));
    let record = reader.finish();
    assert_eq!((record.calls().count(), record.requests.len(), record.lines.beyond), (3, 3, 4));
}

proptest! {
    #[test]
    fn no_line_is_too_strange(lines in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..80), 0..20), cut in 0usize..400) {
        let mut reader = Reader::default();
        for line in lines {
            reader.line(&line);
        }
        for line in [WATCHED, MOVED, CHAIN, REQUEST, &attempt(1, "ok", "")] {
            reader.line(&line.as_bytes()[..cut.min(line.len())]);
        }
        let record = reader.finish();
        prop_assert!(crate::tuning::check(&record).len() <= 1);
    }
}

#[test]
fn a_failure_is_known_by_its_name() {
    for name in [
        "connect",
        "dns",
        "tls",
        "connect_timeout",
        "reset",
        "head_timeout",
        "first_token_timeout",
        "idle_timeout",
        "total_timeout",
        "truncated",
        "malformed",
        "error_body",
        "redirect",
        "content_type",
        "too_large",
        "wrong_place",
        "status_500",
        "status_529",
    ] {
        assert_eq!(Failure::named(name).unwrap().name(), name);
    }
    assert_eq!((Failure::named("status_x"), Failure::named("mood")), (None, None));
    // What two share counts alike.
    assert_eq!(Failure::ResetBeforeHead.name(), Failure::ResetInBody.name());
    assert_eq!(Failure::ResetBeforeHead.accuses_provider(), Failure::ResetInBody.accuses_provider());
}
