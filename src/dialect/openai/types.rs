//! OpenAI's words for what the neutral shape has, and which of its own fields may be left out for a target that can't take them.
//!
//! From <https://platform.openai.com/docs/api-reference/chat/create>.

use crate::dialect::chat::{Finish, Role};

/// Fields without which the answer means the same: they say who asks, what it may cost, how it is stored or how fast it
/// comes, or ask for a manner rather than a content.
const HARMLESS: &[&str] = &[
    "metadata",
    "prediction",
    "prompt_cache_key",
    "prompt_cache_retention",
    "reasoning",
    "safety_identifier",
    "service_tier",
    "store",
    "usage",
    "verbosity",
];

/// Whether a field is the gateway's own business, or asks for what comes anyway.
pub(super) fn asks_nothing(name: &str, json: &str) -> bool {
    match name {
        "models" => true,
        "modalities" => json.split(['[', ']', ',', ' ', '\n', '"']).all(|word| matches!(word, "" | "text")),
        "logit_bias" | "functions" => matches!(json, "{}" | "[]"),
        _ => false,
    }
}

/// Whether the answer means the same without a field that only this dialect has. One that nobody here knows may change
/// anything.
pub(super) fn is_harmless(name: &str) -> bool {
    HARMLESS.contains(&name)
}

/// Models that think before they answer: they take `max_completion_tokens` and `reasoning_effort`, and no sampling fields.
/// <https://platform.openai.com/docs/guides/reasoning>
pub(super) fn thinks(model: &str) -> bool {
    let name = model.rsplit('/').next().unwrap_or(model);
    let is_o = name.strip_prefix('o').is_some_and(|rest| rest.starts_with(|first: char| first.is_ascii_digit()));
    let is_gpt = name.strip_prefix("gpt-").and_then(|rest| rest.split(['.', '-']).next()?.parse::<u32>().ok());
    is_o || is_gpt.is_some_and(|version| version >= 5) && !name.contains("-chat")
}

/// A role; None for one that messages of the neutral shape don't have.
pub(super) fn role(name: &str) -> Option<Role> {
    match name {
        "system" => Some(Role::System),
        "developer" => Some(Role::Developer),
        "user" => Some(Role::User),
        "assistant" => Some(Role::Assistant),
        _ => None,
    }
}

/// A role's name.
pub(super) fn role_name(role: Role) -> &'static str {
    match role {
        Role::System => "system",
        Role::Developer => "developer",
        Role::User => "user",
        Role::Assistant => "assistant",
    }
}

/// What a finish reason means. One that nobody knows is an end like any other.
pub(super) fn finish(reason: &str) -> Finish {
    match reason {
        "length" => Finish::Length,
        "tool_calls" | "function_call" => Finish::Calls,
        "content_filter" => Finish::Filtered,
        _ => Finish::Stop,
    }
}

/// A finish reason's name: only those that OpenAI's own models allow.
pub(super) fn finish_name(finish: Finish) -> &'static str {
    match finish {
        Finish::Stop | Finish::StopText | Finish::Paused => "stop",
        Finish::Length | Finish::WindowFull => "length",
        Finish::Calls => "tool_calls",
        Finish::Filtered => "content_filter",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_that_think() {
        for model in ["o1", "o3-mini", "o4-mini-2025-04-16", "gpt-5", "gpt-5.2-pro", "openai/gpt-6-mini"] {
            assert!(thinks(model), "{model}");
        }
        for model in ["gpt-4o", "gpt-4.1", "gpt-5-chat-latest", "omni", "llama-3", "claude-opus-5", "gpt-oss-20b"] {
            assert!(!thinks(model), "{model}");
        }
    }

    #[test]
    fn what_may_be_left_out() {
        assert!(is_harmless("metadata") && !is_harmless("logit_bias") && !is_harmless("guided_json"));
        for (name, json, nothing) in [
            ("models", "[]", true),
            ("modalities", r#"["text"]"#, true),
            ("modalities", r#"["text", "audio"]"#, false),
            ("logit_bias", "{}", true),
            ("logit_bias", r#"{"50256":-100}"#, false),
            ("functions", r#"[{}]"#, false),
            ("guided_json", "{}", false),
        ] {
            assert_eq!(asks_nothing(name, json), nothing, "{name} {json}");
        }
    }
}
