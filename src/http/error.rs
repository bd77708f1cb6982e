//! Every fault in the caller's wire shape: one table. OpenAI's form, `{"error": {"message", "type", "param", "code"}}`.

mod answer;
mod event;

use std::time::Duration;

use bytes::Bytes;

pub(super) use event::error_event;

use crate::access::{Broke, Kind};
use crate::base::Dollars;
use crate::dialect::scan::Refusal;
use crate::proxy::{Fault, Turned, Twice, Unreadable};
use crate::store::Failed;

/// Of what a caller sent, an error repeats this many characters at most.
const ECHO: usize = 100;
/// A client is told to repeat by itself only after a wait up to this; the SDKs give up on a longer one.
const WORTH_WAITING: Duration = Duration::from_secs(120);
/// An error's message is no longer than this; the whole stays under 8 KB.
const LONGEST_MESSAGE: usize = 6_000;

/// An error on its way to a caller. Behind one pointer: good answers pass through the same results.
#[derive(Debug)]
pub(super) struct Error(Box<Parts>);

#[derive(Debug)]
struct Parts {
    status: u16,
    kind: &'static str,
    code: &'static str,
    param: Option<&'static str>,
    message: String,
    retry_after: Option<Duration>,
    /// What the SDKs are told about repeating; None: their own rules hold.
    should_retry: Option<bool>,
    /// The connection is closed after it.
    closes: bool,
    /// An upstream's own answer in place of all that.
    passed: Option<(Option<String>, Bytes)>,
}

const REQUEST: &str = "invalid_request_error";
const PERMISSION: &str = "permission_error";
const UPSTREAM: &str = "upstream_error";
const LIMIT: &str = "rate_limit_error";

impl Error {
    fn new(status: u16, kind: &'static str, code: &'static str, message: impl Into<String>) -> Self {
        let message = message.into();
        Self(Box::new(Parts {
            status,
            kind,
            code,
            param: None,
            message,
            retry_after: None,
            should_retry: None,
            closes: false,
            passed: None,
        }))
    }

    fn waiting(mut self, wait: Duration) -> Self {
        self.0.retry_after = Some(wait);
        self.0.should_retry = Some(wait <= WORTH_WAITING);
        self
    }

    fn final_one(mut self) -> Self {
        self.0.should_retry = Some(false);
        self
    }

    pub(super) fn no_key() -> Self {
        // One text for every wrong key: it tells nothing of what was wrong with it.
        let message = "A key is needed that this gateway knows: send it as `Authorization: Bearer KEY`, to /v1/messages also as `x-api-key: KEY`, to Gemini's paths as `x-goog-api-key: KEY`. Under /admin it is the admin key.";
        Self::new(401, REQUEST, "invalid_api_key", message)
    }

    /// Wrong keys come from its address faster than they are looked at. A right one would be served, so a repeat mends nothing.
    pub(super) fn too_many_wrong_keys(wait: Duration) -> Self {
        let message = "Too many wrong keys, or none, come from this address: this one isn't known here either. A right key is served.";
        Self::new(429, LIMIT, "rate_limit_exceeded", message).waiting(wait).final_one()
    }

    /// Whether a key is known can't be told now.
    pub(super) fn keys_unknown() -> Self {
        let message = "The store doesn't answer, so this gateway can't tell whether it knows the key: ask again.";
        Self::new(503, UPSTREAM, "store_unavailable", message).waiting(Duration::from_secs(1))
    }

    /// The store didn't do what the operator asked.
    pub(super) fn store_failed(failed: Failed) -> Self {
        tracing::error!(error = %failed, "the store didn't do what the operator asked");
        Self::new(503, UPSTREAM, "store_unavailable", "The store doesn't answer; see the log.").waiting(Duration::from_secs(1))
    }

    pub(super) fn no_store() -> Self {
        let message = "Nothing is kept, since store.url is \"\": name a store there and restart.";
        Self::new(404, REQUEST, "no_store", message)
    }

    pub(super) fn key_not_found(id: &str) -> Self {
        let message = format!("There is no key {}. GET /admin/keys lists them.", echo(id));
        Self::new(404, REQUEST, "key_not_found", message)
    }

