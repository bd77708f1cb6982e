//! An error as it goes out: its body in the caller's dialect, and the head that tells whether to ask again.

use actix_web::HttpResponse;
use actix_web::http::{StatusCode, header};
use bytes::Bytes;
use serde::Serialize;

use super::Error;
use crate::dialect::{self, anthropic, gemini};
use crate::http::respond::identify_in;

#[derive(Serialize)]
struct Wire<'a> {
    error: Fields<'a>,
}

#[derive(Serialize)]
struct Fields<'a> {
    message: &'a str,
    #[serde(rename = "type")]
    kind: &'a str,
    param: Option<&'a str>,
    code: &'a str,
}

impl Error {
    /// As each dialect writes it. Where that has no code, what OpenAI's says is for the message to say.
    pub(super) fn json(&self, wire: dialect::Wire) -> Bytes {
        let (status, message) = (self.0.status, self.message());
        match wire {
            dialect::Wire::OpenAi | dialect::Wire::Responses => {
                let wire = Wire { error: Fields { message, kind: self.0.kind, param: self.0.param, code: self.0.code } };
                // A struct of strings always serialises.
                serde_json::to_vec(&wire).unwrap_or_default().into()
            }
            dialect::Wire::Anthropic => anthropic::error(anthropic::error_type(status), message),
            dialect::Wire::Gemini => gemini::error(status, gemini::error_status(status), message),
        }
    }

    /// The answer.
    pub(in crate::http) fn response(&self, id: &str) -> HttpResponse {
        self.response_in(dialect::Wire::OpenAi, id)
    }

    /// The answer to a caller of this dialect.
    pub(in crate::http) fn response_in(&self, wire: dialect::Wire, id: &str) -> HttpResponse {
        let status = StatusCode::from_u16(self.0.status).unwrap_or(StatusCode::BAD_GATEWAY);
        let mut response = HttpResponse::build(status);
        if let Some(wait) = self.0.retry_after {
            response.insert_header((header::RETRY_AFTER, (wait.as_millis().div_ceil(1_000)).max(1).to_string()));
        }
        if let Some(should) = self.0.should_retry {
            response.insert_header(("x-should-retry", if should { "true" } else { "false" }));
        }
        // After 408 and 413 the rest of the body would otherwise be read as the next request.
        if self.0.closes || matches!(self.0.status, 408 | 413) {
            response.force_close();
        }
        let mut response = match &self.0.passed {
            Some((content_type, body)) => {
                let content_type = content_type.as_deref().unwrap_or("application/json").to_owned();
                response.insert_header((header::CONTENT_TYPE, content_type)).body(body.clone())
            }
            None => response.content_type("application/json").body(self.json(wire)),
        };
        identify_in(wire, response.headers_mut(), id);
        response
    }
}
