//! A request's body with the target's model in it: spliced into the bytes as they came, so that everything else - unknown
//! fields, number formats, order, white space - survives.

use std::borrow::Cow;
use std::ops::Range;

use bytes::Bytes;

use super::types::Scan;

type Edit<'a> = (Range<usize>, Cow<'a, str>);

/// The body with the upstream's model for the caller's and without `models`. The same bytes, not copied, where nothing
/// changes. `scan` must be this body's.
pub fn rewritten(body: &Bytes, scan: &Scan, upstream_model: &str) -> Bytes {
    spliced(body, [model(scan, upstream_model), models(scan), None])
}

/// The same, asking for the usage at the stream's end whether or not the caller did.
pub fn rewritten_with_usage(body: &Bytes, scan: &Scan, upstream_model: &str) -> Bytes {
    let ask = scan.ask_usage.clone().map(|(span, text)| (span, Cow::Borrowed(text)));
    spliced(body, [model(scan, upstream_model), models(scan), ask])
}

fn model<'a>(scan: &Scan, upstream_model: &str) -> Option<Edit<'a>> {
    (scan.model.value != upstream_model).then(|| (scan.model.span.clone(), Cow::Owned(quoted(upstream_model))))
}

fn models<'a>(scan: &Scan) -> Option<Edit<'a>> {
    scan.models.as_ref().map(|models| (models.cut.clone(), Cow::Borrowed("")))
}

/// The edits don't overlap: each is of another member.
fn spliced(body: &Bytes, mut edits: [Option<Edit<'_>>; 3]) -> Bytes {
    if edits.iter().all(Option::is_none) {
        return body.clone();
    }
    edits.sort_by_key(|edit| edit.as_ref().map(|(span, _)| (span.start, span.end)));
    let added: usize = edits.iter().flatten().map(|(_, text)| text.len()).sum();
    let mut out = Vec::with_capacity(body.len() + added);
    let mut at = 0;
    for (span, text) in edits.iter().flatten() {
        out.extend_from_slice(&body[at..span.start]);
        out.extend_from_slice(text.as_bytes());
        at = span.end;
    }
    out.extend_from_slice(&body[at..]);
    Bytes::from(out)
}

/// A JSON string.
fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => out.extend(['\\', character]),
            '\0'..='\x1F' => out.push_str(&format!("\\u{:04x}", u32::from(character))),
            _ => out.push(character),
        }
    }
    out.push('"');
    out
}
