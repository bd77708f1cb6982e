//! A request's own record: what the headers, the log line and the metrics say of it. Counted once, before the last byte is
//! handed over; one that is dropped before was left by its caller.

use std::fmt::Write as _;
use std::rc::Rc;
use std::sync::Arc;

use super::worker::{Place, Worker};
use crate::access::VirtualKey;
use crate::base::Moment;
use crate::dialect::{Source, Usage};
use crate::routing::{Failed, Taken};

/// The status that stands for a caller who left (nginx's).
const LEFT: u16 = 499;

/// See the module's text.
pub struct Record {
    worker: Rc<Worker>,
    /// The request's id.
    pub id: String,
    /// The public model asked for.
    pub model: Arc<str>,
    /// The caller's key; None in open mode.
    pub key: Option<Arc<VirtualKey>>,
    /// Whether a stream was asked for.
    pub stream: bool,
    /// When its head had come.
    pub started: Moment,
    /// Time spent waiting for upstreams, in microseconds.
    pub upstream_us: u64,
    /// Calls made.
    pub attempts: u32,
    /// Failed attempts, then the one that serves.
    pub route: String,
    /// Who serves it.
    pub served_by: Option<Taken>,
    /// From the request's start to the first content.
    pub first_token_ms: Option<u64>,
    /// What it used, and how well that is known; None where no upstream answered.
    pub used: Option<(Usage, Source)>,
    /// Its place among those that the settings allow.
    pub place: Option<Place>,
    ended: bool,
}

impl Record {
    /// Of a request that has just come.
    pub fn new(worker: Rc<Worker>, id: String, model: Arc<str>, key: Option<Arc<VirtualKey>>, stream: bool, started: Moment) -> Self {
        Self {
            worker,
            id,
            model,
            key,
            stream,
            started,
            upstream_us: 0,
            attempts: 0,
            route: String::new(),
            served_by: None,
            first_token_ms: None,
            used: None,
            place: None,
            ended: false,
        }
    }

    /// Adds a failed attempt to the route.
    pub fn failed(&mut self, failed: &Failed) {
        self.hop([&*failed.target]);
        let _ = write!(self.route, "!{}", failed.name.strip_prefix("status_").unwrap_or(&failed.name));
    }

    /// Adds an attempt that another's answer came before.
    pub fn outpaced(&mut self, taken: &Taken) {
        self.hop(parts(taken));
        self.route.push_str("!outpaced");
    }

    /// Notes who serves it.
    pub fn served(&mut self, taken: &Taken) {
        self.hop(parts(taken));
        self.served_by = Some(taken.clone());
    }

    fn hop<'a>(&mut self, target: impl IntoIterator<Item = &'a str>) {
        if !self.route.is_empty() {
            self.route.push(',');
        }
        self.route.extend(target);
    }

    /// The gateway's own time so far, in microseconds.
    pub fn overhead_us(&self) -> u64 {
        let total = self.worker.gateway.clock.now().since(self.started).as_micros() as u64;
        total.saturating_sub(self.upstream_us)
    }

    /// Counts and logs the request's end.
    pub fn end(&mut self, status: u16, error: &str) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        let gateway = &self.worker.gateway;
        let took = gateway.clock.now().since(self.started);
        gateway.metrics.request(&self.model, status, self.stream, took);
        if let Some((used, _)) = &self.used {
            gateway.metrics.tokens(&self.model, used);
        }
        self.place = None;
        let served = self.served_by.as_ref();
        let level_is_info = status < 500;
        macro_rules! line {
            ($level:ident) => {
                tracing::$level!(
                    request_id = %self.id,
                    model = ?self.model,
                    key = self.key.as_ref().map(|key| &*key.name),
                    provider = served.map(|taken| &*taken.target.provider.name),
                    upstream_model = served.map(|taken| &*taken.target.model),
                    status,
                    stream = self.stream,
                    start_us = self.started.micros(),
                    latency_ms = took.as_millis() as u64,
                    first_token_ms = self.first_token_ms,
                    attempts = self.attempts,
                    route = ?self.route,
                    tokens_in = self.used.map(|(used, _)| used.input),
                    tokens_out = self.used.map(|(used, _)| used.output),
                    usage = self.used.map(|(_, source)| source.name()),
                    error,
                    "request"
                )
            };
        }
        if level_is_info { line!(info) } else { line!(warn) }
    }
}

/// A target's name, not put together first.
fn parts(taken: &Taken) -> [&str; 3] {
    [&taken.target.provider.name, "/", &taken.target.model]
}

impl Drop for Record {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.end(500, "the handler panicked");
        } else {
            self.end(LEFT, "the caller left");
        }
    }
}
