//! Events of a second answer made to join a response that was begun: its items are numbered on from the first's, the words go
//! into the message that is open, and its end tells the whole response by the first's name, with what both used.
//!
//! A message that was begun is said whole once more at its end, so what is complete of it is kept; its words are kept by whoever
//! goes on. What else the second answer has (calls, what its vendor's tools do) goes along as it came, at its new place. A
//! response that was stitched is not kept by its first vendor under its id: it says so (`store`).

use bytes::Bytes;

use super::echo::{Echo, one_line};
use super::types;
use super::write::Head;
use super::writer::{Message, Writer};
use crate::dialect::Usage;
use crate::dialect::node::{Members, Node};
use crate::dialect::openai::frame::{Kind, Seen};
use crate::dialect::scan::{Edit, spliced};
use crate::stream::MOST_SAID;

/// Where a response stands that a caller has of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Begun {
    /// Its first vendor tells it.
    Told(Told),
    /// Somebody else goes on.
    GoneOn(Box<GoneOn>),
}

impl Default for Begun {
    fn default() -> Self {
        Self::Told(Told::default())
    }
}

/// What was told of a response so far, but for the words of the part that is open.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// The next event's number.
    next: u64,
    /// The response as its first event has it.
    response: Option<Box<str>>,
    /// The items that are complete, by their place.
    items: Vec<String>,
    /// The message that grows.
    open: Option<Open>,
    /// Bytes of words in what is complete.
    words: usize,
    /// Bytes that are kept of items.
    kept: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Open {
    place: usize,
    id: String,
    /// The parts that are complete, and the bytes of their words.
    done: Vec<String>,
    words: usize,
}

/// A response that is written on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GoneOn {
    writer: Writer,
    /// Where the items of the answer at hand went: their places in it, and in the response.
    places: Vec<(u64, usize)>,
}

impl Begun {
    /// Takes note of an event that goes out.
    pub fn note(&mut self, data: &[u8], seen: &Seen) {
        if let Self::Told(told) = self {
            told.note(data, seen);
        }
    }

    /// The next event's number.
    pub fn number(&self) -> u64 {
        match self {
            Self::Told(told) => told.next,
            Self::GoneOn(on) => on.writer.sequence,
        }
    }

    /// Somebody else is about to go on; `said` are its words so far. False where that can't be: it didn't tell enough of itself, or
    /// too much to be kept.
    pub fn go_on(&mut self, said: &str) -> bool {
        match self {
            Self::GoneOn(on) => on.places.clear(),
            Self::Told(told) => match told.writer(said) {
                Some(writer) => *self = Self::GoneOn(Box::new(GoneOn { writer, places: Vec::new() })),
                None => return false,
            },
        }
        true
    }

    /// Events that say these words.
    pub fn words(&mut self, text: &str) -> Bytes {
        let mut out = Vec::new();
        if let Self::GoneOn(on) = self {
            on.writer.say(&mut out, text, false);
        }
        out.into()
    }

    /// An event's data as an event of this response. `text`: what it is to say in place of what it says; None: the same.
    pub fn stitched(&mut self, data: &Bytes, text: Option<&str>) -> Bytes {
        // It was read as an event before: it is an object.
        let Some(mut m) = Node::whole(data).and_then(Node::members) else { return Bytes::new() };
        let kind = m.text("type").unwrap_or_default();
        match &*kind {
            "response.output_text.delta" => {
                let said = m.text("delta").unwrap_or_default();
                self.words(text.unwrap_or(&said))
            }
            "response.refusal.delta" => {
                let mut out = Vec::new();
                if let Self::GoneOn(on) = self {
                    on.writer.say(&mut out, &m.text("delta").unwrap_or_default(), true);
                }
                out.into()
            }
            kind => match self {
                Self::GoneOn(on) => on.passed(data, kind, m).into(),
                Self::Told(_) => Bytes::new(),
            },
        }
    }

    /// The event that ends it, where this data ends the answer that went on. `used`: by all who had a part in it.
    pub fn ending(&mut self, data: &[u8], used: &Usage) -> Option<Bytes> {
        let Self::GoneOn(on) = self else { return None };
        let mut m = Node::whole(data).and_then(Node::members)?;
        let mut response = m.object("response").unwrap_or_default();
        let reason = response.object("incomplete_details").and_then(|mut details| details.text("reason"));
        let mut out = Vec::new();
        on.writer.finish = Some(types::finish(response.text("status").as_deref(), reason.as_deref(), false));
        on.writer.spent = Some(*used);
        on.writer.end(&mut out);
        Some(out.into())
    }
}

