//! Events of a second answer made to look like the first's: the same id, model and time, no second role, and of the words only
//! those that are new. Spliced into the bytes as they came, so that fields that the gateway doesn't know go along.

use std::borrow::Cow;
use std::ops::Range;

use bytes::Bytes;

use super::frame::Seen;
use crate::dialect::scan::members::Members;
use crate::dialect::scan::walk::{Fault, Walk};
use crate::dialect::scan::{Edit, as_event, quoted, spliced};

/// What a stream's events have in common, as JSON values; as the first events said it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Begun {
    id: Option<Box<str>>,
    created: Option<Box<str>>,
    model: Option<Box<str>>,
}

impl Begun {
    /// Takes from an event what wasn't known yet.
    pub fn note(&mut self, data: &[u8], seen: &Seen) {
        let take = |known: &mut Option<Box<str>>, span: &Option<Range<usize>>| {
            if let (None, Some(span)) = (&known, span) {
                // Azure's first event, of what its filters say, has no names yet.
                *known = std::str::from_utf8(&data[span.clone()]).ok().filter(|value| !matches!(*value, "\"\"" | "0")).map(Into::into);
            }
        };
        take(&mut self.id, &seen.id);
        take(&mut self.created, &seen.created);
        take(&mut self.model, &seen.model);
    }

    fn known(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let all = [("id", &self.id), ("created", &self.created), ("model", &self.model)];
        all.into_iter().filter_map(|(name, value)| Some((name, value.as_deref()?)))
    }

    /// An event of ours, in the stream's name.
    fn event(&self, rest: &str) -> Bytes {
        let known: String = self.known().map(|(name, value)| format!("\"{name}\":{value},")).collect();
        Bytes::from(format!("data: {{{known}\"object\":\"chat.completion.chunk\",{rest}}}\n\n"))
    }

    /// An event that says these words.
    pub fn words(&self, text: &str) -> Bytes {
        self.event(&format!(r#""choices":[{{"index":0,"delta":{{"content":{}}},"finish_reason":null}}]"#, quoted(text)))
    }

    /// The event that says what was used, as a `usage` object.
    pub fn usage(&self, object: &str) -> Bytes {
        self.event(&format!(r#""choices":[],"usage":{object}"#))
    }

    /// An event's data as an event of this stream. `text`: what it is to say in place of what it says; None: the same.
    pub fn stitched(&self, data: &Bytes, text: Option<&str>) -> Bytes {
        let mut stitcher = Stitcher { walk: Walk::new(data), begun: self, text, edits: Vec::new(), has: [false; 3] };
        // It was read as an event before: it is JSON.
        as_event(&match stitcher.top() {
            Ok(()) => spliced(data, stitcher.edits),
            Err(_) => data.clone(),
        })
    }
}

struct Stitcher<'a> {
    walk: Walk<'a>,
    begun: &'a Begun,
    text: Option<&'a str>,
    edits: Vec<Edit<'a>>,
    /// Which of the common fields the event has.
    has: [bool; 3],
}

impl<'a> Members<'a> for Stitcher<'a> {
    fn walk(&mut self) -> &mut Walk<'a> {
        &mut self.walk
    }
}

impl<'a> Stitcher<'a> {
    fn top(&mut self) -> Result<(), Fault> {
        let open = self.walk.at() + 1;
        let begun = self.begun;
        self.members(|stitcher, name, _| {
            if name == b"choices" && stitcher.walk.peek() == Some(b'[') {
                return stitcher.choices();
            }
            let value = stitcher.walk.skip()?;
            if name == b"usage" {
                // The stream's only usage is the sum of all, at its end.
                stitcher.edits.push((value, Cow::Borrowed("null")));
            } else if let Some((place, (_, known))) = begun.known().enumerate().find(|(_, (known, _))| known.as_bytes() == name) {
                stitcher.has[place] = true;
                stitcher.edits.push((value, Cow::Borrowed(known)));
            }
            Ok(())
        })?;
        let lacks = begun.known().zip(self.has).filter(|(_, has)| !has);
        let missing: String = lacks.map(|((name, value), _)| format!("\"{name}\":{value},")).collect();
        if !missing.is_empty() {
            self.edits.push((open..open, Cow::Owned(missing)));
        }
        Ok(())
    }

    fn choices(&mut self) -> Result<(), Fault> {
        let mut more = self.walk.enter()?;
        while more {
            self.members(|stitcher, name, _| match name {
                b"delta" | b"message" => stitcher.members(Self::delta),
                b"text" => stitcher.words(),
                _ => stitcher.walk.skip().map(|_| ()),
            })?;
            more = self.walk.more()?;
        }
        Ok(())
    }

    fn delta(&mut self, name: &[u8], key: usize) -> Result<(), Fault> {
        match name {
            b"content" => return self.words(),
            b"role" => {
                let value = self.walk.skip()?;
                let span = self.cut(key, value.end);
                self.edits.push((span, Cow::Borrowed("")));
            }
            _ => _ = self.walk.skip()?,
        }
        Ok(())
    }

