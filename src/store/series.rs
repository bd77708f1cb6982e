//! What was used in the course of time: the sums by whole hours, or by whole days of UTC, as they lie in the store.

use std::time::Duration;

use sqlx::Row as _;

use super::usage::{By, Sum};
use super::{Failed, Store};
use crate::ledger::Counts;

/// How long a step of the course is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Every {
    /// An hour.
    Hour,
    /// A day, by UTC.
    Day,
}

impl Every {
    /// The one of this name.
    pub fn named(name: &str) -> Option<Self> {
        [("hour", Self::Hour), ("day", Self::Day)].into_iter().find_map(|(known, every)| (known == name).then_some(every))
    }

    fn hours(self) -> i64 {
        match self {
            Self::Hour => 1,
            Self::Day => 24,
        }
    }
}

/// What was used in a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Its begin, since the Unix epoch.
    pub start: Duration,
    /// By whom or for what.
    pub sum: Sum,
}

/// The steps' numbers, two texts that a line is named by, then the eight sums.
macro_rules! asked {
    ($step:literal, $from:literal, $id:literal, $name:literal) => {
        concat!(
            "SELECT ",
            $step,
            ", ",
            $id,
            ", ",
            $name,
            ", CAST(SUM(requests) AS BIGINT), CAST(SUM(errors) AS BIGINT), CAST(SUM(tokens_in) AS BIGINT), \
             CAST(SUM(tokens_out) AS BIGINT), CAST(SUM(tokens_cached) AS BIGINT), CAST(SUM(tokens_reasoning) AS BIGINT), \
             CAST(SUM(cost) AS BIGINT), CAST(SUM(unpriced) AS BIGINT) FROM ",
            $from,
            " WHERE hour >= $1 AND hour < $2 GROUP BY 1, 2, 3 ORDER BY 1, 3, 2"
        )
    };
}

/// None: it is no course of anything but itself.
fn question(by: By, every: Every) -> Option<&'static str> {
    match (every, by) {
        (_, By::Day) => None,
        (Every::Hour, By::Model) => Some(asked!("hour", "usage_hours", "''", "model")),
        (Every::Hour, By::Key) => Some(asked!("hour", "usage_hours", "key_id", "key_name")),
        (Every::Hour, By::Provider) => Some(asked!("hour", "usage_hours", "''", "provider")),
        (Every::Hour, By::Tag) => Some(asked!("hour", "usage_tags", "''", "tag")),
        (Every::Day, By::Model) => Some(asked!("hour / 24", "usage_hours", "''", "model")),
        (Every::Day, By::Key) => Some(asked!("hour / 24", "usage_hours", "key_id", "key_name")),
        (Every::Day, By::Provider) => Some(asked!("hour / 24", "usage_hours", "''", "provider")),
        (Every::Day, By::Tag) => Some(asked!("hour / 24", "usage_tags", "''", "tag")),
    }
}

impl Store {
    /// What was used in each step that lies in the time asked for, the first and the last with all that was used in their hours.
    /// Steps without anything are left out.
    ///
    /// # Errors
    /// Where the store can't tell.
    pub async fn series(&self, by: By, every: Every, since: Duration, until: Option<Duration>) -> Result<Vec<Step>, Failed> {
        self.ready().await?;
        let Some(sql) = question(by, every) else { return Ok(Vec::new()) };
        let hour = |time: Duration| i64::try_from(time.as_secs() / 3_600).unwrap_or(i64::MAX);
        let after = until.map_or(i64::MAX, |until| hour(until.saturating_add(Duration::from_millis(3_599_999))));
        let mut steps = Vec::new();
        for row in sqlx::query(sql).bind(hour(since)).bind(after).fetch_all(&self.pool).await? {
            let number: i64 = row.try_get(0)?;
            let mut columns = [0; 8];
            for (place, column) in columns.iter_mut().enumerate() {
                *column = row.try_get(place + 3)?;
            }
            let sum = Sum { key_id: row.try_get(1)?, name: row.try_get(2)?, counts: Counts::from_columns(columns) };
            let seconds = number.saturating_mul(every.hours()).saturating_mul(3_600);
            steps.push(Step { start: Duration::from_secs(u64::try_from(seconds).unwrap_or(0)), sum });
        }
        Ok(steps)
    }
}
