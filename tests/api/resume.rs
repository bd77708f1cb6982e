//! Streams that a caller comes back to: the same bytes for every reader however often it left, counted once, for the key that
//! began them alone, and gone with their window.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::support::continuing::{Death, dying, end, finish, mortal, onward, says, text, words};
use super::support::faults::{provider_at, reset, settled};
use super::support::names::Gate;
use super::support::{
    Client, Process, Reply, STREAM_END, STREAM_HEAD, TestApp, Upstream, Waiting, chat_bytes, chunk, event, post_bytes, read_rest,
    read_until, status, stream_body, unchunked,
};

/// From the caller's word to the upstream's end.
const LET_GO: Duration = Duration::from_millis(100);
/// The same, on a machine that may have much else to do; a window is longer.
const SOON: Duration = Duration::from_secs(2);
pub(super) const RESUME: (&str, &str) = ("x-stagedoor-resume", "2m");

fn one(upstream: &Upstream, more: &str) -> String {
    format!("{more}\n{}[models.m]\ntargets = [{{ provider = \"p\", model = \"up\" }}]\n", upstream.provider("p"))
}

/// Says the sixty words, one in so many milliseconds, and its usage.
fn speaker(pace: u64) -> Upstream {
    Upstream::start(move |call, stream| {
        let first = format!("{STREAM_HEAD}{}", chunk(&says("up", serde_json::json!({"role": "assistant", "content": ""}), None)));
        let _ = stream.write_all(first.as_bytes());
        for word in words() {
            std::thread::sleep(Duration::from_millis(pace));
            if stream.write_all(chunk(&says("up", serde_json::json!({ "content": word }), None)).as_bytes()).is_err() {
                return false;
            }
        }
        finish(stream, &end("up", &call.json(), 60))
    })
}

/// A reader's connection, event by event.
pub(super) struct Reading {
    stream: TcpStream,
    got: Vec<u8>,
    taken: usize,
}

impl Reading {
    fn new(stream: TcpStream) -> Self {
        Self { stream, got: Vec::new(), taken: 0 }
    }

    fn begun(app: &TestApp, headers: &[(&str, &str)], body: &str) -> Self {
        Self::asked(app, "/v1/chat/completions", headers, body)
    }

    /// Of an answer at any path.
    pub(super) fn asked(app: &TestApp, path: &str, headers: &[(&str, &str)], body: &str) -> Self {
        let mut stream = app.client().connect();
        stream.write_all(&post_bytes(path, headers, body)).unwrap();
        Self::new(stream)
    }

    /// Back behind an event.
    pub(super) fn resumed(client: Client, id: &str, after: u64) -> Self {
        let mut stream = client.connect();
        let head = format!("GET /v1/streams/{id} HTTP/1.1\r\nhost: localhost\r\nlast-event-id: {after}\r\n\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        Self::new(stream)
    }

    /// The next event with all its bytes; None at the stream's end.
    pub(super) fn event(&mut self) -> Option<String> {
        let mut buffer = [0; 4096];
        loop {
            if let Some(end) = self.got.windows(4).position(|window| window == b"\r\n\r\n") {
                let (body, over) = unchunked(&self.got[end + 4..]);
                let rest = &body[self.taken..];
                let ids = rest.windows(4).position(|window| window == b"id: ").unwrap_or(0);
                if let Some(end) = rest[ids..].windows(2).position(|window| window == b"\n\n") {
                    self.taken += ids + end + 2;
                    return Some(String::from_utf8(rest[..ids + end + 2].to_vec()).unwrap());
                }
                if over {
                    return None;
                }
            }
            match self.stream.read(&mut buffer).unwrap() {
                0 => panic!("cut: {}", String::from_utf8_lossy(&self.got)),
                count => self.got.extend_from_slice(&buffer[..count]),
            }
        }
    }

    pub(super) fn header(&self, name: &str) -> String {
        let head = String::from_utf8_lossy(&self.got).into_owned();
        let line = head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix(&format!("{name}: ")).map(str::to_owned));
        line.unwrap_or_else(|| panic!("no {name} in {head}"))
    }
}

