//! The composition root: the only place that knows every part. Builds the gateway from settings, has it listen, ends it.

mod listening;
mod stopper;

pub use listening::can_listen;
pub use stopper::Stopper;

use std::hash::RandomState;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::sync::{Arc, Weak};
use std::time::Duration;

use actix::{Actor, Addr, Arbiter, ArbiterHandle};
use actix_web::dev::Server;
use arc_swap::ArcSwap;
use prometheus_client::collector::Collector;

use listening::{bind, serve};

use crate::access::{Allowances, Strangers};
use crate::actors::{Archive, Board, Cast, Gauges, Keeper, News, Reloader, Routes, Troupe};
use crate::base::{Moment, Secret, request_id};
use crate::clock::{Clock, seeded_rng};
use crate::http::Plane;
use crate::proxy::{self, Gateway, Names, Present, Press, Reach, SystemNames, Transport, Unusable, roll_call};
use crate::rehearsal::Script;
use crate::settings::{Bound, Keep, Settings, Source};
use crate::store::Failed;
use crate::telemetry::{Metrics, Process};

/// How often prices may change.
const QUARTER: Duration = Duration::from_secs(900);
/// The start waits so long at most to know what keys have spent.
const RECALLING: Duration = Duration::from_secs(10);
/// A collector has this long to take the last spans.
const LAST_SPANS: Duration = Duration::from_secs(2);
/// How often a drain looks whether all have gone.
const DRAIN_LOOK: Duration = Duration::from_millis(20);

