//! What an upstream has said since it last told its usage: kept as it was, up to a bound, so that it can be counted should nobody
//! tell what it took. Beyond the bound it is only estimated, by what the same estimate makes of the part that was kept.

use super::tokens::Counter;
use super::vocabulary::Vocabulary;

/// Most of a text that is kept, in bytes.
const MOST: usize = 64 * 1024;
/// Room is made for so many bytes at a time: a stream may be open for hours with little to say.
const ROOM: usize = 512;

/// See the module's text.
#[derive(Clone, Debug, Default)]
pub struct Heard {
    text: String,
    /// All the words, estimated.
    words: Counter,
    /// Of those, the ones that are kept; None: all.
    kept: Option<u64>,
    /// What is no text, about a token each.
    pieces: u64,
}

impl Heard {
    /// More words.
    pub(super) fn words(&mut self, words: &str) {
        let kept = if self.kept.is_none() { words.floor_char_boundary(MOST - self.text.len()) } else { 0 };
        let (kept, more) = words.split_at(kept);
        self.words.read(kept);
        if self.text.capacity() - self.text.len() < kept.len() {
            self.text.reserve_exact(kept.len().max(ROOM).max(self.text.len() / 4));
        }
        self.text.push_str(kept);
        if !more.is_empty() {
            self.kept.get_or_insert(self.words.tokens());
            self.words.read(more);
        }
    }

    /// So many pieces of something else.
    pub(super) fn pieces(&mut self, pieces: u32) {
        self.pieces += u64::from(pieces);
    }

    /// Whether there is nothing.
    pub(super) fn is_empty(&self) -> bool {
        self.text.is_empty() && self.pieces == 0 && self.kept.is_none()
    }

    /// Tokens, by no table.
    pub(super) fn estimate(&self) -> u64 {
        self.words.tokens() + self.pieces
    }

    /// Tokens, by a model's table. Takes a while.
    pub fn count(&self, vocabulary: Vocabulary) -> u64 {
        let counted = vocabulary.count(&self.text);
        let all = match self.kept {
            Some(kept) => self.words.tokens().saturating_mul(counted) / kept.max(1),
            None => counted,
        };
        all + self.pieces
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORDS: &str = "The committee met on Tuesday to discuss the proposal, which had been circulating since early March. ";

    fn heard(times: usize) -> Heard {
        let mut heard = Heard::default();
        (0..times).flat_map(|_| WORDS.split_inclusive(' ')).for_each(|word| heard.words(word));
        heard
    }

    #[test]
    fn what_was_kept_is_counted_and_what_was_not_by_its_measure() {
        assert!(Heard::default().is_empty());
        let table = Vocabulary::O200k;
        let (short, long) = (heard(20), heard(4_000));
        assert_eq!(short.count(table), table.count(&WORDS.repeat(20)));
        let exact = table.count(&WORDS.repeat(4_000));
        assert!(long.count(table).abs_diff(exact) * 50 <= exact, "{} for {exact}", long.count(table));
        assert!(long.text.capacity() <= 2 * MOST && long.estimate() > 0);
        let prose = "Breaking news travels fast, but understanding takes time; several members were concerned about the cost.\n\n";
        let mut heard = Heard::default();
        (0..1_000).flat_map(|_| prose.split_inclusive([' ', '\n'])).for_each(|word| heard.words(word));
        let exact = table.count(&prose.repeat(1_000));
        assert!(heard.count(table).abs_diff(exact) * 50 <= exact, "{} for {exact}", heard.count(table));
        // Said at once, as by an upstream that makes one event of its answer.
        let mut at_once = Heard::default();
        at_once.words(&WORDS.repeat(4_000));
        assert!(at_once.count(table).abs_diff(long.count(table)) <= 1 && at_once.text.len() == MOST, "{}", at_once.count(table));
        let mut with_pieces = self::tests::heard(1);
        with_pieces.pieces(7);
        assert_eq!(with_pieces.count(table), table.count(WORDS) + 7);
    }
}
