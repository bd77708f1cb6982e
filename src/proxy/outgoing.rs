//! Bytes to go out. Events that lie side by side in one piece of the upstream's go out as one slice of it.

use bytes::{Bytes, BytesMut};

/// See the module's text.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    /// The piece being read.
    pub(super) source: Bytes,
    ready: Bytes,
    copied: BytesMut,
}

impl Outgoing {
    pub(super) fn len(&self) -> usize {
        self.ready.len() + self.copied.len()
    }

    pub(super) fn push(&mut self, raw: Bytes) {
        if raw.is_empty() {
            return;
        }
        if !self.copied.is_empty() {
            self.copied.extend_from_slice(&raw);
        } else if self.ready.is_empty() {
            self.ready = raw;
        } else if let Some(joined) = self.joined(&raw) {
            self.ready = joined;
        } else {
            self.copied.reserve(self.ready.len() + raw.len());
            self.copied.extend_from_slice(&std::mem::take(&mut self.ready));
            self.copied.extend_from_slice(&raw);
        }
    }

    /// Both as one slice of the source, where they are side by side in it.
    fn joined(&self, raw: &Bytes) -> Option<Bytes> {
        let base = self.source.as_ptr() as usize;
        let start = (self.ready.as_ptr() as usize).checked_sub(base)?;
        let middle = (raw.as_ptr() as usize).checked_sub(base)?;
        let end = middle + raw.len();
        (start + self.ready.len() == middle && end <= self.source.len()).then(|| self.source.slice(start..end))
    }

    pub(super) fn take(&mut self) -> Option<Bytes> {
        if !self.copied.is_empty() {
            return Some(std::mem::take(&mut self.copied).freeze());
        }
        let ready = std::mem::take(&mut self.ready);
        (!ready.is_empty()).then_some(ready)
    }
}
