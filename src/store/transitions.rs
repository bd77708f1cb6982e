//! Moves of breakers, read back: the newest first.

use std::time::Duration;

use sqlx::Row as _;
use sqlx::any::AnyRow;

use super::keys::number;
use super::{Failed, Store};
use crate::ledger::{Transition, first_id};

/// Which moves are asked for.
#[derive(Clone, Debug, Default)]
pub struct Moves {
    /// Before the one of this id.
    pub before: Option<String>,
    /// From this time on.
    pub since: Option<Duration>,
    /// Before this time.
    pub until: Option<Duration>,
    /// Of this provider.
    pub provider: Option<String>,
    /// So many at most.
    pub limit: u32,
}

/// Ids begin with the time, and `~` comes after all of them. An empty provider stands for all: none is called so.
const SQL: &str = "SELECT id, time, seq, provider, model, from_state, to_state, reason, period_us, settings FROM transitions \
                   WHERE id < $1 AND id >= $2 AND id < $3 AND ($4 = '' OR provider = $5) ORDER BY id DESC LIMIT $6";

impl Moves {
    /// Those of some moves, the oldest of which come first, that are asked for; the newest first.
    pub fn of(&self, moves: Vec<Transition>) -> Vec<Transition> {
        let (before, since, until) = self.bounds();
        // As the store would have them: of what is told at once, the ids say which comes first.
        let mut moves = moves;
        moves.sort_by(|one, other| one.id.cmp(&other.id));
        let asked = |moved: &Transition| {
            moved.id < before && moved.id < until && moved.id >= since && self.provider.as_deref().is_none_or(|one| one == &*moved.provider)
        };
        moves.into_iter().rev().filter(asked).take(self.limit as usize).collect()
    }

    /// Ids: before, since, until.
    fn bounds(&self) -> (String, String, String) {
        let last = || "~".to_owned();
        (self.before.clone().unwrap_or_else(last), self.since.map(first_id).unwrap_or_default(), self.until.map_or_else(last, first_id))
    }
}

impl Store {
    /// Moves, the newest first.
    ///
    /// # Errors
    /// Where the store can't tell.
    pub async fn transitions(&self, moves: &Moves) -> Result<Vec<Transition>, Failed> {
        self.ready().await?;
        let (before, since, until) = moves.bounds();
        let provider = moves.provider.clone().unwrap_or_default();
        let query =
            sqlx::query(SQL).bind(before).bind(since).bind(until).bind(provider.clone()).bind(provider).bind(i64::from(moves.limit));
        let rows = query.fetch_all(&self.pool).await?;
        Ok(rows.iter().map(transition).collect::<Result<_, _>>()?)
    }
}

fn transition(row: &AnyRow) -> Result<Transition, sqlx::Error> {
    let text = |place: usize| row.try_get::<String, _>(place);
    Ok(Transition {
        id: text(0)?,
        time_us: row.try_get::<i64, _>(1).map(number)?,
        seq: row.try_get::<i64, _>(2).map(number)?,
        provider: text(3)?.into(),
        model: text(4)?,
        from: text(5)?.into(),
        to: text(6)?.into(),
        reason: text(7)?.into(),
        period_us: row.try_get::<Option<i64>, _>(8)?.map(number),
        settings: text(9)?,
    })
}
