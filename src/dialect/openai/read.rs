//! Chat Completions read into the neutral shape: requests of callers, answers of upstreams.
//!
//! Of a request everything is read or told: a field that the shape doesn't have is on the list of others, a value that it
//! can't hold makes the request unfit for other dialects. Of an answer what the shape has is taken and the rest passed.
//! <https://platform.openai.com/docs/api-reference/chat>; reasoning as DeepSeek (`reasoning_content`), OpenRouter
//! (`reasoning`) and LiteLLM (`thinking_blocks`) write it, caching marks as OpenRouter and LiteLLM do.

use std::borrow::Cow;

use super::types::{asks_nothing, finish, is_harmless, role};
use crate::dialect::allowed::allowed_tools;
use crate::dialect::anthropic::{cache, thinking};
use crate::dialect::chat::{Answer, Choice, Effort, Finish, Format, Message, Other, Part, Request, Role, Source, Tool, ToolChoice, Words};
use crate::dialect::node::{Members, Node};
use crate::dialect::seam::{Misread, Unfit};
use crate::dialect::{Wire, usage};

/// Members of a message that repeat what was answered before, and that no target needs.
const ECHOED: &[&str] = &["annotations", "reasoning_details", "id", "created", "metadata"];

pub(super) fn request(body: &[u8]) -> Result<Request<'_>, Unfit> {
    let members = Node::object(body).ok_or_else(|| Unfit::new("a body that is no JSON object"))?;
    let mut m = members;
    let mut request = Request { model: m.text("model").unwrap_or_default(), ..Request::default() };
    for (place, node) in m.list("messages").unwrap_or_default().into_iter().enumerate() {
        let message = message(node, &mut request.others).map_err(|unfit| Unfit::new(format!("{} in messages[{place}]", unfit.what)))?;
        request.messages.push(message);
    }
    for (place, node) in m.list("tools").unwrap_or_default().into_iter().enumerate() {
        request.tools.push(tool(node).map_err(|unfit| Unfit::new(format!("{} as tools[{place}]", unfit.what)))?);
    }
    if let Some(node) = m.take("tool_choice") {
        request.tool_choice = Some(tool_choice(node, &mut request)?);
    }
    request.parallel_calls =
        m.take("parallel_tool_calls").map(|node| node.truth().ok_or_else(|| odd("parallel_tool_calls"))).transpose()?;
    let (most, most_of_old) = (count(&mut m, "max_completion_tokens")?, count(&mut m, "max_tokens")?);
    request.max_tokens = most.or(most_of_old);
    request.temperature = number(&mut m, "temperature")?;
    request.top_p = number(&mut m, "top_p")?;
    request.top_k = count(&mut m, "top_k")?;
    request.seed = number(&mut m, "seed")?;
    request.presence_penalty = number(&mut m, "presence_penalty")?;
    request.frequency_penalty = number(&mut m, "frequency_penalty")?;
    request.stop = m.take("stop").map_or(Ok(Vec::new()), stop)?;
    request.choices = count(&mut m, "n")?.filter(|n| *n != 1);
    request.logprobs = logprobs(&mut m)?;
    request.format = m.take("response_format").map_or(Ok(None), format)?;
    request.effort = m.take("reasoning_effort").map(effort).transpose()?;
    request.thinking = m.take("thinking").map(|node| thinking(node).ok_or_else(|| odd("thinking"))).transpose()?;
    request.user = m.text("user");
    request.stream = m.take("stream").and_then(Node::truth).unwrap_or(false);
    let options = m.object("stream_options");
    request.tell_usage = options.and_then(|mut m| m.take("include_usage")).and_then(Node::truth).unwrap_or(false);
    let rest = m.rest().filter(|(name, node)| !asks_nothing(name, node.raw()));
    request.others.extend(rest.map(|(name, _)| Other { harmless: is_harmless(&name), name }));
    Ok(request)
}

/// A field whose value isn't what it should be.
fn odd(name: &str) -> Unfit {
    Unfit::new(format!("the value of {name}"))
}

fn count(m: &mut Members<'_>, name: &str) -> Result<Option<u64>, Unfit> {
    m.take(name).map(|node| node.count().ok_or_else(|| odd(name))).transpose()
}

fn number<'a>(m: &mut Members<'a>, name: &str) -> Result<Option<Words<'a>>, Unfit> {
    m.take(name).map(|node| node.number().map(Cow::Borrowed).ok_or_else(|| odd(name))).transpose()
}

