//! Streams of Anthropic's Messages, read into the neutral shape's pieces and written from them.
//!
//! Blocks are numbered by the message and one is open at a time; the reason why it ended and what it used come together, at
//! the end. <https://platform.claude.com/docs/en/build-with-claude/streaming>

use std::borrow::Cow;

use super::answer::{ended, error, usage};
use super::read::SpentSoFar;
use super::types::{finish, finish_name};
use crate::dialect::Usage;
use crate::dialect::chat::{Delta, Finish};
use crate::dialect::draft::Draft;
use crate::dialect::node::{Members, Node};
use crate::dialect::seam::{Misread, StreamReader, StreamWriter};

/// Reads one stream.
#[derive(Debug, Default)]
pub(super) struct Reader {
    spent: SpentSoFar,
    calls: Vec<Call>,
}

/// A block that calls a tool.
#[derive(Debug)]
struct Call {
    /// Its index in the message.
    block: u64,
    /// Whether anything was said of its arguments.
    told: bool,
}

impl StreamReader for Reader {
    fn read<'d>(&mut self, data: &'d [u8], tell: &mut dyn FnMut(Delta<'d>)) -> Result<(), Misread> {
        if data.trim_ascii().is_empty() {
            return Ok(());
        }
        let mut m = Node::object(data).ok_or(Misread)?;
        match m.text("type").as_deref() {
            Some("message_start") => {
                let mut message = m.object("message").unwrap_or_default();
                message.take("usage").into_iter().for_each(|usage| self.spent.note(usage));
                let (id, model) = (message.text("id").unwrap_or_default(), message.text("model").unwrap_or_default());
                tell(Delta::Begin { id, model, created: None });
            }
            Some("content_block_start") => self.block(m, tell),
            Some("content_block_delta") => self.delta(m, tell),
            Some("content_block_stop") => self.close(m.count("index").unwrap_or_default(), tell),
            Some("message_delta") => {
                m.take("usage").into_iter().for_each(|usage| self.spent.note(usage));
                let mut delta = m.object("delta").unwrap_or_default();
                if let Some(reason) = delta.text("stop_reason") {
                    tell(Delta::Finish { choice: 0, finish: finish(&reason), stop: delta.text("stop_sequence") });
                }
                self.spent.spent().into_iter().for_each(|spent| tell(Delta::Spent(spent)));
            }
            Some("message_stop") => tell(Delta::End),
            Some("ping") => tell(Delta::Ping),
            Some("error") => {
                let mut error = m.object("error").unwrap_or_default();
                let kind = error.text("type").unwrap_or(Cow::Borrowed("api_error"));
                tell(Delta::Error { kind, message: error.text("message").unwrap_or_default() });
            }
            // More kinds of events may come: https://platform.claude.com/docs/en/api/versioning
            _ => {}
        }
        Ok(())
    }
}

impl Reader {
    fn block<'d>(&mut self, mut m: Members<'d>, tell: &mut dyn FnMut(Delta<'d>)) {
        let index = m.count("index").unwrap_or_default();
        let mut block = m.object("content_block").unwrap_or_default();
        let said = |block: &mut Members<'d>, name: &str| block.text(name).filter(|text| !text.is_empty());
        match block.text("type").as_deref() {
            Some("text") => said(&mut block, "text").into_iter().for_each(|text| tell(Delta::Text { choice: 0, text })),
            Some("thinking") => said(&mut block, "thinking").into_iter().for_each(|text| tell(Delta::Thinking { choice: 0, text })),
            Some("redacted_thinking") => {
                said(&mut block, "data").into_iter().for_each(|data| tell(Delta::Redacted { choice: 0, data }));
            }
            Some("tool_use") => {
                let call = self.calls.len() as u32;
                let (id, name) = (block.text("id").unwrap_or_default(), block.text("name").unwrap_or_default());
                tell(Delta::Call { choice: 0, call, id, name });
                // Some that speak this dialect send the whole input at once.
                let input = block.take("input").filter(|input| input.raw().len() > 2);
                self.calls.push(Call { block: index, told: input.is_some() });
                if let Some(input) = input {
                    tell(Delta::Arguments { choice: 0, call, json: Cow::Borrowed(input.raw()) });
                }
            }
            _ => {}
        }
    }

