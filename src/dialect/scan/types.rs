//! What is read of a request: values where the gateway decides by them, spans where it edits or hands on.
//!
//! Spans are byte ranges of the body that was scanned, and mean nothing for another.

use std::ops::Range;

use crate::routing::Needs;

/// A string of the body: its place, quotes included, and its text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Text {
    /// Where it stands; empty where it stands nowhere by itself.
    pub span: Range<usize>,
    /// What it says, escapes undone.
    pub value: String,
}

/// OpenRouter's own chain: `models`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Models {
    /// The names, in order; none for null and for an empty list.
    pub names: Vec<String>,
    /// The whole member and one adjoining comma: what is left without it is JSON.
    pub cut: Range<usize>,
    /// The member alone.
    pub member: Range<usize>,
    /// Whether they stood for `model`, which wasn't written: then their first was taken for it, and it is sent in their place.
    pub lead: bool,
}

/// What was read of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scan {
    /// The model asked for.
    pub model: Text,
    /// The caller's own chain, where `models` is written.
    pub models: Option<Models>,
    /// Whether the answer is to be streamed.
    pub stream: bool,
    /// The members `stream` and `stream_options`, each with one adjoining comma: the rest of the body says what is asked,
    /// however the answer comes.
    pub stream_cuts: [Option<Range<usize>>; 2],
    /// Whether `temperature` is written, as 0.
    pub cold: bool,
    /// The value of `stream_options`, null too.
    pub stream_options: Option<Range<usize>>,
    /// Whether `stream_options` asks for the usage.
    pub include_usage: bool,
    /// `max_completion_tokens` or `max_tokens`; of both the larger, since some upstreams go by the one and some by the other.
    pub max_tokens: Option<u64>,
    /// How many choices are asked for; 1 unless said.
    pub n: u32,
    /// What a target must be able to do.
    pub needs: Needs,
    /// Whether `logprobs` is set: neither null nor false.
    pub logprobs: bool,
    /// Whether spoken output is asked for: `audio` is set.
    pub audio_out: bool,
    /// The value of `messages`.
    pub messages: Option<Range<usize>>,
    /// How many messages it holds.
    pub message_count: usize,
    /// Bytes of text in the messages, as written: what a prompt's tokens are estimated by, as images would mislead.
    pub text_bytes: usize,
    /// Right behind the body's opening brace: a member and a comma may be put here.
    pub open: usize,
    /// What has to change in the body to make it ask for the usage.
    pub(super) ask_usage: Option<(Range<usize>, &'static str)>,
}

impl Scan {
    /// About how many tokens the prompt has: four bytes of text each, and a few for each message.
    pub fn prompt_tokens(&self) -> u64 {
        (self.text_bytes.div_ceil(4) + 4 * self.message_count) as u64
    }

    /// Takes the first of `models` for the model, as OpenRouter does where none is written; whether there is one.
    pub(super) fn lead(&mut self) -> bool {
        let Some(models) = self.models.as_mut().filter(|models| !models.names.is_empty()) else { return false };
        models.lead = true;
        self.model.value = models.names.remove(0);
        true
    }

    /// What an object says whose first member may stand at `open`, before any is read.
    pub(super) fn blank(open: usize) -> Self {
        Self {
            model: Text::default(),
            models: None,
            stream: false,
            stream_cuts: [None, None],
            cold: false,
            stream_options: None,
            include_usage: false,
            max_tokens: None,
            n: 1,
            needs: Needs::default(),
            logprobs: false,
            audio_out: false,
            messages: None,
            message_count: 0,
            text_bytes: 0,
            open,
            ask_usage: Some((open..open, r#""stream_options":{"include_usage":true},"#)),
        }
    }
}
