//! A request's road through the gateway: pick, attempt, failover, relay, record. All I/O towards upstreams is here.

mod attempt;
mod body;
mod client;
mod connect;
mod failover;
mod fault;
pub mod headers;
mod live;
mod ongoing;
mod reader;
mod record;
mod watch;
mod worker;

pub use body::{BrokenEvent, FaultEvent, Running, StreamBody};
pub use client::{USER_AGENT, Unusable, Upstream, tls};
pub use connect::{Names, SystemNames};
pub use failover::{Prepared, Served, Stream, Whole, run};
pub use fault::Fault;
pub use record::Record;
pub use watch::Watch;
pub use worker::{Gateway, Place, Worker};
