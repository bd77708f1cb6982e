//! Faults before an upstream has said a byte: no name, no connection, no certificate, a connection that ends. Rows 1 to 6, 9,
//! 10 and 18 of the fault catalogue.

use std::collections::HashSet;
use std::io;
use std::net::TcpListener;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::support::faults::{
    BlackHole, SHORT, alone, alone_with, assert_failed, assert_spared, assert_stream_spared, attempts, breaker, closed_port, last_error,
    provider_at, reset, settled, spared, spared_with,
};
use super::support::names::{Gate, names};
use super::support::tls::{Authority, Identity, TlsUpstream, self_signed};
use super::support::{TestApp, Upstream, answer};

fn refusing() -> String {
    provider_at("p", &format!("http://{}/v1", closed_port()), "")
}

#[test]
fn row_01_a_refused_connection_costs_next_to_nothing() {
    let (app, spare) = spared(&refusing(), SHORT);
    let took = (0..5).map(|_| {
        let begun = Instant::now();
        assert_spared(&app, "connect");
        begun.elapsed()
    });
    // The quickest: the others shared the machine with other tests. Two pages of witnesses are in it.
    assert!(took.min().unwrap() < Duration::from_millis(50));
    assert_eq!(spare.count(), 5);
    assert_stream_spared(&app, "connect");
}

#[test]
fn row_01_alone_it_is_told_and_the_provider_opens_at_five() {
    let app = alone(&refusing(), SHORT);
    assert_failed(&app, 502, "all_targets_failed", "connect");
    assert_eq!((attempts(&app, "transient"), breaker(&app).as_str()), (2.0, "closed"), "one repeat");
    for _ in 0..2 {
        assert_eq!(app.chat("m").status, 502);
    }
    app.until("open", |app| breaker(app) == "open");
    assert_eq!(app.metric("stagedoor_breaker_state{provider=\"p\",model=\"\"}"), 2.0, "the provider's own");
    assert_eq!(app.health()["providers"]["p"]["reason"], "consecutive_failures");
    // The last one's repeat may meet a closed gate: then it isn't made, and not counted.
    assert_eq!(app.metric("stagedoor_retries_total{reason=\"connect\"}"), attempts(&app, "transient") - 3.0);
}

#[test]
fn row_02_a_black_hole_is_left_at_the_connect_time() {
    let hole = BlackHole::new();
    let p = provider_at("p", &format!("http://{}/v1", hole.address), "");
    let (app, _spare) = spared(&p, SHORT);
    let begun = Instant::now();
    assert_spared(&app, "connect_timeout");
    let took = begun.elapsed();
    assert!(took >= Duration::from_millis(300) && took < Duration::from_millis(1_500), "{took:?}");
    assert_stream_spared(&app, "connect_timeout");

    let app = alone(&p, SHORT);
    assert_failed(&app, 504, "upstream_timeout", "connect_timeout");
    assert_eq!(attempts(&app, "transient"), 1.0, "a time-out is never repeated");
}

#[test]
fn row_03_a_name_that_is_not_there() {
    let p = provider_at("p", "http://nowhere.test:8080/v1", "");
    let unknown = || names(|_| Err(io::Error::other("failed to lookup address information: Name or service not known")));
    let (app, _spare) = spared_with(&p, SHORT, unknown());
    assert_spared(&app, "dns");
    assert_stream_spared(&app, "dns");
    assert_failed(&alone_with(&p, SHORT, unknown()), 502, "all_targets_failed", "dns");

    let empty = alone_with(&p, SHORT, names(|_| Ok(Vec::new())));
    assert_failed(&empty, 502, "all_targets_failed", "dns");
}

#[test]
fn row_03_a_resolver_that_hangs_slows_nobody_else() {
    let good = Upstream::answering(answer("quick"));
    let (gate, address) = (Gate::default(), good.address);
    let _opener = gate.opener();
    let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (held, most_seen) = (gate.clone(), Arc::clone(&most));
    let parts = names(move |host| {
        if host == "slow.test" {
            most_seen.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            held.wait();
            running.fetch_sub(1, Ordering::SeqCst);
        }
        Ok(vec![address])
    });
    let settings = format!(
        "[server]\nworkers = 1\n{SHORT}[breaker]\nconsecutive_failures = 1000\nminimum_requests = 1000\n{}{}[models.m]\ntargets = [{{ provider = \"p\", model = \"up\" }}]\n[models.other]\ntargets = [{{ provider = \"good\", model = \"up\" }}]\n",
        provider_at("p", "http://slow.test:80/v1", ""),
        provider_at("good", "http://good.test:80/v1", ""),
    );
    let app = TestApp::with(&settings, &[], parts);
    std::thread::scope(|scope| {
        let slow: Vec<_> = (0..40).map(|_| scope.spawn(|| app.chat("m"))).collect();
        app.until("a look-up hangs", |_| most.load(Ordering::SeqCst) > 0);
        for _ in 0..20 {
            let begun = Instant::now();
            assert_eq!(app.chat("other").content(), "quick");
            assert!(begun.elapsed() < Duration::from_millis(300), "{:?}", begun.elapsed());
        }
        for reply in slow {
            let reply = reply.join().unwrap();
            assert_eq!((reply.status, reply.code().as_str()), (504, "upstream_timeout"));
        }
    });
    assert_eq!(last_error(&app), "connect_timeout");
    assert!(most.load(Ordering::SeqCst) <= 2, "threads of the blocking pool that one provider holds");
    gate.open();
    settled(&app);
}

