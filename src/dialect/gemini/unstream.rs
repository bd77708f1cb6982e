//! A plain answer as a stream, for a caller that asked for one of an upstream that ignored it: each event of a stream is an
//! answer of its own, so that a whole one is the whole stream.

use bytes::Bytes;

use super::read;
use crate::dialect::chat::Part;
use crate::dialect::scan::as_event;

/// The event of a whole answer. None where it isn't one.
pub fn events(answer: &[u8]) -> Option<Bytes> {
    read::answer(answer).ok()?;
    Some(as_event(answer))
}

/// How many tokens a whole answer has, as `count` has it: its words, its thoughts and its calls.
pub fn tokens(answer: &[u8], count: impl Fn(&str) -> u64) -> u64 {
    let Ok(answer) = read::answer(answer) else { return 0 };
    let mut tokens = 0;
    for part in answer.choices.iter().flat_map(|choice| &choice.parts) {
        match part {
            Part::Text { text, .. } | Part::Refusal(text) | Part::Thinking { text, .. } => tokens += count(text),
            Part::Call { name, arguments, .. } => [name, arguments].into_iter().for_each(|text| tokens += count(text)),
            Part::Redacted(_) | Part::Image { .. } | Part::Audio { .. } | Part::File { .. } | Part::Result { .. } => {}
        }
    }
    tokens
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::Counter;

    #[test]
    fn says_the_same_in_one_event() {
        let answer = "{\"candidates\": [\n{\"content\": {\"parts\": [{\"text\": \"hello world\"}]}, \"finishReason\": \"STOP\"}]}";
        let event = events(answer.as_bytes()).unwrap();
        assert_eq!(event, format!("data: {}\n\n", answer.replace('\n', " ")));
        assert_eq!((tokens(answer.as_bytes(), Counter::of), tokens(b"no", Counter::of), events(b"{}")), (2, 0, None));
    }
}
