//! Anthropic's Messages read into the neutral shape: requests of callers, answers of upstreams.
//!
//! Of a request everything is read or told: what only Anthropic's own servers can do (their tools, their store, containers)
//! makes it unfit for other dialects. Of an answer what the shape has is taken and the rest passed.
//! <https://platform.claude.com/docs/en/api/messages>

use std::borrow::Cow;

use super::types::{cache, finish, thinking};
use crate::dialect::chat::{Answer, Choice, Effort, Finish, Format, Message, Other, Part, Request, Role, Source, Tool, ToolChoice, Words};
use crate::dialect::node::{Members, Node};
use crate::dialect::seam::{Misread, Unfit};
use crate::dialect::{Usage, Wire};

/// Fields without which the answer means the same.
const HARMLESS: &[&str] = &["cache_control", "diagnostics", "inference_geo", "metadata", "service_tier", "speed", "user_profile_id"];

pub(super) fn request(body: &[u8]) -> Result<Request<'_>, Unfit> {
    let members = Node::object(body).ok_or_else(|| Unfit::new("a body that is no JSON object"))?;
    let mut m = members;
    let mut request = Request { model: m.text("model").unwrap_or_default(), ..Request::default() };
    if let Some(system) = m.take("system") {
        let mut parts = Vec::new();
        content(system, &mut parts, &mut request.others).map_err(|unfit| Unfit::new(format!("{} in system", unfit.what)))?;
        request.messages.push(Message { role: Role::System, name: None, parts });
    }
    for (place, node) in m.list("messages").unwrap_or_default().into_iter().enumerate() {
        let read = message(node, &mut request.others);
        request.messages.push(read.map_err(|unfit| Unfit::new(format!("{} in messages[{place}]", unfit.what)))?);
    }
    for (place, node) in m.list("tools").unwrap_or_default().into_iter().enumerate() {
        let read = tool(node, &mut request.others);
        request.tools.push(read.map_err(|unfit| Unfit::new(format!("{} as tools[{place}]", unfit.what)))?);
    }
    if let Some(node) = m.take("tool_choice") {
        let (choice, parallel) = tool_choice(node).ok_or_else(|| odd("tool_choice"))?;
        (request.tool_choice, request.parallel_calls) = (Some(choice), parallel);
    }
    request.max_tokens = m.take("max_tokens").map(|node| node.count().ok_or_else(|| odd("max_tokens"))).transpose()?;
    request.temperature = number(&mut m, "temperature")?;
    request.top_p = number(&mut m, "top_p")?;
    request.top_k = m.take("top_k").map(|node| node.count().ok_or_else(|| odd("top_k"))).transpose()?;
    let stops = m.list("stop_sequences").unwrap_or_default();
    request.stop = stops.into_iter().map(|item| item.text().ok_or_else(|| odd("stop_sequences"))).collect::<Result<_, _>>()?;
    request.thinking = m.take("thinking").map(|node| thinking(node).ok_or_else(|| odd("thinking"))).transpose()?;
    if let Some(config) = m.object("output_config") {
        output_config(config, &mut request)?;
    }
    request.user = m.object("metadata").and_then(|mut m| m.text("user_id"));
    request.stream = m.take("stream").and_then(Node::truth).unwrap_or(false);
    m.take("models"); // the gateway's own business
    request.others.extend(m.rest().map(|(name, _)| Other { harmless: HARMLESS.contains(&&*name), name }));
    Ok(request)
}

/// A field whose value isn't what it should be.
fn odd(name: &str) -> Unfit {
    Unfit::new(format!("the value of {name}"))
}

fn number<'a>(m: &mut Members<'a>, name: &str) -> Result<Option<Words<'a>>, Unfit> {
    m.take(name).map(|node| node.number().map(Cow::Borrowed).ok_or_else(|| odd(name))).transpose()
}

