//! FAULTS 30 to 38: what callers do wrong, or do to harm: they leave, stall, send too much, or send what two readers would
//! read differently.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::support::{
    ADMIN, Leaving, Process, Reply, STREAM_END, STREAM_HEAD, TestApp, Upstream, Waiting, answer, chat_body, chat_bytes, chunk, event,
    read_rest, read_until, stream, stream_body,
};

/// From the caller's end to the upstream's.
const LET_GO: Duration = Duration::from_millis(100);

fn one(upstream: &Upstream, more: &str) -> String {
    format!("{more}\n{}[models.m]\ntargets = [{{ provider = \"p\", model = \"up\" }}]\n", upstream.provider("p"))
}

fn requests(app: &TestApp, status: u16, stream: bool) -> f64 {
    app.metric(&format!("stagedoor_requests_total{{model=\"m\",status=\"{status}\",stream=\"{stream}\"}}"))
}

/// A caller who left is nobody's failure: counted once as such, no vote, nothing still held.
fn left_behind_nothing(app: &TestApp, stream: bool) {
    app.until("the caller is counted as gone", |app| requests(app, 499, stream) == 1.0);
    let abandoned = "stagedoor_attempts_total{provider=\"p\",model=\"up\",outcome=\"abandoned\"}";
    app.until("its attempt is counted", |app| app.metric(abandoned) == 1.0);
    assert_eq!(app.metric("stagedoor_in_flight{provider=\"p\"}"), 0.0);
    let provider = &app.health()["providers"]["p"];
    assert_eq!((&provider["breaker"], &provider["window"]["failures"]), (&"closed".into(), &0.into()), "{provider}");
    assert_eq!(requests(app, 200, stream), 0.0);
}

/// What comes of requests that are sent in one go.
fn at_once(app: &TestApp, requests: &[Vec<u8>]) -> String {
    let mut connection = app.client().connect();
    connection.write_all(&requests.concat()).unwrap();
    read_rest(&mut connection)
}

#[test]
fn behind_the_last_request_of_a_connection_nothing_is_done() {
    let upstream = Upstream::by(|call| if call.text().contains("\"stream\":true") { stream(&["one ", "two"]) } else { answer("hi") });
    let app = TestApp::start(&one(&upstream, ""));
    let next = chat_bytes(&[], &chat_body("m"));
    let last = [("connection", "close")];
    let old = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap().replacen("HTTP/1.1", "HTTP/1.0", 1).into_bytes();
    for (first, end) in [
        (chat_bytes(&last, &chat_body("m")), "\"hi\""),
        (chat_bytes(&last, &stream_body("m")), "[DONE]"),
        (old(chat_bytes(&[], &chat_body("m"))), "\"hi\""),
        (b"GET /health/live HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n".to_vec(), "ok"),
    ] {
        let calls = upstream.count() + usize::from(first.starts_with(b"POST"));
        let heard = at_once(&app, &[first, next.clone(), next.clone()]);
        let (answered, behind) = heard.split_once("HTTP/1.1 400 Bad Request\r\n").unwrap_or_else(|| panic!("{heard}"));
        assert!(answered.starts_with("HTTP/1.") && answered.contains(" 200 OK\r\n") && answered.contains(end), "{heard}");
        assert!(!behind.contains("200 OK"), "{heard}");
        assert_eq!(upstream.count(), calls, "{heard}");
    }
    let calls = upstream.count();
    let heard = at_once(&app, &[next.clone(), chat_bytes(&last, &chat_body("m"))]);
    assert_eq!((heard.matches("200 OK").count(), upstream.count()), (2, calls + 2), "those before it are served: {heard}");
    // An answer that says so is the last one, too.
    let (large, small) =
        (format!("{{\"a\":\"{}\"}}", "x".repeat(2_000)), TestApp::start(&one(&upstream, "[server]\nmax_body = \"1KiB\"\n")));
    let heard = at_once(&small, &[chat_bytes(&[], &large), next]);
    assert!(heard.starts_with("HTTP/1.1 413") && !heard.contains("200 OK"), "{heard}");
}

