//! Streams that break after their first words, to callers of each dialect: another target of whichever dialect goes on, and the
//! caller has one answer of sixty words, well formed as its own SDK reads it.

use std::io::Write;

use serde_json::{Value, json};

use super::gemini_callers::answers;
use super::support::continuing::{Death, mortal, onward, text};
use super::support::faults::settled;
use super::support::{Reply, STREAM_HEAD, TestApp, Upstream, anthropic, chunk, gemini};

const PATIENT: &str =
    "[retry]\nsame_target = 0\n[breaker]\nconsecutive_failures = 100000\nfailure_ratio = 1.0\nminimum_requests = 100000\n";

/// The events of a stream of Anthropic's, each as its name says.
pub(super) fn events(reply: &Reply) -> Vec<Value> {
    let text = reply.text();
    let event = |event: &str| {
        let (name, data) = event.strip_prefix("event: ").unwrap_or_else(|| panic!("{event}")).split_once("\ndata: ").unwrap();
        let data: Value = serde_json::from_str(data).unwrap();
        assert_eq!(data["type"], name);
        data
    };
    text.split("\n\n").filter(|event| !event.is_empty()).map(event).collect()
}

/// Reads a message as Anthropic's SDKs do: its blocks, its stop reason and its tokens; what they would break on fails.
pub(super) fn message(events: &[Value]) -> (Vec<Value>, Value, Value) {
    assert_eq!(events.first().unwrap()["type"], "message_start");
    assert_eq!(events.last().unwrap()["type"], "message_stop");
    let (mut blocks, mut open, mut end) = (Vec::<Value>::new(), false, Value::Null);
    for event in &events[1..events.len() - 1] {
        let index = event["index"].as_u64().map(|index| index as usize);
        match event["type"].as_str().unwrap() {
            "ping" => {}
            "content_block_start" => {
                assert!(!open && end.is_null() && index == Some(blocks.len()), "{event}");
                blocks.push(event["content_block"].clone());
                open = true;
            }
            "content_block_delta" => {
                assert!(open && index == Some(blocks.len() - 1), "{event}");
                let (block, delta) = (blocks.last_mut().unwrap(), &event["delta"]);
                let (field, more) = match delta["type"].as_str().unwrap() {
                    "text_delta" => ("text", &delta["text"]),
                    "input_json_delta" => ("json", &delta["partial_json"]),
                    other => panic!("{other}"),
                };
                assert_eq!(block["type"] == "text", field == "text", "{event}");
                block[field] = (block[field].as_str().unwrap_or_default().to_owned() + more.as_str().unwrap()).into();
            }
            "content_block_stop" => {
                assert!(std::mem::replace(&mut open, false) && index == Some(blocks.len() - 1), "{event}");
            }
            "message_delta" => {
                assert!(!open && end.is_null(), "{event}");
                end = event.clone();
            }
            other => panic!("{other}: {event}"),
        }
    }
    assert!(!end.is_null());
    (blocks, end["delta"]["stop_reason"].clone(), end["usage"].clone())
}

fn chain(name: &str, first: (&str, &str), second: (&str, &str)) -> String {
    let row = |(provider, model): (&str, &str)| format!("{{ provider = \"{provider}\", model = \"{model}\" }}");
    format!("[models.{name}]\nstrategy = \"ordered\"\ntargets = [{}, {}]\n", row(first), row(second))
}

/// Every dialect's target that dies, and every dialect's that goes on.
struct House {
    app: TestApp,
    chains: Vec<(String, String)>,
    _upstreams: Vec<Upstream>,
}

impl House {
    fn new() -> Self {
        let quick = "timeouts = { idle = \"250ms\", first_token = \"2s\" }\n";
        let (o, a, g) = (mortal(), anthropic::mortal(), gemini::mortal());
        let (op, os, ap, gp) = (onward("prefix"), onward("splice"), anthropic::onward(), gemini::onward());
        let providers = [
            o.provider("o") + quick,
            anthropic::provider("a", &a, quick),
            gemini::provider(&g, quick),
            op.provider("op") + "continuation = \"prefix\"\n",
            os.provider("os") + "continuation = \"splice\"\n",
            anthropic::provider("ap", &ap, ""),
            gemini::provider(&gp, "continuation = \"prefill\"").replace("providers.g", "providers.gp"),
        ];
        let firsts = [("o", "gpt-4o"), ("a", "claude-haiku-4-5"), ("g", "gemini-3.8-flash")];
        let seconds =
            [("op", "deepseek"), ("os", "gpt-4o"), ("ap", "claude-haiku-4-5"), ("ap", "claude-opus-4-6"), ("gp", "gemini-3.5-flash")];
        let pairs = firsts.iter().flat_map(|first| seconds.map(|second| (*first, second)));
        let named: Vec<_> = pairs.enumerate().map(|(number, pair)| (format!("m{number}"), pair)).collect();
        let models: String = named.iter().map(|(name, (first, second))| chain(name, *first, *second)).collect();
        let chains =
            named.into_iter().map(|(name, (first, second))| (name, format!("{}/{} then {}/{}", first.0, first.1, second.0, second.1)));
        let app = TestApp::start(&format!("{PATIENT}{}{models}", providers.concat()));
        Self { app, chains: chains.collect(), _upstreams: vec![o, a, g, op, os, ap, gp] }
    }
}

