//! Stored answers and shared calls, as callers meet them: who gets one, what it costs, what is never kept, and who makes the
//! call where many ask at once.

use std::io::{Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier, mpsc};
use std::time::{Duration, Instant};

use super::support::faults::{alone, provider_at};
use super::support::{
    Client, Reply, STREAM_END, STREAM_HEAD, TestApp, Upstream, answer, chat_body, chat_bytes, chunk, event, plain, read_rest, read_until,
    status, stream, stream_body,
};

const ON: &str = "[cache]\nmode = \"exact\"\n";
const CHAT: &str = "/v1/chat/completions";

/// The model `m` at one upstream, with the cache on.
fn cached(upstream: &Upstream, more: &str) -> TestApp {
    alone(&provider_at("p", &upstream.url(), ""), &format!("{ON}{more}"))
}

/// Answers each call with its number, plain or as a stream.
fn counting() -> Upstream {
    Upstream::by(|call| {
        let number = call.number.to_string();
        if call.text().contains(r#""stream":true"#) { stream(&["call ", &number]) } else { answer(&number) }
    })
}

fn cache(reply: &Reply) -> Option<&str> {
    reply.header("x-stagedoor-cache")
}

fn counted(app: &TestApp) -> [f64; 3] {
    ["hit", "miss", "coalesced"].map(|result| app.metric(&format!("stagedoor_cache_total{{result=\"{result}\"}}")))
}

fn tokens(app: &TestApp) -> f64 {
    app.metric("stagedoor_tokens_total{model=\"m\",kind=\"output\"}")
}

fn ask(app: &TestApp, headers: &[(&str, &str)], body: &str) -> Reply {
    app.client().post(CHAT, headers, body)
}

fn with(members: &str) -> String {
    chat_body("m").replacen('{', &format!("{{{members},"), 1)
}

#[test]
pub fn the_same_request_gets_the_stored_answer_and_it_costs_nothing() {
    let upstream = counting();
    let price = "[models.m]\ntargets = [{ provider = \"p\", model = \"up\", price = { input = 1, output = 1 } }]\n";
    let app = TestApp::start(&format!("{ON}{}{price}", upstream.provider("p")));
    assert_eq!(counted(&app), [0.0; 3]);
    assert!(app.client().get("/metrics").text().contains("stagedoor_cache_total{result=\"hit\"} 0"), "it is there from the start");
    let first = app.chat("m");
    let spent = (tokens(&app), app.metric("stagedoor_cost_usd_total{model=\"m\"}"));
    assert_eq!((cache(&first), first.header("x-stagedoor-cost")), (Some("miss"), Some("0.000002")));
    let second = app.chat("m");
    assert_eq!((second.status, cache(&second), &second.body), (200, Some("hit"), &first.body));
    assert_eq!((second.header("x-stagedoor-cost"), second.header("x-stagedoor-attempts")), (Some("0"), Some("0")));
    assert_eq!((second.header("x-stagedoor-provider"), second.header("x-stagedoor-model")), (Some("p"), Some("up")));
    assert_eq!(second.header("content-type"), first.header("content-type"));
    assert_ne!(second.header("x-request-id"), first.header("x-request-id"));
    assert_eq!((upstream.count(), counted(&app)), (1, [1.0, 1.0, 0.0]));
    assert_eq!((tokens(&app), app.metric("stagedoor_cost_usd_total{model=\"m\"}")), spent, "nothing is counted again");
    assert_eq!(app.metric("stagedoor_requests_total{model=\"m\",status=\"200\",stream=\"false\"}"), 2.0);
    assert_eq!(app.client().post("/chat/completions", &[], &chat_body("m")).content(), "0", "the other name of the path");
    for other in [chat_body("m").replace(",", ", "), with("\"seed\":1")] {
        assert_eq!(cache(&ask(&app, &[], &other)), Some("miss"), "{other}");
    }
}

#[test]
pub fn a_whole_stream_is_replayed_to_who_asks_for_one_in_the_same_form() {
    let upstream = counting();
    let app = cached(&upstream, "");
    let first = app.stream("m");
    assert_eq!((first.words(), first.terminals(), cache(&first)), ("call 0".into(), 1, Some("miss")));
    let again = app.stream("m");
    assert_eq!((&again.body, cache(&again), again.whole), (&first.body, Some("hit"), true));
    assert_eq!(again.header("content-type"), first.header("content-type"));
    assert_eq!(cache(&app.chat("m")), Some("miss"), "a whole answer is another form");
    assert_eq!(cache(&ask(&app, &[], &with("\"stream\":false"))), Some("hit"), "and the one that is meant by default");
    let asking = stream_body("m").replacen('{', r#"{"stream_options":{"include_usage":true},"#, 1);
    assert_eq!([cache(&ask(&app, &[], &asking)), cache(&ask(&app, &[], &asking))], [Some("miss"), Some("hit")], "usage is another form");
    assert_eq!((upstream.count(), app.metric("stagedoor_requests_total{model=\"m\",status=\"200\",stream=\"true\"}")), (3, 4.0));
}

#[test]
pub fn off_there_is_no_cache_and_a_request_may_ask_for_it() {
    let upstream = counting();
    let app = alone(&provider_at("p", &upstream.url(), ""), "");
    let content = |headers: &[(&str, &str)]| {
        let reply = ask(&app, headers, &chat_body("m"));
        (reply.content(), cache(&reply).map(str::to_owned))
    };
    assert_eq!([content(&[]), content(&[])], [("0".into(), None), ("1".into(), None)]);
    let exact = [("x-stagedoor-cache", "exact")];
    assert_eq!([content(&exact), content(&exact)], [("2".into(), Some("miss".into())), ("2".into(), Some("hit".into()))]);
    assert_eq!(content(&[]), ("3".into(), None));
    let refused = ask(&app, &[("x-stagedoor-cache", "maybe")], &chat_body("m"));
    assert_eq!((refused.status, refused.json()["error"]["param"].as_str().unwrap()), (400, "x-stagedoor-cache"));
}

#[test]
pub fn each_request_may_keep_out_or_ask_anew() {
    let upstream = counting();
    let app = cached(&upstream, "");
    let content = |wish: &str| {
        let reply = ask(&app, &[("x-stagedoor-cache", wish)], &chat_body("m"));
        (reply.content(), cache(&reply).map(str::to_owned))
    };
    assert_eq!(content("no-store"), ("0".into(), None));
    assert_eq!((app.chat("m").content(), content("no-store").0, app.chat("m").content()), ("1".into(), "2".into(), "1".into()));
    assert_eq!(content("refresh"), ("3".into(), Some("miss".into())));
    assert_eq!((app.chat("m").content(), content("exact")), ("3".into(), ("3".into(), Some("hit".into()))));
    let forbidding = cached(&upstream, "[server]\nrequest_headers = [\"timeout\"]\n");
    let reply = |_| ask(&forbidding, &[("x-stagedoor-cache", "no-store")], &chat_body("m"));
    assert_eq!([0, 1].map(reply).map(|reply| cache(&reply).map(str::to_owned)), [Some("miss".into()), Some("hit".into())]);
}

#[test]
pub fn models_have_their_own_terms() {
    let upstream = counting();
    let models: String = ["off", "careful", "brief", "small"]
        .into_iter()
        .zip(["mode = \"off\"", "only_deterministic = true", "ttl = \"300ms\"", "max = \"400B\""])
        .map(|(name, terms)| {
            format!("[models.{name}]\ntargets = [{{ provider = \"p\", model = \"up\" }}]\n[models.{name}.cache]\n{terms}\n")
        })
        .collect();
    let app = TestApp::start(&format!("{ON}{}{models}", upstream.provider("p")));
    let twice = |body: &str| [0, 1].map(|_| cache(&ask(&app, &[], body)).map(str::to_owned));
    let (miss, hit) = (Some("miss".to_owned()), Some("hit".to_owned()));
    assert_eq!(twice(&chat_body("off")), [None, None]);
    assert_eq!(twice(&chat_body("careful")), [None, None]);
    let cold = chat_body("careful").replacen('{', "{\"temperature\":0.0,", 1);
    assert_eq!(twice(&cold), [miss.clone(), hit.clone()]);
    assert_eq!(twice(&cold.replace("0.0", "0.5")), [None, None]);
    assert_eq!(twice(&chat_body("small")), [miss.clone(), miss.clone()], "an answer that is larger than all may be");
    assert_eq!(twice(&chat_body("brief")), [miss, hit]);
    app.until("its time is over", |app| cache(&ask(app, &[], &chat_body("brief"))) == Some("miss"));
}

#[test]
pub fn row_71_two_keys_never_share_an_entry() {
    let upstream = counting();
    let keys: String = ["a", "b"]
        .map(|name| format!("[[auth.keys]]\nname = \"{name}\"\nkey = {{ value = \"the-secret-of-the-caller-{name}\" }}\n"))
        .concat();
    let app = cached(&upstream, &keys);
    let asked = |name: &str| {
        let bearer = format!("Bearer the-secret-of-the-caller-{name}");
        let reply = ask(&app, &[("authorization", &bearer)], &chat_body("m"));
        (reply.content(), cache(&reply).map(str::to_owned))
    };
    let (miss, hit) = (Some("miss".to_owned()), Some("hit".to_owned()));
    assert_eq!(asked("a"), ("0".into(), miss.clone()));
    assert_eq!(asked("b"), ("1".into(), miss));
    assert_eq!([asked("a"), asked("b")], [("0".into(), hit.clone()), ("1".into(), hit)]);
}

#[test]
pub fn row_71_what_is_not_whole_and_good_is_never_kept() {
    let cut = format!("{STREAM_HEAD}{}0\r\n\r\n", chunk(&event("half")));
    let filtered = String::from_utf8(answer("no")).unwrap().replace("\"stop\"", "\"content_filter\"");
    let (_, filtered) = filtered.split_once("\r\n\r\n").unwrap();
    for (name, bytes, body) in [
        ("an error", status(500, "", ""), chat_body("m")),
        ("a refusal", status(400, "invalid", ""), chat_body("m")),
        ("an answer that isn't one", plain("{\"choices\":"), chat_body("m")),
        ("what a filter cut", plain(filtered), chat_body("m")),
        ("a cut stream", cut.into_bytes(), stream_body("m")),
        ("a filtered stream", String::from_utf8(stream(&["no"])).unwrap().replace("\"stop\"", "\"safe\"").into_bytes(), stream_body("m")),
    ] {
        let upstream = Upstream::answering(bytes);
        let terms =
            "[breaker]\nconsecutive_failures = 100\nminimum_requests = 100\n[retry]\nattempts = 1\n[stream]\nrecovery = \"error\"\n";
        let app = cached(&upstream, terms);
        for round in 1..=3 {
            let reply = ask(&app, &[], &body);
            assert_ne!(cache(&reply), Some("hit"), "{name}: {}", reply.text());
            assert!(upstream.count() >= round, "{name}: {}", upstream.count());
        }
    }
}

/// An upstream that says a part of a stream, or nothing, and the rest once it is told to.
struct Held {
    upstream: Upstream,
    go: mpsc::Sender<()>,
}

impl Held {
    fn new(stream: bool) -> Self {
        let (go, told) = mpsc::channel::<()>();
        let told = std::sync::Mutex::new(told);
        let upstream = Upstream::start(move |_, connection| {
            if stream {
                connection.write_all(format!("{STREAM_HEAD}{}", chunk(&event("one "))).as_bytes()).unwrap();
            }
            connection.set_read_timeout(Some(Duration::from_millis(5))).unwrap();
            let end = Instant::now() + Duration::from_secs(20);
            while told.lock().unwrap().try_recv().is_err() {
                match connection.read(&mut [0; 16]) {
                    Ok(0) => return false,
                    _ if Instant::now() > end => return false,
                    _ => {}
                }
            }
            connection.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
            if stream {
                let end = format!("{}{}0\r\n\r\n", chunk(&event("two")), chunk(STREAM_END));
                return connection.write_all(end.as_bytes()).is_ok();
            }
            connection.write_all(&answer("shared")).is_ok()
        });
        Self { upstream, go }
    }
}

fn in_flight(app: &TestApp) -> usize {
    app.gateway.requests.load(Ordering::Relaxed) + app.gateway.streams.load(Ordering::Relaxed)
}

#[test]
pub fn row_71_a_thousand_identical_cold_misses_make_one_call() {
    const CALLERS: usize = 1_000;
    let held = Held::new(false);
    let app = cached(&held.upstream, "");
    let client = app.client();
    let replies: Vec<Reply> = std::thread::scope(|scope| {
        let callers: Vec<_> = (0..CALLERS).map(|_| scope.spawn(move || client.post(CHAT, &[], &chat_body("m")))).collect();
        app.until("all wait", |app| in_flight(app) == CALLERS);
        held.go.send(()).unwrap();
        callers.into_iter().map(|caller| caller.join().unwrap()).collect()
    });
    assert!(replies.iter().all(|reply| reply.status == 200 && reply.content() == "shared"));
    assert_eq!((held.upstream.count(), counted(&app)), (1, [0.0, 1.0, CALLERS as f64 - 1.0]));
    assert_eq!(tokens(&app), 1.0, "counted once");
    assert_eq!(cache(&app.chat("m")), Some("hit"));
}

#[test]
pub fn without_coalescing_each_makes_its_own_call() {
    let upstream = counting();
    let app = cached(&upstream, "coalesce = false\n");
    let (client, together) = (app.client(), Arc::new(Barrier::new(4)));
    std::thread::scope(|scope| {
        for number in 0..4 {
            let together = Arc::clone(&together);
            scope.spawn(move || {
                together.wait();
                client.post(CHAT, &[("x-stagedoor-cache", "refresh")], &chat_body("m"));
                client.post(CHAT, &[], &with(&format!("\"seed\":{number}")));
            });
        }
    });
    assert_eq!((upstream.count(), counted(&app)), (8, [0.0, 8.0, 0.0]));
}

/// A caller of a stream on a connection of its own, whose first words have come.
fn reading(client: Client) -> (std::net::TcpStream, String) {
    let mut connection = client.connect();
    connection.write_all(&chat_bytes(&[("connection", "close")], &stream_body("m"))).unwrap();
    let begun = read_until(&mut connection, "one ");
    (connection, begun)
}

fn words(text: &str) -> usize {
    text.matches("one ").count() * 10 + text.matches("two").count()
}

#[test]
pub fn who_joins_a_stream_gets_the_words_so_far_and_then_the_rest() {
    let held = Held::new(true);
    let app = cached(&held.upstream, "");
    let mut readers: Vec<_> = (0..3).map(|_| reading(app.client())).collect();
    held.go.send(()).unwrap();
    for (place, (connection, begun)) in readers.iter_mut().enumerate() {
        let all = format!("{begun}{}", read_rest(connection));
        assert_eq!((words(&all), all.matches("[DONE]").count()), (11, 1), "{all}");
        let told = if place == 0 { "x-stagedoor-cache: miss" } else { "x-stagedoor-cache: coalesced" };
        assert!(all.contains(told) && all.contains("x-stagedoor-provider: p"), "{all}");
    }
    assert_eq!((held.upstream.count(), counted(&app)), (1, [0.0, 1.0, 2.0]));
    assert_eq!(cache(&app.stream("m")), Some("hit"));
    app.until("all are gone", |app| in_flight(app) == 0);
}

#[test]
pub fn a_shared_call_goes_on_while_anybody_waits_for_it() {
    let held = Held::new(true);
    let app = cached(&held.upstream, "");
    let (leader, _) = reading(app.client());
    let (mut follower, begun) = reading(app.client());
    drop(leader);
    let (mut late, late_begun) = reading(app.client());
    held.go.send(()).unwrap();
    for (connection, begun) in [(&mut follower, begun), (&mut late, late_begun)] {
        let all = format!("{begun}{}", read_rest(connection));
        assert_eq!((words(&all), all.matches("[DONE]").count()), (11, 1), "{all}");
    }
    assert_eq!(held.upstream.count(), 1);
    // With nobody left its upstream is let go.
    let held = Held::new(true);
    let app = cached(&held.upstream, "");
    let (leader, follower) = (reading(app.client()), reading(app.client()));
    drop((leader, follower));
    app.until("the upstream is let go", |_| held.upstream.open() == 0);
    app.until("it is counted as left", |app| app.metric("stagedoor_requests_total{model=\"m\",status=\"499\",stream=\"true\"}") == 2.0);
    assert_eq!(in_flight(&app), 0);
}

#[test]
pub fn a_plain_call_whose_first_caller_leaves_is_the_others() {
    let held = Held::new(false);
    let app = cached(&held.upstream, "");
    let mut first = app.client().connect();
    first.write_all(&chat_bytes(&[], &chat_body("m"))).unwrap();
    app.until("it is called", |_| held.upstream.count() == 1);
    let client = app.client();
    let other = std::thread::spawn(move || client.post(CHAT, &[], &chat_body("m")));
    app.until("both wait", |app| in_flight(app) == 2);
    drop(first);
    // The first one's leaving takes a moment to be seen; the call's place stays taken.
    std::thread::sleep(Duration::from_millis(50));
    held.go.send(()).unwrap();
    let reply = other.join().unwrap();
    assert_eq!((reply.content(), cache(&reply), held.upstream.count()), ("shared".into(), Some("coalesced"), 1));
    app.until("the first left", |app| app.metric("stagedoor_requests_total{model=\"m\",status=\"499\",stream=\"false\"}") == 1.0);
    assert_eq!(tokens(&app), 1.0, "what it was billed for is counted all the same");
}

#[test]
pub fn where_the_first_fails_one_of_the_others_asks_and_not_all() {
    const CALLERS: usize = 50;
    let released = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&released);
    let upstream = Upstream::start(move |call, stream| {
        let end = Instant::now() + Duration::from_secs(20);
        while !seen.load(Ordering::SeqCst) && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(2));
        }
        let bytes = if call.number == 0 { status(500, "", "") } else { answer("second") };
        stream.write_all(&bytes).is_ok()
    });
    let app = cached(&upstream, "[retry]\nattempts = 1\n");
    let client = app.client();
    let replies: Vec<Reply> = std::thread::scope(|scope| {
        let callers: Vec<_> = (0..CALLERS).map(|_| scope.spawn(move || client.post(CHAT, &[], &chat_body("m")))).collect();
        app.until("all wait", |app| in_flight(app) == CALLERS);
        released.store(true, Ordering::SeqCst);
        callers.into_iter().map(|caller| caller.join().unwrap()).collect()
    });
    let good = replies.iter().filter(|reply| reply.status == 200 && reply.content() == "second").count();
    assert_eq!((good, upstream.count()), (CALLERS - 1, 2));
}

