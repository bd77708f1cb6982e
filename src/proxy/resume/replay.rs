//! The body of one reader of a kept stream: what it hasn't had yet, then what comes, until the end. Its leaving ends nothing
//! but itself.

use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use actix_web::body::{BodySize, MessageBody};
use bytes::Bytes;

use super::super::stream_error::{ErrorEvent, StreamError};
use super::super::watch::Watch;
use super::super::worker::{Place, Worker};
use super::kept::{FIRST, Kept, Unreadable};
use crate::base::Moment;

/// See the module's text.
pub struct Replay {
    worker: Rc<Worker>,
    kept: Arc<Kept>,
    seat: u64,
    /// The last event that it had.
    after: u64,
    over: bool,
    beat: Duration,
    last_sent: Moment,
    watch: Watch,
    error_event: ErrorEvent,
    /// Its place among the streams that the settings allow, where the stream's own isn't its.
    _place: Option<Place>,
}

impl Replay {
    /// Of a reader who has everything up to the event `after`.
    ///
    /// # Errors
    /// Where the stream can't be read from there.
    pub fn new(worker: Rc<Worker>, kept: Arc<Kept>, after: u64, error_event: ErrorEvent, place: Place) -> Result<Self, Unreadable> {
        let seat = kept.join(after)?;
        Ok(Self::seated(worker, kept, (seat, after), error_event, Some(place)))
    }

    /// Of the caller who began the stream.
    pub(super) fn first(worker: Rc<Worker>, kept: Arc<Kept>, error_event: ErrorEvent) -> Self {
        Self::seated(worker, kept, (FIRST, 0), error_event, None)
    }

    fn seated(worker: Rc<Worker>, kept: Arc<Kept>, (seat, after): (u64, u64), error_event: ErrorEvent, place: Option<Place>) -> Self {
        let clock = worker.gateway.clock;
        let (beat, last_sent, watch) = (worker.edition.settings.server.heartbeat, clock.now(), Watch::new(clock));
        Self { worker, kept, seat, after, over: false, beat, last_sent, watch, error_event, _place: place }
    }

    /// The same, which begins with a heartbeat.
    #[must_use]
    pub fn beating(mut self) -> Self {
        self.last_sent = Moment::START;
        self
    }

    /// Whether its stream was ended for good: what it has yet to say tells of that.
    pub fn is_closed(&self) -> bool {
        self.kept.is_closed()
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
        match self.kept.poll(self.seat, self.after, cx) {
            Poll::Ready(Some(Ok(event))) => {
                self.after += 1;
                self.sent(event)
            }
            Poll::Ready(Some(Err(unreadable))) => {
                self.over = true;
                Poll::Ready(Some((self.error_event)(self.kept.wire(), &StreamError::Unreadable(unreadable), self.after)))
            }
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Pending if self.beat.is_zero() => Poll::Pending,
            Poll::Pending => match self.watch.poll(self.last_sent.plus(self.beat), cx) {
                Poll::Ready(()) => self.sent(Bytes::from_static(self.kept.wire().heartbeat_of_numbered())),
                Poll::Pending => Poll::Pending,
            },
        }
    }
}

impl Drop for Replay {
    fn drop(&mut self) {
        self.kept.leave(self.seat, self.worker.gateway.clock.now());
    }
}

impl MessageBody for Replay {
    type Error = std::convert::Infallible;

    fn size(&self) -> BodySize {
        BodySize::Stream
    }

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        self.get_mut().next(cx).map(|bytes| bytes.map(Ok))
    }
}
