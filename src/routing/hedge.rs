//! Whom a second call beside a late one may go to: healthy targets only. One that is on its way back or slow itself would
//! be no help, and a half-open one's permit would go to a call that may be cancelled.

use super::pick::{Ask, Standing, Tried, standing};

/// What a second call passes over, with the late target; None where nobody is left for it.
pub fn beside(ask: &Ask<'_>, late: usize) -> Option<Tried> {
    let mut tried = ask.tried.clone();
    tried.target(late);
    let mut left = false;
    for (number, _, target) in ask.chain.targets() {
        match standing(ask, number, target) {
            Standing::Ready => left |= !tried.has(number),
            Standing::Degraded | Standing::Ramping(_) | Standing::Due | Standing::Out(_) => tried.target(number),
        }
    }
    left.then_some(tried)
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{Lever, chain, provider, target};
    use super::super::{Needs, Strategy};
    use super::*;
    use crate::base::Moment;
    use crate::health::{Pass, Vote};

    const NOW: Moment = Moment::from_millis(1_000);

    #[test]
    fn only_healthy_others_are_called_beside_a_late_one() {
        let names = ["late", "open", "due", "ramping", "slow", "ready"];
        let targets: Vec<_> = names.iter().map(|name| target(&provider(name, 0), name)).collect();
        let mut levers: Vec<_> = targets.iter().map(|target| Lever::of(&target.vitals)).collect();
        levers[1].trip(NOW);
        levers[2].trip(Moment::START);
        levers[3].returned(Moment::START);
        let now = Moment::from_millis(12_000);
        levers[1].trip(now);
        (0..3).for_each(|_| levers[4].tell(Vote::Success, true, Pass::Normal, now));
        let chain = chain(Strategy::Ordered, vec![targets]);
        let tried = Tried::default();
        let ask = Ask {
            chain: &chain,
            tried: &tried,
            needs: Needs::default(),
            larger_than: None,
            prompt: 0,
            tokens: 0,
            stream: false,
            only: None,
            last_resort: false,
            now,
        };
        let passed = beside(&ask, 0).expect("one is left");
        assert_eq!((0..6).map(|number| passed.has(number)).collect::<Vec<_>>(), [true, true, true, true, true, false]);
        assert!(beside(&ask, 5).is_some(), "the first is healthy too");
        let mut both = Tried::default();
        both.target(0);
        assert!(beside(&Ask { tried: &both, ..ask }, 5).is_none());
    }
}
