//! The ledger's actor itself: what it holds, and what it does next. One write at a time is under way; while it is, the queue
//! is still emptied, so that nothing waits in memory for longer than the journal takes.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::MissedTickBehavior;

use super::journal::{Journal, Loading, lines};
use super::{Condition, Order, Shared, TICK};
use crate::base::Moment;
use crate::clock::Clock;
use crate::ledger::Row;
use crate::store::{Failed, Store};
use crate::telemetry::Metrics;

/// Rows of one transaction at most.
const BATCH: usize = 4_096;
/// Rows that are loaded from the journal at a time: not so many that fresh ones would wait for them.
const CHUNK: usize = 1_024;
/// Rows that have waited for longer are put into the journal, too.
const LATE: Duration = Duration::from_millis(40);
/// A write that takes longer is given up.
const GIVE_UP: Duration = Duration::from_secs(15);
/// After a failure the store, or the journal, is left alone for this long, doubling,
const REST: Duration = Duration::from_millis(200);
/// up to this.
const LONGEST_REST: Duration = Duration::from_secs(2);
/// Rows that are held in memory where neither store nor journal takes them. More are lost, the oldest first.
const MOST_HELD: usize = 100_000;
/// How often old rows are looked for, and what others have left.
const HOUSEKEEPING: Duration = Duration::from_secs(60);
/// Rows that are deleted at a time.
const FORGOTTEN: u32 = 1_000;
/// How long the end may take before what is left goes into the journal.
const LAST_WRITES: Duration = Duration::from_secs(3);

/// A write under way.
struct Writing {
    ended: oneshot::Receiver<Result<bool, Failed>>,
    work: Work,
    since: Moment,
    /// Since when the oldest of its rows has waited.
    oldest: Moment,
}

/// What is being written.
enum Work {
    /// Fresh rows, and where in the journal they are, too.
    Batch(Arc<Vec<Row>>, Option<u32>),
    /// Rows of the journal.
    Chunk(Loading, Arc<Vec<Row>>),
    /// Old rows are deleted.
    Forgetting,
}

/// Something that failed lately: when it may be asked again, and how long it rests the next time.
#[derive(Default)]
struct Rest(Option<(Moment, Duration)>);

impl Rest {
    fn is_over(&self, now: Moment) -> bool {
        self.0.is_none_or(|(until, _)| now >= until)
    }

    fn begin(&mut self, now: Moment) {
        let long = self.0.map_or(REST, |(_, last)| (last * 2).min(LONGEST_REST));
        self.0 = Some((now.plus(long), long));
    }
}

pub(super) struct Scribe {
    store: Store,
    retention: Duration,
    clock: Clock,
    metrics: Arc<Metrics>,
    shared: Arc<Shared>,
    /// Taken from the queue, oldest first, and since when there are any.
    held: Vec<Row>,
    held_since: Moment,
    journal: Journal,
    /// Since when the journal, or what is loaded of it, has had a row.
    journal_since: Option<Moment>,
    /// The file that is being loaded, and its rows that are to be written again.
    loading: Option<(Loading, Option<Arc<Vec<Row>>>)>,
    writing: Option<Writing>,
    store_rests: Rest,
    journal_rests: Rest,
    condition: Condition,
    housekeeping: Moment,
    waiting: Vec<oneshot::Sender<()>>,
    closing: Option<(oneshot::Sender<()>, Moment)>,
}

impl Scribe {
    pub(super) fn new(store: Store, retention: Duration, own: String, clock: Clock, metrics: Arc<Metrics>, shared: Arc<Shared>) -> Self {
        let mut journal = Journal::new(store.folder(), store.stem(), own);
        journal.adopt();
        let now = clock.now();
        Self {
            store,
            retention,
            clock,
            metrics,
            shared,
            held: Vec::new(),
            held_since: now,
            journal_since: None,
            journal,
            loading: None,
            writing: None,
            store_rests: Rest::default(),
            journal_rests: Rest::default(),
            condition: Condition::default(),
            housekeeping: now.plus(HOUSEKEEPING / 10),
            waiting: Vec::new(),
            closing: None,
        }
    }

