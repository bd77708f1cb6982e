//! `/completions`: the older way to ask, whose prompt is heard as a user's only message.

use bytes::Bytes;
use serde_json::{Value, json};

use super::answer::{Answer, Said};
use super::refusal::Refusal;
use super::request::Chat;

/// The tokens of an answer where the caller doesn't say: OpenAI's own default.
const USUAL: u64 = 16;

/// A completion's request as a chat's.
pub(super) fn read(asked: &Value) -> Result<Chat, Refusal> {
    let prompt = match &asked["prompt"] {
        Value::Null => return Err(Refusal::missing("prompt")),
        Value::String(text) => text.clone(),
        Value::Array(many) if many.iter().all(Value::is_string) => many.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" "),
        Value::Array(tokens) if tokens.iter().all(Value::is_number) => format!("{} tokens", tokens.len()),
        _ => return Err(Refusal::wrong("prompt", "a string, an array of strings or an array of tokens")),
    };
    let mut chat = json!({"messages": [{"role": "user", "content": prompt}]});
    for name in ["model", "stream", "stream_options", "n", "stop"] {
        chat[name] = asked[name].clone();
    }
    chat["max_tokens"] = if asked["max_tokens"].is_null() { USUAL.into() } else { asked["max_tokens"].clone() };
    Chat::read(&chat)
}

/// The body of a plain answer.
pub(super) fn whole(answer: &Answer) -> Bytes {
    let text = match &answer.said {
        Said::Text(pieces) => pieces.clone().collect::<String>(),
        Said::Calls(_) => String::new(),
    };
    let choice = |index| json!({"index": index, "text": text, "logprobs": null, "finish_reason": answer.finish});
    let choices: Vec<Value> = (0..answer.choices).map(choice).collect();
    Bytes::from(format!(r#"{},"choices":{},"usage":{}}}"#, answer.head(OBJECT), Value::Array(choices), answer.usage.json()))
}

/// What it is, in `object`.
pub(super) const OBJECT: &str = "text_completion";
