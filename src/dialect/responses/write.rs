//! Responses written from the neutral shape: answers to callers, and requests, as far as the shape goes.
//!
//! An answer holds every field that OpenAI's SDKs require. <https://platform.openai.com/docs/api-reference/responses/object>

use bytes::Bytes;

use super::echo::Echo;
use super::types::{encrypted, id, status};
use crate::dialect::chat::{Answer, Cache, Format, Message, Part, Request, Role, Source, Thinking, ToolChoice};
use crate::dialect::draft::Draft;
use crate::dialect::losses::Losses;
use crate::dialect::seam::{Unfit, Written};
use crate::dialect::{Usage, Wire};

/// A response's head: who, when, which.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) id: String,
    pub(super) model: String,
    pub(super) created: u64,
}

/// How a response stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stand<'a> {
    pub(super) status: &'a str,
    /// Why it is incomplete.
    pub(super) incomplete: Option<&'a str>,
    pub(super) spent: Option<&'a Usage>,
}

/// A response object. `output` writes its items.
pub(super) fn response(d: &mut Draft, head: &Head, echo: &Echo, stand: Stand<'_>, output: impl FnOnce(&mut Draft)) {
    d.object(|d| {
        d.key("id").text(&head.id).key("object").text("response").key("created_at").count(head.created);
        d.key("status").text(stand.status).key("error").null();
        match stand.incomplete {
            Some(reason) => _ = d.key("incomplete_details").object(|d| _ = d.key("reason").text(reason)),
            None => _ = d.key("incomplete_details").null(),
        }
        d.key("model").text(&head.model).key("output").list(output);
        echo.write(d);
        match stand.spent {
            Some(spent) => usage(d.key("usage"), spent),
            None => _ = d.key("usage").null(),
        }
    });
}

fn usage(d: &mut Draft, spent: &Usage) {
    d.object(|d| {
        d.key("input_tokens").count(spent.input);
        d.key("input_tokens_details")
            .object(|d| _ = d.key("cached_tokens").count(spent.cached).key("cache_write_tokens").count(spent.cache_write));
        d.key("output_tokens").count(spent.output);
        d.key("output_tokens_details").object(|d| _ = d.key("reasoning_tokens").count(spent.reasoning));
        d.key("total_tokens").count(spent.total());
    });
}

/// A message's item. `content` writes its parts.
pub(super) fn message_item(d: &mut Draft, item: &str, status: &str, content: impl FnOnce(&mut Draft)) {
    d.object(|d| {
        d.key("id").text(item).key("type").text("message").key("status").text(status).key("role").text("assistant");
        d.key("content").list(content);
    });
}

/// A part of a message: words, or words by which the model refuses.
pub(super) fn text_part(d: &mut Draft, refusal: bool, text: &str) {
    d.object(|d| match refusal {
        true => _ = d.key("type").text("refusal").key("refusal").text(text),
        false => {
            d.key("type").text("output_text").key("text").text(text);
            d.key("annotations").list(|_| {}).key("logprobs").list(|_| {});
        }
    });
}

/// A call's item.
pub(super) fn call_item(d: &mut Draft, status: &str, (call, name, arguments): (&str, &str, &str)) {
    d.object(|d| {
        d.key("id").text(&id("fc_", call)).key("type").text("function_call").key("status").text(status);
        d.key("call_id").text(call).key("name").text(name).key("arguments").text(arguments);
    });
}

/// A thought's item.
pub(super) fn thought_item(d: &mut Draft, item: &str, text: &str, encrypted: Option<&str>) {
    d.object(|d| {
        d.key("id").text(item).key("type").text("reasoning");
        d.key("summary").list(|d| {
            if !text.is_empty() {
                d.object(|d| _ = d.key("type").text("summary_text").key("text").text(text));
            }
        });
        if let Some(encrypted) = encrypted {
            d.key("encrypted_content").text(encrypted);
        }
    });
}

pub(super) fn answer(answer: &Answer<'_>, echo: &Echo, now: u64) -> Bytes {
    let head = Head { id: id("resp_", &answer.id), model: answer.model.clone().into_owned(), created: answer.created.unwrap_or(now) };
    let nothing = (Vec::new(), ("completed", None));
    let (parts, (status, incomplete)) = answer.choices.first().map_or(nothing, |choice| {
        let refused = choice.parts.iter().any(|part| matches!(part, Part::Refusal(_)));
        (choice.parts.iter().collect(), status(choice.finish, refused))
    });
    let mut d = Draft::with_room(2048);
    response(&mut d, &head, echo, Stand { status, incomplete, spent: answer.spent.as_ref() }, |d| items(d, &head.id, &parts));
    d.done()
}

