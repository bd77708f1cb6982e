//! The Gemini API read into the neutral shape: requests of callers, answers of upstreams.
//!
//! Of a request everything is read or told; its names may be written in either of protobuf's two ways (`systemInstruction`,
//! `system_instruction`). Calls have ids only since Gemini 3: where they are missing they are made, in order, so that each
//! result finds its call. A proof stands on the part that it proves; here it stands before it, with the thoughts.
//! <https://ai.google.dev/api/generate-content>, <https://ai.google.dev/gemini-api/docs/function-calling>

use std::borrow::Cow;

use super::schema::json_schema;
use super::types::{Ended, finish, media, proof};
use crate::dialect::Usage;
use crate::dialect::chat::{
    Answer, Choice, Effort, Finish, Format, Json, Message, Other, Part, Request, Role, Source, Thinking, Tool, ToolChoice, Words,
};
use crate::dialect::node::{Members, Node};
use crate::dialect::seam::{Misread, Unfit};

/// Fields without which the answer means the same: how it is filtered, billed or filed.
const HARMLESS: &[&str] = &["labels", "safetySettings", "serviceTier", "store"];
/// The same of `generationConfig`.
const HARMLESS_CONFIG: &[&str] = &["enableEnhancedCivicAnswers", "mediaResolution", "propertyOrdering"];

pub(super) fn request(body: &[u8]) -> Result<Request<'_>, Unfit> {
    let mut m = Node::object(body).ok_or_else(|| Unfit::new("a body that is no JSON object"))?;
    let mut request = Request { model: m.text("model").unwrap_or_default(), ..Request::default() };
    if let Some(system) = take(&mut m, "systemInstruction") {
        let parts = instructions(system).ok_or_else(|| Unfit::new("instructions that aren't text"))?;
        request.messages.push(Message { role: Role::System, name: None, parts });
    }
    let mut reader = Contents::default();
    for (place, node) in m.list("contents").unwrap_or_default().into_iter().enumerate() {
        let read = reader.message(node, &mut request.others);
        request.messages.push(read.map_err(|unfit| Unfit::new(format!("{} in contents[{place}]", unfit.what)))?);
    }
    for node in m.list("tools").unwrap_or_default() {
        tools(node, &mut request)?;
    }
    if let Some(config) = take(&mut m, "toolConfig").and_then(Node::members) {
        tool_config(config, &mut request)?;
    }
    if let Some(config) = take(&mut m, "generationConfig").and_then(Node::members) {
        generation_config(config, &mut request)?;
    }
    m.take("models"); // the gateway's own business
    request.others.extend(m.rest().map(|(name, _)| Other { harmless: HARMLESS.contains(&&*camel(&name)), name }));
    Ok(request)
}

/// Takes a member by either of its names.
fn take<'a>(m: &mut Members<'a>, name: &str) -> Option<Node<'a>> {
    m.take(name).or_else(|| m.take(&snake(name)))
}

fn text<'a>(m: &mut Members<'a>, name: &str) -> Option<Words<'a>> {
    take(m, name)?.text()
}

fn snake(name: &str) -> String {
    let mut snake = String::with_capacity(name.len() + 4);
    for letter in name.chars() {
        if letter.is_ascii_uppercase() {
            snake.push('_');
        }
        snake.push(letter.to_ascii_lowercase());
    }
    snake
}

/// Either of a member's names as JSON writes it.
fn camel(name: &str) -> Cow<'_, str> {
    super::schema::camel(name)
}

/// A field whose value isn't what it should be.
fn odd(name: &str) -> Unfit {
    Unfit::new(format!("the value of {name}"))
}

fn count(m: &mut Members<'_>, name: &str) -> Result<Option<u64>, Unfit> {
    // Protobuf's parser takes `40.0` for an integer.
    let read = |node: Node<'_>| node.count().or_else(|| node.raw().strip_suffix(".0")?.parse().ok());
    take(m, name).map(|node| read(node).ok_or_else(|| odd(name))).transpose()
}

