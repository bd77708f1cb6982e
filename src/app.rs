//! The composition root: the only file that knows every part. Builds the gateway from settings, binds, serves, drains.

use std::any::Any;
use std::hash::RandomState;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use actix::{Actor, Addr, Arbiter, ArbiterHandle};
use actix_web::dev::{Extensions, Server, ServerHandle};
use actix_web::{App as WebApp, HttpServer};
use arc_swap::ArcSwap;
use prometheus_client::collector::Collector;
use socket2::SockRef;

use crate::access::{Allowances, Strangers};
use crate::actors::{Archive, Board, Cast, Gauges, Keeper, News, Reloader, Routes, Troupe};
use crate::base::{Moment, Secret, request_id};
use crate::clock::{Clock, seeded_rng};
use crate::http::{self, Door, Plane};
use crate::proxy::{self, Desk, Gateway, Names, Present, Press, Reach, SystemNames, Transport, Unusable, acceptable, roll_call};
use crate::rehearsal::Script;
use crate::settings::{Bound, Keep, Settings, Source};
use crate::store::Failed;
use crate::telemetry::{Metrics, Process};

/// Connections that may wait to be accepted.
const BACKLOG: u32 = 4096;
/// SDK pools keep their sockets longer than actix's 5 s.
const KEEP_ALIVE: Duration = Duration::from_secs(75);
/// actix-http reads its clock twice a second, and for a head whose time is over as it begins it waits for ever: no time is shorter.
const LEAST_PATIENCE: Duration = Duration::from_millis(600);
/// What was handed to the server in the end, error events too, has this long to be sent.
const LAST_WORDS: Duration = Duration::from_millis(200);
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

/// Stops a running gateway, from wherever.
#[derive(Clone)]
pub struct Stopper {
    gateway: Arc<Gateway>,
    handles: Vec<ServerHandle>,
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

impl Stopper {
    /// Takes no new requests, lets live ones finish within the grace, ends the rest with an error event, then stops.
    pub async fn drain(&self) {
        let gateway = &self.gateway;
        let grace = gateway.edition.load().settings.server.shutdown_grace;
        gateway.draining.store(true, Ordering::Relaxed);
        let busy = || gateway.requests.load(Ordering::Relaxed) + gateway.streams.load(Ordering::Relaxed);
        tracing::info!(under_way = busy(), grace_s = grace.as_secs_f64(), "draining: no new requests");
        let end = gateway.clock.now().plus(grace);
        while busy() > 0 && gateway.clock.now() < end {
            tokio::time::sleep(DRAIN_LOOK).await;
        }
        if busy() > 0 {
            tracing::warn!(under_way = busy(), "the grace is over: what is still under way ends with an error");
            gateway.closing.store(true, Ordering::Relaxed);
            for (_, closing) in gateway.workers.lock().map(|all| all.clone()).unwrap_or_default() {
                closing.notify_waiters();
            }
        }
        // A request is counted as over when its last bytes are handed to the server, not when they are sent.
        tokio::time::sleep(LAST_WORDS).await;
        // The ends of the last calls go on record before their actors go.
        gateway.settle().await;
        self.end(busy() == 0).await;
    }

    /// Stops at once.
    pub async fn stop(&self) {
        self.end(false).await;
    }

