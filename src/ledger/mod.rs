//! What requests cost. Pure.

mod price;

pub use price::{cost, most, plus};
