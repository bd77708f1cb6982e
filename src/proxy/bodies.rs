//! What a request asked and was answered, for the log: of the few that the settings want to see, without what looks like a
//! credential, and no more than a few kilobytes of each.

use crate::telemetry::redacted;

/// So much of each is kept, in bytes.
const MOST: usize = 16 << 10;

/// See the module's text.
#[derive(Debug, Default)]
pub(super) struct Bodies {
    asked: Vec<u8>,
    answered: Vec<u8>,
    /// Bytes of either that weren't kept.
    cut: usize,
}

impl Bodies {
    /// Of a request that asks this.
    pub(super) fn of(asked: &[u8]) -> Self {
        let mut bodies = Self::default();
        bodies.cut += keep(&mut bodies.asked, asked);
        bodies
    }

    /// A piece of what it is answered.
    pub(super) fn answered(&mut self, piece: &[u8]) {
        self.cut += keep(&mut self.answered, piece);
    }

    /// Their line in the log.
    pub(super) fn log(&self, request_id: &str) {
        let text = |bytes: &[u8]| redacted(&String::from_utf8_lossy(bytes));
        tracing::info!(request_id, cut_bytes = self.cut, asked = text(&self.asked), answered = text(&self.answered), "bodies");
    }
}

/// Keeps what there is room for; how many bytes there wasn't.
fn keep(kept: &mut Vec<u8>, more: &[u8]) -> usize {
    let room = MOST.saturating_sub(kept.len()).min(more.len());
    kept.extend_from_slice(&more[..room]);
    more.len() - room
}
