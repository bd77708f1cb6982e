//! Responses read into the neutral shape: requests of callers, answers of those who speak it themselves.
//!
//! Everything is read or told, as in Chat Completions. What needs the vendor's store (`previous_response_id`, `conversation`,
//! `store`, items by reference, prompts by id) or runs on (`background`) can't be said otherwise.
//! <https://platform.openai.com/docs/api-reference/responses/create>

use std::borrow::Cow;

use super::types::{asks_nothing, finish, is_harmless, thought};
use crate::dialect::allowed::allowed_tools;
use crate::dialect::chat::{Answer, Choice, Effort, Format, Message, Other, Part, Request, Role, Source, Tool, ToolChoice, Words};
use crate::dialect::node::{Members, Node};
use crate::dialect::openai::located;
use crate::dialect::seam::{Misread, Unfit};
use crate::dialect::{Wire, usage};

/// What only the vendor that keeps answers can do, each by what it asks for.
const KEPT: &[(&str, &str)] = &[
    ("previous_response_id", "`previous_response_id`: it keeps no responses"),
    ("conversation", "`conversation`: it keeps no conversations"),
    ("prompt", "`prompt`: it keeps no prompts"),
    ("store", "`store`: it keeps no responses"),
    ("background", "`background`: it keeps no responses"),
];

/// Whether a request asks in so many words for an answer that its vendor keeps: half of one can't be, wherever the rest comes from.
pub fn is_to_be_kept(body: &[u8]) -> bool {
    let m = Node::whole(body).and_then(Node::members);
    let asks = |mut m: Members<'_>| {
        let truth = |node: Option<Node<'_>>| node.and_then(Node::truth) == Some(true);
        truth(m.take("store")) || truth(m.take("background")) || m.take("conversation").is_some()
    };
    m.is_some_and(asks)
}

pub(super) fn request(body: &[u8]) -> Result<Request<'_>, Unfit> {
    let mut m = Node::object(body).ok_or_else(|| Unfit::new("a body that is no JSON object"))?;
    let mut request = Request { model: m.text("model").unwrap_or_default(), ..Request::default() };
    for (name, what) in KEPT {
        if m.take(name).is_some_and(|node| !asks_nothing(name, node.raw())) {
            return Err(Unfit::new(*what));
        }
    }
    if let Some(text) = m.take("instructions") {
        let text = text.text().ok_or_else(|| odd("instructions"))?;
        request.messages.push(Message { role: Role::System, name: None, parts: vec![Part::Text { text, cache: None }] });
    }
    input(m.take("input"), &mut request.messages)?;
    for (place, node) in m.list("tools").unwrap_or_default().into_iter().enumerate() {
        request.tools.push(tool(node).map_err(|unfit| Unfit::new(format!("{} as tools[{place}]", unfit.what)))?);
    }
    if let Some(node) = m.take("tool_choice") {
        request.tool_choice = Some(tool_choice(node, &mut request)?);
    }
    request.parallel_calls = m.take("parallel_tool_calls").and_then(Node::truth);
    request.max_tokens = m.take("max_output_tokens").map(|node| node.count().ok_or_else(|| odd("max_output_tokens"))).transpose()?;
    request.temperature = number(&mut m, "temperature")?;
    request.top_p = number(&mut m, "top_p")?;
    if let Some(mut text) = m.object("text") {
        request.format = text.take("format").map_or(Ok(None), format)?;
        others("text.", text, &mut request.others);
    }
    if let Some(mut reasoning) = m.object("reasoning") {
        request.effort = reasoning.text("effort").map(|name| Effort::named(&name).ok_or_else(|| odd("reasoning.effort"))).transpose()?;
        others("reasoning.", reasoning, &mut request.others);
    }
    include(&m.list("include").unwrap_or_default())?;
    request.user = m.text("user");
    request.stream = m.take("stream").and_then(Node::truth).unwrap_or(false);
    let rest = m.rest().filter(|(name, node)| !asks_nothing(name, node.raw()));
    request.others.extend(rest.map(|(name, _)| Other { harmless: is_harmless(&name), name }));
    Ok(request)
}

/// A field whose value isn't what it should be.
fn odd(name: &str) -> Unfit {
    Unfit::new(format!("the value of {name}"))
}

fn number<'a>(m: &mut Members<'a>, name: &str) -> Result<Option<Words<'a>>, Unfit> {
    m.take(name).map(|node| node.number().map(Cow::Borrowed).ok_or_else(|| odd(name))).transpose()
}

/// What is left of an object that only asks for a manner.
fn others<'a>(within: &str, rest: Members<'a>, others: &mut Vec<Other<'a>>) {
    others.extend(rest.rest().map(|(name, _)| Other { name: Cow::Owned(format!("{within}{name}")), harmless: true }));
}

