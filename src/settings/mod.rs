//! Settings: layered (`load`), walked strictly as written (`raw`), valid as a whole (`resolve`).
//!
//! `load` takes everything from its argument, the environment included, and tells every mistake at once; what it returns
//! can be relied on without another check. Each section has a file: `door`, `access`, `health`, `provider`, `model`, and
//! `later` for what the code doesn't do yet.

mod access;
mod cache;
mod diff;
mod door;
mod dotenv;
mod files;
mod health;
mod known;
mod later;
mod layer;
mod load;
mod model;
mod path;
mod prices;
mod problem;
mod provider;
mod raw;
mod resolve;
mod secrets;
mod shared;
mod store;
mod stream;
#[cfg(test)]
mod tests;
mod tls;
mod types;
mod units;
mod url;
mod validity;

pub use access::unknown_models;
pub use diff::Written;
pub use files::Files;
pub use load::{Bound, DEFAULT_FILE, DEFAULT_TEXT, Reading, Source, Stored, load, read};
pub use model::is_model_name;
pub use prices::{PRICES_FILE, PriceTable, update_prices};
pub use problem::{Invalid, Problem};
pub use tls::Tls;
pub use types::*;
