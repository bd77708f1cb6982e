//! The rows: what is served, path by path. Another path is another row; the test beside them fails without it. The endpoints of
//! `dialect::endpoint` come by themselves.

use super::{Got, Sent, Who, Words};

/// A path and a method.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    /// In lower case.
    pub(super) method: &'static str,
    /// With its variable parts in braces.
    pub(super) path: &'static str,
    pub(super) summary: &'static str,
    pub(super) who: Who,
    pub(super) query: &'static [(&'static str, &'static str)],
    pub(super) sent: Sent,
    /// The good status, and what comes with it.
    pub(super) status: u16,
    pub(super) got: Got,
    /// Documents of other statuses that are no errors.
    pub(super) also: &'static [(u16, &'static str)],
    pub(super) words: Words,
}

/// A row as most are.
pub(super) const fn row(method: &'static str, path: &'static str, summary: &'static str, got: Got) -> Row {
    Row { method, path, summary, who: Who::Anyone, query: &[], sent: Sent::Nothing, status: 200, got, also: &[], words: Words::OpenAi }
}

const fn called(method: &'static str, path: &'static str, summary: &'static str, got: Got) -> Row {
    Row { who: Who::Caller, ..row(method, path, summary, got) }
}

const fn operated(method: &'static str, path: &'static str, summary: &'static str, got: Got) -> Row {
    Row { who: Who::Operator, ..row(method, path, summary, got) }
}

const HEALTH: &[(u16, &str)] = &[(503, "Health")];
const LIVE: &[(u16, &str)] = &[(503, "Live")];
const MODEL: &[(&str, &str)] = &[("model", "A public name")];
const PAGED: &[(&str, &str)] =
    &[("limit", "How many, 50 unless told"), ("before", "The id that `next` gave"), ("provider", "Of this provider alone")];
const LEDGER: &[(&str, &str)] = &[
    ("limit", "How many: 50 unless told, and all where they come as lines"),
    ("before", "The id that `next` gave"),
    ("since", "7d, or a date"),
    ("until", "A date"),
    ("model", "Of this public name alone"),
    ("key", "Of this caller's key alone"),
    ("provider", "Of this provider alone"),
    ("status", "Of this status alone"),
    ("format", "csv or jsonl: as lines"),
];

