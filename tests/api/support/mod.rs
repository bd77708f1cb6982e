//! What the tests share: a gateway in a thread of its own, upstreams that do as they are told, a client that sees bytes.

pub mod anthropic;
mod app;
mod client;
pub mod continuing;
pub mod faults;
pub mod gemini;
pub mod load;
pub mod names;
#[path = "../../support/postgres.rs"]
pub mod postgres;
mod process;
mod redis;
pub mod responses;
pub mod secure;
pub mod tls;
mod upstream;
mod wire;

pub use app::{ADMIN, TestApp, sharing};
pub use client::{Client, Reply, chat_body, stream_body, unchunked};
pub use process::{Finished, Process};
pub use redis::Redis;
pub use upstream::{Call, STREAM_END, STREAM_HEAD, Upstream, answer, chunk, event, plain, status, stream};
pub use wire::{Leaving, Waiting, chat_bytes, post_bytes, read_rest, read_until};
