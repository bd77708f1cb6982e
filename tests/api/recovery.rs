//! Streams that broke after content went out and are continued by another target: the caller has one whole answer. And what is
//! never continued, what is refused, and what the caller is told where nobody goes on.

use std::io::Write;
use std::sync::Mutex;
use std::time::Duration;

use serde_json::{Value, json};

use super::support::continuing::{Death, die, dying, end, finish, mortal, onward, says, speak, text, words};
use super::support::faults::{attempts, provider_at, settled};
use super::support::names::names;
use super::support::{Reply, TestApp, Upstream, chat_bytes, chunk, read_until, status, stream_body};

const WAYS: [&str; 5] = ["prefill", "prefix", "vllm", "quote", "splice"];

/// Breakers that never open, as the first target dies all the time here; and a short clock for its stalls.
pub(super) const PATIENT: &str = "[breaker]\nconsecutive_failures = 100000\nfailure_ratio = 1.0\nminimum_requests = 100000\n";

fn first(upstream: &Upstream) -> String {
    provider_at("p", &upstream.url(), "timeouts = { idle = \"250ms\", first_token = \"2s\" }")
}

fn second(upstream: &Upstream, way: &str) -> String {
    provider_at(way, &upstream.url(), &format!("continuation = \"{way}\""))
}

/// The model `m`: `p`, and behind it a target of this provider.
fn chain(name: &str) -> String {
    format!(
        "[models.{name}]\nstrategy = \"ordered\"\ntargets = [{{ provider = \"p\", model = \"up\" }}, {{ provider = \"{name}\", model = \"second\" }}]\n"
    )
}

fn ask(app: &TestApp, body: &str) -> Reply {
    app.client().post("/v1/chat/completions", &[], body)
}

fn values(reply: &Reply, name: &str) -> Vec<String> {
    let parsed = reply.events().into_iter().filter_map(|data| serde_json::from_str::<Value>(&data).ok());
    let mut all: Vec<String> = parsed.filter_map(|event| event[name].as_str().map(str::to_owned)).collect();
    all.dedup();
    all
}

/// The caller has the sixty words, by one voice and with one end.
fn assert_whole(reply: &Reply, about: &str) {
    let text = reply.text();
    assert_eq!((reply.status, reply.whole, reply.terminals()), (200, true, 1), "{about}: {text}");
    assert_eq!(reply.words(), self::text(), "{about}: {text}");
    assert_eq!((text.matches("\"finish_reason\":\"stop\"").count(), text.matches("\"role\"").count()), (1, 1), "{about}: {text}");
    assert_eq!((values(reply, "id").len(), values(reply, "model").len()), (1, 1), "{about}: {text}");
    assert!(text.ends_with("data: [DONE]\n\n") && !text.contains("\"error\""), "{about}: {text}");
}

/// The caller is told of the first target's death, and of nothing else.
fn assert_broken(reply: &Reply, said: &str, about: &str) {
    let text = reply.text();
    assert_eq!((reply.status, reply.whole, reply.terminals()), (200, true, 0), "{about}: {text}");
    assert_eq!(reply.words(), said, "{about}");
    let last: Value = serde_json::from_str(reply.events().last().unwrap()).unwrap();
    assert_eq!(last["error"]["type"], "upstream_error", "{about}: {text}");
    let message = last["error"]["message"].as_str().unwrap();
    assert!(message.contains("p/up") && !message.contains("second") && !message.contains("400"), "{about}: {message}");
    assert!(!text.contains("finish_reason\":\"stop"), "{about}: {text}");
}

fn recoveries(app: &TestApp, way: &str, result: &str) -> f64 {
    app.metric(&format!("stagedoor_recoveries_total{{way=\"{way}\",result=\"{result}\"}}"))
}

/// Runs the cases on a few threads, as stalls take their time.
pub(super) fn all<T: Send + Sync>(cases: Vec<T>, run: impl Fn(&T) + Sync) {
    let queue = Mutex::new(cases.iter());
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                loop {
                    let Some(case) = ({ queue.lock().unwrap().next() }) else { return };
                    run(case);
                }
            });
        }
    });
}

