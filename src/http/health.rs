//! GET /health: how each provider is, as its actor says. /health/live and /health/ready for whoever restarts and routes.

use std::collections::BTreeMap;

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use serde::Serialize;

use super::auth::Visitor;
use super::respond::json;
use crate::actors::{self, Condition, Description};
use crate::base::Moment;
use crate::clock::Clock;
use crate::health::{Admission, Latency, Outcome, State, Vitals};
use crate::proxy::Worker;
use crate::routing::{Ask, Tried, servable};

/// The whole answer.
#[derive(Serialize)]
pub(super) struct Answer {
    status: &'static str,
    version: &'static str,
    uptime_s: u64,
    models: usize,
    providers: BTreeMap<String, Provider>,
    /// Absent where there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    ledger: Option<Ledger>,
}

#[derive(Serialize)]
struct Ledger {
    status: &'static str,
    /// Rows that aren't in the store yet, and those of them that are in the journal.
    waiting: u64,
    journaled: u64,
    /// Rows that nothing could keep, since the start.
    lost: u64,
    /// What the store, or the journal, said last.
    store_error: Option<String>,
    journal_error: Option<String>,
}

#[derive(Serialize)]
pub(super) struct Provider {
    status: &'static str,
    breaker: &'static str,
    since: String,
    retry_at: Option<String>,
    reason: Option<String>,
    in_flight: u32,
    window: Window,
    consecutive_failures: u32,
    latency_ms: Figures,
    ttft_ms: Figures,
    last_error: Option<LastError>,
    keys: Vec<Key>,
    models: BTreeMap<String, Model>,
}

#[derive(Serialize)]
struct Window {
    seconds: u64,
    calls: u32,
    failures: u32,
    failure_ratio: f64,
    slow: u32,
}

#[derive(Default, Serialize)]
struct Figures {
    ewma: Option<u64>,
    p50: Option<u64>,
    p95: Option<u64>,
    p99: Option<u64>,
}

impl From<Option<Latency>> for Figures {
    fn from(latency: Option<Latency>) -> Self {
        let Some(Latency { ewma, p50, p95, p99 }) = latency else { return Self::default() };
        Self { ewma: Some(ewma), p50: Some(p50), p95: Some(p95), p99: Some(p99) }
    }
}

#[derive(Serialize)]
struct LastError {
    at: String,
    kind: String,
    message: String,
}

#[derive(Serialize)]
struct Key {
    name: String,
    status: &'static str,
    until: Option<String>,
}

#[derive(Serialize)]
struct Model {
    breaker: &'static str,
    calls: u64,
    failures: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<&'static str>,
}

pub(super) async fn live(visitor: Visitor) -> HttpResponse {
    json(StatusCode::OK, &visitor.id, &serde_json::json!({ "status": "ok" }))
}

