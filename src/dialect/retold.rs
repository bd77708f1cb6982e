//! A whole answer told again piece by piece, in its own dialect: as a stream of a few events, or to be counted.

use bytes::Bytes;

use super::chat::{Delta, Part};
use super::seam::Seam;

/// The events of a whole answer. None where it isn't one.
pub(in crate::dialect) fn events(seam: &Seam, answer: &[u8]) -> Option<Bytes> {
    let answer = seam.read_answer(answer).ok()?;
    let (mut writer, mut out) = (seam.stream_writer(0), Vec::new());
    let mut tell = |delta: Delta<'_>| writer.write(&delta, &mut out);
    let (id, model, created) = (answer.id, answer.model, answer.created);
    answer.spent.into_iter().for_each(|spent| tell(Delta::Spent(spent)));
    tell(Delta::Begin { id, model, created });
    let mut call = 0;
    for choice in answer.choices {
        for part in choice.parts {
            match part {
                Part::Text { text, .. } => tell(Delta::Text { choice: 0, text }),
                Part::Refusal(text) => tell(Delta::Refusal { choice: 0, text }),
                Part::Thinking { text, signature } => {
                    tell(Delta::Thinking { choice: 0, text });
                    tell(Delta::Signature { choice: 0, text: signature.unwrap_or_default() });
                }
                Part::Redacted(data) => tell(Delta::Redacted { choice: 0, data }),
                Part::Call { id, name, arguments, .. } => {
                    tell(Delta::Call { choice: 0, call, id, name });
                    tell(Delta::Arguments { choice: 0, call, json: arguments });
                    call += 1;
                }
                Part::Image { .. } | Part::Audio { .. } | Part::File { .. } | Part::Result { .. } => {}
            }
        }
        tell(Delta::Finish { choice: 0, finish: choice.finish, stop: choice.stop });
    }
    tell(Delta::End);
    Some(out.into())
}

/// How many tokens a whole answer has, as `count` has it: its words, its thoughts and its calls.
pub(in crate::dialect) fn tokens(seam: &Seam, answer: &[u8], count: impl Fn(&str) -> u64) -> u64 {
    let Ok(answer) = seam.read_answer(answer) else { return 0 };
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
