//! Every dialect against itself, by chance: nothing panics a reader, and what a writer writes its own reader reads back, as far
//! as the dialect can say it.

use proptest::option;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::chat::{
    Answer, Cache, Choice, Delta, Effort, Finish, Format, Message, Part, Request, Role, Source, Thinking, Tool, ToolChoice, Words,
};
use super::openai::frame::Kind;
use super::{Usage, Wire};

const WIRES: [Wire; 3] = [Wire::OpenAi, Wire::Anthropic, Wire::Gemini];

#[test]
fn whatever_is_an_error_may_fail() {
    let choice = |reason: &str| json!({"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]});
    let candidate = |reason: &str| json!({"candidates": [{"content": {"parts": []}, "finishReason": reason}]});
    let mut events = vec![
        (Wire::OpenAi, json!({"error": "text"})),
        (Wire::OpenAi, json!([{"error": {"code": 503}}])),
        (Wire::OpenAi, json!({"object": "error", "message": "m"})),
        (Wire::OpenAi, json!({"text": "busy", "error_code": 50001})),
        (Wire::Anthropic, json!({"type": "error", "error": {"type": "overloaded_error"}})),
        (Wire::Gemini, json!({"error": {"code": 503}})),
        (Wire::Responses, json!({"type": "error", "message": "m"})),
        (Wire::Responses, json!({"type": "response.failed", "response": {}})),
        (Wire::Responses, json!({"type": "response.cancelled", "response": {}})),
    ];
    events.extend(["error", "insufficient_system_resource", "network_error", "abort"].map(|reason| (Wire::OpenAi, choice(reason))));
    events.extend(["OTHER", "MALFORMED_FUNCTION_CALL", "NO_IMAGE"].map(|reason| (Wire::Gemini, candidate(reason))));
    for (wire, event) in events {
        let event = event.to_string();
        assert!(wire.classify(event.as_bytes()).kind == Kind::Error && wire.may_fail(event.as_bytes()), "{event}");
    }
    for (wire, event) in [(Wire::OpenAi, choice("stop")), (Wire::Gemini, candidate("STOP"))] {
        assert!(!wire.may_fail(event.to_string().as_bytes()), "{event}");
    }
}

pub(super) fn words() -> BoxedStrategy<Words<'static>> {
    prop_oneof![3 => "[a-z ]{1,8}[a-z]", 1 => any::<String>().prop_filter("not empty", |text| !text.is_empty())]
        .prop_map(Words::Owned)
        .boxed()
}

pub(super) fn word() -> BoxedStrategy<Words<'static>> {
    "[a-z][a-z0-9_]{0,8}".prop_map(Words::Owned).boxed()
}

pub(super) fn object() -> BoxedStrategy<Words<'static>> {
    prop_oneof![
        Just(r#"{"z":1.10,"a":[null,{"type":"object"}]}"#.to_owned()),
        Just("{}".to_owned()),
        (word(), words()).prop_map(|(key, value)| json!({ key: value }).to_string()),
    ]
    .prop_map(Words::Owned)
    .boxed()
}

pub(super) fn number() -> BoxedStrategy<Words<'static>> {
    prop_oneof![Just("0.7"), Just("1.10"), Just("1e-1"), Just("0")].prop_map(Words::Borrowed).boxed()
}

fn cache(wire: Wire) -> BoxedStrategy<Option<Cache>> {
    match wire {
        Wire::Anthropic | Wire::Gemini | Wire::Responses => option::of(prop_oneof![Just(Cache::Short), Just(Cache::Hour)]).boxed(),
        Wire::OpenAi => Just(None).boxed(),
    }
}

fn text(wire: Wire) -> BoxedStrategy<Part<'static>> {
    (words(), cache(wire)).prop_map(|(text, cache)| Part::Text { text, cache }).boxed()
}

