//! The ledger's rows, read back: the newest first for people, the oldest first for whoever takes all of them away.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::time::Duration;

use sqlx::any::AnyRow;
use sqlx::{AssertSqlSafe, Row as _};

use super::keys::number;
use super::text::Kind;
use super::{Failed, Store};
use crate::ledger::{Call, Entry, Key, first_id};

/// Which rows are asked for.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// The oldest first.
    pub oldest_first: bool,
    /// Beyond the row of this id.
    pub beyond: Option<String>,
    /// From this time on.
    pub since: Option<Duration>,
    /// Before this time.
    pub until: Option<Duration>,
    /// Of this public model.
    pub model: Option<String>,
    /// Of this key, by name or id.
    pub key: Option<String>,
    /// Served by this provider.
    pub provider: Option<String>,
    /// Answered with this status.
    pub status: Option<u16>,
    /// So many at most.
    pub limit: u32,
}

/// An attempt of a request of this id.
pub type StoredCall = (String, Call);

const REQUESTS: &str = "SELECT id, request_id, time, key_id, key_name, model, provider, upstream_model, provider_key, status, error, \
                        stream, tokens_in, tokens_out, tokens_cached, tokens_cache_written, tokens_reasoning, cost, state, source, \
                        latency_us, first_token_us, attempts, cache, tags, recovered FROM requests";

const ATTEMPTS: &str = "SELECT request, place, provider, key_name, model, start_us, outcome, kind, status, head_us, first_token_us, \
                        total_us, breaker, hedge FROM attempts WHERE request IN ";

/// A condition's text, with what is bound to it.
enum Bound {
    Text(String),
    Whole(i64),
}

impl Page {
    /// The conditions in SQL, each value bound.
    fn conditions(&self, kind: Kind) -> (String, Vec<Bound>) {
        let (mut text, mut bound) = (String::new(), Vec::new());
        let mut add = |condition: &str, values: Vec<Bound>| {
            text.push_str(if text.is_empty() { " WHERE " } else { " AND " });
            let mut parts = condition.split('?');
            text.push_str(parts.next().unwrap_or_default());
            for (value, part) in values.into_iter().zip(parts) {
                bound.push(value);
                match kind {
                    Kind::Sqlite => text.push('?'),
                    // Writing to a String can't fail.
                    Kind::Postgres => _ = write!(text, "${}", bound.len()),
                }
                text.push_str(part);
            }
        };
        let beyond = if self.oldest_first { "id > ?" } else { "id < ?" };
        let texts = [
            (beyond, self.beyond.clone()),
            ("id >= ?", self.since.map(first_id)),
            ("id < ?", self.until.map(first_id)),
            ("model = ?", self.model.clone()),
            ("provider = ?", self.provider.clone()),
        ];
        for (condition, value) in texts {
            if let Some(value) = value {
                add(condition, vec![Bound::Text(value)]);
            }
        }
        if let Some(key) = &self.key {
            add("(key_id = ? OR key_name = ?)", vec![Bound::Text(key.clone()), Bound::Text(key.clone())]);
        }
        if let Some(status) = self.status {
            add("status = ?", vec![Bound::Whole(i64::from(status))]);
        }
        (text, bound)
    }
}

impl Store {
    /// Rows, each with its calls.
    ///
    /// # Errors
    /// Where the store can't tell.
    pub async fn requests(&self, page: &Page) -> Result<Vec<Entry>, Failed> {
        self.ready().await?;
        let (conditions, bound) = page.conditions(self.kind);
        let order = if page.oldest_first { "ASC" } else { "DESC" };
        let sql = format!("{REQUESTS}{conditions} ORDER BY id {order} LIMIT {}", page.limit);
        // Made here of constants, placeholders and a number.
        let mut query = sqlx::query(AssertSqlSafe(sql));
        for value in bound {
            query = match value {
                Bound::Text(text) => query.bind(text),
                Bound::Whole(whole) => query.bind(whole),
            };
        }
        let rows = query.fetch_all(&self.pool).await?;
        let mut entries = rows.iter().map(request).collect::<Result<Vec<_>, _>>()?;
        self.add_calls(&mut entries).await?;
        Ok(entries)
    }

    async fn add_calls(&self, entries: &mut [Entry]) -> Result<(), Failed> {
        let mut by_request: HashMap<String, Vec<Call>> = HashMap::new();
        for some in entries.chunks(500) {
            let sql = format!("{ATTEMPTS}{} ORDER BY request, place", self.kind.places(1, some.len()));
            let mut query = sqlx::query(AssertSqlSafe(sql));
            for entry in some {
                query = query.bind(entry.id.clone());
            }
            for row in query.fetch_all(&self.pool).await? {
                let (request, call) = attempt(&row)?;
                by_request.entry(request).or_default().push(call);
            }
        }
        for entry in entries {
            entry.calls = by_request.remove(&entry.id).unwrap_or_default();
        }
        Ok(())
    }
}

fn request(row: &AnyRow) -> Result<Entry, sqlx::Error> {
    let text = |place: usize| row.try_get::<Option<String>, _>(place);
    let count = |place: usize| row.try_get::<i64, _>(place).map(number);
    let key = text(3)?.map(|id| Ok::<_, sqlx::Error>(Key { id: id.into(), name: text(4)?.unwrap_or_default().into() }));
    Ok(Entry {
        id: row.try_get(0)?,
        request_id: text(1)?,
        time_us: count(2)?,
        key: key.transpose()?,
        model: row.try_get::<String, _>(5)?.into(),
        provider: text(6)?.map(Into::into),
        upstream_model: text(7)?.map(Into::into),
        provider_key: text(8)?.map(Into::into),
        status: count(9)?.try_into().unwrap_or_default(),
        error: text(10)?.unwrap_or_default(),
        stream: count(11)? != 0,
        tokens_in: count(12)?,
        tokens_out: count(13)?,
        tokens_cached: count(14)?,
        tokens_cache_written: count(15)?,
        tokens_reasoning: count(16)?,
        cost: row.try_get(17)?,
        state: text(18)?.map(Into::into),
        source: text(19)?.map(Into::into),
        latency_us: count(20)?,
        first_token_us: row.try_get::<Option<i64>, _>(21)?.map(number),
        attempts: count(22)?.try_into().unwrap_or_default(),
        cache: text(23)?.map(Into::into),
        tags: text(24)?.map(Into::into),
        recovered: count(25)? != 0,
        calls: Vec::new(),
    })
}

fn attempt(row: &AnyRow) -> Result<StoredCall, sqlx::Error> {
    let whole = |place: usize| row.try_get::<Option<i64>, _>(place).map(|whole| whole.map(number));
    let call = Call {
        place: whole(1)?.unwrap_or_default().try_into().unwrap_or_default(),
        provider: row.try_get::<String, _>(2)?.into(),
        key: row.try_get::<Option<String>, _>(3)?.map(Into::into),
        model: row.try_get::<String, _>(4)?.into(),
        start_us: whole(5)?.unwrap_or_default(),
        outcome: row.try_get::<String, _>(6)?.into(),
        kind: row.try_get(7)?,
        status: whole(8)?.and_then(|status| status.try_into().ok()),
        head_us: whole(9)?,
        first_token_us: whole(10)?,
        total_us: whole(11)?.unwrap_or_default(),
        breaker: row.try_get::<String, _>(12)?.into(),
        hedge: whole(13)?.unwrap_or_default() != 0,
    };
    Ok((row.try_get(0)?, call))
}
