//! What the simulated model says: words, JSON or tool calls, with OpenAI's fields around them.
//!
//! The same [`Answer`] is written whole here and event by event in `stream`, so that both say the same.

use std::sync::Arc;

use bytes::Bytes;
use rand::RngExt;
use rand::rngs::SmallRng;
use serde_json::{Value, json};

use super::pieces::Pieces;
use super::request::{Chat, Format};
use super::{schema, tools};

/// How much of the caller's words is echoed, in characters.
const ECHO: usize = 200;

/// An answer to a chat request.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) id: String,
    /// Unix time in seconds.
    pub(super) created: u64,
    pub(super) model: String,
    pub(super) choices: u32,
    /// What each choice says.
    pub(super) said: Said,
    /// `finish_reason`.
    pub(super) finish: &'static str,
    pub(super) usage: Usage,
}

/// The content of one choice.
#[derive(Clone, Debug)]
pub(super) enum Said {
    /// Words or JSON.
    Text(Pieces),
    /// Calls of the caller's tools.
    Calls(Arc<[ToolCall]>),
}

/// One call of a tool.
#[derive(Clone, Debug)]
pub(super) struct ToolCall {
    pub(super) id: String,
    pub(super) name: String,
    /// A JSON object as text.
    pub(super) arguments: Arc<str>,
}

/// Words counted as tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Usage {
    prompt: u64,
    completion: u64,
}

impl Answer {
    /// Composes the answer to `chat`. `text` and `words` are the script's, if it has any.
    pub(super) fn compose(chat: &Chat, text: Option<&Arc<str>>, words: Option<u64>, created: u64, chance: &mut SmallRng) -> Self {
        let (said, finish) = match tools::chosen(chat) {
            calls if !calls.is_empty() => (Said::Calls(calls.into_iter().map(|tool| call(tool, chance)).collect()), "tool_calls"),
            _ => speak(chat, text, words),
        };
        let usage = Usage { prompt: chat.talk.words.max(1), completion: u64::from(chat.choices) * said.pieces() };
        Self { id: id("chatcmpl-", chance), created, model: chat.model.clone(), choices: chat.choices, said, finish, usage }
    }

