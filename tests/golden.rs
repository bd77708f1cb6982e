//! What each dialect's documented requests, answers, streams and refusals become in another: fixtures under tests/golden, one
//! file each, in a folder named by the dialect that it is read from (and, where there are several, written to: `to_gemini` is OpenAI's for Gemini). `page` names the vendor's page that it was written from, `in` is what
//! that dialect says, `out` what it becomes, `dropped` what was left out and `unfit` why it can't be said at all.
//!
//! With STAGEDOOR_GOLDEN=write the expected half of every file is written anew, to be read and judged as a change.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};
use stagedoor::dialect::anthropic::ANTHROPIC;
use stagedoor::dialect::chat::Thinking;
use stagedoor::dialect::gemini::GEMINI;
use stagedoor::dialect::openai::OPENAI;
use stagedoor::dialect::responses::RESPONSES;
use stagedoor::dialect::scan::error_parts;
use stagedoor::dialect::seam::Seam;

/// When it is, to the writers.
const NOW: u64 = 1_700_000_000;

/// The folders: what is read, what is written, and for which model.
fn dialects() -> [(&'static str, &'static Seam, &'static Seam, &'static str); 13] {
    [
        ("azure", &OPENAI, &ANTHROPIC, "claude-sonnet-4-5"),
        ("openai", &OPENAI, &ANTHROPIC, "claude-sonnet-4-5"),
        ("anthropic", &ANTHROPIC, &OPENAI, "gpt-4o"),
        ("gemini", &GEMINI, &OPENAI, "gpt-4o"),
        ("gemini_to_anthropic", &GEMINI, &ANTHROPIC, "claude-sonnet-4-5"),
        ("to_gemini", &OPENAI, &GEMINI, "gemini-3.8-flash"),
        ("anthropic_to_gemini", &ANTHROPIC, &GEMINI, "gemini-3.8-flash"),
        ("responses", &RESPONSES, &OPENAI, "gpt-4o"),
        ("responses_to_anthropic", &RESPONSES, &ANTHROPIC, "claude-sonnet-4-5"),
        ("responses_to_gemini", &RESPONSES, &GEMINI, "gemini-3.8-flash"),
        ("to_responses", &OPENAI, &RESPONSES, "gpt-5.2"),
        ("anthropic_to_responses", &ANTHROPIC, &RESPONSES, "gpt-5.2"),
        ("gemini_to_responses", &GEMINI, &RESPONSES, "gpt-5.2"),
    ]
}

fn files(dialect: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(dialect);
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// An event's data: JSON, or what isn't.
fn data(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| text.into())
}

/// What a fixture becomes.
fn told(fixture: &Value, from: &Seam, to: &Seam, model: &str) -> Map<String, Value> {
    let input = fixture["in"].to_string();
    let mut told = Map::new();
    match fixture["what"].as_str().unwrap() {
        "request" => {
            let written = from.read_request(input.as_bytes()).and_then(|mut request| {
                request.model = fixture["model"].as_str().unwrap_or(model).into();
                to.write_request(&request)
            });
            match written {
                Ok(written) => {
                    told.insert("out".into(), serde_json::from_slice(&written.body).unwrap());
                    told.insert("dropped".into(), json!(written.dropped));
                }
                Err(unfit) => _ = told.insert("unfit".into(), unfit.to_string().into()),
            }
        }
        "answer" => {
            let answer = from.read_answer(input.as_bytes()).unwrap();
            let asked = fixture["request"].to_string();
            told.insert("out".into(), serde_json::from_slice(&to.write_answer_to(asked.as_bytes(), &answer, NOW)).unwrap());
        }
        "stream" => {
            let (mut reader, mut writer, mut out) = (from.stream_reader(), to.stream_writer(NOW), Vec::new());
            for event in fixture["in"].as_array().unwrap() {
                let event = event.as_str().map_or_else(|| event.to_string(), str::to_owned);
                reader.read(event.as_bytes(), &mut |delta| writer.write(&delta, &mut out)).unwrap();
            }
            let events = String::from_utf8(out).unwrap();
            let lines = events.split_inclusive("\n\n").map(|event| match event.trim_end().strip_prefix("event: ") {
                Some(named) => {
                    let (name, rest) = named.split_once('\n').unwrap();
                    let value = data(rest.strip_prefix("data: ").unwrap());
                    assert_eq!(value["type"], name);
                    value
                }
                None => data(event.strip_prefix("data: ").unwrap_or(event).trim_end()),
            });
            told.insert("out".into(), lines.collect());
        }
        "refusal" => {
            let status = fixture["status"].as_u64().unwrap() as u16;
            told.insert("out".into(), serde_json::from_slice(&to.write_refusal(status, &error_parts(input.as_bytes()))).unwrap());
        }
        other => panic!("{other}"),
    }
    told
}

