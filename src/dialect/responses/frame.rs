//! What one event of a Responses stream is, told from its data, in the terms in which the relay asks of OpenAI's other streams. For
//! streams that reach a caller of this dialect, translated or untouched.

use std::ops::Range;

use crate::dialect::node::{Members, Node};
use crate::dialect::openai::frame::{Kind, Seen};

/// Says what an event's data is. Empty data is an empty event.
pub fn classify(data: &[u8]) -> Seen {
    let of = |kind| Seen { kind, ..Seen::default() };
    if data.trim_ascii().is_empty() {
        return of(Kind::Empty);
    }
    let Some(mut m) = Node::object(data) else { return of(Kind::of_no_json(data)) };
    let Some(kind) = m.text("type") else {
        // An error of somebody on the way.
        return of(if m.take("error").is_some() { Kind::Error } else { Kind::Empty });
    };
    match &*kind {
        "response.completed" | "response.incomplete" => {
            let usage = m.object("response").and_then(|mut response| response.take("usage"));
            Seen { usage: usage.map(|node| span(data, node)), ..of(Kind::Done) }
        }
        "response.failed" | "response.cancelled" => {
            let error = m.object("response").and_then(|mut response| response.take("error"));
            Seen { error: error.map(|node| span(data, node)), ..of(Kind::Error) }
        }
        "error" => {
            let error = m.take("error").map(|node| span(data, node));
            Seen { error, ..of(Kind::Error) }
        }
        "response.output_item.added" => item(m, true),
        // What isn't words or a thought is told whole once more.
        "response.output_item.done" => item(m, false),
        "response.output_text.delta" => said(&mut m).map_or_else(Seen::default, |node| Seen { text: Some(span(data, node)), ..content() }),
        "response.reasoning_summary_text.delta" | "response.reasoning_text.delta" => {
            said(&mut m).map_or_else(Seen::default, |_| Seen { reasoning: true, ..content() })
        }
        "response.function_call_arguments.delta" | "response.custom_tool_call_input.delta" => {
            said(&mut m).map_or_else(Seen::default, |_| Seen { tool_call: true, ..content() })
        }
        // Refusals, sound, code: whatever is said piece by piece. What is said at the end of each was said before.
        other if other.ends_with(".delta") => said(&mut m).map_or_else(Seen::default, |_| content()),
        other => Seen { tool_call: is_of_a_call(other), ..of(Kind::Empty) },
    }
}

fn content() -> Seen {
    Seen { kind: Kind::Content, spoke: 1, choices: 1, ..Seen::default() }
}

/// An item that begins says something where it is a call, of the caller's tools or of the vendor's.
fn item(mut m: Members<'_>, begins: bool) -> Seen {
    match m.object("item").and_then(|mut item| item.text("type")).as_deref() {
        Some("message" | "reasoning") | None => Seen::default(),
        Some(_) => Seen { tool_call: true, ..if begins { content() } else { Seen::default() } },
    }
}

/// Whether an event tells how a call stands, of the caller's tools or of the vendor's: `response.function_call_arguments.done`,
/// `response.web_search_call.searching`, `response.mcp_list_tools.completed`.
fn is_of_a_call(kind: &str) -> bool {
    kind.contains("_call") || kind.contains("mcp_")
}

fn said<'a>(m: &mut Members<'a>) -> Option<Node<'a>> {
    // A text that isn't empty.
    m.take("delta").filter(|node| node.raw().len() > 2)
}

/// Where a value stands in the data that it was read from.
fn span(data: &[u8], node: Node<'_>) -> Range<usize> {
    let start = node.raw().as_ptr() as usize - data.as_ptr() as usize;
    start..start + node.raw().len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn each_event_is_what_it_is() {
        let kind = |data: serde_json::Value| classify(data.to_string().as_bytes());
        for empty in
            ["response.created", "response.in_progress", "response.queued", "response.output_text.done", "response.content_part.added"]
        {
            assert!(!kind(json!({"type": empty, "text": "t", "response": {"output": []}})).commits(), "{empty}");
        }
        for item in ["message", "reasoning"] {
            assert!(!kind(json!({"type": "response.output_item.added", "item": {"type": item}})).commits(), "{item}");
        }
        for item in ["function_call", "web_search_call"] {
            assert!(kind(json!({"type": "response.output_item.added", "item": {"type": item}})).tool_call, "{item}");
        }
        for told in ["response.function_call_arguments.done", "response.web_search_call.searching", "response.mcp_list_tools.completed"] {
            assert!(kind(json!({"type": told})).tool_call && !kind(json!({"type": told})).commits(), "{told}");
        }
        for (item, call) in [("message", false), ("reasoning", false), ("function_call", true)] {
            let done = kind(json!({"type": "response.output_item.done", "item": {"type": item}}));
            assert!(done.tool_call == call && !done.commits(), "{item}");
        }
        let data = json!({"type": "response.output_text.delta", "delta": "he\"y"}).to_string();
        let word = classify(data.as_bytes());
        assert_eq!((word.kind, word.spoke, &data[word.text.unwrap()]), (Kind::Content, 1, r#""he\"y""#));
        assert!(!kind(json!({"type": "response.output_text.delta", "delta": ""})).commits());
        assert!(kind(json!({"type": "response.refusal.delta", "delta": "no"})).commits());
        assert!(kind(json!({"type": "response.reasoning_summary_text.delta", "delta": "hm"})).reasoning);
        assert!(kind(json!({"type": "response.function_call_arguments.delta", "delta": "{"})).tool_call);
        for end in ["response.completed", "response.incomplete"] {
            let end = kind(json!({"type": end, "response": {"usage": {"input_tokens": 1}}}));
            assert!(end.kind == Kind::Done && end.usage.is_some());
        }
        let data = json!({"type": "response.failed", "response": {"error": {"code": "server_error", "message": "m"}}}).to_string();
        let failed = classify(data.as_bytes());
        assert_eq!((failed.kind, &data[failed.error.unwrap()]), (Kind::Error, r#"{"code":"server_error","message":"m"}"#));
        assert_eq!(kind(json!({"type": "error", "code": "x", "message": "m"})).kind, Kind::Error);
        assert_eq!((kind(json!({"error": {}})).kind, kind(json!({"a": 1})).kind), (Kind::Error, Kind::Empty));
        assert_eq!((classify(b"x").kind, classify(b"\"\xff\"").kind, classify(b" ").kind), (Kind::NotJson, Kind::NotUtf8, Kind::Empty));
    }
}
