//! Where the settings come from, layer by layer: built-in defaults (in the code that reads each key), then the files of the
//! `settings` folder or the one file given, then the environment. The environment is an argument; one function here reads
//! the process's own.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::diff::Written;
use super::dotenv;
use super::files::{Files, Reader};
use super::layer::{Layer, merged};
use super::path::Path as KeyPath;
use super::prices::{PRICES_FILE, PriceTable};
use super::problem::{Invalid, Problem};
use super::raw::Report;
use super::resolve::resolve;
use super::secrets::Vault;
use super::types::{Keep, NoteKind, Settings};

/// The folder's name, within the working folder.
const FOLDER: &str = "settings";
/// The variable that names the profile.
const PROFILE: &str = "STAGEDOOR_PROFILE";
/// Where the first layer of settings lies, in the working folder.
pub const DEFAULT_FILE: &str = "settings/default.toml";
/// That layer as it is compiled in: what holds where there is no settings folder, and what `stagedoor init` writes.
pub const DEFAULT_TEXT: &str = include_str!("../../settings/default.toml");
/// The profiles that are compiled in, for a binary without its folder.
const COMPILED_IN: &[(&str, &str)] = &[("default", DEFAULT_TEXT), ("production", include_str!("../../settings/production.toml"))];

/// What settings are read from.
#[derive(Clone, Default)]
pub struct Source {
    /// `--settings FILE`: stands alone in place of the folder.
    pub settings_file: Option<PathBuf>,
    /// The working folder: of `settings/`, of `.env`, and what relative paths start from.
    pub folder: PathBuf,
    /// The environment: overrides, and the secrets that settings name.
    pub env: BTreeMap<String, String>,
    /// What a running gateway is bound to: a reload can't move it, so what is refused to strangers is judged by it too.
    pub bound: Option<Bound>,
    /// Whether a store holds a key; None: nobody can tell, so none does. Asked only where it matters.
    pub stored: Option<Stored>,
}

/// Whether a store holds a callers' key.
pub type Stored = Arc<dyn Fn(&Keep) -> bool + Send + Sync>;

/// The addresses that are bound already.
#[derive(Clone, Debug)]
pub struct Bound {
    /// `server.host` as it was at the start.
    pub serving: String,
    /// `admin.listen` as it was at the start.
    pub admin: String,
}

impl Source {
    /// From this process's environment and working folder. The only place that asks for them.
    pub fn from_process(settings_file: Option<PathBuf>) -> Self {
        let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| Some((name.into_string().ok()?, value.into_string().ok()?));
        let env = std::env::vars_os().filter_map(text).collect();
        Self { settings_file, folder: PathBuf::from("."), env, bound: None, stored: None }
    }

    /// A variable of the environment, or of `.env`.
    pub fn variable(&self, name: &str) -> Option<String> {
        let mut env = self.env.clone();
        // Mistakes in the file are found again, and told, by `load`.
        dotenv::add(&self.folder, &Reader::default(), &mut env);
        env.remove(name)
    }
}

// The environment holds secrets.
impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = f.debug_struct("Source");
        shown.field("settings_file", &self.settings_file).field("folder", &self.folder).finish_non_exhaustive()
    }
}

/// One reading of the settings: what came of it, and the files that it looked at.
#[derive(Debug)]
pub struct Reading {
    /// The settings, or what is wrong with them.
    pub result: Result<Settings, Invalid>,
    /// The files.
    pub files: Files,
}

/// Reads, layers and checks the settings, and says from which files.
pub fn read(source: &Source) -> Reading {
    let reader = Reader::default();
    let result = settings(source, &reader);
    Reading { result, files: reader.finish() }
}

/// Reads, layers and checks the settings.
///
/// # Errors
/// Every mistake that there is, each with its file, path and fix. A file that can't be read or parsed is told alone: without
/// it, the rest can't be judged.
pub fn load(source: &Source) -> Result<Settings, Invalid> {
    read(source).result
}

fn settings(source: &Source, reader: &Reader) -> Result<Settings, Invalid> {
    let mut env = source.env.clone();
    let mut problems = dotenv::add(&source.folder, reader, &mut env);
    let mut layers = Vec::new();
    for layer in files(source, reader, &env) {
        match layer {
            Ok(layer) => layers.push(layer),
            Err(problem) => problems.push(problem),
        }
    }
    if !problems.is_empty() {
        return Err(Invalid { problems });
    }
    let below = merge(&layers)?;
    let (overrides, problems) = Layer::from_environment(&env, &below);
    layers.push(overrides);
    let tree = merge(&layers)?;
    let report = Report::new(layers, problems);
    let vault = Vault { env: &env, folder: &source.folder, reader, behind: RefCell::default() };
    let settings = resolve(&tree, &report, &vault, (source.bound.as_ref(), source.stored.as_ref()));
    let prices = prices(source, reader, &report);
    let written = Written::new(&tree, vault.behind.into_inner());
    stray_variables(&env, &report);
    if let (Some(file), Some(_)) = (&source.settings_file, named_profile(&env)) {
        let message = format!("{PROFILE} has no effect: --settings {} stands alone", file.display());
        report.note(NoteKind::Warning, &KeyPath::default(), message);
    }
    let (problems, notes) = report.finish();
    if problems.is_empty() { Ok(Settings { written, notes, prices: Arc::new(prices), ..settings }) } else { Err(Invalid { problems }) }
}