fn id_of(event: &str) -> u64 {
    event.lines().find_map(|line| line.strip_prefix("id: ")?.parse().ok()).unwrap_or_else(|| panic!("no id in {event}"))
}

pub(super) fn back(app: &TestApp, id: &str, headers: &[(&str, &str)]) -> Reply {
    app.client().call("GET", &format!("/v1/streams/{id}"), headers, "")
}

pub(super) fn requests(app: &TestApp, status: u16) -> f64 {
    app.metric(&format!("stagedoor_requests_total{{model=\"m\",status=\"{status}\",stream=\"true\"}}"))
}

pub(super) fn tokens(app: &TestApp, model: &str, kind: &str) -> f64 {
    app.metric(&format!("stagedoor_tokens_total{{model=\"{model}\",kind=\"{kind}\"}}"))
}

/// Leaves after each event, fifty times, in one way and another; gives all events and the stream's id.
fn killed_fifty_times(app: &TestApp, body: &str) -> (Vec<String>, String) {
    killed_fifty_times_at(app, "/v1/chat/completions", body)
}

/// The same of an answer at any path.
pub(super) fn killed_fifty_times_at(app: &TestApp, path: &str, body: &str) -> (Vec<String>, String) {
    let mut reading = Reading::asked(app, path, &[RESUME], body);
    let mut events = vec![reading.event().unwrap()];
    let id = reading.header("x-request-id");
    for kill in 1..=50u64 {
        if kill % 2 == 0 {
            reset(&reading.stream);
        }
        reading = Reading::resumed(app.client(), &id, kill);
        events.push(reading.event().unwrap_or_else(|| panic!("it ended after {kill}")));
        assert_eq!(reading.header("x-request-id"), id);
    }
    while let Some(event) = reading.event() {
        events.push(event);
    }
    (events, id)
}

/// The events are one whole answer, numbered without a gap, and whoever reads them again gets the same bytes.
fn assert_whole(app: &TestApp, events: &[String], id: &str) {
    let ids: Vec<u64> = events.iter().map(|event| id_of(event)).collect();
    assert_eq!(ids, (1..=ids.len() as u64).collect::<Vec<_>>());
    let again = back(app, id, &[]);
    assert_eq!((again.status, again.whole, again.text()), (200, true, events.concat()));
    assert_eq!((again.words(), again.terminals()), (text(), 1));
    assert_eq!(back(app, id, &[("last-event-id", "7")]).text(), events[7..].concat());
    let nothing = back(app, id, &[("last-event-id", &ids.len().to_string())]);
    assert_eq!((nothing.status, nothing.whole, nothing.body.len()), (200, true, 0));
}

#[test]
fn a_client_killed_fifty_times_during_one_answer_has_all_of_it_and_is_counted_once() {
    let upstream = speaker(4);
    let app = TestApp::start(&one(&upstream, ""));
    let (events, id) = killed_fifty_times(&app, &stream_body("m"));
    assert_whole(&app, &events, &id);
    assert_eq!(upstream.count(), 1);
    assert_eq!((tokens(&app, "m", "input"), tokens(&app, "m", "output")), (20.0, 60.0));
    assert_eq!((requests(&app, 200), requests(&app, 499)), (1.0, 0.0));
    assert_eq!(app.metric("stagedoor_attempts_total{provider=\"p\",model=\"up\",outcome=\"ok\"}"), 1.0);
    settled(&app);
}

#[test]
fn a_stream_that_breaks_and_is_continued_is_one_for_those_who_come_back() {
    let (first, second) = (mortal(), onward("prefill"));
    let settings = format!(
        "{}{}[models.m]\nstrategy = \"ordered\"\ntargets = [{{ provider = \"p\", model = \"up\" }}, {{ provider = \"q\", model = \"second\" }}]\n",
        provider_at("p", &first.url(), "timeouts = { idle = \"250ms\" }"),
        provider_at("q", &second.url(), "continuation = \"prefill\"")
    );
    let app = TestApp::start(&settings);
    for death in Death::ALL {
        let (events, id) = killed_fifty_times(&app, &dying("m", death, 31));
        assert_whole(&app, &events, &id);
        assert_eq!(events.concat().matches(": stagedoor recovered from=p/up to=q/second").count(), 1, "{death:?}");
    }
    assert_eq!((requests(&app, 200), requests(&app, 499)), (5.0, 0.0));
}

