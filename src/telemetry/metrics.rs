//! Every metric's name, once, and the handles that move them. Labels come only from the settings' names; the request path
//! holds its handles ready and only adds to atomics.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::histogram::Histogram;
use crate::base::Dollars;
use crate::dialect::Usage;
use crate::health::{Outcome, Transition};
use crate::stream::Way;

const MS: u64 = 1_000;
const S: u64 = 1_000_000;

/// Whole requests and first tokens: from a cached answer to a reasoning model's.
const LATENCY: &[u64] = &[
    5 * MS,
    10 * MS,
    25 * MS,
    50 * MS,
    100 * MS,
    250 * MS,
    500 * MS,
    S,
    2 * S + 500 * MS,
    5 * S,
    10 * S,
    20 * S,
    40 * S,
    80 * S,
    160 * S,
    320 * S,
];
/// The gateway's own time.
const OVERHEAD: &[u64] = &[25, 50, 100, 250, 500, MS, 2 * MS + 500, 5 * MS, 10 * MS, 50 * MS, 250 * MS, S];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    model: String,
    status: String,
    stream: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AttemptLabels {
    provider: String,
    model: String,
    outcome: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ModelLabel {
    model: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TokenLabels {
    model: String,
    kind: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TargetLabels {
    provider: String,
    model: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TransitionLabels {
    provider: String,
    model: String,
    to: String,
    reason: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabel {
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabel {
    kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ProbeLabels {
    provider: String,
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RecoveryLabels {
    way: String,
    result: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ActorLabel {
    actor: &'static str,
}

/// Which limit a request was refused by, before anything was done for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// `server.max_requests`.
    MaxRequests,
    /// `server.max_streams`.
    MaxStreams,
    /// Memory is short.
    Memory,
    /// File descriptors are short.
    Descriptors,
    /// A key's requests a minute.
    Rpm,
    /// A key's tokens a minute.
    Tpm,
    /// A key's requests at once.
    Concurrency,
    /// A key's budget.
    Budget,
    /// A key's budget, of a model without a known price.
    Unpriced,
    /// The wrong keys of one address.
    WrongKeys,
}

impl Refused {
    /// All of them with their names in /metrics, in the order of their declaration.
    const KINDS: [&'static str; 10] =
        ["max_requests", "max_streams", "memory", "descriptors", "rpm", "tpm", "concurrency", "budget", "unpriced", "wrong_keys"];
}

/// What the cache had to do with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cached {
    /// It was given a stored answer.
    Hit,
    /// It made a call whose answer may be stored.
    Miss,
    /// It shared a call that an identical one made.
    Coalesced,
}

impl Cached {
    const NAMES: [&'static str; 3] = ["hit", "miss", "coalesced"];

    /// Its name in heads, labels and the log.
    pub fn name(self) -> &'static str {
        Self::NAMES[self as usize]
    }
}

/// How an active probe ends.
const PROBED: [&str; 2] = ["bad", "good"];

/// How a second call beside a late one ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hedged {
    /// It answered first.
    Won,
    /// The late one answered first.
    Lost,
    /// Neither answered.
    Failed,
    /// The caller left before either did.
    Left,
    /// It wasn't made: the budget was spent.
    Refused,
}

impl Hedged {
    /// All of them with their names in /metrics, in the order of their declaration.
    const NAMES: [&'static str; 5] = ["won", "lost", "failed", "left", "refused"];
}

/// How a call ended that was to go on with a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecoveryResult {
    /// Its words were stitched on.
    Ok,
    /// It failed before its first new word.
    Failed,
    /// The target refused to be asked so.
    Rejected,
    /// It said something else than was said.
    Differed,
}

impl RecoveryResult {
    const ALL: [Self; 4] = [Self::Ok, Self::Failed, Self::Rejected, Self::Differed];

    /// Its name in labels and the log.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Failed => "failed",
            Self::Rejected => "rejected",
            Self::Differed => "differed",
        }
    }
}

/// The kinds of tokens; `cached` and `cache_write` are parts of `input`, `reasoning` of `output`.
const TOKENS: [&str; 5] = ["input", "cached", "cache_write", "output", "reasoning"];

/// The model label of requests that name none of the settings' models.
pub const UNKNOWN_MODEL: &str = "unknown";

/// In dollars.
type CostCounter = Counter<f64, AtomicU64>;

type HistogramOf<L> = Family<L, Histogram, fn() -> Histogram>;

/// All metrics of one gateway.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    requests: Family<RequestLabels, Counter>,
    attempts: Family<AttemptLabels, Counter>,
    duration: HistogramOf<ModelLabel>,
    first_token: HistogramOf<TargetLabels>,
    transitions: Family<TransitionLabels, Counter>,
    retries: Family<ReasonLabel, Counter>,
    hedges: [Counter; Hedged::NAMES.len()],
    probes: Family<ProbeLabels, Counter>,
    cached: [Counter; Cached::NAMES.len()],
    refusals: [Counter; Refused::KINDS.len()],
    tokens: Family<TokenLabels, Counter>,
    cost: Family<ModelLabel, CostCounter>,
    recoveries: Family<RecoveryLabels, Counter>,
    reloads: [Counter; 2],
    /// Provider actors that died and were started again.
    pub provider_restarts: Counter,
    /// Router actors that died and were started again.
    pub router_restarts: Counter,
    known: ArcSwap<Known>,
    /// The gateway's own time in a request.
    pub overhead: Histogram,
    /// Rows of the ledger that neither store nor journal has.
    pub ledger_lost: Counter,
    /// Rows of the ledger that aren't in the store yet.
    pub ledger_queue: Gauge,
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
    /// Requests picked without their worker's router actor, since its mailbox was closed.
    pub router_fallbacks: Counter,
}

/// The series whose labels come from settings. They only become more: a counter that vanished would read as a restart.
#[derive(Clone, Debug, Default)]
struct Known {
    models: HashMap<String, Arc<ModelMetrics>>,
    targets: HashMap<(String, String), Arc<TargetMetrics>>,
}

/// The ready handles of one public model.
#[derive(Debug)]
struct ModelMetrics {
    served: [Counter; 2],
    duration: Histogram,
    /// By [`TOKENS`].
    tokens: [Counter; TOKENS.len()],
    cost: CostCounter,
}

/// The ready handles of one target.
#[derive(Debug)]
pub struct TargetMetrics {
    outcomes: [Counter; Outcome::LABELS.len()],
    first_token: Histogram,
}

impl ModelMetrics {
    fn new(model: &str, all: &Metrics) -> Self {
        let served = ["false", "true"].map(|stream| {
            let labels = RequestLabels { model: model.into(), status: "200".into(), stream: stream.into() };
            all.requests.get_or_create_owned(&labels)
        });
        let tokens = TOKENS.map(|kind| all.tokens.get_or_create_owned(&TokenLabels { model: model.into(), kind: kind.into() }));
        let label = ModelLabel { model: model.into() };
        let (duration, cost) = (all.duration.get_or_create_owned(&label), all.cost.get_or_create_owned(&label));
        Self { served, duration, tokens, cost }
    }
}

impl TargetMetrics {
    fn new(provider: &str, model: &str, attempts: &Family<AttemptLabels, Counter>, first_token: &HistogramOf<TargetLabels>) -> Self {
        let outcomes = Outcome::LABELS.map(|outcome| {
            let labels = AttemptLabels { provider: provider.into(), model: model.into(), outcome: outcome.into() };
            attempts.get_or_create_owned(&labels)
        });
        let labels = TargetLabels { provider: provider.into(), model: model.into() };
        Self { outcomes, first_token: first_token.get_or_create_owned(&labels) }
    }

    /// Counts an attempt's end.
    pub fn ended(&self, outcome: &Outcome, first_token: Option<Duration>) {
        let label = outcome.label();
        if let Some(place) = Outcome::LABELS.iter().position(|known| *known == label) {
            self.outcomes[place].inc();
        }
        if let Some(first_token) = first_token {
            self.first_token.observe(first_token);
        }
    }
}

impl Metrics {
    /// Without a model or target yet. `live` reads what is a state rather than a count, at each scrape.
    pub fn new(live: impl Collector) -> Self {
        let mut registry = Registry::default();
        let requests = Family::<RequestLabels, Counter>::default();
        registry.register("stagedoor_requests", "Requests by public model and the status sent (499: the caller left)", requests.clone());
        let attempts = Family::<AttemptLabels, Counter>::default();
        registry.register("stagedoor_attempts", "Upstream calls by target and outcome", attempts.clone());
        let duration: HistogramOf<ModelLabel> = Family::new_with_constructor(|| Histogram::new(LATENCY));
        registry.register("stagedoor_request_duration_seconds", "Time from a request's head to its last byte", duration.clone());
        let first_token: HistogramOf<TargetLabels> = Family::new_with_constructor(|| Histogram::new(LATENCY));
        let help = "Time from an attempt's start to its stream's first content";
        registry.register("stagedoor_time_to_first_token_seconds", help, first_token.clone());
        let overhead = Histogram::new(OVERHEAD);
        registry.register("stagedoor_overhead_seconds", "Time in the gateway, without waiting for an upstream", overhead.clone());
        let transitions = Family::<TransitionLabels, Counter>::default();
        let help = "Moves of breakers; an empty model is the provider's own";
        registry.register("stagedoor_breaker_transitions", help, transitions.clone());
        let retries = Family::<ReasonLabel, Counter>::default();
        registry.register("stagedoor_retries", "Calls repeated on the same target", retries.clone());
        let hedges = Family::<ResultLabel, Counter>::default();
        let help = "Calls made beside a late one: won, lost, failed, left, or refused by the budget";
        registry.register("stagedoor_hedges", help, hedges.clone());
        let probes = Family::<ProbeLabels, Counter>::default();
        registry.register("stagedoor_probes", "Active probes of open providers by result: good or bad", probes.clone());
        let cached = Family::<ResultLabel, Counter>::default();
        let help = "Requests that the cache had to do with: hit (a stored answer), miss (a call), coalesced (another's call)";
        registry.register("stagedoor_cache", help, cached.clone());
        let tokens = Family::<TokenLabels, Counter>::default();
        let help = "Tokens used by public model: of prompts, of those the cached ones, of answers, of those the reasoning";
        registry.register("stagedoor_tokens", help, tokens.clone());
        let cost = Family::<ModelLabel, CostCounter>::default();
        registry.register("stagedoor_cost_usd", "Dollars spent by public model, where the price is known", cost.clone());
        let recoveries = Family::<RecoveryLabels, Counter>::default();
        let help = "Calls that were to go on with a stream that broke, by how they were asked and how that ended";
        registry.register("stagedoor_recoveries", help, recoveries.clone());
        for (way, result) in Way::ALL.into_iter().flat_map(|way| RecoveryResult::ALL.map(|result| (way, result))) {
            drop(recoveries.get_or_create(&RecoveryLabels { way: way.name().into(), result: result.name().into() }));
        }
        let reloads = Family::<ResultLabel, Counter>::default();
        registry.register("stagedoor_reloads", "Readings of the settings while serving", reloads.clone());
        let restarts = Family::<ActorLabel, Counter>::default();
        registry.register("stagedoor_actor_restarts", "Actors that died and were started again", restarts.clone());
        let refusals = Family::<KindLabel, Counter>::default();
        registry.register("stagedoor_limit_refusals", "Requests refused at once by the limit that was reached", refusals.clone());
        let mut plain = |name: &str, help: &str| {
            let counter = Counter::default();
            registry.register(name, help, counter.clone());
            counter
        };
        let ledger_lost = plain("stagedoor_ledger_lost", "Rows of the ledger that neither store nor journal has");
        let dropped_reports = plain("stagedoor_dropped_reports", "Reports that an actor's full mailbox refused");
        let dropped_events = plain("stagedoor_dropped_events", "Events of upstream streams that were not JSON");
        let shared_fallbacks =
            plain("stagedoor_shared_fallbacks", "Decisions on limits made by this gateway alone since Redis didn't answer in time");
        let stale_reuse = plain("stagedoor_stale_reuse", "Calls repeated since the reused connection was closed");
        let router_fallbacks = plain("stagedoor_router_fallbacks", "Picks made without the worker's router actor");
        let ledger_queue = Gauge::default();
        registry.register("stagedoor_ledger_queue", "Rows of the ledger that aren't in the store yet", ledger_queue.clone());
        let shared_up = Gauge::default();
        shared_up.set(1);
        registry.register("stagedoor_shared_up", "Whether Redis answers, where limits are shared", shared_up.clone());
        registry.register_collector(Box::new(live));

        Self {
            registry,
            requests,
            attempts,
            duration,
            first_token,
            transitions,
            retries,
            hedges: Hedged::NAMES.map(|result| hedges.get_or_create_owned(&ResultLabel { result })),
            probes,
            cached: Cached::NAMES.map(|result| cached.get_or_create_owned(&ResultLabel { result })),
            refusals: Refused::KINDS.map(|kind| refusals.get_or_create_owned(&KindLabel { kind })),
            tokens,
            cost,
            recoveries,
            reloads: ["error", "ok"].map(|result| reloads.get_or_create_owned(&ResultLabel { result })),
            provider_restarts: restarts.get_or_create_owned(&ActorLabel { actor: "provider" }),
            router_restarts: restarts.get_or_create_owned(&ActorLabel { actor: "router" }),
            known: ArcSwap::default(),
            overhead,
            ledger_lost,
            ledger_queue,
            dropped_reports,
            dropped_events,
            stale_reuse,
            router_fallbacks,
            shared_up,
            shared_away: AtomicU64::new(0),
            shared_fallbacks,
        }
    }

    /// Adds the series of public models, and of targets as provider and model; those that are there stay as they are.
    pub fn add(&self, models: impl IntoIterator<Item = String>, targets: impl IntoIterator<Item = (String, String)>) {
        let mut known = Known::clone(&self.known.load());
        for model in models {
            let fresh = || Arc::new(ModelMetrics::new(&model, self));
            known.models.entry(model.clone()).or_insert_with(fresh);
        }
        for (provider, model) in targets {
            let fresh = || Arc::new(TargetMetrics::new(&provider, &model, &self.attempts, &self.first_token));
            for result in PROBED {
                drop(self.probes.get_or_create(&ProbeLabels { provider: provider.clone(), result }));
            }
            known.targets.entry((provider.clone(), model.clone())).or_insert_with(fresh);
        }
        self.known.store(known.into());
    }

    /// Counts a request's end, before its last byte is handed over.
    pub fn request(&self, model: &str, status: u16, stream: bool, duration: Duration) {
        let known = self.known.load();
        let known = known.models.get(model);
        match known {
            Some(known) if status == 200 => _ = known.served[usize::from(stream)].inc(),
            _ => {
                let model = known.map_or(UNKNOWN_MODEL, |_| model);
                let labels = RequestLabels { model: model.into(), status: status.to_string(), stream: stream.to_string() };
                self.requests.get_or_create(&labels).inc();
            }
        }
        if let Some(known) = known {
            known.duration.observe(duration);
        }
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

    /// Counts a call that was to go on with a stream that broke.
    pub fn recovery(&self, way: Way, result: RecoveryResult) {
        self.recoveries.get_or_create(&RecoveryLabels { way: way.name().into(), result: result.name().into() }).inc();
    }

    /// The handles of a target.
    pub fn target(&self, provider: &str, model: &str) -> Option<Arc<TargetMetrics>> {
        self.known.load().targets.get(&(provider.to_owned(), model.to_owned())).cloned()
    }

    /// Counts a breaker's move; `model` is empty for the provider's own.
    pub fn transition(&self, provider: &str, model: &str, transition: &Transition) {
        let labels = TransitionLabels {
            provider: provider.into(),
            model: model.into(),
            to: transition.to.name().into(),
            reason: transition.reason.name().into(),
        };
        self.transitions.get_or_create(&labels).inc();
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
        self.probes.get_or_create(&labels).inc();
    }

    /// Counts a reading of the settings while serving.
    pub fn reloaded(&self, good: bool) {
        self.reloads[usize::from(good)].inc();
    }

    /// The scrape, in Prometheus' text form.
    pub fn scrape(&self) -> String {
        let mut page = String::new();
        // Writing to a String can't fail.
        let _ = text::encode(&mut page, &self.registry);
        page
    }
}
