//! The few places where the two speak SQL differently, and long lists of placeholders.

use std::fmt::Write as _;

/// Which database it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A file of this process's.
    Sqlite,
    /// A server.
    Postgres,
}

impl Kind {
    /// How a transaction that will write begins: in SQLite it takes the lock at once, waiting for it, rather than fail where it
    /// would have to take it later.
    pub(super) fn begin(self) -> &'static str {
        match self {
            Self::Sqlite => "BEGIN IMMEDIATE",
            Self::Postgres => "BEGIN",
        }
    }

    /// `(?, ?), (?, ?)`: placeholders for so many rows. SQLite looks numbered ones up by their name, one by one.
    pub(super) fn places(self, rows: usize, columns: usize) -> String {
        let mut text = String::with_capacity(rows * columns * 6);
        let mut number = 0;
        for row in 0..rows {
            text.push_str(if row == 0 { "(" } else { ", (" });
            for column in 0..columns {
                number += 1;
                text.push_str(if column == 0 { "" } else { ", " });
                match self {
                    Self::Sqlite => text.push('?'),
                    // Writing to a String can't fail.
                    Self::Postgres => _ = write!(text, "${number}"),
                }
            }
            text.push(')');
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders() {
        assert_eq!(Kind::Sqlite.places(2, 2), "(?, ?), (?, ?)");
        assert_eq!(Kind::Postgres.places(2, 2), "($1, $2), ($3, $4)");
    }
}
