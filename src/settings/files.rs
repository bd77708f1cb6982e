//! The files that a reading of the settings looked at and what they held then, as digests: which folders to watch, and
//! whether anything in them is different now. A file that wasn't there is among them: it may come.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};

use super::diff::{Digest, digest};

/// See the module's text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Files(BTreeMap<PathBuf, Option<Digest>>);

impl Files {
    /// The folders that they are in.
    pub fn folders(&self) -> BTreeSet<PathBuf> {
        let folder = |file: &PathBuf| match file.parent() {
            Some(folder) if folder.as_os_str().is_empty() => PathBuf::from("."),
            Some(folder) => folder.to_owned(),
            None => file.clone(),
        };
        self.0.keys().map(folder).collect()
    }

    /// Whether what is called so may be one of them, or a folder on the way to one. A mounted volume's files are links
    /// through a name that begins with two dots, and it is that one that is swapped.
    pub fn may_be(&self, name: &OsStr) -> bool {
        name.as_encoded_bytes().starts_with(b"..") || self.0.keys().any(|file| file.iter().any(|part| part == name))
    }
}

/// Reads files and remembers what was read.
#[derive(Debug, Default)]
pub(super) struct Reader(RefCell<Files>);

impl Reader {
    /// What the file holds.
    pub(super) fn read(&self, file: &Path) -> io::Result<Vec<u8>> {
        let read = std::fs::read(file);
        let held = read.as_ref().ok().map(|bytes| digest(bytes));
        self.0.borrow_mut().0.insert(file.to_owned(), held);
        read
    }

    /// The files that were read.
    pub(super) fn finish(self) -> Files {
        self.0.into_inner()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folders_and_names_that_matter() {
        let reader = Reader::default();
        for file in ["s.toml", "a/b/key.txt", "a/b/other.txt"] {
            assert!(reader.read(Path::new(file)).is_err());
        }
        let files = reader.finish();
        assert_eq!(files.folders(), [".", "a/b"].map(PathBuf::from).into());
        assert!(files.may_be(OsStr::new("key.txt")) && files.may_be(OsStr::new("..data")) && !files.may_be(OsStr::new("x.log")));
    }

    #[test]
    fn another_content_is_another_reading() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("f");
        let look = || {
            let reader = Reader::default();
            let _ = reader.read(&file);
            reader.finish()
        };
        let none = look();
        std::fs::write(&file, "one").unwrap();
        let one = look();
        std::fs::write(&file, "one").unwrap();
        assert!(look() == one && one != none);
        std::fs::write(&file, "two").unwrap();
        assert_ne!(look(), one);
    }
}
