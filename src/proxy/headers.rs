//! Which of a caller's headers reach an upstream: an allow-list, so that no credential, cookie, address or hop-by-hop header
//! of the caller's ever does.

use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};

/// Names that pass, each for a feature of a vendor's API or for tracing.
const PASS: &[&str] = &["openai-beta", "anthropic-beta", "anthropic-version", "idempotency-key", "traceparent", "tracestate"];

/// The headers of a request that pass.
pub fn passing(headers: &HeaderMap) -> Vec<(HeaderName, HeaderValue)> {
    let found = PASS.iter().filter_map(|name| headers.get(*name).map(|value| (HeaderName::from_static(name), value.clone())));
    found.collect()
}

/// A header's text, where it is text.
pub fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}