fn source(media: &'static str) -> BoxedStrategy<Source<'static>> {
    let inline = "[A-Za-z0-9+/]{0,12}={0,2}".prop_map(move |data| Source::Inline { media: media.into(), data: data.into() });
    prop_oneof![inline, "[a-z]{1,8}".prop_map(|host| Source::Url(format!("https://{host}.example/x").into()))].boxed()
}

fn user_part(wire: Wire) -> BoxedStrategy<Part<'static>> {
    let detail = if wire == Wire::OpenAi { option::of(word()).boxed() } else { Just(None).boxed() };
    let image = (source("image/png"), detail, cache(wire)).prop_map(|(source, detail, cache)| Part::Image { source, detail, cache });
    let file = match wire {
        Wire::OpenAi => prop_oneof![
            (words(), word()).prop_map(move |(id, name)| Part::File {
                source: Source::Stored { of: wire, id },
                name: Some(name),
                cache: None
            }),
            (word(), word()).prop_map(|(data, name)| Part::File {
                source: Source::Inline { media: "application/pdf".into(), data },
                name: Some(name),
                cache: None
            }),
            (word(), word()).prop_map(|(format, data)| Part::Audio { format, data }),
        ]
        .boxed(),
        Wire::Anthropic | Wire::Gemini | Wire::Responses => {
            let source = prop_oneof![
                source("application/pdf"),
                words().prop_map(move |id| Source::Stored { of: wire, id }),
                words().prop_map(Source::Text)
            ];
            (source, option::of(word()), cache(wire)).prop_map(|(source, name, cache)| Part::File { source, name, cache }).boxed()
        }
    };
    prop_oneof![3 => text(wire), 1 => image, 1 => file].boxed()
}

fn message(wire: Wire) -> BoxedStrategy<Message<'static>> {
    let name = if wire == Wire::OpenAi { option::of(word()).boxed() } else { Just(None).boxed() };
    let user = (name, prop::collection::vec(user_part(wire), 1..4)).prop_map(|(name, parts)| Message { role: Role::User, name, parts });
    let results =
        (word(), prop::collection::vec(text(wire), 1..3), any::<bool>(), cache(wire)).prop_map(move |(id, parts, failed, cache)| {
            let failed = failed && wire == Wire::Anthropic;
            Message { role: Role::User, name: None, parts: vec![Part::Result { id, parts, failed, cache }] }
        });
    let call = (word(), word(), object(), cache(wire)).prop_map(|(id, name, arguments, cache)| Part::Call { id, name, arguments, cache });
    let thoughts = match wire {
        Wire::OpenAi => Just(Vec::new()).boxed(),
        Wire::Anthropic | Wire::Gemini | Wire::Responses => prop::collection::vec(
            prop_oneof![
                (words(), words()).prop_map(|(text, proof)| Part::Thinking { text, signature: Some(proof) }),
                words().prop_map(Part::Redacted)
            ],
            0..2,
        )
        .boxed(),
    };
    let said = (thoughts, option::of(text(wire)), prop::collection::vec(call, 0..3));
    let assistant = said.prop_map(|(thoughts, text, calls)| {
        let parts: Vec<_> = thoughts.into_iter().chain(text).chain(calls).collect();
        Message { role: Role::Assistant, name: None, parts }
    });
    prop_oneof![2 => user, 1 => results, 2 => assistant.prop_filter("says something", |message| !message.parts.is_empty())].boxed()
}

/// Turns of one speaker are one turn to Anthropic.
fn alternating(messages: Vec<Message<'static>>) -> Vec<Message<'static>> {
    let mut turns: Vec<Message<'static>> = Vec::new();
    for message in messages {
        if turns.last().is_none_or(|last| last.role != message.role) {
            turns.push(message);
        }
    }
    turns
}

fn conversation(wire: Wire) -> BoxedStrategy<Vec<Message<'static>>> {
    let system =
        option::of(words().prop_map(move |text| Message { role: Role::System, name: None, parts: vec![Part::Text { text, cache: None }] }));
    let turns = prop::collection::vec(message(wire), 1..6).prop_map(move |all| if wire == Wire::OpenAi { all } else { alternating(all) });
    (system, turns).prop_map(|(system, turns)| system.into_iter().chain(turns).collect()).boxed()
}

fn tool(wire: Wire) -> BoxedStrategy<Tool<'static>> {
    (word(), option::of(words()), object(), option::of(any::<bool>()), cache(wire))
        .prop_map(|(name, description, schema, strict, cache)| Tool { name, description, schema: Some(schema), strict, cache })
        .boxed()
}

fn tools(wire: Wire) -> BoxedStrategy<(Vec<Tool<'static>>, Option<ToolChoice<'static>>, Option<bool>)> {
    let choice = prop_oneof![Just(ToolChoice::Auto), Just(ToolChoice::Any), word().prop_map(ToolChoice::Named)];
    let asked = prop::collection::vec(tool(wire), 1..3).prop_flat_map(move |tools| {
        (Just(tools), option::of(choice.clone()), option::of(any::<bool>())).prop_map(move |(tools, choice, parallel)| {
            // Anthropic's mark stands within the choice.
            let choice = if wire == Wire::Anthropic && parallel.is_some() { choice.or(Some(ToolChoice::Auto)) } else { choice };
            (tools, choice, parallel)
        })
    });
    prop_oneof![Just((Vec::new(), None, None)), asked].boxed()
}

