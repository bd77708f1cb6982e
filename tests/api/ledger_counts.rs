//! What the ledger says of streams whose upstream never told what they used: counted by the tables of the models' own tokenizers, of
//! what was really sent and received.

use std::io::{Read, Write};

use serde_json::{Value, json};
use tiktoken_rs::{CoreBPE, cl100k_base_singleton, o200k_base_singleton};

use super::ledger::rows;
use super::support::anthropic;
use super::support::continuing::{says, speak};
use super::support::faults::provider_at;
use super::support::{STREAM_HEAD, TestApp, Upstream, answer, chat_body, chat_bytes, chunk, read_until};

const PROSE: &str = "Breaking news travels fast, but understanding takes time. The committee met on Tuesday to discuss the proposal, which had \
                     been circulating since early March; several members expressed concern about the cost.\n\n";
const GERMAN: &str = "Die Gesellschaft für angewandte Datenwissenschaft veröffentlichte gestern einen ausführlichen Bericht über die \
                      Entwicklung künstlicher Intelligenz in mittelständischen Unternehmen. 昨天市议会讨论了改造旧剧院的方案。\n";
const CODE: &str = "fn narrow(&mut self, next: char) {\n    let (said, length) = (&self.said, self.held.len());\n    // 12345 67.89\n}\n";

/// Text in the pieces that a model would send it in, more or less.
fn pieces(text: &str) -> Vec<String> {
    text.split_inclusive([' ', '\n']).map(str::to_owned).collect()
}

/// Says this, and then nothing until the caller leaves.
fn silent_after(text: String) -> Upstream {
    Upstream::start(move |_, stream| {
        speak(stream, "first", &pieces(&text));
        let _ = stream.read(&mut [0; 16]);
        false
    })
}

fn app(upstream: &Upstream, model: &str) -> TestApp {
    TestApp::administered(&format!(
        "[store]\nledger = \"all\"\n{}[models.m]\ntargets = [{{ provider = \"p\", model = \"{model}\", price = {{ input = 1, output = 1 }} }}]\n",
        provider_at("p", &upstream.url(), "")
    ))
}

fn asking(prompt: &str) -> String {
    json!({"model": "m", "stream": true, "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": prompt}]})
        .to_string()
}

/// Asks, and leaves once it has read `last`; its row.
fn leave_after(app: &TestApp, body: &str, last: &str) -> Value {
    let mut caller = app.client().connect();
    caller.write_all(&chat_bytes(&[], body)).unwrap();
    read_until(&mut caller, last);
    drop(caller);
    app.until("its row is there", |app| rows(app, "").len() == 1);
    rows(app, "").remove(0)
}

fn near(what: &str, found: &Value, exact: u64) {
    let found = found.as_u64().unwrap();
    assert!(found.abs_diff(exact) * 50 <= exact, "{what}: {found} where {exact} is right");
}

#[test]
fn who_leaves_in_the_middle_is_counted_by_the_models_own_table() {
    let tables: [(&str, &CoreBPE); 3] =
        [("gpt-4o-mini", o200k_base_singleton()), ("gpt-4-turbo", cl100k_base_singleton()), ("nobody-knows", o200k_base_singleton())];
    for (model, table) in tables {
        for (text, times) in [(PROSE, 3), (GERMAN, 5), (CODE, 8)] {
            let (said, prompt) = (format!("{}The end", text.repeat(times)), text.repeat(4));
            let upstream = silent_after(said.clone());
            let app = app(&upstream, model);
            let row = leave_after(&app, &asking(&prompt), "end");
            let told = (row["status"].as_u64(), row["state"].as_str(), row["source"].as_str());
            assert_eq!(told, (Some(499), Some("partial"), Some("gateway")), "{row}");
            let count = |text: &str| table.count_ordinary(text) as u64;
            near("output", &row["tokens_out"], count(&said));
            // Three and a role for each message, three for the answer's beginning.
            near("prompt", &row["tokens_in"], 2 * 4 + 3 + count("Be brief.") + count(&prompt));
            // In whole nano-dollars at a dollar a million each.
            let nanos = (row["cost_usd"].as_f64().unwrap() * 1e9).round() as u64;
            assert_eq!(nanos, 1_000 * (row["tokens_in"].as_u64().unwrap() + row["tokens_out"].as_u64().unwrap()));
            for (kind, tokens) in [("input", "tokens_in"), ("output", "tokens_out")] {
                let metric = app.metric(&format!("stagedoor_tokens_total{{model=\"m\",kind=\"{kind}\"}}"));
                assert_eq!(row[tokens].as_f64(), Some(metric), "the metrics say the same");
            }
            assert!(row["latency_ms"].as_f64().unwrap() < 60_000.0);
        }
    }
}

#[test]
fn a_long_answer_is_counted_though_only_its_beginning_is_kept() {
    let said = format!("{}The end", PROSE.repeat(600));
    // In few events: a test reads more slowly than any client.
    let parts: Vec<String> = said.as_bytes().chunks(4_001).map(|part| String::from_utf8_lossy(part).into_owned()).collect();
    let upstream = Upstream::start(move |_, stream| {
        speak(stream, "first", &parts);
        let _ = stream.read(&mut [0; 16]);
        false
    });
    let row = leave_after(&app(&upstream, "gpt-4o"), &asking("Hello"), "The end");
    assert_eq!((row["status"].as_u64(), row["state"].as_str()), (Some(499), Some("partial")), "{row}");
    near("output", &row["tokens_out"], o200k_base_singleton().count_ordinary(&said) as u64);
}

