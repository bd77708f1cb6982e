//! The body of a streamed answer: heartbeats, the committed stream, and an error event where it breaks. Never a silent cut,
//! never an end that looks like success.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use actix_web::body::{BodySize, MessageBody};
use bytes::Bytes;
use tokio::sync::futures::OwnedNotified;

use super::failover::Served;
use super::fault::Fault;
use super::live::{Live, Piece};
use super::record::Record;
use super::watch::Watch;
use super::worker::Worker;
use crate::base::Moment;

/// A comment that every SSE client passes over.
const HEARTBEAT: &[u8] = b": stagedoor is waiting\n\n";

/// A request that is still on its way through the chain.
pub type Running = Pin<Box<dyn Future<Output = (Result<Served, Fault>, Record)>>>;

/// How a fault looks on the caller's wire, inside a stream that has begun: the error event.
pub type FaultEvent = fn(&Fault) -> Bytes;

/// Why a stream that has begun ends without its terminal event: a message, whether a clock ended it; the error event.
pub type BrokenEvent = fn(&str, bool) -> Bytes;

/// See the module's text.
pub struct StreamBody {
    worker: Rc<Worker>,
    state: State,
    record: Option<Record>,
    beat: Duration,
    last_sent: Moment,
    watch: Watch,
    /// The first piece was handed over, and nothing since: see [`StreamBody::next`].
    first_waits: bool,
    flowing: bool,
    closing: Pin<Box<OwnedNotified>>,
    fault_event: FaultEvent,
    broken_event: BrokenEvent,
}

enum State {
    /// The head went out with a heartbeat; failover goes on unseen.
    Running(Running),
    Live(Box<Live>),
    Over,
}

impl StreamBody {
    /// Of a stream whose first content is there.
    pub(super) fn live(worker: Rc<Worker>, live: Box<Live>, record: Record, events: (FaultEvent, BrokenEvent)) -> Self {
        Self::new(worker, State::Live(live), Some(record), events)
    }

    /// Of a request that has no answer yet: begins with a heartbeat.
    pub fn running(worker: Rc<Worker>, running: Running, events: (FaultEvent, BrokenEvent)) -> Self {
        let mut body = Self::new(worker, State::Running(running), None, events);
        body.last_sent = Moment::START;
        body
    }

    fn new(worker: Rc<Worker>, state: State, record: Option<Record>, (fault_event, broken_event): (FaultEvent, BrokenEvent)) -> Self {
        let clock = worker.gateway.clock;
        let closing = Box::pin(worker.closing().notified_owned());
        let (beat, last_sent) = (worker.edition.settings.server.heartbeat, clock.now());
        Self {
            worker,
            state,
            record,
            beat,
            last_sent,
            watch: Watch::new(clock),
            first_waits: false,
            flowing: false,
            closing,
            fault_event,
            broken_event,
        }
    }

    fn sent(&mut self, bytes: Bytes) -> Poll<Option<Bytes>> {
        if !self.beat.is_zero() {
            self.last_sent = self.worker.gateway.clock.now();
        }
        Poll::Ready(Some(bytes))
    }

    fn over(&mut self, status: u16, error: &str) {
        self.state = State::Over;
        if let Some(mut record) = self.record.take() {
            record.end(status, error);
        }
    }

    fn next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if std::mem::take(&mut self.first_waits) {
            // actix writes once the body has nothing more at hand; an upstream that sends without a pause would hold the
            // first word back until its last.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if self.worker.gateway.is_closing() || self.closing.as_mut().poll(cx).is_ready() {
            return self.close();
        }
        let beat_at = (!self.beat.is_zero()).then(|| self.last_sent.plus(self.beat));
        match &mut self.state {
            State::Over => return Poll::Ready(None),
            State::Running(running) => {
                if let Poll::Ready((result, record)) = running.as_mut().poll(cx) {
                    return match self.answered(result, record) {
                        Some(event) => self.sent(event),
                        None => self.next(cx),
                    };
                }
            }
            State::Live(live) => match live.poll(beat_at, cx) {
                Poll::Ready(Piece::Bytes(bytes)) => {
                    if live.is_whole() {
                        // Counted before the last byte is handed over.
                        self.over(200, "");
                    } else {
                        self.first_waits = !std::mem::replace(&mut self.flowing, true);
                    }
                    return self.sent(bytes);
                }
                Poll::Ready(Piece::End) => {
                    self.over(200, "");
                    return Poll::Ready(None);
                }
                Poll::Ready(Piece::Broken { message, timeout }) => {
                    let event = (self.broken_event)(&message, timeout);
                    self.over(200, &message);
                    return self.sent(event);
                }
                Poll::Pending => {}
            },
        }
        match beat_at {
            Some(at) if self.watch.poll(at, cx).is_ready() => self.sent(Bytes::from_static(HEARTBEAT)),
            _ => Poll::Pending,
        }
    }

    /// Failover, unseen behind heartbeats, has ended: with a stream to relay, or with the event that ends this one.
    fn answered(&mut self, result: Result<Served, Fault>, mut record: Record) -> Option<Bytes> {
        match result {
            Ok(served) => {
                self.state = served.into_live(&mut record).map_or(State::Over, State::Live);
                self.record = Some(record);
                None
            }
            Err(fault) => {
                let event = (self.fault_event)(&fault);
                self.record = Some(record);
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
        self.over(200, "the gateway stopped");
        Poll::Ready(Some((self.broken_event)("the gateway is shutting down; ask again", false)))
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