impl Told {
    fn note(&mut self, data: &[u8], seen: &Seen) {
        // An error doesn't go out as it came, nor does what is no event.
        if !matches!(seen.kind, Kind::Content | Kind::Empty) {
            return;
        }
        if seen.text.is_some() && self.open.is_some() {
            // Nearly every event is a word of a message that has begun.
            self.next += 1;
            return;
        }
        let Some(mut m) = Node::whole(data).and_then(Node::members) else { return };
        self.next = m.count("sequence_number").unwrap_or(self.next) + 1;
        let place = m.count("output_index").and_then(|place| usize::try_from(place).ok()).unwrap_or(self.items.len());
        match m.text("type").as_deref() {
            Some("response.created") => self.response = m.take("response").map(|node| one_line(node).into()),
            Some("response.output_item.added") => self.begins(place, m.object("item").unwrap_or_default()),
            // Nobody has said that it begins.
            Some("response.output_text.delta") => self.grows(place, m.text("item_id").unwrap_or_default().into_owned()),
            Some("response.content_part.done") => {
                if let (Some(open), Some(part)) = (&mut self.open, m.take("part")) {
                    open.words += text_of(part);
                    self.kept += part.raw().len();
                    open.done.push(one_line(part));
                }
            }
            Some("response.output_item.done") => m.take("item").into_iter().for_each(|item| self.complete(place, item)),
            _ => {}
        }
    }

    fn begins(&mut self, place: usize, mut item: Members<'_>) {
        if item.text("type").as_deref() == Some("message") {
            self.grows(place, item.text("id").unwrap_or_default().into_owned());
        }
    }

    fn grows(&mut self, place: usize, id: String) {
        self.open = Some(Open { place, id, done: Vec::new(), words: 0 });
    }

    fn complete(&mut self, place: usize, item: Node<'_>) {
        if self.open.as_ref().is_some_and(|open| open.place == place) {
            self.open = None;
        }
        let parts = item.members().and_then(|mut item| item.list("content")).unwrap_or_default();
        self.words += parts.into_iter().map(text_of).sum::<usize>();
        self.kept += item.raw().len();
        self.put(place, one_line(item));
    }

    fn put(&mut self, place: usize, item: String) {
        // An answer of so many items is none: what it keeps would be no more bounded.
        if place > MOST_SAID / 64 {
            self.kept = usize::MAX / 2;
            return;
        }
        if self.items.len() <= place {
            self.items.resize(place + 1, String::new());
        }
        self.items[place] = item;
    }

    /// What writes on; see [`Begun::go_on`].
    fn writer(&mut self, said: &str) -> Option<Writer> {
        if self.kept > MOST_SAID {
            return None;
        }
        let response = self.response.take()?;
        let mut m = Node::whole(response.as_bytes()).and_then(Node::members)?;
        let created = m.take("created_at").and_then(Node::number).and_then(|number| number.split('.').next()?.parse().ok());
        let text = |m: &mut Members<'_>, name| m.text(name).unwrap_or_default().into_owned();
        let head = Head { id: text(&mut m, "id"), model: text(&mut m, "model"), created: created.unwrap_or_default() };
        ["object", "status", "error", "incomplete_details", "output", "usage"].into_iter().for_each(|name| _ = m.take(name));
        let open = self.open.take();
        let before = self.words + open.as_ref().map_or(0, |open| open.words);
        let text = said.get(before..)?;
        if open.is_none() && !text.is_empty() {
            return None;
        }
        let open = open.map(|Open { place, id, done, .. }| {
            self.put(place, String::new());
            Message { place, id, done, text: text.to_owned() }
        });
        Some(Writer::begun(Echo::begun(m), head, self.next, std::mem::take(&mut self.items), open))
    }
}

/// Bytes of a part's words.
fn text_of(part: Node<'_>) -> usize {
    part.members().and_then(|mut part| part.text("text")).map_or(0, |text| text.len())
}

