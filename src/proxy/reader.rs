//! Reads an upstream's event stream: bytes through the parser and the relay to what goes on to the caller. The same before
//! the commit, when what it collects may still be thrown away, and after it.

use std::collections::BTreeMap;

use bytes::{Bytes, BytesMut};

use crate::dialect::fault::error_in_answer;
use crate::dialect::openai::frame::{Kind, classify};
use crate::dialect::scan::error_parts;
use crate::dialect::usage;
use crate::health::{Failure, Outcome};
use crate::stream::sse::{Frame, Parser};
use crate::stream::{Input, Phase, Relay, Step};

const TERMINAL: &[u8] = b"data: [DONE]\n\n";

/// What reading has led to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// More has to come.
    More,
    /// The stream is whole; what was collected ends it.
    Finished,
    /// It failed, with this outcome.
    Failed(Outcome),
}

/// See the module's text.
#[derive(Debug)]
pub(super) struct Reader {
    parser: Parser,
    relay: Relay,
    out: Outgoing,
    /// An event with data came since this was last asked: comments don't count as signs of life.
    lively: bool,
    /// Tokens that the stream cost, as its usage says.
    pub(super) used: Option<u64>,
    /// Events that were not JSON.
    pub(super) dropped: u64,
    max_event: usize,
}

impl Reader {
    pub(super) fn new(max_event: usize, choices: u32) -> Self {
        Self {
            parser: Parser::new(max_event),
            relay: Relay::new(choices),
            out: Outgoing::default(),
            lively: false,
            used: None,
            dropped: 0,
            max_event,
        }
    }

    /// Whether content was seen, so that what was collected may go out.
    pub(super) fn committed(&self) -> bool {
        matches!(self.relay.phase(), Phase::Flowing | Phase::Done)
    }

    /// Whether only the terminal event is missing.
    pub(super) fn finished(&self) -> bool {
        self.relay.finished()
    }

    /// Whether an event with data came since the last call.
    pub(super) fn was_lively(&mut self) -> bool {
        std::mem::take(&mut self.lively)
    }

    /// Takes what may go out.
    pub(super) fn take(&mut self) -> Option<Bytes> {
        self.out.take()
    }

    /// A piece of the body.
    pub(super) fn feed(&mut self, piece: Bytes, codes: &BTreeMap<String, String>) -> Progress {
        self.out.source = piece.clone();
        self.parser.push(piece);
        let progress = self.drain(codes);
        self.out.source = Bytes::new();
        // Held events may not grow without end either.
        if progress == Progress::More && !self.committed() && self.out.len() > self.max_event {
            return self.input(Input::TooLarge, None, codes);
        }
        progress
    }

    /// The body's end, or the connection's: what is left in the parser first.
    pub(super) fn end(&mut self, input: Input, codes: &BTreeMap<String, String>) -> Progress {
        while let Some(event) = self.parser.finish() {
            let progress = match event {
                Ok(frame) => self.frame(frame, codes),
                Err(_) => self.input(Input::TooLarge, None, codes),
            };
            if progress != Progress::More {
                return progress;
            }
        }
        self.input(input, None, codes)
    }

    fn drain(&mut self, codes: &BTreeMap<String, String>) -> Progress {
        while let Some(event) = self.parser.next() {
            let progress = match event {
                Ok(frame) => self.frame(frame, codes),
                Err(_) => self.input(Input::TooLarge, None, codes),
            };
            if progress != Progress::More {
                return progress;
            }
        }
        Progress::More
    }

    fn frame(&mut self, frame: Frame, codes: &BTreeMap<String, String>) -> Progress {
        let input = match &frame.data {
            None => Input::Idle,
            Some(data) => {
                self.lively = true;
                let seen = classify(data);
                if let Some(span) = seen.usage {
                    self.used = usage(&data[span]).map(|usage| usage.total()).or(self.used);
                }
                match seen.kind {
                    Kind::Done => Input::Terminal,
                    Kind::NotJson => Input::NotJson,
                    // Cut inside a character it is a cut event, not a wrong one.
                    Kind::NotUtf8 if frame.complete => Input::NotText,
                    Kind::NotUtf8 => Input::NotJson,
                    Kind::Error => Input::Error,
                    Kind::Content => Input::Content { spoke: seen.spoke, finished: seen.finished },
                    Kind::Empty if seen.finish => Input::Content { spoke: 0, finished: seen.finished },
                    Kind::Empty => Input::Idle,
                }
            }
        };
        self.input(input, Some(frame), codes)
    }

    fn input(&mut self, input: Input, frame: Option<Frame>, codes: &BTreeMap<String, String>) -> Progress {
        match self.relay.on(input) {
            Step::Hold | Step::Commit | Step::Forward => {
                self.send(frame);
                Progress::More
            }
            Step::Drop => {
                self.dropped += 1;
                Progress::More
            }
            Step::Finish { add_terminal } => {
                if add_terminal {
                    self.out.push(Bytes::from_static(TERMINAL));
                } else {
                    self.send(frame);
                }
                Progress::Finished
            }
            Step::TryNext(failure) | Step::Fail(failure) => Progress::Failed(outcome(failure, frame.as_ref(), codes)),
            Step::Ignore => Progress::Finished,
        }
    }

    fn send(&mut self, frame: Option<Frame>) {
        let Some(frame) = frame else { return };
        let missing = match frame.raw.ends_with(b"\n") {
            _ if frame.complete => "",
            true => "\n",
            false => "\n\n",
        };
        self.out.push(frame.raw);
        self.out.push(Bytes::from_static(missing.as_bytes()));
    }
}

