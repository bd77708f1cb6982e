//! Upstreams that speak OpenAI's Responses: a stream of sixty words that dies where it is told to, or goes on; and a reader as strict
//! as OpenAI's SDKs, which keep a copy of the response by what its events say.

use std::io::Write;
use std::net::TcpStream;

use serde_json::{Value, json};

use super::client::Reply;
use super::continuing::{Death, die, finish, words};
use super::upstream::{STREAM_HEAD, Upstream, chunk};

/// A `[providers.NAME]` table for it.
pub fn provider(name: &str, upstream: &Upstream, more: &str) -> String {
    format!("{}responses = true\n{more}\n", upstream.provider(name))
}

/// A streamed request that tells the first upstream how and where to die.
pub fn dying(model: &str, death: Death, at: usize) -> String {
    json!({"model": model, "stream": true, "store": false, "input": format!("{}@{at}", death.name()), "temperature": 0.5}).to_string()
}

/// A stream's events, numbered.
#[derive(Debug, Default)]
pub struct Script {
    name: &'static str,
    next: u64,
    out: String,
}

impl Script {
    /// Of a response by this speaker, which has begun.
    pub fn new(name: &'static str) -> Self {
        let mut script = Self { name, ..Self::default() };
        for kind in ["created", "in_progress"] {
            let response = script.response("in_progress", &json!([]), &Value::Null);
            script.event(kind, json!({"response": response}));
        }
        script
    }

    fn response(&self, status: &str, output: &Value, usage: &Value) -> Value {
        json!({"id": format!("resp_{}", self.name), "object": "response", "created_at": 17, "status": status, "error": null,
            "incomplete_details": null, "instructions": null, "model": self.name, "output": output, "parallel_tool_calls": true,
            "temperature": 0.5, "tool_choice": "auto", "tools": [], "top_p": 1.0, "metadata": {}, "usage": usage, "x_own": self.name})
    }

    pub fn event(&mut self, kind: &str, rest: Value) {
        let mut data = json!({"type": format!("response.{kind}"), "sequence_number": self.next});
        data.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        self.next += 1;
        self.out += &chunk(&format!("event: response.{kind}\ndata: {data}\n\n"));
    }

    fn item(&self, status: &str, content: &Value) -> Value {
        json!({"id": format!("msg_{}", self.name), "type": "message", "status": status, "role": "assistant", "content": content})
    }

    fn within(&mut self, kind: &str, rest: Value) {
        let mut all = json!({"item_id": format!("msg_{}", self.name), "output_index": 0, "content_index": 0});
        all.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        self.event(kind, all);
    }

    /// Says these words in a message.
    pub fn say(&mut self, words: &[String]) {
        let item = self.item("in_progress", &json!([]));
        self.event("output_item.added", json!({"output_index": 0, "item": item}));
        self.within("content_part.added", json!({"part": part("")}));
        for word in words {
            self.within("output_text.delta", json!({"delta": word, "logprobs": [], "obfuscation": "x"}));
        }
    }

    /// Ends the message with what it said, and the response.
    pub fn end(&mut self, words: &[String]) {
        let text = words.concat();
        self.within("output_text.done", json!({"text": text, "logprobs": []}));
        self.within("content_part.done", json!({"part": part(&text)}));
        let item = self.item("completed", &json!([part(&text)]));
        self.event("output_item.done", json!({"output_index": 0, "item": item}));
        let usage = json!({"input_tokens": 20, "input_tokens_details": {"cached_tokens": 0}, "output_tokens": words.len(),
            "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": 20 + words.len()});
        let response = self.response("completed", &json!([item]), &usage);
        self.event("completed", json!({"response": response}));
    }

    /// The chunks so far.
    pub fn take(&mut self) -> String {
        std::mem::take(&mut self.out)
    }

    /// Sends what there is.
    pub fn send(&mut self, stream: &mut TcpStream) {
        let _ = stream.write_all(format!("{STREAM_HEAD}{}", self.take()).as_bytes());
    }
}

fn part(text: &str) -> Value {
    json!({"type": "output_text", "text": text, "annotations": [], "logprobs": []})
}

