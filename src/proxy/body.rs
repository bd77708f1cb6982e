//! The body of a streamed answer: heartbeats, the committed stream, what goes on with it where it breaks, and an error event
//! where nothing can. Never a silent cut, never an end that looks like success.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use actix_web::body::{BodySize, MessageBody};
use bytes::Bytes;
use tokio::sync::futures::OwnedNotified;

use super::cache::{Author, Tap};
use super::failover::{Served, Stream};
use super::fault::Fault;
use super::live::{Live, Piece};
use super::prepared::Prepared;
use super::reckoning::{Counting, counting, kept_prompt, reckoning};
use super::record::{GONE, LEFT, Record, Wrong};
use super::recovery::{Ground, Mended, Mending, mend};
use super::stream_error::{ErrorEvent, StreamError};
use super::watch::Watch;
use super::worker::Worker;
use crate::base::Moment;
use crate::dialect::Wire;

/// A request that is still on its way through the chain.
pub type Running = Pin<Box<dyn Future<Output = (Result<Served, Fault>, Box<Record>)>>>;

/// What broke first: the one failure that the caller is told of, should nothing go on.
struct First {
    message: String,
    timeout: bool,
}

/// See the module's text.
pub struct StreamBody {
    worker: Rc<Worker>,
    request: Option<Rc<Prepared>>,
    state: State,
    record: Option<Box<Record>>,
    /// What it takes to go on, where somebody could.
    ground: Option<Box<Ground>>,
    first: Option<First>,
    /// The messages of a request that was let go, where its prompt may have to be counted.
    prompt: Option<Box<[u8]>>,
    /// Collects it, where it is to be kept.
    tap: Option<Box<Tap>>,
    beat: Duration,
    /// The caller's dialect, which says what a heartbeat is.
    wire: Wire,
    last_sent: Moment,
    watch: Watch,
    /// The first piece was handed over, and nothing since: see [`StreamBody::next`].
    first_waits: bool,
    /// Events with an `id` went out before it broke.
    numbered: bool,
    /// The number of the event that tells so, of a dialect that numbers them.
    number: u64,
    flowing: bool,
    closing: Pin<Box<OwnedNotified>>,
    /// Whom the end of the grace wakes.
    wakes: Option<Waker>,
    error_event: ErrorEvent,
}

enum State {
    /// The head went out with a heartbeat; failover goes on unseen.
    Running(Running),
    Live(Box<Live>),
    /// It broke; somebody else is asked to go on.
    Mending(Mending),
    /// Its usage is counted, before its last bytes go.
    Counting(Counting, Option<Bytes>),
    Over,
}

impl StreamBody {
    /// Of a stream whose first content is there.
    pub fn live(worker: Rc<Worker>, request: Rc<Prepared>, stream: Stream, record: Box<Record>, error_event: ErrorEvent) -> Self {
        let mut body = Self::new(worker, request, State::Over, Some(record), error_event);
        body.go_live(stream);
        body
    }

    /// Of a request that has no answer yet: begins with a heartbeat.
    pub fn running(worker: Rc<Worker>, request: Rc<Prepared>, running: Running, error_event: ErrorEvent) -> Self {
        let mut body = Self::new(worker, request, State::Running(running), None, error_event);
        body.last_sent = Moment::START;
        body
    }

    /// The same, silent where there is nothing to say.
    pub(super) fn without_heartbeats(&mut self) {
        self.beat = Duration::ZERO;
    }

    /// Whether nothing more comes.
    pub(super) fn is_over(&self) -> bool {
        matches!(self.state, State::Over)
    }

    fn new(worker: Rc<Worker>, request: Rc<Prepared>, state: State, record: Option<Box<Record>>, error_event: ErrorEvent) -> Self {
        let clock = worker.gateway.clock;
        let closing = Box::pin(worker.closing().notified_owned());
        let wire = request.wire;
        let (beat, last_sent) = (worker.edition.settings.server.heartbeat, clock.now());
        let tap = request.cache.as_ref().map(Tap::new);
        Self {
            worker,
            request: Some(request),
            state,
            record,
            ground: None,
            first: None,
            prompt: None,
            tap,
            beat,
            wire,
            last_sent,
            watch: Watch::new(clock),
            first_waits: false,
            numbered: false,
            number: 0,
            flowing: false,
            closing,
            wakes: None,
            error_event,
        }
    }

