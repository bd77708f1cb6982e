//! Streams of the Gemini API, read into the neutral shape's pieces and written from them.
//!
//! Each event is an answer of its own with the next parts; a call comes whole; the last event tells the reason why it ended and
//! what it used. There is no terminal event: the reason is the end. <https://ai.google.dev/api/generate-content#method:-models.streamgeneratecontent>

use std::borrow::Cow;

use super::answer::{error, usage};
use super::proof::Proof;
use super::read::{arguments, event_members, made_id, spent};
use super::types::{Ended, error_status, finish, finish_name, own_proof, proof};
use crate::dialect::Usage;
use crate::dialect::chat::{Delta, Finish};
use crate::dialect::draft::Draft;
use crate::dialect::node::{Members, Node};
use crate::dialect::seam::{Misread, StreamReader, StreamWriter};

/// Reads one stream.
#[derive(Debug, Default)]
pub(super) struct Reader {
    begun: bool,
    /// The answer's id, for calls without one.
    id: String,
    /// How many calls there were, in all answers.
    calls: usize,
    /// The answers that have begun.
    choices: Vec<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    number: u32,
    calls: u32,
    ended: bool,
}

impl StreamReader for Reader {
    fn read<'d>(&mut self, data: &'d [u8], tell: &mut dyn FnMut(Delta<'d>)) -> Result<(), Misread> {
        if data.trim_ascii().is_empty() {
            return Ok(());
        }
        let (mut m, _) = event_members(data).ok_or(Misread)?;
        if let Some(error) = m.object("error") {
            tell(told_error(error));
            return Ok(());
        }
        if !self.begun {
            self.begun = true;
            let (id, model) = (m.text("responseId").unwrap_or_default(), m.text("modelVersion").unwrap_or_default());
            self.id = id.clone().into_owned();
            tell(Delta::Begin { id, model, created: None });
        }
        let candidates = m.list("candidates").unwrap_or_default();
        let mut ended = false;
        for (place, node) in candidates.iter().enumerate() {
            ended |= node.members().is_some_and(|candidate| self.candidate(place, candidate, tell));
        }
        if candidates.is_empty() && m.object("promptFeedback").is_some_and(|mut m| m.text("blockReason").is_some()) {
            tell(Delta::Finish { choice: 0, finish: Finish::Filtered, stop: None });
            ended = true;
        }
        // What was used is told by every event; the last one counts.
        if ended && self.choices.iter().all(|choice| choice.ended) {
            m.take("usageMetadata").and_then(spent).into_iter().for_each(|spent| tell(Delta::Spent(spent)));
            tell(Delta::End);
        }
        Ok(())
    }
}

fn told_error<'d>(mut m: Members<'d>) -> Delta<'d> {
    let code = m.take("code").map(|node| node.text().unwrap_or(Cow::Borrowed(node.raw())));
    let kind = m.text("status").or(code).unwrap_or_default();
    Delta::Error { kind, message: m.text("message").unwrap_or_default() }
}

impl Reader {
    /// Reads what an event says of an answer, and tells whether that is its end.
    fn candidate<'d>(&mut self, place: usize, mut m: Members<'d>, tell: &mut dyn FnMut(Delta<'d>)) -> bool {
        let choice = m.count("index").and_then(|index| u32::try_from(index).ok()).unwrap_or(place as u32);
        let at = self.choices.iter().position(|seen| seen.number == choice).unwrap_or_else(|| {
            self.choices.push(Seen { number: choice, ..Seen::default() });
            self.choices.len() - 1
        });
        for node in m.object("content").and_then(|mut content| content.list("parts")).unwrap_or_default() {
            if let Some(part) = node.members() {
                self.part(at, part, tell);
            }
        }
        let Some(reason) = m.text("finishReason").filter(|reason| !reason.is_empty()) else { return false };
        let seen = &mut self.choices[at];
        seen.ended = true;
        match finish(&reason) {
            Ended::Well(finish) => {
                let finish = if seen.calls > 0 && finish == Finish::Stop { Finish::Calls } else { finish };
                tell(Delta::Finish { choice, finish, stop: None });
                true
            }
            Ended::Badly => {
                let message = m.text("finishMessage").unwrap_or(Cow::Borrowed("The model's answer is none."));
                tell(Delta::Error { kind: reason, message });
                false
            }
        }
    }

    fn part<'d>(&mut self, at: usize, mut m: Members<'d>, tell: &mut dyn FnMut(Delta<'d>)) {
        let seen = &mut self.choices[at];
        let choice = seen.number;
        if let Some(text) = m.text("thoughtSignature").and_then(proof) {
            tell(Delta::Signature { choice, text });
        }
        if let Some(mut function) = m.object("functionCall") {
            let call = seen.calls;
            let id = function.text("id").filter(|id| !id.is_empty()).unwrap_or_else(|| made_id(&self.id, self.calls));
            seen.calls += 1;
            self.calls += 1;
            tell(Delta::Call { choice, call, id, name: function.text("name").unwrap_or_default() });
            tell(Delta::Arguments { choice, call, json: arguments(&mut function) });
            return;
        }
        let thought = m.take("thought").and_then(Node::truth).unwrap_or(false);
        match m.text("text").filter(|text| !text.is_empty()) {
            Some(text) if thought => tell(Delta::Thinking { choice, text }),
            Some(text) => tell(Delta::Text { choice, text }),
            None => {}
        }
    }
}

/// Writes one stream.
#[derive(Debug, Default)]
pub(super) struct Writer {
    id: String,
    model: String,
    choices: Vec<Open>,
    spent: Option<Usage>,
}

