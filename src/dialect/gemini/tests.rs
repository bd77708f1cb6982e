//! The Gemini API against itself and the others, by chance: nothing panics its reader, and what its writer writes its reader
//! reads back, as far as it can say it.

use proptest::option;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{GEMINI, types};
use crate::dialect::chat::{
    Answer, Choice, Delta, Effort, Finish, Format, Message, Part, Request, Role, Source, Thinking, Tool, ToolChoice,
};
use crate::dialect::tests::{data, number, object, soup, word, words};
use crate::dialect::{Usage, Wire};

fn text() -> BoxedStrategy<Part<'static>> {
    words().prop_map(|text| Part::Text { text, cache: None }).boxed()
}

fn inline(media: &'static str) -> BoxedStrategy<Source<'static>> {
    "[A-Za-z0-9+/]{0,12}={0,2}".prop_map(move |data| Source::Inline { media: media.into(), data: data.into() }).boxed()
}

fn user_part() -> BoxedStrategy<Part<'static>> {
    let url = |ending: &'static str| "[a-z]{1,8}".prop_map(move |host| Source::Url(format!("https://{host}.example/x.{ending}").into()));
    let image = prop_oneof![inline("image/png"), url("jpg")].prop_map(|source| Part::Image { source, detail: None, cache: None });
    let file = prop_oneof![inline("application/pdf"), url("pdf")].prop_map(|source| Part::File { source, name: None, cache: None });
    let sound =
        (prop_oneof![Just("wav"), Just("mp3"), Just("ogg")], word()).prop_map(|(format, data)| Part::Audio { format: format.into(), data });
    prop_oneof![3 => text(), 1 => image, 1 => file, 1 => sound].boxed()
}

fn proof() -> BoxedStrategy<Option<crate::dialect::chat::Words<'static>>> {
    option::of(word().prop_map(|word| format!("gemini:{word}").into())).boxed()
}

/// A round of the conversation: something asked, or calls and what they gave back.
fn round() -> BoxedStrategy<Vec<Message<'static>>> {
    let asked = prop::collection::vec(user_part(), 1..4).prop_map(|parts| vec![Message { role: Role::User, name: None, parts }]);
    let call = (word(), object(), words(), any::<bool>(), option::of(inline("image/png")));
    let called = (option::of((words(), proof())), prop::collection::vec(call, 1..3)).prop_map(|(thought, calls)| {
        let mut said: Vec<_> = thought.map(|(text, signature)| Part::Thinking { text, signature }).into_iter().collect();
        let mut given = Vec::new();
        for (place, (name, arguments, result, failed, picture)) in calls.into_iter().enumerate() {
            let id = format!("{name}_{place}");
            said.push(Part::Call { id: id.clone().into(), name, arguments, cache: None });
            let mut parts = vec![Part::Text { text: result, cache: None }];
            parts.extend(picture.map(|source| Part::Image { source, detail: None, cache: None }));
            given.push(Part::Result { id: id.into(), parts, failed, cache: None });
        }
        vec![Message { role: Role::Assistant, name: None, parts: said }, Message { role: Role::User, name: None, parts: given }]
    });
    prop_oneof![2 => asked, 1 => called].boxed()
}

/// Turns of one speaker are one turn.
fn conversation() -> BoxedStrategy<Vec<Message<'static>>> {
    let system =
        option::of(words().prop_map(|text| Message { role: Role::System, name: None, parts: vec![Part::Text { text, cache: None }] }));
    (system, prop::collection::vec(round(), 1..4))
        .prop_map(|(system, rounds)| {
            let mut turns: Vec<Message<'static>> = system.into_iter().collect();
            for message in rounds.into_iter().flatten() {
                match turns.last_mut() {
                    Some(last) if last.role == message.role => last.parts.extend(message.parts),
                    _ => turns.push(message),
                }
            }
            turns
        })
        .boxed()
}

