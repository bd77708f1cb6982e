//! All metrics of one gateway, and what moves them. Their names are in `names`, their labels in `labels`; the request path
//! holds its handles ready and only adds to atomics.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use prometheus_client::collector::Collector;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

use super::audience::Audience;
use super::book::{Book, Seconds};
use super::classic::classic;
use super::histogram::Histogram;
use super::intervals::Strand;
pub use super::labels::UNKNOWN_MODEL;
use super::labels::{
    ActorLabel, Cached, Exported, Hedged, KindLabel, PROBED, ProbeLabels, ReasonLabel, RecoveryLabels, RecoveryResult, Refused,
    RequestLabels, ResultLabel, TransitionLabels,
};
use super::names;
use super::series::{Calls, Known, Requests, TargetMetrics, streamed};
use crate::base::Dollars;
use crate::dialect::Usage;
use crate::health::{Failure, Transition};
use crate::stream::Way;

/// The gateway's own time, in microseconds.
const OVERHEAD: &[u64] = &[25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 50_000, 250_000, 1_000_000];

/// What a target is asked again after, besides a rate limit that was waited out.
const REPEATED: [Failure; 5] =
    [Failure::Connect, Failure::ResetBeforeHead, Failure::Status(500), Failure::Status(502), Failure::Status(503)];

/// See the module's text.
#[derive(Debug)]
pub struct Metrics {
    book: Book,
    requests: Requests,
    calls: Calls,
    known: ArcSwap<Known>,
    /// Those who watch live.
    pub audience: Arc<Audience>,
    retries: Family<ReasonLabel, Counter>,
    hedges: [Counter; Hedged::NAMES.len()],
    recoveries: Family<RecoveryLabels, Counter>,
    cached: [Counter; Cached::NAMES.len()],
    refusals: [Counter; Refused::KINDS.len()],
    reloads: [Counter; 2],
    spans: [Counter; Exported::NAMES.len()],
    /// Provider actors that died and were started again.
    pub provider_restarts: Counter,
    /// Router actors that died and were started again.
    pub router_restarts: Counter,
    /// The gateway's own time in a request.
    pub overhead: Histogram,
    /// Rows of the ledger that neither store nor journal has.
    pub ledger_lost: Counter,
    /// Rows of the ledger that aren't in the store yet.
    pub ledger_queue: Gauge,
    /// For how long the oldest of them has waited.
    pub ledger_lag: Seconds,
    /// Reports to an actor that its full mailbox refused.
    pub dropped_reports: Counter,
    /// Events of upstream streams that were not JSON.
    pub dropped_events: Counter,
    /// Calls repeated on a fresh connection since the upstream had closed the reused one.
    pub stale_reuse: Counter,
    shared_up: Gauge,
    /// Workers for whom Redis is away.
    shared_away: AtomicU64,
    /// Calls that went by this gateway's own account since Redis didn't answer in time.
    pub shared_fallbacks: Counter,
    /// Gateways that share limits, this one among them, when they were last heard of.
    pub shared_gateways: Gauge,
    /// What other gateways were told: changes of keys, breakers, resting keys.
    pub news_told: Counter,
    /// What was heard from them and concerned this one.
    pub news_heard: Counter,
    /// Requests picked without their worker's router actor, since its mailbox was closed.
    pub router_fallbacks: Counter,
}

