//! Rows into PostgreSQL: many of them in each statement, since each is a round trip. That some are there already is found by
//! fewer being written than were sent.

use std::collections::HashSet;

use sqlx::any::AnyArguments;
use sqlx::{AnyConnection, Arguments, AssertSqlSafe, Row as _};

use super::super::{Failed, Store};
use super::{ATTEMPTS, Columns, HOURS, Insert, REQUESTS, TAGS, TRANSITIONS, attempt, clean, hour, request, tag, transition};
use crate::ledger::{Call, Entry, Row, Transition, by_group};

/// Rows of one statement: few lengths, so that each is parsed once and kept.
const LENGTHS: [usize; 3] = [128, 16, 1];

impl Columns for AnyArguments {
    fn text(&mut self, text: Option<&str>) {
        // No value of ours fails to be encoded: all are texts and whole numbers.
        let _ = self.add(text.map(|text| clean(text).into_owned()));
    }

    fn whole(&mut self, whole: Option<i64>) {
        let _ = self.add(whole);
    }
}

impl Store {
    /// [`Store::write`], to a server.
    pub(super) async fn send(&self, rows: &[Row], again: bool) -> Result<(), Failed> {
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
        let (groups, tags): (Vec<_>, Vec<_>) = (sums.groups.into_iter().collect(), sums.tags.into_iter().collect());
        let mut transaction = self.pool.begin_with(self.kind.begin()).await?;
        let connection = &mut *transaction;
        let written = self.all(connection, &REQUESTS, &entries, |entry, to| request(entry, to)).await?;
        if written < entries.len() as u64 {
            transaction.rollback().await?;
            return Ok(false);
        }
        self.all(connection, &ATTEMPTS, &calls, |(entry, call), to| attempt(entry, call, to)).await?;
        self.all(connection, &TRANSITIONS, &moves, |moved, to| transition(moved, to)).await?;
        self.all(connection, &HOURS, &groups, |(group, counts), to| hour(group, counts, to)).await?;
        self.all(connection, &TAGS, &tags, |(key, counts), to| tag(key, counts, to)).await?;
        transaction.commit().await?;
        Ok(true)
    }

    /// Runs one kind of INSERT for all; how many rows it made.
    async fn all<T>(
        &self,
        connection: &mut AnyConnection,
        insert: &Insert,
        mut rows: &[T],
        bind: impl Fn(&T, &mut AnyArguments),
    ) -> Result<u64, Failed> {
        let mut written = 0;
        for length in LENGTHS {
            if rows.len() < length {
                continue;
            }
            let sql = format!("{}{}{}", insert.head, self.kind.places(length, insert.columns), insert.tail);
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
}
