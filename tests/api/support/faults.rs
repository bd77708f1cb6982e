//! A gateway whose first target, `p`, is at fault: with a healthy fallback behind it and with none; and what its witnesses
//! say of the fault.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use stagedoor::app::Parts;

use super::app::TestApp;
use super::upstream::{Upstream, answer, stream};

/// Short clocks and no waiting before a repeat, so that a test takes as long as its fault.
pub const SHORT: &str = "[timeouts]\nconnect = \"300ms\"\nfirst_byte = \"400ms\"\nfirst_token = \"400ms\"\nidle = \"400ms\"\n[retry]\nbackoff = \"0ms\"\n[stream]\nrecovery = \"error\"\n";

/// A `[providers.NAME]` table for an address.
pub fn provider_at(name: &str, base_url: &str, more: &str) -> String {
    format!("[providers.{name}]\ndialect = \"openai\"\nbase_url = \"{base_url}\"\nkeys = []\n{more}\n")
}

/// A healthy upstream: says `spare`, plain or as a stream.
pub fn healthy() -> Upstream {
    Upstream::by(|call| if call.text().contains(r#""stream":true"#) { stream(&["sp", "are"]) } else { answer("spare") })
}

/// The model `m`, served by the provider `p` alone.
pub fn alone(p: &str, more: &str) -> TestApp {
    alone_with(p, more, Parts::default())
}

/// As [`alone`], with parts of the test's own.
pub fn alone_with(p: &str, more: &str, parts: Parts) -> TestApp {
    let model = "[models.m]\ntargets = [{ provider = \"p\", model = \"up\" }]\n";
    TestApp::with(&format!("{more}\n{p}\n{model}"), &[], parts)
}

/// The model `m`, served by the provider `p` and, should that fail, by a healthy one.
pub fn spared(p: &str, more: &str) -> (TestApp, Upstream) {
    spared_with(p, more, Parts::default())
}

/// As [`spared`], with parts of the test's own.
pub fn spared_with(p: &str, more: &str, parts: Parts) -> (TestApp, Upstream) {
    let spare = healthy();
    let models = "[models.m]\ntargets = [{ provider = \"p\", model = \"up\" }]\nfailover = [\"spare\"]\n[models.spare]\ntargets = [{ provider = \"spare\", model = \"spare\" }]\n";
    let app = TestApp::with(&format!("{more}\n{p}\n{}\n{models}", spare.provider("spare")), &[], parts);
    (app, spare)
}

/// How many calls to `p` ended so.
pub fn attempts(app: &TestApp, outcome: &str) -> f64 {
    app.metric(&format!("stagedoor_attempts_total{{provider=\"p\",model=\"up\",outcome=\"{outcome}\"}}"))
}

/// The kind of the last failure of `p`.
pub fn last_error(app: &TestApp) -> String {
    app.health()["providers"]["p"]["last_error"]["kind"].as_str().unwrap_or_default().to_owned()
}

/// The breaker of `p`.
pub fn breaker(app: &TestApp) -> String {
    app.health()["providers"]["p"]["breaker"].as_str().unwrap_or_default().to_owned()
}

/// Nothing of what was begun is still held: no call in flight at `p`.
pub fn settled(app: &TestApp) {
    app.until("no call in flight", |app| app.metric("stagedoor_in_flight{provider=\"p\"}") == 0.0);
}

/// A plain call failed at `p` as `kind`, which was told in `status` and `code`, and each call counted once.
pub fn assert_failed(app: &TestApp, status: u16, code: &str, kind: &str) {
    let reply = app.chat("m");
    assert_eq!((reply.status, reply.code().as_str(), reply.whole), (status, code, true), "{}", reply.text());
    assert_eq!(reply.header("x-should-retry"), Some("false"));
    assert_eq!(last_error(app), kind, "{}", reply.text());
    let made: f64 = reply.header("x-stagedoor-attempts").unwrap().parse().unwrap();
    assert_eq!(attempts(app, "transient"), made);
    settled(app);
}

/// A plain call failed at `p` as `kind` and was answered by the healthy one.
pub fn assert_spared(app: &TestApp, kind: &str) {
    let reply = app.chat("m");
    assert_eq!((reply.status, reply.whole), (200, true), "{}", reply.text());
    assert_eq!((reply.content().as_str(), reply.header("x-stagedoor-provider")), ("spare", Some("spare")));
    assert_eq!(last_error(app), kind);
    assert!(attempts(app, "transient") >= 1.0);
    settled(app);
}

/// A streamed call failed at `p` before its first content and was answered by the healthy one.
pub fn assert_stream_spared(app: &TestApp, kind: &str) {
    let reply = app.stream("m");
    assert_eq!((reply.status, reply.whole, reply.terminals()), (200, true, 1), "{}", reply.text());
    assert_eq!((reply.words().as_str(), reply.header("x-stagedoor-provider")), ("spare", Some("spare")));
    assert_eq!(last_error(app), kind);
    settled(app);
}

/// A port of 127.0.0.1 at which nobody listens.
pub fn closed_port() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// Ends a connection with RST in place of FIN.
pub fn reset(stream: &TcpStream) {
    socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO)).unwrap();
}

/// An address that takes no connection and refuses none: a listener whose queue is full.
pub struct BlackHole {
    pub address: SocketAddr,
    _listener: socket2::Socket,
    _queued: Vec<TcpStream>,
}

impl BlackHole {
    pub fn new() -> Self {
        let listener = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        listener.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        listener.listen(1).unwrap();
        let address = listener.local_addr().unwrap().as_socket().unwrap();
        let patience = Duration::from_millis(100);
        let queued = std::iter::from_fn(|| TcpStream::connect_timeout(&address, patience).ok()).take(1_000).collect();
        Self { address, _listener: listener, _queued: queued }
    }
}
