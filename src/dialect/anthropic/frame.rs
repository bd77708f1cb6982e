//! What one event of a Messages stream is, told from its data, in the terms in which the relay asks of OpenAI's: has it words, an
//! end, a usage, an error? For streams that reach a caller of this dialect untouched.

use crate::dialect::node::{Members, Node};
use crate::dialect::openai::frame::{Kind, Seen};

/// Says what an event's data is. Empty data is an empty event.
pub fn classify(data: &[u8]) -> Seen {
    let of = |kind| Seen { kind, ..Seen::default() };
    if data.trim_ascii().is_empty() {
        return of(Kind::Empty);
    }
    let Some(mut m) = Node::object(data) else { return of(Kind::of_no_json(data)) };
    match m.text("type").as_deref() {
        Some("message_start") => {
            let mut message = m.object("message").unwrap_or_default();
            let mut span = |name| message.take(name).map(|node| node.span_in(data));
            Seen { id: span("id"), model: span("model"), usage: span("usage"), ..of(Kind::Empty) }
        }
        Some("content_block_start") => begun(data, m),
        Some("content_block_delta") => said(data, m),
        Some("message_delta") => {
            let usage = m.take("usage").map(|node| node.span_in(data));
            let reason = m.object("delta").and_then(|mut delta| delta.take("stop_reason")).map(|node| node.span_in(data));
            let finish = reason.is_some();
            Seen { usage, reason, finish, finished: u64::from(finish), ..of(Kind::Empty) }
        }
        Some("message_stop") => of(Kind::Done),
        Some("ping") => of(Kind::Ping),
        Some("error") => Seen { error: m.take("error").map(|node| node.span_in(data)), ..of(Kind::Error) },
        // An error of somebody on the way.
        None if m.take("error").is_some() => of(Kind::Error),
        _ => of(Kind::Empty),
    }
}

fn content() -> Seen {
    Seen { kind: Kind::Content, spoke: 1, choices: 1, ..Seen::default() }
}

/// A block that begins says something where it is more than an empty text.
fn begun(data: &[u8], mut m: Members<'_>) -> Seen {
    let mut block = m.object("content_block").unwrap_or_default();
    let full = |block: &mut Members<'_>, name: &str| block.text(name).is_some_and(|text| !text.is_empty());
    match block.text("type").as_deref() {
        Some("text") => words(data, block.take("text")),
        Some("thinking") if !full(&mut block, "thinking") => Seen::default(),
        Some("thinking" | "redacted_thinking") => Seen { reasoning: true, ..content() },
        Some("tool_use" | "server_tool_use" | "mcp_tool_use") => Seen { tool_call: true, ..content() },
        _ => content(),
    }
}

fn said(data: &[u8], mut m: Members<'_>) -> Seen {
    let mut delta = m.object("delta").unwrap_or_default();
    match delta.text("type").as_deref() {
        Some("text_delta") => words(data, delta.take("text")),
        Some("thinking_delta") => full(delta.take("thinking")).map_or_else(Seen::default, |_| Seen { reasoning: true, ..content() }),
        Some("input_json_delta") => full(delta.take("partial_json")).map_or_else(Seen::default, |_| Seen { tool_call: true, ..content() }),
        Some("signature_delta") => Seen::default(),
        _ => content(),
    }
}

/// A text of the answer's.
fn words(data: &[u8], text: Option<Node<'_>>) -> Seen {
    full(text).map_or_else(Seen::default, |node| Seen { text: Some(node.span_in(data)), ..content() })
}

/// A text that isn't empty.
fn full(node: Option<Node<'_>>) -> Option<Node<'_>> {
    node.filter(|node| node.raw().len() > 2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn each_event_is_what_it_is() {
        let kind = |data: serde_json::Value| classify(data.to_string().as_bytes());
        let start =
            kind(json!({"type": "message_start", "message": {"id": "m", "model": "c", "usage": {"input_tokens": 1, "output_tokens": 1}}}));
        assert!(start.kind == Kind::Empty && start.id.is_some() && start.model.is_some() && start.usage.is_some());
        assert!(!kind(json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}})).commits());
        let data = json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "he\"y"}}).to_string();
        let word = classify(data.as_bytes());
        assert_eq!((word.kind, word.spoke, &data[word.text.unwrap()]), (Kind::Content, 1, r#""he\"y""#));
        assert!(
            kind(json!({"type": "content_block_start", "content_block": {"type": "tool_use", "id": "t", "name": "n", "input": {}}}))
                .tool_call
        );
        assert!(kind(json!({"type": "content_block_delta", "delta": {"type": "input_json_delta", "partial_json": "{"}})).tool_call);
        assert!(kind(json!({"type": "content_block_delta", "delta": {"type": "thinking_delta", "thinking": "hm"}})).reasoning);
        assert!(kind(json!({"type": "content_block_delta", "delta": {"type": "citations_delta", "citation": {}}})).commits());
        let end = kind(
            json!({"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": null}, "usage": {"output_tokens": 3}}),
        );
        assert!(end.finish && end.finished == 1 && end.usage.is_some() && end.commits());
        assert_eq!(kind(json!({"type": "message_stop"})).kind, Kind::Done);
        assert_eq!(kind(json!({"type": "ping"})).kind, Kind::Ping);
        assert_eq!(kind(json!({"type": "error", "error": {"type": "overloaded_error"}})).kind, Kind::Error);
        assert_eq!(kind(json!({"type": "something_new"})).kind, Kind::Empty);
        assert_eq!((classify(b"x").kind, classify(b"\"\xff\"").kind, classify(b" ").kind), (Kind::NotJson, Kind::NotUtf8, Kind::Empty));
    }
}
