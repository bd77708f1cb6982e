//! What one event of a Gemini stream is, told from its data, in the terms in which the relay asks of OpenAI's: has it words, an
//! end, a usage, an error? For streams that reach a caller of this dialect untouched.
//!
//! The stream has no terminal event: the last answer's reason is its end.

use super::read::event_members;
use super::types::{Ended, finish};
use crate::dialect::node::{Members, Node};
use crate::dialect::openai::frame::{Kind, Seen};

/// Says what an event's data is. Empty data is an empty event.
pub fn classify(data: &[u8]) -> Seen {
    let of = |kind| Seen { kind, ..Seen::default() };
    if data.trim_ascii().is_empty() {
        return of(Kind::Empty);
    }
    let Some((mut m, in_a_list)) = event_members(data) else { return of(Kind::of_no_json(data)) };
    if let Some(error) = m.take("error") {
        return Seen { error: Some(error.span_in(data)), ..of(Kind::Error) };
    }
    if in_a_list {
        return of(Kind::NotJson);
    }
    let mut seen = of(Kind::Empty);
    let candidates = m.list("candidates").unwrap_or_default();
    seen.choices = candidates.len();
    for (place, node) in candidates.iter().enumerate() {
        if let Some(candidate) = node.members() {
            read(data, place, candidate, &mut seen);
        }
    }
    if candidates.len() != 1 {
        seen.text = None;
    }
    if candidates.is_empty()
        && let Some(reason) = m.object("promptFeedback").and_then(|mut feedback| feedback.take("blockReason"))
    {
        (seen.finish, seen.finished, seen.reason) = (true, 1, Some(reason.span_in(data)));
    }
    seen.usage = m.take("usageMetadata").map(|node| node.span_in(data));
    seen.model = m.take("modelVersion").map(|node| node.span_in(data));
    seen.id = m.take("responseId").map(|node| node.span_in(data));
    seen
}

/// Reads what an event says of an answer.
fn read(data: &[u8], place: usize, mut m: Members<'_>, seen: &mut Seen) {
    let index = m.count("index").unwrap_or(place as u64).min(63);
    let (mut texts, mut speaks) = (0, false);
    for mut part in m.object("content").and_then(|mut content| content.list("parts")).into_iter().flatten().filter_map(Node::members) {
        part.take("thoughtSignature");
        let thought = part.take("thought").and_then(Node::truth).unwrap_or(false);
        match part.take("text") {
            Some(node) if node.raw().len() <= 2 => {}
            Some(_) if thought => (speaks, seen.reasoning) = (true, true),
            Some(node) => {
                speaks = true;
                texts += 1;
                seen.text = (texts == 1).then(|| node.span_in(data));
            }
            None if part.take("functionCall").is_some() => (speaks, seen.tool_call) = (true, true),
            // Pictures, sound, what Google's own tools did.
            None => speaks |= part.rest().next().is_some(),
        }
    }
    if speaks {
        (seen.kind, seen.spoke) = (if seen.kind == Kind::Error { Kind::Error } else { Kind::Content }, seen.spoke | 1 << index);
    }
    let Some(node) = m.take("finishReason") else { return };
    match node.text().as_deref() {
        None | Some("" | "FINISH_REASON_UNSPECIFIED") => {}
        Some(reason) if finish(reason) == Ended::Badly => seen.kind = Kind::Error,
        Some(_) => {
            (seen.finish, seen.finished) = (true, seen.finished | 1 << index);
            seen.reason = Some(node.span_in(data));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn event(parts: &Value, reason: Option<&str>) -> Value {
        let mut candidate = json!({"content": {"parts": parts, "role": "model"}, "index": 0});
        if let Some(reason) = reason {
            candidate["finishReason"] = reason.into();
        }
        json!({"candidates": [candidate], "usageMetadata": {"promptTokenCount": 1}, "modelVersion": "g", "responseId": "r"})
    }

    #[test]
    fn each_event_is_what_it_is() {
        let data = event(&json!([{"text": "he\"y"}]), None).to_string();
        let word = classify(data.as_bytes());
        assert_eq!((word.kind, word.spoke, word.finish, &data[word.text.unwrap()]), (Kind::Content, 1, false, r#""he\"y""#));
        assert!(word.usage.is_some() && word.model.is_some() && word.id.is_some());
        let kind = |data: &Value| classify(data.to_string().as_bytes());
        let end = kind(&event(&json!([{"text": ""}]), Some("STOP")));
        assert!(end.kind == Kind::Empty && end.finish && end.finished == 1 && end.commits());
        let last = kind(&event(&json!([{"text": "bye"}]), Some("MAX_TOKENS")));
        assert!(last.kind == Kind::Content && last.finish && last.text.is_some());
        let call = kind(&event(&json!([{"functionCall": {"name": "f", "args": {}}, "thoughtSignature": "s"}]), None));
        assert!(call.tool_call && call.kind == Kind::Content && call.text.is_none());
        let thought = kind(&event(&json!([{"text": "hm", "thought": true}]), None));
        assert!(thought.reasoning && thought.text.is_none() && thought.commits());
        let both = kind(&event(&json!([{"text": "hm", "thought": true}, {"text": "so"}]), None));
        assert!(both.reasoning && both.text.is_some());
        let two = kind(&event(&json!([{"text": "a"}, {"text": "b"}]), None));
        assert!(two.kind == Kind::Content && two.text.is_none(), "words in several parts aren't joined");
        assert_eq!(kind(&event(&json!([]), Some("MALFORMED_FUNCTION_CALL"))).kind, Kind::Error);
        let blocked = kind(&json!({"promptFeedback": {"blockReason": "SAFETY"}}));
        assert!(blocked.finish && blocked.finished == 1 && blocked.commits());
        let several = json!({"candidates": [{"content": {"parts": [{"text": "a"}]}, "index": 0}, {"content": {"parts": [{"text": "b"}]}, "index": 2, "finishReason": "STOP"}]});
        let several = kind(&several);
        assert_eq!((several.spoke, several.finished, several.choices, several.text), (0b101, 0b100, 2, None));
        assert_eq!(kind(&json!({"error": {"code": 503}})).kind, Kind::Error);
        assert_eq!(kind(&json!([{"error": {"code": 503}}])).kind, Kind::Error);
        assert_eq!(kind(&json!({"usageMetadata": {}})).kind, Kind::Empty);
        assert_eq!((classify(b"x").kind, classify(b"\"\xff\"").kind, classify(b" ").kind), (Kind::NotJson, Kind::NotUtf8, Kind::Empty));
        assert_eq!((classify(b"[1]").kind, classify(b"7").kind), (Kind::NotJson, Kind::NotJson));
    }
}
