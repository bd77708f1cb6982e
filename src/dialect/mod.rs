//! What is said on the wire: bodies scanned in one pass, events classified, faults told apart by tables.

pub mod fault;
pub mod openai;
mod quota;
mod retry_after;
pub mod scan;
mod tally;
mod tokens;
mod usage;

pub use quota::Quota;
pub use retry_after::{Waits, retry_after};
pub use tally::Tally;
pub use tokens::Counter;
pub use usage::{Source, Usage, usage};
