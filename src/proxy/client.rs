//! The upstreams as one worker calls them: awc clients of each provider's own, so that no provider can use up
//! another's connections; or the simulated upstream, without a socket.
//!
//! awc is never trusted about the end of a body: see `attempt` and `body`. It follows no redirect (it would carry
//! `x-api-key` along), speaks HTTP/1.1 (its HTTP/2 doesn't notice a dead connection), and all clocks are ours.

mod failure;
mod head;

use std::borrow::Cow;
use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix_web::HttpMessage;
use actix_web::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use awc::SendClientRequest;
use awc::error::{FreezeRequestError, SendRequestError};
use awc::http::{Method, Uri, Version};
use bytes::Bytes;
use futures_util::stream::{self, Stream, StreamExt};

use self::failure::{closed, failure, in_body};
use self::head::Head;
use super::connect::{CALL, Dialled};
use super::form::Form;
use super::pool::{Pool, UnderWay};
use super::transport::Line;
use crate::dialect::Wire;
use crate::dialect::anthropic::VERSION;
use crate::dialect::azure::Azure;
use crate::health::Failure;
use crate::rehearsal::{ReplyBody, Simulator};
use crate::settings::{AuthScheme, Dialect, Invalid, Problem, Provider};

/// Calls repeated at once since their reused connection was closed as they used it; each closed one leaves the pool.
const STALE_REPEATS: u32 = 8;

// Ready as a name: looking it up by its text would check and copy it in each call.
static ANTHROPIC_VERSION: HeaderName = HeaderName::from_static("anthropic-version");

/// What the gateway calls itself.
pub const USER_AGENT: &str = concat!("stagedoor/", env!("CARGO_PKG_VERSION"));

/// A body as it comes. An end is only its end, not proof that it is whole.
pub(super) type Incoming = Pin<Box<dyn Stream<Item = Result<Bytes, Failure>>>>;

/// An upstream's answer.
pub struct Response {
    /// Its status.
    pub status: u16,
    /// What is read of its head.
    pub head: Head,
    /// Its body.
    pub body: Incoming,
    /// Whether the connection's end is the body's, as in HTTP/1.0.
    pub ends_by_closing: bool,
}

/// One call.
#[derive(Debug)]
pub struct Call<'a> {
    /// The path below the base URL.
    pub path: &'a str,
    /// The model, for those whose paths name it (Azure's deployments); empty where none is asked.
    pub model: &'a str,
    /// In place of the base URL's own path, where that isn't the one.
    pub base: Option<&'a str>,
    /// The body; with an empty one it is a GET.
    pub body: Bytes,
    /// A form in place of the body.
    pub form: Option<Form>,
    /// The key's place in the pool.
    pub key: Option<usize>,
    /// The caller's headers that pass.
    pub headers: &'a [(HeaderName, HeaderValue)],
    /// The time for name, connection and handshake.
    pub connect: Duration,
}

/// A provider as this worker calls it.
pub struct Upstream {
    transport: Transport,
    /// What it speaks.
    dialect: Dialect,
    /// Whether it speaks Responses besides.
    responses: bool,
    /// It refused the question for a stream's usage, or needn't be asked.
    keeps_usage: Cell<bool>,
}

enum Transport {
    Http(Box<Http>),
    Simulated(Simulator),
}

struct Http {
    pool: Rc<Pool>,
    /// Its number among the pool's callers.
    number: u64,
    dialect: Dialect,
    /// How it is addressed, where that is Azure's way.
    azure: Option<Azure>,
    base: String,
    /// Where chats are asked for, and the path of that: of a dialect whose path names the model, of none.
    chat: Uri,
    chat_path: Cow<'static, str>,
    auth: HeaderName,
    keys: Vec<HeaderValue>,
    headers: Vec<(HeaderName, HeaderValue)>,
    tls: bool,
}

/// A provider that can't be called as its settings say.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// Its base URL with a path isn't a URI.
    #[error("provider {0}: base_url is not a URL")]
    BaseUrl(String),
    /// A header or key can't be sent.
    #[error("provider {0}: a header or key holds characters that can't be sent")]
    Header(String),
    /// Its trust anchors can't be read.
    #[error("provider {0}: ca_file {1}: {2}; it must hold PEM certificates")]
    CaFile(String, String, String),
    /// TLS itself.
    #[error("TLS can't be set up: {0}")]
    Tls(String),
}

impl From<Unusable> for Invalid {
    fn from(error: Unusable) -> Self {
        let path = match &error {
            Unusable::BaseUrl(name) | Unusable::Header(name) | Unusable::CaFile(name, ..) => format!("providers.{name}"),
            Unusable::Tls(_) => "providers".to_owned(),
        };
        Self { problems: vec![Problem { file: String::new(), path, message: error.to_string() }] }
    }
}

/// The path of the list of models.
pub(super) const MODELS: &str = "/models";

impl Upstream {
    /// The simulated one.
    pub fn simulated(simulator: Simulator) -> Self {
        Self { transport: Transport::Simulated(simulator), dialect: Dialect::Rehearsal, responses: false, keeps_usage: Cell::default() }
    }

