//! The same decision told instead of made: what `/v1/route` shows.

use std::sync::Arc;
use std::time::Duration;

use super::chain::{Chain, Pool};
use super::keys::{KeyStanding, key_standing};
use super::pick::{Ask, Standing, numbered, score, standing};
use super::policy::Strategy;
use super::target::Target;
use crate::base::Moment;

/// One target as `/v1/route` shows it.
#[derive(Clone, Debug)]
pub struct Explained {
    /// The public model whose pool it is in.
    pub pool: Arc<str>,
    /// The provider's name.
    pub provider: Arc<str>,
    /// The provider's name for the model.
    pub model: Arc<str>,
    /// `ready`, `degraded`, `ramping`, `due` or `out`.
    pub state: &'static str,
    /// What it is compared by under the pool's strategy: less is better.
    pub score: f64,
    /// Why it is in or out.
    pub reason: String,
    /// Its provider's keys, as they stand for it.
    pub keys: Vec<ExplainedKey>,
}

/// A key as `/v1/route` shows it.
#[derive(Clone, Debug, PartialEq)]
pub struct ExplainedKey {
    /// Its name.
    pub name: Arc<str>,
    /// `active`, `cooling` or `disabled`.
    pub status: &'static str,
    /// How long it rests, if it does.
    pub wait: Option<Duration>,
    /// How many calls it is known to have left.
    pub calls_left: Option<u64>,
}

/// The chain's targets in the order in which they would be tried now, those that are out last. Where chance plays a part,
/// the likeliest order.
pub fn explain(ask: &Ask<'_>) -> Vec<Explained> {
    let mut rows: Vec<(u8, (f64, f64), Explained)> = Vec::new();
    let mut first = 0;
    for (place, pool) in ask.chain.pools.iter().enumerate() {
        let behind = |target: &Target| pool.strategy == Strategy::Healthiest && is_behind(ask, pool, first, target);
        for (number, target) in numbered(pool, first) {
            let (rank, state, reason) = match standing(ask, number, target) {
                Standing::Due => (0, "due", "open period over: the next request probes it".to_owned()),
                Standing::Ready if behind(target) => (1, "ready", "much slower than another: tried now and then".to_owned()),
                Standing::Ready => (1, "ready", "healthy".to_owned()),
                Standing::Degraded if !target.vitals.degraded() => {
                    (2, "degraded", "failing at another gateway: ranked after every healthy one".to_owned())
                }
                Standing::Degraded => (2, "degraded", "slow: ranked after every healthy one".to_owned()),
                Standing::Ramping(share) => (3, "ramping", format!("returning with {:.0} % of its traffic", share * 100.0)),
                Standing::Out(why) => (4, "out", why.text(ask.now)),
            };
            // Ramping targets come after every pool's others, those that are out after all.
            let order = if rank >= 3 { u8::MAX - 4 + rank } else { place.min(Chain::MOST_TARGETS) as u8 * 3 + rank };
            let score = score(ask, pool, target);
            let within = match pool.strategy {
                _ if rank >= 3 => (0.0, 0.0),
                Strategy::Ordered => (0.0, 0.0),
                Strategy::Healthiest => (f64::from(u8::from(behind(target))), score.0),
                Strategy::Weighted | Strategy::Fastest | Strategy::Cheapest => score,
            };
            let (provider, model) = (Arc::clone(&target.provider.name), Arc::clone(&target.model));
            let (pool, keys) = (Arc::clone(&pool.model), keys(ask, target));
            rows.push((order, within, Explained { pool, provider, model, state, score: score.0, reason, keys }));
        }
        first += pool.targets.len();
    }
    // Stable: what compares equal stays in the chain's order.
    rows.sort_by(|a, b| a.0.cmp(&b.0).then(a.1.0.total_cmp(&b.1.0)).then(a.1.1.total_cmp(&b.1.1)));
    rows.into_iter().map(|(.., row)| row).collect()
}

/// Whether another of the pool's healthy targets is much faster.
fn is_behind(ask: &Ask<'_>, pool: &Pool, first: usize, target: &Target) -> bool {
    let mut healthy = numbered(pool, first).filter(|(number, other)| standing(ask, *number, other) == Standing::Ready);
    healthy.any(|(_, other)| target.vitals.is_behind(&other.vitals, ask.stream, ask.now))
}

fn keys(ask: &Ask<'_>, target: &Target) -> Vec<ExplainedKey> {
    let keys = target.provider.keys.iter().enumerate().map(|(place, slot)| {
        let row = |status, until: Option<Moment>, calls_left| ExplainedKey {
            name: Arc::clone(&slot.name),
            status,
            wait: until.map(|until| until.since(ask.now)),
            calls_left,
        };
        match key_standing(ask, 0, target, place) {
            KeyStanding::Usable(calls) => row("active", None, Some(calls).filter(|calls| *calls != u64::MAX)),
            KeyStanding::Tried => row("active", None, None),
            KeyStanding::Resting(until) => row("cooling", Some(until), None),
            KeyStanding::Refused(until) => row("disabled", Some(until), None),
        }
    });
    keys.collect()
}
