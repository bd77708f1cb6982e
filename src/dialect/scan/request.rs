//! What the gateway reads of a request, in one pass over its bytes: the model, how the answer is wanted, what the target must
//! be able to do, and the spans that are edited before sending.
//!
//! The whole body is checked on the way, so that nothing odd gets past the gateway's reading and means something else to
//! the provider: that is why a field that is read may stand only once, however its name is spelt. All else passes.

use std::ops::Range;

use super::fields::{models, opened, wrong};
use super::refusal::Refusal;
use super::types::{Scan, Text};
use super::walk::{Str, Walk};

const MAX_MESSAGES: usize = 100_000;
const MAX_TOKENS: u64 = i32::MAX as u64;
const MAX_N: u64 = 128;

/// Reads a chat request: it must have a model and messages.
pub fn request(body: &[u8]) -> Result<Scan, Refusal> {
    let scan = read(body, false)?;
    if scan.messages.is_none() {
        return Err(Refusal::missing("missing_messages", "messages", "the conversation as a list of messages"));
    }
    Ok(scan)
}

/// Reads a request of a path whose body passes through: it must have a model; what else it has is checked alike.
pub fn passthrough(body: &[u8]) -> Result<Scan, Refusal> {
    read(body, true)
}

/// `any`: of any endpoint, where a field of this name may be something else (`response_format` a word).
fn read(body: &[u8], any: bool) -> Result<Scan, Refusal> {
    let walk = opened(body)?;
    let mut reader = Reader { body, seen: 0, max_completion_tokens: None, warm: false, any, scan: Scan::blank(walk.at() + 1), walk };
    reader.top()?;
    let mut scan = reader.scan;
    if reader.seen & bit(Field::Model) == 0 && !scan.lead() {
        return Err(Refusal::missing("missing_model", "model", "the name of the model that is to answer"));
    }
    scan.max_tokens = reader.max_completion_tokens.max(scan.max_tokens);
    Ok(scan)
}

/// The fields that may stand only once.
#[derive(Clone, Copy)]
enum Field {
    Model,
    Models,
    Stream,
    StreamOptions,
    Tools,
    N,
    MaxTokens,
    MaxCompletionTokens,
    MaxOutputTokens,
    ResponseFormat,
}

const fn bit(field: Field) -> u16 {
    1 << field as u16
}

struct Reader<'a> {
    body: &'a [u8],
    walk: Walk<'a>,
    /// A bit per [`Field`] that came.
    seen: u16,
    max_completion_tokens: Option<u64>,
    /// Whether a temperature other than 0 came.
    warm: bool,
    /// Whether it is of any endpoint.
    any: bool,
    scan: Scan,
}