#[test]
fn a_connection_is_kept_whatever_version_others_speak() {
    let upstream = Upstream::by(|call| if call.text().contains("\"stream\":true") { stream(&["one ", "two"]) } else { answer("hi") });
    let app = TestApp::start(&one(&upstream, "[server]\nworkers = 1\n"));
    let old = |headers: &[(&str, &str)], body: &str| {
        String::from_utf8(chat_bytes(headers, body)).unwrap().replacen("HTTP/1.1", "HTTP/1.0", 1).into_bytes()
    };
    let kept = [("connection", "keep-alive")];
    for (asks, end) in [(chat_body("m"), "\"hi\""), (stream_body("m"), "[DONE]")] {
        let heard = at_once(&app, &[old(&[], &asks)]);
        assert!(heard.starts_with("HTTP/1.0 200 OK") && heard.contains(end), "{heard}");
        let new = [chat_bytes(&[], &asks), chat_bytes(&[], &asks), chat_bytes(&[("connection", "close")], &asks)];
        let heard = at_once(&app, &new);
        assert_eq!((heard.matches("200 OK").count(), heard.matches(end).count()), (3, 3), "{heard}");
        let heard = at_once(&app, &[old(&kept, &chat_body("m")), old(&kept, &chat_body("m")), old(&[], &asks)]);
        assert_eq!(heard.matches("200 OK").count(), 3, "{heard}");
    }
}

#[test]
fn row_30_a_caller_who_leaves_before_the_head_frees_the_upstream() {
    for body in [chat_body("m"), stream_body("m")] {
        for leaving in Leaving::both() {
            let waiting = Waiting::after("");
            let app = TestApp::start(&one(&waiting.upstream, ""));
            let mut caller = app.client().connect();
            caller.write_all(&chat_bytes(&[], &body)).unwrap();
            waiting.until_called();
            let since = Instant::now();
            let _kept = leaving.go(caller);
            let took = waiting.until_shut(since);
            assert!(took < LET_GO, "{leaving:?}: {took:?}");
            left_behind_nothing(&app, body.contains("stream"));
        }
    }
}

#[test]
fn row_30_a_caller_who_leaves_inside_its_own_body_reaches_no_upstream() {
    let upstream = Upstream::answering(answer("hi"));
    let app = TestApp::start(&one(&upstream, ""));
    let bytes = chat_bytes(&[], &chat_body("m"));
    let mut caller = app.client().connect();
    caller.write_all(&bytes[..bytes.len() - 5]).unwrap();
    drop(caller);
    assert_eq!(app.chat("m").status, 200);
    assert_eq!(upstream.count(), 1);
}

#[test]
fn row_31_a_caller_who_leaves_a_silent_stream_frees_the_upstream() {
    for leaving in Leaving::both() {
        let waiting = Waiting::after(format!("{STREAM_HEAD}{}", chunk(&event("one"))));
        let app = TestApp::start(&one(&waiting.upstream, ""));
        let mut caller = app.client().connect();
        caller.write_all(&chat_bytes(&[], &stream_body("m"))).unwrap();
        read_until(&mut caller, "one");
        let since = Instant::now();
        let _kept = leaving.go(caller);
        let took = waiting.until_shut(since);
        assert!(took < LET_GO, "{leaving:?}: {took:?}");
        left_behind_nothing(&app, true);
    }
}

