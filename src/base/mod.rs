//! Words that every floor uses: time as a number, ids, secrets. No clock, no chance of its own, no I/O.

mod date;
mod ids;
mod moment;
mod secret;
mod span;

pub use date::{date, written_date};
pub use ids::{is_request_id, request_id};
pub use moment::Moment;
pub use secret::Secret;
pub use span::{duration, number_and_unit, span};
