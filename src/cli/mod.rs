//! The command line: `stagedoor [serve] | init | check | demo | sim | route | keys | usage | prices | tune`. Exit codes: 0 good, 1 a
//! finding, 2 wrong use, 3 can't run.

#![expect(clippy::print_stdout, reason = "this is what writes to the terminal")]

mod check;
mod demo;
mod init;
mod keys;
mod prices;
mod route;
mod serve;
mod sim;
mod tune;
mod usage;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Args, Parser, Subcommand};

use crate::settings::{Settings, Source, load};
use crate::store::holds_keys;

/// A finding: the settings are wrong.
const FINDING: u8 = 1;
/// It was asked for what can't be asked for: clap's own code, too.
const WRONG_USE: u8 = 2;
/// It can't run as asked.
const CANT_RUN: u8 = 3;

#[derive(Parser)]
#[command(name = "stagedoor", version, about = "An AI gateway: one OpenAI-compatible door to every model", max_term_width = 100)]
struct Line {
    #[command(subcommand)]
    verb: Option<Verb>,
    #[command(flatten)]
    settings: SettingsFile,
}

#[derive(Args, Clone)]
struct SettingsFile {
    /// A settings file that stands alone, in place of the settings folder
    #[arg(long = "settings", value_name = "FILE", global = true)]
    file: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Verb {
    /// Serve (the default)
    Serve,
    /// Write a settings file to begin with: settings/default.toml, or FILE
    Init,
    /// Check the settings as `serve` would read them, and say everything that is wrong
    Check(check::Options),
    /// Run the gateway over three simulated providers, one of which fails and heals, and show who serves
    Demo(demo::Options),
    /// Serve a simulated OpenAI-style upstream, with scripted latency and faults
    Sim(sim::Options),
    /// Ask the running gateway where a request for a model would go now, and why; sends none
    Route(route::Options),
    /// Put a newer price table in force
    #[command(subcommand)]
    Prices(prices::Verb),
    /// Make, list, revoke and rotate callers' keys
    Keys(keys::Options),
    /// Show what was used, by whom and for what
    Usage(usage::Options),
    /// Replay what a log has on record of breakers, as it was and under other thresholds
    Tune(tune::Options),
}

/// Parses, runs, and says how it went.
pub fn main() -> ExitCode {
    // clap itself leaves with 2 on wrong use.
    let line = Line::parse();
    let file = line.settings.file;
    let verb = line.verb.unwrap_or(Verb::Serve);
    if let (Some(file), Verb::Demo(_) | Verb::Sim(_) | Verb::Prices(_)) = (&file, &verb) {
        eprintln!("stagedoor: no settings are read for this, so --settings {} has no effect", file.display());
    }
    match verb {
        Verb::Serve => serve::run(file),
        Verb::Init => init::run(file),
        Verb::Check(options) => check::run(file, &options),
        Verb::Demo(options) => demo::run(&options),
        Verb::Sim(options) => sim::run(&options),
        Verb::Route(options) => route::run(file, &options),
        Verb::Prices(verb) => prices::run(&verb),
        Verb::Keys(options) => keys::run(file, options),
        Verb::Usage(options) => usage::run(file, &options),
        Verb::Tune(options) => tune::run(file, &options),
    }
}

/// What settings are read from, with a store that can be asked.
fn source(file: Option<PathBuf>) -> Source {
    Source { stored: Some(Arc::new(holds_keys)), ..Source::from_process(file) }
}

/// The settings with their source; None once their mistakes have been told.
fn settings(file: Option<PathBuf>) -> Option<(Settings, Source)> {
    let source = source(file);
    match load(&source) {
        Ok(settings) => Some((settings, source)),
        Err(invalid) => {
            eprintln!("stagedoor: the settings are not valid:\n{invalid}");
            None
        }
    }
}

/// Rows under a head, each column as wide as its widest.
fn table<const COLUMNS: usize>(rows: Vec<[String; COLUMNS]>) {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; COLUMNS] = std::array::from_fn(width);
    for row in &rows {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}"));
        println!("{}", cells.collect::<Vec<_>>().join("  ").trim_end());
    }
}

fn failed(error: &dyn std::fmt::Display) -> ExitCode {
    eprintln!("stagedoor: {error}");
    ExitCode::from(CANT_RUN)
}
