//! What a request's calls have used, and what that cost: the answer's, that of a call which another's answer came before, and the
//! prompts of those that its caller didn't wait for. Upstreams bill them all. Who was called, and at what price, others know.

use crate::dialect::{Source, Usage};
use crate::ledger::plus;

/// See the module's text. Costs are in nano-dollars; None: a price isn't known.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Bill {
    /// What its answer used, and how well that is known; None where no upstream answered.
    used: Option<(Usage, Source)>,
    /// What that cost.
    cost: Option<i64>,
    /// Of the call that another's answer came before.
    outpaced: Option<(Usage, Option<i64>)>,
}

impl Bill {
    /// Whether an upstream has answered.
    pub(super) fn has_answer(&self) -> bool {
        self.used.is_some()
    }

    /// What its answer has used so far, in the place of what was told before.
    pub(super) fn answer(&mut self, used: (Usage, Source), cost: Option<i64>) {
        (self.used, self.cost) = (Some(used), cost);
    }

    /// Adds a call that another's answer came before.
    pub(super) fn outpaced(&mut self, used: Usage, cost: Option<i64>) {
        self.outpaced = Some((used, cost));
    }

    /// Adds the prompt of a call that its caller left while it was under way.
    pub(super) fn abandoned(&mut self, prompt: Usage, cost: Option<i64>) {
        let (mut used, before) = self.used.map_or((Usage::default(), Some(0)), |(used, _)| (used, self.cost));
        used += prompt;
        self.answer((used, Source::Estimated), plus(before, cost));
    }

    /// Its caller left: what was used by then was counted here, however much the upstream says of it.
    pub(super) fn left(&mut self) {
        self.used = self.used.map(|(used, source)| (used, if source == Source::Estimated { Source::Partial } else { source }));
    }

    /// What was used so far, all calls together, and how well that is known; None where no upstream answered.
    pub(super) fn used(&self) -> Option<(Usage, Source)> {
        let (mut used, mut source) = self.used?;
        if let Some((more, _)) = self.outpaced {
            used += more;
            source = source.with(Source::Estimated);
        }
        Some((used, source))
    }

    /// What that cost; None where the price of any of it isn't known. What nothing answered cost nothing.
    pub(super) fn cost(&self) -> Option<i64> {
        let answered = if self.used.is_some() { self.cost } else { Some(0) };
        plus(answered, self.outpaced.map_or(Some(0), |(_, cost)| cost))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(input: u64) -> Usage {
        Usage { input, ..Usage::default() }
    }

    #[test]
    fn what_nobody_answered_cost_nothing_and_an_unknown_price_makes_the_sum_unknown() {
        let mut bill = Bill::default();
        assert_eq!((bill.has_answer(), bill.used(), bill.cost()), (false, None, Some(0)));
        bill.answer((tokens(3), Source::Exact), Some(7));
        bill.answer((tokens(5), Source::Exact), Some(9));
        assert_eq!((bill.used(), bill.cost()), (Some((tokens(5), Source::Exact)), Some(9)), "the last word of it");
        bill.outpaced(tokens(2), Some(4));
        assert_eq!((bill.used(), bill.cost()), (Some((tokens(7), Source::Partial)), Some(13)), "of the other nobody told");
        bill.outpaced(tokens(2), None);
        assert_eq!(bill.cost(), None);
    }

    #[test]
    fn who_leaves_has_used_each_prompt_that_was_under_way() {
        let mut bill = Bill::default();
        bill.abandoned(tokens(10), Some(1));
        bill.abandoned(tokens(10), Some(2));
        bill.left();
        assert_eq!((bill.used(), bill.cost()), (Some((tokens(20), Source::Partial)), Some(3)));
        let mut told = Bill::default();
        told.answer((tokens(5), Source::Exact), Some(9));
        told.left();
        assert_eq!(told.used(), Some((tokens(5), Source::Exact)), "what the upstream has told stands");
        told.abandoned(tokens(1), None);
        assert_eq!(told.cost(), None);
    }
}
