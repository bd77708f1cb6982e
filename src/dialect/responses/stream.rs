//! Streams of Responses, read into the neutral shape's pieces.
//!
//! What an item says is told piece by piece, and once more at its end, which is passed. Only `response.completed` and
//! `response.incomplete` are an end. <https://platform.openai.com/docs/api-reference/responses-streaming>

use std::borrow::Cow;

use super::types::{finish, thought};
use crate::dialect::chat::{Delta, Part};
use crate::dialect::node::{Members, Node};
use crate::dialect::seam::{Misread, StreamReader};
use crate::dialect::usage;

/// Reads one stream.
#[derive(Debug, Default)]
pub(super) struct Reader {
    /// The calls' items, by their place in the output.
    calls: Vec<u64>,
}

impl StreamReader for Reader {
    fn read<'d>(&mut self, data: &'d [u8], tell: &mut dyn FnMut(Delta<'d>)) -> Result<(), Misread> {
        if data.trim_ascii().is_empty() {
            return Ok(());
        }
        let mut m = Node::object(data).ok_or(Misread)?;
        let said = |m: &mut Members<'d>| m.text("delta").filter(|text| !text.is_empty());
        match m.text("type").as_deref() {
            Some("response.created") => {
                let mut head = m.object("response").unwrap_or_default();
                let (id, model) = (head.text("id").unwrap_or_default(), head.text("model").unwrap_or_default());
                tell(Delta::Begin { id, model, created: head.count("created_at") });
            }
            Some("response.output_item.added") => {
                let place = m.count("output_index").unwrap_or_default();
                let mut item = m.object("item").unwrap_or_default();
                if item.text("type").as_deref() == Some("function_call") {
                    let call = self.calls.len() as u32;
                    self.calls.push(place);
                    let (id, name) = (item.text("call_id").unwrap_or_default(), item.text("name").unwrap_or_default());
                    tell(Delta::Call { choice: 0, call, id, name });
                }
            }
            Some("response.output_text.delta") => said(&mut m).into_iter().for_each(|text| tell(Delta::Text { choice: 0, text })),
            Some("response.refusal.delta") => said(&mut m).into_iter().for_each(|text| tell(Delta::Refusal { choice: 0, text })),
            Some("response.reasoning_summary_text.delta" | "response.reasoning_text.delta") => {
                said(&mut m).into_iter().for_each(|text| tell(Delta::Thinking { choice: 0, text }));
            }
            Some("response.function_call_arguments.delta") => {
                let place = m.count("output_index").unwrap_or_default();
                let call = self.calls.iter().position(|known| *known == place);
                if let (Some(call), Some(json)) = (call, said(&mut m)) {
                    tell(Delta::Arguments { choice: 0, call: call as u32, json });
                }
            }
            Some("response.output_item.done") => proof(m, tell),
            Some("response.completed" | "response.incomplete") => self.end(m, tell),
            Some("response.failed") => {
                let error = m.object("response").and_then(|mut response| response.object("error"));
                failed(error.unwrap_or_default(), tell);
            }
            Some("error") => {
                let own = m.object("error");
                failed(own.unwrap_or(m), tell);
            }
            _ => {}
        }
        Ok(())
    }
}

/// At a thought's end, its proof, or the whole of it where its words are sealed.
fn proof<'d>(mut m: Members<'d>, tell: &mut dyn FnMut(Delta<'d>)) {
    let mut item = m.object("item").unwrap_or_default();
    if item.text("type").as_deref() != Some("reasoning") {
        return;
    }
    let sealed = item.text("encrypted_content");
    match thought(Cow::Borrowed(""), sealed) {
        Some(Part::Thinking { signature: Some(text), .. }) => tell(Delta::Signature { choice: 0, text }),
        Some(Part::Redacted(data)) => tell(Delta::Redacted { choice: 0, data }),
        _ => {}
    }
}

fn failed<'d>(mut error: Members<'d>, tell: &mut dyn FnMut(Delta<'d>)) {
    let kind = error.text("code").or_else(|| error.text("type"));
    tell(Delta::Error { kind: kind.unwrap_or_default(), message: error.text("message").unwrap_or_default() });
}

impl Reader {
    fn end<'d>(&self, mut m: Members<'d>, tell: &mut dyn FnMut(Delta<'d>)) {
        let mut response = m.object("response").unwrap_or_default();
        let reason = response.object("incomplete_details").and_then(|mut details| details.text("reason"));
        let finish = finish(response.text("status").as_deref(), reason.as_deref(), !self.calls.is_empty());
        tell(Delta::Finish { choice: 0, finish, stop: None });
        if let Some(spent) = response.take("usage").and_then(|node| usage(node.raw().as_bytes())) {
            tell(Delta::Spent(spent));
        }
        tell(Delta::End);
    }
}
