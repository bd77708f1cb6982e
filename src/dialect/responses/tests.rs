//! Responses against themselves and the others, by chance: nothing panics their reader, and what their writer writes their reader reads
//! back, as far as they can say it.

use proptest::option;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{RESPONSES, frame};
use crate::dialect::anthropic::ANTHROPIC;
use crate::dialect::chat::{Answer, Choice, Delta, Effort, Finish, Format, Message, Part, Request, Role, Source, Tool, ToolChoice};
use crate::dialect::gemini::GEMINI;
use crate::dialect::openai::OPENAI;
use crate::dialect::openai::frame::Kind;
use crate::dialect::tests::{data, number, object, soup, word, words};
use crate::dialect::{Usage, Wire};

fn text() -> BoxedStrategy<Part<'static>> {
    words().prop_map(|text| Part::Text { text, cache: None }).boxed()
}

fn source(media: &'static str) -> BoxedStrategy<Source<'static>> {
    let inline = "[A-Za-z0-9+/]{0,12}={0,2}".prop_map(move |data| Source::Inline { media: media.into(), data: data.into() });
    let url = "[a-z]{1,8}".prop_map(|host| Source::Url(format!("https://{host}.example/x").into()));
    prop_oneof![inline, url, word().prop_map(|id| Source::Stored { of: Wire::OpenAi, id })].boxed()
}

fn user_part() -> BoxedStrategy<Part<'static>> {
    let detail = option::of(prop_oneof![Just("low".into()), Just("high".into())]);
    let image = (source("image/png"), detail).prop_map(|(source, detail)| Part::Image { source, detail, cache: None });
    let file = (source("application/pdf"), option::of(word())).prop_map(|(source, name)| Part::File { source, name, cache: None });
    prop_oneof![3 => text(), 1 => image, 1 => file].boxed()
}

fn thought() -> BoxedStrategy<Part<'static>> {
    let thinking = (words(), option::of(words())).prop_map(|(text, signature)| Part::Thinking { text, signature });
    prop_oneof![thinking, words().prop_map(Part::Redacted)].boxed()
}

fn call() -> BoxedStrategy<Part<'static>> {
    (word(), word(), object()).prop_map(|(id, name, arguments)| Part::Call { id, name, arguments, cache: None }).boxed()
}

fn said() -> BoxedStrategy<Vec<Part<'static>>> {
    let words = prop_oneof![3 => text(), 1 => words().prop_map(Part::Refusal)];
    (prop::collection::vec(thought(), 0..2), prop::collection::vec(words, 0..3), prop::collection::vec(call(), 0..3))
        .prop_map(|(thoughts, words, calls)| thoughts.into_iter().chain(words).chain(calls).collect())
        .boxed()
}

fn message() -> BoxedStrategy<Message<'static>> {
    let of = |role| move |parts| Message { role, name: None, parts };
    let result = (word(), prop::collection::vec(prop_oneof![3 => text(), 1 => user_part()], 1..3))
        .prop_map(|(id, parts)| vec![Part::Result { id, parts, failed: false, cache: None }]);
    let assistant = said().prop_filter("says something", |parts| !parts.is_empty());
    prop_oneof![
        2 => prop::collection::vec(user_part(), 1..4).prop_map(of(Role::User)),
        1 => result.prop_map(of(Role::User)),
        1 => text().prop_map(|part| vec![part]).prop_map(of(Role::Developer)),
        2 => assistant.prop_map(of(Role::Assistant)),
    ]
    .boxed()
}

fn conversation() -> BoxedStrategy<Vec<Message<'static>>> {
    let system = option::of(text().prop_map(|part| Message { role: Role::System, name: None, parts: vec![part] }));
    (system, prop::collection::vec(message(), 1..6))
        .prop_map(|(system, turns)| {
            let mut all: Vec<Message<'static>> = system.into_iter().collect();
            // What the assistant does without a word of others between is one turn.
            for turn in turns {
                if turn.role != Role::Assistant || all.last().is_none_or(|last| last.role != Role::Assistant) {
                    all.push(turn);
                }
            }
            all
        })
        .boxed()
}

