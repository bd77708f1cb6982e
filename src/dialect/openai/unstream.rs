//! A plain answer as a stream of one piece, for a caller that asked for a stream of an upstream that ignored it.

use bytes::Bytes;
use serde_json::{Map, Value, json};

/// The events of a whole answer: one with all that each choice says, one with its end, one with the usage, the terminal
/// event. None where it isn't an answer.
pub fn events(answer: &[u8]) -> Option<Bytes> {
    let answer: Value = serde_json::from_slice(answer).ok()?;
    let choices = answer.get("choices")?.as_array()?;
    let mut head = Map::new();
    for name in ["id", "created", "model", "system_fingerprint", "service_tier"] {
        if let Some(value) = answer.get(name) {
            head.insert(name.into(), value.clone());
        }
    }
    head.insert("object".into(), json!("chat.completion.chunk"));
    let mut out = Vec::new();
    let mut event = |choices: Value, usage: Option<&Value>| {
        let mut chunk = head.clone();
        chunk.insert("choices".into(), choices);
        if let Some(usage) = usage {
            chunk.insert("usage".into(), usage.clone());
        }
        out.extend_from_slice(b"data: ");
        // A Map of Values always serialises.
        let _ = serde_json::to_writer(&mut out, &chunk);
        out.extend_from_slice(b"\n\n");
    };
    for (place, choice) in choices.iter().enumerate() {
        let index = choice.get("index").cloned().unwrap_or_else(|| json!(place));
        let logprobs = choice.get("logprobs").cloned().unwrap_or(Value::Null);
        event(json!([{ "index": index, "delta": delta(choice.get("message")?), "logprobs": logprobs, "finish_reason": null }]), None);
        let reason = choice.get("finish_reason").filter(|reason| reason.is_string()).cloned().unwrap_or_else(|| json!("stop"));
        event(json!([{ "index": index, "delta": {}, "finish_reason": reason }]), None);
    }
    if let Some(usage) = answer.get("usage").filter(|usage| usage.is_object()) {
        event(json!([]), Some(usage));
    }
    out.extend_from_slice(b"data: [DONE]\n\n");
    Some(out.into())
}

/// How many tokens a whole answer has, as `count` has it: its words, its thoughts and its calls.
pub fn tokens(answer: &[u8], count: impl Fn(&str) -> u64) -> u64 {
    let Ok(answer) = serde_json::from_slice::<Value>(answer) else { return 0 };
    let mut tokens = 0;
    for choice in answer["choices"].as_array().into_iter().flatten() {
        let message = &choice["message"];
        let calls = message["tool_calls"].as_array().into_iter().flatten();
        let called = calls.flat_map(|call| [&call["function"]["name"], &call["function"]["arguments"]]);
        let said = [&message["content"], &message["reasoning_content"], &message["reasoning"], &message["refusal"], &choice["text"]];
        said.into_iter().chain(called).filter_map(Value::as_str).for_each(|text| tokens += count(text));
    }
    tokens
}

/// A message as a delta: the same fields, tool calls numbered as streams number them.
fn delta(message: &Value) -> Value {
    let mut delta = message.clone();
    if let Some(calls) = delta.get_mut("tool_calls").and_then(Value::as_array_mut) {
        for (index, call) in calls.iter_mut().enumerate() {
            if let Some(call) = call.as_object_mut() {
                call.insert("index".into(), json!(index));
            }
        }
    }
    delta
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::openai::frame::{Kind, classify};

    #[test]
    fn says_the_same_in_events() {
        let answer = json!({
            "id": "chatcmpl-1", "object": "chat.completion", "created": 7, "model": "m",
            "choices": [{"index": 0, "finish_reason": "tool_calls", "message": {"role": "assistant", "content": "hi", "tool_calls": [
                {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]}}],
            "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
        });
        let of = crate::dialect::Counter::of;
        let bytes = events(answer.to_string().as_bytes()).unwrap();
        let text = std::str::from_utf8(&bytes).unwrap();
        let data: Vec<&str> = text.split("\n\n").filter_map(|event| event.strip_prefix("data: ")).collect();
        let first: Value = serde_json::from_str(data[0]).unwrap();
        assert_eq!(first["choices"][0]["delta"]["content"], "hi");
        assert_eq!(first["choices"][0]["delta"]["tool_calls"][0]["index"], 0);
        assert_eq!((&first["id"], &first["object"]), (&json!("chatcmpl-1"), &json!("chat.completion.chunk")));
        let seen: Vec<_> = data.iter().map(|data| classify(data.as_bytes())).collect();
        assert_eq!((seen[0].kind, seen[1].finish, seen[2].usage.is_some(), seen[3].kind), (Kind::Content, true, true, Kind::Done));
        assert_eq!((tokens(answer.to_string().as_bytes(), of), tokens(b"no", of), tokens(b"{}", of)), (4, 0, 0));
        assert_eq!(events(b"{}"), None);
        assert_eq!(events(b"no"), None);
    }
}
