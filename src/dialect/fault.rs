//! What an upstream's refusal means. Vendor codes are rows of a table, extended by `providers.X.codes`, not branches.

use std::collections::BTreeMap;
use std::time::Duration;

use super::scan::ErrorParts;
use crate::health::{Failure, Outcome};

/// What a vendor's code stands for, whatever the status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meaning {
    /// Said by settings only: of the vendors' own codes none makes a fault of a status that isn't one.
    Transient,
    RateLimited,
    /// The whole key is out of quota for now, not only for this model.
    KeyLimited,
    KeyFault,
    TooLong,
    CallerFault,
    ModelMissing,
}

/// Codes and types that vendors document.
/// OpenAI: <https://platform.openai.com/docs/guides/error-codes>, Anthropic: <https://docs.claude.com/en/api/errors>,
/// Google: <https://ai.google.dev/gemini-api/docs/troubleshooting>, DeepSeek:
/// <https://api-docs.deepseek.com/quick_start/error_codes>.
const CODES: &[(&str, Meaning)] = &[
    ("context_length_exceeded", Meaning::TooLong),
    ("string_above_max_length", Meaning::TooLong),
    ("request_too_large", Meaning::TooLong),
    ("exceed_context_size_error", Meaning::TooLong),
    ("insufficient_quota", Meaning::KeyFault),
    ("billing_hard_limit_reached", Meaning::KeyFault),
    ("billing_not_active", Meaning::KeyFault),
    ("billing_error", Meaning::KeyFault),
    ("invalid_api_key", Meaning::KeyFault),
    ("account_deactivated", Meaning::KeyFault),
    ("organization_restricted", Meaning::KeyFault),
    ("authentication_error", Meaning::KeyFault),
    ("API_KEY_INVALID", Meaning::KeyFault),
    ("UNAUTHENTICATED", Meaning::KeyFault),
    ("model_not_found", Meaning::ModelMissing),
    ("unknown_model", Meaning::ModelMissing),
    ("model_decommissioned", Meaning::ModelMissing),
    ("model_not_supported", Meaning::ModelMissing),
    ("DeploymentNotFound", Meaning::ModelMissing),
    ("content_policy_violation", Meaning::CallerFault),
    ("content_filter", Meaning::CallerFault),
    ("moderation_blocked", Meaning::CallerFault),
    ("cyber_policy", Meaning::CallerFault),
    ("rate_limit_exceeded", Meaning::RateLimited),
    ("rate_limit_error", Meaning::RateLimited),
    ("requests", Meaning::RateLimited),
    ("tokens", Meaning::RateLimited),
    ("RESOURCE_EXHAUSTED", Meaning::RateLimited),
    ("organization_rate_limit_exceeded", Meaning::KeyLimited),
];

/// The names by which settings say what a code means.
const NAMES: &[(&str, Meaning)] = &[
    ("transient", Meaning::Transient),
    ("rate_limited", Meaning::RateLimited),
    ("key_fault", Meaning::KeyFault),
    ("too_long", Meaning::TooLong),
    ("caller_fault", Meaning::CallerFault),
    ("model_missing", Meaning::ModelMissing),
];

/// How vendors without a code say that a request is too long.
const TOO_LONG: &[&str] = &[
    "maximum context length",
    "context length",
    "context window",
    "context size",
    "exceed context limit",
    "prompt is too long",
    "input is too long",
    "maximum number of tokens",
];
/// How they say that they don't have a model.
const MISSING: &[&str] = &[
    "not exist",
    "doesn't exist",
    "not a valid model",
    "not found",
    "unknown model",
    "no such model",
    "model is not supported",
    "decommissioned",
    "retired",
];
/// How Google and xAI say that a key is refused, and Anthropic that its account has run dry, has reached the limit that its
/// owner set, or is closed: with a 400 whose code names no key.
const BAD_KEY: &[&str] = &[
    "api key not valid",
    "api key expired",
    "api key not found",
    "incorrect api key",
    "credit balance is too low",
    "reached your specified",
    "organization has been disabled",
];
/// How a 403's code says that it is about the content. Its message may speak of an access policy, and hold a name.
const POLICY: &[&str] = &["policy", "moderation", "safety"];

/// An upstream's answer that isn't a 200.
#[derive(Clone, Debug)]
pub struct Refused<'a> {
    /// Its status.
    pub status: u16,
    /// The wait it asks for.
    pub wait: Option<Duration>,
    /// Whether its head says that a limit is the whole key's.
    pub whole_key: bool,
    /// What its body says.
    pub parts: &'a ErrorParts,
    /// `providers.X.codes`: by the body's own code or type, else by the status.
    pub codes: &'a BTreeMap<String, String>,
}

