//! What a streamed request has used so far: as its upstreams say, and as counted here where they don't. Several upstreams may
//! have had a part in one answer; each is billed for its own.

use super::heard::Heard;
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
    /// What it said in words since.
    heard: Heard,
    /// What of its output it told when it had said something: what was heard since comes on top. An upstream that tells its
    /// usage before its first word can only know that it begins.
    base: u64,
    /// Tokens of what was heard, once that is counted.
    counted: Option<u64>,
    /// Tokens of the prompt, estimated.
    prompt: u64,
}

impl Tally {
    /// Of a request whose prompt has about so many tokens.
    pub fn new(prompt: u64) -> Self {
        Self { prompt, before: None, spent: Some(0), told: None, heard: Heard::default(), base: 0, counted: None }
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
        self.said(Some(Usage {
            input: new.input.max(known.input),
            output: new.output.max(known.output),
            cached: new.cached.max(known.cached),
            cache_write: new.cache_write.max(known.cache_write),
            audio_input: new.audio_input.max(known.audio_input),
            reasoning: new.reasoning.max(known.reasoning),
            audio_output: new.audio_output.max(known.audio_output),
        }));
    }

    /// The upstream said what it has used so far, where that can be believed: it covers all that was said before, and in the same
    /// event.
    pub fn said(&mut self, usage: Option<Usage>) {
        let Some(told) = usage else { return };
        if !self.heard.is_empty() || self.told.is_some_and(|before| before.output < told.output) {
            self.base = told.output;
        }
        (self.told, self.heard) = (Some(told), Heard::default());
    }

    /// The upstream said these words.
    pub fn words(&mut self, words: &str) {
        self.heard.words(words);
    }

    /// The upstream sent pieces of something else: about a token each.
    pub fn pieces(&mut self, pieces: u32) {
        self.heard.pieces(pieces);
    }

    /// What was said that nobody told the tokens of, taken to be counted elsewhere; None: nothing. An estimate stands in its place
    /// until [`Tally::count`].
    pub fn take_heard(&mut self) -> Option<Heard> {
        if self.heard.is_empty() {
            return None;
        }
        self.counted = Some(self.heard.estimate());
        Some(std::mem::take(&mut self.heard))
    }

    /// What was taken has so many tokens, and the prompt, where that was counted and its upstream is the first.
    pub fn count(&mut self, heard: u64, prompt: Option<u64>) {
        self.counted = Some(heard);
        if let (Some(prompt), None) = (prompt, &self.before) {
            self.prompt = prompt;
        }
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

    /// What the present upstream said that its own part cost; None where it said more since.
    pub fn settled(&self) -> Option<Usage> {
        self.told.filter(|_| self.heard.is_empty() && self.counted.is_none())
    }

    /// The present upstream's own part, and how well it is known.
    pub fn own(&self) -> (Usage, Source) {
        let heard = || self.counted.unwrap_or_else(|| self.heard.estimate());
        match (self.told, self.settled()) {
            (_, Some(told)) => (told, Source::Exact),
            (Some(told), None) => (Usage { output: told.output.max(self.base.saturating_add(heard())), ..told }, Source::Partial),
            (None, None) => (Usage { input: self.prompt, output: heard(), ..Usage::default() }, Source::Estimated),
        }
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
    fn what_comes_after_a_running_usage_is_counted_on_top() {
        let of = |tally: &Tally| (tally.total().0.output, tally.total().1);
        // Anthropic's: a first number before the first word.
        let mut tally = Tally::new(10);
        tally.more_usage(br#"{"input_tokens":7,"output_tokens":1}"#);
        tally.words("hello world");
        assert_eq!((of(&tally), tally.total().0.input), ((2, Source::Partial), 7));
        tally.more_usage(br#"{"output_tokens":4}"#);
        assert_eq!((of(&tally), tally.settled().map(|told| told.output)), ((4, Source::Exact), Some(4)));
        // A number with every event.
        let mut tally = Tally::new(10);
        for (word, output) in [("hello", 1), (" world", 2)] {
            tally.words(word);
            tally.usage(format!("{{\"prompt_tokens\":7,\"completion_tokens\":{output}}}").as_bytes());
        }
        assert_eq!(of(&tally), (2, Source::Exact));
        tally.words(" again");
        assert_eq!(of(&tally), (3, Source::Partial));
    }

    #[test]
    fn what_was_taken_to_be_counted_stands_as_an_estimate_until_it_is() {
        let mut tally = Tally::new(10);
        assert!(tally.take_heard().is_none());
        tally.words("hello world");
        let heard = tally.take_heard().unwrap();
        assert_eq!(tally.total(), (Usage { input: 10, output: 2, ..Usage::default() }, Source::Estimated));
        tally.count(heard.count(crate::dialect::Vocabulary::O200k) + 1, Some(9));
        assert_eq!(tally.total(), (Usage { input: 9, output: 3, ..Usage::default() }, Source::Estimated));
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
