//! Answers whole and cut, and error bodies as the vendors write them.

use proptest::prelude::*;

use super::*;

#[test]
fn a_whole_answer() {
    let body = r#"{"id":"c-1","object":"chat.completion","model":"m\"","choices":[{"message":{"content":"é"}}],"usage":{"prompt_tokens":2,"completion_tokens":1},"error":null} "#;
    let found = answer(body.as_bytes()).unwrap();
    assert!(found.choices && !found.data && !found.results && !found.output && found.error.is_none());
    assert_eq!(&body[found.id.unwrap()], "\"c-1\"");
    assert_eq!(&body[found.model.unwrap()], r#""m\"""#);
    assert_eq!(found.usage, Some(Usage { input: 2, output: 1, ..Usage::default() }));
}

#[test]
fn each_list_by_its_name() {
    let found = |body: &str| answer(body.as_bytes()).unwrap();
    let blank = Answer::default();
    assert_eq!(found(r#"{"choices":[]}"#), Answer { choices: true, ..blank.clone() });
    assert_eq!(found(r#"{"d\u0061ta":[1]}"#), Answer { data: true, ..blank.clone() });
    assert_eq!(found(r#"{"results":[]}"#), Answer { results: true, ..blank.clone() });
    assert_eq!(found(r#"{"output":[]}"#), Answer { output: true, ..blank.clone() });
    assert_eq!(found(r#"{"error":{"code":1}}"#), Answer { error: Some(9..19), ..blank.clone() });
    for nothing in
        ["{}", "[]", "1", r#"{"choices":{},"data":null,"results":"","output":1,"usage":null,"id":1,"model":null,"x":{"choices":[]}}"#]
    {
        assert_eq!(found(nothing), blank, "{nothing}");
    }
}

#[test]
fn a_cut_answer_is_none() {
    let body = r#"{"choices":[{"message":{"content":"é\n"}}],"x":[1.5,true]}"#.as_bytes();
    for cut in 0..body.len() {
        assert!(answer(&body[..cut]).is_err(), "{cut}");
    }
    assert_eq!(answer(b"<html>").unwrap_err().to_string(), "the answer is not valid JSON: a value was expected at byte 0");
    assert_eq!(answer(b"{\"a\":\"\xFF\"}").unwrap_err().to_string(), "the answer is not UTF-8 at byte 6");
    assert!(answer(b"{} {}").is_err());
    let deep = |depth: usize| format!("{{\"a\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
    assert!(answer(deep(127).as_bytes()).is_ok() && answer(deep(128).as_bytes()).is_err());
}

fn parts(body: &str) -> [Option<String>; 4] {
    let ErrorParts { code, kind, message, param } = error_parts(body.as_bytes());
    [code, kind, message, param]
}

#[test]
fn error_bodies_as_vendors_write_them() {
    for (body, expected) in [
        (r#"{"error":{"message":"m\n","type":"t","param":"p","code":"c"}}"#, ["c", "t", "m\n", "p"]),
        (r#"{"error":{"message":"m","type":null,"param":null,"code":null}}"#, ["", "", "m", ""]),
        (r#"{"error":{"code":429,"message":"m","metadata":{"message":"x"}}}"#, ["429", "", "m", ""]),
        (
            r#"[{"error":{"code":400,"message":"m","status":"INVALID_ARGUMENT","details":[{"type":"x"}]}}]"#,
            ["400", "INVALID_ARGUMENT", "m", ""],
        ),
        (r#"{"error":{"type":"t","status":"s"}}"#, ["", "t", "", ""]),
        (r#"{"error":{"status":"s","type":"t"}}"#, ["", "t", "", ""]),
        (r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#, ["", "overloaded_error", "Overloaded", ""]),
        (r#"{"error":{"message":"m"},"type":"error"}"#, ["", "", "m", ""]),
        (r#"{"error":"text"}"#, ["", "", "text", ""]),
        (r#"{"code":"Client specified an invalid argument","error":"text"}"#, ["Client specified an invalid argument", "", "text", ""]),
        (r#"{"object":"error","message":"m","type":"t","param":"p","code":40001}"#, ["40001", "t", "m", "p"]),
        (r#"{"detail":"d"}"#, ["", "", "d", ""]),
        (r#"{"detail":"d","message":"m"}"#, ["", "", "m", ""]),
        (r#"{"message":"m","detail":"d"}"#, ["", "", "m", ""]),
        (r#"{"detail":[{"msg":"field required"}]}"#, ["", "", r#"[{"msg":"field required"}]"#, ""]),
        (r#"{"message":{"a":1}}"#, ["", "", r#"{"a":1}"#, ""]),
        (r#"{"error":{"message":"","code":-5}}"#, ["-5", "", "", ""]),
        (r#"{"message":"m","error":{"message":"n"}}"#, ["", "", "n", ""]),
        (r#"{"error":{"message":"n","code":9},"message":"m","code":0}"#, ["9", "", "n", ""]),
        (r#"{"message":"m","error":{"code":[1]}}"#, ["", "", "m", ""]),
        (r#"{"message":"m","error":null,"status":500,"type":7,"param":[]}"#, ["", "", "m", ""]),
        (r#"{"error":{"code":"c","message":"half"#, ["c", "", "", ""]),
    ] {
        let expected = expected.map(|part| (!part.is_empty()).then(|| part.to_owned()));
        assert_eq!(parts(body), expected, "{body}");
    }
    for body in ["", "[]", "[[]]", "{}", "null", "<html><body>502</body></html>", "Internal Server Error", "{\"error\":\"\"}", "\u{feff}"] {
        assert_eq!(error_parts(body.as_bytes()), ErrorParts::default(), "{body}");
    }
}

#[test]
fn long_and_broken_texts_are_cut_and_mended() {
    for (length, kept) in [(1_999, 1_999), (2_000, 2_000), (2_001, 2_000), (100_000, 2_000)] {
        let body = format!(r#"{{"error":{{"message":"{}"}},"code":{}}}"#, "é".repeat(length), "1".repeat(length));
        let [code, _, message, _] = parts(&body);
        assert_eq!((message.unwrap(), code.unwrap()), ("é".repeat(kept), "1".repeat(kept)));
    }
    assert_eq!(error_parts(b"{\"error\":\"a\xFFb\\ud83d\"}").message.unwrap(), "a\u{fffd}b\u{fffd}");
}

proptest! {
    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(prop_oneof![any::<u8>(), prop::sample::select(b"{}[]\",:\\u0eror".to_vec())], 0..100)) {
        let whole = serde_json::from_slice::<&serde_json::value::RawValue>(&bytes).is_ok();
        prop_assert_eq!(answer(&bytes).is_ok(), whole);
        error_parts(&bytes);
    }
}
