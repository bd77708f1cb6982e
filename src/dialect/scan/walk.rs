//! A cursor over JSON text that checks as it goes and builds nothing: what the scans of requests, answers and stream
//! frames share.
//!
//! Strict RFC 8259, nesting counted and kept in a word of bits, so that no input can overflow a stack. Lone surrogate
//! escapes and numbers beyond any type pass: they are the business of whoever reads the value. UTF-8 is checked by the
//! caller, once for the whole text, as that is several times faster than string by string.

mod special;

use std::borrow::Cow;
use std::ops::Range;

pub(in crate::dialect) use self::special::next_special;

/// Objects and arrays within each other, the outermost counted.
pub(crate) const MAX_DEPTH: u32 = 128;

/// The longest member name that is ever asked for; an escaped name that can't be so short isn't decoded.
const LONGEST_NAME: usize = 32;

/// What is wrong with the text, and at which byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) at: usize,
    pub(crate) what: What,
}

/// The ways in which a text fails to be JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    Value,
    Key,
    Colon,
    Comma,
    Control,
    Escape,
    Number,
    Early,
    Trailing,
    Deep,
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self.what {
            What::Value => "a value was expected",
            What::Key => "a name in quotes was expected",
            What::Colon => "a `:` was expected",
            What::Comma => "a `,` or the closing bracket was expected",
            What::Control => "a control character stands unescaped in a string",
            What::Escape => "an unknown escape stands in a string",
            What::Number => "a number is malformed",
            What::Early => "it ends too early",
            What::Trailing => "something follows its end",
            What::Deep => "it is nested deeper than 128",
        })?;
        write!(f, " at byte {}", self.at)
    }
}

/// A string as it stands in the text, its quotes included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Str {
    pub(crate) start: usize,
    pub(crate) end: usize,
    /// Whether a backslash is in it; without one the content is the text.
    pub(crate) escaped: bool,
}

impl Str {
    /// Its place in the text, quotes included.
    pub(crate) fn span(self) -> Range<usize> {
        self.start..self.end
    }
}

/// The cursor. Before a value it stands on the value's first byte; after one, right behind its last.
pub(crate) struct Walk<'a> {
    bytes: &'a [u8],
    at: usize,
    depth: u32,
    /// One bit per open bracket, the innermost lowest: set for an object.
    objects: u128,
}

