//! Requests as callers send them, each reason to refuse one, and the scan and the rewriting against serde_json.

use bytes::Bytes;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::{Refusal, rewritten, rewritten_with_usage};
use super::*;
use crate::corpus::{self, Spoilt};
use crate::routing::Needs;

/// A body with a model and a message, and this before them.
fn with(members: &str) -> String {
    format!(r#"{{{members}"model":"gpt-4o","messages":[{{"role":"user","content":"hi"}}]}}"#)
}

fn scan(body: &str) -> Scan {
    request(body.as_bytes()).unwrap_or_else(|refusal| panic!("{refusal}: {body}"))
}

fn refusal(body: impl AsRef<[u8]>) -> Refusal {
    request(body.as_ref()).unwrap_err()
}

fn code(body: impl AsRef<[u8]>) -> (&'static str, Option<&'static str>) {
    let refusal = refusal(body);
    (refusal.code, refusal.param)
}

#[test]
fn a_plain_request() {
    let body = r#" {"model": "gpt-4o", "messages": [{"role": "user", "content": "h\u00e9"}], "temperature": 0.70} "#;
    let scan = scan(body);
    assert_eq!((&body[scan.model.span.clone()], scan.model.value.as_str()), (r#""gpt-4o""#, "gpt-4o"));
    assert!(body[scan.messages.clone().unwrap()].starts_with("[{") && body[scan.messages.clone().unwrap()].ends_with("}]"));
    assert_eq!((scan.message_count, scan.text_bytes, scan.open, scan.n), (1, 7, 2, 1));
    assert_eq!((scan.models, scan.stream_options, scan.max_tokens), (None, None, None));
    assert!(!scan.stream && !scan.include_usage && !scan.logprobs && !scan.audio_out);
    assert_eq!(scan.needs, Needs::default());
}

#[test]
fn everything_at_once() {
    let body = r#"{"stream":true,"stream_options":{"x":[{}],"include_usage":true},"max_tokens":5,"n":3,"tools":[{"type":"function"}],
        "response_format":{"json_schema":{"type":"x"},"type":"json_schema"},"logprobs":true,"audio":{},"model":"m\"\u0041",
        "messages":[{"role":"system","content":"ab"},{"content":[{"type":"text","text":"cde"},{"type":"image_url","image_url":{"url":"u"}},
        {"type":"input_audio"},7],"x":null},8]}"#;
    let scan = scan(body);
    assert_eq!(scan.model.value, "m\"A");
    assert!(scan.stream && scan.include_usage && scan.logprobs && scan.audio_out);
    assert_eq!(&body[scan.stream_options.unwrap()], r#"{"x":[{}],"include_usage":true}"#);
    assert_eq!((scan.max_tokens, scan.n, scan.message_count, scan.text_bytes), (Some(5), 3, 3, 5));
    assert_eq!(scan.needs, Needs { tools: true, vision: true, audio: true, json_schema: true });
}

#[test]
fn needs_are_told_apart() {
    let needs = |members: &str| scan(&with(members)).needs;
    assert_eq!(needs(r#""tools":[],"functions":[],"response_format":{"type":"json_object"},"#), Needs::default());
    assert_eq!(needs(r#""tools":null,"functions":null,"response_format":null,"#), Needs::default());
    assert_eq!(needs(r#""functions":[{}],"#), Needs { tools: true, ..Needs::default() });
    assert_eq!(needs(r#""response_format":{"type":"json\u005fschema"},"#), Needs { json_schema: true, ..Needs::default() });
    assert_eq!(needs(r#""tools":[1],"functions":[],"#), Needs { tools: true, ..Needs::default() });
    assert_eq!(needs(r#""response_format":{"type":5,"name":"json_schema","x":{}},"#), Needs::default());
    assert_eq!(needs(r#""response_format":{"type":"json_schema","type":"text"},"#), Needs { json_schema: true, ..Needs::default() });
    let part = |part: &str| scan(&format!(r#"{{"model":"m","messages":[{{"content":[{part}]}}]}}"#)).needs;
    assert_eq!(part(r#"{"type":"image_url"}"#), Needs { vision: true, ..Needs::default() });
    assert_eq!(part(r#"{"type":"input_audio"}"#), Needs { audio: true, ..Needs::default() });
    assert_eq!(part(r#"{"type":"text","text":"image_url"},{"type":1,"x":{"type":"image_url"}}"#), Needs::default());
    let elsewhere = scan(r#"{"model":"m","messages":[{"content":"image_url","type":"image_url"}],"x":[{"type":"input_audio"}]}"#);
    assert_eq!(elsewhere.needs, Needs::default());
}

#[test]
fn null_and_false_set_nothing() {
    let scan = scan(&with(
        r#""stream":null,"stream_options":null,"max_tokens":null,"max_completion_tokens":null,"n":null,"tools":null,"logprobs":null,"audio":null,"#,
    ));
    assert!(!scan.stream && !scan.include_usage && !scan.logprobs && !scan.audio_out);
    assert_eq!((scan.max_tokens, scan.n), (None, 1));
    assert!(!self::scan(&with(r#""stream":false,"logprobs":false,"stream_options":{"include_usage":null},"#)).stream);
    assert!(!self::scan(&with(r#""logprobs":false,"#)).logprobs);
}

#[test]
fn token_limits() {
    assert_eq!(scan(&with(r#""max_tokens":7,"max_completion_tokens":9,"#)).max_tokens, Some(9));
    assert_eq!(scan(&with(r#""max_completion_tokens":9,"max_tokens":7,"#)).max_tokens, Some(9));
    assert_eq!(scan(&with(r#""max_completion_tokens":1,"max_tokens":7000,"#)).max_tokens, Some(7_000), "what may come is reserved");
    assert_eq!(scan(&with(r#""max_completion_tokens":null,"max_tokens":7,"#)).max_tokens, Some(7));
    assert_eq!(scan(&with(r#""max_tokens":2147483647,"n":128,"#)).max_tokens, Some(2_147_483_647));
    assert_eq!(scan(&with(r#""max_tokens":0,"n":1,"#)).max_tokens, Some(0));
    for param in ["max_tokens", "max_completion_tokens"] {
        for (value, expected) in [
            ("-1", "invalid_value"),
            ("2147483648", "invalid_value"),
            ("4294967296", "invalid_value"),
            ("99999999999999999999999", "invalid_value"),
            ("1e400", "invalid_type"),
            ("1E2", "invalid_type"),
            ("1.5", "invalid_type"),
            ("\"5\"", "invalid_type"),
            ("[5]", "invalid_type"),
            ("true", "invalid_type"),
        ] {
            assert_eq!(code(with(&format!("\"{param}\":{value},"))), (expected, Some(param)), "{value}");
        }
    }
    for (value, expected) in [
        ("0", "invalid_value"),
        ("129", "invalid_value"),
        ("1000", "invalid_value"),
        ("-1", "invalid_value"),
        ("1.0", "invalid_type"),
        ("\"1\"", "invalid_type"),
    ] {
        assert_eq!(code(with(&format!("\"n\":{value},"))), (expected, Some("n")), "{value}");
    }
    assert_eq!(scan(&with(r#""n":128,"#)).n, 128);
}

#[test]
fn wrong_types() {
    for (member, param) in [
        (r#""stream":1"#, "stream"),
        (r#""stream":"true""#, "stream"),
        (r#""stream_options":[]"#, "stream_options"),
        (r#""stream_options":true"#, "stream_options"),
        (r#""stream_options":{"include_usage":1}"#, "stream_options.include_usage"),
        (r#""tools":{}"#, "tools"),
        (r#""response_format":"json""#, "response_format"),
        (r#""messages":"hi""#, "messages"),
        (r#""messages":{}"#, "messages"),
        (r#""models":"m""#, "models"),
        (r#""models":[1]"#, "models"),
    ] {
        assert_eq!(code(with(&format!("{member},"))), ("invalid_type", Some(param)), "{member}");
    }
    assert_eq!(code(with(r#""stream":-,"#)), ("invalid_json", None));
    assert_eq!(code(with(r#""stream":tru,"#)), ("invalid_json", None));
    let message = refusal(with(&format!(r#""stream":"{}","#, "é".repeat(200)))).message;
    assert_eq!(
        message,
        format!("`stream` must be true, false or null, but is `\"{}…` at byte 10; correct it or leave it out.", "é".repeat(99))
    );
    let message = refusal(with(&format!(r#""stream":[{},"#, "[1],".repeat(50) + "1]"))).message;
    assert!(message.contains(&format!("`[{}…` at", &"[1],".repeat(25)[..99])), "{message}");
    let message = refusal(with(&format!(r#""stream":"{}","#, "😀".repeat(200)))).message;
    assert!(message.contains(&format!("`\"{}…` at", "😀".repeat(99))), "{message}");
    let message = refusal(with(&format!(r#""stream":"{}","#, "é".repeat(98)))).message;
    assert!(message.contains(&format!("`\"{}\"` at", "é".repeat(98))), "{message}");
}

#[test]
fn the_model_must_be_a_name() {
    for value in ["null", "5", "[\"m\"]", "\"\"", r#""\ud83d""#, r#""a\ude00b""#] {
        assert_eq!(code(format!(r#"{{"messages":[1],"model":{value}}}"#)), ("invalid_model", Some("model")), "{value}");
    }
    for value in [r#""\ud83d\ude00""#, r#"" ../\u0000""#, &format!("\"{}\"", "m".repeat(10_000))] {
        let body = format!(r#"{{"messages":[1],"model":{value}}}"#);
        assert_eq!(scan(&body).model.value, serde_json::from_str::<String>(value).unwrap());
    }
    for body in ["{}", r#"{"messages":[1]}"#, r#"{"messages":[1],"models":[]}"#, r#"{"models":null}"#] {
        assert_eq!(code(body), ("missing_model", Some("model")));
    }
}

#[test]
fn there_must_be_messages_but_not_a_million() {
    for body in [r#"{"model":"m"}"#, r#"{"model":"m","messages":null}"#, r#"{"model":"m","messages":[1],"messages":null}"#] {
        assert_eq!(code(body), ("missing_messages", Some("messages")));
        assert!(passthrough(body.as_bytes()).is_ok());
    }
    assert_eq!(code(r#"{"model":"m","messages":[ ]}"#), ("invalid_value", Some("messages")));
    let many = |count: usize| format!(r#"{{"model":"m","messages":[{}1]}}"#, "1,".repeat(count - 1));
    assert_eq!(scan(&many(100_000)).message_count, 100_000);
    assert_eq!(code(many(100_001)), ("too_many_messages", Some("messages")));
    assert_eq!(scan(r#"{"model":"m","messages":[1,2],"messages":[3]}"#).message_count, 1);
}

#[test]
fn duplicates_however_spelt() {
    for (name, value) in [
        ("model", "\"a\""),
        ("models", "[\"a\"]"),
        ("stream", "true"),
        ("stream_options", "{}"),
        ("tools", "[]"),
        ("n", "1"),
        ("max_tokens", "1"),
        ("max_completion_tokens", "1"),
        ("response_format", "{}"),
    ] {
        let last = name.len() - 1;
        let escaped = format!("{}\\u{:04X}", &name[..last], name.as_bytes()[last]);
        for second in [name, &escaped] {
            let members =
                if name == "model" { format!("\"{second}\":{value},") } else { format!("\"{name}\":{value},\"{second}\":{value},") };
            assert_eq!(code(with(&members)), ("duplicate_field", Some(name)), "{second}");
        }
    }
    assert_eq!(code(with(r#""stream_options":{"include_usage":true,"include_usage":false},"#)).0, "duplicate_field");
    assert_eq!(refusal(with(r#""n":1,"n":1,"#)).message, "The field `n` appears a second time at byte 7; send it once.");
    scan(&with(r#""temperature":1,"temperature":2,"x":{"model":1,"model":2},"stop":"model","#));
}

#[test]
fn only_whole_json_is_taken() {
    for body in [
        "",
        " ",
        "{",
        "[]",
        "null",
        "\"model\"",
        "{\"model\":\"m\"} x",
        "{\"model\":\"m\"}{}",
        "{\"model\":\"m\",}",
        "{'model':'m'}",
        "\u{feff}{\"model\":\"m\"}",
        "{\"model\":\"m\u{1}\"}",
        "{\"model\":\"m\",\"x\":\"\n\"}",
        "{\"model\":\"m\",\"x\":NaN}",
    ] {
        assert_eq!(code(body), ("invalid_json", None), "{body}");
    }
    assert_eq!(code(b"{\"model\":\"m\",\"x\":\"\xFF\"}"), ("invalid_json", None));
    assert!(refusal(b"{\"model\":\"m\xFF\"}").message.contains("not UTF-8 at byte 11"));
    assert!(refusal("\u{feff}{}").message.contains("BOM"));
    assert_eq!(
        refusal(" [1]").message,
        "The request body is not valid JSON: it is not an object at byte 1. Send one JSON object in UTF-8."
    );
    assert!(refusal("").message.contains("it ends too early at byte 0"));
    scan(&with(r#""x":[1e400,-1E-999,"\ud83d","\udE00\ud83d",123456789012345678901234567890],"#));
}

#[test]
fn depth_counts_the_body_itself() {
    let nested = |depth: usize| with(&format!("\"x\":{}{},", "[".repeat(depth), "]".repeat(depth)));
    scan(&nested(127));
    let refusal = refusal(nested(128));
    assert_eq!((refusal.code, refusal.param), ("too_deep", None));
    assert_eq!(refusal.message, "The request body is nested deeper than 128 levels at byte 132; send a flatter one.");
    let content =
        |depth: usize| format!(r#"{{"model":"m","messages":[{{"content":[{{"x":{}{}}}]}}]}}"#, "[".repeat(depth), "]".repeat(depth));
    scan(&content(123));
    assert_eq!(code(content(124)).0, "too_deep");
    assert_eq!(code(format!("{{\"x\":{}", "[{\"a\":".repeat(1_000_000))).0, "too_deep");
}

#[test]
fn models_are_read_and_cut() {
    for (body, left) in [
        (r#"{"models":["a","b\n"],"model":"m"}"#, r#"{"model":"m"}"#),
        (r#"{ "models" : ["a","b\n"] , "model":"m" }"#, r#"{ "model":"m" }"#),
        (r#"{"model":"m","models":["a","b\n"]}"#, r#"{"model":"m"}"#),
        (r#"{"model":"m" , "models":["a","b\n"] , "x":1}"#, r#"{"model":"m" , "x":1}"#),
        (r#"{"y":0,"mod\u0065ls":["a","b\n"],"model":"m"}"#, r#"{"y":0,"model":"m"}"#),
    ] {
        let scan = passthrough(body.as_bytes()).unwrap();
        assert_eq!(scan.models.as_ref().unwrap().names, ["a", "b\n"]);
        assert_eq!(rewritten(&Bytes::from(body), &scan, "m"), left);
        assert_eq!(rewritten(&Bytes::from(body), &scan, "p/\"q\\\0\u{1f} é"), left.replace("\"m\"", r#""p/\"q\\\u0000\u001f é""#));
    }
    for empty in ["null", "[]"] {
        let scan = scan(&with(&format!("\"models\":{empty},")));
        assert_eq!((scan.models.unwrap().names.len(), scan.n), (0, 1));
    }
    for value in ["[\"\"]", r#"["\ud83d"]"#] {
        assert_eq!(code(with(&format!("\"models\":{value},"))), ("invalid_value", Some("models")));
    }
    let many = |count: usize| with(&format!("\"models\":[{}\"a\"],", "\"a\",".repeat(count - 1)));
    assert_eq!(scan(&many(64)).models.unwrap().names.len(), 64);
    assert_eq!(code(many(65)), ("invalid_value", Some("models")));
}

#[test]
fn without_a_model_the_first_of_models_is_it() {
    for (body, sent) in [
        (r#"{"models":["m","a"]}"#, r#"{"model":"m"}"#),
        (r#"{ "mod\u0065ls" : ["m","a"] , "x":1 }"#, r#"{ "model":"m" , "x":1 }"#),
        (r#"{"x":1 , "models":["m","a"] , "stream":true}"#, r#"{"x":1 , "model":"m" , "stream":true}"#),
        (r#"{"stream":true,"models":["m","a"]}"#, r#"{"stream":true,"model":"m"}"#),
    ] {
        let scan = passthrough(body.as_bytes()).unwrap();
        assert_eq!((scan.model.value.as_str(), &scan.models.as_ref().unwrap().names[..]), ("m", &["a".to_owned()][..]));
        assert_eq!(rewritten(&Bytes::from(body), &scan, "m"), sent);
        assert_eq!(rewritten(&Bytes::from(body), &scan, "\"up"), sent.replace("\"m\"", r#""\"up""#));
    }
    let body = Bytes::from_static(br#"{"models":["m"],"messages":[1]}"#);
    let asked = br#"{"stream_options":{"include_usage":true},"model":"up","messages":[1]}"#;
    assert_eq!(rewritten_with_usage(&body, &request(&body).unwrap(), "up"), &asked[..]);
    assert_eq!(code(r#"{"models":["m"],"model":null,"messages":[1]}"#), ("invalid_model", Some("model")), "what is written must be one");
}

#[test]
fn how_the_answer_comes_is_cut_out_and_the_rest_says_what_is_asked() {
    for (body, left) in [
        (r#"{"model":"m"}"#, r#"{"model":"m"}"#),
        (r#"{"stream":true,"model":"m"}"#, r#"{"model":"m"}"#),
        (r#"{"model":"m","stream":false}"#, r#"{"model":"m"}"#),
        (r#"{"model":"m" , "stream":null , "stream_options" : {"include_usage":true}}"#, r#"{"model":"m"}"#),
        (r#"{"stream_options":{},"model":"m","str\u0065am":true}"#, r#"{"model":"m"}"#),
        (r#"{"model":"m","x":{"stream":true}}"#, r#"{"model":"m","x":{"stream":true}}"#),
    ] {
        let cuts = passthrough(body.as_bytes()).unwrap().stream_cuts;
        let mut kept = body.to_owned();
        let mut cuts: Vec<_> = cuts.into_iter().flatten().collect();
        cuts.sort_by_key(|cut| std::cmp::Reverse(cut.start));
        cuts.into_iter().for_each(|cut| kept.replace_range(cut, ""));
        assert_eq!(kept, left, "{body}");
    }
}

#[test]
fn a_temperature_is_cold_only_where_nothing_says_otherwise() {
    let cold = |members: &str| scan(&with(members)).cold;
    for text in ["0", "0.0", "-0", "0e5", "0.00E-3"] {
        assert!(cold(&format!("\"temperature\":{text},")), "{text}");
        assert!(cold(&format!("\"temperature\":{text},\"temperature\":0,")), "{text}");
        assert!(
            !cold(&format!("\"temperature\":{text},\"temperature\":1,")) && !cold(&format!("\"temperature\":1,\"temperature\":{text},"))
        );
    }
    for text in ["1", "0.1", "1e-400", "null", "\"0\"", "[]", "-0.0001"] {
        assert!(!cold(&format!("\"temperature\":{text},")), "{text}");
    }
    assert!(!cold(""));
}

#[test]
fn nothing_is_copied_where_nothing_changes() {
    let body = Bytes::from(with(""));
    let scan = request(&body).unwrap();
    assert_eq!(rewritten(&body, &scan, "gpt-4o").as_ptr(), body.as_ptr());
    let escaped = Bytes::from(with("").replace("gpt", r"g\u0070t"));
    let scan = request(&escaped).unwrap();
    assert_eq!(rewritten(&escaped, &scan, "gpt-4o"), escaped);
    assert_eq!(rewritten(&escaped, &scan, "x"), with("").replace("gpt-4o", "x"));
}

#[test]
fn the_usage_is_asked_for_in_every_way() {
    for (given, asked) in [
        ("", r#""stream_options":{"include_usage":true},"#),
        (r#""stream_options":null,"#, r#""stream_options":{"include_usage":true},"#),
        (r#""stream_options":{},"#, r#""stream_options":{"include_usage":true},"#),
        (r#""stream_options":{ },"#, r#""stream_options":{"include_usage":true },"#),
        (r#""stream_options":{"x":1},"#, r#""stream_options":{"include_usage":true,"x":1},"#),
        (r#""stream_options":{"x":1,"include_usage" : false},"#, r#""stream_options":{"x":1,"include_usage" : true},"#),
        (r#""stream_options":{"include_usage":null,"x":1},"#, r#""stream_options":{"include_usage":true,"x":1},"#),
        (r#""models":["a"],"stream_options":{},"#, r#""stream_options":{"include_usage":true},"#),
        (r#""models":["a"],"#, r#""stream_options":{"include_usage":true},"#),
    ] {
        let body = Bytes::from(with(given));
        let out = rewritten_with_usage(&body, &request(&body).unwrap(), "m");
        assert_eq!(out, with(asked).replace("gpt-4o", "m"), "{given}");
        assert!(request(&out).unwrap().include_usage);
    }
    let body = Bytes::from(with(r#""stream_options":{"include_usage":true},"#));
    assert_eq!(rewritten_with_usage(&body, &request(&body).unwrap(), "gpt-4o").as_ptr(), body.as_ptr());
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(|number| Value::from(f64::from(number) / 8.0)),
        any::<String>().prop_map(Value::from)
    ];
    leaf.prop_recursive(4, 20, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("type|content|model|[a-z\\\\\"é]{0,5}", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

prop_compose! {
    /// A request that is in order.
    fn good()(
        model in "[^\u{0}]{1,8}", messages in prop::collection::vec(value(), 1..4), models in prop::option::of(prop::collection::vec("[a-z/\"]{1,4}", 0..3)),
        stream in prop::option::of(any::<bool>()), usage in prop::option::of(any::<bool>()), max_tokens in prop::option::of(0_u32..1 << 31),
        n in prop::option::of(1_u32..=128), tools in prop::option::of(prop::collection::vec(value(), 0..2)), x in value(), y in value(),
    ) -> Value {
        let mut body = json!({"model": model, "messages": messages, "stream": stream, "max_tokens": max_tokens, "n": n, "tools": tools, "a": x, "zz": y});
        if let Some(models) = models {
            body["models"] = json!(models);
        }
        if let Some(usage) = usage {
            body["stream_options"] = json!({"include_usage": usage, "é": x});
        }
        body
    }
}

proptest! {
    #[test]
    fn a_good_request_is_read_as_a_tree_says(tree in good(), pretty in any::<bool>()) {
        let body = if pretty { serde_json::to_string_pretty(&tree) } else { serde_json::to_string(&tree) }.unwrap();
        let scan = request(body.as_bytes()).unwrap();
        prop_assert_eq!(&json!(scan.model.value), &tree["model"]);
        prop_assert_eq!(serde_json::from_str::<Value>(&body[scan.model.span.clone()]).unwrap(), tree["model"].clone());
        prop_assert_eq!(scan.stream, tree["stream"] == true);
        prop_assert_eq!(scan.max_tokens, tree["max_tokens"].as_u64());
        prop_assert_eq!(u64::from(scan.n), tree["n"].as_u64().unwrap_or(1));
        prop_assert_eq!(scan.needs.tools, tree["tools"].as_array().is_some_and(|tools| !tools.is_empty()));
        prop_assert_eq!(scan.include_usage, tree["stream_options"]["include_usage"] == true);
        prop_assert_eq!(scan.message_count, tree["messages"].as_array().unwrap().len());
        prop_assert_eq!(serde_json::from_str::<Value>(&body[scan.messages.clone().unwrap()]).unwrap(), tree["messages"].clone());
        prop_assert_eq!(scan.models.map(|models| json!(models.names)), tree.get("models").cloned());
    }

    #[test]
    fn rewriting_changes_the_model_and_no_more(tree in good(), led in any::<bool>(), pretty in any::<bool>(), model in any::<String>()) {
        let mut tree = tree;
        if led && !tree["models"].as_array().is_none_or(Vec::is_empty) {
            tree.as_object_mut().unwrap().remove("model");
        }
        let body = Bytes::from(if pretty { serde_json::to_string_pretty(&tree) } else { serde_json::to_string(&tree) }.unwrap());
        let scan = request(&body).unwrap();
        let mut expected = tree;
        expected["model"] = json!(model);
        expected.as_object_mut().unwrap().remove("models");
        prop_assert_eq!(&serde_json::from_slice::<Value>(&rewritten(&body, &scan, &model)).unwrap(), &expected);
        expected["stream_options"]["include_usage"] = json!(true);
        prop_assert_eq!(&serde_json::from_slice::<Value>(&rewritten_with_usage(&body, &scan, &model)).unwrap(), &expected);
    }

    #[test]
    fn a_spoilt_request_is_refused_or_reaches_the_target_as_it_is(Spoilt(body) in corpus::request(), model in "[a-z/]{1,8}") {
        let body = Bytes::from(body);
        let Ok(scan) = request(&body) else { return Ok(()) };
        prop_assert!(serde_json::from_slice::<&serde_json::value::RawValue>(&body).is_ok());
        // A tree can't hold half a character or a number beyond its range.
        let Ok(mut tree) = serde_json::from_slice::<Value>(&body) else { return Ok(()) };
        prop_assert_eq!(tree.get("model").unwrap_or(&tree["models"][0]), &json!(scan.model.value));
        tree["model"] = json!(model);
        tree.as_object_mut().unwrap().remove("models");
        prop_assert_eq!(serde_json::from_slice::<Value>(&rewritten(&body, &scan, &model)).unwrap(), tree);
    }

    #[test]
    fn damaged_text_is_taken_only_where_serde_json_takes_it(tree in good(), place in any::<prop::sample::Index>(), byte in prop_oneof![any::<u8>(), prop::sample::select(b"[]{}\",:\\ 01-.eu\n".to_vec())], insert in 0_u8..3) {
        let mut body = serde_json::to_vec(&tree).unwrap();
        let at = place.index(body.len());
        match insert {
            0 => body.insert(at, byte),
            1 => body[at] = byte,
            _ => { body.remove(at); }
        }
        let raw = serde_json::from_slice::<&serde_json::value::RawValue>(&body).is_ok() && std::str::from_utf8(&body).is_ok();
        match request(&body) {
            Ok(scan) => {
                prop_assert!(raw);
                prop_assert!(serde_json::from_slice::<Value>(&rewritten(&Bytes::from(body.clone()), &scan, "other")).is_ok() || serde_json::from_slice::<Value>(&body).is_err());
            }
            Err(refusal) if refusal.code == "invalid_json" => prop_assert!(!raw, "{}", refusal),
            Err(_) => {}
        }
    }

    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
        prop_assert!(request(&bytes).is_err());
    }
}
