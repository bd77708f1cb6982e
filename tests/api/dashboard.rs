//! What the dashboard stands on: its files and their policy, a browser's session, and the live events.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::Value;
use stagedoor::app::Parts;

use super::support::faults::{SHORT, healthy};
use super::support::{ADMIN, Reply, TestApp, Upstream, answer, status};

fn settings(upstream: &Upstream, more: &str) -> String {
    format!("{SHORT}{more}{}[models.m]\ntargets = [{{ provider = \"p\", model = \"up\" }}]\n", upstream.provider("p"))
}

fn kept(folder: &tempfile::TempDir) -> String {
    format!("[store]\nurl = \"sqlite://{}/s.db\"\n", folder.path().display())
}

/// A browser that is signed in: its cookie and its token.
struct Browser {
    cookie: String,
    token: String,
}

impl Browser {
    fn sign_in(app: &TestApp) -> Self {
        let key = ADMIN.strip_prefix("Bearer ").unwrap();
        let reply = app.client().post("/admin/session", &[], &format!("{{\"key\":\"{key}\"}}"));
        assert_eq!(reply.status, 201, "{}", reply.text());
        let cookie = reply.header("set-cookie").unwrap().split(';').next().unwrap().to_owned();
        Self { cookie, token: reply.json()["csrf"].as_str().unwrap().to_owned() }
    }

