//! Events that say no more than the one before, but for their words, told in another dialect: nearly all of a stream. What the one
//! before became is said again around the new words, which takes a tenth of reading the event and writing another.
//!
//! It is sure only of what it has seen twice in a row: two events with equal bytes around their words, each of which became one
//! event with those words in it, once, and equal bytes around them. Whatever else comes between is read in full, and begins anew.

use super::Wire;
use super::openai::frame::Kind;
use super::scan::walk::Walk;

/// A larger event isn't kept for the comparison: each stream would hold as much.
const MOST: usize = 2_048;
/// After so many events that weren't like the one before, no more is compared.
const PATIENCE: u8 = 32;

/// See the module's text.
#[derive(Debug)]
pub struct Echo {
    /// The dialect that is read.
    wire: Wire,
    before: Option<Before>,
    patience: u8,
}

#[derive(Debug)]
struct Before {
    /// Up to the words, their opening quote included; and after them.
    around: (Vec<u8>, Vec<u8>),
    /// The same of what it became, where that is one event with the words in it.
    becomes: Option<(Vec<u8>, Vec<u8>)>,
    /// Whether the one before became the same.
    sure: bool,
}

impl Echo {
    /// Of a stream in the dialect `from`, told in `to`.
    pub fn new(from: Wire, to: Wire) -> Self {
        let patience = match to {
            Wire::OpenAi | Wire::Anthropic | Wire::Gemini => PATIENCE,
            // Its writer has to hear every word: each event has a number, and the last ones hold the whole text.
            Wire::Responses => 0,
        };
        Self { wire: from, before: None, patience }
    }

    /// Writes what an event becomes; false where it has to be read for that.
    pub fn again(&self, data: &[u8], out: &mut Vec<u8>) -> bool {
        let Some(Before { around: (head, tail), becomes: Some((before, after)), sure: true }) = &self.before else { return false };
        let Some(words) = words(data, head, tail) else { return false };
        out.reserve(before.len() + words.len() + after.len());
        out.extend_from_slice(before);
        out.extend_from_slice(words);
        out.extend_from_slice(after);
        true
    }

    /// Takes note of what an event became that was read in full.
    pub fn learn(&mut self, data: &[u8], written: &[u8]) {
        if self.patience == 0 {
            return;
        }
        let known = self.before.take();
        let seen = self.wire.classify(data);
        let others = seen.finish || seen.tool_call || seen.reasoning || seen.audio || seen.usage.is_some();
        let Some(text) = seen.text.filter(|_| seen.kind == Kind::Content && !others && data.len().max(written.len()) <= MOST) else {
            return;
        };
        let around = (data[..=text.start].to_vec(), data[text.end - 1..].to_vec());
        let becomes = around_words(written, &data[text]);
        let sure = becomes.is_some() && known.is_some_and(|known| known.around == around && known.becomes == becomes);
        self.patience -= u8::from(!sure);
        self.before = Some(Before { around, becomes, sure });
    }
}

/// The words of an event that is like another: as they are written, where they mean the same in every dialect's JSON.
fn words<'d>(data: &'d [u8], head: &[u8], tail: &[u8]) -> Option<&'d [u8]> {
    let end = data.len().checked_sub(tail.len())?;
    let words = data.get(head.len()..end).filter(|words| !words.is_empty())?;
    // An escaped surrogate may be half of a character, which is no text by itself.
    let plain = memchr::memmem::find(words, b"\\u").is_none() && std::str::from_utf8(words).is_ok();
    if !plain || !data.starts_with(head) || !data.ends_with(tail) {
        return None;
    }
    let string = Walk::within(data, head.len() - 1).string().ok()?;
    (string.end == end + 1).then_some(words)
}

