//! The same decision told instead of made: what `/v1/route` shows.

use std::sync::Arc;

use super::chain::Chain;
use super::pick::{Ask, Standing, numbered, score, standing};
use super::policy::Strategy;

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
}

/// The chain's targets in the order in which they would be tried now, those that are out last. Where chance plays a part,
/// the likeliest order.
pub fn explain(ask: &Ask<'_>) -> Vec<Explained> {
    let mut rows: Vec<(u8, (f64, f64), Explained)> = Vec::new();
    let mut first = 0;
    for (place, pool) in ask.chain.pools.iter().enumerate() {
        for (number, target) in numbered(pool, first) {
            let (rank, state, reason) = match standing(ask, number, target) {
                Standing::Due => (0, "due", "open period over: the next request probes it".to_owned()),
                Standing::Ready => (1, "ready", "healthy".to_owned()),
                Standing::Degraded => (2, "degraded", "slow: ranked after every healthy one".to_owned()),
                Standing::Ramping(share) => (3, "ramping", format!("returning with {:.0} % of its traffic", share * 100.0)),
                Standing::Out(why) => (4, "out", why.text(ask.now)),
            };
            // Ramping targets come after every pool's others, those that are out after all.
            let order = if rank >= 3 { u8::MAX - 4 + rank } else { place.min(Chain::MOST_TARGETS) as u8 * 3 + rank };
            let score = score(ask, pool, target);
            let within = if rank >= 3 || pool.strategy == Strategy::Ordered { (0.0, 0.0) } else { score };
            let (provider, model) = (Arc::clone(&target.provider.name), Arc::clone(&target.model));
            rows.push((order, within, Explained { pool: Arc::clone(&pool.model), provider, model, state, score: score.0, reason }));
        }
        first += pool.targets.len();
    }
    // Stable: what compares equal stays in the chain's order.
    rows.sort_by(|a, b| a.0.cmp(&b.0).then(a.1.0.total_cmp(&b.1.0)).then(a.1.1.total_cmp(&b.1.1)));
    rows.into_iter().map(|(.., row)| row).collect()
}
