//! Each rule of the schema, broken once.

use super::*;
use crate::base::Rates;

/// `more` beside a valid rest must be refused at `path` with a message that holds `words`, and with nothing else.
#[track_caller]
fn refused(more: &str, path: &str, words: &str) {
    only(&small_and(more), path, words);
}

/// Instead of the small settings, `text` alone.
#[track_caller]
fn refused_alone(text: &str, path: &str, words: &str) {
    only(&Bench::alone(text), path, words);
}

#[track_caller]
fn only(bench: &Bench, path: &str, words: &str) {
    let invalid = load(&bench.source).expect_err("should be refused");
    assert_eq!(invalid.problems.len(), 1, "{invalid}");
    let problem = &invalid.problems[0];
    assert_eq!((problem.file.as_str(), problem.path.as_str()), ("alone.toml", path), "{invalid}");
    assert!(problem.message.contains(words), "{invalid}");
}

/// A provider's row with `more`, and a model of it.
#[track_caller]
fn provider_refused(more: &str, path: &str, words: &str) {
    refused(&format!("[providers.p]\ndialect = \"openai\"\nbase_url = \"https://p/v1\"\n{more}"), path, words);
}

/// A model's row with `more`.
#[track_caller]
fn model_refused(more: &str, path: &str, words: &str) {
    refused(&format!("[models.m]\n{more}"), path, words);
}

/// A target's row.
#[track_caller]
fn target_refused(row: &str, path: &str, words: &str) {
    model_refused(&format!("targets = [{row}]"), path, words);
}

