//! News between gateways, where `[shared]` names a Redis: callers' keys that were made, changed or revoked, so that the others
//! look at once; breakers that have opened and providers' keys that rest, which the others take as a hint. By publish and
//! subscribe, on one connection for each way and a thread that serves nobody: no request waits for it.
//!
//! A message may be lost, Redis be away: each gateway looks for keys a few times a second anyway, and after each connection, and
//! what is failing is said again every few seconds. Without Redis each gateway has what it finds out by itself.

mod bulletin;
mod hearsay;
mod lookout;
mod peers;

use std::sync::Arc;
use std::time::Duration;

use actix::ArbiterHandle;
use arc_swap::ArcSwap;
use futures_util::StreamExt;
use redis::aio::MultiplexedConnection;
use redis::{Client, RedisError};
use tokio::sync::{mpsc, watch};

use self::bulletin::{Book, Bulletin};
use self::lookout::Lookout;
use self::peers::Peers;
use super::keys::Keys;
use super::routes::Routes;
use crate::base::{Moment, Secret};
use crate::clock::Clock;
use crate::settings::Settings;
use crate::telemetry::Metrics;

/// Where all gateways of one Redis hear each other.
const CHANNEL: &str = "stagedoor:news";
/// How often the board is looked at.
const LOOK: Duration = Duration::from_millis(100);
/// How often what is failing is said again, and something even where nothing is.
const AGAIN: Duration = Duration::from_secs(5);
/// Who doesn't hear itself for so long hears nobody.
const DEAF: Duration = Duration::from_secs(16);
/// Anything with Redis that takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(2);
/// Between two tries to reach it.
const PAUSE: Duration = Duration::from_millis(500);
/// Changes of keys that may wait to be told.
const WAITING: usize = 256;
/// No gateway says so much at once: it isn't read.
const LONGEST: usize = 256 << 10;

/// The way to the gateway's own reporter. Telling it something waits for nothing.
#[derive(Clone, Debug)]
pub struct News {
    tell: mpsc::Sender<Changed>,
    terms: watch::Sender<Arc<Terms>>,
}

/// Callers' keys have changed; the one that was revoked.
#[derive(Debug)]
struct Changed(Option<String>);

/// What the settings in force say.
#[derive(Debug, Default)]
struct Terms {
    url: Option<Secret>,
    book: Book,
}

impl News {
    /// Starts the reporter on a thread. `own`: what tells this gateway from all others.
    pub fn start(
        stage: &ArbiterHandle,
        own: String,
        table: Arc<ArcSwap<Routes>>,
        keys: Option<Arc<Keys>>,
        clock: Clock,
        metrics: Arc<Metrics>,
    ) -> Self {
        let (tell, told) = mpsc::channel(WAITING);
        let (terms, heard) = watch::channel(Arc::default());
        let reporter =
            Reporter { own, table, keys, clock, metrics, lookout: Lookout::default(), peers: Peers::default(), told, terms: heard };
        stage.spawn(reporter.work());
        Self { tell, terms }
    }

    /// Other settings are in force.
    pub fn follow(&self, settings: &Settings) {
        let url = settings.shared.url.clone();
        let book = if url.is_some() { Book::of(&settings.providers) } else { Book::default() };
        self.terms.send_replace(Arc::new(Terms { url, book }));
    }

    /// Callers' keys have changed in the store. `revoked`: the id of the one that is refused from now on.
    pub fn keys_changed(&self, revoked: Option<&str>) {
        // One that is full holds the same news already, but for the id; that is in the store.
        let _ = self.tell.try_send(Changed(revoked.map(str::to_owned)));
    }
}

struct Reporter {
    own: String,
    table: Arc<ArcSwap<Routes>>,
    keys: Option<Arc<Keys>>,
    clock: Clock,
    metrics: Arc<Metrics>,
    lookout: Lookout,
    peers: Peers,
    told: mpsc::Receiver<Changed>,
    terms: watch::Receiver<Arc<Terms>>,
}

