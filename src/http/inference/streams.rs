//! GET and DELETE /v1/streams/{id}: back to a stream that was begun with resuming on, and its end. By its own key only: to
//! others it isn't there. Reading is no request of its own: it costs nothing and is not counted.

use std::rc::Rc;

use actix_web::http::StatusCode;
use actix_web::http::header::{HeaderName, HeaderValue};
use actix_web::{HttpRequest, HttpResponse, web};

use super::super::auth::Caller;
use super::super::error::{Error, error_event};
use super::super::respond::identify;
use super::chat::{event_stream, place};
use crate::proxy::{Replay, StreamError, owner};

static LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

pub(in crate::http) async fn read(caller: Caller, request: HttpRequest, id: web::Path<String>) -> HttpResponse {
    // Also while it drains: the stream is under way here and nowhere else.
    match replay(&caller, &request, &id) {
        Ok(replay) => {
            tracing::info!(request_id = %id, after = ?request.headers().get(&LAST_EVENT_ID), "stream read again");
            // Whoever reads goes by the id of the request whose answer it is.
            event_stream(replay, |headers| identify(headers, &id))
        }
        Err(error) => error.response_in(caller.visitor.wire, &caller.visitor.id),
    }
}

fn replay(caller: &Caller, request: &HttpRequest, id: &str) -> Result<Replay, Error> {
    let worker = &caller.visitor.worker;
    let kept = worker.gateway.shelf.find(&owner(caller.principal.key()), id).ok_or_else(|| Error::stream_not_found(id))?;
    let after = last_event_id(request.headers().get(&LAST_EVENT_ID))?;
    let place = place(worker, true)?;
    Replay::new(Rc::clone(worker), kept, after, error_event, place).map_err(|unreadable| Error::unreadable(unreadable, id))
}

/// The last event that the caller had; 0: none.
fn last_event_id(header: Option<&HeaderValue>) -> Result<u64, Error> {
    let Some(value) = header else { return Ok(0) };
    let text = value.to_str().unwrap_or("-").trim();
    if text.is_empty() {
        return Ok(0);
    }
    text.parse().map_err(|_| Error::bad_parameter("last-event-id", "Last-Event-ID must be the id of an event of this stream: a number."))
}

pub(in crate::http) async fn stop(caller: Caller, id: web::Path<String>) -> HttpResponse {
    let Some(kept) = caller.visitor.worker.gateway.shelf.find(&owner(caller.principal.key()), &id) else {
        return Error::stream_not_found(&id).response_in(caller.visitor.wire, &caller.visitor.id);
    };
    let wire = kept.wire();
    kept.stop(|events| error_event(wire, &StreamError::Stopped, events));
    let mut response = HttpResponse::new(StatusCode::NO_CONTENT);
    identify(response.headers_mut(), &caller.visitor.id);
    response
}
