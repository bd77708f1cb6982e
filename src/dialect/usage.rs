//! What a call used, in tokens: read from a `usage` object of any vendor, or estimated, or a sum of both.
//!
//! An upstream's numbers are believed only where they can be numbers of tokens. One that is negative, a fraction or beyond
//! any model's reach makes the whole object worthless: money is counted by it.

use std::ops::AddAssign;

use super::scan::members::Members;
use super::scan::walk::{Fault, Walk};
use crate::base::Dollars;

/// No call uses more tokens than this.
const MOST: u64 = 1 << 30;
/// Its digits.
const MOST_DIGITS: usize = MOST.ilog10() as usize + 1;

/// Tokens of a call, or of several.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Of the prompt, cached ones included.
    pub input: u64,
    /// Of the answer, reasoning included.
    pub output: u64,
    /// Of the prompt, those that the provider had cached.
    pub cached: u64,
    /// Of the prompt, those that the provider put into its cache.
    pub cache_write: u64,
    /// Of the prompt, those that are sound.
    pub audio_input: u64,
    /// Of the answer, those that it thought with.
    pub reasoning: u64,
    /// Of the answer, those that are sound.
    pub audio_output: u64,
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
        self.cache_write = self.cache_write.saturating_add(other.cache_write);
        self.audio_input = self.audio_input.saturating_add(other.audio_input);
        self.reasoning = self.reasoning.saturating_add(other.reasoning);
        self.audio_output = self.audio_output.saturating_add(other.audio_output);
    }
}

impl Usage {
    /// Prompt and answer together.
    pub fn total(&self) -> u64 {
        self.input.saturating_add(self.output)
    }

    /// As OpenAI writes it.
    pub fn json(&self) -> String {
        let Self { input, output, cached, cache_write, audio_input, reasoning, audio_output } = self;
        let total = self.total();
        // What few vendors have is said only where there is some of it.
        let rare = |name: &str, tokens: &u64| if *tokens > 0 { format!(",\"{name}\":{tokens}") } else { String::new() };
        let (written, heard) = (rare("cache_write_tokens", cache_write), rare("audio_tokens", audio_input));
        let spoken = rare("audio_tokens", audio_output);
        format!(
            r#"{{"prompt_tokens":{input},"completion_tokens":{output},"total_tokens":{total},"prompt_tokens_details":{{"cached_tokens":{cached}{written}{heard}}},"completion_tokens_details":{{"reasoning_tokens":{reasoning}{spoken}}}}}"#,
        )
    }
}

/// A `usage` object with what it cost in dollars besides, as its last member. The same, where the upstream says a cost.
pub fn with_cost(object: &[u8], cost: Dollars) -> Vec<u8> {
    let end = object.iter().rposition(|byte| *byte == b'}').filter(|_| memchr::memmem::find(object, b"\"cost\"").is_none());
    let Some(end) = end else { return object.to_vec() };
    let comma = if object[..end].trim_ascii_end().ends_with(b"{") { "" } else { "," };
    [&object[..end], format!("{comma}\"cost\":{cost}").as_bytes(), &object[end..]].concat()
}

/// An answer, whole or as events, whose last `usage` says that it cost nothing; None where that doesn't tell of a cost.
pub fn without_cost(answer: &[u8]) -> Option<Vec<u8>> {
    // A quote inside a string is never bare, so these are names.
    let value = |name: &[u8], within: &[u8], at: usize| {
        let behind = at + name.len();
        let colon =
            behind + within.get(behind..)?.iter().position(|byte| !byte.is_ascii_whitespace()).filter(|at| within[behind + at] == b':')?;
        Some(colon + 1 + within[colon + 1..].iter().position(|byte| !byte.is_ascii_whitespace())?)
    };
    let (usage, cost): (&[u8], &[u8]) = (b"\"usage\"", b"\"cost\"");
    let open = value(usage, answer, memchr::memmem::rfind(answer, usage)?)?;
    let object = Walk::new(&answer[open..]).skip().ok()?;
    let object = answer.get(open..open + object.end)?;
    let start = open + value(cost, object, memchr::memmem::find(object, cost)?)?;
    let length = answer[start..].iter().take_while(|byte| matches!(byte, b'0'..=b'9' | b'.' | b'-' | b'+' | b'e' | b'E')).count();
    (length > 0).then(|| [&answer[..start], b"0", &answer[start + length..]].concat())
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
    let mut reader = Reader { walk, input: None, output: None, apart: 0, parts: Usage::default(), absurd: false };
    reader.top()?;
    Ok(reader.told())
}

struct Reader<'r, 'a> {
    walk: &'r mut Walk<'a>,
    input: Option<u64>,
    output: Option<u64>,
    /// Of the prompt, what `input` leaves out: Anthropic counts what its cache had a part in apart.
    apart: u64,
    /// All but input and output.
    parts: Usage,
    absurd: bool,
}