pub(super) const ROWS: &[Row] = &[
    // callers
    Row { sent: Sent::Json("ChatRequest"), ..called("post", "/v1/chat/completions", "A chat's next answer", Got::Either("ChatAnswer")) },
    Row {
        sent: Sent::Json("EndpointRequest"),
        ..called("post", "/v1/responses", "The same in the words of OpenAI's Responses", Got::Either("EndpointAnswer"))
    },
    Row { status: 404, ..called("get", "/v1/responses/{id}", "None is kept: says whom to ask", Got::Json("Error")) },
    Row { status: 404, ..called("delete", "/v1/responses/{id}", "The same", Got::Json("Error")) },
    Row {
        sent: Sent::Json("MessagesRequest"),
        words: Words::Anthropic,
        ..called("post", "/v1/messages", "The same in Anthropic's words", Got::Either("MessagesAnswer"))
    },
    Row {
        sent: Sent::Json("MessagesRequest"),
        words: Words::Anthropic,
        ..called("post", "/v1/messages/count_tokens", "How many tokens a request has", Got::Json("TokenCount"))
    },
    Row { words: Words::Gemini, ..called("get", "/v1beta/models", "The models in Google's words", Got::Json("GeminiModels")) },
    Row { words: Words::Gemini, ..called("get", "/v1beta/models/{id}", "One of them", Got::Json("GeminiModel")) },
    Row {
        sent: Sent::Json("GenerateRequest"),
        words: Words::Gemini,
        ..called(
            "post",
            "/v1beta/models/{model}:generateContent",
            "A chat's next answer in Google's words; below /v1, too",
            Got::Json("GenerateAnswer"),
        )
    },
    Row {
        sent: Sent::Json("GenerateRequest"),
        words: Words::Gemini,
        ..called("post", "/v1beta/models/{model}:streamGenerateContent", "The same, streamed", Got::Events)
    },
    Row {
        sent: Sent::Json("GenerateRequest"),
        words: Words::Gemini,
        ..called("post", "/v1beta/models/{model}:countTokens", "How many tokens a request has", Got::Json("GenerateAnswer"))
    },
    called("get", "/v1/models", "The models that the caller's key may use", Got::Json("Models")),
    called("get", "/v1/models/{id}", "One of them", Got::Json("Model")),
    Row { query: MODEL, ..called("get", "/v1/route", "Where a request would go now, and why; sends nothing", Got::Json("Route")) },
    called("get", "/v1/streams/{id}", "Comes back to a stream, by Last-Event-ID", Got::Events),
    Row { status: 204, ..called("delete", "/v1/streams/{id}", "Stops it", Got::Nothing) },
    // anyone
    row("get", "/", "What this is", Got::Json("Front")),
    Row { also: HEALTH, ..row("get", "/health", "How each provider is", Got::Json("Health")) },
    row("get", "/health/live", "Whether the process runs", Got::Json("Live")),
    Row { also: LIVE, ..row("get", "/health/ready", "Whether it takes traffic that some target can serve", Got::Json("Live")) },
    row("get", "/metrics", "For Prometheus", Got::Text("text/plain")),
    row("get", "/openapi.json", "This", Got::Json("OpenApi")),
    row("get", "/dashboard", "The dashboard", Got::Text("text/html")),
    Row { status: 308, ..row("get", "/dashboard/", "To the dashboard", Got::Nothing) },
    row("get", "/dashboard/{file}", "Its files", Got::Text("*/*")),
    // operators
    Row { also: &[(422, "ReloadErrors")], ..operated("post", "/admin/reload", "Has the settings read again", Got::Json("Reload")) },
    Row {
        sent: Sent::Json("Order"),
        ..operated("post", "/admin/breakers/{provider}", "Opens, closes or resets a breaker", Got::Json("Ordered"))
    },
    operated("get", "/admin/keys", "The callers' keys", Got::Json("Keys")),
    Row { sent: Sent::Json("KeyTerms"), status: 201, ..operated("post", "/admin/keys", "Makes one, shown once", Got::Json("NewKey")) },
    operated("get", "/admin/keys/{id}", "One of them", Got::Json("Key")),
    Row { sent: Sent::Json("KeyTerms"), ..operated("patch", "/admin/keys/{id}", "Changes what it may do", Got::Json("Key")) },
    operated("delete", "/admin/keys/{id}", "Revokes it", Got::Json("Key")),
    Row {
        sent: Sent::MayBe("Rotation"),
        status: 201,
        ..operated("post", "/admin/keys/{id}/rotate", "Gives it a new secret", Got::Json("NewKey"))
    },
    Row {
        query: &[
            ("by", "model, key, provider, tag or day"),
            ("every", "hour or day: step by step besides"),
            ("since", "7d, or a date"),
            ("until", "A date"),
        ],
        ..operated("get", "/admin/usage", "What was used", Got::Json("Usage"))
    },
    Row { query: LEDGER, ..operated("get", "/admin/requests", "Requests, newest first", Got::Json("Requests")) },
    Row { query: LEDGER, ..operated("get", "/admin/attempts", "Their attempts, as lines", Got::Text("application/x-ndjson")) },
    Row { query: PAGED, ..operated("get", "/admin/transitions", "Moves of breakers, newest first", Got::Json("Transitions")) },
    operated("get", "/admin/events", "What happens, as it does", Got::Events),
    Row { query: MODEL, ..operated("get", "/admin/route", "Where a request for any model would go", Got::Json("Route")) },
    row("get", "/admin/session", "Whether this browser is signed in", Got::Json("Session")),
    Row { sent: Sent::Json("Login"), ..row("post", "/admin/session", "Signs it in by the admin key", Got::Json("Session")) },
    row("delete", "/admin/session", "Signs it out", Got::Json("Session")),
];
