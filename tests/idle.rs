//! Thousands of idle streams at once through a real gateway: none is lost, each costs little memory, and nothing stays behind
//! when they are over. The gateway is a process of its own, so that its memory and its descriptors can be counted.
//!
//! By default a few hundred for a moment. With STAGEDOOR_TEST_LONG=1 as many as a process with 20,000 descriptors can have, for
//! STAGEDOOR_TEST_IDLE_SECONDS (600), and their memory is judged, which is a release build's:
//! `STAGEDOOR_TEST_LONG=1 cargo test --release --test idle -- --nocapture`.

#![allow(clippy::disallowed_methods, reason = "these tests live in real time")]

use std::io::Write as _;
use std::net::SocketAddr;
use std::process::Command;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use stagedoor::app::{App, Parts};
use stagedoor::rehearsal::Script;
use stagedoor::settings::{Source, load};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, Semaphore, mpsc};
use tokio::task::LocalSet;

#[path = "support/gateway.rs"]
mod gateway;

use gateway::Gateway;

/// As the binary allocates: the gateway of the second test is this one.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Resident memory that a stream may cost, in KB: ten thousand may take 400 MB.
const MOST_KB: f64 = 40.0;
/// Streams that are begun at once: the gateway's backlog is longer.
const AT_ONCE: usize = 256;
/// Streams before any is counted, so that what is made once is there.
const WARM_UP: usize = 100;
/// Descriptors that the first calls may bring, for good.
const MADE_ONCE: usize = 16;
/// After the streams, descriptors are back within this: a connection to an upstream that isn't used is kept for a while.
const BACK_WITHIN: Duration = Duration::from_secs(90);

const CLOCKS: &str = "[store]\nurl = \"\"\n[timeouts]\nfirst_byte = \"1h\"\nfirst_token = \"1h\"\nidle = \"1h\"\n[models.m]\ntargets = [{ provider = \"p\", model = \"up\" }]\n";

/// Both at once would need more descriptors than there are.
static ONE: Mutex<()> = Mutex::new(());

fn is_long() -> bool {
    std::env::var_os("STAGEDOOR_TEST_LONG").is_some()
}

/// How many streams, and for how long.
fn size(long: usize) -> (usize, Duration) {
    let seconds = std::env::var("STAGEDOOR_TEST_IDLE_SECONDS").ok().and_then(|text| text.parse().ok());
    match is_long() {
        true => (long, Duration::from_secs(seconds.unwrap_or(600))),
        false => (300, Duration::from_secs(seconds.unwrap_or(2))),
    }
}

fn memory(gateway: &Gateway) -> usize {
    gateway.status("VmRSS")
}

fn descriptors(gateway: &Gateway) -> usize {
    std::fs::read_dir(gateway.proc("fd")).unwrap().count()
}

fn event(text: &str, finish: &str) -> String {
    format!(
        "data: {{\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"up\",\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{text}\"}},\"finish_reason\":{finish}}}]}}\n\n"
    )
}

fn chunk(text: &str) -> String {
    format!("{:x}\r\n{text}\r\n", text.len())
}

/// Says a word to each call, and the rest once it is told to. In a long run it keeps its connections, as upstreams do.
async fn upstream(listener: TcpListener, speak: Rc<Notify>) {
    loop {
        let Ok((mut stream, _)) = listener.accept().await else { return };
        let speak = Rc::clone(&speak);
        tokio::task::spawn_local(async move {
            let (mut got, mut buffer) = (Vec::new(), [0; 2048]);
            loop {
                while !got.ends_with(b"}") || !got.windows(4).any(|window| window == b"\r\n\r\n") {
                    match stream.read(&mut buffer).await {
                        Ok(0) | Err(_) => return,
                        Ok(count) => got.extend_from_slice(&buffer[..count]),
                    }
                }
                got.clear();
                let told = speak.notified();
                let keeps = if is_long() { "keep-alive" } else { "close" };
                let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\nconnection: ";
                if stream.write_all(format!("{head}{keeps}\r\n\r\n{}", chunk(&event("one", "null"))).as_bytes()).await.is_err() {
                    return;
                }
                told.await;
                let rest = format!("{}data: [DONE]\n\n", event("two", "\"stop\""));
                if stream.write_all(format!("{}0\r\n\r\n", chunk(&rest)).as_bytes()).await.is_err() || !is_long() {
                    return;
                }
            }
        });
    }
}

/// Reads one stream to its end; tells of its first word. Whether it is whole.
async fn caller(address: SocketAddr, begins: Arc<Semaphore>, tell: mpsc::UnboundedSender<()>) -> bool {
    let body = r#"{"model":"m","stream":true,"messages":[{"role":"user","content":"Hello"}]}"#;
    let permit = begins.acquire_owned().await;
    let Ok(mut stream) = TcpStream::connect(address).await else { return false };
    let request = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    if stream.write_all(request.as_bytes()).await.is_err() {
        return false;
    }
    let (mut got, mut buffer, mut permit) = (Vec::new(), [0; 1024], Some(permit));
    while let Ok(count @ 1..) = stream.read(&mut buffer).await {
        got.extend_from_slice(&buffer[..count]);
        if permit.is_some() && got.windows(7).any(|window| window == b"\"delta\"") {
            permit = None;
            let _ = tell.send(());
        }
    }
    permit.is_none() && got.ends_with(b"data: [DONE]\n\n\r\n0\r\n\r\n")
}

/// What a run showed.
struct Figures {
    streams: usize,
    whole: usize,
    memory: [usize; 3],
    descriptors: [usize; 3],
    back_after: Duration,
}