fn tools() -> BoxedStrategy<(Vec<Tool<'static>>, Option<ToolChoice<'static>>)> {
    let tool = ("[a-z]{3,8}", option::of(words()), option::of(object()));
    let asked = (prop::collection::vec(tool, 1..3), 0..5).prop_map(|(tools, how)| {
        let tools: Vec<_> = tools
            .into_iter()
            .enumerate()
            .map(|(place, (name, description, schema))| Tool {
                name: format!("{name}{place}").into(),
                description,
                schema,
                strict: None,
                cache: None,
            })
            .collect();
        let choice = match how {
            0 => None,
            1 => Some(ToolChoice::Any),
            2 => Some(ToolChoice::Named(tools[0].name.clone())),
            3 => Some(ToolChoice::Never),
            _ => Some(ToolChoice::Auto),
        };
        (tools, choice)
    });
    prop_oneof![Just((Vec::new(), None)), asked].boxed()
}

/// How it thinks, by a model that can be told so.
fn thinking() -> BoxedStrategy<(&'static str, Option<Effort>, Option<Thinking>)> {
    let by_level = (prop::sample::select(&Effort::ALL[2..5]), option::of(Just(Thinking::Adaptive)));
    prop_oneof![
        Just(("gemini-3.8-flash", None, None)),
        by_level.prop_map(|(effort, thinking)| ("gemini-3.8-flash", Some(effort), thinking)),
        (1u64..24_577).prop_map(|tokens| ("gemini-2.5-flash", None, Some(Thinking::Budget(tokens)))),
        Just(("gemini-2.5-flash", None, Some(Thinking::Off))),
        Just(("gemini-2.5-flash", None, Some(Thinking::Adaptive))),
    ]
    .boxed()
}

fn request() -> BoxedStrategy<Request<'static>> {
    let format = option::of(prop_oneof![
        Just(Format::Object),
        object().prop_map(|schema| Format::Schema { name: None, description: None, schema, strict: None }),
    ]);
    let numbers = (option::of(number()), option::of(number()), option::of(0u64..9), option::of(any::<i32>()), option::of(2u64..9));
    let rest = (option::of(2u64..100_000), prop::collection::vec(words(), 0..4));
    (conversation(), tools(), format, thinking(), numbers, rest)
        .prop_map(
            |(
                messages,
                (tools, tool_choice),
                format,
                (model, effort, thinking),
                (temperature, top_p, top_k, seed, choices),
                (max_tokens, stop),
            )| {
                let mut request = Request { messages, tools, tool_choice, format, effort, thinking, ..Request::default() };
                request.model = model.into();
                (request.temperature, request.top_p, request.top_k) = (temperature, top_p, top_k);
                (request.seed, request.choices) = (seed.map(|seed| seed.to_string().into()), choices);
                (request.max_tokens, request.stop) = (max_tokens, stop);
                if model == "gemini-2.5-flash" {
                    // It follows no schema beside tools, and its tools give back no pictures.
                    request.format = request.format.filter(|_| request.tools.is_empty());
                    for part in request.messages.iter_mut().flat_map(|message| &mut message.parts) {
                        if let Part::Result { parts, .. } = part {
                            parts.truncate(1);
                        }
                    }
                }
                request
            },
        )
        .boxed()
}

fn spent() -> BoxedStrategy<Usage> {
    (0u64..9_000, 0u64..9_000, 0u64..9_000, 0u64..9_000, 0u64..9_000, 0u64..9_000)
        .prop_map(|(input, output, cached, reasoning, heard, spoken)| {
            let reasoning = reasoning.min(output);
            Usage {
                input,
                output,
                cached: cached.min(input),
                cache_write: 0,
                audio_input: heard.min(input),
                reasoning,
                audio_output: spoken.min(output - reasoning),
            }
        })
        .boxed()
}

fn finish(called: bool) -> BoxedStrategy<Finish> {
    let stop = if called { Finish::Calls } else { Finish::Stop };
    prop_oneof![2 => Just(stop), 1 => Just(Finish::Length), 1 => Just(Finish::Filtered)].boxed()
}

