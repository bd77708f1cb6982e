//! The heads of good answers: what the gateway tells of a request, and nothing of the upstream's own head.

use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderName, HeaderValue};
use actix_web::{HttpResponse, HttpResponseBuilder};
use serde::Serialize;

use crate::proxy::Record;

pub(super) const NO_STORE: &str = "no-store";
pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

const PROVIDER: HeaderName = HeaderName::from_static("x-stagedoor-provider");
const MODEL: HeaderName = HeaderName::from_static("x-stagedoor-model");
const ATTEMPTS: HeaderName = HeaderName::from_static("x-stagedoor-attempts");
const ROUTE: HeaderName = HeaderName::from_static("x-stagedoor-route");
const OVERHEAD: HeaderName = HeaderName::from_static("x-stagedoor-overhead-us");
const PROCESSING: HeaderName = HeaderName::from_static("openai-processing-ms");

/// An answer of the gateway's own, as JSON.
pub(super) fn json(status: StatusCode, id: &str, answer: &impl Serialize) -> HttpResponse {
    let mut response = HttpResponse::build(status);
    if let Ok(id) = HeaderValue::from_str(id) {
        response.insert_header((REQUEST_ID, id));
    }
    response.insert_header((header::CACHE_CONTROL, HeaderValue::from_static(NO_STORE)));
    response.insert_header((header::VARY, HeaderValue::from_static("authorization")));
    response.json(answer)
}

/// Adds what every inference answer's head says.
pub(super) fn describe(response: &mut HttpResponseBuilder, record: &Record, upstream_model: Option<&str>) {
    let mut add = |name: HeaderName, value: &str| {
        if let Ok(value) = HeaderValue::from_bytes(value.as_bytes()) {
            response.insert_header((name, value));
        }
    };
    add(REQUEST_ID, &record.id);
    if let Some(taken) = &record.served_by {
        add(PROVIDER, &taken.target.provider.name);
        add(MODEL, upstream_model.unwrap_or(&taken.target.model));
    }
    if record.attempts > 0 {
        add(ROUTE, &record.route);
        response.insert_header((ATTEMPTS, HeaderValue::from(record.attempts)));
    }
    let overhead = record.overhead_us();
    response.insert_header((OVERHEAD, HeaderValue::from(overhead)));
    response.insert_header((PROCESSING, HeaderValue::from((overhead + record.upstream_us) / 1_000)));
    response.insert_header((header::CACHE_CONTROL, HeaderValue::from_static(NO_STORE)));
    response.insert_header((header::VARY, HeaderValue::from_static("authorization")));
}
