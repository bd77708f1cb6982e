//! A request's body: read once, under a size and a time, before anything is believed of it.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::dev::Payload;
use actix_web::http::header::{self, HeaderValue};
use actix_web::{HttpRequest, HttpResponse};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;

use super::error::Error;
use crate::base::Moment;
use crate::proxy::headers::text;
use crate::proxy::{Watch, Worker};

/// Space is made for this much of an announced length at once; more only as it comes.
const AT_ONCE: usize = 1 << 20;
/// This much of a body that nobody reads is taken, so that its connection can be kept.
const MOST_TAKEN: usize = 64 << 10;
/// And it is waited for this long: clients that write the head and the body apart write them together.
const TAKEN_WITHIN: Duration = Duration::from_millis(100);

/// Reads a JSON body.
pub(super) async fn read_json(worker: &Worker, request: &HttpRequest, payload: &mut Payload) -> Result<Bytes, Error> {
    read_json_up_to(worker.edition.settings.server.max_body, worker, request, payload).await
}

/// Reads a JSON body of at most so many bytes: of whoever isn't known yet, little is kept.
pub(super) async fn read_json_up_to(most: usize, worker: &Worker, request: &HttpRequest, payload: &mut Payload) -> Result<Bytes, Error> {
    if request.headers().contains_key(header::CONTENT_ENCODING) {
        return Err(Error::encoded());
    }
    let kind = text(request.headers(), &header::CONTENT_TYPE);
    let is_json = |kind: &str| {
        if kind == "application/json" {
            return true;
        }
        let essence = kind.split(';').next().unwrap_or_default().trim();
        essence.eq_ignore_ascii_case("application/json") || essence.to_ascii_lowercase().ends_with("+json")
    };
    // Browsers send a JSON type across origins only after asking; with a key, a page has nothing to send anyway.
    if !kind.map_or(!worker.is_open(), is_json) {
        return Err(Error::not_json_type());
    }
    read(most, worker, request, payload).await
}

/// Reads a form, and its content type.
pub(super) async fn read_form(worker: &Worker, request: &HttpRequest, payload: &mut Payload) -> Result<(Bytes, HeaderValue), Error> {
    if request.headers().contains_key(header::CONTENT_ENCODING) {
        return Err(Error::encoded());
    }
    let kind = request.headers().get(&header::CONTENT_TYPE);
    let essence = kind.and_then(|kind| kind.to_str().ok()?.split(';').next()).unwrap_or_default().trim();
    let kind = kind.filter(|_| essence.eq_ignore_ascii_case("multipart/form-data")).ok_or_else(Error::not_a_form)?.clone();
    // A page may send a form across origins without asking, but not without saying where it is from.
    if worker.is_open() && request.headers().contains_key(header::ORIGIN) {
        return Err(Error::form_of_a_page());
    }
    Ok((read(worker.edition.settings.server.max_body, worker, request, payload).await?, kind))
}

async fn read(most: usize, worker: &Worker, request: &HttpRequest, payload: &mut Payload) -> Result<Bytes, Error> {
    let server = &worker.edition.settings.server;
    let announced = announced(request);
    if announced.is_some_and(|length| length > most) {
        return Err(Error::body_too_large(most));
    }
    let mut pieces = Pieces::new(payload, worker, server.body_timeout);
    let (mut first, mut all) = (Bytes::new(), BytesMut::new());
    while let Some(piece) = pieces.next().await? {
        if first.len().max(all.len()) + piece.len() > most {
            return Err(Error::body_too_large(most));
        }
        if first.is_empty() {
            first = piece;
            continue;
        }
        if all.is_empty() {
            all.reserve(announced.unwrap_or(0).min(AT_ONCE).max(first.len() + piece.len()));
            all.extend_from_slice(&first);
        }
        all.extend_from_slice(&piece);
    }
    Ok(if all.is_empty() { first } else { all.freeze() })
}

/// What a caller announces of its body's length.
fn announced(request: &HttpRequest) -> Option<usize> {
    text(request.headers(), &header::CONTENT_LENGTH).and_then(|text| text.parse().ok())
}

/// The pieces of a body, each in its time.
struct Pieces<'a> {
    payload: &'a mut Payload,
    within: Duration,
    by: Moment,
    watch: Watch,
    waits: bool,
}

impl<'a> Pieces<'a> {
    fn new(payload: &'a mut Payload, worker: &Worker, within: Duration) -> Self {
        let clock = worker.gateway.clock;
        Self { payload, within, by: clock.now().plus(within), watch: Watch::new(clock), waits: false }
    }

    async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        let piece = poll_fn(|cx| match self.payload.poll_next_unpin(cx) {
            Poll::Ready(piece) => Poll::Ready(Ok(piece)),
            Poll::Pending if !std::mem::replace(&mut self.waits, true) => {
                // What came in one packet with the head is handed over right after this question: no timer for it.
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Poll::Pending => self.watch.poll(self.by, cx).map(|()| Err(Error::body_too_slow(self.within))),
        });
        piece.await?.transpose().map_err(|_| Error::body_broken())
    }
}

/// A refusal, given before its request's body was read to the end.
///
/// A connection serves its next request only where this one's body was taken to its end, and a new connection for each
/// refusal would cost more than the refusal: so a short body is taken. What is left of a longer or slower one is held:
/// actix reads on a chunked body that nobody holds for as long as its sender likes, and closes the connection of a held one.
pub(super) async fn unread(response: HttpResponse, worker: &Worker, request: &HttpRequest, mut payload: Payload) -> HttpResponse {
    let keeps = response.head().keep_alive();
    if keeps && taken(worker, request, &mut payload).await {
        response
    } else {
        response.map_body(|_, body| BoxBody::new(Unread { body, _payload: payload }))
    }
}

/// Whether the body came to its end while it was short and quick.
pub(super) async fn taken(worker: &Worker, request: &HttpRequest, payload: &mut Payload) -> bool {
    if matches!(payload, Payload::None) {
        return true;
    }
    if announced(request).is_some_and(|length| length > MOST_TAKEN) {
        return false;
    }
    let (mut pieces, mut left) = (Pieces::new(payload, worker, TAKEN_WITHIN), MOST_TAKEN);
    loop {
        match pieces.next().await {
            Ok(None) => return true,
            Ok(Some(piece)) if piece.len() <= left => left -= piece.len(),
            Ok(Some(_)) | Err(_) => return false,
        }
    }
}

struct Unread {
    body: BoxBody,
    _payload: Payload,
}

impl MessageBody for Unread {
    type Error = <BoxBody as MessageBody>::Error;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        Pin::new(&mut self.get_mut().body).poll_next(cx)
    }
}
