//! What requests cost, and what is written of each: its row, the rows of its calls, the sums by hour. Pure.

mod entry;
mod price;
mod sum;

pub use entry::{Call, Entry, Key, Row, Transition, first_id};
pub use price::{cost, most, plus};
pub use sum::{Counts, Group, Sums, by_group, hour_of};