impl<'a> Walk<'a> {
    /// Stands on the text's first value.
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        let mut walk = Self { bytes, at: 0, depth: 0, objects: 0 };
        walk.space();
        walk
    }

    /// Stands on a value within a text whose other parts are known: its end is not the text's.
    pub(crate) fn within(bytes: &'a [u8], at: usize) -> Self {
        Self { bytes, at, depth: 0, objects: 0 }
    }

    /// Where the cursor stands.
    pub(crate) fn at(&self) -> usize {
        self.at
    }

    /// The byte that the cursor stands on: of a value, it tells the kind.
    pub(crate) fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    /// The bytes of a span that the cursor has passed.
    pub(crate) fn raw(&self, span: Range<usize>) -> &'a [u8] {
        &self.bytes[span]
    }

    /// The bytes from a place on.
    pub(crate) fn rest(&self, from: usize) -> &'a [u8] {
        &self.bytes[from..]
    }

    /// Opens the object or array that the cursor stands on; true when there is a first member, false when it was empty
    /// and is closed again.
    #[inline]
    pub(crate) fn enter(&mut self) -> Result<bool, Fault> {
        let close = match self.peek() {
            Some(b'{') => b'}',
            Some(b'[') => b']',
            _ => return Err(self.fault(What::Value)),
        };
        if self.depth == MAX_DEPTH {
            return Err(self.fault(What::Deep));
        }
        self.depth += 1;
        self.objects = self.objects << 1 | u128::from(close == b'}');
        self.at += 1;
        self.space();
        if self.peek() == Some(close) {
            self.leave();
            return Ok(false);
        }
        Ok(true)
    }

    /// After a member: true when another follows (the cursor stands on it), false when the object or array is closed.
    #[inline]
    pub(crate) fn more(&mut self) -> Result<bool, Fault> {
        self.space();
        match self.peek() {
            Some(b',') => {
                self.at += 1;
                self.space();
                Ok(true)
            }
            Some(b'}') if self.objects & 1 == 1 => {
                self.leave();
                Ok(false)
            }
            Some(b']') if self.objects & 1 == 0 => {
                self.leave();
                Ok(false)
            }
            _ => Err(self.fault(What::Comma)),
        }
    }

    /// A member's name and its colon; the cursor then stands on the value.
    #[inline]
    pub(crate) fn key(&mut self) -> Result<Str, Fault> {
        let start = self.at;
        if self.peek() == Some(b'"') {
            let at = next_special(self.bytes, start + 1);
            // nearly all are written so: no escape, the colon right behind the quote, at most one space behind that; in a whole object
            // two bytes follow the colon at least, so four lose nothing
            if let Some(&[b'"', b':', first, second]) = self.bytes.get(at..).and_then(|rest| rest.first_chunk())
                && (first > b' ' || first == b' ' && second > b' ')
            {
                self.at = at + 2 + usize::from(first == b' ');
                return Ok(Str { start, end: at + 1, escaped: false });
            }
        }
        self.any_key()
    }

    /// The same, however the name is written; every fault in one is found here.
    #[inline(never)]
    fn any_key(&mut self) -> Result<Str, Fault> {
        if self.peek() != Some(b'"') {
            return Err(self.fault(What::Key));
        }
        let key = self.string()?;
        self.space();
        if self.peek() != Some(b':') {
            return Err(self.fault(What::Colon));
        }
        self.at += 1;
        self.space();
        Ok(key)
    }

    /// A string's content for comparing with a short ASCII name: escapes are undone, if it is short enough to be one.
    #[inline]
    pub(crate) fn name(&self, name: Str) -> Cow<'a, [u8]> {
        let content = &self.bytes[name.start + 1..name.end - 1];
        if name.escaped && content.len() <= LONGEST_NAME * r"\u0000".len() {
            return Cow::Owned(unescape(content, usize::MAX).0);
        }
        Cow::Borrowed(content)
    }

    /// A string's text; `None` where a surrogate stands alone, as no text can hold it.
    pub(crate) fn text(&self, string: Str) -> Option<String> {
        let (bytes, lone) = unescape(&self.bytes[string.start + 1..string.end - 1], usize::MAX);
        if lone { None } else { String::from_utf8(bytes).ok() }
    }

    /// Passes the string that the cursor stands on.
    #[inline]
    pub(crate) fn string(&mut self) -> Result<Str, Fault> {
        let start = self.at;
        let at = next_special(self.bytes, start + 1);
        if self.bytes.get(at) == Some(&b'"') {
            self.at = at + 1;
            return Ok(Str { start, end: at + 1, escaped: false });
        }
        self.escaped_string(start, at)
    }

    /// The same of one whose plain text ends at `at`, with something else than its quote: one that is reached stands behind an escape.
    #[inline(never)]
    fn escaped_string(&mut self, start: usize, mut at: usize) -> Result<Str, Fault> {
        loop {
            self.at = at;
            match self.bytes.get(at) {
                Some(b'"') => {
                    self.at = at + 1;
                    return Ok(Str { start, end: at + 1, escaped: true });
                }
                Some(b'\\') => at += self.escape(at)?,
                _ => return Err(self.fault(What::Control)),
            }
            at = next_special(self.bytes, at);
        }
    }

    /// Passes the value that the cursor stands on, whatever it holds; its span.
    pub(crate) fn skip(&mut self) -> Result<Range<usize>, Fault> {
        let start = self.at;
        let base = self.depth;
        loop {
            let opened = match self.peek() {
                Some(b'{' | b'[') => self.enter()?,
                _ => {
                    self.scalar()?;
                    false
                }
            };
            if !opened {
                while self.depth > base && !self.more()? {}
                if self.depth == base {
                    return Ok(start..self.at);
                }
            }
            if self.objects & 1 == 1 {
                self.key()?;
            }
        }
    }

    /// After the outermost value: nothing but white space may follow.
    pub(crate) fn end(&mut self) -> Result<(), Fault> {
        self.space();
        if self.at < self.bytes.len() { Err(self.fault(What::Trailing)) } else { Ok(()) }
    }

    #[inline]
    fn scalar(&mut self) -> Result<(), Fault> {
        match self.peek() {
            Some(b'"') => self.string().map(|_| ()),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b't') => self.literal(b"true"),
            Some(b'f') => self.literal(b"false"),
            Some(b'n') => self.literal(b"null"),
            _ => Err(self.fault(What::Value)),
        }
    }

    #[inline]
    fn literal(&mut self, word: &[u8]) -> Result<(), Fault> {
        if !self.bytes[self.at..].starts_with(word) {
            return Err(self.fault(What::Value));
        }
        self.at += word.len();
        Ok(())
    }

    #[inline]
    fn number(&mut self) -> Result<(), Fault> {
        self.at += usize::from(self.peek() == Some(b'-'));
        if self.peek() == Some(b'0') {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.at += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(())
    }

    /// At least one digit.
    fn digits(&mut self) -> Result<(), Fault> {
        let from = self.at;
        while let Some(b'0'..=b'9') = self.peek() {
            self.at += 1;
        }
        if self.at == from { Err(self.fault(What::Number)) } else { Ok(()) }
    }

    /// The length of the escape whose backslash stands at `at`.
    fn escape(&self, at: usize) -> Result<usize, Fault> {
        let rest = &self.bytes[at + 1..];
        match rest.first() {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => Ok(2),
            Some(b'u') if rest.len() > 4 && rest[1..5].iter().all(u8::is_ascii_hexdigit) => Ok(6),
            _ => Err(self.fault(What::Escape)),
        }
    }

    fn leave(&mut self) {
        self.at += 1;
        self.depth -= 1;
        self.objects >>= 1;
    }

    #[inline]
    fn space(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.bytes.get(self.at) {
            self.at += 1;
        }
    }

    #[cold]
    fn fault(&self, what: What) -> Fault {
        Fault { at: self.at, what: if self.at < self.bytes.len() { what } else { What::Early } }
    }
}