#[test]
fn at_every_word_whatever_death_by_every_way_the_caller_has_all_sixty() {
    let p = mortal();
    let others: Vec<(&str, Upstream)> = WAYS.into_iter().map(|way| (way, onward(way))).collect();
    let rows: String = others.iter().map(|(way, upstream)| second(upstream, way) + &chain(way)).collect();
    let app = TestApp::start(&format!("{PATIENT}{}{rows}", first(&p)));
    let positions = || (0..=60).flat_map(|at| Death::ALL.map(|death| (death, at)));
    let cases: Vec<_> = WAYS.into_iter().flat_map(|way| positions().map(move |(death, at)| (way, death, at))).collect();
    let count = cases.len();
    assert_eq!(count, 1525);
    all(cases, |(way, death, at)| {
        let reply = ask(&app, &dying(way, *death, *at));
        let about = format!("{way} after {death:?} at {at}");
        assert_whole(&reply, &about);
        let seam = format!(": stagedoor recovered from=p/up to={way}/second at=");
        assert_eq!(reply.text().matches(&seam).count(), usize::from(*at > 0), "{about}: {}", reply.text());
        assert_eq!(values(&reply, "id"), [if *at > 0 { "first" } else { "second" }], "{about}");
    });
    let recovered: f64 = WAYS.into_iter().map(|way| recoveries(&app, way, "ok")).sum();
    assert_eq!(recovered, (count - WAYS.len() * Death::ALL.len()) as f64);
    settled(&app);
}

#[test]
fn with_nobody_behind_it_every_death_is_an_error_and_never_an_end() {
    let p = mortal();
    let app = TestApp::start(&format!("{PATIENT}{}[models.m]\ntargets = [{{ provider = \"p\", model = \"up\" }}]\n", first(&p)));
    let cases = (1..=60).flat_map(|at| Death::ALL.map(|death| (death, at))).collect();
    all(cases, |(death, at)| {
        let reply = ask(&app, &dying("m", *death, *at));
        assert_broken(&reply, &words()[..*at].concat(), &format!("{death:?} at {at}"));
        assert!(!reply.text().contains("sk-live-9"), "an upstream's text may hold a key");
    });
}

#[test]
fn a_refused_way_is_asked_by_splice_and_learnt() {
    let (p, spare) = (mortal(), onward("splice"));
    let app = TestApp::start(&format!("{PATIENT}{}{}{}", first(&p), second(&spare, "prefill"), chain("prefill")));
    for round in 1..=3 {
        assert_whole(&ask(&app, &dying("prefill", Death::Fin, 7)), "by splice");
        assert_eq!(spare.count(), round + 1, "asked by prefill only once");
    }
    assert_eq!((recoveries(&app, "prefill", "rejected"), recoveries(&app, "splice", "ok")), (1.0, 3.0));
}

#[test]
fn who_refuses_every_way_is_never_what_the_caller_hears_of() {
    let p = mortal();
    let refusing = Upstream::answering(status(400, "invalid_request_error", ""));
    let app = TestApp::start(&format!("{PATIENT}{}{}{}", first(&p), second(&refusing, "prefill"), chain("prefill")));
    for death in Death::ALL {
        assert_broken(&ask(&app, &dying("prefill", death, 30)), &words()[..30].concat(), &death.name());
    }
    assert!(
        refusing.calls()[0].text().contains("\"role\":\"assistant\"") && !refusing.calls()[1].text().contains("\"role\":\"assistant\"")
    );
}

