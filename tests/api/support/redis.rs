//! A real Redis of a test's own, on a free port, which keeps nothing.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A Redis of the test's own; None where the machine has none, which is said, and is a failure where all tests are to run.
pub struct Redis {
    child: Child,
    pub port: u16,
    folder: tempfile::TempDir,
}

impl Redis {
    pub fn start() -> Option<Self> {
        let there = Command::new("redis-server").arg("--version").stdout(Stdio::null()).status().is_ok();
        if !there {
            assert!(std::env::var_os("STAGEDOOR_TEST_ALL").is_none(), "redis-server is missing");
            println!("skipped: redis-server is missing");
            return None;
        }
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let folder = tempfile::tempdir().unwrap();
        let mut redis = Self { child: Self::run(port, &folder), port, folder };
        redis.until_ready();
        Some(redis)
    }

    fn run(port: u16, folder: &tempfile::TempDir) -> Child {
        let mut command = Command::new("redis-server");
        command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]);
        command.arg("--dir").arg(folder.path()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    }

    fn until_ready(&mut self) {
        let end = Instant::now() + Duration::from_secs(10);
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(Instant::now() < end, "redis-server doesn't start");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Its address.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// One command of these parts, whatever is in them; its answer as it is sent.
    pub fn call(&self, parts: &[&str]) -> String {
        let sent = parts.iter().fold(format!("*{}\r\n", parts.len()), |sent, part| sent + &format!("${}\r\n{part}\r\n", part.len()));
        self.said(sent.as_bytes())
    }

    /// One command, as typed; its answer.
    pub fn order(&self, line: &str) -> String {
        self.said(format!("{line}\r\n").as_bytes())
    }

    fn said(&self, bytes: &[u8]) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.write_all(bytes).unwrap();
        let mut answer = [0; 4_096];
        let count = stream.read(&mut answer).unwrap();
        String::from_utf8_lossy(&answer[..count]).into_owned()
    }

    /// Stands still, and is there, until it may go on.
    pub fn stand(&self, still: bool) {
        let signal = if still { "-STOP" } else { "-CONT" };
        assert!(Command::new("kill").args([signal, &self.child.id().to_string()]).status().unwrap().success());
    }

    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub fn again(&mut self) {
        self.child = Self::run(self.port, &self.folder);
        self.until_ready();
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