    fn call(&self, app: &TestApp, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Reply {
        let own = [("cookie", self.cookie.as_str()), ("content-type", "application/json")];
        app.client().call(method, path, &[&own, headers].concat(), body)
    }
}

#[test]
fn the_page_is_compiled_in_compressed_and_strict() {
    let upstream = healthy();
    let app = TestApp::administered(&settings(&upstream, ""));
    let page = app.client().get("/dashboard");
    assert_eq!((page.status, page.header("content-type")), (200, Some("text/html; charset=utf-8")));
    let policy = page.header("content-security-policy").unwrap();
    for rule in
        ["default-src 'none'", "script-src 'self'", "style-src 'self'", "frame-ancestors 'none'", "require-trusted-types-for 'script'"]
    {
        assert!(policy.contains(rule), "{policy}");
    }
    assert!(!policy.contains("unsafe") && !policy.contains("http"), "{policy}");
    assert_eq!(page.header("x-content-type-options"), Some("nosniff"));
    let text = page.text();
    let files: Vec<&str> = text.split('"').filter(|part| part.starts_with("dashboard/")).collect();
    assert!(files.len() > 3, "{text}");
    for file in files {
        let path = format!("/{file}");
        let plain = app.client().get(&path);
        assert_eq!(plain.status, 200, "{file}");
        let zipped = app.client().call("GET", &path, &[("accept-encoding", "gzip")], "");
        assert_eq!((zipped.status, zipped.header("content-encoding")), (200, Some("gzip")), "{file}");
        let mut unzipped = Vec::new();
        flate2::read::GzDecoder::new(&zipped.body[..]).read_to_end(&mut unzipped).unwrap();
        assert_eq!(unzipped, plain.body, "{file}");
        let again = app.client().call("GET", &path, &[("if-none-match", plain.header("etag").unwrap())], "");
        assert_eq!((again.status, again.body.len()), (304, 0), "{file}");
    }
    assert_eq!(app.client().get("/dashboard/../Cargo.toml").status, 404);
    assert_eq!(app.client().get("/dashboard/nothing.js").status, 404);
    assert_eq!(app.client().get("/dashboard/").header("location"), Some("../dashboard"));
    assert_eq!(app.client().get("/").json()["links"]["dashboard"], "/dashboard");
}

#[test]
fn the_admin_key_opens_a_session_whose_cookie_no_script_can_read() {
    let upstream = healthy();
    let app = TestApp::administered(&settings(&upstream, ""));
    assert_eq!(app.client().get("/admin/session").json(), serde_json::json!({ "signed_in": false, "admin_key": true }));
    for (body, expected) in [("{\"key\":\"wrong\"}", 401), ("{}", 400), ("not json", 400), ("{\"key\":\"a\",\"more\":1}", 400)] {
        let refused = app.client().post("/admin/session", &[], body);
        assert_eq!((refused.status, refused.header("set-cookie")), (expected, None), "{body}");
    }
    assert_eq!(app.client().post("/admin/session", &[], &format!("{{\"key\":\"{}\"}}", "x".repeat(5_000))).status, 413);
    let key = ADMIN.strip_prefix("Bearer ").unwrap();
    let login = format!("{{\"key\":\"{key}\"}}");
    let reply = app.client().post("/admin/session", &[], &login);
    let cookie = reply.header("set-cookie").unwrap();
    let name = format!("stagedoor-session-{}=", app.address.port());
    assert!(cookie.starts_with(&name) && !cookie.contains(key), "{cookie}");
    for flag in ["; HttpOnly", "; SameSite=Strict", "; Path=/admin", "; Max-Age=43200"] {
        assert!(cookie.contains(flag), "{cookie}");
    }
    assert!(!cookie.contains("Secure"), "{cookie}");
    let behind_tls = app.client().post("/admin/session", &[("origin", "https://gateway.example")], &login);
    assert!(behind_tls.header("set-cookie").unwrap().ends_with("; Secure"));
    // Behind a proxy that has the gateway below a path, the browser sees that path.
    for (base, path) in
        [("/gw/", "/gw/admin"), ("/a/b/", "/a/b/admin"), ("/", "/admin"), ("gw/", "/admin"), ("/gw", "/admin"), ("/;x/", "/admin")]
    {
        let cookie = app.client().post("/admin/session", &[("x-stagedoor-base", base)], &login).header("set-cookie").unwrap().to_owned();
        assert!(cookie.contains(&format!("; Path={path}; ")), "{base}: {cookie}");
    }

    let browser = Browser::sign_in(&app);
    let shown = browser.call(&app, "GET", "/admin/session", &[], "").json();
    assert_eq!((shown["signed_in"].as_bool(), shown["csrf"].as_str()), (Some(true), Some(browser.token.as_str())));
    assert_eq!(browser.call(&app, "GET", "/admin/transitions", &[], "").status, 200);
    let gone = browser.call(&app, "DELETE", "/admin/session", &[("x-stagedoor-csrf", &browser.token)], "");
    assert!(gone.header("set-cookie").unwrap().contains("Max-Age=0"), "{gone:?}");
    assert_eq!(browser.call(&app, "GET", "/admin/transitions", &[], "").status, 401);
}

#[test]
fn a_cookie_alone_changes_nothing_and_serves_no_other_page() {
    let upstream = healthy();
    let app = TestApp::administered(&settings(&upstream, ""));
    let browser = Browser::sign_in(&app);
    let open = |headers: &[(&str, &str)]| browser.call(&app, "POST", "/admin/breakers/p", headers, "{\"action\":\"open\"}");
    let other = Browser::sign_in(&app);
    for headers in [
        &[][..],
        &[("x-stagedoor-csrf", "")],
        &[("x-stagedoor-csrf", "00")],
        &[("x-stagedoor-csrf", other.token.as_str())],
        &[("x-stagedoor-csrf", browser.token.as_str()), ("sec-fetch-site", "same-site")],
        &[("x-stagedoor-csrf", browser.token.as_str()), ("sec-fetch-site", "cross-site")],
    ] {
        let refused = open(headers);
        assert_eq!((refused.status, refused.code().as_str()), (403, "csrf_failed"), "{headers:?}");
    }
    assert_eq!(app.health()["providers"]["p"]["breaker"], "closed");
    assert_eq!(browser.call(&app, "GET", "/admin/transitions", &[("sec-fetch-site", "same-site")], "").status, 403);
    let foreign = browser.call(&app, "GET", "/admin/session", &[("sec-fetch-site", "same-site")], "");
    assert_eq!(foreign.json()["csrf"], Value::Null);
    assert_eq!(browser.call(&app, "DELETE", "/admin/session", &[], "").status, 403);
    // A wrong key isn't made good by a good cookie.
    assert_eq!(open(&[("x-stagedoor-csrf", &browser.token), ("authorization", "Bearer wrong")]).status, 401);
    assert_eq!(open(&[("x-stagedoor-csrf", &browser.token), ("sec-fetch-site", "same-origin")]).status, 200);
    assert_eq!(app.health()["providers"]["p"]["breaker"], "open");
}

#[test]
fn another_admin_key_ends_the_sessions_of_the_one_before() {
    let upstream = healthy();
    let with_key = |key: &str| settings(&upstream, &format!("[admin]\nkey = {{ value = \"{key}\" }}\n"));
    let (one, other) = ("admin-key-number-one-of-two", "admin-key-number-two-of-two");
    let app = TestApp::with(&with_key(one), &[], Parts::default());
    let reply = app.client().post("/admin/session", &[], &format!("{{\"key\":\"{one}\"}}"));
    let cookie = reply.header("set-cookie").unwrap().split(';').next().unwrap().to_owned();
    let ask = || app.client().call("GET", "/admin/transitions", &[("cookie", &cookie)], "").status;
    let mut watching = watch(&app, &[("cookie", &cookie)]);
    watching.until("event: snapshot");
    assert_eq!(ask(), 200);
    app.write("settings.toml", &with_key(other));
    let reloaded = app.client().post("/admin/reload", &[("authorization", &format!("Bearer {one}"))], "");
    assert_eq!(reloaded.status, 200, "{}", reloaded.text());
    assert_eq!(ask(), 401);
    watching.ends();
}

/// One who watches /admin/events.
struct Watching {
    stream: TcpStream,
    got: String,
    began: Instant,
}

fn watch(app: &TestApp, headers: &[(&str, &str)]) -> Watching {
    let mut stream = app.client().connect();
    let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let head = format!("GET /admin/events HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n{headers}\r\n", app.address);
    stream.write_all(head.as_bytes()).unwrap();
    Watching { stream, got: String::new(), began: Instant::now() }
}

impl Watching {
    /// Reads until this was said.
    fn until(&mut self, said: &str) -> &str {
        while !self.got.contains(said) {
            self.read();
        }
        &self.got
    }

