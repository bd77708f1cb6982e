//! The floors of the house: a file imports from its own floor or any below, never up, and the pure floors know no clock, no
//! chance of their own, no I/O.

use std::fs;
use std::path::{Path, PathBuf};

/// Modules, lowest floor first.
const FLOORS: &[&str] = &[
    "base",
    "health",
    "access",
    "routing",
    "stream",
    "dialect",
    "clock",
    "telemetry",
    "settings",
    "rehearsal",
    "actors",
    "proxy",
    "http",
    "sim",
    "app",
    "cli",
];

/// How many of them are pure.
const PURE: usize = 6;

/// What a pure floor may not name.
const IMPURE: &[&str] =
    &["tokio::", "actix", "awc::", "time::Instant", "SystemTime::now", "std::env", "rand::rng()", "std::fs", "std::net::Tcp", "tracing::"];

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            found.push(path);
        }
    }
}

/// A file's module: the first part of its path within `src`.
fn module(path: &Path, root: &Path) -> Option<String> {
    let first = path.strip_prefix(root).ok()?.components().next()?;
    let name = first.as_os_str().to_str()?.trim_end_matches(".rs").to_owned();
    (name != "lib" && name != "main").then_some(name)
}

fn floor(module: &str) -> Option<usize> {
    FLOORS.iter().position(|name| *name == module)
}

#[test]
fn nothing_imports_from_a_floor_above_its_own() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    let mut wrong = Vec::new();
    for path in &files {
        let Some(own) = module(path, &root) else { continue };
        let Some(own_floor) = floor(&own) else {
            wrong.push(format!("{}: `{own}` has no floor: add it to FLOORS", path.display()));
            continue;
        };
        for (number, line) in fs::read_to_string(path).unwrap().lines().enumerate() {
            let at = || format!("{}:{}", path.strip_prefix(&root).unwrap().display(), number + 1);
            let code = line.split("//").next().unwrap_or_default();
            for used in code.split("crate::").skip(1) {
                let used: String = used.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                if floor(&used).is_some_and(|floor| floor > own_floor) {
                    wrong.push(format!("{}: {own} imports from {used}, which stands above it", at()));
                }
            }
            if own_floor < PURE
                && let Some(name) = IMPURE.iter().find(|name| code.contains(**name))
            {
                wrong.push(format!("{}: {own} is pure and names {name}", at()));
            }
        }
    }
    assert!(files.len() > 50, "the sources were found");
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn no_source_file_passes_six_hundred_lines() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    let long = files.iter().map(|path| (fs::read_to_string(path).unwrap().lines().count(), path)).filter(|(lines, _)| *lines > 600);
    assert_eq!(long.collect::<Vec<_>>(), []);
}
