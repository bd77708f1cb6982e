//! Which of a caller's headers reach an upstream: an allow-list, so that no credential, cookie, address or hop-by-hop header
//! of the caller's ever does.

use actix_web::http::header::{self, HeaderMap, HeaderName, HeaderValue};

/// Names that pass, each for a feature of a vendor's API or for tracing.
///
/// Ready as names: looking one up by its text would check and copy it in each request.
static PASS: [HeaderName; 6] = [
    HeaderName::from_static("openai-beta"),
    HeaderName::from_static("anthropic-beta"),
    HeaderName::from_static("anthropic-version"),
    HeaderName::from_static("idempotency-key"),
    HeaderName::from_static("traceparent"),
    HeaderName::from_static("tracestate"),
];

/// The headers of a request that pass: not those that its `Connection` names, which are for this hop only.
pub fn passing(headers: &HeaderMap) -> Vec<(HeaderName, HeaderValue)> {
    // Most requests have none: a look at each of their few headers costs less than six look-ups.
    let found = headers.iter().filter(|(name, _)| PASS.contains(name) && !is_for_this_hop(headers, name));
    let mut passing: Vec<(HeaderName, HeaderValue)> = Vec::new();
    for (name, value) in found {
        if passing.iter().all(|(known, _)| known != name) {
            passing.push((name.clone(), value.clone()));
        }
    }
    passing
}

fn is_for_this_hop(headers: &HeaderMap, name: &HeaderName) -> bool {
    let named = headers.get_all(header::CONNECTION).filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
    named.map(str::trim).any(|named| named.eq_ignore_ascii_case(name.as_str()))
}

/// A header's text, where it is text.
pub fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}