/// The outcome that a refusal stands for.
pub fn refused(answer: &Refused<'_>) -> Outcome {
    let status = answer.status;
    let meaning = meaning(answer.parts, answer.codes).or_else(|| named(answer.codes.get(&status.to_string())?));
    let meaning = match meaning {
        // Another model than the one that answers, such as a tool's.
        Some(Meaning::ModelMissing) if status != 403 && names_a_field(answer.parts) => Some(Meaning::CallerFault),
        other => other,
    };
    let failure = Outcome::Transient(if answer.wait.is_some() { Failure::StatusLater(status) } else { Failure::Status(status) });
    match status {
        300..=399 => Outcome::Transient(Failure::Redirect),
        401 | 402 => Outcome::KeyFault { sure: status == 402 || meaning == Some(Meaning::KeyFault) },
        403 => match meaning {
            Some(Meaning::CallerFault) => Outcome::CallerFault,
            Some(Meaning::ModelMissing) => Outcome::ModelMissing,
            Some(Meaning::KeyFault) => Outcome::KeyFault { sure: true },
            _ if codes_say(answer.parts, POLICY) => Outcome::CallerFault,
            _ => Outcome::KeyFault { sure: false },
        },
        429 => match meaning {
            Some(Meaning::KeyFault) => Outcome::KeyFault { sure: true },
            other => limited(answer, other),
        },
        503 | 529 if answer.wait.is_some() => limited(answer, meaning),
        408 | 500..=599 => match meaning {
            Some(Meaning::RateLimited | Meaning::KeyLimited) => limited(answer, meaning),
            _ => failure,
        },
        404 | 405 | 410 => match meaning {
            Some(Meaning::ModelMissing) => Outcome::ModelMissing,
            Some(Meaning::CallerFault) => Outcome::CallerFault,
            Some(Meaning::KeyFault) => Outcome::KeyFault { sure: true },
            _ if says_missing_model(answer.parts) => Outcome::ModelMissing,
            _ if answer.parts.param.is_some() => Outcome::CallerFault,
            _ => Outcome::Transient(Failure::WrongPlace),
        },
        // What the request has the provider depend on, such as a tool's server.
        424 if names_a_field(answer.parts) => Outcome::CallerFault,
        // A proxy on the way, or a fault of another part behind the provider.
        407 | 424 | 425 => failure,
        400..=499 => match meaning {
            Some(Meaning::TooLong) if matches!(status, 400 | 413) => Outcome::TooLong,
            Some(Meaning::ModelMissing) => Outcome::ModelMissing,
            Some(Meaning::KeyFault) => Outcome::KeyFault { sure: true },
            Some(Meaning::Transient) => failure,
            Some(Meaning::RateLimited | Meaning::KeyLimited) => limited(answer, meaning),
            None if status == 400 && says_bad_key(answer.parts) => Outcome::KeyFault { sure: true },
            None if matches!(status, 400 | 413) && says(answer.parts, TOO_LONG) => Outcome::TooLong,
            None if status == 400 && says_missing_model(answer.parts) => Outcome::ModelMissing,
            Some(Meaning::CallerFault | Meaning::TooLong) | None => Outcome::CallerFault,
        },
        // Interim heads and answers without a body: not an answer to this request.
        _ => Outcome::Transient(Failure::Malformed),
    }
}

/// The outcome of an error inside a 200: of its whole body, or an event of its stream.
pub fn error_in_answer(parts: &ErrorParts, codes: &BTreeMap<String, String>) -> Outcome {
    match meaning(parts, codes) {
        Some(Meaning::RateLimited) => Outcome::RateLimited { wait: None, whole_key: false },
        Some(Meaning::KeyLimited) => Outcome::RateLimited { wait: None, whole_key: true },
        Some(Meaning::KeyFault) => Outcome::KeyFault { sure: true },
        Some(Meaning::TooLong | Meaning::CallerFault | Meaning::ModelMissing | Meaning::Transient) => {
            Outcome::Transient(Failure::ErrorBody)
        }
        // Routers write the status here that they would have answered with: <https://openrouter.ai/docs/api/errors>.
        None => match parts.code.as_deref() {
            Some("429") => Outcome::RateLimited { wait: None, whole_key: false },
            Some("401") => Outcome::KeyFault { sure: false },
            Some("402") => Outcome::KeyFault { sure: true },
            _ => Outcome::Transient(Failure::ErrorBody),
        },
    }
}

