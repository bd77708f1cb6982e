//! Which layer wins, what the environment may say, and which file a mistake names.

use super::*;

#[test]
fn later_layers_win() {
    let bench = Bench::new()
        .file("settings/default.toml", &format!("{SMALL}\n[server]\nport = 1\nworkers = 1\nmax_requests = 1\nmax_streams = 1"))
        .file("settings/staging.toml", "[server]\nworkers = 2\nmax_requests = 2\nmax_streams = 2")
        .file("settings/local.toml", "[server]\nmax_requests = 3\nmax_streams = 3")
        .env("STAGEDOOR_PROFILE", "staging")
        .env("STAGEDOOR__SERVER__MAX_STREAMS", "4");
    let server = bench.load().server;
    assert_eq!((server.port, server.workers, server.max_requests, server.max_streams), (1, 2, 3, 4));
}

#[test]
fn a_given_file_stands_alone() {
    let bench = small_and("[server]\nport = 7").file("settings/default.toml", "[server]\nport = 1\nworkers = 9");
    let settings = bench.env("STAGEDOOR_PROFILE", "nowhere").load();
    assert_eq!((settings.server.port, settings.server.workers, settings.models.len()), (7, 0, 1));
}

#[test]
fn a_given_file_that_is_not_there() {
    let mut bench = Bench::new();
    bench.source.settings_file = Some("gone.toml".into());
    assert_eq!(bench.mistakes(), "gone.toml: there is no such file; check the path after --settings");
}

#[test]
fn profiles() {
    assert!(Bench::new().env("STAGEDOOR_PROFILE", "stagin").mistakes().starts_with("settings/stagin.toml: there is no such file"));
    for bad in ["../x", "a/b", ".hidden"] {
        let told = Bench::new().env("STAGEDOOR_PROFILE", bad).mistakes();
        assert!(told.starts_with("environment variable STAGEDOOR_PROFILE: must be a profile's name"), "{told}");
    }
    assert!(!Bench::new().env("STAGEDOOR_PROFILE", "").load().models.is_empty());
}

#[test]
fn dotenv_serves_secrets_overrides_and_the_profile() {
    let text = "OPENAI_API_KEY=sk-from-dotenv\nSTAGEDOOR_TEST_OF_DOTENV=1\nSTAGEDOOR__SERVER__PORT=9\nSTAGEDOOR__SERVER__WORKERS=9\nSTAGEDOOR_PROFILE=mine\n";
    let bench = Bench::new().file(".env", text).file("settings/mine.toml", "[server]\nmax_requests = 5");
    let settings = bench.env("STAGEDOOR__SERVER__WORKERS", "3").load();
    assert_eq!((settings.server.port, settings.server.workers, settings.server.max_requests), (9, 3, 5));
    assert_eq!(settings.providers["openai"].keys[0].secret.expose(), "sk-from-dotenv");
    assert!(std::env::var("STAGEDOOR_TEST_OF_DOTENV").is_err(), "never written to the process's environment");
    let told = Bench::new().file(".env", "what is this").mistakes();
    assert_eq!(told, ".env: line 1 is not NAME=value");
}

