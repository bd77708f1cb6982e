//! A request's road through the gateway: pick, attempt, failover, relay, record. All I/O towards upstreams is here.

mod apart;
mod attempt;
mod body;
mod client;
mod connect;
mod edition;
mod failover;
mod fault;
pub mod headers;
mod live;
mod ongoing;
mod outgoing;
mod pressure;
mod prober;
mod reader;
mod record;
mod recovery;
mod resume;
mod stitch;
mod tale;
mod transport;
mod watch;
mod worker;

pub use body::{BrokenEvent, FaultEvent, Running, StreamBody};
pub use client::{USER_AGENT, Unusable, Upstream};
pub use connect::{Names, SystemNames};
pub use edition::{Edition, Press};
pub use failover::{Prepared, Served, Stream, Whole, run};
pub use fault::Fault;
pub use pressure::{Connected, Pressure, acceptable};
pub use prober::probe;
pub use record::Record;
pub use resume::{Kept, Opening, Owner, Replay, Shelf, Unreadable, UnreadableEvent, Wire, begin, owner};
pub use transport::{Reach, Transport};
pub use watch::Watch;
pub use worker::{Desk, Gateway, Place, Worker};
