//! A request's own record: what the headers, the log line and the metrics say of it. Counted once, before the last byte is
//! handed over; one that is dropped before was left by its caller.

use std::fmt::Write as _;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix_web::http::header::HeaderMap;

use super::bill::Bill;
use super::bodies::Bodies;
use super::cache::Author;
use super::entry::{Calls, entry};
use super::shared::Lease;
use super::trace::Trace;
use super::worker::{Place, Worker};
use crate::access::{Amounts, Grant, Standing, VirtualKey};
use crate::base::{Dollars, Moment};
use crate::dialect::{Source, Usage};
use crate::ledger::Row;
use crate::routing::{Failed, Taken};
use crate::telemetry::Cached;

/// The status that stands for a caller who left (nginx's).
pub(super) const LEFT: u16 = 499;
/// Of a name that a caller chose, the route shows so many characters.
const LONGEST_NAME: usize = 100;
/// What is said of one.
pub(super) const GONE: Wrong<'static> = Wrong { kind: "caller_left", text: "the caller left" };

/// What was wrong with a request's end: the error's code, which /metrics counts by, and what the log says of it. Both empty:
/// nothing.
#[derive(Clone, Copy, Debug)]
pub struct Wrong<'a> {
    /// One of a few words.
    pub kind: &'static str,
    /// In words without secrets.
    pub text: &'a str,
}

impl From<&'static str> for Wrong<'static> {
    fn from(code: &'static str) -> Self {
        Self { kind: code, text: code }
    }
}

/// A call that nobody has answered yet.
pub(super) struct Calling {
    /// To whom.
    pub(super) taken: Taken,
    /// The tokens of its prompt, about.
    pub(super) prompt: u64,
    /// Whether what it costs can be known from here.
    pub(super) metered: bool,
}

/// See the module's text.
pub struct Record {
    pub(super) worker: Rc<Worker>,
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
    /// When it was over.
    stopped: Option<Moment>,
    /// Time spent waiting for upstreams, in microseconds.
    pub upstream_us: u64,
    /// Calls made.
    pub attempts: u32,
    /// Failed attempts, then the one that serves.
    pub route: String,
    /// What it asked and was answered, where that is to be logged.
    bodies: Option<Box<Bodies>>,
    /// From its start to a stream's first content, failed calls included.
    until_first: Option<Duration>,
    /// What was left out of it for a target of another dialect, by name.
    pub dropped: Vec<String>,
    /// Who serves it.
    pub served_by: Option<Taken>,
    /// From the request's start to the first content.
    pub first_token_ms: Option<u64>,
    /// What its calls have used and cost.
    bill: Bill,
    /// The call that is under way, and one beside it; None: there is none, or it costs nothing.
    pub(super) calling: [Option<Calling>; 2],
    /// What its answer cost only its vendor knows: of its key's budget, what was reserved for it is gone.
    pub(super) unmetered: bool,
    /// What was reserved of its key's budget, in nano-dollars.
    pub(super) reserved: u64,
    /// What it holds of its key's limits.
    pub(super) grant: Option<Grant>,
    /// What it holds of limits that several gateways share.
    pub(super) lease: Option<Lease>,
    /// What the cache had to do with it.
    pub cache: Option<Cached>,
    /// Who once gave the stored or shared answer that it gets.
    pub given_by: Option<Author>,
    /// Its place among those that the settings allow.
    pub place: Option<Place>,
    /// Whether the id is one that the caller gave it.
    pub callers_id: bool,
    /// What a wildcard row's `*` stands for.
    pub wildcard: Option<Arc<str>>,
    /// `x-stagedoor-tags`.
    pub tags: Option<Arc<str>>,
    /// Whether another target went on with its stream.
    pub recovered: bool,
    /// Whether it was let in: what was refused gets no row in the ledger.
    pub admitted: bool,
    pub(super) calls: Calls,
    ended: bool,
}

impl Record {
    /// Of a request that has just come. In a box: it goes from hand to hand.
    pub fn new(worker: Rc<Worker>, id: String, model: Arc<str>, key: Option<Arc<VirtualKey>>, stream: bool, started: Moment) -> Box<Self> {
        let kept = worker.gateway.ledger().is_some_and(|ledger| ledger.wants(key.is_some())) || worker.gateway.metrics.audience.is_there();
        let calls = if kept { Calls::kept() } else { Calls::default() };
        Box::new(Self {
            worker,
            id,
            model,
            key,
            stream,
            started,
            stopped: None,
            upstream_us: 0,
            attempts: 0,
            route: String::new(),
            bodies: None,
            until_first: None,
            dropped: Vec::new(),
            served_by: None,
            first_token_ms: None,
            bill: Bill::default(),
            calling: [None, None],
            unmetered: false,
            reserved: 0,
            grant: None,
            lease: None,
            cache: None,
            given_by: None,
            place: None,
            callers_id: false,
            wildcard: None,
            tags: None,
            recovered: false,
            admitted: false,
            calls,
            ended: false,
        })
    }

