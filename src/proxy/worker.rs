//! What a request finds on its way: the gateway's parts that all workers share, and one worker's own.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use actix::{Actor, Addr};
use arc_swap::{ArcSwap, Guard};
use futures_util::future::join_all;
use rand::RngExt;
use rand::rngs::SmallRng;
use tokio::sync::{Notify, mpsc};

use super::cache::{Answers, Flights, Onces};
use super::client::Upstream;
use super::edition::{Edition, Open};
use super::pressure::Pressure;
use super::reckoning::Counting;
use super::resume::Shelf;
use super::shared::Link;
use crate::access::{Allowances, Now, Sessions, Strangers};
use crate::actors::{Archive, Cast, Describe, Description, Ends, Flush, Ledger, News, Pick, Router, Routes};
use crate::base::{Moment, Secret, Tariff, request_id};
use crate::clock::{Clock, seeded_rng};
use crate::dialect::Usage;
use crate::health::Told;
use crate::ledger::cost;
use crate::routing::{Choice, NoTarget, Target, Turns};
use crate::telemetry::{Metrics, Strand};

/// An actor that doesn't answer within this is told of as such; /health always answers.
const PATIENCE: Duration = Duration::from_millis(500);

/// Shared by all workers.
pub struct Gateway {
    /// What the settings in force say, for what begins now: a request reads that of its own [`Worker`].
    pub edition: ArcSwap<Edition>,
    /// The metrics.
    pub metrics: Arc<Metrics>,
    /// The time.
    pub clock: Clock,
    /// The provider actors.
    pub cast: Arc<Cast>,
    /// Keys and ledger; None: nothing is kept.
    pub archive: Option<Archive>,
    /// What other gateways are told.
    pub news: News,
    /// The admin key of this start alone, for settings that name none.
    pub admin_key: Option<Secret>,
    /// Operators whose browsers are let in.
    pub sessions: std::sync::Mutex<Sessions>,
    /// Each worker's router actor, for /health to have it send what waits, and what wakes its streams at the end of the grace.
    pub workers: std::sync::Mutex<Vec<(Addr<Router>, Arc<Notify>)>>,
    /// No new requests are taken.
    pub draining: AtomicBool,
    /// The grace is over: open streams end with an error event.
    pub closing: AtomicBool,
    /// Requests under way that are no streams.
    pub requests: Arc<AtomicUsize>,
    /// Streams open.
    pub streams: Arc<AtomicUsize>,
    /// Streams that can be come back to.
    pub shelf: Arc<Shelf>,
    /// What the keys that have limits have used of them.
    pub allowances: Allowances,
    /// The addresses that wrong keys came from.
    pub strangers: Strangers,
    /// The calls that identical requests share.
    pub flights: Arc<Flights>,
    /// The names that callers gave their requests.
    pub onces: Arc<Onces>,
    /// What the machine leaves it.
    pub pressure: Arc<Pressure>,
    /// Some worker makes the active probes.
    pub probing: AtomicBool,
}

impl Gateway {
    /// A new router actor, on this thread.
    fn router(&self, ends: &Rc<Ends>) -> Addr<Router> {
        Router::new(self.clock, Rc::clone(ends)).start()
    }

    /// The time, by both clocks.
    pub fn now(&self) -> Now {
        Now { moment: self.clock.now(), wall: self.clock.wall() }
    }

    /// Where each request's row goes; None: there is no ledger.
    pub fn ledger(&self) -> Option<&Ledger> {
        self.archive.as_ref()?.ledger.as_deref()
    }

    /// Whether the grace is over.
    pub fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Relaxed)
    }

    /// Whether no new requests are taken.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// Asks each provider's actor how it is, by their place, once it has been told of every call that has ended. None for one
    /// that doesn't answer in time.
    pub async fn describe(&self) -> Vec<Option<Description>> {
        let routers: Vec<_> = self.workers.lock().map(|all| all.iter().map(|(router, _)| router.clone()).collect()).unwrap_or_default();
        // What was answered before the question is in the answer. A router that is silent costs freshness, no more.
        let flushed = join_all(routers.iter().map(|router| router.send(Flush)));
        let _ = tokio::time::timeout(PATIENCE, flushed).await;
        let questions = (0..self.cast.len()).map(|place| {
            let question = self.cast.at(place).map(|actor| actor.send(Describe));
            async { tokio::time::timeout(PATIENCE, question?).await.ok()?.ok() }
        });
        join_all(questions).await
    }

    /// Returns once every call that has ended is on record.
    pub async fn settle(&self) {
        // An answer comes after everything that was told before the question.
        self.describe().await;
    }
}

/// A place among those that `max_requests` or `max_streams` allow.
#[derive(Debug)]
pub struct Place(Arc<AtomicUsize>);

