//! What a caller has of a stream that broke, in its own dialect, so that the events of another target join it: see each dialect's
//! `stitch`.

use bytes::Bytes;

use super::openai::frame::Seen;
use super::{Usage, Wire, anthropic, gemini, openai, responses};

/// See the module's text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Begun {
    /// Chat completions.
    OpenAi(openai::stitch::Begun),
    /// Messages.
    Anthropic(anthropic::stitch::Begun),
    /// generateContent.
    Gemini(gemini::stitch::Begun),
    /// Responses.
    Responses(responses::stitch::Begun),
}

impl Default for Begun {
    fn default() -> Self {
        Self::new(Wire::default())
    }
}

impl Begun {
    /// Nothing yet.
    pub fn new(wire: Wire) -> Self {
        match wire {
            Wire::OpenAi => Self::OpenAi(openai::stitch::Begun::default()),
            Wire::Anthropic => Self::Anthropic(anthropic::stitch::Begun::default()),
            Wire::Gemini => Self::Gemini(gemini::stitch::Begun::default()),
            Wire::Responses => Self::Responses(responses::stitch::Begun::default()),
        }
    }

    /// Takes note of an event that goes out; `seen` was seen of its data.
    pub fn note(&mut self, data: &[u8], seen: &Seen) {
        match self {
            Self::OpenAi(begun) => begun.note(data, seen),
            Self::Anthropic(begun) => begun.note(data),
            Self::Gemini(begun) => begun.note(data, seen),
            Self::Responses(begun) => begun.note(data, seen),
        }
    }

    /// Somebody else is about to go on; `said` are the words so far. False where that can't be.
    pub fn go_on(&mut self, said: &str) -> bool {
        match self {
            Self::OpenAi(_) | Self::Anthropic(_) | Self::Gemini(_) => true,
            Self::Responses(begun) => begun.go_on(said),
        }
    }

    /// The number of the next event, of a dialect that numbers them.
    pub fn number(&self) -> Option<u64> {
        match self {
            Self::OpenAi(_) | Self::Anthropic(_) | Self::Gemini(_) => None,
            Self::Responses(begun) => Some(begun.number()),
        }
    }

    /// The events that end it, where this data ends the answer that went on and isn't this one's. `used`: by all who had a
    /// part in it.
    pub fn ending(&mut self, data: &[u8], used: &Usage) -> Option<Bytes> {
        match self {
            Self::OpenAi(_) | Self::Anthropic(_) | Self::Gemini(_) => None,
            Self::Responses(begun) => begun.ending(data, used),
        }
    }

    /// Events that say these words.
    pub fn words(&mut self, text: &str) -> Bytes {
        match self {
            Self::OpenAi(begun) => begun.words(text),
            Self::Anthropic(begun) => begun.words(text),
            Self::Gemini(begun) => begun.words(text),
            Self::Responses(begun) => begun.words(text),
        }
    }

    /// An event's data as an event of this stream; `seen` was seen of it. `text`: what it is to say in place of what it says;
    /// None: the same. `used`: by all who had a part in the answer, where the event tells it.
    pub fn stitched(&mut self, data: &Bytes, seen: &Seen, text: Option<&str>, used: &Usage) -> Bytes {
        match self {
            Self::OpenAi(begun) => begun.stitched(data, text),
            Self::Anthropic(begun) => begun.stitched(data, text, used),
            Self::Gemini(begun) => begun.stitched(data, seen, text, used),
            Self::Responses(begun) => begun.stitched(data, text),
        }
    }

    /// The event that says what was used, as a `usage` object; None where the last event of the answer itself tells it.
    pub fn usage(&self, object: &str) -> Option<Bytes> {
        match self {
            Self::OpenAi(begun) => Some(begun.usage(object)),
            Self::Anthropic(_) | Self::Gemini(_) | Self::Responses(_) => None,
        }
    }

    /// The comment that marks where another target went on; none where a dialect's clients don't take comments.
    pub fn mark(&self, text: &str, numbered: bool) -> Bytes {
        match self {
            // Where events have an `id`, a blank line of its own would be taken for one.
            Self::OpenAi(_) | Self::Responses(_) => format!(": {text}{}", if numbered { "\n" } else { "\n\n" }).into(),
            Self::Anthropic(_) | Self::Gemini(_) => Bytes::new(),
        }
    }
}
