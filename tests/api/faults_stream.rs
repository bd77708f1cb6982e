//! Faults of streams: before the first content nobody notices, after it the caller is told; a cut never looks like an end.
//! Rows 11 to 13, 17 and 21 to 29 of the fault catalogue.

use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

use super::support::faults::{SHORT, alone, assert_stream_spared, attempts, last_error, provider_at, reset, settled, spared};
use super::support::{Reply, STREAM_END, STREAM_HEAD, Upstream, chunk, event, plain, stream};

const ROLE: &str = "data: {\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\"},\"finish_reason\":null}]}\n\n";

fn p(upstream: &Upstream) -> String {
    provider_at("p", &upstream.url(), "")
}

fn send(stream: &mut TcpStream, text: &str) {
    let _ = stream.write_all(text.as_bytes());
}

/// Sends a chunked stream's pieces, then whatever `end` does.
fn pieces(texts: Vec<String>, end: impl Fn(&mut TcpStream) -> bool + Send + Sync + 'static) -> Upstream {
    Upstream::start(move |_, stream| {
        send(stream, STREAM_HEAD);
        for text in &texts {
            send(stream, &chunk(text));
        }
        end(stream)
    })
}

fn words(count: usize) -> Vec<String> {
    (0..count).map(|n| event(&format!("w{n} "))).collect()
}

/// The caller got `count` words, then an error event, and no end that looks like success.
fn assert_broken(reply: &Reply, count: usize) {
    assert_eq!((reply.status, reply.terminals(), reply.whole), (200, 0, true), "{}", reply.text());
    let expected: String = (0..count).map(|n| format!("w{n} ")).collect();
    assert_eq!(reply.words(), expected);
    let events = reply.events();
    let last: serde_json::Value = serde_json::from_str(events.last().unwrap()).unwrap();
    assert_eq!(last["error"]["type"], "upstream_error", "{last}");
    assert!(last["error"]["message"].as_str().unwrap().contains("p/up"), "{last}");
    assert!(!reply.text().contains("finish_reason\":\"stop"));
}

fn broken(upstream: &Upstream, count: usize, kind: &str) {
    let app = alone(&p(upstream), SHORT);
    assert_broken(&app.stream("m"), count);
    settled(&app);
    assert_eq!((last_error(&app).as_str(), attempts(&app, "transient")), (kind, 1.0));
}

fn closes(_: &mut TcpStream) -> bool {
    false
}

fn resets(stream: &mut TcpStream) -> bool {
    // What was written has to arrive before the reset throws it away.
    std::thread::sleep(Duration::from_millis(50));
    reset(stream);
    false
}

#[test]
fn row_11_a_reset_after_ten_events() {
    broken(&pieces(words(10), resets), 10, "reset");
}

#[test]
fn row_11_a_reset_before_the_first_content_goes_unseen() {
    let upstream = pieces(vec![ROLE.into()], resets);
    let (app, _spare) = spared(&p(&upstream), SHORT);
    assert_stream_spared(&app, "reset");
}

#[test]
fn row_12_an_end_before_its_time() {
    broken(&pieces(words(3), closes), 3, "truncated");
    let in_a_chunk = pieces(words(3), |stream| {
        send(stream, "ff\r\ndata: {\"cho");
        false
    });
    broken(&in_a_chunk, 3, "truncated");
    broken(&pieces(words(3), |stream| stream.write_all(b"0\r\n\r\n").is_ok()), 3, "truncated");
    let counted = Upstream::start(|_, stream| {
        let body: String = words(3).concat();
        send(stream, &format!("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: {}\r\n\r\n{body}", body.len() + 500));
        false
    });
    broken(&counted, 3, "truncated");
}

#[test]
fn row_12_the_same_before_the_first_content_goes_unseen() {
    let upstream = pieces(vec![ROLE.into()], closes);
    let (app, _spare) = spared(&p(&upstream), SHORT);
    assert_stream_spared(&app, "truncated");
}

