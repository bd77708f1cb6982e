//! A chat request as the simulator understands it. As strict as the real door about what it reads, so that a client or a
//! gateway that sends nonsense learns of it in rehearsal; blind to every other field.

use serde_json::{Map, Value};

use super::refusal::Refusal;
use super::talk::Talk;

/// What was asked.
#[derive(Clone, Debug)]
pub(super) struct Chat {
    pub(super) model: String,
    pub(super) stream: bool,
    /// A usage chunk at the stream's end.
    pub(super) include_usage: bool,
    /// `n`.
    pub(super) choices: u32,
    /// The most words of an answer.
    pub(super) limit: Option<u64>,
    pub(super) stop: Vec<String>,
    pub(super) talk: Talk,
    pub(super) tools: Vec<Tool>,
    pub(super) tool_choice: ToolChoice,
    /// Several tools may be called at once.
    pub(super) parallel: bool,
    pub(super) format: Format,
}

/// A function that the caller offers.
#[derive(Clone, Debug)]
pub(super) struct Tool {
    pub(super) name: String,
    pub(super) parameters: Value,
}

/// `tool_choice`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ToolChoice {
    Auto,
    Never,
    Required,
    Named(String),
}

/// `response_format`.
#[derive(Clone, Debug)]
pub(super) enum Format {
    Text,
    Object,
    Schema(Value),
}

impl Chat {
    /// From a body.
    pub(super) fn read(body: &Value) -> Result<Self, Refusal> {
        let fields = Fields::of(body)?;
        let stream = fields.flag("stream")?.unwrap_or(false);
        let tools = tools(&fields)?;
        Ok(Self {
            model: fields.model()?,
            talk: Talk::read(fields.value("messages"))?,
            stream,
            include_usage: include_usage(&fields, stream)?,
            choices: fields.whole("n", 1, 128)?.unwrap_or(1) as u32,
            limit: fields.whole("max_completion_tokens", 1, u64::MAX)?.or(fields.whole("max_tokens", 1, u64::MAX)?),
            stop: stop(&fields)?,
            tool_choice: tool_choice(&fields, &tools)?,
            tools,
            parallel: fields.flag("parallel_tool_calls")?.unwrap_or(true),
            format: format(&fields)?,
        })
    }
}

fn include_usage(fields: &Fields<'_>, stream: bool) -> Result<bool, Refusal> {
    let Some(options) = fields.value("stream_options") else { return Ok(false) };
    if !stream {
        let message = "The 'stream_options' parameter is only allowed when 'stream' is enabled.".to_owned();
        return Err(Refusal::invalid("stream_options", "invalid_parameter", message));
    }
    let options = options.as_object().ok_or_else(|| Refusal::wrong("stream_options", "an object"))?;
    Ok(options.get("include_usage") == Some(&Value::Bool(true)))
}

fn stop(fields: &Fields<'_>) -> Result<Vec<String>, Refusal> {
    let wrong = || Refusal::wrong("stop", "a string or an array of strings");
    match fields.value("stop") {
        None => Ok(Vec::new()),
        Some(Value::String(one)) => Ok(vec![one.clone()]),
        Some(Value::Array(all)) => all.iter().map(|one| one.as_str().map(str::to_owned).ok_or_else(wrong)).collect(),
        Some(_) => Err(wrong()),
    }
}

/// The functions among the tools: a tool of another type is left alone.
fn tools(fields: &Fields<'_>) -> Result<Vec<Tool>, Refusal> {
    let Some(tools) = fields.value("tools") else { return Ok(Vec::new()) };
    let tools = tools.as_array().ok_or_else(|| Refusal::wrong("tools", "an array of objects"))?;
    let mut functions = Vec::new();
    for (at, tool) in tools.iter().enumerate() {
        let kind = tool.get("type").and_then(Value::as_str).ok_or_else(|| Refusal::missing(&format!("tools[{at}].type")))?;
        if kind != "function" {
            continue;
        }
        let name = tool["function"]["name"].as_str().ok_or_else(|| Refusal::missing(&format!("tools[{at}].function.name")))?;
        functions.push(Tool { name: name.to_owned(), parameters: tool["function"]["parameters"].clone() });
    }
    Ok(functions)
}

