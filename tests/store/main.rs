//! One suite for each store: what is asked of it is answered alike, whichever it is.

#![allow(clippy::disallowed_methods, reason = "these tests live in real time")]

mod cut;
mod long;
#[path = "../support/postgres.rs"]
mod postgres;
mod suite;

use postgres::Postgres;
use stagedoor::base::Secret;
use stagedoor::settings::Keep;

#[test]
fn sqlite() {
    let folder = tempfile::tempdir().unwrap();
    suite::all(&Keep::Sqlite(folder.path().join("made/for it/stage door%41.db")));
}

#[test]
fn postgresql() {
    let Some(server) = Postgres::start() else { return };
    let folder = tempfile::tempdir().unwrap();
    suite::all(&Keep::Postgres(Secret::new(server.url()), folder.path().to_owned()));
}