fn request() -> BoxedStrategy<Request<'static>> {
    let tool = (word(), option::of(words()), object(), option::of(any::<bool>())).prop_map(|(name, description, schema, strict)| Tool {
        name,
        description,
        schema: Some(schema),
        strict,
        cache: None,
    });
    let choice = prop_oneof![Just(ToolChoice::Auto), Just(ToolChoice::Never), Just(ToolChoice::Any), word().prop_map(ToolChoice::Named)];
    let tools = (prop::collection::vec(tool, 0..3), option::of(choice), option::of(any::<bool>()));
    let schema = (word(), option::of(words()), object(), option::of(any::<bool>()))
        .prop_map(|(name, description, schema, strict)| Format::Schema { name: Some(name), description, schema, strict });
    let format = option::of(prop_oneof![Just(Format::Object), schema]);
    let sampling = (option::of(1u64..99_999), option::of(number()), option::of(number()));
    let rest = (option::of(prop::sample::select(&Effort::ALL[..])), option::of(word()), any::<bool>());
    (conversation(), tools, format, sampling, rest)
        .prop_map(|(messages, (tools, tool_choice, parallel_calls), format, (max_tokens, temperature, top_p), (effort, user, stream))| {
            let called = !tools.is_empty();
            Request {
                model: "gpt-5".into(),
                messages,
                tools,
                tool_choice: tool_choice.filter(|_| called),
                parallel_calls: parallel_calls.filter(|_| called),
                max_tokens,
                temperature,
                top_p,
                format,
                effort,
                user,
                stream,
                ..Request::default()
            }
        })
        .boxed()
}

fn finish(called: bool, refused: bool) -> BoxedStrategy<Finish> {
    let plain = if called { Finish::Calls } else { Finish::Stop };
    let filtered = if refused { plain } else { Finish::Filtered };
    prop::sample::select(vec![plain, Finish::Length, filtered]).boxed()
}

fn spent() -> BoxedStrategy<Usage> {
    (0u64..9_000, 0u64..9_000, 0u64..9_000, 0u64..9_000, 0u64..9_000)
        .prop_map(|(input, output, cached, cache_write, reasoning)| Usage {
            input,
            output,
            cached: cached.min(input),
            cache_write: cache_write.min(input),
            reasoning: reasoning.min(output),
            ..Usage::default()
        })
        .boxed()
}

fn answer() -> BoxedStrategy<Answer<'static>> {
    let choice = said().prop_flat_map(|parts| {
        let called = parts.iter().any(|part| matches!(part, Part::Call { .. }));
        let refused = parts.iter().any(|part| matches!(part, Part::Refusal(_)));
        (Just(parts), finish(called, refused)).prop_map(|(parts, finish)| Choice { parts, finish, stop: None })
    });
    (word(), word(), 0u64..9_999_999_999, choice, spent())
        .prop_map(|(id, model, created, choice, spent)| Answer {
            id: format!("resp_{id}").into(),
            model,
            created: Some(created),
            choices: vec![choice],
            spent: Some(spent),
        })
        .boxed()
}

/// A whole stream: thoughts, words, calls whose pieces come in turns, an end.
fn deltas() -> BoxedStrategy<Vec<Delta<'static>>> {
    let thought = option::of((words(), option::of(words())));
    let texts = prop::collection::vec(prop_oneof![3 => words().prop_map(|t| (t, false)), 1 => words().prop_map(|t| (t, true))], 0..4);
    let calls = prop::collection::vec((word(), word(), prop::collection::vec(words(), 0..3)), 0..3);
    ((word(), word()), thought, texts, calls, spent(), 0usize..3)
        .prop_flat_map(|((id, model), thought, texts, calls, spent, _)| {
            let mut all = vec![Delta::Begin { id: format!("resp_{id}").into(), model, created: Some(7) }];
            if let Some((text, proof)) = thought {
                all.push(Delta::Thinking { choice: 0, text });
                all.extend(proof.map(|text| Delta::Signature { choice: 0, text }));
            }
            let refused = texts.iter().any(|(_, refusal)| *refusal);
            all.extend(texts.into_iter().map(|(text, refusal)| match refusal {
                true => Delta::Refusal { choice: 0, text },
                false => Delta::Text { choice: 0, text },
            }));
            let called = !calls.is_empty();
            let pieces = calls.iter().map(|(.., pieces)| pieces.len()).max().unwrap_or(0);
            all.extend(calls.iter().enumerate().map(|(call, (id, name, _))| Delta::Call {
                choice: 0,
                call: call as u32,
                id: id.clone(),
                name: name.clone(),
            }));
            for piece in 0..pieces {
                all.extend(calls.iter().enumerate().filter_map(|(call, (.., pieces))| {
                    Some(Delta::Arguments { choice: 0, call: call as u32, json: pieces.get(piece)?.clone() })
                }));
            }
            (Just(all), finish(called, refused), Just(spent))
        })
        .prop_map(|(mut all, finish, spent)| {
            all.extend([Delta::Finish { choice: 0, finish, stop: None }, Delta::Spent(spent), Delta::End]);
            all
        })
        .boxed()
}

