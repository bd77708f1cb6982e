//! OpenAI's Responses on the wire, and their seam to other dialects.
//!
//! Callers speak it to every target. A target that speaks it itself gets their bytes; to all others what is asked is read here and
//! written anew, without what only its vendor can do: keep answers, go on with kept ones, run tools of its own.

use super::openai::OPENAI;
use super::seam::{Repeating, Seam};

mod echo;
pub mod frame;
mod read;
pub mod stitch;
mod stream;
mod types;
pub mod unstream;
mod write;
mod writer;

use echo::Echo;
pub use read::is_to_be_kept;
pub use types::error_event;

#[cfg(test)]
mod tests;

/// Responses.
pub static RESPONSES: Seam = Seam {
    read_request: read::request,
    write_request: write::request,
    read_answer: read::answer,
    write_answer: |answer, now| write::answer(answer, &Echo::default(), now),
    stream_reader: || Box::new(stream::Reader::default()),
    stream_writer: |now| Box::new(writer::Writer::new(Echo::default(), now)),
    // Its errors are those of Chat Completions.
    write_refusal: |status, parts| OPENAI.write_refusal(status, parts),
    repeating: Some(Repeating {
        write_answer: |request, answer, now| write::answer(answer, &Echo::of(request), now),
        stream_writer: |request, now| Box::new(writer::Writer::new(Echo::of(request), now)),
    }),
};
