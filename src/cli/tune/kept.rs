//! The ledger's rows as lines of the log that a record is read from: how each call went, when, and what its caller saw. What a row
//! doesn't hold, the epochs of breakers and the order in which they were told, no figure is made from.

use std::collections::HashMap;
use std::time::Duration;

use serde_json::{Value, json};

use super::super::keys::in_store;
use crate::ledger::{Call, Entry};
use crate::settings::Settings;
use crate::store::{Failed, Page};
use crate::tuning::{Reader, Record};

/// Rows that are read at a time.
const CHUNK: u32 = 1_000;

/// The limit that the first token had at a provider which the settings don't have any more.
const UNKNOWN: Duration = Duration::from_secs(30);

/// Reads what the ledger holds from `since` on.
pub(super) fn read(settings: &Settings, since: Duration) -> Result<Record, Failed> {
    in_store(&settings.store, |store| async move {
        let (mut reader, mut told) = (Reader::default(), HashMap::new());
        let mut page = Page { oldest_first: true, since: Some(since), limit: CHUNK, ..Page::default() };
        loop {
            let entries = store.requests(&page).await?;
            for entry in &entries {
                lines(entry, settings, &mut told).iter().for_each(|line| reader.line(line.to_string().as_bytes()));
            }
            match entries.last() {
                Some(last) => page.beyond = Some(last.id.clone()),
                None => return Ok(reader.finish()),
            }
        }
    })
}

/// A request's lines, its calls first. `told`: how many calls of each provider there were before.
fn lines(entry: &Entry, settings: &Settings, told: &mut HashMap<String, u64>) -> Vec<Value> {
    // What no upstream was asked for says nothing of any.
    if entry.attempts == 0 && entry.cache.is_some() {
        return Vec::new();
    }
    let first = served_by_its_first(entry);
    let calls = first.iter().chain(&entry.calls).map(|call| {
        let seq = told.entry(call.provider.to_string()).or_default();
        *seq += 1;
        let limit = settings.providers.get(&*call.provider).map_or(UNKNOWN, |own| own.timeouts.first_token);
        json!({
            "message": "attempt", "seq": *seq, "request_id": entry.id, "attempt": call.place, "model": &*entry.model,
            "stream": entry.stream, "provider": &*call.provider, "upstream_model": &*call.model, "outcome": &*call.outcome,
            "kind": call.kind, "start_us": call.start_us, "start_unix_us": call.start_us,
            "end_us": call.start_us.saturating_add(call.total_us), "seen_us": call.start_us.saturating_add(call.total_us),
            "first_token_us": call.first_token_us, "first_token_limit_ms": limit.as_millis() as u64,
            "state_in": &*call.breaker, "epoch": 0, "provider_state_in": "normal", "provider_epoch": 0,
        })
    });
    let mut lines: Vec<Value> = calls.collect();
    lines.push(json!({
        "message": "request", "request_id": entry.id, "model": &*entry.model, "status": entry.status, "stream": entry.stream,
        "start_us": entry.time_us,
    }));
    lines
}

/// The call that the request's own row tells of.
fn served_by_its_first(entry: &Entry) -> Option<Call> {
    if entry.attempts == 0 || entry.calls.iter().any(|call| call.place == 1) {
        return None;
    }
    Some(Call {
        place: 1,
        provider: entry.provider.clone()?,
        key: None,
        model: entry.upstream_model.clone()?,
        start_us: entry.time_us,
        outcome: "ok".into(),
        kind: None,
        status: Some(200),
        head_us: None,
        first_token_us: entry.first_token_us,
        total_us: entry.latency_us,
        breaker: "normal".into(),
        hedge: false,
    })
}
