//! A later leg of a stream: what of a target's events goes out so that the caller sees one answer, by one voice.

use bytes::{Bytes, BytesMut};

use super::tale::words;
use crate::dialect::openai::frame::{Kind, Seen};
use crate::dialect::{Begun, Usage};
use crate::stream::{Heard, Seam};

/// See the module's text.
#[derive(Debug)]
pub(super) struct Stitch {
    seam: Seam,
    /// The comment that marks the seam, until it went out.
    mark: Option<Bytes>,
    /// Whether the caller asked for the usage.
    pub(super) wants_usage: bool,
}

/// What goes out of an event.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Stitched {
    /// Nothing.
    Nothing,
    /// These bytes, which say these words.
    Event(Bytes, Option<String>),
    /// It is another answer than the one that was begun.
    Differs,
}

impl Stitch {
    pub(super) fn new(seam: Seam, mark: Bytes, wants_usage: bool) -> Self {
        Self { seam, mark: Some(mark), wants_usage }
    }

    /// An event with content, or with nothing to show. `used`: by all legs so far.
    pub(super) fn event(&mut self, data: &Bytes, seen: &Seen, begun: &mut Begun, used: &Usage) -> Stitched {
        let text = seen.text.clone().map(|span| words(data, span));
        let heard = text.as_deref().map_or(Heard::Nothing, |text| self.seam.hear(text));
        // Thoughts are not words of the answer, and a second mind's would not follow from the first's.
        let other = seen.tool_call || seen.audio || seen.kind == Kind::Content && text.is_none() && !seen.reasoning;
        let passes = seen.finish || other;
        let rest = if passes { self.seam.end() } else { Heard::Nothing };
        if heard == Heard::Differs || rest == Heard::Differs {
            return Stitched::Differs;
        }
        let new = [said(heard, text.as_deref()), said(rest, None)].concat();
        if new.is_empty() && !passes {
            return Stitched::Nothing;
        }
        let mut out = BytesMut::new();
        out.extend(self.mark.take());
        let same = text.is_none() || text.as_deref() == Some(new.as_str());
        if text.is_none() && !new.is_empty() {
            out.extend(begun.words(&new));
        }
        out.extend(begun.stitched(data, seen, (!same).then_some(new.as_str()), used));
        Stitched::Event(out.freeze(), (!new.is_empty()).then_some(new))
    }

    /// The target has nothing more to say.
    pub(super) fn end(&mut self, begun: &mut Begun) -> Stitched {
        match self.seam.end() {
            Heard::Differs => Stitched::Differs,
            Heard::Nothing | Heard::All => Stitched::Nothing,
            Heard::Text(text) => {
                let mark = self.mark.take().unwrap_or_default();
                Stitched::Event([mark, begun.words(&text)].concat().into(), Some(text))
            }
        }
    }

    /// The events that end the answer, where what ends this leg isn't its end.
    pub(super) fn ending(&mut self, data: &[u8], begun: &mut Begun, used: &Usage) -> Option<Bytes> {
        let event = begun.ending(data, used)?;
        Some([self.mark.take().unwrap_or_default(), event].concat().into())
    }
}

fn said(heard: Heard, text: Option<&str>) -> String {
    match heard {
        Heard::All => text.unwrap_or_default().to_owned(),
        Heard::Text(text) => text,
        Heard::Nothing | Heard::Differs => String::new(),
    }
}