    pub(super) fn no_admin_key() -> Self {
        let message = "This needs the admin key, and none is set: set admin.key, then reload by SIGHUP or restart.";
        Self::new(403, PERMISSION, "admin_key_unset", message)
    }

    /// A browser's session wanted to change something without showing that the gateway's own page asks.
    pub(super) fn not_the_page() -> Self {
        let message = "A browser's session is good for the gateway's own page alone, and changes something only with the header x-stagedoor-csrf, as GET /admin/session tells it.";
        Self::new(403, PERMISSION, "csrf_failed", message)
    }

    pub(super) fn bad_order() -> Self {
        let message = r#"Send {"action": "open" | "close" | "reset", "model": NAME or null}."#;
        Self::bad_parameter("action", message)
    }

    pub(super) fn provider_not_found(name: &str) -> Self {
        Self::new(404, REQUEST, "provider_not_found", format!("There is no provider {}. GET /health lists them.", echo(name)))
    }

    pub(super) fn target_not_found(provider: &str, model: &str) -> Self {
        let message =
            format!("The provider {} has no model {} here. GET /health lists its models by its own names.", echo(provider), echo(model));
        Self::new(404, REQUEST, "target_not_found", message)
    }

    pub(super) fn host_not_allowed() -> Self {
        let message = "Without keys this gateway answers only to a loopback name: use http://127.0.0.1 or http://localhost, or set a key in [[auth.keys]].";
        Self::new(403, PERMISSION, "host_not_allowed", message)
    }

    pub(super) fn not_json_type() -> Self {
        Self::new(415, PERMISSION, "unsupported_media_type", "Send the body as `content-type: application/json`.")
    }

    pub(super) fn not_a_form() -> Self {
        Self::new(415, PERMISSION, "unsupported_media_type", "Send the body as a form, `content-type: multipart/form-data; boundary=...`.")
    }

    pub(super) fn form_of_a_page() -> Self {
        let message = "Without keys this gateway takes forms from programs only, not from web pages: set a key in [[auth.keys]].";
        Self::new(403, PERMISSION, "host_not_allowed", message)
    }

    pub(super) fn encoded() -> Self {
        Self::new(415, REQUEST, "unsupported_encoding", "Send the body without a content-encoding: compressed requests are not read.")
    }

    pub(super) fn head_too_large(limit: usize) -> Self {
        Self::new(
            431,
            REQUEST,
            "headers_too_large",
            format!("The request's headers have more than {limit} bytes: send fewer or shorter ones."),
        )
        .final_one()
    }

    pub(super) fn body_too_large(limit: usize) -> Self {
        Self::new(413, REQUEST, "body_too_large", format!("The body is larger than {limit} bytes (server.max_body).")).final_one()
    }

    pub(super) fn body_too_slow(limit: Duration) -> Self {
        let message = format!("The body did not come within {} s (server.body_timeout).", limit.as_secs_f64());
        Self::new(408, REQUEST, "request_timeout", message)
    }

    pub(super) fn body_broken() -> Self {
        let mut error = Self::new(400, REQUEST, "invalid_body", "The body ended before its announced end, or its chunks can't be read.");
        // Nothing more can be read of this connection, and who tried to would be hung up on unanswered.
        error.0.closes = true;
        error
    }

    /// Where no body is read, one came that is long, or has no end.
    pub(super) fn body_unread() -> Self {
        let mut error = Self::new(400, REQUEST, "invalid_body", "No body is read here, and this one did not end at once: send none.");
        error.0.closes = true;
        error
    }

    pub(super) fn refusal(refusal: Refusal) -> Self {
        let mut error = Self::new(400, REQUEST, refusal.code, refusal.message);
        error.0.param = refusal.param;
        error
    }

    pub(super) fn bad_parameter(param: &'static str, message: impl Into<String>) -> Self {
        let mut error = Self::new(400, REQUEST, "invalid_value", message);
        error.0.param = Some(param);
        error
    }

    pub(super) fn model_not_allowed(model: &str) -> Self {
        let message = format!("This key may not use the model {}. GET /v1/models lists what it may use.", echo(model));
        Self::new(403, PERMISSION, "model_not_allowed", message)
    }

