//! OpenAI's chat completions on the wire.

pub mod frame;
pub mod unstream;
