//! What is wrong with the settings: every mistake of one reading, each with its file, its path and the fix.
//!
//! A message never shows a value: it may be a secret that was written in the wrong place.

use std::fmt;

/// One mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where it was written: a file, or the name of an environment variable.
    pub file: String,
    /// The key's dotted path; empty where the whole file is meant.
    pub path: String,
    /// What is wrong and what to do.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.is_empty() {
            return write!(f, "{}: {}", self.file, self.message);
        }
        write!(f, "{}: {}: {}", self.file, self.path, self.message)
    }
}

/// Settings that can't be used, with everything that is wrong with them. Never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalid {
    /// The mistakes, by file and path.
    pub problems: Vec<Problem>,
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, problem) in self.problems.iter().enumerate() {
            if i > 0 {
                writeln!(f)?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Invalid {}
