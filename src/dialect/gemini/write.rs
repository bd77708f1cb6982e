//! The Gemini API written from the neutral shape: requests to upstreams, answers and refusals to callers.
//!
//! A request says what the model that is asked takes: what it can't be told is dropped by name where that is harmless, else
//! the target is unfit. Schemas go as the JSON Schema that they are (`parametersJsonSchema`, `responseJsonSchema`), of which
//! Google passes over what it doesn't know. Turns of one speaker are one turn, since results must stand together behind their
//! calls. <https://ai.google.dev/api/generate-content>, <https://ai.google.dev/gemini-api/docs/structured-output>

use super::proof::Proof;
use super::types::{Abilities, Thinks, abilities, budget, effort, level_name, media, own_proof};
use crate::dialect::chat::{Cache, Effort, Format, Message, Part, Request, Role, Source, Thinking, Tool, ToolChoice};
use crate::dialect::draft::Draft;
use crate::dialect::losses::Losses;
use crate::dialect::node::Node;
use crate::dialect::seam::{Unfit, Written};

/// More are refused.
const MOST_STOPS: usize = 5;
const MOST_CHOICES: u64 = 8;

pub(super) fn request(request: &Request<'_>) -> Result<Written, Unfit> {
    let able = abilities(&request.model);
    let mut writer = Writer { d: Draft::with_room(4096), losses: Losses::of(&request.others), able, called: Vec::new() };
    writer.request(request);
    writer.losses.written(writer.d.done())
}

struct Writer<'r> {
    d: Draft,
    losses: Losses,
    able: Abilities,
    /// The calls so far, by id and name: a result has to name its function.
    called: Vec<(&'r str, &'r str)>,
}

impl<'r> Writer<'r> {
    fn request(&mut self, request: &'r Request<'_>) {
        if request.user.is_some() {
            self.losses.drop("user");
        }
        self.d.begin(b'{');
        self.system(&request.messages);
        self.contents(&request.messages);
        self.tools(request);
        let config = self.config(request);
        if config != "{}" {
            self.d.key("generationConfig").raw(&config);
        }
        self.d.end(b'}');
    }

    fn system(&mut self, messages: &[Message<'_>]) {
        let said = messages.iter().filter(|message| is_instruction(message)).flat_map(|message| &message.parts);
        let mut texts = Vec::new();
        for part in said {
            match part {
                Part::Text { text, cache } => {
                    self.uncached(*cache);
                    texts.extend((!text.is_empty()).then_some(text));
                }
                _ => self.losses.unfit("instructions that aren't text"),
            }
        }
        if !texts.is_empty() {
            self.d.key("systemInstruction").object(|d| {
                d.key("parts").list(|d| texts.iter().for_each(|text| _ = d.object(|d| _ = d.key("text").text(text))));
            });
        }
    }

    fn contents(&mut self, messages: &'r [Message<'_>]) {
        self.d.key("contents").begin(b'[');
        let mut turns = messages.iter().filter(|message| !is_instruction(message)).peekable();
        while let Some(first) = turns.next() {
            let mut parts: Vec<&Part<'_>> = first.parts.iter().collect();
            let mut named = first.name.is_some();
            while let Some(same) = turns.next_if(|next| next.role == first.role) {
                parts.extend(&same.parts);
                named |= same.name.is_some();
            }
            if named {
                self.losses.drop("messages[].name");
            }
            parts.retain(|part| self.is_said(part));
            // A content without parts is refused.
            if !parts.is_empty() {
                self.turn(first.role, &parts);
            }
        }
        self.d.end(b']');
    }

    /// Whether a part stands in the request, which is told where it doesn't.
    fn is_said(&mut self, part: &Part<'_>) -> bool {
        match part {
            Part::Text { text, .. } | Part::Refusal(text) => !text.is_empty(),
            Part::Thinking { text, signature: None } => !text.is_empty(),
            Part::Thinking { signature: Some(signature), .. } if own_proof(signature).is_some() => true,
            Part::Thinking { .. } | Part::Redacted(_) => {
                self.losses.drop("messages[].thinking");
                false
            }
            _ => true,
        }
    }

