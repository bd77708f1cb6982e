//! A request's record as the ledger's row. Made where the request ends, of what is there: names are shared, texts moved, nothing
//! is formatted.

use std::borrow::Cow;
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::record::{LEFT, Record};
use super::trace::Trace;
use crate::base::id_time;
use crate::dialect::{Source, Usage};
use crate::ledger::{Call, Entry, Key};

/// A longer message is cut: a row tells what went wrong, not all that was said.
const LONGEST_ERROR: usize = 300;

/// The upstream calls of one request, as they end; none are kept where the request gets no row.
#[derive(Clone, Debug, Default)]
pub(super) struct Calls {
    rows: Option<Rc<RefCell<Vec<Call>>>>,
    /// Their trace, where there is one.
    pub(super) trace: Option<Rc<Trace>>,
}

impl Calls {
    /// Of a request that gets a row.
    pub(super) fn kept() -> Self {
        Self { rows: Some(Rc::default()), trace: None }
    }

    /// Whether they are kept.
    pub(super) fn are_kept(&self) -> bool {
        self.rows.is_some()
    }

    /// Keeps one.
    pub(super) fn keep(&self, call: Call) {
        if let Some(calls) = &self.rows {
            calls.borrow_mut().push(call);
        }
    }

    fn take(&self) -> Vec<Call> {
        let mut calls = self.rows.as_ref().map(|calls| calls.take()).unwrap_or_default();
        // A hedge's loser ends when it likes.
        calls.sort_by_key(|call| call.place);
        calls
    }
}

/// The row of a request that has ended.
pub(super) fn entry(record: &mut Record, status: u16, error: &str, took: Duration) -> Entry {
    let id = if record.callers_id { record.worker.request_id_at(record.started) } else { record.id.clone() };
    let served = record.served_by.as_ref();
    let wildcard = record.wildcard.as_ref();
    let resolved = |model: &Arc<str>| Arc::clone(wildcard.filter(|_| &**model == "*").unwrap_or(model));
    let mut calls = record.calls.take();
    calls.iter_mut().for_each(|call| call.model = resolved(&call.model));
    let used = record.used();
    let Usage { input, output, cached, cache_write, reasoning, .. } = used.map(|(used, _)| used).unwrap_or_default();
    let cost = record.cost();
    // One who left, or was cut off, got a part.
    let cut = status == LEFT || !error.is_empty();
    let error = if status == LEFT { "" } else { error };
    Entry {
        time_us: id_time(&id).as_micros() as u64,
        request_id: record.callers_id.then(|| record.id.clone()),
        id,
        key: record.key.as_ref().map(|key| Key { id: Arc::clone(&key.id), name: Arc::clone(&key.name) }),
        model: Arc::clone(&record.model),
        provider: served.map(|taken| Arc::clone(&taken.target.provider.name)),
        upstream_model: served.map(|taken| resolved(&taken.target.model)),
        provider_key: served.and_then(|taken| Some(Arc::clone(&taken.target.provider.keys.get(taken.key?)?.name))),
        status,
        error: shortened(error),
        stream: record.stream,
        tokens_in: input,
        tokens_out: output,
        tokens_cached: cached,
        tokens_cache_written: cache_write,
        tokens_reasoning: reasoning,
        cost,
        state: used.map(|(_, source)| Cow::Borrowed(if cut { Source::Partial.name() } else { source.name() })),
        source: used.map(|(_, source)| Cow::Borrowed(counted_by(source, status))),
        latency_us: took.as_micros() as u64,
        first_token_us: record.first_token_ms.map(|ms| ms.saturating_mul(1_000)),
        attempts: record.attempts,
        cache: record.cache.map(|cached| Cow::Borrowed(cached.name())),
        tags: record.tags.take(),
        recovered: record.recovered,
        calls,
    }
}

fn counted_by(source: Source, status: u16) -> &'static str {
    match source {
        // What one who left had used was counted here.
        Source::Partial if status == LEFT => "gateway",
        Source::Exact => "upstream",
        Source::Estimated => "gateway",
        Source::Partial => "both",
    }
}

fn shortened(error: &str) -> String {
    error.chars().take(LONGEST_ERROR).collect()
}
