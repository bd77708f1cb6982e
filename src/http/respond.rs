//! The heads of good answers: what the gateway tells of a request, and nothing of the upstream's own head.

use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use serde::Serialize;

use crate::access::Standing;
use crate::base::Dollars;
use crate::dialect::Wire;
use crate::proxy::Record;

pub(super) static REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

const ANTHROPIC_ID: HeaderName = HeaderName::from_static("request-id");
const PROVIDER: HeaderName = HeaderName::from_static("x-stagedoor-provider");
const MODEL: HeaderName = HeaderName::from_static("x-stagedoor-model");
const ATTEMPTS: HeaderName = HeaderName::from_static("x-stagedoor-attempts");
const DROPPED: HeaderName = HeaderName::from_static("x-stagedoor-dropped");
const ROUTE: HeaderName = HeaderName::from_static("x-stagedoor-route");
const OVERHEAD: HeaderName = HeaderName::from_static("x-stagedoor-overhead-us");
const COST: HeaderName = HeaderName::from_static("x-stagedoor-cost");
/// Of requests: the limit, what remains, and when it is full again.
static REQUESTS: [HeaderName; 3] = [
    HeaderName::from_static("x-ratelimit-limit-requests"),
    HeaderName::from_static("x-ratelimit-remaining-requests"),
    HeaderName::from_static("x-ratelimit-reset-requests"),
];
/// The same of tokens.
static TOKENS: [HeaderName; 3] = [
    HeaderName::from_static("x-ratelimit-limit-tokens"),
    HeaderName::from_static("x-ratelimit-remaining-tokens"),
    HeaderName::from_static("x-ratelimit-reset-tokens"),
];
const CACHE: HeaderName = HeaderName::from_static("x-stagedoor-cache");
const PROCESSING: HeaderName = HeaderName::from_static("openai-processing-ms");

/// Of what was left out, so many names are told, and so many characters.
const MOST_NAMES: usize = 32;
const LONGEST_LIST: usize = 1_000;

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

/// What is left of a key's requests and tokens a minute, where those are limited.
pub(super) type Standings = (Option<Standing>, Option<Standing>);

/// Adds what is left of a key's limits, by OpenAI's names; `headers` has none of it yet.
pub(super) fn limits(headers: &mut HeaderMap, (requests, tokens): Standings) {
    for (names, standing) in [(&REQUESTS, requests), (&TOKENS, tokens)] {
        let Some(Standing { limit, remaining, reset }) = standing else { continue };
        headers.append(names[0].clone(), HeaderValue::from(limit));
        headers.append(names[1].clone(), HeaderValue::from(remaining));
        if let Ok(reset) = HeaderValue::from_str(&until_full(reset)) {
            headers.append(names[2].clone(), reset);
        }
    }
}

/// A duration as OpenAI writes it: `6m0s`, `1.5s`, `20ms`. Never less than it is.
fn until_full(reset: Duration) -> String {
    let ms = reset.as_micros().div_ceil(1_000);
    let (hours, minutes, seconds) = (ms / 3_600_000, ms / 60_000 % 60, (ms % 60_000) as f64 / 1_000.0);
    match (hours, minutes) {
        (0, 0) if ms == 0 => "0s".into(),
        (0, 0) if ms < 1_000 => format!("{ms}ms"),
        (0, 0) => format!("{seconds}s"),
        (0, _) => format!("{minutes}m{seconds}s"),
        _ => format!("{hours}h{minutes}m{seconds}s"),
    }
}

/// The same for a caller of this dialect: Anthropic's SDKs read the id by another name.
pub(super) fn identify_in(wire: Wire, headers: &mut HeaderMap, id: &str) {
    identify(headers, id);
    if wire == Wire::Anthropic
        && let Ok(id) = HeaderValue::from_str(id)
    {
        headers.append(ANTHROPIC_ID, id);
    }
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
    } else if let Some(author) = &record.given_by {
        add(PROVIDER, &author.provider);
        add(MODEL, &author.model);
    }
    if let Some(cached) = record.cache {
        add(CACHE, cached.name());
    }
    if let Some(cost) = record.shown_cost() {
        add(COST, &Dollars(cost).to_string());
    }
    if !record.dropped.is_empty() {
        add(DROPPED, &list(&record.dropped));
    }
    if record.attempts > 0 {
        add(ROUTE, &record.route);
        headers.append(ATTEMPTS, HeaderValue::from(record.attempts));
    } else if record.given_by.is_some() {
        headers.append(ATTEMPTS, HeaderValue::from(0));
    }
    limits(headers, record.standing());
    let overhead = record.overhead_us();
    headers.append(OVERHEAD, HeaderValue::from(overhead));
    headers.append(PROCESSING, HeaderValue::from((overhead + record.upstream_us) / 1_000));
}

/// Names in a header: a caller chooses some of them, so not more than a header holds.
fn list(names: &[String]) -> String {
    let text = names.iter().take(MOST_NAMES).map(String::as_str).collect::<Vec<_>>().join(", ");
    text.chars().filter(|c| !c.is_control()).take(LONGEST_LIST).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resets_are_written_as_openai_does() {
        for (micros, text) in [
            (0, "0s"),
            (1, "1ms"),
            (20_000, "20ms"),
            (1_500_000, "1.5s"),
            (60_000_000, "1m0s"),
            (360_000_001, "6m0.001s"),
            (3_723_000_000, "1h2m3s"),
        ] {
            assert_eq!(until_full(Duration::from_micros(micros)), text);
        }
    }
}
