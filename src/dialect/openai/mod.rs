//! OpenAI's chat completions on the wire.

pub mod carry;
pub mod frame;
pub mod unstream;
