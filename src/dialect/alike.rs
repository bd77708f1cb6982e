//! Events that say no more than the one before, but for their words: nearly all of a stream. What stands around the words is
//! compared byte by byte, and only they are read, which takes a tenth of reading the event.
//!
//! Equal bytes around a string mean equal JSON around it, as long as the string ends where it ended before; so what was seen
//! of the event before holds for this one, and whatever differs is read in full.

use std::ops::Range;

use super::Wire;
use super::openai::frame::{Kind, Seen};
use super::scan::walk::Walk;

/// A larger event isn't kept for the comparison: each stream would hold as much.
const MOST: usize = 2_048;
/// After so many events in a row that weren't like the one before, no more is compared: some say something else of each.
const PATIENCE: u8 = 16;

/// Tells the events of one stream, in their order.
#[derive(Debug)]
pub struct Classifier {
    wire: Wire,
    before: Option<Before>,
    patience: u8,
}

/// The last event that was read in full, where the next may be like it.
#[derive(Debug)]
struct Before {
    /// Up to the words, their opening quote included.
    head: Vec<u8>,
    /// After the words, their closing quote included.
    tail: Vec<u8>,
    /// What was seen of it, its words' place included.
    seen: Seen,
}

impl Classifier {
    /// Of a stream in this dialect.
    pub fn new(wire: Wire) -> Self {
        Self { wire, before: None, patience: PATIENCE }
    }

    /// Says what an event's data is: see [`Wire::classify`].
    pub fn classify(&mut self, data: &[u8]) -> Seen {
        if let Some(before) = &self.before
            && let Some(text) = before.words(data)
        {
            self.patience = PATIENCE;
            return before.seen_with(text);
        }
        let seen = self.wire.classify(data);
        if self.patience > 0
            && let Some(before) = Before::new(data, &seen)
        {
            self.patience -= 1;
            self.before = Some(before).filter(|_| self.patience > 0);
        }
        seen
    }
}

impl Before {
    /// None where it has no words, or is large.
    fn new(data: &[u8], seen: &Seen) -> Option<Self> {
        let text = seen.text.clone().filter(|_| seen.kind == Kind::Content && data.len() <= MOST)?;
        let (head, tail) = (data[..=text.start].to_vec(), data[text.end - 1..].to_vec());
        Some(Self { head, tail, seen: seen.clone() })
    }

    /// What is seen of an event with these words: the same, what stands behind them moved.
    fn seen_with(&self, text: Range<usize>) -> Seen {
        let mut seen = self.seen.clone();
        let Some(before) = seen.text.replace(text.clone()) else { return seen };
        let spans = [&mut seen.reason, &mut seen.usage, &mut seen.error, &mut seen.id, &mut seen.model, &mut seen.created];
        for span in spans.into_iter().flatten().filter(|span| span.start >= before.end) {
            *span = span.start - before.end + text.end..span.end - before.end + text.end;
        }
        seen
    }

