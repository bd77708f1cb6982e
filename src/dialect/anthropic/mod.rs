//! Anthropic's Messages on the wire, and their seam to other dialects.

use bytes::Bytes;

use super::chat::{Answer, Request};
use super::scan::ErrorParts;
use super::seam::{Misread, Seam, StreamReader, StreamWriter, Unfit, Written};

pub mod frame;
mod read;
pub mod stitch;
mod stream;
mod types;
pub mod unstream;
mod write;

pub use types::error_type;
pub(super) use types::{cache, thinking};

/// The API's version that the gateway speaks where the caller names none.
pub const VERSION: &str = "2023-06-01";

/// The terminal event of a stream.
pub const TERMINAL: &[u8] = b"event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n";
/// A sign of life inside a stream.
pub const PING: &[u8] = b"event: ping\ndata: {\"type\":\"ping\"}\n\n";

/// Anthropic's error object.
pub fn error(kind: &str, message: &str) -> Bytes {
    write::error(kind, message)
}

/// Messages.
#[derive(Clone, Copy, Debug)]
pub struct Anthropic;

impl Seam for Anthropic {
    fn read_request<'a>(&self, body: &'a [u8]) -> Result<Request<'a>, Unfit> {
        read::request(body)
    }

    fn write_request(&self, request: &Request<'_>) -> Result<Written, Unfit> {
        write::request(request)
    }

    fn read_answer<'a>(&self, body: &'a [u8]) -> Result<Answer<'a>, Misread> {
        read::answer(body)
    }

    fn write_answer(&self, answer: &Answer<'_>, _now: u64) -> Bytes {
        write::answer(answer)
    }

    fn stream_reader(&self) -> Box<dyn StreamReader> {
        Box::new(stream::Reader::default())
    }

    fn stream_writer(&self, _now: u64) -> Box<dyn StreamWriter> {
        Box::new(stream::Writer::default())
    }

    fn write_refusal(&self, status: u16, parts: &ErrorParts) -> Bytes {
        write::refusal(status, parts)
    }
}