/// Why the gateway can't run.
#[derive(Debug, thiserror::Error)]
pub enum CantRun {
    /// The address is taken or not ours.
    #[error("can't listen on {address}: {source}; free it, or set server.host and server.port")]
    Bind {
        /// As in the settings.
        address: String,
        /// The system's word.
        source: std::io::Error,
    },
    /// A provider's settings can't be used.
    #[error(transparent)]
    Provider(#[from] Unusable),
    /// The store can't be used.
    #[error(transparent)]
    Store(#[from] Failed),
    /// The server itself.
    #[error("the server failed: {0}")]
    Server(#[from] std::io::Error),
}

/// What whoever starts it brings along; by default what the machine has.
#[derive(Clone)]
pub struct Parts {
    /// Who turns names into addresses.
    pub names: Arc<dyn Names>,
    /// How providers of the dialect `rehearsal` play.
    pub script: Script,
    /// What the settings were read from, to be read again; None: there is no reload.
    pub source: Option<Source>,
    /// The admin key of this start alone, for settings that name none.
    pub admin_key: Option<Secret>,
}

impl Default for Parts {
    fn default() -> Self {
        Self { names: Arc::new(SystemNames), script: Script::default(), source: None, admin_key: None }
    }
}

/// A gateway that listens.
pub struct App {
    address: SocketAddr,
    server: Server,
    /// The admin plane's own, where `admin.listen` gives it one.
    admin: Option<(SocketAddr, Server)>,
    reloader: Addr<Reloader>,
    stopper: Stopper,
    stages: Stages,
}

/// The threads of the actors that belong to no worker. They end with the gateway: what the actors hold, such as the watch over
/// the settings' files, is the machine's, and there is not much of it.
struct Stages {
    /// Of the provider actors: a busy worker never delays what the breakers learn.
    providers: ArbiterHandle,
    /// Where files are read: that holds up no breaker.
    reading: ArbiterHandle,
    /// Where the store is asked: a request for usage holds up no row,
    asking: ArbiterHandle,
    /// and where it is written: no row holds up a key.
    writing: ArbiterHandle,
}

impl Stages {
    fn open() -> Self {
        let [providers, reading, asking, writing] = std::array::from_fn(|_| Arbiter::new().handle());
        Self { providers, reading, asking, writing }
    }
}

impl Drop for Stages {
    fn drop(&mut self) {
        for stage in [&self.providers, &self.reading, &self.asking, &self.writing] {
            stage.stop();
        }
    }
}

impl App {
    /// Builds everything and binds; port 0 takes a free one. Must run inside an actix system.
    ///
    /// # Errors
    /// Where the address can't be bound or a provider's settings can't be used.
    pub fn build(settings: Settings, parts: Parts) -> Result<Self, CantRun> {
        let clock = Clock::start();
        let listener = bind(&settings.server.host, settings.server.port)?;
        let address = listener.local_addr()?;
        let admin_listener = match settings.admin.listen.rsplit_once(':') {
            Some((host, port)) => Some(bind(host, port.parse().unwrap_or_default())?),
            None => None,
        };
        let plane = if admin_listener.is_some() { Plane::Serving } else { Plane::Whole };
        let (gateway, reloader, stages) = gateway(settings, parts, clock)?;
        let server = serve(&gateway, &reloader, plane, listener)?;
        let mut handles = vec![server.handle()];
        let admin = match admin_listener {
            Some(listener) => {
                let address = listener.local_addr()?;
                let server = serve(&gateway, &reloader, Plane::Admin, listener)?;
                handles.push(server.handle());
                Some((address, server))
            }
            None => None,
        };
        Ok(Self { address, server, admin, reloader, stopper: Stopper { gateway, handles }, stages })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where its admin plane listens, if that has an address of its own.
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin.as_ref().map(|(address, _)| *address)
    }

    /// What reads its settings again.
    pub fn reloader(&self) -> Addr<Reloader> {
        self.reloader.clone()
    }

    /// What stops it.
    pub fn stopper(&self) -> Stopper {
        self.stopper.clone()
    }

    /// What all its workers share.
    pub fn gateway(&self) -> Arc<Gateway> {
        Arc::clone(&self.stopper.gateway)
    }

    /// Serves until it is stopped.
    ///
    /// # Errors
    /// Where the server fails.
    pub async fn run_until_stopped(self) -> Result<(), CantRun> {
        let admin = async {
            match self.admin {
                Some((_, server)) => server.await,
                None => Ok(()),
            }
        };
        let (served, administered) = futures_util::future::join(self.server, admin).await;
        // Nobody puts a row any more. The ledger writes what it holds while its thread is still there.
        if let Some(archive) = &self.stopper.gateway.archive {
            archive.close().await;
        }
        farewell(&self.stopper.gateway).await;
        drop(self.stages);
        Ok(served.and(administered)?)
    }
}

/// What `build` does up to the socket, for `check`.
///
/// # Errors
/// Where a provider's settings can't be used.
pub fn dry_run(settings: &Settings) -> Result<(), Unusable> {
    transports(settings).map(drop)
}

fn transports(settings: &Settings) -> Result<Vec<Transport>, Unusable> {
    let Parts { names, script, .. } = Parts::default();
    Transport::all(settings, &Reach { names, script, clock: Clock::start() }, |_| None)
}

/// Asks each provider for its models, once with each of its keys.
///
/// # Errors
/// Where the settings can't be turned into requests.
pub fn call_roll(settings: &Settings) -> Result<Vec<Present>, Unusable> {
    let transports = transports(settings)?;
    actix_rt::System::new().block_on(roll_call(settings, &transports))
}

fn gateway(settings: Settings, parts: Parts, clock: Clock) -> Result<(Arc<Gateway>, Addr<Reloader>, Stages), CantRun> {
    let Parts { names, script, source, admin_key } = parts;
    let table: Arc<ArcSwap<Routes>> = Arc::default();
    let (cast, open) = (Arc::new(Cast::default()), [Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0))]);
    let metrics = Arc::new(metrics(&table, &cast, &open, clock));
    let stages = Stages::open();
    let own = request_id(clock.wall(), &mut seeded_rng());
    let archive = Archive::open(&settings.store, own.clone(), (stages.asking.clone(), &stages.writing), clock, &metrics)?;
    // What others say is heard where the store is asked: it is mostly of keys.
    let keys = archive.as_ref().map(|archive| Arc::clone(&archive.keys));
    let news = News::start(&stages.asking, own.clone(), Arc::clone(&table), keys, clock, Arc::clone(&metrics));
    let ledger = archive.as_ref().and_then(|archive| archive.ledger.clone());
    let troupe = Arc::new(Troupe::new(Arc::clone(&cast), stages.providers.clone(), clock, Arc::clone(&metrics), ledger));
    let reach = Reach { names, script, clock };
    let press = Press {
        reach,
        board: Board::default(),
        table,
        metrics: Arc::clone(&metrics),
        troupe: Arc::clone(&troupe),
        news: news.clone(),
        clerk: stages.reading.clone(),
        instance: own,
    };
    let edition = press.edition(settings, None)?;
    Keeper::start_in_arbiter(&stages.providers, |_| Keeper(troupe));
    let [requests, streams] = open;
    let gateway = Arc::new(Gateway {
        edition: ArcSwap::from_pointee(edition),
        metrics,
        clock,
        cast,
        archive,
        news,
        admin_key,
        sessions: std::sync::Mutex::default(),
        workers: std::sync::Mutex::default(),
        draining: AtomicBool::new(false),
        closing: AtomicBool::new(false),
        requests,
        streams,
        shelf: Arc::default(),
        allowances: Allowances::default(),
        strangers: Strangers::new(RandomState::new()),
        flights: Arc::default(),
        onces: Arc::default(),
        pressure: Arc::default(),
        probing: AtomicBool::new(false),
    });
    begin(&gateway, &stages);
    let reloader = reloader(&gateway, press, source);
    let reloader = Reloader::start_in_arbiter(&stages.reading, |_| reloader);
    Ok((gateway, reloader, stages))
}

/// What goes on beside the requests, from before the first one on.
fn begin(gateway: &Arc<Gateway>, stages: &Stages) {
    let (tell, told) = std::sync::mpsc::channel();
    stages.providers.spawn(proxy::recall(Arc::clone(gateway), gateway.clock.wall(), move || _ = tell.send(())));
    // A budget that was spent before the restart is spent at the first call.
    let _ = told.recv_timeout(RECALLING);
    let pressure = Arc::clone(&gateway.pressure);
    stages.providers.spawn(async move { pressure.watch().await });
    stages.reading.spawn(keep_prices(Arc::downgrade(gateway)));
}

/// Has the last spans sent, where a collector takes them soon.
async fn farewell(gateway: &Gateway) {
    let Some(tracer) = gateway.edition.load().tracer.clone() else { return };
    let end = gateway.clock.now().plus(LAST_SPANS);
    while tracer.hurry() && gateway.clock.now() < end {
        tokio::time::sleep(DRAIN_LOOK).await;
    }
}

/// The metrics, and what they read at each scrape.
fn metrics(table: &Arc<ArcSwap<Routes>>, cast: &Arc<Cast>, open: &[Arc<AtomicUsize>; 2], clock: Clock) -> Metrics {
    let gauges = Gauges { routes: Arc::clone(table), cast: Arc::clone(cast), open: open.clone(), clock };
    let process = Process { began: clock.wall_at(Moment::START) };
    Metrics::new([Box::new(gauges) as Box<dyn Collector>, Box::new(process)])
}

/// Puts prices in force anew at each quarter of an hour: some vendors' change with the hour or the day.
async fn keep_prices(gateway: Weak<Gateway>) {
    while let Some(clock) = gateway.upgrade().map(|gateway| gateway.clock) {
        let into = Duration::from_secs(clock.wall().as_secs() % QUARTER.as_secs());
        tokio::time::sleep(QUARTER - into).await;
        if let Some(gateway) = gateway.upgrade() {
            gateway.edition.load().reprice(clock.wall());
        }
    }
}

fn reloader(gateway: &Arc<Gateway>, press: Press, source: Option<Source>) -> Reloader {
    let edition = gateway.edition.load();
    let bound = Bound { serving: edition.settings.server.host.clone(), admin: edition.settings.admin.listen.clone() };
    let shared = Arc::downgrade(gateway);
    let stored = move |_: &Keep| shared.upgrade().and_then(|gateway| Some(gateway.archive.as_ref()?.keys.known().any)).unwrap_or(false);
    let source = source.map(|source| Source { bound: Some(bound), stored: Some(Arc::new(stored)), ..source });
    let own = Arc::clone(gateway);
    let apply = move |settings| {
        let edition = press.edition(settings, Some(&own.edition.load()))?;
        own.edition.store(Arc::new(edition));
        Ok(())
    };
    Reloader::new(&edition.settings, source, Box::new(apply), gateway.clock, Arc::clone(&gateway.metrics))
}
