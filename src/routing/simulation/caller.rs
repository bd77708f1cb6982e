//! The callers' side: a request goes along its chain by the same pick and the same plan as one in the gateway.

use std::sync::Arc;

use super::super::{Around, Ask, Chain, Choice, Needs, Next, NoTarget, Plan, Taken, Tried, Turns, pick, servable};
use crate::base::Moment;
use crate::health::{Admitted, InFlight, Outcome, Pass};

use rand::rngs::SmallRng;

/// One request under way.
#[derive(Debug)]
pub(super) struct Request {
    chain: Arc<Chain>,
    pub(super) plan: Plan,
    pub(super) stream: bool,
    /// Through which router.
    pub(super) router: usize,
    /// The target to be asked again.
    only: Option<Taken>,
    /// Calls that were made.
    pub(super) made: u32,
    /// Of those, such as made up for a refused key.
    pub(super) for_keys: u32,
}

/// One upstream call under way.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) request: u64,
    pub(super) router: usize,
    pub(super) taken: Taken,
    pub(super) by_provider: Admitted,
    pub(super) by_target: Admitted,
    pub(super) in_flight: (InFlight, InFlight),
    pub(super) started: Moment,
    pub(super) first_token: Option<Moment>,
    pub(super) outcome: Outcome,
}

impl Request {
    pub(super) fn new(chain: &Arc<Chain>, stream: bool, router: usize, now: Moment) -> Self {
        chain.budgets.extra.earn(chain.retry.budget_ratio);
        let total = chain.targets().map(|(.., target)| target.timeouts.total).max().unwrap_or_default();
        let plan = Plan::new(chain.retry.clone(), now.plus(total));
        Self { chain: Arc::clone(chain), plan, stream, router, only: None, made: 0, for_keys: 0 }
    }

    fn ask<'a>(&'a self, tried: &'a Tried, now: Moment) -> Ask<'a> {
        Ask {
            chain: &self.chain,
            tried,
            needs: Needs::default(),
            larger_than: self.plan.larger_than,
            prompt: 0,
            tokens: 0,
            stream: self.stream,
            only: self.only.as_ref().map(|taken| taken.number),
            last_resort: !self.plan.last_resort_used && self.only.is_none(),
            now,
        }
    }

    /// The next call, claimed; None: the request is over. Everything that is chosen or refused is shown to `judge`.
    pub(super) fn next(
        &mut self,
        turns: &mut Turns,
        rng: &mut SmallRng,
        now: Moment,
        judge: &mut impl FnMut(&Ask<'_>, &Result<Choice, NoTarget>),
    ) -> Option<Choice> {
        loop {
            let tried = self.plan.tried.clone();
            let ask = self.ask(&tried, now);
            let picked = pick(&ask, turns, rng);
            judge(&ask, &picked);
            match (picked, self.only.take()) {
                (Ok(choice), _) => {
                    self.plan.last_resort_used |= choice.by_target.pass == Pass::LeastBad || choice.by_provider.pass == Pass::LeastBad;
                    self.plan.calling();
                    self.made += 1;
                    return Some(choice);
                }
                (Err(_), Some(taken)) => match self.plan.leave(&taken) {
                    Next::Stop(_) => return None,
                    Next::OtherTarget | Next::OtherKey | Next::Repeat { .. } => {}
                },
                (Err(_), None) => return None,
            }
        }
    }

    /// What the plan says after a failure; None: the request is over, else when it goes on.
    pub(super) fn failed(&mut self, taken: &Taken, outcome: &Outcome, now: Moment, draw: f64) -> Option<Moment> {
        let mut tried = self.plan.tried.clone();
        match outcome {
            Outcome::RateLimited { whole_key, .. } => tried.key(taken, *whole_key),
            Outcome::KeyFault { .. } => tried.key(taken, true),
            Outcome::Ok | Outcome::Transient(_) | Outcome::TooLong => {}
            Outcome::CallerFault | Outcome::ModelMissing | Outcome::Abandoned => {}
        }
        self.only = Some(taken.clone());
        let again = servable(&self.ask(&tried, now)) > 0;
        self.only = None;
        tried.target(taken.number);
        let behind = servable(&self.ask(&tried, now));
        let chain = Arc::clone(&self.chain);
        let around = Around { behind, again, budget: &chain.budgets.extra, now, draw };
        match self.plan.after(taken, outcome, &around) {
            Next::OtherTarget => Some(now),
            Next::OtherKey => {
                self.only = Some(taken.clone());
                self.for_keys += 1;
                Some(now)
            }
            Next::Repeat { after } => {
                self.only = Some(taken.clone());
                Some(now.plus(after))
            }
            Next::Stop(_) => None,
        }
    }

    /// How often it may call at most.
    pub(super) fn attempts(&self) -> u32 {
        self.chain.retry.attempts
    }
}
