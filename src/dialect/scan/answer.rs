//! What came back from a provider, in one pass: whether a whole answer is one, and what an error body says.
//!
//! The two are read in opposite spirits. An answer must be JSON to its last byte, since a cut connection may look like a
//! clean end; an error body may be anything, and every word that can be made out of it is kept.

use std::ops::Range;

use super::members::Members;
use super::walk::{Fault, Str, Walk, cut, lossy};
use crate::dialect::gemini;
use crate::dialect::usage::{self, Usage};

const ERROR_CHARS: usize = 2_000;

/// What a whole answer has at its top level.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// `choices` is a list.
    pub choices: bool,
    /// `data` is a list: embeddings, images, models.
    pub data: bool,
    /// `results` is a list: moderations, reranking.
    pub results: bool,
    /// `output` is a list: Responses.
    pub output: bool,
    /// `content` is a list: Messages.
    pub content: bool,
    /// `candidates` is a list, or a prompt was held back: Gemini's.
    pub candidates: bool,
    /// The value of `error`, unless null.
    pub error: Option<Range<usize>>,
    /// What its `usage` object says, where that can be believed.
    pub usage: Option<Usage>,
    /// The `model` string, quotes included.
    pub model: Option<Range<usize>>,
    /// The `id` string, quotes included.
    pub id: Option<Range<usize>>,
}

/// An answer that isn't JSON, or not whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotJson {
    /// What is wrong, and where.
    pub message: String,
}

impl std::fmt::Display for NotJson {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for NotJson {}

impl From<Fault> for NotJson {
    fn from(fault: Fault) -> Self {
        Self { message: format!("the answer is not valid JSON: {fault}") }
    }
}

/// Where an answer's `usage` object is; for the few that ask, after it was read.
pub fn usage_span(body: &[u8]) -> Option<Range<usize>> {
    struct Looking<'a>(Walk<'a>);
    impl<'a> Members<'a> for Looking<'a> {
        fn walk(&mut self) -> &mut Walk<'a> {
            &mut self.0
        }
    }
    let mut found = None;
    let looked = Looking(Walk::new(body)).members(|looking, name, _| {
        let (usage, object) = (name == b"usage", looking.0.peek() == Some(b'{'));
        let span = looking.0.skip()?;
        if usage && object {
            found = Some(span);
        }
        Ok(())
    });
    looked.ok().and(found)
}

/// Reads an answer that isn't streamed. It must parse whole; if it isn't an object, it has nothing.
pub fn answer(body: &[u8]) -> Result<Answer, NotJson> {
    if let Err(wrong) = std::str::from_utf8(body) {
        return Err(NotJson { message: format!("the answer is not UTF-8 at byte {}", wrong.valid_up_to()) });
    }
    let mut answer = Answer::default();
    let mut walk = Walk::new(body);
    if walk.peek() == Some(b'{') {
        let mut more = walk.enter()?;
        while more {
            let key = walk.key()?;
            answer.member(&mut walk, key)?;
            more = walk.more()?;
        }
    } else {
        walk.skip()?;
    }
    walk.end()?;
    Ok(answer)
}

impl Answer {
    /// One that the gateway wrote itself: it is what its dialect says.
    pub fn written(usage: Option<Usage>) -> Self {
        Self { choices: true, content: true, candidates: true, output: true, usage, ..Self::default() }
    }

    fn member(&mut self, walk: &mut Walk<'_>, key: Str) -> Result<(), Fault> {
        let (name, first) = (walk.name(key), walk.peek());
        if &*name == b"usage" && first == Some(b'{') {
            self.usage = usage::read(walk)?;
            return Ok(());
        }
        let value = walk.skip()?;
        if &*name == b"usageMetadata" && first == Some(b'{') {
            self.usage = gemini::usage(walk.raw(value));
            return Ok(());
        }
        match (&*name, first) {
            (b"choices", _) => self.choices = first == Some(b'['),
            (b"data", _) => self.data = first == Some(b'['),
            (b"results", _) => self.results = first == Some(b'['),
            (b"output", _) => self.output = first == Some(b'['),
            (b"content", _) => self.content = first == Some(b'['),
            (b"candidates", Some(b'[')) | (b"promptFeedback", Some(b'{')) => self.candidates = true,
            (b"error", _) => self.error = (first != Some(b'n')).then_some(value),
            (b"model", Some(b'"')) => self.model = Some(value),
            (b"id", Some(b'"')) => self.id = Some(value),
            _ => {}
        }
        Ok(())
    }
}

