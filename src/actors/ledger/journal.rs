//! Where rows wait that the store can't take: files beside it, a JSON document a line, each batch made safe before the next. What
//! a dying process leaves is found by its lock being gone, and loaded by whoever comes next; a line cut short by its death is no
//! row, since the answer to it was never counted as kept.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};

use crate::ledger::Row;
use crate::store::Store;

/// A larger file is closed, so that what is loaded can be deleted.
const MOST_BYTES: u64 = 64 << 20;

/// A gateway's own files, and those that others have left.
#[derive(Debug)]
pub(super) struct Journal {
    folder: PathBuf,
    /// How the files of this store begin.
    stem: String,
    /// What tells this process's files from another's.
    own: String,
    /// How many were begun.
    begun: u32,
    /// The one being written.
    open: Option<Segment>,
    /// Those that wait to be loaded, oldest first.
    closed: Vec<Segment>,
}

#[derive(Debug)]
struct Segment {
    /// Holds the lock.
    file: File,
    path: PathBuf,
    bytes: u64,
    /// Its place among those that were begun here; None: it was found.
    place: Option<u32>,
    /// Rows that wait in it; of a file that was found, unknown until it is read.
    rows: u64,
}

/// A closed file on its way into the store.
#[derive(Debug)]
pub(super) struct Loading {
    segment: Segment,
    reader: BufReader<File>,
    /// Lines that were no rows.
    pub(super) damaged: u64,
}

/// Rows as the journal's lines.
pub(super) fn lines(rows: &[Row]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(rows.len() * 400);
    for row in rows {
        // A row is names and numbers: nothing in it can't be written.
        if serde_json::to_writer(&mut bytes, row).is_ok() {
            bytes.push(b'\n');
        }
    }
    bytes
}

impl Journal {
    /// Of the store whose files begin with `stem`, in `folder`; `own` is this process's own word. Makes nothing yet.
    pub(super) fn new(folder: &Path, stem: &str, own: String) -> Self {
        Self { folder: folder.to_owned(), stem: format!("{stem}.ledger-"), own, begun: 0, open: None, closed: Vec::new() }
    }

    /// Rows that wait, as far as is known.
    pub(super) fn rows(&self) -> u64 {
        self.open.iter().chain(&self.closed).map(|segment| segment.rows).sum()
    }

    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.rows() == 0
    }

    /// Writes lines and has the disk keep them; the place of the file that has them.
    ///
    /// # Errors
    /// Where it can't; then none of them counts as written.
    pub(super) fn append(&mut self, lines: &[u8], rows: u64) -> io::Result<u32> {
        let place = self.begun;
        let segment = match &mut self.open {
            Some(segment) => segment,
            none => none.insert(begin(&self.folder, &format!("{}{}-{place}.jsonl", self.stem, self.own), place)?),
        };
        let written = segment.file.write_all(lines).and_then(|()| segment.file.sync_data());
        if let Err(error) = written {
            // Half of a line must not stand before the next one.
            let _ = segment.file.set_len(segment.bytes);
            if segment.rows == 0 {
                let _ = std::fs::remove_file(&segment.path);
                self.open = None;
            }
            return Err(error);
        }
        segment.bytes += lines.len() as u64;
        segment.rows += rows;
        if segment.bytes > MOST_BYTES {
            self.turn();
        }
        Ok(place)
    }

    /// So many rows of the file of this place reached the store after all. One that has no others need not be loaded.
    pub(super) fn settled(&mut self, place: u32, rows: u64) {
        let ours = |segment: &&mut Segment| segment.place == Some(place);
        let Some(segment) = self.open.iter_mut().chain(&mut self.closed).find(ours) else { return };
        segment.rows = segment.rows.saturating_sub(rows);
        // What fails is loaded once more, which changes nothing.
        if segment.rows == 0 && segment.file.set_len(0).is_ok() {
            segment.bytes = 0;
        } else if segment.rows == 0 {
            segment.rows = rows;
        }
    }

    /// Leaves nothing behind but what waits.
    pub(super) fn end(&mut self) {
        for segment in self.open.iter().chain(&self.closed).filter(|segment| segment.rows == 0) {
            let _ = std::fs::remove_file(&segment.path);
        }
    }

    /// Looks for files that nobody holds any more.
    pub(super) fn adopt(&mut self) {
        let Ok(entries) = std::fs::read_dir(&self.folder) else { return };
        let mut found: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| self.is_ours(path)).collect();
        found.sort();
        for path in found {
            if self.open.iter().chain(&self.closed).any(|segment| segment.path == path) {
                continue;
            }
            let Ok(file) = OpenOptions::new().read(true).append(true).open(&path) else { continue };
            match file.try_lock() {
                Ok(()) => self.closed.push(Segment { bytes: 0, rows: 1, place: None, file, path }),
                Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(error)) => tracing::warn!(path = %path.display(), %error, "a journal can't be locked"),
            }
        }
    }

    /// The oldest file that waits, to be loaded; the one being written is closed for it.
    pub(super) fn load(&mut self) -> Option<Loading> {
        if self.closed.is_empty() {
            self.turn();
        }
        while !self.closed.is_empty() {
            let segment = self.closed.remove(0);
            match File::open(&segment.path) {
                Ok(file) => return Some(Loading { segment, reader: BufReader::new(file), damaged: 0 }),
                Err(error) => tracing::error!(path = %segment.path.display(), %error, "a journal can't be read; its rows stay there"),
            }
        }
        None
    }

    fn turn(&mut self) {
        if let Some(segment) = self.open.take() {
            self.closed.push(segment);
            self.begun += 1;
        }
    }

    fn is_ours(&self, path: &Path) -> bool {
        let name = path.file_name().and_then(|name| name.to_str());
        name.is_some_and(|name| name.starts_with(&self.stem) && name.ends_with(".jsonl"))
    }
}

