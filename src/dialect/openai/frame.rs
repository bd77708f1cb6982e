//! What one event of a chat stream is, told from its data in one pass: has it words, an end, a usage, an error?
//!
//! The relay asks this of every event, so nothing is built: what a later step may want (the text, the reason, the usage)
//! is told as a span. Reads what OpenAI sends and what others send in its name: reasoning under several names, content
//! as a list, usage inside a choice, a whole `message` where a `delta` belongs, legacy `text`. Unknown fields pass.

use std::ops::Range;

use crate::dialect::scan::walk::{Fault, Str, Walk};

/// The kinds of events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// `[DONE]`: the stream's end.
    Done,
    /// Not JSON, or JSON that is neither an object nor a list that holds an error.
    NotJson,
    /// Not even text.
    NotUtf8,
    /// A top-level `error` that isn't null, `"object": "error"`, or a finish reason that says as much (`BROKE_OFF`). Wins over
    /// whatever else the event holds.
    Error,
    /// Nothing to show: a role, an empty delta, a usage, a finish reason alone ([`Seen::finish`] tells that).
    #[default]
    Empty,
    /// A sign of life, and nothing else (Anthropic's).
    Ping,
    /// Words or the like: content, refusal, reasoning, a tool call, audio, images; not empty.
    Content,
}

impl Kind {
    /// Of data that is no JSON of an event.
    pub(in crate::dialect) fn of_no_json(data: &[u8]) -> Self {
        if std::str::from_utf8(data).is_err() { Kind::NotUtf8 } else { Kind::NotJson }
    }
}

/// Finish reasons by which a provider says that it broke off: no end of an answer. Mistral's and OpenRouter's, DeepSeek's,
/// Zhipu's; vLLM's and SGLang's for a request that was stopped on their side.
pub const BROKE_OFF: [&[u8]; 4] = [b"\"error\"", b"\"insufficient_system_resource\"", b"\"network_error\"", b"\"abort\""];

/// What was seen in an event's data. Spans are those of the values in the data, strings with their quotes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// What the event is.
    pub kind: Kind,
    /// Whether a choice has a finish reason, neither null nor empty.
    pub finish: bool,
    /// The choices, as bits by their index, that have one.
    pub finished: u64,
    /// The choices, as bits by their index, that say something here.
    pub spoke: u64,
    /// Whether a tool call, or a function call of old, is in it.
    pub tool_call: bool,
    /// Whether reasoning text is in it.
    pub reasoning: bool,
    /// Whether audio is in it.
    pub audio: bool,
    /// How many choices it holds.
    pub choices: usize,
    /// The first choice's content (or legacy text) where it is a string and not empty; [`text_at`] decodes it.
    ///
    /// [`text_at`]: crate::dialect::scan::text_at
    pub text: Option<Range<usize>>,
    /// The last finish reason.
    pub reason: Option<Range<usize>>,
    /// The `usage` object.
    pub usage: Option<Range<usize>>,
    /// The `error` that isn't null.
    pub error: Option<Range<usize>>,
    /// The `id` string.
    pub id: Option<Range<usize>>,
    /// The `model` string.
    pub model: Option<Range<usize>>,
    /// The `created` value.
    pub created: Option<Range<usize>>,
}

impl Seen {
    /// Whether the caller gains by it: the commit gate opens here.
    pub fn commits(&self) -> bool {
        self.kind == Kind::Content || self.finish && self.kind == Kind::Empty
    }

    fn of(kind: Kind) -> Self {
        Self { kind, ..Self::default() }
    }
}

/// Says what an event's data is. Empty data is an empty event.
pub fn classify(data: &[u8]) -> Seen {
    match data.trim_ascii() {
        b"" => return Seen::of(Kind::Empty),
        b"[DONE]" => return Seen::of(Kind::Done),
        _ => {}
    }
    if std::str::from_utf8(data).is_err() {
        return Seen::of(Kind::NotUtf8);
    }
    let mut reader =
        Reader { walk: Walk::new(data), seen: Seen::default(), says_error: false, says_something: false, index: 0, ended: false };
    match reader.event() {
        Ok(true) => reader.seen,
        Ok(false) | Err(_) => Seen::of(Kind::NotJson),
    }
}

struct Reader<'a> {
    walk: Walk<'a>,
    seen: Seen,
    says_error: bool,
    says_something: bool,
    /// Of the choice being read: its index, and whether it has a finish reason.
    index: u32,
    ended: bool,
}

