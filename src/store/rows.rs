//! Writes the ledger: rows, their calls, and the sums that go with them, in one transaction. What is there already is not written,
//! and not summed, again. The statements and the order of their columns are the same for both databases; how they are run is in the
//! files of their names: what is cheap within a process is a round trip to a server.

mod postgres;
mod sqlite;

use std::borrow::Cow;
use std::sync::Arc;

use super::keys::{number, whole};
use super::{Failed, Store};
use crate::ledger::{Call, Counts, Entry, Group, Row, Transition, first_id, hour_of};

pub(super) use sqlite::Pen;

/// An INSERT around the placeholders of its rows.
struct Insert {
    head: &'static str,
    columns: usize,
    tail: &'static str,
}

/// Where the values of a row go, in the order of its statement's columns.
trait Columns {
    /// A text, or NULL.
    fn text(&mut self, text: Option<&str>);
    /// A whole number, or NULL.
    fn whole(&mut self, whole: Option<i64>);
}

const REQUESTS: Insert = Insert {
    head: "INSERT INTO requests (id, request_id, time, key_id, key_name, model, provider, upstream_model, provider_key, status, error, \
     stream, tokens_in, tokens_out, tokens_cached, tokens_cache_written, tokens_reasoning, cost, state, source, latency_us, \
     first_token_us, attempts, cache, tags, recovered) VALUES ",
    columns: 26,
    tail: " ON CONFLICT (id) DO NOTHING",
};

const ATTEMPTS: Insert = Insert {
    head: "INSERT INTO attempts (request, place, provider, key_name, model, start_us, outcome, kind, status, head_us, first_token_us, \
     total_us, breaker, hedge) VALUES ",
    columns: 14,
    tail: " ON CONFLICT (request, place) DO NOTHING",
};

const TRANSITIONS: Insert = Insert {
    head: "INSERT INTO transitions (id, time, seq, provider, model, from_state, to_state, reason, period_us, settings) VALUES ",
    columns: 10,
    tail: " ON CONFLICT (id) DO NOTHING",
};

/// A table of sums: what comes after its VALUES adds what is new to what is there.
macro_rules! adding {
    ($table:literal, $keys:literal, $columns:literal) => {
        Insert {
            head: concat!(
                "INSERT INTO ",
                $table,
                " (",
                $keys,
                ", requests, errors, tokens_in, tokens_out, tokens_cached, tokens_reasoning, cost, unpriced) VALUES "
            ),
            columns: $columns,
            tail: concat!(
                " ON CONFLICT (",
                $keys,
                ") DO UPDATE SET requests = ",
                $table,
                ".requests + excluded.requests, errors = ",
                $table,
                ".errors + excluded.errors, tokens_in = ",
                $table,
                ".tokens_in + excluded.tokens_in, tokens_out = ",
                $table,
                ".tokens_out + excluded.tokens_out, tokens_cached = ",
                $table,
                ".tokens_cached + excluded.tokens_cached, tokens_reasoning = ",
                $table,
                ".tokens_reasoning + excluded.tokens_reasoning, cost = ",
                $table,
                ".cost + excluded.cost, unpriced = ",
                $table,
                ".unpriced + excluded.unpriced"
            ),
        }
    };
}

const HOURS: Insert = adding!("usage_hours", "hour, key_id, model, provider, key_name", 13);
const TAGS: Insert = adding!("usage_tags", "hour, tag", 10);

impl Store {
    /// Writes rows, each exactly once however often it is told. `again`: some of them may be there already.
    ///
    /// # Errors
    /// Where it can't; nothing was written then, unless the answer itself was lost.
    pub async fn write(&self, rows: impl Into<Arc<Vec<Row>>>, again: bool) -> Result<(), Failed> {
        self.ready().await?;
        match &self.pen {
            Some(pen) => pen.write(rows.into()).await,
            None => self.send(&rows.into(), again).await,
        }
    }

