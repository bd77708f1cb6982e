//! Anthropic's Messages written from the neutral shape: requests to upstreams, answers and refusals to callers.
//!
//! A request says what the model that is asked takes: what it can't be told is dropped by name where that is harmless, else
//! the target is unfit. Instructions stand before the conversation, whatever their place was, and turns of one speaker are
//! one turn, since results of tools must follow their calls at once.
//! <https://platform.claude.com/docs/en/api/messages>

use super::types::{Abilities, LEAST_BUDGET, Sampling, Thinks, abilities, budget};
use crate::dialect::Wire;
use crate::dialect::chat::{Cache, Effort, Format, Message, Part, Request, Role, Source, Thinking, Tool, ToolChoice};
use crate::dialect::draft::Draft;
use crate::dialect::gemini::is_proof;
use crate::dialect::losses::Losses;
use crate::dialect::node::Node;
use crate::dialect::seam::{Unfit, Written};

pub(super) fn request(request: &Request<'_>) -> Result<Written, Unfit> {
    let mut writer = Writer { d: Draft::with_room(4096), losses: Losses::of(&request.others), able: abilities(&request.model) };
    writer.request(request);
    writer.losses.written(writer.d.done())
}

struct Writer {
    d: Draft,
    losses: Losses,
    able: Abilities,
}

/// How the model is made to think.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mind {
    /// It isn't told.
    Untold,
    Off,
    Budget(u64),
    Adaptive,
}

impl Writer {
    fn request(&mut self, request: &Request<'_>) {
        self.d.begin(b'{');
        self.d.key("model").text(&request.model);
        let limit = request.max_tokens.unwrap_or(self.able.most_tokens);
        self.d.key("max_tokens").count(limit);
        self.system(&request.messages);
        self.messages(&request.messages);
        self.tools(request);
        let mind = self.mind(request, limit);
        self.sampling(request, matches!(mind, Mind::Budget(_) | Mind::Adaptive));
        self.output(request);
        if let Some(user) = &request.user {
            self.d.key("metadata").object(|d| _ = d.key("user_id").text(user));
        }
        if request.stream {
            self.d.key("stream").truth(true);
        }
        self.d.end(b'}');
    }

