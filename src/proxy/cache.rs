//! Answers that are kept and given again, and calls that identical requests share. Only where the settings or a request ask
//! for it; elsewhere a request only finds that it has no [`Spot`].
//!
//! Nothing but a whole, good answer is ever kept, and only for the caller who asked: a key's answers are its own.

mod answers;
mod flight;
mod following;
mod key;
mod lead;
mod once;
mod packed;
mod spot;
mod tap;

pub use answers::{Answers, Author, Shelves, Stored};
pub use flight::{Flights, Joined, Lead, Role, Seat};
pub use following::Following;
pub use key::Fingerprint;
pub use lead::{Told, lead_plain, lead_stream};
pub use once::{Once, Onces, Twice};
pub(super) use packed::MOST_PACKED;
pub use spot::{Spot, Wish};
pub(super) use tap::Tap;
