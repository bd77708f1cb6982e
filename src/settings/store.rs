//! `[store]`: where the keys and the ledger are kept.

use std::path::Path;
use std::time::Duration;

use super::raw::Section;
use super::types::{Durability, Keep, Ledger, Store};
use crate::base::Secret;

/// Where it is unless told.
const DEFAULT: &str = "sqlite://data/stagedoor.db";

/// Reads the section. A relative path starts from `folder`.
pub(super) fn read(mut section: Section<'_>, folder: &Path) -> Store {
    let url = section.text("url", DEFAULT);
    let keep = match url.split_once("://") {
        _ if url.is_empty() => Keep::Nowhere,
        Some(("sqlite", path)) if is_path(path) => Keep::Sqlite(folder.join(path)),
        Some(("postgres" | "postgresql", rest)) if !rest.is_empty() => Keep::Postgres(Secret::new(url), folder.join("data")),
        _ => {
            section
                .problem("url", "must begin with sqlite:// or postgres://, then a file's path or USER@HOST/DATABASE; \"\" stores nothing");
            Keep::Nowhere
        }
    };
    Store {
        keep,
        ledger: section.choice("ledger", &[("all", Ledger::All), ("keyed", Ledger::Keyed), ("off", Ledger::Off)], Ledger::All),
        retention: section.period("retention", Duration::from_secs(90 * 86_400)),
        durability: section.choice("durability", &[("process", Durability::Process), ("host", Durability::Host)], Durability::Process),
    }
}

/// A database that vanishes with its process, or one with options of its own, is none that could be promised to last.
fn is_path(path: &str) -> bool {
    !path.is_empty() && !path.ends_with('/') && !path.contains(['?', '#']) && path != ":memory:"
}
