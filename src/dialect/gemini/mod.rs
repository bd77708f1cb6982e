//! Google's Gemini API (`generateContent` and `streamGenerateContent`) on the wire, and its seam to other dialects.
//!
//! The model's name and whether the answer is streamed stand in the path, not in the body: whoever reads a request sets them,
//! whoever sends one asks `path`.

use bytes::Bytes;

use super::Usage;
use super::chat::{Answer, Request};
use super::node::Node;
use super::scan::ErrorParts;
use super::seam::{Misread, Seam, StreamReader, StreamWriter, Unfit, Written};

pub mod frame;
mod read;
mod schema;
pub mod stitch;
mod stream;
mod types;
pub mod unstream;
mod write;

pub(super) use types::is_proof;
pub use types::{count_path, error_status, path};

/// Reads a `usageMetadata` object. None where it doesn't say what was used, or nothing that can be believed.
pub fn usage(object: &[u8]) -> Option<Usage> {
    read::spent(Node::whole(object)?)
}

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
