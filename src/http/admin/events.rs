//! GET /admin/events: the gateway live, as server-sent events: `hello` once, `snapshot` each second, `request` as each ends,
//! `transition` when a breaker moves, `reload` when other settings are in force.
//!
//! One narrator, a task that runs only while somebody watches, asks the actors and writes each event once for all watchers.
//! Who reads too slowly misses events; the next snapshot has the whole state again.

use std::convert::Infallible;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse};
use bytes::Bytes;
use futures_util::stream;
use serde::Serialize;
use serde_json::json;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::MissedTickBehavior;

use super::super::auth::{Admin, admin_key};
use super::super::error::Error;
use super::super::health::{self, looked};
use super::super::respond::identify;
use super::super::session::session;
use crate::base::{Moment, Secret};
use crate::proxy::{Desk, Edition, Gateway, Worker};
use crate::store::document;
use crate::telemetry::{Audience, News, Seat, Second, Tail};

/// How often the narrator speaks.
const SECOND: Duration = Duration::from_secs(1);
/// The first figures are of less, so that who comes first sees some soon.
const FIRST: Duration = Duration::from_millis(250);
/// How often it looks whether the gateway is leaving: nobody who watches holds up a restart.
const LOOK: Duration = Duration::from_millis(100);

/// What a watcher is told first: what doesn't change from second to second.
#[derive(Serialize)]
struct Hello<'a> {
    version: &'static str,
    /// The public models, to be asked for by name.
    models: Vec<&'a str>,
    /// Whether callers are served at this address, too.
    serving: bool,
    /// Whether they need no key.
    open: bool,
    /// Whether requests are kept, so that /admin/requests answers.
    ledger: bool,
    /// Whether callers' keys can be made.
    store: bool,
    /// The seconds before this one that somebody watched.
    past: Vec<Second>,
}

/// The whole state.
#[derive(Serialize)]
struct Snapshot {
    at_ms: u64,
    draining: bool,
    /// Requests under way that are no streams, and streams.
    requests: usize,
    streams: usize,
    /// The last second; null at first.
    second: Option<Second>,
    /// Requests that ended since the last snapshot and got no `request` event of their own.
    passed_over: u64,
    /// As GET /health has it.
    health: health::Answer,
}

/// One who watches.
struct Watcher {
    admin: Admin,
    /// The session that it came by; None: by the key itself.
    session: Option<Secret>,
    news: Receiver<News>,
    _seat: Seat,
    first: Option<Bytes>,
}

pub(in crate::http) async fn watch(admin: Admin, request: HttpRequest) -> HttpResponse {
    let worker = &admin.visitor.worker;
    let audience = &worker.gateway.metrics.audience;
    let Some((seat, news)) = audience.sit() else {
        return Error::too_busy("watchers of /admin/events").response(&admin.visitor.id);
    };
    let session = admin_key(worker).and_then(|key| session(&request, worker, key)).map(|(id, _)| id);
    let first = event("hello", &hello(worker, super::is_whole(&request)));
    if let Some(desk) = request.app_data::<Rc<Desk>>() {
        narrate(desk);
    }
    let mut response = HttpResponse::Ok();
    response.insert_header((header::CONTENT_TYPE, "text/event-stream"));
    // Proxies in front must not wait for more.
    response.insert_header(("x-accel-buffering", "no"));
    let id = admin.visitor.id.clone();
    let watcher = Watcher { admin, session, news, _seat: seat, first: Some(first) };
    let mut response = response.streaming(stream::unfold(watcher, async |mut watcher| {
        let said = watcher.next().await?;
        Some((Ok::<_, Infallible>(said), watcher))
    }));
    identify(response.headers_mut(), &id);
    response
}

impl Watcher {
    async fn next(&mut self) -> Option<Bytes> {
        if let Some(first) = self.first.take() {
            return Some(first);
        }
        loop {
            match self.news.recv().await {
                Ok(said) if self.may_hear() => return said,
                Ok(_) | Err(RecvError::Closed) => return None,
                // The next snapshot has it all.
                Err(RecvError::Lagged(_)) => {}
            }
        }
    }

    /// Whether its session is still one. What came by the key itself stays, as a download would.
    fn may_hear(&self) -> bool {
        let Some(id) = &self.session else { return true };
        // The worker that it came to may be of an edition that is no more: the key in force decides.
        let gateway = &self.admin.visitor.worker.gateway;
        let edition = gateway.edition.load();
        let key = edition.settings.admin.key.as_ref().or(gateway.admin_key.as_ref());
        let lasts = |key| gateway.sessions.lock().ok()?.lasts(id, key, gateway.clock.now());
        key.is_some_and(|key| lasts(key).is_some())
    }
}

fn hello(worker: &Worker, serving: bool) -> Hello<'_> {
    let gateway = &worker.gateway;
    Hello {
        version: env!("CARGO_PKG_VERSION"),
        models: worker.routes.served().map(|(name, _)| name).collect(),
        serving,
        open: worker.is_open(),
        ledger: gateway.ledger().is_some(),
        store: gateway.archive.is_some(),
        past: gateway.metrics.audience.past(),
    }
}

