//! Two readings of the settings compared: the paths whose value is another now, as an operator writes them. Pure, and knows
//! no value: of each only a digest is kept, since any may be a secret.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use config::{Value, ValueKind};
use sha2::{Digest as _, Sha256};

use super::path::Path;

/// What tells one value from another.
pub(super) type Digest = [u8; 32];

/// What is applied at a start only; the rest is in force as soon as it is read.
const AT_START: &[&str] = &[
    "server.host",
    "server.port",
    "server.workers",
    "server.header_timeout",
    "server.cors_origins",
    "admin.listen",
    "telemetry.log",
    "store",
];

/// What begins and ends at a start only, though what it holds is in force as soon as it is read.
const BEGINS_AT_START: &[&[&str]] = &[&["server", "tls"]];

/// Everything that a reading found written, each value by its path. Shows nothing of it.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Written {
    root: Option<Node>,
    /// What lies behind references (secrets, files of certificates), by the path that names it.
    behind: BTreeMap<String, Digest>,
}

#[derive(Clone, PartialEq, Eq)]
enum Node {
    Table(BTreeMap<String, Node>),
    List(Vec<Node>),
    Leaf(Digest),
}

/// A digest of some bytes.
pub(super) fn digest(bytes: &[u8]) -> Digest {
    Sha256::digest(bytes).into()
}

impl Written {
    /// Of the merged tree, and what its references led to.
    pub(super) fn new(tree: &Value, behind: BTreeMap<String, Digest>) -> Self {
        Self { root: Some(node(tree)), behind }
    }

    /// The paths whose value is another in `newer`, in order. A provider or model that came or went is one path.
    pub fn changed(&self, newer: &Self) -> Vec<String> {
        let mut changed = BTreeSet::new();
        compare(&Path::default(), self.root.as_ref(), newer.root.as_ref(), &mut changed);
        let behind = self.behind.keys().chain(newer.behind.keys());
        for path in behind.filter(|path| self.behind.get(*path) != newer.behind.get(*path)) {
            // A key that was written otherwise is told by that already.
            let told = |known: &String| is_within(path, known) || is_within(known, path);
            if !changed.iter().any(told) {
                changed.insert(path.clone());
            }
        }
        changed.into_iter().collect()
    }

    /// Of those, the ones that wait for a restart.
    pub fn waiting(&self, newer: &Self) -> Vec<String> {
        let mut changed = self.changed(newer);
        let begun = |section: &&&[&str]| self.has(section) != newer.has(section);
        let begun: Vec<_> = BEGINS_AT_START.iter().filter(begun).map(|section| section.join(".")).collect();
        changed.retain(|path| AT_START.iter().any(|key| is_within(path, key)) || begun.iter().any(|key| is_within(path, key)));
        changed
    }

    fn has(&self, section: &[&str]) -> bool {
        let mut node = self.root.as_ref();
        for name in section {
            node = match node {
                Some(Node::Table(table)) => table.get(*name),
                _ => None,
            };
        }
        node.is_some()
    }
}

/// Whether `path` is `above` or something in it.
fn is_within(path: &str, above: &str) -> bool {
    path.strip_prefix(above).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

impl fmt::Debug for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Written").finish_non_exhaustive()
    }
}

fn node(value: &Value) -> Node {
    match &value.kind {
        ValueKind::Table(table) => Node::Table(table.iter().map(|(name, value)| (name.clone(), node(value))).collect()),
        ValueKind::Array(items) => Node::List(items.iter().map(node).collect()),
        leaf => Node::Leaf(digest(leaf.to_string().as_bytes())),
    }
}

fn compare(path: &Path, old: Option<&Node>, new: Option<&Node>, changed: &mut BTreeSet<String>) {
    static NOTHING: BTreeMap<String, Node> = BTreeMap::new();
    let (old_table, new_table) = match (old, new) {
        _ if old == new => return,
        (Some(Node::Table(old)), Some(Node::Table(new))) => (old, new),
        (Some(Node::List(old)), Some(Node::List(new))) if old.len() == new.len() => {
            for (place, (old, new)) in old.iter().zip(new).enumerate() {
                compare(&path.index(place), Some(old), Some(new), changed);
            }
            return;
        }
        // A section that is written first or no more is told by its keys, a provider or model by its name.
        (Some(Node::Table(old)), None) if !path.is_named() => (old, &NOTHING),
        (None, Some(Node::Table(new))) if !path.is_named() => (&NOTHING, new),
        _ => {
            changed.insert(path.to_string());
            return;
        }
    };
    let names: BTreeSet<_> = old_table.keys().chain(new_table.keys()).collect();
    for name in names {
        compare(&path.entry(name), old_table.get(name), new_table.get(name), changed);
    }
}