impl Reader<'_> {
    /// The whole text; true when it is an event's.
    fn event(&mut self) -> Result<bool, Fault> {
        let list = match self.walk.peek() {
            Some(b'{') => {
                self.top()?;
                false
            }
            Some(b'[') => {
                // Gemini's OpenAI door wraps its errors so
                self.each(|reader| if reader.walk.peek() == Some(b'{') { reader.top() } else { reader.pass() })?;
                true
            }
            _ => return Ok(false),
        };
        self.walk.end()?;
        self.seen.kind = match (self.says_error, self.says_something) {
            (true, _) => Kind::Error,
            (false, true) => Kind::Content,
            (false, false) => Kind::Empty,
        };
        Ok(self.says_error || !list)
    }

    fn top(&mut self) -> Result<(), Fault> {
        self.members(|reader, key| {
            match &*reader.walk.name(key) {
                b"choices" if reader.walk.peek() == Some(b'[') => return reader.each(Self::choice),
                b"error" if reader.walk.peek() != Some(b'n') => {
                    reader.says_error = true;
                    reader.seen.error = Some(reader.walk.skip()?);
                }
                b"object" if reader.walk.peek() == Some(b'"') => {
                    let object = reader.walk.string()?;
                    reader.says_error |= &*reader.walk.name(object) == b"error";
                }
                // FastChat's, with its message in place of an answer's event.
                b"error_code" => {
                    let span = reader.walk.skip()?;
                    reader.says_error |= matches!(reader.walk.raw(span), [b'1'..=b'9', ..]);
                }
                b"usage" => return reader.usage(),
                b"id" => reader.seen.id = reader.string()?,
                b"model" => reader.seen.model = reader.string()?,
                b"created" => reader.seen.created = Some(reader.walk.skip()?),
                _ => return reader.pass(),
            }
            Ok(())
        })
    }

    fn choice(&mut self) -> Result<(), Fault> {
        self.seen.choices += 1;
        if self.walk.peek() != Some(b'{') {
            return self.pass();
        }
        let said_before = std::mem::take(&mut self.says_something);
        self.index = self.seen.choices as u32 - 1;
        self.ended = false;
        let (mut has_delta, mut without_message) = (false, None);
        self.members(|reader, key| {
            match &*reader.walk.name(key) {
                b"index" => {
                    let span = reader.walk.skip()?;
                    let written = std::str::from_utf8(reader.walk.raw(span)).ok().and_then(|text| text.parse().ok());
                    reader.index = written.unwrap_or(reader.index);
                }
                b"delta" if reader.walk.peek() == Some(b'{') => {
                    // Perplexity repeats all that was said so far in a `message` beside it.
                    if let Some((seen, says_something)) = without_message.take() {
                        (reader.seen, reader.says_something) = (seen, says_something);
                    }
                    has_delta = true;
                    return reader.members(Self::delta);
                }
                b"message" if !has_delta && reader.walk.peek() == Some(b'{') => {
                    without_message = Some((reader.seen.clone(), reader.says_something));
                    return reader.members(Self::delta);
                }
                b"text" => return reader.words(),
                b"finish_reason" if reader.walk.peek() != Some(b'n') => {
                    let reason = reader.walk.skip()?;
                    let written = reader.walk.raw(reason.clone());
                    if written != b"\"\"" {
                        reader.says_error |= BROKE_OFF.contains(&written);
                        reader.seen.finish = true;
                        reader.ended = true;
                        reader.seen.reason = Some(reason);
                    }
                }
                b"usage" => return reader.usage(),
                _ => return reader.pass(),
            }
            Ok(())
        })?;
        // MiniMax ends a stream with the whole answer once more, as a plain one's `message`.
        let says_it_again = self.ended && without_message.is_some();
        if says_it_again {
            self.seen.text = self.seen.text.take().filter(|_| self.seen.choices > 1);
        }
        let bit = 1 << self.index.min(63);
        self.seen.finished |= if self.ended { bit } else { 0 };
        self.seen.spoke |= if self.says_something && !says_it_again { bit } else { 0 };
        self.says_something |= said_before;
        Ok(())
    }

    fn delta(&mut self, key: Str) -> Result<(), Fault> {
        match &*self.walk.name(key) {
            b"content" => return self.words(),
            b"refusal" | b"images" => {
                self.filled()?;
            }
            b"reasoning" | b"reasoning_content" | b"reasoning_details" | b"thinking" => self.seen.reasoning |= self.filled()?,
            b"tool_calls" | b"function_call" => self.seen.tool_call |= self.filled()?,
            b"audio" => self.seen.audio |= self.filled()?,
            _ => return self.pass(),
        }
        Ok(())
    }

    /// Content: of the first choice, a string's place is kept.
    fn words(&mut self) -> Result<(), Fault> {
        let (start, string) = (self.walk.at(), self.walk.peek() == Some(b'"'));
        if self.filled()? && string && self.seen.choices == 1 {
            self.seen.text = Some(start..self.walk.at());
        }
        Ok(())
    }

    /// Passes a value; true (and the event says something) when it is a string, list or object with something in it.
    fn filled(&mut self) -> Result<bool, Fault> {
        let bracketed = matches!(self.walk.peek(), Some(b'"' | b'[' | b'{'));
        let span = self.walk.skip()?;
        let filled = bracketed
            && match self.walk.raw(span) {
                [b'"', inner @ .., _] => !inner.is_empty(),
                [_, inner @ .., _] => !inner.trim_ascii().is_empty(),
                _ => false,
            };
        self.says_something |= filled;
        Ok(filled)
    }

    fn usage(&mut self) -> Result<(), Fault> {
        let object = self.walk.peek() == Some(b'{');
        let span = self.walk.skip()?;
        if object {
            self.seen.usage = Some(span);
        }
        Ok(())
    }

    /// A string's span; any other value is passed.
    fn string(&mut self) -> Result<Option<Range<usize>>, Fault> {
        let string = self.walk.peek() == Some(b'"');
        let span = self.walk.skip()?;
        Ok(string.then_some(span))
    }

    fn pass(&mut self) -> Result<(), Fault> {
        self.walk.skip().map(|_| ())
    }

    fn members(&mut self, mut member: impl FnMut(&mut Self, Str) -> Result<(), Fault>) -> Result<(), Fault> {
        let mut more = self.walk.enter()?;
        while more {
            let key = self.walk.key()?;
            member(self, key)?;
            more = self.walk.more()?;
        }
        Ok(())
    }

    fn each(&mut self, mut element: impl FnMut(&mut Self) -> Result<(), Fault>) -> Result<(), Fault> {
        let mut more = self.walk.enter()?;
        while more {
            element(self)?;
            more = self.walk.more()?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
