//! Streams as machines without I/O: events cut from bytes, what may still be done about them, and how another target's words
//! join those that were said.

mod recover;
mod relay;
mod ring;
mod seam;
pub mod sse;

pub use recover::{Barred, MOST_SAID, Said, Way};
pub use relay::{Input, Phase, Relay, Step};
pub use ring::{Behind, Ring};
pub use seam::{Heard, Seam};