fn format(wire: Wire) -> BoxedStrategy<Option<Format<'static>>> {
    match wire {
        Wire::OpenAi => option::of(prop_oneof![
            Just(Format::Object),
            (word(), option::of(words()), object(), option::of(any::<bool>()))
                .prop_map(|(name, description, schema, strict)| { Format::Schema { name: Some(name), description, schema, strict } }),
        ])
        .boxed(),
        Wire::Anthropic | Wire::Gemini | Wire::Responses => {
            option::of(object().prop_map(|schema| Format::Schema { name: None, description: None, schema, strict: Some(true) })).boxed()
        }
    }
}

/// The fields that only sampling and thinking know; by a model that takes them.
fn rest(wire: Wire) -> BoxedStrategy<Request<'static>> {
    let stop = prop::collection::vec("[a-z]{1,4}".prop_map(Words::Owned), 0..3);
    let own = (option::of(number()), option::of(number()), option::of(0u64..9), option::of(2u64..9), option::of(number()));
    let common = (option::of(2u64..100_000), option::of(number()), stop, option::of(word()), any::<bool>());
    let thinking = (prop::option::of(prop::sample::select(&Effort::ALL[2..5])), any::<bool>());
    (own, common, thinking)
        .prop_map(move |((seed, penalty, logprobs, choices, top_p), (max_tokens, temperature, stop, user, stream), (effort, thinks))| {
            let mut request = Request { max_tokens, stop, user, stream, ..Request::default() };
            match wire {
                Wire::OpenAi => {
                    request.tell_usage = stream && thinks;
                    request.model = "gpt-4o".into();
                    (request.seed, request.presence_penalty, request.frequency_penalty) = (seed, penalty.clone(), penalty);
                    (request.logprobs, request.choices) = (logprobs, choices);
                    (request.temperature, request.top_p) = (temperature, top_p);
                }
                // It takes one of them, and none while it thinks.
                Wire::Anthropic | Wire::Gemini | Wire::Responses if thinks => {
                    request.model = "claude-sonnet-4-6".into();
                    request.max_tokens = max_tokens.or(Some(9));
                    (request.thinking, request.effort) = (Some(Thinking::Off), effort);
                    request.temperature = temperature.filter(|text| text != "1.10");
                }
                Wire::Anthropic | Wire::Gemini | Wire::Responses => {
                    request.model = "claude-haiku-4-5".into();
                    request.max_tokens = Some(9_000);
                    request.thinking = Some(Thinking::Budget(2_000));
                }
            }
            request
        })
        .boxed()
}

fn request(wire: Wire) -> BoxedStrategy<Request<'static>> {
    (conversation(wire), tools(wire), format(wire), rest(wire))
        .prop_map(|(messages, (tools, tool_choice, parallel_calls), format, rest)| {
            let mut request = Request { messages, tools, tool_choice, parallel_calls, format, ..rest };
            if matches!(request.thinking, Some(Thinking::Budget(_))) {
                // Neither is sent to a model that thinks by a budget: a forced call, and calls without their thoughts.
                request.tool_choice = request.tool_choice.map(|_| ToolChoice::Auto);
                request.messages.iter_mut().for_each(|message| message.parts.retain(|part| !matches!(part, Part::Call { .. })));
                request.messages.retain(|message| !message.parts.is_empty());
                request.messages = alternating(std::mem::take(&mut request.messages));
            }
            request
        })
        .boxed()
}

fn spent(wire: Wire) -> BoxedStrategy<Usage> {
    (0u64..9_000, 0u64..9_000, 0u64..9_000, 0u64..9_000, 0u64..9_000)
        .prop_map(move |(input, output, cached, cache_write, reasoning)| {
            let (cached, cache_write) = match wire {
                Wire::OpenAi => (cached.min(input), cache_write.min(input - cached.min(input))),
                Wire::Anthropic | Wire::Gemini | Wire::Responses => (cached, cache_write),
            };
            let input = if wire == Wire::Anthropic { input + cached + cache_write } else { input };
            Usage { input, output, cached, cache_write, reasoning: reasoning.min(output), ..Usage::default() }
        })
        .boxed()
}

