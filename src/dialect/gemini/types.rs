//! Gemini's words for what the neutral shape has, and what each generation of its models takes.
//!
//! From <https://ai.google.dev/api/generate-content>, <https://ai.google.dev/gemini-api/docs/thinking>,
//! <https://ai.google.dev/gemini-api/docs/thought-signatures> and <https://ai.google.dev/gemini-api/docs/troubleshooting>.

use std::borrow::Cow;

use crate::dialect::chat::{Effort, Finish, Words};
use crate::dialect::escape::segment;

/// Where a Gemini model's name tells no version (`gemini-flash-latest`): it is taken for the newest.
const NEWEST: (u32, u32) = (u32::MAX, 0);

/// Before the proofs of Gemini's thoughts in the neutral shape: no other vendor takes them back, and it none of theirs.
const PROOF: &str = "gemini:";

/// The proof that Gemini takes for calls that weren't its own:
/// <https://ai.google.dev/gemini-api/docs/thought-signatures#faqs>.
pub(super) const NOT_OURS: &str = "skip_thought_signature_validator";

/// What a model takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Abilities {
    /// How it is made to think.
    pub(super) thinks: Thinks,
    /// Whether calls in the conversation need the proof that they came with.
    pub(super) proofs: bool,
    /// Whether an answer can follow a schema while functions may be called.
    pub(super) schema_beside_tools: bool,
    /// Whether a function can give back pictures and documents.
    pub(super) media_results: bool,
    /// Whether arguments can be made to follow their schema where the model may also speak.
    pub(super) validates: bool,
    /// Whether it fetches what an `https:` URL points at.
    pub(super) urls: bool,
    /// Whether `presencePenalty` and `frequencyPenalty` are known to it: "Penalty is not enabled for this model" is a 400.
    pub(super) penalties: bool,
}

/// How a model is made to think.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Thinks {
    /// Not at all.
    Never,
    /// With a budget of tokens between these; `off`: it can also do without.
    ByBudget { least: u64, most: u64, off: bool },
    /// By a level from this one on, of which some models don't know the middle one.
    ByLevel { least: Effort, medium: bool },
}

/// What a model takes, by its name.
pub(super) fn abilities(model: &str) -> Abilities {
    // Another model behind this API, such as Gemma.
    let version = version(model).unwrap_or((1, 0));
    let (pro, lite, flash) = (model.contains("pro"), model.contains("lite"), model.contains("flash"));
    let thinks = match version {
        (..=1, _) | (2, ..=4) => Thinks::Never,
        (2, _) if pro => Thinks::ByBudget { least: 128, most: 32_768, off: false },
        (2, _) if lite => Thinks::ByBudget { least: 512, most: 24_576, off: true },
        (2, _) => Thinks::ByBudget { least: 1, most: 24_576, off: true },
        // 3.8 is documented without `minimal`, and what comes later isn't known to have it.
        (3, ..=7) if flash => Thinks::ByLevel { least: Effort::Minimal, medium: true },
        (3, 0) if pro => Thinks::ByLevel { least: Effort::Low, medium: false },
        _ => Thinks::ByLevel { least: Effort::Low, medium: true },
    };
    let third = version >= (3, 0);
    let (newer, penalties) = (version >= (2, 5), version == (2, 0));
    Abilities { thinks, proofs: third, schema_beside_tools: third, media_results: third, validates: newer, urls: newer, penalties }
}

/// The version that a Gemini model's name tells: `gemini-2.5-flash`, `models/gemini-3.1-pro-preview`. None for a name that
/// isn't Gemini's.
fn version(model: &str) -> Option<(u32, u32)> {
    let rest = &model[model.find("gemini")? + "gemini".len()..];
    let number = |part: &str| part.parse::<u32>().ok().filter(|_| part.len() <= 2);
    let mut parts = rest.split(['-', '@', ':', '_']);
    let Some(named) = parts.find(|part| part.starts_with(|first: char| first.is_ascii_digit())) else { return Some(NEWEST) };
    let (major, minor) = named.split_once('.').unwrap_or((named, "0"));
    Some(number(major).map_or(NEWEST, |major| (major, number(minor).unwrap_or(0))))
}

/// Tokens to think with, for models that want a budget: what Google's own OpenAI endpoint makes of an effort.
/// <https://ai.google.dev/gemini-api/docs/openai#thinking>
pub(super) fn budget(effort: Effort) -> u64 {
    match effort {
        Effort::None => 0,
        Effort::Minimal | Effort::Low => 1_024,
        Effort::Medium => 8_192,
        Effort::High => 24_576,
        Effort::XHigh | Effort::Max => 32_768,
    }
}

