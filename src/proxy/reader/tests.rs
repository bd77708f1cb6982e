//! Reading: untouched bytes, cuts, what is held and hidden, and later legs at every cut by every way.

mod opening;

use super::*;
use crate::corpus::{self, Ends, Spoilt};
use crate::dialect::{Source, Usage};
use crate::health::Failure;
use crate::stream::{Barred, Seam, Way};
use proptest::prelude::*;
use serde_json::json;

fn word(text: &str) -> String {
    format!("data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{text}\"}},\"finish_reason\":null}}]}}\n\n")
}

fn stream() -> String {
    let role = "data: {\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\"},\"finish_reason\":null}]}\n\n";
    let end = "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n";
    format!("{role}: note\n\n{}{}{end}", word("one"), word(" zwölf"))
}

fn plain() -> Reading {
    Reading {
        wire: Wire::OpenAi,
        max_event: 1 << 20,
        choices: 1,
        hide_usage: true,
        hold_tools: false,
        tally: Tally::new(3),
        priced: None,
        tale: None,
        stitch: None,
    }
}

fn run(pieces: impl IntoIterator<Item = Bytes>) -> (Vec<u8>, Progress) {
    let codes = BTreeMap::new();
    let mut reader = Reader::new(plain());
    let mut sent = Vec::new();
    for piece in pieces {
        let progress = reader.feed(piece, &codes);
        if reader.committed()
            && let Some(out) = reader.take()
        {
            sent.extend_from_slice(&out);
        }
        if progress != Progress::More {
            return (sent, progress);
        }
    }
    let progress = reader.end(Input::Eof, &codes);
    if reader.committed()
        && let Some(out) = reader.take()
    {
        sent.extend_from_slice(&out);
    }
    (sent, progress)
}

#[test]
fn untouched_in_every_chunking() {
    let whole = Bytes::from(stream());
    for size in 1..=64 {
        let pieces = (0..whole.len()).step_by(size).map(|at| whole.slice(at..(at + size).min(whole.len())));
        let (sent, progress) = run(pieces);
        assert_eq!(progress, Progress::Finished);
        assert_eq!(sent, whole, "in pieces of {size}");
    }
}

#[test]
fn cut_anywhere_before_the_finish_reason_it_fails() {
    let whole = Bytes::from(stream());
    let finish = stream().find("data: {\"choices\":[{\"index\":0,\"delta\":{},").unwrap();
    let enough = whole.len() - "\n\ndata: [DONE]\n\n".len();
    for cut in 0..whole.len() {
        let (sent, progress) = run([whole.slice(..cut)]);
        if cut < enough {
            assert_eq!(progress, Progress::Failed(Outcome::Transient(Failure::Truncated)), "cut at {cut}");
            assert!(!String::from_utf8_lossy(&sent).contains("[DONE]"));
            assert!(sent.len() <= finish.max(cut));
        } else {
            assert_eq!(progress, Progress::Finished, "cut at {cut}");
            assert!(sent.ends_with(Wire::OpenAi.terminal()));
        }
    }
}

#[test]
fn nothing_is_made_of_an_event_that_was_cut_before_it_said_anything() {
    for cut in ["data", "data:", "data: ", "data: \n", ": no"] {
        let mut reader = Reader::new(plain());
        reader.feed(Bytes::from(word("a")), &BTreeMap::new());
        reader.take();
        reader.feed(Bytes::from(cut), &BTreeMap::new());
        reader.end(Input::Eof, &BTreeMap::new());
        assert_eq!(reader.take(), None, "{cut:?}");
    }
}

#[test]
fn side_by_side_events_are_one_slice() {
    let piece = Bytes::from(word("a") + &word("b"));
    let mut reader = Reader::new(plain());
    reader.feed(piece.clone(), &BTreeMap::new());
    let out = reader.take().unwrap();
    assert_eq!((out.as_ptr(), out.len()), (piece.as_ptr(), piece.len()));
}