/// Waits until whoever is at a connection's other end has read all that was written.
fn until_read(stream: &TcpStream) {
    let port = |address: std::net::SocketAddr| format!(":{:04X}", address.port());
    let (own, other) = (port(stream.local_addr().unwrap()), port(stream.peer_addr().unwrap()));
    let waits = |table: &str| {
        let ends = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        let ends = ends.filter(|end| end.len() > 4 && end[1..3].iter().all(|at| at.ends_with(&own) || at.ends_with(&other)));
        // What is to be sent and what is to be read, at both.
        ends.filter(|end| end[4] != "00000000:00000000").count()
    };
    while waits(&std::fs::read_to_string("/proc/net/tcp").unwrap()) > 0 {
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn row_31_what_an_upstream_has_told_counts_though_its_caller_left_before_that_was_read() {
    // The caller takes nothing: behind a first word that is larger than all buffers, the rest of its piece is at hand and unread.
    let usage = "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":20,\"completion_tokens\":4321}}\n\n";
    let text = event(&"x".repeat(24 << 20)) + &STREAM_END.replace("data: [DONE]", &format!("{usage}data: [DONE]"));
    // One piece, since a reader has room for a kilobyte at least, and nothing is before it.
    let (word, piece) = text.split_at(text.len() - 600);
    let (word, piece) = (format!("{STREAM_HEAD}{}", chunk(word)), format!("{}0\r\n\r\n", chunk(piece)));
    let upstream = Upstream::start(move |_, stream| {
        stream.write_all(word.as_bytes()).unwrap();
        until_read(stream);
        stream.write_all(piece.as_bytes()).is_ok()
    });
    let app = TestApp::start(&one(&upstream, "[server]\nmax_event = \"64MiB\"\n"));
    let mut caller = app.client().connect();
    caller.write_all(&chat_bytes(&[], &stream_body("m"))).unwrap();
    caller.peek(&mut [0]).unwrap();
    drop(caller);
    app.until("the caller is gone", |app| requests(app, 499, true) == 1.0);
    let told = |app: &TestApp, kind: &str| app.metric(&format!("stagedoor_tokens_total{{model=\"m\",kind=\"{kind}\"}}"));
    app.until("what it used is told", |app| told(app, "output") > 0.0);
    assert_eq!(["input", "output"].map(|kind| told(&app, kind)), [20.0, 4321.0]);
}

#[test]
fn row_31_a_caller_who_leaves_while_heartbeats_go_out_frees_the_upstream() {
    let waiting = Waiting::after(STREAM_HEAD);
    let app = TestApp::start(&one(&waiting.upstream, "[server]\nheartbeat = \"20ms\""));
    let mut caller = app.client().connect();
    caller.write_all(&chat_bytes(&[], &stream_body("m"))).unwrap();
    read_until(&mut caller, ": ");
    let since = Instant::now();
    drop(caller);
    let took = waiting.until_shut(since);
    assert!(took < LET_GO, "{took:?}");
    left_behind_nothing(&app, true);
}

#[test]
fn row_32_a_caller_who_never_reads_is_cut_and_the_upstream_is_paused_meanwhile() {
    let given = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&given);
    let upstream = Upstream::start(move |_, stream| {
        let piece = chunk(&event(&"x".repeat(16 * 1024)));
        if stream.write_all(STREAM_HEAD.as_bytes()).is_ok() {
            while stream.write_all(piece.as_bytes()).is_ok() {
                counter.fetch_add(piece.len() as u64, Ordering::Relaxed);
            }
        }
        false
    });
    let app = TestApp::start(&one(&upstream, "[server]\nsend_timeout = \"1s\""));
    let mut caller = app.client().connect();
    caller.write_all(&chat_bytes(&[], &stream_body("m"))).unwrap();
    app.until("the deaf caller is cut", |app| requests(app, 499, true) == 1.0);
    app.until("the upstream is let go", |_| upstream.open() == 0);
    // What the kernel's four socket buffers take, and little of ours: without a pause it would be all that a second gives.
    let most = 24 << 20;
    assert!(given.load(Ordering::Relaxed) < most, "{} bytes taken from the upstream", given.load(Ordering::Relaxed));
    assert_eq!(app.health()["providers"]["p"]["window"]["failures"], 0);
    drop(caller);
}

/// Writes a byte now and then until the gateway answers or closes; gives the answer.
fn drip(mut caller: TcpStream, bytes: &[u8]) -> String {
    let mut bytes = bytes.iter().cycle();
    caller.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    let end = Instant::now() + Duration::from_secs(10);
    let mut peeked = [0; 1];
    loop {
        match caller.peek(&mut peeked) {
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Ok(_) | Err(_) => break,
        }
        assert!(Instant::now() < end, "it takes drops for ever");
        let _ = caller.write_all(&[*bytes.next().unwrap()]);
    }
    caller.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    read_rest(&mut caller)
}

#[test]
fn row_33_a_head_that_drips_is_ended_in_its_time() {
    let upstream = Upstream::answering(answer("hi"));
    let app = TestApp::start(&one(&upstream, "[server]\nheader_timeout = \"500ms\""));
    let slow: Vec<_> = (0..20).map(|_| app.client().connect()).collect();
    let since = Instant::now();
    let dripping: Vec<_> = slow
        .into_iter()
        .map(|caller| std::thread::spawn(move || drip(caller, b"GET /v1/models HTTP/1.1\r\nx-long: aaaaaaaaaaaaaaaa")))
        .collect();
    while since.elapsed() < Duration::from_millis(400) {
        assert_eq!(app.chat("m").status, 200);
    }
    for caller in dripping {
        let answer = caller.join().unwrap();
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408 "), "{answer}");
    }
    assert!(since.elapsed() < Duration::from_secs(5), "{:?}", since.elapsed());
}

#[test]
fn row_33_half_a_head_in_one_piece_is_ended_however_short_its_time() {
    let upstream = Upstream::answering(answer("hi"));
    let app = TestApp::start(&one(&upstream, "[server]\nheader_timeout = \"50ms\""));
    for _ in 0..10 {
        let since = Instant::now();
        let answer = app.client().raw(b"GET /v1/models HTTP/1.1\r\nx-long: aaaaaaaaaaaaaaaa");
        assert_eq!(answer.status, 408);
        assert!(since.elapsed() < Duration::from_secs(5), "{:?}", since.elapsed());
    }
}

#[test]
fn row_33_a_body_that_drips_is_408_in_its_time() {
    let upstream = Upstream::answering(answer("hi"));
    let app = TestApp::start(&one(&upstream, "[server]\nbody_timeout = \"500ms\""));
    let head = "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n";
    for (length, drops) in [("content-length: 100000", " "), ("transfer-encoding: chunked", "1\r\n \r\n")] {
        let mut caller = app.client().connect();
        caller.write_all(format!("{head}{length}\r\n\r\n").as_bytes()).unwrap();
        let since = Instant::now();
        let dripping = std::thread::spawn(move || drip(caller, drops.as_bytes()));
        while since.elapsed() < Duration::from_millis(400) {
            assert_eq!(app.chat("m").status, 200);
        }
        let answer = dripping.join().unwrap();
        assert!(answer.starts_with("HTTP/1.1 408 ") && answer.contains("\"request_timeout\""), "{length}: {answer}");
        assert!(answer.to_lowercase().contains("connection: close"), "{answer}");
        assert!(since.elapsed() < Duration::from_secs(5), "{:?}", since.elapsed());
    }
    let unknown = "stagedoor_requests_total{model=\"unknown\",status=\"408\",stream=\"false\"}";
    assert_eq!(app.metric(unknown), 2.0);
}

#[test]
fn row_33_a_body_that_nobody_reads_holds_no_connection() {
    let upstream = Upstream::answering(answer("hi"));
    let app = TestApp::administered(&one(&upstream, ""));
    let client = app.client();
    let asked = move |line: &str, headers: &str, body: &str| {
        let mut caller = client.connect();
        let head = format!("{line} HTTP/1.1\r\nhost: localhost\r\nauthorization: {ADMIN}\r\n{headers}");
        caller.write_all(format!("{head}\r\n{body}").as_bytes()).unwrap();
        caller
    };
    let open = ["/", "/health", "/health/live", "/health/ready", "/metrics", "/openapi.json", "/dashboard", "/v1/models", "/admin/session"];
    let endless = |path: &str| {
        for endless in ["transfer-encoding: chunked\r\n", "content-length: 5\r\n"] {
            let answer = read_rest(&mut asked(&format!("GET {path}"), endless, ""));
            assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("\"invalid_body\""), "{path} {endless}: {answer}");
        }
        // Who ends it has its answer, and the next one by the same connection.
        let mut caller = asked(&format!("GET {path}"), "transfer-encoding: chunked\r\n", "2\r\n{}\r\n0\r\n\r\n");
        assert!(read_until(&mut caller, "\r\n\r\n").starts_with("HTTP/1.1 200 "), "{path}");
        caller.write_all(b"GET /nothing HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").unwrap();
        assert!(read_rest(&mut caller).contains("HTTP/1.1 404 "), "{path}");
    };
    let unserved = |(line, status): (&str, u16)| {
        let answer = read_rest(&mut asked(line, "transfer-encoding: chunked\r\n", ""));
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{line}: {answer}");
    };
    // Each waits for a connection's end, which takes its time.
    std::thread::scope(|scope| {
        for path in open {
            scope.spawn(move || endless(path));
        }
        for case in [("POST /nothing", 404), ("PUT /v1/models", 405), ("POST /admin/nothing", 404), ("PUT /admin/keys", 405)] {
            scope.spawn(move || unserved(case));
        }
    });
}

