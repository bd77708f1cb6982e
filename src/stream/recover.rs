//! What another target needs to go on with a half-said answer: the words that the caller has, and whether they may be
//! continued at all.
//!
//! Some things can't be said twice without the caller noticing, and some can't be continued by anybody else: those are barred
//! for good, and their text is let go at once. Bounded, since a stream may be open for hours.

/// Most of an answer's text that is kept, in bytes. A longer answer is not continued.
pub const MOST_SAID: usize = 256 * 1024;

/// How a target is asked to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Way {
    /// The text is the last message, of the assistant.
    Prefill,
    /// The same, with `"prefix": true`.
    Prefix,
    /// The same, with vLLM's `continue_final_message`.
    Vllm,
    /// A user's message quotes the text and asks to go on from its last character.
    Quote,
    /// The request again as it was; what it says is compared with what was said, and swallowed while it is the same.
    Splice,
}

impl Way {
    /// All of them.
    pub const ALL: [Way; 5] = [Way::Prefill, Way::Prefix, Way::Vllm, Way::Quote, Way::Splice];

    /// Its name in settings, metrics and the log.
    pub fn name(self) -> &'static str {
        match self {
            Way::Prefill => "prefill",
            Way::Prefix => "prefix",
            Way::Vllm => "vllm",
            Way::Quote => "quote",
            Way::Splice => "splice",
        }
    }
}

/// Why an answer can't be continued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Barred {
    /// A tool call, or a part of one, was sent.
    ToolCall,
    /// It thought aloud.
    Thinking,
    /// A finish reason was sent.
    Finished,
    /// Several answers were asked for.
    Choices,
    /// Log probabilities were asked for.
    Logprobs,
    /// It follows a JSON schema.
    Schema,
    /// It speaks.
    Audio,
    /// It said what is no plain text: a refusal, a picture.
    NoText,
    /// It is longer than what is kept.
    TooLong,
}

impl Barred {
    /// A word for the log.
    pub fn name(self) -> &'static str {
        match self {
            Barred::ToolCall => "tool_call",
            Barred::Thinking => "thinking",
            Barred::Finished => "finished",
            Barred::Choices => "choices",
            Barred::Logprobs => "logprobs",
            Barred::Schema => "schema",
            Barred::Audio => "audio",
            Barred::NoText => "no_text",
            Barred::TooLong => "too_long",
        }
    }
}

/// What was said so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Said {
    text: String,
    barred: Option<Barred>,
}

impl Said {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The caller got these words.
    pub fn say(&mut self, words: &str) {
        if self.barred.is_some() {
            return;
        }
        if self.text.len() + words.len() > MOST_SAID {
            return self.bar(Barred::TooLong);
        }
        self.text.push_str(words);
    }

    /// It can't be continued from here on. The first reason stays.
    pub fn bar(&mut self, why: Barred) {
        if self.barred.is_none() {
            self.barred = Some(why);
            self.text = String::new();
        }
    }

    /// The words, where they may be continued.
    ///
    /// # Errors
    /// Why they may not.
    pub fn text(&self) -> Result<&str, Barred> {
        self.barred.map_or(Ok(&self.text), Err)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_barred_stays_barred_and_holds_nothing() {
        let mut said = Said::new();
        said.say("some ");
        said.say("words");
        assert_eq!(said.text(), Ok("some words"));
        said.bar(Barred::Thinking);
        said.bar(Barred::Audio);
        said.say("more");
        assert_eq!((said.text(), said.text.capacity()), (Err(Barred::Thinking), 0));
    }

    #[test]
    fn an_answer_over_the_bound_is_let_go() {
        let mut said = Said::new();
        said.say(&"x".repeat(MOST_SAID));
        assert_eq!(said.text().map(str::len), Ok(MOST_SAID));
        said.say("y");
        assert_eq!((said.text(), said.text.capacity()), (Err(Barred::TooLong), 0));
    }

    #[test]
    fn names_are_those_of_the_settings() {
        assert_eq!(Way::ALL.map(Way::name), ["prefill", "prefix", "vllm", "quote", "splice"]);
    }
}