fn finish(wire: Wire) -> BoxedStrategy<(Finish, Option<Words<'static>>)> {
    let plain = prop_oneof![Just(Finish::Stop), Just(Finish::Length), Just(Finish::Calls), Just(Finish::Filtered)];
    let stop = word().prop_map(|text| (Finish::StopText, Some(text)));
    let own = if wire == Wire::Anthropic {
        prop_oneof![Just(Finish::WindowFull), Just(Finish::Paused)].boxed()
    } else {
        Just(Finish::Stop).boxed()
    };
    prop_oneof![3 => plain.prop_map(|finish| (finish, None)), 1 => own.prop_map(|finish| (finish, None)), 1 => stop].boxed()
}

fn answer(wire: Wire) -> BoxedStrategy<Answer<'static>> {
    let call = (word(), word(), object()).prop_map(|(id, name, arguments)| Part::Call { id, name, arguments, cache: None });
    let said = (option::of(words()), option::of(words()), prop::collection::vec(call, 0..3));
    let parts = said.prop_map(|(thought, text, calls)| {
        let thought = thought.map(|text| Part::Thinking { signature: Some("proof".into()), text });
        thought.into_iter().chain(text.map(|text| Part::Text { text, cache: None })).chain(calls).collect::<Vec<_>>()
    });
    let choice = (parts, finish(wire)).prop_map(|(parts, (finish, stop))| {
        let called = parts.iter().any(|part| matches!(part, Part::Call { .. }));
        Choice { finish: if called && finish == Finish::Stop { Finish::Calls } else { finish }, parts, stop }
    });
    let most = if wire == Wire::OpenAi { 3 } else { 2 };
    (word(), word(), 0u64..9_999_999_999, prop::collection::vec(choice, 1..most), spent(wire))
        .prop_map(move |(id, model, created, choices, spent)| Answer {
            id,
            model,
            created: (wire == Wire::OpenAi).then_some(created),
            choices,
            spent: Some(spent),
        })
        .boxed()
}

/// A whole stream: thoughts, words, calls, an end.
fn deltas(wire: Wire) -> BoxedStrategy<Vec<Delta<'static>>> {
    let thoughts = option::of(
        (words(), word()).prop_map(|(text, proof)| [Delta::Thinking { choice: 0, text }, Delta::Signature { choice: 0, text: proof }]),
    );
    let texts = prop::collection::vec(words().prop_map(|text| Delta::Text { choice: 0, text }), 0..4);
    // Anthropic's own calls without arguments say nothing of them: what reads those tells of an empty object.
    let least = usize::from(wire == Wire::Anthropic);
    let call = (word(), word(), prop::collection::vec(words(), least..3));
    let calls = prop::collection::vec(call, 0..3).prop_map(|calls| {
        let each = calls.into_iter().enumerate().flat_map(|(place, (id, name, pieces))| {
            let call = place as u32;
            let pieces = pieces.into_iter().map(move |json| Delta::Arguments { choice: 0, call, json });
            std::iter::once(Delta::Call { choice: 0, call, id, name }).chain(pieces)
        });
        each.collect::<Vec<_>>()
    });
    let created = (wire == Wire::OpenAi).then_some(7);
    ((word(), word()), thoughts, texts, calls, finish(wire), spent(wire))
        .prop_map(move |((id, model), thoughts, texts, calls, (finish, stop), spent)| {
            let finish = if !calls.is_empty() && finish == Finish::Stop { Finish::Calls } else { finish };
            let begin = [Delta::Begin { id, model, created }];
            let end = [Delta::Finish { choice: 0, finish, stop }, Delta::Spent(spent), Delta::End];
            begin.into_iter().chain(thoughts.into_iter().flatten()).chain(texts).chain(calls).chain(end).collect()
        })
        .boxed()
}

/// The events' data.
pub(super) fn data(events: &[u8]) -> Vec<String> {
    let text = std::str::from_utf8(events).expect("events are text");
    let lines =
        text.split("\n\n").filter(|event| !event.is_empty()).map(|event| event.lines().find_map(|line| line.strip_prefix("data: ")));
    lines.map(|line| line.expect("every event has data").to_owned()).collect()
}

fn read_stream(wire: Wire, events: &[u8]) -> Vec<Delta<'static>> {
    let mut reader = wire.seam().stream_reader();
    let mut told = Vec::new();
    for data in data(events) {
        let data: &'static str = Box::leak(data.into_boxed_str());
        reader.read(data.as_bytes(), &mut |delta| told.push(delta)).expect("what was written can be read");
    }
    told
}

