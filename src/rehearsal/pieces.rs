//! A text in the pieces that a stream sends: made one at a time, so that an idle stream holds its place and not its words.
//! Also how an answer is as long as the script wants it.

use std::sync::Arc;

/// What a text is cut into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    /// Words, each with the white space before it, as tokens have it.
    Words,
    /// A few characters: JSON has no words.
    Characters,
}

/// The characters in one piece of JSON.
const CHARACTERS: usize = 12;

/// The pieces of a text that are still to come. All of them joined are exactly the text that is meant.
#[derive(Clone, Debug)]
pub(super) struct Pieces {
    text: Arc<str>,
    at: usize,
    left: u64,
    by: By,
}

impl Pieces {
    /// The words of `text`, or `count` words: it is said again and again, or broken off.
    pub(super) fn words(text: Arc<str>, count: Option<u64>) -> Self {
        let has = match text.split_whitespace().count() as u64 {
            0 => u64::from(!text.is_empty()),
            words => words,
        };
        let left = if has == 0 { 0 } else { count.unwrap_or(has) };
        Self { text, at: 0, left, by: By::Words }
    }

    /// `text` in handfuls of characters.
    pub(super) fn characters(text: Arc<str>) -> Self {
        let left = text.chars().count().div_ceil(CHARACTERS) as u64;
        Self { text, at: 0, left, by: By::Characters }
    }

    /// How many are to come.
    pub(super) fn left(&self) -> u64 {
        self.left
    }

    /// No more than `most`.
    pub(super) fn limit(&mut self, most: u64) {
        self.left = self.left.min(most);
    }

    fn characters_end(&self) -> usize {
        let rest = &self.text[self.at..];
        rest.char_indices().nth(CHARACTERS).map_or(self.text.len(), |(end, _)| self.at + end)
    }

    /// Past the white space, past the word, and past what white space ends the text.
    fn word_end(&self) -> usize {
        let rest = &self.text[self.at..];
        let space = rest.len() - rest.trim_start().len();
        let end = rest[space..].find(char::is_whitespace).map_or(rest.len(), |end| space + end);
        if rest[end..].trim_start().is_empty() { self.text.len() } else { self.at + end }
    }

    /// Begins the text anew; gives the space that keeps its last and first words apart.
    fn again(&mut self) -> &'static str {
        self.at = 0;
        if self.text.starts_with(char::is_whitespace) || self.text.ends_with(char::is_whitespace) { "" } else { " " }
    }
}

impl Iterator for Pieces {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        if self.left == 0 {
            return None;
        }
        self.left -= 1;
        let mut piece = String::new();
        if self.at == self.text.len() {
            piece.push_str(self.again());
        }
        let end = match self.by {
            By::Words => self.word_end(),
            By::Characters => self.characters_end(),
        };
        piece.push_str(&self.text[self.at..end]);
        self.at = end;
        Some(piece)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_word_carries_the_space_before_it() {
        let pieces: Vec<String> = Pieces::words("One  two\nthree. ".into(), None).collect();
        assert_eq!(pieces, ["One", "  two", "\nthree. "]);
    }

    #[test]
    fn a_count_repeats_or_breaks_off() {
        let said = |text: &str, count| Pieces::words(text.into(), Some(count)).collect::<String>();
        assert_eq!(said("a b", 5), "a b a b a");
        assert_eq!(said("a b ", 4), "a b a b ");
        assert_eq!(said("a b c", 2), "a b");
        assert_eq!(said("", 4), "");
        assert_eq!(said("a", 0), "");
    }

    proptest! {
        #[test]
        fn joined_they_are_the_text(text in "\\PC*[ \n]{0,3}[a-z é…]{0,40}") {
            let words = Pieces::words(text.as_str().into(), None);
            prop_assert_eq!(words.left(), words.clone().count() as u64);
            prop_assert_eq!(words.collect::<String>(), text.clone());
            let characters = Pieces::characters(text.as_str().into());
            prop_assert_eq!(characters.left(), characters.clone().count() as u64);
            prop_assert_eq!(characters.collect::<String>(), text);
        }

        #[test]
        fn fewer_words_are_a_prefix(text in "[a-z]{1,5}( [a-z]{1,5}){0,9}", fewer in 0u64..12, more in 0u64..30) {
            let short = Pieces::words(text.as_str().into(), Some(fewer.min(more))).collect::<String>();
            let long = Pieces::words(text.as_str().into(), Some(more)).collect::<String>();
            prop_assert!(long.starts_with(&short));
            prop_assert_eq!(long.split_whitespace().count() as u64, more);
        }
    }
}