impl<'a> Members<'a> for Reader<'_, 'a> {
    fn walk(&mut self) -> &mut Walk<'a> {
        self.walk
    }
}

impl Reader<'_, '_> {
    fn told(self) -> Option<Usage> {
        let Self { input, output, apart, parts, absurd, .. } = self;
        // An embedding has no answer, so its usage has no output.
        let (input, output) = (input.or(output.map(|_| 0))? + apart, output.unwrap_or(0));
        let usage = Usage {
            input,
            output,
            cached: parts.cached.min(input),
            cache_write: parts.cache_write.min(input),
            audio_input: parts.audio_input.min(input),
            reasoning: parts.reasoning.min(output),
            audio_output: parts.audio_output.min(output),
        };
        (!absurd).then_some(usage)
    }

    fn top(&mut self) -> Result<(), Fault> {
        // The names of Anthropic's own, which others copy beside OpenAI's, where they are a part of the prompt's number.
        let (mut read, mut written, mut own) = (0, 0, false);
        self.members(|reader, name, _| {
            match name {
                b"prompt_tokens" => reader.input = reader.number()?.or(reader.input),
                b"input_tokens" => {
                    reader.input = reader.number()?.or(reader.input);
                    own = true;
                }
                b"completion_tokens" | b"output_tokens" => reader.output = reader.number()?.or(reader.output),
                // DeepSeek's name.
                b"prompt_cache_hit_tokens" => reader.parts.cached = reader.number()?.unwrap_or(reader.parts.cached),
                b"cache_read_input_tokens" => read = reader.number()?.unwrap_or(0),
                b"cache_creation_input_tokens" => written = reader.number()?.unwrap_or(0),
                b"prompt_tokens_details" | b"input_tokens_details" if reader.walk.peek() == Some(b'{') => {
                    reader.members(|reader, name, _| reader.of_prompt(name))?;
                }
                b"completion_tokens_details" | b"output_tokens_details" if reader.walk.peek() == Some(b'{') => {
                    reader.members(|reader, name, _| reader.of_answer(name))?;
                }
                _ => _ = reader.walk.skip()?,
            }
            Ok(())
        })?;
        self.parts.cached = self.parts.cached.max(read);
        self.parts.cache_write = self.parts.cache_write.max(written);
        self.apart = if own { read + written } else { 0 };
        Ok(())
    }

    fn of_prompt(&mut self, name: &[u8]) -> Result<(), Fault> {
        match name {
            b"cached_tokens" => self.parts.cached = self.number()?.unwrap_or(self.parts.cached),
            b"cache_write_tokens" => self.parts.cache_write = self.number()?.unwrap_or(self.parts.cache_write),
            b"audio_tokens" => self.parts.audio_input = self.number()?.unwrap_or(self.parts.audio_input),
            _ => _ = self.walk.skip()?,
        }
        Ok(())
    }

    fn of_answer(&mut self, name: &[u8]) -> Result<(), Fault> {
        match name {
            b"reasoning_tokens" => self.parts.reasoning = self.number()?.unwrap_or(self.parts.reasoning),
            b"audio_tokens" => self.parts.audio_output = self.number()?.unwrap_or(self.parts.audio_output),
            _ => _ = self.walk.skip()?,
        }
        Ok(())
    }

    /// A number of tokens; null says nothing, and anything else is absurd.
    fn number(&mut self) -> Result<Option<u64>, Fault> {
        let null = self.walk.peek() == Some(b'n');
        let span = self.walk.skip()?;
        let number = whole(self.walk.raw(span)).filter(|number| *number <= MOST);
        self.absurd |= !null && number.is_none();
        Ok(number)
    }
}

