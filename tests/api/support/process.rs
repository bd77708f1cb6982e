//! The real binary: run with an environment and a folder of its own, so that nothing of the machine's reaches it.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::Client;

/// How long a test waits for what has to happen.
const PATIENCE: Duration = Duration::from_secs(20);

/// A running `stagedoor`; killed when dropped.
pub struct Process {
    child: Child,
    pub stdout: Told,
    pub stderr: Told,
    folder: tempfile::TempDir,
}

/// What a process has written so far to one of its outputs.
#[derive(Clone, Default)]
pub struct Told(Arc<(Mutex<(String, bool)>, Condvar)>);

/// How a process ended.
#[derive(Debug)]
pub struct Finished {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Told {
    fn of(pipe: impl Read + Send + 'static) -> (Self, JoinHandle<()>) {
        let told = Self::default();
        let own = told.clone();
        let thread = std::thread::spawn(move || {
            let mut pipe = BufReader::new(pipe);
            let mut line = Vec::new();
            while pipe.read_until(b'\n', &mut line).is_ok_and(|count| count > 0) {
                own.0.0.lock().unwrap().0.push_str(&String::from_utf8_lossy(&line));
                own.0.1.notify_all();
                line.clear();
            }
            own.0.0.lock().unwrap().1 = true;
            own.0.1.notify_all();
        });
        (told, thread)
    }

    pub fn text(&self) -> String {
        self.0.0.lock().unwrap().0.clone()
    }

    /// Waits until a fact holds of what was written; gives what was written then.
    pub fn until(&self, what: &str, fact: impl Fn(&str) -> bool) -> String {
        let end = Instant::now() + PATIENCE;
        let mut state = self.0.0.lock().unwrap();
        loop {
            if fact(&state.0) {
                return state.0.clone();
            }
            let left = end.saturating_duration_since(Instant::now());
            assert!(!left.is_zero() && !state.1, "still not there: {what}; so far:\n{}", state.0);
            state = self.0.1.wait_timeout(state, left).unwrap().0;
        }
    }

    fn until_closed(&self) {
        let end = Instant::now() + PATIENCE;
        let mut state = self.0.0.lock().unwrap();
        while !state.1 && Instant::now() < end {
            state = self.0.1.wait_timeout(state, Duration::from_millis(200)).unwrap().0;
        }
    }
}

impl Process {
    /// `stagedoor ARGS` in a folder that `prepare` has filled.
    pub fn run(args: &[&str], env: &[(&str, &str)], prepare: impl FnOnce(&Path)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        prepare(folder.path());
        let mut child = Command::new(env!("CARGO_BIN_EXE_stagedoor"))
            .args(args)
            .env_clear()
            .envs(env.iter().copied())
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (stdout, _) = Told::of(child.stdout.take().unwrap());
        let (stderr, _) = Told::of(child.stderr.take().unwrap());
        Self { child, stdout, stderr, folder }
    }

    /// `stagedoor VERB --settings FILE`, the file's text given.
    pub fn with_settings(verb: &str, settings: &str, env: &[(&str, &str)]) -> Self {
        Self::run(&[verb, "--settings", "settings.toml"], env, |folder| std::fs::write(folder.join("settings.toml"), settings).unwrap())
    }

    /// `stagedoor serve` on a free port.
    pub fn serve(settings: &str, env: &[(&str, &str)]) -> Self {
        Self::with_settings("serve", settings, &[env, &[("STAGEDOOR__SERVER__PORT", "0")]].concat())
    }

    /// Where it says that it listens.
    pub fn address(&self) -> SocketAddr {
        let address = |text: &str| {
            let after = text.split_once("listens on ")?.1.split_once("://")?.1;
            after.split(['\n', '/']).next()?.parse().ok()
        };
        address(&self.stdout.until("its address", |text| address(text).is_some())).unwrap()
    }

    pub fn client(&self) -> Client {
        Client::new(self.address())
    }

    /// Its working folder.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Writes a file into its folder, beside the old one and then in its place.
    pub fn write(&self, name: &str, text: &str) {
        let (new, file) = (self.folder.path().join("new"), self.folder.path().join(name));
        std::fs::write(&new, text).unwrap();
        std::fs::rename(new, file).unwrap();
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal by name.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("sh").args(["-c", &format!("kill -{name} {}", self.child.id())]).status().unwrap();
        assert!(sent.success());
    }

    /// Waits until it has ended, and said all that it had to say.
    pub fn until_ended(&self) {
        self.stdout.until_closed();
        self.stderr.until_closed();
    }

    /// Waits until it is gone, however it went.
    pub fn gone(mut self) {
        let _ = self.child.wait();
    }

    /// What it has said by its end, or by then.
    pub fn ended_within(mut self, patience: Duration) -> String {
        let end = Instant::now() + patience;
        while self.child.try_wait().unwrap().is_none() && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(5));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.stdout.until_closed();
        self.stderr.until_closed();
        self.stdout.text() + &self.stderr.text()
    }

    /// Waits for its end.
    pub fn finish(mut self) -> Finished {
        let end = Instant::now() + PATIENCE;
        let status = loop {
            match self.child.try_wait().unwrap() {
                Some(status) => break status,
                None if Instant::now() > end => panic!("it still runs; it said:\n{}{}", self.stdout.text(), self.stderr.text()),
                None => std::thread::sleep(Duration::from_millis(5)),
            }
        };
        self.stdout.until_closed();
        self.stderr.until_closed();
        Finished { code: status.code(), stdout: self.stdout.text(), stderr: self.stderr.text() }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