/// What else the answer is to hold: of what comes from elsewhere there is nothing but thoughts' proofs, which come unasked.
fn include(wishes: &[Node<'_>]) -> Result<(), Unfit> {
    let probabilities = |node: &Node<'_>| node.text().as_deref() == Some("message.output_text.logprobs");
    if wishes.iter().any(probabilities) { Err(Unfit::new("`include` of message.output_text.logprobs")) } else { Ok(()) }
}

fn input<'a>(node: Option<Node<'a>>, messages: &mut Vec<Message<'a>>) -> Result<(), Unfit> {
    let Some(node) = node else { return Ok(()) };
    if let Some(text) = node.text() {
        messages.push(Message { role: Role::User, name: None, parts: vec![Part::Text { text, cache: None }] });
        return Ok(());
    }
    let first = messages.len();
    for (place, node) in node.items().ok_or_else(|| odd("input"))?.into_iter().enumerate() {
        let item = item(node).map_err(|unfit| Unfit::new(format!("{} as input[{place}]", unfit.what)))?;
        let Some(message) = item else { continue };
        match messages[first..].last_mut() {
            // What the assistant thinks, says and calls are items of one turn.
            Some(last) if last.role == Role::Assistant && message.role == Role::Assistant => last.parts.extend(message.parts),
            _ => messages.push(message),
        }
    }
    Ok(())
}

