//! A plain answer as a stream, for a caller that asked for one of an upstream that ignored it; and what a plain one comes to.

use bytes::Bytes;

use super::RESPONSES;
use crate::dialect::retold;

/// The events of a whole answer. None where it isn't one.
pub fn events(answer: &[u8]) -> Option<Bytes> {
    retold::events(&RESPONSES, answer)
}

/// How many tokens a whole answer has, as `count` has it: its words, its thoughts and its calls.
pub fn tokens(answer: &[u8], count: impl Fn(&str) -> u64) -> u64 {
    retold::tokens(&RESPONSES, answer, count)
}
