//! Faults of an answer's head and of whole answers. Rows 7, 8, 13, 15, 16, 19 and 20 of the fault catalogue.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use flate2::Compression;
use flate2::write::GzEncoder;

use super::support::faults::{
    SHORT, alone, assert_failed, assert_spared, assert_stream_spared, attempts, last_error, provider_at, settled, spared,
};
use super::support::{STREAM_END, Upstream, answer, event, plain};

fn p(upstream: &Upstream) -> String {
    provider_at("p", &upstream.url(), "")
}

/// Fails so with a fallback and without.
fn fails(upstream: &Upstream, more: &str, status: u16, code: &str, kind: &str) {
    let more = format!("{more}\n{SHORT}");
    let (app, _spare) = spared(&p(upstream), &more);
    assert_spared(&app, kind);
    assert_failed(&alone(&p(upstream), &more), status, code, kind);
}

#[test]
fn row_07_silence_after_accepting_is_left_at_the_head_time() {
    let silent = Upstream::start(|_, _| {
        std::thread::sleep(Duration::from_secs(3));
        false
    });
    let begun = Instant::now();
    fails(&silent, "", 504, "upstream_timeout", "head_timeout");
    assert!(begun.elapsed() < Duration::from_secs(3));
}

#[test]
fn row_07_a_head_that_drips_is_left_at_the_same_time() {
    let dripping = Upstream::start(|_, stream| {
        answer("late").iter().all(|byte| {
            std::thread::sleep(Duration::from_millis(50));
            stream.write_all(&[*byte]).is_ok()
        })
    });
    fails(&dripping, "", 504, "upstream_timeout", "head_timeout");
}

#[test]
fn row_07_a_body_that_stops_is_left_at_the_idle_time() {
    let stopping = Upstream::start(|_, stream| {
        let whole = answer("never whole");
        let _ = stream.write_all(&whole[..whole.len() - 20]);
        // Until the gateway leaves.
        let _ = stream.read(&mut [0]);
        false
    });
    fails(&stopping, "", 504, "upstream_timeout", "idle_timeout");
}

#[test]
fn row_08_a_head_over_the_limit() {
    let many: String = (0..120).map(|n| format!("x-{n}: y\r\n")).collect();
    let many = Upstream::answering(format!("HTTP/1.1 200 OK\r\n{many}content-length: 2\r\n\r\n{{}}"));
    fails(&many, "", 502, "all_targets_failed", "too_large");
    let long = Upstream::answering(format!("HTTP/1.1 200 OK\r\nx: {}\r\ncontent-length: 2\r\n\r\n{{}}", "y".repeat(200_000)));
    fails(&long, "", 502, "all_targets_failed", "too_large");
}