#[test]
fn a_stream_that_broke_for_good_says_so_to_those_who_come_back() {
    let upstream = mortal();
    let app = TestApp::start(&one(&upstream, "[stream]\nresume_window = \"2m\"\n"));
    let reply = app.client().post("/v1/chat/completions", &[], &dying("m", Death::Fin, 5));
    let again = back(&app, reply.header("x-request-id").unwrap(), &[("last-event-id", "3")]);
    assert_eq!((again.terminals(), again.events().len()), (0, reply.events().len() - 3));
    assert!(again.text().contains("\"stream_interrupted\"") && reply.text().ends_with(&again.text()), "{}", again.text());
}

#[test]
fn readers_at_once_see_the_same_bytes() {
    let upstream = speaker(3);
    let app = TestApp::start(&one(&upstream, "[models.m.stream]\nresume_window = \"1m\"\n[server]\nworkers = 4\n"));
    let mut first = Reading::begun(&app, &[], &stream_body("m"));
    let mut events = vec![first.event().unwrap()];
    let id = first.header("x-request-id");
    let texts: Vec<String> = std::thread::scope(|scope| {
        let readers: Vec<_> = (0..8)
            .map(|number| {
                let (app, id) = (&app, &id);
                scope.spawn(move || {
                    std::thread::sleep(Duration::from_millis(20 * number));
                    back(app, id, &[]).text()
                })
            })
            .collect();
        while let Some(event) = first.event() {
            events.push(event);
        }
        readers.into_iter().map(|reader| reader.join().unwrap()).collect()
    });
    for read in texts {
        assert_eq!(read, events.concat());
    }
    assert_whole(&app, &events, &id);
    assert_eq!((requests(&app, 200), tokens(&app, "m", "output"), upstream.count()), (1.0, 60.0, 1));
}

pub(super) const KEYS: &str = "[auth]\nkeys = [{ name = \"app\", key = { value = \"a-key-of-some-length-0001\" } }, { name = \"other\", key = { value = \"a-key-of-some-length-0002\" } }]";

#[test]
fn another_key_and_an_unknown_id_are_404() {
    let waiting = Waiting::after(format!("{STREAM_HEAD}{}", chunk(&event("one"))));
    let app = TestApp::start(&one(&waiting.upstream, KEYS));
    let (own, other) = (("authorization", "Bearer a-key-of-some-length-0001"), ("authorization", "Bearer a-key-of-some-length-0002"));
    let mut reading = Reading::begun(&app, &[own, RESUME], &stream_body("m"));
    reading.event();
    let id = reading.header("x-request-id");
    for path in ["/v1/streams/", "/streams/"] {
        for (id, key) in [(id.as_str(), other), ("unknown", own)] {
            for method in ["GET", "DELETE"] {
                let reply = app.client().call(method, &format!("{path}{id}"), &[key], "");
                assert_eq!((reply.status, reply.code().as_str()), (404, "stream_not_found"), "{method} {path}{id}");
            }
        }
        assert_eq!(app.client().call("GET", &format!("{path}{id}"), &[], "").status, 401);
        // Of a stream that flows, what is there comes at once.
        let mut stream = app.client().connect();
        let head = format!("GET {path}{id} HTTP/1.1\r\nhost: localhost\r\n{}: {}\r\n\r\n", own.0, own.1);
        stream.write_all(head.as_bytes()).unwrap();
        assert_eq!(id_of(&Reading::new(stream).event().unwrap()), 1);
    }
    // The same id given by another key is another stream.
    let mut foreign = Reading::begun(&app, &[other, RESUME, ("x-request-id", &id)], &stream_body("m"));
    foreign.event();
    drop(foreign);
    assert_eq!(app.client().call("DELETE", &format!("/v1/streams/{id}"), &[other], "").status, 204);
    assert_eq!(app.client().call("DELETE", &format!("/v1/streams/{id}"), &[own], "").status, 204);
}

