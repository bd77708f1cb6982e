//! What real upstreams send, as their streams' shapes were recorded: it reaches the caller as it is, but for what no client
//! could read, and each is judged right.

use std::io::Write;
use std::time::Duration;

use super::corpus::{Ends, Recording, STREAMS, content};
use super::support::continuing::{onward, text, words};
use super::support::faults::provider_at;
use super::support::{STREAM_HEAD, TestApp, Upstream, chunk};

/// Sends it in pieces of this size; the last of it, from a failure on, after what came before has been read.
fn sending(stream: &'static Recording, size: usize) -> Upstream {
    Upstream::start(move |_, socket| {
        let text = std::str::from_utf8(stream.bytes).unwrap();
        let breaks = match stream.ends {
            Ends::Broken(event) if !event.is_empty() => text.find(event).unwrap(),
            _ => text.len(),
        };
        let _ = socket.write_all(STREAM_HEAD.as_bytes());
        for part in [&stream.bytes[..breaks], &stream.bytes[breaks..]] {
            for piece in part.chunks(size) {
                let _ = socket.write_all(&[format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat());
            }
            std::thread::sleep(Duration::from_millis(15));
        }
        socket.write_all(b"0\r\n\r\n").is_ok()
    })
}

fn asking(model: &str) -> String {
    format!(
        r#"{{"model":"{model}","stream":true,"stream_options":{{"include_usage":true}},"messages":[{{"role":"user","content":"Hi"}}]}}"#
    )
}

#[test]
fn what_vendors_send_reaches_the_caller_as_it_is() {
    for size in [1, 61, 1 << 20] {
        let upstreams: Vec<_> = STREAMS.iter().map(|stream| (stream, sending(stream, size))).collect();
        let rows = upstreams.iter().map(|(stream, upstream)| {
            let name = stream.name;
            provider_at(name, &upstream.url(), "") + &format!("[models.{name}]\ntargets = [{{ provider = \"{name}\", model = \"up\" }}]\n")
        });
        let app = TestApp::start(&rows.collect::<String>());
        for (stream, _) in &upstreams {
            let reply = app.client().post("/v1/chat/completions", &[], &asking(stream.name));
            let (body, about) = (reply.text(), format!("{} in pieces of {size}:\n{}", stream.name, reply.text()));
            assert_eq!((reply.status, reply.whole), (200, true), "{about}");
            let expected = String::from_utf8(stream.reaches_the_caller()).unwrap();
            let added = body.strip_prefix(&expected).unwrap_or_else(|| panic!("{about}\nexpected\n{expected}"));
            match stream.ends {
                Ends::Marked => assert_eq!(added, "", "{about}"),
                Ends::Unmarked => assert_eq!(added, "data: [DONE]\n\n", "{about}"),
                Ends::Broken(_) => {
                    let error: serde_json::Value = serde_json::from_str(added.strip_prefix("data: ").unwrap().trim_end()).unwrap();
                    assert_eq!(error["error"]["type"], "upstream_error", "{about}");
                }
            }
            assert_eq!(content(&reply.body), stream.says, "{about}");
        }
        for stream in STREAMS {
            let (name, outcome) = (stream.name, if matches!(stream.ends, Ends::Broken(_)) { "transient" } else { "ok" });
            let ended = format!("stagedoor_attempts_total{{provider=\"{name}\",model=\"up\",outcome=\"{outcome}\"}}");
            app.until(&format!("{name} is counted as {outcome}"), |app| app.metric(&ended) == 1.0);
        }
    }
}

#[test]
fn what_a_vendor_tells_only_in_its_own_way_is_mended_all_the_same() {
    let half = words()[..30].concat();
    let say = |rest: &str| {
        let delta = serde_json::json!({"id": "first", "created": 1, "model": "first", "choices": [{"index": 0, "delta": {"content": half}, "finish_reason": null}]});
        format!("data: {delta}\n\n{rest}data: [DONE]\n\n")
    };
    for failure in [
        "error: {\"code\":500,\"message\":\"context shift is disabled\"}\n\n",
        "event: error\ndata: Internal Server Error\n\n",
        "event: error\ndata: {\"message\":\"gone\"}\n\n",
        "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"\"},\"finish_reason\":\"error\"}]}\n\n",
        "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"insufficient_system_resource\"}]}\n\n",
        "data: {\"text\":\"busy\",\"error_code\":50001}\n\n",
        "data: [{\"error\":{\"code\":503,\"status\":\"UNAVAILABLE\"}}]\n\n",
    ] {
        let body = format!("{STREAM_HEAD}{}0\r\n\r\n", chunk(&say(failure)));
        let at = body.find(failure).unwrap();
        let (before, after) = (body[..at].to_owned(), body[at..].to_owned());
        let p = Upstream::start(move |_, socket| {
            let _ = socket.write_all(before.as_bytes());
            std::thread::sleep(Duration::from_millis(30));
            socket.write_all(after.as_bytes()).is_ok()
        });
        let second = onward("prefill");
        let app = TestApp::start(&format!(
            "{}{}[models.m]\nstrategy = \"ordered\"\ntargets = [{{ provider = \"p\", model = \"up\" }}, {{ provider = \"q\", model = \"up\" }}]\n",
            provider_at("p", &p.url(), ""),
            provider_at("q", &second.url(), "continuation = \"prefill\"")
        ));
        let reply = app.client().post("/v1/chat/completions", &[], &asking("m"));
        assert_eq!((reply.words(), reply.terminals()), (text(), 1), "{failure}{}", reply.text());
        assert_eq!(reply.text().matches(": stagedoor recovered").count(), 1, "{failure}{}", reply.text());
    }
}

/// What OpenAI's SDK for Python makes of a stream: behind an `id` any blank line ends an event, and one without data breaks it.
fn empty_events(text: &str) -> usize {
    let (mut numbered, mut data, mut empty) = (false, false, 0);
    for line in text.lines() {
        match line {
            "" => {
                empty += usize::from(numbered && !data);
                data = false;
            }
            _ => {
                numbered |= line.starts_with("id:");
                data |= line.starts_with("data:");
            }
        }
    }
    empty
}

#[test]
fn where_events_have_an_id_no_comment_looks_like_an_event() {
    let event = |id: u32, content: &str| {
        let choices = serde_json::json!([{"index": 0, "delta": {"content": content}, "finish_reason": null}]);
        format!("id: {id}\ndata: {}\n\n", serde_json::json!({"id": "first", "created": 1, "model": "first", "choices": choices}))
    };
    let (one, two) = (event(1, &words()[0]), event(2, &words()[1]));
    let p = Upstream::start(move |_, socket| {
        let _ = socket.write_all(format!("{STREAM_HEAD}{}{}", chunk(&one), chunk(": theirs\n\n")).as_bytes());
        std::thread::sleep(Duration::from_millis(250));
        let _ = socket.write_all(chunk(&two).as_bytes());
        std::thread::sleep(Duration::from_millis(250));
        false
    });
    let second = onward("prefill");
    let app = TestApp::start(&format!(
        "[server]\nheartbeat = \"100ms\"\n{}{}[models.m]\nstrategy = \"ordered\"\ntargets = [{{ provider = \"p\", model = \"up\" }}, {{ provider = \"q\", model = \"up\" }}]\n",
        provider_at("p", &p.url(), ""),
        provider_at("q", &second.url(), "continuation = \"prefill\"")
    ));
    let reply = app.client().post("/v1/chat/completions", &[], &asking("m"));
    let body = reply.text();
    assert_eq!((reply.words(), reply.terminals()), (text(), 1), "{body}");
    assert!(
        body.matches(": stagedoor is waiting\n").count() >= 2 && body.contains(": theirs\n") && body.contains(": stagedoor recovered"),
        "{body}"
    );
    assert_eq!(empty_events(&body), 0, "{body}");
}