impl GoneOn {
    /// An event of an item that is neither words nor thoughts.
    fn passed(&mut self, data: &Bytes, kind: &str, mut m: Members<'_>) -> Vec<u8> {
        let mut out = Vec::new();
        let theirs = m.take("output_index");
        let index = theirs.and_then(Node::count).unwrap_or_default();
        if kind == "response.output_item.added" {
            self.writer.close(&mut out);
            self.places.push((index, self.writer.place("").0));
        }
        let Some((_, place)) = self.places.iter().rev().find(|(known, _)| *known == index) else { return out };
        if let (Some(item), "response.output_item.done") = (m.take("item"), kind) {
            self.writer.items[*place] = one_line(item);
        }
        let open = data.iter().position(|byte| *byte == b'{').map_or(0, |brace| brace + 1);
        let mut edits: Vec<Edit<'_>> = theirs.map(|node| (node.span_in(data), place.to_string().into())).into_iter().collect();
        edits.push(match m.take("sequence_number") {
            Some(node) => (node.span_in(data), self.writer.sequence.to_string().into()),
            None => (open..open, format!("\"sequence_number\":{},", self.writer.sequence).into()),
        });
        self.writer.sequence += 1;
        out.extend_from_slice(format!("event: {kind}\ndata: ").as_bytes());
        out.extend(spliced(data, edits).iter().map(|byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { *byte }));
        out.extend_from_slice(b"\n\n");
        out
    }
}

#[cfg(test)]
mod tests {
    use super::super::frame::classify;
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

    fn kinds(events: &[Value]) -> Vec<&str> {
        events.iter().map(|event| event["type"].as_str().unwrap().trim_start_matches("response.")).collect()
    }

    fn created() -> Value {
        json!({"type": "response.created", "sequence_number": 0, "response": {"id": "resp_1", "object": "response", "created_at": 17.0,
            "status": "in_progress", "model": "m1", "output": [], "store": true, "temperature": 0.5, "instructions": null, "x_new": {"a": 1}}})
    }

