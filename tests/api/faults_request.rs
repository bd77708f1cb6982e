//! Requests that try something: headers that may not pass, fields read in two ways, names that aim elsewhere. Rows 39 to 44,
//! 46, 47 and 49 of the fault catalogue.

use std::time::{Duration, Instant};

use super::support::faults::{SHORT, alone, provider_at};
use super::support::{Process, Upstream, answer, chat_body};

const KEY: &str = "sk-caller-0123456789abcdef0123456789";

fn serving() -> (Upstream, super::support::TestApp) {
    let upstream = Upstream::answering(answer("hi"));
    let app = alone(&provider_at("p", &upstream.url(), "headers = { x-team = \"blue\" }"), SHORT);
    (upstream, app)
}

fn chat(body: &str) -> (u16, String) {
    let (upstream, app) = serving();
    let reply = app.client().post("/v1/chat/completions", &[], body);
    assert_eq!(upstream.count(), usize::from(reply.status == 200), "refused before anything is sent");
    (reply.status, if reply.status == 200 { String::new() } else { reply.code() })
}

#[test]
fn a_head_of_more_than_sixteen_kilobytes_is_refused_and_one_below_is_served() {
    let (upstream, app) = serving();
    let ask = |bytes: usize| {
        let reply = app.client().post("/v1/chat/completions", &[("x-long", &"x".repeat(bytes))], &chat_body("m"));
        (reply.status, if reply.status == 200 { String::new() } else { reply.code() })
    };
    assert_eq!(ask(15 << 10), (200, String::new()));
    assert_eq!(ask(17 << 10), (431, "headers_too_large".to_owned()));
    assert_eq!(upstream.count(), 1);
}

#[test]
fn row_39_a_callers_own_headers_stay_here() {
    let (upstream, app) = serving();
    let sent = [
        ("authorization", "Bearer sk-callers-own"),
        ("x-api-key", "sk-other"),
        ("api-key", "sk-third"),
        ("x-goog-api-key", "sk-fourth"),
        ("cookie", "session=1"),
        ("x-forwarded-for", "10.0.0.1"),
        ("forwarded", "for=10.0.0.1"),
        ("openai-organization", "org-mine"),
        ("connection", "close, x-hop"),
        ("x-hop", "1"),
        ("x-stagedoor-tags", "team=a"),
        ("accept-encoding", "br"),
        ("user-agent", "curl/8"),
        ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        ("openai-beta", "assistants=v2"),
        ("idempotency-key", "once"),
    ];
    assert_eq!(app.client().post("/v1/chat/completions", &sent, &chat_body("m")).status, 200);
    let call = &upstream.calls()[0];
    for (name, value) in &sent[..13] {
        assert_ne!(call.header(name).as_deref(), Some(*value), "{name} reached the upstream:\n{}", call.head);
    }
    for gone in ["authorization", "cookie", "x-hop", "x-api-key", "x-forwarded-for", "openai-organization"] {
        assert_eq!(call.header(gone), None);
    }
    for name in ["traceparent", "openai-beta", "idempotency-key"] {
        assert!(call.header(name).is_some(), "{name} passes");
    }
    assert_eq!((call.header("x-team").as_deref(), call.header("accept-encoding").as_deref()), (Some("blue"), Some("identity")));
    assert!(call.header("user-agent").unwrap().starts_with("stagedoor/"));
}

#[test]
fn row_39_what_connection_names_is_for_this_hop_only() {
    let (upstream, app) = serving();
    let sent = [
        ("connection", "close, OpenAI-Beta , traceparent"),
        ("openai-beta", "assistants=v2"),
        ("traceparent", "00-a"),
        ("idempotency-key", "once"),
    ];
    assert_eq!(app.client().post("/v1/chat/completions", &sent, &chat_body("m")).status, 200);
    let call = &upstream.calls()[0];
    assert_eq!((call.header("openai-beta"), call.header("traceparent")), (None, None), "{}", call.head);
    assert!(call.header("idempotency-key").is_some());
}

