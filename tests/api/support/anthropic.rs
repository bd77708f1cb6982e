//! Upstreams that speak Anthropic's Messages: whole answers, streams with their named events, errors, and a stream that dies or
//! goes on as `continuing` has it for OpenAI's.

use std::io::Write;
use std::net::TcpStream;

use serde_json::{Value, json};

use super::continuing::{Death, die, finish, text, words};
use super::upstream::{Call, STREAM_HEAD, Upstream, chunk, plain};

/// A `[providers.NAME]` table for it, with a key; `more`: further lines.
pub fn provider(name: &str, upstream: &Upstream, more: &str) -> String {
    let address = upstream.address;
    format!(
        "[providers.{name}]\ndialect = \"anthropic\"\nbase_url = \"http://{address}\"\nkeys = [{{ name = \"k\", value = \"sk-ant-secret\" }}]\n{more}\n"
    )
}

/// A message with this content.
pub fn message(content: Value, stop_reason: &str) -> String {
    json!({
        "id": "msg_01", "type": "message", "role": "assistant", "model": "claude-up", "content": content,
        "stop_reason": stop_reason, "stop_sequence": null,
        "usage": {"input_tokens": 7, "cache_creation_input_tokens": 2, "cache_read_input_tokens": 3, "output_tokens": 4},
    })
    .to_string()
}

/// A whole answer that says a text.
pub fn says(text: &str) -> Vec<u8> {
    plain(&message(json!([{"type": "text", "text": text}]), "end_turn"))
}

/// An error as Anthropic writes it.
pub fn error(status: u16, kind: &str, headers: &str) -> Vec<u8> {
    let body = json!({"type": "error", "error": {"type": kind, "message": format!("anthropic says {status}")}, "request_id": "req_1"});
    let body = body.to_string();
    format!("HTTP/1.1 {status} X\r\ncontent-type: application/json\r\n{headers}content-length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

/// One event.
pub fn event(data: &Value) -> String {
    format!("event: {}\ndata: {data}\n\n", data["type"].as_str().unwrap())
}

/// The first events of a stream of one text.
pub fn opening() -> String {
    let start = json!({"type": "message_start", "message": {"id": "msg_01", "type": "message", "role": "assistant", "model": "claude-up",
        "content": [], "stop_reason": null, "stop_sequence": null, "usage": {"input_tokens": 7, "output_tokens": 1}}});
    let block = json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}});
    [start, block, json!({"type": "ping"})].iter().map(event).collect()
}

/// A word of it.
pub fn word(text: &str) -> String {
    event(&json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}}))
}

/// Its last events.
pub fn closing(stop_reason: &str, output: u64) -> String {
    [
        json!({"type": "content_block_stop", "index": 0}),
        json!({"type": "message_delta", "delta": {"stop_reason": stop_reason, "stop_sequence": null}, "usage": {"output_tokens": output}}),
        json!({"type": "message_stop"}),
    ]
    .iter()
    .map(event)
    .collect()
}

/// A whole stream of these events, a chunk each.
pub fn stream(events: &[String]) -> Vec<u8> {
    let events: String = events.iter().map(|event| chunk(event)).collect();
    format!("{STREAM_HEAD}{events}0\r\n\r\n").into_bytes()
}

/// A whole stream that says these words.
pub fn stream_of(words: &[&str]) -> Vec<u8> {
    let said = words.iter().map(|text| word(text));
    let events: Vec<_> = std::iter::once(opening()).chain(said).chain([closing("end_turn", words.len() as u64)]).collect();
    stream(&events)
}

fn speak(stream: &mut TcpStream, words: &[String]) {
    let mut out = format!("{STREAM_HEAD}{}", chunk(&opening()));
    for text in words {
        out += &chunk(&word(text));
    }
    let _ = stream.write_all(out.as_bytes());
}

/// What the last block of the last message says.
fn last_text(asked: &Value) -> String {
    let content = &asked["messages"].as_array().unwrap().last().unwrap()["content"];
    let block = content.as_array().map(|blocks| &blocks.last().unwrap()["text"]);
    block.unwrap_or(content).as_str().unwrap().to_owned()
}

/// Says so many of the sixty words as the user's message asks for, and dies so.
pub fn mortal() -> Upstream {
    Upstream::start(|call, stream| {
        let wish = last_text(&call.json());
        let (death, at) = wish.split_once('@').unwrap();
        let death = Death::ALL.into_iter().find(|known| known.name() == death).unwrap();
        speak(stream, &words()[..at.parse::<usize>().unwrap()]);
        match death {
            Death::ErrorEvent => {
                let error = json!({"type": "error", "error": {"type": "overloaded_error", "message": "sk-live-9"}});
                finish(stream, &event(&error))
            }
            death => die(stream, death),
        }
    })
}

/// Goes on with the sixty words where it is asked by an assistant's last message, or by a user's that quotes them.
pub fn onward() -> Upstream {
    Upstream::start(|call: &Call, stream| {
        let asked = call.json();
        let last = last_text(&asked);
        let is_assistant = asked["messages"].as_array().unwrap().last().unwrap()["role"] == "assistant";
        let quoted = last.split_once("<<<BEGIN>>>").and_then(|(_, rest)| rest.split_once("<<<END>>>")).map(|(said, _)| said.to_owned());
        let begun = if is_assistant { last } else { quoted.expect("it is asked to go on") };
        let rest: Vec<String> = text().strip_prefix(&*begun).unwrap().split_inclusive(' ').map(str::to_owned).collect();
        speak(stream, &rest);
        finish(stream, &closing("end_turn", rest.len() as u64))
    })
}
