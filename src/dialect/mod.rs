//! What is said on the wire: bodies scanned in one pass, events classified, faults told apart by tables.

pub mod alike;
mod allowed;
pub mod anthropic;
pub mod azure;
mod begun;
pub mod carry;
pub mod chat;
mod draft;
pub mod endpoint;
mod escape;
pub mod fault;
pub mod gemini;
mod heard;
mod losses;
mod node;
mod onward;
pub mod openai;
mod quota;
pub mod responses;
mod retold;
mod retry_after;
pub mod scan;
pub mod seam;
mod tally;
mod tokens;
mod usage;
mod vocabulary;
mod wire;

pub use begun::Begun;
pub use heard::Heard;
pub use quota::Quota;
pub use retry_after::{Waits, retry_after, retry_after_in};
pub use tally::Tally;
pub use tokens::Counter;
pub use usage::{Source, Usage, usage, with_cost, without_cost};
pub use vocabulary::Vocabulary;
pub use wire::Wire;

#[cfg(test)]
mod tests;
