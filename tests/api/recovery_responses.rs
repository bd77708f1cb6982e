//! Responses that broke off after their first words and are gone on with by another target, of its own dialect or of any other: the
//! caller has one response of sixty words, as OpenAI's SDKs keep a copy of it. And what is never gone on with.

use serde_json::{Value, json};

use super::recovery::{PATIENT, all};
use super::support::continuing::{self, Death, text, words};
use super::support::faults::{provider_at, settled};
use super::support::responses::{Script, dying, events, followed, mortal, onward, provider};
use super::support::{Reply, TestApp, Upstream, anthropic, gemini};

const QUICK: &str = "timeouts = { idle = \"250ms\", first_token = \"2s\" }";

fn chain(name: &str, first: (&str, &str), second: (&str, &str)) -> String {
    let row = |(provider, model): (&str, &str)| format!("{{ provider = \"{provider}\", model = \"{model}\" }}");
    format!("[models.{name}]\nstrategy = \"ordered\"\ntargets = [{}, {}]\n", row(first), row(second))
}

fn ask(app: &TestApp, body: &str) -> Reply {
    app.client().post("/v1/responses", &[], body)
}

fn count(events: &[Value], kind: &str) -> usize {
    events.iter().filter(|event| event["type"] == kind).count()
}

/// The caller has the sixty words, in one response and with one end.
fn assert_whole(reply: &Reply, about: &str) -> Value {
    let told = reply.text();
    assert_eq!((reply.status, reply.whole), (200, true), "{about}: {told}");
    let events = events(reply);
    let (items, response) = followed(&events);
    let response = response.unwrap_or_else(|| panic!("{about}: {told}"));
    assert_eq!((count(&events, "response.created"), count(&events, "response.completed")), (1, 1), "{about}: {told}");
    assert_eq!((items.len(), &items[0]["content"][0]["text"]), (1, &json!(text())), "{about}: {told}");
    assert!(response["status"] == "completed" && response["usage"]["output_tokens"].as_u64().unwrap() > 0, "{about}: {told}");
    assert!(!told.contains("sk-live") && count(&events, "error") == 0, "{about}: {told}");
    response
}

/// The caller is told of the first target's death after these words.
fn assert_broken(reply: &Reply, said: &str, about: &str) {
    let events = events(reply);
    let (items, response) = followed(&events);
    assert!(response.is_none() && items[0]["content"][0]["text"] == said, "{about}: {}", reply.text());
    assert!(count(&events, "response.completed") == 0 && !reply.text().contains("sk-live"), "{about}: {}", reply.text());
    let last = events.last().unwrap();
    assert_eq!(last["code"], if about.contains("Stall") { "upstream_timeout" } else { "stream_interrupted" }, "{about}: {last}");
}

/// Targets of Responses' own dialect and of chat's, one of each that dies and one that goes on.
struct House {
    app: TestApp,
    _upstreams: Vec<Upstream>,
}

impl House {
    fn new() -> Self {
        let (r, o) = (mortal(), continuing::mortal());
        let (rs, os, op) = (onward(), continuing::onward("splice"), continuing::onward("prefill"));
        let row = |name: &str, upstream: &Upstream, way: &str| provider_at(name, &upstream.url(), &format!("continuation = \"{way}\""));
        let rows = [
            provider("r", &r, QUICK),
            o.provider("o") + QUICK + "\n",
            provider("rs", &rs, ""),
            row("os", &os, "splice"),
            row("op", &op, "prefill"),
            chain("r-r", ("r", "up"), ("rs", "second")),
            chain("r-splice", ("r", "up"), ("os", "second")),
            chain("r-prefill", ("r", "up"), ("op", "second")),
            chain("o-r", ("o", "up"), ("rs", "second")),
            chain("o-prefill", ("o", "up"), ("op", "second")),
        ];
        Self { app: TestApp::start(&format!("{PATIENT}{}", rows.concat())), _upstreams: vec![r, o, rs, os, op] }
    }
}