    /// Reads some more.
    fn read(&mut self) {
        assert!(self.began.elapsed() < Duration::from_secs(10), "never heard: {}", self.got);
        let mut buffer = [0; 16 * 1024];
        let count = self.stream.read(&mut buffer).unwrap();
        assert!(count > 0, "it ended: {}", self.got);
        self.got.push_str(&String::from_utf8_lossy(&buffer[..count]));
    }

    /// Reads to the end.
    fn ends(&mut self) {
        let began = Instant::now();
        let mut rest = Vec::new();
        let _ = self.stream.read_to_end(&mut rest);
        self.got.push_str(&String::from_utf8_lossy(&rest));
        assert!(self.got.ends_with("0\r\n\r\n") && began.elapsed() < Duration::from_secs(4), "{}", self.got);
    }

    /// The data of all events of a name, so far.
    fn events(&self, name: &str) -> Vec<Value> {
        let marker = format!("event: {name}\ndata: ");
        let parts = self.got.split(&marker).skip(1);
        parts.filter_map(|part| serde_json::from_str(part.split("\n\n").next()?).ok()).collect()
    }
}

#[test]
fn who_watches_hears_requests_moves_and_figures() {
    let folder = tempfile::tempdir().unwrap();
    let upstream = Upstream::by(|call| if call.json()["model"] == "sick" { status(503, "sick", "") } else { answer("well") });
    let more = "[models.sick]\ntargets = [{ provider = \"p\", model = \"sick\" }]\n";
    let app = TestApp::administered(&settings(&upstream, &(kept(&folder) + more)));
    let mut watching = watch(&app, &[("authorization", ADMIN)]);
    watching.until("event: snapshot");
    let hello = &watching.events("hello")[0];
    assert_eq!((hello["models"].clone(), hello["ledger"].as_bool()), (serde_json::json!(["m", "sick"]), Some(true)), "{hello}");
    let snapshot = &watching.events("snapshot")[0];
    assert_eq!((snapshot["second"].clone(), snapshot["health"]["providers"]["p"]["breaker"].as_str()), (Value::Null, Some("closed")));
    assert_eq!(app.chat("m").status, 200);
    let began = Instant::now();
    (0..6).for_each(|_| _ = app.chat("sick"));
    watching.until("event: transition");
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    let moved = &watching.events("transition")[0];
    assert_eq!(
        (moved["provider"].as_str(), moved["from"].as_str(), moved["to"].as_str()),
        (Some("p"), Some("closed"), Some("open")),
        "{moved}"
    );
    assert!(moved["reason"].is_string() && moved["period_ms"].is_number(), "{moved}");
    watching.until("\"model\":\"sick\",\"provider\"");
    let rows = watching.events("request");
    assert_eq!((rows[0]["model"].as_str(), rows[0]["attempts"][0]["outcome"].as_str()), (Some("m"), Some("ok")));
    let failed = rows.iter().find(|row| row["model"] == "sick").unwrap();
    assert_eq!(failed["attempts"][0]["kind"], "status_503", "{failed}");
    let counted = |watching: &Watching, name: &str| {
        watching.events("snapshot").iter().filter_map(|snapshot| snapshot["second"][name].as_u64()).sum::<u64>()
    };
    while counted(&watching, "answered") + counted(&watching, "failed") < 7 {
        watching.read();
    }
    assert_eq!((counted(&watching, "answered"), counted(&watching, "failed")), (1, 6));
}

#[test]
fn without_a_ledger_requests_are_told_while_somebody_watches() {
    let upstream = healthy();
    let app = TestApp::administered(&settings(&upstream, ""));
    assert_eq!(app.chat("m").status, 200);
    let mut watching = watch(&app, &[("authorization", ADMIN)]);
    watching.until("event: snapshot");
    assert_eq!((app.stream("m").status, app.chat("nothing").status), (200, 404));
    watching.until("event: request");
    watching.until("\"answered\":1");
    let rows = watching.events("request");
    assert_eq!((rows.len(), rows[0]["model"].as_str(), rows[0]["stream"].as_bool()), (1, Some("m"), Some(true)), "{rows:?}");
    assert_eq!(rows[0]["attempts"][0]["provider"], "p");
}

#[test]
fn a_reload_is_told_and_a_drain_lets_watchers_go() {
    let upstream = healthy();
    let app = TestApp::administered(&settings(&upstream, ""));
    let mut watching = watch(&app, &[("authorization", ADMIN)]);
    watching.until("event: snapshot");
    app.reload(&settings(&upstream, "[models.other]\ntargets = [{ provider = \"p\", model = \"up\" }]\n"));
    watching.until("event: reload");
    assert_eq!(watching.events("reload")[0]["models"], serde_json::json!(["m", "other"]));
    app.gateway.draining.store(true, std::sync::atomic::Ordering::Relaxed);
    watching.ends();
    assert!(watching.events("snapshot").last().unwrap()["draining"].as_bool().unwrap());
}

#[test]
fn the_live_events_take_the_admin_key_and_have_bounded_seats() {
    let upstream = healthy();
    let app = TestApp::administered(&settings(&upstream, ""));
    assert_eq!(app.client().get("/admin/events").status, 401);
    let mut all: Vec<_> = (0..64).map(|_| watch(&app, &[("authorization", ADMIN)])).collect();
    all.iter_mut().for_each(|watching| _ = watching.until("event: hello"));
    let refused = app.client().call("GET", "/admin/events", &[("authorization", ADMIN)], "");
    assert_eq!((refused.status, refused.code().as_str()), (503, "overloaded"));
    drop(all);
    app.until("the seats are free again", |app| app.gateway.metrics.audience.watchers() == 0);
    watch(&app, &[("authorization", ADMIN)]).until("event: snapshot");
}

#[test]
fn moves_are_told_newest_first_from_the_ledger_and_without_one() {
    let folder = tempfile::tempdir().unwrap();
    let upstream = healthy();
    for store in [kept(&folder), String::new()] {
        let app = TestApp::administered(&settings(&upstream, &store));
        for action in ["open", "close", "open", "reset"] {
            app.admin("/admin/breakers/p", &format!("{{\"action\":\"{action}\"}}"));
        }
        let ask = |query: &str| app.client().call("GET", &format!("/admin/transitions{query}"), &[("authorization", ADMIN)], "").json();
        let told = ask("");
        let moves = told["data"].as_array().unwrap();
        // A model's breaker is closed and reset with its provider's.
        let own = moves.iter().filter(|moved| moved["model"].is_null());
        let reasons: Vec<_> = own.map(|moved| moved["reason"].as_str().unwrap()).collect();
        assert_eq!(reasons, ["operator_reset", "operator_open", "operator_close", "operator_open"], "{store}");
        assert_eq!(told["next"], Value::Null);
        let first = ask("?limit=3&provider=p");
        let rest = ask(&format!("?before={}&since=1h", first["next"].as_str().unwrap()));
        assert_eq!((first["data"].as_array().unwrap().len(), rest["data"].as_array().unwrap().len()), (3, moves.len() - 3), "{store}");
        assert_eq!(ask("?provider=nobody")["data"], serde_json::json!([]));
        assert_eq!(ask("?until=1h")["data"], serde_json::json!([]));
    }
}

#[test]
fn the_operator_asks_for_routes_without_a_callers_key() {
    let upstream = healthy();
    let caller = "[[auth.keys]]\nname = \"app\"\nkey = { value = \"sk-caller-0123456789abcdef0123\" }\n";
    let app = TestApp::administered(&settings(&upstream, caller));
    assert_eq!(app.client().get("/v1/route?model=m").status, 401);
    let told = app.client().call("GET", "/admin/route?model=m", &[("authorization", ADMIN)], "").json();
    assert_eq!((told["targets"][0]["provider"].as_str(), told["targets"][0]["in"].as_bool()), (Some("p"), Some(true)));
    assert_eq!(app.client().get("/admin/route?model=m").status, 401);
}

#[test]
fn usage_is_told_in_the_course_of_time() {
    let folder = tempfile::tempdir().unwrap();
    let upstream = healthy();
    let app = TestApp::administered(&settings(&upstream, &kept(&folder)));
    let tagged = |tags: &str| app.client().post("/v1/chat/completions", &[("x-stagedoor-tags", tags)], &super::support::chat_body("m"));
    assert_eq!((tagged("team=a,site=b").status, tagged("team=a").status), (200, 200));
    let ask = |query: &str| app.client().call("GET", &format!("/admin/usage?{query}"), &[("authorization", ADMIN)], "");
    for (query, name, sums) in [
        ("by=model&every=hour&since=2h", "model", &[("m", 2)][..]),
        ("by=provider&every=day&since=2d", "provider", &[("p", 2)]),
        ("by=tag&every=day", "tag", &[("site=b", 1), ("team=a", 2)]),
    ] {
        let told = ask(query).json();
        let steps = told["series"].as_array().unwrap();
        // The hour, or the day, may turn between the two calls.
        for (wanted, requests) in sums {
            let of = steps.iter().filter(|step| step[name] == *wanted);
            assert_eq!(of.map(|step| step["requests"].as_u64().unwrap()).sum::<u64>(), *requests, "{query}: {told}");
        }
        assert!(steps.iter().all(|step| step["start"].as_str().unwrap().ends_with(":00:00Z")), "{told}");
    }
    assert_eq!(ask("by=model&every=hour&until=2d&since=3d").json()["series"], serde_json::json!([]));
    assert_eq!(ask("by=model").json().get("series"), None);
    assert_eq!((ask("by=model&every=year").status, ask("by=day&every=hour").status), (400, 400));
}
