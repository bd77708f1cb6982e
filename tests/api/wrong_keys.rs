//! Whoever tries keys: each try is refused, from the thousandth on with 429, and nobody else notices. Row 48.
//!
//! By default 1,000 a second for two seconds. With STAGEDOOR_TEST_LONG=1 10,000 a second for ten, and the callers' p99 is judged,
//! which is a release build's: `STAGEDOOR_TEST_LONG=1 cargo test --release --test api row_48 -- --nocapture`.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::support::load::{Sample, paced, quantile};
use super::support::{Client, Process, Reply, TestApp, Upstream, answer, chat_body, read_until};

const KEY: &str = "sk-good-0123456789abcdef0123456789";
const ADMIN_KEY: &str = "sk-admin-0123456789abcdef01234";
/// Connections that tries come by.
const CONNECTIONS: usize = 4;
/// Tries that are sent together.
const TOGETHER: usize = 50;
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

/// A request with a key that nobody has: one that looks like the gateway's own, another's, or none at all.
fn attempt(number: usize) -> String {
    let authorization = match number % 10 {
        // These wait for the store, and with them what is behind them on their connection.
        0 => format!("authorization: Bearer {}\r\n", stagedoor::clock::issued_key().expose()),
        1..7 => format!("authorization: Bearer sk-{number:032}\r\n"),
        _ => String::new(),
    };
    format!("GET /v1/models HTTP/1.1\r\nhost: gateway\r\n{authorization}\r\n")
}

/// The statuses of so many answers, counted: 401, 429, others.
fn statuses(stream: &mut TcpStream, left: &mut Vec<u8>, count: usize) -> [usize; 3] {
    let (mut seen, mut buffer) = ([0; 3], [0; 32 * 1024]);
    for _ in 0..count {
        let end = loop {
            if let Some(end) = left.windows(4).position(|window| window == b"\r\n\r\n") {
                let head = String::from_utf8_lossy(&left[..end]).to_ascii_lowercase();
                let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok()).unwrap_or(0);
                if left.len() >= end + 4 + length {
                    break end + 4 + length;
                }
            }
            let count = stream.read(&mut buffer).unwrap();
            assert!(count > 0, "it was hung up on");
            left.extend_from_slice(&buffer[..count]);
        };
        seen[match left.get(9..12) {
            Some(b"401") => 0,
            Some(b"429") => 1,
            _ => 2,
        }] += 1;
        left.drain(..end);
    }
    seen
}

/// So many wrong keys a second, for so long; what was answered, and how many there were a second.
fn attack(address: SocketAddr, per_second: usize, span: Duration) -> ([usize; 3], f64) {
    let begun = Instant::now();
    let pause = Duration::from_secs_f64((CONNECTIONS * TOGETHER) as f64 / per_second as f64);
    let seen = std::thread::scope(|scope| {
        let attackers = (0..CONNECTIONS).map(|own| {
            scope.spawn(move || {
                let mut stream = Client::new(address).connect();
                let (mut seen, mut left, mut round) = ([0; 3], Vec::new(), 0);
                while begun.elapsed() < span {
                    let tries: String = (0..TOGETHER).map(|n| attempt((round as usize * CONNECTIONS + own) * TOGETHER + n)).collect();
                    stream.write_all(tries.as_bytes()).unwrap();
                    let of_these = statuses(&mut stream, &mut left, TOGETHER);
                    seen.iter_mut().zip(of_these).for_each(|(all, more)| *all += more);
                    round += 1;
                    std::thread::sleep((pause * round).saturating_sub(begun.elapsed()));
                }
                seen
            })
        });
        let attackers: Vec<_> = attackers.collect();
        attackers.into_iter().map(|attacker| attacker.join().unwrap()).fold([0; 3], |all, one| [0, 1, 2].map(|n| all[n] + one[n]))
    });
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

/// Good calls for so long, and how long each took.
fn calls(client: Client, span: Duration) -> Vec<Sample> {
    const PER_SECOND: usize = 100;
    let samples = paced(client, (span.as_secs_f64() * PER_SECOND as f64) as usize, PER_SECOND, 8, good);
    assert!(samples.iter().all(|sample| sample.reply.status == 200), "a good key is served, whoever else is there");
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