fn answer() -> BoxedStrategy<Answer<'static>> {
    let call = (word(), word(), object()).prop_map(|(id, name, arguments)| Part::Call { id, name, arguments, cache: None });
    let said = (option::of((words(), proof())), option::of(text()), prop::collection::vec(call, 0..3));
    let choice = said.prop_flat_map(|(thought, text, calls)| {
        let thought = thought.map(|(text, signature)| Part::Thinking { text, signature });
        let called = !calls.is_empty();
        let parts: Vec<_> = thought.into_iter().chain(text).chain(calls).collect();
        finish(called).prop_map(move |finish| Choice { parts: parts.clone(), finish, stop: None })
    });
    (word(), word(), prop::collection::vec(choice, 1..3), spent())
        .prop_map(|(id, model, choices, spent)| Answer { id, model, created: None, choices, spent: Some(spent) })
        .boxed()
}

/// A whole stream: thoughts, words, calls, an end.
fn deltas() -> BoxedStrategy<Vec<Delta<'static>>> {
    let thought = option::of((words(), word()));
    let texts = prop::collection::vec(words().prop_map(|text| Delta::Text { choice: 0, text }), 0..4);
    let calls = prop::collection::vec((word(), word(), object()), 0..3);
    ((word(), word()), thought, texts, calls, spent())
        .prop_flat_map(|((id, model), thought, texts, calls, spent)| {
            let mut all = vec![Delta::Begin { id, model, created: None }];
            if let Some((text, proof)) = thought {
                all.push(Delta::Thinking { choice: 0, text });
                all.push(Delta::Signature { choice: 0, text: format!("gemini:{proof}").into() });
            }
            all.extend(texts);
            let called = !calls.is_empty();
            for (place, (id, name, json)) in calls.into_iter().enumerate() {
                let call = place as u32;
                all.push(Delta::Call { choice: 0, call, id, name });
                all.push(Delta::Arguments { choice: 0, call, json });
            }
            finish(called).prop_map(move |finish| {
                let end = [Delta::Finish { choice: 0, finish, stop: None }, Delta::Spent(spent), Delta::End];
                all.iter().cloned().chain(end).collect()
            })
        })
        .boxed()
}

fn write_stream(deltas: &[Delta<'_>]) -> Vec<u8> {
    let (mut writer, mut events) = (GEMINI.stream_writer(7), Vec::new());
    deltas.iter().for_each(|delta| writer.write(delta, &mut events));
    events
}

fn read_stream(events: &[u8]) -> Vec<Delta<'static>> {
    let (mut reader, mut told) = (GEMINI.stream_reader(), Vec::new());
    for data in data(events) {
        let data: &'static str = Box::leak(data.into_boxed_str());
        reader.read(data.as_bytes(), &mut |delta| told.push(delta)).expect("what was written can be read");
    }
    told
}

/// Of any shape, though not all by chance: the words that its reader looks for.
fn own_soup() -> BoxedStrategy<Value> {
    let keys = prop::sample::select(vec![
        "contents",
        "parts",
        "role",
        "text",
        "thought",
        "thoughtSignature",
        "functionCall",
        "function_response",
        "functionResponse",
        "name",
        "args",
        "response",
        "id",
        "inlineData",
        "mimeType",
        "data",
        "fileData",
        "fileUri",
        "systemInstruction",
        "generationConfig",
        "tools",
        "functionDeclarations",
        "parameters",
        "properties",
        "type",
        "nullable",
        "items",
        "anyOf",
        "responseSchema",
        "thinkingConfig",
        "thinkingBudget",
        "candidates",
        "content",
        "finishReason",
        "usageMetadata",
        "promptTokenCount",
        "promptFeedback",
        "blockReason",
        "error",
    ]);
    let leaf = prop_oneof![
        Just(json!(null)),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        prop::sample::select(vec!["user", "model", "STOP", "SAFETY", "OBJECT", "image/png", "https://x.example/y.png", "output"])
            .prop_map(Value::from),
    ];
    leaf.prop_recursive(7, 60, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((keys.clone(), inner), 0..6).prop_map(|members| {
                members.into_iter().map(|(key, value)| (key.to_owned(), value)).collect::<serde_json::Map<_, _>>().into()
            }),
        ]
    })
    .boxed()
}

