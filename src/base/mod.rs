//! Words that every floor uses: time as a number, ids, secrets. No clock, no chance of its own, no I/O.

mod date;
mod ids;
mod moment;
mod money;
mod secret;
mod span;
mod tariff;

pub use date::{date, written_date};
pub use ids::{id_time, is_request_id, request_id};
pub use moment::Moment;
pub use money::{Dollars, nanos};
pub use secret::Secret;
pub use span::{duration, number_and_unit, span};
pub use tariff::{PriceTag, Rates, Tariff};