/// The files, lowest first, each parsed or with what is wrong.
fn files(source: &Source, reader: &Reader, env: &BTreeMap<String, String>) -> Vec<Result<Layer, Problem>> {
    if let Some(file) = &source.settings_file {
        let label = file.display().to_string();
        let missing = || Err(problem(&label, "there is no such file; check the path after --settings"));
        return vec![layer(reader, &source.folder.join(file), &label).unwrap_or_else(missing)];
    }
    let mut layers = vec![profile(source, reader, "default")];
    if let Some(name) = named_profile(env) {
        layers.push(if is_profile(name) { profile(source, reader, name) } else { Err(bad_profile()) });
    }
    let local = format!("{FOLDER}/local.toml");
    layers.extend(layer(reader, &source.folder.join(&local), &local));
    layers
}

/// The profile that the environment names.
fn named_profile(env: &BTreeMap<String, String>) -> Option<&str> {
    env.get(PROFILE).map(|name| name.trim()).filter(|name| !name.is_empty())
}

/// A profile's file, else its compiled-in copy.
fn profile(source: &Source, reader: &Reader, name: &str) -> Result<Layer, Problem> {
    let label = format!("{FOLDER}/{name}.toml");
    if let Some(layer) = layer(reader, &source.folder.join(&label), &label) {
        return layer;
    }
    match COMPILED_IN.iter().find(|(compiled, _)| *compiled == name) {
        Some((_, text)) => Layer::from_toml(&format!("{label} (compiled in)"), text),
        None => Err(problem(&label, &format!("there is no such file, but {PROFILE} names it; make it or unset the variable"))),
    }
}

/// The file as a layer; None where there is none.
fn layer(reader: &Reader, path: &Path, label: &str) -> Option<Result<Layer, Problem>> {
    match reader.read(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => Some(Err(problem(label, &format!("can't be read: {}", error.kind())))),
        Ok(bytes) => Some(match String::from_utf8(bytes) {
            Ok(text) => Layer::from_toml(label, &text),
            Err(_) => Err(problem(label, "is not UTF-8 text")),
        }),
    }
}

/// The newer price table, where one lies in its place; else the one that is compiled in.
fn prices(source: &Source, reader: &Reader, report: &Report) -> PriceTable {
    let read = match reader.read(&source.folder.join(PRICES_FILE)) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return PriceTable::default(),
        Err(error) => Err(format!("can't be read: {}", error.kind())),
        Ok(text) => PriceTable::from_json(&text),
    };
    read.unwrap_or_else(|wrong| {
        let message = format!("is no price table: {wrong}; put one there with `stagedoor prices update FILE`, or remove it");
        report.add(problem(PRICES_FILE, &message));
        PriceTable::default()
    })
}

/// Tells of variables with one underscore where two are meant: they would be passed over in silence.
fn stray_variables(env: &BTreeMap<String, String>, report: &Report) {
    for name in env.keys() {
        let Some((section, key)) = name.strip_prefix("STAGEDOOR_").and_then(|rest| rest.split_once('_')) else { continue };
        // A section's name begins the key that is meant; STAGEDOOR_ADMIN_KEY is a secret's own name.
        if SECTIONS.contains(&section) && !key.starts_with('_') {
            let message = format!("{name} is not read; a setting's variable has two underscores: STAGEDOOR__{section}__{key}");
            report.note(NoteKind::Warning, &KeyPath::default(), message);
        }
    }
}

/// The sections that a variable may mean, as it writes them.
const SECTIONS: &[&str] = &["SERVER", "AUTH", "BREAKER", "TIMEOUTS", "RETRY", "STORE", "TELEMETRY", "PROVIDERS", "MODELS"];

fn merge(layers: &[Layer]) -> Result<config::Value, Invalid> {
    // Layers are tables already, so nothing in them can fail to merge; if something does, no value is shown.
    merged(layers).map_err(|_| Invalid { problems: vec![problem("settings", "the layers can't be merged")] })
}

/// A profile is a file's name, never a way out of the folder.
fn is_profile(name: &str) -> bool {
    !name.starts_with('.') && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

fn bad_profile() -> Problem {
    problem(&format!("environment variable {PROFILE}"), "must be a profile's name, such as \"production\" for settings/production.toml")
}

fn problem(file: &str, message: &str) -> Problem {
    Problem { file: file.to_owned(), path: String::new(), message: message.to_owned() }
}
