//! The series whose labels come from settings, each with its handles ready, so that the request path only adds to atomics.
//! They only become more: a counter that vanished would read as a restart.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;

use super::book::{Book, FloatCounter, Histograms};
use super::histogram::Histogram;
use super::intervals::Intervals;
use super::labels::{
    AttemptLabels, KindLabel, ModelLabel, PROBED, ProbeLabels, ProviderLabel, RequestLabels, TOKENS, TargetLabels, TokenLabels,
    TransitionLabels,
};
use super::names;
use crate::health::{Outcome, Reason};

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

/// Of requests.
#[derive(Debug)]
pub(super) struct Requests {
    pub(super) ended: Family<RequestLabels, Counter>,
    pub(super) errors: Family<KindLabel, Counter>,
    duration: Histograms<ModelLabel>,
    tokens: Family<TokenLabels, Counter>,
    cost: Family<ModelLabel, FloatCounter>,
}

/// Of upstream calls, and of the breakers that let them through.
#[derive(Debug)]
pub(super) struct Calls {
    attempts: Family<AttemptLabels, Counter>,
    first_token: Histograms<TargetLabels>,
    inter_token: Family<ProviderLabel, Intervals>,
    pub(super) transitions: Family<TransitionLabels, Counter>,
    pub(super) probes: Family<ProbeLabels, Counter>,
}

/// What has its handles ready.
#[derive(Clone, Debug, Default)]
pub(super) struct Known {
    pub(super) models: HashMap<String, Arc<ModelMetrics>>,
    pub(super) targets: HashMap<(String, String), Arc<TargetMetrics>>,
}

/// The ready handles of one public model.
#[derive(Debug)]
pub(super) struct ModelMetrics {
    /// Answers with 200: whole ones, streams.
    pub(super) served: [Counter; 2],
    pub(super) duration: Histogram,
    /// By [`TOKENS`].
    pub(super) tokens: [Counter; TOKENS.len()],
    pub(super) cost: FloatCounter,
}

/// The ready handles of one target.
#[derive(Debug)]
pub struct TargetMetrics {
    outcomes: [Counter; Outcome::LABELS.len()],
    first_token: Histogram,
}

/// A stream's label.
pub(super) fn streamed(stream: bool) -> &'static str {
    if stream { "true" } else { "false" }
}

impl Requests {
    pub(super) fn new(book: &mut Book) -> Self {
        Self {
            ended: book.counters(names::REQUESTS),
            errors: book.counters(names::ERRORS),
            duration: book.histograms(names::DURATION, || Histogram::new(LATENCY)),
            tokens: book.counters(names::TOKENS),
            cost: book.enter(names::COST, Family::default()),
        }
    }

    pub(super) fn of(&self, model: &str) -> ModelMetrics {
        let served = [false, true].map(|stream| {
            let labels = RequestLabels { model: model.into(), status: "200".into(), stream: streamed(stream) };
            self.ended.get_or_create_owned(&labels)
        });
        let tokens = TOKENS.map(|kind| self.tokens.get_or_create_owned(&TokenLabels { model: model.into(), kind }));
        let label = ModelLabel { model: model.into() };
        let (duration, cost) = (self.duration.get_or_create_owned(&label), self.cost.get_or_create_owned(&label));
        ModelMetrics { served, duration, tokens, cost }
    }
}

impl Calls {
    pub(super) fn new(book: &mut Book) -> Self {
        Self {
            attempts: book.counters(names::ATTEMPTS),
            first_token: book.histograms(names::FIRST_TOKEN, || Histogram::new(LATENCY)),
            inter_token: book.enter(names::INTER_TOKEN, Family::default()),
            transitions: book.counters(names::TRANSITIONS),
            probes: book.counters(names::PROBES),
        }
    }

    pub(super) fn of(&self, provider: &str, model: &str) -> TargetMetrics {
        for result in PROBED {
            drop(self.probes.get_or_create(&ProbeLabels { provider: provider.into(), result }));
        }
        // A move that is counted the first time would be lost to whoever asks by how much a counter grew.
        for (model, reason) in [model, ""].into_iter().flat_map(|model| Reason::ALL.map(|reason| (model, reason))) {
            if model.is_empty() || reason != Reason::SeveralModels {
                let (to, reason) = (reason.leads_to().name(), reason.name());
                let labels = TransitionLabels { provider: provider.into(), model: model.into(), to, reason };
                drop(self.transitions.get_or_create(&labels));
            }
        }
        let outcomes = Outcome::LABELS.map(|outcome| {
            let labels = AttemptLabels { provider: provider.into(), model: model.into(), outcome };
            self.attempts.get_or_create_owned(&labels)
        });
        let labels = TargetLabels { provider: provider.into(), model: model.into() };
        self.intervals(provider);
        TargetMetrics { outcomes, first_token: self.first_token.get_or_create_owned(&labels) }
    }

    pub(super) fn intervals(&self, provider: &str) -> Intervals {
        self.inter_token.get_or_create_owned(&ProviderLabel { provider: provider.into() })
    }
}

impl TargetMetrics {
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