    fn go_live(&mut self, Stream { live, onward }: Stream) {
        if let Some(record) = &mut self.record {
            record.begins();
            record.first_token_ms = live.first_token().map(|time| time.as_millis() as u64);
        }
        if let (Some(tap), Some(request)) = (&mut self.tap, &self.request) {
            tap.served(|| Author::of(request, &live.taken().target));
        }
        // The request is let go where nobody could go on with its stream: its body may be large.
        let request = self.request.take();
        if let Some(request) = request.as_ref().filter(|_| !live.may_be_continued() && !live.is_settled()) {
            self.prompt = kept_prompt(request.messages());
        }
        let request = request.filter(|_| live.may_be_continued());
        self.ground = request.map(|request| Box::new(Ground { request, onward }));
        self.state = State::Live(live);
    }

    /// Whether the grace is over; its end wakes the task. Whoever waits for it already isn't entered again.
    fn is_closing(&mut self, cx: &mut Context<'_>) -> bool {
        if self.worker.gateway.is_closing() {
            return true;
        }
        if self.wakes.as_ref().is_some_and(|wakes| wakes.will_wake(cx.waker())) {
            return false;
        }
        self.wakes = Some(cx.waker().clone());
        self.closing.as_mut().poll(cx).is_ready()
    }

    fn sent(&mut self, bytes: Bytes) -> Poll<Option<Bytes>> {
        if !self.beat.is_zero() {
            self.last_sent = self.worker.gateway.clock.now();
        }
        Poll::Ready(Some(bytes))
    }

