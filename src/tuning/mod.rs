//! What a gateway's own record says of its breakers' thresholds: replayed as they were, and as they might have been. Pure:
//! the record comes as lines of text, time is the record's own, chance has a seed.

mod chains;
mod thresholds;

pub use chains::{Member, Pool, chain_line, read as read_chain};
pub use thresholds::{fingerprint, line, read};