fn limited(answer: &Refused<'_>, meaning: Option<Meaning>) -> Outcome {
    Outcome::RateLimited { wait: answer.wait, whole_key: answer.whole_key || meaning == Some(Meaning::KeyLimited) }
}

fn meaning(parts: &ErrorParts, codes: &BTreeMap<String, String>) -> Option<Meaning> {
    let words = [parts.code.as_deref(), parts.kind.as_deref()];
    let own = words.into_iter().flatten().find_map(|word| codes.get(word));
    if let Some(own) = own {
        return named(own);
    }
    words.into_iter().flatten().find_map(|word| CODES.iter().find(|(code, _)| *code == word).map(|(_, meaning)| *meaning))
}

/// By its name in settings.
fn named(name: &str) -> Option<Meaning> {
    NAMES.iter().find(|(known, _)| *known == name).map(|(_, meaning)| *meaning)
}

fn says(parts: &ErrorParts, phrases: &[&str]) -> bool {
    let text = parts.message.as_deref().unwrap_or_default().to_ascii_lowercase();
    phrases.iter().any(|phrase| text.contains(phrase))
}

/// The vendor's own words, without what they quote: that may be the caller's, who must not be able to accuse a key or a model.
fn own_words(parts: &ErrorParts) -> String {
    let mut words = String::new();
    let mut quoted: Option<char> = None;
    let mut before = ' ';
    for next in parts.message.as_deref().unwrap_or_default().chars() {
        match quoted {
            Some(quote) if quote == next => quoted = None,
            Some(_) => {}
            // An apostrophe inside a word quotes nothing.
            None if matches!(next, '`' | '"') || next == '\'' && !before.is_alphanumeric() => quoted = Some(next),
            None => words.extend(next.to_lowercase()),
        }
        before = next;
    }
    words
}

/// Whether it names a field of the request, other than the model's own.
fn names_a_field(parts: &ErrorParts) -> bool {
    !matches!(parts.param.as_deref(), None | Some("" | "model"))
}

/// Whether they accuse the key; never where a field of the request is named.
fn says_bad_key(parts: &ErrorParts) -> bool {
    let words = own_words(parts);
    parts.param.as_deref().is_none_or(str::is_empty) && BAD_KEY.iter().any(|phrase| words.contains(phrase))
}

fn says_first(parts: &ErrorParts, phrase: &str) -> bool {
    parts.message.as_deref().and_then(|text| text.get(..phrase.len())).is_some_and(|begin| begin.eq_ignore_ascii_case(phrase))
}

fn codes_say(parts: &ErrorParts, words: &[&str]) -> bool {
    let codes = [parts.code.as_deref(), parts.kind.as_deref()];
    codes.into_iter().flatten().any(|code| words.iter().any(|word| code.to_ascii_lowercase().contains(word)))
}

