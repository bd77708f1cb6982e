//! What is kept, as JSON: the same in the admin plane and from the command line.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::keys::KeyRecord;
use super::series::Step;
use super::usage::{By, Sum};
use crate::base::written_date;
use crate::ledger::{Call, Counts, Entry, Transition};

/// Nano-dollars as dollars.
pub fn usd(nanos: i64) -> f64 {
    nanos as f64 / 1e9
}

fn ms(us: u64) -> f64 {
    us as f64 / 1e3
}

fn date(us: u64) -> String {
    written_date(Duration::from_micros(us))
}

/// A key, and what it has spent in its budget's window (without a budget: this month) in nano-dollars. No secret.
pub fn key(record: &KeyRecord, spent: i64) -> Map<String, Value> {
    let key = &record.key;
    let budget = key.budget.map(|budget| {
        let unpriced = if budget.unpriced { "allow" } else { "refuse" };
        json!({ "usd": budget.nanos as f64 / 1e9, "window": budget.window.name(), "unpriced": unpriced })
    });
    let left = key.budget.map(|budget| usd(i64::try_from(budget.nanos).unwrap_or(i64::MAX).saturating_sub(spent).max(0)));
    let document = json!({
        "id": &*key.id,
        "name": &*key.name,
        "prefix": record.prefix,
        "models": key.models,
        "rpm": key.rpm,
        "tpm": key.tpm,
        "concurrency": key.concurrency,
        "budget": budget,
        "spent_usd": usd(spent),
        "left_usd": left,
        "expires": key.expires.map(written_date),
        "revoked": key.revoked.map(written_date),
        "created": written_date(key.created),
        "old_key_until": record.old.map(|(_, until)| written_date(until)),
    });
    match document {
        Value::Object(document) => document,
        _ => Map::new(),
    }
}

/// The names of [`counts`], in the order in which a sheet has them.
pub const COUNTS: [&str; 8] =
    ["requests", "errors", "tokens_in", "tokens_out", "tokens_cached", "tokens_reasoning", "cost_usd", "unpriced_requests"];

/// The names of [`request`], but for its attempts, in the order in which a sheet has them.
pub const REQUEST: [&str; 25] = [
    "id",
    "request_id",
    "time",
    "key",
    "key_id",
    "model",
    "provider",
    "provider_model",
    "provider_key",
    "status",
    "error",
    "stream",
    "tokens_in",
    "tokens_out",
    "tokens_cached",
    "tokens_cache_written",
    "tokens_reasoning",
    "cost_usd",
    "state",
    "source",
    "latency_ms",
    "ttft_ms",
    "cache",
    "tags",
    "recovered",
];

/// The names of `attempts`, in the order in which a sheet has them.
pub const ATTEMPT: [&str; 14] = [
    "request", "order", "provider", "key", "model", "start", "outcome", "kind", "status", "head_ms", "ttft_ms", "total_ms", "breaker",
    "hedge",
];

/// A line of values as CSV has it (RFC 4180): the named ones of a document.
pub fn csv(document: &Value, names: &[&str]) -> String {
    let cell = |name: &&str| match &document[*name] {
        Value::Null => String::new(),
        Value::String(text) => quoted(text),
        Value::Array(texts) => quoted(&texts.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" ")),
        other => other.to_string(),
    };
    names.iter().map(cell).collect::<Vec<_>>().join(",")
}

fn quoted(text: &str) -> String {
    // A sheet would take what begins so for a formula.
    let text = if text.starts_with(['=', '+', '-', '@']) { format!("'{text}") } else { text.to_owned() };
    if text.contains([',', '"', '\n', '\r']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text }
}

/// What was used.
pub fn counts(counts: &Counts) -> Map<String, Value> {
    let mut document = Map::new();
    let columns = [
        ("requests", counts.requests),
        ("errors", counts.errors),
        ("tokens_in", counts.tokens_in),
        ("tokens_out", counts.tokens_out),
        ("tokens_cached", counts.tokens_cached),
        ("tokens_reasoning", counts.tokens_reasoning),
    ];
    for (name, count) in columns {
        document.insert(name.to_owned(), count.into());
    }
    document.insert("cost_usd".to_owned(), usd(counts.cost).into());
    document.insert("unpriced_requests".to_owned(), counts.unpriced.into());
    document
}

/// Usage with its total.
pub fn usage(by: By, lines: &[Sum], total: &Counts) -> Value {
    let lines = lines.iter().map(|line| Value::Object(sum(by, line)));
    json!({ "data": lines.collect::<Vec<_>>(), "total": counts(total) })
}

/// Usage in the course of time.
pub fn series(by: By, steps: &[Step]) -> Value {
    let step = |step: &Step| {
        let mut document = sum(by, &step.sum);
        document.insert("start".to_owned(), written_date(step.start).into());
        Value::Object(document)
    };
    steps.iter().map(step).collect()
}

