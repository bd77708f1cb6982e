//! What requests cost: by the price table or the settings, per call, once per token; unknown is unknown.

use serde_json::{Value, json};

use super::support::continuing::{Death, dying, mortal, onward};
use super::support::{Reply, STREAM_HEAD, TestApp, Upstream, chunk, event, plain, stream_body};

/// A chat answer with a `usage` object.
fn using(usage: &str) -> Vec<u8> {
    plain(&format!(
        r#"{{"id":"c","choices":[{{"index":0,"message":{{"role":"assistant","content":"hi"}},"finish_reason":"stop"}}],"usage": {usage}}}"#
    ))
}

const USAGE: &str = r#"{"prompt_tokens":1000,"completion_tokens":100,"total_tokens":1100,"prompt_tokens_details":{"cached_tokens":400},"completion_tokens_details":{"reasoning_tokens":60}}"#;

/// The model `m` at one target of the provider `p`, and what more the settings say.
fn at(upstream: &Upstream, target: &str, more: &str) -> TestApp {
    let provider = upstream.provider("p");
    TestApp::start(&format!("{provider}{more}\n[models.m]\ntargets = [{{ provider = \"p\", model = \"up\"{target} }}]\n"))
}

const PRICE: &str = ", price = { input = 2.5, cached = 1.25, output = 10, reasoning = 12 }";

fn cost(reply: &Reply) -> Option<&str> {
    reply.header("x-stagedoor-cost")
}

fn spent(app: &TestApp) -> f64 {
    app.metric("stagedoor_cost_usd_total{model=\"m\"}")
}

#[test]
fn every_class_is_billed_once() {
    let upstream = Upstream::answering(using(USAGE));
    let app = at(&upstream, PRICE, "");
    assert_eq!(app.metric("stagedoor_cost_usd_total{model=\"m\"}"), 0.0);
    assert!(app.client().get("/metrics").text().contains("stagedoor_cost_usd_total{model=\"m\"} 0"), "it is there from the start");
    let reply = app.chat("m");
    // 600 × 2.5 + 400 × 1.25 + 40 × 10 + 60 × 12 dollars a million.
    assert_eq!(cost(&reply), Some("0.00312"));
    assert_eq!(reply.json()["usage"]["cost"], Value::Null);
    assert!((spent(&app) - 0.003_12).abs() < 1e-12);
}

#[test]
fn an_unknown_price_is_unknown() {
    let upstream = Upstream::answering(using(USAGE));
    let app = at(&upstream, "", "[telemetry]\ncost_in_usage = true\n");
    let reply = app.chat("m");
    assert_eq!((reply.status, cost(&reply), reply.json()["usage"]["cost"].clone()), (200, None, Value::Null));
    assert_eq!((spent(&app), app.client().get("/v1/models/m").json()["pricing"].clone()), (0.0, Value::Null));
}

#[test]
fn the_settings_say_where_it_is_told() {
    let upstream = Upstream::answering(using(USAGE));
    let app = at(&upstream, PRICE, "[telemetry]\ncost_header = false\ncost_in_usage = true\n");
    let reply = app.chat("m");
    assert_eq!((cost(&reply), reply.json()["usage"]["cost"].clone()), (None, json!(0.003_12)));
    let answer = String::from_utf8(using(USAGE)).unwrap();
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    assert_eq!(reply.text(), body.replacen("}}}", "},\"cost\":0.00312}}", 1), "the rest is byte for byte");
    let model = app.client().get("/v1/models/m").json();
    assert_eq!(model["pricing"], json!({"input": 2.5, "cached": 1.25, "output": 10.0, "reasoning": 12.0}));
}