#[test]
fn row_13_a_stream_that_only_the_close_ends_is_never_an_empty_200() {
    let closing = |version: &'static str| {
        Upstream::start(move |_, stream| {
            send(stream, &format!("HTTP/{version} 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"));
            send(stream, &(event("a") + STREAM_END));
            false
        })
    };
    let (new, old) = (closing("1.1"), closing("1.0"));
    let (app, _spare) = spared(&p(&new), SHORT);
    assert_stream_spared(&app, "truncated");
    let reply = alone(&p(&new), SHORT).stream("m");
    assert_eq!((reply.status, reply.code().as_str()), (502, "all_targets_failed"), "{}", reply.text());
    let reply = alone(&p(&old), SHORT).stream("m");
    assert_eq!((reply.words().as_str(), reply.terminals(), reply.whole), ("a", 1, true), "{}", reply.text());
}

#[test]
fn row_17_silence_between_two_events_ends_at_the_idle_time_comments_or_not() {
    broken(
        &pieces(words(2), |_| {
            std::thread::sleep(Duration::from_secs(2));
            false
        }),
        2,
        "idle_timeout",
    );
    let chatty = pieces(words(2), |stream| {
        (0..40).all(|_| {
            std::thread::sleep(Duration::from_millis(50));
            stream.write_all(chunk(": still here\n\n").as_bytes()).is_ok()
        })
    });
    broken(&chatty, 2, "idle_timeout");
}

#[test]
fn row_17_a_slow_drip_of_whole_events_is_relayed() {
    let dripping = Upstream::start(|_, stream| {
        send(stream, STREAM_HEAD);
        for word in ["a", "b", "c"] {
            for half in event(word).as_bytes().chunks(60) {
                std::thread::sleep(Duration::from_millis(40));
                send(stream, &chunk(std::str::from_utf8(half).unwrap()));
            }
        }
        stream.write_all(format!("{}0\r\n\r\n", chunk(STREAM_END)).as_bytes()).is_ok()
    });
    let reply = alone(&p(&dripping), SHORT).stream("m");
    assert_eq!((reply.words().as_str(), reply.terminals()), ("abc", 1));
}

#[test]
fn row_17_bytes_of_an_event_that_never_ends_are_no_life() {
    let dribbling = pieces(words(2), |stream| {
        send(stream, &chunk("data: {\"choices\":[{\"delta\":{\"content\":\""));
        (0..150).all(|_| {
            std::thread::sleep(Duration::from_millis(20));
            stream.write_all(chunk("x").as_bytes()).is_ok()
        })
    });
    broken(&dribbling, 2, "idle_timeout");
}

#[test]
fn row_17_a_silent_pause_is_bridged_by_comments() {
    let pausing = pieces(vec![event("be")], |stream| {
        std::thread::sleep(Duration::from_millis(500));
        stream.write_all(format!("{}{}0\r\n\r\n", chunk(&event("fore")), chunk(STREAM_END)).as_bytes()).is_ok()
    });
    let app = alone(&p(&pausing), "[server]\nheartbeat = \"100ms\"\n[timeouts]\nidle = \"5s\"\n");
    let reply = app.stream("m");
    assert_eq!((reply.words().as_str(), reply.terminals()), ("before", 1));
    let comments = reply.text().lines().filter(|line| line.starts_with(':')).count();
    assert!((2..=5).contains(&comments), "{}", reply.text());
}

