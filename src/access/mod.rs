//! Who may come in and what they may use. Pure.

mod key;

pub use key::{KeyRing, Principal, glob_matches, same_secret};
