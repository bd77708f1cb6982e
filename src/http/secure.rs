//! The door with TLS: connections begin with a handshake and then speak HTTP/1.1 as the plain door's do, under the same clocks.
//!
//! By hand where actix-web has a way of its own: that one offers HTTP/2 as soon as any crate of the build wants it, as awc does, and
//! has one certificate for good. Here each handshake takes what is in force; connections that were made stay as they are.

use std::cell::RefCell;
use std::fmt::Debug;
use std::io::{self, IoSlice};
use std::net::{SocketAddr, TcpListener};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use actix_http::error::DispatchError;
use actix_http::{HttpService, Protocol, Request, Response};
use actix_server::Server;
use actix_service::{IntoServiceFactory, ServiceFactory, ServiceFactoryExt, fn_service, map_config};
use actix_web::HttpRequest;
use actix_web::body::MessageBody;
use actix_web::dev::{AppConfig, Extensions};
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::farewell::Farewell;
use crate::proxy::{Connected, Gateway};

/// What a connection has to send its last bytes, as actix-web has it.
const LAST_BYTES: Duration = Duration::from_secs(1);
/// Of what someone sends in plain HTTP, so much is read, lest the answer be lost.
const PLAIN_BYTES: u64 = 64 * 1024;

/// How the door is kept.
#[derive(Clone)]
pub struct Door {
    /// What all workers share.
    pub gateway: Arc<Gateway>,
    /// What is in force at the start: also where a reload has none, since that waits for a restart.
    pub config: Arc<ServerConfig>,
    /// So many threads.
    pub workers: usize,
    /// So many connections may wait to be accepted.
    pub backlog: u32,
    /// So many may be open, by worker.
    pub connections: usize,
    /// A connection that is asked nothing is closed after this.
    pub keep_alive: Duration,
    /// For a handshake, and for a request's head.
    pub patience: Duration,
    /// For what is under way at the end, in seconds.
    pub grace: u64,
    /// What each connection's socket is told.
    pub prepare: fn(&TcpStream, &Gateway),
}

/// That a request came by TLS.
struct OverTls;

/// Whether a request came by TLS, up to this gateway.
pub(super) fn is_over_tls(request: &HttpRequest) -> bool {
    request.conn_data::<OverTls>().is_some()
}

impl Door {
    /// Listens there, for an app.
    ///
    /// # Errors
    /// Where the socket can't be used.
    pub fn serve<F, I, S, B>(self, app: F, listener: TcpListener) -> io::Result<Server>
    where
        F: Fn() -> I + Clone + Send + 'static,
        I: IntoServiceFactory<S, Request>,
        S: ServiceFactory<Request, Config = AppConfig> + 'static,
        S::Error: Into<actix_web::Error> + 'static,
        S::InitError: Debug,
        S::Response: Into<Response<B>> + 'static,
        S::Service: 'static,
        B: MessageBody + 'static,
    {
        let address = listener.local_addr()?;
        let builder = Server::build()
            .workers(self.workers)
            .backlog(self.backlog)
            .max_concurrent_connections(self.connections)
            .shutdown_timeout(self.grace)
            .disable_signals();
        let signal = builder.graceful_shutdown_signal();
        let factory = move || {
            let signal = signal.clone();
            let leaving = move || {
                let signal = signal.clone();
                async move { signal.notified().await }
            };
            let http = HttpService::build()
                .graceful_shutdown_signal(leaving)
                .keep_alive(self.keep_alive)
                .client_request_timeout(self.patience)
                .client_disconnect_timeout(LAST_BYTES)
                .h1_allow_half_closed(false)
                .local_addr(address)
                .secure()
                .on_connect_ext(|_: &Secured, kept: &mut Extensions| {
                    kept.insert(OverTls);
                    kept.insert(Farewell::default());
                });
            let app = app().into_factory().map_err(|error| error.into().error_response());
            let http = http.finish(map_config(app, |()| AppConfig::default()));
            let threshold = Rc::new(Threshold { config: RefCell::new(Arc::clone(&self.config)), door: self.clone() });
            fn_service(move |socket| {
                let threshold = Rc::clone(&threshold);
                async move { threshold.admit(socket).await }
            })
            .and_then(http)
        };
        Ok(builder.listen("stagedoor", listener, factory)?.run())
    }
}

/// The door as one worker keeps it.
struct Threshold {
    door: Door,
    /// What was in force last.
    config: RefCell<Arc<ServerConfig>>,
}

impl Threshold {
    async fn admit(&self, socket: TcpStream) -> Result<(Secured, Protocol, Option<SocketAddr>), DispatchError> {
        let counted = self.door.gateway.pressure.connected();
        (self.door.prepare)(&socket, &self.door.gateway);
        let peer = socket.peer_addr().ok();
        match tokio::time::timeout(self.door.patience, self.shake_hands(socket)).await {
            Ok(Ok(stream)) => Ok((Secured { stream, _counted: counted }, Protocol::Http1, peer)),
            Ok(Err(error)) => {
                tracing::debug!(?peer, %error, "no handshake");
                Err(DispatchError::Io(error))
            }
            Err(_) => Err(DispatchError::SlowRequestTimeout),
        }
    }

    async fn shake_hands(&self, socket: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let mut first = [0];
        // A handshake begins with no letter, every request in plain HTTP with one.
        if socket.peek(&mut first).await? == 1 && first[0].is_ascii_alphabetic() {
            return Err(send_away(socket).await);
        }
        TlsAcceptor::from(self.config()).accept(socket).await
    }

    fn config(&self) -> Arc<ServerConfig> {
        if let Some(tls) = &self.door.gateway.edition.load().settings.server.tls {
            self.config.replace(tls.config());
        }
        Arc::clone(&self.config.borrow())
    }
}

/// Tells someone who speaks plainly, and reads what they say until they leave.
async fn send_away(mut socket: TcpStream) -> io::Error {
    let body = r#"{"error":{"message":"This port speaks HTTPS only: write https:// in place of http://.","type":"invalid_request_error","param":null,"code":"tls_required"}}"#;
    let head = "HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\ncache-control: no-store\r\nconnection: close\r\n";
    let answer = format!("{head}content-length: {}\r\n\r\n{body}", body.len());
    let said = async {
        socket.write_all(answer.as_bytes()).await?;
        socket.shutdown().await?;
        tokio::io::copy(&mut socket.take(PLAIN_BYTES), &mut tokio::io::sink()).await
    };
    said.await.err().unwrap_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "plain HTTP on a port for TLS"))
}

/// A connection after its handshake.
struct Secured {
    stream: TlsStream<TcpStream>,
    _counted: Connected,
}

impl AsyncRead for Secured {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Secured {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