    fn turn(&mut self, role: Role, parts: &[&'r Part<'_>]) {
        self.d.begin(b'{');
        self.d.key("role").text(if role == Role::Assistant { "model" } else { "user" });
        self.d.key("parts").begin(b'[');
        let mut proof = Proof { pending: None, due: self.able.proofs };
        parts.iter().for_each(|part| self.part(part, &mut proof));
        proof.rest(&mut self.d);
        self.d.end(b']').end(b'}');
    }

    fn part(&mut self, part: &'r Part<'_>, proof: &mut Proof<'r>) {
        match part {
            Part::Text { text, cache } => {
                self.uncached(*cache);
                proof.text(&mut self.d, text, false);
            }
            Part::Refusal(text) => proof.text(&mut self.d, text, false),
            Part::Thinking { text, signature } => proof.thought(&mut self.d, text, signature.as_deref()),
            Part::Image { source, detail, cache } => {
                self.uncached(*cache);
                if detail.as_deref().is_some_and(|detail| detail != "auto") {
                    self.losses.drop("messages[].image_url.detail");
                }
                self.located("a picture", source);
            }
            Part::Audio { format, data } => self.blob(&format!("audio/{format}"), data),
            Part::File { source: Source::Text(text), cache, .. } => {
                self.uncached(*cache);
                proof.text(&mut self.d, text, false);
            }
            Part::File { source, name, cache } => {
                self.uncached(*cache);
                if name.is_some() {
                    self.losses.drop("messages[].file.filename");
                }
                self.located("a document", source);
            }
            Part::Call { id, name, arguments, cache } => {
                self.uncached(*cache);
                if !Node::whole(arguments.trim().as_bytes()).is_some_and(Node::is_object) && !arguments.trim().is_empty() {
                    self.losses.unfit(format!("a call of {name:?} whose arguments are no JSON object"));
                }
                self.called.push((id, name));
                proof.call(&mut self.d, id, name, arguments);
            }
            Part::Result { id, parts, failed, cache } => {
                self.uncached(*cache);
                self.result(id, parts, *failed);
            }
            Part::Redacted(_) => {}
        }
    }

    fn uncached(&mut self, cache: Option<Cache>) {
        if cache.is_some() {
            self.losses.drop("cache_control");
        }
    }

    fn blob(&mut self, media: &str, data: &str) {
        self.d.object(|d| _ = d.key("inlineData").object(|d| _ = d.key("mimeType").text(media).key("data").text(data)));
    }

    fn located(&mut self, what: &str, source: &Source<'_>) {
        match source {
            Source::Inline { media, data } => self.blob(media, data),
            // Google fetches it, by its type: https://ai.google.dev/gemini-api/docs/file-input-methods
            Source::Url(url) => match media(url).filter(|_| self.able.urls && url.starts_with("https://")) {
                Some(media) => {
                    self.d.object(|d| {
                        d.key("fileData").object(|d| _ = d.key("mimeType").text(media).key("fileUri").text(url));
                    });
                }
                None => self.losses.unfit(format!("{what} by a URL whose type isn't known; send it as data")),
            },
            Source::Stored { .. } | Source::Text(_) => self.losses.unfit(format!("{what} in another vendor's store")),
        }
    }