/// An answer that is being written.
#[derive(Debug, Default)]
struct Open {
    number: u32,
    /// The proof that waits for its part.
    proof: Option<String>,
    /// The calls that have begun: they are told whole, and pieces of several may come in turns.
    calls: Vec<Call>,
    /// Whether a call was told.
    called: bool,
    finish: Option<Finish>,
}

#[derive(Debug)]
struct Call {
    number: u32,
    id: String,
    name: String,
    arguments: String,
}

impl Writer {
    /// The place of an answer among those that have begun.
    fn at(&mut self, choice: u32) -> usize {
        self.choices.iter().position(|open| open.number == choice).unwrap_or_else(|| {
            self.choices.push(Open { number: choice, ..Open::default() });
            self.choices.len() - 1
        })
    }

    /// An event with a part of an answer, behind the calls that came before it.
    fn part(&mut self, choice: u32, text: &str, thought: bool, out: &mut Vec<u8>) {
        let at = self.at(choice);
        let open = &mut self.choices[at];
        event(&self.id, &self.model, out, |d| {
            d.key("candidates").list(|d| {
                open.candidate(d, |d, open| {
                    open.tell_calls(d);
                    let mut proof = Proof { pending: open.proof.take().map(Cow::Owned), due: false };
                    proof.text(d, text, thought);
                });
            });
        });
    }

    /// The last event.
    fn end(&mut self, out: &mut Vec<u8>) {
        self.at(0);
        let (choices, spent) = (&mut self.choices, self.spent);
        event(&self.id, &self.model, out, |d| {
            d.key("candidates").list(|d| {
                for open in choices.iter_mut() {
                    open.finish.get_or_insert(Finish::Stop);
                    open.candidate(d, |d, open| {
                        let told = open.tell_calls(d);
                        if !told || open.proof.is_some() {
                            let mut proof = Proof { pending: open.proof.take().map(Cow::Owned), due: false };
                            proof.text(d, "", false);
                        }
                    });
                }
            });
            if let Some(spent) = &spent {
                usage(d.key("usageMetadata"), spent);
            }
        });
    }
}

impl Open {
    fn candidate(&mut self, d: &mut Draft, parts: impl FnOnce(&mut Draft, &mut Self)) {
        d.object(|d| {
            d.key("content").object(|d| {
                d.key("parts").list(|d| parts(d, self));
                d.key("role").text("model");
            });
            if let Some(finish) = self.finish {
                d.key("finishReason").text(finish_name(finish));
            }
            d.key("index").count(self.number.into());
        });
    }

    /// Tells the calls that have begun, and whether there were any.
    fn tell_calls(&mut self, d: &mut Draft) -> bool {
        let calls = std::mem::take(&mut self.calls);
        for call in &calls {
            let due = !std::mem::replace(&mut self.called, true);
            let mut proof = Proof { pending: self.proof.take().map(Cow::Owned), due };
            proof.call(d, &call.id, &call.name, &call.arguments);
        }
        !calls.is_empty()
    }
}

fn event(id: &str, model: &str, out: &mut Vec<u8>, inside: impl FnOnce(&mut Draft)) {
    let mut d = Draft::behind(std::mem::take(out));
    d.line("data: ").object(|d| {
        inside(d);
        d.key("modelVersion").text(model).key("responseId").text(id);
    });
    *out = d.into_vec();
    out.extend_from_slice(b"\n\n");
}

/// The status that stands for a vendor's word for what went wrong.
fn status(kind: &str) -> u16 {
    let says = |words: &[&str]| words.iter().any(|word| kind.to_ascii_lowercase().contains(word));
    match kind.parse() {
        Ok(status @ 400..=599) => status,
        _ if says(&["overloaded", "unavailable"]) => 503,
        _ if says(&["rate_limit", "exhausted"]) => 429,
        _ if says(&["timeout", "deadline"]) => 504,
        _ => 500,
    }
}

impl StreamWriter for Writer {
    fn write(&mut self, delta: &Delta<'_>, out: &mut Vec<u8>) {
        match delta {
            Delta::Begin { id, model, .. } => (self.id, self.model) = (id.clone().into_owned(), model.clone().into_owned()),
            Delta::Text { choice, text } | Delta::Refusal { choice, text } => self.part(*choice, text, false, out),
            Delta::Thinking { choice, text } => self.part(*choice, text, true, out),
            Delta::Signature { choice, text } => {
                let at = self.at(*choice);
                let proof = own_proof(text).map(str::to_owned);
                self.choices[at].proof = proof.or(self.choices[at].proof.take());
            }
            Delta::Call { choice, call, id, name } => {
                let at = self.at(*choice);
                let (id, name) = (id.clone().into_owned(), name.clone().into_owned());
                self.choices[at].calls.push(Call { number: *call, id, name, arguments: String::new() });
            }
            Delta::Arguments { choice, call, json } => {
                let at = self.at(*choice);
                let begun = self.choices[at].calls.iter_mut().find(|begun| begun.number == *call);
                begun.into_iter().for_each(|begun| begun.arguments.push_str(json));
            }
            Delta::Finish { choice, finish, .. } => {
                let at = self.at(*choice);
                self.choices[at].finish = Some(*finish);
            }
            Delta::Spent(spent) => self.spent = Some(*spent),
            Delta::Error { kind, message } => {
                let status = status(kind);
                out.extend_from_slice(b"data: ");
                out.extend_from_slice(&error(status, error_status(status), message));
                out.extend_from_slice(b"\n\n");
            }
            Delta::End => self.end(out),
            // Its SDKs take every event for an answer, and every comment for a fault. Redacted thoughts are their vendor's alone.
            Delta::Ping | Delta::Redacted { .. } => {}
        }
    }
}