    async fn end(&self, graceful: bool) {
        futures_util::future::join_all(self.handles.iter().map(|handle| handle.stop(graceful))).await;
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

/// Whether the gateway could listen where the settings say: the key that is wrong, and why. An address that is taken will do,
/// for whoever asks may well stand beside the gateway that the settings are of.
///
/// # Errors
/// Where the machine has no such address, or doesn't give it.
pub fn can_listen(settings: &Settings) -> Result<(), (&'static str, CantRun)> {
    let taken = |error: &CantRun| matches!(error, CantRun::Bind { source, .. } if source.kind() == std::io::ErrorKind::AddrInUse);
    let free = |host: &str, port| at(host, port, bound).map(drop).or_else(|error| if taken(&error) { Ok(()) } else { Err(error) });
    free(&settings.server.host, settings.server.port).map_err(|error| ("server.host", error))?;
    let Some((host, port)) = settings.admin.listen.rsplit_once(':') else { return Ok(()) };
    free(host, port.parse().unwrap_or_default()).map_err(|error| ("admin.listen", error))
}

fn bind(host: &str, port: u16) -> Result<TcpListener, CantRun> {
    at(host, port, |address| {
        let socket = bound(address)?;
        socket.listen(BACKLOG as i32)?;
        Ok(socket.into())
    })
}

/// The first of a host's addresses where it can be done.
fn at<T>(host: &str, port: u16, open: impl Fn(SocketAddr) -> std::io::Result<T>) -> Result<T, CantRun> {
    let failed = |source| CantRun::Bind { address: format!("{host}:{port}"), source };
    let host = host.trim_matches(['[', ']']);
    let addresses = SystemNames.resolve(host, port).map_err(failed)?;
    let mut last = std::io::Error::from(std::io::ErrorKind::AddrNotAvailable);
    for address in addresses {
        match open(address) {
            Ok(opened) => return Ok(opened),
            Err(error) => last = error,
        }
    }
    Err(failed(last))
}

fn bound(address: SocketAddr) -> std::io::Result<socket2::Socket> {
    let socket = socket2::Socket::new(socket2::Domain::for_address(address), socket2::Type::STREAM, Some(socket2::Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
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

fn serve(gateway: &Arc<Gateway>, reloader: &Addr<Reloader>, plane: Plane, listener: TcpListener) -> Result<Server, CantRun> {
    let edition = gateway.edition.load();
    let server = &edition.settings.server;
    let workers = match server.workers {
        _ if plane == Plane::Admin => 1,
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        some => some,
    };
    let (shared, reloader) = (Arc::clone(gateway), reloader.clone());
    let app = move || {
        let desk = Rc::new(Desk::new(Arc::clone(&shared)));
        proxy::probe(&desk);
        proxy::tidy(&desk);
        WebApp::new().app_data(desk).app_data(reloader.clone()).configure(|app| http::configure(app, plane))
    };
    let accepting = Arc::clone(gateway);
    let patience = server.header_timeout.max(LEAST_PATIENCE);
    let door = server.tls.as_ref().map(|tls| Door {
        gateway: Arc::clone(gateway),
        config: tls.config(),
        workers,
        backlog: BACKLOG,
        connections: acceptable(workers),
        keep_alive: KEEP_ALIVE,
        patience,
        grace: server.shutdown_grace.as_secs().max(1),
        prepare: |connection, gateway| {
            // A stream's last part would wait for the one before to be acknowledged.
            let _ = connection.set_nodelay(true);
            limit_sending(connection, gateway.edition.load().settings.server.send_timeout);
        },
    });
    // The app with a layer is one of another type.
    macro_rules! listening {
        ($app:expr) => {{
            if let Some(door) = door {
                return Ok(door.serve($app, listener)?);
            }
            HttpServer::new($app)
                .workers(workers)
                .backlog(BACKLOG)
                .keep_alive(KEEP_ALIVE)
                .client_request_timeout(patience)
                .h1_allow_half_closed(false)
                .tcp_nodelay(true)
                .shutdown_timeout(server.shutdown_grace.as_secs().max(1))
                .disable_signals()
                .max_connections(acceptable(workers))
                .on_connect(move |connection: &dyn Any, kept: &mut Extensions| {
                    kept.insert(accepting.pressure.connected());
                    if let Some(connection) = connection.downcast_ref() {
                        limit_sending(connection, accepting.edition.load().settings.server.send_timeout);
                    }
                })
                .listen(listener)?
                .run()
        }};
    }
    let origins = server.cors_origins.clone();
    Ok(if origins.is_empty() || plane == Plane::Admin { listening!(app) } else { listening!(move || app().wrap(http::cors(&origins))) })
}

/// A client that takes nothing for this long is closed by the kernel, whatever waits for it.
fn limit_sending(connection: &tokio::net::TcpStream, limit: Duration) {
    if let Err(error) = SockRef::from(connection).set_tcp_user_timeout(Some(limit)) {
        tracing::debug!(%error, "TCP_USER_TIMEOUT can't be set: a client that stops reading is closed later");
    }
}