#[test]
fn what_is_no_event_of_the_stream_is_400() {
    let upstream = speaker(0);
    let app = TestApp::start(&one(&upstream, ""));
    let reply = app.client().post("/v1/chat/completions", &[RESUME], &stream_body("m"));
    let id = reply.header("x-request-id").unwrap();
    for wrong in ["x", "-1", "1.5", "999", "18446744073709551615", "18446744073709551616"] {
        let refused = back(&app, id, &[("last-event-id", wrong)]);
        assert_eq!((refused.status, refused.code().as_str()), (400, "invalid_value"), "{wrong}: {}", refused.text());
    }
    assert_eq!(back(&app, id, &[("last-event-id", "0")]).text(), reply.text());
    assert_eq!(app.client().call("POST", &format!("/v1/streams/{id}"), &[], "").status, 405);
}

#[test]
fn once_the_window_is_over_the_upstream_is_let_go_and_the_stream_is_404() {
    let waiting = Waiting::after(format!("{STREAM_HEAD}{}", chunk(&event("one"))));
    let app = TestApp::start(&one(&waiting.upstream, "[stream]\nresume_window = \"1500ms\"\n"));
    let mut reading = Reading::begun(&app, &[], &stream_body("m"));
    reading.event();
    let id = reading.header("x-request-id");
    // Each reader that comes back begins it anew.
    for _ in 0..3 {
        drop(reading);
        std::thread::sleep(Duration::from_millis(600));
        reading = Reading::resumed(app.client(), &id, 0);
        assert_eq!(id_of(&reading.event().unwrap()), 1);
    }
    assert_eq!((requests(&app, 499), app.metric("stagedoor_in_flight{provider=\"p\"}")), (0.0, 1.0));
    let left = Instant::now();
    drop(reading);
    let took = waiting.until_shut(left);
    assert!(took >= Duration::from_millis(1_495) && took < SOON + Duration::from_millis(1_500), "{took:?}");
    assert_eq!(back(&app, &id, &[]).status, 404);
    app.until("the caller is counted as gone", |app| requests(app, 499) == 1.0);
    settled(&app);
}

#[test]
fn a_stream_that_has_ended_stays_for_its_window_and_no_longer() {
    let upstream = speaker(0);
    let app = TestApp::start(&one(&upstream, "[stream]\nresume_window = \"400ms\"\n"));
    let reply = app.stream("m");
    let ended = Instant::now();
    let id = reply.header("x-request-id").unwrap();
    assert_eq!(back(&app, id, &[]).text(), reply.text());
    app.until("it is gone", |app| back(app, id, &[("last-event-id", "x")]).status == 404);
    assert!(ended.elapsed() >= Duration::from_millis(400), "{:?}", ended.elapsed());
}

#[test]
fn delete_lets_the_upstream_go_at_once_and_readers_are_told() {
    let waiting = Waiting::after(format!("{STREAM_HEAD}{}", chunk(&event("one"))));
    let app = TestApp::start(&one(&waiting.upstream, "[server]\nworkers = 4\n"));
    let mut took = Vec::new();
    for _ in 0..4 {
        let mut reading = Reading::begun(&app, &[RESUME], &stream_body("m"));
        reading.event();
        let id = reading.header("x-request-id");
        let said = Instant::now();
        assert_eq!(app.client().call("DELETE", &format!("/v1/streams/{id}"), &[], "").status, 204);
        took.push(waiting.until_shut(said));
        let last = reading.event().unwrap();
        assert!(last.contains("\"stream_stopped\"") && reading.event().is_none(), "{last}");
        assert_eq!(back(&app, &id, &[]).status, 404);
        assert_eq!(app.client().call("DELETE", &format!("/v1/streams/{id}"), &[], "").status, 404);
    }
    // A busy machine is late now and then, a window always.
    assert!(took.iter().min() < Some(&LET_GO) && took.iter().all(|took| *took < SOON), "{took:?}");
    app.until("they are counted as ended by their callers", |app| requests(app, 499) == 4.0);
    settled(&app);
}