impl Metrics {
    /// Without a model or target yet. `live` read what is a state rather than a count, at each scrape.
    pub fn new(live: impl IntoIterator<Item = Box<dyn Collector>>) -> Self {
        let mut book = Book::default();
        live.into_iter().for_each(|live| book.read(live));
        let hedges = book.counters::<ResultLabel>(names::HEDGES);
        let cached = book.counters::<ResultLabel>(names::CACHE);
        let refusals = book.counters::<KindLabel>(names::REFUSALS);
        let reloads = book.counters::<ResultLabel>(names::RELOADS);
        let spans = book.counters::<ResultLabel>(names::SPANS);
        let restarts = book.counters::<ActorLabel>(names::ACTOR_RESTARTS);
        let recoveries = book.counters::<RecoveryLabels>(names::RECOVERIES);
        for (way, result) in Way::ALL.into_iter().flat_map(|way| RecoveryResult::ALL.map(|result| (way, result))) {
            drop(recoveries.get_or_create(&RecoveryLabels { way: way.name(), result: result.name() }));
        }
        let retries: Family<ReasonLabel, Counter> = book.counters(names::RETRIES);
        for reason in REPEATED.map(Failure::name).into_iter().chain(["rate_limited".to_owned()]) {
            drop(retries.get_or_create(&ReasonLabel { reason }));
        }
        let shared_up = book.gauge(names::SHARED_UP);
        shared_up.set(1);
        let shared_gateways = book.gauge(names::SHARED_GATEWAYS);
        shared_gateways.set(1);
        Self {
            requests: Requests::new(&mut book),
            calls: Calls::new(&mut book),
            known: ArcSwap::default(),
            audience: Arc::default(),
            retries,
            hedges: Hedged::NAMES.map(|result| hedges.get_or_create_owned(&ResultLabel { result })),
            recoveries,
            cached: Cached::NAMES.map(|result| cached.get_or_create_owned(&ResultLabel { result })),
            refusals: Refused::KINDS.map(|kind| refusals.get_or_create_owned(&KindLabel { kind })),
            reloads: ["error", "ok"].map(|result| reloads.get_or_create_owned(&ResultLabel { result })),
            spans: Exported::NAMES.map(|result| spans.get_or_create_owned(&ResultLabel { result })),
            provider_restarts: restarts.get_or_create_owned(&ActorLabel { actor: "provider" }),
            router_restarts: restarts.get_or_create_owned(&ActorLabel { actor: "router" }),
            overhead: book.enter(names::OVERHEAD, Histogram::new(OVERHEAD)),
            ledger_lost: book.counter(names::LEDGER_LOST),
            ledger_queue: book.gauge(names::LEDGER_QUEUE),
            ledger_lag: book.enter(names::LEDGER_LAG, Seconds::default()),
            dropped_reports: book.counter(names::DROPPED_REPORTS),
            dropped_events: book.counter(names::DROPPED_EVENTS),
            stale_reuse: book.counter(names::STALE_REUSE),
            router_fallbacks: book.counter(names::ROUTER_FALLBACKS),
            shared_up,
            shared_away: AtomicU64::new(0),
            shared_fallbacks: book.counter(names::SHARED_FALLBACKS),
            shared_gateways,
            news_told: book.counter(names::NEWS_TOLD),
            news_heard: book.counter(names::NEWS_HEARD),
            book,
        }
    }

    /// Adds the series of public models, and of targets as provider and model; those that are there stay as they are.
    pub fn add(&self, models: impl IntoIterator<Item = String>, targets: impl IntoIterator<Item = (String, String)>) {
        let mut known = Known::clone(&self.known.load());
        for model in models {
            let fresh = || Arc::new(self.requests.of(&model));
            known.models.entry(model.clone()).or_insert_with(fresh);
        }
        for (provider, model) in targets {
            let fresh = || Arc::new(self.calls.of(&provider, &model));
            known.targets.entry((provider.clone(), model.clone())).or_insert_with(fresh);
        }
        self.known.store(known.into());
    }

    /// Counts a request's end, before its last byte is handed over.
    pub fn request(&self, model: &str, status: u16, stream: bool, duration: Duration) {
        self.audience.request(status, duration);
        let known = self.known.load();
        let known = known.models.get(model);
        match known {
            Some(known) if status == 200 => _ = known.served[usize::from(stream)].inc(),
            _ => {
                let model = known.map_or(UNKNOWN_MODEL, |_| model);
                let labels = RequestLabels { model: model.into(), status: status.to_string(), stream: streamed(stream) };
                self.requests.ended.get_or_create(&labels).inc();
            }
        }
        if let Some(known) = known {
            known.duration.observe(duration);
        }
    }

