//! Anthropic's Messages on the wire, and their seam to other dialects.

use bytes::Bytes;

use super::seam::Seam;

mod answer;
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
    answer::error(kind, message)
}

/// Messages.
pub static ANTHROPIC: Seam = Seam {
    read_request: read::request,
    write_request: write::request,
    read_answer: read::answer,
    write_answer: |answer, _| answer::answer(answer),
    stream_reader: || Box::new(stream::Reader::default()),
    stream_writer: |_| Box::new(stream::Writer::default()),
    write_refusal: answer::refusal,
    repeating: None,
};