#[test]
fn a_caller_of_anthropics_has_one_message_whoever_goes_on() {
    let house = House::new();
    for (name, pair) in &house.chains {
        for (death, at) in Death::ALL.into_iter().zip([1, 7, 30, 59, 12]) {
            let body = json!({"model": name, "max_tokens": 500, "stream": true,
                "messages": [{"role": "user", "content": format!("{}@{at}", death.name())}]});
            let reply = house.app.client().post("/v1/messages", &[], &body.to_string());
            let about = format!("{pair} after {death:?} at {at}: {}", reply.text());
            assert!(reply.status == 200 && reply.whole && !reply.text().lines().any(|line| line.starts_with(':')), "{about}");
            let (blocks, reason, usage) = message(&events(&reply));
            assert_eq!((blocks.len(), &blocks[0]["text"], &reason), (1, &json!(text()), &json!("end_turn")), "{about}");
            assert!(usage["output_tokens"].as_u64().unwrap() > 0, "{about}");
        }
    }
    assert!(house.app.metric("stagedoor_recoveries_total{way=\"prefill\",result=\"ok\"}") >= 10.0);
    settled(&house.app);
}

#[test]
fn a_caller_of_geminis_has_one_answer_whoever_goes_on() {
    let house = House::new();
    for (name, pair) in &house.chains {
        for (death, at) in Death::ALL.into_iter().zip([7, 1, 12, 30, 59]) {
            let body = json!({"contents": [{"role": "user", "parts": [{"text": format!("{}@{at}", death.name())}]}],
                "generationConfig": {"maxOutputTokens": 500}});
            let reply = house.app.client().post(&format!("/v1beta/models/{name}:streamGenerateContent?alt=sse"), &[], &body.to_string());
            let about = format!("{pair} after {death:?} at {at}: {}", reply.text());
            let all = answers(&reply);
            let said: String = all.iter().filter_map(|answer| answer["candidates"][0]["content"]["parts"][0]["text"].as_str()).collect();
            let ends: Vec<_> = all.iter().filter_map(|answer| answer["candidates"][0]["finishReason"].as_str()).collect();
            assert_eq!((reply.whole, said, ends), (true, text(), vec!["STOP"]), "{about}");
            let one = |name: &str| all.iter().all(|answer| answer[name] == all[0][name] && answer[name].is_string());
            assert!(one("responseId") && one("modelVersion"), "{about}");
            assert!(!reply.text().contains("error") && !reply.text().contains("sk-live"), "{about}");
        }
    }
    settled(&house.app);
}

