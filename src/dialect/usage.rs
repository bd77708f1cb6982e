//! What a call used, in tokens: read from a `usage` object of any vendor, or estimated, or a sum of both.
//!
//! An upstream's numbers are believed only where they can be numbers of tokens. One that is negative, a fraction or beyond
//! any model's reach makes the whole object worthless: money is counted by it.

use std::ops::AddAssign;

use super::scan::members::Members;
use super::scan::walk::{Fault, Walk};

/// No call uses more tokens than this.
const MOST: u64 = 1 << 30;

/// Tokens of a call, or of several.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Of the prompt, cached ones included.
    pub input: u64,
    /// Of the answer, reasoning included.
    pub output: u64,
    /// Of the prompt, those that the provider had cached.
    pub cached: u64,
    /// Of the answer, those that it thought with.
    pub reasoning: u64,
}

/// How well a usage is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The upstream said so.
    Exact,
    /// Counted here.
    Estimated,
    /// A sum of both.
    Partial,
}

impl Source {
    /// A word for the log.
    pub fn name(self) -> &'static str {
        match self {
            Source::Exact => "exact",
            Source::Estimated => "estimated",
            Source::Partial => "partial",
        }
    }

    /// Of a sum.
    #[must_use]
    pub fn with(self, other: Self) -> Self {
        if self == other { self } else { Source::Partial }
    }
}

impl AddAssign for Usage {
    fn add_assign(&mut self, other: Self) {
        self.input = self.input.saturating_add(other.input);
        self.output = self.output.saturating_add(other.output);
        self.cached = self.cached.saturating_add(other.cached);
        self.reasoning = self.reasoning.saturating_add(other.reasoning);
    }
}

impl Usage {
    /// Prompt and answer together.
    pub fn total(&self) -> u64 {
        self.input.saturating_add(self.output)
    }

    /// As OpenAI writes it.
    pub fn json(&self) -> String {
        let Self { input, output, cached, reasoning } = self;
        format!(
            r#"{{"prompt_tokens":{input},"completion_tokens":{output},"total_tokens":{},"prompt_tokens_details":{{"cached_tokens":{cached}}},"completion_tokens_details":{{"reasoning_tokens":{reasoning}}}}}"#,
            self.total()
        )
    }
}

/// Reads a `usage` object, from its own bytes. None where it doesn't say what was used, or nothing that can be believed.
pub fn usage(object: &[u8]) -> Option<Usage> {
    read(&mut Walk::new(object)).ok()?
}

/// The same of the object that a walk stands on; the walk then stands behind it.
///
/// # Errors
/// Where it isn't JSON.
pub(in crate::dialect) fn read(walk: &mut Walk<'_>) -> Result<Option<Usage>, Fault> {
    let mut reader = Reader { walk, input: None, output: None, cached: 0, reasoning: 0, absurd: false };
    reader.top()?;
    Ok(reader.told())
}

struct Reader<'r, 'a> {
    walk: &'r mut Walk<'a>,
    input: Option<u64>,
    output: Option<u64>,
    cached: u64,
    reasoning: u64,
    absurd: bool,
}

impl<'a> Members<'a> for Reader<'_, 'a> {
    fn walk(&mut self) -> &mut Walk<'a> {
        self.walk
    }
}

impl Reader<'_, '_> {
    fn told(self) -> Option<Usage> {
        let Self { input, output, cached, reasoning, absurd, .. } = self;
        // An embedding has no answer, so its usage has no output.
        let usage = Usage { input: input.or(output.map(|_| 0))?, output: output.unwrap_or(0), cached, reasoning };
        (!absurd).then_some(Usage { cached: usage.cached.min(usage.input), reasoning: usage.reasoning.min(usage.output), ..usage })
    }

    fn top(&mut self) -> Result<(), Fault> {
        self.members(|reader, name, _| {
            match name {
                b"prompt_tokens" | b"input_tokens" => reader.input = reader.number()?.or(reader.input),
                b"completion_tokens" | b"output_tokens" => reader.output = reader.number()?.or(reader.output),
                // DeepSeek's name.
                b"prompt_cache_hit_tokens" => reader.cached = reader.number()?.unwrap_or(reader.cached),
                b"prompt_tokens_details" | b"input_tokens_details" | b"completion_tokens_details" | b"output_tokens_details"
                    if reader.walk.peek() == Some(b'{') =>
                {
                    reader.members(|reader, name, _| reader.detail(name))?;
                }
                _ => _ = reader.walk.skip()?,
            }
            Ok(())
        })
    }

