//! Events of a second answer made to join a message that was begun: its blocks are numbered on from the first's, the words go
//! into the text block that is open, and what ends the message tells what both used. What isn't known of an event goes along.
//!
//! A block is closed when something else begins: the first one's text and the second's are one block.

use bytes::Bytes;

use super::answer::usage;
use super::stream::event;
use crate::dialect::Usage;
use crate::dialect::draft::Draft;
use crate::dialect::node::Node;
use crate::dialect::scan::{one_line, spliced};

/// Where a message stands that a caller has of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Begun {
    /// The blocks that were begun.
    blocks: u64,
    open: Option<Open>,
}

/// The block that isn't closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Open {
    Text,
    Other,
}

impl Begun {
    /// Takes note of an event that goes out.
    pub fn note(&mut self, data: &[u8]) {
        // Nearly every event is a word.
        if memchr::memmem::find(data, b"content_block_st").is_none() {
            return;
        }
        let Some(mut m) = Node::object(data) else { return };
        match m.text("type").as_deref() {
            Some("content_block_start") => {
                self.blocks = m.count("index").map_or(self.blocks + 1, |index| index + 1);
                let kind = m.object("content_block").and_then(|mut block| block.text("type"));
                self.open = Some(if kind.as_deref() == Some("text") { Open::Text } else { Open::Other });
            }
            Some("content_block_stop") => self.open = None,
            _ => {}
        }
    }

    /// Events that say these words.
    pub fn words(&mut self, text: &str) -> Bytes {
        let mut out = Vec::new();
        if self.open != Some(Open::Text) {
            self.close(&mut out);
            let index = self.begin(Open::Text);
            event(&mut out, "content_block_start", |d| {
                d.key("index").count(index).key("content_block").object(|d| _ = d.key("type").text("text").key("text").text(""));
            });
        }
        let index = self.blocks - 1;
        event(&mut out, "content_block_delta", |d| {
            d.key("index").count(index).key("delta").object(|d| _ = d.key("type").text("text_delta").key("text").text(text));
        });
        out.into()
    }

    /// An event's data as an event of this message. `text`: what it is to say in place of what it says; None: the same.
    /// `used`: by all who had a part in it.
    pub fn stitched(&mut self, data: &Bytes, text: Option<&str>, used: &Usage) -> Bytes {
        // It was read as an event before: it is an object.
        let Some(mut m) = Node::object(data) else { return Bytes::new() };
        let kind = m.text("type").unwrap_or_default();
        let mut out = Vec::new();
        let (place, value) = match &*kind {
            "content_block_delta" => {
                let mut delta = m.object("delta").unwrap_or_default();
                if delta.text("type").as_deref() == Some("text_delta") {
                    return self.words(text.unwrap_or(&delta.text("text").unwrap_or_default()));
                }
                (m.take("index"), self.blocks.saturating_sub(1).to_string())
            }
            "content_block_start" => {
                let mut block = m.object("content_block").unwrap_or_default();
                if block.text("type").as_deref() == Some("text") {
                    return self.words(text.unwrap_or(&block.text("text").unwrap_or_default()));
                }
                self.close(&mut out);
                (m.take("index"), self.begin(Open::Other).to_string())
            }
            "message_delta" => {
                self.close(&mut out);
                let mut d = Draft::with_room(256);
                usage(&mut d, used);
                (m.take("usage"), String::from_utf8_lossy(&d.done()).into_owned())
            }
            _ => (None, String::new()),
        };
        let edits = place.map(|node| (node.span_in(data), value.into())).into_iter().collect();
        out.extend_from_slice(b"event: ");
        out.extend_from_slice(kind.as_bytes());
        out.extend_from_slice(b"\ndata: ");
        out.extend(one_line(&spliced(data, edits)));
        out.extend_from_slice(b"\n\n");
        out.into()
    }

    fn begin(&mut self, open: Open) -> u64 {
        self.open = Some(open);
        self.blocks += 1;
        self.blocks - 1
    }

    fn close(&mut self, out: &mut Vec<u8>) {
        if self.open.take().is_some() {
            let index = self.blocks.saturating_sub(1);
            event(out, "content_block_stop", |d| _ = d.key("index").count(index));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn events(bytes: &[u8]) -> Vec<Value> {
        let text = std::str::from_utf8(bytes).unwrap();
        let of = |event: &str| {
            let (name, data) = event.strip_prefix("event: ").unwrap().split_once("\ndata: ").unwrap();
            let data: Value = serde_json::from_str(data).unwrap();
            assert_eq!(data["type"], name);
            data
        };
        text.split("\n\n").filter(|event| !event.is_empty()).map(of).collect()
    }

    fn begun(notes: &[Value]) -> Begun {
        let mut begun = Begun::default();
        notes.iter().for_each(|note| begun.note(note.to_string().as_bytes()));
        begun
    }

    fn start(index: u64, block: Value) -> Value {
        json!({"type": "content_block_start", "index": index, "content_block": block})
    }

    fn stitched(begun: &mut Begun, data: &Value, text: Option<&str>) -> Vec<Value> {
        events(&begun.stitched(&data.to_string().into(), text, &Usage { input: 9, output: 4, ..Usage::default() }))
    }

    #[test]
    fn words_go_into_the_open_block_or_a_new_one() {
        let text = json!({"type": "text", "text": ""});
        let mut open = begun(&[start(0, text.clone())]);
        let word = json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "old"}});
        let said = stitched(&mut open, &word, Some("n\"ew"));
        assert_eq!(said, [json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "n\"ew"}})]);
        let mut closed = begun(&[start(0, text.clone()), json!({"type": "content_block_stop", "index": 0})]);
        let said = stitched(&mut closed, &word, None);
        assert_eq!((&said[0], &said[1]["index"], &said[1]["delta"]["text"]), (&start(1, text), &json!(1), &json!("old")));
        assert_eq!(events(&closed.words("more"))[0]["index"], 1, "and stays there");
    }

    #[test]
    fn other_blocks_are_numbered_on_and_the_end_tells_the_sum() {
        let mut all = begun(&[start(0, json!({"type": "text", "text": ""}))]);
        let tool = json!({"type": "tool_use", "id": "t", "name": "n", "input": {}, "x": 1.5});
        let said = stitched(&mut all, &start(0, tool.clone()), None);
        assert_eq!(said, [json!({"type": "content_block_stop", "index": 0}), start(1, tool)]);
        let piece = json!({"type": "content_block_delta", "index": 0, "delta": {"type": "input_json_delta", "partial_json": "{}"}});
        assert_eq!(stitched(&mut all, &piece, None)[0]["index"], 1);
        let end =
            json!({"type": "message_delta", "delta": {"stop_reason": "tool_use", "stop_sequence": null}, "usage": {"output_tokens": 2}});
        let said = stitched(&mut all, &end, None);
        assert_eq!((&said[0], &said[1]["delta"]["stop_reason"]), (&json!({"type": "content_block_stop", "index": 1}), &json!("tool_use")));
        assert_eq!((&said[1]["usage"]["input_tokens"], &said[1]["usage"]["output_tokens"]), (&json!(9), &json!(4)));
    }
}
