//! A gateway's machines as they would be over a scene: the same breakers, the same vitals, the same chains, under thresholds
//! of one's choice.

use std::sync::Arc;
use std::time::Duration;

use super::scene::{Scene, SceneModel};
use crate::base::{Moment, PriceTag};
use crate::health::{ProviderHealth, Rest, Roster, Seat, Thresholds, Vitals};
use crate::routing::{Chain, Pool, Provider, Streaming, Target, Timeouts, WhenAllOpen};

/// What one provider is ruled by.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// Its thresholds.
    pub thresholds: Thresholds,
    /// What happens when nothing else is left.
    pub when_all_open: WhenAllOpen,
}

/// As the settings resolve it: a target that refuses when open is probed once a second at most.
const PROBE_GAP: Duration = Duration::from_secs(1);
/// A request's time, all its calls together: `timeouts.total`, which isn't on record.
const TOTAL: Duration = Duration::from_secs(600);

/// See the module's text.
pub(super) struct House {
    pub(super) healths: Vec<ProviderHealth>,
    /// By the model's number.
    pub(super) chains: Vec<Chain>,
}

impl House {
    /// With each provider under its rule.
    pub(super) fn new(scene: &Scene, rules: &[Rule]) -> Self {
        let slots = scene.providers.iter().zip(rules).enumerate().map(|(place, (provider, rule))| {
            Arc::new(Provider {
                name: Arc::clone(&provider.name),
                place,
                vitals: Arc::default(),
                keys: Vec::new(),
                max_concurrency: 0,
                when_all_open: rule.when_all_open,
            })
        });
        let slots: Vec<_> = slots.collect();
        let vitals: Vec<Arc<Vitals>> = scene.targets.iter().map(|_| Arc::default()).collect();
        let healths = scene.providers.iter().zip(rules).zip(&slots).map(|((provider, rule), slot)| {
            let seat = |target: &usize| {
                let (model, vitals) = (Arc::clone(&scene.targets[*target].name), Arc::clone(&vitals[*target]));
                Seat { model, vitals, rests: [Arc::<Rest>::default()].into() }
            };
            let roster = Roster { targets: provider.targets.iter().map(seat).collect(), keys: Vec::new() };
            let probe_gap = if rule.when_all_open == WhenAllOpen::Refuse { PROBE_GAP } else { Duration::ZERO };
            let thresholds = Thresholds { probe_gap, ..rule.thresholds.clone() };
            ProviderHealth::new(&thresholds, Duration::ZERO, Arc::clone(&slot.vitals), roster, Moment::START)
        });
        let healths = healths.collect();
        let chains = scene.models.iter().map(|model| chain(scene, model, &slots, &vitals)).collect();
        Self { healths, chains }
    }
}

fn chain(scene: &Scene, model: &SceneModel, slots: &[Arc<Provider>], vitals: &[Arc<Vitals>]) -> Chain {
    let target = |(number, weight, price): &(usize, u32, Option<u64>)| {
        let of = &scene.targets[*number];
        let place = scene.providers[of.provider].targets.iter().position(|known| known == number);
        Arc::new(Target {
            provider: Arc::clone(&slots[of.provider]),
            place: place.unwrap_or_default(),
            model: Arc::clone(&of.name),
            vitals: Arc::clone(&vitals[*number]),
            key_rests: [Arc::<Rest>::default()].into(),
            weight: *weight,
            price: Arc::new(PriceTag::from(*price)),
            capabilities: None,
            context_window: None,
            goes_on: false,
            timeouts: Timeouts { connect: TOTAL, first_byte: TOTAL, first_token: TOTAL, idle: TOTAL, total: TOTAL },
        })
    };
    let pools = model.pools.iter().map(|pool| Pool {
        model: Arc::clone(&model.name),
        strategy: pool.strategy,
        targets: pool.members.iter().map(target).collect(),
    });
    Chain {
        model: Arc::clone(&model.name),
        pools: pools.collect(),
        retry: model.retry.clone(),
        streaming: Streaming {
            recovery: false,
            hold_tools: false,
            hold: Duration::ZERO,
            resume_window: Duration::ZERO,
            resume_max: Duration::ZERO,
            resume_buffer: 0,
        },
        caching: Default::default(),
        budgets: Arc::default(),
        left_out: Vec::new(),
    }
}

/// By when a request that came then must be over.
pub(super) fn deadline(at: Moment) -> Moment {
    at.plus(TOTAL)
}