fn tool_choice(fields: &Fields<'_>, tools: &[Tool]) -> Result<ToolChoice, Refusal> {
    let Some(choice) = fields.value("tool_choice") else { return Ok(ToolChoice::Auto) };
    if tools.is_empty() && fields.value("tools").is_none() {
        let message = "Invalid value for 'tool_choice': 'tool_choice' is only allowed when 'tools' are specified.".to_owned();
        return Err(Refusal::invalid("tool_choice", "invalid_value", message));
    }
    let mode = choice.as_str().or_else(|| choice["allowed_tools"]["mode"].as_str());
    match (mode, choice["function"]["name"].as_str()) {
        (Some("auto"), _) => Ok(ToolChoice::Auto),
        (Some("none"), _) => Ok(ToolChoice::Never),
        (Some("required"), _) => Ok(ToolChoice::Required),
        (None, Some(name)) if tools.iter().any(|tool| tool.name == name) => Ok(ToolChoice::Named(name.to_owned())),
        (None, Some(_)) => {
            let message = "Invalid value for 'tool_choice': the function isn't among 'tools'.".to_owned();
            Err(Refusal::invalid("tool_choice", "invalid_value", message))
        }
        _ => Err(Refusal::wrong("tool_choice", "'none', 'auto', 'required' or a named function")),
    }
}

fn format(fields: &Fields<'_>) -> Result<Format, Refusal> {
    let Some(format) = fields.value("response_format") else { return Ok(Format::Text) };
    match format["type"].as_str() {
        Some("text") => Ok(Format::Text),
        Some("json_object") => Ok(Format::Object),
        Some("json_schema") => {
            let schema = format["json_schema"].as_object().ok_or_else(|| Refusal::missing("response_format.json_schema"))?;
            Ok(Format::Schema(schema.get("schema").cloned().unwrap_or_else(|| serde_json::json!({"type": "object"}))))
        }
        _ => Err(Refusal::wrong("response_format", "an object whose type is 'text', 'json_object' or 'json_schema'")),
    }
}

/// A body's fields. A null is a field that isn't there.
pub(super) struct Fields<'a>(&'a Map<String, Value>);

impl<'a> Fields<'a> {
    pub(super) fn of(body: &'a Value) -> Result<Self, Refusal> {
        body.as_object().map(Self).ok_or_else(Refusal::not_json)
    }

    pub(super) fn value(&self, name: &str) -> Option<&'a Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    pub(super) fn model(&self) -> Result<String, Refusal> {
        let model = self.text("model")?.filter(|model| !model.is_empty());
        model.map(str::to_owned).ok_or_else(|| Refusal::missing("model"))
    }

    pub(super) fn text(&self, name: &str) -> Result<Option<&'a str>, Refusal> {
        self.value(name).map(|value| value.as_str().ok_or_else(|| Refusal::wrong(name, "a string"))).transpose()
    }

    fn flag(&self, name: &str) -> Result<Option<bool>, Refusal> {
        self.value(name).map(|value| value.as_bool().ok_or_else(|| Refusal::wrong(name, "a boolean"))).transpose()
    }

    pub(super) fn whole(&self, name: &str, least: u64, most: u64) -> Result<Option<u64>, Refusal> {
        let Some(value) = self.value(name) else { return Ok(None) };
        let n = value.as_u64().ok_or_else(|| Refusal::wrong(name, "a positive integer"))?;
        if (least..=most).contains(&n) {
            return Ok(Some(n));
        }
        let message = format!("Invalid '{name}': integer out of range. Expected a value from {least} to {most}, but got {n} instead.");
        Err(Refusal::invalid(name, "integer_out_of_range", message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn chat(more: Value) -> Result<Chat, Refusal> {
        let mut body = json!({"model": "m", "messages": [{"role": "user", "content": "hi"}]});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        Chat::read(&body)
    }

    #[test]
    fn nulls_are_left_out() {
        let chat = chat(json!({"stream": null, "n": null, "tools": null, "tool_choice": null, "stop": null, "max_tokens": null, "response_format": null})).unwrap();
        assert!(!chat.stream && chat.choices == 1 && chat.tools.is_empty() && chat.limit.is_none());
    }

    #[test]
    fn the_newer_limit_wins() {
        assert_eq!(chat(json!({"max_tokens": 5, "max_completion_tokens": 9})).unwrap().limit, Some(9));
    }

    #[test]
    fn nonsense_is_refused() {
        for more in [
            json!({"model": ""}),
            json!({"model": 5}),
            json!({"messages": null}),
            json!({"stream": "yes"}),
            json!({"n": 0}),
            json!({"n": 1000}),
            json!({"max_tokens": -1}),
            json!({"max_tokens": 1.5}),
            json!({"max_tokens": "5"}),
            json!({"stream_options": {"include_usage": true}}),
            json!({"tools": [{}]}),
            json!({"tools": [{"type": "function"}]}),
            json!({"tool_choice": "required"}),
            json!({"tools": [], "tool_choice": {"type": "function", "function": {"name": "f"}}}),
            json!({"response_format": {"type": "xml"}}),
            json!({"response_format": {"type": "json_schema"}}),
            json!({"stop": [1]}),
        ] {
            assert_eq!(chat(more.clone()).unwrap_err().status, 400, "{more}");
        }
        assert_eq!(Chat::read(&json!([])).unwrap_err(), Refusal::not_json());
    }
}