fn status_of(good: bool) -> StatusCode {
    if good { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}

pub(super) async fn ready(visitor: Visitor) -> HttpResponse {
    let worker = &visitor.worker;
    let (ready, status) = match (worker.gateway.is_draining(), serving(worker)) {
        (true, _) => (false, "draining"),
        (false, false) => (false, "no target can serve"),
        (false, true) => (true, "ready"),
    };
    json(status_of(ready), &visitor.id, &serde_json::json!({ "status": status }))
}

/// Whether some model has a target that a request could be sent to now.
fn serving(worker: &Worker) -> bool {
    let tried = Tried::default();
    worker.edition.routes.served().any(|(_, route)| servable(&Ask::any(&route.chain, &tried, worker.gateway.clock.now())) > 0)
}

pub(super) async fn all(visitor: Visitor) -> HttpResponse {
    let answer = looked(&visitor.worker).await;
    json(status_of(answer.status != "down"), &visitor.id, &answer)
}

/// How the gateway and its providers are now.
pub(super) async fn looked(worker: &Worker) -> Answer {
    let (gateway, routes) = (&worker.gateway, &worker.edition.routes);
    let mut described = gateway.describe().await;
    let clock = gateway.clock;
    let providers: BTreeMap<_, _> = routes
        .providers
        .iter()
        .map(|(slot, _)| {
            let described = described.get_mut(slot.place).and_then(Option::take);
            let shown = described.map_or_else(|| silent(&slot.vitals, clock), |d| shown(d, clock));
            (slot.name.to_string(), shown)
        })
        .collect();
    let serving = serving(worker);
    let ledger = gateway.ledger().map(|ledger| written(ledger, gateway.metrics.ledger_lost.get()));
    let well = ledger.as_ref().is_none_or(|ledger| ledger.status == "ok");
    let status = match well && providers.values().all(|provider| provider.status == "healthy") {
        _ if !serving => "down",
        true => "ok",
        false => "degraded",
    };
    Answer {
        status,
        version: env!("CARGO_PKG_VERSION"),
        uptime_s: clock.now().millis() / 1_000,
        models: routes.served().count(),
        providers,
        ledger,
    }
}

/// How the ledger is: `ok`, `journaling` while rows are in the journal and not in the store yet, `failing` where they are held in
/// memory alone.
fn written(ledger: &actors::Ledger, lost: u64) -> Ledger {
    let Condition { store, journal, journaled } = ledger.condition();
    let status = match (&store, &journal) {
        (_, Some(_)) => "failing",
        (Some(_), None) => "journaling",
        (None, None) if journaled > 0 => "journaling",
        (None, None) => "ok",
    };
    Ledger { status, waiting: ledger.backlog(), journaled, lost, store_error: store, journal_error: journal }
}

pub(super) fn shown(described: Description, clock: Clock) -> Provider {
    let wall = |moment| rfc3339(clock, moment);
    let (status, reason) = standing(&described);
    let tally = described.tally;
    let keys = described.keys.into_iter().map(|key| Key {
        name: key.name.to_string(),
        status: match (key.until, key.refused) {
            (None, _) => "active",
            (Some(_), true) => "disabled",
            (Some(_), false) => "cooling",
        },
        until: key.until.map(wall),
    });
    let models = described.models.into_iter().map(|model| {
        let note = match model {
            _ if model.missing => Some("the provider says that it has no such model; disabled until a reload"),
            _ if model.slow => Some("slow: ranked after every healthy one"),
            _ => None,
        };
        let shown = Model { breaker: model.breaker.name(), calls: model.calls, failures: model.failures, note };
        (model.model.to_string(), shown)
    });
    Provider {
        status,
        breaker: described.breaker.name(),
        since: wall(described.since),
        retry_at: described.retry_at.map(wall),
        reason: reason.map(str::to_owned),
        in_flight: described.in_flight,
        window: Window {
            seconds: described.window.as_secs(),
            calls: tally.calls,
            failures: tally.failures,
            failure_ratio: (tally.failure_ratio() * 1e4).round() / 1e4,
            slow: tally.slow,
        },
        consecutive_failures: described.consecutive,
        latency_ms: described.latency.into(),
        ttft_ms: described.first_token.into(),
        last_error: described.last_error.map(|error| LastError { at: wall(error.at), kind: error.kind, message: error.message }),
        keys: keys.collect(),
        models: models.collect(),
    }
}

/// A provider's status, and why it isn't healthy.
fn standing(described: &Description) -> (&'static str, Option<&'static str>) {
    let missing = Outcome::ModelMissing.label();
    let keys_rest = !described.keys.is_empty() && described.keys.iter().all(|key| !key.usable);
    match described.breaker {
        _ if described.all_missing => ("disabled", described.reason.or(Some(missing))),
        State::Open => ("ejected", described.reason),
        _ if keys_rest => ("ejected", described.reason.or_else(|| Some(why_keys_rest(described)))),
        State::HalfOpen => ("degraded", described.reason),
        State::Closed if described.degraded.is_some() => ("degraded", described.degraded),
        State::Closed => ("healthy", None),
    }
}

/// By the outcome that brings it: refused keys are for a person to put right, others come back by themselves.
fn why_keys_rest(described: &Description) -> &'static str {
    let outcome = match described.keys.iter().all(|key| key.refused) {
        true => Outcome::KeyFault { sure: true },
        false => Outcome::RateLimited { wait: None, whole_key: true },
    };
    outcome.label()
}

/// What the board alone says of a provider whose actor doesn't answer.
fn silent(vitals: &Vitals, clock: Clock) -> Provider {
    let now = clock.now();
    let breaker = vitals.state(now);
    let retry_at = if let Admission::Refuse(until) = vitals.admit(now) { Some(rfc3339(clock, until)) } else { None };
    Provider {
        status: if breaker == State::Closed { "degraded" } else { "ejected" },
        breaker: breaker.name(),
        since: rfc3339(clock, vitals.since()),
        retry_at,
        reason: Some("its actor does not answer; calls go on".into()),
        in_flight: vitals.in_flight(),
        window: Window { seconds: 0, calls: 0, failures: 0, failure_ratio: 0.0, slow: 0 },
        consecutive_failures: 0,
        latency_ms: Figures::default(),
        ttft_ms: Figures::default(),
        last_error: None,
        keys: Vec::new(),
        models: BTreeMap::new(),
    }
}

fn rfc3339(clock: Clock, moment: Moment) -> String {
    let wall = clock.wall_at(moment);
    let at = jiff::Timestamp::from_millisecond(i64::try_from(wall.as_millis()).unwrap_or(i64::MAX));
    at.map_or_else(|_| String::new(), |at| at.to_string())
}