/// The effort that stands for a budget, for models that want a level.
pub(super) fn effort(budget: u64) -> Effort {
    match budget {
        0..=1_024 => Effort::Low,
        1_025..=8_192 => Effort::Medium,
        _ => Effort::High,
    }
}

/// A level's name.
pub(super) fn level_name(effort: Effort) -> &'static str {
    match effort {
        Effort::None | Effort::Minimal => "MINIMAL",
        Effort::Low => "LOW",
        Effort::Medium => "MEDIUM",
        Effort::High | Effort::XHigh | Effort::Max => "HIGH",
    }
}

/// The path of a chat below the API's base. The name is the model's own, `models/` before it or not; what a path can't hold
/// is escaped.
pub fn path(model: &str, stream: bool) -> String {
    method_path(model, if stream { ":streamGenerateContent?alt=sse" } else { ":generateContent" })
}

/// The path below the API's base where a request's tokens are counted.
pub fn count_path(model: &str) -> String {
    method_path(model, ":countTokens")
}

fn method_path(model: &str, method: &str) -> String {
    let folder = if model.starts_with("tunedModels/") { "" } else { "models/" };
    let mut path = format!("/{folder}");
    segment(&mut path, model.strip_prefix("models/").unwrap_or(model), folder.is_empty());
    path.push_str(method);
    path
}

/// A proof as the wire has it, in the neutral shape; None for the one that proves nothing.
pub(super) fn proof(signature: Words<'_>) -> Option<Words<'_>> {
    (!signature.is_empty() && signature != NOT_OURS).then(|| Cow::Owned(format!("{PROOF}{signature}")))
}

/// A proof of the neutral shape, as the wire has it; None where it is another vendor's.
pub(super) fn own_proof(signature: &str) -> Option<&str> {
    signature.strip_prefix(PROOF)
}

/// Whether a proof is Gemini's: no other vendor takes it.
pub(in crate::dialect) fn is_proof(signature: &str) -> bool {
    signature.starts_with(PROOF)
}

/// How an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// As answers end.
    Well(Finish),
    /// What the model made isn't an answer: the target failed.
    Badly,
}

/// Finish reasons of what isn't an answer.
pub(in crate::dialect) const BADLY: [&str; 9] = [
    "OTHER",
    "IMAGE_OTHER",
    "NO_IMAGE",
    "MALFORMED_FUNCTION_CALL",
    "MALFORMED_RESPONSE",
    "UNEXPECTED_TOOL_CALL",
    "TOO_MANY_TOOL_CALLS",
    "MISSING_THOUGHT_SIGNATURE",
    "PUP_LIMITED_DISABLED",
];

/// What a finish reason means. One that nobody knows is an end like any other.
pub(super) fn finish(reason: &str) -> Ended {
    Ended::Well(match reason {
        "MAX_TOKENS" | "CONTINUATION" => Finish::Length,
        "SAFETY" | "RECITATION" | "LANGUAGE" | "BLOCKLIST" | "PROHIBITED_CONTENT" | "SPII" | "MODEL_ARMOR" | "ESCALATION" => {
            Finish::Filtered
        }
        reason if reason.starts_with("IMAGE_") && reason != "IMAGE_OTHER" => Finish::Filtered,
        reason if BADLY.contains(&reason) => return Ended::Badly,
        _ => Finish::Stop,
    })
}

/// A finish reason's name.
pub(super) fn finish_name(finish: Finish) -> &'static str {
    match finish {
        Finish::Stop | Finish::StopText | Finish::Calls | Finish::Paused => "STOP",
        Finish::Length | Finish::WindowFull => "MAX_TOKENS",
        Finish::Filtered => "SAFETY",
    }
}

/// The `status` of the error that stands for an HTTP status: <https://cloud.google.com/apis/design/errors>.
pub fn error_status(status: u16) -> &'static str {
    match status {
        401 => "UNAUTHENTICATED",
        402 => "FAILED_PRECONDITION",
        403 => "PERMISSION_DENIED",
        404 => "NOT_FOUND",
        409 => "ABORTED",
        429 => "RESOURCE_EXHAUSTED",
        499 => "CANCELLED",
        501 => "UNIMPLEMENTED",
        502 | 503 | 529 => "UNAVAILABLE",
        504 => "DEADLINE_EXCEEDED",
        400..=498 => "INVALID_ARGUMENT",
        _ => "INTERNAL",
    }
}