impl Reader<'_> {
    fn top(&mut self) -> Result<(), Refusal> {
        let mut before = None;
        let mut more = self.walk.enter()?;
        while more {
            let key = self.walk.key()?;
            self.member(key, before)?;
            before = Some(self.walk.at());
            more = self.walk.more()?;
            // The first member goes with the comma behind it.
            let first = |cut: &&mut Range<usize>| cut.start == key.start;
            if let Some(cut) = self.scan.models.as_mut().map(|models| &mut models.cut).filter(first) {
                cut.end = self.walk.at();
            }
            if let Some(cut) = self.scan.stream_cuts.iter_mut().flatten().find(first) {
                cut.end = self.walk.at();
            }
        }
        Ok(self.walk.end()?)
    }

    /// `before`: where the member before this one ended.
    fn member(&mut self, key: Str, before: Option<usize>) -> Result<(), Refusal> {
        match &*self.walk.name(key) {
            b"model" => self.once(Field::Model, "model", key)?.model(),
            b"models" => self.once(Field::Models, "models", key)?.models(key, before.unwrap_or(key.start)),
            b"stream" => {
                self.scan.stream = self.once(Field::Stream, "stream", key)?.boolean("stream")?;
                self.scan.stream_cuts[0] = Some(before.unwrap_or(key.start)..self.walk.at());
                Ok(())
            }
            b"stream_options" => {
                self.once(Field::StreamOptions, "stream_options", key)?.stream_options()?;
                self.scan.stream_cuts[1] = Some(before.unwrap_or(key.start)..self.walk.at());
                Ok(())
            }
            b"tools" => self.once(Field::Tools, "tools", key)?.tools(),
            b"n" => {
                let n = self.once(Field::N, "n", key)?.integer("n", 1, MAX_N)?;
                self.scan.n = n.map_or(1, |n| n as u32);
                Ok(())
            }
            b"max_tokens" => {
                self.scan.max_tokens = self.once(Field::MaxTokens, "max_tokens", key)?.integer("max_tokens", 0, MAX_TOKENS)?;
                Ok(())
            }
            // Of Responses.
            b"max_output_tokens" => {
                let field = self.once(Field::MaxOutputTokens, "max_output_tokens", key)?;
                field.max_completion_tokens = field.integer("max_output_tokens", 0, MAX_TOKENS)?;
                Ok(())
            }
            b"max_completion_tokens" => {
                let field = self.once(Field::MaxCompletionTokens, "max_completion_tokens", key)?;
                field.max_completion_tokens = field.integer("max_completion_tokens", 0, MAX_TOKENS)?;
                Ok(())
            }
            b"response_format" if self.any && self.walk.peek() == Some(b'"') => {
                self.once(Field::ResponseFormat, "response_format", key)?.pass()
            }
            b"response_format" => self.once(Field::ResponseFormat, "response_format", key)?.response_format(),
            b"messages" => self.messages(),
            // Anthropic's instructions and its schema stand here.
            b"system" | b"instructions" => self.content(),
            // What other endpoints are asked with.
            b"input" | b"prompt" | b"query" | b"documents" => self.said(),
            b"output_config" => self.output_config(),
            // Of Responses.
            b"text" => self.text_config(),
            b"temperature" => self.temperature(),
            b"functions" if self.walk.peek() == Some(b'[') => self.list_of_tools(),
            b"logprobs" => {
                self.scan.logprobs = !matches!(self.walk.peek(), Some(b'n' | b'f'));
                self.pass()
            }
            // Of Responses.
            b"include" if self.any => self.include(),
            b"audio" => {
                self.scan.audio_out = self.walk.peek() != Some(b'n');
                self.pass()
            }
            _ => self.pass(),
        }
    }

    fn once(&mut self, field: Field, name: &'static str, key: Str) -> Result<&mut Self, Refusal> {
        if self.seen & bit(field) != 0 {
            return Err(Refusal::duplicate(name, key.start));
        }
        self.seen |= bit(field);
        Ok(self)
    }

    fn model(&mut self) -> Result<(), Refusal> {
        let must = "the name of a model, a string that isn't empty";
        if self.walk.peek() != Some(b'"') {
            return Err(self.wrong("invalid_model", "model", must));
        }
        let string = self.walk.string()?;
        match self.walk.text(string).filter(|name| !name.is_empty()) {
            Some(value) => self.scan.model = Text { span: string.span(), value },
            None => return Err(Refusal::field("invalid_model", "model", must, self.body, string.span())),
        }
        Ok(())
    }

    fn models(&mut self, key: Str, start: usize) -> Result<(), Refusal> {
        self.scan.models = Some(models(&mut self.walk, key, start)?);
        Ok(())
    }

    /// Which of several counts is the upstream's to say: it is 0 only where all of them are.
    fn temperature(&mut self) -> Result<(), Refusal> {
        let span = self.walk.skip()?;
        let digits = self.walk.raw(span).iter().take_while(|byte| !matches!(byte, b'e' | b'E'));
        self.warm |= !digits.copied().all(|byte| matches!(byte, b'0' | b'.' | b'-'));
        self.scan.cold = !self.warm;
        Ok(())
    }

    fn stream_options(&mut self) -> Result<(), Refusal> {
        let start = self.walk.at();
        if self.null()? {
            self.scan.ask_usage = Some((start..self.walk.at(), r#"{"include_usage":true}"#));
        } else {
            let mut more = self.open(b'{', "stream_options", "an object or null")?;
            let addition = if more { r#""include_usage":true,"# } else { r#""include_usage":true"# };
            let mut edit = Some((start + 1..start + 1, addition));
            let mut came = false;
            while more {
                let key = self.walk.key()?;
                let value = self.walk.at();
                if &*self.walk.name(key) != b"include_usage" {
                    self.pass()?;
                } else if came {
                    return Err(Refusal::duplicate("stream_options.include_usage", key.start));
                } else {
                    came = true;
                    self.scan.include_usage = self.boolean("stream_options.include_usage")?;
                    edit = (!self.scan.include_usage).then_some((value..self.walk.at(), "true"));
                }
                more = self.walk.more()?;
            }
            self.scan.ask_usage = edit;
        }
        self.scan.stream_options = Some(start..self.walk.at());
        Ok(())
    }

    fn tools(&mut self) -> Result<(), Refusal> {
        if self.null()? {
            return Ok(());
        }
        if self.walk.peek() != Some(b'[') {
            return Err(self.wrong("invalid_type", "tools", "a list or null"));
        }
        self.list_of_tools()
    }

    fn list_of_tools(&mut self) -> Result<(), Refusal> {
        let mut more = self.walk.enter()?;
        self.scan.needs.tools |= more;
        while more {
            self.pass()?;
            more = self.walk.more()?;
        }
        Ok(())
    }

    fn response_format(&mut self) -> Result<(), Refusal> {
        if self.null()? {
            return Ok(());
        }
        let mut more = self.open(b'{', "response_format", "an object or null")?;
        while more {
            let key = self.walk.key()?;
            if &*self.walk.name(key) == b"type" && self.walk.peek() == Some(b'"') {
                let kind = self.walk.string()?;
                self.scan.needs.json_schema |= &*self.walk.name(kind) == b"json_schema";
            } else {
                self.pass()?;
            }
            more = self.walk.more()?;
        }
        Ok(())
    }

    fn output_config(&mut self) -> Result<(), Refusal> {
        self.members(|reader, key| {
            let is_format = &*reader.walk.name(key) == b"format";
            reader.scan.needs.json_schema |= is_format && reader.walk.peek() == Some(b'{');
            reader.pass()
        })
    }

    fn text_config(&mut self) -> Result<(), Refusal> {
        self.members(|reader, key| match &*reader.walk.name(key) {
            b"format" if reader.walk.peek() == Some(b'{') => reader.response_format(),
            _ => reader.pass(),
        })
    }

    fn include(&mut self) -> Result<(), Refusal> {
        if self.walk.peek() != Some(b'[') {
            return self.pass();
        }
        let mut more = self.walk.enter()?;
        while more {
            let value = self.walk.skip()?;
            self.scan.logprobs |= self.walk.raw(value) == br#""message.output_text.logprobs""#;
            more = self.walk.more()?;
        }
        Ok(())
    }

    fn messages(&mut self) -> Result<(), Refusal> {
        let start = self.walk.at();
        self.scan.messages = None;
        self.scan.message_count = 0;
        if self.null()? {
            return Ok(());
        }
        let must = "a list of at least one message";
        let mut more = self.open(b'[', "messages", must)?;
        if !more {
            return Err(Refusal::field("invalid_value", "messages", must, self.body, start..self.walk.at()));
        }
        while more {
            if self.scan.message_count == MAX_MESSAGES {
                return Err(Refusal::too_many("messages", MAX_MESSAGES, self.walk.at()));
            }
            self.scan.message_count += 1;
            self.members(|reader, key| match &*reader.walk.name(key) {
                b"content" => reader.content(),
                _ => reader.pass(),
            })?;
            more = self.walk.more()?;
        }
        self.scan.messages = Some(start..self.walk.at());
        Ok(())
    }

    fn content(&mut self) -> Result<(), Refusal> {
        if self.walk.peek() != Some(b'[') {
            return self.words();
        }
        let mut more = self.walk.enter()?;
        while more {
            self.members(|reader, key| match &*reader.walk.name(key) {
                b"type" => reader.part_type(),
                b"text" => reader.words(),
                _ => reader.pass(),
            })?;
            more = self.walk.more()?;
        }
        Ok(())
    }

    /// A text, or a list of texts, of parts, or of tokens.
    fn said(&mut self) -> Result<(), Refusal> {
        if self.walk.peek() != Some(b'[') {
            return self.words();
        }
        let mut more = self.walk.enter()?;
        while more {
            match self.walk.peek() {
                Some(b'{') => self.members(|reader, key| match &*reader.walk.name(key) {
                    b"text" => reader.words(),
                    b"content" => reader.content(),
                    _ => reader.pass(),
                })?,
                Some(b'[') => self.said()?,
                Some(b'"') => self.words()?,
                _ => {
                    // A token by its number.
                    self.scan.text_bytes += 4;
                    self.pass()?;
                }
            }
            more = self.walk.more()?;
        }
        Ok(())
    }

    fn part_type(&mut self) -> Result<(), Refusal> {
        if self.walk.peek() != Some(b'"') {
            return self.pass();
        }
        let kind = self.walk.string()?;
        match &*self.walk.name(kind) {
            b"image_url" | b"image" | b"input_image" => self.scan.needs.vision = true,
            b"input_audio" => self.scan.needs.audio = true,
            _ => {}
        }
        Ok(())
    }

    /// A text, counted; anything else is passed.
    fn words(&mut self) -> Result<(), Refusal> {
        if self.walk.peek() != Some(b'"') {
            return self.pass();
        }
        let string = self.walk.string()?;
        self.scan.text_bytes += string.end - string.start - 2;
        Ok(())
    }

    /// An object's members; any other value is passed.
    #[inline]
    fn members(&mut self, mut member: impl FnMut(&mut Self, Str) -> Result<(), Refusal>) -> Result<(), Refusal> {
        if self.walk.peek() != Some(b'{') {
            return self.pass();
        }
        let mut more = self.walk.enter()?;
        while more {
            let key = self.walk.key()?;
            member(self, key)?;
            more = self.walk.more()?;
        }
        Ok(())
    }

    fn boolean(&mut self, param: &'static str) -> Result<bool, Refusal> {
        let first = self.walk.peek();
        if !matches!(first, Some(b't' | b'f' | b'n')) {
            return Err(self.wrong("invalid_type", param, "true, false or null"));
        }
        self.pass()?;
        Ok(first == Some(b't'))
    }

    fn integer(&mut self, param: &'static str, least: u64, most: u64) -> Result<Option<u64>, Refusal> {
        if self.null()? {
            return Ok(None);
        }
        let must = || format!("an integer from {least} to {most}");
        if !matches!(self.walk.peek(), Some(b'-' | b'0'..=b'9')) {
            return Err(self.wrong("invalid_type", param, &must()));
        }
        let span = self.walk.skip()?;
        let number = self.walk.raw(span.clone());
        let code = if memchr::memchr3(b'.', b'e', b'E', number).is_some() { "invalid_type" } else { "invalid_value" };
        let value = std::str::from_utf8(number).ok().and_then(|digits| digits.parse().ok());
        match value.filter(|value| (least..=most).contains(value)) {
            None => Err(Refusal::field(code, param, &must(), self.body, span)),
            value => Ok(value),
        }
    }

    /// Passes a null, if the cursor stands on one.
    fn null(&mut self) -> Result<bool, Refusal> {
        let null = self.walk.peek() == Some(b'n');
        if null {
            self.pass()?;
        }
        Ok(null)
    }

    /// Enters a list or an object, if the cursor stands on the one that is wanted.
    fn open(&mut self, bracket: u8, param: &'static str, must: &str) -> Result<bool, Refusal> {
        if self.walk.peek() != Some(bracket) {
            return Err(self.wrong("invalid_type", param, must));
        }
        Ok(self.walk.enter()?)
    }

    fn wrong(&mut self, code: &'static str, param: &'static str, must: &str) -> Refusal {
        wrong(&mut self.walk, code, param, must)
    }

    fn pass(&mut self) -> Result<(), Refusal> {
        self.walk.skip()?;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
