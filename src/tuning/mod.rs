//! What a gateway's own record says of its breakers' thresholds: replayed as they were, and as they might have been. Pure:
//! the record comes as lines of text, time is the record's own, chance has a seed.

mod chains;
mod exact;
mod reader;
mod record;
mod resumed;
mod thresholds;

pub use chains::{Member, Pool, chain_line};
pub use exact::{Checked, DRAWN, check};
pub use reader::Reader;
pub use record::*;
pub use resumed::resumed_line;
pub use thresholds::{fingerprint, line};