const FIFTY_MB: usize = 50 << 20;

#[test]
fn row_35_a_body_that_announces_too_much_is_413_before_it_is_sent() {
    let upstream = Upstream::answering(answer("hi"));
    let app = TestApp::start(&one(&upstream, "[server]\nmax_body = \"64KiB\""));
    let head = "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n";
    too_large(&app.client().raw(format!("{head}content-length: {FIFTY_MB}\r\n\r\n").as_bytes()));
    let mut asking = app.client().connect();
    asking.write_all(format!("{head}expect: 100-continue\r\ncontent-length: {FIFTY_MB}\r\n\r\n").as_bytes()).unwrap();
    assert!(read_rest(&mut asking).contains("HTTP/1.1 413 "));
    assert_eq!(upstream.count(), 0);
}

/// Sends chunks for as long as they are taken; gives the answer.
fn pour(app: &TestApp, headers: &str) -> String {
    let mut caller = app.client().connect();
    let head = format!("POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n{headers}");
    caller.write_all(format!("{head}transfer-encoding: chunked\r\n\r\n").as_bytes()).unwrap();
    let mut reading = caller.try_clone().unwrap();
    let answer = std::thread::spawn(move || read_rest(&mut reading));
    let piece = chunk(&"x".repeat(16 * 1024));
    let end = Instant::now() + Duration::from_secs(10);
    while caller.write_all(piece.as_bytes()).is_ok() {
        assert!(Instant::now() < end, "it takes what it has refused, for ever");
    }
    answer.join().unwrap()
}

