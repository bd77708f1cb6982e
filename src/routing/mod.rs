//! Where a request goes: targets, chains of pools, the choice among them and the plan of a request's attempts. Pure: time
//! and chance are arguments; the only effect is the claim of a half-open breaker's permit.

mod budget;
mod chain;
mod explain;
#[cfg(test)]
mod fixture;
mod heard;
mod hedge;
mod keys;
mod onward;
mod pick;
mod plan;
mod policy;
#[cfg(test)]
mod simulation;
mod target;
mod turns;
mod why;

pub use budget::{Budget, Budgets};
pub use chain::{Chain, Pool};
pub use explain::{Explained, ExplainedKey, explain};
pub use heard::heard;
pub use hedge::beside;
pub use keys::{settle, told};
pub use onward::Onward;
pub use pick::{Ask, Choice, Taken, Tried, pick, servable};
pub use plan::{Around, Failed, Next, Plan, Stop};
pub use policy::{Caching, Retry, Strategy, Streaming, Timeouts, WhenAllOpen};
pub use target::{KeySlot, Needs, Provider, Target};
pub use turns::Turns;
pub use why::{NoTarget, Why};
