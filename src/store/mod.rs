//! What outlives the process: callers' keys and the ledger, in SQLite or in PostgreSQL. One text of SQL for both, every value
//! bound; what differs between them is in the files of their names. Nothing here is asked while a request waits, but for a key
//! that nobody has seen yet.

pub mod document;
mod export;
mod keys;
mod migrate;
mod postgres;
mod requests;
mod rows;
mod series;
mod sqlite;
mod text;
mod transitions;
mod usage;

use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::AnyPool;
use tokio::sync::OnceCell;

use crate::settings::{Durability, Keep};

pub use export::{Export, Form, Rows};
pub use keys::{KeyChange, KeyRecord, NewKey, Terms};
pub use requests::{Page, StoredCall};
pub use series::{Every, Step};
pub use text::Kind;
pub use transitions::Moves;
pub use usage::{By, Sum};

/// Why the store can't do what it is asked.
#[derive(Debug, thiserror::Error)]
pub enum Failed {
    /// It can't be opened, or can't be used as it is.
    #[error("the store {place} {what}")]
    Unusable {
        /// Where it is, without a password.
        place: String,
        /// What is wrong with it, and what to do.
        what: String,
    },
    /// It didn't do it.
    #[error("the store failed: {0}")]
    Broken(#[from] sqlx::Error),
    /// It didn't write the ledger's rows.
    #[error("the store failed: {0}")]
    Unwritten(#[from] rusqlite::Error),
    /// Nobody is there to ask it.
    #[error("the gateway is stopping")]
    Gone,
    /// It took too long.
    #[error("the store didn't answer within {} s", .0.as_secs())]
    Late(Duration),
}

/// See the module's text. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Store {
    pool: AnyPool,
    /// What writes the ledger's rows into SQLite.
    pen: Option<rows::Pen>,
    kind: Kind,
    place: String,
    folder: PathBuf,
    stem: String,
    ready: std::sync::Arc<OnceCell<()>>,
}

/// Whether a store holds a callers' key, asked from anywhere. A store that isn't there yet, or can't be asked, tells of none.
pub fn holds_keys(keep: &Keep) -> bool {
    let asked = aside(keep, async |store: Store| Ok(!store.keys().await?.is_empty()));
    asked.ok().flatten().unwrap_or(false)
}

/// Whether a store can be used, where it is there.
///
/// # Errors
/// Why not, where a gateway would refuse to start with it.
pub fn usable(keep: &Keep) -> Result<(), Failed> {
    if let Keep::Sqlite(path) = keep
        && !path.exists()
    {
        return sqlite::can_be_made(path);
    }
    aside(keep, async |_| Ok(())).map(drop)
}

/// Opens a store that is there, and asks it something, on a thread of its own: whoever calls may have a runtime that mustn't wait.
fn aside<T: Send>(keep: &Keep, ask: impl AsyncFnOnce(Store) -> Result<T, Failed> + Send) -> Result<Option<T>, Failed> {
    if matches!(keep, Keep::Sqlite(path) if !path.exists()) {
        return Ok(None);
    }
    let work = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.map_err(sqlx::Error::Io)?.block_on(async {
            let Some(store) = Store::open(keep).await? else { return Ok(None) };
            let answer = ask(store.clone()).await.map(Some);
            store.close().await;
            answer
        })
    };
    std::thread::scope(|scope| scope.spawn(work).join().unwrap_or(Err(Failed::Gone)))
}

impl Store {
    /// Opens it; a SQLite file is made, with its folder, where there is none. None where nothing is to be kept. The pool's
    /// connections belong to the runtime that calls this.
    ///
    /// # Errors
    /// Where a SQLite file can't be used. A PostgreSQL server may come later.
    pub async fn open(keep: &Keep) -> Result<Option<Self>, Failed> {
        Self::lasting(keep, Durability::Process).await
    }

    /// The same, where what is written is to survive the end of a process or of a machine.
    ///
    /// # Errors
    /// See [`Store::open`].
    pub async fn lasting(keep: &Keep, durability: Durability) -> Result<Option<Self>, Failed> {
        match keep {
            Keep::Nowhere => Ok(None),
            Keep::Sqlite(path) => sqlite::open(path, durability).await.map(Some),
            Keep::Postgres(url, folder) => postgres::open(url, folder, durability).map(Some),
        }
    }

    /// Returns once its tables are there.
    ///
    /// # Errors
    /// Where they can't be made.
    pub async fn ready(&self) -> Result<(), Failed> {
        let made = self.ready.get_or_try_init(|| migrate::run(&self.pool, self.kind, &self.place)).await;
        made.map(|_| ())
    }

    /// Which of the two it is.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Where it is, for messages: no password.
    pub fn place(&self) -> &str {
        &self.place
    }

    /// Where files that belong to it lie.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// How their names begin.
    pub fn stem(&self) -> &str {
        &self.stem
    }

    /// Whether it was closed.
    pub fn is_closed(&self) -> bool {
        self.pool.is_closed()
    }

    /// Closes its connections.
    pub async fn close(&self) {
        if let Some(pen) = &self.pen {
            pen.close().await;
        }
        self.pool.close().await;
    }
}
