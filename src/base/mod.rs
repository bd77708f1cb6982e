//! Words that every floor uses: time as a number, ids, secrets, money. No clock, no chance, no I/O.

mod moment;
mod secret;

pub use moment::Moment;
pub use secret::Secret;
