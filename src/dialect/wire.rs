//! The dialects by name: what is the caller's, what is a target's; and what of a dialect is asked by whoever relays it untouched.

use bytes::Bytes;
use memchr::memmem;

use super::anthropic::{self, ANTHROPIC};
use super::gemini::{self, GEMINI};
use super::openai::frame::Seen;
use super::openai::{self, OPENAI};
use super::responses::{self, RESPONSES};
use super::scan::Answer;
use super::seam::Seam;

/// A dialect on the wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Wire {
    /// OpenAI's Chat Completions, and whoever speaks as it does.
    #[default]
    OpenAi,
    /// Anthropic's Messages.
    Anthropic,
    /// Google's generateContent.
    Gemini,
    /// OpenAI's Responses.
    Responses,
}

impl Wire {
    /// How it is spoken to others.
    pub fn seam(self) -> &'static Seam {
        match self {
            Wire::OpenAi => &OPENAI,
            Wire::Anthropic => &ANTHROPIC,
            Wire::Gemini => &GEMINI,
            Wire::Responses => &RESPONSES,
        }
    }

    /// The terminal event of its streams; empty where the last answer's end is the stream's.
    pub fn terminal(self) -> &'static [u8] {
        match self {
            Wire::OpenAi => b"data: [DONE]\n\n",
            Wire::Anthropic => anthropic::TERMINAL,
            // Responses' holds the whole answer: none is made up.
            Wire::Gemini | Wire::Responses => b"",
        }
    }

    /// A sign of life inside a stream: a comment that every SSE client passes over; to Anthropic's an event of its own; to
    /// Gemini's, which take a comment for an answer, a blank line.
    pub fn heartbeat(self) -> &'static [u8] {
        match self {
            Wire::OpenAi | Wire::Responses => b": stagedoor is waiting\n\n",
            Wire::Anthropic => anthropic::PING,
            Wire::Gemini => b"\n",
        }
    }

    /// The same for a stream whose events have an `id`: there OpenAI's SDK for Python takes any blank line for an event, and
    /// breaks on its lack of data.
    pub fn heartbeat_of_numbered(self) -> &'static [u8] {
        match self {
            Wire::OpenAi | Wire::Responses => b": stagedoor is waiting\n",
            Wire::Anthropic | Wire::Gemini => self.heartbeat(),
        }
    }

    /// Whether its clients take an event's `id`. Google's take a line that isn't data for a wrong one.
    pub fn takes_ids(self) -> bool {
        match self {
            Wire::OpenAi | Wire::Anthropic | Wire::Responses => true,
            Wire::Gemini => false,
        }
    }

    /// What one event of a stream is.
    pub fn classify(self, data: &[u8]) -> Seen {
        match self {
            Wire::OpenAi => openai::frame::classify(data),
            Wire::Anthropic => anthropic::frame::classify(data),
            Wire::Gemini => gemini::frame::classify(data),
            Wire::Responses => responses::frame::classify(data),
        }
    }

    /// Whether these bytes of a stream may hold an event that [`Wire::classify`] calls an error: a look for the words that tell of one,
    /// at a fraction of what reading them takes.
    pub fn may_fail(self, events: &[u8]) -> bool {
        let has = |word: &[u8]| memmem::find(events, word).is_some();
        has(b"error")
            || match self {
                Wire::OpenAi => openai::frame::BROKE_OFF.iter().any(|reason| has(reason)),
                Wire::Anthropic => false,
                Wire::Gemini => has(b"finishReason") && gemini::BADLY.iter().any(|reason| has(reason.as_bytes())),
                Wire::Responses => has(b"response.failed") || has(b"response.cancelled"),
            }
    }

    /// Whether a whole JSON text is an answer.
    pub fn is_answer(self, seen: &Answer) -> bool {
        match self {
            Wire::OpenAi => seen.choices,
            Wire::Anthropic => seen.content,
            Wire::Gemini => seen.candidates,
            Wire::Responses => seen.output,
        }
    }

    /// A whole answer as the events of a stream. None where it isn't one.
    pub fn unstreamed(self, answer: &[u8]) -> Option<Bytes> {
        match self {
            Wire::OpenAi => openai::unstream::events(answer),
            Wire::Anthropic => anthropic::unstream::events(answer),
            Wire::Gemini => gemini::unstream::events(answer),
            Wire::Responses => responses::unstream::events(answer),
        }
    }

    /// How many tokens a whole answer has, as `count` has it.
    pub fn tokens(self, answer: &[u8], count: &dyn Fn(&str) -> u64) -> u64 {
        match self {
            Wire::OpenAi => openai::unstream::tokens(answer, count),
            Wire::Anthropic => anthropic::unstream::tokens(answer, count),
            Wire::Gemini => gemini::unstream::tokens(answer, count),
            Wire::Responses => responses::unstream::tokens(answer, count),
        }
    }
}
