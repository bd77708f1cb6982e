//! `.env`: `NAME=value` lines, read into a map and never into the process's environment, where child processes and crash
//! reports would find them.

use std::collections::BTreeMap;
use std::path::Path;

use super::files::Reader;
use super::problem::Problem;

/// What the file is called, in the working folder.
const FILE: &str = ".env";

/// Adds the variables of `folder`'s `.env` that `env` doesn't have: the real environment wins. No file is no mistake.
pub(super) fn add(folder: &Path, reader: &Reader, env: &mut BTreeMap<String, String>) -> Vec<Problem> {
    let problem = |message: String| Problem { file: FILE.to_owned(), path: String::new(), message };
    let text = match reader.read(&folder.join(FILE)) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Vec::new(),
        Err(error) => return vec![problem(format!("can't be read: {}", error.kind()))],
        Ok(bytes) => match String::from_utf8(bytes) {
            Ok(text) => text,
            Err(_) => return vec![problem("is not UTF-8 text".to_owned())],
        },
    };
    let mut problems = Vec::new();
    let mut own = BTreeMap::new();
    for (i, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        match variable(line) {
            // The last of several lines wins, as in a shell.
            Some((name, value)) => drop(own.insert(name, value)),
            None => problems.push(problem(format!("line {} is not NAME=value", i + 1))),
        }
    }
    for (name, value) in own {
        env.entry(name).or_insert(value);
    }
    problems
}

/// One line, `export ` before it or not, its value bare or in quotes.
fn variable(line: &str) -> Option<(String, String)> {
    let line = line.strip_prefix("export ").unwrap_or(line);
    let (name, value) = line.split_once('=')?;
    let name = name.trim();
    if name.is_empty() || name.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return None;
    }
    Some((name.to_owned(), unquoted(value.trim())?))
}

/// The value without its quotes or its comment; None where a quote isn't closed.
fn unquoted(value: &str) -> Option<String> {
    if let Some(rest) = value.strip_prefix('\'') {
        let (inner, after) = rest.split_once('\'')?;
        return is_comment(after).then(|| inner.to_owned());
    }
    if let Some(rest) = value.strip_prefix('"') {
        return double_quoted(rest);
    }
    if value.starts_with('#') {
        return Some(String::new());
    }
    // A `#` within a word belongs to it: passwords have them.
    let end = [" #", "\t#"].iter().filter_map(|comment| value.find(comment)).min().unwrap_or(value.len());
    Some(value[..end].trim_end().to_owned())
}

fn double_quoted(rest: &str) -> Option<String> {
    let mut inner = String::new();
    let mut chars = rest.chars();
    loop {
        match chars.next()? {
            '"' => return is_comment(chars.as_str()).then_some(inner),
            '\\' => match chars.next()? {
                'n' => inner.push('\n'),
                't' => inner.push('\t'),
                escaped @ ('"' | '\\' | '$') => inner.push(escaped),
                other => inner.extend(['\\', other]),
            },
            plain => inner.push(plain),
        }
    }
}

fn is_comment(after: &str) -> bool {
    let after = after.trim();
    after.is_empty() || after.starts_with('#')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, env: &[(&str, &str)]) -> (BTreeMap<String, String>, Vec<Problem>) {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(FILE), text).unwrap();
        let mut env = env.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let problems = add(folder.path(), &Reader::default(), &mut env);
        (env, problems)
    }

    #[test]
    fn lines_of_every_kind() {
        let text = "\u{feff}# a comment\n\nA=1\nexport B = two words # said so\nC='it # is'\nD=\"a\\n\\\"b\\\"\" # x\nE=\nF=a#b\nA=2\n";
        let (env, problems) = read(text, &[]);
        assert_eq!(problems, []);
        let expected = [("A", "2"), ("B", "two words"), ("C", "it # is"), ("D", "a\n\"b\""), ("E", ""), ("F", "a#b")];
        assert_eq!(env, expected.map(|(k, v)| (k.to_owned(), v.to_owned())).into());
    }

    #[test]
    fn the_real_environment_wins() {
        let (env, _) = read("A=file\nB=file\n", &[("A", "real")]);
        assert_eq!((env["A"].as_str(), env["B"].as_str()), ("real", "file"));
    }

    #[test]
    fn a_bad_line_is_named_and_not_shown() {
        let (env, problems) = read("A=1\nsk-secret-thing\nB=\"open\nC='x' y\n", &[]);
        assert_eq!(
            problems.iter().map(|p| p.message.as_str()).collect::<Vec<_>>(),
            ["line 2 is not NAME=value", "line 3 is not NAME=value", "line 4 is not NAME=value"]
        );
        assert_eq!(env.len(), 1);
    }

    #[test]
    fn no_file_is_fine() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(add(folder.path(), &Reader::default(), &mut BTreeMap::new()), []);
    }
}
