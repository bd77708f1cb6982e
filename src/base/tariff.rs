//! What a target's tokens cost: a rate for each class, and other rates for long prompts where the vendor has them. Values
//! only; who knows them is the price table, and what a call costs by them `ledger::price` says.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwapOption;

/// Nano-dollars per million tokens of each class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rates {
    /// Of the prompt, what no other class takes.
    pub input: u64,
    /// Of the prompt, read from the provider's cache.
    pub cached: u64,
    /// Of the prompt, written into the provider's cache.
    pub cache_write: u64,
    /// Sound in the prompt.
    pub audio_input: u64,
    /// Of the answer, what no other class takes.
    pub output: u64,
    /// Of the answer, thoughts.
    pub reasoning: u64,
    /// Sound in the answer.
    pub audio_output: u64,
}

impl Rates {
    /// Of the two that every price has; the other classes cost the same as those that they are a part of.
    pub fn new(input: u64, output: u64) -> Self {
        Self { input, cached: input, cache_write: input, audio_input: input, output, reasoning: output, audio_output: output }
    }
}

/// The rates of one target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tariff {
    /// Of usual prompts.
    pub rates: Rates,
    /// Of longer ones: from so many prompt tokens on, all of the call costs this. Ascending.
    pub steps: Vec<(u64, Rates)>,
}

impl Tariff {
    /// The same for every prompt.
    pub fn flat(rates: Rates) -> Self {
        Self { rates, steps: Vec::new() }
    }

    /// The rates of a call whose prompt has so many tokens.
    pub fn of(&self, prompt: u64) -> &Rates {
        self.steps.iter().rev().find(|(from, _)| prompt >= *from).map_or(&self.rates, |(_, rates)| rates)
    }
}

/// The tariff in force of a target; None: not known. Some vendors' prices change with the hour, so it can be put anew.
#[derive(Default)]
pub struct PriceTag(ArcSwapOption<Tariff>);

impl PriceTag {
    /// With a tariff to begin with.
    pub fn new(tariff: Option<Tariff>) -> Self {
        Self(ArcSwapOption::from_pointee(tariff))
    }

    /// What is to be known of the tariff in force: reads it where it is, with no count of who does.
    pub fn look<R>(&self, read: impl FnOnce(&Tariff) -> R) -> Option<R> {
        self.0.load().as_deref().map(read)
    }

    /// The tariff in force, to be kept.
    pub fn tariff(&self) -> Option<Arc<Tariff>> {
        self.0.load_full()
    }

    /// Puts another in force.
    pub fn put(&self, tariff: Option<Tariff>) {
        if self.0.load().as_deref() != tariff.as_ref() {
            self.0.store(tariff.map(Arc::new));
        }
    }

    /// As one number to compare: input and output per million tokens.
    pub fn compared(&self) -> Option<u64> {
        self.look(|tariff| tariff.rates.input.saturating_add(tariff.rates.output))
    }
}

impl From<Option<u64>> for PriceTag {
    /// Of which only the number to compare is known.
    fn from(compared: Option<u64>) -> Self {
        Self::new(compared.map(|compared| Tariff::flat(Rates { input: compared, ..Rates::default() })))
    }
}

impl fmt::Debug for PriceTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PriceTag").field(&self.tariff()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_prompt_has_its_own_rates() {
        let (usual, long, longer) = (Rates::new(1, 2), Rates::new(3, 4), Rates::new(5, 6));
        let tariff = Tariff { rates: usual, steps: vec![(101, long), (1_001, longer)] };
        assert_eq!([0, 100, 101, 1_000, 1_001, u64::MAX].map(|prompt| tariff.of(prompt).input), [1, 1, 3, 3, 5, 5]);
    }

    #[test]
    fn a_tag_is_put_anew() {
        let tag = PriceTag::from(Some(7));
        assert_eq!(tag.compared(), Some(7));
        tag.put(Some(Tariff::flat(Rates::new(u64::MAX, 2))));
        assert_eq!((tag.compared(), tag.tariff().map(|tariff| tariff.rates.reasoning)), (Some(u64::MAX), Some(2)));
        tag.put(None);
        assert_eq!(tag.compared(), None, "not known is not free");
    }
}
