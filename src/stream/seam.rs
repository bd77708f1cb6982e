//! Where a second target's words meet the first one's: what of them is new to the caller.
//!
//! A target that goes on from the text may say its last words again, or the white space that was cut from its end; one that
//! answers afresh says all of it again. Neither may show. Words are held only while they could still be such a repetition.
//!
//! A repetition is only taken for one if it can hardly be chance: texts do say "no, no" and `0, 0, 0`, and a word that was
//! meant twice must not get lost.

use super::recover::Way;

/// Where in the text's end a repetition may begin, in bytes; beside that only at its very beginning.
const WINDOW: usize = 4 * 1024;

/// What is new in what was heard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// Nothing, or nothing yet.
    Nothing,
    /// All of it.
    All,
    /// This.
    Text(String),
    /// It isn't the same answer: it can't be continued by this target.
    Differs,
}

impl Heard {
    fn text(text: impl Into<String>) -> Self {
        let text = text.into();
        if text.is_empty() { Self::Nothing } else { Self::Text(text) }
    }
}

/// See the module's text.
#[derive(Clone, Debug)]
pub enum Seam {
    /// The target goes on from the text.
    Onward(Box<Onward>),
    /// The target says everything again.
    Afresh(Box<Afresh>),
    /// Passed: whatever comes is new.
    Passed,
}

impl Seam {
    /// Behind a text, for a target that is asked in this way.
    pub fn new(said: &str, way: Way) -> Self {
        match way {
            _ if said.is_empty() => Self::Passed,
            Way::Splice => Self::Afresh(Box::new(Afresh { said: said.to_owned(), at: 0, spaced: true })),
            Way::Prefill | Way::Prefix | Way::Vllm => Self::Onward(Box::new(Onward::new(said, Sure { words: 2, characters: 5 }))),
            // It was told to go on by words of ours, so it is likelier to say a word twice.
            Way::Quote => Self::Onward(Box::new(Onward::new(said, Sure { words: 1, characters: 3 }))),
        }
    }

    /// Whether what comes is new.
    pub fn is_passed(&self) -> bool {
        matches!(self, Self::Passed)
    }

    /// The target's next words.
    pub fn hear(&mut self, words: &str) -> Heard {
        let heard = match self {
            Self::Passed => return if words.is_empty() { Heard::Nothing } else { Heard::All },
            Self::Onward(onward) => onward.hear(words).map(Heard::text),
            Self::Afresh(afresh) => afresh.hear(words),
        };
        self.settle(heard)
    }

    /// The target's words are over, or something else than words comes.
    pub fn end(&mut self) -> Heard {
        let heard = match self {
            Self::Passed => return Heard::Nothing,
            Self::Onward(onward) => Some(Heard::text(onward.decide())),
            Self::Afresh(afresh) => Some(if afresh.is_said() { Heard::Nothing } else { Heard::Differs }),
        };
        self.settle(heard)
    }

    fn settle(&mut self, heard: Option<Heard>) -> Heard {
        let Some(heard) = heard else { return Heard::Nothing };
        if heard != Heard::Differs {
            *self = Self::Passed;
        }
        heard
    }
}

/// How much of a repetition it takes to be no chance.
#[derive(Clone, Copy, Debug)]
struct Sure {
    words: usize,
    characters: usize,
}

/// Looks for the longest end of the text that the new words begin with.
#[derive(Clone, Debug)]
pub struct Onward {
    said: String,
    sure: Sure,
    /// The white space that ends the text, as far as the new words may still begin with it.
    space: std::ops::Range<usize>,
    held: String,
    /// Where in the text a repetition may have begun.
    begins: Vec<usize>,
    /// Where one began that reached the text's end: the longest of them, and the next.
    whole: [Option<usize>; 2],
}

impl Onward {
    fn new(said: &str, sure: Sure) -> Self {
        let space = said.trim_end().len()..said.len();
        Self { said: said.to_owned(), sure, space, held: String::new(), begins: Vec::new(), whole: [None; 2] }
    }