#[test]
fn a_stream_is_stopped_before_its_first_word_too() {
    let waiting = Waiting::after("");
    let app = TestApp::start(&one(&waiting.upstream, ""));
    let mut reading = Reading::begun(&app, &[RESUME, ("x-request-id", "mine")], &stream_body("m"));
    waiting.until_called();
    let said = Instant::now();
    assert_eq!(app.client().call("DELETE", "/v1/streams/mine", &[], "").status, 204);
    let took = waiting.until_shut(said);
    assert!(took < SOON, "{took:?}");
    assert!(reading.event().unwrap().contains("\"stream_stopped\"") && reading.event().is_none());
    app.until("it is counted as ended by its caller", |app| requests(app, 499) == 1.0);
}

#[test]
fn of_two_streams_with_one_id_the_last_is_found_and_the_first_goes_with_its_reader() {
    let waiting = Waiting::after(format!("{STREAM_HEAD}{}", chunk(&event("one"))));
    let app = TestApp::start(&one(&waiting.upstream, ""));
    let begin = || {
        let mut reading = Reading::begun(&app, &[RESUME, ("x-request-id", "mine")], &stream_body("m"));
        reading.event();
        reading
    };
    let (first, second) = (begin(), begin());
    assert_eq!(waiting.upstream.open(), 2, "each is there while it is read");
    let left = Instant::now();
    drop(first);
    let took = waiting.until_shut(left);
    assert!(took < SOON, "nobody could come back to it: {took:?}");
    assert_eq!(id_of(&Reading::resumed(app.client(), "mine", 0).event().unwrap()), 1);
    drop(second);
    std::thread::sleep(LET_GO);
    assert_eq!(waiting.upstream.open(), 1, "somebody could");
    let again = Instant::now();
    let _third = begin();
    waiting.until_shut(again);
    app.until("the third is the only one", |_| waiting.upstream.open() == 1);
    assert_eq!(requests(&app, 499), 2.0);
    assert_eq!(app.client().call("DELETE", "/v1/streams/mine", &[], "").status, 204);
}

#[test]
fn what_has_outgrown_the_buffer_is_410_and_the_rest_is_there() {
    let upstream = speaker(0);
    let app = TestApp::start(&one(&upstream, "[stream]\nresume_window = \"1m\"\nresume_buffer = \"2KiB\"\n"));
    let mut reading = Reading::begun(&app, &[], &stream_body("m"));
    reading.event();
    let id = reading.header("x-request-id");
    drop(reading);
    app.until("it ends without a reader", |app| requests(app, 200) == 1.0);
    for after in ["0", "1", "20"] {
        let refused = back(&app, &id, &[("last-event-id", after)]);
        assert_eq!((refused.status, refused.code().as_str()), (410, "stream_outgrown"), "{after}: {}", refused.text());
        assert!(refused.text().contains("stream.resume_buffer, 2048 bytes"), "{}", refused.text());
        assert_eq!(refused.header("x-should-retry"), Some("false"));
    }
    let rest = back(&app, &id, &[("last-event-id", "60")]);
    assert_eq!((rest.status, rest.terminals()), (200, 1));
    assert!(rest.body.len() <= 2048, "{}", rest.body.len());
    assert_eq!((tokens(&app, "m", "output"), requests(&app, 499)), (60.0, 0.0));
}

#[test]
fn a_reader_who_falls_behind_the_buffer_is_told_and_others_are_not_held_up() {
    const EVENTS: usize = 700;
    let sent = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&sent);
    let upstream = Upstream::start(move |_, stream| {
        let piece = chunk(&event(&"x".repeat(16 * 1024)));
        stream.write_all(STREAM_HEAD.as_bytes()).unwrap();
        for _ in 0..EVENTS {
            if stream.write_all(piece.as_bytes()).is_err() {
                return false;
            }
            counter.fetch_add(1, Ordering::Relaxed);
        }
        finish(stream, STREAM_END)
    });
    let app = TestApp::start(&one(&upstream, "[stream]\nresume_window = \"1m\"\nresume_buffer = \"64KiB\"\n"));
    let mut deaf = app.client().connect();
    // What the kernel takes for it is less than what is said.
    socket2::SockRef::from(&deaf).set_recv_buffer_size(64 << 10).unwrap();
    deaf.write_all(&chat_bytes(&[("connection", "close")], &stream_body("m"))).unwrap();
    app.until("the upstream has said all", |app| requests(app, 200) == 1.0);
    assert_eq!(sent.load(Ordering::Relaxed), EVENTS);
    let heard = read_rest(&mut deaf);
    assert!(
        heard.ends_with("\r\n0\r\n\r\n") && heard.contains("\"stream_outgrown\"") && !heard.contains("[DONE]"),
        "{}",
        &heard[heard.len() - 500..]
    );
}