/// Of any shape, though not all by chance: the words that readers look for.
pub(super) fn soup() -> BoxedStrategy<Value> {
    let keys = prop::sample::select(vec![
        "role",
        "content",
        "messages",
        "system",
        "tools",
        "type",
        "text",
        "function",
        "image_url",
        "source",
        "tool_calls",
        "stop",
        "usage",
        "choices",
        "delta",
        "message",
        "content_block",
        "index",
        "input",
        "thinking",
        "error",
        "model",
        "id",
        "name",
        "arguments",
        "url",
    ]);
    let leaf = prop_oneof![
        Just(json!(null)),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        prop::sample::select(vec![
            "user",
            "assistant",
            "tool",
            "text",
            "function",
            "tool_use",
            "tool_result",
            "image",
            "base64",
            "message_start",
            "content_block_start",
            "content_block_delta",
            "message_delta",
            "text_delta",
            "input_json_delta",
            "thinking",
            "data:;base64,"
        ])
        .prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 60, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((keys.clone(), inner), 0..6).prop_map(|members| members
                .into_iter()
                .map(|(key, value)| (key.to_owned(), value))
                .collect::<serde_json::Map<_, _>>()
                .into()),
        ]
    })
    .boxed()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn requests_read_back(openai in request(Wire::OpenAi), anthropic in request(Wire::Anthropic)) {
        for (wire, request) in [(Wire::OpenAi, openai), (Wire::Anthropic, anthropic)] {
            let written = wire.seam().write_request(&request).unwrap();
            prop_assert_eq!(&written.dropped, &Vec::<String>::new(), "{:?}", wire);
            let read = wire.seam().read_request(&written.body).unwrap();
            prop_assert_eq!(read, request, "{:?} {}", wire, String::from_utf8_lossy(&written.body));
        }
    }

    #[test]
    fn answers_read_back(openai in answer(Wire::OpenAi), anthropic in answer(Wire::Anthropic)) {
        for (wire, answer) in [(Wire::OpenAi, openai), (Wire::Anthropic, anthropic)] {
            let body = wire.seam().write_answer(&answer, 7);
            let read = wire.seam().read_answer(&body).unwrap();
            prop_assert_eq!(read, answer, "{:?} {}", wire, String::from_utf8_lossy(&body));
        }
    }

    #[test]
    fn streams_read_back(openai in deltas(Wire::OpenAi), anthropic in deltas(Wire::Anthropic)) {
        for (wire, deltas) in [(Wire::OpenAi, openai), (Wire::Anthropic, anthropic)] {
            let (mut writer, mut events) = (wire.seam().stream_writer(7), Vec::new());
            deltas.iter().for_each(|delta| writer.write(delta, &mut events));
            prop_assert_eq!(read_stream(wire, &events), deltas, "{:?} {}", wire, String::from_utf8_lossy(&events));
        }
    }

    #[test]
    fn a_stream_of_either_says_the_same_in_the_other(deltas in deltas(Wire::Anthropic)) {
        let (mut writer, mut events) = (Wire::OpenAi.seam().stream_writer(7), Vec::new());
        deltas.iter().for_each(|delta| writer.write(delta, &mut events));
        let told = read_stream(Wire::OpenAi, &events);
        let same = |delta: &&Delta<'_>| !matches!(delta, Delta::Begin { .. } | Delta::Finish { .. } | Delta::Spent(_));
        prop_assert_eq!(told.iter().filter(same).collect::<Vec<_>>(), deltas.iter().filter(same).collect::<Vec<_>>());
    }

    #[test]
    fn nothing_panics_a_reader_or_what_writes_what_it_read(body in soup(), bytes in prop::collection::vec(any::<u8>(), 0..80)) {
        for bytes in [body.to_string().as_bytes(), &bytes] {
            for (wire, other) in WIRES.iter().flat_map(|wire| WIRES.map(|other| (wire.seam(), other.seam()))) {
                if let Ok(request) = wire.read_request(bytes)
                    && let Ok(written) = other.write_request(&request)
                {
                    serde_json::from_slice::<Value>(&written.body).unwrap();
                }
                if let Ok(answer) = wire.read_answer(bytes) {
                    serde_json::from_slice::<Value>(&other.write_answer(&answer, 7)).unwrap();
                }
                let (mut reader, mut writer, mut out) = (wire.stream_reader(), other.stream_writer(7), Vec::new());
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
