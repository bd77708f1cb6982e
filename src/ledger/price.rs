//! What a call cost, and the most that it may: its tokens by its target's tariff. Every token is billed in one class alone,
//! and the sum is rounded once, to the nearest nano-dollar.

use crate::base::Tariff;
use crate::dialect::Usage;

/// Prices are per so many tokens.
const MILLION: u128 = 1_000_000;

/// In nano-dollars. `usage` of one call alone: a long prompt's rates hold for the call that had it.
pub fn cost(tariff: &Tariff, usage: &Usage) -> i64 {
    let rates = tariff.of(usage.input);
    // What an upstream counts in two classes at once (sound read from its cache) stays in the first of them.
    let (cached, rest) = split(usage.input, usage.cached);
    let (cache_write, rest) = split(rest, usage.cache_write);
    let (audio_input, input) = split(rest, usage.audio_input);
    let (reasoning, rest) = split(usage.output, usage.reasoning);
    let (audio_output, output) = split(rest, usage.audio_output);
    let billed = [
        (input, rates.input),
        (cached, rates.cached),
        (cache_write, rates.cache_write),
        (audio_input, rates.audio_input),
        (output, rates.output),
        (reasoning, rates.reasoning),
        (audio_output, rates.audio_output),
    ];
    sum(&billed)
}

/// What a call may cost at the most, in nano-dollars, with so many tokens in its prompt and its answer: the dearest class of
/// each, at the dearest of the rates that a prompt up to that length can have.
pub fn most(tariff: &Tariff, prompt: u64, answer: u64) -> i64 {
    let steps = tariff.steps.iter().filter(|(from, _)| *from <= prompt).map(|(_, rates)| rates);
    let costs = steps.chain([&tariff.rates]).map(|rates| {
        let input = rates.input.max(rates.cached).max(rates.cache_write).max(rates.audio_input);
        let output = rates.output.max(rates.reasoning).max(rates.audio_output);
        sum(&[(prompt, input), (answer, output)])
    });
    costs.max().unwrap_or_default()
}

/// A sum of costs, unknown where one of them is.
pub fn plus(one: Option<i64>, other: Option<i64>) -> Option<i64> {
    Some(one?.saturating_add(other?))
}

/// A part, no larger than the whole, and what remains.
fn split(whole: u64, part: u64) -> (u64, u64) {
    let part = part.min(whole);
    (part, whole - part)
}

fn sum(billed: &[(u64, u64)]) -> i64 {
    let sum: u128 = billed.iter().map(|(tokens, rate)| u128::from(*tokens) * u128::from(*rate)).fold(0, u128::saturating_add);
    i64::try_from((sum.saturating_add(MILLION / 2)) / MILLION).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Rates;
    use proptest::prelude::*;

    /// gpt-4o's, with classes apart: $2.50, $1.25, $3, $40, $10, $12, $80.
    const RATES: Rates = Rates {
        input: 2_500_000_000,
        cached: 1_250_000_000,
        cache_write: 3_000_000_000,
        audio_input: 40_000_000_000,
        output: 10_000_000_000,
        reasoning: 12_000_000_000,
        audio_output: 80_000_000_000,
    };

    #[test]
    fn every_token_is_billed_once() {
        let tariff = Tariff::flat(RATES);
        let usage = Usage { input: 1_000, output: 100, ..Usage::default() };
        assert_eq!(cost(&tariff, &usage), 2_500_000 + 1_000_000);
        let usage = Usage { cached: 400, cache_write: 100, audio_input: 50, reasoning: 60, audio_output: 10, ..usage };
        let input = 450 * 2_500 + 400 * 1_250 + 100 * 3_000 + 50 * 40_000;
        let output = 30 * 10_000 + 60 * 12_000 + 10 * 80_000;
        assert_eq!(cost(&tariff, &usage), input + output);
        let more = Usage { cached: 900, cache_write: 900, audio_input: 900, ..usage };
        assert_eq!(cost(&tariff, &more), 900 * 1_250 + 100 * 3_000 + output, "no part is larger than what is left of the whole");
    }

    #[test]
    fn a_cheap_token_is_not_rounded_away() {
        // $0.0375 a million is 37.5 nano-dollars a token.
        let tariff = Tariff::flat(Rates::new(37_500_000, 0));
        let of = |input| cost(&tariff, &Usage { input, ..Usage::default() });
        assert_eq!((of(1), of(2), of(1_000)), (38, 75, 37_500));
    }

    #[test]
    fn a_long_prompts_rates_hold_for_the_whole_call() {
        let tariff = Tariff { rates: Rates::new(1_000_000, 2_000_000), steps: vec![(1_001, Rates::new(3_000_000, 4_000_000))] };
        let of = |input| cost(&tariff, &Usage { input, output: 10, ..Usage::default() });
        assert_eq!((of(1_000), of(1_001)), (1_020, 3_043));
        assert_eq!((most(&tariff, 1_000, 10), most(&tariff, 1_001, 10)), (1_020, 3_043));
    }

    proptest! {
        #[test]
        fn no_call_costs_more_than_the_most(
            rates in prop::array::uniform7(0u64..1_000_000_000_000),
            tokens in prop::array::uniform7(0u64..1 << 30),
            step in 0u64..1 << 30,
            more in 0u64..1_000,
        ) {
            let [input, cached, cache_write, audio_input, output, reasoning, audio_output] = rates;
            let rates = Rates { input, cached, cache_write, audio_input, output, reasoning, audio_output };
            let tariff = Tariff { rates, steps: vec![(step, Rates::new(more, input))] };
            let [input, output, cached, cache_write, reasoning, audio_input, audio_output] = tokens;
            let usage = Usage { input, output, cached, cache_write, reasoning, audio_input, audio_output };
            let cost = cost(&tariff, &usage);
            prop_assert!(0 <= cost && cost <= most(&tariff, input, output));
        }
    }
}
