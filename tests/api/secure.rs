//! Callers by TLS: `[server.tls]` at the door, its certificate while it changes, callers who need one, and who doesn't get through.

use std::io::{ErrorKind, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use stagedoor::app::Parts;
use stagedoor::base::Secret;

use super::support::faults::provider_at;
use super::support::secure::{Connection, SecureClient, ask, post};
use super::support::tls::{Authority, Identity};
use super::support::{ADMIN, Process, TestApp, Upstream, answer, chat_body, event, stream, stream_body};

/// Settings with these files, and one provider.
fn settings(upstream: &Upstream, identity: &Identity, more: &str) -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    write(&folder, identity);
    let provider = provider_at("p", &upstream.url(), "");
    let (cert, key) = (folder.path().join("c.pem"), folder.path().join("k.pem"));
    let tls = format!("[server.tls]\ncert = \"{}\"\nkey = \"{}\"\n{more}\n", cert.display(), key.display());
    (folder, format!("{tls}{provider}[models.m]\ntargets = [{{ provider = \"p\", model = \"up\" }}]\n"))
}

/// Puts both files there at once, as a renewal does.
fn write(folder: &tempfile::TempDir, identity: &Identity) {
    let (cert, key) = identity.pem();
    for (name, text) in [("k.pem", key), ("c.pem", cert)] {
        let new = folder.path().join("new");
        std::fs::write(&new, text).unwrap();
        std::fs::rename(new, folder.path().join(name)).unwrap();
    }
}

fn administered(settings: &str) -> TestApp {
    TestApp::with(settings, &[], Parts { admin_key: ADMIN.strip_prefix("Bearer ").map(Secret::new), ..Parts::default() })
}

/// The certificate that the gateway has shown on a connection.
fn shown(connection: &Connection) -> Vec<u8> {
    connection.conn.peer_certificates().unwrap()[0].to_vec()
}

fn admin(client: &SecureClient, path: &str) -> super::support::Reply {
    client.post(path, &format!("authorization: {ADMIN}\r\n"), "").unwrap()
}

#[test]
fn callers_are_served_by_tls_streams_too_and_by_http_1_1_alone() {
    let upstream = Upstream::start(|call, socket| {
        let reply = if call.text().contains("\"stream\":true") { stream(&["one ", "two"]) } else { answer("secure") };
        socket.write_all(&reply).is_ok()
    });
    let authority = Authority::new();
    let (_folder, settings) = settings(&upstream, &authority.sign("localhost"), "");
    let app = administered(&settings);
    let client = SecureClient::new(app.address, &authority, None);
    let mut connection = client.connect();
    for _ in 0..3 {
        assert_eq!(ask(&mut connection, &post("/v1/chat/completions", "", &chat_body("m"))).unwrap().content(), "secure");
    }
    assert_eq!(connection.conn.alpn_protocol(), Some(&b"http/1.1"[..]), "though HTTP/2 was offered first");
    let streamed = ask(&mut connection, &post("/v1/chat/completions", "", &stream_body("m"))).unwrap();
    assert_eq!((streamed.words().as_str(), streamed.terminals(), streamed.whole), ("one two", 1, true));
    let served = upstream.count();
    let mut connection = client.connect();
    let chat = |headers: &str| post("/v1/chat/completions", headers, &chat_body("m"));
    connection.write_all((chat("connection: close\r\n") + &chat("")).as_bytes()).unwrap();
    let mut heard = Vec::new();
    let _ = connection.read_to_end(&mut heard);
    assert_eq!(upstream.count(), served + 1, "nothing is done behind a connection's last request: {}", String::from_utf8_lossy(&heard));
    // The browser's session never goes out in the open again.
    let login = format!("{{\"key\":\"{}\"}}", ADMIN.strip_prefix("Bearer ").unwrap());
    let cookie = client.post("/admin/session", "", &login).unwrap().header("set-cookie").unwrap().to_owned();
    assert!(cookie.ends_with("; Secure"), "{cookie}");
}

#[test]
fn plain_http_on_its_port_is_told_what_to_do() {
    let (upstream, authority) = (Upstream::answering(answer("hi")), Authority::new());
    let (_folder, settings) = settings(&upstream, &authority.sign("localhost"), "");
    let app = TestApp::start(&settings);
    let reply = app.chat("m");
    assert_eq!((reply.status, reply.code().as_str(), reply.whole), (400, "tls_required", true));
    assert!(reply.text().contains("https://"), "{}", reply.text());
    assert_eq!(upstream.count(), 0);
}

