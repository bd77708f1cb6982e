//! Streams that a caller can come back to: an actor reads the upstream on, a ring buffer keeps the events, and readers take
//! them at their own pace, as many as there are. Only where it was asked for; nothing of this is touched elsewhere.

mod kept;
mod pump;
mod replay;
mod shelf;

pub use kept::{Kept, Unreadable};
pub use pump::{Edge, Opening, begin};
pub use replay::Replay;
pub use shelf::{Owner, Shelf, owner};