    /// Runs until it is closed.
    pub(super) async fn run(mut self, mut rows: mpsc::Receiver<Row>, mut orders: mpsc::Receiver<Order>, wake: Arc<Notify>) {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let ended = tokio::select! {
                _ = ticks.tick() => None,
                () = wake.notified() => None,
                order = orders.recv() => {
                    self.obey(order);
                    None
                }
                ended = ended(&mut self.writing) => Some(ended),
            };
            self.take(&mut rows);
            if let Some(ended) = ended {
                self.written(ended);
            }
            self.begin();
            self.keep();
            self.publish();
            if self.answered() {
                break;
            }
        }
        self.store.close().await;
        if let Some((answer, _)) = self.closing.take() {
            let _ = answer.send(());
        }
    }

    fn obey(&mut self, order: Option<Order>) {
        match order {
            Some(Order::Flush(answer)) => self.waiting.push(answer),
            Some(Order::Close(answer)) => self.closing = Some((answer, self.clock.now().plus(LAST_WRITES))),
            // Nobody is left who could put a row.
            None if self.closing.is_none() => self.closing = Some((oneshot::channel().0, self.clock.now().plus(LAST_WRITES))),
            None => {}
        }
    }

    /// Empties the queue.
    fn take(&mut self, rows: &mut mpsc::Receiver<Row>) {
        if self.held.is_empty() {
            self.held_since = self.clock.now();
        }
        let known = self.held.len();
        while let Ok(row) = rows.try_recv() {
            self.held.push(row);
        }
        self.metrics.audience.rows(&self.held[known..]);
        let over = self.held.len().saturating_sub(MOST_HELD);
        if over > 0 {
            self.metrics.ledger_lost.inc_by(over as u64);
            self.held.drain(..over);
        }
    }

    /// Begins the next write, if none is under way.
    fn begin(&mut self) {
        let now = self.clock.now();
        if self.writing.is_some() || !self.store_rests.is_over(now) {
            return;
        }
        if !self.held.is_empty() {
            let later = self.held.split_off(self.held.len().min(BATCH));
            let rows = Arc::new(std::mem::replace(&mut self.held, later));
            let oldest = std::mem::replace(&mut self.held_since, now);
            let ended = self.write(&rows, false);
            self.writing = Some(Writing { ended, work: Work::Batch(rows, None), since: now, oldest });
            return;
        }
        if self.loading.is_none() && !self.journal.is_empty() {
            self.loading = self.journal.load().map(|loading| (loading, None));
        }
        if let Some((mut loading, rows)) = self.loading.take() {
            let rows = rows.unwrap_or_else(|| Arc::new(loading.next(CHUNK)));
            if rows.is_empty() {
                self.metrics.ledger_lost.inc_by(loading.damaged);
                loading.done();
                return;
            }
            let ended = self.write(&rows, true);
            self.writing = Some(Writing { ended, work: Work::Chunk(loading, rows), since: now, oldest: now });
            return;
        }
        if now >= self.housekeeping {
            self.journal.adopt();
            let ended = self.forget();
            self.writing = Some(Writing { ended, work: Work::Forgetting, since: now, oldest: now });
        }
    }

    fn write(&self, rows: &Arc<Vec<Row>>, again: bool) -> oneshot::Receiver<Result<bool, Failed>> {
        let (store, rows) = (self.store.clone(), Arc::clone(rows));
        spawn(async move { store.write(rows, again).await.map(|()| false) })
    }

    fn forget(&self) -> oneshot::Receiver<Result<bool, Failed>> {
        let (store, before) = (self.store.clone(), self.clock.wall().saturating_sub(self.retention));
        spawn(async move { store.forget(before, FORGOTTEN).await })
    }

    /// A write has ended.
    fn written(&mut self, result: Result<bool, Failed>) {
        let now = self.clock.now();
        let Some(Writing { work, oldest, .. }) = self.writing.take() else { return };
        match &result {
            Ok(_) => {
                if self.condition.store.take().is_some() {
                    tracing::warn!("the store takes the ledger's rows again");
                }
                self.store_rests = Rest::default();
            }
            Err(error) => {
                if self.condition.store.is_none() {
                    tracing::error!(%error, "the store doesn't take the ledger's rows: they go to the journal");
                }
                self.condition.store = Some(error.to_string());
                self.store_rests.begin(now);
            }
        }
        match (work, result) {
            (Work::Batch(rows, Some(place)), Ok(_)) => self.journal.settled(place, rows.len() as u64),
            (Work::Batch(..), Ok(_)) | (Work::Batch(_, Some(_)), Err(_)) => {}
            (Work::Batch(rows, None), Err(_)) => {
                // Before what came later. If they reached the store after all, the journal's way passes them over.
                if self.journalled(&rows).is_none() {
                    let later = std::mem::take(&mut self.held);
                    self.held = rows.iter().cloned().chain(later).collect();
                    self.held_since = oldest;
                }
            }
            (Work::Chunk(loading, _), Ok(_)) => self.loading = Some((loading, None)),
            (Work::Chunk(loading, rows), Err(_)) => self.loading = Some((loading, Some(rows))),
            (Work::Forgetting, Ok(true)) => self.housekeeping = now,
            (Work::Forgetting, Ok(false) | Err(_)) => self.housekeeping = now.plus(HOUSEKEEPING),
        }
    }

    /// Puts into the journal what has waited too long for the store.
    fn keep(&mut self) {
        let now = self.clock.now();
        if let Some(Writing { work: Work::Batch(rows, None), since, .. }) = &self.writing
            && now.since(*since) > LATE
        {
            let rows = Arc::clone(rows);
            let place = self.journalled(&rows);
            if let Some(Writing { work: Work::Batch(_, kept), .. }) = &mut self.writing {
                *kept = place;
            }
        }
        let late = now.since(self.held_since) > LATE || !self.store_rests.is_over(now);
        if !self.held.is_empty() && late {
            let held = std::mem::take(&mut self.held);
            if self.journalled(&held).is_none() {
                self.held = held;
            }
        }
    }

    /// Puts rows into the journal, and tells where; None where it can't. The thread waits for the disk: it has nothing else to do.
    fn journalled(&mut self, rows: &[Row]) -> Option<u32> {
        let now = self.clock.now();
        if !self.journal_rests.is_over(now) {
            return None;
        }
        match self.journal.append(&lines(rows), rows.len() as u64) {
            Ok(place) => {
                self.journal_rests = Rest::default();
                self.condition.journal = None;
                Some(place)
            }
            Err(error) => {
                if self.condition.journal.is_none() {
                    tracing::error!(%error, "the ledger's journal can't be written: rows are held in memory, and lost beyond that");
                }
                self.condition.journal = Some(error.to_string());
                self.journal_rests.begin(now);
                None
            }
        }
    }

    fn publish(&mut self) {
        let loading = self.loading.as_ref().map(|(loading, _)| loading);
        let chunk = match &self.writing {
            Some(Writing { work: Work::Chunk(loading, _), .. }) => Some(loading),
            _ => None,
        };
        self.condition.journaled = self.journal.rows() + loading.or(chunk).map_or(0, Loading::rows);
        let writing = match &self.writing {
            Some(Writing { work: Work::Batch(rows, None), .. }) => rows.len(),
            _ => 0,
        };
        let held = self.condition.journaled + (self.held.len() + writing) as u64;
        self.shared.held.store(held, Ordering::Relaxed);
        self.metrics.ledger_queue.set(i64::try_from(held).unwrap_or(i64::MAX));
        let lag = self.lag();
        self.metrics.ledger_lag.set(lag.as_secs_f64());
        let mut published = self.shared.condition.lock().unwrap_or_else(PoisonError::into_inner);
        if *published != self.condition {
            *published = self.condition.clone();
        }
    }

    /// For how long the oldest row that isn't in the store has waited.
    fn lag(&mut self) -> Duration {
        let now = self.clock.now();
        self.journal_since = if self.condition.journaled == 0 { None } else { self.journal_since.or(Some(self.held_since)) };
        let writing = match &self.writing {
            Some(Writing { work: Work::Batch(_, None), oldest, .. }) => Some(*oldest),
            _ => None,
        };
        let held = (!self.held.is_empty()).then_some(self.held_since);
        let oldest = [self.journal_since, writing, held].into_iter().flatten().min();
        oldest.map_or(Duration::ZERO, |oldest| now.since(oldest))
    }

    /// Answers those who wait for everything to be written; whether it is closed.
    fn answered(&mut self) -> bool {
        let now = self.clock.now();
        let idle = self.writing.as_ref().is_none_or(|writing| matches!(writing.work, Work::Forgetting));
        let all = self.held.is_empty() && idle && self.loading.is_none() && self.journal.is_empty();
        let in_vain = self.condition.store.is_some();
        if all || in_vain {
            self.waiting.drain(..).for_each(|answer| _ = answer.send(()));
        }
        let Some((_, deadline)) = self.closing else { return false };
        if !all && now < deadline && !in_vain {
            return false;
        }
        // What the store didn't take in time: whoever starts next loads it.
        if let Some(Writing { work: Work::Batch(rows, None), .. }) = self.writing.take() {
            self.journalled(&rows);
        }
        let held = std::mem::take(&mut self.held);
        if !held.is_empty() && self.journalled(&held).is_none() {
            tracing::error!(rows = held.len(), "the ledger's last rows are lost: neither store nor journal takes them");
        }
        self.journal.end();
        true
    }
}

/// Does it beside the actor; told when it ends, or takes too long.
fn spawn(work: impl Future<Output = Result<bool, Failed>> + Send + 'static) -> oneshot::Receiver<Result<bool, Failed>> {
    let (tell, told) = oneshot::channel();
    actix_rt::spawn(async move {
        let ended = tokio::time::timeout(GIVE_UP, work).await.unwrap_or(Err(Failed::Late(GIVE_UP)));
        let _ = tell.send(ended);
    });
    told
}

/// The end of the write under way; never, where there is none.
async fn ended(writing: &mut Option<Writing>) -> Result<bool, Failed> {
    match writing {
        // A task that panicked tells nothing.
        Some(writing) => (&mut writing.ended).await.unwrap_or(Err(Failed::Late(GIVE_UP))),
        None => std::future::pending().await,
    }
}
