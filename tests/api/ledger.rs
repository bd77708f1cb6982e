//! The ledger: a row per request that was let in, with its calls, whatever its end; what was used, by whom and for what.

use serde_json::Value;

use super::support::continuing::{Death, dying, mortal, onward, speak, text, words};
use super::support::faults::{healthy, provider_at};
use super::support::{ADMIN, Process, Reply, TestApp, Upstream, answer, chat_body, chat_bytes, plain, read_until, status, stream_body};

const STORE: &str = "[store]\nledger = \"all\"\n[retry]\nbackoff = \"0ms\"\nsame_target = 0\n";

/// One model at two providers, the first of which is `p`.
fn settings(p: &Upstream, spare: &Upstream) -> String {
    format!(
        "{STORE}{}{}[models.m]\nstrategy = \"ordered\"\ntargets = [{{ provider = \"p\", model = \"up\" }}]\nfailover = [\"n\"]\n\
         [models.n]\ntargets = [{{ provider = \"s\", model = \"down\" }}]\n",
        provider_at("p", &p.url(), ""),
        provider_at("s", &spare.url(), "continuation = \"prefill\"")
    )
}

pub fn get(app: &TestApp, path: &str) -> Reply {
    let client = super::support::Client::new(app.admin_address.unwrap_or(app.address));
    client.call("GET", path, &[("authorization", ADMIN)], "")
}

pub fn rows(app: &TestApp, query: &str) -> Vec<Value> {
    let reply = get(app, &format!("/admin/requests{query}"));
    assert_eq!(reply.status, 200, "{}", reply.text());
    reply.json()["data"].as_array().unwrap().clone()
}

#[test]
fn a_request_served_by_its_first_is_one_row() {
    let body = r#"{"choices":[{"index":0,"message":{"role":"assistant","content":"hi"},"finish_reason":"stop"}],
        "usage":{"prompt_tokens":9,"completion_tokens":8,"prompt_tokens_details":{"cached_tokens":7},"completion_tokens_details":{"reasoning_tokens":6}}}"#;
    let (p, spare) = (Upstream::answering(plain(body)), healthy());
    let app = TestApp::administered(&settings(&p, &spare));
    let headers = [("x-stagedoor-tags", "team=b, team=a,team=b")];
    let reply = app.client().post("/v1/chat/completions", &headers, &chat_body("m"));
    let rows = rows(&app, "");
    assert_eq!(rows.len(), 1);
    let row = &rows[0];
    assert_eq!((row["id"].as_str(), row["request_id"].as_str()), (reply.header("x-request-id"), reply.header("x-request-id")));
    for (name, expected) in [
        ("model", "\"m\""),
        ("provider", "\"p\""),
        ("provider_model", "\"up\""),
        ("key", "null"),
        ("status", "200"),
        ("error", "null"),
        ("stream", "false"),
        ("tokens_in", "9"),
        ("tokens_out", "8"),
        ("tokens_cached", "7"),
        ("tokens_reasoning", "6"),
        ("state", "\"exact\""),
        ("source", "\"upstream\""),
        ("recovered", "false"),
        ("tags", "[\"team=a\",\"team=b\"]"),
    ] {
        assert_eq!(row[name].to_string(), expected, "{name}");
    }
    let attempts = row["attempts"].as_array().unwrap();
    assert_eq!((attempts.len(), attempts[0]["provider"].as_str(), attempts[0]["outcome"].as_str()), (1, Some("p"), Some("ok")));
    assert_eq!(app.metric("stagedoor_ledger_lost_total"), 0.0);
    app.until("nothing waits", |app| app.metric("stagedoor_ledger_queue") == 0.0);
}

#[test]
fn what_is_refused_gets_no_row() {
    let (p, spare) = (Upstream::answering(answer("hi")), healthy());
    let app = TestApp::administered(&settings(&p, &spare));
    for body in ["{", "{\"model\":\"nobody\",\"messages\":[]}"] {
        assert!(app.client().post("/v1/chat/completions", &[], body).status >= 400);
    }
    let long = format!("a={}", "b".repeat(65));
    for bad in ["a", "a=b,c", "a=b c", long.as_str(), "a=1,b=1,c=1,d=1,e=1,f=1,g=1,h=1,i=1,j=1,k=1"] {
        let reply = app.client().post("/v1/chat/completions", &[("x-stagedoor-tags", bad)], &chat_body("m"));
        assert_eq!((reply.status, reply.code().as_str()), (400, "invalid_value"), "{bad}");
    }
    assert!(rows(&app, "").is_empty());
}

