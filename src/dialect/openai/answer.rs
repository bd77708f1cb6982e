//! Answers and refusals of Chat Completions written from the neutral shape, to callers.
//!
//! An answer holds every field that OpenAI's SDKs require, and of other vendors' the two that carry thoughts
//! (`reasoning_content`, and with their proof `thinking_blocks`), which callers may hand back.
//! <https://platform.openai.com/docs/api-reference/chat/object>

use bytes::Bytes;

use super::types::finish_name;
use super::write::call;
use crate::dialect::chat::{Answer, Choice, Part};
use crate::dialect::draft::Draft;
use crate::dialect::scan::ErrorParts;

pub(super) fn answer(answer: &Answer<'_>, now: u64) -> Bytes {
    let mut d = Draft::with_room(1024);
    d.object(|d| {
        d.key("id").text(&answer.id);
        d.key("object").text("chat.completion");
        d.key("created").count(answer.created.unwrap_or(now));
        d.key("model").text(&answer.model);
        d.key("choices").list(|d| answer.choices.iter().enumerate().for_each(|(place, choice)| write_choice(d, place as u64, choice)));
        if let Some(spent) = &answer.spent {
            d.key("usage").raw(&spent.json());
        }
    });
    d.done()
}

fn write_choice(d: &mut Draft, place: u64, choice: &Choice<'_>) {
    d.object(|d| {
        d.key("index").count(place);
        d.key("message").object(|d| message(d, &choice.parts));
        d.key("logprobs").null();
        d.key("finish_reason").text(finish_name(choice.finish));
        if let Some(stop) = &choice.stop {
            d.key("stop_reason").text(stop);
        }
    });
}

fn message(d: &mut Draft, parts: &[Part<'_>]) {
    let join = |pick: for<'p> fn(&'p Part<'p>) -> Option<&'p str>| {
        let mut texts = parts.iter().filter_map(pick).peekable();
        texts.peek().is_some().then(|| texts.collect::<String>())
    };
    let optional = |d: &mut Draft, name: &str, text: Option<String>| match text {
        Some(text) => _ = d.key(name).text(&text),
        None => _ = d.key(name).null(),
    };
    d.key("role").text("assistant");
    optional(d, "content", join(|part| if let Part::Text { text, .. } = part { Some(text) } else { None }));
    optional(d, "refusal", join(|part| if let Part::Refusal(text) = part { Some(text) } else { None }));
    if let Some(thoughts) = join(|part| if let Part::Thinking { text, .. } = part { Some(text) } else { None }) {
        d.key("reasoning_content").text(&thoughts);
    }
    let proven = |part: &&Part<'_>| matches!(part, Part::Thinking { signature: Some(_), .. } | Part::Redacted(_));
    if parts.iter().any(|part| proven(&part)) {
        d.key("thinking_blocks").list(|d| parts.iter().filter(proven).for_each(|part| thinking_block(d, part)));
    }
    if parts.iter().any(|part| matches!(part, Part::Call { .. })) {
        d.key("tool_calls").list(|d| parts.iter().for_each(|part| call(d, part)));
    }
}

fn thinking_block(d: &mut Draft, part: &Part<'_>) {
    match part {
        Part::Thinking { text, signature: Some(signature) } => {
            d.object(|d| _ = d.key("type").text("thinking").key("thinking").text(text).key("signature").text(signature));
        }
        Part::Redacted(data) => _ = d.object(|d| _ = d.key("type").text("redacted_thinking").key("data").text(data)),
        _ => {}
    }
}

/// OpenAI's error object.
pub(super) fn refusal(parts: &ErrorParts) -> Bytes {
    let mut d = Draft::with_room(256);
    d.object(|d| {
        d.key("error").object(|d| {
            d.key("message").text(parts.message.as_deref().unwrap_or("The upstream refused the request and didn't say why."));
            d.key("type").text(parts.kind.as_deref().unwrap_or("invalid_request_error"));
            for (name, value) in [("param", &parts.param), ("code", &parts.code)] {
                match value {
                    Some(value) => _ = d.key(name).text(value),
                    None => _ = d.key(name).null(),
                }
            }
        });
    });
    d.done()
}
