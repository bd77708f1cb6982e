//! One attempt at a target that doesn't speak the caller's dialect: the request in its words, and what it answers in the
//! caller's. Made once per attempt, and only where the two differ: a target of the caller's own dialect never sees this.
//!
//! Everything behind it (relay, recovery, usage, the caller) sees the caller's dialect only.

use std::pin::Pin;
use std::task::{Context, Poll};

use actix_web::http::header::{HeaderName, HeaderValue};
use bytes::Bytes;
use futures_util::Stream;

use super::client::Incoming;
use super::prepared::{Asked, Prepared};
use super::worker::Worker;
use crate::dialect::chat::Delta;
use crate::dialect::scan::{ErrorParts, answer, as_event};
use crate::dialect::seam::{Misread, StreamReader, StreamWriter, Unfit, Written};
use crate::dialect::{Usage, Wire};
use crate::health::Failure;
use crate::routing::Target;
use crate::stream::Way;
use crate::stream::sse::{Frame, Parser};

/// Callers' headers that mean something to their own dialect's vendor alone.
const VENDORS: [&str; 3] = ["openai-", "anthropic-", "x-goog-"];

/// A larger body is translated off the worker's thread.
const LARGE: usize = 256 << 10;

/// See the module's text.
#[derive(Debug)]
pub(super) struct Foreign {
    caller: Wire,
    target: Wire,
    /// Seconds since 1970.
    now: u64,
    /// How many answers are asked for.
    choices: u32,
    /// The request, as it is sent.
    pub(super) body: Bytes,
    /// What of it was left out.
    pub(super) dropped: Vec<String>,
    /// The caller's headers that pass.
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
}

/// What was said before another target goes on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Half<'a> {
    pub(super) way: Way,
    pub(super) said: &'a str,
    /// Tokens of it, or about.
    pub(super) tokens: u64,
}

impl Half<'_> {
    fn owned(self) -> OwnHalf {
        OwnHalf { way: self.way, said: self.said.to_owned(), tokens: self.tokens }
    }
}

/// The same, for another thread.
struct OwnHalf {
    way: Way,
    said: String,
    tokens: u64,
}

impl OwnHalf {
    fn borrowed(&self) -> Half<'_> {
        Half { way: self.way, said: &self.said, tokens: self.tokens }
    }
}

/// What a request's translation needs besides its body and the target's model.
#[derive(Clone, Copy)]
struct Asking {
    caller: Wire,
    target: Wire,
    stream: bool,
    tell_usage: bool,
}

impl Asking {
    fn written(self, body: &[u8], model: &str, half: Option<Half<'_>>) -> Result<Written, Unfit> {
        let mut chat = self.caller.seam().read_request(body)?;
        chat.model = model.into();
        // Gemini's stands in the path.
        chat.stream = self.stream;
        chat.tell_usage |= self.tell_usage;
        if let Some(Half { way, said, tokens }) = half
            && !chat.go_on(way, said, tokens)
        {
            return Err(Unfit::new("what was said so far"));
        }
        self.target.seam().write_request(&chat)
    }
}

/// `request`: the caller's own, for dialects whose answers repeat it.
fn told(caller: Wire, target: Wire, now: u64, (request, body): (&[u8], &[u8])) -> Result<Option<(Bytes, Option<Usage>)>, Misread> {
    let says_error = memchr::memmem::find(body, b"\"error\"").is_some();
    if says_error && answer(body).is_ok_and(|seen| seen.error.is_some()) {
        return Ok(None);
    }
    let answer = target.seam().read_answer(body)?;
    Ok(Some((caller.seam().write_answer_to(request, &answer, now), answer.spent)))
}

/// Does work on a thread for such; None where that panicked.
async fn apart<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    Box::pin(actix_rt::task::spawn_blocking(work)).await.ok()
}

impl Foreign {
    /// For this target; None where it speaks the caller's dialect. `half`: what it is to go on with.
    ///
    /// # Errors
    /// Where the request can't be said in its dialect.
    pub(super) async fn at(
        worker: &Worker,
        request: &Prepared,
        target: &Target,
        half: Option<Half<'_>>,
    ) -> Result<Option<Box<Self>>, Unfit> {
        let Some(upstream) = worker.upstream(target.provider.place) else { return Ok(None) };
        let (caller, dialect) = (request.wire, upstream.dialect().wire());
        if upstream.speaks(caller) {
            return Ok(None);
        }
        match request.asked {
            Asked::Chat => {}
            Asked::Tokens => return Err(Unfit::new("the question for a count of tokens")),
            Asked::Passed(endpoint) => return Err(Unfit::new(format!("a request for {}", endpoint.row().asks))),
        }
        let model = request.upstream_model(target);
        let asking = Asking { caller, target: dialect, stream: request.scan.stream, tell_usage: upstream.tells_usage() };
        let written = if request.body.len() <= LARGE {
            asking.written(&request.body, model, half)?
        } else {
            // Other requests of this worker don't wait for it.
            let (body, model, half) = (request.body.clone(), model.to_owned(), half.map(Half::owned));
            let work = move || asking.written(&body, &model, half.as_ref().map(OwnHalf::borrowed));
            apart(work).await.unwrap_or_else(|| Err(Unfit::new("a body that can't be read")))?
        };
        let own = |name: &HeaderName| VENDORS.iter().any(|vendor| name.as_str().starts_with(vendor));
        let now = worker.gateway.clock.wall().as_secs();
        let headers = request.headers.iter().filter(|(name, _)| !own(name)).cloned().collect();
        let Written { body, dropped } = written;
        Ok(Some(Box::new(Self { caller, target: dialect, now, choices: request.scan.n, body, dropped, headers })))
    }

