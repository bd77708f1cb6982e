//! A request's body as its path takes it, JSON or a form: read, scanned, weighed.

use actix_web::dev::Payload;
use actix_web::http::header::HeaderValue;
use actix_web::{HttpRequest, web};
use bytes::Bytes;

use super::super::body::{read_form, read_json};
use super::super::error::Error;
use super::gemini;
use crate::access::estimated_tokens;
use crate::dialect::Wire;
use crate::dialect::endpoint::Weight;
use crate::dialect::scan::{self, Refusal, Scan};
use crate::proxy::{Asked, Worker};

/// A body larger than this is scanned off the worker's thread, so that other requests don't wait for it.
const LARGE: usize = 1 << 20;

/// What was read.
pub(super) struct Read {
    pub(super) body: Bytes,
    pub(super) scan: Scan,
    /// A form's content type.
    pub(super) form: Option<HeaderValue>,
}

/// Reads what is asked there.
pub(super) async fn read(
    worker: &Worker,
    request: &HttpRequest,
    payload: &mut Payload,
    (wire, asked): (Wire, Asked),
) -> Result<Read, Error> {
    if asked.is_form() {
        let (body, content_type) = read_form(worker, request, payload).await?;
        let kind = content_type.clone();
        let scan = scanned(&body, move |body| scan::form(body, kind.to_str().unwrap_or_default())).await?;
        return Ok(Read { body, scan, form: Some(content_type) });
    }
    let body = read_json(worker, request, payload).await?;
    let named = if wire == Wire::Gemini { gemini::named(request) } else { None };
    let mut scan = scanned(&body, move |body| match (named, asked) {
        (Some(named), _) => scan::generate(body, named, asked == Asked::Tokens),
        (None, Asked::Chat) if wire == Wire::Responses => scan::passthrough(body),
        (None, Asked::Chat | Asked::Tokens) => scan::request(body),
        (None, Asked::Passed(_)) => scan::passthrough(body),
    })
    .await?;
    scan.stream &= asked.streams();
    Ok(Read { body, scan, form: None })
}

async fn scanned(body: &Bytes, read: impl FnOnce(&[u8]) -> Result<Scan, Refusal> + Send + 'static) -> Result<Scan, Error> {
    if body.len() <= LARGE {
        return read(body).map_err(Error::refusal);
    }
    let body = body.clone();
    let scanned = web::block(move || read(&body)).await;
    scanned.map_err(|_| Error::crashed())?.map_err(Error::refusal)
}

/// About how many tokens it may cost, erring high. `window`: of the model.
pub(super) fn tokens(asked: Asked, body: usize, scan: &Scan, window: Option<u64>) -> u64 {
    let weight = match asked {
        Asked::Chat | Asked::Tokens => Weight::Answer,
        Asked::Passed(endpoint) => endpoint.row().weight,
    };
    match weight.answer(scan.text_bytes, scan.n) {
        None => estimated_tokens(body, scan.max_tokens, scan.n, window),
        Some(answer) => estimated_tokens(weight.text(body), Some(answer), 1, window),
    }
}
