//! What translating between dialects costs a gateway's process: processor time beside that of the same dialect, memory beside the
//! body, and the patience of other callers. The gateway is a process of its own, so that these can be counted.
//!
//! By default a few calls, and what must hold of any build is judged. With STAGEDOOR_TEST_LONG=1 all of it is, which is a release
//! build's: `STAGEDOOR_TEST_LONG=1 cargo test --release --test translating -- --nocapture`.

#![allow(clippy::disallowed_methods, reason = "these tests live in real time")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

#[path = "support/gateway.rs"]
mod gateway;

use gateway::Gateway;

/// A translated call may take so many times the processor time of one that isn't.
const MOST_TIMES: f64 = 1.6;
/// The most memory at once for a large request, in bodies: as it came, its texts without escapes, as it goes on, each in a buffer that
/// grew.
const MOST_BODIES: f64 = 7.0;
/// Of the calls beside large ones, all but one of a hundred are answered within this.
const PATIENCE: Duration = Duration::from_millis(20);
/// A large body.
const LARGE: usize = 5 << 20;
/// Words of a streamed answer, and the time from one to the next.
const WORDS: usize = 100;
const PACE: Duration = Duration::from_millis(1);
const TEXT: &str = "The capital of France is Paris, and it has been so for most of its history.";

/// They count the same processors' time.
static ONE: Mutex<()> = Mutex::new(());

fn is_long() -> bool {
    std::env::var_os("STAGEDOOR_TEST_LONG").is_some()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dialect {
    OpenAi,
    Anthropic,
    Gemini,
}

use Dialect::{Anthropic, Gemini, OpenAi};

impl Dialect {
    fn name(self) -> &'static str {
        match self {
            OpenAi => "openai",
            Anthropic => "anthropic",
            Gemini => "gemini",
        }
    }

    /// Of the dialect that a path belongs to, in small letters.
    fn of(path: &str) -> Self {
        match path {
            _ if path.contains("generatecontent") => Gemini,
            _ if path.ends_with("/messages") => Anthropic,
            _ => OpenAi,
        }
    }

    fn path(self) -> &'static str {
        match self {
            OpenAi => "/v1/chat/completions",
            Anthropic => "/v1/messages",
            Gemini => unreachable!("no test calls in it"),
        }
    }

    /// A whole answer, as its vendor writes it.
    fn answer(self) -> String {
        match self {
            OpenAi => format!(
                r#"{{"id":"chatcmpl-1","object":"chat.completion","created":1741569952,"model":"up","choices":[{{"index":0,"message":{{"role":"assistant","content":"{TEXT}","refusal":null,"annotations":[]}},"logprobs":null,"finish_reason":"stop"}}],"usage":{{"prompt_tokens":219,"completion_tokens":24,"total_tokens":243,"prompt_tokens_details":{{"cached_tokens":0,"audio_tokens":0}}}},"service_tier":"default"}}"#
            ),
            Anthropic => format!(
                r#"{{"id":"msg_1","type":"message","role":"assistant","model":"up","content":[{{"type":"text","text":"{TEXT}"}}],"stop_reason":"end_turn","stop_sequence":null,"usage":{{"input_tokens":219,"cache_creation_input_tokens":0,"cache_read_input_tokens":0,"output_tokens":24,"service_tier":"standard"}}}}"#
            ),
            Gemini => format!(
                r#"{{"candidates":[{{"content":{{"parts":[{{"text":"{TEXT}"}}],"role":"model"}},"finishReason":"STOP","avgLogprobs":-0.12}}],"usageMetadata":{{"promptTokenCount":219,"candidatesTokenCount":24,"totalTokenCount":243}},"modelVersion":"up","responseId":"r"}}"#
            ),
        }
    }

    /// The events of a streamed one.
    fn events(self) -> Vec<String> {
        let [first, word, last] = match self {
            OpenAi => [
                r#"data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1741569952,"model":"up","choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}"#,
                r#"data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1741569952,"model":"up","choices":[{"index":0,"delta":{"content":"WORD"},"logprobs":null,"finish_reason":null}],"usage":null,"obfuscation":"PADDING"}"#,
                "data: {\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1741569952,\"model\":\"up\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]",
            ],
            Anthropic => [
                "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_1\",\"type\":\"message\",\"role\":\"assistant\",\"model\":\"up\",\"content\":[],\"stop_reason\":null,\"stop_sequence\":null,\"usage\":{\"input_tokens\":219,\"output_tokens\":1}}}\n\nevent: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}",
                "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"WORD\"}}",
                "event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":0}\n\nevent: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\",\"stop_sequence\":null},\"usage\":{\"output_tokens\":50}}\n\nevent: message_stop\ndata: {\"type\":\"message_stop\"}",
            ],
            Gemini => [
                "",
                r#"data: {"candidates": [{"content": {"parts": [{"text": "WORD"}],"role": "model"},"index": 0}],"usageMetadata": {"promptTokenCount": 219,"candidatesTokenCount": NUMBER,"totalTokenCount": 219},"modelVersion": "up","responseId": "r"}"#,
                r#"data: {"candidates": [{"content": {"parts": [{"text": ""}],"role": "model"},"finishReason": "STOP","index": 0}],"usageMetadata": {"promptTokenCount": 219,"candidatesTokenCount": 50,"totalTokenCount": 269},"modelVersion": "up","responseId": "r"}"#,
            ],
        };
        let texts: Vec<_> = TEXT.split_inclusive(' ').cycle().take(WORDS).collect();
        let words = texts.iter().enumerate().map(|(number, text)| {
            word.replace("WORD", text).replace("NUMBER", &number.to_string()).replace("PADDING", &"kfPw93Zbq0LxT2m"[..15 - number % 8])
        });
        let all = std::iter::once(first.to_owned()).chain(words).chain([last.to_owned()]);
        all.filter(|event| !event.is_empty()).map(|event| event + "\n\n").collect()
    }
}

