//! The actor that reads a stream on whether or not anybody listens, on the thread of the worker that began it: its upstream's
//! body can't leave that thread. It ends, and lets the upstream go, once nobody has read the stream for its window, or when it
//! is told to; a stream that has ended by itself stays as long for who comes back.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use actix::{Actor, ActorContext, ActorFutureExt, ActorState, AsyncContext, Context, Handler, Message, SpawnHandle, WrapFuture};
use actix_web::http::header::HeaderMap;
use tokio::sync::oneshot;

use super::super::body::{Running, StreamBody};
use super::super::failover::Served;
use super::super::fault::Fault;
use super::super::prepared::Prepared;
use super::super::record::Record;
use super::super::stream_error::{ErrorEvent, StreamError};
use super::super::worker::Worker;
use super::kept::{Kept, Terms};
use super::replay::Replay;
use super::shelf::{Owner, Shelf};
use crate::clock::Clock;

/// What is for the edge to write: a stream's head, and the event that ends it with an error.
#[derive(Clone, Copy)]
pub struct Edge {
    /// The head of a stream whose first content is there.
    pub head: fn(&Worker, &Prepared, &Record) -> HeaderMap,
    /// Why a stream ends that has begun.
    pub error_event: ErrorEvent,
}

/// How a stream begins: with a head, or as a request that got no stream.
type Opened = Result<HeaderMap, (Result<Served, Fault>, Box<Record>)>;

/// Tells how a stream begins. Dropped before, it has begun already, by a heartbeat, or nobody waits for it any more.
pub type Opening = oneshot::Receiver<Opened>;

type Opener = oneshot::Sender<Opened>;

/// See the module's text.
pub(super) struct Pump {
    clock: Clock,
    shelf: Arc<Shelf>,
    kept: Arc<Kept>,
    error_event: ErrorEvent,
    /// What it does, until it has begun; true where the stream stays when that is done.
    work: Option<Pin<Box<dyn Future<Output = bool>>>>,
    /// When it looks whether anybody came back.
    looks: Option<SpawnHandle>,
}

/// The last reader has left.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Alone;

/// It is to end now.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Stop;

/// Has a request run, and its stream read on, by an actor on this thread. Gives the body for the caller, who is its first
/// reader.
pub fn begin(
    worker: &Rc<Worker>,
    request: Rc<Prepared>,
    owner: Owner,
    window: Duration,
    running: Running,
    edge: Edge,
) -> (Opening, Replay) {
    let (tell, opening) = oneshot::channel();
    let shelf = Arc::clone(&worker.gateway.shelf);
    let (buffer, spoken) = (request.chain.streaming.resume_buffer, request.wire);
    let terms = Terms { owner, id: Arc::clone(&request.id), window, buffer, wire: spoken };
    let actor = Context::new();
    let kept = Arc::new(Kept::new(terms, Arc::clone(&shelf), actor.address()));
    shelf.put(&kept);
    let replay = Replay::first(Rc::clone(worker), Arc::clone(&kept), edge.error_event);
    let work = Box::pin(read_on(Rc::clone(worker), request, running, Arc::clone(&kept), tell, edge));
    actor.run(Pump { clock: worker.gateway.clock, shelf, kept, error_event: edge.error_event, work: Some(work), looks: None });
    (opening, replay)
}

async fn read_on(worker: Rc<Worker>, request: Rc<Prepared>, mut running: Running, kept: Arc<Kept>, mut tell: Opener, edge: Edge) -> bool {
    let opened = poll_fn(|cx| match tell.poll_closed(cx) {
        Poll::Ready(()) => Poll::Ready(None),
        Poll::Pending => running.as_mut().poll(cx).map(Some),
    });
    let mut body = match opened.await {
        // Who asked has a heartbeat, or has left before: what comes is for the stream.
        None => StreamBody::running(worker, request, running, edge.error_event),
        Some((Ok(Served::Stream(stream)), record)) => {
            let _ = tell.send(Ok((edge.head)(&worker, &request, &record)));
            StreamBody::live(worker, request, stream, record, edge.error_event)
        }
        Some((result, record)) => {
            kept.end(|events| result.as_ref().err().map(|fault| (edge.error_event)(kept.wire(), &StreamError::Fault(fault), events)));
            let _ = tell.send(Err((result, record)));
            return false;
        }
    };
    // Each reader has a silence of its own.
    body.without_heartbeats();
    while let Some(piece) = poll_fn(|cx| body.next(cx)).await {
        kept.write(piece);
        if body.is_over() {
            break;
        }
        // An upstream that never pauses would fill the buffer before any reader had its turn.
        tokio::task::yield_now().await;
    }
    kept.end(|_| None);
    true
}

impl Actor for Pump {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let Some(work) = self.work.take() else { return };
        ctx.spawn(work.into_actor(self).map(|stays, _, ctx| {
            if !stays {
                ctx.stop();
            }
        }));
    }
}

impl Handler<Alone> for Pump {
    type Result = ();

    fn handle(&mut self, _: Alone, ctx: &mut Self::Context) {
        if ctx.state() != ActorState::Running {
            return;
        }
        if let Some(looks) = self.looks.take() {
            ctx.cancel_future(looks);
        }
        self.looks = Some(ctx.run_later(self.kept.window(), |pump, ctx| {
            if pump.kept.close_if_alone(pump.clock.now()) {
                ctx.stop();
            }
        }));
    }
}

impl Handler<Stop> for Pump {
    type Result = ();

    fn handle(&mut self, _: Stop, ctx: &mut Self::Context) {
        ctx.stop();
    }
}

impl Drop for Pump {
    fn drop(&mut self) {
        self.shelf.forget(&self.kept);
        // Only a pump that died has readers yet: they are told, rather than left waiting.
        let died = StreamError::Broken { message: "the gateway failed on this stream", timeout: false };
        self.kept.end(|events| Some((self.error_event)(self.kept.wire(), &died, events)));
    }
}
