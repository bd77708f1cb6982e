//! A request's road through the gateway: pick, attempt, failover, relay, record. All I/O towards upstreams is here.

mod admission;
mod apart;
mod attempt;
mod bodies;
mod body;
mod cache;
mod client;
mod connect;
mod edition;
mod entry;
mod export;
mod failover;
mod fault;
mod foreign;
mod form;
pub mod headers;
mod live;
mod ongoing;
mod outgoing;
mod pipe;
mod pool;
mod prepared;
mod pressure;
mod prober;
mod reader;
mod recall;
mod reckoning;
mod record;
mod recovery;
mod resume;
mod roll_call;
mod shared;
mod socket;
mod stitch;
mod stream_error;
mod tale;
mod trace;
mod transport;
mod trust;
mod watch;
mod wild_prices;
mod worker;

pub use admission::{Turned, admit};
pub use body::{Running, StreamBody};
pub use cache::{
    Answers, Author, Fingerprint, Flights, Following, Joined, Lead, Once, Onces, Role, Seat, Shelves, Spot, Stored, Told, Twice, Wish,
    lead_plain, lead_stream,
};
pub use client::{USER_AGENT, Unusable, Upstream};
pub use connect::{Names, SystemNames};
pub use edition::{Edition, Open, Press};
pub use failover::{Served, Stream, Whole, run};
pub use fault::Fault;
pub use pipe::{Pipe, PipeBody};
pub use pool::tidy;
pub use prepared::{Asked, Prepared};
pub use pressure::{Connected, Pressure, acceptable};
pub use prober::probe;
pub use recall::{recall, recall_of};
pub use record::{Record, Wrong};
pub use resume::{Edge, Kept, Opening, Owner, Replay, Shelf, Unreadable, begin, owner};
pub use roll_call::{Absent, Present, roll_call};
pub use stream_error::{ErrorEvent, StreamError};
pub use transport::{Reach, Transport};
pub use watch::Watch;
pub use worker::{Desk, Gateway, Place, Worker};