#[test]
fn variables_are_parsed_to_the_kind_that_is_wanted() {
    let settings = small_and("")
        .env("STAGEDOOR__SERVER__HOST", "[::1]")
        .env("STAGEDOOR__SERVER__CORS_ORIGINS", "https://a, https://b")
        .env("STAGEDOOR__SERVER__MAX_BODY", "1MiB")
        .env("STAGEDOOR__BREAKER__FAILURE_RATIO", "0.25")
        .env("STAGEDOOR__STREAM__HOLD_TOOLS", "TRUE")
        .env("STAGEDOOR__TIMEOUTS__IDLE", "3s")
        .env("STAGEDOOR__PROVIDERS__LOCAL__KEYS", r#"[{ env = "K", weight = 2 }]"#)
        .env("K", "secret-of-local")
        .load();
    assert_eq!((settings.server.host.as_str(), settings.server.max_body), ("[::1]", 1 << 20));
    assert_eq!(settings.server.cors_origins, ["https://a", "https://b"]);
    let provider = &settings.providers["local"];
    assert_eq!((provider.breaker.failure_ratio, provider.timeouts.idle.as_secs()), (0.25, 3));
    assert_eq!((provider.keys[0].name.as_str(), provider.keys[0].weight), ("K", 2));
    let told = small_and("").env("STAGEDOOR__SERVER__PORT", "80a").mistakes();
    assert!(told.starts_with("environment variable STAGEDOOR__SERVER__PORT: server.port: must be a whole number"), "{told}");
}

#[test]
fn variables_find_names_whatever_their_case() {
    let text = r#"
        [models."Org/Big-4.1"]
        targets = [{ provider = "local", model = "m" }]
        [models.a-b]
        targets = [{ provider = "local", model = "m" }]
        [models.a_b]
        targets = [{ provider = "local", model = "m" }]
    "#;
    let bench = small_and(text)
        .env("STAGEDOOR__MODELS__ORG_BIG_4_1__CONTEXT_WINDOW", "5")
        .env("STAGEDOOR__MODELS__SMALL__CONTEXT_WINDOW", "6")
        .env("STAGEDOOR__MODELS__A_B__CONTEXT_WINDOW", "7")
        .env("STAGEDOOR__PROVIDERS__LOCAL__BASE_URL", "http://localhost:1");
    let settings = bench.load();
    let window = |name: &str| settings.models[name].context_window;
    assert_eq!((window("Org/Big-4.1"), window("small"), window("a_b"), window("a-b")), (Some(5), Some(6), Some(7), None));
    assert_eq!(settings.providers["local"].base_url, "http://localhost:1");
}

#[test]
fn a_variable_that_reaches_a_wrong_place_is_named() {
    let told = small_and("").env("STAGEDOOR__SERVER__PROT", "80").mistakes();
    assert_eq!(told, "environment variable STAGEDOOR__SERVER__PROT: server.prot: unknown key; did you mean `port`?");
    let told = small_and("").env("STAGEDOOR__AUTH__KEYS__0__NAME", "x").mistakes();
    assert!(told.starts_with("environment variable STAGEDOOR__AUTH__KEYS__0__NAME: auth.keys: must be a list of tables"), "{told}");
    let told = small_and("").env("STAGEDOOR__SERVER", "x").mistakes();
    assert_eq!(told, "environment variable STAGEDOOR__SERVER: server: must be a table of keys");
    let told = small_and("").env("STAGEDOOR__SERVER__PORT", "1").env("STAGEDOOR__SERVER__port", "2").mistakes();
    assert!(told.contains("sets what another variable sets too"), "{told}");
    let told = small_and("").env("STAGEDOOR__SERVER", "1").env("STAGEDOOR__SERVER__PORT", "2").mistakes();
    assert!(told.contains("STAGEDOOR__SERVER__PORT: server.port: sets what another variable sets too"), "{told}");
    let notes = small_and("").env("STAGEDOOR_SERVER_PORT", "80").notes(NoteKind::Warning);
    assert!(notes.iter().any(|note| note.contains("STAGEDOOR__SERVER__PORT")), "{notes:?}");
    let notes = small_and("").env("STAGEDOOR_PROFILE", "production").notes(NoteKind::Warning);
    assert!(notes.len() == 1 && notes[0].contains("STAGEDOOR_PROFILE has no effect: --settings alone.toml"), "{notes:?}");
}

#[test]
fn a_mistake_names_the_file_that_had_the_last_word() {
    let bench = Bench::new()
        .file("settings/default.toml", &format!("{SMALL}\n[server]\nport = \"a\"\nworkers = \"a\"\n[providers.q]\ndialect = \"openai\""))
        .file("settings/local.toml", "[server]\nworkers = \"b\"\nhots = \"x\"\n[extra]\n[models.m]")
        .env("STAGEDOOR__PROVIDERS__Q__HTTP2", "true");
    let told = bench.mistakes();
    for line in [
        "settings/default.toml: server.port: must be",
        "settings/local.toml: server.workers: must be",
        "settings/local.toml: server.hots: unknown key; did you mean `host`?",
        "settings/local.toml: extra: unknown key",
        "settings/local.toml: models.m: `targets` is missing",
        "settings/default.toml: providers.q: `base_url` is missing",
    ] {
        assert!(told.contains(line), "{line}\nis not in\n{told}");
    }
    assert_eq!(told.lines().count(), 6, "{told}");
}

#[test]
fn tables_are_merged_and_lists_are_replaced() {
    let bench =
        Bench::new().file("settings/local.toml", "[models.gpt-4o]\nfailover = [\"gemini-flash\"]\n[models.gpt-4o.timeouts]\nidle = \"1s\"");
    let model = &bench.load().models["gpt-4o"];
    assert_eq!(model.failover, ["gemini-flash"]);
    assert_eq!((model.timeouts.idle.unwrap().as_secs(), model.timeouts.first_token.unwrap().as_secs()), (1, 15));
}

#[test]
fn a_secret_reference_is_replaced_not_merged() {
    // default.toml says { env = "STAGEDOOR_ADMIN_KEY" }; merged, the key would be both.
    let bench = Bench::new().file("settings/local.toml", "[admin]\nkey = { file = \"admin.key\" }");
    let settings = bench.file("admin.key", "  0123456789abcdef01234567\n").load();
    assert_eq!(settings.admin.key.unwrap().expose(), "0123456789abcdef01234567");
    let settings = Bench::new().env("STAGEDOOR__ADMIN__KEY__ENV", "MINE").env("MINE", "0123456789abcdef01234567").load();
    assert!(settings.admin.key.is_some());
}

#[test]
fn a_syntax_error_keeps_its_line_and_caret_but_no_secret() {
    let told = Bench::alone("[server]\nport = 80 80\n").mistakes();
    assert!(told.starts_with("alone.toml: TOML parse error at line 2, column 8\n"), "{told}");
    assert!(told.contains("2 | port = ** **\n") && told.contains('^'), "{told}");
    for line in
        ["key = { value = \"sk-secret\" } x", "key = { value = sk-secret }", "\"sk-secret\", ]", "[{ value = \"sk-secret }]", "sk-secret"]
    {
        let told = Bench::alone(&format!("[[auth.keys]]\n{line}\n")).mistakes();
        assert!(!told.contains("secret"), "{told}");
    }
    let told = Bench::alone("[server\nport = 1\n").mistakes();
    assert!(told.contains("1 | [server"), "{told}");
}

#[test]
fn odd_files() {
    let bench = Bench::alone("\u{feff}");
    assert!(bench.load().models.is_empty());
    assert!(bench.notes(NoteKind::Warning)[0].starts_with("models: there is no model"));
    let bench = Bench::alone("");
    std::fs::write(bench.folder.path().join("alone.toml"), [0xff, 0xfe]).unwrap();
    assert_eq!(bench.mistakes(), "alone.toml: is not UTF-8 text");
    let mut bench = Bench::new();
    bench.source.settings_file = Some(".".into());
    assert!(bench.mistakes().starts_with(".: can't be read"));
}