#[test]
fn a_first_number_before_the_first_word_is_not_taken_for_all() {
    let said = format!("{}The end", PROSE.repeat(4));
    let text = said.clone();
    let upstream = Upstream::start(move |_, stream| {
        let mut out = format!("{STREAM_HEAD}{}", chunk(&anthropic::opening()));
        pieces(&text).iter().for_each(|word| out += &chunk(&anthropic::word(word)));
        let _ = stream.write_all(out.as_bytes());
        let _ = stream.read(&mut [0; 16]);
        false
    });
    let app = TestApp::administered(&format!(
        "[store]\nledger = \"all\"\n{}[models.m]\ntargets = [{{ provider = \"a\", model = \"claude\" }}]\n",
        anthropic::provider("a", &upstream, "")
    ));
    let body = r#"{"model":"m","stream":true,"max_tokens":500,"messages":[{"role":"user","content":"Hello"}]}"#;
    let mut caller = app.client().connect();
    let head = format!(
        "POST /v1/messages HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    caller.write_all(format!("{head}{body}").as_bytes()).unwrap();
    read_until(&mut caller, "end");
    drop(caller);
    app.until("its row is there", |app| rows(app, "").len() == 1);
    let row = rows(&app, "").remove(0);
    // The prompt as Anthropic told it.
    assert_eq!((row["tokens_in"].as_u64(), row["state"].as_str()), (Some(7), Some("partial")), "{row}");
    near("output", &row["tokens_out"], o200k_base_singleton().count_ordinary(&said) as u64);
}

#[test]
fn an_upstream_that_never_tells_is_counted_too() {
    // Built by the first of them, so that nobody waits for it.
    let whole = |text: &str| {
        let body = json!({"id": "x", "object": "chat.completion", "created": 1, "model": "up", "choices": [
            {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}]});
        super::support::plain(&body.to_string())
    };
    let said = PROSE.repeat(3);
    let bytes = whole(&said);
    let upstream = Upstream::answering(bytes);
    let app = app(&upstream, "gpt-4o");
    let _ = o200k_base_singleton();
    app.until("a row is counted by the table", |app| {
        assert_eq!(app.client().post("/v1/chat/completions", &[], &chat_body("m")).status, 200);
        let row = rows(app, "?limit=1").remove(0);
        assert_eq!((row["state"].as_str(), row["source"].as_str()), (Some("estimated"), Some("gateway")));
        row["tokens_out"].as_u64() == Some(o200k_base_singleton().count_ordinary(&said) as u64)
    });
    let told = Upstream::answering(answer("hi"));
    let app = self::app(&told, "gpt-4o");
    app.chat("m");
    assert_eq!(rows(&app, "").remove(0)["state"], "exact", "what is told is not counted");
}

#[test]
fn a_leg_that_broke_is_counted_as_well_by_its_models_own_table() {
    let (first, rest) = (PROSE.repeat(4), GERMAN.repeat(3));
    let half = first.clone();
    let dying = Upstream::start(move |_, stream| {
        speak(stream, "first", &pieces(&half));
        super::support::faults::reset(stream);
        false
    });
    let said = rest.clone();
    let going_on = Upstream::start(move |_, stream| {
        speak(stream, "second", &pieces(&said));
        let _ = stream.write_all(chunk(&says("second", json!({}), Some("stop"))).as_bytes());
        let _ = stream.write_all(format!("{}0\r\n\r\n", chunk("data: [DONE]\n\n")).as_bytes());
        false
    });
    let (dies, lives) = (provider_at("dies", &dying.url(), ""), provider_at("lives", &going_on.url(), "continuation = \"prefill\"\n"));
    let price = "price = { input = 1, output = 1 }";
    let app = TestApp::administered(&format!(
        "[store]\nledger = \"all\"\n{dies}{lives}[models.m]\nstrategy = \"ordered\"\ntargets = [{{ provider = \"dies\", model = \"gpt-4o\", {price} }}, \
         {{ provider = \"lives\", model = \"gpt-4o-mini\", {price} }}]\n"
    ));
    // The table is built by whoever needs it first; nobody who reads a stream waits for that.
    let prompt = CODE.repeat(6);
    let mut recovered = 0;
    app.until("a row is counted by the table", |app| {
        let reply = app.client().post("/v1/chat/completions", &[], &asking(&prompt));
        assert!(reply.text().ends_with("data: [DONE]\n\n"), "{}", reply.text());
        recovered += 1;
        app.until("its row is there", |app| rows(app, "?limit=100").len() == recovered);
        let row = rows(app, "?limit=1").remove(0);
        let count = |text: &str| o200k_base_singleton().count_ordinary(text) as u64;
        let (asked, answered) = (2 * 4 + 3 + count("Be brief.") + count(&prompt), count(&first) + count(&rest));
        let of = |name: &str| row[name].as_u64().unwrap();
        let is = |found: u64, exact: u64| found.abs_diff(exact) * 50 <= exact;
        println!("output {} of {answered}; prompts {}, of which the first {asked}", of("tokens_out"), of("tokens_in"));
        assert_eq!((row["recovered"].as_bool(), row["source"].as_str()), (Some(true), Some("gateway")), "{row}");
        let nanos = (row["cost_usd"].as_f64().unwrap() * 1e9).round() as u64;
        assert_eq!(nanos, 1_000 * (of("tokens_in") + of("tokens_out")), "both legs cost what they used");
        is(of("tokens_out"), answered) && of("tokens_in") > 2 * asked
    });
}