    /// The body of a plain answer.
    pub(super) fn whole(&self) -> Bytes {
        let choice = |index| json!({"index": index, "message": self.said.message(), "logprobs": null, "finish_reason": self.finish});
        let choices: Vec<Value> = (0..self.choices).map(choice).collect();
        let head = self.head("chat.completion");
        Bytes::from(format!(r#"{head},"choices":{},"usage":{}}}"#, Value::Array(choices), self.usage.json()))
    }

    /// The fields that every chunk begins with; the object is left open.
    pub(super) fn head(&self, object: &str) -> String {
        let (id, created, model) = (&self.id, self.created, json!(self.model));
        let known = r#""service_tier":"default","system_fingerprint":"fp_rehearsal""#;
        format!(r#"{{"id":"{id}","object":"{object}","created":{created},"model":{model},{known}"#)
    }
}

impl Said {
    /// The pieces it takes to say it.
    fn pieces(&self) -> u64 {
        match self {
            Said::Text(pieces) => pieces.left(),
            Said::Calls(calls) => calls.iter().map(|call| 1 + Pieces::characters(call.arguments.clone()).left()).sum(),
        }
    }

    fn message(&self) -> Value {
        match self {
            Said::Text(pieces) => {
                json!({"role": "assistant", "content": pieces.clone().collect::<String>(), "refusal": null, "annotations": []})
            }
            Said::Calls(calls) => {
                let function = |call: &ToolCall| json!({"name": call.name, "arguments": &*call.arguments});
                let call = |call: &ToolCall| json!({"id": call.id, "type": "function", "function": function(call)});
                let calls: Vec<Value> = calls.iter().map(call).collect();
                json!({"role": "assistant", "content": null, "refusal": null, "annotations": [], "tool_calls": calls})
            }
        }
    }
}

impl Usage {
    /// As OpenAI reports it.
    pub(super) fn json(self) -> Value {
        json!({
            "prompt_tokens": self.prompt,
            "completion_tokens": self.completion,
            "total_tokens": self.prompt + self.completion,
            "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
            "completion_tokens_details": {
                "reasoning_tokens": 0, "audio_tokens": 0, "accepted_prediction_tokens": 0, "rejected_prediction_tokens": 0,
            },
        })
    }
}

/// An identifier of the kind that OpenAI gives.
pub(super) fn id(prefix: &str, chance: &mut SmallRng) -> String {
    format!("{prefix}{:016x}{:08x}", chance.random::<u64>(), chance.random::<u32>())
}

fn call(tool: &super::request::Tool, chance: &mut SmallRng) -> ToolCall {
    let arguments = match schema::instance(&tool.parameters) {
        object @ Value::Object(_) => object.to_string(),
        _ => "{}".to_owned(),
    };
    ToolCall { id: id("call_", chance), name: tool.name.clone(), arguments: arguments.into() }
}

/// An answer in words or JSON, and its finish reason.
fn speak(chat: &Chat, text: Option<&Arc<str>>, words: Option<u64>) -> (Said, &'static str) {
    let mut pieces = match &chat.format {
        Format::Object => Pieces::characters(r#"{"rehearsal": true}"#.into()),
        Format::Schema(schema) => Pieces::characters(schema::instance(schema).to_string().into()),
        Format::Text => continued(Pieces::words(text.cloned().unwrap_or_else(|| lines(chat).into()), words), chat),
    };
    let all = pieces.left();
    pieces.limit(chat.limit.unwrap_or(all));
    let cut = pieces.left() < all;
    match stopped(&pieces, &chat.stop) {
        Some(text) => (Said::Text(Pieces::words(text.into(), None)), "stop"),
        None => (Said::Text(pieces), if cut { "length" } else { "stop" }),
    }
}

/// What an actor without a part says.
fn lines(chat: &Chat) -> String {
    let mut lines = "This is a rehearsal: a simulated upstream answers, and no provider was called. \
        Set a provider's key, such as OPENAI_API_KEY, to hear a real model."
        .to_owned();
    if let Some(result) = &chat.talk.tool_result {
        lines += &format!(" The tool answered: {}", echo(result));
    } else if !chat.talk.user.is_empty() {
        lines += &format!(" You said: {}", echo(&chat.talk.user));
    }
    lines
}

fn echo(text: &str) -> String {
    match text.char_indices().nth(ECHO) {
        Some((cut, _)) => format!("{}…", &text[..cut]),
        None => text.to_owned(),
    }
}

/// The rest of an answer whose beginning the caller brings as the last message: this upstream can be asked to go on.
fn continued(pieces: Pieces, chat: &Chat) -> Pieces {
    let Some(begun) = &chat.talk.prefill else { return pieces };
    let whole: String = pieces.clone().collect();
    match whole.strip_prefix(begun.trim_end()) {
        Some(rest) => Pieces::words(rest.into(), None),
        None => pieces,
    }
}

/// The text up to the first stop sequence in it.
fn stopped(pieces: &Pieces, stop: &[String]) -> Option<String> {
    if stop.is_empty() {
        return None;
    }
    let mut text: String = pieces.clone().collect();
    let end = stop.iter().filter(|stop| !stop.is_empty()).filter_map(|stop| text.find(stop.as_str())).min()?;
    text.truncate(end);
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    fn answer(more: Value) -> Answer {
        let mut body = json!({"model": "m\"x", "messages": [{"role": "user", "content": "how are you?"}]});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        Answer::compose(&Chat::read(&body).unwrap(), None, None, 1700, &mut SmallRng::seed_from_u64(3))
    }

    fn whole(more: Value) -> Value {
        serde_json::from_slice(&answer(more).whole()).unwrap()
    }

    #[test]
    fn a_plain_answer_has_openais_fields() {
        let body = whole(json!({"n": 2}));
        assert!(body["id"].as_str().unwrap().starts_with("chatcmpl-"));
        assert_eq!((&body["object"], &body["created"], &body["model"]), (&json!("chat.completion"), &json!(1700), &json!("m\"x")));
        let choices = body["choices"].as_array().unwrap();
        assert_eq!(choices.len(), 2);
        assert_eq!((&choices[1]["index"], &choices[1]["finish_reason"]), (&json!(1), &json!("stop")));
        let content = choices[0]["message"]["content"].as_str().unwrap();
        assert!(content.starts_with("This is a rehearsal") && content.ends_with("You said: how are you?"), "{content}");
        let words = content.split_whitespace().count();
        assert_eq!(body["usage"]["prompt_tokens"], 3);
        assert_eq!(body["usage"]["completion_tokens"], 2 * words);
        assert_eq!(body["usage"]["total_tokens"], 3 + 2 * words);
    }

    #[test]
    fn the_echo_is_cut() {
        let body = whole(json!({"messages": [{"role": "user", "content": "é".repeat(300)}]}));
        let content = body["choices"][0]["message"]["content"].as_str().unwrap();
        assert!(content.ends_with(&format!("{}…", "é".repeat(200))));
    }

    #[test]
    fn limits_and_stops() {
        let body = whole(json!({"max_tokens": 3}));
        assert_eq!(
            (&body["choices"][0]["message"]["content"], &body["choices"][0]["finish_reason"]),
            (&json!("This is a"), &json!("length"))
        );
        assert_eq!(body["usage"]["completion_tokens"], 3);
        let body = whole(json!({"stop": ["nowhere", " rehearsal"]}));
        assert_eq!(
            (&body["choices"][0]["message"]["content"], &body["choices"][0]["finish_reason"]),
            (&json!("This is a"), &json!("stop"))
        );
    }

    #[test]
    fn structured_output() {
        let content = |more| serde_json::from_str::<Value>(whole(more)["choices"][0]["message"]["content"].as_str().unwrap()).unwrap();
        assert_eq!(content(json!({"response_format": {"type": "json_object"}})), json!({"rehearsal": true}));
        let schema = json!({"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]});
        assert_eq!(
            content(json!({"response_format": {"type": "json_schema", "json_schema": {"name": "s", "schema": schema}}})),
            json!({"a": 1})
        );
    }

    #[test]
    fn tool_calls() {
        let tool = json!({"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {"q": {"type": "string"}}, "required": ["q"]}}});
        let body = whole(json!({"tools": [tool], "tool_choice": "required"}));
        let choice = &body["choices"][0];
        assert_eq!((&choice["finish_reason"], &choice["message"]["content"]), (&json!("tool_calls"), &Value::Null));
        let call = &choice["message"]["tool_calls"][0];
        assert_eq!((&call["type"], &call["function"]), (&json!("function"), &json!({"name": "look", "arguments": "{\"q\":\"text\"}"})));
        assert!(call["id"].as_str().unwrap().starts_with("call_"));
    }

    #[test]
    fn a_begun_answer_is_continued() {
        let full = whole(json!({}))["choices"][0]["message"]["content"].as_str().unwrap().to_owned();
        let messages = json!([{"role": "user", "content": "how are you?"}, {"role": "assistant", "content": &full[..40]}]);
        let rest = whole(json!({ "messages": messages }))["choices"][0]["message"]["content"].as_str().unwrap().to_owned();
        assert_eq!(format!("{}{rest}", full[..40].trim_end()), full);
    }
}