#[test]
fn row_21_what_is_no_text_breaks_it_and_a_split_character_does_not() {
    let bad = Upstream::start(|_, stream| {
        send(stream, STREAM_HEAD);
        send(stream, &chunk(&event("w0 ")));
        let wrong = b"data: {\"choices\":[{\"delta\":{\"content\":\"\xff\xfe\"}}]}\n\n";
        let _ = stream.write_all(format!("{:x}\r\n", wrong.len()).as_bytes());
        let _ = stream.write_all(wrong);
        stream.write_all(b"\r\n0\r\n\r\n").is_ok()
    });
    broken(&bad, 1, "malformed");
    let before = Upstream::start(|_, stream| {
        send(stream, STREAM_HEAD);
        stream.write_all(b"8\r\ndata: \xff\xfe\r\n2\r\n\n\n\r\n0\r\n\r\n").is_ok()
    });
    let (app, _spare) = spared(&p(&before), SHORT);
    assert_stream_spared(&app, "malformed");
    let split = Upstream::start(|_, stream| {
        send(stream, STREAM_HEAD);
        for byte in event("zwölf 十二").as_bytes() {
            let _ = stream.write_all(&[b"1\r\n".as_slice(), &[*byte], b"\r\n"].concat());
        }
        stream.write_all(format!("{}0\r\n\r\n", chunk(STREAM_END)).as_bytes()).is_ok()
    });
    assert_eq!(alone(&p(&split), SHORT).stream("m").words(), "zwölf 十二");
}

#[test]
fn row_22_one_byte_at_a_time_is_the_same_stream() {
    let bytewise = Upstream::start(|_, stream| {
        send(stream, STREAM_HEAD);
        let body = ["one ", "two"].map(event).concat() + STREAM_END;
        body.bytes().all(|byte| stream.write_all(&[b"1\r\n".as_slice(), &[byte], b"\r\n"].concat()).is_ok())
            && stream.write_all(b"0\r\n\r\n").is_ok()
    });
    let at_once = Upstream::answering(stream(&["one ", "two"]));
    let (one, other) = (alone(&p(&bytewise), SHORT).stream("m"), alone(&p(&at_once), SHORT).stream("m"));
    assert_eq!((one.events(), one.whole), (other.events(), true));
}

#[test]
fn row_23_line_ends_comments_and_several_data_lines() {
    let body =
        format!("\u{feff}: OPENROUTER PROCESSING\r\n\r\n{}", [event("a"), event("b"), STREAM_END.into()].concat().replace('\n', "\r\n"));
    let windows = pieces(vec![body], |stream| stream.write_all(b"0\r\n\r\n").is_ok());
    let reply = alone(&p(&windows), SHORT).stream("m");
    assert_eq!((reply.words().as_str(), reply.terminals()), ("ab", 1), "{}", reply.text());
    let body = [event("a"), event("b"), STREAM_END.into()].concat().replace('\n', "\r");
    let classic = pieces(vec![body], |stream| stream.write_all(b"0\r\n\r\n").is_ok());
    let reply = alone(&p(&classic), SHORT).stream("m");
    assert!(reply.whole && reply.status == 200, "{}", reply.text());
    let read: Vec<_> = reply.text().replace('\r', "\n").lines().filter_map(|line| line.strip_prefix("data: ").map(str::to_owned)).collect();
    assert_eq!((read.len(), read.last().map(String::as_str)), (4, Some("[DONE]")), "{}", reply.text());
    let lines = "data: {\"choices\":[{\"index\":0,\ndata: \"delta\":{\"content\":\"x\"},\"finish_reason\":null}]}\n\n";
    let several = pieces(vec![lines.into(), STREAM_END.into()], |stream| stream.write_all(b"0\r\n\r\n").is_ok());
    let reply = alone(&p(&several), SHORT).stream("m");
    assert!(reply.text().contains(lines) && reply.terminals() == 1, "{}", reply.text());
}

#[test]
fn row_24_a_line_without_end_is_cut_at_the_limit() {
    let endless = |first: Vec<String>| {
        pieces(first, |stream| {
            let flood = chunk(&"x".repeat(64 * 1024));
            send(stream, &chunk("data: "));
            (0..1_024).any(|_| stream.write_all(flood.as_bytes()).is_err())
        })
    };
    let more = format!("[server]\nmax_event = \"256KiB\"\n{SHORT}");
    let after = endless(words(2));
    let app = alone(&p(&after), &more);
    assert_broken(&app.stream("m"), 2);
    assert_eq!(last_error(&app), "too_large");
    let before = endless(vec![ROLE.into()]);
    let (app, _spare) = spared(&p(&before), &more);
    assert_stream_spared(&app, "too_large");
}

