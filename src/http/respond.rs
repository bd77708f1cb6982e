//! The heads of good answers: what the gateway tells of a request, and nothing of the upstream's own head.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use serde::Serialize;

use crate::base::Dollars;
use crate::proxy::Record;

pub(super) static REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

const PROVIDER: HeaderName = HeaderName::from_static("x-stagedoor-provider");
const MODEL: HeaderName = HeaderName::from_static("x-stagedoor-model");
const ATTEMPTS: HeaderName = HeaderName::from_static("x-stagedoor-attempts");
const ROUTE: HeaderName = HeaderName::from_static("x-stagedoor-route");
const OVERHEAD: HeaderName = HeaderName::from_static("x-stagedoor-overhead-us");
const COST: HeaderName = HeaderName::from_static("x-stagedoor-cost");
const PROCESSING: HeaderName = HeaderName::from_static("openai-processing-ms");

/// An answer of the gateway's own, as JSON.
pub(super) fn json(status: StatusCode, id: &str, answer: &impl Serialize) -> HttpResponse {
    let mut response = HttpResponse::build(status).json(answer);
    identify(response.headers_mut(), id);
    response
}

/// Adds what every answer's head says; `headers` has none of it yet.
pub(super) fn identify(headers: &mut HeaderMap, id: &str) {
    if let Ok(id) = HeaderValue::from_str(id) {
        headers.append(REQUEST_ID.clone(), id);
    }
    headers.append(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.append(header::VARY, HeaderValue::from_static("authorization"));
}

/// Adds what every inference answer's head says besides, good or not. `headers` has none of it yet: adding to them costs
/// half of replacing.
pub(super) fn describe(headers: &mut HeaderMap, record: &Record, upstream_model: Option<&str>) {
    let mut add = |name: HeaderName, value: &str| {
        if let Ok(value) = HeaderValue::from_bytes(value.as_bytes()) {
            headers.append(name, value);
        }
    };
    if let Some(taken) = &record.served_by {
        add(PROVIDER, &taken.target.provider.name);
        add(MODEL, upstream_model.unwrap_or(&taken.target.model));
    }
    if let Some(cost) = record.shown_cost() {
        add(COST, &Dollars(cost).to_string());
    }
    if record.attempts > 0 {
        add(ROUTE, &record.route);
        headers.append(ATTEMPTS, HeaderValue::from(record.attempts));
    }
    let overhead = record.overhead_us();
    headers.append(OVERHEAD, HeaderValue::from(overhead));
    headers.append(PROCESSING, HeaderValue::from((overhead + record.upstream_us) / 1_000));
}
