//! `stagedoor check`: says "ok" only where `serve` would boot with the same input; with `--live`, also whether the providers
//! answer and take the keys.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde_json::{Value, json};

use super::{FINDING, source};
use crate::app::{call_roll, can_listen, dry_run};
use crate::proxy::{Absent, Present};
use crate::settings::{Invalid, NoteKind, Problem, Settings, load};
use crate::store::usable;

#[derive(Args)]
pub(super) struct Options {
    /// One JSON document in place of text
    #[arg(long)]
    json: bool,
    /// Ask each provider for its models besides, once with each key: no tokens are used
    #[arg(long)]
    live: bool,
}

pub(super) fn run(file: Option<PathBuf>, options: &Options) -> ExitCode {
    let result = load(&source(file)).and_then(bootable).and_then(|settings| {
        let present = if options.live { call_roll(&settings).map_err(Invalid::from)? } else { Vec::new() };
        Ok((settings, present))
    });
    match &result {
        Ok((settings, present)) if options.json => println!("{}", notes_json(settings, options.live.then_some(present))),
        Ok((settings, present)) => tell(settings, present),
        Err(invalid) if options.json => {
            let errors = invalid.problems.iter().map(|p| json!({ "file": p.file, "path": p.path, "message": p.message }));
            println!("{}", json!({ "ok": false, "errors": errors.collect::<Vec<_>>() }));
        }
        Err(invalid) => eprintln!("{invalid}"),
    }
    match result {
        Ok((_, present)) if !present.iter().any(Present::is_finding) => ExitCode::SUCCESS,
        Ok(_) | Err(_) => ExitCode::from(FINDING),
    }
}

/// What only trying can tell: whether the machine gives what the settings ask of it. All that is wrong, at once.
fn bootable(settings: Settings) -> Result<Settings, Invalid> {
    let told = |path: &str, message: String| Problem { file: "settings".to_owned(), path: path.to_owned(), message };
    let mut problems = dry_run(&settings).err().map_or_else(Vec::new, |error| Invalid::from(error).problems);
    problems.extend(usable(&settings.store.keep).err().map(|error| told("store.url", error.to_string())));
    problems.extend(can_listen(&settings).err().map(|(path, error)| told(path, error.to_string())));
    if problems.is_empty() { Ok(settings) } else { Err(Invalid { problems }) }
}

fn tell(settings: &Settings, present: &[Present]) {
    for note in &settings.notes {
        println!("{}: {}: {}", label(note.kind), note.path, note.message);
    }
    for present in present {
        println!("live: providers.{}: {}", present.provider, fared(present));
    }
    let findings = present.iter().filter(|present| present.is_finding()).count();
    if findings > 0 {
        println!("the settings are good, but {findings} of {} calls to providers failed", present.len());
        return;
    }
    let served = settings.models.len();
    println!("ok: {served} models, {} providers{}", settings.providers.len(), if settings.rehearsing { " (rehearsal)" } else { "" });
}

/// What a provider said to a key, and what to do about it.
fn fared(present: &Present) -> String {
    let key = present.key.as_ref().map_or_else(|| "without a key".to_owned(), |key| format!("with the key {key}"));
    match present.told {
        Ok(status @ 200..300) => format!("answers {key} ({status})"),
        Ok(status @ (401..=403)) => format!("refuses to answer {key} ({status}): check the key"),
        Ok(status @ (404 | 405)) => format!("has no list of models ({status}), so nothing is known {key}; is base_url right?"),
        Ok(429) => format!("rate-limits it {key} (429)"),
        Ok(status) => format!("fails {key} ({status})"),
        Err(Absent::Late) => format!("sent no answer in time {key}"),
        Err(Absent::Failed(failure)) => format!("can't be reached {key} ({}): check base_url and the network", failure.name()),
    }
}

fn notes_json(settings: &Settings, present: Option<&Vec<Present>>) -> Value {
    let notes = settings.notes.iter().map(|n| json!({ "kind": label(n.kind), "path": n.path, "message": n.message }));
    let mut told = json!({
        "ok": !present.is_some_and(|present| present.iter().any(Present::is_finding)),
        "rehearsing": settings.rehearsing,
        "models": settings.models.keys().collect::<Vec<_>>(),
        "providers": settings.providers.keys().collect::<Vec<_>>(),
        "notes": notes.collect::<Vec<_>>(),
    });
    if let Some(present) = present {
        let rows = present.iter().map(
            |row| json!({ "provider": row.provider, "key": row.key, "ok": row.is_well(), "status": row.told.ok(), "message": fared(row) }),
        );
        told["live"] = rows.collect();
    }
    told
}

pub(super) fn label(kind: NoteKind) -> &'static str {
    match kind {
        NoteKind::NoEffectYet => "no effect yet",
        NoteKind::Warning => "warning",
        NoteKind::LeftOut => "left out",
    }
}
