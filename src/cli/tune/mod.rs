//! `stagedoor tune`: replays what is on record of breakers, as it was and under other thresholds, and says what they would
//! have changed.

mod chart;
mod document;
mod kept;
mod table;

use std::fs::File;
use std::io::{self, BufRead, BufReader, IsTerminal, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use super::{CANT_RUN, FINDING, WRONG_USE, failed};
use crate::health::Thresholds;
use crate::settings::Settings;
use crate::tuning::{Change, Checked, Figures, Reader, Record, Rule, Scene, changed, check, figures, search};

/// A longer line of a log is none of the gateway's.
const LONGEST_LINE: u64 = 64 << 10;

/// What the figures rest on, for --help.
const ABOUT: &str =
    "The log is the gateway's own, written with telemetry.log = \"json\" at the level info. With --since the record is the \
ledger: it tells how calls went, but not all that the breakers were told and in which order, so that nothing is checked, \
chains are guessed from the calls, and the figures are rougher.

First the record is replayed as it was: the same breakers, told the same, have to make the moves on record. Then every \
request is played again, under the settings in force and under others, by the code that serves real ones. How a target was \
at a time is taken from the call on record that is nearest to it; one without a call on record is taken to be well. What no \
threshold changes is left out: rate limits and keys, hedges, concurrency limits, the callers' own faults. So the figures \
compare settings over this record; they are no forecast.

cost = 100 x failures that callers saw + 10 x calls wasted on sick targets + requests kept from a well first choice

Exit codes: 0 good, 1 the replay differs from the record, 2 wrong use, 3 can't run.";

#[derive(Args, Clone)]
#[command(after_long_help = ABOUT)]
pub(super) struct Options {
    /// The gateway's JSON log; - reads standard input
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
    /// How far to look back in the ledger, such as 7d, or from when, such as 2026-01-31
    #[arg(long, value_name = "TIME", conflicts_with = "from", value_parser = super::usage::since)]
    since: Option<Duration>,
    /// Another value for a setting: breaker.KEY=VALUE, or providers.NAME.breaker.KEY=VALUE; may be given again
    #[arg(long, value_name = "K=V")]
    set: Vec<String>,
    /// Look for better settings
    #[arg(long)]
    search: bool,
    /// One JSON document in place of text
    #[arg(long)]
    json: bool,
}

/// Settings that were played.
struct Variant {
    name: String,
    changes: Vec<Change>,
    figures: Figures,
}

/// All that is told.
struct Report {
    record: Record,
    scene: Scene,
    /// How each provider's replay went; None: the record is the ledger, which doesn't hold what that takes.
    checked: Option<Vec<Checked>>,
    rules: Vec<Rule>,
    /// Whether better settings were looked for.
    searched: bool,
    /// Providers whose thresholds aren't on record.
    assumed: Vec<String>,
    /// The settings in force first.
    variants: Vec<Variant>,
}

pub(super) fn run(file: Option<PathBuf>, options: &Options) -> ExitCode {
    let changes: Vec<Change> = match options.set.iter().map(|text| Change::read(text)).collect() {
        Ok(changes) => changes,
        Err(error) => return wrong_use(&format!("--set: {error}")),
    };
    let settings = match (file, options.since) {
        (None, None) => None,
        (file, since) => match super::settings(file) {
            Some((settings, _)) => {
                since.into_iter().for_each(|_| super::usage::tell_of_no_ledger(&settings));
                Some(settings)
            }
            None => return ExitCode::from(CANT_RUN),
        },
    };
    let (name, record) = match (&options.from, options.since, &settings) {
        (Some(from), ..) => (from.display().to_string(), read(from).map_err(|error| error.to_string())),
        (None, Some(since), Some(settings)) => ("the ledger".to_owned(), kept::read(settings, since).map_err(|error| error.to_string())),
        _ => {
            let either = "give --since TIME, or --from FILE, the gateway's JSON log (telemetry.log = \"json\"); - reads standard input";
            return wrong_use(either);
        }
    };
    let record = match record {
        Ok(record) => record,
        Err(error) => return failed(&format!("{name}: {error}")),
    };
    if record.calls().next().is_none() {
        return failed(&format!("{name}: no call is on record there; {}", what_is_needed(&record)));
    }
    let report = match Report::new(record, settings.as_ref(), changes, options) {
        Ok(report) => report,
        Err(error) => return wrong_use(&format!("--set: {error}")),
    };
    if options.json {
        println!("{}", document::of(&report));
    } else {
        print!("{}{}", table::text(&report), chart::text(&report, &chart::Look::of_terminal()));
    }
    let differs = report.checked.iter().flatten().any(|checked| checked.different > 0);
    if differs { ExitCode::from(FINDING) } else { ExitCode::SUCCESS }
}

fn wrong_use(message: &str) -> ExitCode {
    eprintln!("stagedoor: {message}");
    ExitCode::from(WRONG_USE)
}

fn what_is_needed(record: &Record) -> String {
    match record.lines.other + record.lines.bad {
        0 => "it is empty".to_owned(),
        lines => format!("{lines} lines were read, none of them an attempt's: is it a JSON log at the level info?"),
    }
}

impl Report {
    fn new(record: Record, settings: Option<&Settings>, changes: Vec<Change>, options: &Options) -> Result<Self, String> {
        let checked = options.since.is_none().then(|| check(&record));
        let scene = Scene::new(&record);
        let (rules, assumed) = rules(&scene, settings);
        let variant = |name: &str, changes: Vec<Change>, figures: Figures| Variant { name: name.to_owned(), changes, figures };
        let mut variants = vec![variant("in force", Vec::new(), figures(&scene, &rules))];
        if !changes.is_empty() {
            let other = changed(&scene, &rules, &changes)?;
            let figures = figures(&scene, &other);
            variants.push(variant("as set", changes, figures));
        }
        if options.search {
            let found = search(&scene, &rules, progress);
            if io::stderr().is_terminal() {
                eprint!("\r\x1b[K");
            }
            for (found, name) in found.into_iter().zip(["found 1", "found 2", "found 3"]) {
                variants.push(variant(name, found.changes, found.figures));
            }
        }
        Ok(Self { record, scene, checked, rules, searched: options.search, assumed, variants })
    }
}

fn progress(tried: usize) {
    if io::stderr().is_terminal() {
        eprint!("\rtried {tried}");
    }
}

/// What each provider was ruled by: as on record, else as the settings given say, else the built-in defaults.
fn rules(scene: &Scene, settings: Option<&Settings>) -> (Vec<Rule>, Vec<String>) {
    let mut assumed = Vec::new();
    let rules = scene.providers.iter().map(|provider| {
        let own = settings.and_then(|settings| settings.providers.get(&*provider.name));
        match (&provider.thresholds, own) {
            (Some(thresholds), _) => Rule { thresholds: thresholds.clone(), when_all_open: provider.when_all_open },
            (None, Some(own)) => Rule { thresholds: own.breaker.clone(), when_all_open: own.when_all_open },
            (None, None) => {
                assumed.push(provider.name.to_string());
                Rule { thresholds: Thresholds::default(), when_all_open: provider.when_all_open }
            }
        }
    });
    (rules.collect(), assumed)
}

fn read(from: &Path) -> io::Result<Record> {
    if from == Path::new("-") {
        return lines(io::stdin().lock());
    }
    lines(BufReader::with_capacity(1 << 20, File::open(from)?))
}

/// Line by line, none longer than a bound.
fn lines(mut log: impl BufRead) -> io::Result<Record> {
    let mut reader = Reader::default();
    let mut line = Vec::new();
    let mut too_long = false;
    loop {
        line.clear();
        let count = log.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut line)?;
        if count == 0 {
            return Ok(reader.finish());
        }
        let ends = line.ends_with(b"\n") || (count as u64) < LONGEST_LINE;
        match (too_long, ends) {
            (false, true) => reader.line(&line),
            (true, true) => reader.bad_line(),
            (_, false) => {}
        }
        too_long = !ends;
    }
}

#[cfg(test)]
mod tests;
