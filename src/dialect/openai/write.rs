//! Requests of Chat Completions written from the neutral shape, to upstreams.
//!
//! A request holds only what OpenAI's own API accepts; what it can't say is dropped by name where that is harmless, else the
//! target is unfit.
//! <https://platform.openai.com/docs/api-reference/chat>

use super::types::{role_name, thinks};
use crate::dialect::Wire;
use crate::dialect::chat::{Cache, Effort, Format, Message, Part, Request, Source, Thinking, Tool, ToolChoice};
use crate::dialect::draft::Draft;
use crate::dialect::losses::Losses;
use crate::dialect::seam::{Unfit, Written};

pub(super) fn request(request: &Request<'_>) -> Result<Written, Unfit> {
    let mut writer = Writer { d: Draft::with_room(4096), losses: Losses::of(&request.others), thinks: thinks(&request.model) };
    writer.request(request);
    writer.losses.written(writer.d.done())
}

struct Writer {
    d: Draft,
    losses: Losses,
    /// Whether the model thinks before it answers.
    thinks: bool,
}

impl Writer {
    fn request(&mut self, request: &Request<'_>) {
        self.d.begin(b'{');
        self.d.key("model").text(&request.model);
        self.d.key("messages").begin(b'[');
        request.messages.iter().for_each(|message| self.message(message));
        self.d.end(b']');
        self.tools(request);
        self.sampling(request);
        self.format(request.format.as_ref());
        self.thinking(request);
        if let Some(user) = &request.user {
            self.d.key("user").text(user);
        }
        if request.stream {
            self.d.key("stream").truth(true);
            if request.tell_usage {
                self.d.key("stream_options").object(|d| _ = d.key("include_usage").truth(true));
            }
        }
        self.d.end(b'}');
    }

    fn sampling(&mut self, request: &Request<'_>) {
        if let Some(most) = request.max_tokens {
            self.d.key(if self.thinks { "max_completion_tokens" } else { "max_tokens" }).count(most);
        }
        let numbers = [
            ("temperature", &request.temperature),
            ("top_p", &request.top_p),
            ("seed", &request.seed),
            ("presence_penalty", &request.presence_penalty),
            ("frequency_penalty", &request.frequency_penalty),
        ];
        for (name, value) in numbers {
            match value {
                // They refuse what tampers with chance.
                Some(_) if self.thinks && name != "seed" => self.losses.drop(name),
                Some(value) => _ = self.d.key(name).raw(value),
                None => {}
            }
        }
        if request.top_k.is_some() {
            self.losses.drop("top_k");
        }
        if !request.stop.is_empty() {
            self.d.key("stop").list(|d| request.stop.iter().for_each(|text| _ = d.text(text)));
        }
        if let Some(choices) = request.choices {
            self.d.key("n").count(choices);
        }
        if let Some(top) = request.logprobs {
            self.d.key("logprobs").truth(true);
            self.d.key("top_logprobs").count(top);
        }
    }

    fn thinking(&mut self, request: &Request<'_>) {
        let effort = match (request.effort, request.thinking) {
            (Some(effort), _) => Some(effort),
            (None, Some(Thinking::Off)) | (None, None) => None,
            (None, Some(Thinking::Adaptive | Thinking::Budget(_))) => return self.losses.drop("thinking"),
        };
        match effort {
            Some(effort) if self.thinks => {
                let most = effort.min(Effort::XHigh);
                self.d.key("reasoning_effort").text(most.name());
            }
            Some(Effort::None) | None => {}
            Some(_) => self.losses.drop("reasoning_effort"),
        }
    }

