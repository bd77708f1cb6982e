//! What the parser promises: the standard's reading of lines, one result for every chunking, no byte lost, nothing copied in vain.

use proptest::prelude::*;

use super::*;
use crate::corpus::{self, Spoilt};

fn drain(parser: &mut Parser) -> Vec<Frame> {
    std::iter::from_fn(|| parser.next()).map(Result::unwrap).collect()
}

fn parse<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> Vec<Frame> {
    let mut parser = Parser::new(1 << 20);
    let mut frames = Vec::new();
    for chunk in chunks {
        parser.push(Bytes::copy_from_slice(chunk));
        frames.extend(drain(&mut parser));
    }
    frames.extend(std::iter::from_fn(|| parser.finish()).map(Result::unwrap));
    assert_eq!(parser.pending(), 0);
    frames
}

fn data(frames: &[Frame]) -> Vec<Option<&str>> {
    frames.iter().map(|frame| frame.data.as_deref().map(|data| std::str::from_utf8(data).unwrap())).collect()
}

/// Without the mark that may lead a text.
fn unmarked(text: &[u8]) -> &[u8] {
    text.strip_prefix(BOM).unwrap_or(text)
}

/// What the standard says, in the plainest way: the events' data of a text that ends in a blank line.
fn oracle(text: &str) -> Vec<String> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text).replace("\r\n", "\n").replace('\r', "\n");
    let (mut events, mut lines) = (Vec::new(), Vec::new());
    for line in text.split('\n') {
        if line.is_empty() {
            if !lines.is_empty() {
                events.push(std::mem::take(&mut lines).join("\n"));
            }
        } else if line == "data" {
            lines.push("");
        } else if let Some(value) = line.strip_prefix("data:") {
            lines.push(value.strip_prefix(' ').unwrap_or(value));
        }
    }
    events
}

#[test]
fn the_usual_frame_is_a_slice_of_its_chunk() {
    let chunk = Bytes::from_static(b"data: {\"a\":1}\n\ndata: [DONE]\n\n");
    let mut parser = Parser::new(100);
    parser.push(chunk.clone());
    let first = parser.next().unwrap().unwrap();
    assert_eq!(first.raw, "data: {\"a\":1}\n\n");
    assert_eq!(first.raw.as_ptr(), chunk.as_ptr(), "not copied");
    assert_eq!(first.data.as_ref().unwrap().as_ptr(), chunk[6..].as_ptr(), "not copied");
    assert_eq!(first.data.unwrap(), "{\"a\":1}");
    assert!(first.complete && !first.comment && first.event.is_none() && first.id.is_none());
    assert_eq!(parser.pending(), 14);
    assert_eq!(parser.next().unwrap().unwrap().data.unwrap(), "[DONE]");
    assert_eq!((parser.next(), parser.pending(), parser.finish()), (None, 0, None));
}

#[test]
fn every_line_end_and_every_field() {
    let frames = parse([&b"\xEF\xBB\xBFevent: a\r\nid: 7\r\ndata:x\r\n\r\n: hello\n\ndata\rdata:  y\r\rretry: 5\n\nevent:\n\n"[..]]);
    assert_eq!(data(&frames), [Some("x"), None, Some("\n y"), None, None]);
    assert_eq!((frames[0].event.as_deref(), frames[0].id.as_deref()), (Some(&b"a"[..]), Some(&b"7"[..])));
    assert_eq!(frames.iter().map(|frame| frame.comment).collect::<Vec<_>>(), [false, true, false, false, false]);
    assert_eq!(frames[4].event.as_deref(), Some(&b""[..]));
}

#[test]
fn several_data_lines_are_joined_and_the_last_id_and_event_win() {
    let frames = parse([&b"data: 1\nid: a\ndata:\nevent: e\ndata: 3\nid: b\nid: c\0\nevent: f\ndatum: 4\ndata : 5\n\n"[..]]);
    assert_eq!(data(&frames), [Some("1\n\n3")]);
    assert_eq!((frames[0].event.as_deref(), frames[0].id.as_deref()), (Some(&b"f"[..]), Some(&b"b"[..])));
}

#[test]
fn a_bom_counts_only_at_the_very_start() {
    assert_eq!(data(&parse(["\u{feff}data: a\n\n\u{feff}data: b\n\n".as_bytes()])), [Some("a"), None]);
    assert_eq!(data(&parse([&b"\xEF"[..], b"\xBB", b"\xBF\ndata: a\n\n"])), [Some("a")]);
    assert_eq!(data(&parse([&b"\xEF\xBBdata: a\n\n"[..]])), [None]);
    assert_eq!(parse(["\u{feff}data: a\n\n".as_bytes()])[0].raw, "data: a\n\n", "behind a heartbeat it would be a part of the name");
}