/// Why a conversation ended.
#[derive(Debug, thiserror::Error)]
enum Ended {
    /// The settings name another Redis, or none.
    #[error("the settings name another")]
    Moved,
    /// The gateway is gone.
    #[error("the gateway has stopped")]
    Gone,
    #[error("{0}")]
    Redis(#[from] RedisError),
    #[error("it doesn't answer")]
    Late,
    #[error("it has closed the connection")]
    Closed,
    #[error("nothing is heard from it any more")]
    Deaf,
}

impl Reporter {
    async fn work(mut self) {
        let mut known_away = false;
        loop {
            let terms = Arc::clone(&self.terms.borrow_and_update());
            let Some(url) = &terms.url else {
                tokio::select! {
                    changed = self.terms.changed() => if changed.is_err() { return },
                    told = self.told.recv() => if told.is_none() { return },
                }
                continue;
            };
            match self.converse(url, &mut known_away).await {
                Ended::Gone => return,
                Ended::Moved => {}
                lost => {
                    if !std::mem::replace(&mut known_away, true) {
                        tracing::warn!(error = %lost, "news between gateways: Redis is away; keys are looked for in the store, breakers are each gateway's own");
                    }
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    /// Talks and listens until something ends it.
    async fn converse(&mut self, url: &Secret, known_away: &mut bool) -> Ended {
        let reached = async {
            let client = Client::open(url.expose())?;
            let mut ears = client.get_async_pubsub().await?;
            ears.subscribe(CHANNEL).await?;
            Ok::<_, RedisError>((ears.into_on_message(), client.get_multiplexed_async_connection().await?))
        };
        let (mut ears, mut mouth) = match tokio::time::timeout(PATIENCE, reached).await {
            Ok(Ok(both)) => both,
            Ok(Err(error)) => return error.into(),
            Err(_) => return Ended::Late,
        };
        if std::mem::take(known_away) {
            tracing::info!("news between gateways: Redis is back");
        }
        // What was said meanwhile was said to nobody.
        self.look_for_keys();
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let (mut heard_at, mut said_at) = (self.clock.now(), None);
        loop {
            let said = tokio::select! {
                changed = self.terms.changed() => match changed {
                    Ok(()) if self.terms.borrow_and_update().url.as_ref().map(Secret::expose) == Some(url.expose()) => continue,
                    Ok(()) => return Ended::Moved,
                    Err(_) => return Ended::Gone,
                },
                told = self.told.recv() => match told {
                    Some(Changed(revoked)) => Bulletin { keys: true, revoked: revoked.into_iter().collect(), ..Bulletin::default() },
                    None => return Ended::Gone,
                },
                message = ears.next() => match message {
                    Some(message) => {
                        if self.hear(message.get_payload_bytes()) {
                            heard_at = self.clock.now();
                        }
                        continue;
                    }
                    None => return Ended::Closed,
                },
                _ = look.tick() => {
                    let now = self.clock.now();
                    if now.since(heard_at) > DEAF {
                        return Ended::Deaf;
                    }
                    match self.look(said_at.is_none_or(|at| now.since(at) >= AGAIN), now) {
                        Some(bulletin) => {
                            if said_at.is_none_or(|at| now.since(at) >= AGAIN) {
                                said_at = Some(now);
                            }
                            bulletin
                        }
                        None => continue,
                    }
                }
            };
            if let Err(ended) = self.say(&mut mouth, said).await {
                return ended;
            }
        }
    }

    /// What there is to say; something in any case where it is time `again`.
    fn look(&mut self, again: bool, now: Moment) -> Option<Bulletin> {
        let terms = self.terms.borrow();
        let failing = self.lookout.look(&self.table.load(), &terms.book, again, now);
        (again || !failing.is_empty()).then(|| Bulletin { failing, ..Bulletin::default() })
    }

    async fn say(&mut self, mouth: &mut MultiplexedConnection, bulletin: Bulletin) -> Result<(), Ended> {
        let bulletin = Bulletin { from: self.own.clone(), ..bulletin };
        // Names and numbers always serialise.
        let text = serde_json::to_string(&bulletin).unwrap_or_default();
        let mut publish = redis::cmd("PUBLISH");
        let said = publish.arg(CHANNEL).arg(text).query_async::<u64>(mouth);
        let listeners = tokio::time::timeout(PATIENCE, said).await.map_err(|_| Ended::Late)??;
        self.metrics.shared_gateways.set(self.peers.listen(listeners, self.clock.now()));
        self.metrics.news_told.inc_by(bulletin.failing.len() as u64 + u64::from(bulletin.keys));
        Ok(())
    }

    /// Takes what was said; true where it was said by itself.
    fn hear(&mut self, said: &[u8]) -> bool {
        let read = (said.len() <= LONGEST).then(|| serde_json::from_slice::<Bulletin>(said).ok()).flatten();
        let Some(bulletin) = read else {
            tracing::debug!(bytes = said.len(), "news between gateways: a message that can't be read");
            return false;
        };
        if bulletin.from == self.own {
            return true;
        }
        self.metrics.shared_gateways.set(self.peers.hear(&bulletin.from, self.clock.now()));
        let taken = hearsay::take(&bulletin.failing, &self.table.load(), &self.terms.borrow().book, self.clock.now());
        if bulletin.keys {
            if let Some(keys) = &self.keys {
                keys.revoke(&bulletin.revoked, self.clock.wall());
            }
            self.look_for_keys();
        }
        self.metrics.news_heard.inc_by(taken as u64 + u64::from(bulletin.keys));
        false
    }

    fn look_for_keys(&self) {
        if let Some(keys) = &self.keys {
            keys.look_soon();
        }
    }
}
