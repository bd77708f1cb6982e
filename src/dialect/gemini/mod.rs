//! Google's Gemini API (`generateContent` and `streamGenerateContent`) on the wire, and its seam to other dialects.
//!
//! The model's name and whether the answer is streamed stand in the path, not in the body: whoever reads a request sets them,
//! whoever sends one asks `path`.

use bytes::Bytes;

use super::chat::{Answer, Request};
use super::scan::ErrorParts;
use super::seam::{Misread, Seam, StreamReader, StreamWriter, Unfit, Written};

mod read;
mod schema;
mod stream;
mod types;
mod write;

pub(super) use types::is_proof;
pub use types::{error_status, path};

/// Google's error object.
pub fn error(status: u16, kind: &str, message: &str) -> Bytes {
    write::error(status, kind, message)
}

/// generateContent.
#[derive(Clone, Copy, Debug)]
pub struct Gemini;

impl Seam for Gemini {
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

#[cfg(test)]
mod tests;