fn number<'a>(m: &mut Members<'a>, name: &str) -> Result<Option<Words<'a>>, Unfit> {
    take(m, name).map(|node| node.number().map(Cow::Borrowed).ok_or_else(|| odd(name))).transpose()
}

/// What `systemInstruction` says: a content, or a text alone, as some send it.
fn instructions(node: Node<'_>) -> Option<Vec<Part<'_>>> {
    if let Some(text) = node.text() {
        return Some(vec![Part::Text { text, cache: None }]);
    }
    let parts = node.members()?.list("parts")?;
    parts.into_iter().map(|part| Some(Part::Text { text: part.members()?.text("text")?, cache: None })).collect()
}

fn tools<'a>(node: Node<'a>, request: &mut Request<'a>) -> Result<(), Unfit> {
    let mut m = node.members().ok_or_else(|| odd("tools"))?;
    for node in take(&mut m, "functionDeclarations").and_then(Node::items).unwrap_or_default() {
        let mut m = node.members().ok_or_else(|| odd("tools[].functionDeclarations"))?;
        let schema = take(&mut m, "parametersJsonSchema").map(|node| Cow::Borrowed(node.raw()));
        let schema = schema.or_else(|| m.take("parameters").map(json_schema));
        request.tools.push(Tool {
            name: m.text("name").ok_or_else(|| Unfit::new("a function without a name"))?,
            description: m.text("description"),
            schema,
            strict: None,
            cache: None,
        });
        // `response`, `behavior`: what it gives back, and how a live session waits for it.
        request
            .others
            .extend(m.rest().map(|(name, _)| Other { name: format!("tools[].functionDeclarations[].{name}").into(), harmless: true }));
    }
    match m.rest().next() {
        Some((name, _)) => Err(Unfit::new(format!("the tool `{name}`"))),
        None => Ok(()),
    }
}

fn tool_config<'a>(mut m: Members<'a>, request: &mut Request<'a>) -> Result<(), Unfit> {
    if let Some(mut m) = take(&mut m, "functionCallingConfig").and_then(Node::members) {
        let names = take(&mut m, "allowedFunctionNames").and_then(Node::items).unwrap_or_default();
        let names: Vec<_> = names.into_iter().filter_map(Node::text).collect();
        let all = request.tools.iter().all(|tool| names.contains(&tool.name));
        let mode = m.text("mode").unwrap_or_default();
        let narrowed = !names.is_empty() && !all;
        request.tool_choice = match (&*mode, &names[..]) {
            ("ANY", [name]) if narrowed || request.tools.len() == 1 => Some(ToolChoice::Named(name.clone())),
            ("ANY", _) if !narrowed => Some(ToolChoice::Any),
            ("NONE", _) => Some(ToolChoice::Never),
            // That arguments follow their schema: others ask more of a schema to promise it.
            ("AUTO", _) => Some(ToolChoice::Auto),
            ("VALIDATED", _) if !narrowed => Some(ToolChoice::Auto),
            ("" | "MODE_UNSPECIFIED", _) => None,
            ("ANY" | "VALIDATED", names) => {
                request.allow(names)?;
                Some(if mode == "ANY" { ToolChoice::Any } else { ToolChoice::Auto })
            }
            _ => return Err(Unfit::new(format!("the mode {mode:?} of calls"))),
        };
    }
    request.others.extend(m.rest().map(|(name, _)| Other { name: format!("toolConfig.{name}").into(), harmless: false }));
    Ok(())
}

