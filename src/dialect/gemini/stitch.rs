//! Events of a second answer made to look like the first's: the same id and model, of the words only those that are new, and
//! of what was used the sum. Spliced into the bytes as they came, so that fields that the gateway doesn't know go along.

use std::ops::Range;

use bytes::Bytes;

use super::answer::usage;
use crate::dialect::Usage;
use crate::dialect::draft::Draft;
use crate::dialect::openai::frame::Seen;
use crate::dialect::scan::{Edit, as_event, quoted, spliced};

/// What a stream's events have in common, as JSON values; as the first event said it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Begun {
    id: Option<Box<str>>,
    model: Option<Box<str>>,
}

impl Begun {
    /// Takes from an event what wasn't known yet.
    pub fn note(&mut self, data: &[u8], seen: &Seen) {
        let take = |known: &mut Option<Box<str>>, span: &Option<Range<usize>>| {
            if let (None, Some(span)) = (&known, span) {
                *known = std::str::from_utf8(&data[span.clone()]).ok().map(Into::into);
            }
        };
        take(&mut self.id, &seen.id);
        take(&mut self.model, &seen.model);
    }

    fn known<'a>(&'a self, seen: &'a Seen) -> impl Iterator<Item = (&'static str, &'a str, &'a Option<Range<usize>>)> {
        let all = [("modelVersion", &self.model, &seen.model), ("responseId", &self.id, &seen.id)];
        all.into_iter().filter_map(|(name, value, span)| Some((name, value.as_deref()?, span)))
    }

    /// An event that says these words.
    pub fn words(&self, text: &str) -> Bytes {
        let known: String = self.known(&Seen::default()).map(|(name, value, _)| format!(",\"{name}\":{value}")).collect();
        let text = quoted(text);
        let candidate = format!(r#"{{"content":{{"parts":[{{"text":{text}}}],"role":"model"}},"index":0}}"#);
        format!("data: {{\"candidates\":[{candidate}]{known}}}\n\n").into()
    }

    /// An event's data as an event of this stream; `seen` was seen of it. `text`: what it is to say in place of what it says;
    /// None: the same. `used`: by all who had a part in the answer.
    pub fn stitched(&self, data: &Bytes, seen: &Seen, text: Option<&str>, used: &Usage) -> Bytes {
        let mut edits: Vec<Edit<'_>> = Vec::new();
        if let (Some(text), Some(span)) = (text, &seen.text) {
            edits.push((span.clone(), quoted(text).into()));
        }
        if let Some(span) = &seen.usage {
            let mut d = Draft::with_room(128);
            usage(&mut d, used);
            edits.push((span.clone(), String::from_utf8_lossy(&d.done()).into_owned().into()));
        }
        let open = data.iter().position(|byte| *byte == b'{').map_or(0, |brace| brace + 1);
        for (name, value, span) in self.known(seen) {
            match span {
                Some(span) => edits.push((span.clone(), value.into())),
                None => edits.push((open..open, format!("\"{name}\":{value},").into())),
            }
        }
        as_event(&spliced(data, edits))
    }
}

#[cfg(test)]
mod tests {
    use super::super::frame::classify;
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn begun() -> Begun {
        let mut begun = Begun::default();
        for data in [r#"{"responseId":"first","candidates":[]}"#, r#"{"responseId":"other","modelVersion":"m1","candidates":[]}"#] {
            begun.note(data.as_bytes(), &classify(data.as_bytes()));
        }
        begun
    }

    fn stitched(data: &str, text: Option<&str>) -> Value {
        let used = Usage { input: 5, output: 3, ..Usage::default() };
        let event = begun().stitched(&data.to_owned().into(), &classify(data.as_bytes()), text, &used);
        let line = std::str::from_utf8(&event).unwrap().strip_prefix("data: ").unwrap().strip_suffix("\n\n").unwrap();
        assert!(!line.contains(['\n', '\r']));
        serde_json::from_str(line).unwrap()
    }

    #[test]
    fn an_event_speaks_in_the_first_ones_name() {
        let data = r#"{"candidates":[{"content":{"parts":[{"text":"old"}],"role":"model"},"finishReason":"STOP","x":1.10}],"usageMetadata":{"promptTokenCount":1},"modelVersion":"m2","responseId":"second"}"#;
        let event = stitched(data, Some("n\"ew"));
        assert_eq!((&event["responseId"], &event["modelVersion"]), (&json!("first"), &json!("m1")));
        assert_eq!(event["candidates"][0]["content"]["parts"][0]["text"], "n\"ew");
        assert_eq!((&event["usageMetadata"]["promptTokenCount"], &event["usageMetadata"]["candidatesTokenCount"]), (&json!(5), &json!(3)));
        assert_eq!((&event["candidates"][0]["finishReason"], &event["candidates"][0]["x"]), (&json!("STOP"), &json!(1.1)));
        let bare = stitched(r#"{"candidates":[{"content":{"parts":[{"text":"a"}]}}]}"#, None);
        assert_eq!((&bare["responseId"], &bare["candidates"][0]["content"]["parts"][0]["text"]), (&json!("first"), &json!("a")));
        let words = begun().words("a\n\"b");
        let words: Value = serde_json::from_slice(words.strip_prefix(b"data: ").unwrap()).unwrap();
        assert_eq!((&words["candidates"][0]["content"]["parts"][0]["text"], &words["modelVersion"]), (&json!("a\n\"b"), &json!("m1")));
    }

    proptest! {
        #[test]
        fn always_one_event_with_the_words_asked_for(old in ".+", new in any::<String>(), pretty in any::<bool>(), named in any::<bool>()) {
            let mut data = json!({"candidates": [{"content": {"parts": [{"text": old}]}, "other": {"text": "kept"}}]});
            if named {
                data["responseId"] = json!("y");
            }
            let data = if pretty { serde_json::to_string_pretty(&data).unwrap() } else { data.to_string() };
            let event = stitched(&data, Some(&new));
            prop_assert_eq!(event["candidates"][0]["content"]["parts"][0]["text"].as_str(), Some(new.as_str()));
            prop_assert_eq!((&event["responseId"], &event["candidates"][0]["other"]["text"]), (&json!("first"), &json!("kept")));
        }
    }
}