fn outcome(failure: Failure, frame: Option<&Frame>, codes: &BTreeMap<String, String>) -> Outcome {
    match (failure, frame.and_then(|frame| frame.data.as_ref())) {
        (Failure::ErrorBody, Some(data)) => error_in_answer(&error_parts(data), codes),
        _ => Outcome::Transient(failure),
    }
}

/// Bytes to go out. Events that lie side by side in one piece of the upstream's go out as one slice of it.
#[derive(Debug, Default)]
struct Outgoing {
    source: Bytes,
    ready: Bytes,
    copied: BytesMut,
}

impl Outgoing {
    fn len(&self) -> usize {
        self.ready.len() + self.copied.len()
    }

    fn push(&mut self, raw: Bytes) {
        if raw.is_empty() {
            return;
        }
        if !self.copied.is_empty() {
            self.copied.extend_from_slice(&raw);
        } else if self.ready.is_empty() {
            self.ready = raw;
        } else if let Some(joined) = self.joined(&raw) {
            self.ready = joined;
        } else {
            self.copied.reserve(self.ready.len() + raw.len());
            self.copied.extend_from_slice(&std::mem::take(&mut self.ready));
            self.copied.extend_from_slice(&raw);
        }
    }

    /// Both as one slice of the source, where they are side by side in it.
    fn joined(&self, raw: &Bytes) -> Option<Bytes> {
        let base = self.source.as_ptr() as usize;
        let start = (self.ready.as_ptr() as usize).checked_sub(base)?;
        let middle = (raw.as_ptr() as usize).checked_sub(base)?;
        let end = middle + raw.len();
        (start + self.ready.len() == middle && end <= self.source.len()).then(|| self.source.slice(start..end))
    }

    fn take(&mut self) -> Option<Bytes> {
        if !self.copied.is_empty() {
            return Some(std::mem::take(&mut self.copied).freeze());
        }
        let ready = std::mem::take(&mut self.ready);
        (!ready.is_empty()).then_some(ready)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn word(text: &str) -> String {
        format!("data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{text}\"}},\"finish_reason\":null}}]}}\n\n")
    }

    fn stream() -> String {
        let role = "data: {\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\"},\"finish_reason\":null}]}\n\n";
        let end = "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n";
        format!("{role}: note\n\n{}{}{end}", word("one"), word(" zwölf"))
    }

    fn run(pieces: impl IntoIterator<Item = Bytes>) -> (Vec<u8>, Progress) {
        let codes = BTreeMap::new();
        let mut reader = Reader::new(1 << 20, 1);
        let mut sent = Vec::new();
        for piece in pieces {
            let progress = reader.feed(piece, &codes);
            if reader.committed()
                && let Some(out) = reader.take()
            {
                sent.extend_from_slice(&out);
            }
            if progress != Progress::More {
                return (sent, progress);
            }
        }
        let progress = reader.end(Input::Eof, &codes);
        if reader.committed()
            && let Some(out) = reader.take()
        {
            sent.extend_from_slice(&out);
        }
        (sent, progress)
    }

    #[test]
    fn untouched_in_every_chunking() {
        let whole = Bytes::from(stream());
        for size in 1..=64 {
            let pieces = (0..whole.len()).step_by(size).map(|at| whole.slice(at..(at + size).min(whole.len())));
            let (sent, progress) = run(pieces);
            assert_eq!(progress, Progress::Finished);
            assert_eq!(sent, whole, "in pieces of {size}");
        }
    }

    #[test]
    fn cut_anywhere_before_the_finish_reason_it_fails() {
        let whole = Bytes::from(stream());
        let finish = stream().find("data: {\"choices\":[{\"index\":0,\"delta\":{},").unwrap();
        let enough = whole.len() - "\n\ndata: [DONE]\n\n".len();
        for cut in 0..whole.len() {
            let (sent, progress) = run([whole.slice(..cut)]);
            if cut < enough {
                assert_eq!(progress, Progress::Failed(Outcome::Transient(Failure::Truncated)), "cut at {cut}");
                assert!(!String::from_utf8_lossy(&sent).contains("[DONE]"));
                assert!(sent.len() <= finish.max(cut));
            } else {
                assert_eq!(progress, Progress::Finished, "cut at {cut}");
                assert!(sent.ends_with(TERMINAL));
            }
        }
    }

    #[test]
    fn side_by_side_events_are_one_slice() {
        let piece = Bytes::from(word("a") + &word("b"));
        let mut reader = Reader::new(1 << 20, 1);
        reader.feed(piece.clone(), &BTreeMap::new());
        let out = reader.take().unwrap();
        assert_eq!((out.as_ptr(), out.len()), (piece.as_ptr(), piece.len()));
    }

    #[test]
    fn endless_comments_before_the_content_are_too_large() {
        let mut reader = Reader::new(1_000, 1);
        let comment = Bytes::from(format!(": {}\n\n", "x".repeat(100)));
        let failed = (0..100).map(|_| reader.feed(comment.clone(), &BTreeMap::new())).find(|p| *p != Progress::More);
        assert_eq!(failed, Some(Progress::Failed(Outcome::Transient(Failure::TooLarge))));
    }

    proptest! {
        #[test]
        fn any_bytes_never_panic_and_never_finish_by_themselves(pieces in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..80), 0..20)) {
            let (_, progress) = run(pieces.into_iter().map(Bytes::from));
            prop_assert!(matches!(progress, Progress::Failed(_)));
        }
    }
}