impl Figures {
    fn judge(&self, name: &str) {
        let [before, with, after] = self.memory;
        let each = (with as f64 - before as f64) / self.streams as f64;
        println!(
            "{name}: {} of {} streams whole; memory {before} KB before, {with} KB with them ({each:.1} KB each), {after} KB after; descriptors {:?} before, with them, after, back in {:.1} s",
            self.whole,
            self.streams,
            self.descriptors,
            self.back_after.as_secs_f64()
        );
        assert_eq!(self.whole, self.streams, "streams were lost");
        assert!(self.descriptors[1] >= self.descriptors[0] + self.streams, "they were all open at once");
        assert!(self.descriptors[2] <= self.descriptors[0], "descriptors stayed behind");
        // Without optimisation a stream's futures are several times as large.
        assert!(!is_long() || cfg!(debug_assertions) || each < MOST_KB, "{each:.1} KB each");
    }
}

/// Opens so many streams, keeps them for `hold`, has them end by `finish`, and counts.
async fn run(gateway: &Gateway, streams: usize, hold: Duration, finish: impl Fn()) -> Figures {
    let address = gateway.address;
    let begins = Arc::new(Semaphore::new(AT_ONCE));
    let open = |count: usize| {
        let (tell, told) = mpsc::unbounded_channel();
        let callers: Vec<_> = (0..count).map(|_| tokio::task::spawn_local(caller(address, Arc::clone(&begins), tell.clone()))).collect();
        (callers, told)
    };
    let base = descriptors(gateway);
    let (callers, mut told) = open(WARM_UP);
    for _ in 0..WARM_UP {
        told.recv().await.expect("a stream begins");
    }
    callers.iter().for_each(|caller| caller.abort());
    back(gateway, base + MADE_ONCE).await;
    let before = (memory(gateway), descriptors(gateway));
    let (callers, mut told) = open(streams);
    let begun = Instant::now();
    for count in 0..streams {
        let first = tokio::time::timeout(Duration::from_secs(120), told.recv()).await;
        assert!(matches!(first, Ok(Some(()))), "only {count} streams have begun");
    }
    println!("{streams} streams are open after {:.1} s", begun.elapsed().as_secs_f64());
    tokio::time::sleep(hold).await;
    let with = (memory(gateway), descriptors(gateway));
    finish();
    let mut whole = 0;
    for caller in callers {
        whole += usize::from(caller.await.unwrap());
    }
    let back_after = back(gateway, before.1).await;
    let after = (memory(gateway), descriptors(gateway));
    Figures { streams, whole, memory: [before.0, with.0, after.0], descriptors: [before.1, with.1, after.1], back_after }
}

/// Waits until the descriptors are back to these; how long that took.
async fn back(gateway: &Gateway, base: usize) -> Duration {
    let since = Instant::now();
    while descriptors(gateway) > base && since.elapsed() < BACK_WITHIN {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    since.elapsed()
}

/// As many descriptors as a test of this size needs.
fn raise_limit() {
    rlimit::increase_nofile_limit(u64::MAX).unwrap();
}

fn block_on<F: Future>(work: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, work)
}

#[test]
fn row_34_idle_streams_of_an_upstream_are_all_kept_and_leave_nothing_behind() {
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    raise_limit();
    let (streams, hold) = size(9_000);
    block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/v1", listener.local_addr().unwrap());
        let settings = format!("[providers.p]\ndialect = \"openai\"\nbase_url = \"{url}\"\nkeys = []\n{CLOCKS}");
        let mut command = Command::new(env!("CARGO_BIN_EXE_stagedoor"));
        command.args(["serve", "--settings", "settings.toml"]);
        let gateway = Gateway::start(command, &settings);
        let speak = Rc::new(Notify::new());
        tokio::task::spawn_local(upstream(listener, Rc::clone(&speak)));
        run(&gateway, streams, hold, || speak.notify_waiters()).await.judge("an upstream");
    });
}

#[test]
fn row_34_idle_streams_of_the_rehearsal_are_all_kept_and_leave_nothing_behind() {
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    raise_limit();
    let (streams, hold) = size(10_000);
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "gateway_of_the_rehearsal", "--nocapture", "--ignored"]);
    // The second word comes when all have begun and have been held.
    let pace = hold + Duration::from_secs(if is_long() { 30 } else { 3 });
    command.env("STAGEDOOR_TEST_PACE_MS", pace.as_millis().to_string());
    let gateway = Gateway::start(command, &format!("[providers.p]\ndialect = \"rehearsal\"\n{CLOCKS}"));
    block_on(async { run(&gateway, streams, hold, || ()).await.judge("the rehearsal") });
}

#[test]
#[ignore = "no test: the gateway that the one above starts as a process of its own"]
fn gateway_of_the_rehearsal() {
    let Some(pace) = std::env::var("STAGEDOOR_TEST_PACE_MS").ok().and_then(|text| text.parse().ok()) else { return };
    raise_limit();
    let script = Script {
        latency: Duration::ZERO,
        pace: Duration::from_millis(pace),
        words: Some(2),
        text: Some("one two".into()),
        ..Script::default()
    };
    let source = Source {
        settings_file: Some("settings.toml".into()),
        folder: ".".into(),
        env: std::env::vars()
            .filter(|(name, _)| name.starts_with("STAGEDOOR__"))
            .chain([("STAGEDOOR__STORE__URL".to_owned(), String::new())])
            .collect(),
        ..Source::default()
    };
    let settings = load(&source).unwrap_or_else(|invalid| panic!("{invalid}"));
    actix_rt::System::new().block_on(async move {
        let app = App::build(settings, Parts { script, ..Parts::default() }).unwrap_or_else(|error| panic!("{error}"));
        println!("\nthe gateway listens on http://{}", app.address());
        std::io::stdout().flush().unwrap();
        app.run_until_stopped().await.unwrap();
    });
}