/// Rows that lie in the journals of a store, whoever writes them; some may be in the store by now.
pub fn journaled(store: &Store) -> u64 {
    let journal = Journal::new(store.folder(), store.stem(), String::new());
    let Ok(entries) = std::fs::read_dir(&journal.folder) else { return 0 };
    let files = entries.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| journal.is_ours(path));
    let lines = |path: PathBuf| -> io::Result<u64> {
        let (mut file, mut piece, mut lines) = (File::open(path)?, vec![0; 1 << 16], 0);
        loop {
            match file.read(&mut piece)? {
                0 => return Ok(lines),
                count => lines += memchr::memchr_iter(b'\n', &piece[..count]).count() as u64,
            }
        }
    };
    files.filter_map(|path| lines(path).ok()).sum()
}

fn begin(folder: &Path, name: &str, place: u32) -> io::Result<Segment> {
    std::fs::create_dir_all(folder)?;
    let path = folder.join(name);
    let file = OpenOptions::new().create_new(true).read(true).append(true).open(&path)?;
    file.try_lock()?;
    // Without this, the file itself may be gone after a power cut.
    File::open(folder)?.sync_all()?;
    Ok(Segment { file, path, bytes: 0, place: Some(place), rows: 0 })
}

impl Loading {
    /// The next rows, `most` at most; none: it is read to its end.
    pub(super) fn next(&mut self, most: usize) -> Vec<Row> {
        let mut rows = Vec::new();
        let mut line = Vec::new();
        while rows.len() < most {
            line.clear();
            match self.reader.read_until(b'\n', &mut line) {
                Ok(0) => break,
                Ok(_) => match serde_json::from_slice(&line) {
                    Ok(row) => rows.push(row),
                    // Cut short by its writer's death.
                    Err(_) if line.last() != Some(&b'\n') => break,
                    Err(_) => self.damaged += 1,
                },
                Err(error) => {
                    tracing::error!(path = %self.segment.path.display(), %error, "a journal can't be read on");
                    break;
                }
            }
        }
        rows
    }

    /// All of it is in the store.
    pub(super) fn done(self) {
        if let Err(error) = std::fs::remove_file(&self.segment.path) {
            tracing::warn!(path = %self.segment.path.display(), %error, "a journal that was loaded can't be removed; it will be loaded again, which changes nothing");
        }
    }

