//! Calls written and read by hand, for tests in which it matters when something happens on a connection.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use super::Upstream;

/// How long a test waits for what has to happen.
const PATIENCE: Duration = Duration::from_secs(10);

/// The bytes of a POST with a JSON body to the chat path.
pub fn chat_bytes(headers: &[(&str, &str)], body: &str) -> Vec<u8> {
    post_bytes("/v1/chat/completions", headers, body)
}

/// The same to any path.
pub fn post_bytes(path: &str, headers: &[(&str, &str)], body: &str) -> Vec<u8> {
    let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let fixed = format!("POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n");
    format!("{fixed}{headers}content-length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

/// Reads until the text is there; gives everything read so far.
pub fn read_until(stream: &mut TcpStream, text: &str) -> String {
    let mut got = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => panic!("it ended before {text:?}: {}", String::from_utf8_lossy(&got)),
            Ok(count) => got.extend_from_slice(&buffer[..count]),
            Err(error) => panic!("{error} before {text:?}: {}", String::from_utf8_lossy(&got)),
        }
        if String::from_utf8_lossy(&got).contains(text) {
            return String::from_utf8_lossy(&got).into_owned();
        }
    }
}

/// Reads until the other side closes, in whatever way.
pub fn read_rest(stream: &mut TcpStream) -> String {
    let mut got = Vec::new();
    let mut buffer = [0; 16 * 1024];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => got.extend_from_slice(&buffer[..count]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                panic!("still open after: {}", String::from_utf8_lossy(&got))
            }
            Err(_) => break,
        }
    }
    String::from_utf8_lossy(&got).into_owned()
}

/// How a client goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leaving {
    Closes,
    HalfCloses,
}

impl Leaving {
    pub fn both() -> [Self; 2] {
        [Self::Closes, Self::HalfCloses]
    }

    /// Goes; what is given back keeps a half-closed connection.
    pub fn go(self, stream: TcpStream) -> Option<TcpStream> {
        match self {
            Self::Closes => None,
            Self::HalfCloses => {
                stream.shutdown(Shutdown::Write).unwrap();
                Some(stream)
            }
        }
    }
}

/// An upstream that says something to each call and then waits, and tells when its connection is shut.
pub struct Waiting {
    pub upstream: Upstream,
    said: Receiver<()>,
    shut: Receiver<Instant>,
}

impl Waiting {
    /// `says`: the bytes, before the wait.
    pub fn after(says: impl Into<Vec<u8>>) -> Self {
        let says = says.into();
        let (tell_said, said) = channel();
        let (tell_shut, shut) = channel();
        let tell: Mutex<(Sender<()>, Sender<Instant>)> = Mutex::new((tell_said, tell_shut));
        let upstream = Upstream::start(move |_, stream| {
            let (tell_said, tell_shut) = tell.lock().unwrap().clone();
            stream.write_all(&says).unwrap();
            let _ = tell_said.send(());
            // Zero bytes, or an error: either way the gateway has let go.
            if !matches!(stream.read(&mut [0; 16]), Ok(1..)) {
                let _ = tell_shut.send(Instant::now());
            }
            false
        });
        Self { upstream, said, shut }
    }

    /// Waits until a call has come and its answer's beginning is written.
    pub fn until_called(&self) {
        self.said.recv_timeout(PATIENCE).expect("a call comes");
    }

    /// Waits until a call's connection is shut; how long after `since` that was.
    pub fn until_shut(&self, since: Instant) -> Duration {
        self.shut.recv_timeout(PATIENCE).expect("the connection is shut").saturating_duration_since(since)
    }
}