/// The value of a JSON number that has nothing but digits; None of any other, and of one with more digits than tokens have.
fn whole(digits: &[u8]) -> Option<u64> {
    let short = !digits.is_empty() && digits.len() <= MOST_DIGITS;
    let value = |value: u64, digit: &u8| digit.is_ascii_digit().then(|| value * 10 + u64::from(digit - b'0'));
    if short { digits.iter().try_fold(0, value) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_vendors_spelling() {
        let openai = r#"{"prompt_tokens":10,"completion_tokens":5,"total_tokens":15,"prompt_tokens_details":{"cached_tokens":4,"audio_tokens":0},
            "completion_tokens_details":{"reasoning_tokens":3}}"#;
        assert_eq!(usage(openai.as_bytes()), Some(Usage { input: 10, output: 5, cached: 4, reasoning: 3, ..Usage::default() }));
        let responses = r#"{"input_tokens":1,"output_tokens":2,"input_tokens_details":{"cached_tokens":1},"output_tokens_details":null}"#;
        assert_eq!(usage(responses.as_bytes()), Some(Usage { input: 1, output: 2, cached: 1, ..Usage::default() }));
        let deepseek = br#"{"prompt_tokens":9,"completion_tokens":1,"prompt_cache_hit_tokens":8,"prompt_cache_miss_tokens":1}"#;
        assert_eq!(usage(deepseek), Some(Usage { input: 9, output: 1, cached: 8, ..Usage::default() }));
        assert_eq!(usage(br#"{"prompt_tokens":7,"total_tokens":7}"#), Some(Usage { input: 7, ..Usage::default() }));
        let odd = br#"{"prompt_tokens":2,"completion_tokens":1,"prompt_tokens_details":{"cached_tokens":99},"completion_tokens_details":{"reasoning_tokens":null}}"#;
        assert_eq!(usage(odd), Some(Usage { input: 2, output: 1, cached: 2, ..Usage::default() }), "a part is no more than the whole");
        let sound = r#"{"prompt_tokens":90,"completion_tokens":40,"prompt_tokens_details":{"cache_write_tokens":30,"audio_tokens":20},"completion_tokens_details":{"audio_tokens":10}}"#;
        let expected = Usage { input: 90, output: 40, cache_write: 30, audio_input: 20, audio_output: 10, ..Usage::default() };
        assert_eq!(usage(sound.as_bytes()), Some(expected));
        let anthropic = br#"{"input_tokens":10,"cache_creation_input_tokens":200,"cache_read_input_tokens":3000,"output_tokens":7}"#;
        assert_eq!(usage(anthropic), Some(Usage { input: 3_210, output: 7, cached: 3_000, cache_write: 200, ..Usage::default() }));
        let copied = br#"{"prompt_tokens":3210,"completion_tokens":7,"cache_creation_input_tokens":200,"cache_read_input_tokens":3000}"#;
        assert_eq!(usage(copied), usage(anthropic), "not counted twice");
    }

    #[test]
    fn a_cost_is_added_once() {
        let cost = Dollars(1_250_000);
        let with = |object: &str| String::from_utf8(with_cost(object.as_bytes(), cost)).unwrap();
        assert_eq!(with(r#"{"prompt_tokens": 1 }"#), r#"{"prompt_tokens": 1 ,"cost":0.00125}"#);
        assert_eq!(with("{ }"), r#"{ "cost":0.00125}"#);
        assert_eq!(with(r#"{"cost":7}"#), r#"{"cost":7}"#, "the upstream's own stays");
    }

    #[test]
    fn a_stored_answer_costs_nothing() {
        let freed = |answer: &str| without_cost(answer.as_bytes()).map(|bytes| String::from_utf8(bytes).unwrap());
        let whole = r#"{"choices":[{"message":{"content":"\"usage\":{\"cost\":5}"}}],"usage":{"prompt_tokens":1,"cost": 0.00125}}"#;
        assert_eq!(freed(whole), Some(whole.replace("0.00125", "0")));
        let stream = "data: {\"usage\":null}\n\ndata: {\"usage\":{\"prompt_tokens\":1,\"cost\":1e-6}}\n\ndata: [DONE]\n\n";
        assert_eq!(freed(stream), Some(stream.replace("1e-6", "0")));
        for plain in ["", "{}", r#"{"usage":{"prompt_tokens":1}}"#, r#"{"usage":{"cost":null}}"#, r#"{"usage":{},"cost":5}"#] {
            assert_eq!(freed(plain), None, "{plain}");
        }
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
        let mut sum = Usage { input: 1, output: 2, cached: 3, reasoning: 4, ..Usage::default() };
        sum += Usage { input: u64::MAX, output: 2, cached: 3, reasoning: 4, ..Usage::default() };
        assert_eq!(sum, Usage { input: u64::MAX, output: 4, cached: 6, reasoning: 8, ..Usage::default() });
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(tokens in prop::array::uniform7(0..MOST)) {
            let [input, output, cached, cache_write, audio_input, reasoning, audio_output] = tokens;
            let (of_prompt, of_answer) = (|part: u64| part.min(input), |part: u64| part.min(output));
            let (cached, cache_write, audio_input) = (of_prompt(cached), of_prompt(cache_write), of_prompt(audio_input));
            let (reasoning, audio_output) = (of_answer(reasoning), of_answer(audio_output));
            let written = Usage { input, output, cached, cache_write, audio_input, reasoning, audio_output };
            prop_assert_eq!(usage(written.json().as_bytes()), Some(written));
        }

        #[test]
        fn any_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            usage(&bytes);
            without_cost(&bytes);
        }
    }
}