fn generation_config<'a>(mut m: Members<'a>, request: &mut Request<'a>) -> Result<(), Unfit> {
    request.max_tokens = count(&mut m, "maxOutputTokens")?;
    request.temperature = number(&mut m, "temperature")?;
    request.top_p = number(&mut m, "topP")?;
    request.top_k = count(&mut m, "topK")?;
    request.seed = number(&mut m, "seed")?;
    request.presence_penalty = number(&mut m, "presencePenalty")?;
    request.frequency_penalty = number(&mut m, "frequencyPenalty")?;
    request.choices = count(&mut m, "candidateCount")?.filter(|count| *count != 1);
    let stops = take(&mut m, "stopSequences").and_then(Node::items).unwrap_or_default();
    request.stop = stops.into_iter().map(|item| item.text().ok_or_else(|| odd("stopSequences"))).collect::<Result<_, _>>()?;
    request.format = format(&mut m)?;
    if let Some(config) = take(&mut m, "thinkingConfig").and_then(Node::members) {
        thinking(config, request)?;
    }
    // A neutral answer has no probabilities.
    if take(&mut m, "responseLogprobs").and_then(Node::truth) == Some(true) {
        return Err(Unfit::new("`responseLogprobs`"));
    }
    m.take("logprobs");
    let modalities = take(&mut m, "responseModalities").and_then(Node::items).unwrap_or_default();
    if modalities.into_iter().any(|item| item.text().is_none_or(|name| !name.eq_ignore_ascii_case("text"))) {
        return Err(Unfit::new("`responseModalities`"));
    }
    request.others.extend(
        m.rest().map(|(name, _)| Other {
            harmless: HARMLESS_CONFIG.contains(&&*camel(&name)),
            name: format!("generationConfig.{name}").into(),
        }),
    );
    Ok(())
}

fn format<'a>(m: &mut Members<'a>) -> Result<Option<Format<'a>>, Unfit> {
    let json: Option<Json<'a>> =
        take(m, "responseJsonSchema").or_else(|| m.take("_responseJsonSchema")).map(|node| Cow::Borrowed(node.raw()));
    let schema = json.or_else(|| take(m, "responseSchema").map(json_schema));
    match (text(m, "responseMimeType").as_deref(), schema) {
        (None | Some("text/plain"), None) => Ok(None),
        (Some("application/json"), None) => Ok(Some(Format::Object)),
        (None | Some("application/json"), Some(schema)) => Ok(Some(Format::Schema { name: None, description: None, schema, strict: None })),
        _ => Err(odd("generationConfig.responseMimeType")),
    }
}

fn thinking<'a>(mut m: Members<'a>, request: &mut Request<'a>) -> Result<(), Unfit> {
    let shown = take(&mut m, "includeThoughts").and_then(Node::truth).unwrap_or(false);
    let budget = take(&mut m, "thinkingBudget");
    request.thinking = match budget.map(Node::raw) {
        Some("-1") => Some(Thinking::Adaptive),
        Some("0") => Some(Thinking::Off),
        Some(_) => Some(Thinking::Budget(budget.and_then(Node::count).ok_or_else(|| odd("thinkingConfig.thinkingBudget"))?)),
        None => shown.then_some(Thinking::Adaptive),
    };
    if let Some(level) = text(&mut m, "thinkingLevel").filter(|level| level != "THINKING_LEVEL_UNSPECIFIED") {
        let effort = Effort::named(&level.to_ascii_lowercase()).ok_or_else(|| odd("thinkingConfig.thinkingLevel"))?;
        request.effort = Some(effort);
    }
    request.others.extend(m.rest().map(|(name, _)| Other { name: format!("thinkingConfig.{name}").into(), harmless: true }));
    Ok(())
}

/// The conversation being read, for the calls whose ids have to be made.
#[derive(Debug, Default)]
struct Contents<'a> {
    /// The calls so far that have no result: id and name.
    open: Vec<(Words<'a>, Words<'a>)>,
    /// How many calls there were.
    calls: usize,
}

