//! Errors as OpenAI words them: the four fields that every client reads. Refusals of a wrong request name the parameter, as
//! the real ones do; those that a script asks for say that they are rehearsed.

use bytes::Bytes;
use serde_json::json;

/// An answer that is an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) status: u16,
    kind: &'static str,
    code: Option<&'static str>,
    param: Option<String>,
    message: String,
}

impl Refusal {
    /// A 400 about one parameter.
    pub(super) fn invalid(param: &str, code: &'static str, message: String) -> Self {
        Self { status: 400, kind: "invalid_request_error", code: Some(code), param: Some(param.to_owned()), message }
    }

    /// A 400 for a parameter that must be there.
    pub(super) fn missing(param: &str) -> Self {
        Self::invalid(param, "missing_required_parameter", format!("Missing required parameter: '{param}'."))
    }

    /// A 400 for a parameter of the wrong kind.
    pub(super) fn wrong(param: &str, want: &str) -> Self {
        Self::invalid(param, "invalid_type", format!("Invalid type for '{param}': expected {want}."))
    }

    /// A 400 for a body that isn't a JSON object.
    pub(super) fn not_json() -> Self {
        let message = "We could not parse the JSON body of your request. The API expects a JSON object.".to_owned();
        Self { status: 400, kind: "invalid_request_error", code: None, param: None, message }
    }

    /// A 404 for a path that isn't served here.
    pub(super) fn no_such_path(path: &str) -> Self {
        let shown: String = path.chars().take(100).collect();
        let message = format!("Invalid URL ({shown}): the rehearsal serves chats, OpenAI's endpoints beside them, /rerank and /models.");
        Self { status: 404, kind: "invalid_request_error", code: None, param: None, message }
    }

    /// What OpenAI says with this status, for a scripted fault.
    pub(super) fn scripted(status: u16) -> Self {
        let (kind, code, message) = match status {
            401 => ("invalid_request_error", Some("invalid_api_key"), "Incorrect API key provided (rehearsed)."),
            402 => ("insufficient_quota", Some("insufficient_quota"), "Payment is required (rehearsed)."),
            403 => ("permission_error", Some("permission_denied"), "You are not allowed to do this (rehearsed)."),
            404 => {
                ("invalid_request_error", Some("model_not_found"), "The model does not exist or you do not have access to it (rehearsed).")
            }
            413 => ("invalid_request_error", Some("request_too_large"), "The request is too large (rehearsed)."),
            429 => ("rate_limit_error", Some("rate_limit_exceeded"), "Rate limit reached (rehearsed). Please try again later."),
            503 | 529 => ("service_unavailable_error", Some("overloaded"), "The server is overloaded (rehearsed). Please try again later."),
            400 | 405..=412 | 414..=428 | 430..=499 => ("invalid_request_error", None, "The request was refused (rehearsed)."),
            _ => ("server_error", None, "The server had an error while processing your request (rehearsed)."),
        };
        Self { status, kind, code, param: None, message: message.to_owned() }
    }

    /// The body.
    pub(super) fn body(&self) -> Bytes {
        let error = json!({"message": self.message, "type": self.kind, "param": self.param, "code": self.code});
        Bytes::from(json!({ "error": error }).to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_the_four_fields() {
        for refusal in
            [Refusal::missing("model"), Refusal::not_json(), Refusal::no_such_path("/x"), Refusal::scripted(429), Refusal::scripted(500)]
        {
            let body: serde_json::Value = serde_json::from_slice(&refusal.body()).unwrap();
            let error = body["error"].as_object().unwrap();
            assert!(["message", "type", "param", "code"].iter().all(|field| error.contains_key(*field)), "{body}");
            assert!(error["message"].is_string() && error["type"].is_string());
        }
    }
}
