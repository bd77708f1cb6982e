//! Streams of Responses, written from the neutral shape's pieces; and one that was begun by somebody else, written on.
//!
//! Events are numbered; each item of the output begins, grows and is said again whole at its end, and so is the response itself.
//! <https://platform.openai.com/docs/api-reference/responses-streaming>

use std::borrow::Cow;

use super::echo::Echo;
use super::types::{encrypted, error_event, id, status};
use super::write::{Head, Stand, call_item, message_item, response, text_part, thought_item};
use crate::dialect::Usage;
use crate::dialect::chat::{Delta, Finish, Part};
use crate::dialect::draft::Draft;
use crate::dialect::seam::StreamWriter;

/// Writes one stream: of several answers, the first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Writer {
    echo: Echo,
    head: Head,
    begun: bool,
    /// The next event's number.
    pub(super) sequence: u64,
    /// The items so far, each as it is said at its end; empty for one that isn't there yet.
    pub(super) items: Vec<String>,
    /// What is being said or thought.
    open: Option<Open>,
    /// The calls that aren't complete: pieces of several may come in turns.
    calls: Vec<Call>,
    refused: bool,
    pub(super) finish: Option<Finish>,
    pub(super) spent: Option<Usage>,
}

/// A message that grows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Message {
    /// Its place in the output.
    pub(super) place: usize,
    pub(super) id: String,
    /// The parts that are complete, as JSON.
    pub(super) done: Vec<String>,
    /// What the last one says so far; empty where none was begun.
    pub(super) text: String,
}

