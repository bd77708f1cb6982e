//! `stagedoor prices update FILE`: a newer price table, checked and put where `serve` reads it from.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Subcommand;

use super::failed;
use crate::settings::{PRICES_FILE, update_prices};

#[derive(Subcommand)]
pub(super) enum Verb {
    /// Check FILE and put it in the place of settings/prices.json; a running gateway reads it at once
    Update {
        /// A table in the form of genai-prices' data, version 2 (new_data/v2/data.json of its repository)
        // Not `file`: that is what `--settings` is known by to clap.
        #[arg(value_name = "FILE")]
        table: PathBuf,
    },
}

pub(super) fn run(verb: &Verb) -> ExitCode {
    let Verb::Update { table: file } = verb;
    match update_prices(file, Path::new(".")) {
        Ok(table) => {
            let (vendors, models) = table.size();
            println!("{PRICES_FILE} holds the prices of {models} models of {vendors} vendors");
            ExitCode::SUCCESS
        }
        Err(wrong) => failed(&wrong),
    }
}