    /// Counts a request that ended badly, by the error's code.
    pub fn error(&self, kind: &'static str) {
        self.requests.errors.get_or_create(&KindLabel { kind }).inc();
    }

    /// Counts what a request used, once.
    pub fn tokens(&self, model: &str, used: &Usage) {
        if let Some(known) = self.known.load().models.get(model) {
            let Usage { input, output, cached, cache_write, reasoning, .. } = *used;
            for (counter, tokens) in known.tokens.iter().zip([input, cached, cache_write, output, reasoning]) {
                if tokens > 0 {
                    counter.inc_by(tokens);
                }
            }
        }
    }

    /// Counts what a request cost, once.
    pub fn cost(&self, model: &str, cost: Dollars) {
        if cost.0 > 0
            && let Some(known) = self.known.load().models.get(model)
        {
            known.cost.inc_by(cost.as_f64());
        }
    }

    /// Tokens of prompts and of answers, and dollars, of all models since the start.
    pub fn sums(&self) -> (u64, u64, f64) {
        self.known.load().models.values().fold((0, 0, 0.0), |(input, output, cost), model| {
            // By TOKENS.
            (input + model.tokens[0].get(), output + model.tokens[3].get(), cost + model.cost.get())
        })
    }

    /// Counts a call that was to go on with a stream that broke.
    pub fn recovery(&self, way: Way, result: RecoveryResult) {
        self.recoveries.get_or_create(&RecoveryLabels { way: way.name(), result: result.name() }).inc();
    }

    /// The handles of a target.
    pub fn target(&self, provider: &str, model: &str) -> Option<Arc<TargetMetrics>> {
        self.known.load().targets.get(&(provider.to_owned(), model.to_owned())).cloned()
    }

    /// Where one thread counts the times between the pieces of a provider's streams.
    pub fn strand(&self, provider: &str) -> Arc<Strand> {
        self.calls.intervals(provider).strand()
    }

    /// Counts a breaker's move; `model` is empty for the provider's own.
    pub fn transition(&self, provider: &str, model: &str, transition: &Transition) {
        let (to, reason) = (transition.to.name(), transition.reason.name());
        let labels = TransitionLabels { provider: provider.into(), model: model.into(), to, reason };
        self.calls.transitions.get_or_create(&labels).inc();
    }

    /// Counts a repeat on the same target.
    pub fn retry(&self, reason: &str) {
        self.retries.get_or_create(&ReasonLabel { reason: reason.into() }).inc();
    }

    /// Counts a hedge's end.
    pub fn hedge(&self, result: Hedged) {
        self.hedges[result as usize].inc();
    }

    /// Counts a request that the cache had to do with.
    pub fn cached(&self, cached: Cached) {
        self.cached[cached as usize].inc();
    }

    /// Counts a request that a limit refused.
    pub fn refuse(&self, kind: Refused) {
        self.refusals[kind as usize].inc();
    }

    /// Redis, where limits are shared, has come back for one worker, or is away for it; up is what is so for all.
    pub fn shared(&self, back: bool) {
        let before = if back { self.shared_away.fetch_sub(1, Ordering::Relaxed) } else { self.shared_away.fetch_add(1, Ordering::Relaxed) };
        self.shared_up.set(i64::from(back && before <= 1));
    }

    /// Counts an active probe.
    pub fn probe(&self, provider: &str, good: bool) {
        let labels = ProbeLabels { provider: provider.into(), result: PROBED[usize::from(good)] };
        self.calls.probes.get_or_create(&labels).inc();
    }

    /// Counts what became of spans.
    pub fn spans(&self, became: Exported, count: u64) {
        self.spans[became as usize].inc_by(count);
    }

    /// Counts a reading of the settings while serving.
    pub fn reloaded(&self, good: bool) {
        self.reloads[usize::from(good)].inc();
    }

    /// The scrape, in Prometheus' text form.
    pub fn scrape(&self) -> String {
        self.book.page()
    }

    /// The same in Prometheus' older form.
    pub fn scrape_classic(&self) -> String {
        classic(&self.book.page())
    }
}
