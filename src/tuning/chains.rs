//! A model's chain as one line of text, for the record: which targets a request could have gone to, and how one of them was
//! chosen. No name in it holds a blank, so blanks separate.

use std::fmt::Write as _;

use crate::routing::{Chain, Strategy};

/// A pool as it was on record.
#[derive(Clone, Debug, PartialEq)]
pub struct Pool {
    /// How one was chosen.
    pub strategy: Strategy,
    /// Who could be, in order.
    pub members: Vec<Member>,
}

/// One of a pool's targets.
#[derive(Clone, Debug, PartialEq)]
pub struct Member {
    /// The provider's name.
    pub provider: String,
    /// The provider's own name for the model.
    pub model: String,
    /// Its share under `weighted`, a divisor of load elsewhere.
    pub weight: u32,
    /// Nano-dollars, as [`crate::base::PriceTag::compared`].
    pub price: Option<u64>,
}

/// `ordered: 1,-,alpha/gpt-4o 1,-,beta/gpt-4o healthiest: 2,5000,gamma/x`: each pool's strategy, then its targets, each after
/// its weight and its price (nano-dollars, `-` where it isn't known).
pub fn chain_line(chain: &Chain) -> String {
    let mut line = String::new();
    for pool in &chain.pools {
        // Writing to a String can't fail.
        let _ = write!(line, "{}{}:", if line.is_empty() { "" } else { " " }, pool.strategy.name());
        for target in &pool.targets {
            let price = target.price.compared().map_or_else(|| "-".to_owned(), |price| price.to_string());
            let _ = write!(line, " {},{price},{}/{}", target.weight, target.provider.name, target.model);
        }
    }
    line
}

/// The pools that [`chain_line`] wrote; None where a word can't be read.
pub(super) fn read(line: &str) -> Option<Vec<Pool>> {
    let mut pools: Vec<Pool> = Vec::new();
    for word in line.split(' ') {
        match word.strip_suffix(':').and_then(Strategy::named) {
            Some(strategy) => pools.push(Pool { strategy, members: Vec::new() }),
            None => pools.last_mut()?.members.push(member(word)?),
        }
    }
    Some(pools)
}

fn member(word: &str) -> Option<Member> {
    let mut parts = word.splitn(3, ',');
    let (weight, price, name) = (parts.next()?, parts.next()?, parts.next()?);
    let (provider, model) = name.split_once('/')?;
    let price = if price == "-" { None } else { Some(price.parse().ok()?) };
    Some(Member { provider: provider.to_owned(), model: model.to_owned(), weight: weight.parse().ok()?, price })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pools_and_their_targets_are_read() {
        let line = "ordered: 1,-,alpha/gpt-4o 2,5000,beta/x,y/z healthiest: 1,-,gamma/healthiest:";
        let pools = read(line).unwrap();
        assert_eq!(pools.iter().map(|pool| pool.strategy).collect::<Vec<_>>(), [Strategy::Ordered, Strategy::Healthiest]);
        let second = Member { provider: "beta".into(), model: "x,y/z".into(), weight: 2, price: Some(5_000) };
        assert_eq!((pools[0].members.len(), &pools[0].members[1]), (2, &second));
        assert_eq!(pools[1].members[0].model, "healthiest:");
    }

    #[test]
    fn a_torn_line_is_no_chain() {
        for line in ["", "alpha/x", "ordered: x", "ordered: 1,-,alpha", "ordered: 1,?,alpha/x", "sideways: 1,-,alpha/x"] {
            assert_eq!(read(line), None, "{line}");
        }
    }
}
