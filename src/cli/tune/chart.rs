//! The breakers' timelines as a chart: a row per target and settings, time from left to right.

use std::fmt::Write as _;
use std::io::{self, IsTerminal};

use super::Report;
use crate::base::Moment;
use crate::health::State;
use crate::tuning::Spell;

/// Columns of the time axis where the terminal doesn't tell its width.
const WIDTH: usize = 72;
/// A mark on the axis each so many columns.
const MARK: usize = 18;

/// How it is drawn.
pub(super) struct Look {
    /// Whether the characters may be other than ASCII.
    pub(super) unicode: bool,
    /// Columns of the whole.
    pub(super) columns: usize,
}

impl Look {
    /// Blocks where the output is a terminal that says that it knows them.
    pub(super) fn of_terminal() -> Self {
        let var = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let locale = var("LC_ALL").or_else(|| var("LC_CTYPE")).or_else(|| var("LANG")).unwrap_or_default().to_ascii_uppercase();
        let utf8 = locale.contains("UTF-8") || locale.contains("UTF8");
        let columns = var("COLUMNS").and_then(|columns| columns.parse().ok()).unwrap_or(0);
        Self { unicode: io::stdout().is_terminal() && utf8, columns }
    }

    fn state(&self, state: State) -> char {
        match (state, self.unicode) {
            (State::Closed, true) => '·',
            (State::Closed, false) => '.',
            (State::HalfOpen, true) => '▒',
            (State::HalfOpen, false) => 'o',
            (State::Open, true) => '█',
            (State::Open, false) => '#',
        }
    }
}

/// The chart of every target that was ever sick or out; empty where none was.
pub(super) fn text(report: &Report, look: &Look) -> String {
    let (scene, recorded) = (&report.scene, report.scene.recorded(&report.record));
    let out = |lines: &[Vec<(Moment, State)>], target: usize| lines[target].iter().any(|(_, state)| *state != State::Closed);
    let eventful = |target: &usize| {
        let played = report.variants.iter().any(|variant| out(&variant.figures.timelines, *target));
        played || out(&recorded, *target) || !scene.targets[*target].spells.is_empty()
    };
    let targets: Vec<usize> = (0..scene.targets.len()).filter(eventful).collect();
    if targets.is_empty() {
        return String::new();
    }
    let label = report.variants.iter().map(|variant| variant.name.len()).chain(["on record".len()]).max().unwrap_or(0) + 2;
    let width = look.columns.checked_sub(label + 2).filter(|width| *width >= MARK).unwrap_or(WIDTH);
    let axis = Axis { from: scene.requests.first().map_or(Moment::START, |request| request.at), to: scene.ended, width };
    let mut text = format!(
        "breakers: {} closed, {} half open, {} open\n",
        look.state(State::Closed),
        look.state(State::HalfOpen),
        look.state(State::Open)
    );
    for target in targets {
        // Writing to a String can't fail.
        let _ = writeln!(text, "\n{}", scene.target_name(target));
        let mut row = |name: &str, cells: String| {
            let _ = writeln!(text, "{}", format!("  {name:<label$}{cells}").trim_end());
        };
        row("sick", axis.sick(&scene.targets[target].spells));
        row("on record", axis.states(&recorded[target], look));
        for variant in &report.variants {
            row(&variant.name, axis.states(&variant.figures.timelines[target], look));
        }
    }
    let _ = writeln!(text, "  {:<label$}{}", "", axis.marks());
    let _ = writeln!(text, "  {:<label$}{}", "UTC", axis.times(scene.began_unix_us));
    text
}

/// Time in columns.
struct Axis {
    from: Moment,
    to: Moment,
    width: usize,
}

impl Axis {
    /// When a column begins.
    fn at(&self, column: usize) -> Moment {
        let span = self.to.since(self.from).as_micros() as u64;
        Moment::from_micros(self.from.micros() + (u128::from(span) * column as u128 / self.width as u128) as u64)
    }

    /// Where a target was sick for some of a column.
    fn sick(&self, spells: &[Spell]) -> String {
        let cell = |column: usize| {
            let (from, to) = (self.at(column), self.at(column + 1));
            if spells.iter().any(|spell| spell.from < to && from < spell.to) { 'x' } else { ' ' }
        };
        (0..self.width).map(cell).collect::<String>().trim_end().to_owned()
    }

    /// The worst that a breaker was in each column.
    fn states(&self, line: &[(Moment, State)], look: &Look) -> String {
        let rank = |state: &State| [State::Closed, State::HalfOpen, State::Open].iter().position(|known| known == state);
        let cell = |column: usize| {
            let begin = line.partition_point(|(since, _)| *since <= self.at(column)).saturating_sub(1);
            let end = line.partition_point(|(since, _)| *since < self.at(column + 1)).max(begin + 1).min(line.len());
            let worst = line[begin..end].iter().map(|(_, state)| *state).max_by_key(rank);
            look.state(worst.unwrap_or(State::Closed))
        };
        (0..self.width).map(cell).collect()
    }

    fn marks(&self) -> String {
        (0..=self.width).map(|column| if column.is_multiple_of(MARK) { '|' } else { ' ' }).collect::<String>().trim_end().to_owned()
    }

    fn times(&self, began_unix_us: u64) -> String {
        let mut text = String::new();
        for column in (0..=self.width).step_by(MARK) {
            let unix = i64::try_from(began_unix_us + self.at(column).micros()).unwrap_or(i64::MAX);
            let time = jiff::Timestamp::from_microsecond(unix).map_or_else(|_| String::new(), |time| time.strftime("%H:%M:%S").to_string());
            // Writing to a String can't fail.
            let _ = write!(text, "{time:<MARK$}");
        }
        text.trim_end().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ASCII: Look = Look { unicode: false, columns: 0 };

    fn at(seconds: u64) -> Moment {
        Moment::from_millis(seconds * 1_000)
    }

    fn axis() -> Axis {
        Axis { from: at(10), to: at(20), width: 10 }
    }

    #[test]
    fn a_column_shows_the_worst_of_its_time() {
        let line = [(at(0), State::Closed), (at(12), State::Open), (at(14), State::HalfOpen), (at(15), State::Closed)];
        assert_eq!(axis().states(&line, &ASCII), "..##o.....");
        let brief = [(at(0), State::Closed), (Moment::from_millis(13_200), State::Open), (Moment::from_millis(13_300), State::Closed)];
        assert_eq!(axis().states(&brief, &ASCII), "...#......");
        let blocks = Look { unicode: true, columns: 0 };
        assert_eq!(axis().states(&line, &blocks), "··██▒·····");
    }

    #[test]
    fn spells_and_the_axis() {
        let spell = Spell { from: at(12), to: Moment::from_millis(13_500) };
        assert_eq!(axis().sick(&[spell]), "  xx");
        let hour = Axis { from: at(0), to: at(3_600), width: 36 };
        assert_eq!(hour.marks(), "|                 |                 |");
        assert_eq!(hour.times(0), "00:00:00          00:30:00          01:00:00");
    }
}
