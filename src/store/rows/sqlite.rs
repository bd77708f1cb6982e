//! Rows into SQLite, by a connection of its own: its pages stay in its cache, each statement is parsed once, a row's texts are bound
//! where they lie, and a batch is one hop to another thread. A statement a row tells which rows are new, so that rows which
//! may be there already cost no question first.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rusqlite::{CachedStatement, Connection, Transaction, TransactionBehavior};

use super::super::Failed;
use super::super::text::Kind;
use super::{ATTEMPTS, Columns, HOURS, Insert, REQUESTS, TAGS, TRANSITIONS, attempt, clean, hour, request, tag, transition};
use crate::ledger::{Entry, Row, by_group};

/// How long another's lock is waited for.
const PATIENCE: Duration = Duration::from_secs(5);

/// What the connection is told: the file itself keeps its journal's mode. A checkpoint makes the disk keep two files, so it comes a
/// fourth as often as by default.
const MANNERS: &str = "PRAGMA synchronous = NORMAL; PRAGMA cache_size = -4000; PRAGMA wal_autocheckpoint = 4000; \
                       PRAGMA journal_size_limit = 67108864; PRAGMA temp_store = MEMORY";

/// See the module's text. Cheap to clone.
#[derive(Clone, Debug)]
pub(in crate::store) struct Pen(Arc<Held>);

#[derive(Debug)]
struct Held {
    path: PathBuf,
    /// Opened by the first write, and anew after one that failed.
    connection: Mutex<Option<Connection>>,
}

impl Pen {
    /// For a file that is there.
    pub(in crate::store) fn new(path: PathBuf) -> Self {
        Self(Arc::new(Held { path, connection: Mutex::default() }))
    }

    /// Writes those that aren't there yet, on a thread that may wait.
    pub(super) async fn write(&self, rows: Arc<Vec<Row>>) -> Result<(), Failed> {
        let held = Arc::clone(&self.0);
        let written = tokio::task::spawn_blocking(move || held.write(&rows)).await;
        written.unwrap_or(Err(Failed::Gone))
    }

    /// Closes the connection; one that is at work closes when it is done.
    pub(in crate::store) fn close(&self) {
        if let Ok(mut connection) = self.0.connection.try_lock() {
            *connection = None;
        }
    }
}

impl Held {
    fn write(&self, rows: &[Row]) -> Result<(), Failed> {
        let mut slot = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        // One that fails, or panics, is not put back.
        let mut connection = match slot.take() {
            Some(connection) => connection,
            None => open(&self.path)?,
        };
        all(&mut connection, rows)?;
        *slot = Some(connection);
        Ok(())
    }
}

fn open(path: &PathBuf) -> Result<Connection, Failed> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(PATIENCE)?;
    connection.execute_batch(MANNERS)?;
    Ok(connection)
}

/// In one transaction.
fn all(connection: &mut Connection, rows: &[Row]) -> Result<(), Failed> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let fresh = requests(&transaction, rows)?;
    let mut attempts = prepared(&transaction, &ATTEMPTS)?;
    for entry in &fresh {
        for call in &entry.calls {
            run(&mut attempts, |to| attempt(entry, call, to))?;
        }
    }
    let moves = rows.iter().filter_map(|row| if let Row::Transition(moved) = row { Some(moved) } else { None });
    let mut transitions = prepared(&transaction, &TRANSITIONS)?;
    for moved in moves {
        run(&mut transitions, |to| transition(moved, to))?;
    }
    let sums = by_group(fresh.iter().copied());
    let (mut hours, mut tags) = (prepared(&transaction, &HOURS)?, prepared(&transaction, &TAGS)?);
    for (group, counts) in &sums.groups {
        run(&mut hours, |to| hour(group, counts, to))?;
    }
    for (key, counts) in &sums.tags {
        run(&mut tags, |to| tag(key, counts, to))?;
    }
    drop((attempts, transitions, hours, tags));
    transaction.commit()?;
    Ok(())
}

/// Writes the requests; those that weren't there.
fn requests<'r>(transaction: &Transaction<'_>, rows: &'r [Row]) -> Result<Vec<&'r Entry>, Failed> {
    let mut statement = prepared(transaction, &REQUESTS)?;
    let mut fresh = Vec::with_capacity(rows.len());
    for row in rows {
        let Row::Request(entry) = row else { continue };
        if run(&mut statement, |to| request(entry, to))? > 0 {
            fresh.push(&**entry);
        }
    }
    Ok(fresh)
}

fn prepared<'c>(transaction: &'c Transaction<'_>, insert: &Insert) -> Result<CachedStatement<'c>, Failed> {
    let sql = format!("{}{}{}", insert.head, Kind::Sqlite.places(1, insert.columns), insert.tail);
    Ok(transaction.prepare_cached(&sql)?)
}

/// Runs a statement for one row; how many rows it made.
fn run(statement: &mut CachedStatement<'_>, bind: impl FnOnce(&mut Binding<'_, '_>)) -> Result<usize, Failed> {
    let mut binding = Binding { statement, place: 0, bound: Ok(()) };
    bind(&mut binding);
    binding.bound?;
    Ok(statement.raw_execute()?)
}

struct Binding<'s, 'c> {
    statement: &'s mut CachedStatement<'c>,
    place: usize,
    /// The first failure.
    bound: rusqlite::Result<()>,
}

impl Binding<'_, '_> {
    fn bind(&mut self, value: impl rusqlite::ToSql) {
        self.place += 1;
        if self.bound.is_ok() {
            self.bound = self.statement.raw_bind_parameter(self.place, value);
        }
    }
}

impl Columns for Binding<'_, '_> {
    fn text(&mut self, text: Option<&str>) {
        match text.map(clean) {
            Some(text) => self.bind(&*text),
            None => self.bind(rusqlite::types::Null),
        }
    }

    fn whole(&mut self, whole: Option<i64>) {
        self.bind(whole);
    }
}
