//! /admin/session: a browser's way into the operator's plane. The admin key is sent once and answered by a cookie that no
//! script can read and that stands for a session in memory; a restart ends them all.
//!
//! A cookie comes along with every request of its site, and every port of a host is the same site: so a session reads only
//! for the gateway's own page, and changes something only with a token that no other page can read.

use actix_web::http::header::{self, HeaderName, HeaderValue};
use actix_web::http::{Method, StatusCode};
use actix_web::{HttpRequest, HttpResponse, web};
use serde::Deserialize;
use serde_json::json;

use super::auth::{Visitor, admin_key};
use super::body::{read_json_up_to, unread};
use super::error::Error;
use super::respond::json;
use super::secure::is_over_tls;
use crate::access::{Sessions, same_secret, session_token};
use crate::base::{Moment, Secret, written_date};
use crate::clock::random_key;
use crate::proxy::Worker;
use crate::proxy::headers::text;

static TOKEN: HeaderName = HeaderName::from_static("x-stagedoor-csrf");
static SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
/// Where the gateway's own page has its paths, as the browser sees them: a proxy may have put a prefix before ours.
static BASE: HeaderName = HeaderName::from_static("x-stagedoor-base");

/// A login is no longer than this.
const LONGEST: usize = 4_096;
/// Nor a path before ours than this.
const LONGEST_BASE: usize = 256;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Login {
    key: String,
}

/// Whether a request's cookie stands for a session. One that may not do what it wants is refused.
pub(super) fn admits(request: &HttpRequest, worker: &Worker, key: &Secret) -> Result<bool, Error> {
    let Some((id, _)) = session(request, worker, key) else { return Ok(false) };
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    let sent = request.headers().get(&TOKEN).map_or(&b""[..], HeaderValue::as_bytes);
    if is_foreign(request) || !reads && !same_secret(session_token(&id).as_bytes(), sent) {
        return Err(Error::not_the_page());
    }
    Ok(true)
}

/// Whether the browser says that a page of another origin asks.
fn is_foreign(request: &HttpRequest) -> bool {
    text(request.headers(), &SITE).is_some_and(|site| !matches!(site, "same-origin" | "none"))
}

/// The session that a request's cookie stands for, and until when it lasts.
pub(super) fn session(request: &HttpRequest, worker: &Worker, key: &Secret) -> Option<(Secret, Moment)> {
    let id = cookie(request)?;
    let sessions = worker.gateway.sessions.lock().ok()?;
    let until = sessions.lasts(&id, key, worker.gateway.clock.now())?;
    Some((id, until))
}

/// The cookie's name: of its own for each port, as cookies know none and two gateways of a host have two.
fn name(request: &HttpRequest) -> String {
    let host = text(request.headers(), &header::HOST).unwrap_or_default();
    let port = host.rsplit_once(':').map_or("", |(_, port)| port);
    if !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) {
        format!("stagedoor-session-{port}")
    } else {
        "stagedoor-session".to_owned()
    }
}

/// What was sent as the session's cookie.
fn cookie(request: &HttpRequest) -> Option<Secret> {
    let name = name(request);
    let sent = request.headers().get_all(header::COOKIE).filter_map(|line| line.to_str().ok());
    let mut pairs = sent.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(known, _)| *known == name).map(|(_, value)| Secret::new(value))
}

/// Puts a cookie into an answer; `seconds` of 0 takes it away.
fn set_cookie(response: &mut HttpResponse, request: &HttpRequest, value: &str, seconds: u64) {
    // The browser's own word for how its page was reached; a TLS proxy in front may speak plainly with us.
    let is_tls = is_over_tls(request) || text(request.headers(), &header::ORIGIN).is_some_and(|origin| origin.starts_with("https://"));
    let secure = if is_tls { "; Secure" } else { "" };
    let base = text(request.headers(), &BASE).filter(|base| is_base(base)).unwrap_or("/");
    let line = format!("{}={value}; Path={base}admin; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}", name(request));
    if let Ok(line) = HeaderValue::from_str(&line) {
        response.headers_mut().append(header::SET_COOKIE, line);
    }
}