#[test]
pub fn row_70_a_name_stands_for_one_request() {
    let held = Held::new(false);
    let app = alone(&provider_at("p", &held.upstream.url(), ""), "");
    let named = |body: &str| ask(&app, &[("idempotency-key", "order-7")], body);
    let client = app.client();
    let first = std::thread::spawn(move || client.post(CHAT, &[("idempotency-key", "order-7")], &chat_body("m")));
    app.until("it is called", |_| held.upstream.count() == 1);
    let second = named(&chat_body("m"));
    assert_eq!((second.status, second.code().as_str()), (409, "idempotency_conflict"));
    let other = named(&with("\"seed\":1"));
    assert_eq!((other.status, other.code().as_str()), (422, "idempotency_mismatch"));
    held.go.send(()).unwrap();
    let first = first.join().unwrap();
    assert_eq!((first.content(), cache(&first)), ("shared".into(), None));
    let again = named(&chat_body("m"));
    assert_eq!((&again.body, cache(&again), again.header("x-stagedoor-cost")), (&first.body, Some("hit"), Some("0")));
    assert_eq!(named(&with("\"seed\":1")).status, 422);
    assert_eq!((held.upstream.count(), tokens(&app)), (1, 1.0), "one call, one charge");
    held.go.send(()).unwrap();
    assert_eq!(cache(&ask(&app, &[("idempotency-key", "order-8")], &chat_body("m"))), None, "another name");
    assert_eq!(held.upstream.count(), 2);
}

