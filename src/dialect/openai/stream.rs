//! Streams of Chat Completions, read into the neutral shape's pieces and written from them.
//!
//! Written events hold what OpenAI's SDKs require of every one of them: `id`, `object`, `created`, `model`, `choices` with
//! `index`, `delta` and `finish_reason`, the role in each choice's first. <https://platform.openai.com/docs/api-reference/chat-streaming>

use super::types::{finish, finish_name};
use crate::dialect::chat::{Delta, Finish};
use crate::dialect::draft::Draft;
use crate::dialect::node::{Members, Node};
use crate::dialect::seam::{Misread, StreamReader, StreamWriter};
use crate::dialect::usage;

/// Reads one stream.
#[derive(Debug, Default)]
pub(super) struct Reader {
    begun: bool,
    /// The calls that have begun, by choice and index as the vendor numbers them.
    calls: Vec<(u32, u64)>,
}

impl StreamReader for Reader {
    fn read<'d>(&mut self, data: &'d [u8], tell: &mut dyn FnMut(Delta<'d>)) -> Result<(), Misread> {
        match data.trim_ascii() {
            b"" => return Ok(()),
            b"[DONE]" => {
                tell(Delta::End);
                return Ok(());
            }
            _ => {}
        }
        let mut m = Node::object(data).ok_or(Misread)?;
        if let Some(error) = m.take("error") {
            tell(told_error(error));
            return Ok(());
        }
        let (id, choices) = (m.text("id").unwrap_or_default(), m.list("choices").unwrap_or_default());
        // Azure tells what its filters say of the prompt before there is an answer: an event without a name or a choice.
        if !(self.begun || id.is_empty() && choices.is_empty()) {
            self.begun = true;
            tell(Delta::Begin { id, model: m.text("model").unwrap_or_default(), created: m.count("created") });
        }
        for (place, node) in choices.into_iter().enumerate() {
            if let Some(choice) = node.members() {
                self.choice(place, choice, tell);
            }
        }
        if let Some(spent) = m.take("usage").and_then(|node| usage(node.raw().as_bytes())) {
            tell(Delta::Spent(spent));
        }
        Ok(())
    }
}