#[test]
fn a_request_asks_for_no_more_than_the_settings_allow() {
    let waiting = Waiting::after(format!("{STREAM_HEAD}{}", chunk(&event("one"))));
    let app = TestApp::start(&one(&waiting.upstream, "[stream]\nresume_window = \"1h\"\nresume_max = \"300ms\"\n"));
    let mut reading = Reading::begun(&app, &[("x-stagedoor-resume", "1h")], &stream_body("m"));
    reading.event();
    let left = Instant::now();
    drop(reading);
    let took = waiting.until_shut(left);
    assert!(took >= Duration::from_millis(295) && took < SOON, "{took:?}");
    // By the header it is off, too.
    let mut reading = Reading::begun(&app, &[("x-stagedoor-resume", "0s")], &stream_body("m"));
    assert!(!reading.event().unwrap().contains("id: "));
    let left = Instant::now();
    drop(reading);
    assert!(waiting.until_shut(left) < SOON);
    for wrong in ["", "2", "soon", "-1s"] {
        let refused = app.client().post("/v1/chat/completions", &[("x-stagedoor-resume", wrong)], &stream_body("m"));
        assert_eq!((refused.status, refused.json()["error"]["param"].as_str()), (400, Some("x-stagedoor-resume")), "{wrong}");
    }
}

#[test]
fn where_it_was_not_asked_for_or_not_allowed_nothing_is_kept() {
    let allowed = "[server]\nrequest_headers = [\"timeout\"]\n";
    for (more, headers) in [("", &[][..]), (allowed, &[RESUME])] {
        let waiting = Waiting::after(format!("{STREAM_HEAD}{}", chunk(&event("one"))));
        let app = TestApp::start(&one(&waiting.upstream, more));
        let mut reading = Reading::begun(&app, headers, &stream_body("m"));
        assert!(!reading.event().unwrap().contains("id: "));
        let id = reading.header("x-request-id");
        assert_eq!(back(&app, &id, &[]).status, 404);
        let left = Instant::now();
        drop(reading);
        let took = waiting.until_shut(left);
        assert!(took < SOON, "{took:?}");
        app.until("the caller is counted as gone", |app| requests(app, 499) == 1.0);
    }
}

#[test]
fn a_caller_who_left_before_the_first_word_finds_the_answer_too() {
    let gate = Gate::default();
    let _opener = gate.opener();
    let held = gate.clone();
    let upstream = Upstream::start(move |call, stream| {
        held.wait();
        let first = format!(
            "{STREAM_HEAD}{}",
            chunk(&words().iter().map(|word| says("up", serde_json::json!({ "content": word }), None)).collect::<String>())
        );
        let _ = stream.write_all(first.as_bytes());
        finish(stream, &end("up", &call.json(), 60))
    });
    let app = TestApp::start(&one(&upstream, ""));
    let reading = Reading::begun(&app, &[RESUME, ("x-request-id", "mine")], &stream_body("m"));
    app.until("the upstream is asked", |_| upstream.count() == 1);
    drop(reading);
    std::thread::sleep(Duration::from_millis(50));
    let mut second = Reading::resumed(app.client(), "mine", 0);
    gate.open();
    assert_eq!(id_of(&second.event().unwrap()), 1);
    let whole = back(&app, "mine", &[]);
    assert_eq!((whole.words(), whole.terminals()), (text(), 1));
    assert_eq!((requests(&app, 200), requests(&app, 499), upstream.count()), (1.0, 0.0, 1));
}

#[test]
fn a_request_that_got_no_stream_has_its_status_and_leaves_none_behind() {
    let upstream = Upstream::answering(status(500, "server_error", ""));
    let app = TestApp::start(&one(&upstream, "[retry]\nsame_target = 0\n"));
    let reply = app.client().post("/v1/chat/completions", &[RESUME], &stream_body("m"));
    assert_eq!((reply.status, reply.code().as_str(), reply.header("x-stagedoor-attempts")), (502, "all_targets_failed", Some("1")));
    let id = reply.header("x-request-id").unwrap();
    app.until("nothing is kept", |app| back(app, id, &[]).status == 404);
    assert_eq!((requests(&app, 502), requests(&app, 499)), (1.0, 0.0));
}