#[test]
fn row_04_the_second_address_serves_when_the_first_is_dead() {
    let upstream = Upstream::answering(answer("second"));
    let p = provider_at("p", "http://two.test:80/v1", "");
    let (hole, good) = (BlackHole::new(), upstream.address);
    for dead in [closed_port(), hole.address] {
        let app = alone_with(&p, "[timeouts]\nconnect = \"3s\"\n", names(move |_| Ok(vec![dead, good])));
        let begun = Instant::now();
        let reply = app.chat("m");
        assert_eq!((reply.status, reply.content().as_str()), (200, "second"), "{}", reply.text());
        assert!(begun.elapsed() < Duration::from_secs(3));
        assert_eq!(reply.header("x-stagedoor-attempts"), Some("1"));
        assert_eq!((attempts(&app, "ok"), attempts(&app, "transient"), last_error(&app).as_str()), (1.0, 0.0, ""));
    }
}

#[test]
fn row_05_a_good_certificate_of_a_trusted_authority_serves() {
    let authority = Authority::new();
    let upstream = TlsUpstream::start(authority.sign("localhost"));
    let at = upstream.address;
    let app = alone_with(&upstream.provider(&authority.trusted()), SHORT, names(move |_| Ok(vec![at])));
    for _ in 0..3 {
        let reply = app.chat("m");
        assert_eq!((reply.status, reply.content().as_str()), (200, "secure"), "{}", reply.text());
    }
    assert_eq!((upstream.served(), upstream.plain()), (3, 0));
}

fn never_trusted(identity: Identity, trusted: &str) {
    let upstream = TlsUpstream::start(identity);
    let at = upstream.address;
    let p = upstream.provider(trusted);
    let (app, _spare) = spared_with(&p, SHORT, names(move |_| Ok(vec![at])));
    assert_spared(&app, "tls");
    assert_eq!(breaker(&app), "open", "at once: a certificate stays wrong");
    assert_eq!(app.health()["providers"]["p"]["reason"], "hard_failure");
    assert_eq!(app.metric("stagedoor_breaker_transitions_total{provider=\"p\",model=\"\",to=\"open\",reason=\"hard_failure\"}"), 1.0);

    let app = alone_with(&p, SHORT, names(move |_| Ok(vec![at])));
    assert_failed(&app, 502, "all_targets_failed", "tls");
    assert_eq!(attempts(&app, "transient"), 1.0, "not repeated");
    assert_eq!((upstream.served(), upstream.plain()), (0, 0), "no request, and never without TLS");
}

#[test]
fn row_05_an_expired_certificate_is_refused() {
    let authority = Authority::new();
    never_trusted(authority.sign_expired("localhost"), &authority.trusted());
}

#[test]
fn row_05_another_hosts_certificate_is_refused() {
    let authority = Authority::new();
    never_trusted(authority.sign("elsewhere.test"), &authority.trusted());
}

#[test]
fn row_05_a_self_signed_certificate_is_refused() {
    let authority = Authority::new();
    never_trusted(self_signed("localhost"), &authority.trusted());
}

#[test]
fn row_05_an_authority_that_is_not_trusted_is_refused() {
    never_trusted(Authority::new().sign("localhost"), "");
}

#[test]
fn row_05_an_upstream_without_tls_gets_no_request() {
    let upstream = Upstream::answering(answer("plain"));
    let at = upstream.address;
    let p = provider_at("p", &format!("https://localhost:{}/v1", at.port()), "");
    let (app, _spare) = spared_with(&p, SHORT, names(move |_| Ok(vec![at])));
    let reply = app.chat("m");
    assert_eq!(reply.content(), "spare");
    assert_eq!(upstream.count(), 0);
    settled(&app);
}

#[test]
fn row_06_a_stalled_handshake_is_left_at_the_connect_time() {
    // Accepts in the kernel, and never says a word.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = silent.local_addr().unwrap();
    let p = provider_at("p", &format!("https://localhost:{}/v1", at.port()), "");
    // The head's clock is later than the connect clock: it must not be the one that ends it.
    let clocks = SHORT.replace("first_byte = \"400ms\"", "first_byte = \"20s\"");
    let (app, _spare) = spared_with(&p, &clocks, names(move |_| Ok(vec![at])));
    let begun = Instant::now();
    assert_spared(&app, "connect_timeout");
    assert!(begun.elapsed() < Duration::from_millis(1_500), "{:?}", begun.elapsed());
    let app = alone_with(&p, &clocks, names(move |_| Ok(vec![at])));
    assert_failed(&app, 504, "upstream_timeout", "connect_timeout");
    assert_eq!(attempts(&app, "transient"), 1.0);
}