/// A string's text, at most `chars` of it, from its span in a text that was walked; what is no text becomes U+FFFD.
pub(crate) fn lossy(bytes: &[u8], span: Range<usize>, chars: usize) -> String {
    let content = bytes.get(span.start + 1..span.end.saturating_sub(1)).unwrap_or_default();
    let (bytes, _) = unescape(content, chars.saturating_mul(4));
    let mut text = String::from_utf8_lossy(&bytes).into_owned();
    cut(&mut text, chars);
    text
}

/// Shortens a text to so many characters.
pub(crate) fn cut(text: &mut String, chars: usize) {
    if let Some((end, _)) = text.char_indices().nth(chars) {
        text.truncate(end);
    }
}

/// Undoes the escapes of a string's content that was walked; stops once `enough` bytes are there. True beside it: a
/// surrogate stood alone and became U+FFFD.
fn unescape(content: &[u8], enough: usize) -> (Vec<u8>, bool) {
    let mut out = Vec::with_capacity(content.len().min(enough));
    let (mut rest, mut lone) = (content, false);
    while let Some(backslash) = memchr::memchr(b'\\', rest).filter(|_| out.len() < enough) {
        out.extend_from_slice(&rest[..backslash]);
        rest = &rest[backslash + 1..];
        let Some((&letter, after)) = rest.split_first() else { break };
        rest = after;
        match letter {
            b'u' => {
                let (character, used) = unicode(rest);
                lone |= character.is_none();
                let character = character.unwrap_or(char::REPLACEMENT_CHARACTER);
                out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                rest = &rest[used.min(rest.len())..];
            }
            b'b' => out.push(8),
            b'f' => out.push(12),
            b'n' => out.push(b'\n'),
            b'r' => out.push(b'\r'),
            b't' => out.push(b'\t'),
            itself => out.push(itself),
        }
    }
    if out.len() < enough {
        out.extend_from_slice(&rest[..rest.len().min(enough - out.len())]);
    }
    (out, lone)
}

/// The character that the digits after `\u` stand for, and how many bytes they and a second half take.
fn unicode(digits: &[u8]) -> (Option<char>, usize) {
    let first = hex(digits);
    if (0xD800..0xDC00).contains(&first) && digits.get(4..6) == Some(br"\u") {
        let second = hex(&digits[6..]);
        if (0xDC00..0xE000).contains(&second) {
            return (char::from_u32(0x10000 + ((first - 0xD800) << 10) + (second - 0xDC00)), 10);
        }
    }
    (char::from_u32(first), 4)
}

/// Four digits' value.
fn hex(digits: &[u8]) -> u32 {
    digits.iter().take(4).fold(0, |value, digit| value << 4 | char::from(*digit).to_digit(16).unwrap_or(0))
}

#[cfg(test)]
mod tests;
