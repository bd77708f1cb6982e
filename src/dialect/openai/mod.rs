//! OpenAI's chat completions on the wire. What is asked of every event of a stream of the caller's own dialect (`frame`), what
//! continues one (`carry`, `stitch`), and the seam to other dialects.

use super::seam::Seam;

mod answer;
pub mod frame;
mod read;
pub mod stitch;
mod stream;
mod types;
pub mod unstream;
mod write;

pub(super) use read::located;

/// Chat Completions.
pub static OPENAI: Seam = Seam {
    read_request: read::request,
    write_request: write::request,
    read_answer: read::answer,
    write_answer: answer::answer,
    stream_reader: || Box::new(stream::Reader::default()),
    stream_writer: |now| Box::new(stream::Writer::new(now)),
    write_refusal: |_, parts| answer::refusal(parts),
    repeating: None,
};
