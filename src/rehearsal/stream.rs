//! An answer as a stream: one server-sent event per item, at the script's pace, struck by its fault.
//!
//! Thousands of these wait at once in load tests, so an event is made when it is due and a timer exists only while one
//! is needed; at pace zero never. What is held is the answer's text, a few hundred bytes and, with a pace, one timer.

use std::fmt;
use std::mem::size_of;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use serde_json::json;
use tokio::time::Sleep;

use super::answer::{Answer, Said, ToolCall, Usage};
use super::completions;
use super::pieces::Pieces;
use super::script::CutEnd;
use super::simulator::Visit;
use super::waits::Waits;

/// A streamed body.
pub type EventStream = Pin<Box<dyn Stream<Item = Result<Bytes, Cut>> + Send>>;

/// The connection breaks here: what serves the body must not end it well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// Close it without the body's end mark.
    Fin,
    /// Reset it.
    Reset,
}

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Cut::Fin => "the rehearsed connection was closed within the body",
            Cut::Reset => "the rehearsed connection was reset",
        })
    }
}

impl std::error::Error for Cut {}

/// How a stream is struck, after so many items.
#[derive(Debug)]
pub(super) struct Strike {
    pub(super) after: u64,
    pub(super) blow: Blow,
}

/// What strikes it.
#[derive(Debug)]
pub(super) enum Blow {
    /// Nothing more, and no end.
    Hang,
    /// The end, too early.
    Cut(CutEnd),
    /// An error event, and the end.
    Error(Bytes),
}

/// What is streamed.
pub(super) enum Source {
    /// A chat answer.
    Events(Box<Events>),
    /// The first half of a plain answer; the second never comes.
    Half(Option<Bytes>),
}

/// A body being sent.
pub(super) struct Play {
    source: Source,
    strike: Option<Strike>,
    waits: Waits,
    timer: Option<Pin<Box<Sleep>>>,
    /// The wait before the next event is over.
    waited: bool,
    sent: u64,
    over: bool,
    visit: Visit,
}

impl Play {
    pub(super) fn new(source: Source, strike: Option<Strike>, waits: Waits, visit: Visit) -> Self {
        Self { source, strike, waits, timer: None, waited: false, sent: 0, over: false, visit }
    }

    fn is_struck(&self) -> bool {
        self.strike.as_ref().is_some_and(|strike| self.sent >= strike.after || self.source.is_ending())
    }

    fn strike(&mut self) -> Poll<Option<Result<Bytes, Cut>>> {
        let end = match self.strike.as_ref().map(|strike| &strike.blow) {
            // No waker is kept: only the caller can end this, by leaving.
            Some(Blow::Hang) => return Poll::Pending,
            Some(Blow::Cut(CutEnd::Fin)) => Some(Err(Cut::Fin)),
            Some(Blow::Cut(CutEnd::Reset)) => Some(Err(Cut::Reset)),
            Some(Blow::Error(event)) => Some(Ok(event.clone())),
            Some(Blow::Cut(CutEnd::Clean)) | None => None,
        };
        self.end();
        Poll::Ready(end)
    }

    fn end(&mut self) {
        self.over = true;
        self.timer = None;
        self.visit.served();
    }

    /// Waits for the next event's time.
    fn wait(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.waited {
            let usual = match self.source.beat() {
                Beat::AtOnce => Duration::ZERO,
                Beat::First => self.waits.first_token,
                Beat::Pace => self.waits.pace,
            };
            let wait = self.waits.draw(usual);
            self.waited = true;
            match &mut self.timer {
                timer if wait.is_zero() => *timer = None,
                Some(timer) => timer.set(tokio::time::sleep(wait)),
                timer => *timer = Some(Box::pin(tokio::time::sleep(wait))),
            }
        }
        if let Some(timer) = &mut self.timer {
            ready!(timer.as_mut().poll(cx));
        }
        self.waited = false;
        Poll::Ready(())
    }
}

impl Stream for Play {
    type Item = Result<Bytes, Cut>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let play = self.get_mut();
        if play.over {
            return Poll::Ready(None);
        }
        if play.is_struck() {
            return play.strike();
        }
        ready!(play.wait(cx));
        let event = play.source.next();
        play.sent += 1;
        // A reader may leave after the last event without asking whether there is more: that is no abort.
        if play.strike.is_none() && play.source.is_over() {
            play.end();
        }
        Poll::Ready(event.map(Ok))
    }
}

/// The wait before an event.
enum Beat {
    AtOnce,
    First,
    Pace,
}

impl Source {
    fn next(&mut self) -> Option<Bytes> {
        match self {
            Source::Events(events) => events.next(),
            Source::Half(half) => half.take(),
        }
    }

    fn beat(&self) -> Beat {
        match self {
            Source::Events(events) => events.beat(),
            Source::Half(_) => Beat::AtOnce,
        }
    }

    /// Only what ends it well is left: a strike comes now or never.
    fn is_ending(&self) -> bool {
        match self {
            Source::Events(events) => matches!(events.stage, Stage::Done | Stage::Over),
            Source::Half(half) => half.is_none(),
        }
    }

    fn is_over(&self) -> bool {
        match self {
            Source::Events(events) => events.stage == Stage::Over,
            Source::Half(half) => half.is_none(),
        }
    }
}

/// The events of a chat answer, each made when asked for. Choices come one after another.
pub(super) struct Events {
    /// What every chunk begins with.
    head: Box<str>,
    /// What each choice says, from its beginning.
    said: Said,
    /// What this choice has yet to say.
    rest: Rest,
    choice: u32,
    choices: u32,
    finish: &'static str,
    /// Where the caller asked for it.
    usage: Option<Usage>,
    stage: Stage,
    /// The first content is out.
    begun: bool,
    /// A completion's events, which have texts in place of deltas.
    in_texts: bool,
}