    /// Has it traced, where requests are: what its head says of the trace that it belongs to, what is asked, and where.
    pub fn trace(&mut self, headers: &HeaderMap, path: &str, operation: &'static str) {
        self.calls.trace = Trace::begin(&self.worker, headers, path, operation);
    }

    /// What it asks, to be logged if it is one of those that are.
    pub fn asks(&mut self, body: &[u8]) {
        if let Some(share) = self.worker.edition.settings.telemetry.log_bodies
            && self.worker.draw() < share
        {
            self.bodies = Some(Box::new(Bodies::of(body)));
        }
    }

    /// A piece of what it is answered, to be logged likewise.
    pub fn answered(&mut self, piece: &[u8]) {
        if let Some(bodies) = &mut self.bodies {
            bodies.answered(piece);
        }
    }

    /// Its stream's first content is there.
    pub(super) fn begins(&mut self) {
        let now = self.worker.gateway.clock.now();
        self.until_first.get_or_insert_with(|| now.since(self.started));
    }

    /// What its head says that it cost: of what was answered whole, where the settings have it so.
    pub fn shown_cost(&self) -> Option<i64> {
        let known = self.given_by.is_some() || !self.stream && self.bill.has_answer();
        let shown = known && self.worker.edition.settings.telemetry.cost_header;
        self.cost().filter(|_| shown)
    }

    /// Its answer is one that was given before, or is another's too: it costs nothing.
    pub fn given(&mut self, cached: Cached, author: &Author) {
        self.cache = Some(cached);
        self.given_by = Some(author.clone());
    }

    /// Adds a failed attempt to the route.
    pub fn failed(&mut self, failed: &Failed) {
        self.hop([&*failed.target]);
        let _ = write!(self.route, "!{}", failed.name.strip_prefix("status_").unwrap_or(&failed.name));
    }

    /// Adds a target that wasn't asked, as its dialect can't say what is asked.
    pub fn unfit(&mut self, taken: &Taken) {
        self.hop(parts(taken));
        self.route.push_str("!unfit");
    }

    /// Adds an attempt that another's answer came before, with what it is taken to have used and what that cost.
    pub fn outpaced(&mut self, taken: &Taken, used: Usage, cost: Option<i64>) {
        self.hop(parts(taken));
        self.route.push_str("!outpaced");
        self.bill.outpaced(used, cost);
    }

    /// Notes what its answer has used so far, how well that is known, and what it cost where its price is known.
    pub fn spent(&mut self, used: (Usage, Source), cost: Option<i64>) {
        self.bill.answer(used, cost);
    }

    /// Its caller left while a call was under way, or two: their upstreams have the prompt, and bill that whatever becomes of the answer.
    fn abandoned(&mut self) {
        let calls = std::mem::take(&mut self.calling).into_iter().flatten();
        for (number, Calling { taken, prompt: input, metered }) in calls.enumerate() {
            let prompt = Usage { input, ..Usage::default() };
            let model = self.wildcard.as_ref().filter(|_| &*taken.target.model == "*").unwrap_or(&taken.target.model);
            let cost = if metered { self.worker.cost(&taken.target, model, &prompt) } else { None };
            self.bill.abandoned(prompt, cost);
            if number == 0 {
                self.served_by = Some(taken);
            }
        }
    }

    /// What it used so far, all its calls together, and how well that is known; None where no upstream answered.
    pub fn used(&self) -> Option<(Usage, Source)> {
        self.bill.used()
    }

    /// What that cost, in nano-dollars; None where the price of any of it isn't known. What nothing answered cost nothing.
    pub fn cost(&self) -> Option<i64> {
        self.bill.cost()
    }

    /// Notes who serves it.
    pub fn served(&mut self, taken: &Taken) {
        self.hop(parts(taken));
        self.served_by = Some(taken.clone());
    }

    /// Puts what it has used in the place of what it took of its key's limits; once.
    pub fn settle(&mut self) {
        let unknown = if self.unmetered { self.reserved } else { 0 };
        let nanos = self.cost().map_or(unknown, |cost| u64::try_from(cost).unwrap_or(0));
        let used = self.used().map_or(Amounts::default(), |(used, _)| Amounts { tokens: used.total(), nanos });
        if let Some(grant) = &mut self.grant {
            grant.settle(used, self.worker.gateway.now());
        }
        if let Some(lease) = &mut self.lease {
            lease.settle(used);
        }
    }

    /// Whether its key's budget covers another call that may cost so much, besides what was used so far; reserves it.
    pub(super) fn affords(&mut self, nanos: u64) -> bool {
        let used = u64::try_from(self.cost().unwrap_or(0)).unwrap_or(0);
        let Some(grant) = &mut self.grant else { return true };
        grant.covers(used.saturating_add(nanos), self.worker.gateway.clock.wall())
    }

    /// What is left of its key's requests and tokens a minute, where those are limited.
    pub fn standing(&self) -> (Option<Standing>, Option<Standing>) {
        let Some(key) = self.key.as_ref().filter(|key| key.rpm > 0 || key.tpm > 0) else { return (None, None) };
        if let Some(standing) = self.lease.as_ref().and_then(Lease::standing) {
            return standing;
        }
        let now = self.worker.gateway.now();
        self.worker.gateway.allowances.of(key, now).map_or((None, None), |allowance| allowance.standing(now.moment))
    }

