//! What a dialect must be able to do to be spoken to any other: read and write requests, answers and streams from and to the
//! neutral shape. N readers and N writers, never N x N.
//!
//! Only where caller and target speak differently is any of this asked: the same dialect's bytes pass untouched.

use bytes::Bytes;

use super::chat::{Answer, Delta, Request};
use super::scan::ErrorParts;

/// A dialect: how each of these is done in it.
#[derive(Debug)]
pub struct Seam {
    pub(super) read_request: for<'a> fn(&'a [u8]) -> Result<Request<'a>, Unfit>,
    pub(super) write_request: fn(&Request<'_>) -> Result<Written, Unfit>,
    pub(super) read_answer: for<'a> fn(&'a [u8]) -> Result<Answer<'a>, Misread>,
    pub(super) write_answer: fn(&Answer<'_>, u64) -> Bytes,
    pub(super) stream_reader: fn() -> Box<dyn StreamReader>,
    pub(super) stream_writer: fn(u64) -> Box<dyn StreamWriter>,
    pub(super) write_refusal: fn(u16, &ErrorParts) -> Bytes,
    /// Of a dialect whose answers repeat what was asked: how they are written with it.
    pub(super) repeating: Option<Repeating>,
}

/// The writers of answers that repeat their request, whose body comes first.
#[derive(Debug)]
pub(super) struct Repeating {
    pub(super) write_answer: fn(&[u8], &Answer<'_>, u64) -> Bytes,
    pub(super) stream_writer: fn(&[u8], u64) -> Box<dyn StreamWriter>,
}

impl Seam {
    /// Reads a request. The body was scanned: it is JSON.
    ///
    /// # Errors
    /// Where it says what can't be said otherwise than by its own dialect.
    pub fn read_request<'a>(&self, body: &'a [u8]) -> Result<Request<'a>, Unfit> {
        (self.read_request)(body)
    }

    /// Writes a request.
    ///
    /// # Errors
    /// Where the dialect, or the model that it asks, can't say something that changes what is answered.
    pub fn write_request(&self, request: &Request<'_>) -> Result<Written, Unfit> {
        (self.write_request)(request)
    }

    /// Reads a whole answer, a 200's.
    ///
    /// # Errors
    /// Where it is none.
    pub fn read_answer<'a>(&self, body: &'a [u8]) -> Result<Answer<'a>, Misread> {
        (self.read_answer)(body)
    }

    /// Writes a whole answer. `now`: seconds since 1970, where the answer doesn't say when it was made.
    pub fn write_answer(&self, answer: &Answer<'_>, now: u64) -> Bytes {
        (self.write_answer)(answer, now)
    }

    /// The same, of a dialect whose answers repeat what was asked: `request` is its caller's.
    pub fn write_answer_to(&self, request: &[u8], answer: &Answer<'_>, now: u64) -> Bytes {
        match &self.repeating {
            Some(repeating) => (repeating.write_answer)(request, answer, now),
            None => self.write_answer(answer, now),
        }
    }

    /// A reader of one streamed answer.
    pub fn stream_reader(&self) -> Box<dyn StreamReader> {
        (self.stream_reader)()
    }

    /// A writer of one streamed answer. `now`: as above.
    pub fn stream_writer(&self, now: u64) -> Box<dyn StreamWriter> {
        (self.stream_writer)(now)
    }

    /// The same, of a dialect whose answers repeat what was asked: `request` is its caller's.
    pub fn stream_writer_to(&self, request: &[u8], now: u64) -> Box<dyn StreamWriter> {
        match &self.repeating {
            Some(repeating) => (repeating.stream_writer)(request, now),
            None => self.stream_writer(now),
        }
    }

    /// Writes a vendor's refusal of a request, which came with `status`.
    pub fn write_refusal(&self, status: u16, parts: &ErrorParts) -> Bytes {
        (self.write_refusal)(status, parts)
    }
}

/// Reads the events of a stream.
pub trait StreamReader {
    /// Reads an event's data and tells what it says, piece by piece. What the shape doesn't have is passed.
    ///
    /// # Errors
    /// Where it isn't JSON.
    fn read<'d>(&mut self, data: &'d [u8], tell: &mut dyn FnMut(Delta<'d>)) -> Result<(), Misread>;
}

/// Writes the events of a stream.
pub trait StreamWriter {
    /// Writes a piece as events, behind what is there. It may wait for others that belong to the same event.
    fn write(&mut self, delta: &Delta<'_>, out: &mut Vec<u8>);
}

/// A request that was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// The body.
    pub body: Bytes,
    /// What was left out as harmless, by the names that the caller knows.
    pub dropped: Vec<String>,
}

/// Why a request can't be asked of a target: something in it would be lost that changes the answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unfit {
    /// What, to follow "can't carry".
    pub what: String,
}

impl Unfit {
    /// Because of this.
    pub fn new(what: impl Into<String>) -> Self {
        Self { what: what.into() }
    }
}

impl std::fmt::Display for Unfit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "can't carry {}", self.what)
    }
}

impl std::error::Error for Unfit {}

/// What came isn't what the dialect says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Misread;

impl std::fmt::Display for Misread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("it is not what its dialect says")
    }
}

impl std::error::Error for Misread {}
