//! What was used, by whom and for what: whole hours from the sums, the parts of hours at both ends from the rows themselves, so
//! that a question is answered for exactly the time that it names.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::time::Duration;

use sqlx::Row as _;
use sqlx::any::AnyRow;

use super::{Failed, KeyRecord, Store};
use crate::access::Window;
use crate::ledger::{Counts, first_id};

const HOUR: Duration = Duration::from_secs(3_600);

/// What usage is told by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// The public model.
    Model,
    /// The caller's key.
    Key,
    /// Who served.
    Provider,
    /// `x-stagedoor-tags`, each of them.
    Tag,
    /// The day, by UTC.
    Day,
}

impl By {
    /// All, by their names.
    pub const ALL: [(&'static str, Self); 5] =
        [("key", Self::Key), ("model", Self::Model), ("provider", Self::Provider), ("tag", Self::Tag), ("day", Self::Day)];

    /// Its name.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, by)| *by == self).map_or("", |(name, _)| name)
    }

    /// The one of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|(known, _)| *known == name).map(|(_, by)| by)
    }
}

/// One line of the answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sum {
    /// The model, key, provider or tag by name, or the day; empty: nobody.
    pub name: String,
    /// The key's id; empty where it isn't asked by key, or in open mode.
    pub key_id: String,
    /// What was used.
    pub counts: Counts,
}

/// The eight sums of a table of sums.
macro_rules! sums {
    () => {
        "CAST(SUM(requests) AS BIGINT), CAST(SUM(errors) AS BIGINT), CAST(SUM(tokens_in) AS BIGINT), \
         CAST(SUM(tokens_out) AS BIGINT), CAST(SUM(tokens_cached) AS BIGINT), CAST(SUM(tokens_reasoning) AS BIGINT), \
         CAST(SUM(cost) AS BIGINT), CAST(SUM(unpriced) AS BIGINT)"
    };
}

/// The same of the rows: `Entry::failed` and `Entry::unpriced` in SQL.
macro_rules! row_sums {
    () => {
        "COUNT(*), CAST(SUM(CASE WHEN status <> 499 AND (status >= 400 OR error IS NOT NULL) THEN 1 ELSE 0 END) AS BIGINT), \
         CAST(SUM(tokens_in) AS BIGINT), CAST(SUM(tokens_out) AS BIGINT), CAST(SUM(tokens_cached) AS BIGINT), \
         CAST(SUM(tokens_reasoning) AS BIGINT), CAST(SUM(COALESCE(cost, 0)) AS BIGINT), \
         CAST(SUM(CASE WHEN cost IS NULL AND (tokens_in > 0 OR tokens_out > 0) THEN 1 ELSE 0 END) AS BIGINT)"
    };
}

/// A question to the sums and the same to the rows: two texts that a line is named by, then the eight sums.
macro_rules! asked {
    ($from:literal, $id:literal, $name:literal, $row_id:literal, $row_name:literal) => {
        (
            concat!("SELECT ", $id, ", ", $name, ", ", sums!(), " FROM ", $from, " WHERE hour >= $1 AND hour < $2 GROUP BY 1, 2"),
            concat!("SELECT ", $row_id, ", ", $row_name, ", ", row_sums!(), " FROM requests WHERE id >= $1 AND id < $2 GROUP BY 1, 2"),
        )
    };
}

/// For tags the rows are asked by all of a row's tags at once.
fn question(by: By) -> (&'static str, &'static str) {
    match by {
        By::Model => asked!("usage_hours", "''", "model", "''", "model"),
        By::Key => asked!("usage_hours", "key_id", "key_name", "COALESCE(key_id, '')", "COALESCE(key_name, '')"),
        By::Provider => asked!("usage_hours", "''", "provider", "''", "COALESCE(provider, '')"),
        By::Tag => asked!("usage_tags", "''", "tag", "''", "COALESCE(tags, '')"),
        By::Day => {
            asked!("usage_hours", "''", "CAST(hour / 24 AS TEXT)", "''", "CAST(time / 86400000000 AS TEXT)")
        }
    }
}

impl Store {
    /// What was used from `since` on and before `until` (None: until now), the most first; days in their order.
    ///
    /// # Errors
    /// Where the store can't tell.
    pub async fn usage(&self, by: By, since: Duration, until: Option<Duration>) -> Result<Vec<Sum>, Failed> {
        self.ready().await?;
        let (hours, rows) = question(by);
        let mut lines: BTreeMap<String, Sum> = BTreeMap::new();
        let Parts { whole, ends } = parts(since, until);
        if whole.0 < whole.1 {
            let query = sqlx::query(hours).bind(whole.0).bind(whole.1);
            for row in query.fetch_all(&self.pool).await? {
                add(&mut lines, by, &row)?;
            }
        }
        for (from, to) in ends.into_iter().filter(|(from, to)| from < to) {
            let query = sqlx::query(rows).bind(first_id(from)).bind(first_id(to));
            for row in query.fetch_all(&self.pool).await? {
                add(&mut lines, by, &row)?;
            }
        }
        let mut lines: Vec<Sum> = lines.into_values().collect();
        match by {
            By::Day => lines.iter_mut().for_each(|line| line.name = day(&line.name)),
            _ => lines.sort_by(|a, b| (b.counts.cost, b.counts.requests, &a.name).cmp(&(a.counts.cost, a.counts.requests, &b.name))),
        }
        Ok(lines)
    }