#[test]
fn endless_comments_before_the_content_are_too_large() {
    let mut reader = Reader::new(Reading { max_event: 1_000, ..plain() });
    let comment = Bytes::from(format!(": {}\n\n", "x".repeat(100)));
    let failed = (0..100).map(|_| reader.feed(comment.clone(), &BTreeMap::new())).find(|p| *p != Progress::More);
    assert_eq!(failed, Some(Progress::Failed(Outcome::Transient(Failure::TooLarge))));
}

/// What a caller who asked for everything gets of a body that comes so.
fn read<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> (Vec<u8>, Progress) {
    let mut sent = Vec::new();
    let mut reader = Reader::new(Reading { hide_usage: false, ..plain() });
    let progress = feed(&mut reader, chunks.into_iter().map(Bytes::copy_from_slice), &mut sent, Input::Eof);
    while reader.committed()
        && let Some(out) = reader.take()
    {
        sent.extend_from_slice(&out);
    }
    (sent, progress)
}

#[test]
fn what_vendors_send_is_judged_right_at_every_cut_and_in_every_chunking() {
    for stream in corpus::STREAMS {
        let expected = stream.reaches_the_caller();
        assert_eq!(corpus::content(&expected), stream.says, "{}", stream.name);
        let judged = |(mut sent, progress): (Vec<u8>, Progress), about: &dyn Fn() -> String| {
            let whole = progress == Progress::Finished;
            assert_eq!(whole, !matches!(stream.ends, Ends::Broken(_)), "{}: {progress:?}", about());
            if stream.ends == Ends::Unmarked {
                assert!(sent.ends_with(Wire::OpenAi.terminal()), "{}", about());
                sent.truncate(sent.len() - Wire::OpenAi.terminal().len());
            }
            // What breaks within the piece that it began with was never sent.
            if whole || !sent.is_empty() {
                assert_eq!(String::from_utf8_lossy(&sent), String::from_utf8_lossy(&expected), "{}", about());
            }
        };
        for size in 1..=64 {
            judged(read(stream.bytes.chunks(size)), &|| format!("{} in pieces of {size}", stream.name));
        }
        for cut in 0..=stream.bytes.len() {
            let (left, right) = stream.bytes.split_at(cut);
            judged(read([left, right]), &|| format!("{} cut at {cut}", stream.name));
        }
    }
}

#[test]
fn what_vendors_send_is_never_whole_before_its_finish_reason() {
    for stream in corpus::STREAMS {
        let text = std::str::from_utf8(stream.bytes).unwrap();
        let finish = text.match_indices("\"finish_reason\":\"").find(|(at, name)| !text[at + name.len()..].starts_with('"'));
        let end = finish.map(|(at, _)| at).or(text.find("[DONE]"));
        let end = end.map_or(text.len(), |at| text[..at].rfind("data:").unwrap());
        for cut in 0..end {
            let (sent, progress) = read([&stream.bytes[..cut]]);
            assert!(matches!(progress, Progress::Failed(_)), "{} cut at {cut}: {progress:?}", stream.name);
            assert!(!sent.ends_with(Wire::OpenAi.terminal()), "{} cut at {cut}", stream.name);
        }
    }
}

/// Whether a line is the one that ends a stream well.
fn is_terminal(line: &str) -> bool {
    line.starts_with("data: [DONE]") || line.starts_with("data:[DONE]")
}

