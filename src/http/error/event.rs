//! The event that ends a stream with an error, in the caller's dialect. A stream that has one has no good end.

use bytes::Bytes;

use super::{Error, REQUEST, UPSTREAM};
use crate::dialect::scan::{answer, error_parts};
use crate::dialect::{Wire, anthropic, gemini, responses};
use crate::proxy::StreamError;

/// The event for an error, behind so many events.
pub(in crate::http) fn error_event(wire: Wire, error: &StreamError<'_>, events: u64) -> Bytes {
    let error = match error {
        StreamError::Fault(fault) => Error::fault(fault),
        StreamError::Broken { message, timeout } => {
            let code = if *timeout { "upstream_timeout" } else { "stream_interrupted" };
            Error::new(502, UPSTREAM, code, format!("The answer broke off: {message}."))
        }
        StreamError::Unreadable(why) => Error::unreadable(*why, ""),
        StreamError::Stopped => Error::new(499, REQUEST, "stream_stopped", "This stream was stopped by DELETE /v1/streams."),
    };
    if wire == Wire::Responses {
        return of_responses(&error, events);
    }
    let json = match &error.0.passed {
        Some((_, body)) if answer(body).is_ok_and(|seen| seen.error.is_some()) => one_line(body),
        // What has no `error` would pass for an empty answer.
        Some(_) => refused(wire, error.0.status),
        None => error.json(wire).to_vec(),
    };
    let field: &[u8] = if wire == Wire::Anthropic { b"event: error\ndata: " } else { b"data: " };
    [field, &json, b"\n\n"].concat().into()
}

/// Of an upstream's refusal that can't be shown as it is.
fn refused(wire: Wire, status: u16) -> Vec<u8> {
    let message = "The upstream refused the request.";
    match wire {
        Wire::OpenAi | Wire::Responses => {
            let message = format!("The upstream refused the request ({status}).");
            Error::new(status, REQUEST, "request_refused", message).json(wire).to_vec()
        }
        Wire::Anthropic => anthropic::error(anthropic::error_type(status), message).to_vec(),
        Wire::Gemini => gemini::error(status, gemini::error_status(status), message).to_vec(),
    }
}

/// Events of Responses have numbers, from 0 on.
fn of_responses(error: &Error, number: u64) -> Bytes {
    let said = error.0.passed.as_ref().map(|(_, body)| error_parts(body));
    let message = match &said {
        Some(said) => said.message.as_deref().unwrap_or("The upstream refused the request."),
        None => error.message(),
    };
    let code = said.as_ref().map_or(error.0.code, |said| said.code.as_deref().unwrap_or("request_refused"));
    responses::error_event(error.0.kind, code, message, number)
}

/// JSON without its line ends: they only stand between tokens, and an event's data has one line.
fn one_line(json: &[u8]) -> Vec<u8> {
    json.iter().copied().filter(|byte| !matches!(byte, b'\n' | b'\r')).collect()
}
