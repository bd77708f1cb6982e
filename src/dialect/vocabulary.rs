//! How many tokens a text is by the tables that OpenAI publishes for its models. Other vendors keep theirs to themselves: their
//! models' texts are counted by the newest of these, which is nearer than any guess by length, and still marked as an estimate.
//!
//! A table is some tens of megabytes in memory and a few hundred milliseconds to build, so it is built when the first text needs it,
//! and never where somebody waits. Nothing is counted here that an upstream has told.

use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;
use tiktoken_rs::tokenizer::{Tokenizer, get_tokenizer};
use tiktoken_rs::{CoreBPE, cl100k_base_singleton, o200k_base_singleton};

/// A long text is cut, at a blank, into pieces of about so many bytes: the splitting's own stack is bounded so.
const PIECE: usize = 4_096;

/// Members of what is no text, as the vendors name them.
const NO_TEXT: [&str; 6] = ["image_url", "input_audio", "file", "source", "inlineData", "fileData"];

/// A table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vocabulary {
    /// That of GPT-4o and what came after it.
    O200k,
    /// That of GPT-4 and GPT-3.5.
    Cl100k,
}

/// Which of them are there.
static READY: [AtomicBool; 2] = [AtomicBool::new(false), AtomicBool::new(false)];

impl Vocabulary {
    /// By the name that its provider, or a router in between, has for a model.
    pub fn of(model: &str) -> Self {
        let own = model.rsplit('/').next().unwrap_or(model);
        match get_tokenizer(own) {
            Some(Tokenizer::Cl100kBase) => Self::Cl100k,
            _ => Self::O200k,
        }
    }

    /// Whether its table is built, so that counting takes no longer than the text does.
    pub fn is_ready(self) -> bool {
        READY[self as usize].load(Ordering::Relaxed)
    }

    /// Builds its table, where that isn't done.
    pub fn prepare(self) {
        self.table();
    }

    /// Tokens of a text.
    pub fn count(self, text: &str) -> u64 {
        let table = self.table();
        pieces(text).map(|piece| table.count_ordinary(piece) as u64).sum()
    }

    /// Tokens of a prompt, from its `messages` as they were written; None where they aren't text alone: what a picture costs is
    /// each vendor's own affair.
    pub fn count_messages(self, messages: &[u8]) -> Option<u64> {
        let messages: Vec<Value> = serde_json::from_slice(messages).ok()?;
        // By OpenAI's own recipe: each message and the answer's beginning take three more.
        let counts = messages.iter().map(|message| Some(3 + self.value(message)?));
        counts.sum::<Option<u64>>().map(|sum| sum + 3)
    }

    /// Tokens of all that a message says, but for what only says what kind of thing something is.
    fn value(self, value: &Value) -> Option<u64> {
        match value {
            Value::String(text) => Some(self.count(text)),
            Value::Array(parts) => parts.iter().map(|part| self.value(part)).sum(),
            Value::Object(members) => {
                if NO_TEXT.iter().any(|name| members.contains_key(*name)) {
                    return None;
                }
                let said = members.iter().filter(|(name, _)| !matches!(name.as_str(), "type" | "id" | "index" | "cache_control"));
                said.map(|(_, value)| self.value(value)).sum()
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => Some(0),
        }
    }

    fn table(self) -> &'static CoreBPE {
        let table = match self {
            Self::O200k => o200k_base_singleton(),
            Self::Cl100k => cl100k_base_singleton(),
        };
        READY[self as usize].store(true, Ordering::Relaxed);
        table
    }
}

/// A text in pieces that end before a blank, where there is one: words aren't cut, and each takes its blank along.
fn pieces(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let (piece, later) = rest.split_at(cut(rest));
        rest = later;
        Some(piece)
    })
}

fn cut(text: &str) -> usize {
    if text.len() <= PIECE {
        return text.len();
    }
    let end = text.floor_char_boundary(PIECE);
    // Between two blanks a run of them would be cut.
    let blank = text[..end].rmatch_indices(' ').map(|(at, _)| at).find(|at| *at > 0 && text.as_bytes()[at - 1] != b' ');
    blank.unwrap_or(end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn models_have_their_own() {
        for model in ["gpt-4o-mini", "gpt-4.1", "o3-mini", "gpt-5", "openai/gpt-4o", "ft:gpt-4o:team::x", "claude-sonnet-4", "up", ""] {
            assert_eq!(Vocabulary::of(model), Vocabulary::O200k, "{model}");
        }
        for model in ["gpt-4", "gpt-4-turbo", "gpt-3.5-turbo", "openai/gpt-4-0613"] {
            assert_eq!(Vocabulary::of(model), Vocabulary::Cl100k, "{model}");
        }
    }

    #[test]
    fn tokens_are_those_of_the_tables() {
        assert_eq!((Vocabulary::O200k.count("hello world"), Vocabulary::Cl100k.count("hello world")), (2, 2));
        // These two differ in more than English.
        let text = "昨日、市議会は古い劇場の改修案について話し合いました。";
        assert_eq!((Vocabulary::O200k.count(text), Vocabulary::Cl100k.count(text)), (19, 29));
        assert!(Vocabulary::O200k.is_ready());
        assert_eq!(Vocabulary::O200k.count(""), 0);
    }

    #[test]
    fn a_prompt_is_its_messages_and_what_lies_between_them() {
        let messages = br#"[{"role":"system","content":"Be brief."},{"role":"user","content":[{"type":"text","text":"hello world"}]}]"#;
        // Three and a role each, three and two tokens of text, three for the answer.
        assert_eq!(Vocabulary::O200k.count_messages(messages), Some(2 * (3 + 1) + 3 + 2 + 3));
        let picture = br#"[{"role":"user","content":[{"type":"image_url","image_url":{"url":"data:"}}]}]"#;
        assert_eq!((Vocabulary::O200k.count_messages(picture), Vocabulary::O200k.count_messages(b"no")), (None, None));
    }

    #[test]
    fn a_text_that_was_made_to_be_slow_is_counted_all_the_same() {
        for text in ["a".repeat(60_000), " ".repeat(60_000), "\n ".repeat(30_000), "ab1 ".repeat(15_000)] {
            assert!(Vocabulary::O200k.count(&text) > 0);
        }
    }

    proptest! {
        #[test]
        fn pieces_are_the_text(text in "(?s).{0,40}", times in 1usize..400) {
            let text = text.repeat(times);
            let found: Vec<&str> = pieces(&text).collect();
            prop_assert_eq!(&found.concat(), &text);
            prop_assert!(found.iter().all(|piece| !piece.is_empty() && piece.len() <= PIECE));
        }
    }
}