fn told_error(error: Node<'_>) -> Delta<'_> {
    let mut m = error.members().unwrap_or_default();
    let (kind, code) = (m.text("type"), m.text("code"));
    let message = m.text("message").or_else(|| error.text());
    Delta::Error { kind: code.or(kind).unwrap_or_default(), message: message.unwrap_or_default() }
}

impl Reader {
    fn choice<'d>(&mut self, place: usize, mut m: Members<'d>, tell: &mut dyn FnMut(Delta<'d>)) {
        let choice = m.count("index").and_then(|index| u32::try_from(index).ok()).unwrap_or(place as u32);
        if let Some(mut delta) = m.object("delta") {
            let said = |name: &str, delta: &mut Members<'d>| delta.text(name).filter(|text| !text.is_empty());
            if let Some(text) = said("reasoning_content", &mut delta).or_else(|| said("reasoning", &mut delta)) {
                tell(Delta::Thinking { choice, text });
            }
            for block in delta.list("thinking_blocks").unwrap_or_default() {
                thinking_block(choice, block, tell);
            }
            if let Some(text) = said("content", &mut delta) {
                tell(Delta::Text { choice, text });
            }
            if let Some(text) = said("refusal", &mut delta) {
                tell(Delta::Refusal { choice, text });
            }
            for (place, node) in delta.list("tool_calls").unwrap_or_default().into_iter().enumerate() {
                if let Some(call) = node.members() {
                    self.call(choice, place as u64, call, tell);
                }
            }
        }
        if let Some(reason) = m.text("finish_reason").filter(|reason| !reason.is_empty()) {
            let stop = m.text("stop_reason").filter(|_| reason == "stop");
            let finish = if stop.is_some() { Finish::StopText } else { finish(&reason) };
            tell(Delta::Finish { choice, finish, stop });
        }
    }

    fn call<'d>(&mut self, choice: u32, place: u64, mut m: Members<'d>, tell: &mut dyn FnMut(Delta<'d>)) {
        let key = (choice, m.count("index").unwrap_or(place));
        let mut function = m.object("function").unwrap_or_default();
        let name = function.text("name");
        let known = |calls: &[(u32, u64)]| calls.iter().filter(|(of, _)| *of == choice).position(|known| *known == key);
        let call = known(&self.calls).unwrap_or_else(|| {
            self.calls.push(key);
            let call = known(&self.calls).unwrap_or_default();
            tell(Delta::Call { choice, call: call as u32, id: m.text("id").unwrap_or_default(), name: name.unwrap_or_default() });
            call
        });
        if let Some(json) = function.text("arguments").filter(|json| !json.is_empty()) {
            tell(Delta::Arguments { choice, call: call as u32, json });
        }
    }
}

fn thinking_block<'d>(choice: u32, node: Node<'d>, tell: &mut dyn FnMut(Delta<'d>)) {
    let Some(mut m) = node.members() else { return };
    match m.text("type").as_deref() {
        Some("redacted_thinking") => {
            if let Some(data) = m.text("data") {
                tell(Delta::Redacted { choice, data });
            }
        }
        // Its words came as `reasoning_content`.
        _ => {
            if let Some(text) = m.text("signature").filter(|text| !text.is_empty()) {
                tell(Delta::Signature { choice, text });
            }
        }
    }
}

/// Writes one stream.
#[derive(Debug)]
pub(super) struct Writer {
    now: u64,
    /// What every event begins with, up to its choices.
    head: Vec<u8>,
    /// The choices that have their role, as bits.
    roles: u64,
}

impl Writer {
    pub(super) fn new(now: u64) -> Self {
        let mut writer = Self { now, head: Vec::new(), roles: 0 };
        writer.begin("", "", None);
        writer
    }

    fn begin(&mut self, id: &str, model: &str, created: Option<u64>) {
        let mut d = Draft::behind(b"data: ".to_vec());
        d.begin(b'{');
        d.key("id").text(id).key("object").text("chat.completion.chunk");
        d.key("created").count(created.unwrap_or(self.now)).key("model").text(model);
        self.head = d.into_vec();
    }

    /// An event with one choice.
    fn choice(&mut self, out: &mut Vec<u8>, choice: u32, finish: Option<(Finish, Option<&str>)>, delta: impl FnOnce(&mut Draft)) {
        out.extend_from_slice(&self.head);
        let mut d = Draft::behind(std::mem::take(out));
        let role = 1u64.checked_shl(choice).unwrap_or(0);
        d.key("choices").list(|d| {
            d.object(|d| {
                d.key("index").count(choice.into());
                d.key("delta").object(|d| {
                    if self.roles & role == 0 {
                        d.key("role").text("assistant");
                    }
                    delta(d);
                });
                d.key("logprobs").null();
                match finish {
                    Some((finish, stop)) => {
                        d.key("finish_reason").text(finish_name(finish));
                        if let Some(stop) = stop {
                            d.key("stop_reason").text(stop);
                        }
                    }
                    None => _ = d.key("finish_reason").null(),
                }
            });
        });
        self.roles |= role;
        d.end(b'}');
        *out = d.into_vec();
        out.extend_from_slice(b"\n\n");
    }
}

impl StreamWriter for Writer {
    fn write(&mut self, delta: &Delta<'_>, out: &mut Vec<u8>) {
        match delta {
            Delta::Begin { id, model, created } => {
                self.begin(id, model, *created);
                self.choice(out, 0, None, |d| _ = d.key("content").text("").key("refusal").null());
            }
            Delta::Text { choice, text } => self.choice(out, *choice, None, |d| _ = d.key("content").text(text)),
            Delta::Refusal { choice, text } => self.choice(out, *choice, None, |d| _ = d.key("refusal").text(text)),
            Delta::Thinking { choice, text } => self.choice(out, *choice, None, |d| _ = d.key("reasoning_content").text(text)),
            Delta::Signature { choice, text } => self.choice(out, *choice, None, |d| {
                d.key("thinking_blocks").list(|d| {
                    d.object(|d| _ = d.key("type").text("thinking").key("thinking").text("").key("signature").text(text));
                });
            }),
            Delta::Redacted { choice, data } => self.choice(out, *choice, None, |d| {
                d.key("thinking_blocks").list(|d| _ = d.object(|d| _ = d.key("type").text("redacted_thinking").key("data").text(data)));
            }),
            Delta::Call { choice, call, id, name } => self.choice(out, *choice, None, |d| {
                tool_call(d, *call, |d| {
                    d.key("id").text(id).key("type").text("function");
                    d.key("function").object(|d| _ = d.key("name").text(name).key("arguments").text(""));
                });
            }),
            Delta::Arguments { choice, call, json } => self.choice(out, *choice, None, |d| {
                tool_call(d, *call, |d| _ = d.key("function").object(|d| _ = d.key("arguments").text(json)));
            }),
            Delta::Finish { choice, finish, stop } => self.choice(out, *choice, Some((*finish, stop.as_deref())), |_| {}),
            Delta::Spent(spent) => {
                out.extend_from_slice(&self.head);
                let mut d = Draft::behind(std::mem::take(out));
                d.key("choices").list(|_| {});
                d.key("usage").raw(&spent.json());
                d.end(b'}');
                *out = d.into_vec();
                out.extend_from_slice(b"\n\n");
            }
            // A comment: an event without choices would break the SDKs.
            Delta::Ping => out.extend_from_slice(b": ping\n\n"),
            Delta::Error { kind, message } => {
                let mut d = Draft::behind(std::mem::take(out));
                d.line("data: ").object(|d| {
                    d.key("error").object(|d| {
                        d.key("message").text(message).key("type").text(kind).key("param").null().key("code").text(kind);
                    });
                });
                *out = d.into_vec();
                out.extend_from_slice(b"\n\n");
            }
            Delta::End => out.extend_from_slice(b"data: [DONE]\n\n"),
        }
    }
}

fn tool_call(d: &mut Draft, call: u32, rest: impl FnOnce(&mut Draft)) {
    d.key("tool_calls").list(|d| {
        d.object(|d| {
            d.key("index").count(call.into());
            rest(d);
        });
    });
}