    fn system(&mut self, messages: &[Message<'_>]) {
        let said = || messages.iter().filter(|message| is_instruction(message)).flat_map(|message| &message.parts);
        if said().all(|part| matches!(part, Part::Text { text, .. } if text.is_empty())) {
            return;
        }
        self.d.key("system").begin(b'[');
        for part in said() {
            match part {
                Part::Text { .. } => self.part(part),
                _ => self.losses.unfit("instructions that aren't text"),
            }
        }
        self.d.end(b']');
    }

    fn messages(&mut self, messages: &[Message<'_>]) {
        if messages.iter().flat_map(|message| &message.parts).any(|part| matches!(part, Part::Thinking { .. }) && !is_said(part)) {
            self.losses.drop("messages[].reasoning_content");
        }
        self.d.key("messages").begin(b'[');
        let mut turns = messages.iter().filter(|message| !is_instruction(message) && message.parts.iter().any(is_said)).peekable();
        while let Some(first) = turns.next() {
            let mut turn = vec![first];
            while let Some(same) = turns.next_if(|next| next.role == first.role) {
                turn.push(same);
            }
            self.turn(first.role, &turn);
        }
        self.d.end(b']');
    }

    fn turn(&mut self, role: Role, messages: &[&Message<'_>]) {
        self.d.begin(b'{');
        self.d.key("role").text(if role == Role::Assistant { "assistant" } else { "user" });
        self.d.key("content").begin(b'[');
        if messages.iter().any(|message| message.name.is_some()) {
            self.losses.drop("messages[].name");
        }
        for part in messages.iter().flat_map(|message| &message.parts) {
            self.part(part);
        }
        self.d.end(b']');
        self.d.end(b'}');
    }

    fn part(&mut self, part: &Part<'_>) {
        match part {
            part if !is_said(part) => {}
            Part::Text { text, cache } => {
                self.d.object(|d| {
                    d.key("type").text("text").key("text").text(text);
                    mark(d, *cache);
                });
            }
            Part::Refusal(text) => _ = self.d.object(|d| _ = d.key("type").text("text").key("text").text(text)),
            Part::Image { source, detail, cache } => {
                if detail.as_deref().is_some_and(|detail| detail != "auto") {
                    self.losses.drop("messages[].image_url.detail");
                }
                self.located("image", source, None, *cache);
            }
            Part::Audio { .. } => self.losses.unfit("sound"),
            Part::File { source, name, cache } => self.located("document", source, name.as_deref(), *cache),
            Part::Call { id, name, arguments, cache } => {
                let input = arguments.trim();
                let input = if input.is_empty() { "{}" } else { input };
                if !Node::whole(input.as_bytes()).is_some_and(Node::is_object) {
                    return self.losses.unfit(format!("a call of {name:?} whose arguments are no JSON object"));
                }
                self.d.object(|d| {
                    d.key("type").text("tool_use").key("id").text(id).key("name").text(name).key("input").raw(input);
                    mark(d, *cache);
                });
            }
            Part::Result { id, parts, failed, cache } => self.result(id, parts, *failed, *cache),
            Part::Thinking { text, signature: Some(signature) } => {
                self.d.object(|d| _ = d.key("type").text("thinking").key("thinking").text(text).key("signature").text(signature));
            }
            Part::Thinking { signature: None, .. } => {}
            Part::Redacted(data) => _ = self.d.object(|d| _ = d.key("type").text("redacted_thinking").key("data").text(data)),
        }
    }

    fn result(&mut self, id: &str, parts: &[Part<'_>], failed: bool, cache: Option<Cache>) {
        self.d.begin(b'{');
        self.d.key("type").text("tool_result").key("tool_use_id").text(id);
        match parts {
            [] => {}
            [Part::Text { text, cache: None }] => _ = self.d.key("content").text(text),
            parts => {
                self.d.key("content").begin(b'[');
                parts.iter().for_each(|part| self.part(part));
                self.d.end(b']');
            }
        }
        if failed {
            self.d.key("is_error").truth(true);
        }
        mark(&mut self.d, cache);
        self.d.end(b'}');
    }

    fn located(&mut self, kind: &str, source: &Source<'_>, title: Option<&str>, cache: Option<Cache>) {
        if matches!(source, Source::Stored { of, .. } if *of != Wire::Anthropic) {
            return self
                .losses
                .unfit(format!("{kind} in another vendor's store").replace("image", "a picture").replace("document", "a document"));
        }
        if let Source::Inline { media, .. } = source
            && kind == "document"
            && media != "application/pdf"
        {
            return self.losses.unfit(format!("a document of type {media:?}"));
        }
        self.d.object(|d| {
            d.key("type").text(kind);
            d.key("source").object(|d| match source {
                Source::Inline { media, data } => {
                    d.key("type").text("base64").key("media_type").text(media).key("data").text(data);
                }
                Source::Url(url) => _ = d.key("type").text("url").key("url").text(url),
                Source::Stored { id, .. } => _ = d.key("type").text("file").key("file_id").text(id),
                Source::Text(text) => _ = d.key("type").text("text").key("media_type").text("text/plain").key("data").text(text),
            });
            if let Some(title) = title {
                d.key("title").text(title);
            }
            mark(d, cache);
        });
    }

    fn tools(&mut self, request: &Request<'_>) {
        if request.tools.is_empty() {
            return;
        }
        self.d.key("tools").begin(b'[');
        request.tools.iter().for_each(|tool| self.tool(tool));
        self.d.end(b']');
        let single = (request.parallel_calls == Some(false)).then_some(true);
        let several = (request.parallel_calls == Some(true)).then_some(false);
        let (kind, name) = match &request.tool_choice {
            None if request.parallel_calls.is_none() => return,
            None | Some(ToolChoice::Auto) => ("auto", None),
            Some(ToolChoice::Never) => ("none", None),
            Some(ToolChoice::Any) => ("any", None),
            Some(ToolChoice::Named(name)) => ("tool", Some(name)),
        };
        self.d.key("tool_choice").object(|d| {
            d.key("type").text(kind);
            if let Some(name) = name {
                d.key("name").text(name);
            }
            if let Some(disable) = single.or(several).filter(|_| kind != "none") {
                d.key("disable_parallel_tool_use").truth(disable);
            }
        });
    }

    fn tool(&mut self, tool: &Tool<'_>) {
        if tool.strict == Some(true) && !self.able.schema {
            self.losses.drop("tools[].function.strict");
        }
        let strict = tool.strict.filter(|_| self.able.schema);
        self.d.object(|d| {
            d.key("name").text(&tool.name);
            if let Some(description) = &tool.description {
                d.key("description").text(description);
            }
            d.key("input_schema").raw(tool.schema.as_deref().unwrap_or(r#"{"type":"object","properties":{}}"#));
            if let Some(strict) = strict {
                d.key("strict").truth(strict);
            }
            mark(d, tool.cache);
        });
    }

    fn sampling(&mut self, request: &Request<'_>, thinks: bool) {
        let given = [("temperature", &request.temperature), ("top_p", &request.top_p)];
        let mut written = false;
        for (name, value) in given {
            let Some(value) = value else { continue };
            let number: f64 = value.parse().unwrap_or(1.0);
            let free = match self.able.sampling {
                Sampling::All => true,
                Sampling::OneOf => !written,
                Sampling::None => false,
            };
            // 1 is what it would be anyway; a thinking model takes nothing else.
            if number == 1.0 && (thinks || !free) {
                continue;
            }
            if !free || thinks {
                self.losses.drop(name);
                continue;
            }
            written = true;
            if number > 1.0 {
                // OpenAI's range ends at 2.
                self.losses.drop(name);
                self.d.key(name).raw("1");
            } else {
                self.d.key(name).raw(value);
            }
        }
        match request.top_k {
            Some(top) if self.able.sampling != Sampling::None && !thinks => _ = self.d.key("top_k").count(top),
            Some(_) => self.losses.drop("top_k"),
            None => {}
        }
        let zero = |value: &Option<_>| value.as_deref().is_none_or(|value: &str| value.parse() == Ok(0.0));
        for (name, value) in [("presence_penalty", &request.presence_penalty), ("frequency_penalty", &request.frequency_penalty)] {
            if !zero(value) {
                self.losses.drop(name);
            }
        }
        if request.seed.is_some() {
            self.losses.drop("seed");
        }
        if request.choices.is_some() {
            self.losses.unfit("several answers at once (`n`)");
        }
        if request.logprobs.is_some() {
            self.losses.unfit("`logprobs`");
        }
        if request.stop.iter().any(|text| text.trim().is_empty()) {
            self.losses.unfit("a stop text that is only white space");
        }
        if !request.stop.is_empty() {
            self.d.key("stop_sequences").list(|d| request.stop.iter().for_each(|text| _ = d.text(text)));
        }
    }

    /// Writes how the model is made to think.
    fn mind(&mut self, request: &Request<'_>, limit: u64) -> Mind {
        let mut mind = self.wanted(request, limit);
        if matches!(mind, Mind::Budget(_) | Mind::Adaptive) {
            let forced = matches!(request.tool_choice, Some(ToolChoice::Any | ToolChoice::Named(_))) && !request.tools.is_empty();
            if forced || calls_without_thoughts(&request.messages) {
                // Either is refused beside thinking.
                self.losses.drop(if request.effort.is_some() { "reasoning_effort" } else { "thinking" });
                mind = Mind::Untold;
            }
        }
        match mind {
            Mind::Untold => {}
            Mind::Off => _ = self.d.key("thinking").raw(r#"{"type":"disabled"}"#),
            Mind::Adaptive => _ = self.d.key("thinking").raw(r#"{"type":"adaptive"}"#),
            Mind::Budget(tokens) => {
                self.d.key("thinking").object(|d| _ = d.key("type").text("enabled").key("budget_tokens").count(tokens));
            }
        }
        mind
    }

    fn wanted(&mut self, request: &Request<'_>, limit: u64) -> Mind {
        let asked = match (request.thinking, request.effort) {
            (None, None | Some(Effort::None)) => return Mind::Untold,
            (Some(Thinking::Off), _) => return if self.able.thinks == Thinks::Never { Mind::Untold } else { Mind::Off },
            (Some(Thinking::Budget(tokens)), _) => Some(tokens),
            (Some(Thinking::Adaptive), _) | (None, Some(_)) => None,
        };
        match self.able.thinks {
            Thinks::Never => {
                self.losses.drop(if request.thinking.is_some() { "thinking" } else { "reasoning_effort" });
                Mind::Untold
            }
            Thinks::Adaptively => Mind::Adaptive,
            Thinks::ByBudget => {
                let tokens = asked.unwrap_or_else(|| budget(request.effort.unwrap_or(Effort::Medium))).min(limit.saturating_sub(1));
                if tokens < LEAST_BUDGET {
                    self.losses.drop(if request.thinking.is_some() { "thinking" } else { "reasoning_effort" });
                    return Mind::Untold;
                }
                Mind::Budget(tokens)
            }
        }
    }

    /// `output_config`: the effort, for models that think as they see fit, and the schema.
    fn output(&mut self, request: &Request<'_>) {
        let effort = request.effort.filter(|effort| *effort != Effort::None && self.able.thinks == Thinks::Adaptively);
        let schema = match &request.format {
            None => None,
            Some(Format::Schema { schema, .. }) if self.able.schema => Some(schema),
            Some(Format::Schema { .. }) => return self.losses.unfit("an answer that follows a JSON schema"),
            Some(Format::Object) => return self.losses.unfit("an answer that is any JSON object; ask with a JSON schema"),
        };
        if effort.is_none() && schema.is_none() {
            return;
        }
        let most = self.able.most_effort;
        self.d.key("output_config").object(|d| {
            if let Some(effort) = effort {
                d.key("effort").text(effort.clamp(Effort::Low, most).name());
            }
            if let Some(schema) = schema {
                d.key("format").object(|d| _ = d.key("type").text("json_schema").key("schema").raw(schema));
            }
        });
    }
}

fn is_instruction(message: &Message<'_>) -> bool {
    matches!(message.role, Role::System | Role::Developer)
}

/// Whether a part is sent: an empty block is refused, and so are thoughts without a proof of Anthropic's.
fn is_said(part: &Part<'_>) -> bool {
    match part {
        Part::Text { text, .. } | Part::Refusal(text) => !text.is_empty(),
        Part::Thinking { signature, .. } => signature.as_deref().is_some_and(|proof| !is_proof(proof)),
        _ => true,
    }
}

/// Whether the conversation is inside a round of calls whose thoughts weren't kept: a model that thinks refuses to go on.
fn calls_without_thoughts(messages: &[Message<'_>]) -> bool {
    let last = messages.iter().rev().find(|message| message.role == Role::Assistant);
    let Some(last) = last else { return false };
    let thought = |part: &Part<'_>| matches!(part, Part::Thinking { .. } | Part::Redacted(_)) && is_said(part);
    last.parts.iter().any(|part| matches!(part, Part::Call { .. })) && !last.parts.iter().any(thought)
}

fn mark(d: &mut Draft, cache: Option<Cache>) {
    match cache {
        None => {}
        Some(Cache::Short) => _ = d.key("cache_control").raw(r#"{"type":"ephemeral"}"#),
        Some(Cache::Hour) => _ = d.key("cache_control").raw(r#"{"type":"ephemeral","ttl":"1h"}"#),
    }
}
