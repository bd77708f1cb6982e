//! OpenAI's chat completions on the wire.

pub mod carry;
pub mod frame;
pub mod stitch;
pub mod unstream;