#[test]
fn an_admin_plane_of_its_own_address_has_the_same_certificate() {
    let (upstream, authority) = (Upstream::answering(answer("hi")), Authority::new());
    let (_folder, settings) = settings(&upstream, &authority.sign("localhost"), "");
    let app = administered(&format!("{settings}[admin]\nlisten = \"127.0.0.1:0\"\n"));
    let operators = SecureClient::new(app.admin_address.unwrap(), &authority, None);
    assert_eq!(operators.get("/metrics").unwrap().status, 200);
    assert_eq!(admin(&operators, "/admin/reload").status, 200);
    assert_eq!(SecureClient::new(app.address, &authority, None).get("/metrics").unwrap().status, 404);
}

#[test]
fn a_new_certificate_is_shown_to_new_connections_and_old_ones_go_on() {
    let (upstream, authority) = (Upstream::answering(answer("hi")), Authority::new());
    let [one, two, three] = [(); 3].map(|()| authority.sign("localhost"));
    let (folder, settings) = settings(&upstream, &one, "");
    let app = administered(&settings);
    let client = SecureClient::new(app.address, &authority, None);
    let chat = post("/v1/chat/completions", "", &chat_body("m"));
    let mut old = client.connect();
    assert_eq!(ask(&mut old, &chat).unwrap().status, 200);
    assert_eq!(shown(&old), one.certificate.to_vec());
    let now_shown = || {
        let mut connection = client.connect();
        ask(&mut connection, &chat).unwrap();
        shown(&connection)
    };

    // Told to read them again, or left to see it.
    write(&folder, &two);
    let reloaded = admin(&client, "/admin/reload");
    assert_eq!(reloaded.status, 200, "{}", reloaded.text());
    assert_eq!(now_shown(), two.certificate.to_vec());
    write(&folder, &three);
    app.until("the file's change is seen", |_| now_shown() == three.certificate.to_vec());
    assert_eq!(ask(&mut old, &chat).unwrap().content(), "hi", "nothing was dropped");

    // What can't be used changes nothing.
    std::fs::write(folder.path().join("k.pem"), one.pem().1).unwrap();
    let refused = admin(&client, "/admin/reload");
    assert_eq!((refused.status, refused.json()["errors"][0]["path"].as_str()), (422, Some("server.tls.key")), "{}", refused.text());
    assert_eq!(now_shown(), three.certificate.to_vec());
}

#[test]
fn tls_ends_with_a_restart_only() {
    let (upstream, authority) = (Upstream::answering(answer("hi")), Authority::new());
    let (_folder, settings) = settings(&upstream, &authority.sign("localhost"), "");
    let app = administered(&settings);
    let client = SecureClient::new(app.address, &authority, None);
    app.write("settings.toml", &settings[settings.find("[providers").unwrap()..]);
    let reloaded = admin(&client, "/admin/reload");
    assert_eq!((reloaded.status, reloaded.text().contains("server.tls.cert")), (200, true), "{}", reloaded.text());
    assert_eq!(client.get("/health/live").unwrap().status, 200, "nobody is served in the open by a slip");
}

#[test]
fn callers_show_a_certificate_where_they_need_one() {
    let (upstream, authority, callers) = (Upstream::answering(answer("hi")), Authority::new(), Authority::new());
    let client_ca = format!("client_ca = \"{}\"", callers.file.display());
    let (_folder, settings) = settings(&upstream, &authority.sign("localhost"), &client_ca);
    let app = TestApp::start(&settings);
    let chat = |own: Option<&Identity>| SecureClient::new(app.address, &authority, own).post("/v1/chat/completions", "", &chat_body("m"));
    assert_eq!(chat(Some(&callers.sign("caller"))).unwrap().status, 200);
    for (who, own) in [
        ("nobody", None),
        ("one whom another has signed", Some(authority.sign("caller"))),
        ("one whose time is over", Some(callers.sign_expired("caller"))),
    ] {
        assert!(chat(own.as_ref()).is_err(), "{who}");
    }
    assert_eq!(upstream.count(), 1);
}

#[test]
fn who_is_slow_with_the_handshake_or_the_head_is_let_go() {
    let (upstream, authority) = (Upstream::answering(answer("hi")), Authority::new());
    let (_folder, settings) = settings(&upstream, &authority.sign("localhost"), "");
    let app = TestApp::start(&format!("[server]\nheader_timeout = \"300ms\"\n{settings}"));
    let began = Instant::now();
    let mut silent = app.client().connect();
    let mut slow = app.client().connect();
    slow.write_all(&[0x16, 0x03, 0x01]).unwrap();
    for socket in [&mut silent, &mut slow] {
        assert_eq!(socket.read(&mut [0; 1]).map_err(|error| error.kind()).unwrap_or(0), 0);
    }
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    let client = SecureClient::new(app.address, &authority, None);
    assert_eq!(ask(&mut client.connect(), "GET /health HTTP/1.1\r\nhost: localhost\r\n").unwrap().status, 408);
    assert_eq!(client.get("/health/live").unwrap().status, 200);
}