#[test]
pub fn row_70_what_failed_or_was_left_may_be_asked_again_and_streams_have_no_names() {
    let upstream = Upstream::by(|call| match call.number {
        0 => status(400, "invalid", ""),
        1 => answer("good"),
        _ => stream(&["x"]),
    });
    let app = alone(&provider_at("p", &upstream.url(), ""), "");
    let named = |body: &str| ask(&app, &[("idempotency-key", "n")], body);
    assert_eq!((named(&chat_body("m")).status, named(&chat_body("m")).content()), (400, "good".into()));
    assert_eq!((named(&chat_body("m")).content(), upstream.count()), ("good".into(), 2));
    for count in 3..5 {
        assert_eq!((named(&stream_body("m")).words(), upstream.count()), ("x".into(), count));
    }
    let held = Held::new(false);
    let app = alone(&provider_at("p", &held.upstream.url(), ""), "");
    let mut leaving = app.client().connect();
    leaving.write_all(&chat_bytes(&[("idempotency-key", "n")], &chat_body("m"))).unwrap();
    app.until("it is called", |_| held.upstream.count() == 1);
    drop(leaving);
    app.until("it is let go", |app| in_flight(app) == 0);
    held.go.send(()).unwrap();
    assert_eq!(ask(&app, &[("idempotency-key", "n")], &chat_body("m")).content(), "shared");
}