    /// Where the words stand in an event that is like this one.
    fn words(&self, data: &[u8]) -> Option<Range<usize>> {
        let end = data.len().checked_sub(self.tail.len())?;
        let words = data.get(self.head.len()..end).filter(|words| !words.is_empty())?;
        if !data.starts_with(&self.head) || !data.ends_with(&self.tail) || std::str::from_utf8(words).is_err() {
            return None;
        }
        let string = Walk::within(data, self.head.len() - 1).string().ok()?;
        (string.end == end + 1).then(|| string.span())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::dialect::openai::frame::classify;

    fn event(content: &str) -> String {
        format!(
            r#"{{"id":"c-1","model":"m","created":1,"choices":[{{"index":0,"delta":{{"content":"{content}"}},"finish_reason":null}}]}}"#
        )
    }

    #[test]
    fn words_alone_are_read_where_the_rest_is_the_same() {
        let mut classifier = Classifier::new(Wire::OpenAi);
        for content in ["a", " b", r"\n", r#"\""#, "é", r"\ud83d", "\u{1F600}", "a rather longer piece of text than the first"] {
            let data = event(content);
            assert_eq!(classifier.classify(data.as_bytes()), classify(data.as_bytes()), "{content}");
        }
        assert!(classifier.before.as_ref().unwrap().words(event("like").as_bytes()).is_some());
    }

    #[test]
    fn what_differs_in_more_is_read_in_full() {
        let ends = event("x").replace("null", r#""stop""#);
        let ends_elsewhere =
            r#"{"choices":[{"delta":{"content":"x"},"finish_reason":"stop"}],"usage":{"a":1},"created":1,"id":"c","model":"m"}"#;
        let usage = event("x").replace(r#""created":1"#, r#""usage":{"prompt_tokens":1},"created":1"#);
        let others = [
            event(""),
            event(r#"a"},"finish_reason":"stop"},{"delta":{"content":"b"#),
            event("a\u{1}"),
            event(r"\x"),
            event("cut").replace("}]}", ""),
            ends,
            ends_elsewhere.to_owned(),
            ends_elsewhere.replace(r#""x""#, r#""longer""#),
            usage,
            "[DONE]".into(),
        ];
        for other in &others {
            let mut classifier = Classifier::new(Wire::OpenAi);
            for data in [&event("a"), other, &event("b"), other] {
                assert_eq!(classifier.classify(data.as_bytes()), classify(data.as_bytes()), "{data}");
            }
        }
    }

    #[test]
    fn bytes_that_are_no_text_are_told_as_such() {
        let mut classifier = Classifier::new(Wire::OpenAi);
        classifier.classify(event("a").as_bytes());
        let mut data = event("a").into_bytes();
        let at = data.windows(3).position(|three| three == b"\"a\"").unwrap() + 1;
        data[at] = 0xFF;
        assert_eq!(classifier.classify(&data).kind, Kind::NotUtf8);
    }

    #[test]
    fn a_large_event_is_not_kept() {
        let mut classifier = Classifier::new(Wire::OpenAi);
        classifier.classify(event(&"a".repeat(MOST)).as_bytes());
        assert!(classifier.before.is_none());
    }

    #[test]
    fn where_each_event_says_something_else_no_more_is_compared() {
        let padded = |pad: usize| event("a").replace("c-1", &"c".repeat(pad));
        let mut classifier = Classifier::new(Wire::OpenAi);
        for pad in 1..usize::from(PATIENCE) {
            classifier.classify(padded(pad).as_bytes());
            assert!(classifier.before.is_some(), "{pad}");
        }
        classifier.classify(event("b").as_bytes());
        assert!(classifier.before.is_none());
        let mut classifier = Classifier::new(Wire::OpenAi);
        for pad in 1..100 {
            classifier.classify(padded(pad / 3).as_bytes());
        }
        assert!(classifier.before.is_some(), "a few alike are worth it");
    }

    /// Events of a dialect that say this: its words alone, as something else, and with more.
    fn events(wire: Wire, words: &str) -> [String; 3] {
        let texts = match wire {
            Wire::OpenAi => [
                r#"{"id":"c","choices":[{"index":0,"delta":{"content":WORDS},"finish_reason":null}]}"#,
                r#"{"choices":[{"delta":{"role":"assistant","content":WORDS}}],"usage":null}"#,
                r#"{"choices":[{"delta":{"content":WORDS},"finish_reason":"stop"}],"id":"x","usage":{},"model":"m"}"#,
            ],
            Wire::Anthropic => [
                r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":WORDS}}"#,
                r#"{"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":WORDS}}"#,
                r#"{"type":"content_block_start","index":1,"content_block":{"type":"text","text":WORDS}}"#,
            ],
            Wire::Gemini => [
                r#"{"candidates":[{"content":{"parts":[{"text":WORDS}]},"index":0}],"responseId":"r"}"#,
                r#"{"candidates":[{"content":{"parts":[{"text":WORDS,"thought":true}]}}],"responseId":"r"}"#,
                r#"{"candidates":[{"content":{"parts":[{"text":WORDS}]},"finishReason":"STOP"}],"usageMetadata":{},"modelVersion":"g"}"#,
            ],
            Wire::Responses => [
                r#"{"type":"response.output_text.delta","item_id":"m","output_index":0,"content_index":0,"delta":WORDS,"logprobs":[]}"#,
                r#"{"type":"response.reasoning_text.delta","item_id":"m","delta":WORDS}"#,
                r#"{"type":"response.output_text.done","item_id":"m","text":WORDS}"#,
            ],
        };
        texts.map(|text| text.replace("WORDS", words))
    }

    proptest! {
        #[test]
        fn it_never_sees_what_reading_in_full_does_not(
            said in prop::collection::vec((0usize..6, ".{0,12}", any::<prop::sample::Index>(), any::<u8>()), 1..20),
        ) {
            for wire in [Wire::OpenAi, Wire::Anthropic, Wire::Gemini, Wire::Responses] {
                let mut classifier = Classifier::new(wire);
                for (kind, words, at, byte) in &said {
                    let [first, second, third] = events(wire, &serde_json::to_string(words).unwrap());
                    let mut data = match kind {
                        0..=3 => first,
                        4 => second,
                        _ => third,
                    }
                    .into_bytes();
                    if *kind == 3 {
                        let at = at.index(data.len());
                        data[at] = *byte;
                    }
                    prop_assert_eq!(classifier.classify(&data), wire.classify(&data), "{:?} {}", wire, String::from_utf8_lossy(&data));
                }
            }
        }
    }
}