    fn detail(&mut self, name: &[u8]) -> Result<(), Fault> {
        match name {
            b"cached_tokens" => self.cached = self.number()?.unwrap_or(self.cached),
            b"reasoning_tokens" => self.reasoning = self.number()?.unwrap_or(self.reasoning),
            _ => _ = self.walk.skip()?,
        }
        Ok(())
    }

    /// A number of tokens; null says nothing, and anything else is absurd.
    fn number(&mut self) -> Result<Option<u64>, Fault> {
        let null = self.walk.peek() == Some(b'n');
        let span = self.walk.skip()?;
        let digits = std::str::from_utf8(self.walk.raw(span)).ok();
        let number = digits.and_then(|digits| digits.parse().ok()).filter(|number| *number <= MOST);
        self.absurd |= !null && number.is_none();
        Ok(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_vendors_spelling() {
        let openai = r#"{"prompt_tokens":10,"completion_tokens":5,"total_tokens":15,"prompt_tokens_details":{"cached_tokens":4,"audio_tokens":0},
            "completion_tokens_details":{"reasoning_tokens":3}}"#;
        assert_eq!(usage(openai.as_bytes()), Some(Usage { input: 10, output: 5, cached: 4, reasoning: 3 }));
        let responses = r#"{"input_tokens":1,"output_tokens":2,"input_tokens_details":{"cached_tokens":1},"output_tokens_details":null}"#;
        assert_eq!(usage(responses.as_bytes()), Some(Usage { input: 1, output: 2, cached: 1, reasoning: 0 }));
        let deepseek = br#"{"prompt_tokens":9,"completion_tokens":1,"prompt_cache_hit_tokens":8,"prompt_cache_miss_tokens":1}"#;
        assert_eq!(usage(deepseek), Some(Usage { input: 9, output: 1, cached: 8, reasoning: 0 }));
        assert_eq!(usage(br#"{"prompt_tokens":7,"total_tokens":7}"#), Some(Usage { input: 7, ..Usage::default() }));
        let odd = br#"{"prompt_tokens":2,"completion_tokens":1,"prompt_tokens_details":{"cached_tokens":99},"completion_tokens_details":{"reasoning_tokens":null}}"#;
        assert_eq!(usage(odd), Some(Usage { input: 2, output: 1, cached: 2, reasoning: 0 }), "a part is no more than the whole");
    }

    #[test]
    fn what_is_absurd_is_not_believed() {
        for number in ["-5", "1e18", "1.5", "\"7\"", "99999999999", "true", "[]"] {
            for field in ["prompt_tokens", "completion_tokens"] {
                let other = if field == "prompt_tokens" { "completion_tokens" } else { "prompt_tokens" };
                assert_eq!(usage(format!(r#"{{"{field}":{number},"{other}":3}}"#).as_bytes()), None, "{field} {number}");
            }
            assert_eq!(usage(format!(r#"{{"prompt_tokens":1,"prompt_tokens_details":{{"cached_tokens":{number}}}}}"#).as_bytes()), None);
        }
        for nothing in ["{}", "null", "", "[1]", "{\"total_tokens\":3}", "{\"prompt_tokens\":null}", "{\"prompt_tokens\":1"] {
            assert_eq!(usage(nothing.as_bytes()), None, "{nothing}");
        }
    }

    #[test]
    fn a_sum_says_how_well_it_is_known() {
        use Source::{Estimated, Exact, Partial};
        assert_eq!(
            (Exact.with(Exact), Estimated.with(Estimated), Exact.with(Estimated), Partial.with(Exact)),
            (Exact, Estimated, Partial, Partial)
        );
        let mut sum = Usage { input: 1, output: 2, cached: 3, reasoning: 4 };
        sum += Usage { input: u64::MAX, output: 2, cached: 3, reasoning: 4 };
        assert_eq!(sum, Usage { input: u64::MAX, output: 4, cached: 6, reasoning: 8 });
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(input in 0..MOST, output in 0..MOST, cached in 0..MOST, reasoning in 0..MOST) {
            let written = Usage { input, output, cached: cached.min(input), reasoning: reasoning.min(output) };
            prop_assert_eq!(usage(written.json().as_bytes()), Some(written));
        }

        #[test]
        fn any_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            usage(&bytes);
        }
    }
}