#[test]
fn a_caller_by_tls_who_never_reads_is_cut() {
    let given = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&given);
    let upstream = Upstream::start(move |_, socket| {
        let piece = super::support::chunk(&event(&"x".repeat(16 * 1024)));
        if socket.write_all(super::support::STREAM_HEAD.as_bytes()).is_ok() {
            while socket.write_all(piece.as_bytes()).is_ok() {
                counter.fetch_add(piece.len(), Ordering::Relaxed);
            }
        }
        false
    });
    let authority = Authority::new();
    let (_folder, settings) = settings(&upstream, &authority.sign("localhost"), "");
    let app = TestApp::start(&format!("[server]\nsend_timeout = \"1s\"\n{settings}"));
    let mut caller = SecureClient::new(app.address, &authority, None).connect();
    caller.write_all(post("/v1/chat/completions", "", &stream_body("m")).as_bytes()).unwrap();
    app.until("the upstream is asked", |_| upstream.open() == 1);
    app.until("the deaf caller is cut, and the upstream let go", |_| upstream.open() == 0);
    assert!(given.load(Ordering::Relaxed) < 24 << 20, "{} bytes", given.load(Ordering::Relaxed));
}

#[test]
fn files_that_cannot_be_used_are_one_line_at_the_start_and_by_check() {
    let (upstream, authority) = (Upstream::answering(answer("hi")), Authority::new());
    for (identity, words) in
        [(authority.sign_expired("localhost"), "time was over"), (authority.sign_early("localhost"), "isn't valid before")]
    {
        let (_folder, settings) = settings(&upstream, &identity, "");
        for (verb, code) in [("check", 1), ("serve", 3)] {
            let ended = Process::with_settings(verb, &settings, &[]).finish();
            assert_eq!(ended.code, Some(code), "{verb}");
            let told: Vec<_> = ended.stderr.lines().filter(|line| line.contains("server.tls")).collect();
            assert!(told.len() == 1 && told[0].contains("server.tls.cert") && told[0].contains(words), "{}", ended.stderr);
            assert!(!ended.stderr.contains("panicked") && !ended.stderr.contains("PRIVATE"), "{}", ended.stderr);
        }
    }
}

#[test]
fn the_command_line_asks_its_own_gateway_and_no_other() {
    let (upstream, authority) = (Upstream::answering(answer("hi")), Authority::new());
    let (_folder, settings) = settings(&upstream, &authority.sign("gateway.example"), "");
    let process = Process::serve(&settings, &[]);
    let route = |process: &Process| {
        let port = process.address().port().to_string();
        let args = ["route", "--settings", "settings.toml", "m"];
        let write = |at: &std::path::Path| std::fs::write(at.join("settings.toml"), &settings).unwrap();
        (Process::run(&args, &[("STAGEDOOR__SERVER__PORT", &port)], write).finish().stdout, port)
    };
    let (told, port) = route(&process);
    assert!(told.starts_with(&format!("m, as the gateway at https://127.0.0.1:{port}")), "{told}");
    // Another's good certificate isn't ours.
    let (_other, others) = self::settings(&upstream, &authority.sign("gateway.example"), "");
    let (told, _) = route(&Process::serve(&others, &[]));
    assert!(told.contains("by the settings alone") && told.contains("no gateway answers"), "{told}");
}

#[test]
fn who_leaves_within_the_handshake_or_sends_noise_harms_nobody() {
    let (upstream, authority) = (Upstream::answering(answer("hi")), Authority::new());
    let (_folder, settings) = settings(&upstream, &authority.sign("localhost"), "");
    let app = TestApp::start(&settings);
    for noise in [&b""[..], b"\x16\x03\x01\x00", b"\x16\x03\x01\xff\xff\x01\x02\x03", b"\x00\x00\x00\x00", b"\x80\x2e\x01\x00\x02"] {
        let mut socket = app.client().connect();
        let _ = socket.write_all(noise);
        let _ = socket.shutdown(std::net::Shutdown::Write);
        let mut rest = Vec::new();
        let ended = socket.read_to_end(&mut rest);
        assert!(ended.is_ok() || ended.is_err_and(|error| error.kind() == ErrorKind::ConnectionReset), "{noise:?}");
    }
    assert_eq!(SecureClient::new(app.address, &authority, None).get("/health/live").unwrap().status, 200);
}