#[test]
fn an_error_line_is_told_from_the_fields_of_the_standard() {
    let frames = parse([&b"error: {\"code\":500}\n\ndata: a\nerror:b\n\nerrors: c\n\n"[..]]);
    assert_eq!(data(&frames), [None, Some("a"), None]);
    let errors: Vec<_> = frames.iter().map(|frame| frame.error.as_deref()).collect();
    assert_eq!(errors, [Some(&b"{\"code\":500}"[..]), Some(&b"b"[..]), None]);
}

#[test]
fn the_last_event_may_lack_its_blank_line() {
    for (text, complete) in [("data: a", false), ("data: a\n", false), ("data: a\r", false), ("data: a\r\n\r", true), ("data: a\n\r", true)]
    {
        let frames = parse([text.as_bytes()]);
        assert_eq!((data(&frames), frames[0].complete), (vec![Some("a")], complete), "{text:?}");
    }
    assert_eq!(data(&parse([&b"event: x\ndata: a"[..]])), [Some("a")]);
    assert_eq!(data(&parse([&b"data: a\ndata: b"[..]])), [Some("a\nb")]);
    assert_eq!(parse([]), []);
}

#[test]
fn a_cr_waits_for_its_lf_but_not_in_a_stream_of_crs() {
    let mut parser = Parser::new(100);
    parser.push(Bytes::from_static(b"data: a\r\n\r"));
    assert_eq!(parser.next(), None, "an LF may follow");
    parser.push(Bytes::from_static(b"\ndata: b\r\r"));
    let frames = drain(&mut parser);
    assert_eq!(data(&frames), [Some("a"), Some("b")], "CR alone: at once");
    assert_eq!(frames[0].raw, "data: a\r\n\r\n");
    parser.push(Bytes::from_static(b"data: c\r\r\n"));
    assert_eq!(data(&drain(&mut parser)), [Some("c"), None]);
    parser.push(Bytes::from_static(b"\r"));
    assert_eq!(parser.next(), None);
    parser.push(Bytes::from_static(b"d"));
    assert_eq!(parser.next().unwrap().unwrap().raw, "\r");
}

#[test]
fn a_crlf_after_any_line_is_one_end() {
    let raws = |text: &'static str| parse([text.as_bytes()]).into_iter().map(|frame| frame.raw).collect::<Vec<_>>();
    assert_eq!(raws("\r\ndata: a\n\r\n"), ["\r\n", "data: a\n\r\n"]);
    assert_eq!(raws("data: a\r\n\r\n\r\n"), ["data: a\r\n\r\n", "\r\n"]);
    assert_eq!(raws("data: a\r\r\r\n"), ["data: a\r\r", "\r\n"]);
}

#[test]
fn chunks_may_be_pushed_before_they_are_read() {
    let mut parser = Parser::new(100);
    for part in ["data: a\n", "\ndata: b\n\nda", "", "ta: c\n\nid: 1"] {
        parser.push(Bytes::from_static(part.as_bytes()));
    }
    assert_eq!(parser.pending(), 32);
    assert_eq!(data(&drain(&mut parser)), [Some("a"), Some("b"), Some("c")]);
    assert_eq!(parser.pending(), 5);
    assert_eq!(parser.finish().unwrap().unwrap().id.unwrap(), "1");
}

#[test]
fn an_event_over_the_limit_ends_the_parser() {
    let exact = b"data: 12345\n\n";
    for size in 1..=20 {
        for (limit, fits) in [(13, true), (12, false)] {
            let mut parser = Parser::new(limit);
            let mut found = Vec::new();
            for chunk in exact.repeat(2).chunks(size) {
                parser.push(Bytes::copy_from_slice(chunk));
                found.extend(std::iter::from_fn(|| parser.next()));
            }
            found.extend(std::iter::from_fn(|| parser.finish()));
            if fits {
                assert!(found.len() == 2 && found.iter().all(Result::is_ok), "{size}");
            } else {
                assert_eq!(found, [Err(TooLarge { limit: 12 })], "{size}");
                assert_eq!(parser.pending(), 0);
            }
        }
    }
}