    fn delta<'d>(&mut self, mut m: Members<'d>, tell: &mut dyn FnMut(Delta<'d>)) {
        let index = m.count("index").unwrap_or_default();
        let mut delta = m.object("delta").unwrap_or_default();
        let said = |delta: &mut Members<'d>, name: &str| delta.text(name).filter(|text| !text.is_empty());
        match delta.text("type").as_deref() {
            Some("text_delta") => said(&mut delta, "text").into_iter().for_each(|text| tell(Delta::Text { choice: 0, text })),
            Some("thinking_delta") => {
                said(&mut delta, "thinking").into_iter().for_each(|text| tell(Delta::Thinking { choice: 0, text }));
            }
            Some("signature_delta") => {
                said(&mut delta, "signature").into_iter().for_each(|text| tell(Delta::Signature { choice: 0, text }));
            }
            Some("input_json_delta") => {
                let call = self.calls.iter().position(|known| known.block == index);
                if let (Some(call), Some(json)) = (call, said(&mut delta, "partial_json")) {
                    self.calls[call].told = true;
                    tell(Delta::Arguments { choice: 0, call: call as u32, json });
                }
            }
            _ => {}
        }
    }

    /// A call without arguments has an empty object of them, of which nothing is said in its deltas.
    fn close<'d>(&mut self, index: u64, tell: &mut dyn FnMut(Delta<'d>)) {
        if let Some(call) = self.calls.iter().position(|known| known.block == index && !known.told) {
            self.calls[call].told = true;
            tell(Delta::Arguments { choice: 0, call: call as u32, json: Cow::Borrowed("{}") });
        }
    }
}

/// Writes one stream: of several answers, the first.
#[derive(Debug, Default)]
pub(super) struct Writer {
    begun: bool,
    /// The blocks that were opened so far.
    blocks: u64,
    open: Option<Block>,
    called: bool,
    refused: bool,
    finish: Option<(Finish, Option<String>)>,
    spent: Usage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Block {
    Text,
    Thinking,
    Call(u32),
}

impl Writer {
    fn begin(&mut self, id: &str, model: &str, out: &mut Vec<u8>) {
        if std::mem::replace(&mut self.begun, true) {
            return;
        }
        let spent = self.spent;
        event(out, "message_start", |d| {
            d.key("message").object(|d| {
                d.key("id").text(id).key("type").text("message").key("role").text("assistant").key("model").text(model);
                d.key("content").list(|_| {}).key("stop_reason").null().key("stop_sequence").null();
                usage(d.key("usage"), &spent);
            });
        });
    }

    fn close(&mut self, out: &mut Vec<u8>) {
        if self.open.take().is_some() {
            let index = self.blocks - 1;
            event(out, "content_block_stop", |d| _ = d.key("index").count(index));
        }
    }

    /// Opens a block, unless it is open.
    fn open(&mut self, block: Block, out: &mut Vec<u8>, content: impl FnOnce(&mut Draft)) {
        self.begin("", "", out);
        if self.open == Some(block) {
            return;
        }
        self.close(out);
        let index = self.blocks;
        self.blocks += 1;
        self.open = Some(block);
        event(out, "content_block_start", |d| _ = d.key("index").count(index).key("content_block").object(content));
    }

    fn delta(&mut self, out: &mut Vec<u8>, kind: &str, field: &str, text: &str) {
        let index = self.blocks.saturating_sub(1);
        event(out, "content_block_delta", |d| {
            d.key("index").count(index).key("delta").object(|d| _ = d.key("type").text(kind).key(field).text(text));
        });
    }

