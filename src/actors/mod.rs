//! The actors and what they publish. A provider actor per upstream is the sole writer of its health; a router actor per HTTP
//! worker, on that worker's own thread, answers picks from the board. They hold state and order, no arithmetic.

mod archive;
mod board;
mod cast;
mod chronicle;
mod ends;
mod gauges;
mod keys;
mod ledger;
mod news;
mod provider;
mod reloader;
mod router;
mod routes;
mod troupe;
mod watch;

pub use archive::Archive;
pub use board::Board;
pub use cast::Cast;
#[cfg(test)]
pub(crate) use chronicle::hour::hour;
pub use chronicle::put_on_record;
pub use ends::Ends;
pub use gauges::Gauges;
pub use keys::{Keys, Known};
pub use ledger::{Condition, Ledger, journaled};
pub use news::News;
pub use provider::{Answered, Describe, Description, KeyState, ModelState, Order, ProbedWell, Provider, Reports, Retune};
pub use reloader::{Apply, Cause, Reload, Reloaded, Reloader};
pub use router::{Flush, Pick, Router};
pub use routes::{Found, Route, Routes, TargetInfo};
pub use troupe::{Keeper, Troupe};
