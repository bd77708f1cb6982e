//! Random settings: providers with their thresholds and keys, chains over their targets; how a reload changes them; and what
//! they are bound to, by name, as the gateway's board does it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rand::RngExt;
use rand::rngs::SmallRng;

use super::super::policy::{Retry, Strategy, Timeouts, WhenAllOpen};
use super::super::{Chain, KeySlot, Pool, Provider, Target, fixture};
use crate::base::PriceTag;
use crate::health::{Rest, Roster, Seat, Thresholds, Vitals};

/// Models that each provider may have.
const MODELS: usize = 3;

/// What a settings file would say.
#[derive(Clone, Debug)]
pub(super) struct Setting {
    pub(super) providers: Vec<ProviderSetting>,
    pub(super) chains: Vec<ChainSetting>,
}

#[derive(Clone, Debug)]
pub(super) struct ProviderSetting {
    pub(super) thresholds: Thresholds,
    pub(super) quarantine: Duration,
    keys: Vec<u64>,
    max_concurrency: usize,
    when_all_open: WhenAllOpen,
}

#[derive(Clone, Debug)]
pub(super) struct ChainSetting {
    pools: Vec<(Strategy, Vec<Spot>)>,
    retry: Retry,
    timeouts: Timeouts,
}

/// A target as written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Spot {
    provider: usize,
    model: usize,
    weight: u32,
}

fn ms(rng: &mut SmallRng, range: std::ops::RangeInclusive<u64>) -> Duration {
    Duration::from_millis(rng.random_range(range))
}

impl Setting {
    pub(super) fn random(rng: &mut SmallRng) -> Self {
        let providers: Vec<_> = (0..rng.random_range(1..=4)).map(|_| ProviderSetting::random(rng)).collect();
        let chains = (0..rng.random_range(1..=3)).map(|_| ChainSetting::random(rng, providers.len())).collect();
        Self { providers, chains }
    }

    /// What an operator might edit.
    pub(super) fn edit(&mut self, rng: &mut SmallRng) {
        let place = rng.random_range(0..self.providers.len());
        let provider = &mut self.providers[place];
        match rng.random_range(0..6) {
            0 | 1 => *provider = ProviderSetting { keys: provider.keys.clone(), ..ProviderSetting::random(rng) },
            2 if provider.keys.len() > 1 => _ = provider.keys.remove(0),
            3 if !provider.keys.is_empty() => provider.keys.push(rng.random_range(10..20)),
            _ => {
                let providers = self.providers.len();
                let chain = rng.random_range(0..self.chains.len());
                let pools = &mut self.chains[chain].pools;
                let pool = rng.random_range(0..pools.len());
                let spots = &mut pools[pool].1;
                if spots.len() > 1 && rng.random_bool(0.5) {
                    spots.remove(0);
                } else {
                    spots.push(Spot::random(rng, providers));
                }
            }
        }
        provider_keys_are_told_apart(&mut self.providers[place].keys);
    }
}

fn provider_keys_are_told_apart(keys: &mut Vec<u64>) {
    keys.sort_unstable();
    keys.dedup();
}

impl ProviderSetting {
    fn random(rng: &mut SmallRng) -> Self {
        let when_all_open = if rng.random_bool(0.6) { WhenAllOpen::LeastBad } else { WhenAllOpen::Refuse };
        let open_for = ms(rng, 200..=3_000);
        let thresholds = Thresholds {
            consecutive_failures: rng.random_range(1..=6),
            failure_ratio: [0.3, 0.5, 0.9][rng.random_range(0..3)],
            minimum_requests: rng.random_range(3..=12),
            window: ms(rng, 2_000..=20_000),
            slow_call: ms(rng, 300..=1_500),
            slow_ratio: rng.random_range(0.5..=0.9),
            open_for,
            open_for_max: open_for * rng.random_range(1..=5),
            half_open_probes: rng.random_range(1..=3),
            close_after: rng.random_range(1..=4),
            ramp: ms(rng, 0..=4_000),
            probe_gap: if when_all_open == WhenAllOpen::Refuse { Duration::from_secs(1) } else { Duration::ZERO },
        };
        Self {
            thresholds,
            quarantine: ms(rng, 1_000..=60_000),
            keys: (0..rng.random_range(0..=3)).collect(),
            max_concurrency: [0, 0, 2, 6][rng.random_range(0..4)],
            when_all_open,
        }
    }
}