/// Not where it is a field of the request that the model doesn't take ("'max_tokens' is not supported with this model"), nor
/// where it is only another endpoint's ("This is not a chat model and thus not supported in the v1/chat/completions endpoint").
fn says_missing_model(parts: &ErrorParts) -> bool {
    if names_a_field(parts) {
        return false;
    }
    // Anthropic's whole message is the model's name: "model: claude-0".
    let named = parts.kind.as_deref() == Some("not_found_error") && says_first(parts, "model:");
    // OpenRouter's of a model that nobody offers; those that some request narrowed down say "that support" or "matching".
    let nobodys = says_first(parts, "No endpoints found for");
    let words = own_words(parts);
    let missing = words.contains("model") && MISSING.iter().any(|phrase| words.contains(phrase));
    named || nobodys || missing && !words.contains("endpoint")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::scan::error_parts;

    fn outcome(status: u16, wait: Option<u64>, body: &str) -> Outcome {
        let parts = error_parts(body.as_bytes());
        let codes = BTreeMap::from(
            [("weird_code", "rate_limited"), ("flaky", "transient"), ("498", "transient"), ("412", "key_fault")]
                .map(|(code, name)| (code.to_owned(), name.to_owned())),
        );
        refused(&Refused { status, wait: wait.map(Duration::from_secs), whole_key: false, parts: &parts, codes: &codes })
    }

    fn error(code: &str, kind: &str, message: &str) -> String {
        format!(r#"{{"error":{{"message":"{message}","type":"{kind}","param":null,"code":"{code}"}}}}"#)
    }

    /// Each of these would take a healthy target or key away from everyone, by one caller's mistake or malice.
    #[test]
    fn a_request_at_fault_accuses_neither_the_model_nor_the_key() {
        for (param, message) in [
            ("max_tokens", "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."),
            ("response_format", "Invalid parameter: 'response_format' of type 'json_schema' is not supported with this model."),
            ("messages[0].role", "Invalid value: 'model not found'. Supported values are: 'system', 'user'."),
            ("messages[0].role", "Invalid value: the model does not exist."),
            ("messages[0].role", "Invalid value: incorrect api key."),
            ("", "Function calling is not supported for this model"),
            (
                "",
                "Failed to deserialize the JSON body: messages[0].role: unknown variant `model not found`, expected one of `system`, `user`",
            ),
            ("", "Unknown value 'incorrect api key' for the model"),
            ("", "Invalid value at 'contents[0].role', \\\"api key not valid\\\""),
        ] {
            let body = format!(r#"{{"error":{{"message":"{message}","type":"invalid_request_error","param":"{param}","code":null}}}}"#);
            assert_eq!(outcome(400, None, &body), Outcome::CallerFault, "{body}");
            assert_eq!(outcome(400, None, &body.replace("\"param\":\"\"", "\"param\":null")), Outcome::CallerFault, "{body}");
        }
        for (status, code, param) in
            [(404, "model_not_found", "tools[0].model"), (400, "model_not_found", "tools"), (424, "http_error", "tools")]
        {
            let body = format!(r#"{{"error":{{"message":"m","type":"t","param":"{param}","code":"{code}"}}}}"#);
            assert_eq!(outcome(status, None, &body), Outcome::CallerFault, "{body}");
        }
        assert_eq!(outcome(424, None, "{}"), Outcome::Transient(Failure::Status(424)));
        for message in [
            "The model `x` does not exist",
            "The model's name isn't known: model \\\"x\\\" not found",
            "The requested model is not supported.",
        ] {
            let body = format!(r#"{{"error":{{"message":"{message}","param":"model"}}}}"#);
            assert_eq!(outcome(400, None, &body), Outcome::ModelMissing, "{body}");
        }
    }

    #[test]
    fn statuses() {
        let limited = |wait: Option<u64>| Outcome::RateLimited { wait: wait.map(Duration::from_secs), whole_key: false };
        for (status, wait, body, expected) in [
            (500, None, "", Outcome::Transient(Failure::Status(500))),
            (408, None, "", Outcome::Transient(Failure::Status(408))),
            (503, None, "<html>", Outcome::Transient(Failure::Status(503))),
            (503, Some(7), "", limited(Some(7))),
            (529, Some(7), "", limited(Some(7))),
            (529, None, "", Outcome::Transient(Failure::Status(529))),
            (502, Some(7), "", Outcome::Transient(Failure::StatusLater(502))),
            (429, None, "{}", limited(None)),
            (429, Some(3), "", limited(Some(3))),
            (401, None, "", Outcome::KeyFault { sure: false }),
            (402, None, "", Outcome::KeyFault { sure: true }),
            (403, None, "nope", Outcome::KeyFault { sure: false }),
            (307, None, "", Outcome::Transient(Failure::Redirect)),
            (103, None, "", Outcome::Transient(Failure::Malformed)),
            (204, None, "", Outcome::Transient(Failure::Malformed)),
            (404, None, "<html>404 page", Outcome::Transient(Failure::WrongPlace)),
            (405, None, "", Outcome::Transient(Failure::WrongPlace)),
            (400, None, "{}", Outcome::CallerFault),
            (498, None, "{}", Outcome::Transient(Failure::Status(498))),
            (412, None, "", Outcome::KeyFault { sure: true }),
            (413, None, "", Outcome::CallerFault),
            (409, None, "", Outcome::CallerFault),
            (422, None, "", Outcome::CallerFault),
        ] {
            assert_eq!(outcome(status, wait, body), expected, "{status} {wait:?} {body}");
        }
    }

    #[test]
    fn codes() {
        let sure = Outcome::KeyFault { sure: true };
        for (status, code, kind, message, expected) in [
            (429, "insufficient_quota", "insufficient_quota", "quota", sure.clone()),
            (401, "invalid_api_key", "invalid_request_error", "bad key", sure.clone()),
            (400, "400", "API_KEY_INVALID", "key", sure.clone()),
            (400, "", "invalid_request_error", "Your credit balance is too low to access the Anthropic API. Please go on", sure.clone()),
            (400, "", "invalid_request_error", "You have reached your specified API usage limits.", sure.clone()),
            (400, "", "invalid_request_error", "This organization has been disabled.", sure.clone()),
            (400, "organization_restricted", "invalid_request_error", "Organization has been restricted.", sure),
            (400, "context_length_exceeded", "", "", Outcome::TooLong),
            (400, "", "invalid_request_error", "prompt is too long: 210000 tokens", Outcome::TooLong),
            (413, "request_too_large", "", "", Outcome::TooLong),
            (500, "context_length_exceeded", "", "", Outcome::Transient(Failure::Status(500))),
            (404, "model_not_found", "", "", Outcome::ModelMissing),
            (404, "", "not_found_error", "model: claude-0", Outcome::ModelMissing),
            (400, "invalid_request_error", "invalid_request_error", "Model Not Exist", Outcome::ModelMissing),
            (400, "400", "", "acme/none-1 is not a valid model ID", Outcome::ModelMissing),
            (404, "404", "", "No endpoints found for acme/none-1.", Outcome::ModelMissing),
            (404, "404", "", "No endpoints found that support tool use.", Outcome::Transient(Failure::WrongPlace)),
            (
                400,
                "",
                "invalid_request_error",
                "input length and `max_tokens` exceed context limit: 178959 + 64000 > 200000",
                Outcome::TooLong,
            ),
            (404, "", "not_found_error", "Not Found", Outcome::Transient(Failure::WrongPlace)),
            (404, "", "not_found_error", "path: /v2/models", Outcome::Transient(Failure::WrongPlace)),
            (400, "", "", "The model x does not exist", Outcome::ModelMissing),
            (400, "content_policy_violation", "", "", Outcome::CallerFault),
            (403, "", "", "no identity-based policy of user/x allows it", Outcome::KeyFault { sure: false }),
            (403, "safety_violation", "", "", Outcome::CallerFault),
            (401, "content_policy_violation", "", "", Outcome::KeyFault { sure: false }),
            (400, "400", "INVALID_ARGUMENT", "API key not valid. Please pass a valid API key.", Outcome::KeyFault { sure: true }),
            (422, "insufficient_quota", "", "", Outcome::KeyFault { sure: true }),
            (409, "rate_limit_exceeded", "", "", Outcome::RateLimited { wait: None, whole_key: false }),
            (404, "invalid_api_key", "", "", Outcome::KeyFault { sure: true }),
            (410, "", "", "the model was retired", Outcome::ModelMissing),
            (407, "", "", "proxy", Outcome::Transient(Failure::Status(407))),
            (403, "content_policy_violation", "", "", Outcome::CallerFault),
            (400, "server_error", "server_error", "", Outcome::CallerFault),
            (400, "flaky", "", "", Outcome::Transient(Failure::Status(400))),
            (400, "weird_code", "", "", Outcome::RateLimited { wait: None, whole_key: false }),
            (498, "context_length_exceeded", "", "", Outcome::CallerFault),
            (400, "Client specified an invalid argument", "", "Incorrect API key provided: xa***. ", Outcome::KeyFault { sure: true }),
            (429, "organization_rate_limit_exceeded", "", "", Outcome::RateLimited { wait: None, whole_key: true }),
        ] {
            assert_eq!(outcome(status, None, &error(code, kind, message)), expected, "{status} {code} {kind} {message}");
        }
    }

    #[test]
    fn errors_inside_a_200() {
        let inside = |code: &str| error_in_answer(&error_parts(error(code, "", "").as_bytes()), &BTreeMap::new());
        let status = |code: u16| error_in_answer(&error_parts(format!(r#"{{"error":{{"code":{code}}}}}"#).as_bytes()), &BTreeMap::new());
        assert_eq!(status(429), Outcome::RateLimited { wait: None, whole_key: false });
        assert_eq!((status(401), status(402)), (Outcome::KeyFault { sure: false }, Outcome::KeyFault { sure: true }));
        assert_eq!((status(502), status(400)), (Outcome::Transient(Failure::ErrorBody), Outcome::Transient(Failure::ErrorBody)));
        assert_eq!(inside("rate_limit_exceeded"), Outcome::RateLimited { wait: None, whole_key: false });
        assert_eq!(inside("insufficient_quota"), Outcome::KeyFault { sure: true });
        assert_eq!(inside("server_error"), Outcome::Transient(Failure::ErrorBody));
        assert_eq!(inside("anything"), Outcome::Transient(Failure::ErrorBody));
    }
}
