//! What a caller may ask for of its own request, by `x-stagedoor-*` headers: only those that the settings name; others are
//! as if they weren't there.

use std::sync::Arc;
use std::time::Duration;

use actix_web::HttpRequest;
use actix_web::http::header::HeaderName;

use super::super::error::Error;
use crate::base::duration;
use crate::proxy::{Wish, Worker};
use crate::routing::Streaming;

static CACHE: HeaderName = HeaderName::from_static("x-stagedoor-cache");
static TIMEOUT: HeaderName = HeaderName::from_static("x-stagedoor-timeout");
static RESUME: HeaderName = HeaderName::from_static("x-stagedoor-resume");
static RECOVERY: HeaderName = HeaderName::from_static("x-stagedoor-recovery");
static TAGS: HeaderName = HeaderName::from_static("x-stagedoor-tags");

/// Tags of one request.
const MOST_TAGS: usize = 10;
/// Characters of a tag's name, and of its value.
const LONGEST_TAG: usize = 64;

/// The value of a header, where callers may send it by this name. What isn't text is an empty value.
fn wish<'a>(worker: &Worker, request: &'a HttpRequest, header: &HeaderName, name: &str) -> Option<&'a str> {
    let value = request.headers().get(header)?;
    let allowed = &worker.edition.settings.server.request_headers;
    allowed.iter().any(|allowed| allowed == name).then(|| value.to_str().unwrap_or_default())
}

/// `x-stagedoor-cache`.
pub(super) fn cache(worker: &Worker, request: &HttpRequest) -> Result<Wish, Error> {
    match wish(worker, request, &CACHE, "cache") {
        None => Ok(Wish::Usual),
        Some("no-store") => Ok(Wish::NoStore),
        Some("refresh") => Ok(Wish::Refresh),
        Some("exact") => Ok(Wish::Exact),
        Some(_) => Err(Error::bad_parameter("x-stagedoor-cache", "x-stagedoor-cache must be no-store, refresh or exact.")),
    }
}

/// `x-stagedoor-timeout`.
pub(super) fn timeout(worker: &Worker, request: &HttpRequest) -> Result<Option<Duration>, Error> {
    let Some(value) = wish(worker, request, &TIMEOUT, "timeout") else { return Ok(None) };
    let asked = duration(value).filter(|asked| !asked.is_zero());
    let message = "x-stagedoor-timeout must be a duration with a unit, such as 20s or 500ms.";
    asked.map(Some).ok_or_else(|| Error::bad_parameter("x-stagedoor-timeout", message))
}

/// `x-stagedoor-recovery`, else what the settings say.
pub(super) fn recovery(worker: &Worker, request: &HttpRequest, usual: bool) -> Result<bool, Error> {
    match wish(worker, request, &RECOVERY, "recovery") {
        None => Ok(usual),
        Some("continue") => Ok(true),
        Some("error") => Ok(false),
        Some(_) => Err(Error::bad_parameter("x-stagedoor-recovery", "x-stagedoor-recovery must be continue or error.")),
    }
}

/// How long a stream can be come back to: `x-stagedoor-resume`, up to `resume_max`, else what the settings say. None: it can't.
pub(super) fn resume(worker: &Worker, request: &HttpRequest, usual: &Streaming) -> Result<Option<Duration>, Error> {
    let window = match wish(worker, request, &RESUME, "resume") {
        None => usual.resume_window,
        Some(value) => {
            let message = "x-stagedoor-resume must be a duration with a unit, such as 2m or 30s; 0s: off.";
            let asked = duration(value).ok_or_else(|| Error::bad_parameter("x-stagedoor-resume", message))?;
            asked.min(usual.resume_max)
        }
    };
    Ok(Some(window).filter(|window| !window.is_zero()))
}

/// `x-stagedoor-tags`, as the ledger keeps them: each once, in order.
pub(super) fn tags(worker: &Worker, request: &HttpRequest) -> Result<Option<Arc<str>>, Error> {
    let Some(value) = wish(worker, request, &TAGS, "tags") else { return Ok(None) };
    let mut tags: Vec<&str> = value.split(',').map(str::trim).collect();
    tags.sort_unstable();
    tags.dedup();
    if tags.len() > MOST_TAGS || !tags.iter().all(|tag| is_tag(tag)) {
        let message =
            "x-stagedoor-tags must be up to 10 of NAME=VALUE, separated by commas; each of at most 64 letters, digits and ._:/@+-.";
        return Err(Error::bad_parameter("x-stagedoor-tags", message));
    }
    Ok(Some(tags.join(",").into()))
}

fn is_tag(tag: &str) -> bool {
    let is_word = |word: &str| {
        (1..=LONGEST_TAG).contains(&word.len()) && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._:/@+-".contains(&byte))
    };
    tag.split_once('=').is_some_and(|(name, value)| is_word(name) && is_word(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_a_tag() {
        for good in ["team=a", "a.b-c_d=x:y/z@1+2"] {
            assert!(is_tag(good), "{good}");
        }
        for bad in ["", "team", "team=", "=a", "a=b=c", "a b=c", "a=\u{fc}", &format!("a={}", "b".repeat(65))] {
            assert!(!is_tag(bad), "{bad}");
        }
    }
}
