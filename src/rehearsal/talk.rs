//! What a conversation comes to for someone who only pretends to read it: its last words, its length, and the tools called.
//! The caller's messages are let go after that.

use serde_json::Value;

use super::refusal::Refusal;

/// The messages, summed up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Talk {
    /// Words in all messages.
    pub(super) words: u64,
    /// The last user message's text.
    pub(super) user: String,
    /// The last message's text, if that is a tool's result.
    pub(super) tool_result: Option<String>,
    /// The last message's text, if that is the assistant's: an answer to go on with.
    pub(super) prefill: Option<String>,
    /// Tools that were called since the last user message.
    pub(super) called: Vec<String>,
}

impl Talk {
    /// From `messages`.
    pub(super) fn read(messages: Option<&Value>) -> Result<Self, Refusal> {
        let messages = messages.ok_or_else(|| Refusal::missing("messages"))?;
        let messages = messages.as_array().ok_or_else(|| Refusal::wrong("messages", "an array of objects"))?;
        if messages.is_empty() {
            let message = "Invalid 'messages': empty array. Expected an array with minimum length 1.".to_owned();
            return Err(Refusal::invalid("messages", "empty_array", message));
        }
        let mut talk = Self::default();
        for (at, message) in messages.iter().enumerate() {
            talk.hear(at, message)?;
        }
        Ok(talk)
    }

    fn hear(&mut self, at: usize, message: &Value) -> Result<(), Refusal> {
        let param = |field: &str| format!("messages[{at}]{field}");
        let fields = message.as_object().ok_or_else(|| Refusal::wrong(&param(""), "an object"))?;
        let role = fields.get("role").ok_or_else(|| Refusal::missing(&param(".role")))?;
        let role = role.as_str().ok_or_else(|| Refusal::wrong(&param(".role"), "a string"))?;
        let text = text(fields.get("content")).ok_or_else(|| Refusal::wrong(&param(".content"), "a string or an array of parts"))?;
        if text.is_none() && matches!(role, "user" | "system" | "developer" | "tool") {
            return Err(Refusal::wrong(&param(".content"), "a string or an array of parts, but got null instead"));
        }
        let text = text.unwrap_or_default();
        self.words += text.split_whitespace().count() as u64;
        (self.tool_result, self.prefill) = (None, None);
        match role {
            "system" | "developer" => {}
            "user" => {
                self.called.clear();
                self.user = text;
            }
            "assistant" => {
                self.called.extend(calls(message));
                self.prefill = Some(text).filter(|text| !text.is_empty() && fields.get("tool_calls").is_none_or(Value::is_null));
            }
            "tool" | "function" => self.tool_result = Some(text),
            _ => {
                let message = format!(
                    "Invalid value for '{}': supported values are: 'system', 'developer', 'user', 'assistant', 'tool' and 'function'.",
                    param(".role")
                );
                return Err(Refusal::invalid(&param(".role"), "invalid_value", message));
            }
        }
        Ok(())
    }
}

/// The text of a message's content, parts joined by a line's end; pictures and sound say nothing here.
/// `None` for what is no content at all, `Some(None)` for none given.
fn text(content: Option<&Value>) -> Option<Option<String>> {
    match content {
        None | Some(Value::Null) => Some(None),
        Some(Value::String(text)) => Some(Some(text.clone())),
        Some(Value::Array(parts)) => {
            if !parts.iter().all(Value::is_object) {
                return None;
            }
            let texts: Vec<&str> = parts.iter().filter_map(|part| part.get("text")?.as_str()).collect();
            Some(Some(texts.join("\n")))
        }
        Some(_) => None,
    }
}

fn calls(message: &Value) -> Vec<String> {
    let calls = message["tool_calls"].as_array().map(Vec::as_slice).unwrap_or_default();
    calls.iter().filter_map(|call| call["function"]["name"].as_str().map(str::to_owned)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_last_words_count() {
        let messages = json!([{"role": "system", "content": "Be brief."}, {"role": "user", "content": "first"}, {"role": "assistant", "content": "yes"},
            {"role": "user", "content": [{"type": "text", "text": "and this?"}, {"type": "image_url", "image_url": {"url": "data:,"}}]}]);
        let talk = Talk::read(Some(&messages)).unwrap();
        assert_eq!((talk.words, talk.user.as_str(), talk.prefill), (6, "and this?", None));
    }

    #[test]
    fn a_tool_result_and_who_was_called() {
        let call = json!({"id": "c", "type": "function", "function": {"name": "look", "arguments": "{}"}});
        let messages = json!([{"role": "user", "content": "q"}, {"role": "assistant", "content": null, "tool_calls": [call]}, {"role": "tool", "tool_call_id": "c", "content": "42"}]);
        let talk = Talk::read(Some(&messages)).unwrap();
        assert_eq!((talk.tool_result.as_deref(), talk.called.as_slice()), (Some("42"), &["look".to_owned()][..]));
    }

    #[test]
    fn what_is_no_conversation_is_refused() {
        for messages in [
            json!("hi"),
            json!([]),
            json!([5]),
            json!([{"content": "x"}]),
            json!([{"role": "user"}]),
            json!([{"role": "king", "content": "x"}]),
            json!([{"role": "user", "content": 5}]),
        ] {
            assert_eq!(Talk::read(Some(&messages)).unwrap_err().status, 400, "{messages}");
        }
        assert_eq!(Talk::read(None).unwrap_err(), Refusal::missing("messages"));
    }
}
