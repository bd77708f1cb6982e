//! Settings: as written (`raw`), layered (`load`), valid as a whole (`resolve`).

mod types;

pub use types::*;
