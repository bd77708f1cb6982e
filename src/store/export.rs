//! The ledger's rows as text, for whoever takes them away: comma-separated values or a JSON document a line, the oldest first, some
//! at a time, since there may be more than memory holds.

use super::requests::Page;
use super::{Failed, Store, document};
use crate::ledger::Entry;

/// Rows that are read at a time.
const CHUNK: u32 = 1_000;

/// Which rows are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rows {
    /// One per request.
    Requests,
    /// One per upstream call.
    Attempts,
}

/// How they are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Comma-separated values, the names first (RFC 4180, but for its line ends).
    Csv,
    /// A JSON document a line.
    JsonLines,
}

/// See the module's text.
#[derive(Debug)]
pub struct Export {
    rows: Rows,
    form: Form,
    /// What is read next; None: nothing.
    page: Option<Page>,
    begun: bool,
}

impl Export {
    /// Of the rows that a page's conditions hold for, `limit` of them at most; 0: all.
    pub fn new(rows: Rows, form: Form, page: Page) -> Self {
        Self { rows, form, page: Some(Page { oldest_first: true, ..page }), begun: false }
    }

    /// The next lines, some of them; None: there are no more.
    ///
    /// # Errors
    /// Where the store can't tell.
    pub async fn next(&mut self, store: &Store) -> Result<Option<String>, Failed> {
        let Some(page) = self.page.take() else { return Ok(None) };
        let limit = if page.limit == 0 { CHUNK } else { page.limit.min(CHUNK) };
        let entries = store.requests(&Page { limit, ..page.clone() }).await?;
        let mut text = String::new();
        if !std::mem::replace(&mut self.begun, true) && self.form == Form::Csv {
            self.line(&mut text, &self.names().join(","));
        }
        for entry in &entries {
            self.told(entry, &mut text);
        }
        let left = page.limit.saturating_sub(limit);
        if entries.len() == limit as usize && (page.limit == 0 || left > 0) {
            let beyond = entries.last().map(|last| last.id.clone());
            self.page = Some(Page { beyond, limit: left, ..page });
        }
        Ok(Some(text))
    }

    fn told(&self, entry: &Entry, text: &mut String) {
        let documents = match self.rows {
            Rows::Requests => vec![document::request(entry)],
            Rows::Attempts => document::attempts_of(entry),
        };
        for document in documents {
            match self.form {
                Form::Csv => self.line(text, &document::csv(&document, self.names())),
                Form::JsonLines => self.line(text, &document.to_string()),
            }
        }
    }

    fn line(&self, text: &mut String, line: &str) {
        text.push_str(line);
        text.push('\n');
    }

    fn names(&self) -> &'static [&'static str] {
        match self.rows {
            Rows::Requests => &document::REQUEST,
            Rows::Attempts => &document::ATTEMPT,
        }
    }
}