proptest! {
    #[test]
    fn a_spoilt_stream_ends_once_or_breaks_whatever_its_chunking(Spoilt(bytes) in corpus::stream(), sizes in corpus::sizes()) {
        let (sent, progress) = read([&bytes[..]]);
        let (again, how) = read(corpus::chunks(&bytes, &sizes));
        prop_assert_eq!(&progress, &how);
        // What breaks within the piece that it began with was never sent.
        if progress == Progress::Finished || !sent.is_empty() {
            prop_assert_eq!(String::from_utf8_lossy(&sent), String::from_utf8_lossy(&again));
        }
        let terminals = memchr::memmem::find_iter(&sent, b"[DONE]").count();
        if progress == Progress::Finished {
            prop_assert!(terminals > 0 && (sent.ends_with(b"\n\n") || sent.ends_with(b"\r\r") || sent.ends_with(b"\r\n") || sent.ends_with(b"\n\r")));
        } else {
            // A line of its own: another field's may end in the same words.
            let sent = String::from_utf8_lossy(&sent);
            let last = sent.split(['\n', '\r']).rfind(|line| !line.is_empty());
            prop_assert!(!last.is_some_and(is_terminal), "{:?} {}", progress, sent);
        }
    }

    #[test]
    fn a_spoilt_second_leg_says_only_what_it_said_and_ends_once(
        Spoilt(first) in corpus::stream(), Spoilt(second) in corpus::stream(), at in any::<prop::sample::Index>(), way in prop::sample::select(Way::ALL.to_vec()),
        sizes in corpus::sizes(), hold_tools in any::<bool>(), wants_usage in any::<bool>(),
    ) {
        let mut reader = Reader::new(Reading { hold_tools, ..told(wants_usage) });
        let mut sent = Vec::new();
        let pieces = |bytes: &[u8]| corpus::chunks(bytes, &sizes).into_iter().map(Bytes::copy_from_slice).collect::<Vec<_>>();
        let progress = feed(&mut reader, pieces(&first[..at.index(first.len() + 1)]), &mut sent, Input::Reset);
        if progress == Progress::Finished || sent.is_empty() {
            return Ok(());
        }
        let Some((tale, tally)) = reader.take_tale() else { return Ok(()) };
        let Ok(said) = tale.said.text() else { return Ok(()) };
        let (said, before) = (said.to_owned(), sent.len());
        let mut reader = Reader::new(Reading { hold_tools, ..leg(tale, tally, way, wants_usage) });
        let progress = feed(&mut reader, pieces(&second), &mut sent, Input::Eof);
        let (new, ends) = (String::from_utf8_lossy(&sent[before..]).into_owned(), progress == Progress::Finished);
        // A line of its own: a comment may hold the same words.
        prop_assert_eq!(new.split(['\n', '\r']).any(is_terminal), ends, "{:?} {}", progress, new);
        // A second answer speaks in the first one's name, adds words and never takes any back.
        for event in new.lines().filter_map(|line| line.strip_prefix("data: ")).filter(|data| !data.starts_with("[DONE]")) {
            let event: serde_json::Value = serde_json::from_str(event).map_err(|error| TestCaseError::fail(format!("{error} in {event}")))?;
            prop_assert!(event["choices"][0]["delta"].get("role").is_none(), "{}", event);
        }
        if ends && let Ok(text) = reader.take_tale().map_or(Err(Barred::NoText), |(tale, _)| tale.said.text().map(str::to_owned)) {
            prop_assert!(text.starts_with(&said));
        }
    }

    #[test]
    fn any_bytes_never_panic_and_never_finish_by_themselves(pieces in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..80), 0..20)) {
        let (_, progress) = run(pieces.into_iter().map(Bytes::from));
        prop_assert!(matches!(progress, Progress::Failed(_)));
    }
}

/// An answer of so many words: the first with a role, the last with a finish reason, a usage and the terminal event.
struct Answer {
    id: &'static str,
    words: Vec<String>,
}

impl Answer {
    fn new(id: &'static str, words: &[&str]) -> Self {
        Self { id, words: words.iter().map(|word| (*word).to_owned()).collect() }
    }

    fn event(&self, delta: serde_json::Value, finish: Option<&str>) -> String {
        let choices = json!([{"index": 0, "delta": delta, "finish_reason": finish}]);
        let event = json!({"id": self.id, "object": "chat.completion.chunk", "created": 1, "model": format!("model-of-{}", self.id), "choices": choices});
        format!("data: {event}\n\n")
    }

    fn body(&self) -> String {
        let role = self.event(json!({"role": "assistant", "content": ""}), None);
        let words: String = self.words.iter().map(|word| self.event(json!({"content": word}), None)).collect();
        let usage = format!(
            "data: {}\n\n",
            json!({"id": self.id, "choices": [], "usage": {"prompt_tokens": 10, "completion_tokens": self.words.len(), "total_tokens": 10 + self.words.len()}})
        );
        format!("{role}{words}{}{usage}data: [DONE]\n\n", self.event(json!({}), Some("stop")))
    }
}

