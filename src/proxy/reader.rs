//! Reads an upstream's event stream: bytes through the parser and the relay to what goes on to the caller. The same before
//! the commit, when what it collects may still be thrown away, and after it; and for a later leg, whose words join what the
//! caller has.

mod event;
mod pricing;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use self::event::{completed, input, outcome};
use self::pricing::{priced, sum};
use super::outgoing::Outgoing;
use super::stitch::{Stitch, Stitched};
use super::tale::{Tale, words};
use crate::base::Tariff;
use crate::dialect::alike::Classifier;
use crate::dialect::openai::frame::{Kind, Seen};
use crate::dialect::{Begun, Tally, Wire, gemini};
use crate::health::Outcome;
use crate::stream::sse::{Frame, Parser, TooLarge};
use crate::stream::{Input, Phase, Relay, Step};

/// What reading has led to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// More has to come.
    More,
    /// The stream is whole; what was collected ends it.
    Finished,
    /// It failed, with this outcome.
    Failed(Outcome),
    /// It is another answer than the one that was begun.
    Differs,
}

/// What is to be read, and how.
#[derive(Debug)]
pub(super) struct Reading {
    /// The caller's dialect.
    pub(super) wire: Wire,
    /// The largest event, and the most that is held, in bytes.
    pub(super) max_event: usize,
    /// `n` of the request.
    pub(super) choices: u32,
    /// Whether the usage was asked for by the gateway alone.
    pub(super) hide_usage: bool,
    /// Whether tool calls are held until they are whole.
    pub(super) hold_tools: bool,
    /// What the request has used so far.
    pub(super) tally: Tally,
    /// What has been said so far, where another target could go on.
    pub(super) tale: Option<Box<Tale>>,
    /// What its tokens cost, where the caller's `usage` is to say so.
    pub(super) priced: Option<Arc<Tariff>>,
    /// Of a later leg: how it joins the tale.
    pub(super) stitch: Option<Box<Stitch>>,
}

/// See the module's text.
#[derive(Debug)]
pub(super) struct Reader {
    parser: Parser,
    classifier: Classifier,
    relay: Relay,
    out: Outgoing,
    how: Reading,
    held: Option<Held>,
    /// An event with data came since this was last asked: comments don't count as signs of life.
    lively: bool,
    /// Content came that is withheld.
    stirs: bool,
    /// An event with an `id` came.
    numbered: bool,
    /// Events with data so far, but for an error.
    events: u64,
    /// Events that were not JSON.
    pub(super) dropped: u64,
    /// Events with content since this was last set to none.
    pub(super) said: u32,
    /// The piece whose rest waits behind the first content.
    unread: Option<Bytes>,
}

/// How far a piece is read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Until {
    Content,
    End,
}

/// From a tool call's first piece on, everything up to the finish reason.
#[derive(Debug, Default)]
struct Held {
    events: Outgoing,
    spoke: u64,
    /// Of a later leg: what the caller has of the stream without it.
    begun: Option<Box<Begun>>,
}

