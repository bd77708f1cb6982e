//! A public model's chain: its own pool of targets, then each failover model's. Flat, as written: a failover model's own
//! failover is not followed.

use std::sync::Arc;

use super::budget::Budgets;
use super::policy::{Caching, Retry, Strategy, Streaming};
use super::target::Target;

/// Targets held equivalent, chosen among by a strategy.
#[derive(Clone, Debug)]
pub struct Pool {
    /// The public model's name.
    pub model: Arc<str>,
    /// How one is chosen.
    pub strategy: Strategy,
    /// Who can serve it.
    pub targets: Vec<Arc<Target>>,
}

/// Ordered pools for one public name.
#[derive(Clone, Debug)]
pub struct Chain {
    /// The public name that was asked for.
    pub model: Arc<str>,
    /// In the order they are tried. Targets have numbers through all of them: see [`Chain::targets`].
    pub pools: Vec<Pool>,
    /// How often a request may call.
    pub retry: Retry,
    /// What happens to its streams.
    pub streaming: Streaming,
    /// Which of its answers are kept.
    pub caching: Caching,
    /// What its requests earn, and repeats and hedges spend.
    pub budgets: Arc<Budgets>,
    /// Targets as written whose provider has no key, as `provider/model`: shown by /v1/route, never tried.
    pub left_out: Vec<String>,
}

impl Chain {
    /// Targets that one request can tell apart; more are not tried by it.
    pub const MOST_TARGETS: usize = 64;

    /// All targets with their number and pool, in order.
    pub fn targets(&self) -> impl Iterator<Item = (usize, &Pool, &Arc<Target>)> {
        let all = self.pools.iter().flat_map(|pool| pool.targets.iter().map(move |target| (pool, target)));
        all.take(Self::MOST_TARGETS).enumerate().map(|(number, (pool, target))| (number, pool, target))
    }

    /// Whether any target could ever serve it.
    pub fn is_served(&self) -> bool {
        self.pools.iter().any(|pool| !pool.targets.is_empty())
    }
}
