//! Rows into SQLite, by a connection of its own: its pages stay in its cache, each statement is parsed once, a row's texts are bound
//! where they lie, and a batch is one hop to another thread. A statement a row tells which rows are new, so that rows which
//! may be there already cost no question first.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::Duration;

use rusqlite::{CachedStatement, Connection, Transaction, TransactionBehavior};
use tokio::sync::oneshot;

use super::super::Failed;
use super::super::sqlite::sync;
use super::super::text::Kind;
use super::{ATTEMPTS, Columns, HOURS, Insert, REQUESTS, TAGS, TRANSITIONS, attempt, clean, hour, request, tag, transition};
use crate::ledger::{Entry, Row, by_group};
use crate::settings::Durability;

/// How long another's lock is waited for.
const PATIENCE: Duration = Duration::from_secs(5);

/// What the connection is told: the file itself keeps its journal's mode. A checkpoint makes the disk keep two files, so it comes a
/// fourth as often as by default.
const MANNERS: &str = "PRAGMA cache_size = -4000; PRAGMA wal_autocheckpoint = 4000; \
                       PRAGMA journal_size_limit = 67108864; PRAGMA temp_store = MEMORY";

/// See the module's text. Cheap to clone.
#[derive(Clone, Debug)]
pub(in crate::store) struct Pen(Arc<Desk>);

#[derive(Debug)]
struct Desk {
    path: PathBuf,
    durability: Durability,
    /// To the thread that writes, which the first write starts. It ends when this goes.
    jobs: Mutex<Option<mpsc::Sender<Job>>>,
}

enum Job {
    /// Write these, and tell how that ended.
    Write(Arc<Vec<Row>>, oneshot::Sender<Result<(), Failed>>),
    /// Close the file, and tell that it is done.
    Close(oneshot::Sender<()>),
}

impl Pen {
    /// For a file that is there.
    pub(in crate::store) fn new(path: PathBuf, durability: Durability) -> Self {
        Self(Arc::new(Desk { path, durability, jobs: Mutex::default() }))
    }

    /// Writes those that aren't there yet.
    pub(super) async fn write(&self, rows: Arc<Vec<Row>>) -> Result<(), Failed> {
        let (tell, told) = oneshot::channel();
        self.0.send(Job::Write(rows, tell))?;
        // A thread that panicked tells nothing; the next write starts another.
        told.await.unwrap_or(Err(Failed::Gone))
    }

    /// Closes the connection, once what it is at is done.
    pub(in crate::store) async fn close(&self) {
        let jobs = self.0.jobs.lock().unwrap_or_else(PoisonError::into_inner).take();
        let (tell, told) = oneshot::channel();
        if jobs.is_some_and(|jobs| jobs.send(Job::Close(tell)).is_ok()) {
            let _ = told.await;
        }
    }
}

impl Desk {
    fn send(&self, job: Job) -> Result<(), Failed> {
        let mut jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        let job = match &*jobs {
            Some(thread) => match thread.send(job) {
                Ok(()) => return Ok(()),
                Err(mpsc::SendError(job)) => job,
            },
            None => job,
        };
        let (thread, work_for) = mpsc::channel();
        let (path, durability) = (self.path.clone(), self.durability);
        let started = std::thread::Builder::new().name("ledger".to_owned()).spawn(move || work((&path, durability), &work_for));
        started.map_err(sqlx::Error::Io)?;
        // It has just begun to listen.
        let _ = thread.send(job);
        *jobs = Some(thread);
        Ok(())
    }
}

/// The thread: one job after the other.
fn work(file: (&Path, Durability), jobs: &mpsc::Receiver<Job>) {
    let mut connection = None;
    while let Ok(job) = jobs.recv() {
        match job {
            Job::Write(rows, tell) => {
                let _ = tell.send(write(file, &mut connection, &rows));
            }
            Job::Close(tell) => {
                drop(connection);
                let _ = tell.send(());
                return;
            }
        }
    }
}

fn write(file: (&Path, Durability), slot: &mut Option<Connection>, rows: &[Row]) -> Result<(), Failed> {
    // One that fails is not put back.
    let mut connection = match slot.take() {
        Some(connection) => connection,
        None => open(file)?,
    };
    all(&mut connection, rows)?;
    *slot = Some(connection);
    Ok(())
}

fn open((path, durability): (&Path, Durability)) -> Result<Connection, Failed> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(PATIENCE)?;
    connection.execute_batch(MANNERS)?;
    connection.execute_batch(sync(durability))?;
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
