//! What a streamed request has used so far: as its upstreams say, and as counted here where they don't. Several upstreams may
//! have had a part in one answer; each is billed for its own.

use super::tokens::Counter;
use super::usage::{Source, Usage, usage};

/// See the module's text.
#[derive(Clone, Debug)]
pub struct Tally {
    /// Of upstreams that are through.
    before: Option<(Usage, Source)>,
    /// What they cost together; None where that of one isn't known.
    spent: Option<i64>,
    /// What the present one said last.
    told: Option<Usage>,
    /// What it said in words.
    counter: Counter,
    /// Tokens of the prompt, estimated.
    prompt: u64,
}

impl Tally {
    /// Of a request whose prompt has about so many tokens.
    pub fn new(prompt: u64) -> Self {
        Self { prompt, before: None, spent: Some(0), told: None, counter: Counter::new() }
    }

    /// The upstream sent a `usage` object. The last that can be believed counts: some send a running one.
    pub fn usage(&mut self, object: &[u8]) {
        self.said(usage(object));
    }

    /// The upstream sent a `usage` object that only says what has changed since the one before (Anthropic's).
    /// No call uses nothing: one that says so was written where nobody had said anything.
    pub fn more_usage(&mut self, object: &[u8]) {
        let Some(new) = usage(object).filter(|new| new.total() > 0) else { return };
        let known = self.told.unwrap_or_default();
        self.told = Some(Usage {
            input: new.input.max(known.input),
            output: new.output.max(known.output),
            cached: new.cached.max(known.cached),
            cache_write: new.cache_write.max(known.cache_write),
            audio_input: new.audio_input.max(known.audio_input),
            reasoning: new.reasoning.max(known.reasoning),
            audio_output: new.audio_output.max(known.audio_output),
        });
    }

    /// The upstream said what it has used so far, where that can be believed.
    pub fn said(&mut self, usage: Option<Usage>) {
        self.told = usage.or(self.told);
    }

    /// The upstream said these words.
    pub fn words(&mut self, words: &str) {
        self.counter.read(words);
    }

    /// The upstream sent pieces of something else: about a token each.
    pub fn pieces(&mut self, pieces: u32) {
        self.counter.add(pieces.into());
    }

    /// Another upstream takes over, with about so many tokens in its prompt; what the one before it cost, where that is known.
    pub fn next(&mut self, prompt: u64, cost: Option<i64>) {
        let spent = self.spent.zip(cost).map(|(spent, cost)| spent.saturating_add(cost));
        *self = Self { before: Some(self.total()), spent, ..Self::new(prompt) };
    }

    /// What the upstreams before the present one cost together, in nano-dollars; None where that of one isn't known.
    pub fn spent(&self) -> Option<i64> {
        self.spent
    }

    /// What the present upstream said that its own part cost.
    pub fn told(&self) -> Option<Usage> {
        self.told
    }

    /// The present upstream's own part, and how well it is known.
    pub fn own(&self) -> (Usage, Source) {
        let estimate = || Usage { input: self.prompt, output: self.counter.tokens(), ..Usage::default() };
        self.told.map_or_else(|| (estimate(), Source::Estimated), |told| (told, Source::Exact))
    }

    /// All of it, and how well it is known.
    pub fn total(&self) -> (Usage, Source) {
        let (own, source) = self.own();
        match self.before {
            None => (own, source),
            Some((mut sum, before)) => {
                sum += own;
                (sum, before.with(source))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_upstream_says_wins_over_what_is_counted() {
        let mut tally = Tally::new(10);
        tally.words("hello world");
        tally.pieces(3);
        assert_eq!(tally.total(), (Usage { input: 10, output: 5, ..Usage::default() }, Source::Estimated));
        tally.usage(br#"{"prompt_tokens":7,"completion_tokens":1}"#);
        tally.usage(br#"{"prompt_tokens":7,"completion_tokens":4}"#);
        tally.usage(br#"{"prompt_tokens":-7,"completion_tokens":1e18}"#);
        assert_eq!(tally.total(), (Usage { input: 7, output: 4, ..Usage::default() }, Source::Exact));
    }

    #[test]
    fn every_upstream_counts_for_itself() {
        let mut tally = Tally::new(10);
        tally.words("hello world");
        tally.next(12, Some(5));
        tally.next(0, Some(6));
        assert_eq!(tally.spent(), Some(11));
        tally.next(0, None);
        assert_eq!(tally.spent(), None, "a sum with an unknown part is unknown");
        let mut tally = Tally::new(10);
        tally.words("hello world");
        tally.next(12, Some(5));
        tally.words(" again");
        assert_eq!(tally.total(), (Usage { input: 22, output: 3, ..Usage::default() }, Source::Estimated));
        tally.usage(br#"{"prompt_tokens":13,"completion_tokens":2}"#);
        assert_eq!(tally.total(), (Usage { input: 23, output: 4, ..Usage::default() }, Source::Partial));
    }
}
