//! The request that asks a target to go on with a half-said answer: the caller's own bytes with a message, a mark or two and
//! the limit changed in place, so that every field that the gateway doesn't know goes along. For targets of the caller's own
//! dialect; the others' is told through the neutral shape (`onward`).

use std::borrow::Cow;
use std::ops::Range;

use bytes::Bytes;

use super::scan::members::Members;
use super::scan::walk::{Fault, Walk};
use super::scan::{Edit, Scan, edits, quoted, spliced};
use super::{Wire, responses};
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
    /// The dialect of both.
    pub wire: Wire,
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

/// The body to send; `scan` must be this body's. None where the way isn't open: there is no text to go on from, the
/// conversation already ends with words of the assistant's, or the answer is to be kept by who gives it.
pub fn carried(body: &Bytes, scan: &Scan, carried: &Carried<'_>) -> Option<Bytes> {
    if carried.wire == Wire::Responses && responses::is_to_be_kept(body) {
        return None;
    }
    let mut edits = edits(scan, carried.model, carried.usage);
    if carried.way != Way::Splice {
        let messages = scan.messages.clone()?;
        let text = carried.said.trim_end();
        if text.is_empty() || ends_with_assistant(&body[messages.clone()], carried.wire) {
            return None;
        }
        let last = messages.end - 1;
        edits.push((last..last, Cow::Owned(message(carried.wire, carried.way, text))));
        if carried.way == Way::Vllm {
            edits.push((scan.open..scan.open, r#""continue_final_message":true,"add_generation_prompt":false,"#.into()));
        }
        let mut limits = Limits { walk: Walk::new(body), said: carried.tokens, edits: Vec::new() };
        // It was scanned: it is JSON.
        if limits.of(carried.wire).is_ok() {
            edits.extend(limits.edits);
        }
    }
    Some(spliced(body, edits))
}

/// What the model's turns are called.
fn assistant(wire: Wire) -> &'static str {
    match wire {
        Wire::OpenAi | Wire::Anthropic | Wire::Responses => "assistant",
        Wire::Gemini => "model",
    }
}

fn message(wire: Wire, way: Way, text: &str) -> String {
    let (role, text) = match way {
        Way::Quote => ("user", quoted(&quote(text))),
        Way::Prefix | Way::Prefill | Way::Vllm | Way::Splice => (assistant(wire), quoted(text)),
    };
    let prefix = if way == Way::Prefix { r#","prefix":true"# } else { "" };
    match wire {
        Wire::OpenAi | Wire::Anthropic | Wire::Responses => format!(r#",{{"role":"{role}","content":{text}{prefix}}}"#),
        Wire::Gemini => format!(r#",{{"role":"{role}","parts":[{{"text":{text}}}]}}"#),
    }
}

/// Whether the last message is the assistant's. What can't be read is taken for one: then nothing is put behind it.
fn ends_with_assistant(messages: &[u8], wire: Wire) -> bool {
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
                        assistant = &*walk.name(role) == self::assistant(wire).as_bytes();
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
struct Limits<'a> {
    walk: Walk<'a>,
    said: u64,
    edits: Vec<Edit<'static>>,
}

impl<'a> Members<'a> for Limits<'a> {
    fn walk(&mut self) -> &mut Walk<'a> {
        &mut self.walk
    }
}

impl Limits<'_> {
    fn of(&mut self, wire: Wire) -> Result<(), Fault> {
        self.members(|limits, name, _| match (wire, name) {
            (Wire::OpenAi | Wire::Anthropic, b"max_tokens" | b"max_completion_tokens") => limits.limit(),
            (Wire::Gemini, b"generationConfig" | b"generation_config") => limits.members(|limits, name, _| match name {
                b"maxOutputTokens" | b"max_output_tokens" => limits.limit(),
                _ => limits.walk.skip().map(drop),
            }),
            _ => limits.walk.skip().map(drop),
        })
    }

    fn limit(&mut self) -> Result<(), Fault> {
        let value: Range<usize> = self.walk.skip()?;
        let digits = std::str::from_utf8(self.walk.raw(value.clone())).unwrap_or_default();
        if let Ok(limit) = digits.strip_suffix(".0").unwrap_or(digits).parse::<u64>() {
            self.edits.push((value, Cow::Owned(limit.saturating_sub(self.said).max(1).to_string())));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::scan::{Named, generate, request};
    use proptest::prelude::*;
    use serde_json::{Value, json};

    const BODY: &str = r#"{"model":"gpt-4o", "x_unknown": {"a": 1.10, "b":[1e400]}, "stream":true,"max_tokens":50,"messages": [ {"role":"user","content":"hi"} ],"max_completion_tokens":7 }"#;

    fn sent(body: &str, way: Way, said: &str, tokens: u64) -> Option<String> {
        let body = Bytes::from(body.to_owned());
        let scan = request(&body).unwrap();
        let bytes = carried(&body, &scan, &Carried { wire: Wire::OpenAi, model: "up", way, said, tokens, usage: true })?;
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

    #[test]
    fn the_other_dialects_are_asked_in_their_own_words() {
        let sent = |wire, body: &str, scan: Scan, way| {
            let body = Bytes::from(body.to_owned());
            let carried = carried(&body, &scan, &Carried { wire, model: "up", way, said: "So \"far\" ", tokens: 9, usage: false })?;
            Some(serde_json::from_slice::<Value>(&carried).unwrap())
        };
        let body =
            r#"{"model":"claude","max_tokens":50,"stream":true,"messages":[{"role":"user","content":"hi"}],"metadata":{"max_tokens":3}}"#;
        let scan = || request(body.as_bytes()).unwrap();
        let asked = sent(Wire::Anthropic, body, scan(), Way::Prefill).unwrap();
        assert_eq!(asked["messages"][1], json!({"role": "assistant", "content": "So \"far\""}));
        assert_eq!(
            (&asked["max_tokens"], &asked["metadata"]["max_tokens"], &asked["stream_options"]),
            (&json!(41), &json!(3), &Value::Null)
        );
        let body = r#"{"contents":[{"parts":[{"text":"hi"}]}],"generation_config":{"maxOutputTokens":50.0,"x":1.5},"maxOutputTokens":7}"#;
        let scan = |body: &str| generate(body.as_bytes(), Named { model: "g".into(), stream: true }, false).unwrap();
        let asked = sent(Wire::Gemini, body, scan(body), Way::Prefill).unwrap();
        assert_eq!(asked["contents"][1], json!({"role": "model", "parts": [{"text": "So \"far\""}]}));
        assert_eq!((&asked["generation_config"]["maxOutputTokens"], &asked["maxOutputTokens"]), (&json!(41), &json!(7)));
        let asked = sent(Wire::Gemini, body, scan(body), Way::Quote).unwrap();
        assert_eq!(asked["contents"][1]["role"], "user");
        let begun = body.replace("}]}]", "}]},{\"role\":\"model\",\"parts\":[]}]");
        assert_eq!(sent(Wire::Gemini, &begun, scan(&begun), Way::Prefill), None);
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