/// A message's head and its body, of which the head tells the length; None at the connection's end.
fn read(stream: &mut BufReader<TcpStream>) -> Option<(String, Vec<u8>)> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        stream.read_line(&mut head).ok().filter(|count| *count > 0)?;
    }
    head.make_ascii_lowercase();
    let mut body = Vec::new();
    match head.lines().find_map(|line| line.strip_prefix("content-length: ")) {
        Some(length) => {
            body.resize(length.parse().ok()?, 0);
            stream.read_exact(&mut body).ok()?;
        }
        None => {
            while !body.ends_with(b"\r\n0\r\n\r\n") {
                stream.read_until(b'\n', &mut body).ok().filter(|count| *count > 0)?;
            }
        }
    }
    Some((head, body))
}

/// Answers in the dialect that it is asked in: whole, or word by word.
fn upstream() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            thread::spawn(move || serve(stream));
        }
    });
    address
}

fn serve(mut stream: TcpStream) {
    stream.set_nodelay(true).unwrap();
    let mut requests = BufReader::new(stream.try_clone().unwrap());
    while let Some((head, body)) = read(&mut requests) {
        let path = head.split_whitespace().nth(1).unwrap().split('?').next().unwrap();
        let dialect = Dialect::of(path);
        let streams = path.contains("stream") || memchr::memmem::find(&body, b"\"stream\":true").is_some();
        let written = if streams {
            let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
            let chunk = |event: &String| format!("{:x}\r\n{event}\r\n", event.len());
            let events = dialect.events();
            let mut pieces = std::iter::once(head.to_owned()).chain(events.iter().map(chunk)).chain(["0\r\n\r\n".to_owned()]);
            // A word comes alone, as from a model that makes one after the other.
            let pace = |piece: String| stream.write_all(piece.as_bytes()).map(|()| thread::sleep(PACE));
            pieces.try_for_each(pace)
        } else {
            let answer = dialect.answer();
            let head = format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n", answer.len());
            stream.write_all((head + &answer).as_bytes())
        };
        if written.is_err() {
            return;
        }
    }
}