#[test]
fn unknown_keys_are_told_with_a_guess() {
    refused("[server]\nprot = 80", "server.prot", "did you mean `port`?");
    refused("[sever]\nport = 80", "sever", "did you mean `server`?");
    refused("[server]\nqqq = 80", "server.qqq", "known here: tls, host, port");
    provider_refused("basse_url = \"x\"", "providers.p.basse_url", "did you mean `base_url`?");
    target_refused(r#"{ provider = "local", model = "m", wieght = 2 }"#, "models.m.targets[0].wieght", "did you mean `weight`?");
    refused("[[auth.keys]]\nkey = { envv = \"A\", env = \"B\" }", "auth.keys[0].key.envv", "did you mean `env`?");
    refused("\"server.port\" = 80", "\"server.port\"", "unknown key");
    refused("\"server[99999999999]\" = 80", "\"server[99999999999]\"", "unknown key");
}

#[test]
fn kinds_are_strict() {
    refused("[server]\nport = \"5\"", "server.port", "whole number from 0 to 65535, without quotes");
    refused("[server]\nport = 5.7", "server.port", "whole number");
    refused("[server]\nport = true", "server.port", "whole number");
    refused("[server]\nport = -1", "server.port", "whole number");
    refused("[server]\nport = 65536", "server.port", "whole number");
    refused("[server]\nhost = 5", "server.host", "text in quotes");
    refused("[server]\nshutdown_grace = 5", "server.shutdown_grace", "\"250ms\"");
    refused("[server]\nshutdown_grace = \"5\"", "server.shutdown_grace", "\"250ms\"");
    refused("[server]\nmax_body = 32", "server.max_body", "\"512KiB\"");
    refused("[server]\nmax_body = \"32MB\"", "server.max_body", "\"512KiB\"");
    refused("[server]\ncors_origins = \"https://a\"", "server.cors_origins", "list of texts");
    refused("[server]\ncors_origins = [5]", "server.cors_origins", "list of texts");
    refused("[stream]\nhold_tools = \"true\"", "stream.hold_tools", "true or false, without quotes");
    refused("[breaker]\nfailure_ratio = 1.5", "breaker.failure_ratio", "from 0 to 1");
    refused("[breaker]\nfailure_ratio = nan", "breaker.failure_ratio", "from 0 to 1");
    refused("[breaker]\nfailure_ratio = \"0.5\"", "breaker.failure_ratio", "from 0 to 1");
    refused("server = 5", "server", "table of keys");
    refused("auth = { keys = 5 }", "auth.keys", "list of tables");
    refused("auth = { keys = [5] }", "auth.keys[0]", "table of keys");
    target_refused("\"local\"", "models.m.targets[0]", "table of keys");
    refused_alone("providers = 5\nmodels = {}", "providers", "table of names");
}

#[test]
fn choices_are_listed() {
    refused("[auth]\nmode = 5", "auth.mode", "must be one of \"auto\", \"keys\", \"open\"");
    refused("[auth]\nmode = \"opne\"", "auth.mode", "must be one of \"auto\", \"keys\", \"open\"; did you mean `open`?");
    model_refused("strategy = \"heathiest\"\ntargets = [{ provider = \"local\", model = \"m\" }]", "models.m.strategy", "healthiest");
    refused("[telemetry]\nlog = \"xml\"", "telemetry.log", "\"pretty\", \"json\"");
    refused("[telemetry]\nmetrics = \"shut\"", "telemetry.metrics", "\"open\", \"admin\"");
    refused("[breaker]\nwhen_all_open = \"x\"", "breaker.when_all_open", "\"least_bad\", \"refuse\"");
    refused("[breaker]\nprobe = \"x\"", "breaker.probe", "\"passive\", \"active\"");
    refused("[stream]\nrecovery = \"x\"", "stream.recovery", "\"error\", \"continue\"");
    refused("[cache]\nmode = \"x\"", "cache.mode", "\"off\", \"exact\"");
    refused("[store]\nledger = \"x\"", "store.ledger", "\"all\", \"keyed\", \"off\"");
    for url in ["mysql://x", "sqlite://", "sqlite://a?mode=memory", "sqlite://:memory:", "sqlite://a/", "postgres://", "a.db"] {
        refused(&format!("[store]\nurl = \"{url}\""), "store.url", "sqlite:// or postgres://");
    }
    refused("[retry]\nhedge = \"95\"", "retry.hedge", "percentile");
    refused("[telemetry]\notlp = \"localhost\"", "telemetry.otlp", "http://localhost:4318");
    refused("[admin]\nlisten = \"8001\"", "admin.listen", "127.0.0.1:8001");
    for (host, listen) in [("127.0.0.1", "localhost:9"), ("localhost", "0.0.0.0:9"), ("::1", "[::1]:9")] {
        refused(&format!("[server]\nhost = \"{host}\"\nport = 9\n[admin]\nlisten = \"{listen}\""), "admin.listen", "another port");
    }
    refused("[server]\nrequest_headers = [\"cookies\"]", "server.request_headers", "\"timeout\"");
    refused("[server]\ncors_origins = [\"https://a/b\"]", "server.cors_origins", "without a path");
    provider_refused("auth = \"basic\"", "providers.p.auth", "\"bearer\", \"api-key\"");
    provider_refused("continuation = \"x\"", "providers.p.continuation", "\"splice\"");
    provider_refused("codes = { x = \"transent\" }", "providers.p.codes.x", "did you mean `transient`?");
    target_refused(r#"{ provider = "local", model = "m", capabilities = ["tool"] }"#, "models.m.targets[0].capabilities", "`tools`");
}

#[test]
fn zero_where_zero_makes_no_sense() {
    let durations = ["server.header_timeout", "server.body_timeout", "server.send_timeout", "breaker.window", "breaker.slow_call"];
    let more = ["breaker.open_for", "breaker.open_for_max", "breaker.key_quarantine", "breaker.probe_every", "timeouts.connect"];
    let rest = ["timeouts.first_byte", "timeouts.first_token", "timeouts.idle", "timeouts.total", "cache.ttl", "store.retention"];
    for path in durations.iter().chain(&more).chain(&rest) {
        let (section, key) = path.split_once('.').unwrap();
        refused(&format!("[{section}]\n{key} = \"0s\""), path, "above zero");
    }
    for path in ["server.max_body", "server.max_response", "server.max_event", "stream.resume_buffer", "cache.max"] {
        let (section, key) = path.split_once('.').unwrap();
        refused(&format!("[{section}]\n{key} = \"0B\""), path, "above zero");
    }
    let counts = ["server.max_requests", "server.max_streams", "retry.attempts", "breaker.consecutive_failures"];
    for path in counts.iter().chain(&["breaker.minimum_requests", "breaker.half_open_probes", "breaker.close_after"]) {
        let (section, key) = path.split_once('.').unwrap();
        refused(&format!("[{section}]\n{key} = 0"), path, "from 1 to");
    }
    refused("[breaker]\nfailure_ratio = 0.0", "breaker.failure_ratio", "above 0");
    refused("[breaker]\nslow_ratio = 0", "breaker.slow_ratio", "above 0");
    target_refused(r#"{ provider = "local", model = "m", weight = 0 }"#, "models.m.targets[0].weight", "from 1 to");
    provider_refused("keys = [{ value = \"k\", weight = 0 }]", "providers.p.keys[0].weight", "from 1 to");
    model_refused("targets = [{ provider = \"local\", model = \"m\" }]\ncontext_window = 0", "models.m.context_window", "from 1 to");
}

#[test]
fn zero_where_it_means_something() {
    let settings = small_and(
        "[server]\nport = 0\nworkers = 0\nheartbeat = \"0s\"\nshutdown_grace = \"0s\"\n[breaker]\nramp = \"0s\"\n[retry]\nsame_target = 0\n\
         backoff = \"0s\"\nwait = \"0s\"\nbudget_ratio = 0\nbudget_min = 0\nhedge_ratio = 0.0\n[stream]\nhold = \"0ms\"\nresume_window = \"0s\"",
    )
    .load();
    assert_eq!((settings.server.port, settings.models["small"].retry.same_target), (0, 0));
}

#[test]
fn a_breaker_rests_no_longer_than_its_longest() {
    refused("[breaker]\nopen_for = \"30s\"", "breaker.open_for_max", "shorter than `open_for`");
    provider_refused("breaker = { open_for_max = \"5s\" }", "providers.p.breaker.open_for_max", "shorter than `open_for`");
    // Wrong once, above: told once, not for each provider.
    refused(
        "[breaker]\nopen_for = \"30s\"\n[providers.p]\ndialect = \"openai\"\nbase_url = \"https://p\"",
        "breaker.open_for_max",
        "shorter",
    );
}

#[test]
fn targets_name_providers_that_are_there() {
    target_refused(r#"{ provider = "locl", model = "m" }"#, "models.m.targets[0].provider", "did you mean `local`?");
    target_refused(r#"{ model = "m" }"#, "models.m.targets[0]", "`provider` is missing");
    target_refused(r#"{ provider = "local" }"#, "models.m.targets[0]", "`model` is missing");
    target_refused(r#"{ provider = "local", model = "" }"#, "models.m.targets[0].model", "is empty");
    let twice = r#"{ provider = "local", model = "m" }, { provider = "local", model = "m" }"#;
    target_refused(twice, "models.m.targets[1]", "written twice");
    model_refused("targets = []", "models.m.targets", "is empty");
    model_refused("", "models.m", "`targets` is missing");
}

#[test]
fn failover_names_other_models_once_each() {
    let row = |failover: &str| format!("targets = [{{ provider = \"local\", model = \"m\" }}]\nfailover = {failover}");
    model_refused(&row("[\"smal\"]"), "models.m.failover", "did you mean `small`?");
    model_refused(&row("[\"m\"]"), "models.m.failover", "loops");
    model_refused(&row("[\"small\", \"small\"]"), "models.m.failover", "twice");
    model_refused(&row("[\"a*\"]"), "models.m.failover", "wildcard");
    // Two models that name each other are no loop: the chain is flat.
    let both = "[models.a]\ntargets = [{ provider = \"local\", model = \"m\" }]\nfailover = [\"b\"]\n\
                [models.b]\ntargets = [{ provider = \"local\", model = \"m\" }]\nfailover = [\"a\"]";
    assert_eq!(small_and(both).load().models["a"].failover, ["b"]);
}

#[test]
fn wildcard_rows() {
    let good = "[models.\"openai/*\"]\ntargets = [{ provider = \"local\", model = \"*\" }]";
    assert_eq!(small_and(good).load().models["openai/*"].targets[0].model, "*");
    target_refused(r#"{ provider = "local", model = "*" }"#, "models.m.targets[0].model", "wildcard row");
    refused("[models.\"a*b\"]\ntargets = [{ provider = \"local\", model = \"m\" }]", "models.\"a*b\"", "one `*`, at its end");
    refused("[models.\"a b\"]\ntargets = [{ provider = \"local\", model = \"m\" }]", "models.\"a b\"", "no blanks");
    refused("[models.\"\"]\ntargets = [{ provider = \"local\", model = \"m\" }]", "models.\"\"", "1 to 256");
}

#[test]
fn prices_are_whole_and_sane() {
    let row = |price: &str| format!("{{ provider = \"local\", model = \"m\", price = {price} }}");
    let path = "models.m.targets[0].price";
    target_refused(&row("{ input = 1 }"), path, "`output` is missing");
    target_refused(&row("{ input = -1, output = 1 }"), &format!("{path}.input"), "from 0");
    target_refused(&row("{ input = nan, output = 1 }"), &format!("{path}.input"), "from 0");
    target_refused(&row("{ input = 1, output = inf }"), &format!("{path}.output"), "from 0");
    target_refused(&row("{ input = 1, output = 1, cached = -0.5 }"), &format!("{path}.cached"), "from 0");
    let good = format!("[models.m]\ntargets = [{}]", row("{ input = 2.5, output = 10, cached = 1.25, cache_write = 3, reasoning = 10 }"));
    let expected = Rates { cached: 1_250_000_000, cache_write: 3_000_000_000, ..Rates::new(2_500_000_000, 10_000_000_000) };
    assert_eq!(small_and(&good).load().models["m"].targets[0].price, Some(expected));
}

#[test]
fn providers_are_where_they_say() {
    refused("[providers.\"a b\"]\ndialect = \"openai\"\nbase_url = \"https://p\"", "providers.\"a b\"", "letters, digits");
    refused("[providers.p]\ndialect = \"openai\"", "providers.p", "`base_url` is missing");
    refused("[providers.p]\nbase_url = \"https://p\"", "providers.p", "`dialect` is missing");
    refused("[providers.p]\ndialect = \"openai\"\nbase_url = \"p/v1\"", "providers.p.base_url", "whole address");
    refused("[providers.p]\ndialect = \"openai\"\nbase_url = \"https://u:secretword@p\"", "providers.p.base_url", "no user name");
    refused("[providers.p]\ndialect = \"opnai\"\nbase_url = \"https://p\"", "providers.p.dialect", "did you mean `openai`?");
    refused("[providers.p]\ndialect = \"azure\"", "providers.p", "https://NAME.openai.azure.com");
    refused("[providers.p]\ndialect = \"azure\"\nbase_url = \"https://p\"\napi_version = \"1&x\"", "providers.p.api_version", "2024-10-21");
    refused("[providers.azure]", "providers.azure", "`base_url` is missing");
    provider_refused("ca_file = \"nowhere.pem\"", "providers.p.ca_file", "can't be read");
    provider_refused("ca_file = \"alone.toml\"", "providers.p.ca_file", "no certificate");
    provider_refused(
        "keys = [{ value = \"a\", name = \"k\" }, { value = \"b\", name = \"k\" }]",
        "providers.p.keys[1].name",
        "another key of this provider has this name",
    );
}

#[test]
fn what_is_known_of_a_vendor_needn_t_be_written() {
    let bench = small_and("[providers.groq]\n[providers.ollama]\n[providers.mistral]\n").env("GROQ_API_KEY", "gsk_a");
    let settings = bench.load();
    let groq = &settings.providers["groq"];
    assert_eq!((groq.dialect, groq.base_url.as_str()), (Dialect::OpenAi, "https://api.groq.com/openai/v1"));
    assert_eq!((groq.keys[0].name.as_str(), groq.keys[0].secret.expose()), ("GROQ_API_KEY", "gsk_a"));
    assert_eq!((groq.codes["498"].as_str(), groq.asks_usage), ("transient", true));
    let ollama = &settings.providers["ollama"];
    assert_eq!((ollama.base_url.as_str(), ollama.keys.len()), ("http://127.0.0.1:11434/v1", 0), "a server of one's own has no key");
    assert_eq!(settings.left_out["mistral"], ["MISTRAL_API_KEY"], "without its key a vendor is left out");
    let text = "[providers.mine]\nbase_url = \"https://api.mistral.ai/v1\"\nkeys = [{ value = \"a\" }]\ncodes = { invalid_model = \"caller_fault\" }";
    let settings = small_and(text).load();
    let mine = &settings.providers["mine"];
    assert_eq!((mine.dialect, mine.asks_usage, mine.codes["invalid_model"].as_str()), (Dialect::OpenAi, false, "caller_fault"));
    assert_eq!(mine.codes["rate_limited"], "rate_limited", "one's own code stands beside the vendor's");
    let elsewhere =
        small_and("[providers.groq]\ndialect = \"openai\"\nbase_url = \"http://127.0.0.1:9\"").env("GROQ_API_KEY", "gsk_a").load();
    let elsewhere = &elsewhere.providers["groq"];
    assert!(elsewhere.keys.is_empty() && elsewhere.codes.is_empty(), "a vendor's key goes to nobody else");
    let azure = "[providers.a]\nbase_url = \"https://r.openai.azure.com\"\nkeys = []\napi_version = \"2025-04-01-preview\"";
    let settings = small_and(azure).load();
    let azure = &settings.providers["a"];
    assert_eq!((azure.dialect, azure.auth, azure.api_version.as_deref()), (Dialect::Azure, AuthScheme::ApiKey, Some("2025-04-01-preview")));
}

#[test]
fn headers_that_a_provider_must_not_set() {
    for name in ["Authorization", "connection", "Transfer-Encoding", "host", "Proxy-Authorization", "content-length"] {
        provider_refused(&format!("headers = {{ {name} = \"x\" }}"), &format!("providers.p.headers.{name}"), "set by the gateway itself");
    }
    provider_refused("headers = { \"a b\" = \"x\" }", "providers.p.headers.\"a b\"", "no header name");
    provider_refused("headers = { a = \"x\\r\\ny\" }", "providers.p.headers.a", "line breaks");
    provider_refused("headers = { a = \"x\\u0000y\" }", "providers.p.headers.a", "line breaks");
    provider_refused("headers = { a = 5 }", "providers.p.headers.a", "text in quotes");
    provider_refused("headers = { x-a = \"1\", X-A = \"2\" }", "providers.p.headers.x-a", "twice");
    let bench = small_and("[providers.p]\ndialect = \"openai\"\nbase_url = \"https://p/\"\nheaders = { X-Team = \"a\" }");
    let settings = bench.load();
    assert_eq!(settings.providers["p"].headers, [("x-team".to_owned(), "a".to_owned())]);
    assert_eq!(settings.providers["p"].base_url, "https://p");
}

#[test]
fn the_rehearsal_written_by_hand() {
    let settings = small_and("[providers.sim]\ndialect = \"rehearsal\"").load();
    assert_eq!((settings.providers["sim"].dialect, settings.providers["sim"].base_url.as_str()), (Dialect::Rehearsal, "rehearsal://"));
    assert!(!settings.rehearsing);
    refused("[providers.sim]\ndialect = \"rehearsal\"\nkeys = [{ value = \"a\" }]", "providers.sim.keys", "takes no keys");
    refused("[providers.sim]\ndialect = \"rehearsal\"\nbase_url = \"https://a\"", "providers.sim.base_url", "no address");
    refused("[providers.rehearsal]\ndialect = \"openai\"\nbase_url = \"https://a\"", "providers.rehearsal.dialect", "something else");
}

#[test]
fn what_promises_safety_is_refused_until_it_is_built() {
    let key = "[[auth.keys]]\nname = \"k\"\nkey = { env = \"NOT_SET\" }\n";
    refused(&format!("{key}expires = \"tomorrow\""), "auth.keys[0].expires", "must be a day or a time");
    refused("[shared]\nurl = \"rediss://h:6379\"", "shared.url", "TLS to Redis isn't built yet");
    small_and("[shared]\nurl = \"redis://:secret@h:6379\"").load();
    small_and(&format!("{key}rpm = 0\ntpm = 0\nconcurrency = 0\nbudget = {{ usd = 0.0, window = \"day\", unpriced = \"allow\" }}")).load();
    small_and(&format!("{key}rpm = 5\ntpm = 5\nconcurrency = 5\nbudget = {{ usd = 1.5, window = \"week\" }}")).load();
    refused(&format!("{key}rpm = 1000000000000001"), "auth.keys[0].rpm", "from 0 to 1000000000000000");
}

#[test]
fn what_has_no_effect_yet_is_noted() {
    let bench = small_and(
        "[server]\nrequest_headers = [\"timeout\", \"cache\"]\n[stream]\nresume_window = \"5ms\"\n[cache]\nmode = \"exact\"\n\
         [retry]\nhedge = \"p95\"\nwait = \"1s\"\n[breaker]\nprobe = \"active\"\n[telemetry]\nlog_bodies = true\n\
         [admin]\nlisten = \"127.0.0.1:8001\"\n[models.small.stream]\nresume_buffer = \"1KiB\"\n[models.small.cache]\nmode = \"exact\"\n\
         [models.small.retry]\nwait = \"2s\"\n[providers.local.breaker]\nprobe_every = \"1s\"\n[providers.p]\ndialect = \"openai\"\n\
         base_url = \"https://p\"\nhttp2 = true\nresponses = true\napi_version = \"1\"",
    );
    let notes = bench.notes(NoteKind::NoEffectYet);
    let paths: Vec<&str> = notes.iter().map(|note| note.split(": ").next().unwrap()).collect();
    assert_eq!(paths, ["providers.p.http2"]);
    assert!(notes.iter().all(|note| note.contains("no effect yet: ")));
    assert!(small_and("[server]\nrequest_headers = [\"timeout\"]").notes(NoteKind::NoEffectYet).is_empty());
}

#[test]
fn what_can_have_no_effect_where_it_stands_is_told() {
    let key = "[[auth.keys]]\nname = \"k\"\nkey = { env = \"A\" }\n";
    let ordered = |weight: u32| {
        format!(
            "[models.o]\nstrategy = \"ordered\"\n\
             targets = [{{ provider = \"local\", model = \"a\", weight = {weight} }}, {{ provider = \"local\", model = \"b\" }}]"
        )
    };
    for (text, path) in [
        (format!("[auth]\nmode = \"open\"\n{key}"), "auth.keys"),
        (format!("{key}budget = {{ window = \"day\" }}"), "auth.keys[0].budget.window"),
        (format!("{key}budget = {{ unpriced = \"allow\" }}"), "auth.keys[0].budget.unpriced"),
        (format!("{key}expires = \"2020-01-01\""), "auth.keys[0].expires"),
        ("[retry]\nattempts = 1\nhedge = \"p95\"".to_owned(), "retry.hedge"),
        ("[telemetry]\nmetrics = \"admin\"".to_owned(), "telemetry.metrics"),
        ("[retry]\nhedge = \"p95\"\n[models.small.retry]\nattempts = 1".to_owned(), "models.small.retry.hedge"),
        ("[telemetry]\nlog_bodies_sample = 0.5".to_owned(), "telemetry.log_bodies_sample"),
        ("[telemetry]\nlog_bodies = false\nlog_bodies_sample = 1.0".to_owned(), "telemetry.log_bodies_sample"),
        ("[telemetry]\nlog_bodies = true\nlog_bodies_sample = 0.0".to_owned(), "telemetry.log_bodies"),
        ("[stream]\nresume_window = \"10m\"".to_owned(), "stream.resume_max"),
        ("[models.small.stream]\nresume_window = \"2m\"\nresume_max = \"1m\"".to_owned(), "models.small.stream.resume_max"),
        (ordered(3), "models.o.targets"),
        ("[cache]\nttl = \"1h\"".to_owned(), "cache"),
        ("[models.small.cache]\nonly_deterministic = true".to_owned(), "models.small.cache"),
        ("[cache]\nmode = \"exact\"\n[models.small.cache]\nmode = \"off\"\nttl = \"1h\"".to_owned(), "models.small.cache"),
    ] {
        let notes = small_and(&text).env("A", "a-key-that-nobody-can-guess-0001").notes(NoteKind::Warning);
        let paths: Vec<&str> = notes.iter().map(|note| note.split(": ").next().unwrap()).collect();
        assert_eq!(paths, [path], "{text}: {notes:?}");
    }
    for text in [
        key.to_owned(),
        format!("{key}budget = {{ usd = 0.0, window = \"day\" }}"),
        format!("{key}budget = {{ usd = 2.5, window = \"day\" }}\nexpires = \"2999-01-01\""),
        "[retry]\nhedge = \"p95\"\n[models.small.retry]\nattempts = 1\nhedge = \"off\"".to_owned(),
        "[telemetry]\nlog_bodies = false\nlog_bodies_sample = 0.01".to_owned(),
        "[telemetry]\nlog_bodies = true\nlog_bodies_sample = 1.0".to_owned(),
        "[stream]\nresume_window = \"5m\"\n[models.small.stream]\nhold_tools = true".to_owned(),
        ordered(1),
        "[cache]\nmode = \"exact\"\nttl = \"1h\"\n[models.small.cache]\nmode = \"off\"".to_owned(),
        "[cache]\nttl = \"1h\"\n[models.small.cache]\nmode = \"exact\"".to_owned(),
    ] {
        let notes = small_and(&text).env("A", "a-key-that-nobody-can-guess-0001").notes(NoteKind::Warning);
        assert_eq!(notes, [""; 0], "{text}");
    }
}

#[test]
fn hosts() {
    for bad in ["http://a", "a:80", "127.0.0.1:80", "", "a b", "a/b"] {
        refused(&format!("[server]\nhost = \"{bad}\""), "server.host", "without a scheme or a port");
    }
    for good in ["::1", "[::1]", "localhost", "127.0.0.2"] {
        assert_eq!(small_and(&format!("[server]\nhost = \"{good}\"")).load().server.host, good);
    }
}

#[test]
fn overrides_are_merged_in() {
    let settings = small_and(
        "[breaker]\nopen_for = \"3s\"\nclose_after = 7\nprobe = \"active\"\n[timeouts]\nidle = \"7s\"\ntotal = \"9s\"\n[retry]\nattempts = 9\nbackoff = \"7ms\"\n\
         [providers.local.breaker]\nopen_for = \"4s\"\nwhen_all_open = \"refuse\"\nkey_quarantine = \"1s\"\nprobe_every = \"2s\"\n[providers.local.timeouts]\nidle = \"8s\"\n\
         [models.small.timeouts]\nfirst_token = \"5m\"\n[models.small.retry]\nattempts = 2",
    )
    .load();
    let (provider, model) = (&settings.providers["local"], &settings.models["small"]);
    let seconds = std::time::Duration::from_secs;
    assert_eq!((provider.breaker.open_for, provider.breaker.close_after, provider.breaker.consecutive_failures), (seconds(4), 7, 5));
    assert_eq!((provider.when_all_open, provider.key_quarantine), (WhenAllOpen::Refuse, seconds(1)));
    assert_eq!(provider.probe_every, Some(seconds(2)));
    assert_eq!(small_and("[breaker]\nprobe_every = \"2s\"").load().providers["local"].probe_every, None, "passive");
    assert_eq!((provider.timeouts.idle, provider.timeouts.total, provider.timeouts.connect), (seconds(8), seconds(9), seconds(3)));
    assert_eq!((model.timeouts.first_token, model.timeouts.idle), (Some(seconds(300)), None));
    assert_eq!((model.retry.attempts, model.retry.backoff.as_millis(), model.retry.same_target), (2, 7, 1));
    assert!(model.retry.shares_budget(&settings.retry));
}

#[test]
fn shares_are_kept_in_millionths_and_a_model_of_other_terms_has_its_own_budget() {
    let settings = small_and(
        "[retry]\nwait = \"2s\"\nbudget_ratio = 0.1\nbudget_min = 3\nhedge = \"p99.9\"\nhedge_ratio = 0.025\n\
         [models.small.retry]\nhedge = \"off\"\nbudget_ratio = 0.5",
    )
    .load();
    let (all, own) = (&settings.retry, &settings.models["small"].retry);
    assert_eq!((all.wait.as_secs(), all.budget_ratio, all.budget_min, all.hedge, all.hedge_ratio), (2, 100_000, 3, Some(999_000), 25_000));
    assert_eq!((own.wait.as_secs(), own.budget_ratio, own.budget_min, own.hedge, own.hedge_ratio), (2, 500_000, 3, None, 25_000));
    assert!(!own.shares_budget(all));
}

#[test]
fn all_mistakes_are_told_at_once() {
    let told = small_and("[server]\nport = \"x\"\n[models.m]\ntargets = [{ provider = \"nobody\", model = \"m\" }]").mistakes();
    let lines: Vec<&str> = told.lines().collect();
    assert_eq!(lines.len(), 2, "{told}");
    assert!(lines[0].starts_with("alone.toml: models.m.targets[0].provider: there is no [providers.\"nobody\"]"), "{told}");
    assert!(lines[1].starts_with("alone.toml: server.port: must be a whole number"), "{told}");
}
