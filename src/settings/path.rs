//! A key's path through the settings: shown to people, looked up in a layer, matched against the schema's patterns.

use std::fmt;

use config::{Value, ValueKind};

/// A path from the root. `providers.openai.keys[0].env` is a key, an entry, a key, an index and a key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Path(Vec<Step>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    /// A key that the schema knows.
    Key(&'static str),
    /// A name that the operator chose, or a key that the schema doesn't know.
    Entry(String),
    /// A place in a list.
    Index(usize),
}

impl Path {
    /// This path and a key of the schema.
    pub(super) fn key(&self, key: &'static str) -> Self {
        self.and(Step::Key(key))
    }

    /// This path and a name that the operator chose.
    pub(super) fn entry(&self, name: &str) -> Self {
        self.and(Step::Entry(name.to_owned()))
    }

    /// This path and a key that the schema doesn't know.
    pub(super) fn unknown(&self, key: &str) -> Self {
        self.entry(key)
    }

    /// This path and a place in the list that it names.
    pub(super) fn index(&self, index: usize) -> Self {
        self.and(Step::Index(index))
    }

    /// Goes up one step; false at the root.
    pub(super) fn pop(&mut self) -> bool {
        self.0.pop().is_some()
    }

    /// Whether it is that of one provider or model.
    pub(super) fn is_named(&self) -> bool {
        self.0.len() == 2 && matches!(self.0[0].name(), "providers" | "models")
    }

    /// The path as the schema writes it: `*` for chosen names, no places in lists.
    pub(super) fn pattern(&self) -> String {
        let steps = self.0.iter().filter_map(|step| match step {
            Step::Key(key) => Some(*key),
            Step::Entry(_) => Some("*"),
            Step::Index(_) => None,
        });
        steps.collect::<Vec<_>>().join(".")
    }

    /// The value that `root` has here.
    pub(super) fn find<'a>(&self, root: &'a Value) -> Option<&'a Value> {
        self.0.iter().try_fold(root, |value, step| match (step, &value.kind) {
            (Step::Key(key), ValueKind::Table(table)) => table.get(*key),
            (Step::Entry(name), ValueKind::Table(table)) => table.get(name),
            (Step::Index(index), ValueKind::Array(items)) => items.get(*index),
            _ => None,
        })
    }

    fn and(&self, step: Step) -> Self {
        let mut steps = self.0.clone();
        steps.push(step);
        Self(steps)
    }
}

impl Step {
    /// The key or name; nothing for a place in a list.
    fn name(&self) -> &str {
        match self {
            Self::Key(key) => key,
            Self::Entry(name) => name,
            Self::Index(_) => "",
        }
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, step) in self.0.iter().enumerate() {
            let dot = if i == 0 { "" } else { "." };
            match step {
                Step::Key(key) => write!(f, "{dot}{key}")?,
                Step::Entry(name) if is_bare(name) => write!(f, "{dot}{name}")?,
                // As TOML would quote it, and with control characters escaped: a path is one line.
                Step::Entry(name) => write!(f, "{dot}{name:?}")?,
                Step::Index(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}

/// Whether TOML takes the key without quotes.
fn is_bare(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shown_as_toml_would_write_it() {
        let path = Path::default().key("models").entry("gpt-4.1").key("targets").index(0).key("provider");
        assert_eq!(path.to_string(), r#"models."gpt-4.1".targets[0].provider"#);
        assert_eq!(path.pattern(), "models.*.targets.provider");
        assert_eq!(Path::default().key("models").entry("gpt-4o").to_string(), "models.gpt-4o");
        assert_eq!(Path::default().entry("a\nb").to_string(), r#""a\nb""#);
    }
}