/// A gateway with one worker and a model for a target of each dialect, named like it.
fn gateway() -> Gateway {
    let upstream = upstream();
    let mut settings = "[store]\nurl = \"\"\nledger = \"off\"\n[server]\nworkers = 1\n".to_owned();
    for name in [OpenAi, Anthropic, Gemini].map(Dialect::name) {
        settings += &format!(
            "[providers.{name}]\ndialect = \"{name}\"\nbase_url = \"http://{upstream}/v1\"\nkeys = []\n[models.{name}]\ntargets = [{{ provider = \"{name}\", model = \"up\" }}]\n"
        );
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_stagedoor"));
    command.args(["serve", "--settings", "settings.toml"]);
    Gateway::start(command, &settings)
}

/// A caller's connection.
struct Caller(BufReader<TcpStream>);

impl Caller {
    fn new(gateway: &Gateway) -> Self {
        let stream = TcpStream::connect(gateway.address).unwrap();
        stream.set_nodelay(true).unwrap();
        Self(BufReader::new(stream))
    }

    /// Asks, and tells the answer.
    fn ask(&mut self, path: &str, body: &str) -> Vec<u8> {
        let head =
            format!("POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n", body.len());
        let stream = self.0.get_mut();
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(body.as_bytes()).unwrap();
        let (head, answer) = read(&mut self.0).expect("an answer");
        assert!(head.starts_with("http/1.1 200"), "{head}{}", String::from_utf8_lossy(&answer));
        answer
    }
}

/// A request in the caller's dialect for a model of the target's.
fn request(caller: Dialect, target: Dialect, messages: &str, stream: bool) -> String {
    let (model, most) = (target.name(), if caller == Anthropic { r#""max_tokens":200,"# } else { "" });
    format!(r#"{{"model":"{model}",{most}"stream":{stream},"messages":[{messages}]}}"#)
}

fn small(caller: Dialect, target: Dialect, stream: bool) -> String {
    let question = "I am planning a trip to France in the spring with two children, aged six and nine. ".repeat(4);
    let messages = [("user", &*question), ("assistant", "That sounds lovely!"), ("user", "What should we see first?")];
    let messages = messages.map(|(role, text)| format!(r#"{{"role":"{role}","content":"{text}"}}"#)).join(",");
    request(caller, target, &messages, stream)
}

/// A long talk, with all that a string may hold.
fn long_talk() -> String {
    let text = r#"It's a \"small\" step:\n\tone of many, \u00e9 é 😀. "#.repeat(16);
    let turn = format!(r#"{{"role":"user","content":"{text}"}},{{"role":"assistant","content":"{text}"}},"#);
    turn.repeat(LARGE / turn.len()) + r#"{"role":"user","content":"Go on."}"#
}

/// A question about pictures.
fn pictures(caller: Dialect) -> String {
    let data = "iVBORw0KGgo+/".repeat(LARGE / 4 / 13);
    let data = &data[..data.len() / 4 * 4];
    let picture = match caller {
        Anthropic => format!(r#"{{"type":"image","source":{{"type":"base64","media_type":"image/png","data":"{data}"}}}}"#),
        _ => format!(r#"{{"type":"image_url","image_url":{{"url":"data:image/png;base64,{data}"}}}}"#),
    };
    format!(r#"{{"role":"user","content":[{{"type":"text","text":"What is on them?"}},{}]}}"#, [&*picture; 4].join(","))
}

/// The callers whose calls are compared, and the targets: each caller's own dialect first.
const PAIRS: [(Dialect, Dialect); 6] =
    [(OpenAi, OpenAi), (OpenAi, Anthropic), (OpenAi, Gemini), (Anthropic, Anthropic), (Anthropic, OpenAi), (Anthropic, Gemini)];

/// Processor time that a gateway has taken so far, in clock ticks of a hundredth of a second.
fn ticks(gateway: &Gateway) -> f64 {
    let stat = std::fs::read_to_string(gateway.proc("stat")).unwrap();
    let after_name = stat.rsplit_once(')').unwrap().1;
    after_name.split_whitespace().skip(11).take(2).map(|ticks| ticks.parse::<f64>().unwrap()).sum()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Calls from several callers at once.
fn calls(gateway: &Gateway, (caller, target): (Dialect, Dialect), stream: bool, count: usize) {
    let (body, callers) = (small(caller, target, stream), if stream { 32 } else { 8 });
    thread::scope(|scope| {
        for _ in 0..callers {
            scope.spawn(|| {
                let mut connection = Caller::new(gateway);
                for _ in 0..count / callers {
                    let answer = connection.ask(caller.path(), &body);
                    assert!(memchr::memmem::find(&answer, b"Paris").is_some(), "{}", String::from_utf8_lossy(&answer));
                }
            });
        }
    });
}

#[test]
fn a_translated_call_takes_little_more_processor_time() {
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let gateway = gateway();
    for (stream, count) in [(false, 8_000), (true, 640)] {
        let (rounds, count) = if is_long() { (5, count) } else { (1, 32) };
        let mut taken = PAIRS.map(|_| Vec::new());
        PAIRS.iter().for_each(|pair| calls(&gateway, *pair, stream, 32));
        for _ in 0..rounds {
            for (pair, taken) in PAIRS.iter().zip(&mut taken) {
                let before = ticks(&gateway);
                calls(&gateway, *pair, stream, count);
                taken.push((ticks(&gateway) - before) * 1e4 / count as f64);
            }
        }
        // So few calls take less than the clock can tell.
        let judged = PAIRS.iter().zip([0, 0, 0, 3, 3, 3]).enumerate().filter(|_| is_long());
        for (place, ((caller, target), own)) in judged {
            let times = median(taken[place].iter().zip(&taken[own]).map(|(taken, own)| taken / own).collect());
            let name = format!("{caller:?} -> {target:?}{}", if stream { ", streamed" } else { "" });
            println!("{name}: {:.1} us of processor time, x {times:.2} of the same dialect", median(taken[place].clone()));
            assert!(times <= MOST_TIMES, "{name}: x {times:.2}");
        }
    }
}

#[test]
fn a_large_request_takes_memory_by_its_size() {
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    for (caller, target) in PAIRS {
        for (what, messages) in [("a long talk", long_talk()), ("pictures", pictures(caller))] {
            let gateway = gateway();
            calls(&gateway, (caller, target), false, 8);
            let body = request(caller, target, &messages, false);
            // From now on the most is counted anew.
            std::fs::write(gateway.proc("clear_refs"), "5").unwrap();
            let before = gateway.status("VmRSS");
            Caller::new(&gateway).ask(caller.path(), &body);
            let bodies = (gateway.status("VmHWM") - before) as f64 * 1024.0 / body.len() as f64;
            println!("{caller:?} -> {target:?}, {what}: {} bytes took {bodies:.1} times as much memory", body.len());
            assert!(bodies < MOST_BODIES, "{caller:?} -> {target:?}, {what}: {bodies:.1} times its size");
        }
    }
}

#[test]
fn others_do_not_wait_while_a_large_request_is_translated() {
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let gateway = gateway();
    let large = if is_long() { 20 } else { 2 };
    for (caller, target) in PAIRS {
        let body = request(caller, target, &long_talk(), false);
        let over = AtomicBool::new(false);
        let waits = thread::scope(|scope| {
            let others = scope.spawn(|| {
                let (mut connection, body, mut waits) = (Caller::new(&gateway), small(OpenAi, OpenAi, false), Vec::new());
                while !over.load(Ordering::Relaxed) {
                    let asked = Instant::now();
                    connection.ask(OpenAi.path(), &body);
                    waits.push(asked.elapsed());
                    thread::sleep(Duration::from_millis(1));
                }
                waits.sort();
                waits
            });
            let mut connection = Caller::new(&gateway);
            (0..large).for_each(|_| _ = connection.ask(caller.path(), &body));
            over.store(true, Ordering::Relaxed);
            others.join().unwrap()
        });
        let of_a_hundred = |place: usize| waits[(waits.len() - 1) * place / 100];
        let (half, most) = (of_a_hundred(50), of_a_hundred(99));
        println!("{caller:?} -> {target:?}: {} calls beside {large} large ones: median {half:?}, p99 {most:?}", waits.len());
        assert!(!is_long() || cfg!(debug_assertions) || most < PATIENCE, "{caller:?} -> {target:?}: {most:?}");
    }
}
