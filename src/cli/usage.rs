//! `stagedoor usage`: what was used, by whom and for what, from the store itself; and the ledger's rows, to be taken elsewhere.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::keys::in_store;
use super::{CANT_RUN, settings};
use crate::actors::journaled;
use crate::base::{date, duration};
use crate::clock::Clock;
use crate::ledger::Counts;
use crate::settings::{Ledger, Settings};
use crate::store::{By, Export, Failed, Form, Page, Rows, Store, Sum, document};

/// A gateway that runs has written what it answered before, within this.
const WRITTEN: Duration = Duration::from_millis(150);

#[derive(Args)]
pub(super) struct Options {
    /// What it is told by: key, model, provider, tag or day
    #[arg(long, default_value = "model", value_parser = by)]
    by: By,
    /// How far to look back, such as 7d, or from when, such as 2026-01-31
    #[arg(long, default_value = "7d", value_parser = since)]
    since: Duration,
    /// Lines of comma-separated values in place of a table
    #[arg(long, conflicts_with = "json")]
    csv: bool,
    /// One JSON document in place of a table; of rows, one a line
    #[arg(long)]
    json: bool,
    /// The rows themselves in place of sums, the oldest first, as comma-separated values unless --json
    #[arg(long, value_name = "KIND", conflicts_with = "by")]
    rows: Option<Kind>,
}

/// Which rows are exported.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// One per request
    Requests,
    /// One per upstream call
    Attempts,
}

pub(super) fn run(file: Option<PathBuf>, options: &Options) -> ExitCode {
    let Some((settings, _)) = settings(file) else { return ExitCode::from(CANT_RUN) };
    tell_of_no_ledger(&settings);
    let (by, since) = (options.by, options.since);
    if let Some(rows) = options.rows {
        let exported = in_store(&settings.store, |store| export(store, rows, since, options.json));
        return exported.map_or_else(|error| super::failed(&error), |()| ExitCode::SUCCESS);
    }
    let asked = in_store(&settings.store, |store| async move {
        tokio::time::sleep(WRITTEN).await;
        tell_of_journal(&store);
        Ok((store.usage(by, since, None).await?, store.total(since, None).await?))
    });
    match asked {
        Ok((lines, total)) => {
            show(options, &lines, &total);
            ExitCode::SUCCESS
        }
        Err(error) => super::failed(&error),
    }
}

/// Prints rows as they are read: there may be more than the memory holds.
async fn export(store: Store, kind: Kind, since: Duration, json: bool) -> Result<(), Failed> {
    tokio::time::sleep(WRITTEN).await;
    tell_of_journal(&store);
    let rows = if kind == Kind::Requests { Rows::Requests } else { Rows::Attempts };
    let form = if json { Form::JsonLines } else { Form::Csv };
    let mut export = Export::new(rows, form, Page { since: Some(since), ..Page::default() });
    while let Some(lines) = export.next(&store).await? {
        print!("{lines}");
    }
    Ok(())
}

/// What a gateway couldn't put into the store isn't counted here: said beside the answer, not in it.
pub(super) fn tell_of_journal(store: &Store) {
    let waiting = journaled(store);
    if waiting > 0 {
        let folder = store.folder().display();
        eprintln!("stagedoor: up to {waiting} more rows wait in the journal in {folder}; a gateway that runs puts them into the store");
    }
}

/// What isn't put on record can't be shown: said, lest it be taken for nothing.
pub(super) fn tell_of_no_ledger(settings: &Settings) {
    if settings.store.ledger == Ledger::Off {
        eprintln!("stagedoor: by these settings no request is put on record (store.ledger = \"off\"): what is told is from before");
    }
}

fn show(options: &Options, lines: &[Sum], total: &Counts) {
    let by = options.by;
    if options.json {
        println!("{}", document::usage(by, lines, total));
    } else if options.csv {
        let names: Vec<&str> = std::iter::once(by.name()).chain(document::COUNTS).collect();
        println!("{}", names.join(","));
        let usage = document::usage(by, lines, total);
        usage["data"].as_array().into_iter().flatten().for_each(|line| println!("{}", document::csv(line, &names)));
    } else {
        let head = [by.name(), "requests", "errors", "in", "out", "cached", "reasoning", "cost", "unpriced"].map(str::to_owned);
        let all = Sum { name: "in all".to_owned(), counts: *total, ..Sum::default() };
        super::table(std::iter::once(head).chain(lines.iter().chain([&all]).map(row)).collect());
    }
}

fn row(line: &Sum) -> [String; 9] {
    let Counts { requests, errors, tokens_in, tokens_out, tokens_cached, tokens_reasoning, cost, unpriced } = line.counts;
    let name = if line.name.is_empty() { "-".to_owned() } else { line.name.clone() };
    let count = |count: i64| count.to_string();
    [
        name,
        count(requests),
        count(errors),
        count(tokens_in),
        count(tokens_out),
        count(tokens_cached),
        count(tokens_reasoning),
        format!("${:.6}", document::usd(cost)),
        count(unpriced),
    ]
}

fn by(text: &str) -> Result<By, String> {
    By::named(text).ok_or_else(|| "must be key, model, provider, tag or day".to_owned())
}

pub(super) fn since(text: &str) -> Result<Duration, String> {
    let now = Clock::start().wall();
    let time = duration(text).map(|ago| now.saturating_sub(ago)).or_else(|| date(text));
    match time {
        Some(time) if time > now => Err("is a time to come, of which nothing is on record yet".to_owned()),
        Some(time) => Ok(time),
        None => Err("must be a duration such as 7d, or a day such as 2026-01-31".to_owned()),
    }
}