    /// What it speaks.
    pub(super) fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// Closes connections that nobody has used for a while.
    pub(super) fn tidy(&self) {
        if let Transport::Http(http) = &self.transport {
            http.pool.tidy();
        }
    }

    /// Whether it speaks what this caller does.
    pub(super) fn speaks(&self, caller: Wire) -> bool {
        self.dialect.wire() == caller || caller == Wire::Responses && self.responses
    }

    /// Whether it may be asked for a stream's usage.
    pub(super) fn tells_usage(&self) -> bool {
        !self.keeps_usage.get()
    }

    /// It refused that question; true where it was asked until now.
    pub(super) fn stop_asking_usage(&self) -> bool {
        !self.keeps_usage.replace(true)
    }

    /// It is asked again: what it refused was something else.
    pub(super) fn ask_usage_again(&self) {
        self.keeps_usage.set(false);
    }

    /// An HTTP one; with `before`'s connections where they are of the same line.
    ///
    /// # Errors
    /// Where the settings can't be turned into requests.
    pub(super) fn http(provider: &Provider, line: &Arc<Line>, before: Option<&Self>) -> Result<Self, Unusable> {
        let wrong = || Unusable::Header(provider.name.clone());
        let pool = match before.map(|before| &before.transport) {
            Some(Transport::Http(before)) if before.pool.is_of(line) => Rc::clone(&before.pool),
            _ => Rc::new(Pool::new(line)),
        };
        let dialect = provider.dialect;
        let (auth, prefix) = match (provider.auth, dialect) {
            (AuthScheme::Bearer, _) => (header::AUTHORIZATION, "Bearer "),
            (AuthScheme::ApiKey, Dialect::OpenAi | Dialect::Azure | Dialect::Rehearsal) => (HeaderName::from_static("api-key"), ""),
            (AuthScheme::ApiKey, Dialect::Anthropic) => (HeaderName::from_static("x-api-key"), ""),
            // Never in the URL, as Google's older examples have it: it would stand in every log on the way.
            (AuthScheme::ApiKey, Dialect::Gemini) => (HeaderName::from_static("x-goog-api-key"), ""),
        };
        let keys = provider.keys.iter().map(|key| {
            let mut value = HeaderValue::from_str(&format!("{prefix}{}", key.secret.expose())).map_err(|_| wrong())?;
            value.set_sensitive(true);
            Ok(value)
        });
        let headers = provider.headers.iter().map(|(name, value)| {
            let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| wrong())?;
            Ok((name, HeaderValue::from_str(value).map_err(|_| wrong())?))
        });
        let base = api_base(&provider.base_url, dialect);
        let chat_path = dialect.chat_path("", false);
        let http = Http {
            number: pool.caller(),
            pool,
            dialect,
            azure: (dialect == Dialect::Azure).then(|| Azure::new(&provider.base_url, provider.api_version.as_deref())),
            chat: format!("{base}{chat_path}").parse().map_err(|_| Unusable::BaseUrl(provider.name.clone()))?,
            chat_path,
            base,
            auth,
            keys: keys.collect::<Result<_, Unusable>>()?,
            headers: headers.collect::<Result<_, Unusable>>()?,
            tls: provider.base_url.starts_with("https:"),
        };
        // Only OpenAI's has to be asked.
        let keeps_usage = Cell::new(dialect.wire() != Wire::OpenAi || !provider.asks_usage);
        Ok(Self { transport: Transport::Http(Box::new(http)), dialect, responses: provider.responses, keeps_usage })
    }

    /// Makes a call; returns when the answer's head is there. The second value is how often a closed connection was reused.
    ///
    /// # Errors
    /// The failure, in our words.
    pub async fn call(&self, call: &Call<'_>) -> (Result<Response, Failure>, u32) {
        match &self.transport {
            Transport::Simulated(simulator) => (Ok(simulated(simulator, call).await), 0),
            Transport::Http(http) => {
                let mut stale = 0;
                loop {
                    let note = Rc::new(Dialled { limit: call.connect, ..Dialled::default() });
                    match CALL.scope(Rc::clone(&note), http.send(call)).await {
                        Err(error) if !note.fresh.get() && closed(&error) && stale < STALE_REPEATS => stale += 1,
                        Err(error) => return (Err(failure(&error, &note, http.tls)), stale),
                        Ok(response) => return (Ok(response), stale),
                    }
                }
            }
        }
    }
}

impl Http {
    async fn send(&self, call: &Call<'_>) -> Result<Response, SendRequestError> {
        let (sent, under_way) = if self.is_usual(call) { self.usual(call)? } else { self.other(call) };
        let mut response = self.pool.apart().run(sent).await?;
        let (status, head) = (response.status().as_u16(), Head::read(response.headers()));
        // The body alone: the head would keep its headers, and the buffer that they were read into, for as long as it flows.
        let body = response.take_payload();
        let body = body.map(move |piece| {
            let _until_its_end = &under_way;
            piece.map_err(|error| in_body(&error))
        });
        let ends_by_closing = response.version() < Version::HTTP_11;
        Ok(Response { status, head, ends_by_closing, body: Box::pin(body) })
    }