#[test]
fn at_every_word_whatever_death_whoever_goes_on_the_caller_has_one_response_of_all_sixty() {
    let house = House::new();
    let positions = || (0..=60).flat_map(|at| Death::ALL.map(|death| (death, at)));
    let models = ["r-r", "r-splice", "r-prefill", "o-r", "o-prefill"];
    let cases: Vec<_> = models.into_iter().flat_map(|model| positions().map(move |(death, at)| (model, death, at))).collect();
    assert_eq!(cases.len(), 1525);
    all(cases, |(model, death, at)| {
        let reply = ask(&house.app, &dying(model, *death, *at));
        let about = format!("{model} after {death:?} at {at}");
        let response = assert_whole(&reply, &about);
        assert_eq!(reply.text().matches(": stagedoor recovered from=").count(), usize::from(*at > 0), "{about}: {}", reply.text());
        let first = if *at > 0 { "first" } else { "second" };
        assert!(response["model"] == first && response["id"] == format!("resp_{first}"), "{about}: {response}");
        // What only the first vendor says of its response goes along.
        assert_eq!(
            response["x_own"].is_string(),
            response["id"] == "resp_first" && model.starts_with("r-") || model.ends_with("-r") && *at == 0,
            "{about}"
        );
    });
    settled(&house.app);
}

#[test]
fn with_nobody_behind_it_every_death_is_an_error_and_never_an_end() {
    let r = mortal();
    let app =
        TestApp::start(&format!("{PATIENT}{}[models.m]\ntargets = [{{ provider = \"r\", model = \"up\" }}]\n", provider("r", &r, QUICK)));
    let cases = (1..=60).flat_map(|at| Death::ALL.map(|death| (death, at))).collect();
    all(cases, |(death, at)| {
        let reply = ask(&app, &dying("m", *death, *at));
        assert_broken(&reply, &words()[..*at].concat(), &format!("{death:?} at {at}"));
    });
}

#[test]
fn targets_of_every_dialect_go_on() {
    let (r, ap, gp) = (mortal(), anthropic::onward(), gemini::onward());
    let rows = [
        provider("r", &r, QUICK),
        anthropic::provider("ap", &ap, ""),
        gemini::provider(&gp, "continuation = \"prefill\"").replace("providers.g", "providers.gp"),
        chain("a", ("r", "up"), ("ap", "claude-haiku-4-5")),
        chain("q", ("r", "up"), ("ap", "claude-opus-4-6")),
        chain("g", ("r", "up"), ("gp", "gemini-3.5-flash")),
    ];
    let app = TestApp::start(&format!("{PATIENT}{}", rows.concat()));
    for model in ["a", "q", "g"] {
        for (death, at) in Death::ALL.into_iter().zip([1, 7, 30, 59, 12]) {
            assert_whole(&ask(&app, &dying(model, death, at)), &format!("{model} after {death:?} at {at}"));
        }
    }
    settled(&app);
}

#[test]
fn two_seams_and_an_end_by_the_first_ones_name() {
    let (r, well) = (mortal(), onward());
    let dies = Upstream::start(|_, stream| {
        let mut script = Script::new("dies");
        script.say(&words()[..20]);
        script.send(stream);
        continuing::die(stream, Death::Fin)
    });
    let target = |name: &str| format!("{{ provider = \"{name}\", model = \"m\" }}");
    let rows = ["r", "dies", "well"].map(target).join(", ");
    let providers = [provider("r", &r, QUICK), provider("dies", &dies, QUICK), provider("well", &well, "")].concat();
    let app = TestApp::start(&format!("{PATIENT}{providers}[models.m]\nstrategy = \"ordered\"\ntargets = [{rows}]\n"));
    let reply = ask(&app, &dying("m", Death::Fin, 10));
    assert_whole(&reply, "two seams");
    assert_eq!(reply.text().matches(": stagedoor recovered").count(), 2, "{}", reply.text());
    // And where the second says no more either, its error is numbered behind what went out.
    let app = TestApp::start(&format!("{PATIENT}{providers}{}", chain("m", ("r", "m"), ("dies", "m"))));
    assert_broken(&ask(&app, &dying("m", Death::Fin, 10)), &words()[..20].concat(), "nobody is left");
}