/// The kind of the next event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Role,
    Content,
    Usage,
    Done,
    Over,
}

impl Events {
    pub(super) fn new(answer: Answer, include_usage: bool) -> Self {
        Self {
            head: answer.head("chat.completion.chunk").into(),
            rest: Rest::of(&answer.said),
            said: answer.said,
            choice: 0,
            choices: answer.choices,
            finish: answer.finish,
            usage: include_usage.then_some(answer.usage),
            stage: Stage::Role,
            begun: false,
            in_texts: false,
        }
    }

    /// Of a completion.
    pub(super) fn completion(answer: Answer, include_usage: bool) -> Self {
        let head = answer.head(completions::OBJECT).into();
        Self { head, stage: Stage::Content, in_texts: true, ..Self::new(answer, include_usage) }
    }

    fn beat(&self) -> Beat {
        match self.stage {
            Stage::Content if self.rest.is_over() => Beat::AtOnce,
            Stage::Content if self.begun => Beat::Pace,
            Stage::Content => Beat::First,
            _ => Beat::AtOnce,
        }
    }

    fn role(&mut self) -> Bytes {
        self.stage = Stage::Content;
        let content = if matches!(self.said, Said::Text(_)) { "\"\"" } else { "null" };
        self.chunk(&format!(r#"{{"role":"assistant","content":{content},"refusal":null}}"#), "null")
    }

    fn content(&mut self) -> Bytes {
        let said = if self.in_texts { self.rest.next_text() } else { self.rest.next_delta() };
        if let Some(delta) = said {
            self.begun = true;
            return self.chunk(&delta, "null");
        }
        let nothing = if self.in_texts { "\"\"" } else { "{}" };
        let finish = self.chunk(nothing, &format!("\"{}\"", self.finish));
        self.choice += 1;
        self.stage = match (self.choice < self.choices, self.usage) {
            (true, _) if self.in_texts => Stage::Content,
            (true, _) => Stage::Role,
            (false, Some(_)) => Stage::Usage,
            (false, None) => Stage::Done,
        };
        self.rest = Rest::of(&self.said);
        finish
    }

    fn chunk(&self, delta: &str, finish: &str) -> Bytes {
        // With usage asked for, every other chunk says that it has none.
        let usage = if self.usage.is_some() { r#","usage":null"# } else { "" };
        let (head, choice, said) = (&self.head, self.choice, if self.in_texts { "text" } else { "delta" });
        Bytes::from(format!(
            "data: {head},\"choices\":[{{\"index\":{choice},\"{said}\":{delta},\"logprobs\":null,\"finish_reason\":{finish}}}]{usage}}}\n\n"
        ))
    }

    fn usage(&mut self) -> Bytes {
        self.stage = Stage::Done;
        let usage = self.usage.map_or(json!(null), Usage::json);
        Bytes::from(format!("data: {},\"choices\":[],\"usage\":{usage}}}\n\n", self.head))
    }
}

impl Iterator for Events {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        match self.stage {
            Stage::Role => Some(self.role()),
            Stage::Content => Some(self.content()),
            Stage::Usage => Some(self.usage()),
            Stage::Done => {
                self.stage = Stage::Over;
                Some(Bytes::from_static(b"data: [DONE]\n\n"))
            }
            Stage::Over => None,
        }
    }
}

/// What a choice has yet to say.
enum Rest {
    Text(Pieces),
    /// The calls, which of them, and what its arguments have yet to say once its name is out.
    Calls(Arc<[ToolCall]>, usize, Option<Pieces>),
}

impl Rest {
    fn of(said: &Said) -> Self {
        match said {
            Said::Text(pieces) => Rest::Text(pieces.clone()),
            Said::Calls(calls) => Rest::Calls(calls.clone(), 0, None),
        }
    }

    fn is_over(&self) -> bool {
        match self {
            Rest::Text(pieces) => pieces.left() == 0,
            Rest::Calls(calls, at, _) => *at >= calls.len(),
        }
    }

    /// The next words as a JSON string.
    fn next_text(&mut self) -> Option<String> {
        match self {
            Rest::Text(pieces) => pieces.next().map(|piece| json!(piece).to_string()),
            Rest::Calls(..) => None,
        }
    }

    /// The next `delta` object.
    fn next_delta(&mut self) -> Option<String> {
        match self {
            Rest::Text(pieces) => pieces.next().map(|piece| format!(r#"{{"content":{}}}"#, json!(piece))),
            Rest::Calls(calls, at, arguments) => {
                let call = calls.get(*at)?;
                let Some(pieces) = arguments else {
                    *arguments = Some(Pieces::characters(call.arguments.clone()));
                    let function = json!({"name": call.name, "arguments": ""});
                    return Some(
                        json!({"tool_calls": [{"index": *at, "id": call.id, "type": "function", "function": function}]}).to_string(),
                    );
                };
                let piece = pieces.next();
                let delta = json!({"tool_calls": [{"index": *at, "function": {"arguments": piece.unwrap_or_default()}}]});
                if pieces.left() == 0 {
                    (*at, *arguments) = (*at + 1, None);
                }
                Some(delta.to_string())
            }
        }
    }
}

/// An idle stream's own bytes, without its text and the timer.
const _: () = assert!(size_of::<Play>() + size_of::<Events>() < 640);
