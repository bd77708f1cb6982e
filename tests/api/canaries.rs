//! Fifty secrets, planted wherever an operator, a caller or an upstream has one: keys, passwords, prompts, answers, texts of errors.
//! None comes out anywhere but where it belongs: not in a log at its most talkative, a metric, an error, the ledger, its journal,
//! /health, the admin plane, what the command line prints, or a complaint about settings.

use std::path::Path;
use std::time::Duration;

use super::durability::Locked;
use super::support::faults::closed_port;
use super::support::{Client, Process, Reply, STREAM_END, STREAM_HEAD, Upstream, answer, chunk, event, plain};

/// The secrets, in the order in which they are planted.
#[derive(Default)]
struct Planted(Vec<String>);

impl Planted {
    /// Another one.
    fn plant(&mut self, of: &str) -> String {
        let secret = format!("sk-canary-{:02}-of-{of}-0123456789abcdef", self.0.len());
        self.0.push(secret.clone());
        secret
    }

    /// One that somebody else made.
    fn known(&mut self, secret: &str) {
        self.0.push(secret.to_owned());
    }

    /// None of them is in a text, but for those that may be.
    fn none_in(&self, what: &str, text: &str, but: &[&str]) {
        for secret in self.0.iter().filter(|secret| !but.contains(&secret.as_str())) {
            // Without its frame, too: half a secret is one.
            let core = &secret[3..secret.len() - 8];
            let at = text.find(core).map(|at| &text[text.floor_char_boundary(at.saturating_sub(300))..text.ceil_char_boundary(at + 100)]);
            assert!(at.is_none(), "{secret} in {what}: ...{}...", at.unwrap_or_default());
        }
    }
}

/// All that lies in a folder, but for what the test put there itself.
fn files(folder: &Path, own: &[&str]) -> String {
    let mut text = String::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            text += &files(&path, own);
        } else if !own.contains(&path.file_name().unwrap().to_str().unwrap()) {
            text += &format!("\n{}:\n", path.display());
            // One that was there a moment ago may be in the store by now.
            text += &String::from_utf8_lossy(&std::fs::read(&path).unwrap_or_default());
        }
    }
    text
}

