//! The report as text: what was read, whether the replay agrees, a table per provider, and the settings to paste.

use std::fmt::Write as _;
use std::time::Duration;

use super::{Report, Variant};
use crate::tuning::{Checked, ProviderFigures, Times, settings_lines};

/// The columns after a row's name, and what they say.
const COLUMNS: [(&str, &str); 8] = [
    ("calls", "upstream calls"),
    ("wasted", "of those, failed ones"),
    ("seen", "requests whose callers saw a failure"),
    ("kept", "requests kept by a breaker from their first choice though it was well"),
    ("noticed", "spells of sickness in which a breaker opened, of all"),
    ("after", "from a spell's beginning to the opening: mean (longest)"),
    ("back after", "from a spell's end to the closing: mean (longest)"),
    ("wrong", "openings though the target was well"),
];

/// All of it.
pub(super) fn text(report: &Report) -> String {
    let mut text = heading(report);
    for (number, provider) in report.scene.providers.iter().enumerate() {
        let rows = report.variants.iter().map(|variant| (variant.name.as_str(), cells(&variant.figures.providers[number])));
        table(&mut text, &provider.name, rows.collect());
    }
    legend(&mut text);
    costs(&mut text, report);
    text
}

fn heading(report: &Report) -> String {
    let (record, scene) = (&report.record, &report.scene);
    let (calls, requests) = (count(record.calls().count()), count(scene.requests.len()));
    let (from, to) = (at(scene.began_unix_us + 1_000_000), at(scene.began_unix_us + scene.ended.micros()));
    let mut text = format!("on record: {requests} requests, {calls} calls, {from} to {to} UTC\n");
    // Writing to a String can't fail.
    let lines = record.lines;
    if lines.bad > 0 {
        let _ = writeln!(text, "{} lines could not be read and were left out", count(lines.bad as usize));
    }
    if lines.beyond > 0 {
        let _ = writeln!(text, "the log is longer than what is kept: its last {} calls and requests were left out", lines.beyond);
    }
    let _ = match &report.checked {
        Some(checked) => writeln!(text, "{}", replayed(checked)),
        None => writeln!(text, "the ledger doesn't tell all that the breakers were told: the replay isn't checked against it"),
    };
    for difference in report.checked.iter().flatten().flat_map(|checked| &checked.differences) {
        let _ = writeln!(text, "  {difference}");
    }
    for name in &report.assumed {
        let _ = writeln!(text, "the thresholds of {name} are not on record: the built-in defaults are taken as those in force");
    }
    for model in scene.models.iter().filter(|model| model.guessed && !model.pools.is_empty()) {
        let _ =
            writeln!(text, "the chain of {} is not on record: its targets are taken in the order in which they were called", model.name);
    }
    let now = report.variants.first().map_or(0, |variant| variant.figures.seen());
    let _ = writeln!(text, "callers who saw a failure: {} on record, {} when it is played again under the same settings", scene.seen, now);
    text
}

/// Whether the replay agrees with the record, in one line.
pub(super) fn replayed(checked: &[Checked]) -> String {
    let sum = |part: fn(&Checked) -> usize| checked.iter().map(part).sum::<usize>();
    let (same, different, unchecked) = (sum(|c| c.same), sum(|c| c.different), sum(|c| c.unchecked));
    let mut text = format!("replay of the settings in force: {} transitions, ", same + different);
    text += &match different {
        0 => "all as recorded".to_owned(),
        some => format!("{some} OTHER THAN RECORDED:"),
    };
    if unchecked > 0 {
        // Writing to a String can't fail.
        let _ = write!(text, "; {unchecked} more can't be checked, since lines of the log before them are missing");
    }
    text
}

fn cells(own: &ProviderFigures) -> [String; 8] {
    [
        count(own.calls as usize),
        count(own.wasted as usize),
        count(own.seen as usize),
        count(own.kept as usize),
        if own.spells == 0 { "-".to_owned() } else { format!("{} of {}", own.spells - own.missed, own.spells) },
        times(&own.eject),
        times(&own.back),
        count(own.false_ejections as usize),
    ]
}

fn table(text: &mut String, name: &str, rows: Vec<(&str, [String; 8])>) {
    let first = rows.iter().map(|(row, _)| row.chars().count() + 2).chain([name.chars().count()]).max().unwrap_or(0);
    let mut widths = COLUMNS.map(|(title, _)| title.len());
    for (_, cells) in &rows {
        widths.iter_mut().zip(cells).for_each(|(width, cell)| *width = (*width).max(cell.len()));
    }
    text.push('\n');
    let mut line = |name: &str, cells: [&str; 8]| {
        // Writing to a String can't fail.
        let _ = write!(text, "{name:<first$}");
        for (cell, width) in cells.iter().zip(widths) {
            let _ = write!(text, "  {cell:>width$}");
        }
        text.push('\n');
    };
    line(name, COLUMNS.map(|(title, _)| title));
    for (row, cells) in &rows {
        line(&format!("  {row}"), cells.each_ref().map(String::as_str));
    }
}

fn legend(text: &mut String) {
    text.push('\n');
    for (title, meaning) in COLUMNS {
        // Writing to a String can't fail.
        let _ = writeln!(text, "  {title}: {meaning}");
    }
}

fn costs(text: &mut String, report: &Report) {
    let now = report.variants.first().map_or(0, |variant| variant.figures.cost());
    // Writing to a String can't fail.
    let _ = writeln!(text, "\ncost = 100 x seen + 10 x wasted + kept; less is better");
    for Variant { name, changes, figures } in &report.variants {
        let cost = figures.cost();
        let share =
            if now == 0 || changes.is_empty() { String::new() } else { format!(" ({:+.0} %)", (cost as f64 / now as f64 - 1.0) * 100.0) };
        let refused = if figures.refused > 0 { format!(", {} requests found no target", figures.refused) } else { String::new() };
        let _ = writeln!(text, "  {name}: {}{share}{refused}", count(cost as usize));
    }
    for Variant { name, changes, .. } in report.variants.iter().filter(|variant| !variant.changes.is_empty()) {
        let _ = writeln!(text, "\n# {name}");
        text.push_str(&settings_lines(&report.scene, &report.rules, changes));
    }
    if report.searched && report.variants.iter().all(|variant| !variant.name.starts_with("found")) {
        let _ = writeln!(text, "\nno setting was found that does better");
    }
    text.push('\n');
}

fn times(times: &Times) -> String {
    match times.mean() {
        None => "-".to_owned(),
        Some(mean) => format!("{} ({})", seconds(mean), seconds(times.worst)),
    }
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

/// With commas between the thousands.
fn count(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn at(unix_us: u64) -> String {
    let time = jiff::Timestamp::from_microsecond(i64::try_from(unix_us).unwrap_or(i64::MAX));
    time.map_or_else(|_| String::new(), |time| time.strftime("%Y-%m-%d %H:%M:%S").to_string())
}
