//! `stagedoor check`: says "ok" only where `serve` would boot with the same input.

use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::json;

use super::FINDING;
use crate::app::dry_run;
use crate::settings::{NoteKind, Settings, Source, load};

pub(super) fn run(file: Option<PathBuf>, as_json: bool) -> ExitCode {
    let result = load(&Source::from_process(file)).and_then(|settings| match dry_run(&settings) {
        Ok(()) => Ok(settings),
        Err(error) => Err(error.into()),
    });
    match &result {
        Ok(settings) if as_json => println!("{}", notes_json(settings)),
        Ok(settings) => tell_notes(settings),
        Err(invalid) if as_json => {
            let errors = invalid.problems.iter().map(|p| json!({ "file": p.file, "path": p.path, "message": p.message }));
            println!("{}", json!({ "ok": false, "errors": errors.collect::<Vec<_>>() }));
        }
        Err(invalid) => eprintln!("{invalid}"),
    }
    if result.is_ok() { ExitCode::SUCCESS } else { ExitCode::from(FINDING) }
}

fn tell_notes(settings: &Settings) {
    for note in &settings.notes {
        println!("{}: {}: {}", label(note.kind), note.path, note.message);
    }
    let served = settings.models.len();
    println!("ok: {served} models, {} providers{}", settings.providers.len(), if settings.rehearsing { " (rehearsal)" } else { "" });
}

fn notes_json(settings: &Settings) -> serde_json::Value {
    let notes = settings.notes.iter().map(|n| json!({ "kind": label(n.kind), "path": n.path, "message": n.message }));
    json!({
        "ok": true,
        "rehearsing": settings.rehearsing,
        "models": settings.models.keys().collect::<Vec<_>>(),
        "providers": settings.providers.keys().collect::<Vec<_>>(),
        "notes": notes.collect::<Vec<_>>(),
    })
}

pub(super) fn label(kind: NoteKind) -> &'static str {
    match kind {
        NoteKind::NoEffectYet => "no effect yet",
        NoteKind::Warning => "warning",
        NoteKind::LeftOut => "left out",
    }
}