    /// Deletes what is older than `before`, at most so many rows of each kind; whether there may be more.
    ///
    /// # Errors
    /// Where it can't.
    pub async fn forget(&self, before: std::time::Duration, most: u32) -> Result<bool, Failed> {
        const STATEMENTS: [&str; 3] = [
            "DELETE FROM attempts WHERE request IN (SELECT request FROM attempts WHERE request < $1 ORDER BY request LIMIT $2)",
            "DELETE FROM transitions WHERE id IN (SELECT id FROM transitions WHERE id < $1 ORDER BY id LIMIT $2)",
            "DELETE FROM requests WHERE id IN (SELECT id FROM requests WHERE id < $1 ORDER BY id LIMIT $2)",
        ];
        self.ready().await?;
        // Whole hours: a sum is of all of its rows or gone.
        let hour = hour_of(before.as_micros() as u64);
        let first = first_id(std::time::Duration::from_secs(number(hour).saturating_mul(3_600)));
        let mut deleted = 0;
        for sql in STATEMENTS {
            let query = sqlx::query(sql).bind(first.clone()).bind(i64::from(most));
            deleted = deleted.max(query.execute(&self.pool).await?.rows_affected());
        }
        for sql in ["DELETE FROM usage_hours WHERE hour < $1", "DELETE FROM usage_tags WHERE hour < $1"] {
            sqlx::query(sql).bind(hour).execute(&self.pool).await?;
        }
        Ok(deleted >= u64::from(most))
    }
}

/// PostgreSQL keeps no NUL in a text, and a row with one would keep all that come after it out.
fn clean(text: &str) -> Cow<'_, str> {
    if memchr::memchr(0, text.as_bytes()).is_some() { text.replace('\0', "\u{fffd}").into() } else { text.into() }
}

fn request(entry: &Entry, to: &mut impl Columns) {
    to.text(Some(&entry.id));
    to.text(entry.request_id.as_deref());
    to.whole(Some(whole(entry.time_us)));
    to.text(entry.key.as_ref().map(|key| &*key.id));
    to.text(entry.key.as_ref().map(|key| &*key.name));
    to.text(Some(&entry.model));
    to.text(entry.provider.as_deref());
    to.text(entry.upstream_model.as_deref());
    to.text(entry.provider_key.as_deref());
    to.whole(Some(entry.status.into()));
    to.text(Some(&*entry.error).filter(|error| !error.is_empty()));
    to.whole(Some(entry.stream.into()));
    for tokens in [entry.tokens_in, entry.tokens_out, entry.tokens_cached, entry.tokens_cache_written, entry.tokens_reasoning] {
        to.whole(Some(whole(tokens)));
    }
    to.whole(entry.cost);
    to.text(entry.state.as_deref());
    to.text(entry.source.as_deref());
    to.whole(Some(whole(entry.latency_us)));
    to.whole(entry.first_token_us.map(whole));
    to.whole(Some(entry.attempts.into()));
    to.text(entry.cache.as_deref());
    to.text(entry.tags.as_deref());
    to.whole(Some(entry.recovered.into()));
}

fn attempt(entry: &Entry, call: &Call, to: &mut impl Columns) {
    to.text(Some(&entry.id));
    to.whole(Some(call.place.into()));
    to.text(Some(&call.provider));
    to.text(call.key.as_deref());
    to.text(Some(&call.model));
    to.whole(Some(whole(call.start_us)));
    to.text(Some(&call.outcome));
    to.text(call.kind.as_deref());
    to.whole(call.status.map(i64::from));
    to.whole(call.head_us.map(whole));
    to.whole(call.first_token_us.map(whole));
    to.whole(Some(whole(call.total_us)));
    to.text(Some(&call.breaker));
    to.whole(Some(call.hedge.into()));
}

fn transition(moved: &Transition, to: &mut impl Columns) {
    to.text(Some(&moved.id));
    to.whole(Some(whole(moved.time_us)));
    to.whole(Some(whole(moved.seq)));
    for text in [&*moved.provider, &moved.model, &moved.from, &moved.to, &moved.reason] {
        to.text(Some(text));
    }
    to.whole(moved.period_us.map(whole));
    to.text(Some(&moved.settings));
}

fn hour(group: &Group, counts: &Counts, to: &mut impl Columns) {
    to.whole(Some(group.hour));
    for text in [&group.key_id, &group.model, &group.provider, &group.key_name] {
        to.text(Some(text));
    }
    counts.columns().into_iter().for_each(|count| to.whole(Some(count)));
}

fn tag((hour, tag): &(i64, String), counts: &Counts, to: &mut impl Columns) {
    to.whole(Some(*hour));
    to.text(Some(tag));
    counts.columns().into_iter().for_each(|count| to.whole(Some(count)));
}
