//! Writes the ledger: rows in long statements, their calls, and the sums that go with them, in one transaction. What is there
//! already is not written, and not summed, again.

use std::collections::HashSet;

use sqlx::any::AnyArguments;
use sqlx::{AnyConnection, Arguments, AssertSqlSafe, Row as _};

use super::keys::{number, whole};
use super::{Failed, Store};
use crate::ledger::{Call, Counts, Entry, Row, Sums, Transition, by_group, first_id, hour_of};

/// Rows of one statement: few lengths, so that each is parsed once and kept.
const LENGTHS: [usize; 3] = [128, 16, 1];

const REQUESTS: (&str, &str) = (
    "INSERT INTO requests (id, request_id, time, key_id, key_name, model, provider, upstream_model, provider_key, status, error, \
     stream, tokens_in, tokens_out, tokens_cached, tokens_cache_written, tokens_reasoning, cost, state, source, latency_us, \
     first_token_us, attempts, cache, tags, recovered) VALUES ",
    " ON CONFLICT (id) DO NOTHING",
);

const ATTEMPTS: (&str, &str) = (
    "INSERT INTO attempts (request, place, provider, key_name, model, start_us, outcome, kind, status, head_us, first_token_us, \
     total_us, breaker, hedge) VALUES ",
    " ON CONFLICT (request, place) DO NOTHING",
);

const TRANSITIONS: (&str, &str) = (
    "INSERT INTO transitions (id, time, seq, provider, model, from_state, to_state, reason, period_us, settings) VALUES ",
    " ON CONFLICT (id) DO NOTHING",
);

