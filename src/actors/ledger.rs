//! The ledger's actor: takes rows from all threads, writes them in batches, and never lets a request wait. While the store is
//! down or slow, rows go to a journal and from there into the store when it returns, each exactly once.
//!
//! Rows lie in a queue that nobody wakes up for: it is emptied every [`TICK`], or sooner when it fills. So a row costs its
//! request one push, and what a killed process can lose is what came since the last tick and what its write had not reached.

mod journal;
mod scribe;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use actix::ArbiterHandle;
use tokio::sync::{Notify, mpsc, oneshot};

pub use self::journal::journaled;
use self::scribe::Scribe;
use crate::clock::Clock;
use crate::ledger::Row;
use crate::settings;
use crate::store::Store;
use crate::telemetry::Metrics;

/// Rows that may wait to be taken: more than a second's worth of a busy gateway.
const QUEUE: usize = 65_536;
/// When so many wait, they are taken at once.
const PLENTY: usize = 2_048;
/// How often they are taken.
const TICK: Duration = Duration::from_millis(20);

/// How the ledger is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Condition {
    /// Why the store doesn't take rows; None: it does.
    pub store: Option<String>,
    /// Why the journal doesn't; None: it does.
    pub journal: Option<String>,
    /// Rows in the journal.
    pub journaled: u64,
}

/// Where rows are put, from any thread.
#[derive(Debug)]
pub struct Ledger {
    queue: mpsc::Sender<Row>,
    wake: Arc<Notify>,
    orders: mpsc::Sender<Order>,
    keyed_only: bool,
    condition: Arc<Shared>,
    metrics: Arc<Metrics>,
}

/// What the actor publishes.
#[derive(Debug, Default)]
struct Shared {
    condition: Mutex<Condition>,
    /// Rows taken that aren't in the store yet.
    held: AtomicU64,
}

/// What it is told besides rows.
enum Order {
    /// Answer once every row that was put before is in the store, or can't be.
    Flush(oneshot::Sender<()>),
    /// The same, then keep what is left and end.
    Close(oneshot::Sender<()>),
}

impl Ledger {
    /// Starts the actor on the store's thread. `own` tells this process from others of the same store.
    pub fn start(
        store: Store,
        settings: &settings::Store,
        own: String,
        stage: &ArbiterHandle,
        clock: Clock,
        metrics: Arc<Metrics>,
    ) -> Arc<Self> {
        let (queue, rows) = mpsc::channel(QUEUE);
        let (orders, ordered) = mpsc::channel(16);
        let ledger = Arc::new(Self {
            queue,
            wake: Arc::default(),
            orders,
            keyed_only: settings.ledger == settings::Ledger::Keyed,
            condition: Arc::default(),
            metrics: Arc::clone(&metrics),
        });
        let scribe = Scribe::new(store, settings.retention, own, clock, metrics, Arc::clone(&ledger.condition));
        let wake = Arc::clone(&ledger.wake);
        stage.spawn(scribe.run(rows, ordered, wake));
        ledger
    }

    /// Whether a request of such a caller gets a row.
    pub fn wants(&self, keyed: bool) -> bool {
        keyed || !self.keyed_only
    }

    /// Puts a row. Never waits: a row that doesn't fit is lost, and counted as that.
    pub fn put(&self, row: Row) {
        if self.queue.try_send(row).is_err() {
            self.metrics.ledger_lost.inc();
        } else if self.queue.capacity() == QUEUE - PLENTY {
            self.wake.notify_one();
        }
    }

    /// Returns once every row that was put before is in the store, or `patience` is over.
    pub async fn flush(&self, patience: Duration) {
        self.order(Order::Flush, patience).await;
    }

    /// Flushes, keeps what is left in the journal, and ends the actor.
    pub async fn close(&self, patience: Duration) {
        self.order(Order::Close, patience).await;
    }

    async fn order(&self, order: fn(oneshot::Sender<()>) -> Order, patience: Duration) {
        let (answer, answered) = oneshot::channel();
        let asked = async {
            if self.orders.send(order(answer)).await.is_ok() {
                let _ = answered.await;
            }
        };
        let _ = tokio::time::timeout(patience, asked).await;
    }

    /// How it is.
    pub fn condition(&self) -> Condition {
        self.condition.condition.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Rows that aren't in the store yet.
    pub fn backlog(&self) -> u64 {
        (QUEUE - self.queue.capacity()) as u64 + self.condition.held.load(Ordering::Relaxed)
    }
}