#[test]
fn row_35_a_chunked_body_without_end_is_413_and_cut() {
    let upstream = Upstream::answering(answer("hi"));
    let app = TestApp::start(&one(&upstream, "[server]\nmax_body = \"64KiB\""));
    let answer = pour(&app, "");
    assert!(answer.starts_with("HTTP/1.1 413 ") && answer.contains("\"body_too_large\""), "{answer}");
    assert_eq!(upstream.count(), 0);
}

#[test]
fn row_35_a_stranger_pours_nothing_in() {
    let upstream = Upstream::answering(answer("hi"));
    let keys = "[auth]\nkeys = [{ name = \"app\", key = { value = \"a-key-of-some-length-0001\" } }]";
    let app = TestApp::start(&one(&upstream, keys));
    let answer = pour(&app, "authorization: Bearer another\r\n");
    assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
    assert!(answer.to_lowercase().contains("connection: close"), "{answer}");
}

#[test]
fn row_35_a_body_of_just_the_size_passes_and_one_byte_more_does_not() {
    let upstream = Upstream::answering(answer("hi"));
    let app = TestApp::start(&one(&upstream, "[server]\nmax_body = \"64KiB\""));
    let body = chat_body("m");
    let full = format!("{body}{}", " ".repeat((64 << 10) - body.len()));
    assert_eq!(app.client().post("/v1/chat/completions", &[], &full).status, 200);
    too_large(&app.client().post("/v1/chat/completions", &[], &format!("{full} ")));
}

