//! Secrets by reference: `{ env = "NAME" }`, `{ file = "PATH" }` or, warned about, `{ value = "..." }`.
//!
//! A variable or file that isn't there leaves the key out; one that holds what no header can carry is a mistake. No message
//! shows a secret or any part of one.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path as FilePath, PathBuf};

use crate::base::Secret;

use super::diff::{Digest, digest};
use super::files::Reader;
use super::path::Path;
use super::raw::Section;
use super::types::ProviderKey;

/// No credential is longer; a file of more is the wrong file.
const LONGEST: usize = 64 * 1024;

/// Where secrets are looked up.
pub(super) struct Vault<'a> {
    /// Variables by name, those of `.env` included.
    pub(super) env: &'a BTreeMap<String, String>,
    /// What relative paths start from.
    pub(super) folder: &'a FilePath,
    /// Who reads them.
    pub(super) reader: &'a Reader,
    /// What references led to, by the path that holds them: not to be kept, only to be compared.
    pub(super) behind: RefCell<BTreeMap<String, Digest>>,
}

/// What a reference led to.
pub(super) enum Found {
    /// The secret, and the name of the variable or file, if it has one.
    Secret(Secret, Option<String>),
    /// Nothing there: what to set, such as a variable's name.
    Absent(String),
    /// A mistake, already reported.
    Bad,
}

impl Vault<'_> {
    /// Follows the reference that `section` holds, perhaps besides keys of its own.
    pub(super) fn read(&self, section: &mut Section<'_>) -> Found {
        let found = self.find(section);
        if let Found::Secret(secret, _) = &found {
            self.note(section.path(), secret.expose().as_bytes());
        }
        found
    }

    /// The key that a variable holds by custom, or what to set.
    pub(super) fn by_custom(&self, section: &Section<'_>, variable: &str) -> (Vec<ProviderKey>, Vec<String>) {
        match self.by_variable(section, variable.to_owned()) {
            Found::Secret(secret, name) => {
                self.note(&section.path().key("keys"), secret.expose().as_bytes());
                let key = ProviderKey { name: name.unwrap_or_default(), secret, weight: 1, rpm: 0, tpm: 0 };
                (vec![key], Vec::new())
            }
            Found::Absent(what) => (Vec::new(), vec![what]),
            Found::Bad => (Vec::new(), Vec::new()),
        }
    }

    /// Notes what the reference at `path` led to.
    pub(super) fn note(&self, path: &Path, bytes: &[u8]) {
        self.behind.borrow_mut().insert(path.to_string(), digest(bytes));
    }

    fn find(&self, section: &mut Section<'_>) -> Found {
        let before = section.report().count();
        let env = section.optional_text("env");
        let file = section.optional_text("file");
        let value = section.optional_text("value");
        if section.report().count() > before {
            return Found::Bad;
        }
        match (env, file, value) {
            (Some(name), None, None) => self.by_variable(section, name),
            (None, Some(file), None) => self.by_file(section, file),
            (None, None, Some(value)) => {
                section.warn("value", "the secret is written in the open; name it by `env` or `file`");
                checked(section, "value", &value, None)
            }
            (None, None, None) => {
                section.missing("env", "{ env = \"NAME\" }, or { file = \"PATH\" }");
                Found::Bad
            }
            _ => {
                section.report().problem(section.path(), "write one of `env`, `file` and `value`, not several");
                Found::Bad
            }
        }
    }

    /// The file that `path` names, from the working folder.
    pub(super) fn locate(&self, path: &str) -> PathBuf {
        self.folder.join(path)
    }

    fn by_variable(&self, section: &Section<'_>, name: String) -> Found {
        if name.is_empty() || name.contains('=') || name.contains(char::is_whitespace) {
            section.problem("env", "must be the name of an environment variable, such as \"OPENAI_API_KEY\"");
            return Found::Bad;
        }
        match self.env.get(&name).map(|text| text.trim()) {
            None | Some("") => Found::Absent(name),
            Some(text) => checked(section, "env", text, Some(name)),
        }
    }

    fn by_file(&self, section: &Section<'_>, file: String) -> Found {
        match self.reader.read(&self.locate(&file)) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Found::Absent(file),
            Err(error) => {
                section.problem("file", format!("can't be read: {}", error.kind()));
                Found::Bad
            }
            Ok(bytes) => match std::str::from_utf8(&bytes).map(str::trim) {
                Ok("") => Found::Absent(file),
                Ok(text) => checked(section, "file", text, Some(base_name(&file))),
                Err(_) => {
                    section.problem("file", "holds bytes that are no text");
                    Found::Bad
                }
            },
        }
    }
}

/// The text as a secret, if a header can carry it.
fn checked(section: &Section<'_>, key: &'static str, text: &str, name: Option<String>) -> Found {
    let problem = if text.is_empty() {
        "the secret is empty"
    } else if text.len() > LONGEST {
        "the secret is longer than 64 KiB: this is not a key"
    } else if !text.bytes().all(|b| b.is_ascii_graphic()) {
        "the secret holds blanks, line breaks, control or non-ASCII characters, which no header can carry"
    } else {
        return Found::Secret(Secret::new(text), name);
    };
    section.problem(key, problem);
    Found::Bad
}

/// A file's own name, without its folders: they are of no use in a log or a metric.
fn base_name(file: &str) -> String {
    FilePath::new(file).file_name().map_or_else(|| file.to_owned(), |name| name.to_string_lossy().into_owned())
}