/// The media type that a URL's ending tells, of those that Gemini fetches:
/// <https://ai.google.dev/gemini-api/docs/file-input-methods>.
pub(super) fn media(url: &str) -> Option<&'static str> {
    let path = url.split(['?', '#']).next()?;
    let ending = path.rsplit('/').next()?.rsplit_once('.')?.1.to_ascii_lowercase();
    Some(match &*ending {
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "webp" => "image/webp",
        "bmp" => "image/bmp",
        "pdf" => "application/pdf",
        "txt" => "text/plain",
        "csv" => "text/csv",
        "html" | "htm" => "text/html",
        "xml" => "text/xml",
        "css" => "text/css",
        "json" => "application/json",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_by_name() {
        for (model, expected) in [
            ("gemini-1.5-flash-002", Some((1, 5))),
            ("gemini-2.0-flash", Some((2, 0))),
            ("models/gemini-2.5-flash-preview-05-20", Some((2, 5))),
            ("google/gemini-3-pro-preview", Some((3, 0))),
            ("gemini-3.8-flash", Some((3, 8))),
            ("gemini-4-argon", Some((4, 0))),
            ("gemini-flash-latest", Some(NEWEST)),
            ("gemini-exp-1206", Some(NEWEST)),
            ("gemma-3-27b-it", None),
        ] {
            assert_eq!(version(model), expected, "{model}");
        }
    }

    #[test]
    fn abilities_by_generation() {
        let level = |least| Thinks::ByLevel { least, medium: true };
        for (model, thinks, third) in [
            ("gemini-2.0-flash", Thinks::Never, false),
            ("gemma-3-27b-it", Thinks::Never, false),
            ("gemini-2.5-pro", Thinks::ByBudget { least: 128, most: 32_768, off: false }, false),
            ("gemini-2.5-flash", Thinks::ByBudget { least: 1, most: 24_576, off: true }, false),
            ("gemini-2.5-flash-lite", Thinks::ByBudget { least: 512, most: 24_576, off: true }, false),
            ("gemini-3-pro-preview", Thinks::ByLevel { least: Effort::Low, medium: false }, true),
            ("gemini-3.1-pro-preview", level(Effort::Low), true),
            ("gemini-3.5-flash", level(Effort::Minimal), true),
            ("gemini-3.8-flash", level(Effort::Low), true),
            ("gemini-flash-latest", level(Effort::Low), true),
        ] {
            let able = abilities(model);
            assert_eq!((able.thinks, able.proofs), (thinks, third), "{model}");
            assert_eq!((able.schema_beside_tools, able.media_results), (third, third));
        }
    }

    #[test]
    fn a_path_holds_any_name() {
        assert_eq!(path("gemini-2.5-flash", false), "/models/gemini-2.5-flash:generateContent");
        assert_eq!(path("models/gemini-2.5-flash", true), "/models/gemini-2.5-flash:streamGenerateContent?alt=sse");
        assert_eq!(path("tunedModels/mine-1", false), "/tunedModels/mine-1:generateContent");
        assert_eq!(path("../x?key=1#:a é", false), "/models/..%2Fx%3Fkey%3D1%23%3Aa%20%C3%A9:generateContent");
    }

    #[test]
    fn reasons_are_ends_or_failures() {
        for (reason, ended) in [
            ("STOP", Ended::Well(Finish::Stop)),
            ("MAX_TOKENS", Ended::Well(Finish::Length)),
            ("PROHIBITED_CONTENT", Ended::Well(Finish::Filtered)),
            ("IMAGE_SAFETY", Ended::Well(Finish::Filtered)),
            ("MALFORMED_FUNCTION_CALL", Ended::Badly),
            ("OTHER", Ended::Badly),
            ("SOMETHING_NEW", Ended::Well(Finish::Stop)),
        ] {
            assert_eq!(finish(reason), ended, "{reason}");
        }
        assert_eq!(finish(finish_name(Finish::Filtered)), Ended::Well(Finish::Filtered));
    }

    #[test]
    fn proofs_are_told_from_others() {
        let ours = proof("abc".into()).unwrap();
        assert_eq!((own_proof(&ours), own_proof("abc"), is_proof(&ours)), (Some("abc"), None, true));
        assert_eq!((proof(NOT_OURS.into()), proof("".into())), (None, None));
    }

    #[test]
    fn a_urls_ending_tells_its_media_type() {
        assert_eq!(media("https://x.example/a/b.PNG?w=1#f"), Some("image/png"));
        assert_eq!((media("https://x.example/a.b/c"), media("https://x.example")), (None, None));
    }
}
