//! One pass over a body, without a tree: what the gateway reads of requests and answers, as values and spans.

pub(crate) mod walk;

/// A JSON string's text from its span (quotes included) in data that was scanned; what is no text becomes U+FFFD.
pub fn text_at(data: &[u8], span: std::ops::Range<usize>) -> String {
    walk::lossy(data, span, usize::MAX)
}