fn written(deltas: &[Delta<'_>], request: &[u8]) -> Vec<u8> {
    let (mut writer, mut events) = (RESPONSES.stream_writer_to(request, 7), Vec::new());
    deltas.iter().for_each(|delta| writer.write(delta, &mut events));
    events
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn requests_read_back(request in request()) {
        let written = RESPONSES.write_request(&request).unwrap();
        prop_assert_eq!(&written.dropped, &Vec::<String>::new());
        let read = RESPONSES.read_request(&written.body).unwrap();
        prop_assert_eq!(read, request, "{}", String::from_utf8_lossy(&written.body));
    }

    #[test]
    fn answers_read_back(answer in answer()) {
        let body = RESPONSES.write_answer(&answer, 7);
        let read = RESPONSES.read_answer(&body).unwrap();
        prop_assert_eq!(read, answer, "{}", String::from_utf8_lossy(&body));
    }

    #[test]
    fn streams_read_back_and_are_whole_in_themselves(deltas in deltas()) {
        let events = written(&deltas, b"{}");
        let mut reader = RESPONSES.stream_reader();
        let (mut told, data) = (Vec::new(), data(&events));
        let data: &'static [String] = Vec::leak(data);
        let mut items: Vec<Value> = Vec::new();
        for (place, event) in data.iter().enumerate() {
            reader.read(event.as_bytes(), &mut |delta| told.push(delta)).expect("what was written can be read");
            let event: Value = serde_json::from_str(event).unwrap();
            prop_assert_eq!(&event["sequence_number"], &json!(place), "numbered without a gap");
            if event["type"] == "response.output_item.added" {
                prop_assert_eq!(&event["output_index"], &json!(items.len()));
                items.push(Value::Null);
            }
            if event["type"] == "response.output_item.done" {
                items[event["output_index"].as_u64().unwrap() as usize] = event["item"].clone();
            }
        }
        prop_assert_eq!(told, deltas, "{}", String::from_utf8_lossy(&events));
        let last: Value = serde_json::from_str(data.last().unwrap()).unwrap();
        prop_assert_eq!(&last["response"]["output"], &Value::Array(items), "the end repeats what was said");
        prop_assert_eq!(frame::classify(data.last().unwrap().as_bytes()).kind, Kind::Done);
        prop_assert!(data.iter().rev().skip(1).all(|event| frame::classify(event.as_bytes()).kind != Kind::Done));
    }

    #[test]
    fn a_whole_answer_and_its_stream_say_the_same(answer in answer()) {
        let body = RESPONSES.write_answer(&answer, 7);
        let events = super::unstream::events(&body).unwrap();
        let last: Value = serde_json::from_str(data(&events).last().unwrap()).unwrap();
        let mut whole: Value = serde_json::from_slice(&body).unwrap();
        prop_assert_eq!(&last["response"]["usage"], &whole["usage"]);
        let read = |output: &Value| {
            let answer = json!({ "output": output }).to_string();
            let read = RESPONSES.read_answer(answer.as_bytes()).unwrap();
            format!("{:?}", read.choices[0].parts.iter().filter(|part| !matches!(part, Part::Text { .. } | Part::Refusal(_))).collect::<Vec<_>>())
        };
        prop_assert_eq!(read(&last["response"]["output"]), read(&whole["output"].take()));
    }

    #[test]
    fn a_stream_says_the_same_in_chat(deltas in deltas()) {
        let (mut writer, mut events) = (OPENAI.stream_writer(7), Vec::new());
        deltas.iter().for_each(|delta| writer.write(delta, &mut events));
        let (mut reader, mut told) = (OPENAI.stream_reader(), Vec::new());
        let data: &'static [String] = Vec::leak(data(&events));
        for event in data {
            reader.read(event.as_bytes(), &mut |delta| told.push(delta)).unwrap();
        }
        let again = written(&told, b"{}");
        let once = written(&deltas, b"{}");
        let said = |events: &[u8]| {
            let kinds = crate::dialect::tests::data(events);
            kinds.iter().filter(|event| event.contains(".delta\"")).map(|event| serde_json::from_str::<Value>(event).unwrap()["delta"].clone()).collect::<Vec<_>>()
        };
        prop_assert_eq!(said(&again), said(&once));
    }

    #[test]
    fn nothing_panics_a_reader_or_what_writes_what_it_read(body in soup(), bytes in prop::collection::vec(any::<u8>(), 0..80)) {
        let seams = [&RESPONSES, &OPENAI, &ANTHROPIC, &GEMINI];
        for bytes in [body.to_string().as_bytes(), &bytes] {
            let _ = frame::classify(bytes);
            for (one, other) in seams.iter().flat_map(|seam| [(seams[0], *seam), (*seam, seams[0])]) {
                if let Ok(request) = one.read_request(bytes)
                    && let Ok(written) = other.write_request(&request)
                {
                    serde_json::from_slice::<Value>(&written.body).unwrap();
                }
                if let Ok(answer) = one.read_answer(bytes) {
                    serde_json::from_slice::<Value>(&other.write_answer_to(bytes, &answer, 7)).unwrap();
                }
                let (mut reader, mut writer, mut out) = (one.stream_reader(), other.stream_writer_to(bytes, 7), Vec::new());
                for _ in 0..2 {
                    let _ = reader.read(bytes, &mut |delta| writer.write(&delta, &mut out));
                }
                for data in std::str::from_utf8(&out).unwrap().lines().filter_map(|line| line.strip_prefix("data: ")) {
                    if data != "[DONE]" {
                        serde_json::from_str::<Value>(data).unwrap();
                    }
                }
            }
        }
    }
}

#[test]
fn a_response_repeats_what_was_asked() {
    let request = br#"{"model":"m","instructions":"Be brief.","tools":[{"type":"function","name":"f"}],
        "temperature":0.70,"metadata":{"a":"b"},"store":false}"#;
    let answer =
        Answer { id: "x".into(), choices: vec![Choice { parts: Vec::new(), finish: Finish::Stop, stop: None }], ..Answer::default() };
    let body = RESPONSES.write_answer_to(request, &answer, 7);
    assert!(std::str::from_utf8(&body).unwrap().contains(r#""temperature":0.70"#), "as it was written");
    let told: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(
        (&told["instructions"], &told["metadata"], &told["tools"][0]["name"]),
        (&json!("Be brief."), &json!({"a": "b"}), &json!("f"))
    );
    assert_eq!(
        (&told["id"], &told["store"], &told["tool_choice"], &told["top_p"]),
        (&json!("resp_x"), &json!(false), &json!("auto"), &Value::Null)
    );
    let events = written(&[Delta::Begin { id: "x".into(), model: "m".into(), created: None }], request);
    assert!(data(&events)[0].contains("Be brief."));
}

#[test]
fn what_nobody_else_can_read_goes_back_to_nobody_else() {
    let body = br#"{"model":"m","input":[{"type":"reasoning","summary":[],"encrypted_content":"gAAAA"},{"role":"user","content":"hi"}]}"#;
    let request = RESPONSES.read_request(body).unwrap();
    assert_eq!(request.messages.len(), 1, "OpenAI's own seal is nothing to others");
    let thought = Message { role: Role::Assistant, name: None, parts: vec![Part::Redacted("sealed".into())] };
    let written = RESPONSES.write_request(&Request { messages: vec![thought.clone()], ..Request::default() }).unwrap();
    assert_eq!(RESPONSES.read_request(&written.body).unwrap().messages, [thought]);
}
