//! The request that asks a target to go on with a half-said answer: the caller's own bytes with a message, a mark or two and
//! the limit changed in place, so that every field that the gateway doesn't know goes along.

use std::borrow::Cow;
use std::ops::Range;

use bytes::Bytes;

use crate::dialect::scan::walk::{Fault, Walk};
use crate::dialect::scan::{Edit, Scan, edits, quoted, spliced};
use crate::stream::Way;

/// Before and after the text that a user's message quotes.
const QUOTE: (&str, &str) = (
    "Your answer to this was cut off by a broken connection. What the reader has of it stands between the two marks:\n<<<BEGIN>>>",
    "<<<END>>>\nGo on with that answer from exactly its last character, as if it had never stopped: in the same language and style, \
     without repeating any of it, without the marks, and without a remark of your own.",
);

/// A user's message that asks to go on with a text.
pub(in crate::dialect) fn quote(text: &str) -> String {
    [QUOTE.0, text, QUOTE.1].concat()
}

/// A half-said answer, and who is to go on with it.
#[derive(Clone, Copy, Debug)]
pub struct Carried<'a> {
    /// What the target calls the model.
    pub model: &'a str,
    /// How it is asked.
    pub way: Way,
    /// What was said.
    pub said: &'a str,
    /// How many tokens that was, or about.
    pub tokens: u64,
    /// Whether to ask for the usage at the stream's end.
    pub usage: bool,
}

