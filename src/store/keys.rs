//! Callers' keys: their terms and the digests of their secrets. Every change raises a version within its transaction, so that
//! whoever knows one version can ask for what came after it.

use std::time::Duration;

use sqlx::any::AnyRow;
use sqlx::{Any, AnyConnection, Row, Transaction};

use super::{Failed, Store};
use crate::access::{Budget, Digest, VirtualKey, Window, shown_prefix};
use crate::base::Secret;

/// A key as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRecord {
    /// Its terms.
    pub key: VirtualKey,
    /// How its secret begins: to be told apart from others, and no more.
    pub prefix: String,
    /// Of its secret.
    pub digest: Digest,
    /// Of the secret that it had before, and until when that one is good.
    pub old: Option<(Digest, Duration)>,
}

/// A key to be made.
#[derive(Clone, Debug)]
pub struct NewKey {
    /// Its terms.
    pub key: VirtualKey,
    /// How its secret begins.
    pub prefix: String,
    /// Of its secret.
    pub digest: Digest,
}

/// What may be changed of a key: what is None stays.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Terms {
    /// Its name.
    pub name: Option<String>,
    /// Its models.
    pub models: Option<Vec<String>>,
    /// Requests a minute.
    pub rpm: Option<u64>,
    /// Tokens a minute.
    pub tpm: Option<u64>,
    /// Requests at once.
    pub concurrency: Option<u64>,
    /// Its budget.
    pub budget: Option<Option<Budget>>,
    /// When it expires.
    pub expires: Option<Option<Duration>>,
}

/// A change of one key.
#[derive(Clone, Debug)]
pub enum KeyChange {
    /// Other terms.
    Terms(Box<Terms>),
    /// It is refused from then on. One that is revoked already stays so.
    Revoke(Duration),
    /// Another secret; the one before is good until then. A key that has ended stays as it is: nobody would be let in with it.
    Rotate {
        /// How the new secret begins.
        prefix: String,
        /// Of the new secret.
        digest: Digest,
        /// When that is.
        at: Duration,
        /// The end of the old one.
        until: Duration,
    },
}

/// The columns in the order in which [`read`] and [`write`] have them.
macro_rules! columns {
    () => {
        "id, name, prefix, digest, old_digest, old_until, models, rpm, tpm, concurrency, budget, budget_window, budget_unpriced, \
         expires, revoked, created"
    };
}

const ONE: &str = concat!("SELECT ", columns!(), " FROM api_keys WHERE id = $1");

const SINCE: &str = concat!("SELECT ", columns!(), " FROM api_keys WHERE version > $1 ORDER BY version");

const INSERT: &str = concat!(
    "INSERT INTO api_keys (",
    columns!(),
    ", version) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)"
);

const UPDATE: &str = "UPDATE api_keys SET name = $2, prefix = $3, digest = $4, old_digest = $5, old_until = $6, models = $7, rpm = $8, \
                      tpm = $9, concurrency = $10, budget = $11, budget_window = $12, budget_unpriced = $13, expires = $14, \
                      revoked = $15, created = $16, version = $17 WHERE id = $1";

impl NewKey {
    /// A key of these terms and this secret, which is given back to be shown.
    pub fn issue(key: VirtualKey, secret: Secret) -> (Secret, Self) {
        let new = Self { key, prefix: shown_prefix(&secret).to_owned(), digest: Digest::of(secret.expose().as_bytes()) };
        (secret, new)
    }
}

impl From<NewKey> for KeyRecord {
    fn from(NewKey { key, prefix, digest }: NewKey) -> Self {
        Self { key, prefix, digest, old: None }
    }
}

impl KeyChange {
    /// Another secret from then on; the one before is good for so long besides.
    pub fn rotate(secret: &Secret, at: Duration, overlap: Duration) -> Self {
        let (prefix, digest) = (shown_prefix(secret).to_owned(), Digest::of(secret.expose().as_bytes()));
        Self::Rotate { prefix, digest, at, until: at + overlap }
    }
}

impl Store {
    /// Keeps a new key.
    ///
    /// # Errors
    /// Where it can't.
    pub async fn create_key(&self, new: &NewKey) -> Result<(), Failed> {
        let record = KeyRecord::from(new.clone());
        let (mut transaction, version) = self.next_version().await?;
        write(&mut transaction, INSERT, &record, version).await?;
        transaction.commit().await?;
        Ok(())
    }

    /// Changes a key; the key as it is then, None where there is none of this id.
    ///
    /// # Errors
    /// Where it can't.
    pub async fn change_key(&self, id: &str, change: KeyChange) -> Result<Option<KeyRecord>, Failed> {
        let (mut transaction, version) = self.next_version().await?;
        let Some(mut record) = one(&mut transaction, id).await? else { return Ok(None) };
        apply(&mut record, change);
        write(&mut transaction, UPDATE, &record, version).await?;
        transaction.commit().await?;
        Ok(Some(record))
    }

    /// The key of this id.
    ///
    /// # Errors
    /// Where the store can't tell.
    pub async fn key(&self, id: &str) -> Result<Option<KeyRecord>, Failed> {
        self.ready().await?;
        let mut connection = self.pool.acquire().await?;
        one(&mut connection, id).await
    }

    /// All keys, oldest first.
    ///
    /// # Errors
    /// Where the store can't tell.
    pub async fn keys(&self) -> Result<Vec<KeyRecord>, Failed> {
        let (_, mut keys) = self.keys_since(-1).await?;
        keys.sort_by(|a, b| (a.key.created, &a.key.id).cmp(&(b.key.created, &b.key.id)));
        Ok(keys)
    }