#[test]
fn what_is_to_be_kept_or_can_not_be_joined_is_not_gone_on_with() {
    let (r, rs) = (mortal(), onward());
    let rows = [provider("r", &r, QUICK), provider("rs", &rs, ""), chain("m", ("r", "up"), ("rs", "second"))];
    let app = TestApp::start(&format!("{PATIENT}{}", rows.concat()));
    let schema = json!({"format": {"type": "json_schema", "name": "s", "schema": {}}});
    for (name, value) in [
        ("store", json!(true)),
        ("background", json!(true)),
        ("conversation", json!("conv_1")),
        ("text", schema),
        ("include", json!(["reasoning.encrypted_content", "message.output_text.logprobs"])),
    ] {
        let mut body: Value = serde_json::from_str(&dying("m", Death::Fin, 3)).unwrap();
        body[name] = value;
        assert_broken(&ask(&app, &body.to_string()), &words()[..3].concat(), name);
    }
    assert_eq!(rs.count(), 0);
    let reply = app.client().post("/v1/responses", &[("x-stagedoor-recovery", "error")], &dying("m", Death::Fin, 3));
    assert_broken(&reply, &words()[..3].concat(), "by header");
    let other = Upstream::start(|_, stream| {
        let (mut script, words) = (Script::new("second"), ["Something ".to_owned(), "else.".into()]);
        script.say(&words);
        script.end(&words);
        script.send(stream);
        std::io::Write::write_all(stream, b"0\r\n\r\n").is_ok()
    });
    let rows = [provider("r", &r, QUICK), provider("other", &other, ""), chain("m", ("r", "up"), ("other", "second"))];
    let app = TestApp::start(&format!("{PATIENT}{}", rows.concat()));
    assert_broken(&ask(&app, &dying("m", Death::Fin, 3)), &words()[..3].concat(), "another answer");
    assert_eq!(app.metric("stagedoor_recoveries_total{way=\"splice\",result=\"differed\"}"), 1.0);
}

/// Says two words and then calls a tool; dies inside the call's arguments where it is to.
fn calling(name: &'static str, dies: bool) -> Upstream {
    Upstream::start(move |_, stream| {
        let mut script = Script::new(name);
        let words = words()[..2].to_vec();
        script.say(&words);
        let id = format!("fc_{name}");
        let call = |arguments: &str| json!({"type": "function_call", "id": id, "call_id": name, "name": "f", "arguments": arguments, "status": "in_progress"});
        script.event("output_item.added", json!({"output_index": 1, "item": call("")}));
        script.event("function_call_arguments.delta", json!({"output_index": 1, "item_id": id, "delta": "{\"a\":"}));
        if dies {
            script.send(stream);
            return continuing::die(stream, Death::Fin);
        }
        script.event("function_call_arguments.delta", json!({"output_index": 1, "item_id": id, "delta": "1}"}));
        script.event("function_call_arguments.done", json!({"output_index": 1, "item_id": id, "arguments": "{\"a\":1}"}));
        script.event("output_item.done", json!({"output_index": 1, "item": call("{\"a\":1}")}));
        script.end(&words);
        script.send(stream);
        std::io::Write::write_all(stream, b"0\r\n\r\n").is_ok()
    })
}

#[test]
fn a_call_that_is_held_is_repeated_whole() {
    let (first, second) = (calling("first", true), calling("second", false));
    let rows = [provider("a", &first, QUICK), provider("b", &second, QUICK), chain("m", ("a", "up"), ("b", "up"))].concat();
    let body =
        json!({"model": "m", "stream": true, "input": "Hi", "tools": [{"type": "function", "name": "f", "parameters": {}}]}).to_string();
    let app = TestApp::start(&format!("{PATIENT}[stream]\nhold_tools = true\n{rows}"));
    let reply = ask(&app, &body);
    let (items, response) = followed(&events(&reply));
    assert!(response.is_some(), "{}", reply.text());
    assert_eq!((items.len(), &items[0]["content"][0]["text"]), (2, &json!(words()[..2].concat())), "{}", reply.text());
    assert_eq!((&items[1]["call_id"], &items[1]["arguments"]), (&json!("second"), &json!("{\"a\":1}")));
    // What went out can't be taken back.
    let app = TestApp::start(&format!("{PATIENT}{rows}"));
    let all = events(&ask(&app, &body));
    assert_eq!(all.last().unwrap()["type"], "error");
    assert_eq!(count(&all, "response.completed"), 0);
}