#[test]
fn row_09_a_reset_before_the_head_is_repeated_once() {
    let resetting = || {
        Upstream::start(|_, stream| {
            reset(stream);
            false
        })
    };
    let upstream = resetting();
    let (app, _spare) = spared(&upstream.provider("p"), SHORT);
    assert_spared(&app, "reset");
    assert_eq!(upstream.count(), 2, "the same target once");
    assert_stream_spared(&app, "reset");

    let upstream = resetting();
    let app = alone(&upstream.provider("p"), SHORT);
    assert_failed(&app, 502, "all_targets_failed", "reset");
    assert_eq!((upstream.count(), attempts(&app, "transient")), (2, 2.0));
}

#[test]
fn row_09_the_repeat_may_serve() {
    for by_reset in [true, false] {
        let upstream = Upstream::start(move |call, stream| {
            if call.number > 0 {
                return io::Write::write_all(stream, &answer("again")).is_ok();
            }
            if by_reset {
                reset(stream);
            }
            false
        });
        let app = alone(&upstream.provider("p"), SHORT);
        let reply = app.chat("m");
        assert_eq!((reply.status, reply.content().as_str()), (200, "again"));
        assert_eq!(reply.header("x-stagedoor-route"), Some("p/up!reset,p/up"));
        assert_eq!(reply.header("x-stagedoor-attempts"), Some("2"));
    }
}

/// Calls over reused connections that the upstream closes in one of two ways; the catalogue's 10,000.
const REUSES: usize = 5_000;

fn no_errors(upstream: &Upstream) {
    let app = alone(&upstream.provider("p"), "[server]\nworkers = 1\n");
    for number in 0..REUSES {
        let reply = app.chat("m");
        assert_eq!((reply.status, reply.content().as_str()), (200, "hi"), "call {number}: {}", reply.text());
        assert_eq!(reply.header("x-stagedoor-attempts"), Some("1"));
    }
    assert_eq!((attempts(&app, "ok"), attempts(&app, "transient")), (REUSES as f64, 0.0));
    assert_eq!((last_error(&app).as_str(), breaker(&app).as_str()), ("", "closed"), "no vote");
    assert_eq!(app.health()["providers"]["p"]["window"]["failures"], 0);
}

/// Answers one call of each connection, and closes it when the next one has come.
pub(super) fn once_a_connection() -> Upstream {
    let served = Mutex::new(HashSet::new());
    Upstream::start(move |_, stream| {
        let peer = stream.peer_addr().unwrap();
        let first = served.lock().unwrap().insert(peer);
        if !first {
            // The port may come again.
            served.lock().unwrap().remove(&peer);
        }
        first && io::Write::write_all(stream, &answer("hi")).is_ok()
    })
}

#[test]
fn row_10_a_connection_that_closes_while_idle_is_no_error() {
    no_errors(&Upstream::start(|_, stream| {
        let _ = io::Write::write_all(stream, &answer("hi"));
        false
    }));
}

#[test]
fn row_10_a_connection_that_closes_as_it_is_reused_is_no_error() {
    let upstream = once_a_connection();
    no_errors(&upstream);
    assert!(upstream.count() >= 2 * REUSES - 1, "every second call met a connection that closed: {}", upstream.count());
}

#[test]
fn row_10_stale_connections_are_counted() {
    let upstream = once_a_connection();
    let app = alone(&upstream.provider("p"), "[server]\nworkers = 1\n");
    for _ in 0..5 {
        assert_eq!(app.chat("m").status, 200);
    }
    assert_eq!(app.metric("stagedoor_stale_reuse_total"), 4.0);
}

#[test]
fn row_18_a_redirect_is_never_followed() {
    for code in [301, 302, 303, 307, 308] {
        let other = Upstream::answering(answer("stolen"));
        let location = other.url();
        let upstream =
            Upstream::answering(format!("HTTP/1.1 {code} X\r\nlocation: {location}/chat/completions\r\ncontent-length: 0\r\n\r\n"));
        let p = upstream.provider("p").replace("keys = []", "keys = [{ value = \"sk-secret\" }]");
        let (app, _spare) = spared(&p, SHORT);
        assert_spared(&app, "redirect");
        assert_stream_spared(&app, "redirect");
        let app = alone(&p, SHORT);
        assert_failed(&app, 502, "all_targets_failed", "redirect");
        assert_eq!((upstream.count(), other.connections()), (3, 0), "no repeat, and not a byte to the second host");
    }
}
