//! A plain answer as a stream of a few pieces, for a caller that asked for a stream of an upstream that ignored it.

use bytes::Bytes;

use super::ANTHROPIC;
use crate::dialect::chat::{Delta, Part};

/// The events of a whole answer. None where it isn't one.
pub fn events(answer: &[u8]) -> Option<Bytes> {
    let answer = ANTHROPIC.read_answer(answer).ok()?;
    let (mut writer, mut out) = (ANTHROPIC.stream_writer(0), Vec::new());
    let mut tell = |delta: Delta<'_>| writer.write(&delta, &mut out);
    let (id, model) = (answer.id, answer.model);
    answer.spent.into_iter().for_each(|spent| tell(Delta::Spent(spent)));
    tell(Delta::Begin { id, model, created: None });
    let mut call = 0;
    for choice in answer.choices {
        for part in choice.parts {
            match part {
                Part::Text { text, .. } | Part::Refusal(text) => tell(Delta::Text { choice: 0, text }),
                Part::Thinking { text, signature } => {
                    tell(Delta::Thinking { choice: 0, text });
                    tell(Delta::Signature { choice: 0, text: signature.unwrap_or_default() });
                }
                Part::Redacted(data) => tell(Delta::Redacted { choice: 0, data }),
                Part::Call { id, name, arguments, .. } => {
                    tell(Delta::Call { choice: 0, call, id, name });
                    tell(Delta::Arguments { choice: 0, call, json: arguments });
                    call += 1;
                }
                Part::Image { .. } | Part::Audio { .. } | Part::File { .. } | Part::Result { .. } => {}
            }
        }
        tell(Delta::Finish { choice: 0, finish: choice.finish, stop: choice.stop });
    }
    tell(Delta::End);
    Some(out.into())
}

/// How many tokens a whole answer has, as `count` has it: its words, its thoughts and its calls.
pub fn tokens(answer: &[u8], count: impl Fn(&str) -> u64) -> u64 {
    let Ok(answer) = ANTHROPIC.read_answer(answer) else { return 0 };
    let mut tokens = 0;
    for part in answer.choices.iter().flat_map(|choice| &choice.parts) {
        match part {
            Part::Text { text, .. } | Part::Refusal(text) | Part::Thinking { text, .. } => tokens += count(text),
            Part::Call { name, arguments, .. } => [name, arguments].into_iter().for_each(|text| tokens += count(text)),
            Part::Redacted(_) | Part::Image { .. } | Part::Audio { .. } | Part::File { .. } | Part::Result { .. } => {}
        }
    }
    tokens
}

#[cfg(test)]
mod tests {
    use super::super::frame::classify;
    use super::*;
    use crate::dialect::Counter;
    use crate::dialect::openai::frame::Kind;
    use serde_json::{Value, json};

    #[test]
    fn says_the_same_in_events() {
        let answer = json!({
            "id": "msg_1", "type": "message", "role": "assistant", "model": "claude", "stop_reason": "tool_use", "stop_sequence": null,
            "content": [{"type": "text", "text": "hi"}, {"type": "tool_use", "id": "t", "name": "f", "input": {"a": 1}}],
            "usage": {"input_tokens": 3, "output_tokens": 2},
        });
        let bytes = events(answer.to_string().as_bytes()).unwrap();
        let text = std::str::from_utf8(&bytes).unwrap();
        let data: Vec<Value> = text.lines().filter_map(|line| serde_json::from_str(line.strip_prefix("data: ")?).ok()).collect();
        assert_eq!((&data[0]["message"]["id"], &data[0]["message"]["usage"]["input_tokens"]), (&json!("msg_1"), &json!(3)));
        assert_eq!((&data[2]["delta"]["text"], &data[5]["delta"]["partial_json"]), (&json!("hi"), &json!(r#"{"a":1}"#)));
        let last = &data[data.len() - 2];
        assert_eq!((&last["delta"]["stop_reason"], &last["usage"]["output_tokens"]), (&json!("tool_use"), &json!(2)));
        let kinds: Vec<_> = data.iter().map(|data| classify(data.to_string().as_bytes()).kind).collect();
        assert_eq!((kinds.last(), kinds.contains(&Kind::NotJson)), (Some(&Kind::Done), false));
        assert!(tokens(answer.to_string().as_bytes(), Counter::of) >= 3);
        assert_eq!((events(b"{}"), tokens(b"no", Counter::of)), (None, 0));
    }
}