impl Reader {
    pub(super) fn new(how: Reading) -> Self {
        let (parser, classifier, relay) = (Parser::new(how.max_event), Classifier::new(how.wire), Relay::new(how.choices));
        let numbered = how.tale.as_ref().is_some_and(|tale| tale.numbered);
        Self {
            parser,
            classifier,
            relay,
            out: Outgoing::default(),
            how,
            held: None,
            lively: false,
            stirs: false,
            numbered,
            events: 0,
            dropped: 0,
            said: 0,
            unread: None,
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

    /// Whether content came that is withheld: the target answers, though nothing may go out yet.
    pub(super) fn stirs(&self) -> bool {
        self.stirs
    }

    /// Bytes that wait to go out.
    pub(super) fn waiting(&self) -> usize {
        self.out.len()
    }

    /// How many events came: the number of the next, where they are numbered from 0.
    pub(super) fn events(&self) -> u64 {
        self.how.tale.as_ref().and_then(|tale| tale.begun.number()).unwrap_or(self.events)
    }

    /// Takes what may go out.
    pub(super) fn take(&mut self) -> Option<Bytes> {
        self.out.take()
    }

    /// What the request has used so far.
    pub(super) fn tally(&self) -> &Tally {
        &self.how.tally
    }

    /// Whether what is said is kept.
    pub(super) fn keeps_tale(&self) -> bool {
        self.how.tale.as_ref().is_some_and(|tale| tale.said.text().is_ok())
    }

    /// Whether events with an `id` went out.
    pub(super) fn numbered(&self) -> bool {
        self.numbered
    }

    /// What was said, and what it took; once reading is over.
    pub(super) fn take_tale(&mut self) -> Option<(Box<Tale>, Tally)> {
        let mut tale = self.how.tale.take()?;
        if let Some(begun) = self.held.take().and_then(|held| held.begun) {
            tale.begun = *begun;
        }
        tale.numbered = self.numbered;
        Some((tale, self.how.tally.clone()))
    }

    /// A piece of the body, while nothing of it has gone out. What stands behind the first content waits for [`Reader::rest`]: reading it
    /// would hold the first word back. An error there is still the next target's chance.
    pub(super) fn open(&mut self, piece: Bytes, codes: &BTreeMap<String, String>) -> Progress {
        self.parser.push(piece.clone());
        let progress = self.read(piece.clone(), Until::Content, codes);
        let behind = self.parser.pending();
        if progress != Progress::More || !self.committed() || behind == 0 {
            return progress;
        }
        let may_fail = self.how.wire.may_fail(&piece[piece.len().saturating_sub(behind)..]);
        self.unread = Some(piece);
        if may_fail || self.how.stitch.is_some() { self.rest(codes) } else { progress }
    }

    /// Whether something stands behind the first content in its piece.
    pub(super) fn has_rest(&self) -> bool {
        self.unread.is_some()
    }

    /// Reads that.
    pub(super) fn rest(&mut self, codes: &BTreeMap<String, String>) -> Progress {
        let piece = self.unread.take().unwrap_or_default();
        self.read(piece, Until::End, codes)
    }

    /// A piece of the body.
    pub(super) fn feed(&mut self, piece: Bytes, codes: &BTreeMap<String, String>) -> Progress {
        self.parser.push(piece.clone());
        self.read(piece, Until::End, codes)
    }

    /// What the parser has of this piece.
    fn read(&mut self, piece: Bytes, until: Until, codes: &BTreeMap<String, String>) -> Progress {
        self.out.source = piece;
        let mut progress = Progress::More;
        while progress == Progress::More
            && !(until == Until::Content && self.committed())
            && let Some(event) = self.parser.next()
        {
            progress = self.event(event, codes);
        }
        self.out.source = Bytes::new();
        // Held events may not grow without end either.
        if progress == Progress::More && !self.committed() && self.out.len() > self.how.max_event {
            return self.step(Input::TooLarge, Bytes::new(), None, codes);
        }
        progress
    }

    /// The body's end, or the connection's: what is left in the parser first.
    pub(super) fn end(&mut self, input: Input, codes: &BTreeMap<String, String>) -> Progress {
        while let Some(event) = self.parser.finish() {
            let progress = self.event(event, codes);
            if progress != Progress::More {
                return progress;
            }
        }
        self.step(input, Bytes::new(), None, codes)
    }

    fn event(&mut self, event: Result<Frame, TooLarge>, codes: &BTreeMap<String, String>) -> Progress {
        match event {
            Ok(frame) => self.frame(frame, codes),
            Err(_) => self.step(Input::TooLarge, Bytes::new(), None, codes),
        }
    }

    fn frame(&mut self, frame: Frame, codes: &BTreeMap<String, String>) -> Progress {
        let Frame { raw, data, event: name, id, error, comment, complete } = frame;
        let failed = error.as_ref().or(data.as_ref()).filter(|_| error.is_some() || name.as_deref() == Some(b"error"));
        if let Some(error) = failed {
            return self.step(Input::Error, Bytes::new(), Some(error), codes);
        }
        // To a client, an event without data is none; some dispatch it all the same, and break on it as on no JSON.
        let said = data.filter(|data| !data.trim_ascii().is_empty());
        if said.is_none() && (!complete || !comment || name.is_some() || id.is_some()) {
            return Progress::More;
        }
        self.numbered |= id.is_some();
        let Some(data) = said else {
            // Gemini's SDKs take a comment for an answer.
            let comment = if self.how.wire == Wire::Gemini { Bytes::new() } else { self.comment(raw) };
            return self.step(Input::Idle, comment, None, codes);
        };
        let event = if complete { raw } else { completed(&raw) };
        let seen = self.classifier.classify(&data);
        self.lively |= seen.kind != Kind::Ping;
        // Of what is withheld the caller has nothing yet.
        let withheld = self.held.is_some() || self.how.hold_tools && seen.tool_call;
        if let (Some(tale), None, false) = (&mut self.how.tale, &self.how.stitch, withheld) {
            tale.begun.note(&data, &seen);
        }
        let event = match (&self.how.priced, &seen.usage) {
            (Some(tariff), Some(span)) => priced(&data, span, tariff).unwrap_or(event),
            _ => event,
        };
        let input = input(&seen, complete);
        self.said += u32::from(matches!(input, Input::Content { spoke, .. } if spoke != 0));
        let words = seen.text.clone().filter(|_| matches!(input, Input::Content { .. })).map(|span| words(&data, span));
        self.count(input, &data, &seen, words.as_deref());
        self.events += u64::from(input != Input::Error);
        match input {
            Input::Idle | Input::Content { .. } if self.how.stitch.is_some() => self.stitch(input, &data, &seen, codes),
            Input::Idle if self.how.hide_usage && seen.usage.is_some() && seen.choices == 0 => {
                self.step(Input::Idle, Bytes::new(), None, codes)
            }
            Input::Idle => self.pass(input, &seen, event, None, codes),
            Input::Content { .. } => self.pass(input, &seen, event, words.as_deref(), codes),
            Input::Terminal => match self.last_words(codes) {
                Progress::More => {
                    let event = self.ending(&data, codes).unwrap_or(event);
                    self.step(input, event, Some(&data), codes)
                }
                other => other,
            },
            // Of Responses the error stands within the response that it ended.
            _ => match seen.error.filter(|_| self.how.wire == Wire::Responses) {
                Some(error) => self.step(input, event, Some(&data.slice(error)), codes),
                None => self.step(input, event, Some(&data), codes),
            },
        }
    }

    /// A comment as it may go out. Behind an `id` OpenAI's SDK for Python takes any blank line for an event.
    fn comment(&self, raw: Bytes) -> Bytes {
        if self.numbered { [raw.trim_ascii_end(), b"\n"].concat().into() } else { raw }
    }

    /// What an event costs: by what it says, and then by what it tells of usage, which covers its own words too.
    fn count(&mut self, input: Input, data: &[u8], seen: &Seen, words: Option<&str>) {
        match (input, words) {
            (Input::Content { .. }, Some(words)) => self.how.tally.words(words),
            (Input::Content { .. }, None) => self.how.tally.pieces(seen.spoke.count_ones()),
            _ => {}
        }
        if let Some(usage) = &seen.usage {
            match self.how.wire {
                Wire::OpenAi | Wire::Responses => self.how.tally.usage(&data[usage.clone()]),
                Wire::Anthropic => self.how.tally.more_usage(&data[usage.clone()]),
                Wire::Gemini => self.how.tally.said(gemini::usage(&data[usage.clone()])),
            }
        }
    }

    /// An event of a later leg.
    fn stitch(&mut self, input: Input, data: &Bytes, seen: &Seen, codes: &BTreeMap<String, String>) -> Progress {
        self.stirs |= matches!(input, Input::Content { .. });
        let (Some(stitch), Some(tale)) = (&mut self.how.stitch, &mut self.how.tale) else { return Progress::More };
        if self.how.hold_tools && seen.tool_call && self.held.is_none() {
            self.held = Some(Held { begun: Some(Box::new(tale.begun.clone())), ..Held::default() });
        }
        match stitch.event(data, seen, &mut tale.begun, &self.how.tally.total().0) {
            Stitched::Nothing => self.step(Input::Idle, Bytes::new(), None, codes),
            Stitched::Event(event, words) => {
                let input = Input::Content { spoke: u64::from(words.is_some() || seen.spoke != 0), finished: seen.finished };
                self.pass(input, seen, event, words.as_deref(), codes)
            }
            Stitched::Differs => Progress::Differs,
        }
    }

    /// Before the terminal event: what is withheld goes out.
    fn last_words(&mut self, codes: &BTreeMap<String, String>) -> Progress {
        if let (Some(stitch), Some(tale)) = (&mut self.how.stitch, &mut self.how.tale) {
            match stitch.end(&mut tale.begun) {
                Stitched::Nothing => {}
                Stitched::Event(event, words) => {
                    self.pass(Input::Content { spoke: 1, finished: 0 }, &Seen::default(), event, words.as_deref(), codes);
                }
                Stitched::Differs => return Progress::Differs,
            }
        }
        match self.held.take() {
            Some(mut held) => {
                let seen = Seen { tool_call: true, ..Seen::default() };
                self.send(Input::Content { spoke: held.spoke, finished: 0 }, &seen, held.events.take().unwrap_or_default(), None, codes)
            }
            None => Progress::More,
        }
    }

    /// Of a later leg: what ends the answer, where the leg's own end doesn't. Nothing may have been left to say.
    fn ending(&mut self, data: &[u8], codes: &BTreeMap<String, String>) -> Option<Bytes> {
        let (Some(stitch), Some(tale)) = (&mut self.how.stitch, &mut self.how.tale) else { return None };
        let event = stitch.ending(data, &mut tale.begun, &self.how.tally.total().0)?;
        self.step(Input::Content { spoke: 0, finished: 0 }, Bytes::new(), None, codes);
        Some(event)
    }

    /// An event that may go out, unless it belongs to a tool call that isn't whole.
    fn pass(&mut self, input: Input, seen: &Seen, event: Bytes, words: Option<&str>, codes: &BTreeMap<String, String>) -> Progress {
        if self.held.is_none() && !(self.how.hold_tools && seen.tool_call) {
            return self.send(input, seen, event, words, codes);
        }
        let held = self.held.get_or_insert_default();
        held.events.push(event);
        if let Input::Content { spoke, .. } = input {
            held.spoke |= spoke;
            self.stirs = true;
        }
        if !seen.finish && held.events.len() <= self.how.max_event {
            return self.step(Input::Idle, Bytes::new(), None, codes);
        }
        let Some(mut held) = self.held.take() else { return Progress::More };
        // A call that is too large to be held flows from here on.
        self.how.hold_tools &= seen.finish;
        let seen = Seen { tool_call: true, ..seen.clone() };
        let input = Input::Content { spoke: held.spoke, finished: seen.finished };
        self.send(input, &seen, held.events.take().unwrap_or_default(), None, codes)
    }

    fn send(&mut self, input: Input, seen: &Seen, event: Bytes, words: Option<&str>, codes: &BTreeMap<String, String>) -> Progress {
        if let Some(tale) = &mut self.how.tale {
            tale.tell(seen, words);
        }
        self.step(input, event, None, codes)
    }

    fn step(&mut self, input: Input, event: Bytes, data: Option<&Bytes>, codes: &BTreeMap<String, String>) -> Progress {
        match self.relay.on(input) {
            Step::Hold | Step::Commit | Step::Forward => {
                self.out.push(event);
                Progress::More
            }
            Step::Drop => {
                self.dropped += 1;
                Progress::More
            }
            Step::Finish { add_terminal } => {
                self.used();
                self.out.push(if add_terminal { Bytes::from_static(self.how.wire.terminal()) } else { event });
                Progress::Finished
            }
            Step::TryNext(failure) | Step::Fail(failure) => Progress::Failed(outcome(failure, data, codes)),
            Step::Ignore => Progress::Finished,
        }
    }

    /// At the end of a later leg: one usage, the sum of all.
    fn used(&mut self) {
        if let (Some(stitch), Some(tale)) = (&self.how.stitch, &self.how.tale)
            && stitch.wants_usage
        {
            let usage = sum(&self.how.tally, self.how.priced.as_deref());
            self.out.push(tale.begun.usage(&usage).unwrap_or_default());
        }
    }
}

#[cfg(test)]
mod tests;
