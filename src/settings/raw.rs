//! A walk over the settings as written, one table at a time: strict kinds, unknown keys, and every mistake of one reading
//! collected with its file and path.
//!
//! Why by hand: the `config` crate's own deserialising stops at the first error and turns "5" into 5 and 5.7 into 6. Here
//! the code that reads a key is the schema; whatever a table holds beyond the keys that were read is unknown, and is told
//! when the table's reader is dropped, so that no section can forget to check.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use config::{Value, ValueKind};

use super::later::LATER;
use super::layer::{Layer, is_from_environment};
use super::path::Path;
use super::problem::Problem;
use super::types::{Note, NoteKind};
use super::units;

/// The largest whole number that any key takes: sums of a few of them can't overflow.
pub(super) const MOST: u64 = 1_000_000_000_000_000;

/// What one reading finds: mistakes and notes.
pub(super) struct Report {
    layers: Vec<Layer>,
    problems: RefCell<Vec<Problem>>,
    notes: RefCell<Vec<Note>>,
}

impl Report {
    /// An empty report on these layers, lowest first.
    pub(super) fn new(layers: Vec<Layer>, problems: Vec<Problem>) -> Self {
        Self { layers, problems: RefCell::new(problems), notes: RefCell::default() }
    }

    /// Records a mistake at `path`.
    pub(super) fn problem(&self, path: &Path, message: impl Into<String>) {
        let problem = Problem { file: self.origin(path), path: path.to_string(), message: message.into() };
        self.problems.borrow_mut().push(problem);
    }

    /// Records a mistake of a file that is no layer.
    pub(super) fn add(&self, problem: Problem) {
        self.problems.borrow_mut().push(problem);
    }

    /// Records something worth telling at `path`.
    pub(super) fn note(&self, kind: NoteKind, path: &Path, message: impl Into<String>) {
        self.notes.borrow_mut().push(Note { kind, path: path.to_string(), message: message.into() });
    }

    /// How many mistakes there are so far: a caller that sees it unchanged knows that what it read was good.
    pub(super) fn count(&self) -> usize {
        self.problems.borrow().len()
    }

    /// The value that the last layer to speak of `path` gives it, unmerged.
    pub(super) fn last_written(&self, path: &Path) -> Option<&Value> {
        self.layers.iter().rev().find_map(|layer| layer.at(path))
    }

    /// The mistakes and the notes, in a fixed order and each once.
    pub(super) fn finish(self) -> (Vec<Problem>, Vec<Note>) {
        let mut problems = self.problems.into_inner();
        problems.sort_by(|a, b| (&a.file, &a.path, &a.message).cmp(&(&b.file, &b.path, &b.message)));
        problems.dedup();
        let mut notes = self.notes.into_inner();
        notes.sort_by(|a, b| (&a.path, &a.message).cmp(&(&b.path, &b.message)));
        notes.dedup();
        (problems, notes)
    }

    /// The file or variable that had the last word on `path`, or on the nearest table above it.
    fn origin(&self, path: &Path) -> String {
        let mut path = path.clone();
        loop {
            let mut written = self.layers.iter().rev().filter_map(|layer| layer.at(&path));
            if let Some(last) = written.next() {
                // A table that variables built has no origin of its own: where a file has that table too, the file is
                // meant; else the variable that began it.
                let is_table = |value: &&Value| matches!(value.kind, ValueKind::Table(_));
                let own = last.origin().or_else(|| written.next().filter(is_table)?.origin());
                return own.or_else(|| first_origin(last)).unwrap_or("the environment").to_owned();
            }
            if !path.pop() {
                return self.layers.last().map_or_else(|| "settings".to_owned(), |l| l.label().to_owned());
            }
        }
    }
}

/// Reads one table. Dropping it reports the keys that nobody asked for.
pub(super) struct Section<'a> {
    report: &'a Report,
    path: Path,
    entries: BTreeMap<&'a str, &'a Value>,
    known: Vec<&'static str>,
    /// Whether what is written is no table at all: then nothing in it is missing.
    broken: bool,
}

impl<'a> Section<'a> {
    /// A reader of `value`, which should be a table; None is an empty one.
    pub(super) fn new(report: &'a Report, path: Path, value: Option<&'a Value>) -> Self {
        let mut entries = BTreeMap::new();
        let mut broken = false;
        match value.map(|v| &v.kind) {
            None => {}
            Some(ValueKind::Table(table)) => entries.extend(table.iter().map(|(k, v)| (k.as_str(), v))),
            Some(_) => broken = true,
        }
        if broken {
            report.problem(&path, "must be a table of keys");
        }
        Self { report, path, entries, known: Vec::new(), broken }
    }