/// Parts as items: words that stand side by side are one message.
fn items(d: &mut Draft, response: &str, parts: &[&Part<'_>]) {
    let said = |part: &&Part<'_>| matches!(part, Part::Text { .. } | Part::Refusal(_));
    let mut rest = parts;
    let mut place = 0;
    while let [first, behind @ ..] = rest {
        let own = |kind: &str| format!("{kind}{}_{place}", response.trim_start_matches("resp_"));
        let words = rest.iter().take_while(|part| said(part)).count();
        match first {
            Part::Text { .. } | Part::Refusal(_) => message_item(d, &own("msg_"), "completed", |d| {
                rest[..words].iter().for_each(|part| match part {
                    Part::Refusal(text) => text_part(d, true, text),
                    Part::Text { text, .. } => text_part(d, false, text),
                    _ => {}
                });
            }),
            Part::Thinking { text, .. } => thought_item(d, &own("rs_"), text, encrypted(first).as_deref()),
            Part::Redacted(_) => thought_item(d, &own("rs_"), "", encrypted(first).as_deref()),
            Part::Call { id, name, arguments, .. } => call_item(d, "completed", (&**id, &**name, &**arguments)),
            Part::Image { .. } | Part::Audio { .. } | Part::File { .. } | Part::Result { .. } => {}
        }
        place += 1;
        rest = if words > 0 { &rest[words..] } else { behind };
    }
}

pub(super) fn request(request: &Request<'_>) -> Result<Written, Unfit> {
    let mut writer = Writer { d: Draft::with_room(4096), losses: Losses::of(&request.others) };
    writer.request(request);
    writer.losses.written(writer.d.done())
}

struct Writer {
    d: Draft,
    losses: Losses,
}

impl Writer {
    fn request(&mut self, request: &Request<'_>) {
        self.d.begin(b'{');
        self.d.key("model").text(&request.model);
        let mut messages = &request.messages[..];
        if let [Message { role: Role::System, name: None, parts }, rest @ ..] = messages
            && let [Part::Text { text, cache }] = &parts[..]
        {
            self.uncached(*cache);
            self.d.key("instructions").text(text);
            messages = rest;
        }
        self.d.key("input").begin(b'[');
        messages.iter().for_each(|message| self.message(message));
        self.d.end(b']');
        self.tools(request);
        self.sampling(request);
        self.format(request.format.as_ref());
        if let Some(effort) = request.effort {
            self.d.key("reasoning").object(|d| _ = d.key("effort").text(effort.name()));
        } else if matches!(request.thinking, Some(Thinking::Adaptive | Thinking::Budget(_))) {
            self.losses.drop("thinking");
        }
        if let Some(user) = &request.user {
            self.d.key("user").text(user);
        }
        // A chat isn't kept.
        self.d.key("store").truth(false);
        if request.stream {
            self.d.key("stream").truth(true);
        }
        self.d.end(b'}');
    }

    fn sampling(&mut self, request: &Request<'_>) {
        if let Some(most) = request.max_tokens {
            self.d.key("max_output_tokens").count(most);
        }
        for (name, value) in [("temperature", &request.temperature), ("top_p", &request.top_p)] {
            if let Some(value) = value {
                self.d.key(name).raw(value);
            }
        }
        let dropped = [
            ("seed", request.seed.is_some()),
            ("presence_penalty", request.presence_penalty.is_some()),
            ("frequency_penalty", request.frequency_penalty.is_some()),
            ("top_k", request.top_k.is_some()),
        ];
        dropped.into_iter().filter(|(_, there)| *there).for_each(|(name, _)| self.losses.drop(name));
        let unfit = [
            ("stop texts", !request.stop.is_empty()),
            ("several answers", request.choices.is_some()),
            ("log probabilities", request.logprobs.is_some()),
        ];
        unfit.into_iter().filter(|(_, there)| *there).for_each(|(what, _)| self.losses.unfit(what));
    }

    fn tools(&mut self, request: &Request<'_>) {
        if request.tools.is_empty() {
            return;
        }
        self.d.key("tools").begin(b'[');
        for tool in &request.tools {
            self.uncached(tool.cache);
            self.d.object(|d| {
                d.key("type").text("function").key("name").text(&tool.name);
                if let Some(description) = &tool.description {
                    d.key("description").text(description);
                }
                d.key("parameters").raw(tool.schema.as_deref().unwrap_or(r#"{"type":"object","properties":{}}"#));
                if let Some(strict) = tool.strict {
                    d.key("strict").truth(strict);
                }
            });
        }
        self.d.end(b']');
        match &request.tool_choice {
            None => {}
            Some(ToolChoice::Auto) => _ = self.d.key("tool_choice").text("auto"),
            Some(ToolChoice::Never) => _ = self.d.key("tool_choice").text("none"),
            Some(ToolChoice::Any) => _ = self.d.key("tool_choice").text("required"),
            Some(ToolChoice::Named(name)) => {
                self.d.key("tool_choice").object(|d| _ = d.key("type").text("function").key("name").text(name));
            }
        }
        if let Some(parallel) = request.parallel_calls {
            self.d.key("parallel_tool_calls").truth(parallel);
        }
    }

    fn format(&mut self, format: Option<&Format<'_>>) {
        let Some(format) = format else { return };
        self.d.key("text").object(|d| {
            d.key("format").object(|d| match format {
                Format::Object => _ = d.key("type").text("json_object"),
                Format::Schema { name, description, schema, strict } => {
                    d.key("type").text("json_schema").key("name").text(name.as_deref().unwrap_or("answer"));
                    if let Some(description) = description {
                        d.key("description").text(description);
                    }
                    d.key("schema").raw(schema);
                    if let Some(strict) = strict {
                        d.key("strict").truth(*strict);
                    }
                }
            });
        });
    }

    fn uncached(&mut self, cache: Option<Cache>) {
        if cache.is_some() {
            self.losses.drop("cache_control");
        }
    }

    /// A turn as its items: what isn't said is an item of its own.
    fn message(&mut self, message: &Message<'_>) {
        if message.name.is_some() {
            self.losses.drop("messages[].name");
        }
        let role = match message.role {
            Role::System => "system",
            Role::Developer => "developer",
            Role::User => "user",
            Role::Assistant => "assistant",
        };
        let mut open = false;
        for part in &message.parts {
            let apart = matches!(part, Part::Call { .. } | Part::Result { .. } | Part::Thinking { .. } | Part::Redacted(_));
            if open && apart {
                self.d.end(b']').end(b'}');
            } else if !open && !apart {
                self.d.begin(b'{');
                self.d.key("type").text("message").key("role").text(role).key("content").begin(b'[');
            }
            open = !apart;
            match part {
                Part::Call { id, name, arguments, cache } => {
                    self.uncached(*cache);
                    self.d.object(|d| {
                        d.key("type").text("function_call").key("call_id").text(id).key("name").text(name);
                        d.key("arguments").text(arguments);
                    });
                }
                Part::Result { id, parts, failed, cache } => self.result(id, parts, *failed, *cache),
                Part::Thinking { text, .. } => thought_item(&mut self.d, "rs_0", text, encrypted(part).as_deref()),
                Part::Redacted(_) => thought_item(&mut self.d, "rs_0", "", encrypted(part).as_deref()),
                said => self.part(said, message.role == Role::Assistant),
            }
        }
        if open {
            self.d.end(b']').end(b'}');
        }
    }

    fn result(&mut self, call: &str, parts: &[Part<'_>], failed: bool, cache: Option<Cache>) {
        self.uncached(cache);
        if failed {
            self.losses.drop("is_error");
        }
        self.d.begin(b'{');
        self.d.key("type").text("function_call_output").key("call_id").text(call).key("output");
        match parts {
            [] => _ = self.d.text(""),
            [Part::Text { text, cache }] => {
                self.uncached(*cache);
                self.d.text(text);
            }
            parts => {
                self.d.begin(b'[');
                parts.iter().for_each(|part| self.part(part, false));
                self.d.end(b']');
            }
        }
        self.d.end(b'}');
    }

    /// A part of a message. `said`: by the assistant.
    fn part(&mut self, part: &Part<'_>, said: bool) {
        match part {
            Part::Text { text, cache } => {
                self.uncached(*cache);
                self.d.object(|d| {
                    d.key("type").text(if said { "output_text" } else { "input_text" }).key("text").text(text);
                    if said {
                        d.key("annotations").list(|_| {});
                    }
                });
            }
            Part::Refusal(text) => _ = self.d.object(|d| _ = d.key("type").text("refusal").key("refusal").text(text)),
            Part::Image { source, detail, cache } => {
                self.uncached(*cache);
                let (field, value) = match source {
                    Source::Inline { media, data } => ("image_url", format!("data:{media};base64,{data}")),
                    Source::Url(url) => ("image_url", url.clone().into_owned()),
                    Source::Stored { of: Wire::OpenAi, id } => ("file_id", id.clone().into_owned()),
                    Source::Stored { .. } => return self.losses.unfit("a picture in another vendor's store"),
                    Source::Text(_) => return self.losses.unfit("a picture in words"),
                };
                self.d.object(|d| {
                    d.key("type").text("input_image").key(field).text(&value).key("detail").text(detail.as_deref().unwrap_or("auto"));
                });
            }
            // A message has texts, pictures and files.
            Part::Audio { .. } => self.losses.unfit("sound"),
            Part::File { source, name, cache } => {
                self.uncached(*cache);
                let (field, value) = match source {
                    Source::Inline { media, data } => ("file_data", format!("data:{media};base64,{data}")),
                    Source::Url(url) => ("file_url", url.clone().into_owned()),
                    Source::Stored { of: Wire::OpenAi, id } => ("file_id", id.clone().into_owned()),
                    Source::Stored { .. } => return self.losses.unfit("a document in another vendor's store"),
                    // A plain text needs no wrapping.
                    Source::Text(text) => return self.part(&Part::Text { text: text.clone(), cache: None }, said),
                };
                self.d.object(|d| {
                    d.key("type").text("input_file").key(field).text(&value);
                    if let Some(name) = name {
                        d.key("filename").text(name);
                    }
                });
            }
            Part::Call { .. } | Part::Result { .. } | Part::Thinking { .. } | Part::Redacted(_) => {}
        }
    }
}