/// What the caller's bytes come to.
#[derive(Debug, Default, PartialEq)]
struct Caller {
    ids: Vec<String>,
    models: Vec<String>,
    roles: usize,
    words: String,
    finishes: usize,
    usages: Vec<u64>,
    terminals: usize,
    calls: String,
}

fn seen(bytes: &[u8]) -> Caller {
    let mut seen = Caller::default();
    for line in std::str::from_utf8(bytes).unwrap().lines() {
        let Some(data) = line.strip_prefix("data: ") else { continue };
        if data == "[DONE]" {
            seen.terminals += 1;
            continue;
        }
        let event: serde_json::Value = serde_json::from_str(data).unwrap();
        for (list, name) in [(&mut seen.ids, "id"), (&mut seen.models, "model")] {
            let value = event[name].as_str().unwrap_or("none").to_owned();
            list.extend((!list.contains(&value)).then_some(value));
        }
        let delta = &event["choices"][0]["delta"];
        seen.roles += usize::from(delta["role"].is_string());
        seen.words += delta["content"].as_str().unwrap_or_default();
        for call in delta["tool_calls"].as_array().into_iter().flatten() {
            seen.calls += call["id"].as_str().unwrap_or_default();
            seen.calls += call["function"]["arguments"].as_str().unwrap_or_default();
        }
        seen.finishes += usize::from(event["choices"][0]["finish_reason"].is_string());
        seen.usages.extend(event["usage"]["total_tokens"].as_u64());
    }
    seen
}

fn feed(reader: &mut Reader, pieces: impl IntoIterator<Item = Bytes>, sent: &mut Vec<u8>, end: Input) -> Progress {
    let codes = BTreeMap::new();
    let mut pieces = pieces.into_iter();
    // What commits and fails in one step was never sent.
    let mut flows = reader.committed();
    loop {
        let progress = match pieces.next() {
            Some(piece) => reader.feed(piece, &codes),
            None => reader.end(end, &codes),
        };
        flows |= reader.committed() && progress == Progress::More || progress == Progress::Finished;
        if flows {
            while let Some(out) = reader.take() {
                sent.extend_from_slice(&out);
            }
        }
        if progress != Progress::More {
            return progress;
        }
    }
}

fn chunks(body: &Bytes, size: usize) -> impl Iterator<Item = Bytes> {
    (0..body.len()).step_by(size).map(move |at| body.slice(at..(at + size).min(body.len())))
}

fn told(wants_usage: bool) -> Reading {
    Reading { tale: Some(Box::default()), hide_usage: !wants_usage, ..plain() }
}

/// How a leg behind this tale is read.
fn leg(tale: Box<Tale>, mut tally: Tally, way: Way, wants_usage: bool) -> Reading {
    tally.next(12, Some(0));
    let seam = Seam::new(tale.said.text().unwrap(), way);
    let stitch = Stitch::new(seam, Bytes::from_static(b": seam\n\n"), wants_usage);
    Reading { tale: Some(tale), tally, stitch: Some(Box::new(stitch)), hide_usage: !wants_usage, ..plain() }
}

/// What the second target says to the tale, by way.
fn onward(tale: &Tale, way: Way, words: &[&str]) -> Answer {
    let said = tale.said.text().unwrap();
    match way {
        Way::Splice => Answer::new("second", words),
        _ => {
            // A word may be cut in the middle of its event only where the event came whole.
            let whole = words.concat();
            let rest = whole[said.trim_end().len()..].to_owned();
            Answer { id: "second", words: rest.split_inclusive(' ').map(str::to_owned).collect() }
        }
    }
}

const WORDS: [&str; 7] = ["Die ", "Bühne ", "\"geht\"\n", "auf, ", "und ", "alle 🎭 ", "klatschen."];

