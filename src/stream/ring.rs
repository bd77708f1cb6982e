//! A stream's events as they went out, numbered, for whoever comes back to it: the newest of them, as many as fit.
//!
//! Every event with data gets an `id:` of the stream's own, from 1 on without a gap, in place of one that it came with: a
//! caller tells by it how far it got. Where its clients take nothing but data, they count for themselves. A comment goes with the
//! event behind it. What no longer fits is gone, oldest first, and whoever asks for it is told so; the newest event is always
//! there, however large.

use std::collections::VecDeque;
use std::fmt::Write as _;

use bytes::{Bytes, BytesMut};
use memchr::memchr2;

use super::sse::{Frame, Parser};

/// What an event takes besides its bytes.
const ENTRY: usize = size_of::<Bytes>();
/// Comments that wait for their event are no more than this, in bytes: an upstream may send nothing else for an hour.
const MOST_COMMENTS: usize = 4 << 10;

/// See the module's text.
#[derive(Debug)]
pub struct Ring {
    parser: Parser,
    events: VecDeque<Bytes>,
    /// The id of the first event that is kept; of the next one, where none is.
    first: u64,
    size: usize,
    comments: Vec<u8>,
    /// Whether events get their `id`.
    numbered: bool,
}

/// What there is behind an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Behind {
    /// The next event.
    Event(Bytes),
    /// Nothing yet.
    Nothing,
    /// The next event is no longer kept.
    Gone,
}

impl Default for Ring {
    fn default() -> Self {
        // What comes has been read once, under a limit.
        Self { parser: Parser::new(usize::MAX), events: VecDeque::new(), first: 1, size: 0, comments: Vec::new(), numbered: true }
    }
}

impl Ring {
    /// One whose events go as they are: they are counted by their reader, and so numbered all the same.
    pub fn unnumbered() -> Self {
        Self { numbered: false, ..Self::default() }
    }

    /// Takes bytes of the stream; of the events that it then has, the newest are kept that fit into `most` bytes.
    pub fn write(&mut self, piece: Bytes, most: usize) {
        self.parser.push(piece);
        while let Some(Ok(frame)) = self.parser.next() {
            self.take(&frame);
            self.shrink(most, 1);
        }
    }

    /// The stream is over: an event whose blank line is only half there counts.
    pub fn finish(&mut self) {
        while let Some(Ok(frame)) = self.parser.finish() {
            if frame.complete {
                self.take(&frame);
            }
        }
    }

    /// What comes behind the event with this id; 0: behind nothing.
    pub fn behind(&self, id: u64) -> Behind {
        let Some(place) = id.saturating_add(1).checked_sub(self.first) else { return Behind::Gone };
        let event = usize::try_from(place).ok().and_then(|place| self.events.get(place));
        event.map_or(Behind::Nothing, |event| Behind::Event(event.clone()))
    }

    /// The last event's id; 0 before the first.
    pub fn last(&self) -> u64 {
        self.first + self.events.len() as u64 - 1
    }

    /// The bytes that it keeps.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Keeps nothing of what it has.
    pub fn clear(&mut self) {
        self.shrink(0, 0);
        self.events = VecDeque::new();
    }

    fn take(&mut self, frame: &Frame) {
        let raw = &frame.raw;
        if frame.data.is_none() {
            // An `id` of the upstream's would be taken for one of ours.
            if frame.comment && frame.id.is_none() && self.comments.len() + raw.len() <= MOST_COMMENTS {
                // Without its blank line: behind an `id` OpenAI's SDK for Python takes any for the end of an event.
                self.comments.extend_from_slice(raw.trim_ascii_end());
                self.comments.push(b'\n');
            }
            return;
        }
        let mut event = BytesMut::with_capacity(self.comments.len() + raw.len() + 26);
        event.extend_from_slice(&self.comments);
        self.comments.clear();
        if self.numbered {
            // Writing to memory doesn't fail.
            let _ = writeln!(event, "id: {}", self.last() + 1);
        }
        match frame.id {
            Some(_) => lines(raw).filter(|line| !is_id(line)).for_each(|line| event.extend_from_slice(line)),
            None => event.extend_from_slice(raw),
        }
        self.size += event.len() + ENTRY;
        self.events.push_back(event.freeze());
    }

    fn shrink(&mut self, most: usize, least: usize) {
        while self.size > most && self.events.len() > least {
            let Some(oldest) = self.events.pop_front() else { return };
            self.size -= oldest.len() + ENTRY;
            self.first += 1;
        }
    }
}

/// Lines with their ends, which are LF, CRLF or CR.
fn lines(mut rest: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let end = match memchr2(b'\n', b'\r', rest) {
            Some(at) if rest[at..].starts_with(b"\r\n") => at + 2,
            Some(at) => at + 1,
            None => rest.len(),
        };
        let (line, after) = rest.split_at(end);
        rest = after;
        (!line.is_empty()).then_some(line)
    })
}

fn is_id(line: &[u8]) -> bool {
    line.strip_prefix(b"id").is_some_and(|rest| rest.first().is_none_or(|byte| matches!(byte, b':' | b'\r' | b'\n')))
}

#[cfg(test)]
mod tests;
