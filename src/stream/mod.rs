//! Streams as machines without I/O: events cut from bytes, and what may still be done about them.

mod relay;
pub mod sse;

pub use relay::{Input, Phase, Relay, Step};
