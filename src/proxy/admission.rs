//! Lets a request in by what limits its key, before anything is done for it: it takes its share of every limit, of an estimate
//! that errs high, or is turned away at once. Nothing is queued, and a key without limits costs a look at its terms.

use std::sync::Arc;

use super::prepared::Prepared;
use super::record::Record;
use super::worker::Worker;
use crate::access::{Amounts, Kind, Refusal, VirtualKey};
use crate::ledger::most;
use crate::routing::{Chain, Pool, Target};
use crate::telemetry::Refused;

/// Why a key's limits turn a request away.
#[derive(Clone, Debug)]
pub enum Turned {
    /// One of them is reached.
    Limit {
        /// Which, and until when.
        refusal: Refusal,
        /// Whose.
        key: Arc<VirtualKey>,
        /// What the request may use.
        ask: Amounts,
    },
    /// The key has a budget, and nobody knows what the model costs.
    Unpriced {
        /// The public model.
        model: Arc<str>,
    },
}

/// Lets it in. What it took is given back with the record's end.
///
/// # Errors
/// What turns it away; counted.
pub async fn admit(worker: &Worker, request: &mut Prepared, record: &mut Record) -> Result<(), Turned> {
    let Some(key) = record.key.clone().filter(|key| key.is_limited()) else { return Ok(()) };
    let metrics = &worker.gateway.metrics;
    let mut ask = Amounts { tokens: request.tokens, nanos: 0 };
    if let Some(budget) = key.budget {
        if !budget.unpriced && !keep_priced(worker, request) {
            metrics.refuse(Refused::Unpriced);
            return Err(Turned::Unpriced { model: Arc::clone(&request.chain.model) });
        }
        let dearest = request.chain.targets().filter_map(|(.., target)| request.most(worker, target)).max();
        ask.nanos = dearest.unwrap_or(0);
    }
    record.reserved = ask.nanos;
    let now = worker.gateway.now();
    // Its terms limit something, so it has an account.
    let Some(allowance) = worker.gateway.allowances.of(&key, now) else { return Ok(()) };
    let decided = match &worker.shared {
        None => allowance.admit(ask, now),
        Some(shared) => shared.admit(&key, &allowance, ask, now).await.map(|(grant, lease)| {
            record.lease = Some(lease);
            grant
        }),
    };
    match decided {
        Ok(grant) => {
            record.grant = Some(grant);
            Ok(())
        }
        Err(refusal) => {
            metrics.refuse(match refusal.kind {
                Kind::Requests => Refused::Rpm,
                Kind::Tokens => Refused::Tpm,
                Kind::Concurrency => Refused::Concurrency,
                Kind::Budget(_) => Refused::Budget,
            });
            Err(Turned::Limit { refusal, key, ask })
        }
    }
}

/// Takes out of the chain what has no price; false where that leaves the model itself with nobody.
fn keep_priced(worker: &Worker, request: &mut Prepared) -> bool {
    let priced = |target: &Arc<Target>| worker.tariff(target, request.upstream_model(target)).is_some();
    let chain = &request.chain;
    if chain.pools.iter().flat_map(|pool| &pool.targets).all(priced) {
        return true;
    }
    let kept = |pool: &Pool| Pool { targets: pool.targets.iter().filter(|target| priced(target)).cloned().collect(), ..pool.clone() };
    let pools: Vec<Pool> = chain.pools.iter().map(kept).collect();
    let own = |pool: &&Pool| pool.model == chain.model;
    let served = match pools.iter().find(own) {
        Some(own) => !own.targets.is_empty(),
        None => pools.iter().any(|pool| !pool.targets.is_empty()),
    };
    let pools = pools.into_iter().filter(|pool| !pool.targets.is_empty()).collect();
    request.chain = Arc::new(Chain { pools, ..Chain::clone(chain) });
    served
}

impl Prepared {
    /// The most that a call to a target may cost, in nano-dollars; None where its price isn't known.
    pub(super) fn most(&self, worker: &Worker, target: &Target) -> Option<u64> {
        let tariff = worker.tariff(target, self.upstream_model(target))?;
        let prompt = (self.body.len() as u64).div_ceil(4);
        let most = most(&tariff, prompt, self.tokens.saturating_sub(prompt));
        Some(u64::try_from(most).unwrap_or_default())
    }
}