    /// What is new, once that can be told.
    fn hear(&mut self, words: &str) -> Option<String> {
        let mut rest = words;
        // A target is never given white space at the text's end, and says it itself.
        while let (Some(next), Some(had)) = (rest.chars().next(), self.said[self.space.clone()].chars().next()) {
            if next != had {
                self.space = 0..0;
                break;
            }
            self.space.start += had.len_utf8();
            rest = &rest[next.len_utf8()..];
        }
        for (place, next) in rest.char_indices() {
            if self.held.is_empty() {
                self.begins = self.beginnings(next);
            } else {
                self.narrow(next);
            }
            self.held.push(next);
            if self.begins.is_empty() {
                return Some(self.decide() + &rest[place + next.len_utf8()..]);
            }
        }
        None
    }

    /// Where the text has this character at a word's beginning.
    fn beginnings(&self, next: char) -> Vec<usize> {
        let near = self.said.len().saturating_sub(WINDOW);
        let places = self.said.char_indices().filter(|(place, had)| *had == next && (*place == 0 || *place >= near));
        places.map(|(place, _)| place).filter(|place| self.is_boundary(*place)).collect()
    }

    fn is_boundary(&self, place: usize) -> bool {
        let before = self.said[..place].chars().next_back();
        let after = self.said[place..].chars().next();
        !(before.is_some_and(char::is_alphanumeric) && after.is_some_and(char::is_alphanumeric))
    }

    fn narrow(&mut self, next: char) {
        let (said, length, whole) = (&self.said, self.held.len(), &mut self.whole);
        self.begins.retain(|begin| match said.get(begin + length..) {
            Some("") => {
                // They reach the end one after another, the shortest first.
                *whole = [Some(*begin), whole[0]];
                false
            }
            Some(rest) => rest.starts_with(next),
            None => false,
        });
    }

    /// What was held, without what it repeats.
    fn decide(&mut self) -> String {
        let end = self.said.len() - self.held.len().min(self.said.len());
        if self.begins.contains(&end) {
            self.whole = [Some(end), self.whole[0]];
        }
        self.begins = Vec::new();
        let held = std::mem::take(&mut self.held);
        match self.whole {
            [Some(begin), next] => {
                let new = &held[self.said.len() - begin..];
                if self.is_sure(begin, next, new) { new.to_owned() } else { held }
            }
            _ => held,
        }
    }

    /// `begin`: of the longest repetition; `next`: of the next longest; `new`: what comes after it.
    fn is_sure(&self, begin: usize, next: Option<usize>, new: &str) -> bool {
        let again = &self.said[begin..];
        let words = again.split_whitespace().count();
        // One word alone must be whole: "ban" begins "banana" by chance.
        let in_a_word = new.starts_with(char::is_alphanumeric) && again.ends_with(char::is_alphanumeric);
        let characters = again.trim().chars().count();
        // Without blanks between its words, as in Chinese, length alone can tell.
        let enough = characters >= self.sure.characters && (words >= self.sure.words || characters >= 12);
        // What repeats within itself, or was there before, may well be meant to come again.
        let once = next.is_none_or(|next| (self.said.len() - next) * 2 < again.len()) && !self.said[..begin].contains(again.trim());
        enough && once && (words > 1 || !in_a_word)
    }
}

/// Compares an answer with the text from its beginning. White space counts as one, whatever and however much it is.
#[derive(Clone, Debug)]
pub struct Afresh {
    said: String,
    /// How much of it was heard again.
    at: usize,
    /// What was compared last is white space, or nothing was.
    spaced: bool,
}

impl Afresh {
    fn hear(&mut self, words: &str) -> Option<Heard> {
        for (place, next) in words.char_indices() {
            if self.at == self.said.len() {
                return Some(Heard::text(&words[place..]));
            }
            match self.compare(next) {
                Some(true) => {}
                Some(false) => return Some(Heard::text(&words[place..])),
                None => return Some(Heard::Differs),
            }
        }
        None
    }

    /// True: the same so far; false: the text ends before this character; None: another answer.
    fn compare(&mut self, next: char) -> Option<bool> {
        loop {
            let Some(had) = self.said[self.at..].chars().next() else { return Some(false) };
            match (had.is_whitespace(), next.is_whitespace()) {
                (true, true) => {}
                (false, false) if had == next => {}
                // More of it here than there.
                (false, true) if self.spaced => return Some(true),
                (true, false) if self.spaced => {
                    self.at += had.len_utf8();
                    continue;
                }
                _ => return None,
            }
            self.at += had.len_utf8();
            self.spaced = had.is_whitespace();
            return Some(true);
        }
    }

    fn is_said(&self) -> bool {
        self.said[self.at..].trim_start().is_empty()
    }
}

#[cfg(test)]
mod tests;
