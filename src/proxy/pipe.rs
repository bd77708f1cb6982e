//! An answer that is handed on as it comes, whatever it is: sound, events of other endpoints than chat. Nothing of it is read; that
//! it is whole is told by its length or its end mark, and one that breaks off has its caller's connection closed without
//! either.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use actix_web::body::{BodySize, MessageBody};
use bytes::Bytes;
use futures_util::StreamExt;
use tokio::sync::futures::OwnedNotified;

use super::attempt::describe;
use super::client::Incoming;
use super::ongoing::Ongoing;
use super::record::{Record, Wrong};
use super::watch::Watch;
use super::worker::Worker;
use crate::base::Moment;
use crate::health::{Failure, Outcome};
use crate::routing::Taken;

/// An answer whose first bytes are there.
pub struct Pipe {
    pub(super) first: Bytes,
    pub(super) incoming: Incoming,
    pub(super) ongoing: Ongoing,
    /// As the upstream calls it.
    pub(super) content_type: Option<String>,
    /// Its length, where that was announced.
    pub(super) promised: Option<usize>,
}

impl Pipe {
    /// Who answers.
    pub(super) fn taken(&self) -> &Taken {
        &self.ongoing.taken
    }

    /// As the upstream calls it.
    pub fn content_type(&self) -> Option<&str> {
        self.content_type.as_deref()
    }

    /// As a response's body; `record` ends with it.
    pub fn body(self, worker: &Rc<Worker>, record: Box<Record>) -> PipeBody {
        let clock = worker.gateway.clock;
        let Self { first, incoming, ongoing, promised, .. } = self;
        PipeBody {
            worker: Rc::clone(worker),
            first: Some(first),
            incoming: Some(incoming),
            ongoing,
            promised,
            got: 0,
            record: Some(record),
            last_piece: clock.now(),
            watch: Watch::new(clock),
            closing: Box::pin(worker.closing().notified_owned()),
            broke: false,
        }
    }
}

/// See the module's text.
pub struct PipeBody {
    worker: Rc<Worker>,
    first: Option<Bytes>,
    /// None once it is over.
    incoming: Option<Incoming>,
    ongoing: Ongoing,
    promised: Option<usize>,
    got: usize,
    record: Option<Box<Record>>,
    last_piece: Moment,
    watch: Watch,
    closing: Pin<Box<OwnedNotified>>,
    /// It broke off, and what came before is written.
    broke: bool,
}

impl PipeBody {
    fn piece(&mut self, piece: Bytes) -> Poll<Option<io::Result<Bytes>>> {
        self.got += piece.len();
        self.last_piece = self.worker.gateway.clock.now();
        if self.promised == Some(self.got) {
            // Counted before the last byte is handed over. Its end is read so that the connection can serve again.
            if let Some(mut incoming) = self.incoming.take() {
                let _ = incoming.poll_next_unpin(&mut Context::from_waker(futures_util::task::noop_waker_ref()));
            }
            self.whole();
        }
        Poll::Ready(Some(Ok(piece)))
    }

    fn whole(&mut self) {
        self.incoming = None;
        self.ongoing.end(Outcome::Ok, "");
        if let Some(mut record) = self.record.take() {
            record.end(200, "");
        }
    }

    /// actix drops what it has not written yet when a body fails: that comes with the next poll.
    fn broken(&mut self, outcome: Outcome, wrong: Wrong<'_>, cx: &Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        self.incoming = None;
        self.broke = true;
        self.ongoing.end(outcome, wrong.text);
        if let Some(mut record) = self.record.take() {
            let text = format!("{} {}", self.ongoing.taken.target.name(), wrong.text);
            record.end(200, Wrong { text: &text, ..wrong });
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn failed(&mut self, failure: Failure, cx: &Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        let kind = if failure.is_timeout() { "upstream_timeout" } else { "stream_interrupted" };
        self.broken(Outcome::Transient(failure), Wrong { kind, text: &describe(failure) }, cx)
    }

    fn next(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        if self.broke {
            return Poll::Ready(Some(Err(io::ErrorKind::ConnectionAborted.into())));
        }
        if let Some(first) = self.first.take() {
            return self.piece(first);
        }
        loop {
            let Some(incoming) = &mut self.incoming else { return Poll::Ready(None) };
            if self.worker.gateway.is_closing() || self.closing.as_mut().poll(cx).is_ready() {
                return self.broken(Outcome::Abandoned, Wrong { kind: "shutting_down", text: "the gateway stopped" }, cx);
            }
            match incoming.poll_next_unpin(cx) {
                Poll::Ready(Some(Ok(piece))) if piece.is_empty() => {}
                Poll::Ready(Some(Ok(piece))) => return self.piece(piece),
                Poll::Ready(Some(Err(failure))) => return self.failed(failure, cx),
                Poll::Ready(None) if self.promised.is_some_and(|promised| promised != self.got) => {
                    return self.failed(Failure::Truncated, cx);
                }
                Poll::Ready(None) => {
                    self.whole();
                    return Poll::Ready(None);
                }
                Poll::Pending => {
                    let silent = self.last_piece.plus(self.ongoing.taken.target.timeouts.idle);
                    return match self.watch.poll(silent, cx) {
                        Poll::Ready(()) => self.failed(Failure::IdleTimeout, cx),
                        Poll::Pending => Poll::Pending,
                    };
                }
            }
        }
    }
}

impl MessageBody for PipeBody {
    type Error = io::Error;

    fn size(&self) -> BodySize {
        self.promised.map_or(BodySize::Stream, |promised| BodySize::Sized(promised as u64))
    }

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        self.get_mut().next(cx)
    }
}