/// An item that grows.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Open {
    place: usize,
    id: String,
    what: What,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum What {
    Message {
        /// The parts that are complete, as JSON.
        done: Vec<String>,
        refusal: bool,
        text: String,
    },
    Thought(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Call {
    number: u32,
    place: usize,
    id: String,
    name: String,
    arguments: String,
}

impl Writer {
    pub(super) fn new(echo: Echo, now: u64) -> Self {
        let head = Head { created: now, ..Head::default() };
        Self {
            echo,
            head,
            begun: false,
            sequence: 0,
            items: Vec::new(),
            open: None,
            calls: Vec::new(),
            refused: false,
            finish: None,
            spent: None,
        }
    }

    /// One that has begun: its next event's number, the items that are complete, and of the message that grows its place, its id,
    /// the parts that are complete and the words of the one that isn't.
    pub(super) fn begun(echo: Echo, head: Head, sequence: u64, items: Vec<String>, open: Option<Message>) -> Self {
        let open = open.map(|Message { place, id, done, text }| Open { place, id, what: What::Message { done, refusal: false, text } });
        let writer = Self::new(echo, head.created);
        Self { begun: true, head, sequence, items, open, ..writer }
    }

    fn event(&mut self, out: &mut Vec<u8>, name: &str, rest: impl FnOnce(&Self, &mut Draft)) {
        let mut d = Draft::behind(std::mem::take(out));
        d.line("event: ").line(name).line("\ndata: ");
        d.object(|d| {
            d.key("type").text(name).key("sequence_number").count(self.sequence);
            rest(self, d);
        });
        *out = d.into_vec();
        out.extend_from_slice(b"\n\n");
        self.sequence += 1;
    }

    fn begin(&mut self, response_id: &str, model: &str, created: Option<u64>, out: &mut Vec<u8>) {
        if std::mem::replace(&mut self.begun, true) {
            return;
        }
        (self.head.id, self.head.model) = (id("resp_", response_id), model.to_owned());
        self.head.created = created.unwrap_or(self.head.created);
        for name in ["response.created", "response.in_progress"] {
            self.event(out, name, |writer, d| writer.response(d, "in_progress", None));
        }
    }

    fn response(&self, d: &mut Draft, status: &str, incomplete: Option<&str>) {
        let stand = Stand { status, incomplete, spent: self.spent.as_ref() };
        response(d.key("response"), &self.head, &self.echo, stand, |d| {
            self.items.iter().filter(|item| !item.is_empty()).for_each(|item| _ = d.raw(item));
        });
    }

    /// A new item's place and id.
    pub(super) fn place(&mut self, kind: &str) -> (usize, String) {
        let place = self.items.len();
        self.items.push(String::new());
        (place, format!("{kind}{}_{place}", self.head.id.trim_start_matches("resp_")))
    }

    fn item(&mut self, out: &mut Vec<u8>, name: &str, place: usize, item: impl FnOnce(&mut Draft)) {
        self.event(out, name, |_, d| {
            d.key("output_index").count(place as u64);
            item(d.key("item"));
        });
    }

    /// An item is complete: said once more, and kept for the response's end.
    fn done(&mut self, out: &mut Vec<u8>, place: usize, item: impl FnOnce(&mut Draft)) {
        let mut d = Draft::default();
        item(&mut d);
        let whole = String::from_utf8(d.into_vec()).unwrap_or_default();
        self.item(out, "response.output_item.done", place, |d| _ = d.raw(&whole));
        self.items[place] = whole;
    }

    /// Of a part of an item that grows: its content's place, where it is words, or its summary's.
    fn within(&mut self, out: &mut Vec<u8>, name: &str, at: (&str, u64), rest: impl FnOnce(&mut Draft)) {
        let Some(open) = &self.open else { return };
        let (item, place) = (open.id.clone(), open.place as u64);
        self.event(out, name, |_, d| {
            d.key("item_id").text(&item).key("output_index").count(place).key(at.0).count(at.1);
            rest(d);
        });
    }

    /// What grows is complete.
    pub(super) fn close(&mut self, out: &mut Vec<u8>) {
        self.close_part(out);
        match self.open.take() {
            Some(Open { place, id, what: What::Message { done, .. } }) => {
                self.done(out, place, |d| message_item(d, &id, "completed", |d| done.iter().for_each(|part| _ = d.raw(part))));
            }
            Some(Open { place, id, what: What::Thought(text) }) => self.done(out, place, |d| thought_item(d, &id, &text, None)),
            None => {}
        }
    }

    /// The part that grows is complete.
    fn close_part(&mut self, out: &mut Vec<u8>) {
        let Some(Open { what, .. }) = &mut self.open else { return };
        match what {
            What::Message { done, refusal, text } if !text.is_empty() => {
                let (refusal, text, place) = (*refusal, std::mem::take(text), done.len() as u64);
                let mut part = Draft::default();
                text_part(&mut part, refusal, &text);
                let part = String::from_utf8(part.into_vec()).unwrap_or_default();
                done.push(part.clone());
                let at = ("content_index", place);
                if refusal {
                    self.within(out, "response.refusal.done", at, |d| _ = d.key("refusal").text(&text));
                } else {
                    self.within(out, "response.output_text.done", at, |d| _ = d.key("text").text(&text).key("logprobs").list(|_| {}));
                }
                self.within(out, "response.content_part.done", at, |d| _ = d.key("part").raw(&part));
            }
            What::Thought(text) if !text.is_empty() => {
                let (text, at) = (text.clone(), ("summary_index", 0));
                self.within(out, "response.reasoning_summary_text.done", at, |d| _ = d.key("text").text(&text));
                self.within(out, "response.reasoning_summary_part.done", at, |d| summary(d, &text));
            }
            What::Message { .. } | What::Thought(_) => {}
        }
    }

    pub(super) fn say(&mut self, out: &mut Vec<u8>, words: &str, refuses: bool) {
        self.refused |= refuses;
        if !matches!(&self.open, Some(Open { what: What::Message { .. }, .. })) {
            self.close(out);
            let (place, id) = self.place("msg_");
            self.item(out, "response.output_item.added", place, |d| message_item(d, &id, "in_progress", |_| {}));
            let what = What::Message { done: Vec::new(), refusal: refuses, text: String::new() };
            self.open = Some(Open { place, id, what });
        }
        if matches!(&self.open, Some(Open { what: What::Message { refusal, .. }, .. }) if *refusal != refuses) {
            self.close_part(out);
        }
        let Some(Open { what: What::Message { done, refusal, text }, .. }) = &mut self.open else { return };
        let begins = text.is_empty();
        *refusal = refuses;
        text.push_str(words);
        let at = ("content_index", done.len() as u64);
        if begins {
            self.within(out, "response.content_part.added", at, |d| text_part(d.key("part"), refuses, ""));
        }
        if refuses {
            self.within(out, "response.refusal.delta", at, |d| _ = d.key("delta").text(words));
        } else {
            self.within(out, "response.output_text.delta", at, |d| _ = d.key("delta").text(words).key("logprobs").list(|_| {}));
        }
    }

    fn think(&mut self, out: &mut Vec<u8>, words: &str) {
        if !matches!(&self.open, Some(Open { what: What::Thought(_), .. })) {
            self.close(out);
            let (place, id) = self.place("rs_");
            self.item(out, "response.output_item.added", place, |d| thought_item(d, &id, "", None));
            self.open = Some(Open { place, id, what: What::Thought(String::new()) });
        }
        let Some(Open { what: What::Thought(text), .. }) = &mut self.open else { return };
        let begins = text.is_empty() && !words.is_empty();
        text.push_str(words);
        let at = ("summary_index", 0);
        if begins {
            self.within(out, "response.reasoning_summary_part.added", at, |d| summary(d, ""));
        }
        if !words.is_empty() {
            self.within(out, "response.reasoning_summary_text.delta", at, |d| _ = d.key("delta").text(words));
        }
    }

    /// A thought's proof ends it; sealed ones have nothing else.
    fn prove(&mut self, out: &mut Vec<u8>, part: &Part<'_>) {
        if !matches!((&self.open, part), (Some(Open { what: What::Thought(_), .. }), Part::Thinking { .. })) {
            self.close(out);
            self.think(out, "");
        }
        self.close_part(out);
        if let Some(Open { place, id, what: What::Thought(text) }) = self.open.take() {
            self.done(out, place, |d| thought_item(d, &id, &text, encrypted(part).as_deref()));
        }
    }

    fn call(&mut self, out: &mut Vec<u8>, number: u32, call: &str, name: &str) {
        self.close(out);
        let (place, _) = self.place("");
        self.item(out, "response.output_item.added", place, |d| call_item(d, "in_progress", (call, name, "")));
        self.calls.push(Call { number, place, id: call.to_owned(), name: name.to_owned(), arguments: String::new() });
    }

    fn arguments(&mut self, out: &mut Vec<u8>, number: u32, json: &str) {
        let Some(call) = self.calls.iter_mut().find(|call| call.number == number) else { return };
        call.arguments.push_str(json);
        let (item, place) = (id("fc_", &call.id), call.place as u64);
        self.event(out, "response.function_call_arguments.delta", |_, d| {
            d.key("item_id").text(&item).key("output_index").count(place).key("delta").text(json);
        });
    }

    fn close_calls(&mut self, out: &mut Vec<u8>) {
        for Call { place, id: call, name, arguments, .. } in std::mem::take(&mut self.calls) {
            let item = id("fc_", &call);
            self.event(out, "response.function_call_arguments.done", |_, d| {
                d.key("item_id").text(&item).key("output_index").count(place as u64);
                d.key("name").text(&name).key("arguments").text(&arguments);
            });
            self.done(out, place, |d| call_item(d, "completed", (&*call, &*name, &*arguments)));
        }
    }

    pub(super) fn end(&mut self, out: &mut Vec<u8>) {
        self.begin("", "", None, out);
        self.close(out);
        self.close_calls(out);
        let (status, incomplete) = status(self.finish.unwrap_or(Finish::Stop), self.refused);
        let name = if incomplete.is_some() { "response.incomplete" } else { "response.completed" };
        self.event(out, name, |writer, d| writer.response(d, status, incomplete));
    }
}

impl StreamWriter for Writer {
    fn write(&mut self, delta: &Delta<'_>, out: &mut Vec<u8>) {
        if !matches!(delta, Delta::Begin { .. } | Delta::Spent(_) | Delta::Ping | Delta::Error { .. }) {
            self.begin("", "", None, out);
        }
        match delta {
            Delta::Begin { id, model, created } => self.begin(id, model, *created, out),
            Delta::Text { choice: 0, text } if !text.is_empty() => self.say(out, text, false),
            Delta::Refusal { choice: 0, text } if !text.is_empty() => self.say(out, text, true),
            Delta::Thinking { choice: 0, text } => self.think(out, text),
            // Nothing is proved by it: the thought is over.
            Delta::Signature { choice: 0, text } if text.is_empty() => self.close(out),
            Delta::Signature { choice: 0, text } => {
                self.prove(out, &Part::Thinking { text: Cow::Borrowed(""), signature: Some(Cow::Borrowed(text)) });
            }
            Delta::Redacted { choice: 0, data } => self.prove(out, &Part::Redacted(Cow::Borrowed(data))),
            Delta::Call { choice: 0, call, id, name } => self.call(out, *call, id, name),
            Delta::Arguments { choice: 0, call, json } => self.arguments(out, *call, json),
            Delta::Finish { choice: 0, finish, .. } => {
                self.close(out);
                self.close_calls(out);
                self.finish = Some(*finish);
            }
            Delta::Spent(spent) => self.spent = Some(*spent),
            // A comment: SDKs don't know an event of this kind.
            Delta::Ping => out.extend_from_slice(b": ping\n\n"),
            Delta::Error { kind, message } => {
                out.extend_from_slice(&error_event(kind, kind, message, self.sequence));
                self.sequence += 1;
            }
            Delta::End => self.end(out),
            // Of the other answers.
            _ => {}
        }
    }
}

fn summary(d: &mut Draft, text: &str) {
    d.key("part").object(|d| _ = d.key("type").text("summary_text").key("text").text(text));
}
