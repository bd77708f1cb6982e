//! SQLite: one file, and no server to run. Written ahead into its log, so that readers and the writer don't wait for each
//! other; what was committed survives the process at any moment, and the machine's end but for the last commits, or, where the settings
//! want it, all of them: then each waits for the disk.

use std::path::Path;
use std::time::Duration;

use sqlx::AnyPool;
use sqlx::any::{AnyConnectOptions, AnyPoolOptions};
use sqlx::{AnyConnection, ConnectOptions, Connection, Executor};

use super::rows::Pen;
use super::text::Kind;
use super::{Failed, Store};
use crate::settings::Durability;

/// Those that read, and change keys; rows are written by one more.
const CONNECTIONS: u32 = 4;
/// How long a connection is waited for.
const ACQUIRE: Duration = Duration::from_secs(6);

/// What every connection is told, besides when the disk is waited for.
const MANNERS: &str = "PRAGMA journal_mode = WAL; PRAGMA busy_timeout = 5000; \
                       PRAGMA journal_size_limit = 67108864; PRAGMA cache_size = -2000; PRAGMA temp_store = MEMORY";

/// Whether a file that isn't there could be made, without making it or its folder.
pub(super) fn can_be_made(path: &Path) -> Result<(), Failed> {
    let there = std::path::absolute(path).ok().and_then(|path| {
        let parent = path.ancestors().skip(1).find_map(|folder| Some((folder.to_owned(), folder.metadata().ok()?)));
        parent.filter(|(_, folder)| !folder.is_dir() || folder.permissions().readonly())
    });
    let Some((folder, _)) = there else { return Ok(()) };
    let what = format!("can't be made: {} is no folder that can be written to; name another in store.url", folder.display());
    Err(Failed::Unusable { place: path.display().to_string(), what })
}

/// When a connection waits for the disk: at a checkpoint alone, or at each commit.
pub(super) fn sync(durability: Durability) -> &'static str {
    match durability {
        Durability::Process => "PRAGMA synchronous = NORMAL",
        Durability::Host => "PRAGMA synchronous = FULL",
    }
}

/// Has the disk keep the folder's names, and its own in the one above: a file whose name is lost is lost.
fn keep_names(folder: &Path) -> std::io::Result<()> {
    let folders = [Some(folder), folder.parent()];
    folders.into_iter().flatten().try_for_each(|folder| std::fs::File::open(folder)?.sync_all())
}

/// Opens the file, or makes it.
pub(super) async fn open(path: &Path, durability: Durability) -> Result<Store, Failed> {
    let place = path.display().to_string();
    let unusable = |what: String| Failed::Unusable { place: place.clone(), what };
    let absolute = std::path::absolute(path).map_err(|error| unusable(format!("can't be reached: {error}")))?;
    let folder = absolute.parent().unwrap_or(Path::new("/")).to_owned();
    let stem = absolute.file_name().unwrap_or_default().to_string_lossy().into_owned();
    std::fs::create_dir_all(&folder).map_err(|error| unusable(format!("can't be made, since its folder can't: {error}")))?;
    sqlx::any::install_default_drivers();
    let options = url(&absolute).parse::<AnyConnectOptions>().map_err(|error| unusable(format!("has no usable path: {error}")))?;
    let options = options.disable_statement_logging();
    // By one connection first: a pool would try again and again, and then only say that it took too long.
    let first = async {
        let mut connection = AnyConnection::connect_with(&options).await?;
        connection.execute(MANNERS).await?;
        connection.execute(sync(durability)).await?;
        connection.close().await
    };
    first.await.map_err(|error| unusable(told(&error)))?;
    let pool = AnyPoolOptions::new().max_connections(CONNECTIONS).acquire_timeout(ACQUIRE).after_connect(move |connection, _| {
        Box::pin(async move {
            connection.execute(MANNERS).await?;
            connection.execute(sync(durability)).await.map(drop)
        })
    });
    let pool = pool.connect_with(options).await.map_err(|error| unusable(told(&error)))?;
    let pen = Some(Pen::new(absolute, durability));
    let store = Store { pool, pen, kind: Kind::Sqlite, place: place.clone(), folder, stem, ready: std::sync::Arc::default() };
    let ready = async {
        store.ready().await?;
        probe(&store.pool).await?;
        match durability {
            Durability::Process => Ok(()),
            Durability::Host => keep_names(&store.folder).map_err(|error| Failed::Broken(sqlx::Error::Io(error))),
        }
    };
    match ready.await {
        Ok(()) => Ok(store),
        Err(Failed::Broken(error)) => Err(unusable(told(&error))),
        Err(other) => Err(other),
    }
}

/// A file that can only be read is found by writing to it: SQLite opens it without a word.
async fn probe(pool: &AnyPool) -> Result<(), Failed> {
    sqlx::query("UPDATE key_versions SET version = version").execute(pool).await?;
    Ok(())
}

/// What an operator is told of a failure at the start.
fn told(error: &sqlx::Error) -> String {
    let said = match error {
        sqlx::Error::Database(error) => error.message().to_owned(),
        other => other.to_string(),
    };
    let hint = match () {
        () if said.contains("not a database") || said.contains("malformed") => "; move it away or name another in store.url",
        () if said.contains("readonly") => "; give this user the right to write it and its folder",
        () if said.contains("locked") => "; another process holds it",
        () if said.contains("unable to open") => "; check the path and the rights of its folder",
        () => "",
    };
    format!("can't be used: {said}{hint}")
}

/// `sqlite:///PATH?mode=rwc`, whatever characters the path has.
fn url(path: &Path) -> String {
    let mut url = "sqlite://".to_owned();
    for byte in path.as_os_str().as_encoded_bytes() {
        match byte {
            b'/' | b'-' | b'_' | b'.' | b'~' => url.push(char::from(*byte)),
            byte if byte.is_ascii_alphanumeric() => url.push(char::from(*byte)),
            byte => url.push_str(&format!("%{byte:02X}")),
        }
    }
    url + "?mode=rwc"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_path_is_a_url() {
        assert_eq!(url(Path::new("/a b/c%d.db")), "sqlite:///a%20b/c%25d.db?mode=rwc");
    }
}