#[test]
fn a_callers_own_id_may_come_twice() {
    let (p, spare) = (Upstream::answering(answer("hi")), healthy());
    let app = TestApp::administered(&settings(&p, &spare));
    for _ in 0..2 {
        app.client().post("/v1/chat/completions", &[("x-request-id", "mine")], &chat_body("m"));
    }
    let rows = rows(&app, "");
    assert_eq!(rows.iter().map(|row| row["request_id"].as_str().unwrap()).collect::<Vec<_>>(), ["mine", "mine"]);
    assert_ne!(rows[0]["id"], rows[1]["id"]);
}

#[test]
fn a_failover_tells_of_each_call_and_a_failure_of_all() {
    let (down, spare) = (Upstream::answering(status(500, "", "")), healthy());
    let app = TestApp::administered(&settings(&down, &spare));
    app.chat("m");
    let row = rows(&app, "").remove(0);
    assert_eq!((row["provider"].as_str(), row["provider_model"].as_str()), (Some("s"), Some("down")));
    let told = |row: &Value| -> Vec<String> {
        let attempts = row["attempts"].as_array().unwrap().iter();
        attempts.map(|a| format!("{} {} {} {} {}", a["order"], a["provider"], a["outcome"], a["kind"], a["status"])).collect()
    };
    assert_eq!(told(&row), [r#"1 "p" "transient" "status_500" 500"#, r#"2 "s" "ok" null 200"#]);
    let other = Upstream::answering(status(503, "", ""));
    let both_down = TestApp::administered(&settings(&down, &other));
    both_down.chat("m");
    let row = rows(&both_down, "").remove(0);
    assert_eq!((row["status"].as_u64(), row["provider"].is_null(), row["cost_usd"].as_f64()), (Some(502), true, Some(0.0)));
    assert_eq!((told(&row).len(), row["state"].is_null(), row["error"].as_str()), (2, true, Some("all_targets_failed")));
}

#[test]
fn usage_is_told_by_each_kind_and_adds_up() {
    let (p, spare) = (Upstream::answering(answer("hi")), healthy());
    let app = TestApp::administered(&settings(&p, &spare));
    for tags in ["team=a", "team=a,feature=x", "team=b"] {
        app.client().post("/v1/chat/completions", &[("x-stagedoor-tags", tags)], &chat_body("m"));
    }
    app.chat("n");
    let usage = |query: &str| get(&app, &format!("/admin/usage{query}")).json();
    let by_model = usage("");
    let named = |usage: &Value, kind: &str| -> Vec<(String, u64)> {
        let lines = usage["data"].as_array().unwrap().iter();
        lines.map(|line| (line[kind].as_str().unwrap_or("null").to_owned(), line["requests"].as_u64().unwrap())).collect()
    };
    assert_eq!(named(&by_model, "model"), [("m".to_owned(), 3), ("n".to_owned(), 1)]);
    assert_eq!(by_model["total"]["requests"], 4);
    assert_eq!(named(&usage("?by=provider&since=1h"), "provider"), [("p".to_owned(), 3), ("s".to_owned(), 1)]);
    assert_eq!(named(&usage("?by=key"), "key"), [("null".to_owned(), 4)]);
    let tags = usage("?by=tag");
    assert_eq!(named(&tags, "tag"), [("team=a".to_owned(), 2), ("feature=x".to_owned(), 1), ("team=b".to_owned(), 1)]);
    assert_eq!(tags["total"]["requests"], 4, "one with two tags is one");
    assert_eq!(usage("?by=day")["data"].as_array().unwrap().len(), 1);
    assert_eq!(usage("?since=2999-01-01")["total"]["requests"], 0);
    assert_eq!(usage("?until=2000-01-01&since=1999-01-01")["total"]["requests"], 0);
    for bad in ["?by=x", "?since=yesterday", "?sine=7d"] {
        assert_eq!(get(&app, &format!("/admin/usage{bad}")).status, 400, "{bad}");
    }
    assert_eq!(app.client().get("/admin/usage").status, 401);
}

#[test]
fn pages_go_back_in_time_without_gap() {
    let (p, spare) = (Upstream::answering(answer("hi")), healthy());
    let app = TestApp::administered(&settings(&p, &spare));
    for _ in 0..5 {
        app.chat("m");
    }
    app.chat("n");
    let all: Vec<Value> = rows(&app, "").iter().map(|row| row["id"].clone()).collect();
    assert_eq!(all.len(), 6);
    let mut seen = Vec::new();
    let mut next = String::new();
    loop {
        let page = get(&app, &format!("/admin/requests?limit=4{next}")).json();
        seen.extend(page["data"].as_array().unwrap().iter().map(|row| row["id"].clone()));
        match page["next"].as_str() {
            Some(id) => next = format!("&before={id}"),
            None => break,
        }
    }
    assert_eq!(seen, all);
    assert_eq!(rows(&app, "?model=n").len(), 1);
    assert_eq!((rows(&app, "?provider=p").len(), rows(&app, "?status=200").len(), rows(&app, "?key=x&status=404").len()), (5, 6, 0));
    assert_eq!(get(&app, "/admin/requests?limit=0").status, 400);
    assert_eq!(get(&app, "/admin/usage?by=model&by=key").json()["error"]["param"], "query");
    for path in ["/admin/requests?before=yesterday", "/admin/requests?before=7", "/admin/transitions?before=x"] {
        assert_eq!(get(&app, path).json()["error"]["param"], "before", "no page rather than another: {path}");
    }
}

#[test]
fn a_stream_that_another_target_went_on_with_counts_both_legs() {
    let (first, second) = (mortal(), onward("prefill"));
    let app = TestApp::administered(&settings(&first, &second));
    let reply = app.client().post("/v1/chat/completions", &[], &dying("m", Death::Fin, 30));
    assert_eq!(reply.words(), text());
    let row = rows(&app, "").remove(0);
    assert_eq!((row["recovered"].as_bool(), row["status"].as_u64(), row["stream"].as_bool()), (Some(true), Some(200), Some(true)));
    let attempts = row["attempts"].as_array().unwrap();
    let outcomes: Vec<_> = attempts.iter().map(|attempt| attempt["outcome"].as_str().unwrap()).collect();
    assert_eq!((outcomes, row["source"].as_str()), (vec!["transient", "ok"], Some("both")));
    assert_eq!(row["tokens_out"].as_f64().unwrap(), app.metric("stagedoor_tokens_total{model=\"m\",kind=\"output\"}"));
}

#[test]
fn a_ledger_of_keyed_requests_has_no_others_and_one_that_is_off_none() {
    let (p, spare) = (Upstream::answering(answer("hi")), healthy());
    for ledger in ["keyed", "off"] {
        let app = TestApp::administered(&settings(&p, &spare).replace("\"all\"", &format!("\"{ledger}\"")));
        app.chat("m");
        assert!(rows(&app, "").is_empty(), "{ledger}");
    }
}

#[test]
fn a_caller_who_leaves_in_the_middle_has_a_partial_row() {
    let endless = Upstream::start(|_, stream| {
        speak(stream, "first", &words());
        let _ = std::io::Read::read(stream, &mut [0; 16]);
        false
    });
    let spare = healthy();
    let app = TestApp::administered(&settings(&endless, &spare));
    let mut caller = app.client().connect();
    std::io::Write::write_all(&mut caller, &chat_bytes(&[], &stream_body("m"))).unwrap();
    read_until(&mut caller, "\u{1f3ad}59");
    drop(caller);
    app.until("its row is there", |app| rows(app, "").len() == 1);
    let row = rows(&app, "").remove(0);
    assert_eq!((row["status"].as_u64(), row["state"].as_str(), row["source"].as_str()), (Some(499), Some("partial"), Some("gateway")));
    assert_eq!(row["tokens_out"].as_f64().unwrap(), app.metric("stagedoor_tokens_total{model=\"m\",kind=\"output\"}"));
    assert_eq!(row["attempts"][0]["outcome"], "abandoned");
    assert_eq!(get(&app, "/admin/usage").json()["total"]["errors"], 0, "nothing failed");
}

/// Bytes of all files in a folder.
fn files(folder: &std::path::Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => bytes.extend(files(&path)),
            false if path.file_name().is_some_and(|name| name == "settings.toml") => {}
            false => bytes.extend(std::fs::read(&path).unwrap()),
        }
    }
    bytes
}