#[test]
fn another_answer_is_not_joined() {
    let p = mortal();
    let other = Upstream::start(|call, stream| {
        speak(stream, "second", &["Something ".into(), "else.".into()]);
        finish(stream, &end("second", &call.json(), 2))
    });
    let app = TestApp::start(&format!("{PATIENT}{}{}{}", first(&p), second(&other, "splice"), chain("splice")));
    assert_broken(&ask(&app, &dying("splice", Death::Fin, 3)), &words()[..3].concat(), "another answer");
    assert_eq!(recoveries(&app, "splice", "differed"), 1.0);
    app.until("it is not held against it", |app| app.health()["providers"]["splice"]["window"]["failures"] == 0);
}

#[test]
fn the_next_but_one_goes_on_where_the_next_fails_and_where_it_dies_too() {
    let p = mortal();
    let down = Upstream::answering(status(500, "server_error", ""));
    let dies = Upstream::start(|_, stream| {
        speak(stream, "dies", &words()[..20]);
        die(stream, Death::Fin)
    });
    let well = onward("prefill");
    let target = |name: &str| format!("{{ provider = \"{name}\", model = \"second\" }}");
    let rows = ["down", "dies", "well"].map(target).join(", ");
    let providers = provider_at("down", &down.url(), "")
        + &provider_at("dies", &dies.url(), "")
        + &provider_at("well", &well.url(), "continuation = \"prefill\"");
    let app = TestApp::start(&format!(
        "{PATIENT}[retry]\nbackoff = \"0ms\"\n{}{providers}[models.m]\nstrategy = \"ordered\"\ntargets = [{{ provider = \"p\", model = \"up\" }}, {rows}]\n",
        first(&p)
    ));
    let reply = ask(&app, &dying("m", Death::Fin, 10));
    assert_whole(&reply, "two seams");
    let seams: Vec<String> = reply.text().lines().filter(|line| line.starts_with(": stagedoor recovered")).map(str::to_owned).collect();
    assert_eq!(seams.len(), 2, "{seams:?}");
    assert!(seams[0].contains("from=p/up to=dies/second") && seams[1].contains("from=dies/second to=well/second"), "{seams:?}");
}

#[test]
fn who_died_is_asked_last_and_once_more() {
    let p = Upstream::start(|call, stream| {
        speak(stream, "first", &words()[..if call.number == 0 { 10 } else { 60 }]);
        if call.number == 0 { die(stream, Death::Fin) } else { finish(stream, &end("first", &call.json(), 60)) }
    });
    let down = Upstream::answering(status(500, "server_error", ""));
    let app = TestApp::start(&format!("{PATIENT}{}{}{}", first(&p), second(&down, "splice"), chain("splice")));
    assert_whole(&ask(&app, &dying("splice", Death::Fin, 10)), "by itself");
    assert_eq!((p.count(), down.count()), (2, 1));
}

#[test]
fn two_calls_beyond_the_attempts_and_no_more() {
    let p = mortal();
    let down = Upstream::answering(status(500, "server_error", ""));
    let targets: String = (0..6).map(|n| format!(", {{ provider = \"down\", model = \"m{n}\" }}")).collect();
    let app = TestApp::start(&format!(
        "{PATIENT}[retry]\nattempts = 2\n{}{}[models.m]\nstrategy = \"ordered\"\ntargets = [{{ provider = \"p\", model = \"up\" }}{targets}]\n",
        first(&p),
        down.provider("down")
    ));
    assert_broken(&ask(&app, &dying("m", Death::Fin, 3)), &words()[..3].concat(), "nobody goes on");
    assert_eq!((p.count(), down.count()), (1, 3));
}