    pub(super) fn model_not_found(model: &str, close: &[&str]) -> Self {
        let hint = match close {
            [] => "GET /v1/models lists what there is.".to_owned(),
            names => format!("The closest: {}. GET /v1/models lists all.", names.join(", ")),
        };
        Self::new(404, REQUEST, "model_not_found", format!("There is no model {} here. {hint}", echo(model)))
    }

    pub(super) fn model_unserved(model: &str, variables: &[String]) -> Self {
        let message = format!(
            "No provider of the model {} has a key: set {} and restart, or put it into .env and reload.",
            echo(model),
            variables.join(" or ")
        );
        Self::new(404, REQUEST, "model_not_found", message)
    }

    pub(super) fn twice(twice: Twice) -> Self {
        match twice {
            Twice::UnderWay => {
                let message = "A request with this idempotency-key is under way; its answer is given to a repeat once it is there.";
                Self::new(409, REQUEST, "idempotency_conflict", message).waiting(Duration::from_secs(1))
            }
            Twice::OtherBody => {
                let message = "This idempotency-key stands for a request with another body; use a new one.";
                Self::new(422, REQUEST, "idempotency_mismatch", message).final_one()
            }
        }
    }

    pub(super) fn stream_not_found(id: &str) -> Self {
        let message = format!(
            "There is no stream {} of this key to come back to: it was begun without resuming (x-stagedoor-resume, stream.resume_window), its window is over, or it was stopped.",
            echo(id)
        );
        Self::new(404, REQUEST, "stream_not_found", message)
    }

    /// `id`: the stream's.
    pub(super) fn unreadable(why: Unreadable, id: &str) -> Self {
        match why {
            Unreadable::Closed => Self::stream_not_found(id),
            Unreadable::Gone(buffer) => {
                let message = format!(
                    "The events after this Last-Event-ID are no longer kept: the stream has outgrown what is kept of it (stream.resume_buffer, {buffer} bytes, or what all streams keep together). Send the request again."
                );
                Self::new(410, REQUEST, "stream_outgrown", message).final_one()
            }
            Unreadable::Ahead(last) => {
                let message = format!("Last-Event-ID is ahead of this stream, whose last event so far is {last}.");
                Self::bad_parameter("last-event-id", message)
            }
        }
    }

    pub(super) fn response_not_found(id: &str) -> Self {
        let message = format!(
            "There is no response {} here: the gateway keeps none, and an id doesn't tell which provider gave it. Ask that provider itself, or send the turns so far as `input` and don't come back to a response by its id.",
            echo(id)
        );
        Self::new(404, REQUEST, "response_not_found", message).final_one()
    }

    pub(super) fn unknown_path(method: &str, path: &str) -> Self {
        let message = format!("There is nothing at {} {}. GET / lists what there is.", echo(method), echo(path));
        Self::new(404, REQUEST, "unknown_url", message)
    }

    pub(super) fn wrong_method(method: &str, path: &str) -> Self {
        Self::new(405, REQUEST, "method_not_allowed", format!("{} is not a method of {}.", echo(method), echo(path)))
    }

    pub(super) fn shutting_down() -> Self {
        let message = "This gateway is shutting down; ask again, at another one if there is.";
        let mut error = Self::new(503, UPSTREAM, "shutting_down", message).waiting(Duration::from_secs(1));
        error.0.closes = true;
        error
    }

    /// `what`: the limit that is reached.
    pub(super) fn too_busy(what: &str) -> Self {
        let message = format!("This gateway has as many requests under way as it can take ({what}); ask again shortly.");
        Self::new(503, UPSTREAM, "overloaded", message).waiting(Duration::from_secs(1))
    }

    /// The machine leaves too little: the connection's own share goes back to it, too.
    pub(super) fn short_of(what: &str) -> Self {
        let mut error = Self::too_busy(what);
        error.0.closes = true;
        error
    }

    pub(super) fn crashed() -> Self {
        Self::new(500, "server_error", "internal_error", "The gateway failed on this request; its log says more under the request id.")
    }

