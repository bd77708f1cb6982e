//! Whoever tries keys: each try is refused, from the thousandth on with 429, and nobody else notices. Row 48.
//!
//! The upstream answers at once and callers keep their connections: what a refusal costs isn't hidden behind what they wait for.
//!
//! By default 1,000 a second for two seconds. With STAGEDOOR_TEST_LONG=1 10,000 a second for ten, and the callers' p99 is judged,
//! which is a release build's: `STAGEDOOR_TEST_LONG=1 cargo test --release --test api row_48 -- --nocapture`.

use std::cell::RefCell;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::support::load::{Sample, paced, quantile};
use super::support::{Client, Process, Reply, TestApp, Upstream, answer, chat_body, read_until};

const KEY: &str = "sk-good-0123456789abcdef0123456789";
const ADMIN_KEY: &str = "sk-admin-0123456789abcdef01234";
/// Connections that tries come by.
const CONNECTIONS: usize = 64;
/// What the gateway's memory may grow by while it is tried, in KB: buffers find their size.
const MOST_KB: usize = 4_096;

fn is_long() -> bool {
    std::env::var_os("STAGEDOOR_TEST_LONG").is_some()
}

fn settings(upstream: &Upstream) -> String {
    format!(
        "[store]\nurl = \"sqlite://keys.db\"\n[admin]\nkey = {{ value = \"{ADMIN_KEY}\" }}\n[[auth.keys]]\nname = \"good\"\nkey = {{ value = \"{KEY}\" }}\n{}\
         [models.m]\ntargets = [{{ provider = \"p\", model = \"up\" }}]\n",
        upstream.provider("p")
    )
}

fn good(client: Client) -> Reply {
    client.post("/v1/chat/completions", &[("authorization", &format!("Bearer {KEY}"))], &chat_body("m"))
}

/// A call as an SDK makes it.
fn call(headers: &str) -> String {
    let body = chat_body("m");
    let head = "POST /v1/chat/completions HTTP/1.1\r\nhost: gateway\r\ncontent-type: application/json\r\n";
    format!("{head}{headers}content-length: {}\r\n\r\n{body}", body.len())
}

/// A request with a key that nobody has: one that looks like the gateway's own, another's, or none at all.
fn attempt(number: usize) -> String {
    match number % 10 {
        // These wait for the store, and with them what is behind them on their connection.
        0 => call(&format!("authorization: Bearer {}\r\n", stagedoor::clock::issued_key().expose())),
        1..7 => call(&format!("authorization: Bearer sk-{number:032}\r\n")),
        7 => "GET /v1/models HTTP/1.1\r\nhost: gateway\r\n\r\n".to_owned(),
        _ => call(""),
    }
}

/// A connection that is kept, and what came by it that nobody has asked for yet.
struct Kept {
    stream: TcpStream,
    left: Vec<u8>,
}

impl Kept {
    fn new(client: Client) -> Self {
        Self { stream: client.connect(), left: Vec::new() }
    }

    /// The next answer's status.
    fn status(&mut self) -> u16 {
        let mut buffer = [0; 32 * 1024];
        let end = loop {
            if let Some(end) = self.left.windows(4).position(|window| window == b"\r\n\r\n") {
                let head = String::from_utf8_lossy(&self.left[..end]).to_ascii_lowercase();
                let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok()).unwrap_or(0);
                if self.left.len() >= end + 4 + length {
                    break end + 4 + length;
                }
            }
            let count = self.stream.read(&mut buffer).unwrap();
            assert!(count > 0, "it was hung up on");
            self.left.extend_from_slice(&buffer[..count]);
        };
        let answer: Vec<u8> = self.left.drain(..end).collect();
        std::str::from_utf8(&answer[9..12]).unwrap().parse().unwrap()
    }
}

/// So many wrong keys a second, for so long; what was answered, and how many there were a second. One thread goes round the
/// connections: threads of their own would take more of the machine's time than the gateway that is judged.
fn attack(address: SocketAddr, per_second: usize, span: Duration) -> ([usize; 3], f64) {
    let pause = Duration::from_secs_f64(1.0 / per_second as f64);
    let mut connections: Vec<_> = (0..CONNECTIONS).map(|_| Kept::new(Client::new(address))).collect();
    let (mut seen, mut turn, begun) = ([0; 3], 0, Instant::now());
    let mut count = |status: u16| {
        seen[match status {
            401 => 0,
            429 => 1,
            _ => 2,
        }] += 1;
    };
    while begun.elapsed() < span {
        let kept = &mut connections[turn % CONNECTIONS];
        if turn >= CONNECTIONS {
            count(kept.status());
        }
        // Alone on its connection: actix never closes one on which the next request waits already.
        kept.stream.write_all(attempt(turn).as_bytes()).unwrap();
        turn += 1;
        std::thread::sleep((pause * turn as u32).saturating_sub(begun.elapsed()));
    }
    connections.iter_mut().take(turn).for_each(|kept| count(kept.status()));
    (seen, seen.iter().sum::<usize>() as f64 / begun.elapsed().as_secs_f64())
}

