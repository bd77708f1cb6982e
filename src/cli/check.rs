//! `stagedoor check`: says "ok" only where `serve` would boot with the same input.

use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::json;

use super::{FINDING, source};
use crate::app::dry_run;
use crate::settings::{Invalid, NoteKind, Problem, Settings, load};
use crate::store::{Failed, usable};

pub(super) fn run(file: Option<PathBuf>, as_json: bool) -> ExitCode {
    let result = load(&source(file)).and_then(|settings| match (dry_run(&settings), usable(&settings.store.keep)) {
        (Ok(()), Ok(())) => Ok(settings),
        (Err(error), _) => Err(error.into()),
        (_, Err(error)) => Err(Invalid { problems: vec![unusable(&error)] }),
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

fn unusable(error: &Failed) -> Problem {
    Problem { file: "settings".to_owned(), path: "store.url".to_owned(), message: error.to_string() }
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
