//! An answer of sixty words, an upstream that dies inside it wherever and however the request says, and one that goes on
//! with it in the way that it is asked.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::{Value, json};

use super::faults::reset;
use super::upstream::{Call, STREAM_HEAD, Upstream, chunk, status};

/// How a stream dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Death {
    Reset,
    Fin,
    CleanEnd,
    Stall,
    ErrorEvent,
}

impl Death {
    pub const ALL: [Self; 5] = [Self::Reset, Self::Fin, Self::CleanEnd, Self::Stall, Self::ErrorEvent];

    pub fn name(self) -> String {
        format!("{self:?}")
    }
}

/// The sixty words, each with the white space behind it.
pub fn words() -> Vec<String> {
    let scripts = ["word", "Bühne", "шёпот", "舞台", "a\"b\\c", "🎭"];
    let word = |number: usize| {
        let gap = if number == 59 {
            ""
        } else if number % 10 == 9 {
            "\n\n"
        } else {
            " "
        };
        format!("{}{number}{gap}", scripts[number % scripts.len()])
    };
    (0..60).map(word).collect()
}

/// All of them.
pub fn text() -> String {
    words().concat()
}

/// A streamed request that tells the first upstream how and where to die.
pub fn dying(model: &str, death: Death, at: usize) -> String {
    json!({"model": model, "stream": true, "max_tokens": 500, "x_unknown": {"kept": 1.10}, "messages": [{"role": "user", "content": format!("{}@{at}", death.name())}]}).to_string()
}

/// One event of a stream by this speaker.
pub fn says(speaker: &str, delta: Value, finish: Option<&str>) -> String {
    let choices = json!([{"index": 0, "delta": delta, "finish_reason": finish}]);
    format!("data: {}\n\n", json!({"id": speaker, "object": "chat.completion.chunk", "created": 1, "model": speaker, "choices": choices}))
}

/// The last events of a whole stream, with the usage where that was asked for.
pub fn end(speaker: &str, asked: &Value, count: usize) -> String {
    let usage =
        json!({"id": speaker, "choices": [], "usage": {"prompt_tokens": 20, "completion_tokens": count, "total_tokens": 20 + count}});
    let usage = if asked["stream_options"]["include_usage"] == true { format!("data: {usage}\n\n") } else { String::new() };
    format!("{}{usage}data: [DONE]\n\n", says(speaker, json!({}), Some("stop")))
}

/// Sends words as chunks of their own, after a chunk with the role.
pub fn speak(stream: &mut TcpStream, speaker: &str, words: &[String]) {
    let mut out = format!("{STREAM_HEAD}{}", chunk(&says(speaker, json!({"role": "assistant", "content": ""}), None)));
    for word in words {
        out += &chunk(&says(speaker, json!({"content": word}), None));
    }
    let _ = stream.write_all(out.as_bytes());
}

/// Ends a chunked body well.
pub fn finish(stream: &mut TcpStream, last: &str) -> bool {
    stream.write_all(format!("{}0\r\n\r\n", chunk(last)).as_bytes()).is_ok()
}

/// Dies; whether the connection may be kept.
pub fn die(stream: &mut TcpStream, death: Death) -> bool {
    match death {
        Death::Fin => false,
        Death::CleanEnd => stream.write_all(b"0\r\n\r\n").is_ok(),
        Death::Reset => {
            // What was written has to arrive before the reset throws it away.
            std::thread::sleep(Duration::from_millis(15));
            reset(stream);
            false
        }
        Death::Stall => {
            let _ = stream.read(&mut [0; 16]);
            false
        }
        Death::ErrorEvent => finish(stream, "data: {\"error\":{\"message\":\"internal sk-live-9\",\"type\":\"server_error\"}}\n\n"),
    }
}

/// Says so many words as its last user's message asks for, and dies so.
pub fn mortal() -> Upstream {
    Upstream::start(|call, stream| {
        let asked = call.json();
        let wish = asked["messages"][0]["content"].as_str().unwrap().to_owned();
        let (death, at) = wish.split_once('@').unwrap();
        let death = Death::ALL.into_iter().find(|known| known.name() == death).unwrap();
        speak(stream, "first", &words()[..at.parse::<usize>().unwrap()]);
        die(stream, death)
    })
}

/// What is to be gone on with, as this way brings it; None where it was asked in another way.
pub fn begun(asked: &Value, way: &str) -> Option<String> {
    let messages = asked["messages"].as_array().unwrap();
    let last = messages.last().unwrap();
    let content = last["content"].as_str().unwrap().to_owned();
    let assistant = last["role"] == "assistant";
    match way {
        // As it came from the caller: anyone answers that.
        _ if messages.len() == 1 => Some(String::new()),
        "prefill" => (assistant && last["prefix"].is_null() && asked["continue_final_message"].is_null()).then_some(content),
        "prefix" => (assistant && last["prefix"] == true).then_some(content),
        "vllm" => (assistant && asked["continue_final_message"] == true && asked["add_generation_prompt"] == false).then_some(content),
        "quote" => {
            let quoted = content.split_once("<<<BEGIN>>>")?.1.split_once("<<<END>>>")?.0;
            (messages.len() == 2 && last["role"] == "user").then(|| quoted.to_owned())
        }
        _ => None,
    }
}

/// Goes on by this way alone; asked in another it refuses, as vendors do.
pub fn onward(way: &'static str) -> Upstream {
    Upstream::start(move |call: &Call, stream| {
        let asked = call.json();
        let Some(begun) = begun(&asked, way) else {
            return stream.write_all(&status(400, "invalid_request_error", "")).is_ok();
        };
        let whole = text();
        let rest: Vec<String> =
            whole.strip_prefix(&begun).expect("what was said comes exactly").split_inclusive(' ').map(str::to_owned).collect();
        speak(stream, "second", &rest);
        finish(stream, &end("second", &asked, rest.len()))
    })
}