    fn end(&mut self, out: &mut Vec<u8>) {
        self.begin("", "", out);
        self.close(out);
        let (finish, stop) = self.finish.take().unwrap_or((Finish::Stop, None));
        let (finish, spent) = (ended(finish, self.called, self.refused), self.spent);
        event(out, "message_delta", |d| {
            d.key("delta").object(|d| {
                d.key("stop_reason").text(finish_name(finish));
                match &stop {
                    Some(stop) => _ = d.key("stop_sequence").text(stop),
                    None => _ = d.key("stop_sequence").null(),
                }
            });
            usage(d.key("usage"), &spent);
        });
        event(out, "message_stop", |_| {});
    }
}

impl StreamWriter for Writer {
    fn write(&mut self, delta: &Delta<'_>, out: &mut Vec<u8>) {
        match delta {
            Delta::Begin { id, model, .. } => self.begin(id, model, out),
            Delta::Text { choice: 0, text } | Delta::Refusal { choice: 0, text } => {
                self.refused |= matches!(delta, Delta::Refusal { .. });
                self.open(Block::Text, out, |d| _ = d.key("type").text("text").key("text").text(""));
                self.delta(out, "text_delta", "text", text);
            }
            Delta::Thinking { choice: 0, text } => {
                self.open(Block::Thinking, out, thinking_block);
                self.delta(out, "thinking_delta", "thinking", text);
            }
            Delta::Signature { choice: 0, text } => {
                self.open(Block::Thinking, out, thinking_block);
                self.delta(out, "signature_delta", "signature", text);
                // What is thought after its proof is another thought.
                self.close(out);
            }
            Delta::Redacted { choice: 0, data } => {
                self.close(out);
                self.open(Block::Text, out, |d| _ = d.key("type").text("redacted_thinking").key("data").text(data));
                self.close(out);
            }
            Delta::Call { choice: 0, call, id, name } => {
                self.called = true;
                self.open(Block::Call(*call), out, |d| {
                    d.key("type").text("tool_use").key("id").text(id).key("name").text(name).key("input").object(|_| {});
                });
            }
            // Blocks don't interleave: a piece for a call that is closed has nowhere to go.
            Delta::Arguments { choice: 0, call, json } if self.open == Some(Block::Call(*call)) => {
                self.delta(out, "input_json_delta", "partial_json", json);
            }
            Delta::Finish { choice: 0, finish, stop } => {
                self.begin("", "", out);
                self.close(out);
                self.finish = Some((*finish, stop.as_deref().map(str::to_owned)));
            }
            Delta::Spent(spent) => self.spent = *spent,
            Delta::Ping => event(out, "ping", |_| {}),
            Delta::Error { kind, message } => {
                out.extend_from_slice(b"event: error\ndata: ");
                out.extend_from_slice(&error(kind, message));
                out.extend_from_slice(b"\n\n");
            }
            Delta::End => self.end(out),
            // Of the other answers, and pieces that came too late.
            _ => {}
        }
    }
}

/// Writes an event behind what is there.
pub(super) fn event(out: &mut Vec<u8>, name: &str, rest: impl FnOnce(&mut Draft)) {
    let mut d = Draft::behind(std::mem::take(out));
    d.line("event: ").line(name).line("\ndata: ");
    d.object(|d| {
        d.key("type").text(name);
        rest(d);
    });
    *out = d.into_vec();
    out.extend_from_slice(b"\n\n");
}

fn thinking_block(d: &mut Draft) {
    d.key("type").text("thinking").key("thinking").text("").key("signature").text("");
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn arguments(events: &[Value]) -> Vec<String> {
        let (mut reader, mut said) = (Reader::default(), Vec::new());
        for event in events {
            let data = event.to_string();
            let mut tell = |delta: Delta<'_>| {
                if let Delta::Arguments { call, json, .. } = delta {
                    said.push(format!("{call} {json}"));
                }
            };
            reader.read(data.as_bytes(), &mut tell).unwrap();
        }
        said
    }

    #[test]
    fn a_call_without_arguments_has_none_and_not_nothing() {
        let begin = |index: u64, input: Value| {
            let block = json!({"type": "tool_use", "id": "t", "name": "now", "input": input});
            json!({"type": "content_block_start", "index": index, "content_block": block})
        };
        let piece = |index: u64, text: &str| json!({"type": "content_block_delta", "index": index, "delta": {"type": "input_json_delta", "partial_json": text}});
        let end = |index: u64| json!({"type": "content_block_stop", "index": index});
        assert_eq!(arguments(&[begin(1, json!({})), end(1), end(1)]), ["0 {}"]);
        assert_eq!(arguments(&[begin(1, json!({})), piece(1, ""), end(1)]), ["0 {}"]);
        assert_eq!(arguments(&[begin(0, json!({})), piece(0, "{\"a\":1}"), end(0), begin(1, json!({})), end(1)]), ["0 {\"a\":1}", "1 {}"]);
        assert_eq!(arguments(&[begin(0, json!({"a": 1})), end(0)]), ["0 {\"a\":1}"]);
        assert!(arguments(&[end(0)]).is_empty());
    }
}