impl<'a> Contents<'a> {
    fn message(&mut self, node: Node<'a>, others: &mut Vec<Other<'a>>) -> Result<Message<'a>, Unfit> {
        let mut m = node.members().ok_or_else(|| Unfit::new("what is no object"))?;
        let role = match m.text("role").as_deref() {
            None | Some("user" | "function") => Role::User,
            Some("model") => Role::Assistant,
            Some(other) => return Err(Unfit::new(format!("the role {other:?}"))),
        };
        let mut parts = Vec::new();
        for node in m.list("parts").unwrap_or_default() {
            let mut m = node.members().ok_or_else(|| Unfit::new("a part that is no object"))?;
            proven(&mut m, &mut parts);
            parts.extend(self.part(&mut m)?);
            // `videoMetadata` and the like: which of it is meant, and how closely it is looked at.
            others.extend(
                m.rest().map(|(name, _)| Other {
                    harmless: camel(&name) != "videoMetadata",
                    name: format!("contents[].parts[].{name}").into(),
                }),
            );
        }
        Ok(Message { role, name: None, parts })
    }

    fn part(&mut self, m: &mut Members<'a>) -> Result<Option<Part<'a>>, Unfit> {
        if let Some(call) = take(m, "functionCall").and_then(Node::members) {
            return self.call(call).map(Some);
        }
        if let Some(response) = take(m, "functionResponse").and_then(Node::members) {
            return self.result(response).map(Some);
        }
        if let Some(part) = said(m) {
            return Ok(Some(part));
        }
        if let Some(blob) = take(m, "inlineData").and_then(Node::members) {
            return inline(blob).map(Some).ok_or_else(|| odd("inlineData"));
        }
        if let Some(file) = take(m, "fileData").and_then(Node::members) {
            return located(file).map(Some);
        }
        // `executableCode` and the like: what Google's own tools did.
        match m.clone().rest().find(|(name, _)| name != "thought") {
            Some((name, _)) => Err(Unfit::new(format!("a part with `{name}`"))),
            None => Ok(None),
        }
    }

    fn call(&mut self, mut m: Members<'a>) -> Result<Part<'a>, Unfit> {
        let name = m.text("name").ok_or_else(|| Unfit::new("a call without a name"))?;
        let id = m.text("id").unwrap_or_else(|| made_id("", self.calls));
        self.calls += 1;
        self.open.push((id.clone(), name.clone()));
        Ok(Part::Call { id, name, arguments: arguments(&mut m), cache: None })
    }

    /// A result belongs to the call of its id, else to the first of its name that has none.
    fn result(&mut self, mut m: Members<'a>) -> Result<Part<'a>, Unfit> {
        let (id, name) = (m.text("id"), m.text("name").unwrap_or_default());
        let found = self.open.iter().position(|(known, of)| id.as_ref().map_or(*of == name, |id| id == known));
        let id = match (id, found.map(|place| self.open.remove(place))) {
            (Some(id), _) | (None, Some((id, _))) => id,
            (None, None) => return Err(Unfit::new(format!("a result of {name:?}, which wasn't called"))),
        };
        let (text, failed) = m.take("response").map_or((None, false), given_back);
        let mut parts: Vec<_> = text.into_iter().filter(|text| !text.is_empty()).map(|text| Part::Text { text, cache: None }).collect();
        for node in m.list("parts").unwrap_or_default() {
            let blob = node.members().and_then(|mut m| take(&mut m, "inlineData")?.members()).and_then(inline);
            parts.push(blob.ok_or_else(|| Unfit::new("a function's result that isn't here"))?);
        }
        Ok(Part::Result { id, parts, failed, cache: None })
    }
}

/// An id for the `place`th call of an answer, or of a request: such that every vendor takes.
pub(super) fn made_id(answer: &str, place: usize) -> Words<'static> {
    let plain: String = answer.chars().filter(|letter| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_')).take(24).collect();
    let between = if plain.is_empty() { "" } else { "_" };
    Cow::Owned(format!("call_{plain}{between}{place}"))
}

pub(super) fn arguments<'a>(m: &mut Members<'a>) -> Words<'a> {
    m.take("args").map_or(Cow::Borrowed("{}"), |args| Cow::Borrowed(args.raw()))
}

