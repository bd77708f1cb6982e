//! Who may come in, what they may use, and how much of it. Pure.

mod key;
mod limit;

pub use key::{KeyRing, Principal, glob_matches, same_secret};
pub use limit::{Bucket, Limit, Reservation, estimated_tokens, least_tokens};
