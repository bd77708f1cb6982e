//! Where the gateway listens, and the HTTP server that it has there: the plain door, or the one with TLS.

use std::any::Any;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix::Addr;
use actix_web::dev::{Extensions, Server};
use actix_web::{App as WebApp, HttpServer};
use socket2::SockRef;

use super::CantRun;
use crate::actors::Reloader;
use crate::http::{self, Door, Farewell, Plane};
use crate::proxy::{self, Desk, Gateway, Names, SystemNames, acceptable};
use crate::settings::Settings;

/// Connections that may wait to be accepted.
const BACKLOG: u32 = 4096;
/// SDK pools keep their sockets longer than actix's 5 s.
const KEEP_ALIVE: Duration = Duration::from_secs(75);
/// actix-http reads its clock twice a second, and for a head whose time is over as it begins it waits for ever: no time is shorter.
const LEAST_PATIENCE: Duration = Duration::from_millis(600);

/// Whether the gateway could listen where the settings say: the key that is wrong, and why. An address that is taken will do,
/// for whoever asks may well stand beside the gateway that the settings are of.
///
/// # Errors
/// Where the machine has no such address, or doesn't give it.
pub fn can_listen(settings: &Settings) -> Result<(), (&'static str, CantRun)> {
    let taken = |error: &CantRun| matches!(error, CantRun::Bind { source, .. } if source.kind() == std::io::ErrorKind::AddrInUse);
    let free = |host: &str, port| at(host, port, bound).map(drop).or_else(|error| if taken(&error) { Ok(()) } else { Err(error) });
    free(&settings.server.host, settings.server.port).map_err(|error| ("server.host", error))?;
    let Some((host, port)) = settings.admin.listen.rsplit_once(':') else { return Ok(()) };
    free(host, port.parse().unwrap_or_default()).map_err(|error| ("admin.listen", error))
}

pub(super) fn bind(host: &str, port: u16) -> Result<TcpListener, CantRun> {
    at(host, port, |address| {
        let socket = bound(address)?;
        socket.listen(BACKLOG as i32)?;
        Ok(socket.into())
    })
}

/// The first of a host's addresses where it can be done.
fn at<T>(host: &str, port: u16, open: impl Fn(SocketAddr) -> std::io::Result<T>) -> Result<T, CantRun> {
    let failed = |source| CantRun::Bind { address: format!("{host}:{port}"), source };
    let host = host.trim_matches(['[', ']']);
    let addresses = SystemNames.resolve(host, port).map_err(failed)?;
    let mut last = std::io::Error::from(std::io::ErrorKind::AddrNotAvailable);
    for address in addresses {
        match open(address) {
            Ok(opened) => return Ok(opened),
            Err(error) => last = error,
        }
    }
    Err(failed(last))
}

fn bound(address: SocketAddr) -> std::io::Result<socket2::Socket> {
    let socket = socket2::Socket::new(socket2::Domain::for_address(address), socket2::Type::STREAM, Some(socket2::Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

/// The server of a plane, with its workers.
pub(super) fn serve(gateway: &Arc<Gateway>, reloader: &Addr<Reloader>, plane: Plane, listener: TcpListener) -> Result<Server, CantRun> {
    let edition = gateway.edition.load();
    let server = &edition.settings.server;
    let workers = match server.workers {
        _ if plane == Plane::Admin => 1,
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        some => some,
    };
    let (shared, reloader) = (Arc::clone(gateway), reloader.clone());
    let app = move || {
        let desk = Rc::new(Desk::new(Arc::clone(&shared)));
        proxy::probe(&desk);
        proxy::tidy(&desk);
        WebApp::new().app_data(desk).app_data(reloader.clone()).configure(|app| http::configure(app, plane))
    };
    let accepting = Arc::clone(gateway);
    let patience = server.header_timeout.max(LEAST_PATIENCE);
    let door = door(gateway, workers, patience);
    // The app with a layer is one of another type.
    macro_rules! listening {
        ($app:expr) => {{
            if let Some(door) = door {
                return Ok(door.serve($app, listener)?);
            }
            HttpServer::new($app)
                .workers(workers)
                .backlog(BACKLOG)
                .keep_alive(KEEP_ALIVE)
                .client_request_timeout(patience)
                .h1_allow_half_closed(false)
                .tcp_nodelay(true)
                .shutdown_timeout(server.shutdown_grace.as_secs().max(1))
                .disable_signals()
                .max_connections(acceptable(workers))
                .on_connect(move |connection: &dyn Any, kept: &mut Extensions| {
                    kept.insert(accepting.pressure.connected());
                    kept.insert(Farewell::default());
                    if let Some(connection) = connection.downcast_ref() {
                        limit_sending(connection, accepting.edition.load().settings.server.send_timeout);
                    }
                })
                .listen(listener)?
                .run()
        }};
    }
    let origins = server.cors_origins.clone();
    // What a connection has said last holds for all layers below.
    Ok(match origins.is_empty() || plane == Plane::Admin {
        true => listening!(move || app().wrap_fn(http::heed)),
        false => listening!(move || app().wrap(http::cors(&origins)).wrap_fn(http::heed)),
    })
}

/// The door with TLS, where the settings have one.
fn door(gateway: &Arc<Gateway>, workers: usize, patience: Duration) -> Option<Door> {
    let edition = gateway.edition.load();
    let server = &edition.settings.server;
    let tls = server.tls.as_ref()?;
    Some(Door {
        gateway: Arc::clone(gateway),
        config: tls.config(),
        workers,
        backlog: BACKLOG,
        connections: acceptable(workers),
        keep_alive: KEEP_ALIVE,
        patience,
        grace: server.shutdown_grace.as_secs().max(1),
        prepare: |connection, gateway| {
            // A stream's last part would wait for the one before to be acknowledged.
            let _ = connection.set_nodelay(true);
            limit_sending(connection, gateway.edition.load().settings.server.send_timeout);
        },
    })
}

/// A client that takes nothing for this long is closed by the kernel, whatever waits for it.
fn limit_sending(connection: &tokio::net::TcpStream, limit: Duration) {
    if let Err(error) = SockRef::from(connection).set_tcp_user_timeout(Some(limit)) {
        tracing::debug!(%error, "TCP_USER_TIMEOUT can't be set: a client that stops reading is closed later");
    }
}
