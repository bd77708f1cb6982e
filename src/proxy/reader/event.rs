//! One event of a stream: what it is to the relay, made whole, and what its error means.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::dialect::fault::error_in_answer;
use crate::dialect::openai::frame::{Kind, Seen};
use crate::dialect::scan::error_parts;
use crate::health::{Failure, Outcome};
use crate::stream::Input;

/// What it is to the relay. `complete`: its blank line came.
pub(super) fn input(seen: &Seen, complete: bool) -> Input {
    match seen.kind {
        Kind::Done => Input::Terminal,
        Kind::NotJson => Input::NotJson,
        // Cut inside a character it is a cut event, not a wrong one.
        Kind::NotUtf8 if complete => Input::NotText,
        Kind::NotUtf8 => Input::NotJson,
        Kind::Error => Input::Error,
        Kind::Content => Input::Content { spoke: seen.spoke, finished: seen.finished },
        Kind::Empty if seen.finish => Input::Content { spoke: 0, finished: seen.finished },
        Kind::Empty | Kind::Ping => Input::Idle,
    }
}

/// An event that was cut before its blank line, with one.
pub(super) fn completed(raw: &Bytes) -> Bytes {
    let missing: &[u8] = if raw.ends_with(b"\n") { b"\n" } else { b"\n\n" };
    [raw, missing].concat().into()
}

/// What a failure means: what the error event itself says, or else that it passes.
pub(super) fn outcome(failure: Failure, data: Option<&Bytes>, codes: &BTreeMap<String, String>) -> Outcome {
    match (failure, data) {
        (Failure::ErrorBody, Some(data)) => error_in_answer(&error_parts(data), codes),
        _ => Outcome::Transient(failure),
    }
}
