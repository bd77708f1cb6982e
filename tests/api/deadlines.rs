//! How long a request may take in all: by the settings, by its model's own, by its caller's wish.

use std::io::Write;
use std::time::{Duration, Instant};

use super::support::faults::{attempts, last_error, provider_at, spared};
use super::support::{Reply, STREAM_END, STREAM_HEAD, TestApp, Upstream, chat_body, chunk, event};

/// Takes a request and says nothing for much longer than any test's limit.
fn silent() -> Upstream {
    Upstream::start(|_, _| {
        std::thread::sleep(Duration::from_secs(5));
        false
    })
}

fn app(p: &Upstream, spare: &Upstream, more: &str) -> TestApp {
    TestApp::start(&format!(
        "{more}{}{}[models.m]\ntargets = [{{ provider = \"p\", model = \"up\" }}]\nfailover = [\"n\"]\n\
         [models.n]\ntargets = [{{ provider = \"s\", model = \"sp\" }}]\n",
        provider_at("p", &p.url(), ""),
        spare.provider("s")
    ))
}

/// Asks, and expects the whole request's time to be over soon.
fn cut(app: &TestApp, headers: &[(&str, &str)]) -> Reply {
    let began = Instant::now();
    let reply = app.client().post("/v1/chat/completions", headers, &chat_body("m"));
    assert_eq!((reply.status, reply.code().as_str()), (504, "upstream_timeout"), "{}", reply.text());
    let took = began.elapsed();
    assert!(took >= Duration::from_millis(300) && took < Duration::from_secs(3), "{took:?}");
    reply
}

#[test]
fn a_models_own_total_holds_for_its_whole_chain() {
    let (p, spare) = (silent(), silent());
    let reply = cut(&app(&p, &spare, "[models.m.timeouts]\ntotal = \"300ms\"\n"), &[]);
    assert_eq!((reply.header("x-stagedoor-attempts"), p.count(), spare.count()), (Some("1"), 1, 0));
    // Each call gets what is left of it.
    let reply = cut(&app(&p, &spare, "[models.m.timeouts]\ntotal = \"400ms\"\nfirst_byte = \"250ms\"\n"), &[]);
    assert_eq!((reply.header("x-stagedoor-attempts"), spare.count()), (Some("2"), 1));
}

#[test]
fn the_settings_total_and_the_callers_wish_cut_as_well_and_the_shorter_one_holds() {
    let (p, spare) = (silent(), silent());
    let limited = app(&p, &spare, "[timeouts]\ntotal = \"300ms\"\n");
    cut(&limited, &[]);
    cut(&limited, &[("x-stagedoor-timeout", "1h")]);
    cut(&app(&p, &spare, ""), &[("x-stagedoor-timeout", "300ms")]);
}

/// `p` with 300 ms for a whole call, and a healthy target behind it.
fn impatient(p: &Upstream, more: &str) -> (TestApp, Upstream) {
    spared(&provider_at("p", &p.url(), "[providers.p.timeouts]\ntotal = \"300ms\"\n"), more)
}

#[test]
fn a_providers_own_total_ends_its_call_and_leaves_the_rest_to_the_next() {
    let dripping = Upstream::start(|_, stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n");
        (0..100).all(|_| {
            std::thread::sleep(Duration::from_millis(50));
            stream.write_all(b" ").is_ok()
        });
        false
    });
    for p in [silent(), dripping] {
        let (app, spare) = impatient(&p, "");
        let began = Instant::now();
        let reply = app.chat("m");
        let took = began.elapsed();
        assert_eq!((reply.status, reply.content().as_str()), (200, "spare"), "{}", reply.text());
        assert!(took >= Duration::from_millis(300) && took < Duration::from_secs(3), "{took:?}");
        assert_eq!((p.count(), spare.count(), reply.header("x-stagedoor-attempts")), (1, 1, Some("2")));
        assert_eq!((last_error(&app).as_str(), attempts(&app, "transient")), ("total_timeout", 1.0));
    }
    let p = silent();
    assert_eq!(impatient(&p, "").0.stream("m").words(), "spare");
    assert_eq!(p.count(), 1);
}

#[test]
fn a_stream_that_progresses_is_cut_by_no_total() {
    for hold in ["0ms", "2s"] {
        let p = Upstream::start(|_, stream| {
            let _ = stream.write_all(format!("{STREAM_HEAD}{}", chunk(&event("slow"))).as_bytes());
            std::thread::sleep(Duration::from_millis(700));
            let _ = stream.write_all(format!("{}{}0\r\n\r\n", chunk(&event("ly")), chunk(STREAM_END)).as_bytes());
            false
        });
        let (app, spare) = impatient(&p, &format!("[stream]\nhold = \"{hold}\"\n"));
        let reply = app.stream("m");
        assert_eq!((reply.words().as_str(), reply.terminals(), spare.count()), ("slowly", 1, 0), "{hold}: {}", reply.text());
    }
}
