//! Each sort of event, the vendors' odd ones among them, and the classifier against a tree.

use proptest::prelude::*;

use super::*;
use crate::corpus::{self, Spoilt};

fn kind(data: &str) -> Kind {
    classify(data.as_bytes()).kind
}

fn delta(delta: &str) -> Seen {
    classify(format!(r#"{{"choices":[{{"index":0,"delta":{delta}}}]}}"#).as_bytes())
}

fn at(data: &str, span: Option<Range<usize>>) -> &str {
    &data[span.unwrap()]
}

#[test]
fn a_usual_chunk_is_read_whole() {
    let data = r#" {"id":"c-1","object":"chat.completion.chunk","created":17,"model":"gpt-4o","system_fingerprint":null,"choices":[{"index":0,"delta":{"content":"Hi \"you\""},"logprobs":null,"finish_reason":"stop"}],"usage":{"total_tokens":3},"x":[1]} "#;
    let seen = classify(data.as_bytes());
    assert_eq!((seen.kind, seen.finish, seen.choices, seen.commits()), (Kind::Content, true, 1, true));
    assert!(!seen.tool_call && !seen.reasoning && !seen.audio && seen.error.is_none());
    assert_eq!(at(data, seen.text), r#""Hi \"you\"""#);
    assert_eq!(at(data, seen.reason), r#""stop""#);
    assert_eq!(at(data, seen.usage), r#"{"total_tokens":3}"#);
    assert_eq!((at(data, seen.id), at(data, seen.model), at(data, seen.created)), (r#""c-1""#, r#""gpt-4o""#, "17"));
}

#[test]
fn words_of_every_sort_are_content_and_their_empty_forms_are_not() {
    for (name, full, empty) in [
        ("content", r#"" ""#, r#""""#),
        ("content", r#"[{"type":"thinking"}]"#, "[ ]"),
        ("refusal", r#""no""#, "null"),
        ("images", "[{}]", "[]"),
        ("reasoning", r#""a""#, r#""""#),
        ("reasoning_content", r#""a""#, "null"),
        ("reasoning_details", "[0]", "[]"),
        ("thinking", r#""a""#, "false"),
        ("tool_calls", r#"[{"index":0}]"#, "[]"),
        ("function_call", r#"{"arguments":"{"}"#, "{ }"),
        ("audio", r#"{"data":"x"}"#, "12"),
    ] {
        let seen = delta(&format!(r#"{{"role":"assistant","{name}":{full}}}"#));
        assert_eq!((seen.kind, seen.commits(), seen.finish), (Kind::Content, true, false), "{name}");
        assert_eq!(seen.tool_call, ["tool_calls", "function_call"].contains(&name), "{name}");
        assert_eq!(seen.reasoning, name.starts_with("reasoning") || name == "thinking", "{name}");
        assert_eq!(seen.audio, name == "audio");
        assert_eq!(seen.text.is_some(), full == r#"" ""#);
        let seen = delta(&format!(r#"{{"{name}":{empty},"role":"assistant"}}"#));
        assert_eq!(seen, Seen { choices: 1, ..Seen::default() }, "{name}");
    }
    assert_eq!(delta(r#"{"c\u006fntent":"x"}"#).kind, Kind::Content);
}

#[test]
fn what_shows_nothing_is_empty() {
    for data in [
        "",
        " \n",
        "{}",
        r#"{"choices":[]}"#,
        r#"{"choices":null,"usage":null,"error":null,"id":7,"model":null}"#,
        r#"{"choices":[1,{"delta":null},{"delta":{}}]}"#,
        r#"{"choices":[{"delta":{"role":"assistant","content":""},"finish_reason":null}]}"#,
        r#"{"choices":[{"text":"","finish_reason":""}]}"#,
        r#"{"object":"chat.completion.chunk","usage":[]}"#,
    ] {
        let seen = classify(data.as_bytes());
        assert_eq!((seen.kind, seen.finish, seen.commits()), (Kind::Empty, false, false), "{data}");
        assert!(seen.usage.is_none() && seen.id.is_none() && seen.model.is_none());
    }
}

#[test]
fn what_was_seen_stays_seen() {
    let seen = delta(
        r#"{"content":"a","refusal":null,"reasoning":"b","thinking":"","tool_calls":[1],"function_call":null,"audio":{"a":1},"audio":null}"#,
    );
    assert!(seen.kind == Kind::Content && seen.reasoning && seen.tool_call && seen.audio);
    assert_eq!(delta(r#"{"content":"a","refusal":""}"#).kind, Kind::Content);
    assert_eq!(kind(r#"[{"object":"error"},{"object":"list"}]"#), Kind::Error);
}

#[test]
fn a_finish_alone_commits_though_it_is_empty() {
    let data = r#"{"choices":[{"delta":{},"finish_reason":null},{"delta":{},"finish_reason":"length","usage":{"a":1}}]}"#;
    let seen = classify(data.as_bytes());
    assert_eq!((seen.kind, seen.finish, seen.commits(), seen.choices), (Kind::Empty, true, true, 2));
    assert_eq!((at(data, seen.reason), at(data, seen.usage)), (r#""length""#, r#"{"a":1}"#));
}

#[test]
fn only_the_first_choice_gives_its_text() {
    let data = r#"{"choices":[{"text":"a"},{"message":{"content":"b"}}]}"#;
    let seen = classify(data.as_bytes());
    assert_eq!((seen.kind, at(data, seen.text)), (Kind::Content, r#""a""#));
    let seen = classify(br#"{"choices":[{"text":""},{"message":{"content":"b"}}]}"#);
    assert_eq!((seen.kind, seen.text), (Kind::Content, None));
}

#[test]
fn errors_win_over_content() {
    let data = r#"{"choices":[{"delta":{"content":"x"},"finish_reason":"error"}],"error":{"code":502}}"#;
    let seen = classify(data.as_bytes());
    assert_eq!((seen.kind, at(data, seen.error.clone()), seen.commits()), (Kind::Error, r#"{"code":502}"#, false));
    for data in
        [r#"{"error":"text"}"#, r#"{"object":"error","message":"m"}"#, r#"[{"error":{}}]"#, r#"[1,{"error":{}}]"#, r#"{"error":false}"#]
    {
        assert_eq!(kind(data), Kind::Error, "{data}");
    }
    for data in [r#"{"object":"errors"}"#, r#"{"error_code":0}"#, r#"{"error_code":null}"#, r#"{"error_code":""}"#] {
        assert_eq!(kind(data), Kind::Empty, "{data}");
    }
    assert_eq!(kind(r#"{"text":"busy","error_code":50001}"#), Kind::Error);
}

#[test]
fn a_finish_reason_that_tells_of_a_failure_is_an_error() {
    for reason in ["error", "insufficient_system_resource", "network_error", "abort"] {
        assert_eq!(kind(&format!(r#"{{"choices":[{{"delta":{{"content":"x"}},"finish_reason":"{reason}"}}]}}"#)), Kind::Error, "{reason}");
    }
    for reason in ["stop", "length", "content_filter", "model_length", "eos_token", "errors"] {
        let seen = classify(format!(r#"{{"choices":[{{"delta":{{}},"finish_reason":"{reason}"}}]}}"#).as_bytes());
        assert_eq!((seen.kind, seen.finish), (Kind::Empty, true), "{reason}");
    }
}

#[test]
fn a_message_beside_a_delta_says_nothing() {
    let message = r#""message":{"content":"all so far","reasoning":"r"}"#;
    for choice in
        [format!(r#"{{{message},"index":0,"delta":{{"content":"far"}}}}"#), format!(r#"{{"delta":{{"content":"far"}},{message}}}"#)]
    {
        let data = format!(r#"{{"choices":[{choice}]}}"#);
        let seen = classify(data.as_bytes());
        assert_eq!((seen.kind, seen.spoke, seen.reasoning, at(&data, seen.text)), (Kind::Content, 1, false, r#""far""#));
    }
    let last = format!(r#"{{"choices":[{{"finish_reason":"stop",{message},"delta":{{"content":""}}}}]}}"#);
    let seen = classify(last.as_bytes());
    assert_eq!((seen.kind, seen.finish, seen.spoke, seen.text), (Kind::Empty, true, 0, None));
    let again = format!(r#"{{"choices":[{{"finish_reason":"stop",{message}}}]}}"#);
    let seen = classify(again.as_bytes());
    assert_eq!((seen.commits(), seen.finished, seen.spoke, seen.text), (true, 1, 0, None), "the whole answer once more");
    let alone = format!(r#"{{"choices":[{{"delta":null,{message}}}]}}"#);
    assert_eq!(at(&alone, classify(alone.as_bytes()).text), r#""all so far""#);
}

#[test]
fn done_and_what_is_no_event() {
    for data in ["[DONE]", " [DONE]\r", "\t[DONE] "] {
        assert_eq!(classify(data.as_bytes()), Seen::of(Kind::Done));
    }
    for data in [
        "[DONE",
        "[done]",
        "DONE",
        "[]",
        "[{}]",
        "1",
        "null",
        "\"x\"",
        "{\"a\":1",
        "{\"a\":1}}",
        "{\"a\":1}{\"a\":1}",
        "<html>",
        "{\"id\":\"\u{1}\"}",
    ] {
        assert_eq!(classify(data.as_bytes()), Seen::of(Kind::NotJson), "{data}");
    }
    let deep = |depth: usize| format!(r#"{{"a":{}{}}}"#, "[".repeat(depth), "]".repeat(depth));
    assert_eq!((kind(&deep(127)), kind(&deep(128))), (Kind::Empty, Kind::NotJson));
    assert_eq!(classify(b"{\"a\":\"\xC3\"}"), Seen::of(Kind::NotUtf8));
    assert_eq!(classify(b"\xFF"), Seen::of(Kind::NotUtf8));
}

fn json() -> impl Strategy<Value = serde_json::Value> {
    let name =
        prop::sample::select(vec!["choices", "delta", "content", "finish_reason", "usage", "error", "object", "tool_calls", "text", "x"]);
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        prop::sample::select(vec!["", "error", "stop", "é\n"]).prop_map(Into::into),
    ];
    leaf.prop_recursive(6, 40, 5, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Into::into),
            prop::collection::btree_map(name.clone().prop_map(String::from), inner, 0..5)
                .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        classify(&bytes);
    }

    #[test]
    fn says_what_a_tree_would(value in json()) {
        let text = value.to_string();
        let seen = classify(text.as_bytes());
        let list = [&value];
        let tops = value.as_array().map_or(list.to_vec(), |values| values.iter().collect());
        let broke_off = |top: &serde_json::Value| top["choices"].as_array().into_iter().flatten().any(|choice| choice["finish_reason"] == "error");
        let error = tops.iter().any(|top| {
            top.get("error").is_some_and(|error| !error.is_null()) || top.get("object").is_some_and(|object| object == "error") || broke_off(top)
        });
        let choices = value["choices"].as_array().cloned().unwrap_or_default();
        let full = |value: &serde_json::Value| match value {
            serde_json::Value::String(text) => !text.is_empty(),
            serde_json::Value::Array(values) => !values.is_empty(),
            serde_json::Value::Object(map) => !map.is_empty(),
            _ => false,
        };
        let content = choices.iter().any(|choice| full(&choice["text"]) || full(&choice["delta"]["content"]) || full(&choice["delta"]["tool_calls"]));
        let expected = match () {
            _ if error => Kind::Error,
            _ if !value.is_object() => Kind::NotJson,
            _ if content => Kind::Content,
            _ => Kind::Empty,
        };
        prop_assert_eq!(seen.kind, expected, "{}", text);
        if value.is_object() {
            let finish = choices.iter().any(|choice| choice.get("finish_reason").is_some_and(|reason| !reason.is_null() && reason != ""));
            prop_assert_eq!(seen.finish, finish, "{}", text);
            prop_assert_eq!(seen.tool_call, choices.iter().any(|choice| full(&choice["delta"]["tool_calls"])), "{}", text);
            prop_assert_eq!(seen.choices, choices.len());
            if let Some(usage) = seen.usage {
                prop_assert!(serde_json::from_str::<serde_json::Value>(&text[usage]).unwrap().is_object());
            }
        }
    }

    #[test]
    fn of_a_spoilt_event_it_says_what_a_tree_would(Spoilt(bytes) in corpus::stream(), which in any::<prop::sample::Index>()) {
        let lines: Vec<_> = bytes.split(|byte| matches!(byte, b'\n' | b'\r')).filter_map(|line| line.strip_prefix(b"data:")).collect();
        let data = if lines.is_empty() { &bytes[..] } else { lines[which.index(lines.len())] };
        let seen = classify(data);
        let is_json = |text| serde_json::from_slice::<&serde_json::value::RawValue>(text).is_ok();
        let is_object = is_json(data) && data.trim_ascii().starts_with(b"{");
        let no_event = matches!(data.trim_ascii(), b"" | b"[DONE]") || std::str::from_utf8(data).is_err();
        match seen.kind {
            Kind::NotJson => prop_assert!(!is_object),
            Kind::Error => prop_assert!(is_json(data)),
            Kind::Empty | Kind::Content if !no_event => prop_assert!(is_object),
            _ => prop_assert!(no_event),
        }
        for span in [&seen.text, &seen.reason, &seen.usage, &seen.error, &seen.id, &seen.model, &seen.created].into_iter().flatten() {
            prop_assert!(is_json(&data[span.clone()]));
        }
    }

    #[test]
    fn not_cut_json_only(cut in 0_usize..60) {
        let data = r#"{"id":"é","choices":[{"delta":{"content":"😀"},"x":-1.5e+3}]}"#.as_bytes();
        let seen = classify(&data[..cut.min(data.len() - 1)]);
        prop_assert!(matches!(seen.kind, Kind::NotJson | Kind::NotUtf8) || cut == 0, "{:?}", seen);
    }
}
