//! One connection to Redis, and whether it is any good: who is late twice in a row, or can't be reached, isn't waited for until
//! it has answered a question of nobody's in time.

use std::cell::Cell;
use std::future::Future;
use std::pin::pin;
use std::rc::Weak;
use std::time::Duration;

use redis::Client;
use redis::aio::{ConnectionManager, ConnectionManagerConfig};

use super::Link;

/// An answer that takes longer than so many looks, each so long, comes too late: 50 ms.
const LOOKS: u32 = 10;
const STEP: Duration = Duration::from_millis(5);
/// However few looks that were.
const LONGEST: Duration = Duration::from_millis(500);
/// So many such in a row, and nothing waits for Redis any more.
const MISSES: u32 = 2;
/// How often a Redis that is away is asked whether it is back.
const LOOK: Duration = Duration::from_millis(250);
/// Limits are decided alone for so long yet when it is back.
const GRACE: Duration = Duration::from_secs(1);
/// What nobody waits for any more is given up by the connection after this.
const GIVE_UP: Duration = Duration::from_secs(10);

/// See the module's text.
pub(super) struct Lane {
    connection: ConnectionManager,
    /// What it is for, in the log.
    pub(super) of: &'static str,
    /// Answers in a row that didn't come in time.
    missed: Cell<u32>,
    /// It isn't asked until it has answered again.
    away: Cell<bool>,
}

impl Lane {
    /// Connects when it is first asked. None where the address can't be one.
    pub(super) fn new(client: Client, of: &'static str) -> Option<Self> {
        let config = ConnectionManagerConfig::new()
            .set_response_timeout(Some(GIVE_UP))
            .set_connection_timeout(Some(Duration::from_secs(2)))
            .set_number_of_retries(1);
        let connection = ConnectionManager::new_lazy_with_config(client, config).ok()?;
        Some(Self { connection, of, missed: Cell::new(0), away: Cell::new(false) })
    }

    /// A handle of the connection.
    pub(super) fn connection(&self) -> ConnectionManager {
        self.connection.clone()
    }

    /// Whether it isn't to be waited for.
    pub(super) fn is_away(&self) -> bool {
        self.away.get()
    }

    /// It answered in time.
    pub(super) fn answered(&self) {
        self.missed.set(0);
    }

    /// It didn't; true where it is away from now on.
    pub(super) fn missed(&self, unreachable: bool) -> bool {
        self.missed.set(self.missed.get() + 1);
        (unreachable || self.missed.get() >= MISSES) && !self.away.replace(true)
    }
}

/// What is done in time. Where this thread itself is late, a look takes as long as the thread's turn and counts for no more than
/// one: it is Redis' time that is measured, not the time that its answer lay here unread.
pub(super) async fn in_time<T>(work: impl Future<Output = T>) -> Option<T> {
    let mut work = pin!(work);
    let looks = async {
        for _ in 0..LOOKS {
            if let Ok(done) = tokio::time::timeout(STEP, work.as_mut()).await {
                return Some(done);
            }
        }
        None
    };
    tokio::time::timeout(LONGEST, looks).await.ok().flatten()
}

/// Asks again and again, until Redis answers in time.
pub(super) async fn recover(link: Weak<Link>, lane: fn(&Link) -> &Lane) {
    loop {
        tokio::time::sleep(LOOK).await;
        let Some(link) = link.upgrade() else { return };
        let lane = lane(&link);
        let mut connection = lane.connection();
        let ping = async { redis::cmd("PING").query_async::<String>(&mut connection).await };
        if let Some(Ok(_)) = in_time(ping).await {
            if std::ptr::eq(lane, &link.limits) {
                // It may have been started anew.
                let _ = in_time(link.prepare()).await;
                link.tell_all();
                // The others find it back at about the same time: nobody goes by what it says before all have told.
                tokio::time::sleep(GRACE).await;
                link.tell_all();
            }
            lane.answered();
            lane.away.set(false);
            link.metrics.shared(true);
            tracing::info!(of = lane.of, "Redis is back");
            return;
        }
    }
}