    fn thought() -> Value {
        json!({"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "sealed"})
    }

    /// What a caller has who had a thought and these events of its second item.
    fn begun(more: &[Value]) -> Begun {
        let mut begun = Begun::default();
        let thought = [
            created(),
            json!({"type": "response.output_item.added", "output_index": 0, "item": thought(), "sequence_number": 1}),
            json!({"type": "response.output_item.done", "output_index": 0, "item": thought(), "sequence_number": 2}),
        ];
        for event in thought.iter().chain(more) {
            let data = event.to_string();
            begun.note(data.as_bytes(), &classify(data.as_bytes()));
        }
        begun
    }

    fn added() -> Value {
        json!({"type": "response.output_item.added", "output_index": 1, "sequence_number": 3,
            "item": {"type": "message", "id": "msg_1", "role": "assistant", "status": "in_progress", "content": []}})
    }

    fn word(text: &str) -> Value {
        json!({"type": "response.output_text.delta", "item_id": "msg_1", "output_index": 1, "content_index": 0, "delta": text})
    }

    fn completed() -> String {
        json!({"type": "response.completed", "response": {"id": "other", "status": "completed", "output": []}}).to_string()
    }

    const USED: Usage = Usage { input: 9, output: 4, cached: 0, cache_write: 0, audio_input: 0, reasoning: 0, audio_output: 0 };

    #[test]
    fn words_go_on_in_the_open_message_and_the_end_is_the_firsts() {
        let mut begun = begun(&[added(), word("So "), word("f\u{e4}r")]);
        assert_eq!(begun.number(), 6);
        for error in
            [json!({"error": {"message": "m"}}), json!({"type": "response.failed", "sequence_number": 40, "response": {"error": {}}})]
        {
            let data = error.to_string();
            begun.note(data.as_bytes(), &classify(data.as_bytes()));
        }
        assert_eq!(begun.number(), 6, "what was not handed on has no number");
        assert!(begun.go_on("So f\u{e4}r"));
        let more = events(&begun.words(", good."));
        assert_eq!(kinds(&more), ["output_text.delta"], "the part has begun");
        assert_eq!((&more[0]["item_id"], &more[0]["output_index"], &more[0]["sequence_number"]), (&json!("msg_1"), &json!(1), &json!(6)));
        let end = events(&begun.ending(completed().as_bytes(), &USED).unwrap());
        assert_eq!(kinds(&end), ["output_text.done", "content_part.done", "output_item.done", "completed"]);
        let response = &end[3]["response"];
        assert_eq!((&end[0]["text"], &response["output"][0]), (&json!("So f\u{e4}r, good."), &thought()));
        assert_eq!(response["output"][1]["content"][0]["text"], "So f\u{e4}r, good.");
        assert_eq!(
            (&response["id"], &response["model"], &response["created_at"], &response["status"]),
            (&json!("resp_1"), &json!("m1"), &json!(17), &json!("completed"))
        );
        assert_eq!(
            (&response["temperature"], &response["x_new"], &response["store"], &response["instructions"], &response["tools"]),
            (&json!(0.5), &json!({"a": 1}), &json!(false), &Value::Null, &json!([]))
        );
        assert_eq!((&response["usage"]["input_tokens"], &response["usage"]["output_tokens"]), (&json!(9), &json!(4)));
    }

    #[test]
    fn behind_what_is_complete_a_part_or_a_message_begins() {
        let part = json!({"type": "output_text", "text": "So ", "annotations": [], "logprobs": []});
        let part_done = json!({"type": "response.content_part.done", "output_index": 1, "part": part});
        let mut in_message = begun(&[added(), word("So "), part_done.clone()]);
        assert!(in_message.go_on("So "));
        let more = events(&in_message.words("far"));
        assert_eq!(kinds(&more), ["content_part.added", "output_text.delta"]);
        assert_eq!((&more[1]["output_index"], &more[1]["content_index"]), (&json!(1), &json!(1)));
        let item = json!({"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": [part]});
        let item_done = json!({"type": "response.output_item.done", "output_index": 1, "item": item});
        let mut behind = begun(&[added(), word("So "), part_done, item_done]);
        assert!(behind.go_on("So "));
        let more = events(&behind.words("far"));
        assert_eq!(kinds(&more), ["output_item.added", "content_part.added", "output_text.delta"]);
        assert_eq!(more[2]["output_index"], 2);
        let end = events(&behind.ending(completed().as_bytes(), &USED).unwrap());
        let output = &end.last().unwrap()["response"]["output"];
        assert_eq!((&output[1], &output[2]["content"][0]["text"]), (&item, &json!("far")));
    }

    #[test]
    fn other_items_go_along_at_their_new_places() {
        let mut begun = begun(&[added(), word("So")]);
        assert!(begun.go_on("So"));
        let call = json!({"type": "function_call", "id": "fc_9", "call_id": "c", "name": "f", "arguments": "", "x": 1.5});
        let event = |kind: &str, more: Value| {
            let mut event = json!({"type": format!("response.{kind}"), "output_index": 0, "sequence_number": 77});
            event.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            Bytes::from(event.to_string())
        };
        let first = events(&begun.stitched(&event("output_item.added", json!({"item": call})), None));
        assert_eq!(kinds(&first), ["output_text.done", "content_part.done", "output_item.done", "output_item.added"]);
        assert_eq!((&first[3]["item"], &first[3]["output_index"], &first[3]["sequence_number"]), (&call, &json!(2), &json!(8)));
        let piece = events(&begun.stitched(&event("function_call_arguments.delta", json!({"delta": "{}"})), None));
        assert_eq!((&piece[0]["output_index"], &piece[0]["delta"]), (&json!(2), &json!("{}")));
        begun.stitched(&event("output_item.done", json!({"item": call})), None);
        let end = events(&begun.ending(completed().as_bytes(), &USED).unwrap());
        assert_eq!((kinds(&end), &end[0]["response"]["output"][2]), (vec!["completed"], &call));
        // The next who goes on numbers its own from the beginning again.
        assert!(begun.go_on("So"));
        assert_eq!(begun.stitched(&event("function_call_arguments.delta", json!({"delta": "{}"})), None), Bytes::new());
    }

    #[test]
    fn what_did_not_tell_enough_is_not_gone_on_with() {
        assert!(!Begun::default().go_on(""), "it has no name");
        assert!(!begun(&[]).go_on("words of no message"));
        assert!(begun(&[added(), word("words of one")]).go_on("words of one"));
        let large = json!({"type": "response.output_item.done", "output_index": 1,
            "item": {"type": "reasoning", "encrypted_content": "x".repeat(MOST_SAID)}});
        assert!(!begun(&[large, added()]).go_on(""));
        let far = json!({"type": "response.output_item.done", "output_index": 4_000_000_000u64, "item": {"type": "reasoning"}});
        assert!(!begun(&[far]).go_on(""));
    }

    #[test]
    fn an_end_that_is_incomplete_stays_so() {
        let mut begun = begun(&[added(), word("So")]);
        assert!(begun.go_on("So"));
        let end = json!({"type": "response.incomplete", "response": {"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}});
        let end = events(&begun.ending(end.to_string().as_bytes(), &USED).unwrap());
        let last = end.last().unwrap();
        assert_eq!((&last["type"], &last["response"]["status"]), (&json!("response.incomplete"), &json!("incomplete")));
        assert_eq!(last["response"]["incomplete_details"]["reason"], "max_output_tokens");
    }
}
