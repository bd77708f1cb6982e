//! The reloader: reads the settings again when it is told to (SIGHUP, POST /admin/reload) or when a file changes, and has
//! them put in force if they are good. If not, nothing changes, and the log says what is wrong. One actor on a thread of its
//! own: readings follow each other, and reading files holds up nobody.

use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, AsyncContext, Context, Handler, Message, MessageResult, SpawnHandle};

use super::watch::Watch;
use crate::base::Moment;
use crate::clock::Clock;
use crate::settings::{Files, Invalid, Note, NoteKind, Problem, Reading, Settings, Source, Written, read};
use crate::telemetry::Metrics;

/// A file is read when it was left alone for this long: a write comes in several events.
const QUIET: Duration = Duration::from_millis(250);
/// But not later than this after its first change.
const PATIENCE: Duration = Duration::from_secs(2);
/// Of readings that follow each other since folders came to be watched, so many.
const MORE_READINGS: usize = 3;
/// Of changes that are told while one is waited for, a few are enough.
const MAILBOX: usize = 64;

/// What puts settings in force, or says why they can't be.
pub type Apply = Box<dyn FnMut(Settings) -> Result<(), Invalid> + Send>;

/// See the module's text.
pub struct Reloader {
    source: Option<Source>,
    apply: Apply,
    clock: Clock,
    metrics: Arc<Metrics>,
    /// As they were at the start: what waits for a restart is measured by them.
    start: Written,
    current: Written,
    notes: Vec<Note>,
    files: Files,
    watch: Option<Watch>,
    /// The reading that is due, and since when something has been changing.
    due: Option<(SpawnHandle, Moment)>,
}

/// Why the settings are read again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// SIGHUP.
    Signal,
    /// POST /admin/reload.
    Admin,
    /// A file changed.
    File,
}

/// What a good reload did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reloaded {
    /// The paths whose values are others now.
    pub changed: Vec<String>,
    /// The paths whose values wait for a restart, those of earlier reloads too.
    pub waiting: Vec<String>,
}

impl Reloader {
    /// Of a gateway that began with `settings`, read from `source`; None: from nothing that could be read again.
    pub fn new(settings: &Settings, source: Option<Source>, apply: Apply, clock: Clock, metrics: Arc<Metrics>) -> Self {
        Self {
            source,
            apply,
            clock,
            metrics,
            start: settings.written.clone(),
            current: settings.written.clone(),
            notes: settings.notes.clone(),
            files: Files::default(),
            watch: None,
            due: None,
        }
    }

    fn reload(&mut self, cause: Cause) -> Result<Reloaded, Invalid> {
        let Some(source) = &self.source else { return Err(nothing_to_read()) };
        let Reading { result, files } = watched(source, self.watch.as_mut());
        let news = files != self.files;
        self.files = files;
        if cause == Cause::File && !news {
            // Touched, or swapped for the same.
            return Ok(Reloaded::default());
        }
        let outcome = result.and_then(|settings| self.put_in_force(settings));
        self.metrics.reloaded(outcome.is_ok());
        match &outcome {
            Ok(done) => tell(cause, done),
            Err(invalid) => {
                for Problem { file, path, message } in &invalid.problems {
                    tracing::error!(?cause, file, path, error = message, "settings not reloaded: those in force stay");
                }
            }
        }
        outcome
    }

    fn put_in_force(&mut self, settings: Settings) -> Result<Reloaded, Invalid> {
        let (written, notes) = (settings.written.clone(), settings.notes.clone());
        (self.apply)(settings)?;
        for note in notes.iter().filter(|note| note.kind != NoteKind::NoEffectYet && !self.notes.contains(note)) {
            tracing::warn!(path = note.path, "{}", note.message);
        }
        let done = Reloaded { changed: self.current.changed(&written), waiting: self.start.waiting(&written) };
        self.current = written;
        self.notes = notes;
        Ok(done)
    }
}

/// A reading whose files are watched from before it was made.
fn watched(source: &Source, watch: Option<&mut Watch>) -> Reading {
    let mut reading = read(source);
    if let Some(watch) = watch {
        // A folder that is watched only now may have changed since it was read; that leads to another folder hardly ever.
        for _ in 0..MORE_READINGS {
            if !watch.follow(&reading.files) {
                break;
            }
            reading = read(source);
        }
    }
    reading
}

fn tell(cause: Cause, Reloaded { changed, waiting }: &Reloaded) {
    tracing::info!(?cause, changed = changed.join(" "), "settings reloaded");
    if !waiting.is_empty() {
        tracing::warn!(paths = waiting.join(" "), "these settings are read at a start only: restart to put them in force");
    }
}

fn nothing_to_read() -> Invalid {
    let message = "these settings came with the program and not from a file: there is nothing to read again";
    Invalid { problems: vec![Problem { file: String::new(), path: String::new(), message: message.to_owned() }] }
}

impl Actor for Reloader {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(MAILBOX);
        if self.source.is_none() {
            return;
        }
        let own = ctx.address();
        // One that is full already holds the news.
        match Watch::new(move || _ = own.try_send(Touched)) {
            Ok(watch) => self.watch = Some(watch),
            Err(error) => tracing::warn!(%error, "files can't be watched: reload by SIGHUP or POST /admin/reload"),
        }
        // What changed since the start's own reading is told by nobody any more.
        if let Some(source) = &self.source {
            let Reading { result, files } = watched(source, self.watch.as_mut());
            if result.is_ok_and(|settings| settings.written == self.current) {
                self.files = files;
            } else {
                ctx.notify(Touched);
            }
        }
    }
}

/// Reads the settings again.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Result<Reloaded, Invalid>")]
pub struct Reload(pub Cause);

impl Handler<Reload> for Reloader {
    type Result = MessageResult<Reload>;

    fn handle(&mut self, Reload(cause): Reload, _: &mut Self::Context) -> Self::Result {
        MessageResult(self.reload(cause))
    }
}

/// One of the files may have changed.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
struct Touched;

impl Handler<Touched> for Reloader {
    type Result = ();

    fn handle(&mut self, _: Touched, ctx: &mut Self::Context) {
        let now = self.clock.now();
        let since = self.due.take().map_or(now, |(due, since)| {
            ctx.cancel_future(due);
            since
        });
        let wait = QUIET.min(PATIENCE.saturating_sub(now.since(since)));
        let due = ctx.run_later(wait, |reloader, _| {
            reloader.due = None;
            let _ = reloader.reload(Cause::File);
        });
        self.due = Some((due, since));
    }
}
