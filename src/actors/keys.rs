//! The keys that the store knows, as this gateway knows them: all of them in memory, looked for changes a few times a second, so
//! that a request never waits for a database. A key that nobody has seen waits for the next look, which all who wait share: how
//! many wrong ones come makes no difference to the store.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};
use tokio::sync::{Notify, watch};

use crate::access::KeyRing;
use crate::store::{KeyRecord, Store};

/// How often changes are looked for: a key that another gateway has revoked is refused here within a second.
const LOOK: Duration = Duration::from_millis(250);
/// Looks are at least so far apart.
const GAP: Duration = Duration::from_millis(20);
/// So many revocations may wait for the next look.
const HEARD: usize = 1_024;
/// A look that takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(2);

/// What the store is known to hold.
#[derive(Debug)]
pub struct Known {
    /// Its keys.
    pub ring: KeyRing,
    /// Whether it holds any, be they revoked: a gateway that had keys isn't open to all once they have ended. True where that
    /// isn't known.
    pub any: bool,
    /// Whether it answered the last look.
    pub answers: bool,
}

/// See the module's text.
#[derive(Debug)]
pub struct Keys {
    known: ArcSwap<Known>,
    asked: Notify,
    begun: AtomicU64,
    ended: watch::Sender<u64>,
    /// Those that another gateway says are revoked, and when it said so: the store may not tell it.
    revoked: Mutex<Vec<(String, Duration)>>,
}

impl Keys {
    /// Looks once, then goes on looking on the store's thread. Must run there.
    pub async fn start(store: Store) -> Arc<Self> {
        let known = Known { ring: KeyRing::default(), any: true, answers: false };
        let keys = Arc::new(Self {
            known: ArcSwap::from_pointee(known),
            asked: Notify::new(),
            begun: AtomicU64::new(0),
            ended: watch::Sender::new(0),
            revoked: Mutex::default(),
        });
        let mut looker = Looker { store, version: -1, records: HashMap::new() };
        looker.look(&keys).await;
        let own = Arc::clone(&keys);
        actix_rt::spawn(async move {
            loop {
                tokio::select! {
                    () = tokio::time::sleep(LOOK) => {}
                    () = own.asked.notified() => {}
                }
                if looker.store.is_closed() {
                    return;
                }
                looker.look(&own).await;
                tokio::time::sleep(GAP).await;
            }
        });
        keys
    }

    /// What is known now.
    pub fn known(&self) -> Guard<Arc<Known>> {
        self.known.load()
    }

    /// Has the store be looked at anew.
    pub fn look_soon(&self) {
        self.asked.notify_one();
    }

    /// Another gateway says that these are revoked, by their ids: they are refused from the next look on, be the store there or not.
    pub fn revoke(&self, ids: &[String], wall: Duration) {
        let mut revoked = self.revoked.lock().unwrap_or_else(PoisonError::into_inner);
        let room = HEARD.saturating_sub(revoked.len());
        revoked.extend(ids.iter().take(room).map(|id| (id.clone(), wall)));
    }

    /// Returns once the store was looked at anew, or doesn't answer.
    pub async fn look(&self) {
        let next = self.begun.load(Ordering::Acquire) + 1;
        let mut ended = self.ended.subscribe();
        self.asked.notify_one();
        let _ = tokio::time::timeout(PATIENCE, ended.wait_for(|ended| *ended >= next)).await;
    }
}

struct Looker {
    store: Store,
    version: i64,
    records: HashMap<Arc<str>, KeyRecord>,
}

impl Looker {
    async fn look(&mut self, keys: &Keys) {
        let number = keys.begun.fetch_add(1, Ordering::AcqRel) + 1;
        let looked = tokio::time::timeout(PATIENCE, self.store.keys_since(self.version)).await;
        let before = keys.known.load();
        let heard = self.hear(keys);
        match looked {
            Ok(Ok((version, changed))) => {
                if version != self.version || !before.answers || heard {
                    self.version = version;
                    self.records.extend(changed.into_iter().map(|record| (Arc::clone(&record.key.id), record)));
                    let known = Known { ring: ring(self.records.values()), any: !self.records.is_empty(), answers: true };
                    keys.known.store(Arc::new(known));
                }
            }
            Ok(Err(_)) | Err(_) if before.answers || heard => {
                if before.answers {
                    tracing::error!("the store doesn't tell its keys: those that are known are served, others get 503");
                }
                keys.known.store(Arc::new(Known { ring: ring(self.records.values()), any: before.any, answers: false }));
            }
            Ok(Err(_)) | Err(_) => {}
        }
        keys.ended.send_replace(number);
    }

    /// Takes what other gateways have said; whether a key is refused now that wasn't.
    fn hear(&mut self, keys: &Keys) -> bool {
        let heard = std::mem::take(&mut *keys.revoked.lock().unwrap_or_else(PoisonError::into_inner));
        let mut changed = false;
        for (id, at) in heard {
            if let Some(record) = self.records.get_mut(&*id).filter(|record| record.key.revoked.is_none()) {
                record.key.revoked = Some(at);
                changed = true;
            }
        }
        changed
    }
}

fn ring<'a>(records: impl Iterator<Item = &'a KeyRecord>) -> KeyRing {
    let mut ring = KeyRing::default();
    for record in records {
        let key = Arc::new(record.key.clone());
        ring.add(record.digest, Arc::clone(&key), None);
        if let Some((digest, until)) = record.old {
            ring.add(digest, key, Some(until));
        }
    }
    ring
}