/// The body to send; `scan` must be this body's. None where the way isn't open: there is no text to go on from, or the
/// conversation already ends with words of the assistant's.
pub fn carried(body: &Bytes, scan: &Scan, carried: &Carried<'_>) -> Option<Bytes> {
    let mut edits = edits(scan, carried.model, carried.usage);
    if carried.way != Way::Splice {
        let messages = scan.messages.clone()?;
        let text = carried.said.trim_end();
        if text.is_empty() || ends_with_assistant(&body[messages.clone()]) {
            return None;
        }
        let last = messages.end - 1;
        edits.push((last..last, Cow::Owned(message(carried.way, text))));
        if carried.way == Way::Vllm {
            edits.push((scan.open..scan.open, r#""continue_final_message":true,"add_generation_prompt":false,"#.into()));
        }
        edits.extend(limits(body, carried.tokens).unwrap_or_default());
    }
    Some(spliced(body, edits))
}

fn message(way: Way, text: &str) -> String {
    match way {
        Way::Quote => format!(r#",{{"role":"user","content":{}}}"#, quoted(&quote(text))),
        Way::Prefix => format!(r#",{{"role":"assistant","content":{},"prefix":true}}"#, quoted(text)),
        Way::Prefill | Way::Vllm | Way::Splice => format!(r#",{{"role":"assistant","content":{}}}"#, quoted(text)),
    }
}

/// Whether the last message is the assistant's. What can't be read is taken for one: then nothing is put behind it.
fn ends_with_assistant(messages: &[u8]) -> bool {
    let last = || -> Result<bool, Fault> {
        let (mut walk, mut assistant) = (Walk::new(messages), false);
        let mut more = walk.enter()?;
        while more {
            assistant = false;
            if walk.peek() != Some(b'{') {
                walk.skip()?;
            } else {
                let mut member = walk.enter()?;
                while member {
                    let key = walk.key()?;
                    if &*walk.name(key) == b"role" && walk.peek() == Some(b'"') {
                        let role = walk.string()?;
                        assistant = &*walk.name(role) == b"assistant";
                    } else {
                        walk.skip()?;
                    }
                    member = walk.more()?;
                }
            }
            more = walk.more()?;
        }
        Ok(assistant)
    };
    last().unwrap_or(true)
}

/// The token limits, less what was said; at least one token is left, as none is refused everywhere.
fn limits<'a>(body: &[u8], said: u64) -> Result<Vec<Edit<'a>>, Fault> {
    let mut edits = Vec::new();
    let mut walk = Walk::new(body);
    let mut more = walk.enter()?;
    while more {
        let key = walk.key()?;
        let is_limit = matches!(&*walk.name(key), b"max_tokens" | b"max_completion_tokens");
        let value: Range<usize> = walk.skip()?;
        let number = std::str::from_utf8(walk.raw(value.clone())).ok().and_then(|digits| digits.parse::<u64>().ok());
        if let Some(limit) = number.filter(|_| is_limit) {
            edits.push((value, Cow::Owned(limit.saturating_sub(said).max(1).to_string())));
        }
        more = walk.more()?;
    }
    Ok(edits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::scan::request;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    const BODY: &str = r#"{"model":"gpt-4o", "x_unknown": {"a": 1.10, "b":[1e400]}, "stream":true,"max_tokens":50,"messages": [ {"role":"user","content":"hi"} ],"max_completion_tokens":7 }"#;

    fn sent(body: &str, way: Way, said: &str, tokens: u64) -> Option<String> {
        let body = Bytes::from(body.to_owned());
        let scan = request(&body).unwrap();
        let bytes = carried(&body, &scan, &Carried { model: "up", way, said, tokens, usage: true })?;
        Some(String::from_utf8(bytes.to_vec()).unwrap())
    }

    #[test]
    fn each_way_changes_what_it_must_and_nothing_else() {
        let with = |message: &str, mark: &str| {
            let usage = r#""stream_options":{"include_usage":true},"#;
            BODY.replace("gpt-4o", "up")
                .replace("50", "41")
                .replace(":7", ":1")
                .replace(r#""hi"} ]"#, &format!(r#""hi"}} ,{message}]"#))
                .replacen('{', &format!("{{{usage}{mark}"), 1)
        };
        let said = "So \"far\"\n ";
        let text = r#""So \"far\"""#;
        assert_eq!(sent(BODY, Way::Prefill, said, 9), Some(with(&format!(r#"{{"role":"assistant","content":{text}}}"#), "")));
        assert_eq!(sent(BODY, Way::Prefix, said, 9), Some(with(&format!(r#"{{"role":"assistant","content":{text},"prefix":true}}"#), "")));
        let vllm =
            with(&format!(r#"{{"role":"assistant","content":{text}}}"#), r#""continue_final_message":true,"add_generation_prompt":false,"#);
        assert_eq!(sent(BODY, Way::Vllm, said, 9), Some(vllm));
        let splice = BODY.replace("gpt-4o", "up").replacen('{', r#"{"stream_options":{"include_usage":true},"#, 1);
        assert_eq!(sent(BODY, Way::Splice, said, 9), Some(splice));
        let quote: Value = serde_json::from_str(&sent(&BODY.replace("1e400", "1"), Way::Quote, said, 9).unwrap()).unwrap();
        let last = &quote["messages"][1];
        assert_eq!((&last["role"], quote["max_tokens"].as_u64()), (&json!("user"), Some(41)));
        assert!(last["content"].as_str().unwrap().contains("<<<BEGIN>>>So \"far\"<<<END>>>"));
    }

    #[test]
    fn where_there_is_nothing_to_go_on_from_the_way_is_closed() {
        for way in [Way::Prefill, Way::Prefix, Way::Vllm, Way::Quote] {
            assert_eq!(sent(BODY, way, " \n", 0), None);
            let begun = BODY.replace(r#""hi"} ]"#, r#""hi"},{"content":"I","role":"assistant"}]"#);
            assert_eq!(sent(&begun, way, "said", 0), None, "the caller's own beginning is not told from ours");
            let odd = BODY.replace(r#""hi"} ]"#, r#""hi"},{"content":"I","role":"assistant"},7]"#);
            assert!(sent(&odd, way, "said", 0).is_some());
        }
        assert!(sent(BODY, Way::Splice, "", 0).is_some());
    }

    proptest! {
        #[test]
        fn any_text_in_any_body_survives(said in any::<String>(), words in any::<String>(), limit in 1u64..100, tokens in 0u64..200) {
            let body = json!({"model": "m", "messages": [{"role": "user", "content": words, "name": "x"}], "max_tokens": limit, "other": [1, {"a": null}]});
            for way in [Way::Prefill, Way::Prefix, Way::Vllm] {
                let Some(sent) = sent(&body.to_string(), way, &said, tokens) else {
                    prop_assert!(said.trim().is_empty());
                    continue;
                };
                let mut got: Value = serde_json::from_str(&sent).unwrap();
                let last = got["messages"].as_array_mut().unwrap().pop().unwrap();
                prop_assert_eq!(last["content"].as_str(), Some(said.trim_end()));
                prop_assert_eq!(&got["messages"], &body["messages"]);
                prop_assert_eq!(&got["other"], &body["other"]);
                prop_assert_eq!(got["max_tokens"].as_u64(), Some(limit.saturating_sub(tokens).max(1)));
            }
        }
    }
}
