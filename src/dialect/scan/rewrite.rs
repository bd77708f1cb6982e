//! A request's body with the target's model in it: spliced into the bytes as they came, so that everything else - unknown
//! fields, number formats, order, white space - survives.

use std::borrow::Cow;
use std::ops::Range;

use bytes::Bytes;

use super::types::Scan;

/// What is to stand in place of a span.
pub(in crate::dialect) type Edit<'a> = (Range<usize>, Cow<'a, str>);

/// The body with the upstream's model for the caller's and without `models`. The same bytes, not copied, where nothing
/// changes. `scan` must be this body's.
pub fn rewritten(body: &Bytes, scan: &Scan, upstream_model: &str) -> Bytes {
    spliced(body, edits(scan, upstream_model, false))
}

/// The same, asking for the usage at the stream's end whether or not the caller did.
pub fn rewritten_with_usage(body: &Bytes, scan: &Scan, upstream_model: &str) -> Bytes {
    spliced(body, edits(scan, upstream_model, true))
}

/// What has to change in a body before it is sent.
pub(in crate::dialect) fn edits<'a>(scan: &Scan, upstream_model: &str, ask_usage: bool) -> Vec<Edit<'a>> {
    let mut edits = Vec::new();
    // Gemini's stands in its path, OpenRouter's may stand in `models` alone.
    if scan.model.value != upstream_model && !scan.model.span.is_empty() {
        edits.push((scan.model.span.clone(), Cow::Owned(quoted(upstream_model))));
    }
    match &scan.models {
        Some(models) if models.lead => edits.push((models.member.clone(), format!(r#""model":{}"#, quoted(upstream_model)).into())),
        Some(models) => edits.push((models.cut.clone(), Cow::Borrowed(""))),
        None => {}
    }
    if let Some((span, text)) = scan.ask_usage.clone().filter(|_| ask_usage) {
        edits.push((span, Cow::Borrowed(text)));
    }
    edits
}

/// JSON on one line, where a line end in it would be one of the event that it is the data of.
pub(crate) fn one_line(json: &[u8]) -> impl Iterator<Item = u8> + '_ {
    json.iter().map(|byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { *byte })
}

/// An event with this data.
pub(crate) fn as_event(json: &[u8]) -> Bytes {
    b"data: ".iter().copied().chain(one_line(json)).chain(*b"\n\n").collect()
}

/// The body with its edits, which don't overlap: each is of another member. Those at one place come in their order.
pub(in crate::dialect) fn spliced(body: &Bytes, mut edits: Vec<Edit<'_>>) -> Bytes {
    if edits.is_empty() {
        return body.clone();
    }
    edits.sort_by_key(|(span, _)| (span.start, span.end));
    let added: usize = edits.iter().map(|(_, text)| text.len()).sum();
    let mut out = Vec::with_capacity(body.len() + added);
    let mut at = 0;
    for (span, text) in &edits {
        out.extend_from_slice(&body[at..span.start]);
        out.extend_from_slice(text.as_bytes());
        at = span.end;
    }
    out.extend_from_slice(&body[at..]);
    Bytes::from(out)
}

/// A JSON string.
pub(in crate::dialect) fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    if text.bytes().all(|byte| byte >= b' ' && byte != b'"' && byte != b'\\') {
        out.push_str(text);
        out.push('"');
        return out;
    }
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