impl Place {
    /// Takes a place; None where all are taken.
    pub fn take(places: &Arc<AtomicUsize>, most: usize) -> Option<Self> {
        let before = places.fetch_add(1, Ordering::Relaxed);
        let place = Self(Arc::clone(places));
        (before < most).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Of so many callers who left, what they used waits to be counted; of more at once, the estimates stand.
const LEAVERS: usize = 256;

/// One HTTP worker's thread: where each request finds the worker of the edition in force.
pub struct Desk(RefCell<Rc<Worker>>);

impl Desk {
    /// On this thread.
    pub fn new(gateway: Arc<Gateway>) -> Self {
        let ends = Rc::new(Ends::new(Arc::clone(&gateway.cast), Arc::clone(&gateway.metrics)));
        let (router, closing) = (gateway.router(&ends), Arc::new(Notify::new()));
        if let Ok(mut workers) = gateway.workers.lock() {
            workers.push((router.clone(), Arc::clone(&closing)));
        }
        // What callers have left is dropped wherever it may be, so it is only handed on there.
        let (leavers, mut left) = mpsc::channel::<Counting>(LEAVERS);
        actix_rt::spawn(async move {
            while let Some(counting) = left.recv().await {
                counting.await;
            }
        });
        let own = Own {
            leavers,
            router: RefCell::new(router),
            ends,
            closing,
            rng: RefCell::new(seeded_rng()),
            turns: RefCell::default(),
            link: RefCell::default(),
            strands: RefCell::default(),
        };
        let own = Rc::new(own);
        let edition = gateway.edition.load_full();
        Self(RefCell::new(Rc::new(Worker::new(gateway, edition, own, &[]))))
    }

    /// The worker for a request that begins now. Costs a look at a pointer, but for the first request after a reload.
    pub fn worker(&self) -> Rc<Worker> {
        let mut worker = self.0.borrow_mut();
        let edition = worker.gateway.edition.load();
        if !Arc::ptr_eq(&edition, &worker.edition) {
            let edition = Guard::into_inner(edition);
            *worker = Rc::new(Worker::new(Arc::clone(&worker.gateway), edition, Rc::clone(&worker.own), &worker.upstreams));
        }
        Rc::clone(&worker)
    }
}

/// One HTTP worker's own, under one edition of the settings.
pub struct Worker {
    /// What it shares.
    pub gateway: Arc<Gateway>,
    /// What the settings say, to the end of every request that began with them.
    pub edition: Arc<Edition>,
    /// The same's routing table, this worker's own.
    pub routes: Routes,
    /// The way to what several gateways have in common, where the settings name it.
    pub(super) shared: Option<Rc<Link>>,
    /// The providers as it calls them, by their place.
    upstreams: Vec<Option<Rc<Upstream>>>,
    own: Rc<Own>,
}

/// What a worker's thread keeps from edition to edition.
struct Own {
    /// Where it is counted what callers who left have used.
    leavers: mpsc::Sender<Counting>,
    /// The router actor, on this thread.
    router: RefCell<Addr<Router>>,
    /// What that sends.
    ends: Rc<Ends>,
    closing: Arc<Notify>,
    rng: RefCell<SmallRng>,
    /// Whose turn it is where the router is gone.
    turns: RefCell<Turns>,
    /// The way to Redis, by the last edition that named one.
    link: RefCell<Option<Rc<Link>>>,
    /// Where it counts the times between a stream's pieces, by the provider's place.
    strands: RefCell<Vec<Option<Arc<Strand>>>>,
}

impl Own {
    /// The way to Redis at an address: the same for as long as the address is.
    fn link(&self, url: &Secret, gateway: &Gateway) -> Option<Rc<Link>> {
        let mut link = self.link.borrow_mut();
        if !link.as_ref().is_some_and(|link| link.leads_to(url)) {
            let name = request_id(gateway.clock.wall(), &mut *self.rng.borrow_mut());
            *link = Link::new(url, name, Arc::clone(&gateway.metrics), gateway.clock);
        }
        link.clone()
    }
}

impl Worker {
    fn new(gateway: Arc<Gateway>, edition: Arc<Edition>, own: Rc<Own>, before: &[Option<Rc<Upstream>>]) -> Self {
        let upstreams = edition.transports.iter().enumerate().map(|(place, transport)| {
            let before = before.get(place).and_then(Option::as_deref);
            // The edition has made each once.
            Some(Rc::new(transport.as_ref()?.upstream(before).ok()?))
        });
        let upstreams = upstreams.collect();
        let routes = edition.routes.own();
        let shared = edition.settings.shared.url.as_ref().and_then(|url| own.link(url, &gateway));
        Self { gateway, edition, routes, shared, upstreams, own }
    }

    /// The provider at a place as this worker calls it; None where its edition doesn't have it.
    pub(super) fn upstream(&self, place: usize) -> Option<Rc<Upstream>> {
        self.upstreams.get(place)?.clone()
    }

    /// Closes connections to upstreams that nobody has used for a while.
    pub(super) fn tidy(&self) {
        self.upstreams.iter().flatten().for_each(|upstream| upstream.tidy());
    }

    /// Has it counted what a caller who left has used. Where too many wait, its record ends with the estimate.
    pub(super) fn count_later(&self, counting: Counting) {
        drop(self.own.leavers.try_send(counting));
    }

    /// What wakes this worker's streams at the end of the grace.
    pub(super) fn closing(&self) -> Arc<Notify> {
        Arc::clone(&self.own.closing)
    }

    /// Where a public model's answers are kept: here, and where other gateways look as well.
    pub fn answers(&self, model: &str) -> (&Arc<Answers>, Option<&Rc<Link>>) {
        (self.edition.answers.of(model), self.shared.as_ref())
    }

    /// Whether a caller needs no key.
    pub fn is_open(&self) -> bool {
        match self.edition.open {
            Open::Never => false,
            Open::Always => true,
            Open::WithoutKeys => self.gateway.archive.as_ref().is_none_or(|archive| !archive.keys.known().any),
        }
    }

    /// An id of a request that began then.
    pub(super) fn request_id_at(&self, at: Moment) -> String {
        request_id(self.gateway.clock.wall_at(at), &mut *self.own.rng.borrow_mut())
    }

    /// A new request's id.
    pub fn request_id(&self) -> String {
        request_id(self.gateway.clock.wall(), &mut *self.own.rng.borrow_mut())
    }

    /// So many bytes of chance.
    pub(super) fn chance<const N: usize>(&self) -> [u8; N] {
        self.own.rng.borrow_mut().random()
    }

    /// A number from 0 to 1.
    pub fn draw(&self) -> f64 {
        self.own.rng.borrow_mut().random()
    }

    /// What a target's tokens cost, of which `model` is the name that it is called by; None where that isn't known.
    pub(super) fn tariff(&self, target: &Target, model: &str) -> Option<Arc<Tariff>> {
        match &*target.model {
            "*" => self.edition.wild_prices.tariff(&self.edition.settings, target, model, self.gateway.clock),
            _ => target.price.tariff(),
        }
    }

    /// What a call to it cost, in nano-dollars; None where its price isn't known.
    pub(super) fn cost(&self, target: &Target, model: &str, used: &Usage) -> Option<i64> {
        match &*target.model {
            "*" => self.tariff(target, model).map(|tariff| cost(&tariff, used)),
            _ => target.price.look(|tariff| cost(tariff, used)),
        }
    }

    /// Where this worker counts the times between the pieces of a provider's streams.
    pub(super) fn strand(&self, target: &Target) -> Arc<Strand> {
        let (place, mut strands) = (target.provider.place, self.own.strands.borrow_mut());
        if strands.len() <= place {
            strands.resize(place + 1, None);
        }
        Arc::clone(strands[place].get_or_insert_with(|| self.gateway.metrics.strand(&target.provider.name)))
    }

    /// `providers.X.codes` of a target's provider.
    pub(super) fn codes(&self, target: &Target) -> &BTreeMap<String, String> {
        &self.edition.settings.providers[&*target.provider.name].codes
    }

    /// Asks the router actor; where it is gone, decides by the same code on the same board.
    pub(super) async fn pick(&self, ask: impl Fn() -> Pick) -> Result<Choice, NoTarget> {
        let asked = self.own.router.borrow().send(ask());
        match asked.await {
            Ok(picked) => picked,
            Err(_) => {
                self.gateway.metrics.router_fallbacks.inc();
                self.replace_router();
                ask().decide(self.gateway.clock, &mut self.own.turns.borrow_mut(), &mut self.own.rng.borrow_mut())
            }
        }
    }

    /// Tells a call's end.
    pub(super) fn tell(&self, place: usize, told: Told) {
        self.own.ends.tell(place, told);
        // It might wait for a router that is no more.
        if !self.own.router.borrow().connected() {
            self.replace_router();
        }
    }

    /// Starts another router actor in place of one that died: nothing else of this thread's would.
    fn replace_router(&self) {
        let mut router = self.own.router.borrow_mut();
        // While its thread ends nothing can be started any more.
        if router.connected() || tokio::runtime::Handle::try_current().is_err() {
            return;
        }
        *router = self.gateway.router(&self.own.ends);
        if let Ok(mut workers) = self.gateway.workers.lock()
            && let Some((known, _)) = workers.iter_mut().find(|(_, closing)| Arc::ptr_eq(closing, &self.own.closing))
        {
            *known = router.clone();
        }
        self.gateway.metrics.router_restarts.inc();
        tracing::error!("a worker's router actor died and was started again");
    }
}
