//! Who asks: extractors, so that a handler without authorisation does not compile.

use std::future::{Ready, ready};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use actix::Addr;
use actix_web::dev::Payload;
use actix_web::error::InternalError;
use actix_web::http::{Method, header};
use actix_web::{FromRequest, HttpRequest};
use futures_util::future::{Either, LocalBoxFuture};

use super::body::{taken, unread};
use super::error::Error;
use super::respond::REQUEST_ID;
use super::session;
use crate::access::{Digest, Entry, Principal, TooMany, VirtualKey, is_issued, same_secret};
use crate::actors::Reloader;
use crate::base::{Moment, Secret, is_request_id};
use crate::dialect::Wire;
use crate::proxy::headers::text;
use crate::proxy::{Desk, Worker};
use crate::telemetry;

// Ready as names: looking one up by its text would check and copy it in each request.
static X_API_KEY: header::HeaderName = header::HeaderName::from_static("x-api-key");
static X_GOOG_API_KEY: header::HeaderName = header::HeaderName::from_static("x-goog-api-key");

/// A caller's head is no longer than this. What is behind it is read all the same, up to what actix-http takes.
const MOST_OF_A_HEAD: usize = 16 << 10;
/// The status of whoever sends too many wrong keys: each of those has its place in the metrics, none a line of its own.
const TOO_MANY: u16 = 429;

/// Anyone: what a path without a key has.
pub(super) struct Visitor {
    /// The worker that was asked.
    pub(super) worker: Rc<Worker>,
    /// The request's id: the caller's own where it is harmless.
    pub(super) id: String,
    /// Whether that is the caller's own.
    pub(super) callers_id: bool,
    /// When the request's head had come.
    pub(super) started: Moment,
    /// In whose words it is answered.
    pub(super) wire: Wire,
}

/// A caller who may come in.
pub(super) struct Caller {
    /// The request.
    pub(super) visitor: Visitor,
    /// Who it is.
    pub(super) principal: Principal,
    /// The request's body, where it had to be kept while the key was looked up.
    pub(super) body: Option<Payload>,
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
/// Whether someone is let in: known at once, or once the store was asked or a body taken that nobody reads.
type Admission<T> = Either<Ready<Result<T, Refused>>, LocalBoxFuture<'static, Result<T, Refused>>>;

impl Visitor {
    fn new(request: &HttpRequest) -> Self {
        // The app factory puts it there before the first request: see app.rs.
        let worker = request.app_data::<Rc<Desk>>().expect("every app has its desk").worker();
        let own = request.headers().get(&REQUEST_ID).filter(|id| is_request_id(id.as_bytes()));
        let callers_id = own.is_some();
        let id = own.and_then(|id| id.to_str().ok()).map_or_else(|| worker.request_id(), str::to_owned);
        let started = worker.gateway.clock.now();
        let wire = spoken(request);
        Self { worker, id, callers_id, started, wire }
    }

    fn admit(self, principal: Result<Principal, Error>, request: &HttpRequest, payload: &mut Payload) -> Admission<Caller> {
        match principal {
            Ok(principal) => self.enter(request, payload, |visitor| Caller { visitor, principal, body: None }),
            Err(error) => self.refuse(error, request, payload.take()),
        }
    }

    /// Comes in as what it is. What asks without a body is answered without reading one: whoever sends one all the same has to end it
    /// first, as nobody's body holds its connection for as long as its sender likes.
    fn enter<T: 'static>(self, request: &HttpRequest, payload: &mut Payload, who: impl FnOnce(Self) -> T + 'static) -> Admission<T> {
        let is_read = !matches!(*request.method(), Method::GET | Method::HEAD | Method::DELETE);
        if is_read || matches!(payload, Payload::None) {
            return Either::Left(ready(Ok(who(self))));
        }
        let (request, mut payload) = (request.clone(), payload.take());
        Either::Right(Box::pin(async move {
            if taken(&self.worker, &request, &mut payload).await {
                return Ok(who(self));
            }
            Err(self.refused(Error::body_unread(), &request, payload).await)
        }))
    }

    /// Counts a key that isn't known here by where it came from.
    fn knock(&self, from: Option<SocketAddr>) -> Result<(), Error> {
        let (gateway, Some(from)) = (&self.worker.gateway, from) else { return Ok(()) };
        gateway.strangers.knock(from.ip(), gateway.clock.now()).map_err(|TooMany { wait, news }| {
            if news {
                tracing::warn!(?from, "too many wrong keys from this address: it gets 429 for those, told here once a minute");
            }
            gateway.metrics.refuse(telemetry::Refused::WrongKeys);
            Error::too_many_wrong_keys(wait)
        })
    }

    /// How someone is refused whose key isn't known here.
    pub(super) fn stranger(&self, from: Option<SocketAddr>) -> Error {
        self.knock(from).err().unwrap_or_else(Error::no_key)
    }