#[test]
fn row_13_a_body_that_only_the_close_ends_is_never_an_empty_200() {
    let body = String::from_utf8(answer("whole")).unwrap();
    let body = body.split("\r\n\r\n").nth(1).unwrap().to_owned();
    let closing = Upstream::start(move |_, stream| {
        let _ =
            stream.write_all(format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n\r\n{body}").as_bytes());
        false
    });
    fails(&closing, "", 502, "all_targets_failed", "truncated");
    let old = Upstream::start(|_, stream| {
        let whole = String::from_utf8(answer("old")).unwrap();
        let body = whole.split("\r\n\r\n").nth(1).unwrap();
        let _ = stream.write_all(format!("HTTP/1.0 200 OK\r\ncontent-type: application/json\r\n\r\n{body}").as_bytes());
        false
    });
    assert_eq!(alone(&p(&old), SHORT).chat("m").content(), "old", "of HTTP/1.0 it is understood");
}

fn gzipped(body: &[u8], encoding: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(body).unwrap();
    let body = encoder.finish().unwrap();
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-encoding: {encoding}\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    [head.into_bytes(), body].concat()
}

#[test]
fn row_15_gzip_though_identity_was_asked_is_decoded() {
    let whole = answer("unzipped");
    let body = String::from_utf8(whole).unwrap().split("\r\n\r\n").nth(1).unwrap().to_owned();
    let upstream = Upstream::answering(gzipped(body.as_bytes(), "gzip"));
    let app = alone(&p(&upstream), SHORT);
    let reply = app.chat("m");
    assert_eq!((reply.content().as_str(), reply.header("content-encoding")), ("unzipped", None));
    assert_eq!(upstream.calls()[0].header("accept-encoding").as_deref(), Some("identity"));
}

#[test]
fn row_15_a_bomb_ends_at_the_cap_and_what_can_not_be_read_fails_over() {
    let bomb = Upstream::answering(gzipped(&vec![b' '; 64 << 20], "gzip"));
    fails(&bomb, "[server]\nmax_response = \"1MiB\"", 502, "all_targets_failed", "too_large");
    let brotli = Upstream::answering(gzipped(b"{}", "br"));
    fails(&brotli, "", 502, "all_targets_failed", "content_type");
}

#[test]
fn row_15_a_zipped_stream_is_decoded_and_its_bomb_ends_at_the_cap() {
    let zipped = |body: &[u8]| {
        let mut bytes = gzipped(body, "gzip");
        let kind = b"application/json";
        let at = bytes.windows(kind.len()).position(|window| window == kind).unwrap();
        bytes.splice(at..at + kind.len(), *b"text/event-stream");
        Upstream::answering(bytes)
    };
    let good = zipped([event("zipped "), event("words"), STREAM_END.into()].concat().as_bytes());
    let reply = alone(&p(&good), SHORT).stream("m");
    assert_eq!((reply.words().as_str(), reply.terminals(), reply.whole), ("zipped words", 1, true), "{}", reply.text());
    let bomb = zipped(&[b"data: ".to_vec(), vec![b'x'; 64 << 20]].concat());
    let (app, _spare) = spared(&p(&bomb), &format!("[server]\nmax_event = \"256KiB\"\n{SHORT}"));
    assert_stream_spared(&app, "too_large");
}

#[test]
fn row_15_a_broken_zip_is_no_answer() {
    let mut bytes = gzipped(b"{\"choices\":[{}]}", "gzip");
    let end = bytes.len();
    bytes[end - 16..].fill(0xff);
    let broken = Upstream::answering(bytes);
    let (app, _spare) = spared(&p(&broken), SHORT);
    assert_eq!(app.chat("m").content(), "spare");
    let reply = alone(&p(&broken), SHORT).chat("m");
    assert_eq!((reply.status, reply.code().as_str()), (502, "all_targets_failed"), "{}", reply.text());
}

#[test]
fn row_16_an_answer_over_the_limit() {
    let large = Upstream::by(|_| plain(&format!(r#"{{"choices":[],"x":"{}"}}"#, "y".repeat(2 << 20))));
    fails(&large, "[server]\nmax_response = \"1MiB\"", 502, "all_targets_failed", "too_large");
    let chunked = Upstream::start(|_, stream| {
        let chunk = format!("10000\r\n{}\r\n", " ".repeat(0x10000));
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
        while stream.write_all(chunk.as_bytes()).is_ok() {}
        false
    });
    fails(&chunked, "[server]\nmax_response = \"1MiB\"", 502, "all_targets_failed", "too_large");
    let within = Upstream::answering(answer("small"));
    assert_eq!(alone(&p(&within), &format!("[server]\nmax_response = \"1MiB\"\n{SHORT}")).chat("m").status, 200);
}

#[test]
fn row_19_an_error_inside_a_200() {
    let overloaded = Upstream::answering(plain(r#"{"error":{"message":"secret sk-live-123","type":"server_error","code":null}}"#));
    fails(&overloaded, "", 502, "all_targets_failed", "error_body");
    let text = alone(&p(&overloaded), SHORT).chat("m").text();
    assert!(!text.contains("sk-live-123"), "{text}");
    let limited = Upstream::answering(plain(r#"{"error":{"message":"slow down","code":"rate_limit_exceeded"}}"#));
    let app = alone(&p(&limited), SHORT);
    let reply = app.chat("m");
    assert_eq!((reply.status, reply.code().as_str()), (429, "upstream_rate_limited"), "the inner code counts");
    assert_eq!((attempts(&app, "rate_limited"), attempts(&app, "transient")), (1.0, 0.0));
}

#[test]
fn row_19_html_in_a_200() {
    let page = "<html><body>Welcome to the proxy</body></html>";
    let html = Upstream::answering(format!("HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: {}\r\n\r\n{page}", page.len()));
    fails(&html, "", 502, "all_targets_failed", "content_type");
    let (app, _spare) = spared(&p(&html), SHORT);
    let reply = app.stream("m");
    assert_eq!((reply.words().as_str(), reply.terminals()), ("spare", 1));
}

#[test]
fn row_20_cut_malformed_or_no_answer_at_all() {
    for (body, kind) in [
        (r#"{"choices":[{"message":{"content":"hal"#, "malformed"),
        (r#"{"choices":[]} trailing"#, "malformed"),
        ("not json", "malformed"),
        ("", "truncated"),
        (r#"{"object":"chat.completion"}"#, "malformed"),
        (r#"{"choices":null}"#, "malformed"),
        ("[]", "malformed"),
    ] {
        let upstream = Upstream::answering(plain(body));
        let (app, _spare) = spared(&p(&upstream), SHORT);
        assert_spared(&app, kind);
        assert_failed(&alone(&p(&upstream), SHORT), 502, "all_targets_failed", kind);
    }
}

#[test]
fn row_12_a_whole_answer_cut_short_is_a_failure() {
    let full = answer("hello");
    for keep in [full.len() - 1, full.len() - 20] {
        let cut = full[..keep].to_vec();
        let upstream = Upstream::start(move |_, stream| {
            let _ = stream.write_all(&cut);
            false
        });
        let (app, _spare) = spared(&p(&upstream), SHORT);
        assert!(
            ["truncated", "malformed"].contains(
                &{
                    let reply = app.chat("m");
                    assert_eq!(reply.content(), "spare");
                    last_error(&app)
                }
                .as_str()
            )
        );
        settled(&app);
    }
    let chunked = Upstream::start(|_, stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n20\r\n{\"choices\":[");
        false
    });
    fails(&chunked, "", 502, "all_targets_failed", "malformed");
}

#[test]
fn a_wrong_base_url_is_no_callers_fault_and_is_not_repeated() {
    let nowhere = Upstream::answering("HTTP/1.1 404 Not Found\r\ncontent-type: text/html\r\ncontent-length: 9\r\n\r\nnot found");
    fails(&nowhere, "", 502, "all_targets_failed", "wrong_place");
    assert_eq!(nowhere.count(), 2, "one call each, no repeat");
}

#[test]
fn a_204_and_an_interim_head_are_no_answers() {
    for head in ["HTTP/1.1 204 No Content\r\n\r\n", "HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n"] {
        let upstream = Upstream::start(move |_, stream| {
            let _ = stream.write_all(head.as_bytes());
            let _ = stream.read(&mut [0]);
            false
        });
        let (app, _spare) = spared(&p(&upstream), SHORT);
        assert_eq!(app.chat("m").content(), "spare", "{head}");
        let reply = alone(&p(&upstream), SHORT).chat("m");
        assert!([502, 504].contains(&reply.status), "{head} {} {}", reply.status, reply.text());
    }
}

#[test]
fn what_comes_after_an_answer_never_becomes_the_next_ones() {
    let upstream = Upstream::answering([answer("right"), answer("wrong")].concat());
    let app = alone(&p(&upstream), SHORT);
    for _ in 0..20 {
        let reply = app.chat("m");
        assert_eq!((reply.status, reply.content().as_str()), (200, "right"), "{}", reply.text());
    }
}
