//! Answers and refusals of the Gemini API written from the neutral shape, to callers.
//! <https://ai.google.dev/api/generate-content#v1beta.GenerateContentResponse>

use bytes::Bytes;

use super::proof::Proof;
use super::types::{error_status, finish_name};
use crate::dialect::Usage;
use crate::dialect::chat::{Answer, Choice, Part, Source};
use crate::dialect::draft::Draft;
use crate::dialect::scan::ErrorParts;

pub(super) fn answer(answer: &Answer<'_>) -> Bytes {
    let mut d = Draft::with_room(1024);
    d.object(|d| {
        d.key("candidates").list(|d| answer.choices.iter().enumerate().for_each(|(place, choice)| candidate(d, place as u64, choice)));
        if let Some(spent) = &answer.spent {
            usage(d.key("usageMetadata"), spent);
        }
        d.key("modelVersion").text(&answer.model).key("responseId").text(&answer.id);
    });
    d.done()
}

fn candidate(d: &mut Draft, place: u64, choice: &Choice<'_>) {
    d.object(|d| {
        d.key("content").object(|d| {
            d.key("parts").list(|d| {
                let mut proof = Proof { pending: None, due: true };
                choice.parts.iter().for_each(|part| said(d, part, &mut proof));
                proof.rest(d);
            });
            d.key("role").text("model");
        });
        d.key("finishReason").text(finish_name(choice.finish)).key("index").count(place);
    });
}

fn said<'p>(d: &mut Draft, part: &'p Part<'_>, proof: &mut Proof<'p>) {
    match part {
        Part::Text { text, .. } | Part::Refusal(text) => proof.text(d, text, false),
        Part::Thinking { text, signature } => proof.thought(d, text, signature.as_deref()),
        Part::Call { id, name, arguments, .. } => proof.call(d, id, name, arguments),
        Part::Image { source: Source::Inline { media, data }, .. } => {
            d.object(|d| _ = d.key("inlineData").object(|d| _ = d.key("mimeType").text(media).key("data").text(data)));
        }
        Part::Redacted(_) | Part::Image { .. } | Part::Audio { .. } | Part::File { .. } | Part::Result { .. } => {}
    }
}

/// A `usageMetadata` object.
pub(super) fn usage(d: &mut Draft, used: &Usage) {
    d.object(|d| {
        d.key("promptTokenCount").count(used.input);
        d.key("candidatesTokenCount").count(used.output.saturating_sub(used.reasoning));
        d.key("totalTokenCount").count(used.total());
        if used.cached > 0 {
            d.key("cachedContentTokenCount").count(used.cached);
        }
        if used.reasoning > 0 {
            d.key("thoughtsTokenCount").count(used.reasoning);
        }
        kinds(d, "promptTokensDetails", used.input, used.audio_input);
        kinds(d, "candidatesTokensDetails", used.output.saturating_sub(used.reasoning), used.audio_output);
    });
}

/// Tokens by kind, where some are sound.
fn kinds(d: &mut Draft, name: &str, all: u64, sound: u64) {
    if sound > 0 {
        d.key(name).list(|d| {
            for (kind, tokens) in [("TEXT", all.saturating_sub(sound)), ("AUDIO", sound)] {
                d.object(|d| _ = d.key("modality").text(kind).key("tokenCount").count(tokens));
            }
        });
    }
}

/// Google's error object, for a vendor's refusal.
pub(super) fn refusal(status: u16, parts: &ErrorParts) -> Bytes {
    let message = parts.message.as_deref().unwrap_or("The upstream refused the request and didn't say why.");
    error(status, error_status(status), message)
}

/// The same, of a status and a message.
pub(super) fn error(status: u16, kind: &str, message: &str) -> Bytes {
    let mut d = Draft::with_room(256);
    d.object(|d| {
        d.key("error").object(|d| _ = d.key("code").count(status.into()).key("message").text(message).key("status").text(kind));
    });
    d.done()
}
