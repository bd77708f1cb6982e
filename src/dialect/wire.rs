//! The dialects by name: what is the caller's, what is a target's.

use super::anthropic::Anthropic;
use super::openai::OpenAi;
use super::seam::Seam;

/// A dialect on the wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Wire {
    /// OpenAI's Chat Completions, and whoever speaks as it does.
    #[default]
    OpenAi,
    /// Anthropic's Messages.
    Anthropic,
}

impl Wire {
    /// How it is spoken to others.
    pub fn seam(self) -> &'static dyn Seam {
        match self {
            Wire::OpenAi => &OpenAi,
            Wire::Anthropic => &Anthropic,
        }
    }

    /// The path of a chat below the API's base.
    pub fn chat_path(self) -> &'static str {
        match self {
            Wire::OpenAi => "/chat/completions",
            Wire::Anthropic => "/messages",
        }
    }
}
