//! A plain answer as a stream of a few pieces, for a caller that asked for a stream of an upstream that ignored it.

use bytes::Bytes;

use super::ANTHROPIC;
use crate::dialect::retold;

/// The events of a whole answer. None where it isn't one.
pub fn events(answer: &[u8]) -> Option<Bytes> {
    retold::events(&ANTHROPIC, answer)
}

/// How many tokens a whole answer has, as `count` has it: its words, its thoughts and its calls.
pub fn tokens(answer: &[u8], count: impl Fn(&str) -> u64) -> u64 {
    retold::tokens(&ANTHROPIC, answer, count)
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
