//! Chains for the tests of this floor: targets over breakers that a test can move.

use std::sync::Arc;
use std::time::Duration;

use super::{Chain, KeySlot, Needs, Pool, Provider, Retry, Strategy, Streaming, Target, Timeouts, WhenAllOpen};
use crate::base::Moment;
use crate::health::{Breaker, Ewma, Reason, Report, Thresholds, Vitals, Vote};

/// Moves published vitals as their actor would.
pub(super) struct Lever {
    breaker: Breaker,
    vitals: Arc<Vitals>,
}

impl Lever {
    pub(super) fn of(vitals: &Arc<Vitals>) -> Self {
        let mut lever = Self { breaker: Breaker::new(Thresholds::default(), Moment::START), vitals: Arc::clone(vitals) };
        lever.publish(Moment::START);
        lever
    }

    fn publish(&mut self, now: Moment) {
        self.vitals.publish(&mut self.breaker, now);
    }

    pub(super) fn trip(&mut self, now: Moment) {
        self.breaker.trip(Reason::Hard, now, 0.0, &mut Vec::new());
        self.publish(now);
    }

    pub(super) fn tell(&mut self, vote: Vote, slow: bool, pass: crate::health::Pass, now: Moment) {
        let report = Report { vote, slow, pass, epoch: self.breaker.epoch() };
        self.breaker.record(report, now, 0.0, &mut Vec::new());
        self.publish(now);
    }

    /// Open, then closed by two probes at `now`.
    pub(super) fn returned(&mut self, now: Moment) {
        self.trip(now);
        let then = now.plus(Duration::from_secs(10));
        for _ in 0..2 {
            self.tell(Vote::Success, false, crate::health::Pass::Probe, then);
        }
    }
}

/// Publishes what calls to a target took.
pub(super) fn observed(target: &Target, ms: u64, now: Moment) {
    let mut ewma = Ewma::default();
    ewma.observe(Duration::from_millis(ms), now);
    target.vitals.publish_latency(&ewma, &ewma, now);
}

pub(super) fn provider(name: &str, keys: usize) -> Arc<Provider> {
    let vitals = Arc::default();
    Lever::of(&vitals);
    let slot = |key: usize| KeySlot { name: format!("key-{key}").into(), weight: 1, rest: Arc::default(), limit: None };
    Arc::new(Provider {
        name: name.into(),
        place: 0,
        vitals,
        keys: (0..keys).map(slot).collect(),
        max_concurrency: 0,
        when_all_open: WhenAllOpen::LeastBad,
    })
}

pub(super) fn target(provider: &Arc<Provider>, model: &str) -> Target {
    let vitals = Arc::default();
    Lever::of(&vitals);
    let second = Duration::from_secs(1);
    Target {
        provider: Arc::clone(provider),
        place: 0,
        model: model.into(),
        vitals,
        key_rests: (0..provider.keys.len().max(1)).map(|_| Arc::default()).collect(),
        weight: 1,
        price: Arc::default(),
        capabilities: None::<Needs>,
        context_window: None,
        timeouts: Timeouts { connect: second, first_byte: second, first_token: second, idle: second, total: second * 10 },
        goes_on: true,
    }
}

pub(super) fn chain(strategy: Strategy, pools: Vec<Vec<Target>>) -> Chain {
    let pools = pools.into_iter().enumerate().map(|(number, targets)| Pool {
        model: format!("model-{number}").into(),
        strategy,
        targets: targets.into_iter().map(Arc::new).collect(),
    });
    Chain {
        model: "model-0".into(),
        pools: pools.collect(),
        retry: retry(),
        budgets: Arc::default(),
        streaming: Streaming::default(),
        caching: Default::default(),
        left_out: Vec::new(),
    }
}

pub(super) fn retry() -> Retry {
    Retry::default()
}