    fn refuse<T>(self, error: Error, request: &HttpRequest, payload: Payload) -> Admission<T> {
        let request = request.clone();
        Either::Right(Box::pin(async move { Err(self.refused(error, &request, payload).await) }))
    }

    async fn refused(self, error: Error, request: &HttpRequest, payload: Payload) -> Refused {
        self.worker.gateway.metrics.request(telemetry::metrics::UNKNOWN_MODEL, error.status(), false, std::time::Duration::ZERO);
        self.worker.gateway.metrics.error(error.label());
        if error.status() != TOO_MANY {
            tracing::info!(request_id = %self.id, status = error.status(), error = error.label(), "request refused");
        }
        let response = error.response_in(self.wire, &self.id);
        InternalError::from_response(error.label(), unread(response, &self.worker, request, payload).await)
    }
}

impl FromRequest for Visitor {
    type Error = Refused;
    type Future = Admission<Self>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        Self::new(request).enter(request, payload, |visitor| visitor)
    }
}

impl FromRequest for Caller {
    type Error = Refused;
    type Future = Admission<Self>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let visitor = Visitor::new(request);
        if head_size(request) > MOST_OF_A_HEAD {
            return visitor.refuse(Error::head_too_large(MOST_OF_A_HEAD), request, payload.take());
        }
        if visitor.worker.is_open() {
            let principal = if loopback_host(request) { Ok(Principal::open()) } else { Err(Error::host_not_allowed()) };
            return visitor.admit(principal, request, payload);
        }
        let sent = bearer(request).or_else(|| api_key(request));
        let from = request.peer_addr();
        let Some(sent) = sent else {
            let refusal = visitor.stranger(from);
            return visitor.refuse(refusal, request, payload.take());
        };
        let digest = Digest::of(sent);
        let principal = match known(&visitor.worker, &digest) {
            Known::Key(key) => Ok(Principal::from(key)),
            Known::Nobodys if is_issued(sent) && visitor.worker.gateway.archive.is_some() => match visitor.knock(from) {
                Ok(()) => return Either::Right(Box::pin(looked_up(visitor, digest, request.clone(), payload.take()))),
                // Whoever sends too many isn't worth a look, nor a place among those who wait for one.
                Err(too_many) => Err(too_many),
            },
            Known::Ended | Known::Nobodys => Err(visitor.stranger(from)),
        };
        visitor.admit(principal, request, payload)
    }
}

/// Whose a key is, as far as this gateway knows without asking.
enum Known {
    Key(Arc<VirtualKey>),
    Ended,
    Nobodys,
}

fn known(worker: &Worker, digest: &Digest) -> Known {
    let wall = || worker.gateway.clock.wall();
    let known = |entry: &Entry| entry.at(wall).map_or(Known::Ended, |key| Known::Key(Arc::clone(key)));
    if let Some(entry) = worker.edition.keys.find(digest) {
        return known(entry);
    }
    let stored = worker.gateway.archive.as_ref().map(|archive| archive.keys.known());
    stored.and_then(|stored| stored.ring.find(digest).map(known)).unwrap_or(Known::Nobodys)
}

/// A key that some gateway has made, perhaps just now: the store knows. It was counted as a wrong one.
async fn looked_up(visitor: Visitor, digest: Digest, request: HttpRequest, mut body: Payload) -> Result<Caller, Refused> {
    let gateway = &visitor.worker.gateway;
    let Some(archive) = &gateway.archive else { return Err(visitor.refused(Error::no_key(), &request, body).await) };
    archive.keys.look().await;
    let principal = match known(&visitor.worker, &digest) {
        Known::Key(key) => Ok(Principal::from(key)),
        Known::Ended => Err(Error::no_key()),
        Known::Nobodys if archive.keys.known().answers => Err(Error::no_key()),
        // Who can't be asked has not said no.
        Known::Nobodys => Err(Error::keys_unknown()),
    };
    let wrong = principal.as_ref().is_err_and(|error| error.status() == 401);
    if let Some(from) = request.peer_addr().filter(|_| !wrong) {
        gateway.strangers.forgive(from.ip());
    }
    match principal {
        Ok(principal) => {
            let caller = visitor.enter(&request, &mut body, |visitor| Caller { visitor, principal, body: None }).await?;
            Ok(Caller { body: Some(body), ..caller })
        }
        Err(error) => Err(visitor.refused(error, &request, body).await),
    }
}

impl FromRequest for Admin {
    type Error = Refused;
    type Future = Admission<Self>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let visitor = Visitor::new(request);
        // The app factory puts it there, as it does the desk.
        let reloader = request.app_data::<Addr<Reloader>>().expect("every app has the reloader").clone();
        match operator(request, &visitor) {
            Ok(()) => {
                let peer = request.peer_addr();
                visitor.enter(request, payload, move |visitor| Self { visitor, reloader, peer })
            }
            Err(error) => {
                let (method, path) = (request.method(), request.path());
                if error.status() != TOO_MANY {
                    tracing::warn!(request_id = %visitor.id, peer = ?request.peer_addr(), %method, ?path, "admin plane: refused");
                }
                visitor.refuse(error, request, payload.take())
            }
        }
    }
}