/// The proof that stands on a part, before it: with the thoughts that were told last, where these have none.
pub(super) fn proven<'a>(m: &mut Members<'a>, parts: &mut Vec<Part<'a>>) {
    let Some(proof) = text(m, "thoughtSignature").and_then(proof) else { return };
    match parts.last_mut() {
        Some(Part::Thinking { signature: signature @ None, .. }) => *signature = Some(proof),
        _ => parts.push(Part::Thinking { text: Cow::Borrowed(""), signature: Some(proof) }),
    }
}

/// A part that is text: words, or thoughts. None where there is no text, or nothing in it.
fn said<'a>(m: &mut Members<'a>) -> Option<Part<'a>> {
    let text = m.text("text")?;
    let thought = m.take("thought").and_then(Node::truth).unwrap_or(false);
    match (text.is_empty(), thought) {
        (true, _) => None,
        (false, true) => Some(Part::Thinking { text, signature: None }),
        (false, false) => Some(Part::Text { text, cache: None }),
    }
}

fn inline(mut m: Members<'_>) -> Option<Part<'_>> {
    let (media, data) = (text(&mut m, "mimeType")?, m.text("data")?);
    let name = text(&mut m, "displayName");
    Some(match media.split_once('/') {
        Some(("image", _)) => Part::Image { source: Source::Inline { media, data }, detail: None, cache: None },
        Some(("audio", format)) => {
            let format = match format {
                "mpeg" => "mp3",
                "x-wav" | "wave" => "wav",
                other => other,
            };
            Part::Audio { format: Cow::Owned(format.to_owned()), data }
        }
        _ => Part::File { source: Source::Inline { media, data }, name, cache: None },
    })
}

fn located(mut m: Members<'_>) -> Result<Part<'_>, Unfit> {
    let uri = text(&mut m, "fileUri").ok_or_else(|| odd("fileData"))?;
    // What was uploaded to Google, and what stands in its cloud.
    if !uri.starts_with("https://") || uri.starts_with("https://generativelanguage.googleapis.com/") {
        return Err(Unfit::new("a file in Google's store"));
    }
    let kind = text(&mut m, "mimeType").or_else(|| media(&uri).map(Cow::Borrowed)).unwrap_or_default();
    let source = Source::Url(uri);
    match kind.split('/').next() {
        Some("image") => Ok(Part::Image { source, detail: None, cache: None }),
        Some("video" | "audio") | None => Err(Unfit::new("a film or a sound by its URL")),
        Some(_) => Ok(Part::File { source, name: text(&mut m, "displayName"), cache: None }),
    }
}

/// What a function gave back, and whether that is an error: `output` and `error` are Google's own names for it, anything else
/// is what it is.
fn given_back(response: Node<'_>) -> (Option<Words<'_>>, bool) {
    let whole = || Cow::Borrowed(response.raw());
    let Some(m) = response.members() else { return (Some(whole()), false) };
    let members: Vec<_> = m.rest().collect();
    match &members[..] {
        [(name, value)] if name == "error" => (Some(value.text().unwrap_or(Cow::Borrowed(value.raw()))), true),
        [(name, value)] if name == "output" => (Some(value.text().unwrap_or_else(whole)), false),
        _ => (Some(whole()), false),
    }
}

/// What an event of a stream says, and whether it stood in a list, as an error may.
pub(super) fn event_members(data: &[u8]) -> Option<(Members<'_>, bool)> {
    match Node::object(data) {
        Some(members) => Some((members, false)),
        None => Some((Node::whole(data)?.items()?.first()?.members()?, true)),
    }
}

pub(super) fn answer(body: &[u8]) -> Result<Answer<'_>, Misread> {
    let mut m = Node::object(body).ok_or(Misread)?;
    let id = m.text("responseId").unwrap_or_default();
    let candidates = m.list("candidates").unwrap_or_default();
    let mut calls = 0;
    let mut choices: Vec<_> = candidates.into_iter().map(|node| choice(node, &id, &mut calls)).collect::<Result<_, _>>()?;
    if choices.is_empty() {
        choices.push(blocked(m.object("promptFeedback").as_mut()).ok_or(Misread)?);
    }
    let spent = m.take("usageMetadata").and_then(spent);
    Ok(Answer { model: m.text("modelVersion").unwrap_or_default(), created: None, choices, spent, id })
}

/// The answer to a prompt that was held back.
fn blocked<'a>(feedback: Option<&mut Members<'a>>) -> Option<Choice<'a>> {
    feedback?.text("blockReason")?;
    Some(Choice { parts: Vec::new(), finish: Finish::Filtered, stop: None })
}