#[test]
fn it_is_an_error_where_that_is_asked_for() {
    let (p, spare) = (mortal(), onward("prefill"));
    let start = |more: &str| TestApp::start(&format!("{PATIENT}{more}{}{}{}", first(&p), second(&spare, "prefill"), chain("prefill")));
    let body = dying("prefill", Death::Fin, 3);
    let app = start("");
    let wish = |app: &TestApp, value| app.client().post("/v1/chat/completions", &[("x-stagedoor-recovery", value)], &body);
    assert_broken(&wish(&app, "error"), &words()[..3].concat(), "by header");
    assert_eq!(wish(&app, "maybe").status, 400);
    let app = start("[stream]\nrecovery = \"error\"\n");
    assert_broken(&ask(&app, &body), &words()[..3].concat(), "by settings");
    assert_whole(&wish(&app, "continue"), "by header");
    let app = start("[server]\nrequest_headers = []\n");
    assert_whole(&wish(&app, "error"), "a header that callers may not send");
    let none = TestApp::start(&format!(
        "{PATIENT}{}{}{}",
        first(&p),
        provider_at("prefill", &spare.url(), "continuation = \"none\""),
        chain("prefill")
    ));
    assert_broken(&ask(&none, &body), &words()[..3].concat(), "a provider that doesn't go on");
}

#[test]
fn what_can_not_be_continued_is_not() {
    let unsafe_for = |more: Value, delta: Value| {
        let p = Upstream::start(move |_, stream| {
            speak(stream, "first", &words()[..2]);
            let _ = stream.write_all(chunk(&says("first", delta.clone(), None)).as_bytes());
            die(stream, Death::Fin)
        });
        let spare = onward("prefill");
        let app = TestApp::start(&format!("{PATIENT}{}{}{}", first(&p), second(&spare, "prefill"), chain("prefill")));
        let mut body: Value = serde_json::from_str(&dying("prefill", Death::Fin, 2)).unwrap();
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let reply = ask(&app, &body.to_string());
        assert_broken(&reply, &words()[..2].concat(), &body.to_string());
        assert_eq!(spare.count(), 0);
    };
    let nothing = json!({});
    unsafe_for(nothing.clone(), json!({"tool_calls": [{"index": 0, "id": "a", "function": {"name": "f", "arguments": "{"}}]}));
    unsafe_for(nothing.clone(), json!({"reasoning_content": "hm"}));
    unsafe_for(nothing.clone(), json!({"refusal": "no"}));
    unsafe_for(json!({"n": 2}), json!({}));
    unsafe_for(json!({"logprobs": true}), json!({}));
    unsafe_for(json!({"response_format": {"type": "json_schema", "json_schema": {"name": "s", "schema": {}}}}), json!({}));
}

#[test]
fn the_request_for_the_rest_is_the_callers_own_but_for_what_it_must_be() {
    let (p, spare) = (mortal(), onward("prefix"));
    let at = spare.address;
    let parts = names(move |_| Ok(vec![at])); // addresses are never asked for
    let deepseek =
        format!("[providers.prefix]\ndialect = \"openai\"\nbase_url = \"http://api.deepseek.com:{}/v1\"\nkeys = []\n", at.port());
    let app = TestApp::with(
        &format!("{PATIENT}{}{deepseek}{}", provider_at("p", &format!("http://{}/v1", p.address), ""), chain("prefix")),
        &[],
        parts,
    );
    assert_whole(&ask(&app, &dying("prefix", Death::Fin, 30)), "DeepSeek");
    let call = &spare.calls()[0];
    assert!(call.head.starts_with("POST /beta/chat/completions "), "{}", call.head);
    let asked = call.json();
    assert!(call.text().contains("\"x_unknown\":{\"kept\":1.1}"), "{}", call.text());
    assert_eq!((&asked["model"], &asked["stream_options"]["include_usage"]), (&json!("second"), &json!(true)));
    assert!((300..490).contains(&asked["max_tokens"].as_u64().unwrap()), "less by what was said: {}", asked["max_tokens"]);
}