#[test]
fn a_line_without_end_is_refused_once_it_is_over_the_limit() {
    let mut parser = Parser::new(1000);
    let block = Bytes::from(vec![b'x'; 100]);
    for _ in 0..10 {
        parser.push(block.clone());
        assert_eq!(parser.next(), None);
    }
    assert_eq!(parser.pending(), 1000);
    parser.push(Bytes::from_static(b"x"));
    assert_eq!(parser.next(), Some(Err(TooLarge { limit: 1000 })));
    parser.push(Bytes::from_static(b"data: a\n\n"));
    assert_eq!((parser.next(), parser.finish(), parser.pending()), (None, None, 0));
    assert_eq!(TooLarge { limit: 1000 }.to_string(), "an event of the stream is over 1000 bytes");
}

#[test]
fn a_recorded_stream_is_the_same_at_every_cut() {
    let text = "\u{feff}: OPENROUTER PROCESSING\n\ndata: {\"a\":\"Ü😀\"}\n\nevent: m\r\ndata: x\r\ndata: y\r\n\r\n\n\r\rdata:z\r\rid: 4\r\n\rdata: [DONE]";
    let whole = parse([text.as_bytes()]);
    assert_eq!(whole.iter().map(|frame| &frame.raw[..]).collect::<Vec<_>>().concat(), unmarked(text.as_bytes()));
    for size in 1..=64 {
        assert_eq!(parse(text.as_bytes().chunks(size)), whole, "chunks of {size}");
    }
    for cut in 0..=text.len() {
        let (left, right) = text.as_bytes().split_at(cut);
        assert_eq!(parse([left, right]), whole, "cut at {cut}");
    }
}

#[test]
fn every_recorded_stream_is_the_same_at_every_cut_and_in_every_chunking() {
    let mut readings = 0;
    for stream in corpus::STREAMS {
        let whole = parse([stream.bytes]);
        assert!(whole.len() > 1, "{}", stream.name);
        for size in 1..=64 {
            assert_eq!(parse(stream.bytes.chunks(size)), whole, "{} in chunks of {size}", stream.name);
        }
        for cut in 0..=stream.bytes.len() {
            let (left, right) = stream.bytes.split_at(cut);
            assert_eq!(parse([left, right]), whole, "{} cut at {cut}", stream.name);
        }
        readings += 64 + stream.bytes.len() + 1;
    }
    assert!(readings > 40_000, "{readings}");
}

const PARTS: &[&str] =
    &["data: a", "data:", "data:  b", "data", ": c", "id: 1", "event: e", "x", "\n", "\r", "\r\n", "\n\n", "\u{feff}", "é"];

proptest! {
    #[test]
    fn any_chunking_gives_the_same_frames(parts in prop::collection::vec(prop::sample::select(PARTS), 0..40), cuts in prop::collection::vec(1_usize..9, 1..20)) {
        let text = parts.concat();
        let whole = parse([text.as_bytes()]);
        prop_assert_eq!(whole.iter().map(|frame| &frame.raw[..]).collect::<Vec<_>>().concat(), unmarked(text.as_bytes()));
        prop_assert!(whole.iter().rev().skip(1).all(|frame| frame.complete));
        let (mut rest, mut chunks) = (text.as_bytes(), Vec::new());
        for cut in cuts.iter().cycle().take(text.len()) {
            let (chunk, after) = rest.split_at(rest.len().min(*cut));
            chunks.push(chunk);
            rest = after;
        }
        prop_assert_eq!(parse(chunks), whole);
    }

    #[test]
    fn the_data_is_what_the_standard_says(parts in prop::collection::vec(prop::sample::select(PARTS), 0..40)) {
        let text = parts.concat() + "\n\n";
        let frames = parse([text.as_bytes()]);
        prop_assert_eq!(data(&frames).into_iter().flatten().collect::<Vec<_>>(), oracle(&text));
    }

    #[test]
    fn a_spoilt_stream_is_the_same_in_every_chunking_and_loses_nothing(Spoilt(bytes) in corpus::stream(), sizes in corpus::sizes()) {
        let whole = parse([&bytes[..]]);
        prop_assert_eq!(whole.iter().map(|frame| &frame.raw[..]).collect::<Vec<_>>().concat(), unmarked(&bytes));
        prop_assert_eq!(parse(corpus::chunks(&bytes, &sizes)), whole);
    }

    #[test]
    fn no_bytes_are_lost(bytes in prop::collection::vec(any::<u8>(), 0..300), size in 1_usize..40) {
        let frames = parse(bytes.chunks(size));
        prop_assert_eq!(frames.iter().map(|frame| &frame.raw[..]).collect::<Vec<_>>().concat(), unmarked(&bytes));
    }
}