#[test]
fn row_25_one_end_whatever_comes_after_it() {
    let doubled = pieces(vec![event("a"), STREAM_END.into(), "data: [DONE]\n\n".into(), event("late")], |stream| {
        stream.write_all(b"0\r\n\r\n").is_ok()
    });
    let app = alone(&p(&doubled), SHORT);
    let reply = app.stream("m");
    assert_eq!((reply.words().as_str(), reply.terminals(), reply.whole), ("a", 1, true));
    assert_eq!((attempts(&app, "ok"), attempts(&app, "transient")), (1.0, 0.0));
}

#[test]
fn row_25_what_goes_on_after_its_end_is_let_go() {
    let endless = pieces(vec![event("a"), STREAM_END.into()], |stream| {
        while stream.write_all(chunk(&event("late")).as_bytes()).is_ok() {
            std::thread::sleep(Duration::from_millis(10));
        }
        false
    });
    let app = alone(&p(&endless), SHORT);
    for _ in 0..2 {
        let reply = app.stream("m");
        assert_eq!((reply.words().as_str(), reply.terminals(), reply.whole), ("a", 1, true));
    }
    app.until("its connections are dropped", |_| endless.open() == 0);
    assert_eq!((endless.connections(), attempts(&app, "ok")), (2, 2.0), "none is used again");
}

#[test]
fn row_26_a_missing_terminal_event_is_added_after_a_finish_reason() {
    let end = STREAM_END.replace("data: [DONE]\n\n", "");
    for last in [
        closes as fn(&mut TcpStream) -> bool,
        |stream| stream.write_all(b"0\r\n\r\n").is_ok(),
        resets,
        |_| {
            std::thread::sleep(Duration::from_secs(3));
            false
        },
    ] {
        let upstream = pieces(vec![event("a"), end.clone()], last);
        let app = alone(&p(&upstream), SHORT);
        let reply = app.stream("m");
        assert_eq!((reply.words().as_str(), reply.terminals(), reply.whole), ("a", 1, true), "{}", reply.text());
        assert_eq!(attempts(&app, "ok"), 1.0);
    }
}

#[test]
fn row_27_an_error_event_before_and_after_the_first_content() {
    let error = "data: {\"error\":{\"message\":\"internal sk-live-9\",\"type\":\"server_error\"}}\n\n";
    let before = pieces(vec![ROLE.into(), error.into()], closes);
    let (app, _spare) = spared(&p(&before), SHORT);
    assert_stream_spared(&app, "error_body");
    let after = pieces([words(2), vec![error.to_owned()]].concat(), closes);
    broken(&after, 2, "error_body");
    assert!(!alone(&p(&after), SHORT).stream("m").text().contains("sk-live-9"), "an upstream's text may hold a key");
}

#[test]
fn row_27_an_error_in_one_piece_with_the_first_content_goes_unseen() {
    for error in [
        "data: {\"error\":{\"message\":\"overloaded\",\"type\":\"server_error\"}}\n\n",
        "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"insufficient_system_resource\"}]}\n\ndata: [DONE]\n\n",
        "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"abort\"}]}\n\ndata: [DONE]\n\n",
    ] {
        let upstream = pieces(vec![format!("{ROLE}{}{error}", event("w0 "))], closes);
        let (app, _spare) = spared(&p(&upstream), SHORT);
        assert_stream_spared(&app, "error_body");
    }
}