    /// What was used in all in that time.
    ///
    /// # Errors
    /// Where the store can't tell.
    pub async fn total(&self, since: Duration, until: Option<Duration>) -> Result<Counts, Failed> {
        let mut total = Counts::default();
        self.usage(By::Provider, since, until).await?.into_iter().for_each(|line| total += line.counts);
        Ok(total)
    }

    /// What keys have spent from `since` on and before `until`, by their ids, in nano-dollars.
    ///
    /// # Errors
    /// Where the store can't tell.
    pub async fn spent(&self, since: Duration, until: Option<Duration>) -> Result<BTreeMap<String, i64>, Failed> {
        let lines = self.usage(By::Key, since, until).await?;
        Ok(lines.into_iter().map(|line| (line.key_id, line.counts.cost)).collect())
    }

    /// Keys, each with what it has spent in its budget's present window (without a budget: this month), in nano-dollars.
    ///
    /// # Errors
    /// Where the store can't tell.
    pub async fn with_spent(&self, keys: Vec<KeyRecord>, now: Duration) -> Result<Vec<(KeyRecord, i64)>, Failed> {
        let began = |record: &KeyRecord| record.key.budget.map_or(Window::Month, |budget| budget.window).began(now);
        let mut windows = BTreeMap::new();
        for since in keys.iter().map(began) {
            if let Entry::Vacant(place) = windows.entry(since) {
                place.insert(self.spent(since, None).await?);
            }
        }
        let spent = |record: &KeyRecord| windows.get(&began(record)).and_then(|spent| spent.get(&*record.key.id)).copied().unwrap_or(0);
        Ok(keys.into_iter().map(|record| (spent(&record), record)).map(|(spent, record)| (record, spent)).collect())
    }
}

/// The time asked for: hours that lie in it whole, as numbers, and what is left at its ends.
struct Parts {
    whole: (i64, i64),
    ends: [(Duration, Duration); 2],
}

fn parts(since: Duration, until: Option<Duration>) -> Parts {
    let hour = |time: Duration| time.as_secs() / HOUR.as_secs();
    let start = |hour: u64| Duration::from_secs(hour.saturating_mul(HOUR.as_secs()));
    // The order of ids knows milliseconds.
    let since = Duration::from_millis(since.as_millis() as u64);
    let first = if start(hour(since)) == since { hour(since) } else { hour(since) + 1 };
    let none = (Duration::ZERO, Duration::ZERO);
    let Some(until) = until else {
        return Parts { whole: (first as i64, i64::MAX), ends: [(since, start(first)), none] };
    };
    let last = hour(until);
    if last < first {
        return Parts { whole: (0, 0), ends: [(since, until), none] };
    }
    Parts { whole: (first as i64, last as i64), ends: [(since, start(first)), (start(last), until)] }
}

/// Adds a row of either question to the lines.
fn add(lines: &mut BTreeMap<String, Sum>, by: By, row: &AnyRow) -> Result<(), Failed> {
    let (key_id, name): (&str, &str) = (row.try_get(0)?, row.try_get(1)?);
    let mut columns = [0; 8];
    for (place, column) in columns.iter_mut().enumerate() {
        *column = row.try_get(place + 2)?;
    }
    let counts = Counts::from_columns(columns);
    let names: Vec<&str> = match by {
        By::Tag => name.split(',').filter(|tag| !tag.is_empty()).collect(),
        By::Model | By::Key | By::Provider | By::Day => vec![name],
    };
    for name in names {
        let by_what = if by == By::Key { key_id } else { name };
        let line = lines.entry(padded(by, by_what)).or_default();
        line.key_id = key_id.to_owned();
        // Of a key that was renamed, one of its names.
        line.name = name.to_owned();
        line.counts += counts;
    }
    Ok(())
}

/// Days sort as numbers.
fn padded(by: By, name: &str) -> String {
    if by == By::Day { format!("{name:0>12}") } else { name.to_owned() }
}

/// A day since the Unix epoch as it is written.
fn day(number: &str) -> String {
    let seconds = number.parse::<i64>().unwrap_or_default().saturating_mul(86_400);
    jiff::Timestamp::from_second(seconds).map_or_else(|_| String::new(), |time| time.strftime("%Y-%m-%d").to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_whole_hours_and_its_ends() {
        let seconds = Duration::from_secs;
        let told = |since, until: Option<u64>| {
            let Parts { whole, ends } = parts(seconds(since), until.map(seconds));
            (whole, ends.map(|(from, to)| (from.as_secs(), to.as_secs())))
        };
        assert_eq!(told(7_200, None), ((2, i64::MAX), [(7_200, 7_200), (0, 0)]));
        assert_eq!(told(7_201, None), ((3, i64::MAX), [(7_201, 10_800), (0, 0)]));
        assert_eq!(told(7_201, Some(20_000)), ((3, 5), [(7_201, 10_800), (18_000, 20_000)]));
        assert_eq!(told(7_201, Some(7_300)), ((0, 0), [(7_201, 7_300), (0, 0)]));
        assert_eq!(told(7_200, Some(7_300)), ((2, 2), [(7_200, 7_200), (7_200, 7_300)]));
    }

    #[test]
    fn days_are_dates() {
        assert_eq!((day("0").as_str(), day("20454").as_str()), ("1970-01-01", "2026-01-01"));
        assert!(padded(By::Day, "9") < padded(By::Day, "10"));
    }
}
