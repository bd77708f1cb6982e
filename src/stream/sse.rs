//! Server-sent events, cut from bytes as they come: any chunking, LF, CRLF or CR, with or without a last blank line.
//!
//! Owns the framing only. Nothing is decoded here, so a character split over two packets is whole again in its frame, and
//! an event that isn't text is somebody else's decision. A frame that lies within one chunk is a slice of it; only what
//! hangs over a chunk's edge is copied, once. Each byte is looked at once for its line end, whatever the chunking.
//!
//! The raw bytes of all frames, put together, are the input, but for a byte order mark that leads it: that is what lets the
//! gateway pass a stream on untouched. (Behind a heartbeat such a mark would make the first event's `data` another word.)

use std::collections::VecDeque;
use std::ops::Range;

use bytes::{Buf, Bytes};
use memchr::{memchr, memchr2};

const BOM: &[u8] = b"\xEF\xBB\xBF";

/// One event as it came: everything up to and with the blank line that ends it. A blank line that ends nothing is a frame
/// of its own, without data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The frame's own bytes, with its line ends and its blank line.
    pub raw: Bytes,
    /// The `data` lines, joined by `\n`; `None` where the frame has none (a comment, a lone `id:`, a stray blank line).
    pub data: Option<Bytes>,
    /// The last `event` line's value.
    pub event: Option<Bytes>,
    /// The last `id` line's value; one that holds a NUL is ignored, as the standard asks.
    pub id: Option<Bytes>,
    /// The last `error` line's value. No field of the standard, but how llama.cpp told of a failure until late 2025, with a
    /// `[DONE]` behind it: <https://github.com/ggml-org/llama.cpp/pull/16109>.
    pub error: Option<Bytes>,
    /// Whether a line of it is a comment.
    pub comment: bool,
    /// Whether its blank line came; false only from [`Parser::finish`].
    pub complete: bool,
}

/// One event was larger than the parser's limit. The parser has dropped what it held and reads no further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLarge {
    /// The limit, in bytes.
    pub limit: usize,
}

impl std::fmt::Display for TooLarge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "an event of the stream is over {} bytes", self.limit)
    }
}

impl std::error::Error for TooLarge {}

/// Reads a stream of events from chunks. `push` what came, then take `next` until it is `None`; at the end of the body
/// take `finish` until it is `None`.
#[derive(Debug)]
pub struct Parser {
    max_event: usize,
    /// The event under way as far as it came with earlier chunks: all of it scanned.
    carry: Vec<u8>,
    /// The chunk being read, from where `carry` ends.
    chunk: Bytes,
    /// How far `chunk` is scanned.
    at: usize,
    /// Chunks that came before the one being read was used up.
    waiting: VecDeque<Bytes>,
    place: Place,
    /// Lines of the event so far that are ended and not blank.
    lines: usize,
    /// Where the first of them ends, without its line end: spares the usual one-line event a second look.
    first: usize,
    /// Nothing was cut yet, so a BOM may lead.
    opening: bool,
    broken: bool,
}

/// Where in the event's lines the scan stands.
#[derive(Clone, Copy, Debug)]
enum Place {
    /// Before a line's first byte; `lone_cr`: the line before it ended in a CR without LF.
    Start { lone_cr: bool },
    /// Within a line.
    Line,
    /// After a CR whose LF may still come; `blank`: the line it ended was blank, so the event ends with it.
    Cr { blank: bool },
}

impl Parser {
    /// A parser that refuses events of more than `max_event` bytes, line ends included.
    pub fn new(max_event: usize) -> Self {
        Self {
            max_event,
            carry: Vec::new(),
            chunk: Bytes::new(),
            at: 0,
            waiting: VecDeque::new(),
            place: Place::Start { lone_cr: false },
            lines: 0,
            first: 0,
            opening: true,
            broken: false,
        }
    }

    /// Takes the next chunk of the body. Nothing is read until `next` is asked.
    pub fn push(&mut self, chunk: Bytes) {
        if self.broken || chunk.is_empty() {
            return;
        }
        if self.chunk.is_empty() {
            self.chunk = chunk;
        } else {
            self.waiting.push_back(chunk);
        }
    }

    /// The next whole event; `None` when more bytes are needed.
    #[expect(clippy::should_implement_trait, reason = "None is not the end: the next push may bring more")]
    pub fn next(&mut self) -> Option<Result<Frame, TooLarge>> {
        loop {
            if self.scan() {
                return Some(self.cut(true));
            }
            if self.carry.len() + self.chunk.len() > self.max_event {
                return Some(Err(self.refuse()));
            }
            self.carry.extend_from_slice(&self.chunk);
            self.at = 0;
            self.chunk = Bytes::new();
            self.chunk = self.waiting.pop_front()?;
        }
    }

    /// At the body's end: what is left, events first, then the last one without its blank line.
    pub fn finish(&mut self) -> Option<Result<Frame, TooLarge>> {
        if let Some(found) = self.next() {
            return Some(found);
        }
        if self.carry.is_empty() {
            return None;
        }
        let complete = matches!(self.place, Place::Cr { blank: true });
        Some(self.cut(complete))
    }

    /// Bytes pushed that no frame has handed out yet.
    pub fn pending(&self) -> usize {
        self.carry.len() + self.chunk.len() + self.waiting.iter().map(Bytes::len).sum::<usize>()
    }

