//! What a gateway's own record says of its breakers' thresholds: replayed as they were, and as they might have been. Pure:
//! the record comes as lines of text, time is the record's own, chance has a seed.

mod chains;
mod exact;
mod figures;
mod house;
mod play;
mod reader;
mod record;
mod resumed;
mod scene;
mod search;
mod spells;
mod stands;
mod thresholds;
mod variant;

pub use chains::{Member, Pool, chain_line};
pub use exact::{Checked, DRAWN, check};
pub use figures::{Figures, ProviderFigures, Times, figures};
pub use house::Rule;
#[cfg(test)]
pub(crate) use play::{End, Listener, World, play};
pub use reader::Reader;
pub use record::*;
pub use resumed::resumed_line;
pub use scene::*;
pub use search::{Found, search};
pub use spells::Spell;
pub use thresholds::{fingerprint, line};
pub use variant::{Change, changed, settings_lines};