#[test]
fn the_request_for_the_rest_is_the_callers_own_bytes_to_a_target_of_its_own_dialect() {
    let (a, ap, g, gp) = (anthropic::mortal(), anthropic::onward(), gemini::mortal(), gemini::onward());
    let rows = [
        anthropic::provider("a", &a, ""),
        anthropic::provider("ap", &ap, ""),
        gemini::provider(&g, ""),
        gemini::provider(&gp, "continuation = \"prefill\"").replace("providers.g", "providers.gp"),
        chain("m", ("a", "claude-haiku-4-5"), ("ap", "claude-haiku-4-5")),
        chain("n", ("g", "gemini-3.8-flash"), ("gp", "gemini-3.5-flash")),
    ];
    let app = TestApp::start(&format!("{PATIENT}{}", rows.concat()));
    let body = r#"{"model":"m","max_tokens":500,"stream":true,"x_new":{"a":1.10},"messages":[{"role":"user","content":"Fin@7"}]}"#;
    let (blocks, ..) = message(&events(&app.client().post("/v1/messages", &[], body)));
    assert_eq!(blocks[0]["text"], text());
    let sent = ap.calls()[0].text();
    assert!(
        sent.contains(r#""x_new":{"a":1.10}"#) && sent.contains(r#"{"role":"user","content":"Fin@7"},{"role":"assistant","content":"#),
        "{sent}"
    );
    assert!(ap.calls()[0].json()["max_tokens"].as_u64().unwrap() < 500, "{sent}");
    let body = r#"{"contents":[{"parts":[{"text":"Fin@7"}]}],"x_new":1.10,"generation_config":{"max_output_tokens":500}}"#;
    let reply = app.client().post("/v1beta/models/n:streamGenerateContent?alt=sse", &[], body);
    assert!(reply.text().contains("STOP"), "{}", reply.text());
    let sent = gp.calls()[0].text();
    assert!(
        sent.contains(r#""x_new":1.10"#) && sent.contains(r#"{"parts":[{"text":"Fin@7"}]},{"role":"model","parts":[{"text":"#),
        "{sent}"
    );
    assert!(gp.calls()[0].json()["generation_config"]["max_output_tokens"].as_u64().unwrap() < 500, "{sent}");
}

/// Says a word, begins a call and dies inside it.
fn dies_in_a_call() -> Upstream {
    Upstream::start(|_, socket| {
        let block = json!({"type": "content_block_start", "index": 1, "content_block": {"type": "tool_use", "id": "first", "name": "f", "input": {}}});
        let piece = json!({"type": "content_block_delta", "index": 1, "delta": {"type": "input_json_delta", "partial_json": "{\"a\":"}});
        let stop = json!({"type": "content_block_stop", "index": 0});
        let said: String =
            [anthropic::opening(), anthropic::word("Well"), anthropic::event(&stop), anthropic::event(&block), anthropic::event(&piece)]
                .iter()
                .map(|event| chunk(event))
                .collect();
        let _ = socket.write_all(format!("{STREAM_HEAD}{said}").as_bytes());
        false
    })
}

#[test]
fn a_call_that_is_held_is_repeated_whole() {
    let call =
        json!({"type": "content_block_start", "index": 0, "content_block": {"type": "tool_use", "id": "second", "name": "f", "input": {}}});
    let piece =
        |json: &str| json!({"type": "content_block_delta", "index": 0, "delta": {"type": "input_json_delta", "partial_json": json}});
    let opening = json!({"type": "message_start", "message": {"id": "msg_02", "type": "message", "role": "assistant", "model": "claude-up",
        "content": [], "stop_reason": null, "stop_sequence": null, "usage": {"input_tokens": 7, "output_tokens": 1}}});
    let whole: Vec<String> =
        [opening, call, piece("{\"a\":"), piece("1}")].iter().map(anthropic::event).chain([anthropic::closing("tool_use", 3)]).collect();
    let (first, second) = (dies_in_a_call(), Upstream::answering(anthropic::stream(&whole)));
    let rows = format!("{}{}", anthropic::provider("a", &first, ""), anthropic::provider("b", &second, ""));
    let model = chain("m", ("a", "claude-haiku-4-5"), ("b", "claude-haiku-4-5"));
    let body = r#"{"model":"m","max_tokens":500,"stream":true,"messages":[{"role":"user","content":"Hi"}],"tools":[{"name":"f","input_schema":{"type":"object"}}]}"#;
    let app = TestApp::start(&format!("{PATIENT}[stream]\nhold_tools = true\n{rows}{model}"));
    let reply = app.client().post("/v1/messages", &[], body);
    let (blocks, reason, _) = message(&events(&reply));
    assert_eq!((blocks.len(), &blocks[0]["text"], &reason), (2, &json!("Well"), &json!("tool_use")), "{}", reply.text());
    assert_eq!((&blocks[1]["id"], &blocks[1]["json"]), (&json!("second"), &json!("{\"a\":1}")), "{}", reply.text());
    // What went out can't be taken back.
    let app = TestApp::start(&format!("{PATIENT}{rows}{model}"));
    let reply = app.client().post("/v1/messages", &[], body);
    let all = events(&reply);
    assert_eq!(all.last().unwrap()["type"], "error", "{}", reply.text());
    assert!(!all.iter().any(|event| event["type"] == "message_stop"));
}

#[test]
fn with_nobody_behind_it_a_death_is_told_in_the_callers_words() {
    let (a, g) = (anthropic::mortal(), gemini::mortal());
    let rows = format!("{}{}", anthropic::provider("a", &a, ""), gemini::provider(&g, ""));
    let one = |name: &str, provider: &str, model: &str| {
        format!("[models.{name}]\ntargets = [{{ provider = \"{provider}\", model = \"{model}\" }}]\n")
    };
    let app = TestApp::start(&format!(
        "{PATIENT}[timeouts]\nidle = \"250ms\"\n{rows}{}{}",
        one("m", "a", "claude-haiku-4-5"),
        one("n", "g", "gemini-3.8-flash")
    ));
    for death in Death::ALL {
        let body = json!({"model": "m", "max_tokens": 500, "stream": true, "messages": [{"role": "user", "content": format!("{}@5", death.name())}]});
        let reply = app.client().post("/v1/messages", &[], &body.to_string());
        let all = events(&reply);
        assert_eq!(all.last().unwrap()["type"], "error", "{death:?}: {}", reply.text());
        assert!(all.iter().all(|event| event["type"] != "message_stop") && !reply.text().contains("sk-live"));
        let body = json!({"contents": [{"parts": [{"text": format!("{}@5", death.name())}]}]});
        let reply = app.client().post("/v1beta/models/n:streamGenerateContent?alt=sse", &[], &body.to_string());
        let all = answers(&reply);
        assert!(all.last().unwrap()["error"]["status"].is_string(), "{death:?}: {}", reply.text());
        assert!(all.iter().all(|answer| answer["candidates"][0]["finishReason"].is_null()) && !reply.text().contains("sk-live"));
    }
}