    /// A whole answer in the caller's dialect, and what it used where it says that. None where it is an error in place of one.
    ///
    /// # Errors
    /// Where it is neither.
    pub(super) async fn answer(&self, request: &Bytes, body: &Bytes) -> Result<Option<(Bytes, Option<Usage>)>, Misread> {
        let (caller, target, now) = (self.caller, self.target, self.now);
        if body.len() <= LARGE {
            return told(caller, target, now, (request, body));
        }
        let (request, body) = (request.clone(), body.clone());
        apart(move || told(caller, target, now, (&request, &body))).await.unwrap_or(Err(Misread))
    }

    /// A refusal in the caller's dialect.
    pub(super) fn refusal(&self, status: u16, parts: &ErrorParts) -> Bytes {
        self.caller.seam().write_refusal(status, parts)
    }

    /// A streamed answer in the caller's dialect, of which `first` has come.
    pub(super) fn stream(&self, request: &Prepared, first: Bytes, rest: Incoming, max_event: usize) -> Incoming {
        let mut parser = Parser::new(max_event);
        parser.push(first);
        let (reader, writer) = (self.target.seam().stream_reader(), self.caller.seam().stream_writer_to(&request.body, self.now));
        Box::pin(Translated { rest: Some(rest), parser, reader, writer, failed: None, open: Some(self.choices) })
    }
}

/// A stream of the target's, told in the caller's dialect as it comes.
struct Translated {
    /// None once it has ended.
    rest: Option<Incoming>,
    parser: Parser,
    reader: Box<dyn StreamReader>,
    writer: Box<dyn StreamWriter>,
    /// Told once everything before it was.
    failed: Option<Failure>,
    /// How many answers haven't told why they ended: with none, only the terminal event is missing, which some leave out. None
    /// once it is whole.
    open: Option<u32>,
}

impl Translated {
    /// What the parser has, translated.
    fn drain(&mut self) -> Vec<u8> {
        // About as much comes out of it.
        let mut out = Vec::with_capacity(self.parser.pending());
        let ended = self.rest.is_none();
        loop {
            let event = match self.parser.next() {
                None if ended => self.parser.finish(),
                event => event,
            };
            match event {
                None if ended && self.failed.is_none() && self.open == Some(0) => {
                    self.open = None;
                    self.writer.write(&Delta::End, &mut out);
                    return out;
                }
                None => return out,
                Some(Ok(frame)) => self.translate(&frame, &mut out),
                Some(Err(_)) => {
                    self.failed = Some(Failure::TooLarge);
                    self.rest = None;
                    return out;
                }
            }
        }
    }

    fn translate(&mut self, frame: &Frame, out: &mut Vec<u8>) {
        if frame.error.is_some() || frame.event.as_deref() == Some(b"error") {
            // An error is one in any dialect: whoever reads this tells what it means.
            return out.extend_from_slice(&frame.raw);
        }
        let Some(data) = &frame.data else { return };
        let (writer, open) = (&mut self.writer, &mut self.open);
        let read = self.reader.read(data, &mut |delta: Delta<'_>| {
            match delta {
                Delta::End => *open = None,
                Delta::Finish { .. } => *open = open.map(|open| open.saturating_sub(1)),
                // It went on after a reason that was none.
                Delta::Text { .. } | Delta::Arguments { .. } if *open == Some(0) => *open = Some(1),
                _ => {}
            }
            writer.write(&delta, out);
        });
        if read.is_err() && frame.complete {
            // Whoever reads this counts what is no event.
            out.extend_from_slice(&as_event(data));
        }
    }
}

impl Stream for Translated {
    type Item = Result<Bytes, Failure>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        loop {
            let out = this.drain();
            if !out.is_empty() {
                return Poll::Ready(Some(Ok(out.into())));
            }
            let Some(rest) = &mut this.rest else { return Poll::Ready(this.failed.take().map(Err)) };
            match std::task::ready!(rest.as_mut().poll_next(cx)) {
                Some(Ok(piece)) => this.parser.push(piece),
                Some(Err(failure)) => (this.failed, this.rest) = (Some(failure), None),
                None => this.rest = None,
            }
        }
    }
}