    /// Rows that may still wait in it.
    pub(super) fn rows(&self) -> u64 {
        self.segment.rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::Entry;

    fn row(id: &str) -> Row {
        Row::Request(Box::new(Entry { id: id.into(), ..Entry::default() }))
    }

    fn ids(rows: &[Row]) -> Vec<&str> {
        rows.iter().map(Row::id).collect()
    }

    fn journal(folder: &Path, own: &str) -> Journal {
        Journal::new(folder, "s.db", own.into())
    }

    #[test]
    fn what_waits_is_loaded_in_order_and_gone() {
        let folder = tempfile::tempdir().unwrap();
        let mut journal = journal(&folder.path().join("made"), "a");
        assert!(journal.is_empty() && journal.load().is_none());
        journal.append(&lines(&[row("1"), row("2")]), 2).unwrap();
        journal.append(&lines(&[row("3")]), 1).unwrap();
        assert_eq!(journal.rows(), 3);
        let mut loading = journal.load().unwrap();
        // What comes meanwhile goes into another file.
        journal.append(&lines(&[row("4")]), 1).unwrap();
        assert_eq!((ids(&loading.next(2)), ids(&loading.next(2)), loading.next(2).len()), (vec!["1", "2"], vec!["3"], 0));
        loading.done();
        let mut loading = journal.load().unwrap();
        assert_eq!(ids(&loading.next(9)), ["4"]);
        loading.done();
        assert!(journal.is_empty() && std::fs::read_dir(folder.path().join("made")).unwrap().next().is_none());
    }

    #[test]
    fn what_reached_the_store_after_all_is_not_loaded() {
        let folder = tempfile::tempdir().unwrap();
        let mut journal = journal(folder.path(), "a");
        let first = journal.append(&lines(&[row("1"), row("2")]), 2).unwrap();
        assert_eq!(journal.append(&lines(&[row("3")]), 1).unwrap(), first, "one file");
        journal.settled(first, 2);
        assert_eq!(journal.rows(), 1);
        journal.settled(first, 1);
        assert!(journal.is_empty());
        // The same file goes on.
        journal.append(&lines(&[row("4")]), 1).unwrap();
        let mut loading = journal.load().unwrap();
        assert_eq!(ids(&loading.next(9)), ["4"]);
        journal.settled(first, 1);
        loading.done();
        let second = journal.append(&lines(&[row("5")]), 1).unwrap();
        journal.settled(second, 1);
        journal.end();
        assert!(journal.is_empty() && std::fs::read_dir(folder.path()).unwrap().next().is_none());
    }

    #[test]
    fn a_dead_writers_file_is_adopted_and_its_torn_end_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let mut dead = journal(folder.path(), "dead");
        dead.append(&lines(&[row("1")]), 1).unwrap();
        let path = dead.open.as_ref().unwrap().path.clone();
        let mut heir = journal(folder.path(), "heir");
        heir.adopt();
        assert!(heir.is_empty(), "its writer lives");
        drop(dead);
        let whole = lines(&[row("2")]);
        let mut file = OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(b"{\"no row\":1}\n").unwrap();
        file.write_all(&whole[..whole.len() / 2]).unwrap();
        heir.adopt();
        heir.adopt();
        let mut loading = heir.load().unwrap();
        assert_eq!((ids(&loading.next(9)), loading.damaged), (vec!["1"], 1));
        loading.done();
        assert!(heir.load().is_none() && !path.exists());
    }

    #[test]
    fn a_journal_cut_at_any_byte_has_the_rows_before_the_cut() {
        let folder = tempfile::tempdir().unwrap();
        let bytes = lines(&[row("1"), row("2"), row("3")]);
        let ends: Vec<usize> = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(place, _)| place + 1).collect();
        for cut in 0..=bytes.len() {
            let path = folder.path().join("s.db.ledger-x-0.jsonl");
            std::fs::write(&path, &bytes[..cut]).unwrap();
            let mut journal = journal(folder.path(), "y");
            journal.adopt();
            let mut loading = journal.load().unwrap();
            // The last line may be whole but for its end.
            let whole = ends.iter().filter(|end| cut + 1 >= **end).count();
            assert_eq!(loading.next(9).len(), whole, "cut at {cut}");
            loading.done();
        }
    }
}