    /// A member with one comma beside it, so that what is left is JSON.
    fn cut(&self, start: usize, end: usize) -> Range<usize> {
        let blank = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\n' | b'\r');
        let (before, after) = (self.walk.raw(0..start), self.walk.rest(end));
        let gap = after.iter().take_while(|byte| blank(byte)).count();
        if after.get(gap) == Some(&b',') {
            return start..end + gap + 1;
        }
        let gap = before.iter().rev().take_while(|byte| blank(byte)).count();
        let comma = before.len().checked_sub(gap + 1).filter(|place| before[*place] == b',');
        comma.unwrap_or(start)..end
    }

    fn words(&mut self) -> Result<(), Fault> {
        let string = self.walk.peek() == Some(b'"');
        let value = self.walk.skip()?;
        if let Some(text) = self.text.filter(|_| string) {
            self.edits.push((value, Cow::Owned(quoted(text))));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::frame::classify;
    use super::*;
    use crate::dialect::Usage;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn begun() -> Begun {
        let mut begun = Begun::default();
        for data in [
            r#"{"id":"","created":0,"model":"","choices":[]}"#,
            r#"{"id":"first","choices":[]}"#,
            r#"{"id":"other","created":7,"model":"m\"1","choices":[]}"#,
        ] {
            begun.note(data.as_bytes(), &classify(data.as_bytes()));
        }
        begun
    }

    fn stitched(data: &str, text: Option<&str>) -> String {
        String::from_utf8(begun().stitched(&Bytes::from(data.to_owned()), text).to_vec()).unwrap()
    }

    #[test]
    fn an_event_speaks_in_the_first_ones_name() {
        let data = r#"{"id":"x", "object":"chat.completion.chunk","created":9,"model":"m2","x":1.10,"choices":[{"index":0,"delta":{"role":"assistant","content":"old"},"finish_reason":null}],"usage":{"a":1}}"#;
        let want = r#"data: {"id":"first", "object":"chat.completion.chunk","created":7,"model":"m\"1","x":1.10,"choices":[{"index":0,"delta":{"content":"n\"ew"},"finish_reason":null}],"usage":null}"#;
        assert_eq!(stitched(data, Some("n\"ew")), format!("{want}\n\n"));
        assert_eq!(stitched(data, None), format!("{}\n\n", want.replace(r#"n\"ew"#, "old")));
        let bare = r#"{"choices":[{"delta":{"content":"a"}}]}"#;
        let named = r#"{"id":"first","created":7,"model":"m\"1","choices":[{"delta":{"content":"a"}}]}"#;
        assert_eq!(stitched(bare, None), format!("data: {named}\n\n"));
    }

    #[test]
    fn a_role_goes_with_its_comma_wherever_it_stands() {
        for (delta, left) in [
            (r#"{"role":"assistant"}"#, "{}"),
            (r#"{"role":"assistant" , "content":"a"}"#, r#"{ "content":"a"}"#),
            (r#"{"content":"a" , "role":"assistant"}"#, r#"{"content":"a" }"#),
            (r#"{"a":1,"role":"assistant","b":2}"#, r#"{"a":1,"b":2}"#),
            ("{\"a\":1,\n\"role\":\n\"assistant\"}", r#"{"a":1}"#),
        ] {
            assert!(
                stitched(&format!(r#"{{"choices":[{{"delta":{delta}}}]}}"#), None).contains(&format!(r#""delta":{left}}}"#)),
                "{delta}"
            );
        }
    }

    #[test]
    fn events_of_our_own() {
        let words: Value = serde_json::from_slice(begun().words("a\n\"b").strip_prefix(b"data: ").unwrap()).unwrap();
        assert_eq!(
            (&words["id"], &words["model"], &words["choices"][0]["delta"]["content"]),
            (&json!("first"), &json!("m\"1"), &json!("a\n\"b"))
        );
        let usage = begun().usage(&Usage { input: 3, output: 4, cached: 1, ..Usage::default() }.json());
        let usage: Value = serde_json::from_slice(usage.strip_prefix(b"data: ").unwrap()).unwrap();
        assert_eq!(
            (&usage["choices"], &usage["usage"]["total_tokens"], &usage["object"]),
            (&json!([]), &json!(7), &json!("chat.completion.chunk"))
        );
    }

    proptest! {
        #[test]
        fn always_one_event_with_the_words_asked_for(old in any::<String>(), new in any::<String>(), role in any::<bool>(), pretty in any::<bool>()) {
            let mut delta = json!({"content": old, "x": [1]});
            if role {
                delta["role"] = json!("assistant");
            }
            let data = json!({"id": "y", "choices": [{"index": 0, "delta": delta}], "other": {"id": 5, "role": "kept"}});
            let data = if pretty { serde_json::to_string_pretty(&data).unwrap() } else { data.to_string() };
            let event = stitched(&data, Some(&new));
            let line = event.strip_prefix("data: ").unwrap().strip_suffix("\n\n").unwrap();
            prop_assert!(!line.contains('\n') && !line.contains('\r'));
            let got: Value = serde_json::from_str(line).unwrap();
            prop_assert_eq!(got["choices"][0]["delta"]["content"].as_str(), Some(new.as_str()));
            prop_assert_eq!(&got["choices"][0]["delta"]["x"], &json!([1]));
            prop_assert_eq!(&got["choices"][0]["delta"]["role"], &Value::Null);
            prop_assert_eq!((&got["id"], &got["other"]), (&json!("first"), &json!({"id": 5, "role": "kept"})));
        }
    }
}
