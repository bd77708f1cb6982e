//! Upstreams that speak the Gemini API: whole answers, streams, errors, and a stream that dies or goes on as `continuing` has it for
//! OpenAI's.

use std::io::Write;

use serde_json::{Value, json};

use super::continuing::{Death, die, finish, text, words};
use super::upstream::{STREAM_HEAD, Upstream, chunk, plain};

/// A `[providers.g]` table for it, with a key; `more`: further lines.
pub fn provider(upstream: &Upstream, more: &str) -> String {
    let address = upstream.address;
    format!(
        "[providers.g]\ndialect = \"gemini\"\nbase_url = \"http://{address}\"\nkeys = [{{ name = \"k\", value = \"goog-secret\" }}]\n{more}\n"
    )
}

/// An answer, or a piece of a streamed one, with these parts; with its end and what it used where a reason is given.
pub fn generated(parts: &Value, reason: Option<&str>) -> Value {
    let mut candidate = json!({"content": {"parts": parts, "role": "model"}, "index": 0});
    if let Some(reason) = reason {
        candidate["finishReason"] = reason.into();
    }
    let usage = json!({"promptTokenCount": 12, "cachedContentTokenCount": 3, "candidatesTokenCount": 4, "thoughtsTokenCount": 2, "totalTokenCount": 18});
    json!({"candidates": [candidate], "usageMetadata": usage, "modelVersion": "gemini-up", "responseId": "resp1"})
}

/// A whole answer that says a text.
pub fn says(text: &str) -> Vec<u8> {
    plain(&generated(&json!([{"text": text}]), Some("STOP")).to_string())
}

/// A stream of these events, with the line ends that Google's has.
pub fn streamed(events: &[Value]) -> Vec<u8> {
    let events: String = events.iter().map(|event| chunk(&format!("data: {event}\r\n\r\n"))).collect();
    format!("{STREAM_HEAD}{events}0\r\n\r\n").into_bytes()
}

/// A whole stream that says these words.
pub fn stream_of(words: &[&str]) -> Vec<u8> {
    let said = words.iter().map(|text| generated(&json!([{"text": text}]), None));
    streamed(&said.chain([generated(&json!([{"text": ""}]), Some("STOP"))]).collect::<Vec<_>>())
}

/// An error as Google writes it.
pub fn error(code: u16, kind: &str, message: &str) -> Vec<u8> {
    let body = json!([{"error": {"code": code, "message": message, "status": kind}}]).to_string();
    format!("HTTP/1.1 {code} X\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

/// What the last part of the last content says, and who says it.
pub fn last(asked: &Value) -> (String, String) {
    let content = asked["contents"].as_array().unwrap().last().unwrap();
    let part = content["parts"].as_array().unwrap().last().unwrap();
    (content["role"].as_str().unwrap_or("user").to_owned(), part["text"].as_str().unwrap().to_owned())
}

/// Says so many of the sixty words as the user's content asks for, and dies so.
pub fn mortal() -> Upstream {
    Upstream::start(|call, stream| {
        let (_, wish) = last(&call.json());
        let (death, at) = wish.split_once('@').unwrap();
        let death = Death::ALL.into_iter().find(|known| known.name() == death).unwrap();
        let mut out = STREAM_HEAD.to_owned();
        for word in &words()[..at.parse::<usize>().unwrap()] {
            out += &chunk(&format!("data: {}\r\n\r\n", generated(&json!([{"text": word}]), None)));
        }
        let _ = stream.write_all(out.as_bytes());
        match death {
            Death::ErrorEvent => {
                finish(stream, "data: {\"error\":{\"code\":503,\"message\":\"sk-live-9\",\"status\":\"UNAVAILABLE\"}}\r\n\r\n")
            }
            death => die(stream, death),
        }
    })
}

/// Goes on with the sixty words where it is asked by a model's last content.
pub fn onward() -> Upstream {
    Upstream::by(|call| {
        let (role, said) = last(&call.json());
        assert_eq!(role, "model");
        let rest: Vec<String> = text().strip_prefix(&*said).unwrap().split_inclusive(' ').map(str::to_owned).collect();
        stream_of(&rest.iter().map(String::as_str).collect::<Vec<_>>())
    })
}