fn output_config<'a>(mut m: Members<'a>, request: &mut Request<'a>) -> Result<(), Unfit> {
    if let Some(effort) = m.text("effort") {
        request.effort = Some(Effort::named(&effort).ok_or_else(|| odd("output_config.effort"))?);
    }
    if let Some(mut format) = m.object("format") {
        let schema = format.take("schema").ok_or_else(|| odd("output_config.format"))?;
        request.format = Some(Format::Schema { name: None, description: None, schema: Cow::Borrowed(schema.raw()), strict: Some(true) });
    }
    request.others.extend(m.rest().map(|(name, _)| Other { name: Cow::Owned(format!("output_config.{name}")), harmless: false }));
    Ok(())
}

fn tool<'a>(node: Node<'a>, others: &mut Vec<Other<'a>>) -> Result<Tool<'a>, Unfit> {
    let mut m = node.members().ok_or_else(|| odd("tools"))?;
    if let Some(kind) = m.text("type").filter(|kind| kind != "custom") {
        return Err(Unfit::new(format!("a tool of type {kind:?}")));
    }
    let tool = Tool {
        name: m.text("name").ok_or_else(|| Unfit::new("a tool without a name"))?,
        description: m.text("description"),
        schema: m.take("input_schema").filter(|node| node.is_object()).map(|node| Cow::Borrowed(node.raw())),
        strict: m.take("strict").and_then(Node::truth),
        cache: m.take("cache_control").map(cache),
    };
    others.extend(m.rest().map(|(name, _)| Other { name: Cow::Owned(format!("tools[].{name}")), harmless: true }));
    Ok(tool)
}

/// The choice, and whether several calls may come at once.
fn tool_choice(node: Node<'_>) -> Option<(ToolChoice<'_>, Option<bool>)> {
    let mut m = node.members()?;
    let parallel = m.take("disable_parallel_tool_use").and_then(Node::truth).map(|disabled| !disabled);
    let choice = match &*m.text("type")? {
        "auto" => ToolChoice::Auto,
        "none" => ToolChoice::Never,
        "any" => ToolChoice::Any,
        "tool" => ToolChoice::Named(m.text("name")?),
        _ => return None,
    };
    Some((choice, parallel))
}

fn message<'a>(node: Node<'a>, others: &mut Vec<Other<'a>>) -> Result<Message<'a>, Unfit> {
    let mut m = node.members().ok_or_else(|| Unfit::new("what is no object"))?;
    let role = match m.text("role").as_deref() {
        Some("user") => Role::User,
        Some("assistant") => Role::Assistant,
        Some("system") => Role::System,
        other => return Err(Unfit::new(format!("the role {:?}", other.unwrap_or_default()))),
    };
    let mut parts = Vec::new();
    content(m.take("content").ok_or_else(|| Unfit::new("no content"))?, &mut parts, others)?;
    Ok(Message { role, name: None, parts })
}

fn content<'a>(node: Node<'a>, parts: &mut Vec<Part<'a>>, others: &mut Vec<Other<'a>>) -> Result<(), Unfit> {
    if let Some(text) = node.text() {
        parts.extend((!text.is_empty()).then_some(Part::Text { text, cache: None }));
        return Ok(());
    }
    for item in node.items().ok_or_else(|| Unfit::new("content that is neither text nor blocks"))? {
        parts.push(block(item, others)?);
    }
    Ok(())
}

fn block<'a>(node: Node<'a>, others: &mut Vec<Other<'a>>) -> Result<Part<'a>, Unfit> {
    let mut m = node.members().ok_or_else(|| Unfit::new("a block that is no object"))?;
    let kind = m.text("type").unwrap_or_default();
    let wrong = || Unfit::new(format!("a block of type {kind:?} as it is written"));
    let cache = m.take("cache_control").map(cache);
    let part = match &*kind {
        "text" => Part::Text { text: m.text("text").ok_or_else(wrong)?, cache },
        "image" => Part::Image { source: source(&mut m).ok_or_else(wrong)?, detail: None, cache },
        "document" => Part::File { source: source(&mut m).ok_or_else(wrong)?, name: m.text("title"), cache },
        "tool_use" => Part::Call {
            id: m.text("id").ok_or_else(wrong)?,
            name: m.text("name").ok_or_else(wrong)?,
            arguments: m.take("input").map_or(Cow::Borrowed("{}"), |input| Cow::Borrowed(input.raw())),
            cache,
        },
        "tool_result" => {
            let mut parts = Vec::new();
            if let Some(inner) = m.take("content") {
                content(inner, &mut parts, others)?;
            }
            let failed = m.take("is_error").and_then(Node::truth).unwrap_or(false);
            Part::Result { id: m.text("tool_use_id").ok_or_else(wrong)?, parts, failed, cache }
        }
        "thinking" => Part::Thinking { text: m.text("thinking").unwrap_or_default(), signature: m.text("signature") },
        "redacted_thinking" => Part::Redacted(m.text("data").ok_or_else(wrong)?),
        _ => return Err(Unfit::new(format!("a block of type {kind:?}"))),
    };
    // `citations`, `context`, `caller`: how a block came about, or what the answer is to say of it.
    others.extend(m.rest().map(|(name, _)| Other { name: Cow::Owned(format!("content[].{name}")), harmless: true }));
    Ok(part)
}

