//! OpenAI's chat completions on the wire. What is asked of every event of a stream of the caller's own dialect (`frame`), what
//! continues one (`carry`, `stitch`), and the seam to other dialects.

use bytes::Bytes;

use super::chat::{Answer, Request};
use super::scan::ErrorParts;
use super::seam::{Misread, Seam, StreamReader, StreamWriter, Unfit, Written};

pub mod alike;
pub mod frame;
mod read;
pub mod stitch;
mod stream;
mod types;
pub mod unstream;
mod write;

/// Chat Completions.
#[derive(Clone, Copy, Debug)]
pub struct OpenAi;

impl Seam for OpenAi {
    fn read_request<'a>(&self, body: &'a [u8]) -> Result<Request<'a>, Unfit> {
        read::request(body)
    }

    fn write_request(&self, request: &Request<'_>) -> Result<Written, Unfit> {
        write::request(request)
    }

    fn read_answer<'a>(&self, body: &'a [u8]) -> Result<Answer<'a>, Misread> {
        read::answer(body)
    }

    fn write_answer(&self, answer: &Answer<'_>, now: u64) -> Bytes {
        write::answer(answer, now)
    }

    fn stream_reader(&self) -> Box<dyn StreamReader> {
        Box::new(stream::Reader::default())
    }

    fn stream_writer(&self, now: u64) -> Box<dyn StreamWriter> {
        Box::new(stream::Writer::new(now))
    }

    fn write_refusal(&self, _status: u16, parts: &ErrorParts) -> Bytes {
        write::refusal(parts)
    }
}
