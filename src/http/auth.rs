//! Who asks: extractors, so that a handler without authorisation does not compile.

use std::future::{Ready, ready};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use actix::Addr;
use actix_web::dev::Payload;
use actix_web::error::InternalError;
use actix_web::http::header;
use actix_web::{FromRequest, HttpRequest};

use super::body::unread;
use super::error::Error;
use super::respond::REQUEST_ID;
use crate::access::{Principal, same_secret};
use crate::actors::Reloader;
use crate::base::{Moment, is_request_id};
use crate::proxy::headers::text;
use crate::proxy::{Desk, Worker};

/// Anyone: what a path without a key has.
pub(super) struct Visitor {
    /// The worker that was asked.
    pub(super) worker: Rc<Worker>,
    /// The request's id: the caller's own where it is harmless.
    pub(super) id: String,
    /// When the request's head had come.
    pub(super) started: Moment,
}

/// A caller who may come in.
pub(super) struct Caller {
    /// The request.
    pub(super) visitor: Visitor,
    /// Who it is.
    pub(super) principal: Principal,
}

/// The operator.
pub(super) struct Admin {
    /// The request.
    pub(super) visitor: Visitor,
    /// Who reads the settings again.
    pub(super) reloader: Addr<Reloader>,
    peer: Option<SocketAddr>,
}

/// Whoever may scrape.
pub(super) struct Scraper {
    /// The request.
    pub(super) visitor: Visitor,
}

/// The answer to a request that isn't let in.
type Refused = InternalError<&'static str>;

impl Visitor {
    fn new(request: &HttpRequest) -> Self {
        // The app factory puts it there before the first request: see app.rs.
        let worker = request.app_data::<Rc<Desk>>().expect("every app has its desk").worker();
        let own = request.headers().get(&REQUEST_ID).filter(|id| is_request_id(id.as_bytes()));
        let id = own.and_then(|id| id.to_str().ok()).map_or_else(|| worker.request_id(), str::to_owned);
        let started = worker.gateway.clock.now();
        Self { worker, id, started }
    }

    fn refused(self, error: Error, payload: &mut Payload) -> Refused {
        self.worker.gateway.metrics.request(crate::telemetry::metrics::UNKNOWN_MODEL, error.status(), false, std::time::Duration::ZERO);
        tracing::info!(request_id = %self.id, status = error.status(), error = error.label(), "request refused");
        InternalError::from_response(error.label(), unread(error.response(&self.id), payload.take()))
    }
}

impl FromRequest for Visitor {
    type Error = Refused;
    type Future = Ready<Result<Self, Refused>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(Ok(Self::new(request)))
    }
}

impl FromRequest for Caller {
    type Error = Refused;
    type Future = Ready<Result<Self, Refused>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let visitor = Visitor::new(request);
        let edition = &visitor.worker.edition;
        let principal = if edition.open {
            if loopback_host(request) { Ok(Principal::open()) } else { Err(Error::host_not_allowed()) }
        } else {
            let entry = bearer(request).and_then(|key| edition.keys.find(key));
            let key = entry.and_then(|entry| entry.at(|| visitor.worker.gateway.clock.wall()));
            key.map(|key| Principal::from(Arc::clone(key))).ok_or_else(Error::no_key)
        };
        ready(match principal {
            Ok(principal) => Ok(Self { visitor, principal }),
            Err(error) => Err(visitor.refused(error, payload)),
        })
    }
}

impl FromRequest for Admin {
    type Error = Refused;
    type Future = Ready<Result<Self, Refused>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let visitor = Visitor::new(request);
        // The app factory puts it there, as it does the desk.
        let reloader = request.app_data::<Addr<Reloader>>().expect("every app has the reloader").clone();
        ready(match operator(request, &visitor.worker) {
            Ok(()) => Ok(Self { visitor, reloader, peer: request.peer_addr() }),
            Err(error) => {
                let (method, path) = (request.method(), request.path());
                tracing::warn!(request_id = %visitor.id, peer = ?request.peer_addr(), %method, ?path, "admin plane: refused");
                Err(visitor.refused(error, payload))
            }
        })
    }
}

impl Admin {
    /// Puts an action on record: who did what to what, and whether it was done.
    pub(super) fn audit(&self, action: &str, object: &str, status: impl Into<u16>) {
        let status = status.into();
        tracing::warn!(request_id = %self.visitor.id, peer = ?self.peer, ?action, ?object, status, "admin plane");
    }
}

/// Whether the request has the admin key.
fn operator(request: &HttpRequest, worker: &Worker) -> Result<(), Error> {
    let key = worker.edition.settings.admin.key.as_ref().or(worker.gateway.admin_key.as_ref()).ok_or_else(Error::no_admin_key)?;
    let known = bearer(request).is_some_and(|sent| same_secret(key.expose().as_bytes(), sent));
    if known { Ok(()) } else { Err(Error::no_key()) }
}

impl FromRequest for Scraper {
    type Error = Refused;
    type Future = Ready<Result<Self, Refused>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let visitor = Visitor::new(request);
        let closed = visitor.worker.edition.settings.telemetry.metrics_need_admin;
        let may = if closed { operator(request, &visitor.worker) } else { Ok(()) };
        ready(match may {
            Ok(()) => Ok(Self { visitor }),
            Err(error) => Err(visitor.refused(error, payload)),
        })
    }
}

/// The key of `Authorization: Bearer KEY`, the scheme in any case. Two such headers are none: whose would it be?
fn bearer(request: &HttpRequest) -> Option<&[u8]> {
    let mut headers = request.headers().get_all(header::AUTHORIZATION);
    let value = headers.next()?.as_bytes();
    if headers.next().is_some() {
        return None;
    }
    let (scheme, key) = value.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| key.trim_ascii())
}

/// Whether the Host is a name of this machine's own: a page elsewhere can make a browser call a local port, but not with
/// such a Host unless its user opened it so.
fn loopback_host(request: &HttpRequest) -> bool {
    let Some(host) = text(request.headers(), &header::HOST) else { return false };
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    name.eq_ignore_ascii_case("localhost") || name.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}