#[test]
fn cut_at_every_byte_and_continued_by_every_way_the_caller_has_one_answer() {
    let body = Bytes::from(Answer::new("first", &WORDS).body());
    for cut in 0..body.len() {
        let (wants_usage, end) = (cut % 2 == 0, [Input::Eof, Input::Reset, Input::Silence][cut % 3]);
        let mut first = Reader::new(told(wants_usage));
        let mut sent = Vec::new();
        let progress = feed(&mut first, [body.slice(..cut)], &mut sent, end);
        if progress == Progress::Finished || sent.is_empty() {
            continue; // Whole, or nothing was sent: another target answers afresh.
        }
        let (tale, tally) = first.take_tale().unwrap();
        assert_eq!(tale.said.text(), Ok(seen(&sent).words.as_str()));
        for way in Way::ALL {
            let answer = Bytes::from(onward(&tale, way, &WORDS).body());
            let mut all = sent.clone();
            let mut second = Reader::new(leg(tale.clone(), tally.clone(), way, wants_usage));
            let progress = feed(&mut second, chunks(&answer, 1 + cut % 64), &mut all, Input::Eof);
            let got = seen(&all);
            let about = format!("cut at {cut}, {way:?}, {}", String::from_utf8_lossy(&all));
            assert_eq!((progress, got.words.as_str()), (Progress::Finished, WORDS.concat().as_str()), "{about}");
            assert_eq!((got.roles, got.finishes, got.terminals), (1, 1, 1), "{about}");
            assert_eq!((got.ids.join(","), got.models.join(",")), ("first".into(), "model-of-first".into()), "{about}");
            assert_eq!(got.usages.len(), usize::from(wants_usage), "{about}");
            assert_eq!(String::from_utf8_lossy(&all).matches(": seam\n\n").count(), 1, "{about}");
        }
    }
}

#[test]
fn a_usage_is_the_sum_of_both_legs() {
    let body = Answer::new("first", &WORDS).body();
    let cut = body.find("klatschen").unwrap();
    let mut first = Reader::new(told(true));
    let mut sent = Vec::new();
    feed(&mut first, [Bytes::from(body).slice(..cut)], &mut sent, Input::Eof);
    let (tale, tally) = first.take_tale().unwrap();
    let said = tally.total().0;
    assert!(said.input == 3 && (6..16).contains(&said.output), "{said:?}");
    let answer = onward(&tale, Way::Prefill, &WORDS).body();
    let mut second = Reader::new(leg(tale, tally, Way::Prefill, true));
    feed(&mut second, [Bytes::from(answer)], &mut sent, Input::Eof);
    assert_eq!(seen(&sent).usages, [said.input + said.output + 12]);
    assert_eq!(second.tally().total().1, Source::Partial);
}

#[test]
fn a_usage_that_the_caller_did_not_ask_for_is_read_and_hidden() {
    let body = Bytes::from(Answer::new("first", &WORDS).body());
    for (hide_usage, shown) in [(true, 0), (false, 1)] {
        let mut reader = Reader::new(Reading { hide_usage, ..plain() });
        let mut sent = Vec::new();
        assert_eq!(feed(&mut reader, chunks(&body, 11), &mut sent, Input::Eof), Progress::Finished);
        assert_eq!((seen(&sent).usages.len(), seen(&sent).words), (shown, WORDS.concat()));
        assert_eq!(reader.tally().total(), (Usage { input: 10, output: 7, ..Usage::default() }, Source::Exact));
    }
}

#[test]
fn another_answer_is_told_from_the_one_that_was_begun() {
    let mut tale = Box::<Tale>::default();
    tale.said.say("Die Bühne ");
    for words in [&["Das ", "Licht"][..], &["Die"], &["Die ", "Bühnen"], &[]] {
        let mut reader = Reader::new(leg(tale.clone(), Tally::new(0), Way::Splice, false));
        let mut sent = Vec::new();
        let progress = feed(&mut reader, [Answer::new("second", words).body().into()], &mut sent, Input::Eof);
        assert_eq!((progress, sent.len()), (Progress::Differs, 0), "{words:?}");
    }
}

#[test]
fn a_leg_that_fails_before_its_first_new_word_has_sent_nothing() {
    let mut tale = Box::<Tale>::default();
    tale.said.say("Die Bühne ");
    let body = Bytes::from(Answer::new("second", &WORDS).body());
    let new = body.windows(4).position(|window| window == b"geht").unwrap();
    for cut in 0..new {
        let mut reader = Reader::new(leg(tale.clone(), Tally::new(0), Way::Splice, false));
        let mut sent = Vec::new();
        assert!(matches!(feed(&mut reader, [body.slice(..cut)], &mut sent, Input::Reset), Progress::Failed(_)));
        assert!(sent.is_empty() && !reader.committed());
    }
}

