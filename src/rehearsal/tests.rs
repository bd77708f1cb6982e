//! The simulator as its callers see it: what a stream says, when, what strikes it, and what is counted.

use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{FutureExt, StreamExt};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

/// A script that takes no time.
fn brisk() -> Script {
    Script { latency: Duration::ZERO, pace: Duration::ZERO, ..Script::default() }
}

pub(super) fn script(toml: &str) -> Script {
    Script::from_toml(toml).unwrap()
}

/// At once, with this one fault.
fn faulty(fault: &str) -> Simulator {
    simulator(script(&format!("latency = \"0\"\npace = \"0\"\nfaults = [ {{ {fault} }} ]")))
}

pub(super) fn simulator(script: Script) -> Simulator {
    Simulator::new(script, 7, || 1_700_000_000)
}

fn body(more: Value) -> Bytes {
    let mut body = json!({"model": "m", "messages": [{"role": "user", "content": "hello there"}]});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body.to_string().into()
}

pub(super) async fn chat(simulator: &Simulator, more: Value) -> Reply {
    simulator.call("/chat/completions", body(more), Some("Bearer sk-test")).await
}

fn whole(reply: Reply) -> Value {
    match reply.body {
        ReplyBody::Whole(bytes) => serde_json::from_slice(&bytes).unwrap(),
        ReplyBody::Stream(_) => panic!("a stream"),
    }
}

pub(super) fn stream(reply: Reply) -> EventStream {
    match reply.body {
        ReplyBody::Stream(stream) => stream,
        ReplyBody::Whole(bytes) => panic!("not a stream: {bytes:?}"),
    }
}

/// All items, and how the stream broke if it did.
async fn all(mut stream: EventStream) -> (Vec<Bytes>, Option<Cut>) {
    let mut items = Vec::new();
    while let Some(item) = stream.next().await {
        match item {
            Ok(item) => items.push(item),
            Err(cut) => return (items, Some(cut)),
        }
    }
    (items, None)
}

/// The chunks of a stream that ended well.
pub(super) async fn chunks(reply: Reply) -> Vec<Value> {
    let (mut items, cut) = all(stream(reply)).await;
    assert_eq!(cut, None);
    assert_eq!(items.pop().unwrap(), "data: [DONE]\n\n");
    let chunk = |item: &Bytes| {
        let text = std::str::from_utf8(item).unwrap();
        serde_json::from_str(text.strip_prefix("data: ").unwrap().strip_suffix("\n\n").unwrap()).unwrap()
    };
    items.iter().map(chunk).collect()
}

fn said(chunks: &[Value], choice: u64) -> String {
    let of = chunks.iter().filter_map(|chunk| chunk["choices"].get(0)).filter(|of| of["index"] == choice);
    of.filter_map(|of| of["delta"]["content"].as_str()).collect()
}

/// Runs without tokio's timers: whatever needs one panics.
fn timeless<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

#[test]
fn it_can_be_shared_between_threads() {
    fn shared<T: Send + Sync + Clone + 'static>(_: &T) {}
    fn sent<T: Send>(_: T) {}
    let simulator = simulator(brisk());
    shared(&simulator);
    sent(simulator.call("/models", Bytes::new(), None));
}

#[test]
fn a_stream_says_what_a_plain_answer_says() {
    timeless(async {
        let plain = whole(chat(&simulator(brisk()), json!({})).await);
        let reply = chat(&simulator(brisk()), json!({"stream": true})).await;
        assert!(reply.headers.contains(&("content-type", "text/event-stream; charset=utf-8".into())));
        let chunks = chunks(reply).await;
        assert_eq!(said(&chunks, 0), plain["choices"][0]["message"]["content"].as_str().unwrap());
        assert_eq!(chunks[0]["choices"][0]["delta"], json!({"role": "assistant", "content": "", "refusal": null}));
        assert_eq!(chunks[1]["choices"][0]["delta"], json!({"content": "This"}));
        assert_eq!(chunks.last().unwrap()["choices"][0], json!({"index": 0, "delta": {}, "logprobs": null, "finish_reason": "stop"}));
        for chunk in &chunks {
            assert_eq!(
                (&chunk["object"], &chunk["id"], &chunk["created"]),
                (&json!("chat.completion.chunk"), &plain["id"], &plain["created"])
            );
            assert!(chunk.get("usage").is_none());
        }
    });
}

#[test]
fn usage_comes_only_on_request() {
    timeless(async {
        let plain = whole(chat(&simulator(brisk()), json!({})).await);
        let chunks = chunks(chat(&simulator(brisk()), json!({"stream": true, "stream_options": {"include_usage": true}})).await).await;
        let (last, others) = chunks.split_last().unwrap();
        assert_eq!((&last["usage"], &last["choices"]), (&plain["usage"], &json!([])));
        assert!(others.iter().all(|chunk| chunk["usage"] == Value::Null && chunk.get("usage").is_some()));
        assert_eq!(
            others.iter().filter(|chunk| chunk["choices"][0]["delta"]["content"].as_str().is_some_and(|c| !c.is_empty())).count(),
            plain["usage"]["completion_tokens"]
        );
    });
}