#[test]
fn fifty_planted_secrets_are_found_nowhere() {
    let canary = |number: usize| format!("canary{number:02}xyzzyplughfrotz");
    let (good, bad) = (Upstream::answering(answer("hi")), Upstream::answering(status(401, &canary(1), "")));
    let text = format!(
        "[telemetry]\nlog = \"json\"\n[admin]\nkey = {{ env = \"ADMIN\" }}\n[[auth.keys]]\nname = \"app\"\nkey = {{ env = \"APP\" }}\n[store]\nurl = \"sqlite://data/s.db\"\n\
         [providers.p]\ndialect = \"openai\"\nbase_url = \"{}\"\nkeys = [{{ env = \"UP\" }}]\nheaders = {{ \"x-hidden\" = \"{}\" }}\n\
         [providers.q]\ndialect = \"openai\"\nbase_url = \"{}\"\nkeys = [{{ env = \"UQ\" }}]\n\
         [models.m]\ntargets = [{{ provider = \"q\", model = \"up\" }}]\nfailover = [\"n\"]\n[models.n]\ntargets = [{{ provider = \"p\", model = \"up\" }}]\n",
        good.url(),
        canary(2),
        bad.url()
    );
    let (admin, app, up, uq) = (canary(3), canary(4), canary(5), canary(6));
    let env = [("ADMIN", admin.as_str()), ("APP", &app), ("UP", &up), ("UQ", &uq), ("STAGEDOOR_LOG", "trace")];
    let process = Process::serve(&text, &env);
    let client = process.client();
    let mut seen = String::new();
    let made = client.call("POST", "/admin/keys", &[("authorization", &format!("Bearer {admin}"))], "{\"name\":\"team\"}");
    let issued = made.json()["key"].as_str().unwrap().to_owned();
    let keys = [app.clone(), issued.clone(), canary(7), format!("{}x", &issued[..54])];
    let mut number = 10;
    for key in &keys {
        for body in ["\"stream\":true,", "", "\"model\":1,", "\"n\":\"x\","] {
            let prompt = canary(number);
            number += 1;
            let body = format!(
                "{{{body}\"model\":\"m\",\"user\":\"{}\",\"messages\":[{{\"role\":\"user\",\"content\":\"{prompt}\"}}]}}",
                canary(number + 20)
            );
            let headers = [("authorization", format!("Bearer {key}")), ("cookie", canary(8)), ("x-api-key", canary(9))];
            let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
            let reply = client.post("/v1/chat/completions", &headers, &body);
            seen += &reply.text();
            seen += &format!("{:?}", reply.header("x-stagedoor-route"));
        }
    }
    for path in
        ["/health", "/metrics", "/admin/keys", "/admin/usage?by=key", "/admin/requests", "/v1/models", "/openapi.json", "/admin/nothing"]
    {
        seen += &client.call("GET", path, &[("authorization", &format!("Bearer {admin}"))], "").text();
    }
    assert!(seen.contains("team") && seen.contains("\"tokens_in\""), "{seen}");
    process.signal("TERM");
    let folder = process.folder().to_owned();
    process.until_ended();
    let all = [seen.into_bytes(), process.stdout.text().into_bytes(), process.stderr.text().into_bytes(), files(&folder)].concat();
    for number in 1..=50 {
        let canary = canary(number);
        assert!(memchr::memmem::find(&all, canary.as_bytes()).is_none(), "{canary} is somewhere");
    }
    assert!(memchr::memmem::find(&all, &issued.as_bytes()[..20]).is_none(), "the key is somewhere");
    assert!(memchr::memmem::find(&all, b"team").is_some());
}