    fn hop<'a>(&mut self, target: impl IntoIterator<Item = &'a str>) {
        if !self.route.is_empty() {
            self.route.push(',');
        }
        self.route.extend(target);
        if let Some(asked) = self.wildcard.as_deref().filter(|_| self.route.ends_with("/*")) {
            self.route.pop();
            self.route.extend(asked.chars().filter(|c| c.is_ascii_graphic() && *c != ',').take(LONGEST_NAME));
        }
    }

    /// The gateway's own time so far, in microseconds.
    pub fn overhead_us(&self) -> u64 {
        let total = self.worker.gateway.clock.now().since(self.started).as_micros() as u64;
        total.saturating_sub(self.upstream_us)
    }

    /// Its caller left: it lets go of what it holds. What it used by then is told at its end.
    pub(super) fn left(&mut self) {
        self.over(LEFT, GONE.kind);
    }

    /// Counts that it is over, and settles with its key; once. How long it took.
    fn over(&mut self, status: u16, kind: &'static str) -> Duration {
        let gateway = &self.worker.gateway;
        if let Some(stopped) = self.stopped {
            return stopped.since(self.started);
        }
        let now = gateway.clock.now();
        let took = now.since(self.started);
        gateway.metrics.request(&self.model, status, self.stream, took);
        gateway.metrics.audience.first_token(self.first_token_ms.map(Duration::from_millis));
        if !kind.is_empty() {
            gateway.metrics.error(kind);
        }
        if let Some(cached) = self.cache {
            gateway.metrics.cached(cached);
        }
        self.stopped = Some(now);
        // Of a whole answer that nobody waited for, nobody knows what it cost: what was reserved for it stands.
        if status != LEFT || self.bill.has_answer() || self.attempts == 0 {
            self.settle();
        }
        self.grant = None;
        self.lease = None;
        self.place = None;
        took
    }

    /// Counts and logs the request's end.
    pub fn end<'a>(&mut self, status: u16, wrong: impl Into<Wrong<'a>>) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        let Wrong { kind, text: error } = wrong.into();
        let took = self.over(status, kind);
        if status == LEFT {
            self.abandoned();
            self.bill.left();
        }
        let gateway = &self.worker.gateway;
        let (used, cost) = (self.used(), self.cost());
        if let Some((used, _)) = &used {
            gateway.metrics.tokens(&self.model, used);
            if let Some(cost) = cost {
                gateway.metrics.cost(&self.model, Dollars(cost));
            }
        }
        if let Some(trace) = self.calls.trace.take() {
            trace.ended(self, status, kind, took);
        }
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
                    cache = self.cache.map(Cached::name),
                    tokens_in = used.map(|(used, _)| used.input),
                    tokens_out = used.map(|(used, _)| used.output),
                    usage = used.map(|(_, source)| source.name()),
                    cost_usd = used.map(drop).or(self.given_by.as_ref().map(drop)).and(cost).map(|cost| tracing::field::display(Dollars(cost))),
                    error,
                    "request"
                )
            };
        }
        if level_is_info {
            line!(info)
        } else {
            line!(warn)
        }
        self.tell(took);
        self.keep(status, error, took);
    }

    /// Lines of its own, for those that get them: bodies, and for one that was waited for too long.
    fn tell(&mut self, took: Duration) {
        if let Some(bodies) = self.bodies.take() {
            bodies.log(&self.id);
        }
        // A stream may go on for as long as it has something to say.
        let waited = self.until_first.unwrap_or(took);
        if waited > self.worker.edition.settings.telemetry.slow_request {
            let (waited_ms, upstream_ms) = (waited.as_millis() as u64, self.upstream_us / 1_000);
            let (route, attempts) = (&self.route, self.attempts);
            tracing::warn!(request_id = %self.id, model = ?self.model, stream = self.stream, waited_ms, upstream_ms, attempts, ?route, "slow request");
        }
    }
}

impl Record {
    /// Puts its row into the ledger, whose own tells those who watch; what the ledger doesn't want is for them alone.
    fn keep(&mut self, status: u16, error: &str, took: Duration) {
        if !self.admitted || !self.calls.are_kept() {
            return;
        }
        let kept = self.worker.gateway.ledger().is_some_and(|ledger| ledger.wants(self.key.is_some()));
        if !kept && !self.worker.gateway.metrics.audience.wants(status >= 400 && status != LEFT) {
            return;
        }
        let row = Row::Request(Box::new(entry(self, status, error, took)));
        let gateway = &self.worker.gateway;
        match gateway.ledger().filter(|_| kept) {
            Some(ledger) => ledger.put(row),
            None => gateway.metrics.audience.rows(&[row]),
        }
    }
}

/// A target's name, not put together first.
fn parts(taken: &Taken) -> [&str; 3] {
    [&taken.target.provider.name, "/", &taken.target.model]
}

impl Drop for Record {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.end(500, Wrong { kind: "internal_error", text: "the handler panicked" });
        } else {
            self.end(LEFT, GONE);
        }
    }
}