/// Says so many words as its input asks for, and dies so: at the sixtieth after the message's own end.
pub fn mortal() -> Upstream {
    Upstream::start(|call, stream| {
        let asked = call.json();
        let wish = asked["input"].as_str().unwrap().to_owned();
        let (death, at) = wish.split_once('@').unwrap();
        let death = Death::ALL.into_iter().find(|known| known.name() == death).unwrap();
        let mut script = Script::new("first");
        let at = at.parse::<usize>().unwrap();
        if at > 0 {
            script.say(&words()[..at]);
        }
        script.send(stream);
        match death {
            Death::ErrorEvent => {
                let error = json!({"type": "error", "code": "server_error", "message": "sk-live-9", "param": null, "sequence_number": 99});
                finish(stream, &format!("event: error\ndata: {error}\n\n"))
            }
            death => die(stream, death),
        }
    })
}

/// Says all sixty words, whoever asks.
pub fn onward() -> Upstream {
    Upstream::start(|call, stream| {
        let asked = call.json();
        assert!(asked["stream_options"].is_null() && asked["input"].is_string(), "{asked}");
        let mut script = Script::new("second");
        script.say(&words());
        script.end(&words());
        script.send(stream);
        stream.write_all(b"0\r\n\r\n").is_ok()
    })
}

/// A stream's events, each under the name that its data says, numbered without a gap.
pub fn events(reply: &Reply) -> Vec<Value> {
    let text = reply.text();
    let mut events = Vec::new();
    for event in text.split("\n\n") {
        let lines: Vec<&str> = event.lines().filter(|line| !line.starts_with(':') && !line.starts_with("id: ")).collect();
        let [name, data] = lines[..] else {
            assert!(lines.is_empty(), "{event:?} in {text}");
            continue;
        };
        let data: Value = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
        assert_eq!(name.strip_prefix("event: "), data["type"].as_str(), "{text}");
        assert_eq!(data["sequence_number"], events.len(), "{text}");
        events.push(data);
    }
    events
}

/// What a stream said, read as an SDK does that follows its events: the response at its end. None where it ended with an error.
pub fn followed(events: &[Value]) -> (Vec<Value>, Option<Value>) {
    let mut items: Vec<Value> = Vec::new();
    let mut open: Vec<bool> = Vec::new();
    assert_eq!(events[0]["type"], "response.created", "{events:?}");
    for (number, event) in events.iter().enumerate() {
        let kind = event["type"].as_str().unwrap();
        let place = event["output_index"].as_u64().map(|place| place as usize);
        match kind {
            "response.created" => assert_eq!(number, 0, "{event}"),
            "response.in_progress" => {}
            "response.output_item.added" => {
                assert_eq!(place, Some(items.len()), "{event}");
                items.push(event["item"].clone());
                open.push(true);
            }
            "response.output_item.done" => {
                let place = place.unwrap();
                assert!(std::mem::replace(&mut open[place], false), "{event}");
                let (had, item) = (&items[place], &event["item"]);
                assert_eq!((&had["id"], &had["content"], &had["type"]), (&item["id"], &item["content"], &item["type"]), "{event}");
                items[place] = item.clone();
            }
            "response.completed" | "response.incomplete" => {
                assert!(number + 1 == events.len() && open.iter().all(|open| !open), "{event}");
                let response = &event["response"];
                assert_eq!(response["output"].as_array(), Some(&items), "{event}");
                for name in ["id", "model", "created_at"] {
                    assert_eq!(response[name], events[0]["response"][name], "{event}");
                }
                return (items, Some(response.clone()));
            }
            "error" => {
                assert_eq!(number + 1, events.len(), "{event}");
                return (items, None);
            }
            kind => within(&mut items[place.unwrap()], open[place.unwrap()], kind, event),
        }
    }
    panic!("it has no end: {events:?}")
}

fn within(item: &mut Value, open: bool, kind: &str, event: &Value) {
    assert!(open && event["item_id"] == item["id"], "{event}");
    if kind.starts_with("response.function_call_arguments") {
        let more = event["delta"].as_str().unwrap_or_default();
        item["arguments"] = (item["arguments"].as_str().unwrap().to_owned() + more).into();
        return;
    }
    let parts = item["content"].as_array_mut().unwrap();
    let place = event["content_index"].as_u64().unwrap() as usize;
    match kind {
        "response.content_part.added" => {
            assert_eq!(place, parts.len(), "{event}");
            parts.push(event["part"].clone());
        }
        "response.output_text.delta" => {
            assert_eq!(place, parts.len() - 1, "{event}");
            let text = parts[place]["text"].as_str().unwrap().to_owned() + event["delta"].as_str().unwrap();
            parts[place]["text"] = text.into();
        }
        "response.output_text.done" => assert_eq!(parts[place]["text"], event["text"], "{event}"),
        "response.content_part.done" => assert_eq!(parts[place], event["part"], "{event}"),
        other => panic!("{other}: {event}"),
    }
}
