//! Google's proofs of what its models thought, being written: each stands on the part behind the thoughts that it proves.
//! <https://ai.google.dev/gemini-api/docs/thought-signatures>

use std::borrow::Cow;

use super::types::{NOT_OURS, own_proof};
use crate::dialect::draft::Draft;

/// The proof that waits for the part that it proves, while the parts of a content are written.
pub(super) struct Proof<'p> {
    pub(super) pending: Option<Cow<'p, str>>,
    /// Whether the next call needs one: the first of a content does.
    pub(super) due: bool,
}

impl<'p> Proof<'p> {
    pub(super) fn text(&mut self, d: &mut Draft, text: &str, thought: bool) {
        d.object(|d| {
            d.key("text").text(text);
            if thought {
                d.key("thought").truth(true);
            }
            self.put(d);
        });
    }

    pub(super) fn thought(&mut self, d: &mut Draft, text: &str, signature: Option<&'p str>) {
        if !text.is_empty() {
            self.text(d, text, true);
        }
        self.pending = signature.and_then(own_proof).map(Cow::Borrowed).or(self.pending.take());
    }

    /// A call.
    pub(super) fn call(&mut self, d: &mut Draft, id: &str, name: &str, arguments: &str) {
        if std::mem::take(&mut self.due) {
            self.pending.get_or_insert(Cow::Borrowed(NOT_OURS));
        }
        d.object(|d| {
            d.key("functionCall").object(|d| {
                d.key("id").text(id).key("name").text(name).key("args").arguments(arguments);
            });
            self.put(d);
        });
    }

    /// What nothing came for stands on an empty text.
    pub(super) fn rest(&mut self, d: &mut Draft) {
        if self.pending.is_some() {
            self.text(d, "", false);
        }
    }

    fn put(&mut self, d: &mut Draft) {
        if let Some(proof) = self.pending.take() {
            d.key("thoughtSignature").text(&proof);
        }
    }
}