impl Admin {
    /// Puts an action on record: who did what to what, and whether it was done.
    pub(super) fn audit(&self, action: &str, object: &str, status: impl Into<u16>) {
        let status = status.into();
        tracing::warn!(request_id = %self.visitor.id, peer = ?self.peer, ?action, ?object, status, "admin plane");
    }
}

/// The admin key in force, if there is one.
pub(super) fn admin_key(worker: &Worker) -> Option<&Secret> {
    worker.edition.settings.admin.key.as_ref().or(worker.gateway.admin_key.as_ref())
}

/// Whether the request has the admin key, or a session that was begun with it.
fn operator(request: &HttpRequest, visitor: &Visitor) -> Result<(), Error> {
    let worker = &visitor.worker;
    let key = admin_key(worker).ok_or_else(Error::no_admin_key)?;
    // A key that was sent decides, good or bad; only without one may a browser's session do.
    let known = match request.headers().contains_key(header::AUTHORIZATION) {
        true => bearer(request).is_some_and(|sent| same_secret(key.expose().as_bytes(), sent)),
        false => session::admits(request, worker, key)?,
    };
    if known { Ok(()) } else { Err(visitor.stranger(request.peer_addr())) }
}

impl FromRequest for Scraper {
    type Error = Refused;
    type Future = Admission<Self>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let visitor = Visitor::new(request);
        let closed = visitor.worker.edition.settings.telemetry.metrics_need_admin;
        let may = if closed { operator(request, &visitor) } else { Ok(()) };
        match may {
            Ok(()) => visitor.enter(request, payload, |visitor| Self { visitor }),
            Err(error) => visitor.refuse(error, request, payload.take()),
        }
    }
}

/// The bytes of a request's head, without its first line's method and version.
fn head_size(request: &HttpRequest) -> usize {
    let fields = request.headers().iter().map(|(name, value)| name.as_str().len() + value.len() + ": \r\n".len());
    fields.sum::<usize>() + request.path().len() + request.query_string().len()
}

/// The dialect of a request, by its path: in its words a caller there is refused.
fn spoken(request: &HttpRequest) -> Wire {
    let path = request.path();
    let path = path.strip_prefix("/v1").unwrap_or(path);
    match path {
        "/messages" | "/messages/count_tokens" => Wire::Anthropic,
        "/responses" => Wire::Responses,
        _ if path.starts_with("beta/") => Wire::Gemini,
        // What is asked of a model by its path is Google's alone.
        _ if path.starts_with("/models/") && request.method() == Method::POST => Wire::Gemini,
        // A stream is one of any dialect: only the key's header tells whose client comes back to it.
        _ if path.starts_with("/streams/") => {
            let headers = request.headers();
            match headers.contains_key(header::AUTHORIZATION) {
                false if headers.contains_key(&X_API_KEY) => Wire::Anthropic,
                false if headers.contains_key(&X_GOOG_API_KEY) => Wire::Gemini,
                _ => Wire::OpenAi,
            }
        }
        // The list of models stands at the same path as OpenAI's: only the key's header tells whose SDK asks.
        _ if path == "/models" || path.starts_with("/models/") => {
            let headers = request.headers();
            let googles = headers.contains_key(&X_GOOG_API_KEY) && !headers.contains_key(header::AUTHORIZATION);
            if googles { Wire::Gemini } else { Wire::OpenAi }
        }
        _ => Wire::OpenAi,
    }
}

/// The key of the header by which a dialect's own SDKs send it, where no other was sent.
fn api_key(request: &HttpRequest) -> Option<&[u8]> {
    let name = match spoken(request) {
        Wire::OpenAi | Wire::Responses => return None,
        Wire::Anthropic => &X_API_KEY,
        Wire::Gemini => &X_GOOG_API_KEY,
    };
    if request.headers().contains_key(header::AUTHORIZATION) {
        return None;
    }
    let mut keys = request.headers().get_all(name);
    let key = keys.next()?.as_bytes();
    keys.next().is_none().then(|| key.trim_ascii())
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

/// Whether nothing stands behind a host's name, or a port.
fn is_port(text: &str) -> bool {
    text.strip_prefix(':').map_or(text.is_empty(), |port| port.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Whether the Host is a name of this machine's own: a page elsewhere can make a browser call a local port, but not with
/// such a Host unless its user opened it so.
fn loopback_host(request: &HttpRequest) -> bool {
    let Some(host) = text(request.headers(), &header::HOST) else { return false };
    // As nearly everyone writes it.
    if ["127.0.0.1", "localhost"].iter().any(|own| host.strip_prefix(own).is_some_and(is_port)) {
        return true;
    }
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    name.eq_ignore_ascii_case("localhost") || name.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}