/// What an upstream says that has something to hide, by the prompt.
fn speaking(said: [String; 9]) -> Upstream {
    let [plainly, streamed, reasoned, failed, refused, limited, faulted, cookie, organisation] = said;
    Upstream::by(move |call| {
        let (text, headers) = (call.text(), format!("set-cookie: {cookie}\r\nopenai-organization: {organisation}\r\n"));
        let error = |message: &str, code: &str| format!(r#"{{"error":{{"message":"{message}","type":"t","param":null,"code":{code}}}}}"#);
        let refusal = |code: u16, body: String| {
            let head = format!("HTTP/1.1 {code} X\r\ncontent-type: application/json\r\n{headers}content-length: {}\r\n\r\n", body.len());
            (head + &body).into_bytes()
        };
        if text.contains("say-failed") {
            refusal(500, error(&failed, "null"))
        } else if text.contains("say-refused") {
            refusal(401, error(&refused, "\"invalid_api_key\""))
        } else if text.contains("say-limited") {
            refusal(429, error(&limited, "null"))
        } else if text.contains("say-fault") {
            refusal(400, error(&faulted, "\"bad\""))
        } else if text.contains("say-broken") {
            format!("{STREAM_HEAD}{}", chunk(&event(&streamed))).into_bytes()
        } else if text.contains(r#""stream":true"#) {
            let thought = event("").replace("\"content\":\"\"", &format!("\"content\":\"x\",\"reasoning_content\":\"{reasoned}\""));
            format!("{STREAM_HEAD}{}{}{STREAM_END}", chunk(&thought), chunk(&event(&streamed))).into_bytes()
        } else if text.contains("say-nothing") {
            plain(r#"{"choices":[]"#)
        } else {
            answer(&plainly)
        }
    })
}

#[test]
fn fifty_planted_secrets_come_out_nowhere() {
    let mut planted = Planted::default();
    let said = ["an-answer", "a-streams-word", "a-thought", "a-500", "a-401", "a-429", "a-400", "an-upstreams-cookie", "an-organisation"]
        .map(|of| planted.plant(of));
    let faulted = said[6].clone();
    let (plainly, streamed, reasoned) = (said[0].clone(), said[1].clone(), said[2].clone());
    let upstream = speaking(said);
    let [pool, pool_env, pool_file, pool_more, pool_dying, header] =
        ["a-pool-key", "a-pool-key-by-env", "a-pool-key-by-file", "another-providers-key", "a-key-that-is-refused", "a-header"]
            .map(|of| planted.plant(of));
    let [caller, caller_env, caller_file, ended] =
        ["a-callers-key", "a-callers-key-by-env", "a-callers-key-by-file", "an-ended-key"].map(|of| planted.plant(of));
    let [admin, password, dotenv] = ["the-operator", "a-redis-password", "a-dotenv-line"].map(|of| planted.plant(of));
    let settings = format!(
        "[telemetry]\nlog = \"json\"\n[store]\nurl = \"sqlite://s.db\"\n[shared]\nurl = \"redis://:{password}@{}\"\n[cache]\nmode = \"exact\"\n\
         [admin]\nkey = {{ env = \"CANARY_ADMIN\" }}\n[retry]\nbackoff = \"1ms\"\nwait = \"0s\"\n[stream]\nrecovery = \"continue\"\n[breaker]\nconsecutive_failures = 50\nfailure_ratio = 1.0\n\
         [[auth.keys]]\nname = \"a\"\nkey = {{ value = \"{caller}\" }}\nrpm = 10000\nbudget = {{ usd = 1000.0, unpriced = \"allow\" }}\n\
         [[auth.keys]]\nname = \"b\"\nkey = {{ env = \"CANARY_CALLER\" }}\nmodels = [\"n\"]\n[[auth.keys]]\nname = \"c\"\nkey = {{ file = \"caller\" }}\n\
         [[auth.keys]]\nname = \"d\"\nkey = {{ value = \"{ended}\" }}\nexpires = \"2020-01-01\"\n\
         [providers.p]\ndialect = \"openai\"\nbase_url = \"{}\"\nheaders = {{ x-extra = \"{header}\" }}\n\
         keys = [{{ value = \"{pool}\" }}, {{ env = \"CANARY_POOL\" }}, {{ file = \"pool\" }}]\n\
         [providers.q]\ndialect = \"anthropic\"\nbase_url = \"http://{}\"\nkeys = [{{ value = \"{pool_more}\" }}]\n\
         [providers.r]\ndialect = \"openai\"\nbase_url = \"{}\"\nkeys = [{{ value = \"{pool_dying}\" }}]\n[models.l]\ntargets = [{{ provider = \"r\", model = \"up\" }}]\n\
         [models.m]\nstrategy = \"ordered\"\ntargets = [{{ provider = \"p\", model = \"up\" }}, {{ provider = \"q\", model = \"down\" }}]\n[models.n]\ntargets = [{{ provider = \"p\", model = \"other\" }}]\n",
        closed_port(),
        upstream.url(),
        closed_port(),
        upstream.url()
    );
    let env = [
        ("CANARY_ADMIN", admin.as_str()),
        ("CANARY_CALLER", &caller_env),
        ("CANARY_POOL", &pool_env),
        ("STAGEDOOR__SERVER__PORT", "0"),
        ("STAGEDOOR_LOG", "trace"),
    ];
    let own = ["settings.toml", "caller", "pool", ".env"];
    let write = |folder: &Path| {
        std::fs::write(folder.join("settings.toml"), &settings).unwrap();
        std::fs::write(folder.join("caller"), &caller_file).unwrap();
        std::fs::write(folder.join("pool"), &pool_file).unwrap();
        std::fs::write(folder.join(".env"), format!("UNUSED_SECRET={dotenv}\n")).unwrap();
    };
    let gateway = Process::run(&["serve", "--settings", "settings.toml"], &env, write);
    let client = gateway.client();
    let bearer = |key: &str| format!("Bearer {key}");

    // Callers without a key that is known, each by a way of its own.
    for (name, of, scheme) in [
        ("authorization", "a-wrong-key", "Bearer "),
        ("authorization", "a-basic-login", "Basic "),
        ("authorization", "a-key-without-scheme", ""),
        ("x-api-key", "an-anthropic-key", ""),
        ("x-goog-api-key", "a-google-key", ""),
        ("api-key", "an-azure-key", ""),
        ("proxy-authorization", "a-proxys-login", "Basic "),
        ("cookie", "a-callers-cookie", "session="),
    ] {
        let secret = planted.plant(of);
        for path in ["/v1/chat/completions", "/v1/messages", "/admin/keys", "/v1/nothing"] {
            let reply = client.post(path, &[(name, &format!("{scheme}{secret}"))], r#"{"model":"m"}"#);
            assert!(matches!(reply.status, 401 | 404 | 405), "{} {path}", reply.status);
            planted.none_in("a refusal", &reply.text(), &[]);
        }
    }
    let ended_reply = client.post("/v1/chat/completions", &[("authorization", &bearer(&ended))], "{}");
    assert_eq!(ended_reply.status, 401);
    for of in ["a-query", "a-fragment"] {
        let secret = planted.plant(of);
        planted.none_in("an answer", &client.get(&format!("/v1/models?key={secret}")).text(), &[]);
        planted.none_in("an answer", &client.get(&format!("/health?token={secret}&api_key={secret}")).text(), &[]);
    }

    // Prompts, good and bad, and what is said to them.
    let ask = |path: &str, body: &str| client.post(path, &[("authorization", &bearer(&caller)), ("cookie", "c=1")], body);
    let chat = |secret: &str, more: &str| {
        let model = if secret.ends_with("limited") || secret.ends_with("refused") { "l" } else { "m" };
        ask("/v1/chat/completions", &format!(r#"{{"model":"{model}","messages":[{{"role":"user","content":"{secret}"}}]{more}}}"#))
    };
    let mut good = |of: &str, more: &str| {
        let secret = planted.plant(of);
        (chat(&format!("{secret} {of}"), more), secret)
    };
    let replies: Vec<(Reply, String, u16)> = vec![
        (good("a-prompt", ""), 200),
        (good("a-streamed-prompt", r#","stream":true"#), 200),
        (good("a-stream-say-broken", r#","stream":true"#), 200),
        (good("a-say-failed", ""), 502),
        (good("a-say-nothing", ""), 502),
        (good("a-say-limited", ""), 502),
        (good("a-say-refused", ""), 502),
        (good("a-say-fault", ""), 400),
    ]
    .into_iter()
    .map(|((reply, secret), expected)| (reply, secret, expected))
    .collect();
    for (reply, secret, expected) in &replies {
        assert!(reply.status == *expected || (*expected == 502 && reply.status >= 429), "{secret}: {} {}", reply.status, reply.text());
        // A provider's refusal of the request itself is the caller's to read, and so is an answer.
        planted.none_in("an answer", &reply.text(), &[&faulted, &plainly, &streamed, &reasoned]);
        let head: String = reply.headers.iter().map(|(name, value)| format!("{name}: {value}\n")).collect();
        planted.none_in("an answer's head", &head, &[]);
    }
    for (of, body) in [
        ("no-json", r#"{"model":"m","messages":[{"role":"user","content":"SECRET"#),
        ("a-wrong-type", r#"{"model":"m","messages":"SECRET"}"#),
        ("a-wrong-number", r#"{"model":"m","messages":[],"max_tokens":"SECRET"}"#),
        ("a-duplicate", r#"{"model":"m","messages":[{"role":"user","content":"SECRET"}],"tools":[],"tools":["SECRET"]}"#),
        ("an-unknown-model", r#"{"model":"nobody","messages":[{"role":"user","content":"SECRET"}],"user":"SECRET"}"#),
        ("no-model", r#"{"messages":[{"role":"user","content":"SECRET"}],"metadata":{"a":"SECRET"}}"#),
        ("a-tool", r#"{"model":"m","messages":[],"tools":[{"type":"function","function":{"name":"SECRET"}}]}"#),
    ] {
        let secret = planted.plant(of);
        for path in ["/v1/chat/completions", "/v1/messages"] {
            let reply = ask(path, &body.replace("SECRET", &secret));
            // What is wrong with a field is told to whoever sent it, with what was sent.
            planted.none_in("an error", &reply.text(), &[&plainly, &secret]);
        }
    }
    let secret = planted.plant("a-large-prompt");
    let large = format!(r#"{{"model":"m","messages":[{{"role":"user","content":"{secret}{}"}}]}}"#, "x".repeat(2 << 20));
    assert_eq!(ask("/v1/chat/completions", &large).status, 200);
    let idempotent = planted.plant("a-requests-name");
    let named = [("authorization", bearer(&caller)), ("idempotency-key", idempotent.clone())];
    let named: Vec<_> = named.iter().map(|(name, value)| (*name, value.as_str())).collect();
    for body in [r#"{"model":"m","messages":[]}"#, r#"{"model":"m","messages":[{}]}"#] {
        planted.none_in("an answer", &client.post("/v1/chat/completions", &named, body).text(), &[&plainly]);
    }

    // Keys that the gateway makes are shown once, and while the store is away rows wait in the journal.
    let operate = |method: &str, path: &str, body: &str| {
        let headers = [("authorization", bearer(&admin)), ("content-type", "application/json".to_owned())];
        let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        client.call(method, path, &headers, body)
    };
    let made = operate("POST", "/admin/keys", r#"{"name":"made"}"#).json();
    let rotated = operate("POST", &format!("/admin/keys/{}/rotate", made["id"].as_str().unwrap()), "{}").json();
    for key in [&made, &rotated] {
        planted.known(key["key"].as_str().unwrap());
        assert_eq!(client.call("GET", "/v1/models", &[("authorization", &bearer(key["key"].as_str().unwrap()))], "").status, 200);
    }
    let typo = planted.plant("a-misplaced-field");
    let mistaken = operate("POST", "/admin/keys", &format!(r#"{{"name":"x","key":"{typo}","rpm":"{typo}"}}"#));
    assert_eq!(mistaken.status, 400);
    let locked = Locked::on(&gateway.folder().join("s.db"));
    // By its name alone: to close the store's file, once read, would take this process's lock off it.
    let is_journal = |entry: std::io::Result<std::fs::DirEntry>| entry.unwrap().path().extension().is_some_and(|kind| kind == "jsonl");
    let end = std::time::Instant::now() + Duration::from_secs(60);
    for number in 0.. {
        assert_eq!(chat(&format!("journalled {number}"), "").status, 200);
        if std::fs::read_dir(gateway.folder()).unwrap().any(is_journal) {
            break;
        }
        assert!(std::time::Instant::now() < end, "rows wait in the journal");
        std::thread::sleep(Duration::from_millis(100));
    }
    planted.none_in("the store and its journal", &files(gateway.folder(), &own), &[]);
    drop(locked);

    // What is shown.
    for path in ["/health", "/metrics", "/openapi.json", "/", "/dashboard"] {
        planted.none_in(path, &client.get(path).text(), &[]);
    }
    for key in [&caller, &caller_env, &caller_file] {
        for path in ["/v1/models", "/v1/route?model=m", "/v1/route?model=n"] {
            planted.none_in(path, &client.call("GET", path, &[("authorization", &bearer(key))], "").text(), &[]);
        }
    }
    for path in ["/admin/keys", "/admin/usage?by=key", "/admin/usage?by=tag", "/admin/requests?limit=1000"] {
        let reply = operate("GET", path, "");
        assert_eq!(reply.status, 200, "{path}");
        planted.none_in(path, &reply.text(), &[]);
    }
    planted.none_in("the store", &files(gateway.folder(), &own), &[]);
    let verbs: [&[&str]; 14] = [
        &["check"],
        &["check", "--json"],
        &["keys", "list"],
        &["keys", "list", "--json"],
        &["usage"],
        &["usage", "--by", "key", "--json"],
        &["route", "m"],
        &["--help"],
        &["serve", "--help"],
        &["keys", "--help"],
        &["keys", "create", "--help"],
        &["usage", "--help"],
        &["route", "--help"],
        &["demo", "--help"],
    ];
    for verb in verbs {
        let port = client_port(&client);
        let env: Vec<_> =
            env.iter().map(|(name, value)| if name.ends_with("PORT") { (*name, port.as_str()) } else { (*name, *value) }).collect();
        let file = gateway.folder().join("settings.toml");
        let args = [verb, &["--settings", file.to_str().unwrap()]].concat();
        let told = Process::run(&args, &env, write).finish();
        planted.none_in(&format!("{verb:?}"), &(told.stdout + &told.stderr), &[]);
    }

    // Complaints about settings, each of which has a secret where something else belongs.
    let [store, shared, url, port, key, unknown] =
        ["a-stores-password", "a-bad-redis", "a-url", "a-port", "a-short-key", "an-unknown-setting"].map(|of| planted.plant(of));
    for bad in [
        format!("[store]\nurl = \"postgres://u:{store}@127.0.0.1:1/db\"\n"),
        format!("[store]\nurl = \"mysql://u:{store}@127.0.0.1/db\"\n"),
        format!("[shared]\nurl = \"rediss://:{shared}@h:6379\"\n"),
        format!("[shared]\nurl = \"redis://:{shared}@h:port\"\n"),
        format!("[providers.x]\ndialect = \"openai\"\nbase_url = \"http://u:{url}@h\"\nkeys = [{{ value = 5 }}]\n"),
        format!("[server]\nport = \"{port}\"\n"),
        format!("[[auth.keys]]\nname = \"k\"\nkey = \"{key}\"\n[admin]\nkey = \"{key}\"\n"),
        format!("[[auth.keys]]\nname = \"k\"\nkey = {{ value = \"{key}\", env = \"{unknown}\" }}\nbudget = \"{unknown}\"\n"),
        format!(
            "[providers.x]\ndialect = \"openai\"\nbase_url = \"http://h\"\nkeys = [\"{key}\"]\nsecret = \"{unknown}\"\nheaders = {{ a = 5, b = [\"{unknown}\"] }}\n"
        ),
        format!("[admin]\nkey = {{ value = \"{key}\"\n"),
    ] {
        for verb in ["check", "serve"] {
            let told = Process::with_settings(verb, &bad, &[("STAGEDOOR__SERVER__PORT", "0"), ("STAGEDOOR_LOG", "trace")]);
            // What can be served all the same is not at issue here.
            let told = told.ended_within(Duration::from_secs(3));
            planted.none_in(&format!("{verb} of {bad}"), &told, &[]);
        }
    }

    assert!(planted.0.len() >= 50, "{} are planted", planted.0.len());
    gateway.signal("TERM");
    gateway.until_ended();
    let log = gateway.stdout.text() + &gateway.stderr.text();
    assert!(log.lines().count() > 200 && log.contains("\"message\":\"request\""), "it was talkative");
    planted.none_in("the log", &log, &[]);
    planted.none_in("what is left", &files(gateway.folder(), &own), &[]);
}

fn client_port(client: &Client) -> String {
    client.address().port().to_string()
}
