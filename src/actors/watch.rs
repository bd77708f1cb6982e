//! Watches the folders of the settings' files. The folders, not the files: editors replace a file rather than write it, and a
//! mounted volume swaps a link. Tells only that something may have changed; whether it did is for a reading to say.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use notify::event::{AccessKind, AccessMode, EventKind};
use notify::{Event, RecommendedWatcher, RecursiveMode, Watcher};

use crate::settings::Files;

/// See the module's text. Ends when dropped.
#[derive(Debug)]
pub(super) struct Watch {
    watcher: RecommendedWatcher,
    files: Arc<Mutex<Files>>,
    folders: BTreeSet<PathBuf>,
}

impl Watch {
    /// Watches nothing yet. `touched` is called on a thread of the watcher's own.
    pub(super) fn new(touched: impl Fn() + Send + 'static) -> notify::Result<Self> {
        let files = Arc::new(Mutex::new(Files::default()));
        let known = Arc::clone(&files);
        let watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            let matters = |event: &Event| is_change(event) && concerns(event, &known.lock().unwrap_or_else(PoisonError::into_inner));
            // An error may stand for lost events.
            if event.as_ref().map_or(true, matters) {
                touched();
            }
        });
        Ok(Self { watcher: watcher?, files, folders: BTreeSet::new() })
    }

    /// Watches for changes of these files from now on. Where a folder isn't there, the nearest one above it tells when it comes.
    /// Gives whether a folder is watched that wasn't: what happened in it before that was told to nobody.
    pub(super) fn follow(&mut self, files: &Files) -> bool {
        let mut more = false;
        let there = |folder: PathBuf| folder.ancestors().map(named).find(|folder| folder.is_dir());
        let folders: BTreeSet<_> = files.folders().into_iter().filter_map(there).collect();
        for folder in self.folders.difference(&folders) {
            let _ = self.watcher.unwatch(folder);
        }
        self.folders.retain(|folder| folders.contains(folder));
        for folder in folders {
            // Known ones too: one that was removed and made again is another.
            match self.watcher.watch(&folder, RecursiveMode::NonRecursive) {
                Ok(()) => more |= self.folders.insert(folder),
                Err(error) => {
                    tracing::warn!(folder = %folder.display(), %error, "the folder can't be watched: reload by SIGHUP or POST /admin/reload");
                }
            }
        }
        *self.files.lock().unwrap_or_else(PoisonError::into_inner) = files.clone();
        more
    }
}

/// The folder by a name that can be opened.
fn named(folder: &Path) -> PathBuf {
    if folder.as_os_str().is_empty() { PathBuf::from(".") } else { folder.to_owned() }
}

/// Whether something was written, made, moved or removed; reading the files would otherwise be news of them.
fn is_change(event: &Event) -> bool {
    match event.kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => true,
        EventKind::Access(_) => false,
        _ => true,
    }
}

fn concerns(event: &Event, files: &Files) -> bool {
    event.need_rescan() || event.paths.iter().filter_map(|path| path.file_name()).any(|name| files.may_be(name))
}