#[test]
fn every_fixture_becomes_what_it_says() {
    let write = std::env::var("STAGEDOOR_GOLDEN").is_ok_and(|value| value == "write");
    let mut seen = 0;
    for (name, from, to, model) in dialects() {
        for file in files(name) {
            let mut fixture: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
            assert!(fixture["page"].as_str().is_some_and(|page| page.starts_with("https://")), "{}", file.display());
            let told = told(&fixture, from, to, model);
            let fields = ["out", "dropped", "unfit"];
            if write {
                let all = fixture.as_object_mut().unwrap();
                fields.iter().for_each(|field| _ = all.remove(*field));
                all.extend(told);
                std::fs::write(&file, serde_json::to_string_pretty(&fixture).unwrap() + "\n").unwrap();
            } else {
                for field in fields {
                    let expected = fixture.get(field);
                    assert_eq!(told.get(field), expected, "{field} of {}\n{}", file.display(), told.get(field).unwrap_or(&Value::Null));
                }
            }
            seen += 1;
        }
    }
    assert!(seen >= 320, "{seen} fixtures");
}

/// What each pair of dialects has to show, by what its fixtures are called.
const SUBJECTS: &[(&str, &[&str])] = &[
    ("a text asked for", &["request_text", "request_instructions", "request_unfit_stop"]),
    ("tools", &["request_tools"]),
    ("several tools' results", &["request_tool_results"]),
    ("pictures", &["request_image"]),
    ("structured output", &["request_schema"]),
    ("thinking asked for", &["request_reasoning", "request_thinking", "request_effort"]),
    ("what can't be carried", &["request_unfit"]),
    ("an answer", &["answer_text"]),
    ("parallel calls", &["answer_tools"]),
    ("a refusal", &["answer_refusal", "answer_stop_refusal", "answer_safety"]),
    ("why an answer ended", &["answer_length", "answer_incomplete", "answer_stop_max_tokens", "answer_max_tokens"]),
    ("errors", &["refusal_"]),
    ("a stream", &["stream_text"]),
    ("calls in a stream", &["stream_tools"]),
    ("a stream that breaks", &["stream_error"]),
];

/// Whose pages fixtures are written from.
const VENDORS: &[&str] = &[
    "platform.openai.com",
    "platform.claude.com",
    "ai.google.dev",
    "learn.microsoft.com",
    // What they add to OpenAI's words.
    "api-docs.deepseek.com",
    "openrouter.ai",
];

#[test]
fn every_pair_of_dialects_has_every_subject_and_every_fixture_a_vendors_page() {
    for (name, ..) in dialects() {
        let files = files(name);
        for file in &files {
            let fixture: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
            let page = fixture["page"].as_str().unwrap_or_default();
            let host = page.strip_prefix("https://").and_then(|page| page.split('/').next()).unwrap_or_default();
            assert!(VENDORS.contains(&host), "{} names no vendor's page: {page:?}", file.display());
        }
        let names: Vec<_> = files.iter().map(|file| file.file_stem().unwrap().to_str().unwrap()).collect();
        // Azure's is OpenAI's but for its filters.
        let subjects = SUBJECTS.iter().filter(|_| name != "azure");
        let missing: Vec<_> =
            subjects.filter(|(_, starts)| !names.iter().any(|name| starts.iter().any(|start| name.starts_with(start)))).collect();
        assert!(missing.is_empty(), "{name} has nothing of {missing:?}");
    }
}

/// What the neutral shape has of a request is in it still after its own dialect wrote it.
#[test]
fn a_request_in_its_own_dialect_loses_nothing() {
    for (name, seam, ..) in dialects() {
        for file in files(name) {
            let fixture: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
            let input = fixture["in"].to_string();
            let Ok(mut request) = seam.read_request(input.as_bytes()) else { continue };
            if fixture["what"] != "request" || request.others.iter().any(|other| !other.harmless) {
                continue;
            }
            // One that takes what is asked.
            request.model = match (name, request.effort) {
                ("openai" | "azure" | "to_gemini" | "to_responses", None) => "gpt-4o",
                ("openai" | "azure" | "to_gemini" | "to_responses", Some(_)) => "gpt-5.2",
                (name, _) if name.starts_with("responses") => "gpt-5.2",
                (name, _) if name.starts_with("gemini") => "gemini-3.8-flash",
                (_, None) => "claude-sonnet-4-5",
                (_, Some(_)) => "claude-opus-4-8",
            }
            .into();
            request.others.clear();
            let written = seam.write_request(&request).unwrap();
            if !written.dropped.is_empty() {
                // What OpenAI's own wire has no word for, or the model doesn't take: told, and seen above.
                continue;
            }
            if name.starts_with("anthropic") && request.effort.is_some() {
                // Whoever asks for an effort in no dialect asks for thoughts.
                request.thinking = request.thinking.or(Some(Thinking::Adaptive));
            }
            let mut again = seam.read_request(&written.body).unwrap();
            if name.starts_with("gemini") {
                // It stands in the path.
                again.model.clone_from(&request.model);
            }
            assert_eq!(again, request, "{}", file.display());
        }
    }
}
