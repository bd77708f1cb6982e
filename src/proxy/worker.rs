//! What a request finds on its way: the gateway's parts that all workers share, and one worker's own.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use actix::Addr;
use futures_util::future::join_all;
use rand::RngExt;
use rand::rngs::SmallRng;
use tokio::sync::Notify;

use super::client::Upstream;
use crate::access::KeyRing;
use crate::actors::{Describe, Description, Flush, Pick, Provider, Router, Routes, Tell};
use crate::base::request_id;
use crate::clock::{Clock, seeded_rng};
use crate::health::Told;
use crate::routing::{Choice, NoTarget, Target};
use crate::settings::Settings;
use crate::telemetry::{Metrics, TargetMetrics};

/// An actor that doesn't answer within this is told of as such; /health always answers.
const PATIENCE: Duration = Duration::from_millis(500);

/// Shared by all workers.
pub struct Gateway {
    /// The settings in force.
    pub settings: Settings,
    /// The routing table.
    pub routes: Arc<Routes>,
    /// The callers' keys.
    pub keys: KeyRing,
    /// Whether callers need none.
    pub open: bool,
    /// The metrics.
    pub metrics: Arc<Metrics>,
    /// Each target's metrics, by its provider's place and its own.
    pub target_metrics: Vec<Vec<Arc<TargetMetrics>>>,
    /// The time.
    pub clock: Clock,
    /// The provider actors by their place.
    pub providers: Vec<Addr<Provider>>,
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
}

impl Gateway {
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
        let questions = self.providers.iter().map(|actor| {
            let question = actor.send(Describe);
            async { tokio::time::timeout(PATIENCE, question).await.ok()?.ok() }
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

/// One HTTP worker's own.
pub struct Worker {
    /// What it shares.
    pub gateway: Arc<Gateway>,
    /// Its router actor, on this thread.
    pub router: Addr<Router>,
    /// The providers as it calls them, by their place.
    pub upstreams: Vec<Rc<Upstream>>,
    /// Wakes this worker's streams at the end of the grace.
    pub closing: Arc<Notify>,
    rng: RefCell<SmallRng>,
}

impl Worker {
    /// On this thread.
    pub fn new(gateway: Arc<Gateway>, router: Addr<Router>, upstreams: Vec<Rc<Upstream>>) -> Self {
        let closing = Arc::new(Notify::new());
        if let Ok(mut workers) = gateway.workers.lock() {
            workers.push((router.clone(), Arc::clone(&closing)));
        }
        Self { gateway, router, upstreams, closing, rng: RefCell::new(seeded_rng()) }
    }

    /// A new request's id.
    pub fn request_id(&self) -> String {
        request_id(self.gateway.clock.wall(), &mut *self.rng.borrow_mut())
    }

    /// A number from 0 to 1.
    pub fn draw(&self) -> f64 {
        self.rng.borrow_mut().random()
    }

    /// `providers.X.codes` of a target's provider.
    pub(super) fn codes(&self, target: &Target) -> &BTreeMap<String, String> {
        &self.gateway.settings.providers[&*target.provider.name].codes
    }

    /// Asks the router actor; where it is gone, decides by the same code on the same board.
    pub(super) async fn pick(&self, ask: impl Fn() -> Pick) -> Result<Choice, NoTarget> {
        match self.router.send(ask()).await {
            Ok(picked) => picked,
            Err(_) => {
                self.gateway.metrics.router_fallbacks.inc();
                ask().decide(self.gateway.clock, &mut self.rng.borrow_mut())
            }
        }
    }

    /// Tells a call's end.
    pub(super) fn tell(&self, place: usize, told: Told) {
        if self.router.try_send(Tell { place, told }).is_err() {
            self.gateway.metrics.dropped_reports.inc();
        }
    }
}