fn choice<'a>(node: Node<'a>, id: &str, calls: &mut usize) -> Result<Choice<'a>, Misread> {
    let mut m = node.members().ok_or(Misread)?;
    let mut parts = Vec::new();
    for node in m.object("content").and_then(|mut content| content.list("parts")).unwrap_or_default() {
        let mut m = node.members().ok_or(Misread)?;
        proven(&mut m, &mut parts);
        if let Some(mut call) = m.object("functionCall") {
            let made = || made_id(id, *calls);
            let id = call.text("id").filter(|id| !id.is_empty()).unwrap_or_else(made);
            *calls += 1;
            parts.push(Part::Call { id, name: call.text("name").ok_or(Misread)?, arguments: arguments(&mut call), cache: None });
        } else if let Some(part) = said(&mut m).or_else(|| m.object("inlineData").and_then(inline)) {
            parts.push(part);
        }
        // What else there is tells of what Google's own tools did.
    }
    let Ended::Well(finish) = m.text("finishReason").map_or(Ended::Well(Finish::Stop), |reason| finish(&reason)) else {
        return Err(Misread);
    };
    let called = parts.iter().any(|part| matches!(part, Part::Call { .. }));
    let finish = if called && finish == Finish::Stop { Finish::Calls } else { finish };
    Ok(Choice { parts, finish, stop: None })
}

/// No call uses more tokens than this.
const MOST: u64 = 1 << 30;

/// A `usageMetadata` object: thoughts are counted beside the answer there, and the cached part of the prompt within it. None
/// where it doesn't say what was used, or says what can't be.
pub(super) fn spent(usage: Node<'_>) -> Option<Usage> {
    let mut m = usage.members()?;
    let mut absurd = false;
    let mut read = |m: &mut Members<'_>, name: &str| {
        let count = m.take(name).map(|node| node.count().filter(|count| *count <= MOST));
        absurd |= count == Some(None);
        count.flatten()
    };
    let prompt = read(&mut m, "promptTokenCount");
    let tools = read(&mut m, "toolUsePromptTokenCount").unwrap_or(0);
    let cached = read(&mut m, "cachedContentTokenCount").unwrap_or(0);
    // Protobuf leaves a zero out.
    let answered = read(&mut m, "candidatesTokenCount").unwrap_or(0);
    let reasoning = read(&mut m, "thoughtsTokenCount").unwrap_or(0);
    let (input, output) = (prompt? + tools, answered + reasoning);
    let audio_input = sound(&mut m, "promptTokensDetails").min(input);
    let audio_output = sound(&mut m, "candidatesTokensDetails").min(output);
    let usage = Usage { input, output, cached: cached.min(input), cache_write: 0, audio_input, reasoning, audio_output };
    (!absurd).then_some(usage)
}

/// Of tokens told by kind, those that are sound.
fn sound(m: &mut Members<'_>, name: &str) -> u64 {
    let kinds = m.list(name).unwrap_or_default();
    let count = |node: Node<'_>| {
        let mut m = node.members()?;
        (m.text("modality")? == "AUDIO").then(|| m.count("tokenCount").unwrap_or(0))
    };
    kinds.into_iter().filter_map(count).fold(0, u64::saturating_add)
}