/// What stands around a string in an event, where it is there once and the event is one. `string`: with its quotes.
fn around_words(event: &[u8], string: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let one = event.ends_with(b"\n\n") && memchr::memmem::find_iter(event, b"\n\n").count() == 1;
    let mut places = memchr::memmem::find_iter(event, string);
    let place = places.next().filter(|_| one && string.len() > 2 && !string.contains(&b'\\'))?;
    places.next().is_none().then(|| (event[..=place].to_vec(), event[place + string.len() - 1..].to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::chat::{Delta, Finish};
    use proptest::prelude::*;

    const WIRES: [Wire; 4] = [Wire::OpenAi, Wire::Anthropic, Wire::Gemini, Wire::Responses];

    /// The data of each event of a stream of this dialect that says this, with a call in between where there is none.
    fn source(wire: Wire, words: &[Option<String>]) -> Vec<Vec<u8>> {
        let (mut writer, mut out) = (wire.seam().stream_writer(7), Vec::new());
        let mut tell = |delta: Delta<'_>| writer.write(&delta, &mut out);
        tell(Delta::Begin { id: "i".into(), model: "m".into(), created: Some(7) });
        for (call, words) in words.iter().enumerate() {
            match words {
                Some(words) => tell(Delta::Text { choice: 0, text: words.as_str().into() }),
                None => {
                    tell(Delta::Call { choice: 0, call: call as u32, id: format!("c{call}").into(), name: "f".into() });
                    tell(Delta::Arguments { choice: 0, call: call as u32, json: "{}".into() });
                }
            }
        }
        tell(Delta::Finish { choice: 0, finish: Finish::Stop, stop: None });
        tell(Delta::End);
        let text = String::from_utf8(out).unwrap();
        text.split("\n\n").filter_map(|event| Some(event.split_once("data: ")?.1.as_bytes().to_vec())).collect()
    }

    /// The same in another dialect, and how many events were echoed.
    fn translated(events: &[Vec<u8>], from: Wire, to: Wire, echoes: bool) -> (Vec<u8>, usize) {
        let (mut reader, mut writer, mut echo) = (from.seam().stream_reader(), to.seam().stream_writer(7), Echo::new(from, to));
        let (mut out, mut count) = (Vec::new(), 0);
        for data in events {
            if echoes && echo.again(data, &mut out) {
                count += 1;
                continue;
            }
            let start = out.len();
            reader.read(data, &mut |delta| writer.write(&delta, &mut out)).unwrap();
            echo.learn(data, &out[start..]);
        }
        (out, count)
    }

    /// What a stream says, piece by piece.
    fn said(wire: Wire, stream: &[u8]) -> Vec<String> {
        let (mut reader, mut said) = (wire.seam().stream_reader(), Vec::new());
        for event in std::str::from_utf8(stream).unwrap().split("\n\n").filter_map(|event| event.split_once("data: ")) {
            reader.read(event.1.as_bytes(), &mut |delta| said.push(format!("{delta:?}"))).unwrap();
        }
        said
    }

    #[test]
    fn nearly_every_event_of_a_stream_is_an_echo() {
        let words: Vec<_> = (0..50).map(|word| Some(format!("word{word} "))).collect();
        for (from, to) in [(Wire::OpenAi, Wire::Anthropic), (Wire::Anthropic, Wire::OpenAi), (Wire::Anthropic, Wire::Gemini)] {
            let (_, count) = translated(&source(from, &words), from, to, true);
            assert!(count >= 45, "{from:?} {to:?}: {count}");
        }
    }

    #[test]
    fn what_says_more_is_no_echo() {
        let mut echo = Echo::new(Wire::OpenAi, Wire::Anthropic);
        let event = |words: &str| format!(r#"{{"id":"i","choices":[{{"index":0,"delta":{{"content":"{words}"}},"finish_reason":null}}]}}"#);
        for words in ["one", "two"] {
            echo.learn(event(words).as_bytes(), format!("data: {{\"t\":\"{words}\"}}\n\n").as_bytes());
        }
        let mut out = Vec::new();
        assert!(echo.again(event("three\\n").as_bytes(), &mut out));
        assert_eq!(out, b"data: {\"t\":\"three\\n\"}\n\n");
        let more = event(r#"a"},"finish_reason":"stop"},{"delta":{"content":"b"#);
        for other in [event(""), event("\\ud83d"), event("a\u{1}"), event("x").replace("null", "\"stop\""), more, "[DONE]".into()] {
            assert!(!echo.again(other.as_bytes(), &mut Vec::new()), "{other}");
        }
        echo.learn(b"[DONE]", b"");
        assert!(!echo.again(event("four").as_bytes(), &mut out), "it begins anew");
    }

    proptest! {
        #[test]
        fn an_echo_says_what_reading_in_full_says(words in prop::collection::vec(prop::option::weighted(0.9, ".{1,8}"), 1..20)) {
            for (from, to) in WIRES.iter().flat_map(|from| WIRES.map(|to| (*from, to))) {
                let events = source(from, &words);
                let (full, _) = translated(&events, from, to, false);
                let (echoed, _) = translated(&events, from, to, true);
                prop_assert_eq!(said(to, &echoed), said(to, &full), "{:?} {:?}", from, to);
            }
        }
    }
}
