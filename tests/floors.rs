//! The floors of the house, read from the sources: a file imports from its own module or any below, never up, so never in a
//! circle; the pure floors name no runtime, clock, chance or environment. Test modules are held to the same.

use std::path::{Path, PathBuf};

/// Lowest first; below them all what the tests read.
const FLOORS: &[&str] = &[
    "corpus",
    "base",
    "health",
    "access",
    "routing",
    "tuning",
    "stream",
    "dialect",
    "ledger",
    "clock",
    "machine",
    "telemetry",
    "settings",
    "store",
    "rehearsal",
    "actors",
    "proxy",
    "http",
    "sim",
    "app",
    "cli",
];
/// How many of them are pure.
const PURE: usize = 8;
/// What the pure floors don't name.
const IMPURE: &[&str] = &[
    "tokio",
    "actix",
    "actix_web",
    "actix_rt",
    "awc",
    "tracing",
    "Instant",
    "SystemTime",
    "std::env",
    "env::var",
    "std::fs",
    "TcpStream",
    "rand::rng",
];

fn floor(module: &str) -> Option<usize> {
    FLOORS.iter().position(|name| *name == module)
}

/// A source's lines without comments and string literals, numbered from 1.
fn code(text: &str) -> impl Iterator<Item = (usize, String)> {
    text.lines().enumerate().map(|(place, line)| {
        let mut kept = String::new();
        let mut quoted = false;
        let mut rest = line.chars().peekable();
        while let Some(c) = rest.next() {
            match c {
                '\\' if quoted => _ = rest.next(),
                '"' => quoted = !quoted,
                '/' if !quoted && rest.peek() == Some(&'/') => break,
                c if !quoted => kept.push(c),
                _ => {}
            }
        }
        (place + 1, kept)
    })
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Where `word` stands in the line, not as a part of a longer word.
fn mentions<'a>(line: &'a str, word: &'a str) -> impl Iterator<Item = &'a str> {
    line.match_indices(word).filter_map(move |(at, _)| {
        let (before, after) = (&line[..at], &line[at + word.len()..]);
        (!before.ends_with(is_word) && !after.starts_with(is_word)).then_some(after)
    })
}

/// The names that follow `crate::` or as many `super::` as lead to the root: one, or those of a group.
fn named_at_root(lines: &[(usize, String)], depth: usize) -> Vec<(usize, String)> {
    let to_root = "super::".repeat(depth.max(1));
    let mut named = Vec::new();
    let mut open: Option<usize> = None;
    for (number, line) in lines {
        if let Some(level) = open {
            open = group(line, level, |name| named.push((*number, name.to_owned())));
            continue;
        }
        let by_crate = mentions(line, "crate").filter_map(|after| after.strip_prefix("::"));
        // In an inline test module, which is indented, `super` is the file itself.
        let by_super = line.strip_prefix("use ").and_then(|used| used.strip_prefix(&*to_root)).filter(|_| depth > 0);
        for after in by_crate.chain(by_super) {
            match after.strip_prefix('{') {
                Some(inner) => open = group(inner, 1, |name| named.push((*number, name.to_owned()))),
                None => named.push((*number, after.split(|c| !is_word(c)).next().unwrap_or_default().to_owned())),
            }
        }
    }
    named
}

/// The first words of a group's members at its top level; the level where the line leaves it, None once it is closed.
fn group(line: &str, mut level: usize, mut tell: impl FnMut(&str)) -> Option<usize> {
    let mut begins = level == 1;
    let mut word = String::new();
    for c in line.chars().chain([' ']) {
        if is_word(c) {
            word.push(c);
            continue;
        }
        if begins && !word.is_empty() {
            tell(&word);
            begins = false;
        }
        word.clear();
        match c {
            '{' => level += 1,
            '}' => level -= 1,
            ',' if level == 1 => begins = true,
            _ => {}
        }
        if level == 0 {
            return None;
        }
    }
    Some(level)
}

/// A file's own module, and how many `super` lead from it to the root.
fn place(file: &Path) -> (String, usize) {
    let mut parts: Vec<_> = file.iter().map(|part| part.to_string_lossy().into_owned()).collect();
    let name = parts.pop().unwrap_or_default();
    let stem = name.strip_suffix(".rs").unwrap_or(&name);
    if stem != "mod" {
        parts.push(stem.to_owned());
    }
    (parts.first().cloned().unwrap_or_default(), parts.len())
}

/// Everything that one file does wrong, and how many imports it has.
fn judge(file: &Path, text: &str) -> (Vec<String>, usize) {
    let (own, depth) = place(file);
    let Some(own_floor) = floor(&own) else {
        return (vec![format!("src/{}: the module `{own}` stands on no floor: add it to tests/floors.rs", file.display())], 0);
    };
    let lines: Vec<_> = code(text).collect();
    let at = |number: &usize| format!("src/{}:{number}", file.display());
    let mut wrong = Vec::new();
    let named = named_at_root(&lines, depth);
    for (number, name) in &named {
        match floor(name) {
            None => wrong.push(format!("{}: `{name}` stands on no floor", at(number))),
            Some(up) if up > own_floor => wrong.push(format!("{}: `{own}` imports `{name}` from a floor above", at(number))),
            Some(_) => {}
        }
    }
    if own_floor < PURE {
        for (number, line) in &lines {
            for word in IMPURE.iter().filter(|word| mentions(line, word).next().is_some()) {
                wrong.push(format!("{}: `{own}` is pure, but names `{word}`", at(number)));
            }
        }
    }
    (wrong, named.len())
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|kind| kind == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn imports_go_down() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    files.sort();
    let (mut wrong, mut imports) = (Vec::new(), 0);
    for file in &files {
        let inside = file.strip_prefix(&root).unwrap();
        // They only name the modules, and the command line's `main`.
        if [Path::new("lib.rs"), Path::new("main.rs")].contains(&inside) {
            continue;
        }
        let (faults, more) = judge(inside, &std::fs::read_to_string(file).unwrap());
        wrong.extend(faults);
        imports += more;
    }
    assert!(imports > 50, "the reader of imports finds nothing: {imports}");
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn a_wrong_import_is_found_however_it_is_written() {
    for (file, text) in [
        ("health/breaker.rs", "use crate::base::Moment;\nuse crate::routing::Plan;"),
        ("proxy/mod.rs", "use crate::{base::Moment,\n    http::{error, auth},\n};"),
        ("settings/tests/rules.rs", "fn a() { crate::app::build(); }"),
        ("clock.rs", "use super::telemetry::Metrics;"),
        ("health/vitals/tests.rs", "use super::super::super::app;"),
        ("nowhere.rs", "use crate::base::Moment;"),
        ("base/ids.rs", "use crate::nothing::here;"),
        ("routing/pick.rs", "use tokio::time::sleep;"),
        ("stream/sse.rs", "let now = std::time::Instant::now();"),
        ("dialect/fault.rs", "use std::{env, time::SystemTime};"),
        ("base/ids.rs", "let rng = rand::rng();"),
    ] {
        assert_eq!(judge(Path::new(file), text).0.len(), 1, "{file}: {text}");
    }
}

#[test]
fn a_right_import_is_let_be() {
    for (file, text) in [
        ("health/breaker.rs", "use crate::base::Moment;\nuse super::window::Window;\nuse crate::health::Outcome;"),
        ("cli/serve.rs", "use crate::{app::App, settings::Settings};\nuse tokio::signal;"),
        ("base/mod.rs", "// crate::proxy and tokio are above\nlet text = \"crate::proxy tokio\";"),
        ("routing/plan.rs", "let instantly = tokio_like(Instants);"),
        ("http/inference/chat.rs", "use super::super::auth::Caller;\nuse super::models;"),
        ("rehearsal/act.rs", "mod tests {\n    use super::super::proxy;\n}"),
    ] {
        assert_eq!(judge(Path::new(file), text).0, Vec::<String>::new(), "{file}: {text}");
    }
}

#[test]
fn no_source_file_passes_six_hundred_lines() {
    let mut files = Vec::new();
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut files);
    let long = files.iter().map(|path| (std::fs::read_to_string(path).unwrap().lines().count(), path)).filter(|(lines, _)| *lines > 600);
    assert_eq!(long.collect::<Vec<_>>(), []);
}
