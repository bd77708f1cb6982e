//! What is kept of a stream so that another target can go on with it: its words so far, and what its events have in common.

use std::borrow::Cow;
use std::ops::Range;

use crate::dialect::openai::frame::{Kind, Seen};
use crate::dialect::scan::{Scan, text_at};
use crate::dialect::{Begun, Wire};
use crate::stream::{Barred, Said};

/// See the module's text.
#[derive(Clone, Debug, Default)]
pub(super) struct Tale {
    /// The words.
    pub(super) said: Said,
    /// What the events have in common.
    pub(super) begun: Begun,
    /// Whether they had an `id` of the event stream's own.
    pub(super) numbered: bool,
}

impl Tale {
    /// Of a stream that such a request asks for in this dialect.
    pub(super) fn new(scan: &Scan, wire: Wire) -> Self {
        let mut tale = Self { begun: Begun::new(wire), ..Self::default() };
        let bars = [
            (scan.n > 1, Barred::Choices),
            (scan.logprobs, Barred::Logprobs),
            (scan.needs.json_schema, Barred::Schema),
            (scan.audio_out, Barred::Audio),
        ];
        for (_, why) in bars.into_iter().filter(|(barred, _)| *barred) {
            tale.said.bar(why);
        }
        tale
    }

    /// An event was sent that says these words, and what was seen in it besides.
    pub(super) fn tell(&mut self, seen: &Seen, words: Option<&str>) {
        match seen {
            _ if seen.finish => self.said.bar(Barred::Finished),
            Seen { tool_call: true, .. } => self.said.bar(Barred::ToolCall),
            Seen { reasoning: true, .. } => self.said.bar(Barred::Thinking),
            Seen { audio: true, .. } => self.said.bar(Barred::Audio),
            _ => match words {
                // Half of a character that the next event completes can't be told from a wrong one.
                Some(words) if words.contains(char::REPLACEMENT_CHARACTER) => self.said.bar(Barred::NoText),
                Some(words) => self.said.say(words),
                None if seen.kind == Kind::Content => self.said.bar(Barred::NoText),
                None => {}
            },
        }
    }
}

/// A JSON string's text, not copied where nothing in it is escaped.
pub(super) fn words(data: &[u8], span: Range<usize>) -> Cow<'_, str> {
    let inner = data.get(span.start + 1..span.end - 1).unwrap_or_default();
    if memchr::memchr(b'\\', inner).is_some() {
        return Cow::Owned(text_at(data, span));
    }
    String::from_utf8_lossy(inner)
}
