//! One layer of settings: a file or the environment, parsed, with every value knowing where it came from. The `config`
//! crate merges the layers; each is kept besides, so that a mistake names the file that had the last word.

use std::collections::BTreeMap;
use std::fmt;

use config::{Config, ConfigError, File, FileFormat, Map, Source, Value, ValueKind};

use super::path::Path;
use super::problem::Problem;

/// How the origin of an environment's value begins; the variable's name follows.
const ENVIRONMENT: &str = "environment variable ";
/// How the variables begin that override settings.
const PREFIX: &str = "STAGEDOOR__";

/// The name that a layer goes by in the merge. The crate reads a topmost name such as `a.b` or `a[9]` as a path of its own;
/// below this one, a settings file's names are names.
const ROOT: &str = "settings";

/// A file or the environment, parsed.
#[derive(Clone)]
pub(super) struct Layer {
    label: String,
    root: Value,
}

impl Layer {
    /// Parses a file's text.
    pub(super) fn from_toml(label: &str, text: &str) -> Result<Self, Problem> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let tree = File::from_str(text, FileFormat::Toml).collect().map_err(|error| syntax_problem(label, &error))?;
        let mut root = Value::from(tree);
        stamp(&mut root, label);
        Ok(Self { label: label.to_owned(), root })
    }

    /// The overrides among the variables of `env`. Names match without regard to case, and to `below`'s own names where
    /// those hold what a shell's variable can't: `STAGEDOOR__MODELS__GPT_4O__STRATEGY` is `models.gpt-4o.strategy`.
    pub(super) fn from_environment(env: &BTreeMap<String, String>, below: &Value) -> (Self, Vec<Problem>) {
        let mut layer = Self { label: "the environment".to_owned(), root: Value::from(Map::<String, Value>::new()) };
        let mut problems = Vec::new();
        for (name, text) in env {
            let Some(rest) = name.strip_prefix(PREFIX) else { continue };
            let label = format!("{ENVIRONMENT}{name}");
            let steps = steps(rest, below);
            let mut value = typed(text);
            stamp(&mut value, &label);
            if !insert(&mut layer.root, &steps, value) {
                let message = "sets what another variable sets too, or part of it; remove one of the two".to_owned();
                problems.push(Problem { file: label, path: steps.join("."), message });
            }
        }
        (layer, problems)
    }

    /// What the layer is called in messages.
    pub(super) fn label(&self) -> &str {
        &self.label
    }

    /// The value that this layer itself gives `path`.
    pub(super) fn at(&self, path: &Path) -> Option<&Value> {
        path.find(&self.root)
    }
}

/// The layers as one tree, later ones winning: tables are merged, everything else is replaced.
pub(super) fn merged(layers: &[Layer]) -> Result<Value, ConfigError> {
    let mut builder = Config::builder();
    for layer in layers {
        builder = builder.add_source(layer.clone());
    }
    let mut table = builder.build()?.cache.into_table()?;
    Ok(table.remove(ROOT).unwrap_or_default())
}

/// Whether the value was a variable's text, which has no kind of its own.
pub(super) fn is_from_environment(value: &Value) -> bool {
    value.origin().is_some_and(|origin| origin.starts_with(ENVIRONMENT))
}

impl Source for Layer {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, ConfigError> {
        Ok(Map::from([(ROOT.to_owned(), self.root.clone())]))
    }
}

// Values may be secrets, so a layer shows its name alone.
impl fmt::Debug for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Layer").field("label", &self.label).finish_non_exhaustive()
    }
}

/// Writes `label` into every value as its origin.
fn stamp(value: &mut Value, label: &str) {
    match &mut value.kind {
        ValueKind::Table(table) => table.values_mut().for_each(|v| stamp(v, label)),
        ValueKind::Array(items) => items.iter_mut().for_each(|v| stamp(v, label)),
        _ => {}
    }
    *value = Value::new(Some(&label.to_owned()), std::mem::take(&mut value.kind));
}

/// A variable's text as a value: a list or table in TOML's own writing, else text.
fn typed(text: &str) -> Value {
    let trimmed = text.trim();
    if trimmed.starts_with(['[', '{']) {
        let document = format!("value = {trimmed}");
        let parsed = File::from_str(&document, FileFormat::Toml).collect();
        // More than one key means that the text held lines of its own: then it is no single value.
        if let Some(value) = parsed.ok().filter(|table| table.len() == 1).and_then(|mut table| table.remove("value")) {
            return value;
        }
    }
    Value::new(None, text)
}

/// The keys that a variable's name stands for.
fn steps(rest: &str, below: &Value) -> Vec<String> {
    let mut level = Some(below);
    let mut steps = Vec::new();
    for part in rest.split("__") {
        let table = match level.map(|v| &v.kind) {
            Some(ValueKind::Table(table)) => Some(table),
            _ => None,
        };
        let name = table.and_then(|table| matching(table, part)).unwrap_or_else(|| part.to_ascii_lowercase());
        level = table.and_then(|table| table.get(&name));
        steps.push(name);
    }
    steps
}

/// The name in `table` that `part` means: by letters first, then with everything but letters and digits as `_`, if only
/// one name fits.
fn matching(table: &Map<String, Value>, part: &str) -> Option<String> {
    let plain = |name: &str| name.chars().map(|c| if c.is_alphanumeric() { c } else { '_' }).collect::<String>();
    let exact: Vec<&String> = table.keys().filter(|name| name.eq_ignore_ascii_case(part)).collect();
    let loose: Vec<&String> = table.keys().filter(|name| plain(name).eq_ignore_ascii_case(part)).collect();
    [exact, loose].into_iter().find_map(|names| match names[..] {
        [name] => Some(name.clone()),
        _ => None,
    })
}

/// Puts `value` where `steps` lead; false where something is in the way.
fn insert(root: &mut Value, steps: &[String], value: Value) -> bool {
    let ValueKind::Table(table) = &mut root.kind else { return false };
    match steps {
        [] => false,
        [last] => table.insert(last.clone(), value).is_none(),
        [first, rest @ ..] => insert(table.entry(first.clone()).or_insert_with(|| Value::from(Map::<String, Value>::new())), rest, value),
    }
}

/// A TOML mistake with its line and caret, and nothing on that line that may be a secret.
fn syntax_problem(label: &str, error: &ConfigError) -> Problem {
    let text = match error {
        ConfigError::FileParse { cause, .. } => cause.to_string(),
        other => other.to_string(),
    };
    let lines: Vec<String> = text.lines().map(without_values).collect();
    Problem { file: label.to_owned(), path: String::new(), message: lines.join("\n").trim_end().to_owned() }
}

/// A line of the parser's report; on the one that quotes the file, letters and digits right of the `=` are starred, each
/// by one character so that the caret still points at the right place. A table's header is shown; a line that is neither
/// header nor `key = …` may be the middle of a secret.
fn without_values(line: &str) -> String {
    let quoted = line.split_once('|').filter(|(number, _)| number.trim().parse::<u32>().is_ok());
    let Some((number, source)) = quoted else { return line.to_owned() };
    let is_header = source.trim_start().starts_with('[') && !source.contains(['=', ',', '{']);
    let from = if is_header { source.len() } else { source.find('=').unwrap_or(0) };
    let (shown, hidden) = source.split_at(from);
    let starred: String = hidden.chars().map(|c| if c.is_alphanumeric() { '*' } else { c }).collect();
    format!("{number}|{shown}{starred}")
}