/// Reads what may be anything, in one dialect, and writes it in another.
fn translate(from: &crate::dialect::seam::Seam, to: &crate::dialect::seam::Seam, body: &[u8]) {
    if let Ok(request) = from.read_request(body)
        && let Ok(written) = to.write_request(&request)
    {
        serde_json::from_slice::<Value>(&written.body).unwrap();
    }
    if let Ok(answer) = from.read_answer(body) {
        serde_json::from_slice::<Value>(&to.write_answer(&answer, 7)).unwrap();
    }
    let (mut reader, mut writer, mut out) = (from.stream_reader(), to.stream_writer(7), Vec::new());
    for _ in 0..2 {
        let _ = reader.read(body, &mut |delta| writer.write(&delta, &mut out));
    }
    for data in std::str::from_utf8(&out).unwrap().lines().filter_map(|line| line.strip_prefix("data: ")) {
        if data != "[DONE]" {
            serde_json::from_str::<Value>(data).unwrap();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn a_request_reads_back(request in request()) {
        let written = GEMINI.write_request(&request).unwrap();
        prop_assert_eq!(&written.dropped, &Vec::<String>::new());
        let mut read = GEMINI.read_request(&written.body).unwrap();
        // It stands in the path.
        read.model = request.model.clone();
        prop_assert_eq!(read, request, "{}", String::from_utf8_lossy(&written.body));
    }

    #[test]
    fn an_answer_reads_back(answer in answer()) {
        let body = GEMINI.write_answer(&answer, 7);
        prop_assert_eq!(GEMINI.read_answer(&body).unwrap(), answer, "{}", String::from_utf8_lossy(&body));
    }

    #[test]
    fn a_stream_reads_back(deltas in deltas()) {
        let events = write_stream(&deltas);
        prop_assert_eq!(read_stream(&events), deltas, "{}", String::from_utf8_lossy(&events));
    }

    #[test]
    fn a_stream_says_the_same_in_the_others(deltas in deltas(), wire in prop::sample::select(vec![Wire::OpenAi, Wire::Anthropic])) {
        let (mut writer, mut events) = (wire.seam().stream_writer(7), Vec::new());
        deltas.iter().for_each(|delta| writer.write(delta, &mut events));
        let (mut reader, mut again) = (wire.seam().stream_reader(), GEMINI.stream_writer(7));
        let mut told = Vec::new();
        for data in data(&events) {
            reader.read(data.as_bytes(), &mut |delta| again.write(&delta, &mut told)).unwrap();
        }
        // OpenAI's wire has no place for the kinds of what was used by sound, so that isn't compared.
        let same = |delta: &&Delta<'_>| !matches!(delta, Delta::Begin { .. } | Delta::Spent(_));
        let told = read_stream(&told);
        prop_assert_eq!(told.iter().filter(same).collect::<Vec<_>>(), deltas.iter().filter(same).collect::<Vec<_>>());
    }

    #[test]
    fn nothing_panics_a_reader_or_what_writes_what_it_read(own in own_soup(), other in soup(), bytes in prop::collection::vec(any::<u8>(), 0..80)) {
        let seams = [&GEMINI, Wire::OpenAi.seam(), Wire::Anthropic.seam()];
        for body in [own.to_string().as_bytes(), other.to_string().as_bytes(), &bytes] {
            seams.iter().for_each(|seam| translate(&GEMINI, seam, body));
            seams.iter().for_each(|seam| translate(seam, &GEMINI, body));
        }
    }

    #[test]
    fn a_path_is_one(model in any::<String>(), stream in any::<bool>()) {
        let path = types::path(&model, stream);
        prop_assert!(path.is_ascii() && !path.contains(['#', ' ', '\\']) && path.matches('?').count() == usize::from(stream), "{}", path);
        prop_assert_eq!(path.matches('/').count() > 2, model.starts_with("tunedModels/") && model.matches('/').count() > 1);
    }
}