/// A table of sums: what comes after its VALUES adds what is new to what is there.
macro_rules! adding {
    ($table:literal, $keys:literal) => {
        (
            concat!(
                "INSERT INTO ",
                $table,
                " (",
                $keys,
                ", requests, errors, tokens_in, tokens_out, tokens_cached, tokens_reasoning, cost, unpriced) VALUES "
            ),
            concat!(
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
        )
    };
}

const HOURS: (&str, &str) = adding!("usage_hours", "hour, key_id, model, provider, key_name");
const TAGS: (&str, &str) = adding!("usage_tags", "hour, tag");

impl Store {
    /// Writes rows, each exactly once however often it is told. `again`: some of them may be there already.
    ///
    /// # Errors
    /// Where it can't; nothing was written then, unless the answer itself was lost.
    pub async fn write(&self, rows: &[Row], again: bool) -> Result<(), Failed> {
        self.ready().await?;
        if !again && self.insert(rows.iter().collect()).await? {
            return Ok(());
        }
        // Rare: after a failure whose end nobody knows, or from a journal.
        let mut fresh: Vec<&Row> = self.unknown(rows).await?;
        while !self.insert(fresh).await? {
            fresh = self.unknown(rows).await?;
        }
        Ok(())
    }

    /// In one transaction; false, and nothing is written, where some were there already.
    async fn insert(&self, rows: Vec<&Row>) -> Result<bool, Failed> {
        let entries: Vec<&Entry> =
            rows.iter().filter_map(|row| if let Row::Request(entry) = row { Some(&**entry) } else { None }).collect();
        let moves: Vec<&Transition> =
            rows.iter().filter_map(|row| if let Row::Transition(moved) = row { Some(&**moved) } else { None }).collect();
        let calls: Vec<(&Entry, &Call)> = entries.iter().flat_map(|entry| entry.calls.iter().map(move |call| (*entry, call))).collect();
        let sums = by_group(entries.iter().copied());
        let mut transaction = self.pool.begin_with(self.kind.begin()).await?;
        let connection = &mut *transaction;
        let written = self.all(connection, REQUESTS, 26, &entries, |entry, to| request(entry, to)).await?;
        if written < entries.len() as u64 {
            transaction.rollback().await?;
            return Ok(false);
        }
        self.all(connection, ATTEMPTS, 14, &calls, |(entry, call), to| attempt(entry, call, to)).await?;
        self.all(connection, TRANSITIONS, 10, &moves, |moved, to| transition(moved, to)).await?;
        self.add(connection, sums).await?;
        transaction.commit().await?;
        Ok(true)
    }

    async fn add(&self, connection: &mut AnyConnection, sums: Sums) -> Result<(), Failed> {
        let groups: Vec<_> = sums.groups.into_iter().collect();
        self.all(connection, HOURS, 13, &groups, |(group, counts), to| {
            put(to, group.hour);
            for text in [&group.key_id, &group.model, &group.provider, &group.key_name] {
                put(to, clean(text));
            }
            put_counts(to, counts);
        })
        .await?;
        let tags: Vec<_> = sums.tags.into_iter().collect();
        self.all(connection, TAGS, 10, &tags, |((hour, tag), counts), to| {
            put(to, *hour);
            put(to, clean(tag));
            put_counts(to, counts);
        })
        .await?;
        Ok(())
    }

    /// Runs one kind of INSERT for all; how many rows it made.
    async fn all<T>(
        &self,
        connection: &mut AnyConnection,
        (head, tail): (&'static str, &'static str),
        columns: usize,
        mut rows: &[T],
        bind: impl Fn(&T, &mut AnyArguments),
    ) -> Result<u64, Failed> {
        let mut written = 0;
        for length in LENGTHS {
            if rows.len() < length {
                continue;
            }
            let sql = format!("{head}{}{tail}", self.kind.places(length, columns));
            while rows.len() >= length {
                let (now, later) = rows.split_at(length);
                rows = later;
                let mut arguments = AnyArguments::default();
                now.iter().for_each(|row| bind(row, &mut arguments));
                // Made here of constants and placeholders.
                let query = sqlx::query_with(AssertSqlSafe(sql.as_str()), arguments);
                written += query.execute(&mut *connection).await?.rows_affected();
            }
        }
        Ok(written)
    }

    /// Those that aren't there yet, each once.
    async fn unknown<'a>(&self, rows: &'a [Row]) -> Result<Vec<&'a Row>, Failed> {
        let mut known = HashSet::new();
        let mut seen: HashSet<&str> = HashSet::new();
        let requests: Vec<&str> = rows.iter().filter(|row| matches!(row, Row::Request(_))).map(Row::id).collect();
        let chunk = LENGTHS[0];
        for ids in requests.chunks(chunk) {
            let sql = format!("SELECT id FROM requests WHERE id IN {}", self.kind.places(1, ids.len()));
            let mut query = sqlx::query(AssertSqlSafe(sql));
            for id in ids {
                query = query.bind((*id).to_owned());
            }
            for row in query.fetch_all(&self.pool).await? {
                known.insert(row.try_get::<String, _>(0)?);
            }
        }
        Ok(rows.iter().filter(|row| !known.contains(row.id()) && seen.insert(row.id())).collect())
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

fn put<T>(to: &mut AnyArguments, value: T)
where
    T: for<'q> sqlx::Encode<'q, sqlx::Any> + sqlx::Type<sqlx::Any>,
{
    // No value of ours fails to be encoded: all are texts and whole numbers.
    let _ = to.add(value);
}

fn put_counts(to: &mut AnyArguments, counts: &Counts) {
    counts.columns().into_iter().for_each(|count| put(to, count));
}

fn text(text: &Option<impl AsRef<str>>) -> Option<String> {
    text.as_ref().map(|text| clean(text.as_ref()))
}

/// PostgreSQL keeps no NUL in a text, and a row with one would keep all that come after it out.
fn clean(text: &str) -> String {
    if memchr::memchr(0, text.as_bytes()).is_some() { text.replace('\0', "\u{fffd}") } else { text.to_owned() }
}

fn request(entry: &Entry, to: &mut AnyArguments) {
    put(to, clean(&entry.id));
    put(to, text(&entry.request_id));
    put(to, whole(entry.time_us));
    put(to, entry.key.as_ref().map(|key| clean(&key.id)));
    put(to, entry.key.as_ref().map(|key| clean(&key.name)));
    put(to, clean(&entry.model));
    put(to, text(&entry.provider));
    put(to, text(&entry.upstream_model));
    put(to, text(&entry.provider_key));
    put(to, i64::from(entry.status));
    put(to, Some(&entry.error).filter(|error| !error.is_empty()).map(|error| clean(error)));
    put(to, i64::from(entry.stream));
    for tokens in [entry.tokens_in, entry.tokens_out, entry.tokens_cached, entry.tokens_cache_written, entry.tokens_reasoning] {
        put(to, whole(tokens));
    }
    put(to, entry.cost);
    put(to, text(&entry.state));
    put(to, text(&entry.source));
    put(to, whole(entry.latency_us));
    put(to, entry.first_token_us.map(whole));
    put(to, i64::from(entry.attempts));
    put(to, text(&entry.cache));
    put(to, text(&entry.tags));
    put(to, i64::from(entry.recovered));
}

fn attempt(entry: &Entry, call: &Call, to: &mut AnyArguments) {
    put(to, clean(&entry.id));
    put(to, i64::from(call.place));
    put(to, clean(&call.provider));
    put(to, text(&call.key));
    put(to, clean(&call.model));
    put(to, whole(call.start_us));
    put(to, clean(&call.outcome));
    put(to, text(&call.kind));
    put(to, call.status.map(i64::from));
    put(to, call.head_us.map(whole));
    put(to, call.first_token_us.map(whole));
    put(to, whole(call.total_us));
    put(to, clean(&call.breaker));
    put(to, i64::from(call.hedge));
}

fn transition(moved: &Transition, to: &mut AnyArguments) {
    put(to, clean(&moved.id));
    put(to, whole(moved.time_us));
    put(to, whole(moved.seq));
    put(to, clean(&moved.provider));
    put(to, clean(&moved.model));
    put(to, clean(&moved.from));
    put(to, clean(&moved.to));
    put(to, clean(&moved.reason));
    put(to, moved.period_us.map(whole));
    put(to, clean(&moved.settings));
}