    /// A request that its key's limits turn away.
    pub(super) fn turned(turned: &Turned) -> Self {
        let (refusal, key, ask) = match turned {
            Turned::Limit { refusal, key, ask } => (refusal, key, ask),
            Turned::Unpriced { model } => {
                let message = format!(
                    "This key has a budget, and what {} costs isn't known: give its targets a price, or set the key's budget.unpriced = \"allow\".",
                    echo(model)
                );
                return Self::new(403, PERMISSION, "model_unpriced", message);
            }
        };
        let (kind, code, message) = match (refusal.kind, key.budget) {
            (Kind::Requests, _) => (LIMIT, "rate_limit_exceeded", format!("This key may make {} requests a minute.", key.rpm)),
            (Kind::Tokens, _) => {
                let message = format!(
                    "This key may use {} tokens a minute, and this request may take {}; a smaller max_tokens takes less.",
                    key.tpm, ask.tokens
                );
                (LIMIT, "rate_limit_exceeded", message)
            }
            (Kind::Concurrency, _) => {
                (LIMIT, "rate_limit_exceeded", format!("This key may have {} requests under way at once.", key.concurrency))
            }
            (Kind::Budget(broke), budget) => {
                let rest = match broke {
                    Broke::Spent => "what is left of it is less",
                    Broke::Reserved => "calls under way have reserved what is left of it",
                };
                let (budget, window) = budget.map_or((0, "total"), |budget| (budget.nanos, budget.window.name()));
                let message = format!(
                    "This key's budget is {} dollars ({window}), this request may cost {}, and {rest}; a smaller max_tokens may fit.",
                    dollars(budget),
                    dollars(ask.nanos)
                );
                ("insufficient_quota", "budget_exceeded", message)
            }
        };
        let error = Self::new(429, kind, code, message);
        match refusal.wait {
            Some(wait) => error.waiting(wait),
            None => error.final_one(),
        }
    }

    /// A request that no target could serve.
    pub(super) fn fault(fault: &Fault) -> Self {
        match fault {
            Fault::PassedOn { status, content_type, body } => {
                let mut error = Self::new(*status, REQUEST, "", "");
                error.0.passed = Some((content_type.clone(), body.clone()));
                error
            }
            Fault::AllFailed { message, timeout: false } => {
                Self::new(502, UPSTREAM, "all_targets_failed", format!("No target could serve this request: {message}.")).final_one()
            }
            Fault::AllFailed { message, timeout: true } => {
                Self::new(504, UPSTREAM, "upstream_timeout", format!("No target answered in time: {message}.")).final_one()
            }
            Fault::NoTarget { message, wait } => {
                Self::new(503, UPSTREAM, "no_healthy_target", format!("No target can be tried now: {message}.")).waiting(*wait)
            }
            Fault::RateLimited { message, wait } => {
                Self::new(429, LIMIT, "upstream_rate_limited", format!("Every target is rate-limited: {message}.")).waiting(*wait)
            }
            Fault::Overloaded => Self::short_of("file descriptors"),
            Fault::Unfit { message } => {
                Self::new(400, REQUEST, "no_fitting_target", format!("No target can do what this request needs: {message}.")).final_one()
            }
            Fault::ModelMissing { message } => {
                Self::new(404, REQUEST, "model_not_found", format!("No provider of this model has it: {message}.")).final_one()
            }
        }
    }

    /// The status that is sent.
    pub(super) fn status(&self) -> u16 {
        self.0.status
    }

    /// A word for the log.
    pub(super) fn label(&self) -> &'static str {
        if self.0.passed.is_some() { "passed_on" } else { self.0.code }
    }

    /// What it says, not too long.
    fn message(&self) -> &str {
        cut(&self.0.message, LONGEST_MESSAGE)
    }
}

fn dollars(nanos: u64) -> Dollars {
    Dollars(i64::try_from(nanos).unwrap_or(i64::MAX))
}

/// A caller's own words, quoted, cut, and with nothing in them that a terminal would obey.
pub(super) fn echo(text: &str) -> String {
    let short = cut(text, ECHO);
    let dots = if short.len() < text.len() { "..." } else { "" };
    format!("{short:?}{dots}")
}

fn cut(text: &str, most: usize) -> &str {
    match text.char_indices().nth(most) {
        Some((at, _)) => &text[..at],
        None => text,
    }
}