/// Wrong keys until there were too many.
fn provoke(address: SocketAddr) {
    let mut seen = [0; 3];
    while seen[1] == 0 {
        let (more, _) = attack(address, 5_000, Duration::from_millis(300));
        seen.iter_mut().zip(more).for_each(|(all, more)| *all += more);
        assert!(seen[0] < 3_000 && seen[2] == 0, "{seen:?}");
    }
    assert!(seen[0] >= 1_000, "{seen:?}");
}

/// Good calls for so long by connections that are kept, and how long each took.
fn calls(client: Client, span: Duration) -> Vec<Sample<u16>> {
    const PER_SECOND: usize = 200;
    thread_local!(static KEPT: RefCell<Option<Kept>> = const { RefCell::new(None) });
    let good = call(&format!("authorization: Bearer {KEY}\r\n"));
    let samples = paced(client, (span.as_secs_f64() * PER_SECOND as f64) as usize, PER_SECOND, 8, |client| {
        KEPT.with_borrow_mut(|kept| {
            let kept = kept.get_or_insert_with(|| Kept::new(client));
            kept.stream.write_all(good.as_bytes()).unwrap();
            kept.status()
        })
    });
    assert!(samples.iter().all(|sample| sample.reply == 200), "a good key is served, whoever else is there");
    samples
}

#[test]
fn row_48_many_wrong_keys_are_refused_and_nobody_else_notices() {
    let upstream = Upstream::answering(answer("hi"));
    let gateway = Process::serve(&settings(&upstream), &[("STAGEDOOR_LOG", "error")]);
    let address = gateway.address();
    let (per_second, span) = if is_long() { (10_000, Duration::from_secs(10)) } else { (1_000, Duration::from_secs(2)) };
    let memory = || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", gateway.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        line.unwrap().trim().trim_end_matches(" kB").parse::<usize>().unwrap()
    };
    // Once without being judged: what is made once is there then.
    calls(gateway.client(), Duration::from_millis(500));
    provoke(address);
    let before = calls(gateway.client(), span);
    let (memory_before, asked) = (memory(), upstream.count());
    let ((seen, rate), during) = std::thread::scope(|scope| {
        let attack = scope.spawn(|| attack(address, per_second, span));
        let during = calls(gateway.client(), span);
        (attack.join().unwrap(), during)
    });
    let grown = memory().saturating_sub(memory_before);
    let (normal, tried) = (quantile(&before, 0.99), quantile(&during, 0.99));
    println!(
        "{rate:.0} wrong keys a second: {} x 401, {} x 429, {} others; good calls' p50 {:?} -> {:?}, p99 {normal:?} -> {tried:?}; memory +{grown} KB of {memory_before}",
        seen[0],
        seen[1],
        seen[2],
        quantile(&before, 0.5),
        quantile(&during, 0.5)
    );
    assert!(seen[2] == 0 && seen[1] > seen[0], "{seen:?}");
    assert!(rate >= per_second as f64 * 0.9, "{rate}");
    assert_eq!(upstream.count() - asked, during.len(), "no wrong key got through");
    assert!(grown <= MOST_KB, "{grown} KB more");
    let most = if is_long() { normal * 2 } else { normal * 2 + Duration::from_millis(100) };
    assert!(tried <= most, "{normal:?} -> {tried:?}");
}

/// What is answered to this much of a request, and whether the connection serves a good call then.
fn refused(app: &TestApp, parts: &[&str]) -> (u16, bool) {
    let mut kept = Kept::new(app.client());
    for part in parts {
        kept.stream.write_all(part.as_bytes()).unwrap();
        std::thread::sleep(Duration::from_millis(10));
    }
    let status = kept.status();
    let good = call(&format!("authorization: Bearer {KEY}\r\n"));
    // Who is hung up on may be so before or after it has asked again.
    let asked = kept.stream.write_all(good.as_bytes());
    let kept_open = asked.is_ok() && kept.stream.peek(&mut [0]).is_ok_and(|count| count > 0);
    (status, kept_open && kept.status() == 200)
}

