//! Who may come in, what they may use, and how much of it. Pure.

mod account;
mod allowance;
mod budget;
mod common;
mod glob;
mod issue;
mod key;
mod limit;
mod session;
mod strangers;
mod virtual_key;

pub use account::{Account, Amounts, Kind, Now, Refusal, Standing, Terms};
pub use allowance::{Allowance, Allowances, Grant};
pub use budget::{Broke, Purse};
pub use common::{Leased, Untold, Word};
pub use glob::glob_matches;
pub use issue::{is_issued, issue, shown_prefix};
pub use key::{Digest, Entry, KeyRing, Principal, same_secret};
pub use limit::{Bucket, Limit, Reservation, estimated_tokens, least_tokens};
pub use session::{Sessions, session_token};
pub use strangers::{Strangers, TooMany};
pub use virtual_key::{Budget, VirtualKey, Window};
