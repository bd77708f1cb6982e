//! What a caller may ask for of its own request, by `x-stagedoor-*` headers: only those that the settings name; others are
//! as if they weren't there.

use std::time::Duration;

use actix_web::HttpRequest;
use actix_web::http::header::HeaderName;

use super::super::error::Error;
use crate::base::duration;
use crate::proxy::Worker;
use crate::routing::Streaming;

static TIMEOUT: HeaderName = HeaderName::from_static("x-stagedoor-timeout");
static RESUME: HeaderName = HeaderName::from_static("x-stagedoor-resume");
static RECOVERY: HeaderName = HeaderName::from_static("x-stagedoor-recovery");

/// The value of a header, where callers may send it by this name. What isn't text is an empty value.
fn wish<'a>(worker: &Worker, request: &'a HttpRequest, header: &HeaderName, name: &str) -> Option<&'a str> {
    let value = request.headers().get(header)?;
    let allowed = &worker.edition.settings.server.request_headers;
    allowed.iter().any(|allowed| allowed == name).then(|| value.to_str().unwrap_or_default())
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