impl ChainSetting {
    fn random(rng: &mut SmallRng, providers: usize) -> Self {
        let pools = (0..rng.random_range(1..=2)).map(|_| {
            let strategy = Strategy::NAMES[rng.random_range(0..Strategy::NAMES.len())].1;
            (strategy, (0..rng.random_range(1..=3)).map(|_| Spot::random(rng, providers)).collect())
        });
        let pools = pools.collect();
        let retry = Retry {
            attempts: rng.random_range(1..=5),
            same_target: rng.random_range(0..=2),
            backoff: ms(rng, 0..=200),
            wait: ms(rng, 0..=2_000),
            budget_ratio: rng.random_range(0..=400_000),
            budget_min: rng.random_range(0..=10),
            ..Retry::default()
        };
        let timeouts = Timeouts {
            connect: Duration::from_millis(300),
            first_byte: ms(rng, 1_500..=4_000),
            first_token: ms(rng, 500..=2_000),
            idle: Duration::from_secs(1),
            total: ms(rng, 2_000..=10_000),
        };
        Self { pools, retry, timeouts }
    }
}

impl Spot {
    fn random(rng: &mut SmallRng, providers: usize) -> Self {
        let (provider, model) = (rng.random_range(0..providers), rng.random_range(0..MODELS));
        Self { provider, model, weight: rng.random_range(1..=3) }
    }
}

/// Where what is published is found by name, for good.
#[derive(Debug, Default)]
pub(super) struct Board {
    /// By provider and model; a provider's own has none.
    pub(super) vitals: BTreeMap<(usize, Option<usize>), Arc<Vitals>>,
    /// By provider, model and key.
    rests: BTreeMap<(usize, Option<usize>, u64), Arc<Rest>>,
}

/// Stands for no key.
const NO_KEY: u64 = u64::MAX;

/// Settings bound to the board.
#[derive(Debug)]
pub(super) struct Bound {
    pub(super) chains: Vec<Arc<Chain>>,
    pub(super) rosters: Vec<Roster>,
}

impl Board {
    fn vitals(&mut self, provider: usize, model: Option<usize>) -> Arc<Vitals> {
        Arc::clone(self.vitals.entry((provider, model)).or_default())
    }

    fn rest(&mut self, provider: usize, model: Option<usize>, key: u64) -> Arc<Rest> {
        Arc::clone(self.rests.entry((provider, model, key)).or_default())
    }

    pub(super) fn bind(&mut self, setting: &Setting) -> Bound {
        let providers: Vec<_> = setting.providers.iter().enumerate().map(|(place, provider)| self.provider(place, provider)).collect();
        let mut rosters: Vec<_> = providers.iter().map(|provider| Roster { targets: Vec::new(), keys: rests(provider) }).collect();
        let mut chains = Vec::new();
        for chain in &setting.chains {
            let mut pools = Vec::new();
            for (number, (strategy, spots)) in chain.pools.iter().enumerate() {
                let mut targets = Vec::new();
                for spot in spots {
                    let target = self.target(&providers[spot.provider], &setting.providers[spot.provider], *spot, &chain.timeouts);
                    seat(&mut rosters[spot.provider], &target);
                    targets.push(Arc::new(target));
                }
                pools.push(Pool { model: format!("pool-{number}").into(), strategy: *strategy, targets });
            }
            chains.push(Arc::new(Chain { pools, retry: chain.retry.clone(), ..fixture::chain(Strategy::Ordered, Vec::new()) }));
        }
        Bound { chains, rosters }
    }

    fn provider(&mut self, place: usize, setting: &ProviderSetting) -> Arc<Provider> {
        let slot = |key: &u64| KeySlot { name: key.to_string().into(), weight: 1, rest: self.rest(place, None, *key), limit: None };
        let keys = setting.keys.iter().map(slot).collect();
        let vitals = self.vitals(place, None);
        let (max_concurrency, when_all_open) = (setting.max_concurrency, setting.when_all_open);
        Arc::new(Provider { name: format!("p{place}").into(), place, vitals, keys, max_concurrency, when_all_open })
    }

    fn target(&mut self, provider: &Arc<Provider>, setting: &ProviderSetting, spot: Spot, timeouts: &Timeouts) -> Target {
        let keys = if setting.keys.is_empty() { &[NO_KEY] } else { &setting.keys[..] };
        let key_rests = keys.iter().map(|key| self.rest(spot.provider, Some(spot.model), *key)).collect();
        Target {
            place: spot.model,
            model: format!("m{}", spot.model).into(),
            vitals: self.vitals(spot.provider, Some(spot.model)),
            key_rests,
            weight: spot.weight,
            price: Arc::new(PriceTag::from((spot.model > 0).then_some(spot.model as u64))),
            timeouts: timeouts.clone(),
            ..fixture::target(provider, "")
        }
    }
}

fn rests(provider: &Provider) -> Vec<Arc<Rest>> {
    provider.keys.iter().map(|key| Arc::clone(&key.rest)).collect()
}

fn seat(roster: &mut Roster, target: &Target) {
    if roster.targets.iter().all(|seat| seat.model != target.model) {
        let (model, vitals, rests) = (Arc::clone(&target.model), Arc::clone(&target.vitals), Arc::clone(&target.key_rests));
        roster.targets.push(Seat { model, vitals, rests });
    }
}