fn too_large(reply: &Reply) {
    assert_eq!((reply.status, reply.code().as_str()), (413, "body_too_large"), "{}", reply.text());
    assert_eq!(reply.header("connection"), Some("close"));
    assert_eq!(reply.header("x-should-retry"), Some("false"));
    assert!(reply.header("x-request-id").is_some());
}

#[test]
fn row_36_a_body_too_deep_or_with_a_million_messages_is_400() {
    let upstream = Upstream::answering(answer("hi"));
    let app = TestApp::start(&one(&upstream, ""));
    let deep = format!(r#"{{"model":"m","messages":[{{"role":"user","content":"a"}}],"x":{}{}}}"#, "[".repeat(200), "]".repeat(200));
    let reply = app.client().post("/v1/chat/completions", &[], &deep);
    assert_eq!((reply.status, reply.code().as_str()), (400, "too_deep"));
    let message = r#"{"role":"user","content":""}"#;
    let many = format!(r#"{{"model":"m","messages":[{}{message}]}}"#, format!("{message},").repeat(999_999));
    let reply = app.client().post("/v1/chat/completions", &[], &many);
    assert_eq!((reply.status, reply.code().as_str()), (400, "too_many_messages"));
    assert_eq!(upstream.count(), 0);
}

#[test]
fn row_36_a_compressed_request_is_415_unread() {
    let upstream = Upstream::answering(answer("hi"));
    let app = TestApp::start(&one(&upstream, ""));
    let head = "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n";
    for encoding in ["gzip", "br", "deflate", "zstd", "x-of-my-own", "identity, gzip"] {
        // None of the body is ever sent.
        let reply = app.client().raw(format!("{head}content-encoding: {encoding}\r\ncontent-length: 10000\r\n\r\n").as_bytes());
        assert_eq!((reply.status, reply.code().as_str()), (415, "unsupported_encoding"), "{encoding}");
    }
    assert_eq!(upstream.count(), 0);
}

/// Sends a request that two readers could read differently, and behind it another: one 400, then the connection's end.
fn refused_and_closed(app: &TestApp, what: &str, request: &str) {
    let mut caller = app.client().connect();
    caller.write_all(request.as_bytes()).unwrap();
    let _ = caller.write_all(b"GET /health/live HTTP/1.1\r\nhost: localhost\r\n\r\n");
    let answer = read_rest(&mut caller);
    assert!(answer.starts_with("HTTP/1.1 400 "), "{what}: {answer:?}");
    assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{what}: {answer:?}");
}

#[test]
fn row_37_what_could_be_read_in_two_ways_is_400_and_closed() {
    let upstream = Upstream::answering(answer("hi"));
    let app = TestApp::start(&one(&upstream, ""));
    let head = "POST /v1/chat/completions HTTP/1.1\r\ncontent-type: application/json\r\n";
    let body = chat_body("m");
    let length = body.len();
    let chunked = format!("{length:x}\r\n{body}\r\n0\r\n\r\n");
    let cases = [
        ("CL and TE", format!("{head}host: localhost\r\ncontent-length: {length}\r\ntransfer-encoding: chunked\r\n\r\n{chunked}")),
        ("TE and CL", format!("{head}host: localhost\r\ntransfer-encoding: chunked\r\ncontent-length: {length}\r\n\r\n{chunked}")),
        ("two CL", format!("{head}host: localhost\r\ncontent-length: {length}\r\ncontent-length: {}\r\n\r\n{body}", length - 1)),
        ("a CL list", format!("{head}host: localhost\r\ncontent-length: {length}, {length}\r\n\r\n{body}")),
        ("a signed CL", format!("{head}host: localhost\r\ncontent-length: +{length}\r\n\r\n{body}")),
        ("TE of another kind", format!("{head}host: localhost\r\ntransfer-encoding: chunked, identity\r\n\r\n{chunked}")),
        ("an odd TE", format!("{head}host: localhost\r\ntransfer-encoding: xchunked\r\n\r\n{chunked}")),
        ("two TE", format!("{head}host: localhost\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n{chunked}")),
        ("two Host", format!("{head}host: localhost\r\nhost: example.org\r\ncontent-length: {length}\r\n\r\n{body}")),
        ("a folded header", format!("{head}host: localhost\r\nx-a: b\r\n c: d\r\ncontent-length: {length}\r\n\r\n{body}")),
        ("a space before the colon", format!("{head}host: localhost\r\ncontent-length : {length}\r\n\r\n{body}")),
    ];
    for (what, request) in cases {
        refused_and_closed(&app, what, &request);
    }
    assert_eq!(upstream.count(), 0);
    assert_eq!(app.chat("m").status, 200);
}

#[test]
fn row_37_a_chunk_that_can_not_be_read_is_400_and_closed() {
    let upstream = Upstream::answering(answer("hi"));
    let app = TestApp::start(&one(&upstream, ""));
    let head =
        "POST /v1/chat/completions HTTP/1.1\r\ncontent-type: application/json\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n";
    for bad in ["zz\r\n{}\r\n0\r\n\r\n", "-2\r\n{}\r\n0\r\n\r\n", "2\r\n{}xx0\r\n\r\n", "fffffffffffffffff\r\n{}\r\n0\r\n\r\n"] {
        refused_and_closed(&app, bad, &format!("{head}{bad}"));
    }
    assert_eq!(upstream.count(), 0);
}

#[test]
fn row_38_control_characters_in_a_header_are_400() {
    let upstream = Upstream::answering(answer("hi"));
    let app = TestApp::start(&one(&upstream, ""));
    for value in ["a\rb", "a\r\rb", "a\0b", "a\nb", "a\x01b", "a\x7fb"] {
        let request = format!("POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ntraceparent: {value}\r\n");
        let body = chat_body("m");
        let request = format!("{request}content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        refused_and_closed(&app, &format!("{value:?}"), &request);
    }
    assert_eq!(upstream.count(), 0);
}

#[test]
fn row_38_control_characters_in_a_settings_header_are_refused() {
    let settings = |folder: &Path| {
        let text = "[providers.p]\ndialect = \"openai\"\nbase_url = \"http://localhost/v1\"\nkeys = []\nheaders = { x-a = \"b\\r\\nx-evil: 1\", x-c = \"\\u0000\" }\n[models.m]\ntargets = [{ provider = \"p\", model = \"up\" }]\n";
        std::fs::write(folder.join("s.toml"), text).unwrap();
    };
    let finished = Process::run(&["check", "--settings", "s.toml"], &[], settings).finish();
    assert_eq!(finished.code, Some(1), "{finished:?}");
    for path in ["providers.p.headers.x-a", "providers.p.headers.x-c"] {
        assert!(finished.stderr.contains(path), "{finished:?}");
    }
}

#[test]
fn a_head_that_is_too_large_is_refused_and_closed() {
    let upstream = Upstream::answering(answer("hi"));
    let app = TestApp::start(&one(&upstream, ""));
    let mut caller = app.client().connect();
    let _ = caller.write_all(b"GET /v1/models HTTP/1.1\r\nhost: localhost\r\n");
    let line = format!("x-a: {}\r\n", "a".repeat(1_000));
    let mut sent = 0;
    while sent < 10_000 && caller.write_all(line.as_bytes()).is_ok() {
        sent += 1;
    }
    let mut answer = Vec::new();
    let _ = caller.read_to_end(&mut answer);
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
    assert!(sent < 10_000, "it took ten megabytes of head");
}
