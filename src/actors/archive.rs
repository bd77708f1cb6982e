//! The store as the gateway's other threads ask it: on a thread of its own. Connections belong to the reactor of the thread that
//! made them; on a worker's, its requests would delay everyone's.

use std::future::Future;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use actix::ArbiterHandle;
use tokio::sync::oneshot;

use super::keys::Keys;
use super::ledger::Ledger;
use crate::clock::Clock;
use crate::settings;
use crate::store::{Failed, Store};
use crate::telemetry::Metrics;

/// Opening takes no longer than this.
const OPENING: Duration = Duration::from_secs(30);
/// How long a question about usage waits for rows that are on their way.
const FLUSH: Duration = Duration::from_secs(5);

/// See the module's text.
#[derive(Clone, Debug)]
pub struct Archive {
    store: Store,
    stage: ArbiterHandle,
    /// The callers' keys in it.
    pub keys: Arc<Keys>,
    /// Where rows are put; None: there is no ledger.
    pub ledger: Option<Arc<Ledger>>,
}

impl Archive {
    /// Opens the store on the thread of `stage`, and the ledger on that of `writing`. None where nothing is kept. `own` tells
    /// this process from others of the same store.
    ///
    /// # Errors
    /// Where the store can't be used.
    pub fn open(
        settings: &settings::Store,
        own: String,
        (stage, writing): (ArbiterHandle, &ArbiterHandle),
        clock: Clock,
        metrics: &Arc<Metrics>,
    ) -> Result<Option<Self>, Failed> {
        let (tell, told) = mpsc::channel();
        let (keep, durability) = (settings.keep.clone(), settings.durability);
        stage.spawn(async move {
            let opened = async {
                let Some(store) = Store::lasting(&keep, durability).await? else { return Ok(None) };
                let keys = Keys::start(store.clone()).await;
                Ok(Some((store, keys)))
            };
            let _ = tell.send(opened.await);
        });
        // At the start alone: nothing is served yet.
        let opened = told.recv_timeout(OPENING).unwrap_or(Err(Failed::Late(OPENING)))?;
        let Some((store, keys)) = opened else { return Ok(None) };
        let ledger = (settings.ledger != settings::Ledger::Off)
            .then(|| Ledger::start(store.clone(), settings, own, writing, clock, Arc::clone(metrics)));
        Ok(Some(Self { store, stage, keys, ledger }))
    }

    /// Asks the store something, on its thread.
    ///
    /// # Errors
    /// What the question says, or that it was never answered.
    pub async fn ask<T, F>(&self, question: impl FnOnce(Store) -> F + Send + 'static) -> Result<T, Failed>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Failed>> + Send + 'static,
    {
        let (tell, told) = oneshot::channel();
        let store = self.store.clone();
        self.stage.spawn(async move {
            let _ = tell.send(question(store).await);
        });
        told.await.unwrap_or(Err(Failed::Gone))
    }

    /// Returns once every row that was put before is in the store, as far as it takes them.
    pub async fn flush(&self) {
        if let Some(ledger) = &self.ledger {
            ledger.flush(FLUSH).await;
        }
    }

    /// Writes what is left, and closes the store.
    pub async fn close(&self) {
        match &self.ledger {
            Some(ledger) => ledger.close(FLUSH).await,
            None => self.store.close().await,
        }
    }
}
