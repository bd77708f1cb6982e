//! The body of one reader of a stream that several share: what was said before it came, then what comes, until the end. Its
//! leaving ends nothing but itself, unless it is the last.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use actix_web::body::{BodySize, MessageBody};
use bytes::Bytes;

use super::super::fault::Fault;
use super::super::record::Record;
use super::super::stream_error::{ErrorEvent, StreamError};
use super::super::watch::Watch;
use super::super::worker::Worker;
use super::flight::Seat;
use crate::base::Moment;
use crate::dialect::Wire;

/// See the module's text.
pub struct Following {
    worker: Rc<Worker>,
    seat: Seat,
    /// Of a request that shares another's call; the first one's record goes with the call.
    record: Option<Box<Record>>,
    over: bool,
    beat: Duration,
    last_sent: Moment,
    watch: Watch,
    error_event: ErrorEvent,
}

impl Following {
    /// Of the request that has this seat.
    pub fn new(worker: Rc<Worker>, seat: Seat, record: Option<Box<Record>>, error_event: ErrorEvent) -> Self {
        let clock = worker.gateway.clock;
        let (beat, last_sent, watch) = (worker.edition.settings.server.heartbeat, clock.now(), Watch::new(clock));
        Self { worker, seat, record, over: false, beat, last_sent, watch, error_event }
    }

    /// The same, which begins with a heartbeat.
    #[must_use]
    pub fn beating(mut self) -> Self {
        self.last_sent = Moment::START;
        self
    }

    fn end(&mut self, error: &'static str) {
        self.over = true;
        if let Some(mut record) = self.record.take() {
            record.end(200, error);
        }
    }

    fn sent(&mut self, bytes: Bytes) -> Poll<Option<Bytes>> {
        if !self.beat.is_zero() {
            self.last_sent = self.worker.gateway.clock.now();
        }
        Poll::Ready(Some(bytes))
    }

    fn next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if self.over {
            return Poll::Ready(None);
        }
        match self.seat.poll_more(cx) {
            Poll::Ready(Some((bytes, last))) => {
                if last {
                    // Counted before the last byte is handed over.
                    self.end("");
                }
                self.sent(bytes)
            }
            Poll::Ready(None) => match self.seat.failed() {
                Some(fault) => {
                    let fault = fault.unwrap_or_else(Fault::lost);
                    let event = (self.error_event)(Wire::OpenAi, &StreamError::Fault(&fault), 0);
                    self.end(fault.label());
                    self.sent(event)
                }
                None => {
                    self.end("");
                    Poll::Ready(None)
                }
            },
            Poll::Pending if self.beat.is_zero() => Poll::Pending,
            Poll::Pending => match self.watch.poll(self.last_sent.plus(self.beat), cx) {
                Poll::Ready(()) => self.sent(Bytes::from_static(Wire::OpenAi.heartbeat())),
                Poll::Pending => Poll::Pending,
            },
        }
    }
}

impl MessageBody for Following {
    type Error = std::convert::Infallible;

    fn size(&self) -> BodySize {
        BodySize::Stream
    }

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        self.get_mut().next(cx).map(|bytes| bytes.map(Ok))
    }
}