    /// The version now, and the keys that were changed since `version`.
    ///
    /// # Errors
    /// Where the store can't tell.
    pub async fn keys_since(&self, version: i64) -> Result<(i64, Vec<KeyRecord>), Failed> {
        self.ready().await?;
        // First the version, then the keys: one that changes in between is told again next time.
        let row = sqlx::query("SELECT version FROM key_versions").fetch_one(&self.pool).await?;
        let now: i64 = row.try_get(0)?;
        if now == version {
            return Ok((now, Vec::new()));
        }
        let rows = sqlx::query(SINCE).bind(version).fetch_all(&self.pool).await?;
        Ok((now, rows.iter().map(read).collect::<Result<_, _>>()?))
    }

    /// A transaction in which nobody else changes a key, and the version of what it changes.
    async fn next_version(&self) -> Result<(Transaction<'static, Any>, i64), Failed> {
        self.ready().await?;
        let mut transaction = self.pool.begin_with(self.kind.begin()).await?;
        sqlx::query("UPDATE key_versions SET version = version + 1").execute(&mut *transaction).await?;
        let row = sqlx::query("SELECT version FROM key_versions").fetch_one(&mut *transaction).await?;
        let version = row.try_get(0)?;
        Ok((transaction, version))
    }
}

async fn one(connection: &mut AnyConnection, id: &str) -> Result<Option<KeyRecord>, Failed> {
    let row = sqlx::query(ONE).bind(id.to_owned()).fetch_optional(connection).await?;
    Ok(row.as_ref().map(read).transpose()?)
}

fn apply(record: &mut KeyRecord, change: KeyChange) {
    let key = &mut record.key;
    match change {
        KeyChange::Revoke(at) => key.revoked = Some(key.revoked.map_or(at, |before| before.min(at))),
        KeyChange::Rotate { at, .. } if key.has_ended(at) => {}
        KeyChange::Rotate { prefix, digest, until, .. } => {
            record.old = Some((std::mem::replace(&mut record.digest, digest), until));
            record.prefix = prefix;
        }
        KeyChange::Terms(terms) => {
            let Terms { name, models, rpm, tpm, concurrency, budget, expires } = *terms;
            key.name = name.map_or_else(|| key.name.clone(), Into::into);
            key.models = models.unwrap_or_else(|| key.models.clone());
            key.rpm = rpm.unwrap_or(key.rpm);
            key.tpm = tpm.unwrap_or(key.tpm);
            key.concurrency = concurrency.unwrap_or(key.concurrency);
            key.budget = budget.unwrap_or(key.budget);
            key.expires = expires.unwrap_or(key.expires);
        }
    }
}

async fn write(connection: &mut AnyConnection, sql: &'static str, record: &KeyRecord, version: i64) -> Result<(), Failed> {
    let KeyRecord { key, prefix, digest, old } = record;
    let models = serde_json::to_string(&key.models).unwrap_or_default();
    let (nanos, window, unpriced) = key.budget.map_or((0, Window::Month, false), |b| (b.nanos, b.window, b.unpriced));
    let query = sqlx::query(sql)
        .bind(key.id.to_string())
        .bind(key.name.to_string())
        .bind(prefix.clone())
        .bind(digest.to_hex())
        .bind(old.map(|(digest, _)| digest.to_hex()))
        .bind(old.map(|(_, until)| micros(until)))
        .bind(models)
        .bind(whole(key.rpm))
        .bind(whole(key.tpm))
        .bind(whole(key.concurrency))
        .bind(whole(nanos))
        .bind(window.name().to_owned())
        .bind(i64::from(unpriced))
        .bind(key.expires.map(micros))
        .bind(key.revoked.map(micros))
        .bind(micros(key.created))
        .bind(version);
    query.execute(connection).await?;
    Ok(())
}

fn read(row: &AnyRow) -> Result<KeyRecord, sqlx::Error> {
    let damaged = |column: &str| sqlx::Error::ColumnDecode { index: column.to_owned(), source: "it isn't what was written".into() };
    let digest = |text: String| Digest::from_hex(&text).ok_or_else(|| damaged("digest"));
    let old = row.try_get::<Option<String>, _>(4)?.map(digest).transpose()?;
    let old_until = row.try_get::<Option<i64>, _>(5)?.map(time);
    let nanos = number(row.try_get(10)?);
    let window = Window::named(row.try_get(11)?).ok_or_else(|| damaged("budget_window"))?;
    let unpriced = row.try_get::<i64, _>(12)? != 0;
    let key = VirtualKey {
        id: row.try_get::<&str, _>(0)?.into(),
        name: row.try_get::<&str, _>(1)?.into(),
        models: serde_json::from_str(row.try_get(6)?).map_err(|_| damaged("models"))?,
        rpm: number(row.try_get(7)?),
        tpm: number(row.try_get(8)?),
        concurrency: number(row.try_get(9)?),
        budget: (nanos > 0).then_some(Budget { nanos, window, unpriced }),
        expires: row.try_get::<Option<i64>, _>(13)?.map(time),
        revoked: row.try_get::<Option<i64>, _>(14)?.map(time),
        created: time(row.try_get(15)?),
    };
    Ok(KeyRecord { key, prefix: row.try_get(2)?, digest: digest(row.try_get(3)?)?, old: old.zip(old_until) })
}

/// A time since the Unix epoch as it is kept.
pub(super) fn micros(time: Duration) -> i64 {
    i64::try_from(time.as_micros()).unwrap_or(i64::MAX)
}

/// [`micros`], read back.
pub(super) fn time(micros: i64) -> Duration {
    Duration::from_micros(number(micros))
}

/// A count as it is kept.
pub(super) fn whole(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// [`whole`], read back.
pub(super) fn number(whole: i64) -> u64 {
    u64::try_from(whole).unwrap_or_default()
}