/// Whether a cookie's path can begin so: nothing in it ends the path, or the line.
fn is_base(base: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'-' | b'_' | b'.' | b'~' | b'%');
    base.len() <= LONGEST_BASE && base.starts_with('/') && base.ends_with('/') && base.bytes().all(plain)
}

/// GET: whether there is a session, and its token; to anyone, as the page asks before it knows.
pub(super) async fn show(visitor: Visitor, request: HttpRequest) -> HttpResponse {
    let worker = &visitor.worker;
    let key = admin_key(worker);
    let found = key.filter(|_| !is_foreign(&request)).and_then(|key| session(&request, worker, key));
    let answer = match &found {
        Some((id, until)) => opened(worker, id, *until),
        None => json!({ "signed_in": false, "admin_key": key.is_some() }),
    };
    json(StatusCode::OK, &visitor.id, &answer)
}

fn opened(worker: &Worker, id: &Secret, until: Moment) -> serde_json::Value {
    let until = written_date(worker.gateway.clock.wall_at(until));
    json!({ "signed_in": true, "admin_key": true, "csrf": session_token(id), "until": until })
}

/// POST: begins a session, for who sends the admin key.
pub(super) async fn begin(visitor: Visitor, request: HttpRequest, payload: web::Payload) -> HttpResponse {
    let worker = &visitor.worker;
    let mut payload = payload.into_inner();
    let login = match read_json_up_to(LONGEST, worker, &request, &mut payload).await {
        Ok(body) => serde_json::from_slice::<Login>(&body).map_err(|_| Error::bad_parameter("key", r#"Send {"key": ADMIN_KEY}."#)),
        Err(error) => return unread(error.response(&visitor.id), worker, &request, payload).await,
    };
    let peer = request.peer_addr();
    let key = admin_key(worker).ok_or_else(Error::no_admin_key);
    let known = key.and_then(|key| {
        let sent = login?.key;
        if is_foreign(&request) {
            return Err(Error::not_the_page());
        }
        if same_secret(key.expose().as_bytes(), sent.trim().as_bytes()) { Ok(key) } else { Err(visitor.stranger(peer)) }
    });
    let key = match known {
        Ok(key) => key,
        Err(error) => {
            tracing::warn!(request_id = %visitor.id, ?peer, status = error.status(), "admin plane: login refused");
            return error.response(&visitor.id);
        }
    };
    tracing::warn!(request_id = %visitor.id, ?peer, "admin plane: login");
    let (id, now) = (random_key(), worker.gateway.clock.now());
    if let Ok(mut sessions) = worker.gateway.sessions.lock() {
        sessions.begin(&id, key, now);
    }
    let mut response = json(StatusCode::CREATED, &visitor.id, &opened(worker, &id, now.plus(Sessions::LASTS)));
    set_cookie(&mut response, &request, id.expose(), Sessions::LASTS.as_secs());
    response
}

/// DELETE: ends the session.
pub(super) async fn end(visitor: Visitor, request: HttpRequest) -> HttpResponse {
    let worker = &visitor.worker;
    if let Some(key) = admin_key(worker)
        && let Some((id, _)) = session(&request, worker, key)
    {
        if let Err(error) = admits(&request, worker, key) {
            return error.response(&visitor.id);
        }
        if let Ok(mut sessions) = worker.gateway.sessions.lock() {
            sessions.end(&id);
        }
        tracing::warn!(request_id = %visitor.id, peer = ?request.peer_addr(), "admin plane: logout");
    }
    let mut response = json(StatusCode::OK, &visitor.id, &json!({ "signed_in": false, "admin_key": true }));
    set_cookie(&mut response, &request, "", 0);
    response
}