    fn result(&mut self, id: &str, parts: &[Part<'_>], failed: bool) {
        let called = self.called.iter().rev().find(|(known, _)| *known == id);
        let Some((_, name)) = called.copied() else {
            return self.losses.unfit(format!("a result for the call {id:?}, which isn't in the conversation"));
        };
        let mut texts = Vec::new();
        for part in parts {
            match part {
                Part::Text { text, cache } => {
                    self.uncached(*cache);
                    texts.push(&**text);
                }
                Part::Image { .. } | Part::File { .. } if self.able.media_results => {}
                _ => self.losses.unfit("a tool's result that isn't text"),
            }
        }
        self.d.begin(b'{').key("functionResponse").begin(b'{');
        self.d.key("id").text(id).key("name").text(name);
        response(self.d.key("response"), &texts.join("\n"), failed);
        if parts.iter().any(|part| !matches!(part, Part::Text { .. })) {
            self.d.key("parts").begin(b'[');
            for part in parts {
                match part {
                    Part::Image { source: source @ Source::Inline { .. }, .. }
                    | Part::File { source: source @ Source::Inline { .. }, .. } => {
                        self.located("", source);
                    }
                    Part::Text { .. } => {}
                    _ => self.losses.unfit("a tool's result that isn't here"),
                }
            }
            self.d.end(b']');
        }
        self.d.end(b'}').end(b'}');
    }

    fn tools(&mut self, request: &Request<'_>) {
        if request.tools.is_empty() {
            return;
        }
        self.d.key("tools").begin(b'[').begin(b'{').key("functionDeclarations").begin(b'[');
        request.tools.iter().for_each(|tool| self.tool(tool));
        self.d.end(b']').end(b'}').end(b']');
        if request.parallel_calls == Some(false) {
            // Frameworks ask for it wherever they offer one tool to have an answer by a schema: then there is hardly a second call.
            match request.tools.len() {
                1 => self.losses.drop("parallel_tool_calls"),
                _ => self.losses.unfit("one call at a time (`parallel_tool_calls`)"),
            }
        }
        let strict = request.tools.iter().any(|tool| tool.strict == Some(true));
        if strict && !self.able.validates {
            self.losses.drop("tools[].function.strict");
        }
        let (mode, name) = match &request.tool_choice {
            // Calls that must come follow their schema anyway.
            Some(ToolChoice::Any) => ("ANY", None),
            Some(ToolChoice::Named(name)) => ("ANY", Some(name)),
            Some(ToolChoice::Never) => ("NONE", None),
            None | Some(ToolChoice::Auto) if strict && self.able.validates => ("VALIDATED", None),
            Some(ToolChoice::Auto) => ("AUTO", None),
            None => return,
        };
        self.d.key("toolConfig").object(|d| {
            d.key("functionCallingConfig").object(|d| {
                d.key("mode").text(mode);
                if let Some(name) = name {
                    d.key("allowedFunctionNames").list(|d| _ = d.text(name));
                }
            });
        });
    }

    fn tool(&mut self, tool: &Tool<'_>) {
        self.uncached(tool.cache);
        if !is_function_name(&tool.name) {
            self.losses.unfit(format!("a tool of the name {:?}", tool.name));
        }
        self.d.object(|d| {
            d.key("name").text(&tool.name);
            if let Some(description) = &tool.description {
                d.key("description").text(description);
            }
            if let Some(schema) = &tool.schema {
                d.key("parametersJsonSchema").raw(schema);
            }
        });
    }

    /// `generationConfig`.
    fn config(&mut self, request: &Request<'_>) -> String {
        let mut d = Draft::with_room(256);
        d.begin(b'{');
        self.sampling(&mut d, request);
        if !request.stop.is_empty() {
            d.key("stopSequences").list(|d| request.stop.iter().for_each(|text| _ = d.text(text)));
        }
        if request.stop.len() > MOST_STOPS {
            self.losses.unfit("more than five stop texts");
        }
        if let Some(choices) = request.choices {
            d.key("candidateCount").count(choices);
            if choices > MOST_CHOICES || request.stream {
                self.losses.unfit(if request.stream { "a stream of several answers (`n`)" } else { "more than eight answers (`n`)" });
            }
        }
        if request.logprobs.is_some() {
            self.losses.unfit("`logprobs`");
        }
        if let Some(format) = &request.format {
            if !request.tools.is_empty() && !self.able.schema_beside_tools {
                self.losses.unfit("an answer in JSON while there are tools");
            }
            d.key("responseMimeType").text("application/json");
            if let Format::Schema { schema, .. } = format {
                d.key("responseJsonSchema").raw(schema);
            }
        }
        self.thinking(&mut d, request);
        d.end(b'}');
        // Written by a Draft from text: it is UTF-8.
        String::from_utf8(d.into_vec()).unwrap_or_default()
    }

    fn sampling(&mut self, d: &mut Draft, request: &Request<'_>) {
        if let Some(most) = request.max_tokens {
            d.key("maxOutputTokens").count(most);
        }
        for (name, value) in [("temperature", &request.temperature), ("topP", &request.top_p)] {
            if let Some(value) = value {
                d.key(name).raw(value);
            }
        }
        if let Some(top) = request.top_k {
            d.key("topK").count(top);
        }
        match request.seed.as_deref().map(str::parse::<i32>) {
            Some(Ok(seed)) => _ = d.key("seed").raw(&seed.to_string()),
            Some(Err(_)) => self.losses.drop("seed"),
            None => {}
        }
        let penalties = [
            ("presencePenalty", "presence_penalty", &request.presence_penalty),
            ("frequencyPenalty", "frequency_penalty", &request.frequency_penalty),
        ];
        for (name, known_as, value) in penalties {
            match value {
                Some(value) if self.able.penalties => _ = d.key(name).raw(value),
                // 0 is what it would be anyway.
                Some(value) if value.parse() != Ok(0.0) => self.losses.drop(known_as),
                _ => {}
            }
        }
    }

    /// `thinkingConfig`. Thoughts are shown to those who ask for them, as Anthropic's callers do by asking to think at all;
    /// an effort alone doesn't.
    fn thinking(&mut self, d: &mut Draft, request: &Request<'_>) {
        let shown = matches!(request.thinking, Some(Thinking::Adaptive | Thinking::Budget(_)));
        let asked = if request.thinking.is_some() { "thinking" } else { "reasoning_effort" };
        let off = request.thinking == Some(Thinking::Off) || request.thinking.is_none() && request.effort == Some(Effort::None);
        if request.thinking.is_none() && request.effort.is_none() {
            return;
        }
        let (key, value) = match self.able.thinks {
            Thinks::Never => {
                if !off {
                    self.losses.drop(asked);
                }
                return;
            }
            Thinks::ByBudget { off: can, .. } if off && can => ("thinkingBudget", "0".to_owned()),
            Thinks::ByBudget { least, most, .. } => match (request.thinking, request.effort) {
                (Some(Thinking::Budget(tokens)), _) => ("thinkingBudget", tokens.clamp(least, most).to_string()),
                (Some(Thinking::Adaptive), None) => ("thinkingBudget", "-1".to_owned()),
                (_, effort) => {
                    if off {
                        self.losses.drop(asked);
                    }
                    ("thinkingBudget", budget(effort.filter(|_| !off).unwrap_or(Effort::None)).clamp(least, most).to_string())
                }
            },
            Thinks::ByLevel { least, medium } => {
                let wanted = match (request.thinking, request.effort) {
                    (Some(Thinking::Off), _) => Some(Effort::None),
                    (_, Some(effort)) => Some(effort),
                    (Some(Thinking::Budget(tokens)), None) => Some(effort(tokens)),
                    (Some(Thinking::Adaptive) | None, None) => None,
                };
                if off {
                    // It can only be told to think little.
                    self.losses.drop(asked);
                }
                let wanted = wanted.map(|effort| effort.clamp(least, Effort::High));
                let level = wanted.map(|effort| if effort == Effort::Medium && !medium { Effort::High } else { effort });
                ("thinkingLevel", level.map(|level| format!("\"{}\"", level_name(level))).unwrap_or_default())
            }
        };
        d.key("thinkingConfig").object(|d| {
            if !value.is_empty() {
                d.key(key).raw(&value);
            }
            if shown {
                d.key("includeThoughts").truth(true);
            }
        });
    }
}

fn is_instruction(message: &Message<'_>) -> bool {
    matches!(message.role, Role::System | Role::Developer)
}

/// <https://ai.google.dev/api/caching#FunctionDeclaration>
fn is_function_name(name: &str) -> bool {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '_' | '.' | ':' | '-');
    name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_') && name.len() <= 128 && name.chars().all(plain)
}

/// What a function gave back: an object as it is, unless Google would take it for its own `output` or `error`; else by these.
fn response(d: &mut Draft, text: &str, failed: bool) {
    let json = Node::whole(text.trim().as_bytes());
    let members: Vec<_> = json.and_then(Node::members).into_iter().flat_map(|m| m.rest()).collect();
    let taken = match &members[..] {
        [(name, _)] if name == "error" => true,
        [(name, value)] => name == "output" && value.text().is_some(),
        _ => false,
    };
    match json.filter(|json| json.is_object()) {
        Some(json) if failed => _ = d.object(|d| _ = d.key("error").raw(json.raw())),
        Some(json) if !taken => _ = d.raw(json.raw()),
        _ => _ = d.object(|d| _ = d.key(if failed { "error" } else { "output" }).text(text)),
    }
}
