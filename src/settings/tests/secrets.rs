//! Keys: where they come from, when they are left out, what is refused, and that no message shows one.

use super::*;

const STRONG: &str = "0123456789abcdef01234567";

fn keyed(key: &str) -> String {
    format!("[[auth.keys]]\nname = \"k\"\nkey = {key}\n")
}

/// The small settings with a provider that has these keys.
fn pool(keys: &str) -> Bench {
    small_and(&format!("[providers.p]\ndialect = \"openai\"\nbase_url = \"https://p\"\nkeys = {keys}"))
}

#[test]
fn a_key_by_variable_file_or_value() {
    let bench = pool(r#"[{ env = "A" }, { file = "keys/b.txt" }, { value = "c" }, { env = "D", name = "dee", weight = 3 }]"#)
        .file("keys/b.txt", " bee\n")
        .env("A", "ay\n")
        .env("D", "d");
    let settings = bench.load();
    let keys: Vec<_> = settings.providers["p"].keys.iter().map(|k| (k.name.as_str(), k.secret.expose(), k.weight)).collect();
    assert_eq!(keys, [("A", "ay", 1), ("b.txt", "bee", 1), ("key-3", "c", 1), ("dee", "d", 3)]);
    assert!(bench.notes(NoteKind::Warning)[0].starts_with("providers.p.keys[2].value: the secret is written in the open"));
}

#[test]
fn a_reference_is_exactly_one() {
    assert!(pool("[{ env = \"A\", value = \"b\" }]").mistakes().contains("providers.p.keys[0]: write one of"));
    assert!(pool("[{ weight = 1 }]").mistakes().contains("providers.p.keys[0]: `env` is missing"));
    assert!(pool("[{ env = \"A B\" }]").mistakes().contains("providers.p.keys[0].env: must be the name"));
    assert!(pool("[{ env = \"\" }]").mistakes().contains("providers.p.keys[0].env: must be the name"));
    assert!(pool("[\"sk-planted\"]").mistakes().contains("providers.p.keys[0]: must be a table"));
    assert!(small_and("[admin]\nkey = \"sk-planted\"").mistakes().contains("admin.key: must be a table"));
    assert!(small_and("[[auth.keys]]\nname = \"k\"").mistakes().contains("auth.keys[0]: `key` is missing"));
}

#[test]
fn a_file_that_holds_no_key() {
    assert!(pool("[{ file = \".\" }]").mistakes().contains("providers.p.keys[0].file: can't be read"));
    let bench = pool("[{ file = \"f\" }]");
    std::fs::write(bench.folder.path().join("f"), [0xff]).unwrap();
    assert!(bench.mistakes().contains("providers.p.keys[0].file: holds bytes that are no text"));
}

#[test]
fn an_admin_key_that_is_not_there_is_told() {
    let bench = small_and("[admin]\nkey = { env = \"A\" }");
    assert!(bench.load().admin.key.is_none());
    assert!(bench.notes(NoteKind::LeftOut)[0].starts_with("admin.key: A isn't there"));
}

#[test]
fn what_no_header_can_carry_is_refused() {
    for bad in ["a b", "a\nb", "é", "a\u{0}b"] {
        let told = pool("[{ env = \"A\" }]").env("A", bad).mistakes();
        assert!(told.contains("providers.p.keys[0].env: the secret holds blanks"), "{told}");
        let told = pool("[{ file = \"f\" }]").file("f", bad).mistakes();
        assert!(told.contains("providers.p.keys[0].file: the secret holds blanks"), "{told}");
    }
    assert!(pool("[{ value = \"\" }]").mistakes().contains("the secret is empty"));
    assert!(pool("[{ value = \"a\\r\\nb\" }]").mistakes().contains("without control characters"));
    assert!(pool("[{ value = \"a b\" }]").mistakes().contains("the secret holds blanks"));
    assert!(pool("[{ env = \"A\" }]").env("A", &"x".repeat(70_000)).mistakes().contains("longer than 64 KiB"));
}

#[test]
fn a_provider_without_a_key_is_left_out_by_name() {
    let bench = pool(r#"[{ env = "A" }, { file = "none.txt" }]"#).env("A", "  ");
    let settings = bench.load();
    assert!(!settings.providers.contains_key("p"));
    assert_eq!(settings.left_out["p"], ["A", "none.txt"]);
    assert!(!settings.rehearsing, "`local` needs no key and serves");
    assert_eq!(bench.notes(NoteKind::LeftOut), ["providers.p: none of its keys is there; set A or none.txt"]);

    let bench = pool(r#"[{ env = "A" }, { env = "B" }]"#).env("B", "b");
    assert_eq!(bench.load().providers["p"].keys.len(), 1);
    assert_eq!(bench.notes(NoteKind::LeftOut), ["providers.p.keys[0]: A isn't there, so this key is left out"]);
}

#[test]
fn a_caller_key_that_is_not_there_is_left_out() {
    let bench = small_and(&keyed("{ env = \"A\" }"));
    assert!(bench.load().auth.keys.is_empty());
    assert!(bench.notes(NoteKind::LeftOut)[0].starts_with("auth.keys[0].key: A isn't there"));
    let settings = bench.env("A", STRONG).load();
    assert_eq!((&*settings.auth.keys[0].key.name, settings.auth.keys[0].key.models.as_slice()), ("k", &["*".to_owned()][..]));
}

#[test]
fn weak_and_published_keys() {
    let weak = keyed("{ env = \"A\" }");
    let bench = small_and(&weak).env("A", "short");
    assert!(bench.notes(NoteKind::Warning).iter().any(|note| note.contains("less than 24 characters")));
    let open = format!("{weak}[server]\nhost = \"0.0.0.0\"");
    let told = small_and(&open).env("A", "short").mistakes();
    assert!(told.contains("auth.keys[0].key: the key has less than 24 characters") && told.lines().count() == 1, "{told}");
    for sample in ["sk-1234", "test-token", "sk-master-key", "changeme", "sk-xxxxxxxxxxxxxxxxxxxxxxxx"] {
        let told = small_and(&weak).env("A", sample).mistakes();
        assert!(told.contains("published sample") && !told.contains(sample), "{told}");
    }
    let told = small_and("[admin]\nkey = { env = \"A\" }").env("A", "changeme").mistakes();
    assert!(told.contains("admin.key: this key is a published sample"), "{told}");
    assert!(small_and(&weak).env("A", "sk-1234-but-mine-and-long-enough").load().auth.keys.len() == 1);
}

#[test]
fn the_network_is_served_with_keys_only() {
    let open = "[server]\nhost = \"0.0.0.0\"\n";
    let told = small_and(&format!("{open}[auth]\nmode = \"open\"")).mistakes();
    assert!(told.contains("auth.mode: \"open\" lets everybody in") && told.lines().count() == 1, "{told}");
    let told = small_and(open).mistakes();
    assert!(told.contains("auth.keys: no caller key is known") && told.contains("[[auth.keys]]"), "{told}");
    let told = small_and(&format!("{open}{}", keyed("{ env = \"CALLER\" }"))).mistakes();
    assert!(told.contains("set CALLER, or bind to 127.0.0.1") && told.lines().count() == 1, "{told}");
    assert_eq!(small_and(&format!("{open}{}", keyed("{ env = \"CALLER\" }"))).env("CALLER", STRONG).load().auth.keys.len(), 1);
    let notes = small_and(&format!("{open}[auth]\nmode = \"keys\"")).notes(NoteKind::Warning);
    assert!(notes.iter().any(|note| note.contains("refused with 401")), "{notes:?}");
    assert_eq!(small_and("[auth]\nmode = \"open\"").load().auth.mode, AuthMode::Open);
    // A mistaken mode or key is one mistake, not two.
    let told = small_and(&format!("{open}[auth]\nmode = \"opne\"")).mistakes();
    assert_eq!(told.lines().count(), 1, "{told}");
}

#[test]
fn callers_are_told_apart() {
    let two = |a: &str, b: &str| {
        format!("auth = {{ keys = [{{ name = \"{a}\", key = {{ env = \"A\" }} }}, {{ name = \"{b}\", key = {{ env = \"B\" }} }}] }}")
    };
    let with = |text: &str, b: &str| Bench::alone(&format!("{text}\n{SMALL}")).env("A", STRONG).env("B", b);
    let other = "another-strong-key-of-32-letters";
    assert!(with(&two("x", "x"), other).mistakes().contains("auth.keys[1].name: another key has this name"));
    assert!(with(&two("x", "y"), STRONG).notes(NoteKind::Warning).iter().any(|note| note.contains("same secret")));
    assert_eq!(with(&two("x", "y"), other).load().auth.keys.len(), 2);
    assert!(with(&two("", "y"), other).mistakes().contains("auth.keys[0].name: must have 1 to 128 characters"));
}

#[test]
fn an_allow_list_that_allows_nothing_is_noted() {
    let list =
        |models: &str| small_and(&format!("{}models = {models}", keyed("{ env = \"A\" }"))).env("A", STRONG).notes(NoteKind::Warning);
    assert!(list("[]")[0].contains("may use no model"));
    assert!(list("[\"smal\"]")[0].contains("did you mean `small`?"));
    assert!(list("[\"small\", \"gpt-*\"]").is_empty());
}

#[test]
fn keys_over_plain_http_are_noted() {
    let bench = small_and("[providers.p]\ndialect = \"openai\"\nbase_url = \"http://10.0.0.5\"\nkeys = [{ env = \"A\" }]").env("A", "a");
    assert!(bench.notes(NoteKind::Warning)[0].contains("unencrypted"));
}

#[test]
fn no_message_shows_a_planted_secret() {
    let text = r#"
        [server]
        host = "CANARY host"
        port = "CANARY"
        cors_origins = ["CANARY"]
        [auth]
        mode = "CANARY"
        keys = [{ name = "a", key = { value = "CANARY CANARY" } }, { name = "b", key = "CANARY" }, "CANARY"]
        [admin]
        key = { env = "CANARY CANARY", file = 5 }
        [providers.p]
        dialect = "CANARY"
        base_url = "https://CANARY@p"
        keys = [{ value = "CANARY\n" }, { env = "LEAK" }, "CANARY"]
        headers = { authorization = "CANARY", "x-a" = "CANARY\r" }
        codes = { x = "CANARY" }
        [store]
        url = "CANARY"
    "#;
    let bench = Bench::alone(text).env("LEAK", "CANARY with blanks").env("STAGEDOOR__RETRY__ATTEMPTS", "CANARY");
    let told = bench.mistakes();
    assert!(told.lines().count() > 15, "{told}");
    assert!(!told.contains("CANARY"), "{told}");
    assert!(!format!("{:?}", bench.source).contains("CANARY"));
}
