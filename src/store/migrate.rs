//! The tables, made step by step: each step once, in one transaction with the note that it was made. The steps are the same for
//! both databases; where one has more to say, a comment says it.

use sqlx::{AnyPool, AssertSqlSafe, Row};

use super::Failed;
use super::text::Kind;

/// The steps, oldest first. One that was ever released stays as it is.
const STEPS: &[&str] = &[include_str!("migrations/0001_keys_and_ledger.sql")];

/// Of all who start at once, one makes the tables.
const LOCK: &str = "SELECT CAST(pg_advisory_xact_lock(7319420365) AS TEXT)";

/// Makes what isn't there yet.
pub(super) async fn run(pool: &AnyPool, kind: Kind, place: &str) -> Result<(), Failed> {
    let mut transaction = pool.begin_with(kind.begin()).await?;
    if kind == Kind::Postgres {
        sqlx::query(LOCK).fetch_one(&mut *transaction).await?;
    }
    sqlx::query("CREATE TABLE IF NOT EXISTS migrations (step BIGINT PRIMARY KEY)").execute(&mut *transaction).await?;
    let row = sqlx::query("SELECT COALESCE(MAX(step), 0) FROM migrations").fetch_one(&mut *transaction).await?;
    let done = usize::try_from(row.try_get::<i64, _>(0)?).unwrap_or_default();
    if done > STEPS.len() {
        let what = "was written by a newer version of stagedoor; use that one, or another store".to_owned();
        return Err(Failed::Unusable { place: place.to_owned(), what });
    }
    for (number, step) in STEPS.iter().enumerate().skip(done) {
        sqlx::raw_sql(AssertSqlSafe(for_kind(step, kind))).execute(&mut *transaction).await?;
        let insert = sqlx::query("INSERT INTO migrations (step) VALUES ($1)");
        insert.bind(number as i64 + 1).execute(&mut *transaction).await?;
    }
    transaction.commit().await?;
    Ok(())
}

/// The step with what it says to SQLite alone.
fn for_kind(step: &str, kind: Kind) -> String {
    match kind {
        Kind::Sqlite => step.replace("/* sqlite: ", "").replace(" */", ""),
        Kind::Postgres => step.to_owned(),
    }
}