    /// Moves `at` over the chunk; true when it stands at an event's end.
    ///
    /// A CR that ends the blank line waits for the byte after it, as an LF there belongs to it - except after a line that
    /// itself ended in a lone CR: such a stream uses CR alone, and waiting would hold back each event until the next.
    fn scan(&mut self) -> bool {
        let chunk = &self.chunk[..];
        while let Some(&byte) = chunk.get(self.at) {
            match (self.place, byte) {
                (Place::Line, _) => {
                    let Some(end) = memchr2(b'\n', b'\r', &chunk[self.at..]) else {
                        self.at = chunk.len();
                        return false;
                    };
                    self.at += end;
                    if self.lines == 0 {
                        self.first = self.carry.len() + self.at;
                    }
                    self.lines += 1;
                    self.place = if chunk[self.at] == b'\n' { Place::Start { lone_cr: false } } else { Place::Cr { blank: false } };
                    self.at += 1;
                }
                (Place::Cr { blank }, _) => {
                    let lf = byte == b'\n';
                    self.at += usize::from(lf);
                    if blank {
                        return true;
                    }
                    self.place = Place::Start { lone_cr: !lf };
                }
                (Place::Start { .. }, b'\n') | (Place::Start { lone_cr: true }, b'\r') => {
                    self.at += 1;
                    return true;
                }
                (Place::Start { lone_cr: false }, b'\r') => {
                    self.at += 1;
                    self.place = Place::Cr { blank: true };
                }
                (Place::Start { .. }, _) => self.place = Place::Line,
            }
        }
        false
    }

    /// Takes the event that ends at `at` and gets ready for the one after it.
    fn cut(&mut self, complete: bool) -> Result<Frame, TooLarge> {
        if self.carry.len() + self.at > self.max_event {
            return Err(self.refuse());
        }
        let mut raw = if self.carry.is_empty() {
            self.chunk.split_to(self.at)
        } else {
            self.carry.extend_from_slice(&self.chunk[..self.at]);
            self.chunk.advance(self.at);
            Bytes::from(std::mem::take(&mut self.carry))
        };
        let bom = if self.opening && raw.starts_with(BOM) { BOM.len() } else { 0 };
        raw.advance(bom);
        let only = (complete && self.lines == 1).then(|| self.first - bom);
        self.at = 0;
        self.place = Place::Start { lone_cr: false };
        self.lines = 0;
        self.opening = false;
        Ok(Fields::default().read(&raw, only).frame(raw, complete))
    }

    fn refuse(&mut self) -> TooLarge {
        self.broken = true;
        self.carry = Vec::new();
        self.chunk = Bytes::new();
        self.at = 0;
        self.waiting = VecDeque::new();
        TooLarge { limit: self.max_event }
    }
}

/// What an event's lines say, as ranges of its raw bytes.
#[derive(Default)]
struct Fields {
    data: Data,
    event: Option<Range<usize>>,
    id: Option<Range<usize>>,
    error: Option<Range<usize>>,
    comment: bool,
}

#[derive(Default)]
enum Data {
    #[default]
    Nothing,
    /// A single line: stays a slice.
    One(Range<usize>),
    /// Several: joined in memory of their own.
    Many(Vec<u8>),
}

impl Fields {
    /// Reads the lines; `only` is where the single line ends, if the scan found just one.
    fn read(mut self, raw: &[u8], only: Option<usize>) -> Self {
        if let Some(end) = only {
            self.line(raw, 0..end);
            return self;
        }
        let mut at = 0;
        while at < raw.len() {
            let end = memchr2(b'\n', b'\r', &raw[at..]).map_or(raw.len(), |found| at + found);
            self.line(raw, at..end);
            at = end + 1; // a CRLF's LF is then a blank line, which says nothing
        }
        self
    }

    fn line(&mut self, raw: &[u8], line: Range<usize>) {
        let bytes = &raw[line.clone()];
        let (name, value) = match memchr(b':', bytes) {
            Some(0) => {
                self.comment = true;
                return;
            }
            Some(colon) => {
                let space = usize::from(bytes.get(colon + 1) == Some(&b' '));
                (&bytes[..colon], line.start + colon + 1 + space..line.end)
            }
            None => (bytes, line.end..line.end),
        };
        match name {
            b"data" => self.data.add(raw, value),
            b"event" => self.event = Some(value),
            b"error" => self.error = Some(value),
            b"id" if memchr(0, &raw[value.clone()]).is_none() => self.id = Some(value),
            _ => {}
        }
    }

    fn frame(self, raw: Bytes, complete: bool) -> Frame {
        Frame {
            data: match self.data {
                Data::Nothing => None,
                Data::One(range) => Some(raw.slice(range)),
                Data::Many(joined) => Some(Bytes::from(joined)),
            },
            event: self.event.map(|range| raw.slice(range)),
            id: self.id.map(|range| raw.slice(range)),
            error: self.error.map(|range| raw.slice(range)),
            comment: self.comment,
            complete,
            raw,
        }
    }
}

impl Data {
    fn add(&mut self, raw: &[u8], value: Range<usize>) {
        match self {
            Data::Nothing => *self = Data::One(value),
            Data::One(first) => *self = Data::Many([&raw[first.clone()], b"\n", &raw[value]].concat()),
            Data::Many(joined) => {
                joined.push(b'\n');
                joined.extend_from_slice(&raw[value]);
            }
        }
    }
}

#[cfg(test)]
mod tests;