    /// A chat at the one address of all.
    fn is_usual(&self, call: &Call<'_>) -> bool {
        call.path == self.chat_path && !call.body.is_empty() && call.form.is_none() && call.base.is_none() && self.azure.is_none()
    }

    fn usual(&self, call: &Call<'_>) -> Result<(SendClientRequest, UnderWay), FreezeRequestError> {
        let head = |headers: &mut HeaderMap| {
            if let Some(host) = host(&self.chat) {
                headers.append(header::HOST, host);
            }
            headers.append(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
            self.head(headers, &[], call.key);
        };
        self.pool.usual((self.number, call.key), &self.chat, head, |request| {
            // The provider's own go before a caller's.
            let mut passing = call.headers.iter().filter(|(name, _)| self.headers.iter().all(|(own, _)| own != name)).peekable();
            if passing.peek().is_none() {
                return request.send_body(call.body.clone());
            }
            let passing = passing.map(|(name, value)| (name.clone(), value.clone()));
            request.extra_headers(passing.collect()).send_body(call.body.clone())
        })
    }

    fn other(&self, call: &Call<'_>) -> (SendClientRequest, UnderWay) {
        let uri = if let Some(azure) = &self.azure {
            azure.url(call.model, call.path).parse().unwrap_or_else(|_| self.chat.clone())
        } else if let Some(base) = call.base {
            format!("{}{base}{}", origin(&self.base), call.path).parse().unwrap_or_else(|_| self.chat.clone())
        } else if call.path == self.chat_path {
            self.chat.clone()
        } else {
            format!("{}{}", self.base, call.path).parse().unwrap_or_else(|_| self.chat.clone())
        };
        let method = if call.body.is_empty() && call.form.is_none() { Method::GET } else { Method::POST };
        let (mut request, under_way) = self.pool.request(method, uri);
        let headers = request.headers_mut();
        if let Some(form) = &call.form {
            headers.append(header::CONTENT_TYPE, form.content_type.clone());
        } else if !call.body.is_empty() {
            headers.append(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        self.head(headers, call.headers, call.key);
        let sent = match &call.form {
            Some(form) => request.send_body(form.body()),
            None => request.send_body(call.body.clone()),
        };
        (sent, under_way)
    }

    /// What all heads have: the caller's headers that pass, the provider's own, and the key.
    fn head(&self, headers: &mut HeaderMap, passing: &[(HeaderName, HeaderValue)], key: Option<usize>) {
        headers.append(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
        headers.append(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        if self.dialect == Dialect::Anthropic {
            headers.insert(ANTHROPIC_VERSION.clone(), HeaderValue::from_static(VERSION));
        }
        for (name, value) in passing.iter().chain(&self.headers) {
            headers.insert(name.clone(), value.clone());
        }
        if let Some(key) = key.and_then(|place| self.keys.get(place)) {
            headers.insert(self.auth.clone(), key.clone());
        }
    }
}

/// The `Host` of an address, as awc would write it in each call.
fn host(uri: &Uri) -> Option<HeaderValue> {
    let host = uri.host()?;
    match uri.port_u16() {
        None | Some(80 | 443) => HeaderValue::from_str(host).ok(),
        Some(port) => HeaderValue::from_str(&format!("{host}:{port}")).ok(),
    }
}

/// Where a dialect's paths begin. Anthropic's and Google's own SDKs are given the address without the version, others with it.
fn api_base(base_url: &str, dialect: Dialect) -> String {
    match dialect {
        Dialect::Anthropic if !base_url.ends_with("/v1") => format!("{base_url}/v1"),
        Dialect::Gemini if !base_url.contains("/v1") => format!("{base_url}/v1beta"),
        Dialect::Anthropic | Dialect::Gemini | Dialect::OpenAi | Dialect::Azure | Dialect::Rehearsal => base_url.to_owned(),
    }
}

/// A base URL without its path.
fn origin(base: &str) -> &str {
    let host = base.find("://").map_or(0, |scheme| scheme + 3);
    base[host..].find('/').map_or(base, |path| &base[..host + path])
}

async fn simulated(simulator: &Simulator, call: &Call<'_>) -> Response {
    let body = call.form.as_ref().map_or_else(|| call.body.clone(), Form::joined);
    let reply = simulator.call(call.path, body, None).await;
    let mut headers = HeaderMap::new();
    for (name, value) in reply.headers {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
    let body: Incoming = match reply.body {
        ReplyBody::Whole(bytes) => Box::pin(stream::iter([Ok(bytes)])),
        ReplyBody::Stream(stream) => Box::pin(stream.map(|piece| piece.map_err(|_| Failure::ResetInBody))),
    };
    Response { status: reply.status, head: Head::read(&headers), body, ends_by_closing: false }
}
