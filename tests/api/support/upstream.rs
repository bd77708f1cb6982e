//! An upstream that does what the test says, byte by byte: what no mock library can, a raw TCP server can.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// One request as it came.
#[derive(Clone, Debug)]
pub struct Call {
    /// Which one, from 0.
    pub number: usize,
    /// The request line and the headers.
    pub head: String,
    /// The body.
    pub body: Vec<u8>,
}

impl Call {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub fn header(&self, name: &str) -> Option<String> {
        self.head.lines().skip(1).find_map(|line| {
            let (known, value) = line.split_once(':')?;
            known.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
        })
    }
}

/// A running upstream. Its handler gets each call with the connection, writes what it likes and returns whether the
/// connection is kept.
pub struct Upstream {
    pub address: SocketAddr,
    calls: Arc<Mutex<Vec<Call>>>,
    connections: Arc<AtomicUsize>,
    open: Arc<AtomicUsize>,
    stopped: Arc<AtomicBool>,
}

impl Upstream {
    pub fn start(handler: impl Fn(&Call, &mut TcpStream) -> bool + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let upstream = Self {
            address: listener.local_addr().unwrap(),
            calls: Arc::default(),
            connections: Arc::default(),
            open: Arc::default(),
            stopped: Arc::default(),
        };
        let (calls, connections, open, stopped) =
            (Arc::clone(&upstream.calls), Arc::clone(&upstream.connections), Arc::clone(&upstream.open), Arc::clone(&upstream.stopped));
        let handler = Arc::new(handler);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if stopped.load(Ordering::SeqCst) {
                    break;
                }
                let Ok(stream) = stream else { continue };
                connections.fetch_add(1, Ordering::SeqCst);
                open.fetch_add(1, Ordering::SeqCst);
                let (calls, open, handler) = (Arc::clone(&calls), Arc::clone(&open), Arc::clone(&handler));
                std::thread::spawn(move || {
                    serve(stream, &calls, &*handler);
                    open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        upstream
    }

    /// Answers each call by bytes.
    pub fn answering(bytes: impl Into<Vec<u8>>) -> Self {
        let bytes = bytes.into();
        Self::start(move |_, stream| stream.write_all(&bytes).is_ok())
    }

    /// Answers each call by bytes of its own.
    pub fn by(answer: impl Fn(&Call) -> Vec<u8> + Send + Sync + 'static) -> Self {
        Self::start(move |call, stream| stream.write_all(&answer(call)).is_ok())
    }

    /// Its base URL.
    pub fn url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// A `[providers.NAME]` table for it, without keys.
    pub fn provider(&self, name: &str) -> String {
        format!("[providers.{name}]\ndialect = \"openai\"\nbase_url = \"{}\"\nkeys = []\n", self.url())
    }

    /// The calls so far.
    pub fn calls(&self) -> Vec<Call> {
        self.calls.lock().unwrap().clone()
    }

    /// How many calls came.
    pub fn count(&self) -> usize {
        self.calls.lock().unwrap().len()
    }

    /// How many connections were made.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// How many connections its handlers still hold.
    pub fn open(&self) -> usize {
        self.open.load(Ordering::SeqCst)
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::SeqCst);
        // Wakes the accepting thread.
        let _ = TcpStream::connect(self.address);
    }
}

fn serve(mut stream: TcpStream, calls: &Mutex<Vec<Call>>, handler: &(dyn Fn(&Call, &mut TcpStream) -> bool + Send + Sync)) {
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let mut got = Vec::new();
    while let Some((head, body)) = read_request(&mut stream, &mut got) {
        let call = {
            let mut calls = calls.lock().unwrap();
            let call = Call { number: calls.len(), head, body };
            calls.push(call.clone());
            call
        };
        if !handler(&call, &mut stream) {
            return;
        }
    }
}

fn read_request(stream: &mut TcpStream, got: &mut Vec<u8>) -> Option<(String, Vec<u8>)> {
    let mut buffer = [0; 16 * 1024];
    loop {
        if let Some(end) = got.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&got[..end]).into_owned();
            let length = head.lines().find_map(|line| {
                let (name, value) = line.split_once(':')?;
                name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
            });
            let total = end + 4 + length.unwrap_or(0);
            if got.len() >= total {
                let body = got[end + 4..total].to_vec();
                got.drain(..total);
                return Some((head, body));
            }
        }
        match stream.read(&mut buffer) {
            Ok(0) | Err(_) => return None,
            Ok(count) => got.extend_from_slice(&buffer[..count]),
        }
    }
}

/// A 200 with a JSON body.
pub fn plain(body: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

/// A chat answer that says a text.
pub fn answer(text: &str) -> Vec<u8> {
    plain(&format!(
        r#"{{"id":"chatcmpl-1","object":"chat.completion","created":1,"model":"up","choices":[{{"index":0,"message":{{"role":"assistant","content":"{text}"}},"finish_reason":"stop"}}],"usage":{{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}}}"#
    ))
}

/// An error status with OpenAI's body, and headers more.
pub fn status(code: u16, error_code: &str, headers: &str) -> Vec<u8> {
    let body = format!(r#"{{"error":{{"message":"upstream says {code}","type":"some_error","param":null,"code":"{error_code}"}}}}"#);
    format!("HTTP/1.1 {code} X\r\ncontent-type: application/json\r\n{headers}content-length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

/// One event that says a text.
pub fn event(text: &str) -> String {
    format!(
        "data: {{\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"up\",\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{text}\"}},\"finish_reason\":null}}]}}\n\n"
    )
}

/// The head of a chunked event stream.
pub const STREAM_HEAD: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";

/// The last events of a good stream.
pub const STREAM_END: &str = "data: {\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"up\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n";

/// Bytes as one chunk.
pub fn chunk(text: &str) -> String {
    format!("{:x}\r\n{text}\r\n", text.len())
}

/// A whole event stream that says words, a chunk each.
pub fn stream(words: &[&str]) -> Vec<u8> {
    let words: String = words.iter().map(|word| chunk(&event(word))).collect();
    format!("{STREAM_HEAD}{words}{}0\r\n\r\n", chunk(STREAM_END)).into_bytes()
}
