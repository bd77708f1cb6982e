//! The rehearsal: a simulated OpenAI-style upstream that answers at once, costs nothing and fails on cue.
//!
//! It serves every model while no provider's key is set, it is what `stagedoor sim` puts behind a port and `stagedoor demo`
//! breaks on stage, and it is the tests' upstream. A [`Script`] says how fast it answers and what goes wrong when;
//! a [`Simulator`] plays it. It opens no socket: callers get a status, headers and a body, and put them on a wire
//! themselves or don't. Time is tokio's (a paused clock works) and chance comes from the seed, so a run can be repeated.
//! Request bodies are read as a tree here, since no real traffic passes.

mod act;
mod answer;
mod completions;
mod embeddings;
mod faults;
mod judge;
mod media;
mod pieces;
mod reading;
mod refusal;
mod request;
mod schema;
mod script;
mod simulator;
mod stream;
mod talk;
mod tools;
mod waits;

#[cfg(test)]
mod paused;
#[cfg(test)]
mod tests;

pub use act::{Reply, ReplyBody};
pub use script::{CutEnd, Fault, FaultKind, InvalidScript, Script};
pub use simulator::{Simulator, Stats};
pub use stream::{Cut, EventStream};
