//! Responses' words for what the neutral shape has, and which of its own fields may be left out for a target that can't take them.
//!
//! From <https://platform.openai.com/docs/api-reference/responses/create>.

use std::borrow::Cow;

use bytes::Bytes;

use crate::dialect::chat::{Finish, Part, Words};
use crate::dialect::draft::Draft;

/// Fields without which the answer means the same: they say who asks, what it may cost, how it is cached or how fast it comes.
const HARMLESS: &[&str] = &[
    "max_tool_calls",
    "metadata",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
    "safety_identifier",
    "service_tier",
    "stream_options",
    "truncation",
];

/// Whether the answer means the same without a field that only this dialect has.
pub(super) fn is_harmless(name: &str) -> bool {
    HARMLESS.contains(&name)
}

/// Whether a field is the gateway's own business, or asks for what comes anyway.
pub(super) fn asks_nothing(name: &str, json: &str) -> bool {
    match name {
        "models" => true,
        "background" | "store" => json == "false",
        "truncation" => json == r#""disabled""#,
        "top_logprobs" => json == "0",
        _ => false,
    }
}

/// Before other vendors' proofs of thoughts where OpenAI has its own (`encrypted_content`), so that each gets only its own back.
const PROOF: &str = "stagedoor.proof:";
/// The same before thoughts that only the vendor can read.
const SEALED: &str = "stagedoor.sealed:";

/// What stands in `encrypted_content` for a thought; None for one without a proof.
pub(super) fn encrypted(part: &Part<'_>) -> Option<String> {
    match part {
        Part::Thinking { signature: Some(signature), .. } => Some(format!("{PROOF}{signature}")),
        Part::Redacted(data) => Some(format!("{SEALED}{data}")),
        _ => None,
    }
}

/// A reasoning item as a thought; None where it says nothing that anybody but OpenAI can read.
pub(super) fn thought<'a>(text: Words<'a>, encrypted: Option<Words<'a>>) -> Option<Part<'a>> {
    let cut = |prefix: &str| encrypted.as_deref().and_then(|sealed| sealed.strip_prefix(prefix)).map(|rest| Cow::Owned(rest.to_owned()));
    match cut(SEALED) {
        Some(data) => Some(Part::Redacted(data)),
        None => {
            let signature = cut(PROOF);
            (!text.is_empty() || signature.is_some()).then_some(Part::Thinking { text, signature })
        }
    }
}

/// An id as Responses have it: by its kind.
pub(super) fn id(kind: &str, id: &str) -> String {
    if id.starts_with(kind) { id.to_owned() } else { format!("{kind}{id}") }
}

/// A response's status, and why it is incomplete where it is.
pub(super) fn status(finish: Finish, refused: bool) -> (&'static str, Option<&'static str>) {
    match finish {
        Finish::Length | Finish::WindowFull => ("incomplete", Some("max_output_tokens")),
        Finish::Filtered if !refused => ("incomplete", Some("content_filter")),
        Finish::Stop | Finish::StopText | Finish::Calls | Finish::Filtered | Finish::Paused => ("completed", None),
    }
}

/// Why an answer ended.
pub(super) fn finish(status: Option<&str>, reason: Option<&str>, called: bool) -> Finish {
    match (status, reason) {
        (Some("incomplete"), Some("content_filter")) => Finish::Filtered,
        (Some("incomplete"), _) => Finish::Length,
        _ if called => Finish::Calls,
        _ => Finish::Stop,
    }
}

/// The event that ends a stream with an error, as the `sequence`th. Its fields stand twice: as its description has them, and
/// within `error`, as OpenAI sends them and its SDKs look for them.
pub fn error_event(kind: &str, code: &str, message: &str, sequence: u64) -> Bytes {
    let mut d = Draft::behind(b"event: error\ndata: ".to_vec());
    d.object(|d| {
        d.key("type").text("error").key("code").text(code).key("message").text(message).key("param").null();
        d.key("sequence_number").count(sequence);
        d.key("error").object(|d| _ = d.key("type").text(kind).key("code").text(code).key("message").text(message).key("param").null());
    });
    d.line("\n\n");
    d.done()
}
