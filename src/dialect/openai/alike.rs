//! Events that say no more than the one before, but for their words: nearly all of a stream. What stands around the words is
//! compared byte by byte, and only they are read, which takes a tenth of reading the event.
//!
//! Equal bytes around a string mean equal JSON around it, as long as the string ends where it ended before; so what was seen
//! of the event before holds for this one, and whatever differs is read in full.

use std::ops::Range;

use super::frame::{Kind, Seen, classify};
use crate::dialect::scan::walk::Walk;

/// A larger event isn't kept for the comparison: each stream would hold as much.
const MOST: usize = 2_048;

/// Tells the events of one stream, in their order.
#[derive(Debug, Default)]
pub struct Classifier {
    before: Option<Before>,
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
    /// Says what an event's data is: see [`classify`].
    pub fn classify(&mut self, data: &[u8]) -> Seen {
        if let Some(before) = &self.before
            && let Some(text) = before.words(data)
        {
            return before.seen_with(text);
        }
        let seen = classify(data);
        if let Some(before) = Before::new(data, &seen) {
            self.before = Some(before);
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
    use super::*;
    use proptest::prelude::*;

    fn event(content: &str) -> String {
        format!(
            r#"{{"id":"c-1","model":"m","created":1,"choices":[{{"index":0,"delta":{{"content":"{content}"}},"finish_reason":null}}]}}"#
        )
    }

    #[test]
    fn words_alone_are_read_where_the_rest_is_the_same() {
        let mut classifier = Classifier::default();
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
            let mut classifier = Classifier::default();
            for data in [&event("a"), other, &event("b"), other] {
                assert_eq!(classifier.classify(data.as_bytes()), classify(data.as_bytes()), "{data}");
            }
        }
    }

    #[test]
    fn bytes_that_are_no_text_are_told_as_such() {
        let mut classifier = Classifier::default();
        classifier.classify(event("a").as_bytes());
        let mut data = event("a").into_bytes();
        let at = data.windows(3).position(|three| three == b"\"a\"").unwrap() + 1;
        data[at] = 0xFF;
        assert_eq!(classifier.classify(&data).kind, Kind::NotUtf8);
    }

    #[test]
    fn a_large_event_is_not_kept() {
        let mut classifier = Classifier::default();
        classifier.classify(event(&"a".repeat(MOST)).as_bytes());
        assert!(classifier.before.is_none());
    }

    proptest! {
        #[test]
        fn it_never_sees_what_reading_in_full_does_not(
            events in prop::collection::vec((0usize..6, ".{0,12}", any::<prop::sample::Index>(), any::<u8>()), 1..20),
        ) {
            let mut classifier = Classifier::default();
            for (kind, words, at, byte) in events {
                let words = serde_json::to_string(&words).unwrap();
                let content = &words[1..words.len() - 1];
                let data = match kind {
                    0..=3 => event(content),
                    4 => format!(r#"{{"choices":[{{"delta":{{"content":{words}}},"finish_reason":"stop"}}],"id":"x","usage":{{}},"model":"m"}}"#),
                    _ => format!(r#"{{"choices":[{{"delta":{{"role":"assistant","content":{words}}}}}],"usage":null}}"#),
                };
                let mut data = data.into_bytes();
                if kind == 3 {
                    let at = at.index(data.len());
                    data[at] = byte;
                }
                prop_assert_eq!(classifier.classify(&data), classify(&data), "{}", String::from_utf8_lossy(&data));
            }
        }
    }
}