fn source<'a>(m: &mut Members<'a>) -> Option<Source<'a>> {
    let mut m = m.object("source")?;
    match &*m.text("type")? {
        "base64" => Some(Source::Inline { media: m.text("media_type")?, data: m.text("data")? }),
        "url" => m.text("url").map(Source::Url),
        "file" => m.text("file_id").map(|id| Source::Stored { of: Wire::Anthropic, id }),
        "text" => m.text("data").map(Source::Text),
        _ => None,
    }
}

pub(super) fn answer(body: &[u8]) -> Result<Answer<'_>, Misread> {
    let mut m = Node::object(body).ok_or(Misread)?;
    let blocks = m.list("content").ok_or(Misread)?;
    let finish = m.text("stop_reason").map_or(Finish::Stop, |reason| finish(&reason));
    let mut unread = Vec::new();
    // A block that the shape doesn't have tells of what the vendor's own tools did.
    let parts = blocks.into_iter().filter_map(|node| block(node, &mut unread).ok()).collect();
    let choice = Choice { parts, finish, stop: m.text("stop_sequence") };
    let mut spent = SpentSoFar::default();
    let usage = m.take("usage").map(|usage| spent.note(usage));
    Ok(Answer {
        id: m.text("id").unwrap_or_default(),
        model: m.text("model").unwrap_or_default(),
        created: None,
        choices: vec![choice],
        spent: usage.and_then(|()| spent.spent()),
    })
}

/// What a stream's `usage` objects have said so far: each later one only says what changed. A number that can't be one of
/// tokens makes all of it worthless.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct SpentSoFar {
    input: Option<u64>,
    output: Option<u64>,
    cache_read: u64,
    cache_write: u64,
    reasoning: u64,
    absurd: bool,
}

/// No call uses more tokens than this.
const MOST: u64 = 1 << 30;

impl SpentSoFar {
    pub(super) fn note(&mut self, usage: Node<'_>) {
        let Some(mut m) = usage.members() else { return };
        let mut read = |m: &mut Members<'_>, name: &str| {
            let count = m.take(name).map(|node| node.count().filter(|count| *count <= MOST));
            self.absurd |= count == Some(None);
            count.flatten()
        };
        let input = read(&mut m, "input_tokens");
        let output = read(&mut m, "output_tokens");
        let cache_read = read(&mut m, "cache_read_input_tokens");
        let cache_write = read(&mut m, "cache_creation_input_tokens");
        let reasoning = m.object("output_tokens_details").and_then(|mut m| read(&mut m, "thinking_tokens"));
        self.input = input.or(self.input);
        self.output = output.or(self.output);
        self.cache_read = cache_read.unwrap_or(self.cache_read);
        self.cache_write = cache_write.unwrap_or(self.cache_write);
        self.reasoning = reasoning.unwrap_or(self.reasoning);
    }

    /// All of it: what was read from and written to the cache is part of the prompt, though Anthropic counts it apart.
    pub(super) fn spent(&self) -> Option<Usage> {
        let (input, output) = (self.input?, self.output?);
        let usage = Usage {
            input: input + self.cache_read + self.cache_write,
            output,
            cached: self.cache_read,
            cache_write: self.cache_write,
            reasoning: self.reasoning.min(output),
            ..Usage::default()
        };
        (!self.absurd).then_some(usage)
    }
}