#[test]
fn each_choice_has_its_role_its_words_and_its_finish() {
    timeless(async {
        let chunks = chunks(chat(&simulator(brisk()), json!({"stream": true, "n": 3, "max_tokens": 2})).await).await;
        for choice in 0..3 {
            let of: Vec<&Value> = chunks.iter().map(|chunk| &chunk["choices"][0]).filter(|of| of["index"] == choice).collect();
            assert_eq!(of[0]["delta"]["role"], "assistant");
            assert_eq!(of.last().unwrap()["finish_reason"], "length");
            assert_eq!(said(&chunks, choice), "This is");
        }
    });
}

#[test]
fn tool_calls_stream_their_name_and_then_their_arguments() {
    timeless(async {
        let schema = json!({"type": "object", "properties": {"city": {"enum": ["København"]}, "days": {"type": "integer"}}, "required": ["city", "days"]});
        let tools = json!([{"type": "function", "function": {"name": "weather", "parameters": schema}}, {"type": "function", "function": {"name": "find"}}]);
        let more = json!({"stream": true, "tools": tools, "messages": [{"role": "user", "content": "find the weather"}]});
        let chunks = chunks(chat(&simulator(brisk()), more).await).await;
        assert_eq!(chunks.last().unwrap()["choices"][0]["finish_reason"], "tool_calls");
        for (index, name, arguments) in [(0, "weather", json!({"city": "København", "days": 1})), (1, "find", json!({}))] {
            let of: Vec<&Value> = chunks
                .iter()
                .filter_map(|chunk| chunk["choices"][0]["delta"]["tool_calls"].get(0))
                .filter(|call| call["index"] == index)
                .collect();
            assert_eq!((&of[0]["type"], &of[0]["function"]), (&json!("function"), &json!({"name": name, "arguments": ""})));
            assert!(of[0]["id"].is_string() && of[1..].iter().all(|call| call.get("id").is_none()));
            let text: String = of.iter().map(|call| call["function"]["arguments"].as_str().unwrap()).collect();
            assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), arguments);
        }
    });
}

#[test]
fn a_status_has_its_body_and_its_wait() {
    timeless(async {
        let reply = chat(&faulty("kind = \"status\", status = 429, retry_after = \"1500ms\""), json!({"stream": true})).await;
        assert_eq!(reply.status, 429);
        assert!(reply.headers.contains(&("retry-after", "2".into())) && reply.headers.contains(&("retry-after-ms", "1500".into())));
        assert_eq!(whole(reply)["error"]["code"], "rate_limit_exceeded");
        let reply = chat(&faulty("kind = \"status\", status = 418, body = \"short and stout\""), json!({})).await;
        assert!(reply.headers.contains(&("content-type", "text/plain; charset=utf-8".into())));
    });
}

#[test]
fn a_key_may_be_bad() {
    timeless(async {
        let simulator = faulty("kind = \"status\", status = 401, key = \"sk-bad\"");
        assert_eq!(simulator.call("/chat/completions", body(json!({})), Some("bearer sk-bad")).await.status, 401);
        assert_eq!(simulator.call("/chat/completions", body(json!({})), Some("Bearer sk-good")).await.status, 200);
    });
}

#[test]
fn bodies_that_are_wrong() {
    timeless(async {
        let garbage = chat(&faulty("kind = \"garbage\""), json!({})).await;
        assert!(matches!(&garbage.body, ReplyBody::Whole(page) if page.starts_with(b"<!doctype html>")) && garbage.status == 200);
        let empty = chat(&faulty("kind = \"empty\""), json!({"stream": true})).await;
        assert!(matches!(&empty.body, ReplyBody::Whole(bytes) if bytes.is_empty()) && empty.status == 200);
        let error = chat(&faulty("kind = \"error_event\""), json!({})).await;
        assert!(error.status == 200 && whole(error)["error"]["type"] == "server_error");
    });
}

#[test]
fn an_error_event_ends_a_stream_without_done() {
    timeless(async {
        let (items, cut) = all(stream(chat(&faulty("kind = \"error_event\", events = 2"), json!({"stream": true})).await)).await;
        assert_eq!((items.len(), cut), (3, None));
        assert!(items[2].starts_with(b"data: {\"error\":"));
    });
}

#[test]
fn each_end_of_a_cut() {
    timeless(async {
        for (end, broken) in [("fin", Some(Cut::Fin)), ("reset", Some(Cut::Reset)), ("clean", None)] {
            let simulator = faulty(&format!("kind = \"cut\", events = 4, end = \"{end}\""));
            let (items, cut) = all(stream(chat(&simulator, json!({"stream": true})).await)).await;
            assert_eq!((items.len(), cut), (4, broken));
            let (items, cut) = all(stream(chat(&simulator, json!({})).await)).await;
            assert!(serde_json::from_slice::<Value>(&items.concat()).is_err());
            assert_eq!((items.len(), cut), (1, broken));
            assert_eq!(simulator.stats(), Stats { calls: 2, served: 2, faulted: 2, ..Stats::default() });
        }
    });
}