/// An event of a name; JSON has no line ends.
fn event(name: &str, data: &impl Serialize) -> Bytes {
    // What is serialised here has string keys and finite numbers only.
    let data = serde_json::to_string(data).unwrap_or_default();
    format!("event: {name}\ndata: {data}\n\n").into()
}

/// Starts the narrator, where there is none.
fn narrate(desk: &Rc<Desk>) {
    let gateway = Arc::clone(&desk.worker().gateway);
    if !gateway.metrics.audience.narrate() {
        return;
    }
    // However the task ends, the next watcher finds that there is none.
    struct Silence(Arc<Audience>);
    impl Drop for Silence {
        fn drop(&mut self) {
            self.0.fall_silent();
        }
    }
    let (desk, silence) = (Rc::clone(desk), Silence(Arc::clone(&gateway.metrics.audience)));
    actix_rt::spawn(async move {
        Narrator::new(&desk, &gateway).speak(&desk).await;
        drop(silence);
        // Somebody may have come after the last look, and relied on a narrator.
        if gateway.metrics.audience.is_there() && !gateway.is_draining() {
            narrate(&desk);
        }
    });
}

struct Narrator {
    gateway: Arc<Gateway>,
    /// When it spoke last, and the sums then.
    last: Moment,
    sums: (u64, u64, f64),
    edition: Arc<Edition>,
}

impl Narrator {
    fn new(desk: &Desk, gateway: &Arc<Gateway>) -> Self {
        let edition = Arc::clone(&desk.worker().edition);
        Self { gateway: Arc::clone(gateway), last: gateway.clock.now(), sums: gateway.metrics.sums(), edition }
    }

    /// Speaks until nobody watches, or the gateway leaves.
    async fn speak(mut self, desk: &Desk) {
        let audience = Arc::clone(&self.gateway.metrics.audience);
        let mut looks = tokio::time::interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut known, mut length) = (0, FIRST);
        while audience.is_there() {
            tokio::select! {
                _ = looks.tick() => {}
                () = audience.arrival() => {}
            }
            let (draining, watchers) = (self.gateway.is_draining(), audience.watchers());
            let over = self.gateway.clock.now().since(self.last) >= length;
            length = if over { SECOND } else { length };
            // Who has just come sees something at once, and a move is shown with what it means.
            let moved = self.tell_moves(&audience);
            if over || moved || draining || watchers > known {
                self.tell_state(&audience, over, &desk.worker()).await;
            }
            known = watchers;
            if draining {
                audience.tell(None);
                break;
            }
        }
    }

    /// Tells how breakers moved; whether any did.
    fn tell_moves(&self, audience: &Audience) -> bool {
        let moves = audience.take_moves();
        for moved in &moves {
            audience.tell(Some(event("transition", &document::transition(moved))));
        }
        !moves.is_empty()
    }

    /// Tells the whole state; where a second is over, with its figures and the requests that ended in it.
    async fn tell_state(&mut self, audience: &Audience, over: bool, worker: &Worker) {
        if !Arc::ptr_eq(&worker.edition, &self.edition) {
            self.edition = Arc::clone(&worker.edition);
            let models: Vec<_> = worker.routes.served().map(|(name, _)| name).collect();
            audience.tell(Some(event("reload", &json!({ "models": models, "open": worker.is_open() }))));
        }
        let tail = if over { audience.take_rows() } else { Tail::default() };
        for entry in &tail.rows {
            audience.tell(Some(event("request", &document::request(entry))));
        }
        let snapshot = Snapshot {
            at_ms: self.at_ms(),
            draining: self.gateway.is_draining(),
            requests: self.gateway.requests.load(Ordering::Relaxed),
            streams: self.gateway.streams.load(Ordering::Relaxed),
            second: over.then(|| self.second(audience)),
            passed_over: tail.passed_over,
            health: looked(worker).await,
        };
        audience.tell(Some(event("snapshot", &snapshot)));
    }

    /// The figures since the last ones.
    fn second(&mut self, audience: &Audience) -> Second {
        let now = self.gateway.clock.now();
        let seconds = now.since(self.last).as_secs_f64();
        let (before, sums) = (self.sums, self.gateway.metrics.sums());
        (self.last, self.sums) = (now, sums);
        let under_way = self.gateway.requests.load(Ordering::Relaxed) + self.gateway.streams.load(Ordering::Relaxed);
        audience.pass(Second {
            at_ms: self.at_ms(),
            seconds,
            tokens_in: sums.0.saturating_sub(before.0),
            tokens_out: sums.1.saturating_sub(before.1),
            cost_usd: (sums.2 - before.2).max(0.0),
            in_flight: under_way as u64,
            ..Second::default()
        })
    }

    fn at_ms(&self) -> u64 {
        u64::try_from(self.gateway.clock.wall().as_millis()).unwrap_or(u64::MAX)
    }
}
