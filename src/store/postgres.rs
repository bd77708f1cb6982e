//! PostgreSQL: one store for several gateways. A server that isn't there yet is no reason not to start: callers whose keys are
//! known are served, and rows wait in the journal.

use std::path::Path;
use std::time::Duration;

use sqlx::any::{AnyConnectOptions, AnyPoolOptions};
use sqlx::{ConnectOptions, Executor};

use super::text::Kind;
use super::{Failed, Store};
use crate::access::Digest;
use crate::base::Secret;
use crate::settings::Durability;

/// Connections of one gateway.
const CONNECTIONS: u32 = 8;
/// How long a connection is waited for.
const ACQUIRE: Duration = Duration::from_secs(3);

/// Makes ready to connect. The journal lies in `folder`: a server has none of ours.
pub(super) fn open(url: &Secret, folder: &Path, durability: Durability) -> Result<Store, Failed> {
    sqlx::any::install_default_drivers();
    let place = place(url.expose());
    // The parser's own message may show a part of the URL.
    let options = url.expose().parse::<AnyConnectOptions>();
    let options = options.map_err(|_| Failed::Unusable { place: place.clone(), what: "has no usable URL in store.url".to_owned() })?;
    let pool = AnyPoolOptions::new().max_connections(CONNECTIONS).acquire_timeout(ACQUIRE);
    let pool = match durability {
        // As the server is set.
        Durability::Process => pool,
        Durability::Host => {
            pool.after_connect(|connection, _| Box::pin(async move { connection.execute("SET synchronous_commit = on").await.map(drop) }))
        }
    };
    let pool = pool.connect_lazy_with(options.disable_statement_logging());
    let folder = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
    // Gateways of several databases may share a folder.
    let stem = format!("postgres-{}", &Digest::of(place.as_bytes()).to_hex()[..12]);
    Ok(Store { pool, pen: None, kind: Kind::Postgres, place, folder, stem, ready: std::sync::Arc::default() })
}

/// `postgres://HOST/DATABASE`.
fn place(url: &str) -> String {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let rest = rest.rsplit_once('@').map_or(rest, |(_, rest)| rest);
    format!("postgres://{}", rest.split('?').next().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_has_no_password() {
        assert_eq!(place("postgres://me:secret@h:5432/db?sslmode=require"), "postgres://h:5432/db");
        assert_eq!(place("postgres://h/db?password=secret"), "postgres://h/db");
    }
}