/// An item; None for one that says nothing here.
fn item(node: Node<'_>) -> Result<Option<Message<'_>>, Unfit> {
    let mut m = node.members().ok_or_else(|| Unfit::new("what is no object"))?;
    let kind = m.text("type").unwrap_or(Cow::Borrowed("message"));
    let said = |part| Some(Message { role: Role::Assistant, name: None, parts: vec![part] });
    match &*kind {
        "message" => message(m).map(Some),
        "function_call" => {
            let name = m.text("name").ok_or_else(|| Unfit::new("a call without a name"))?;
            let (id, arguments) = (m.text("call_id").unwrap_or_default(), m.text("arguments").unwrap_or_default());
            Ok(said(Part::Call { id, name, arguments, cache: None }))
        }
        "function_call_output" => {
            let id = m.text("call_id").ok_or_else(|| Unfit::new("a call's output without `call_id`"))?;
            let parts = content(m.take("output"))?;
            Ok(Some(Message { role: Role::User, name: None, parts: vec![Part::Result { id, parts, failed: false, cache: None }] }))
        }
        "reasoning" => Ok(reasoning(m).and_then(said)),
        "item_reference" => Err(Unfit::new("an item by its reference: it keeps none,")),
        other => Err(Unfit::new(format!("an item of type {other:?}"))),
    }
}

fn message(mut m: Members<'_>) -> Result<Message<'_>, Unfit> {
    let role = match m.text("role").as_deref() {
        Some("user") => Role::User,
        Some("assistant") => Role::Assistant,
        Some("system") => Role::System,
        Some("developer") => Role::Developer,
        other => return Err(Unfit::new(format!("the role {:?}", other.unwrap_or_default()))),
    };
    Ok(Message { role, name: None, parts: content(m.take("content"))? })
}

/// A summary of what was thought, else the thoughts themselves.
fn reasoning(mut m: Members<'_>) -> Option<Part<'_>> {
    let mut texts = |list: &str| {
        let items = m.list(list).unwrap_or_default();
        let mut texts: Vec<_> = items.into_iter().filter_map(|node| node.members()?.text("text")).filter(|text| !text.is_empty()).collect();
        if texts.len() == 1 { texts.remove(0) } else { Cow::Owned(texts.join("\n\n")) }
    };
    let (summary, content) = (texts("summary"), texts("content"));
    let text = if summary.is_empty() { content } else { summary };
    let encrypted = m.text("encrypted_content");
    thought(text, encrypted)
}

fn content(node: Option<Node<'_>>) -> Result<Vec<Part<'_>>, Unfit> {
    let Some(node) = node else { return Ok(Vec::new()) };
    if let Some(text) = node.text() {
        return Ok(if text.is_empty() { Vec::new() } else { vec![Part::Text { text, cache: None }] });
    }
    let parts = node.items().ok_or_else(|| Unfit::new("content that is neither text nor parts"))?;
    parts.into_iter().map(part).collect()
}

fn part(node: Node<'_>) -> Result<Part<'_>, Unfit> {
    let mut m = node.members().ok_or_else(|| Unfit::new("a part that is no object"))?;
    let kind = m.text("type").unwrap_or_default();
    let wrong = || Unfit::new(format!("a part of type {kind:?} as it is written"));
    match &*kind {
        "input_text" | "output_text" | "text" => Ok(Part::Text { text: m.text("text").ok_or_else(wrong)?, cache: None }),
        "refusal" => Ok(Part::Refusal(m.text("refusal").ok_or_else(wrong)?)),
        "input_image" => {
            let (url, id, detail) = (m.text("image_url"), m.text("file_id"), m.text("detail"));
            let source = url.map(located).or(id.map(stored)).ok_or_else(wrong)?;
            // What it is where nobody says.
            Ok(Part::Image { source, detail: detail.filter(|detail| detail != "auto"), cache: None })
        }
        "input_file" => {
            let name = m.text("filename");
            let source = match (m.text("file_data"), m.text("file_url"), m.text("file_id")) {
                (Some(data), ..) => located(data),
                (_, Some(url), _) => Source::Url(url),
                (.., Some(id)) => stored(id),
                _ => return Err(wrong()),
            };
            Ok(Part::File { source, name, cache: None })
        }
        "input_audio" => {
            let mut m = m.object("input_audio").ok_or_else(wrong)?;
            Ok(Part::Audio { format: m.text("format").ok_or_else(wrong)?, data: m.text("data").ok_or_else(wrong)? })
        }
        _ => Err(Unfit::new(format!("a part of type {kind:?}"))),
    }
}

/// A file in OpenAI's store, which its chats share.
fn stored(id: Words<'_>) -> Source<'_> {
    Source::Stored { of: Wire::OpenAi, id }
}

fn tool(node: Node<'_>) -> Result<Tool<'_>, Unfit> {
    let mut m = node.members().ok_or_else(|| odd("tools"))?;
    match m.text("type").as_deref() {
        Some("function") => {}
        Some("custom") => return Err(Unfit::new("a tool of type \"custom\", whose input is no JSON,")),
        other => return Err(Unfit::new(format!("a tool of type {:?}, which only OpenAI's own servers run,", other.unwrap_or_default()))),
    }
    Ok(Tool {
        name: m.text("name").ok_or_else(|| Unfit::new("a function without a name"))?,
        description: m.text("description"),
        schema: m.take("parameters").filter(|node| node.is_object()).map(|node| Cow::Borrowed(node.raw())),
        strict: m.take("strict").and_then(Node::truth),
        cache: None,
    })
}

fn tool_choice<'a>(node: Node<'a>, request: &mut Request<'a>) -> Result<ToolChoice<'a>, Unfit> {
    match node.text().as_deref() {
        Some("auto") => return Ok(ToolChoice::Auto),
        Some("none") => return Ok(ToolChoice::Never),
        Some("required") => return Ok(ToolChoice::Any),
        _ => {}
    }
    let mut m = node.members().ok_or_else(|| odd("tool_choice"))?;
    match m.text("type").as_deref() {
        Some("function") => m.text("name").map(ToolChoice::Named).ok_or_else(|| odd("tool_choice")),
        Some("allowed_tools") => allowed_tools(request, m),
        Some(kind) => Err(Unfit::new(format!("a tool_choice of type {kind:?}"))),
        None => Err(odd("tool_choice")),
    }
}

fn format(node: Node<'_>) -> Result<Option<Format<'_>>, Unfit> {
    let mut m = node.members().ok_or_else(|| odd("text.format"))?;
    match m.text("type").as_deref() {
        Some("text") => Ok(None),
        Some("json_object") => Ok(Some(Format::Object)),
        Some("json_schema") => Ok(Some(Format::Schema {
            name: m.text("name"),
            description: m.text("description"),
            schema: Cow::Borrowed(m.take("schema").ok_or_else(|| odd("text.format"))?.raw()),
            strict: m.take("strict").and_then(Node::truth),
        })),
        _ => Err(odd("text.format")),
    }
}

pub(super) fn answer(body: &[u8]) -> Result<Answer<'_>, Misread> {
    let mut m = Node::object(body).ok_or(Misread)?;
    let mut parts = Vec::new();
    for node in m.list("output").ok_or(Misread)? {
        // What its own tools did is no part of what is said.
        if let Ok(Some(message)) = item(node) {
            parts.extend(message.parts);
        }
    }
    let called = parts.iter().any(|part| matches!(part, Part::Call { .. }));
    let reason = m.object("incomplete_details").and_then(|mut details| details.text("reason"));
    let finish = finish(m.text("status").as_deref(), reason.as_deref(), called);
    Ok(Answer {
        id: m.text("id").unwrap_or_default(),
        model: m.text("model").unwrap_or_default(),
        created: m.count("created_at"),
        choices: vec![Choice { parts, finish, stop: None }],
        spent: m.take("usage").and_then(|node| usage(node.raw().as_bytes())),
    })
}