#[test]
fn each_reader_has_heartbeats_of_its_own() {
    let waiting = Waiting::after(format!("{STREAM_HEAD}{}", chunk(&event("one"))));
    let app = TestApp::start(&one(&waiting.upstream, "[server]\nheartbeat = \"100ms\"\n"));
    let mut reading = Reading::begun(&app, &[RESUME], &stream_body("m"));
    reading.event();
    let id = reading.header("x-request-id");
    let mut other = Reading::resumed(app.client(), &id, 0);
    for reader in [&mut reading.stream, &mut other.stream] {
        read_until(reader, ": stagedoor is waiting\n");
    }
    let fresh = Reading::resumed(app.client(), &id, 0).event().unwrap();
    assert!(!fresh.contains("waiting"), "no silence of others is kept: {fresh}");
    app.client().call("DELETE", &format!("/v1/streams/{id}"), &[], "");
}

#[test]
fn a_heartbeat_goes_out_before_the_first_word_and_a_late_failure_is_an_event() {
    let slow = Upstream::start(|_, _| {
        std::thread::sleep(Duration::from_millis(500));
        false
    });
    let app = TestApp::start(&one(&slow, "[server]\nheartbeat = \"100ms\"\n[retry]\nsame_target = 0\n"));
    let reply = app.client().post("/v1/chat/completions", &[RESUME], &stream_body("m"));
    assert_eq!((reply.status, reply.terminals()), (200, 0));
    assert!(reply.text().starts_with(": ") && reply.text().contains("all_targets_failed"), "{}", reply.text());
    let again = back(&app, reply.header("x-request-id").unwrap(), &[]);
    assert!(again.text().starts_with("id: 1\ndata: {\"error\"") && reply.text().ends_with(&again.text()), "{}", again.text());
    assert_eq!(requests(&app, 200), 1.0, "by the status that was sent");
}

#[test]
fn a_drain_ends_what_nobody_reads_too_and_readers_are_told() {
    let waiting = Waiting::after(format!("{STREAM_HEAD}{}", chunk(&event("one"))));
    let settings = one(&waiting.upstream, "[stream]\nresume_window = \"10m\"\n[server]\nshutdown_grace = \"500ms\"\n");
    let process = Process::serve(&settings, &[]);
    let begin = || {
        let mut stream = process.client().connect();
        stream.write_all(&chat_bytes(&[], &stream_body("m"))).unwrap();
        let mut reading = Reading::new(stream);
        reading.event();
        reading
    };
    let (left, mut stays) = (begin(), begin());
    drop(left);
    let asked = Instant::now();
    process.signal("TERM");
    let rest = read_rest(&mut stays.stream);
    assert!(rest.contains("id: 2\ndata: {\"error\"") && rest.contains("shutting down"), "{rest}");
    let finished = process.finish();
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    assert!(asked.elapsed() < Duration::from_secs(3), "{:?}", asked.elapsed());
    waiting.until_shut(asked);
}

#[test]
fn a_stop_at_once_leaves_no_panic_behind() {
    let waiting = Waiting::after(format!("{STREAM_HEAD}{}", chunk(&event("one"))));
    let process = Process::serve(&one(&waiting.upstream, ""), &[]);
    let mut read = Vec::new();
    for number in 0..8 {
        let mut stream = process.client().connect();
        stream.write_all(&chat_bytes(if number % 2 == 0 { &[RESUME] } else { &[] }, &stream_body("m"))).unwrap();
        let mut reading = Reading::new(stream);
        reading.event();
        // Of those that are read on, every other one by nobody.
        if number % 4 != 0 {
            read.push(reading);
        }
    }
    process.signal("INT");
    process.stderr.until("the drain", |text| text.contains("draining"));
    process.signal("INT");
    let finished = process.finish();
    assert_eq!((finished.code, finished.stderr.contains("panicked")), (Some(0), false), "{}", finished.stderr);
}