    /// Where the mistakes go.
    pub(super) fn report(&self) -> &'a Report {
        self.report
    }

    /// This table's path.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether `key` is written at all; doesn't count as reading it.
    pub(super) fn has(&self, key: &str) -> bool {
        self.entries.contains_key(key)
    }

    /// Records a mistake at `key`.
    pub(super) fn problem(&self, key: &'static str, message: impl Into<String>) {
        self.report.problem(&self.path.key(key), message);
    }

    /// Records a warning at `key`.
    pub(super) fn warn(&self, key: &'static str, message: impl Into<String>) {
        self.report.note(NoteKind::Warning, &self.path.key(key), message);
    }

    /// Says once that `key` is needed.
    pub(super) fn missing(&self, key: &'static str, example: &str) {
        if !self.broken {
            self.report.problem(&self.path, format!("`{key}` is missing; write {example}"));
        }
    }

    /// Text, or `default`.
    pub(super) fn text(&mut self, key: &'static str, default: &str) -> String {
        let text = self.text_if_set(key);
        self.settle(key, text.as_deref().is_some_and(|t| t != default));
        text.unwrap_or_else(|| default.to_owned())
    }

    /// Text, if written.
    pub(super) fn optional_text(&mut self, key: &'static str) -> Option<String> {
        let text = self.text_if_set(key);
        self.settle(key, text.is_some());
        text
    }

    /// true or false, or `default`.
    pub(super) fn flag(&mut self, key: &'static str, default: bool) -> bool {
        let flag = self.read(key, "must be true or false, without quotes", |value| match &value.kind {
            ValueKind::Boolean(flag) => Some(*flag),
            ValueKind::String(text) if is_from_environment(value) => text.trim().to_ascii_lowercase().parse().ok(),
            _ => None,
        });
        self.settle(key, flag.is_some_and(|f| f != default));
        flag.unwrap_or(default)
    }

    /// A whole number within `range`, or `default`.
    pub(super) fn whole(&mut self, key: &'static str, default: u64, range: RangeInclusive<u64>) -> u64 {
        let number = self.whole_if_set(key, range);
        self.settle(key, number.is_some_and(|n| n != default));
        number.unwrap_or(default)
    }

    /// A whole number within `range`, if written.
    pub(super) fn optional_whole(&mut self, key: &'static str, range: RangeInclusive<u64>) -> Option<u64> {
        let number = self.whole_if_set(key, range);
        self.settle(key, number.is_some());
        number
    }

    /// A number within `range`, or `default`.
    pub(super) fn number(&mut self, key: &'static str, default: f64, range: RangeInclusive<f64>) -> f64 {
        let number = self.optional_number(key, range);
        self.settle(key, number.is_some_and(|n| n != default));
        number.unwrap_or(default)
    }

    /// A number within `range`, if written. NaN and infinity are never within.
    pub(super) fn optional_number(&mut self, key: &'static str, range: RangeInclusive<f64>) -> Option<f64> {
        let (least, most) = range.clone().into_inner();
        let fix = if most < f64::MAX {
            format!("must be a number from {least} to {most}, without quotes")
        } else {
            format!("must be a number of at least {least}, without quotes")
        };
        self.read(key, &fix, |value| number_of(value).filter(|n| n.is_finite() && range.contains(n)))
    }

    /// A duration above zero, or `default`.
    pub(super) fn period(&mut self, key: &'static str, default: Duration) -> Duration {
        let period = self.period_if_set(key);
        self.settle(key, period.is_some_and(|p| p != default));
        period.unwrap_or(default)
    }

    /// A duration above zero, if written.
    pub(super) fn optional_period(&mut self, key: &'static str) -> Option<Duration> {
        let period = self.period_if_set(key);
        self.settle(key, period.is_some());
        period
    }

    /// A duration that may be zero, or `default`.
    pub(super) fn duration(&mut self, key: &'static str, default: Duration) -> Duration {
        let duration = self.read(key, &format!("must be a duration: {}", units::DURATION), |v| units::duration(text_of(v)?));
        self.settle(key, duration.is_some_and(|d| d != default));
        duration.unwrap_or(default)
    }

    /// A size above zero in bytes, or `default`.
    pub(super) fn size(&mut self, key: &'static str, default: u64) -> u64 {
        let fix = format!("must be a size above zero: {}", units::SIZE);
        let size = self.read(key, &fix, |v| units::size(text_of(v)?).filter(|s| *s > 0));
        self.settle(key, size.is_some_and(|s| s != default));
        size.unwrap_or(default)
    }

    /// One of the named `choices`, or `default`.
    pub(super) fn choice<T: Copy + PartialEq>(&mut self, key: &'static str, choices: &[(&str, T)], default: T) -> T {
        let choice = self.optional_choice(key, choices);
        self.settle(key, choice.is_some_and(|c| c != default));
        choice.unwrap_or(default)
    }

    /// One of the named `choices`, if written.
    pub(super) fn optional_choice<T: Copy>(&mut self, key: &'static str, choices: &[(&str, T)]) -> Option<T> {
        let value = self.take(key)?;
        let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
        let list = names.iter().map(|n| format!("\"{n}\"")).collect::<Vec<_>>().join(", ");
        let Some(text) = text_of(value) else {
            self.problem(key, format!("must be one of {list}"));
            return None;
        };
        let found = choices.iter().find(|(name, _)| *name == text).map(|(_, choice)| *choice);
        if found.is_none() {
            self.problem(key, format!("must be one of {list}{}", did_you_mean(text, &names)));
        }
        found
    }

    /// A list of texts, or `default`. From the environment also "a, b, c".
    pub(super) fn texts(&mut self, key: &'static str, default: &[&str]) -> Vec<String> {
        let texts = self.optional_texts(key);
        texts.unwrap_or_else(|| default.iter().map(|t| (*t).to_owned()).collect())
    }

    /// A list of texts, if written.
    pub(super) fn optional_texts(&mut self, key: &'static str) -> Option<Vec<String>> {
        self.read(key, "must be a list of texts, such as [\"a\", \"b\"]", |value| match &value.kind {
            ValueKind::Array(items) => items.iter().map(|item| text_of(item).map(str::to_owned)).collect(),
            ValueKind::String(text) if is_from_environment(value) => Some(by_comma(text)),
            _ => None,
        })
    }

    /// The table at `key`; where it isn't written, an empty one.
    pub(super) fn section(&mut self, key: &'static str) -> Section<'a> {
        let value = self.take(key);
        self.settle(key, value.is_some());
        Section::new(self.report, self.path.key(key), value)
    }

    /// The table at `key`, if it is written.
    pub(super) fn optional_section(&mut self, key: &'static str) -> Option<Section<'a>> {
        let section = self.section(key);
        self.has(key).then_some(section)
    }

    /// The table at `key` as the last layer to speak of it wrote it, if any did. For tables whose keys exclude each other:
    /// merged, `{ file = … }` over a lower layer's `{ env = … }` would be both.
    pub(super) fn last_section(&mut self, key: &'static str) -> Option<Section<'a>> {
        self.take(key)?;
        let path = self.path.key(key);
        let value = self.report.last_written(&path);
        Some(Section::new(self.report, path, value))
    }

    /// The tables that the table at `key` holds, by name.
    pub(super) fn named(&mut self, key: &'static str) -> Vec<(String, Section<'a>)> {
        let entries = self.pairs(key);
        let path = self.path.key(key);
        entries.into_iter().map(|(name, value)| (name.to_owned(), Section::new(self.report, path.entry(name), Some(value)))).collect()
    }

    /// The tables of the list at `key`; None where it isn't written or isn't a list.
    pub(super) fn rows(&mut self, key: &'static str) -> Option<Vec<Section<'a>>> {
        let value = self.take(key)?;
        let path = self.path.key(key);
        let ValueKind::Array(items) = &value.kind else {
            self.problem(key, "must be a list of tables, such as [ { … } ]");
            return None;
        };
        Some(items.iter().enumerate().map(|(i, item)| Section::new(self.report, path.index(i), Some(item))).collect())
    }

    /// The texts that the table at `key` holds, by name, each with its path.
    pub(super) fn named_texts(&mut self, key: &'static str) -> Vec<(String, String, Path)> {
        let path = self.path.key(key);
        let mut texts = Vec::new();
        for (name, value) in self.pairs(key) {
            let path = path.entry(name);
            match text_of(value) {
                Some(text) => texts.push((name.to_owned(), text.to_owned(), path)),
                None => self.report.problem(&path, "must be text in quotes"),
            }
        }
        texts
    }

    /// The merged value at `key`, which now counts as known.
    pub(super) fn take(&mut self, key: &'static str) -> Option<&'a Value> {
        self.known.push(key);
        self.entries.get(key).copied()
    }

    fn pairs(&mut self, key: &'static str) -> BTreeMap<&'a str, &'a Value> {
        match self.take(key).map(|v| &v.kind) {
            None => BTreeMap::new(),
            Some(ValueKind::Table(table)) => table.iter().map(|(k, v)| (k.as_str(), v)).collect(),
            Some(_) => {
                self.problem(key, "must be a table of names");
                BTreeMap::new()
            }
        }
    }

    fn text_if_set(&mut self, key: &'static str) -> Option<String> {
        self.read(key, "must be text in quotes, without control characters", |v| {
            text_of(v).filter(|t| !t.chars().any(char::is_control)).map(str::to_owned)
        })
    }

    fn whole_if_set(&mut self, key: &'static str, range: RangeInclusive<u64>) -> Option<u64> {
        let fix = format!("must be a whole number from {} to {}, without quotes", range.start(), range.end());
        self.read(key, &fix, |value| {
            let number = match &value.kind {
                ValueKind::I64(n) => u64::try_from(*n).ok(),
                ValueKind::U64(n) => Some(*n),
                ValueKind::String(text) if is_from_environment(value) => text.trim().parse().ok(),
                _ => None,
            };
            number.filter(|n| range.contains(n))
        })
    }

    fn period_if_set(&mut self, key: &'static str) -> Option<Duration> {
        let fix = format!("must be a duration above zero: {}", units::DURATION);
        self.read(key, &fix, |v| units::duration(text_of(v)?).filter(|d| !d.is_zero()))
    }

    /// The value at `key` by `parse`; what it can't parse is a mistake that `fix` explains.
    fn read<T>(&mut self, key: &'static str, fix: &str, parse: impl FnOnce(&Value) -> Option<T>) -> Option<T> {
        let value = self.take(key)?;
        let parsed = parse(value);
        if parsed.is_none() {
            self.problem(key, fix);
        }
        parsed
    }

    /// Tells of a key that is set to something of its own though its feature comes later.
    pub(super) fn settle(&self, key: &'static str, changed: bool) {
        if !changed {
            return;
        }
        let path = self.path.key(key);
        let pattern = path.pattern();
        let Some((_, reason)) = LATER.iter().find(|(row, _)| *row == pattern) else { return };
        self.report.note(NoteKind::NoEffectYet, &path, format!("no effect yet: {reason}"));
    }
}

impl Drop for Section<'_> {
    fn drop(&mut self) {
        for key in self.entries.keys().filter(|key| !self.known.iter().any(|known| known == *key)) {
            let guess = did_you_mean(key, &self.known);
            let fix = if guess.is_empty() { format!("; known here: {}", self.known.join(", ")) } else { guess };
            self.report.problem(&self.path.unknown(key), format!("unknown key{fix}"));
        }
    }
}

/// "; did you mean `x`?", or nothing where no candidate is near.
pub(super) fn did_you_mean<S: AsRef<str>>(word: &str, candidates: &[S]) -> String {
    let near = candidates.iter().map(|c| (strsim::jaro_winkler(&word.to_ascii_lowercase(), c.as_ref()), c.as_ref()));
    let best = near.filter(|(score, _)| *score >= 0.8).max_by(|a, b| a.0.total_cmp(&b.0).then(b.1.cmp(a.1)));
    best.map_or_else(String::new, |(_, name)| format!("; did you mean `{name}`?"))
}

/// The text of a value that is text.
pub(super) fn text_of(value: &Value) -> Option<&str> {
    match &value.kind {
        ValueKind::String(text) => Some(text),
        _ => None,
    }
}

/// The origin of the first value within `value`, by name.
fn first_origin(value: &Value) -> Option<&str> {
    match &value.kind {
        ValueKind::Table(table) => table.iter().min_by_key(|(name, _)| *name).and_then(|(_, value)| first_origin(value)),
        _ => value.origin(),
    }
}

fn number_of(value: &Value) -> Option<f64> {
    match &value.kind {
        ValueKind::Float(n) => Some(*n),
        ValueKind::I64(n) => Some(*n as f64),
        ValueKind::String(text) if is_from_environment(value) => text.trim().parse().ok(),
        _ => None,
    }
}

fn by_comma(text: &str) -> Vec<String> {
    text.split(',').map(str::trim).filter(|t| !t.is_empty()).map(str::to_owned).collect()
}