#[test]
fn row_27_the_code_of_an_error_event_counts() {
    for (code, outcome, status) in [("rate_limit_exceeded", "rate_limited", 429), ("insufficient_quota", "key_fault", 502)] {
        let upstream =
            pieces(vec![ROLE.into(), format!("data: {{\"error\":{{\"message\":\"sk-live-9\",\"code\":\"{code}\"}}}}\n\n")], closes);
        let (app, _spare) = spared(&p(&upstream), SHORT);
        assert_stream_spared(&app, outcome);
        assert_eq!((attempts(&app, outcome), attempts(&app, "transient")), (1.0, 0.0));
        let reply = alone(&p(&upstream), SHORT).stream("m");
        assert!(reply.status == status && !reply.text().contains("sk-live-9"), "{} {}", reply.status, reply.text());
    }
}

#[test]
fn row_28_odd_usage_is_a_normal_answer() {
    for usage in ["", ",\"usage\":null", ",\"usage\":{\"prompt_tokens\":-5,\"completion_tokens\":1e18}", ",\"usage\":\"many\""] {
        let body = format!(
            "{{\"choices\":[{{\"index\":0,\"message\":{{\"role\":\"assistant\",\"content\":\"hi\"}},\"finish_reason\":\"stop\"}}]{usage}}}"
        );
        assert_eq!(alone(&p(&Upstream::answering(plain(&body))), SHORT).chat("m").content(), "hi", "{usage}");
        let chunk = format!("data: {{\"choices\":[]{usage}}}\n\n");
        let upstream = pieces(vec![event("hi"), STREAM_END.replace("data: [DONE]", &format!("{chunk}data: [DONE]"))], |stream| {
            stream.write_all(b"0\r\n\r\n").is_ok()
        });
        let reply = alone(&p(&upstream), SHORT).stream("m");
        assert_eq!((reply.words().as_str(), reply.terminals()), ("hi", 1), "{usage}: {}", reply.text());
    }
}

#[test]
fn row_29_a_200_without_an_event() {
    for empty in [
        pieces(Vec::new(), |stream| stream.write_all(b"0\r\n\r\n").is_ok()),
        pieces(vec!["data: [DONE]\n\n".into()], closes),
        pieces(vec![": hi\n\n".into()], closes),
    ] {
        let (app, _spare) = spared(&p(&empty), SHORT);
        assert_stream_spared(&app, "truncated");
        let app = alone(&p(&empty), SHORT);
        let reply = app.stream("m");
        assert_eq!((reply.status, reply.code().as_str()), (502, "all_targets_failed"), "{}", reply.text());
    }
}

#[test]
fn an_event_that_is_no_json_is_dropped_and_counted() {
    let upstream = pieces(vec!["data: oops\n\n".into(), event("a"), "data: {oops\n\n".into(), event("b"), STREAM_END.into()], |stream| {
        stream.write_all(b"0\r\n\r\n").is_ok()
    });
    let app = alone(&p(&upstream), SHORT);
    let reply = app.stream("m");
    assert_eq!((reply.words().as_str(), reply.terminals()), ("ab", 1));
    assert!(!reply.text().contains("oops"));
    assert_eq!(app.metric("stagedoor_dropped_events_total"), 2.0);
}

#[test]
fn no_content_in_time_goes_on_to_the_next_though_the_head_came() {
    let chatty = pieces(vec![ROLE.into()], |stream| {
        (0..40).all(|_| {
            std::thread::sleep(Duration::from_millis(50));
            stream.write_all(chunk(": thinking\n\n").as_bytes()).is_ok()
        })
    });
    let (app, _spare) = spared(&p(&chatty), SHORT);
    assert_stream_spared(&app, "first_token_timeout");
    let reply = alone(&p(&chatty), SHORT).stream("m");
    assert_eq!((reply.status, reply.code().as_str()), (504, "upstream_timeout"));
}

#[test]
fn a_plain_answer_to_a_request_for_a_stream_becomes_one() {
    let upstream = Upstream::answering(super::support::answer("all at once"));
    let reply = alone(&p(&upstream), SHORT).stream("m");
    assert_eq!(
        (reply.words().as_str(), reply.terminals(), reply.header("content-type")),
        ("all at once", 1, Some("text/event-stream; charset=utf-8"))
    );
}
