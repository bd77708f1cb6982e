//! Whose turn it is among several with weights: smooth weighted round robin (nginx's), so that a weight of 3 beside a weight
//! of 1 gives a a b a a a b a, not three in a row, and the shares are exact instead of likely.
//!
//! Each turn adds every candidate's weight to its credit, and the one with the most pays the sum. The router actor of a
//! worker keeps the credits; who isn't a candidate at a turn neither earns nor pays.

use std::collections::HashMap;
use std::sync::Arc;

use super::pick::bits;

/// The credits of one worker's pools and key pools, by their names.
#[derive(Debug, Default)]
pub struct Turns {
    pools: HashMap<Arc<str>, Vec<i64>>,
    keys: HashMap<Arc<str>, Vec<i64>>,
}

impl Turns {
    /// The next of a pool's targets among the bits.
    pub(super) fn target(&mut self, pool: &Arc<str>, candidates: u64, weight: impl Fn(usize) -> i64) -> usize {
        next(credits(&mut self.pools, pool), candidates, weight)
    }

    /// The next of a provider's keys among the bits.
    pub(super) fn key(&mut self, provider: &Arc<str>, candidates: u64, weight: impl Fn(usize) -> i64) -> usize {
        next(credits(&mut self.keys, provider), candidates, weight)
    }
}

fn credits<'a>(all: &'a mut HashMap<Arc<str>, Vec<i64>>, name: &Arc<str>) -> &'a mut Vec<i64> {
    // A name is only copied at its first use.
    if !all.contains_key(name) {
        all.insert(Arc::clone(name), Vec::new());
    }
    all.entry(Arc::clone(name)).or_default()
}

fn next(credits: &mut Vec<i64>, candidates: u64, weight: impl Fn(usize) -> i64) -> usize {
    let (mut total, mut first) = (0, candidates.trailing_zeros() as usize);
    for place in bits(candidates) {
        if credits.len() <= place {
            credits.resize(place + 1, 0);
        }
        let weight = weight(place).max(1);
        total += weight;
        credits[place] += weight;
        if credits[place] > credits[first] {
            first = place;
        }
    }
    if let Some(credit) = credits.get_mut(first) {
        *credit -= total;
    }
    // Weights may change and candidates come and go: nobody brings more than one round's credit or debt from before.
    for place in bits(candidates) {
        credits[place] = credits[place].clamp(-total, total);
    }
    first
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop_assert, proptest};

    use super::*;

    fn taken(credits: &mut Vec<i64>, candidates: u64, weights: &[i64], turns: usize) -> Vec<usize> {
        (0..turns).map(|_| next(credits, candidates, |place| weights[place])).collect()
    }

    #[test]
    fn turns_are_spread_out() {
        assert_eq!(taken(&mut Vec::new(), 0b11, &[3, 1], 8), [0, 0, 1, 0, 0, 0, 1, 0]);
        assert_eq!(taken(&mut Vec::new(), 0b111, &[5, 1, 1], 7), [0, 0, 1, 0, 2, 0, 0]);
    }

    #[test]
    fn who_was_away_brings_no_credit_along() {
        let mut credits = Vec::new();
        taken(&mut credits, 0b011, &[1, 1, 1], 1_000);
        let back = taken(&mut credits, 0b111, &[1, 1, 1], 9);
        assert_eq!((0..3).map(|place| back.iter().filter(|&&p| p == place).count()).collect::<Vec<_>>(), [3, 3, 3]);
    }

    proptest! {
        /// After any number of turns nobody is more than one turn off its share, per candidate.
        #[test]
        fn shares_are_exact(weights in proptest::collection::vec(1i64..1_000_000, 1..8), turns in 1usize..600) {
            let all = (1u64 << weights.len()) - 1;
            let order = taken(&mut Vec::new(), all, &weights, turns);
            let total: i64 = weights.iter().sum();
            for (place, weight) in weights.iter().enumerate() {
                let had = order.iter().filter(|&&p| p == place).count() as f64;
                let due = turns as f64 * *weight as f64 / total as f64;
                prop_assert!((had - due).abs() <= weights.len() as f64, "{place}: {had} of {due}");
            }
        }

        /// Any candidates, any weights: one of the candidates, no overflow.
        #[test]
        fn only_candidates(rounds in proptest::collection::vec((1u64.., any::<i64>()), 1..200)) {
            let mut credits = Vec::new();
            for (candidates, weight) in rounds {
                let place = next(&mut credits, candidates, |place| (weight >> 24).wrapping_mul(place as i64) >> 8);
                prop_assert!(candidates & (1 << place) != 0);
            }
        }
    }
}