fn sum(by: By, line: &Sum) -> Map<String, Value> {
    let mut document = Map::new();
    let name = Some(line.name.as_str()).filter(|name| !name.is_empty());
    document.insert(by.name().to_owned(), name.into());
    if by == By::Key {
        document.insert("key_id".to_owned(), Some(line.key_id.as_str()).filter(|id| !id.is_empty()).into());
    }
    document.append(&mut counts(&line.counts));
    document
}

/// A request with its attempts.
pub fn request(entry: &Entry) -> Value {
    json!({
        "id": entry.id,
        "request_id": entry.request_id.as_ref().unwrap_or(&entry.id),
        "time": date(entry.time_us),
        "key": entry.key.as_ref().map(|key| &*key.name),
        "key_id": entry.key.as_ref().map(|key| &*key.id),
        "model": &*entry.model,
        "provider": entry.provider.as_deref(),
        "provider_model": entry.upstream_model.as_deref(),
        "provider_key": entry.provider_key.as_deref(),
        "status": entry.status,
        "error": Some(entry.error.as_str()).filter(|error| !error.is_empty()),
        "stream": entry.stream,
        "tokens_in": entry.tokens_in,
        "tokens_out": entry.tokens_out,
        "tokens_cached": entry.tokens_cached,
        "tokens_cache_written": entry.tokens_cache_written,
        "tokens_reasoning": entry.tokens_reasoning,
        "cost_usd": entry.cost.map(usd),
        "state": entry.state.as_deref(),
        "source": entry.source.as_deref(),
        "latency_ms": ms(entry.latency_us),
        "ttft_ms": entry.first_token_us.map(ms),
        "cache": entry.cache.as_deref(),
        "tags": entry.tags.as_ref().map(|tags| tags.split(',').collect::<Vec<_>>()).unwrap_or_default(),
        "recovered": entry.recovered,
        "attempts": attempts(entry),
    })
}

/// A move of a breaker. `model` is null for the provider's own.
pub fn transition(moved: &Transition) -> Value {
    json!({
        "id": moved.id,
        "time": date(moved.time_us),
        "seq": moved.seq,
        "provider": &*moved.provider,
        "model": Some(moved.model.as_str()).filter(|model| !model.is_empty()),
        "from": &*moved.from,
        "to": &*moved.to,
        "reason": &*moved.reason,
        "period_ms": moved.period_us.map(ms),
    })
}

/// A request's attempts, each with its request's id.
pub fn attempts_of(entry: &Entry) -> Vec<Value> {
    let mut attempts = attempts(entry);
    attempts.iter_mut().for_each(|attempt| attempt["request"] = entry.id.as_str().into());
    attempts
}

/// All of them: of the first one that served, its request's own row tells.
fn attempts(entry: &Entry) -> Vec<Value> {
    let first_is_kept = entry.attempts == 0 || entry.calls.iter().any(|call| call.place == 1);
    let first = (!first_is_kept).then(|| {
        json!({
            "order": 1,
            "provider": entry.provider.as_deref(),
            "key": entry.provider_key.as_deref(),
            "model": entry.upstream_model.as_deref(),
            "start": date(entry.time_us),
            "outcome": "ok",
            "kind": null,
            "status": 200,
            "head_ms": null,
            "ttft_ms": entry.first_token_us.map(ms),
            "total_ms": ms(entry.latency_us),
            "breaker": "normal",
            "hedge": false,
        })
    });
    first.into_iter().chain(entry.calls.iter().map(attempt)).collect()
}

fn attempt(call: &Call) -> Value {
    json!({
        "order": call.place,
        "provider": &*call.provider,
        "key": call.key.as_deref(),
        "model": &*call.model,
        "start": date(call.start_us),
        "outcome": &*call.outcome,
        "kind": call.kind,
        "status": call.status,
        "head_ms": call.head_us.map(ms),
        "ttft_ms": call.first_token_us.map(ms),
        "total_ms": ms(call.total_us),
        "breaker": &*call.breaker,
        "hedge": call.hedge,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sheet_has_every_value_of_a_document() {
        let entry = Entry { tags: Some("a=1,b=2".into()), attempts: 1, error: "a,\"b\"".into(), ..Entry::default() };
        let document = request(&entry);
        let names: Vec<&String> = document.as_object().into_iter().flatten().map(|(name, _)| name).collect();
        let mut known: Vec<&str> = REQUEST.into_iter().chain(["attempts"]).collect();
        known.sort_unstable();
        assert_eq!(names, known);
        assert!(csv(&document, &REQUEST).contains(",\"a,\"\"b\"\"\",false,"), "{}", csv(&document, &REQUEST));
        let attempt = attempts_of(&entry).remove(0);
        let mut names: Vec<&str> = ATTEMPT.to_vec();
        names.sort_unstable();
        assert_eq!(attempt.as_object().into_iter().flatten().map(|(name, _)| name).collect::<Vec<_>>(), names);
        assert_eq!(csv(&json!({"a": "=1+1", "b": null, "c": ["x", "y"]}), &["a", "b", "c"]), "'=1+1,,x y");
        let counted = counts(&Counts::default());
        assert!(COUNTS.into_iter().all(|name| counted.contains_key(name)) && counted.len() == COUNTS.len());
    }
}