/// What a vendor's error body says, as far as it says it; each at most 2,000 characters long.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ErrorParts {
    /// The code; a number is told by its digits.
    pub code: Option<String>,
    /// The type, or Google's `status`.
    pub kind: Option<String>,
    /// The message.
    pub message: Option<String>,
    /// The parameter that it is about.
    pub param: Option<String>,
}

/// Reads an error body of any vendor: `{"error": {…}}`, `{"error": "text"}`, `[{"error": {…}}]`, `{"message": …}`,
/// `{"detail": …}`; of a cut one, what came before the cut. Anything else says nothing.
pub fn error_parts(body: &[u8]) -> ErrorParts {
    let mut reader = ErrorReader { body, walk: Walk::new(body), outer: ErrorParts::default(), inner: None };
    let _ = reader.top(); // what was read before a fault counts
    let mut parts = reader.outer;
    if let Some(inner) = reader.inner {
        // Anthropic's outer type is just "error"
        parts.kind = inner.kind.or(parts.kind.filter(|kind| kind != "error"));
        parts.code = inner.code.or(parts.code);
        parts.message = inner.message.or(parts.message);
        parts.param = inner.param.or(parts.param);
    }
    parts
}

struct ErrorReader<'a> {
    body: &'a [u8],
    walk: Walk<'a>,
    outer: ErrorParts,
    inner: Option<ErrorParts>,
}

impl<'a> Members<'a> for ErrorReader<'a> {
    fn walk(&mut self) -> &mut Walk<'a> {
        &mut self.walk
    }
}

impl ErrorReader<'_> {
    fn top(&mut self) -> Result<(), Fault> {
        if self.walk.peek() == Some(b'[') {
            self.walk.enter()?;
        }
        self.members(|reader, name, _| {
            if name != b"error" {
                return reader.part(name, false);
            }
            let inner = reader.inner.insert(ErrorParts::default());
            if reader.walk.peek() == Some(b'"') {
                let text = reader.walk.string()?;
                inner.message = Some(lossy(reader.body, text.span(), ERROR_CHARS)).filter(|text| !text.is_empty());
                return Ok(());
            }
            reader.members(|reader, name, _| reader.part(name, true))
        })
    }

    fn part(&mut self, name: &[u8], within: bool) -> Result<(), Fault> {
        let first = self.walk.peek();
        let value = self.walk.skip()?;
        let text = || lossy(self.body, value.clone(), ERROR_CHARS);
        let said = match first {
            Some(b'"') => Some(text()).filter(|text| !text.is_empty()),
            Some(b'-' | b'0'..=b'9' | b'{' | b'[') => Some(written(&self.body[value])),
            _ => None,
        };
        let plain = !matches!(first, Some(b'{' | b'['));
        let parts = if within { self.inner.get_or_insert_default() } else { &mut self.outer };
        match name {
            b"message" => parts.message = said.or(parts.message.take()),
            b"detail" => parts.message = parts.message.take().or(said),
            b"type" if first == Some(b'"') => parts.kind = said,
            b"status" if first == Some(b'"') => parts.kind = parts.kind.take().or(said),
            b"code" if plain => parts.code = said,
            b"param" if first == Some(b'"') => parts.param = said,
            _ => {}
        }
        Ok(())
    }
}

/// A value as it was written, cut.
fn written(value: &[u8]) -> String {
    let mut text = String::from_utf8_lossy(&value[..value.len().min(ERROR_CHARS * 4)]).into_owned();
    cut(&mut text, ERROR_CHARS);
    text
}

#[cfg(test)]
mod tests;