#[test]
pub fn a_reload_keeps_what_is_stored_and_obeys_the_new_terms() {
    let upstream = counting();
    let settings =
        |cache: &str| format!("{cache}{}[models.m]\ntargets = [{{ provider = \"p\", model = \"up\" }}]\n", upstream.provider("p"));
    let app = TestApp::administered(&settings(ON));
    assert_eq!([cache(&app.chat("m")), cache(&app.chat("m"))], [Some("miss"), Some("hit")]);
    app.reload(&settings("[cache]\nmode = \"off\"\n"));
    assert_eq!((app.chat("m").content(), upstream.count()), ("1".into(), 2));
    app.reload(&settings(ON));
    assert_eq!(app.chat("m").content(), "0");
}

#[test]
pub fn another_bound_is_another_store() {
    let upstream = counting();
    let settings =
        |cache: &str| format!("{cache}{}[models.m]\ntargets = [{{ provider = \"p\", model = \"up\" }}]\n", upstream.provider("p"));
    let app = TestApp::administered(&settings(ON));
    assert_eq!([cache(&app.chat("m")), cache(&app.chat("m"))], [Some("miss"), Some("hit")]);
    app.reload(&settings(&format!("{ON}max = \"1MiB\"\n")));
    assert_eq!(cache(&app.chat("m")), Some("miss"));
}

