//! One pass over a body, without a tree: what the gateway reads of requests and answers, as values and spans.
//!
//! A request is checked as a whole (UTF-8, strict JSON, depth, nothing after it) and refused with what is wrong, where and
//! what to do; what the gateway doesn't read passes untouched. An answer must parse whole to count as one. A vendor's error
//! body is read as leniently as vendors write it.

mod answer;
mod fields;
mod form;
mod generate;
pub(crate) mod members;
mod refusal;
mod request;
mod rewrite;
mod types;
pub(crate) mod walk;

pub use answer::{Answer, ErrorParts, NotJson, answer, error_parts, usage_span};
pub use form::form;
pub use generate::{Named, generate};
pub use refusal::Refusal;
pub use request::{passthrough, request};
pub(in crate::dialect) use rewrite::{Edit, edits, quoted, spliced};
pub(crate) use rewrite::{as_event, one_line};
pub use rewrite::{rewritten, rewritten_with_usage};
pub use types::{Models, Scan, Text};

/// A JSON string's text from its span (quotes included) in data that was scanned; what is no text becomes U+FFFD.
pub fn text_at(data: &[u8], span: std::ops::Range<usize>) -> String {
    walk::lossy(data, span, usize::MAX)
}