#[test]
fn a_refused_request_keeps_its_connection_where_its_body_is_short_and_there() {
    let upstream = Upstream::answering(answer("hi"));
    let app = TestApp::start(&settings(&upstream));
    let wrong = "POST /v1/chat/completions HTTP/1.1\r\nhost: gateway\r\ncontent-type: application/json\r\n";
    let chunked = format!("{wrong}transfer-encoding: chunked\r\n\r\n");
    let of = |length: usize| format!("{wrong}content-length: {length}\r\n\r\n");
    let (most, more) = ("x".repeat(64 << 10), "x".repeat((64 << 10) + 1));
    assert_eq!(refused(&app, &[&call("")]), (401, true));
    assert_eq!(refused(&app, &[&of(4), "{ }\n"]), (401, true), "head and body apart");
    assert_eq!(refused(&app, &[&of(most.len()), &most]), (401, true));
    assert_eq!(refused(&app, &[&format!("{chunked}4\r\n{{ }}\n\r\n0\r\n\r\n")]), (401, true));
    assert_eq!(refused(&app, &[&call("content-encoding: gzip\r\n").replace("gateway", "g")]), (401, true));
    let knows = format!("authorization: Bearer {KEY}\r\n");
    assert_eq!(refused(&app, &[&call(&format!("{knows}content-encoding: gzip\r\n"))]), (415, true));
    // Who announces more, or doesn't send what it announced, is answered all the same, and hung up on.
    assert_eq!(refused(&app, &[&of(more.len())]), (401, false));
    assert_eq!(refused(&app, &[&of(4), "{"]), (401, false));
    assert_eq!(refused(&app, &[&chunked]), (401, false));
    assert_eq!(refused(&app, &[&format!("{chunked}10001\r\n{more}\r\n")]), (401, false));
    for (path, status) in [("/admin/keys", 401), ("/admin/breakers/p", 401)] {
        assert_eq!(refused(&app, &[&call("").replace("/v1/chat/completions", path)]), (status, true), "{path}");
    }
    assert_eq!(upstream.count(), 8, "each good call, no refused one");
}

#[test]
fn who_tries_too_many_is_told_so_and_the_right_key_is_served() {
    let upstream = Upstream::answering(answer("hi"));
    let app = TestApp::start(&settings(&upstream));
    provoke(app.address);
    let bearer = |key: &str| app.client().call("GET", "/v1/models", &[("authorization", &format!("Bearer {key}"))], "");
    // One may be looked at every 60 ms.
    let too_many = |path: &str| {
        let mut tries = (0..20).map(|_| app.client().call("GET", path, &[("authorization", "Bearer sk-wrong")], ""));
        tries.find(|reply| reply.status == 429).expect("it has sent too many")
    };
    let refused = too_many("/v1/models");
    assert_eq!(refused.code(), "rate_limit_exceeded");
    assert_eq!((refused.header("retry-after"), refused.header("x-should-retry")), (Some("1"), Some("false")));
    assert_eq!(refused.header("x-ratelimit-limit-requests"), None);
    too_many("/admin/keys");
    assert_eq!((bearer(KEY).status, good(app.client()).status), (200, 200));
    let admin = |path: &str, body: &str| app.client().post(path, &[("authorization", &format!("Bearer {ADMIN_KEY}"))], body);
    let made = admin("/admin/keys", r#"{"name": "new"}"#);
    assert_eq!(made.status, 201);
    assert_eq!(bearer(made.json()["key"].as_str().unwrap()).status, 200, "one that was made a moment ago");
    assert!(app.metric("stagedoor_limit_refusals_total{kind=\"wrong_keys\"}") >= 2.0);
    // Another address is another's: all of 127.0.0.0/8 is this machine. Of three, one at least has a counter of its own.
    let from = |own: &str| {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.bind(&own.parse::<SocketAddr>().unwrap().into()).unwrap();
        socket.connect(&app.address.into()).unwrap();
        let mut stream = TcpStream::from(socket);
        stream.write_all(attempt(1).as_bytes()).unwrap();
        read_until(&mut stream, "\r\n\r\n")
    };
    assert!(["127.0.0.2:0", "127.0.0.3:0", "127.0.0.4:0"].iter().any(|own| from(own).starts_with("HTTP/1.1 401")));
}