#[test]
fn row_40_a_field_read_in_two_ways_is_refused() {
    let with = |fields: &str| chat(&format!(r#"{{{fields},"messages":[{{"role":"user","content":"x"}}]}}"#));
    for fields in [
        r#""model":"m","model":"m""#,
        r#""model":"m","mod\u0065l":"other""#,
        r#""model":"m","tools":[],"tools":[]"#,
        r#""model":"m","stream":false,"stream":true"#,
        r#""model":"m","max_tokens":1,"max_tokens":9"#,
        r#""model":"m","n":1,"n":2"#,
        r#""model":"m","response_format":null,"response_format":null"#,
    ] {
        assert_eq!(with(fields), (400, "duplicate_field".into()), "{fields}");
    }
    assert_eq!(with(r#""model":"m","zeta":1,"zeta":2"#).0, 200, "what isn't read here passes");
    let (status, code) = chat(&format!("\u{feff}{}", chat_body("m")));
    assert_eq!((status, code.as_str()), (400, "invalid_json"), "a byte order mark");
}

#[test]
fn row_41_names_that_aim_elsewhere_are_no_models() {
    for name in ["M", " m", "m ", "../m", "m/../../admin", "\\u0000", "ｍ", "m\\u200b", "%6d", "m?x=y", "http://evil/m"] {
        assert_eq!(chat(&chat_body(name)), (404, "model_not_found".into()), "{name}");
    }
    let (_upstream, app) = serving();
    let reply = app.chat(&"a".repeat(10_000));
    assert_eq!(reply.status, 404);
    assert!(reply.body.len() < 1_000 && reply.text().contains(&"a".repeat(100)) && !reply.text().contains(&"a".repeat(101)));
}

#[test]
fn row_42_numbers_that_are_none() {
    let with = |field: &str| chat(&format!(r#"{{"model":"m",{field},"messages":[{{"role":"user","content":"x"}}]}}"#));
    for value in ["-1", "4294967296", "1e400", "\"5\"", "1.5", "true", "[]"] {
        for field in ["max_tokens", "max_completion_tokens"] {
            let (status, code) = with(&format!("\"{field}\":{value}"));
            assert!(status == 400 && (code == "invalid_value" || code == "invalid_type"), "{field} {value}: {status} {code}");
        }
    }
    for field in ["\"n\":1000", "\"n\":0", "\"stream\":\"yes\"", "\"tools\":{}", "\"stream_options\":1"] {
        assert_eq!(with(field).0, 400, "{field}");
    }
    assert_eq!(with("\"max_tokens\":2147483647").0, 200);
    assert_eq!(with("\"max_tokens\":null").0, 200);
    assert_eq!(with("\"temperature\":1e400").0, 200, "not ours to read");
}

#[test]
fn row_42_bodies_that_are_none() {
    for (body, code) in [
        ("", "invalid_json"),
        ("null", "invalid_json"),
        ("[]", "invalid_json"),
        ("{", "invalid_json"),
        ("{} x", "invalid_json"),
        ("{}", "missing_model"),
        (r#"{"model":5,"messages":[{}]}"#, "invalid_model"),
        (r#"{"model":"m"}"#, "missing_messages"),
    ] {
        assert_eq!(chat(body), (400, code.into()), "{body}");
    }
}

#[test]
fn row_43_a_price_that_is_none_is_refused() {
    for price in ["{ input = -1.0, output = 1.0 }", "{ input = nan, output = 1.0 }", "{ input = inf, output = 1.0 }", "{ input = 1.0 }"] {
        let settings = format!(
            "[providers.p]\ndialect = \"openai\"\nbase_url = \"http://127.0.0.1:9\"\nkeys = []\n[models.m]\ntargets = [{{ provider = \"p\", model = \"up\", price = {price} }}]\n"
        );
        let checked = Process::with_settings("check", &settings, &[]).finish();
        assert_eq!(checked.code, Some(1), "{price}: {}", checked.stdout);
        assert!(checked.stderr.contains("models.m.targets[0].price"), "{}", checked.stderr);
    }
}

#[test]
fn row_44_no_field_or_header_picks_a_host() {
    let trap = Upstream::answering(answer("trapped"));
    let (upstream, app) = serving();
    let body = format!(
        r#"{{"model":"m","api_base":"{0}","base_url":"{0}","custom_llm_provider":"openai","messages":[{{"role":"user","content":"x"}}]}}"#,
        trap.url()
    );
    let headers = [("x-custom-host", &*trap.url()), ("x-stagedoor-base-url", &*trap.url()), ("x-portkey-custom-host", &*trap.url())]
        .map(|(n, v)| (n, v.to_owned()));
    let headers: Vec<(&str, &str)> = headers.iter().map(|(n, v)| (*n, v.as_str())).collect();
    assert_eq!(app.client().post("/v1/chat/completions", &headers, &body).content(), "hi");
    assert_eq!((trap.connections(), upstream.count()), (0, 1));
}

#[test]
fn row_46_a_path_that_leads_elsewhere_is_none() {
    let (upstream, app) = serving();
    for target in [
        "/v1/%2e%2e/v1/chat/completions",
        "/v1/../v1/chat/completions",
        "/v1/x/..%2fchat/completions",
        "//v1/chat/completions",
        "/v1//chat/completions",
        "/v1/chat/completions/",
        "/v1/chat/completions;x=1",
        "/v1/chat/completions%3bx",
        "/v1/chat/completions%00",
        "/v1/chat%2fcompletions",
        "/v1/chat%5ccompletions",
        "/v1/models/%2e%2e/%2e%2e/admin/reload",
        "/v1/models/..%2fchat%2fcompletions",
        "/v1/embeddings/../chat/completions",
        "/v1beta/models/%2e%2e/m:generateContent",
        "http://evil.example/v1/chat/completions",
        "http://169.254.169.254/v1/chat/completions",
        "https://127.0.0.1:1/v1/chat/completions",
    ] {
        let body = r#"{"model":"m","messages":[{"role":"user","content":"Hello"}],"contents":[{"parts":[{"text":"Hello"}]}]}"#;
        let head = format!(
            "POST {target} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        let reply = app.client().raw(format!("{head}{body}").as_bytes());
        assert_eq!((reply.status, upstream.count()), (404, 0), "{target}: {}", reply.text());
        assert!(reply.json()["error"]["message"].is_string(), "{target}");
    }
    assert_eq!((app.chat("m").status, upstream.count()), (200, 1));
}

#[test]
fn row_47_every_wrong_key_gets_the_same_answer_in_about_the_same_time() {
    let upstream = Upstream::answering(answer("hi"));
    let auth = format!("[auth]\nmode = \"keys\"\n[[auth.keys]]\nname = \"app\"\nkey = {{ value = \"{KEY}\" }}\n");
    let admin = "[admin]\nkey = { value = \"sk-admin-0123456789abcdef01234\" }\n";
    let app = alone(&provider_at("p", &upstream.url(), ""), &(auth + admin));
    let near = format!("Bearer {}x", &KEY[..KEY.len() - 1]);
    let wrong: Vec<Vec<(&str, &str)>> = vec![
        vec![],
        vec![("authorization", "")],
        vec![("authorization", "Bearer")],
        vec![("authorization", "Bearer ")],
        vec![("authorization", "Bearer null")],
        vec![("authorization", "Bearer ' OR '1'='1")],
        vec![("authorization", &near)],
        vec![("authorization", "Basic YTpi")],
        vec![("authorization", KEY)],
        vec![("authorization", "Bearer sk-1"), ("authorization", "Bearer sk-2")],
        vec![("x-api-key", KEY)],
    ];
    let mut bodies = Vec::new();
    let mut times = Vec::new();
    for headers in &wrong {
        for path in ["/v1/chat/completions", "/v1/nothing/here", "/admin/keys"] {
            let quickest = (0..5).map(|_| {
                let begun = Instant::now();
                let reply = app.client().post(path, headers, &chat_body("m"));
                assert_eq!((reply.status, reply.code().as_str()), (401, "invalid_api_key"), "{headers:?} {path}");
                bodies.push(reply.body);
                begun.elapsed()
            });
            times.push(quickest.min().unwrap());
        }
    }
    assert!(bodies.iter().all(|body| *body == bodies[0]), "one text for all");
    let spread = *times.iter().max().unwrap() - *times.iter().min().unwrap();
    assert!(spread < Duration::from_millis(20), "{spread:?}");
    assert_eq!(upstream.connections(), 0);
    let good = app.client().post("/v1/chat/completions", &[("authorization", &format!("bEARER {KEY}"))], &chat_body("m"));
    assert_eq!(good.content(), "hi");
}

#[test]
fn row_47_no_host_and_no_form_of_a_path_gets_past_the_key() {
    let upstream = Upstream::answering(answer("hi"));
    let auth = format!("[auth]\nmode = \"keys\"\n[[auth.keys]]\nname = \"app\"\nkey = {{ value = \"{KEY}\" }}\n");
    let app = alone(&provider_at("p", &upstream.url(), ""), &auth);
    let plain = app.client().get("/v1/models");
    assert_eq!(plain.status, 401);
    let own = app.address;
    for (line, host) in [
        ("GET /v1/models", "localhost"),
        ("GET /v1/models", "evil.example"),
        ("GET /v1/models", "localhost/health?"),
        ("GET http://localhost/v1/models", "localhost"),
        ("GET http://evil.example/v1/models", "localhost"),
        ("GET //v1/models", "localhost"),
        ("GET /health/../v1/models", "localhost"),
        ("GET /health/%2e%2e/v1/models", "localhost"),
        ("GET /health;/v1/models", "localhost"),
        ("GET /v1/models?path=/health", "localhost"),
        ("GET /v1/models/%2fhealth", "localhost"),
        ("OPTIONS /v1/models", "localhost"),
        ("GET /HEALTH", "localhost"),
    ] {
        let mut request = format!("{line} HTTP/1.1\r\nhost: {host}\r\nx-original-url: /health\r\nx-forwarded-host: {own}\r\n").into_bytes();
        request.extend_from_slice(b"authorization: Bearer \xff\xfe\r\nconnection: close\r\n\r\n");
        let reply = app.client().raw(&request);
        // What can't be a request at all never gets as far as the key.
        assert!(reply.status == 401 && reply.body == plain.body || reply.status == 400, "{line} {host}: {} {}", reply.status, reply.text());
    }
    assert_eq!(upstream.connections(), 0);
}

#[test]
fn row_49_what_a_terminal_would_obey_is_escaped_in_the_log() {
    let upstream = Upstream::answering(answer("hi"));
    let bodies = "[telemetry]\nlog_bodies = true\nlog_bodies_sample = 1.0\n";
    let settings =
        format!("{bodies}{}[models.\"m*\"]\ntargets = [{{ provider = \"p\", model = \"*\" }}]\n", provider_at("p", &upstream.url(), ""));
    let process = Process::serve(&settings, &[("STAGEDOOR_LOG", "debug")]);
    let odd = "m\\u001b[31mred\\u202eevil\\r\\nINJECTED level=error";
    for (body, headers) in [
        (chat_body(odd), vec![]),
        (chat_body("m1"), vec![("x-request-id", "a\u{1b}[31m")]),
        ("{\"model\":\"m1\",\"messages\":[{\"role\":\"user\",\"content\":\"\u{202e}\u{9b}31m\"}]}".to_owned(), vec![]),
        (format!(r#"{{"model":"{odd}","messages":1}}"#), vec![]),
    ] {
        process.client().post("/v1/chat/completions", &headers, &body);
    }
    let log =
        process.stderr.until("its lines", |log| ["model_not_found", "invalid_type", " bodies "].iter().all(|line| log.contains(line)));
    let bad: Vec<_> = log.lines().filter(|line| line.contains(['\u{1b}', '\u{202e}', '\r']) || line.starts_with("INJECTED")).collect();
    assert!(bad.is_empty(), "{bad:?}");
}

#[test]
fn row_49_an_upstreams_words_are_escaped_too_in_both_forms_of_the_log() {
    let body = r#"{"error":{"message":"so:\u001b[31m\u202e\u009b\r\nINJECTED","type":"x","code":"y\u202e"}}"#;
    let refusing = format!("HTTP/1.1 500 X\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    let upstream = Upstream::answering(refusing);
    for form in ["pretty", "json"] {
        let settings = format!(
            "[telemetry]\nlog = \"{form}\"\n{SHORT}{}[models.m]\ntargets = [{{ provider = \"p\", model = \"up\" }}]\n",
            provider_at("p", &upstream.url(), "")
        );
        let process = Process::serve(&settings, &[("STAGEDOOR_LOG", "debug")]);
        assert_eq!(process.client().post("/v1/chat/completions", &[], &chat_body("m")).status, 502);
        let log = process.stderr.until("its lines", |log| log.contains("all_targets_failed"));
        let obeyed = |line: &&str| line.contains(['\u{1b}', '\u{202e}', '\u{9b}', '\r']) || line.starts_with("INJECTED");
        assert_eq!(log.lines().filter(obeyed).collect::<Vec<_>>(), Vec::<&str>::new(), "{form}");
    }
}