fn stop(node: Node<'_>) -> Result<Vec<Words<'_>>, Unfit> {
    match node.items() {
        None => Ok(vec![node.text().ok_or_else(|| odd("stop"))?]),
        Some(items) => items.into_iter().map(|item| item.text().ok_or_else(|| odd("stop"))).collect(),
    }
}

fn logprobs(m: &mut Members<'_>) -> Result<Option<u64>, Unfit> {
    let (asked, top) = (m.take("logprobs").and_then(Node::truth), count(m, "top_logprobs")?);
    Ok((asked == Some(true)).then(|| top.unwrap_or(0)))
}

fn effort(node: Node<'_>) -> Result<Effort, Unfit> {
    node.text().and_then(|name| Effort::named(&name)).ok_or_else(|| odd("reasoning_effort"))
}

fn format(node: Node<'_>) -> Result<Option<Format<'_>>, Unfit> {
    let wrong = || odd("response_format");
    let mut m = node.members().ok_or_else(wrong)?;
    match m.text("type").as_deref() {
        Some("text") => Ok(None),
        Some("json_object") => Ok(Some(Format::Object)),
        Some("json_schema") => {
            let mut m = m.object("json_schema").ok_or_else(wrong)?;
            let schema = m.take("schema").ok_or_else(wrong)?;
            Ok(Some(Format::Schema {
                name: m.text("name"),
                description: m.text("description"),
                schema: Cow::Borrowed(schema.raw()),
                strict: m.take("strict").and_then(Node::truth),
            }))
        }
        _ => Err(wrong()),
    }
}

fn tool(node: Node<'_>) -> Result<Tool<'_>, Unfit> {
    let mut m = node.members().ok_or_else(|| odd("tools"))?;
    match m.text("type").as_deref() {
        Some("function") => {}
        Some(other) => return Err(Unfit::new(format!("a tool of type {other:?}"))),
        None => return Err(Unfit::new("a tool without a type")),
    }
    let cache = m.take("cache_control").map(cache);
    let mut m = m.object("function").ok_or_else(|| Unfit::new("a tool without a function"))?;
    Ok(Tool {
        name: m.text("name").ok_or_else(|| Unfit::new("a function without a name"))?,
        description: m.text("description"),
        schema: m.take("parameters").filter(|node| node.is_object()).map(|node| Cow::Borrowed(node.raw())),
        strict: m.take("strict").and_then(Node::truth),
        cache,
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
    if let Some(allowed) = m.object("allowed_tools") {
        return allowed_tools(request, allowed);
    }
    let name = m.object("function").and_then(|mut function| function.text("name"));
    name.map(ToolChoice::Named).ok_or_else(|| odd("tool_choice"))
}

fn message<'a>(node: Node<'a>, others: &mut Vec<Other<'a>>) -> Result<Message<'a>, Unfit> {
    let mut m = node.members().ok_or_else(|| Unfit::new("what is no object"))?;
    let role_name = m.text("role").unwrap_or_default();
    let mark = m.take("cache_control").map(cache);
    let mut message = match &*role_name {
        "tool" => tool_message(&mut m)?,
        name => {
            let role = role(name).ok_or_else(|| Unfit::new(format!("the role {name:?}")))?;
            let mut message = Message { role, name: m.text("name"), parts: Vec::new() };
            if role == Role::Assistant {
                thoughts(&mut m, &mut message.parts);
            }
            content(m.take("content"), &mut message.parts)?;
            if role == Role::Assistant {
                spoken(&mut m, &mut message.parts)?;
            }
            message
        }
    };
    if let (Some(mark), Some(last)) = (mark, message.parts.last_mut().and_then(Part::cache_mut)) {
        *last = Some(mark);
    }
    for (name, _) in m.rest() {
        match &*name {
            "audio" | "function_call" => return Err(Unfit::new(format!("`{name}`"))),
            name if ECHOED.contains(&name) => {}
            _ => others.push(Other { name: Cow::Owned(format!("messages[].{name}")), harmless: true }),
        }
    }
    Ok(message)
}

fn tool_message<'a>(m: &mut Members<'a>) -> Result<Message<'a>, Unfit> {
    let id = m.text("tool_call_id").ok_or_else(|| Unfit::new("a tool's result without `tool_call_id`"))?;
    let mut parts = Vec::new();
    content(m.take("content"), &mut parts)?;
    m.take("name"); // the call has it
    Ok(Message { role: Role::User, name: None, parts: vec![Part::Result { id, parts, failed: false, cache: None }] })
}

/// An assistant's thoughts stand before what it said: with their proof where somebody kept it, else as plain text.
fn thoughts<'a>(m: &mut Members<'a>, parts: &mut Vec<Part<'a>>) {
    let plain = [m.text("reasoning_content"), m.text("reasoning")];
    let blocks = m.list("thinking_blocks").unwrap_or_default();
    parts.extend(blocks.into_iter().filter_map(thinking_block));
    if parts.is_empty() {
        let text = plain.into_iter().flatten().find(|text| !text.is_empty());
        parts.extend(text.map(|text| Part::Thinking { text, signature: None }));
    }
}

fn thinking_block(node: Node<'_>) -> Option<Part<'_>> {
    let mut m = node.members()?;
    match &*m.text("type")? {
        "thinking" => Some(Part::Thinking { text: m.text("thinking").unwrap_or_default(), signature: m.text("signature") }),
        "redacted_thinking" => m.text("data").map(Part::Redacted),
        _ => None,
    }
}

/// What an assistant's message has beside its content.
fn spoken<'a>(m: &mut Members<'a>, parts: &mut Vec<Part<'a>>) -> Result<(), Unfit> {
    parts.extend(m.text("refusal").filter(|text| !text.is_empty()).map(Part::Refusal));
    for node in m.list("tool_calls").unwrap_or_default() {
        parts.push(call(node).ok_or_else(|| Unfit::new("a call that isn't a function's"))?);
    }
    Ok(())
}

fn call(node: Node<'_>) -> Option<Part<'_>> {
    let mut m = node.members()?;
    let id = m.text("id").unwrap_or_default();
    let mut function = m.object("function")?;
    let name = function.text("name")?;
    // Some write the arguments as an object.
    let arguments = function.take("arguments").map(|node| node.text().unwrap_or(Cow::Borrowed(node.raw())));
    Some(Part::Call { id, name, arguments: arguments.unwrap_or_default(), cache: None })
}

fn content<'a>(node: Option<Node<'a>>, parts: &mut Vec<Part<'a>>) -> Result<(), Unfit> {
    let Some(node) = node else { return Ok(()) };
    if let Some(text) = node.text() {
        parts.extend((!text.is_empty()).then_some(Part::Text { text, cache: None }));
        return Ok(());
    }
    for item in node.items().ok_or_else(|| Unfit::new("content that is neither text nor parts"))? {
        parts.push(part(item)?);
    }
    Ok(())
}

fn part(node: Node<'_>) -> Result<Part<'_>, Unfit> {
    let mut m = node.members().ok_or_else(|| Unfit::new("a part that is no object"))?;
    let kind = m.text("type").unwrap_or_default();
    let wrong = || Unfit::new(format!("a part of type {kind:?} as it is written"));
    let cache = m.take("cache_control").map(cache);
    match &*kind {
        "text" => Ok(Part::Text { text: m.text("text").ok_or_else(wrong)?, cache }),
        "refusal" => Ok(Part::Refusal(m.text("refusal").ok_or_else(wrong)?)),
        "image_url" => {
            let image = m.take("image_url").ok_or_else(wrong)?;
            let (url, detail) = match image.members() {
                Some(mut m) => (m.text("url"), m.text("detail")),
                None => (image.text(), None),
            };
            Ok(Part::Image { source: located(url.ok_or_else(wrong)?), detail, cache })
        }
        "input_audio" => {
            let mut m = m.object("input_audio").ok_or_else(wrong)?;
            Ok(Part::Audio { format: m.text("format").ok_or_else(wrong)?, data: m.text("data").ok_or_else(wrong)? })
        }
        "file" => {
            let mut m = m.object("file").ok_or_else(wrong)?;
            let source = match (m.text("file_data"), m.text("file_id")) {
                (Some(data), _) => located(data),
                (None, id) => Source::Stored { of: Wire::OpenAi, id: id.ok_or_else(wrong)? },
            };
            Ok(Part::File { source, name: m.text("filename"), cache })
        }
        _ => Err(Unfit::new(format!("a part of type {kind:?}"))),
    }
}

/// A `data:` URL's content, or where another URL points.
pub(in crate::dialect) fn located(url: Words<'_>) -> Source<'_> {
    let cut = url.strip_prefix("data:").and_then(|rest| {
        let (media, data) = rest.split_once(";base64,")?;
        Some((5..5 + media.len(), url.len() - data.len()..url.len()))
    });
    let Some((media, data)) = cut else { return Source::Url(url) };
    match url {
        Cow::Borrowed(url) => Source::Inline { media: Cow::Borrowed(&url[media]), data: Cow::Borrowed(&url[data]) },
        Cow::Owned(url) => Source::Inline { media: Cow::Owned(url[media].to_owned()), data: Cow::Owned(url[data].to_owned()) },
    }
}

pub(super) fn answer(body: &[u8]) -> Result<Answer<'_>, Misread> {
    let mut m = Node::object(body).ok_or(Misread)?;
    let choices = m.list("choices").ok_or(Misread)?;
    Ok(Answer {
        id: m.text("id").unwrap_or_default(),
        model: m.text("model").unwrap_or_default(),
        created: m.count("created"),
        choices: choices.into_iter().map(choice).collect::<Option<_>>().ok_or(Misread)?,
        spent: m.take("usage").and_then(|node| usage(node.raw().as_bytes())),
    })
}

fn choice(node: Node<'_>) -> Option<Choice<'_>> {
    let mut m = node.members()?;
    let mut message = m.object("message")?;
    let mut parts = Vec::new();
    thoughts(&mut message, &mut parts);
    content(message.take("content"), &mut parts).ok()?;
    spoken(&mut message, &mut parts).ok()?;
    let finish = m.text("finish_reason").map_or(Finish::Stop, |reason| finish(&reason));
    // vLLM's name for the stop text.
    let stop = m.text("stop_reason").filter(|_| finish == Finish::Stop);
    Some(Choice { parts, finish: if stop.is_some() { Finish::StopText } else { finish }, stop })
}
