//! What an operator orders for a provider or one of its models, and what an active probe has found out.

use super::super::transition::{Force, Transition};
use super::{Moved, ProviderHealth};
use crate::base::Moment;

impl ProviderHealth {
    /// Does what an operator orders for one model's breaker, or for the provider. None: it has no such model.
    ///
    /// The provider's own open breaker shuts out all of its models, so `Open` moves that alone; `Close` and `Reset` move its
    /// models' too, since any of them would go on refusing. A reset also frees keys that rest or were refused (those of the
    /// model, or all) and models that were said to be missing.
    pub fn force(&mut self, force: Force, model: Option<&str>, now: Moment) -> Option<Vec<Moved>> {
        if let Some(model) = model {
            let place = self.targets.iter().position(|target| &*target.model == model)?;
            return Some(self.force_target(place, force, now));
        }
        let mut moves = Vec::new();
        self.breaker.force(force, now, &mut moves);
        self.vitals.publish(&mut self.breaker, now);
        let mut moved: Vec<_> = moves.into_iter().map(|transition| Moved { target: None, transition }).collect();
        if force != Force::Open {
            moved.extend((0..self.targets.len()).flat_map(|place| self.force_target(place, force, now)).collect::<Vec<_>>());
        }
        if force == Force::Reset {
            self.consecutive = 0;
            self.window.clear();
            self.keys.iter_mut().for_each(|(health, rest)| health.free(rest));
        }
        Some(moved)
    }

    fn force_target(&mut self, place: usize, force: Force, now: Moment) -> Vec<Moved> {
        let target = &mut self.targets[place];
        let mut moves: Vec<Transition> = Vec::new();
        target.breaker.force(force, now, &mut moves);
        target.tripped = None;
        if force == Force::Reset {
            target.vitals.absence().renew(now);
            target.keys.iter_mut().for_each(|(health, rest)| health.free(rest));
        }
        target.vitals.publish(&mut target.breaker, now);
        moves.into_iter().map(|transition| Moved { target: Some(place), transition }).collect()
    }

    /// Takes an active probe's good answer: brings half-open forward for what is open, and nothing else. Whether a model
    /// answers is for real calls to find out.
    pub fn probed_well(&mut self, now: Moment) -> Vec<Moved> {
        self.each(now, |breaker, moves| breaker.probed_well(now, moves))
    }
}
