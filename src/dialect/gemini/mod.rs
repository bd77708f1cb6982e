//! Google's Gemini API (`generateContent` and `streamGenerateContent`) on the wire, and its seam to other dialects.
//!
//! The model's name and whether the answer is streamed stand in the path, not in the body: whoever reads a request sets them,
//! whoever sends one asks `path`.

use bytes::Bytes;

use super::Usage;
use super::node::Node;
use super::seam::Seam;

mod answer;
pub mod frame;
mod proof;
mod read;
mod schema;
pub mod stitch;
mod stream;
mod types;
pub mod unstream;
mod write;

pub(super) use types::{BADLY, is_proof};
pub use types::{count_path, error_status, path};

/// Reads a `usageMetadata` object. None where it doesn't say what was used, or nothing that can be believed.
pub fn usage(object: &[u8]) -> Option<Usage> {
    read::spent(Node::whole(object)?)
}

/// Google's error object.
pub fn error(status: u16, kind: &str, message: &str) -> Bytes {
    answer::error(status, kind, message)
}

/// generateContent.
pub static GEMINI: Seam = Seam {
    read_request: read::request,
    write_request: write::request,
    read_answer: read::answer,
    write_answer: |answer, _| answer::answer(answer),
    stream_reader: || Box::new(stream::Reader::default()),
    stream_writer: |_| Box::new(stream::Writer::default()),
    write_refusal: answer::refusal,
    repeating: None,
};

#[cfg(test)]
mod tests;