    fn format(&mut self, format: Option<&Format<'_>>) {
        match format {
            None => {}
            Some(Format::Object) => _ = self.d.key("response_format").raw(r#"{"type":"json_object"}"#),
            Some(Format::Schema { name, description, schema, strict }) => {
                self.d.key("response_format").object(|d| {
                    d.key("type").text("json_schema");
                    d.key("json_schema").object(|d| {
                        d.key("name").text(name.as_deref().unwrap_or("answer"));
                        if let Some(description) = description {
                            d.key("description").text(description);
                        }
                        d.key("schema").raw(schema);
                        if let Some(strict) = strict {
                            d.key("strict").truth(*strict);
                        }
                    });
                });
            }
        }
    }

    fn tools(&mut self, request: &Request<'_>) {
        if request.tools.is_empty() {
            return;
        }
        if request.tools.iter().any(|tool| tool.cache.is_some()) {
            self.losses.drop("cache_control");
        }
        self.d.key("tools").list(|d| request.tools.iter().for_each(|each| tool(d, each)));
        match &request.tool_choice {
            None => {}
            Some(ToolChoice::Auto) => _ = self.d.key("tool_choice").text("auto"),
            Some(ToolChoice::Never) => _ = self.d.key("tool_choice").text("none"),
            Some(ToolChoice::Any) => _ = self.d.key("tool_choice").text("required"),
            Some(ToolChoice::Named(name)) => {
                self.d.key("tool_choice").object(|d| {
                    d.key("type").text("function");
                    d.key("function").object(|d| _ = d.key("name").text(name));
                });
            }
        }
        if let Some(parallel) = request.parallel_calls {
            self.d.key("parallel_tool_calls").truth(parallel);
        }
    }

    /// A message, and before it one for each result of a tool: only there can they stand.
    fn message(&mut self, message: &Message<'_>) {
        let mut results = 0;
        for part in &message.parts {
            if let Part::Result { id, parts, failed, cache } = part {
                results += 1;
                if *failed {
                    self.losses.drop("is_error");
                }
                self.uncached(*cache);
                self.d.begin(b'{');
                self.d.key("role").text("tool");
                self.d.key("tool_call_id").text(id);
                self.content(parts, true);
                self.d.end(b'}');
            }
        }
        if results > 0 && results == message.parts.len() {
            return;
        }
        self.d.begin(b'{');
        self.d.key("role").text(role_name(message.role));
        if let Some(name) = &message.name {
            self.d.key("name").text(name);
        }
        self.content(&message.parts, false);
        self.calls(&message.parts);
        self.d.end(b'}');
    }

    fn calls(&mut self, parts: &[Part<'_>]) {
        let calls = || parts.iter().filter(|part| matches!(part, Part::Call { .. }));
        if calls().next().is_some() {
            self.d.key("tool_calls").list(|d| calls().for_each(|part| call(d, part)));
        }
        for part in parts {
            match part {
                Part::Call { cache, .. } => self.uncached(*cache),
                // Nobody but their vendor takes them back.
                Part::Thinking { .. } | Part::Redacted(_) => self.losses.drop("messages[].thinking"),
                _ => {}
            }
        }
    }

    fn uncached(&mut self, cache: Option<Cache>) {
        if cache.is_some() {
            self.losses.drop("cache_control");
        }
    }

    /// `content`: a text where it is one, null where there is none. `result`: of a tool, which gives back text only.
    fn content(&mut self, parts: &[Part<'_>], result: bool) {
        let own = |part: &&Part<'_>| !matches!(part, Part::Call { .. } | Part::Result { .. } | Part::Thinking { .. } | Part::Redacted(_));
        let parts: Vec<_> = parts.iter().filter(own).collect();
        match parts[..] {
            [] if result => _ = self.d.key("content").text(""),
            [] => _ = self.d.key("content").null(),
            [Part::Text { text, cache }] => {
                self.d.key("content").text(text);
                self.uncached(*cache);
            }
            _ => {
                self.d.key("content").begin(b'[');
                for part in parts {
                    if result && !matches!(part, Part::Text { .. }) {
                        self.losses.unfit("a tool's result that isn't text");
                    }
                    self.part(part);
                }
                self.d.end(b']');
            }
        }
    }

    fn part(&mut self, part: &Part<'_>) {
        match part {
            Part::Text { text, cache } => {
                self.uncached(*cache);
                self.d.object(|d| _ = d.key("type").text("text").key("text").text(text));
            }
            Part::Refusal(text) => {
                self.d.object(|d| _ = d.key("type").text("refusal").key("refusal").text(text));
            }
            Part::Image { source, detail, cache } => {
                self.uncached(*cache);
                let Some(url) = self.url(source) else { return };
                self.d.object(|d| {
                    d.key("type").text("image_url");
                    d.key("image_url").object(|d| {
                        d.key("url").text(&url);
                        if let Some(detail) = detail {
                            d.key("detail").text(detail);
                        }
                    });
                });
            }
            Part::Audio { format, data } => {
                self.d.object(|d| {
                    d.key("type").text("input_audio");
                    d.key("input_audio").object(|d| _ = d.key("data").text(data).key("format").text(format));
                });
            }
            Part::File { source, name, cache } => {
                self.uncached(*cache);
                self.file(source, name.as_deref());
            }
            Part::Call { .. } | Part::Result { .. } | Part::Thinking { .. } | Part::Redacted(_) => {}
        }
    }

    fn url(&mut self, source: &Source<'_>) -> Option<String> {
        match source {
            Source::Inline { media, data } => Some(format!("data:{media};base64,{data}")),
            Source::Url(url) => Some(url.clone().into_owned()),
            Source::Stored { .. } | Source::Text(_) => {
                self.losses.unfit("a picture in another vendor's store");
                None
            }
        }
    }

    fn file(&mut self, source: &Source<'_>, name: Option<&str>) {
        let (field, value) = match source {
            Source::Inline { media, data } => ("file_data", format!("data:{media};base64,{data}")),
            Source::Stored { of: Wire::OpenAi, id } => ("file_id", id.clone().into_owned()),
            Source::Stored { .. } => return self.losses.unfit("a document in another vendor's store"),
            Source::Text(text) => {
                // A plain text needs no wrapping.
                return self.part(&Part::Text { text: text.clone(), cache: None });
            }
            Source::Url(_) => return self.losses.unfit("a document by its URL"),
        };
        self.d.object(|d| {
            d.key("type").text("file");
            d.key("file").object(|d| {
                d.key(field).text(&value);
                match name {
                    Some(name) => _ = d.key("filename").text(name),
                    // Required beside the data.
                    None if field == "file_data" => _ = d.key("filename").text("document"),
                    None => {}
                }
            });
        });
    }
}

fn tool(d: &mut Draft, tool: &Tool<'_>) {
    d.object(|d| {
        d.key("type").text("function");
        d.key("function").object(|d| {
            d.key("name").text(&tool.name);
            if let Some(description) = &tool.description {
                d.key("description").text(description);
            }
            if let Some(schema) = &tool.schema {
                d.key("parameters").raw(schema);
            }
            if let Some(strict) = tool.strict {
                d.key("strict").truth(strict);
            }
        });
    });
}

/// Writes a call.
pub(super) fn call(d: &mut Draft, part: &Part<'_>) {
    let Part::Call { id, name, arguments, .. } = part else { return };
    d.object(|d| {
        d.key("id").text(id);
        d.key("type").text("function");
        d.key("function").object(|d| _ = d.key("name").text(name).key("arguments").text(arguments));
    });
}
