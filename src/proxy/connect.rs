//! The TCP connector below awc: names, addresses and the one clock over both.
//!
//! Ours rather than awc's own for three reasons: a call must know whether its connection was fresh or reused (a close on a
//! reused one isn't the target's fault), a dead first address may not use up the whole connect time, and a name server that
//! hangs may not fill the blocking pool.

use std::cell::Cell;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use actix_service::Service;
use actix_tls::connect::{ConnectError, ConnectInfo, Connection};
use awc::http::Uri;
use futures_util::future::LocalBoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use super::socket::Socket;

/// Head start of an address before the next one is tried beside it (RFC 8305, section 5: 250 ms).
const HEAD_START: Duration = Duration::from_millis(250);

/// Look-ups under way at once for one provider on one worker; each holds a thread of the blocking pool until the system's
/// resolver gives up, however long after our own clock.
const LOOKUPS: usize = 2;

/// Who turns names into addresses. Called on the blocking pool.
pub trait Names: Send + Sync {
    /// All addresses of a host, in the order in which they are to be tried.
    ///
    /// # Errors
    /// Where the name can't be resolved.
    fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>>;
}

/// The system's resolver.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemNames;

impl Names for SystemNames {
    fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        Ok((host, port).to_socket_addrs()?.collect())
    }
}

/// What one call learns of its connection.
#[derive(Debug, Default)]
pub(super) struct Dialled {
    /// The time that name and connection may take.
    pub limit: Duration,
    /// A fresh connection was asked for.
    pub fresh: Cell<bool>,
    /// It stood, as far as TCP goes.
    pub connected: Cell<bool>,
}

tokio::task_local! {
    /// The call that is being polled.
    pub(super) static CALL: Rc<Dialled>;
}

/// The connector of one provider on one worker.
#[derive(Clone)]
pub(super) struct Dial {
    names: Arc<dyn Names>,
    lookups: Arc<Semaphore>,
}

impl Dial {
    /// With a resolver.
    pub(super) fn new(names: Arc<dyn Names>) -> Self {
        Self { names, lookups: Arc::new(Semaphore::new(LOOKUPS)) }
    }

    async fn connect(self, uri: Uri, port: u16, call: Option<Rc<Dialled>>) -> Result<Connection<Uri, Socket>, ConnectError> {
        let limit = call.as_ref().map_or(Duration::from_secs(10), |call| call.limit);
        let work = async {
            let addresses = self.addresses(uri.host().unwrap_or_default(), port).await?;
            race(addresses).await.map_err(ConnectError::Io)
        };
        let late = || ConnectError::Io(io::ErrorKind::TimedOut.into());
        let stream = tokio::time::timeout(limit, work).await.map_err(|_| late())??;
        stream.set_nodelay(true).map_err(ConnectError::Io)?;
        if let Some(call) = call {
            call.connected.set(true);
        }
        Ok(Connection::new(uri, Socket(stream)))
    }

    async fn addresses(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, ConnectError> {
        if let Ok(ip) = host.trim_matches(['[', ']']).parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(ip, port)]);
        }
        let unresolved = |error: io::Error| ConnectError::Resolver(Box::new(error));
        let closed = |_| ConnectError::Unresolved;
        let permit = Arc::clone(&self.lookups).acquire_owned().await.map_err(closed)?;
        let (names, host) = (Arc::clone(&self.names), host.to_owned());
        let lookup = actix_rt::task::spawn_blocking(move || {
            let found = names.resolve(&host, port);
            drop(permit);
            found
        });
        let found = lookup.await.map_err(|error| unresolved(io::Error::other(error)))?.map_err(unresolved)?;
        if found.is_empty() { Err(ConnectError::NoRecords) } else { Ok(found) }
    }
}

impl std::fmt::Debug for Dial {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Dial")
    }
}

/// The first address that answers; each has a head start before the next is tried beside it.
async fn race(addresses: Vec<SocketAddr>) -> io::Result<TcpStream> {
    let mut left = addresses.into_iter();
    let mut running = FuturesUnordered::new();
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    loop {
        match left.next() {
            Some(address) => running.push(TcpStream::connect(address)),
            None if running.is_empty() => return Err(last),
            None => {}
        }
        let ended = match left.len() {
            0 => running.next().await,
            _ => match tokio::time::timeout(HEAD_START, running.next()).await {
                Ok(ended) => ended,
                Err(_) => continue,
            },
        };
        match ended {
            Some(Ok(stream)) => return Ok(stream),
            Some(Err(error)) => last = error,
            None => {}
        }
    }
}

impl Service<ConnectInfo<Uri>> for Dial {
    type Response = Connection<Uri, Socket>;
    type Error = ConnectError;
    type Future = LocalBoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&self, info: ConnectInfo<Uri>) -> Self::Future {
        // awc dials inside the future of the call that needs the connection, so the call can be told.
        let call = CALL.try_with(Rc::clone).ok();
        if let Some(call) = &call {
            call.fresh.set(true);
        }
        let port = info.port();
        Box::pin(self.clone().connect(info.request().clone(), port, call))
    }
}
