//! Answers and refusals of Messages written from the neutral shape, to callers: with every field that Anthropic's SDKs require.
//! <https://platform.claude.com/docs/en/api/messages>

use bytes::Bytes;

use super::types::{error_type, finish_name};
use crate::dialect::Usage;
use crate::dialect::chat::{Answer, Finish, Part};
use crate::dialect::draft::Draft;
use crate::dialect::scan::ErrorParts;

pub(super) fn answer(answer: &Answer<'_>) -> Bytes {
    let mut d = Draft::with_room(1024);
    let choice = answer.choices.first();
    d.object(|d| {
        d.key("id").text(&answer.id).key("type").text("message").key("role").text("assistant").key("model").text(&answer.model);
        d.key("content").list(|d| choice.into_iter().flat_map(|choice| &choice.parts).for_each(|part| block(d, part)));
        let has = |kind: fn(&Part<'_>) -> bool| choice.is_some_and(|choice| choice.parts.iter().any(kind));
        let (called, refused) = (has(|part| matches!(part, Part::Call { .. })), has(|part| matches!(part, Part::Refusal(_))));
        d.key("stop_reason").text(finish_name(ended(choice.map_or(Finish::Stop, |choice| choice.finish), called, refused)));
        match choice.and_then(|choice| choice.stop.as_deref()) {
            Some(stop) => _ = d.key("stop_sequence").text(stop),
            None => _ = d.key("stop_sequence").null(),
        }
        usage(d.key("usage"), &answer.spent.unwrap_or_default());
    });
    d.done()
}

/// Callers go by the stop reason alone: some vendors end calls with a plain stop, and OpenAI a refusal.
pub(super) fn ended(finish: Finish, called: bool, refused: bool) -> Finish {
    match finish {
        Finish::Stop if called => Finish::Calls,
        Finish::Stop if refused => Finish::Filtered,
        finish => finish,
    }
}

fn block(d: &mut Draft, part: &Part<'_>) {
    match part {
        Part::Text { text, .. } | Part::Refusal(text) => {
            d.object(|d| _ = d.key("type").text("text").key("text").text(text));
        }
        Part::Call { id, name, arguments, .. } => {
            d.object(|d| {
                d.key("type").text("tool_use").key("id").text(id).key("name").text(name);
                d.key("input").arguments(arguments);
            });
        }
        Part::Thinking { text, signature } => {
            let signature = signature.as_deref().unwrap_or_default();
            d.object(|d| _ = d.key("type").text("thinking").key("thinking").text(text).key("signature").text(signature));
        }
        Part::Redacted(data) => _ = d.object(|d| _ = d.key("type").text("redacted_thinking").key("data").text(data)),
        Part::Image { .. } | Part::Audio { .. } | Part::File { .. } | Part::Result { .. } => {}
    }
}

/// A `usage` object.
pub(super) fn usage(d: &mut Draft, used: &Usage) {
    d.object(|d| {
        d.key("input_tokens").count(used.input.saturating_sub(used.cached + used.cache_write));
        d.key("cache_creation_input_tokens").count(used.cache_write);
        d.key("cache_read_input_tokens").count(used.cached);
        d.key("output_tokens").count(used.output);
        if used.reasoning > 0 {
            d.key("output_tokens_details").object(|d| _ = d.key("thinking_tokens").count(used.reasoning));
        }
    });
}

/// Anthropic's error object.
pub(super) fn refusal(status: u16, parts: &ErrorParts) -> Bytes {
    let message = parts.message.as_deref().unwrap_or("The upstream refused the request and didn't say why.");
    error(error_type(status), message)
}

/// The same, of a type and a message.
pub(super) fn error(kind: &str, message: &str) -> Bytes {
    let mut d = Draft::with_room(256);
    d.object(|d| {
        d.key("type").text("error");
        d.key("error").object(|d| _ = d.key("type").text(kind).key("message").text(message));
    });
    d.done()
}