#[test]
fn a_streams_usage_says_its_cost_where_asked() {
    let upstream = Upstream::start(|_, stream| {
        use std::io::Write;
        let end = format!(
            "{}data: {{\"choices\":[],\"usage\":{USAGE}}}\n\ndata: [DONE]\n\n",
            super::support::STREAM_END.replace("data: [DONE]\n\n", "")
        );
        stream.write_all(format!("{STREAM_HEAD}{}{}0\r\n\r\n", chunk(&event("hi")), chunk(&end)).as_bytes()).is_ok()
    });
    let app = at(&upstream, PRICE, "[telemetry]\ncost_in_usage = true\n");
    let asking = stream_body("m").replacen('{', r#"{"stream_options":{"include_usage":true},"#, 1);
    let reply = app.client().post("/v1/chat/completions", &[], &asking);
    let usage =
        reply.events().into_iter().filter_map(|data| serde_json::from_str::<Value>(&data).ok()).find(|event| event["usage"].is_object());
    assert_eq!(usage.map(|event| event["usage"]["cost"].clone()), Some(json!(0.003_12)), "{}", reply.text());
    assert_eq!((reply.terminals(), cost(&reply)), (1, None), "a stream's head goes out before it is known");
    let hidden = app.stream("m");
    assert!(!hidden.text().contains("usage"), "{}", hidden.text());
    assert!((spent(&app) - 2.0 * 0.003_12).abs() < 1e-12);
}

#[test]
fn a_vendors_price_is_the_tables() {
    let upstream =
        Upstream::answering(using(r#"{"prompt_tokens":1000,"completion_tokens":100,"prompt_tokens_details":{"cached_tokens":400}}"#));
    let text = format!(
        "{}[models.m]\ntargets = [{{ provider = \"openai\", model = \"gpt-4o\" }}]\n[models.\"all/*\"]\ntargets = [{{ provider = \"openai\", model = \"*\" }}]\n",
        upstream.provider("openai")
    );
    let app = TestApp::start(&text);
    assert_eq!(cost(&app.chat("m")), Some("0.003"));
    assert_eq!(app.client().get("/v1/models/m").json()["pricing"]["output"], json!(10.0));
    assert_eq!(cost(&app.chat("all/gpt-4o-mini")), Some("0.00018"), "what a wildcard stands for has its own price");
    assert_eq!(cost(&app.chat("all/nobody-knows")), None);
}

#[test]
fn a_newer_table_is_used_where_it_lies() {
    let table = |price: &str| {
        format!(
            r#"[{{"id":"openai","name":"OpenAI","api_pattern":"https://api\\.openai\\.com","models":[{{"id":"new-1","match":{{"equals":"new-1"}},"prices":{{"input_mtok":{price},"output_mtok":8}}}}]}}]"#
        )
    };
    let upstream = Upstream::answering(using(r#"{"prompt_tokens":1000,"completion_tokens":0}"#));
    let text = format!("{}[models.m]\ntargets = [{{ provider = \"openai\", model = \"new-1\" }}]\n", upstream.provider("openai"));
    let app = TestApp::administered(&text);
    assert_eq!(cost(&app.chat("m")), None);
    app.write("settings/prices.json", &table("4"));
    app.until("the file is read", |app| cost(&app.chat("m")) == Some("0.004"));
    app.write("settings/prices.json", "{}");
    let reply = app.reload(&text);
    assert_eq!(reply.status, 422, "{}", reply.text());
    assert!(reply.text().contains("prices.json") && reply.text().contains("no price table"), "{}", reply.text());
    assert_eq!(cost(&app.chat("m")), Some("0.004"), "a bad table changes nothing");
}

#[test]
fn the_command_line_puts_a_table_in_place() {
    let folder = tempfile::tempdir().unwrap();
    let update = |text: &str| {
        std::fs::write(folder.path().join("new.json"), text).unwrap();
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_stagedoor"));
        // Every command takes --settings.
        let done =
            command.args(["prices", "update", "new.json", "--settings", "s.toml"]).env_clear().current_dir(folder.path()).output().unwrap();
        (done.status.code(), format!("{}{}", String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr)))
    };
    let (code, said) = update("[]");
    assert!(code == Some(3) && said.contains("no price table"), "{said}");
    assert!(!folder.path().join("settings").exists());
    let good = r#"[{"id":"openai","name":"OpenAI","api_pattern":"x","models":[{"id":"new-1","match":{"equals":"new-1"},"prices":{"input_mtok":1,"output_mtok":8}}]}]"#;
    let (code, said) = update(good);
    assert!(code == Some(0) && said.contains("1 models of 1 vendors"), "{said}");
    assert_eq!(std::fs::read_to_string(folder.path().join("settings/prices.json")).unwrap(), good);
}

#[test]
fn a_recovered_stream_costs_both_legs_each_by_its_own_price() {
    let (p, spare) = (mortal(), onward("prefill"));
    let app = TestApp::start(&format!(
        "{}{}continuation = \"prefill\"\n[telemetry]\ncost_in_usage = true\n[models.m]\nstrategy = \"ordered\"\ntargets = [\
         {{ provider = \"p\", model = \"up\", price = {{ input = 1000, output = 0 }} }},\
         {{ provider = \"s\", model = \"second\", price = {{ input = 0, output = 1000000 }} }}]\n",
        p.provider("p"),
        spare.provider("s")
    ));
    let asking = dying("m", Death::Fin, 30).replacen('{', r#"{"stream_options":{"include_usage":true},"#, 1);
    let reply = app.client().post("/v1/chat/completions", &[], &asking);
    let usages: Vec<Value> = reply
        .events()
        .into_iter()
        .filter_map(|data| serde_json::from_str::<Value>(&data).ok()?.get("usage").cloned())
        .filter(Value::is_object)
        .collect();
    let usage = &usages[0];
    let total = usage["cost"].as_f64().unwrap();
    // The first leg's prompt is an estimate at $0.001 a token; the second's answer is what it says, at a dollar.
    let second = total.floor();
    assert!(second >= 20.0 && second < usage["completion_tokens"].as_f64().unwrap(), "{usage}");
    let first = total - second;
    assert!(first > 0.0 && first < 0.1 && (spent(&app) - total).abs() < 1e-9, "{usage} {}", spent(&app));
}