#[test]
pub fn a_stored_answer_says_that_it_cost_nothing_where_usage_tells_costs() {
    let upstream = Upstream::by(|call| {
        let usage = "{\"prompt_tokens\":3,\"completion_tokens\":2}";
        if call.text().contains(r#""stream":true"#) {
            let end = STREAM_END.replace("data: [DONE]", &format!("data: {{\"choices\":[],\"usage\":{usage}}}\n\ndata: [DONE]"));
            format!("{STREAM_HEAD}{}{}0\r\n\r\n", chunk(&event("hi")), chunk(&end)).into_bytes()
        } else {
            plain(&format!(
                "{{\"choices\":[{{\"index\":0,\"message\":{{\"content\":\"hi\"}},\"finish_reason\":\"stop\"}}],\"usage\":{usage}}}"
            ))
        }
    });
    let price = "[telemetry]\ncost_in_usage = true\n[models.m]\ntargets = [{ provider = \"p\", model = \"up\", price = { input = 1, output = 1 } }]\n";
    let app = TestApp::start(&format!("{ON}{}{price}", upstream.provider("p")));
    for body in [chat_body("m"), with(r#""stream":true,"stream_options":{"include_usage":true}"#)] {
        let [first, second] = [(); 2].map(|()| ask(&app, &[], &body));
        assert_eq!((cache(&first), cache(&second)), (Some("miss"), Some("hit")));
        assert!(first.text().contains("\"cost\":0.000005"), "{}", first.text());
        assert_eq!(second.text(), first.text().replace("\"cost\":0.000005", "\"cost\":0"));
    }
}

#[test]
pub fn the_ledger_says_what_the_cache_had_to_do_with_a_request_and_the_rows_add_up() {
    let held = Held::new(true);
    let price =
        "[store]\nledger = \"all\"\n[models.m]\ntargets = [{ provider = \"p\", model = \"up\", price = { input = 1, output = 1 } }]\n";
    let app = TestApp::administered(&format!("{ON}{}{price}", held.upstream.provider("p")));
    let (mut first, begun) = reading(app.client());
    let (mut second, _) = reading(app.client());
    held.go.send(()).unwrap();
    assert_eq!(words(&format!("{begun}{}", read_rest(&mut first))), 11);
    read_rest(&mut second);
    app.stream("m");
    let rows = super::ledger::rows(&app, "");
    let by = |cache: &str| rows.iter().find(|row| row["cache"] == cache).unwrap_or_else(|| panic!("{cache} in {rows:?}"));
    for given in ["hit", "coalesced"] {
        let row = by(given);
        let calls = row["attempts"].as_array().unwrap().len();
        assert_eq!((calls, row["tokens_out"].as_u64(), row["cost_usd"].as_f64()), (0, Some(0), Some(0.0)), "{row}");
    }
    let made = by("miss");
    assert_eq!((made["attempts"].as_array().unwrap().len(), rows.len()), (1, 3));
    assert_eq!(made["tokens_out"].as_f64(), Some(tokens(&app)), "only one has used any");
    assert!(made["cost_usd"].as_f64().unwrap() > 0.0);
}