#[test]
fn what_can_not_be_continued_bars_the_tale() {
    let answer = Answer::new("first", &[]);
    let word = answer.event(json!({"content": "a"}), None);
    let cases = [
        (json!({"tool_calls": [{"index": 0, "function": {"arguments": "{"}}]}), Barred::ToolCall),
        (json!({"reasoning_content": "hm"}), Barred::Thinking),
        (json!({"audio": {"data": "x"}}), Barred::Audio),
        (json!({"refusal": "no"}), Barred::NoText),
        (json!({"content": [{"type": "text", "text": "a"}]}), Barred::NoText),
    ];
    for (delta, why) in cases {
        let mut reader = Reader::new(told(false));
        feed(&mut reader, [Bytes::from(word.clone()), answer.event(delta, None).into()], &mut Vec::new(), Input::Reset);
        assert_eq!(reader.take_tale().unwrap().0.said.text(), Err(why));
    }
    let split = word.replace("\"a\"", r#""\ud83c""#);
    let mut reader = Reader::new(told(false));
    feed(&mut reader, [Bytes::from(split)], &mut Vec::new(), Input::Reset);
    assert_eq!(reader.take_tale().unwrap().0.said.text(), Err(Barred::NoText), "half a character");
}

/// Words, then two calls in pieces.
fn calling(id: &'static str, call: &str) -> String {
    let answer = Answer::new(id, &[]);
    let piece = |index: u32, id: Option<String>, arguments: &str| {
        answer.event(
            json!({"tool_calls": [{"index": index, "id": id, "type": "function", "function": {"name": "f", "arguments": arguments}}]}),
            None,
        )
    };
    let mut body = answer.event(json!({"role": "assistant", "content": null}), None) + &answer.event(json!({"content": "So: "}), None);
    for index in 0..2 {
        body += &piece(index, Some(format!("<{call}-{index}>")), "");
        for arguments in ["{\"city\":", "\"Wien\"", "}"] {
            body += &piece(index, None, arguments);
        }
    }
    body + &answer.event(json!({}), Some("tool_calls")) + "data: [DONE]\n\n"
}

#[test]
fn held_calls_come_whole_and_once_wherever_the_first_target_died() {
    let whole = "<b-0>{\"city\":\"Wien\"}<b-1>{\"city\":\"Wien\"}";
    let body = Bytes::from(calling("first", "a"));
    let finish = body.windows(14).position(|window| window == b"\"finish_reason").unwrap();
    assert!(finish > 0);
    for cut in 0..body.len() {
        let mut first = Reader::new(Reading { hold_tools: true, ..told(false) });
        let mut sent = Vec::new();
        let progress = feed(&mut first, [body.slice(..cut)], &mut sent, Input::Reset);
        let got = seen(&sent);
        if progress == Progress::Finished {
            assert_eq!((got.calls.as_str(), got.finishes), (whole.replace('b', "a").as_str(), 1));
            continue;
        }
        assert_eq!((got.calls.as_str(), got.finishes), ("", 0), "nothing of a call before all of them are whole");
        let (tale, tally) = first.take_tale().unwrap();
        let Ok(said) = tale.said.text() else { panic!("barred at {cut}") };
        if sent.is_empty() {
            continue; // Nothing was sent: another target answers afresh.
        }
        assert_eq!(said, "So: ");
        let way = Way::Splice;
        let mut second = Reader::new(Reading { hold_tools: true, ..leg(tale, tally, way, false) });
        let progress = feed(&mut second, [Bytes::from(calling("second", "b"))], &mut sent, Input::Eof);
        let got = seen(&sent);
        assert_eq!((progress, got.words.as_str(), got.calls.as_str()), (Progress::Finished, "So: ", whole), "cut at {cut}");
        assert_eq!((got.ids.as_slice(), got.roles, got.finishes, got.terminals), (&["first".to_owned()][..], 1, 1, 1));
    }
}

#[test]
fn a_held_call_commits_nothing_until_it_is_whole_and_a_giant_one_flows() {
    let answer = Answer::new("first", &[]);
    let piece = answer.event(json!({"tool_calls": [{"index": 0, "function": {"arguments": "x".repeat(300)}}]}), None);
    let mut reader = Reader::new(Reading { hold_tools: true, max_event: 1_000, ..plain() });
    let codes = BTreeMap::new();
    assert_eq!(reader.feed(piece.clone().into(), &codes), Progress::More);
    assert!(!reader.committed() && reader.stirs());
    for _ in 0..3 {
        reader.feed(piece.clone().into(), &codes);
    }
    assert!(reader.committed(), "over the bound it isn't held any longer");
    let mut reader = Reader::new(Reading { hold_tools: true, ..plain() });
    let mut sent = Vec::new();
    let body = Bytes::from(piece + "data: [DONE]\n\n");
    assert_eq!(
        feed(&mut reader, [body], &mut sent, Input::Eof),
        Progress::Finished,
        "without a finish reason the terminal event lets it go"
    );
    assert_eq!(seen(&sent).calls.len(), 300);
}

#[test]
fn thoughts_of_a_second_mind_are_not_sent() {
    let mut tale = Box::<Tale>::default();
    tale.said.say("Die ");
    let answer = Answer::new("second", &["Bühne"]);
    let body = answer.event(json!({"reasoning_content": "let me see"}), None) + &answer.body();
    let mut reader = Reader::new(leg(tale, Tally::new(0), Way::Prefill, false));
    let mut sent = Vec::new();
    assert_eq!(feed(&mut reader, [body.into()], &mut sent, Input::Eof), Progress::Finished);
    assert_eq!(seen(&sent).words, "Bühne");
    assert!(!String::from_utf8_lossy(&sent).contains("let me see"));
}

proptest! {
    #[test]
    fn hostile_chunks_of_both_legs_give_one_answer(
        texts in prop::collection::vec("[a-zé\"\\\\\n]{0,5} ?", 1..12), at in 0.0f64..1.0, way in prop::sample::select(Way::ALL.to_vec()),
        sizes in prop::collection::vec(1usize..90, 1..5), crlf in any::<bool>(), comments in any::<bool>(),
    ) {
        let words: Vec<String> = texts.iter().enumerate().map(|(number, text)| format!("{text}{number} ")).collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let whole = words.concat();
        let dress = |body: String| {
            let body = if comments { body.replace("\n\n", "\n\n: ping\n\n") } else { body };
            Bytes::from(if crlf { body.replace('\n', "\r\n") } else { body })
        };
        let pieces = |body: &Bytes| {
            let (mut rest, mut sizes) = (body.clone(), sizes.iter().cycle());
            std::iter::from_fn(move || {
                let size = sizes.next().map_or(1, |size| *size).min(rest.len());
                (size > 0).then(|| rest.split_to(size))
            }).collect::<Vec<_>>()
        };
        let body = dress(Answer::new("first", &words).body());
        let mut first = Reader::new(told(false));
        let mut sent = Vec::new();
        let progress = feed(&mut first, pieces(&body.slice(..(body.len() as f64 * at) as usize)), &mut sent, Input::Eof);
        if progress == Progress::Finished {
            prop_assert_eq!(seen(&sent).words, whole);
            return Ok(());
        }
        if sent.is_empty() {
            return Ok(());
        }
        let (tale, tally) = first.take_tale().unwrap();
        let Ok(said) = tale.said.text() else { return Ok(()) };
        if way != Way::Splice && said.trim().is_empty() {
            return Ok(());
        }
        let answer = dress(onward(&tale, way, &words).body());
        let mut second = Reader::new(leg(tale, tally, way, false));
        let progress = feed(&mut second, pieces(&answer), &mut sent, Input::Eof);
        prop_assert_eq!(progress, Progress::Finished);
        let got = seen(&sent);
        prop_assert_eq!(&got.words, &whole);
        prop_assert_eq!((got.finishes, got.terminals), (1, 1));
    }
}
