//! Makes a call that others may share: on the thread of the worker that began it, whether or not whoever asked first stays.
//! It is one request's, whose record counts it, once; those who share it have used nothing.

use std::future::poll_fn;
use std::rc::Rc;

use tokio::sync::oneshot;

use super::super::body::{Running, StreamBody};
use super::super::failover::{Served, run};
use super::super::fault::Fault;
use super::super::prepared::Prepared;
use super::super::record::{GONE, LEFT, Record};
use super::super::resume::{Edge, Opening};
use super::super::worker::Worker;
use super::answers::{Author, Stored};
use super::flight::{Joined, Lead};

/// How the call ended, for whoever asked first.
pub type Told = oneshot::Receiver<(Result<Served, Fault>, Box<Record>)>;

/// Makes a call for a whole answer.
pub fn lead_plain(worker: &Rc<Worker>, request: Rc<Prepared>, mut record: Box<Record>, lead: Lead) -> Told {
    let (tell, told) = oneshot::channel();
    let worker = Rc::clone(worker);
    spawn(lead, move |lead| async move {
        let result = run(&worker, &request, &mut record).await;
        match &result {
            Ok(Served::Whole(whole)) => {
                if let Some(author) = author(&request, &record) {
                    request.keep(&whole.body, &author);
                    lead.became(Joined::Whole(Stored::new(&whole.body, author, std::time::Duration::ZERO).into()));
                }
            }
            Ok(Served::Stream(_) | Served::Piped(_)) => {}
            Err(fault) => lead.became(Joined::Failed(Some(fault.clone()))),
        }
        if let Err((_, mut record)) = tell.send((result, record)) {
            record.end(LEFT, GONE);
        }
    });
    told
}

/// Makes a call for a stream, and reads it on.
pub fn lead_stream(worker: &Rc<Worker>, request: Rc<Prepared>, running: Running, lead: Lead, edge: Edge) -> Opening {
    let (tell, opening) = oneshot::channel();
    let worker = Rc::clone(worker);
    spawn(lead, move |lead| async move {
        let (result, mut record) = running.await;
        let stream = match result {
            Ok(Served::Stream(stream)) => stream,
            other => {
                if let Err(fault) = &other {
                    lead.became(Joined::Failed(Some(fault.clone())));
                }
                let label = other.as_ref().err().map_or("", Fault::label);
                if let Err(Err((_, own))) = tell.send(Err((other, record))) {
                    record = own;
                    // Who has a heartbeat is told by an event; a 200 went before it.
                    if lead.is_watched() { record.end(200, label) } else { record.end(LEFT, GONE) }
                }
                return;
            }
        };
        if let Some(author) = author(&request, &record) {
            lead.became(Joined::Flowing(author));
        }
        let _ = tell.send(Ok((edge.head)(&worker, &request, &record)));
        let mut body = StreamBody::live(worker, request, stream, record, edge.error_event);
        // Each reader has a silence of its own.
        body.without_heartbeats();
        while let Some(piece) = poll_fn(|cx| body.next(cx)).await {
            lead.write(&piece, body.is_over());
            if body.is_over() {
                return;
            }
            poll_fn(|cx| lead.room(cx)).await;
            // An upstream that never pauses would be held whole before any reader had its turn.
            tokio::task::yield_now().await;
        }
        lead.end();
    });
    opening
}

fn spawn<F: Future<Output = ()> + 'static>(lead: Lead, work: impl FnOnce(Rc<Lead>) -> F) {
    let lead = Rc::new(lead);
    let handle = actix_rt::spawn(work(Rc::clone(&lead)));
    lead.works(handle.abort_handle());
}

fn author(request: &Prepared, record: &Record) -> Option<Author> {
    record.served_by.as_ref().map(|taken| Author::of(request, &taken.target))
}