/// Says two words, then calls a tool in pieces; dies inside the second call's arguments where it is to.
fn calling(speaker: &'static str, dies: bool) -> Upstream {
    Upstream::start(move |_, stream| {
        speak(stream, speaker, &words()[..2]);
        let piece = |index: u32, arguments: &str, id: Option<String>| {
            let call = json!({"index": index, "id": id, "type": "function", "function": {"name": "look", "arguments": arguments}});
            chunk(&says(speaker, json!({"tool_calls": [call]}), None))
        };
        for index in 0..2 {
            let mut out = piece(index, "", Some(format!("{speaker}-{index}"))) + &piece(index, "{\"city\":", None);
            if !(dies && index == 1) {
                out += &piece(index, "\"Wien\"}", None);
            }
            let _ = stream.write_all(out.as_bytes());
        }
        if dies {
            return die(stream, Death::Fin);
        }
        finish(stream, &format!("{}data: [DONE]\n\n", says(speaker, json!({}), Some("tool_calls"))))
    })
}

#[test]
fn a_tool_call_that_was_cut_comes_whole_once_and_with_one_id_where_calls_are_held() {
    let (p, spare) = (calling("first", true), calling("second", false));
    let start = |more: &str| TestApp::start(&format!("{PATIENT}{more}{}{}{}", first(&p), second(&spare, "splice"), chain("splice")));
    let reply = start("[stream]\nhold_tools = true\n").stream("splice");
    let mut calls = std::collections::BTreeMap::<(u64, String), String>::new();
    let (mut ids, mut last) = (Vec::new(), String::new());
    for event in reply.events().iter().filter_map(|data| serde_json::from_str::<Value>(data).ok()) {
        for call in event["choices"][0]["delta"]["tool_calls"].as_array().into_iter().flatten() {
            if let Some(id) = call["id"].as_str() {
                ids.push(id.to_owned());
                last = id.to_owned();
            }
            *calls.entry((call["index"].as_u64().unwrap(), last.clone())).or_default() += call["function"]["arguments"].as_str().unwrap();
        }
    }
    assert_eq!(ids, ["second-0", "second-1"], "{}", reply.text());
    assert!(calls.values().all(|arguments| arguments == "{\"city\":\"Wien\"}"), "{calls:?}");
    assert_eq!((reply.words(), reply.terminals()), (words()[..2].concat(), 1));
    assert_eq!(reply.text().matches("\"finish_reason\":\"tool_calls\"").count(), 1);
    let flowing = start("").stream("splice");
    assert_broken(&flowing, &words()[..2].concat(), "calls that flow");
}

#[test]
fn a_first_word_that_is_held_dies_unseen() {
    // Nobody is asked to go on: the other one answers the request as it came.
    let (p, well) = (mortal(), onward("splice"));
    let app = TestApp::start(&format!("{PATIENT}[stream]\nhold = \"10s\"\n{}{}{}", first(&p), second(&well, "splice"), chain("splice")));
    for death in Death::ALL {
        let reply = ask(&app, &dying("splice", death, 5));
        assert_whole(&reply, &death.name());
        assert_eq!((reply.header("x-stagedoor-provider"), values(&reply, "id").as_slice()), (Some("splice"), &["second".to_owned()][..]));
        assert!(!reply.text().contains("recovered"));
    }
    assert_eq!(attempts(&app, "transient"), 5.0);
}

#[test]
fn held_content_goes_out_when_its_time_is_over() {
    let slow = Upstream::start(|call, stream| {
        speak(stream, "first", &words()[..1]);
        std::thread::sleep(Duration::from_millis(700));
        for word in &words()[1..] {
            let _ = stream.write_all(chunk(&says("first", json!({"content": word}), None)).as_bytes());
        }
        finish(stream, &end("first", &call.json(), 60))
    });
    let app = TestApp::start(&format!(
        "[stream]\nhold = \"100ms\"\n{}[models.m]\ntargets = [{{ provider = \"p\", model = \"up\" }}]\n",
        slow.provider("p")
    ));
    let mut stream = app.client().connect();
    stream.write_all(&chat_bytes(&[], &stream_body("m"))).unwrap();
    let began = std::time::Instant::now();
    read_until(&mut stream, "word0");
    let waited = began.elapsed();
    assert!((100..650).contains(&waited.as_millis()), "{waited:?}");
    assert!(read_until(&mut stream, "[DONE]").contains("word6"));
}
