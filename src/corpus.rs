//! What the properties of the pure machines feed on: recorded streams and requests, cut, mixed and spoilt by operations. For
//! tests alone.
//!
//! The operations know where events and members lie, so that what they make is near to what could come: random bytes are
//! turned away at the first byte, and prove little.

use proptest::prelude::*;
use proptest::sample::Index;

#[path = "../tests/corpus/mod.rs"]
mod recordings;

pub(crate) use recordings::{Ends, STREAMS, content};

/// Requests in the shapes that clients send.
pub(crate) const REQUESTS: &[&str] = &[
    include_str!("../tests/corpus/requests/openai_python.json"),
    include_str!("../tests/corpus/requests/openai_tools.json"),
    include_str!("../tests/corpus/requests/vision.json"),
    include_str!("../tests/corpus/requests/schema.json"),
    include_str!("../tests/corpus/requests/langchain.json"),
    include_str!("../tests/corpus/requests/vllm_extras.json"),
    include_str!("../tests/corpus/requests/openrouter_models.json"),
];

/// What stands between the pieces that operations move: an event's end, a member's or an element's.
const ENDS: [&[u8]; 4] = [b"\n\n", b"\r\n\r\n", b",", b"}"];

/// What operations put in.
const TOKENS: &[&[u8]] = &[
    b"data: [DONE]\n\n",
    b"data: {\"error\":{\"message\":\"no\"}}\n\n",
    b"data: {\"choices\":[]}\n\n",
    b"data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n",
    b"data: {\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":0,\"function\":{\"arguments\":\"{\"}}]}}]}\n\n",
    b"event: error\n",
    b"error: {}\n\n",
    b": c\n\n",
    b"data:\n\n",
    b"id: 7\n",
    b"\n",
    b"\r",
    b"\xEF\xBB\xBF",
    b"\xFF",
    b"\xF0\x9F",
    b"\"",
    b"\\u",
    b"{",
    b"]",
    b",",
    b"null",
    b"\"model\":\"x\",",
    b"\"stream\":false,",
];

/// A change to bytes.
#[derive(Clone, Debug)]
enum Op {
    Cut(Index),
    Flip(Index, u8),
    Put(Index, usize),
    /// A piece (an event, a member) leaves.
    Drop(usize, Index),
    /// One comes twice.
    Repeat(usize, Index),
    /// One changes places with the next.
    Swap(usize, Index),
    /// What is before the first place of this, and what is behind the second of another.
    Cross(Index, usize, Index),
    /// Other line ends.
    Lines(&'static [u8]),
}

fn op() -> impl Strategy<Value = Op> {
    let end = 0..ENDS.len();
    prop_oneof![
        2 => any::<Index>().prop_map(Op::Cut),
        2 => (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Op::Flip(at, byte)),
        4 => (any::<Index>(), 0..TOKENS.len()).prop_map(|(at, token)| Op::Put(at, token)),
        3 => (end.clone(), any::<Index>()).prop_map(|(end, at)| Op::Drop(end, at)),
        3 => (end.clone(), any::<Index>()).prop_map(|(end, at)| Op::Repeat(end, at)),
        2 => (end, any::<Index>()).prop_map(|(end, at)| Op::Swap(end, at)),
        2 => (any::<Index>(), any::<usize>(), any::<Index>()).prop_map(|(at, other, from)| Op::Cross(at, other, from)),
        1 => prop_oneof![Just(b"\r\n".as_slice()), Just(b"\r".as_slice())].prop_map(Op::Lines),
    ]
}

/// A text in pieces, each with the end that it has.
fn pieces<'a>(text: &'a [u8], end: &[u8]) -> Vec<&'a [u8]> {
    let (mut pieces, mut rest) = (Vec::new(), text);
    while let Some(at) = memchr::memmem::find(rest, end) {
        let (piece, after) = rest.split_at(at + end.len());
        pieces.push(piece);
        rest = after;
    }
    pieces.push(rest);
    pieces
}

fn done(op: &Op, text: Vec<u8>, others: &[&[u8]]) -> Vec<u8> {
    if text.is_empty() {
        return text;
    }
    let moved = |end: &usize, at: &Index, change: fn(&mut Vec<&[u8]>, usize)| {
        let mut pieces = pieces(&text, ENDS[*end]);
        let at = at.index(pieces.len());
        change(&mut pieces, at);
        pieces.concat()
    };
    match op {
        Op::Cut(at) => text[..at.index(text.len())].to_vec(),
        Op::Flip(at, byte) => {
            let mut text = text;
            let at = at.index(text.len());
            text[at] = *byte;
            text
        }
        Op::Put(at, token) => {
            let (before, after) = text.split_at(at.index(text.len()));
            [before, TOKENS[*token], after].concat()
        }
        Op::Drop(end, at) => moved(end, at, |pieces, at| _ = pieces.remove(at)),
        Op::Repeat(end, at) => moved(end, at, |pieces, at| pieces.insert(at, pieces[at])),
        Op::Swap(end, at) => moved(end, at, |pieces, at| {
            let next = (at + 1) % pieces.len();
            pieces.swap(at, next);
        }),
        Op::Cross(at, other, from) => {
            let other = others[other % others.len()];
            [&text[..at.index(text.len())], &other[from.index(other.len())..]].concat()
        }
        Op::Lines(end) => text.split(|byte| *byte == b'\n').collect::<Vec<_>>().join(*end),
    }
}

/// Bytes that a failed property shows as text.
#[derive(Clone)]
pub(crate) struct Spoilt(pub(crate) Vec<u8>);

impl std::fmt::Debug for Spoilt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "b\"{}\"", self.0.escape_ascii())
    }
}

fn spoilt(all: Vec<&'static [u8]>) -> impl Strategy<Value = Spoilt> {
    (0..all.len(), prop::collection::vec(op(), 0..6))
        .prop_map(move |(which, ops)| Spoilt(ops.iter().fold(all[which].to_vec(), |text, op| done(op, text, &all))))
}

/// A stream after up to five operations.
pub(crate) fn stream() -> impl Strategy<Value = Spoilt> {
    spoilt(STREAMS.iter().map(|stream| stream.bytes).collect())
}

/// A request after up to five operations.
pub(crate) fn request() -> impl Strategy<Value = Spoilt> {
    spoilt(REQUESTS.iter().map(|request| request.as_bytes()).collect())
}

/// How bytes come in pieces.
pub(crate) fn sizes() -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(prop_oneof![1_usize..9, 1_usize..200], 1..6)
}

/// Bytes in pieces of these sizes, over and over.
pub(crate) fn chunks<'a>(bytes: &'a [u8], sizes: &[usize]) -> Vec<&'a [u8]> {
    let (mut chunks, mut rest) = (Vec::new(), bytes);
    for size in sizes.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (chunk, after) = rest.split_at(rest.len().min(*size));
        chunks.push(chunk);
        rest = after;
    }
    chunks
}
