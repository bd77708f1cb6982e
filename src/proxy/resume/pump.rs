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

use super::super::body::{BrokenEvent, FaultEvent, Running, StreamBody};
use super::super::failover::{Prepared, Served};
use super::super::fault::Fault;
use super::super::record::Record;
use super::super::worker::Worker;
use super::kept::{Kept, Terms};
use super::replay::{Replay, UnreadableEvent};
use super::shelf::{Owner, Shelf};
use crate::clock::Clock;

/// What the edge knows of answers: their head, and their error events.
#[derive(Clone, Copy)]
pub struct Wire {
    /// The head of a stream whose first content is there.
    pub head: fn(&Worker, &Prepared, &Record) -> HeaderMap,
    /// A fault inside a stream that has begun.
    pub fault: FaultEvent,
    /// A stream that broke.
    pub broken: BrokenEvent,
    /// A reader that can't go on.
    pub unreadable: UnreadableEvent,
}

/// How a stream begins: with a head, or as a request that got no stream.
type Opened = Result<HeaderMap, (Result<Served, Fault>, Record)>;

/// Tells how a stream begins. Dropped before, it has begun already, by a heartbeat, or nobody waits for it any more.
pub type Opening = oneshot::Receiver<Opened>;

type Opener = oneshot::Sender<Opened>;

/// See the module's text.
pub(super) struct Pump {
    clock: Clock,
    shelf: Arc<Shelf>,
    kept: Arc<Kept>,
    broken: BrokenEvent,
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
    wire: Wire,
) -> (Opening, Replay) {
    let (tell, opening) = oneshot::channel();
    let shelf = Arc::clone(&worker.gateway.shelf);
    let (buffer, spoken) = (request.chain.streaming.resume_buffer, request.wire);
    let terms = Terms { owner, id: Arc::clone(&request.id), window, buffer, wire: spoken };
    let actor = Context::new();
    let kept = Arc::new(Kept::new(terms, Arc::clone(&shelf), actor.address()));
    shelf.put(&kept);
    let replay = Replay::first(Rc::clone(worker), Arc::clone(&kept), wire.unreadable);
    let work = Box::pin(read_on(Rc::clone(worker), request, running, Arc::clone(&kept), tell, wire));
    actor.run(Pump { clock: worker.gateway.clock, shelf, kept, broken: wire.broken, work: Some(work), looks: None });
    (opening, replay)
}

async fn read_on(worker: Rc<Worker>, request: Rc<Prepared>, mut running: Running, kept: Arc<Kept>, mut tell: Opener, wire: Wire) -> bool {
    let opened = poll_fn(|cx| match tell.poll_closed(cx) {
        Poll::Ready(()) => Poll::Ready(None),
        Poll::Pending => running.as_mut().poll(cx).map(Some),
    });
    let events = (wire.fault, wire.broken);
    let mut body = match opened.await {
        // Who asked has a heartbeat, or has left before: what comes is for the stream.
        None => StreamBody::running(worker, request, running, events),
        Some((Ok(Served::Stream(stream)), record)) => {
            let _ = tell.send(Ok((wire.head)(&worker, &request, &record)));
            StreamBody::live(worker, request, stream, record, events)
        }
        Some((result, record)) => {
            kept.end(|_| result.as_ref().err().map(wire.fault));
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
        self.kept.end(|events| Some((self.broken)("the gateway failed on this stream", false, events)));
    }
}