#[test]
fn who_leaves_early_is_counted() {
    timeless(async {
        let faults = "faults = [ { kind = \"hang\", count = 1 }, { kind = \"hang_after\", events = 2, count = 1 } ]";
        let simulator = simulator(Script { faults: script(faults).faults, ..brisk() });
        assert!(chat(&simulator, json!({})).now_or_never().is_none());
        assert_eq!(simulator.stats(), Stats { calls: 1, aborted: 1, faulted: 1, ..Stats::default() });

        let mut hung = stream(chat(&simulator, json!({"stream": true})).await);
        assert!(hung.next().await.is_some() && hung.next().await.is_some());
        assert!(hung.next().now_or_never().is_none());
        assert_eq!(simulator.stats().open, 1);
        drop(hung);

        let mut left = stream(chat(&simulator, json!({"stream": true})).await);
        left.next().await.unwrap().unwrap();
        drop(left);
        assert_eq!(simulator.stats(), Stats { calls: 3, aborted: 3, faulted: 2, ..Stats::default() });

        // Leaving after [DONE], without asking for more, is no abort.
        let mut read = stream(chat(&simulator, json!({"stream": true})).await);
        while read.next().await.unwrap().unwrap() != "data: [DONE]\n\n" {}
        drop(read);
        assert_eq!(simulator.stats(), Stats { calls: 4, aborted: 3, served: 1, faulted: 2, open: 0 });
    });
}

#[test]
fn another_script_counts_anew() {
    timeless(async {
        let once = "kind = \"status\", status = 503, count = 1";
        let simulator = faulty(once);
        assert_eq!([chat(&simulator, json!({})).await.status, chat(&simulator, json!({})).await.status], [503, 200]);
        simulator.set_script(simulator.script());
        assert_eq!(chat(&simulator, json!({})).await.status, 503);
        assert_eq!(simulator.stats(), Stats { calls: 3, served: 3, faulted: 2, ..Stats::default() });
    });
}

#[test]
fn models_embeddings_and_nothing_else() {
    timeless(async {
        let simulator = simulator(brisk());
        let models = whole(simulator.call("/v1/models", Bytes::new(), None).await);
        assert_eq!((&models["object"], &models["data"][0]["object"]), (&json!("list"), &json!("model")));
        let input = Bytes::from_static(br#"{"model": "e", "input": ["a", "b"]}"#);
        assert_eq!(whole(simulator.call("/embeddings", input, None).await)["data"][1]["index"], 1);
        let reply = simulator.call("/fine_tuning/jobs", body(json!({})), None).await;
        assert_eq!(reply.status, 404);
        assert_eq!(whole(reply)["error"]["type"], "invalid_request_error");
    });
}

#[test]
fn a_wrong_request_is_refused_whatever_the_fault() {
    timeless(async {
        for fault in ["kind = \"slow\"", "kind = \"cut\"", "kind = \"hang_after\""] {
            for wrong in ["", "{", "[]", "{}", "{\"model\": \"m\"}"] {
                let reply = faulty(fault).call("/chat/completions", Bytes::from_static(wrong.as_bytes()), None).await;
                assert_eq!(reply.status, 400, "{wrong}");
                assert_eq!(whole(reply)["error"]["type"], "invalid_request_error");
            }
        }
    });
}

#[test]
fn the_same_seed_plays_the_same() {
    timeless(async {
        let run = async || {
            let simulator = faulty("kind = \"empty\", ratio = 0.5");
            let mut seen = Vec::new();
            for _ in 0..20 {
                seen.push(format!("{:?}", chat(&simulator, json!({})).await));
            }
            seen
        };
        assert_eq!(run().await, run().await);
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_cut_is_a_prefix(at in 0u64..60, text in "[a-zé \n\"\\\\]{0,60}", usage: bool, end in prop_oneof![Just("fin"), Just("reset"), Just("clean")]) {
        timeless(async {
            let more = || if usage { json!({"stream": true, "stream_options": {"include_usage": true}}) } else { json!({"stream": true}) };
            let healthy = Script { text: Some(text.clone()), ..brisk() };
            let cut = Script { faults: script(&format!("faults = [ {{ kind = \"cut\", events = {at}, end = \"{end}\" }} ]")).faults, ..healthy.clone() };
            let (full, _) = all(stream(chat(&simulator(healthy), more()).await)).await;
            let (short, _) = all(stream(chat(&simulator(cut), more()).await)).await;
            let expected = (at as usize).min(full.len() - 1);
            prop_assert_eq!(&short[..], &full[..expected]);
            Ok(())
        })?;
    }

    #[test]
    fn any_text_streams_whole(text in "\\PC{0,80}", words in proptest::option::of(0u64..40)) {
        timeless(async {
            let script = Script { text: Some(text), words, ..brisk() };
            let plain = whole(chat(&simulator(script.clone()), json!({})).await);
            let chunks = chunks(chat(&simulator(script), json!({"stream": true})).await).await;
            prop_assert_eq!(said(&chunks, 0), plain["choices"][0]["message"]["content"].as_str().unwrap());
            Ok(())
        })?;
    }
}
