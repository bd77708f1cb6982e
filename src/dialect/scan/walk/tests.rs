//! The cursor against serde_json, and each way in which a text fails.

use proptest::prelude::*;

use super::*;

fn walk(text: &[u8]) -> Result<Range<usize>, Fault> {
    let mut walk = Walk::new(text);
    let span = walk.skip()?;
    walk.end()?;
    Ok(span)
}

fn fault(at: usize, what: What) -> Result<Range<usize>, Fault> {
    Err(Fault { at, what })
}

#[test]
fn values_are_passed_and_their_spans_told() {
    for text in ["0", "-0", "10.05e-7", "1E+400", "true", "null", "\"\"", r#""\ud83d\"\\\/\b\f\n\r\t""#, "[]", "{}", "[[],{}]"] {
        assert_eq!(walk(text.as_bytes()), Ok(0..text.len()), "{text}");
    }
    assert_eq!(walk(b" \t\r\n{ \"a\" : [ 1 , {\"b\":null} ] } \n"), Ok(4..32));
    for text in ["{\"a\":  1}", "{\"a\":\n1}", "{\"a\": \n1}", "{\"a\":\t1}", "{\"a\" :1}", "{\"a\": 1}"] {
        assert_eq!(walk(text.as_bytes()), Ok(0..text.len()), "{text:?}");
    }
}

#[test]
fn each_fault_has_its_place() {
    for (text, at, what) in [
        ("", 0, What::Early),
        ("[1", 2, What::Early),
        ("\"ab", 3, What::Early),
        ("[1,]", 3, What::Value),
        ("[1 2]", 3, What::Comma),
        ("[1}", 2, What::Comma),
        ("{\"a\":1]", 6, What::Comma),
        ("{\"a\":1,}", 7, What::Key),
        ("{1:1}", 1, What::Key),
        ("{\"a\" 1}", 5, What::Colon),
        ("{]", 1, What::Key),
        ("[}", 1, What::Value),
        ("[\"\u{1f}\"]", 2, What::Control),
        ("\"1234567\u{0}\"", 8, What::Control),
        (r#""\x""#, 1, What::Escape),
        (r#""\u12g4""#, 1, What::Escape),
        (r#""\u123""#, 1, What::Escape),
        (r#""\u123"#, 1, What::Escape),
        (r#""\"#, 1, What::Escape),
        ("01", 1, What::Trailing),
        ("-x", 1, What::Number),
        ("1.e", 2, What::Number),
        ("1e+", 3, What::Early),
        ("[1ex]", 3, What::Number),
        ("+1", 0, What::Value),
        ("nul", 0, What::Value),
        ("1 1", 2, What::Trailing),
    ] {
        assert_eq!(walk(text.as_bytes()), fault(at, what), "{text}");
    }
    assert_eq!(Fault { at: 7, what: What::Key }.to_string(), "a name in quotes was expected at byte 7");
}

#[test]
fn depth_128_passes_and_129_does_not() {
    for (open, close) in [("[", "]"), ("{\"a\":", "}"), ("[{\"a\":", "}]")] {
        let each = open.matches(['[', '{']).count();
        let nested = |depth: usize| open.repeat(depth / each) + "1" + &close.repeat(depth / each);
        assert!(walk(nested(128).as_bytes()).is_ok());
        assert_eq!(walk((nested(128) + "]").as_bytes()).unwrap_err().what, What::Trailing);
        assert_eq!(walk(format!("[{}]", nested(128)).as_bytes()).unwrap_err().what, What::Deep);
    }
    assert_eq!(walk(&vec![b'['; 1 << 20]), fault(128, What::Deep));
    assert!(walk(format!("{}[]{}", "[".repeat(127), "]".repeat(127)).as_bytes()).is_ok());
}

#[test]
fn names_and_texts_are_decoded() {
    let text = br#"["mod\u0065l", "\ud83d\ude00\n\u00e9", "\ud83d", "\ude00x", "\ud83d\u0041"]"#;
    let mut walk = Walk::new(text);
    let mut strings = Vec::new();
    let mut more = walk.enter().unwrap();
    while more {
        strings.push(walk.string().unwrap());
        more = walk.more().unwrap();
    }
    assert_eq!(&*walk.name(strings[0]), b"model");
    let texts: Vec<_> = strings.iter().map(|string| walk.text(*string)).collect();
    assert_eq!(texts, [Some("model".into()), Some("😀\né".into()), None, None, None]);
    let lossy: Vec<_> = strings.iter().map(|string| lossy(text, string.span(), 2)).collect();
    assert_eq!(lossy, ["mo", "😀\n", "\u{fffd}", "\u{fffd}x", "\u{fffd}A"]);
}

#[test]
fn a_long_name_is_left_as_it_is() {
    for (letters, decoded) in [(32, true), (33, false)] {
        let text = format!("\"{}\"", r"\u0061".repeat(letters));
        let mut walk = Walk::new(text.as_bytes());
        let string = walk.string().unwrap();
        assert_eq!(&*walk.name(string) == "a".repeat(letters).as_bytes(), decoded);
    }
}

proptest! {
    #[test]
    fn agrees_with_serde_json(text in "[\\[\\]{},:\"\\\\ue0-9.+ \\-tnrual\u{1}é]{0,12}") {
        let ours = walk(text.as_bytes()).is_ok();
        let theirs = serde_json::from_str::<&serde_json::value::RawValue>(&text).is_ok();
        prop_assert_eq!(ours, theirs, "{:?}", text);
    }

    #[test]
    fn strings_decode_as_serde_json_does(text in any::<String>()) {
        let json = serde_json::to_string(&text).unwrap();
        let mut walk = Walk::new(json.as_bytes());
        let string = walk.string().unwrap();
        prop_assert_eq!(string.span(), 0..json.len());
        prop_assert_eq!(walk.text(string), Some(text.clone()));
        prop_assert_eq!(lossy(json.as_bytes(), string.span(), 5), text.chars().take(5).collect::<String>());
    }

    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = walk(&bytes);
    }
}