    /// Ends it with its last bytes. What its upstream didn't tell is counted before they go.
    fn finish(&mut self, wrong: Wrong<'_>, last: Option<Bytes>, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if let Some(counting) = self.counting(200, wrong) {
            self.state = State::Counting(counting, last);
            return self.next(cx);
        }
        self.over(200, wrong);
        match last {
            Some(bytes) => self.sent(bytes),
            None => Poll::Ready(None),
        }
    }

    /// What is left to do where nobody told what it used, and it can be counted.
    fn counting(&mut self, status: u16, wrong: Wrong<'_>) -> Option<Counting> {
        let State::Live(live) = &self.state else { return None };
        let reckoning = reckoning(live, self.record.as_ref()?, status != LEFT)?;
        self.numbered = live.numbered();
        let ground = self.ground.take();
        let prompt = self.prompt.take().or_else(|| kept_prompt(ground?.request.messages()));
        Some(counting(reckoning, self.record.take()?, prompt, status, wrong))
    }

    fn over<'a>(&mut self, status: u16, wrong: impl Into<Wrong<'a>>) {
        self.note_usage();
        self.state = State::Over;
        if let Some(mut record) = self.record.take() {
            record.end(status, wrong);
        }
    }

    /// What was used so far is the request's, however it ends.
    fn note_usage(&mut self) {
        if let (State::Live(live), Some(record)) = (&mut self.state, &mut self.record) {
            live.read_up();
            record.spent(live.used(), live.cost());
        }
    }

    /// The next bytes for the caller.
    pub(super) fn next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if std::mem::take(&mut self.first_waits) {
            // actix writes once the body has nothing more at hand; an upstream that sends without a pause would hold the
            // first word back until its last.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        // One that is whole but for the counting has its last bytes at hand.
        if !matches!(self.state, State::Counting(..)) && self.is_closing(cx) {
            return self.close();
        }
        let beat_at = (!self.beat.is_zero()).then(|| self.last_sent.plus(self.beat));
        match &mut self.state {
            State::Over => return Poll::Ready(None),
            State::Counting(counting, last) => {
                if counting.as_mut().poll(cx).is_ready() {
                    let last = last.take();
                    self.state = State::Over;
                    return last.map_or(Poll::Ready(None), |bytes| self.sent(bytes));
                }
            }
            State::Running(running) => {
                if let Poll::Ready((result, record)) = running.as_mut().poll(cx) {
                    return match self.answered(result, record) {
                        Some(event) => self.sent(event),
                        None => self.next(cx),
                    };
                }
            }
            State::Live(live) => {
                return match live.poll(beat_at, cx) {
                    Poll::Ready(piece) => {
                        let (whole, fed) = (live.is_whole(), live.fed());
                        self.relayed(piece, whole, fed, cx)
                    }
                    Poll::Pending => Poll::Pending,
                };
            }
            State::Mending(mending) => {
                if let Poll::Ready(Mended { live, record, ground }) = mending.as_mut().poll(cx) {
                    self.record = Some(record);
                    self.ground = Some(Box::new(ground));
                    let Some(live) = live else { return self.broken(cx) };
                    self.state = State::Live(live);
                    return self.next(cx);
                }
            }
        }
        match beat_at {
            Some(at) if self.watch.poll(at, cx).is_ready() => self.heartbeat(),
            _ => Poll::Pending,
        }
    }

    fn heartbeat(&mut self) -> Poll<Option<Bytes>> {
        let heartbeat = if self.is_numbered() { self.wire.heartbeat_of_numbered() } else { self.wire.heartbeat() };
        self.sent(Bytes::from_static(heartbeat))
    }

    /// The number of the next event, of a dialect that numbers them.
    fn number(&self) -> u64 {
        if let State::Live(live) = &self.state { live.events() } else { self.number }
    }

    fn is_numbered(&self) -> bool {
        match &self.state {
            State::Live(live) => live.numbered(),
            State::Mending(_) | State::Counting(..) => self.numbered,
            State::Running(_) | State::Over => false,
        }
    }

    /// Hands over a piece of the live stream, which came then. `whole`: nothing comes after it.
    fn relayed(&mut self, piece: Piece, whole: bool, fed: Moment, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        match piece {
            Piece::Bytes(bytes) => {
                if let Some(tap) = &mut self.tap {
                    tap.take(&bytes);
                }
                if let Some(record) = &mut self.record {
                    record.answered(&bytes);
                }
                if whole {
                    self.keep();
                    // Counted before the last byte is handed over.
                    return self.finish("".into(), Some(bytes), cx);
                }
                self.first_waits = !std::mem::replace(&mut self.flowing, true);
                self.last_sent = fed;
                Poll::Ready(Some(bytes))
            }
            Piece::Nothing => self.heartbeat(),
            Piece::End => {
                self.keep();
                self.finish("".into(), None, cx)
            }
            Piece::Broken { message, timeout } => {
                self.first.get_or_insert(First { message, timeout });
                if self.mend() { self.next(cx) } else { self.broken(cx) }
            }
        }
    }

    /// It is whole: its next caller may have it at once.
    fn keep(&mut self) {
        if let Some(tap) = self.tap.take() {
            tap.keep();
        }
    }

    /// Asks somebody else to go on; false where that can't be.
    fn mend(&mut self) -> bool {
        self.note_usage();
        let State::Live(live) = &mut self.state else { return false };
        (self.numbered, self.number) = (live.numbered(), live.events());
        let Some(broke) = live.broke() else { return false };
        let (Some(ground), Some(record)) = (self.ground.take(), self.record.take()) else { return false };
        self.state = State::Mending(mend(Rc::clone(&self.worker), *ground, broke, record));
        true
    }

    /// Nobody goes on: the caller is told of what broke first.
    fn broken(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let First { message, timeout } = self.first.take().unwrap_or(First { message: String::new(), timeout: false });
        let event = (self.error_event)(self.wire, &StreamError::Broken { message: &message, timeout }, self.number);
        let kind = if timeout { "upstream_timeout" } else { "stream_interrupted" };
        self.finish(Wrong { kind, text: &message }, Some(event), cx)
    }

    /// Failover, unseen behind heartbeats, has ended: with a stream to relay, or with the event that ends this one.
    fn answered(&mut self, result: Result<Served, Fault>, record: Box<Record>) -> Option<Bytes> {
        self.record = Some(record);
        match result {
            Ok(Served::Stream(stream)) => {
                self.go_live(stream);
                None
            }
            // A whole answer is only ever made where one was asked for.
            Ok(Served::Whole(_) | Served::Piped(_)) => {
                self.state = State::Over;
                None
            }
            Err(fault) => {
                let event = (self.error_event)(self.wire, &StreamError::Fault(&fault), 0);
                // Counted by the status that was sent.
                self.over(200, fault.label());
                Some(event)
            }
        }
    }

    /// The gateway stops and the grace is over.
    fn close(&mut self) -> Poll<Option<Bytes>> {
        if matches!(self.state, State::Over) {
            return Poll::Ready(None);
        }
        let number = self.number();
        self.over(200, Wrong { kind: "shutting_down", text: "the gateway stopped" });
        let stopped = StreamError::Broken { message: "the gateway is shutting down; ask again", timeout: false };
        Poll::Ready(Some((self.error_event)(self.wire, &stopped, number)))
    }
}

impl Drop for StreamBody {
    fn drop(&mut self) {
        self.note_usage();
        if let Some(counting) = self.counting(LEFT, GONE) {
            self.worker.count_later(counting);
        }
    }
}

impl MessageBody for StreamBody {
    type Error = std::convert::Infallible;

    fn size(&self) -> BodySize {
        BodySize::Stream
    }

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        self.get_mut().next(cx).map(|bytes| bytes.map(Ok))
    }
}
