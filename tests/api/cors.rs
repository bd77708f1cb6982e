//! Web pages that may call, and those that may not.

use std::io::Write;

use super::support::faults::alone;
use super::support::{TestApp, Upstream, answer, chat_body, chat_bytes, read_rest, stream, stream_body};

const PAGE: &str = "https://app.example.com";
const CHAT: &str = "/v1/chat/completions";

fn upstream() -> Upstream {
    Upstream::by(|call| if call.text().contains("\"stream\":true") { stream(&["hi"]) } else { answer("hi") })
}

/// What a browser asks before it sends JSON across origins; the origin that is allowed, and the status.
fn asked_before(app: &TestApp, origin: &str) -> (u16, Option<String>) {
    let headers =
        [("origin", origin), ("access-control-request-method", "POST"), ("access-control-request-headers", "authorization,content-type")];
    let reply = app.client().call("OPTIONS", CHAT, &headers, "");
    let allowed = reply.header("access-control-allow-origin").map(str::to_owned);
    if allowed.is_some() {
        let headers = reply.header("access-control-allow-headers").unwrap().to_lowercase();
        assert!(headers.contains("authorization") && headers.contains("content-type"), "{headers}");
        assert!(reply.header("access-control-allow-methods").unwrap().contains("POST"));
        assert_eq!(reply.header("access-control-allow-credentials"), None);
    }
    (reply.status, allowed)
}

#[test]
fn a_page_of_the_settings_may_call_and_no_other_may() {
    let upstream = upstream();
    let app = alone(&upstream.provider("p"), &format!("[server]\ncors_origins = [\"{PAGE}\", \"http://localhost:3000\"]\n"));
    assert_eq!(asked_before(&app, PAGE), (200, Some(PAGE.to_owned())));
    assert_eq!(asked_before(&app, "https://evil.example.com").1, None);
    for body in [chat_body("m"), stream_body("m")] {
        let reply = app.client().post(CHAT, &[("origin", PAGE)], &body);
        assert_eq!((reply.status, reply.header("access-control-allow-origin")), (200, Some(PAGE)));
        let shown = reply.header("access-control-expose-headers").unwrap().to_lowercase();
        assert!(shown.contains("x-request-id") && shown.contains("x-stagedoor-provider"), "{shown}");
        let other = app.client().post(CHAT, &[("origin", "https://evil.example.com")], &body);
        assert_eq!(other.header("access-control-allow-origin"), None);
    }
    let refused = app.client().post(CHAT, &[("origin", PAGE)], "{");
    assert_eq!((refused.status, refused.header("access-control-allow-origin")), (400, Some(PAGE)), "a page can read why");
}

#[test]
fn any_page_may_where_the_settings_say_so_and_none_where_they_say_nothing() {
    let upstream = upstream();
    let any = alone(&upstream.provider("p"), "[server]\ncors_origins = [\"*\"]\n");
    assert_eq!(asked_before(&any, PAGE), (200, Some("*".to_owned())));
    let none = alone(&upstream.provider("p"), "");
    let (status, allowed) = asked_before(&none, PAGE);
    assert_eq!((status, allowed), (405, None));
    let reply = none.client().post(CHAT, &[("origin", PAGE)], &chat_body("m"));
    let told =
        |(name, value): &(String, String)| name.starts_with("access-control-") || name == "vary" && value.to_lowercase().contains("origin");
    assert!(reply.status == 200 && !reply.headers.iter().any(told), "{:?}", reply.headers);
}

#[test]
fn behind_a_pages_question_that_is_its_connections_last_request_nothing_is_done() {
    let upstream = upstream();
    let app = alone(&upstream.provider("p"), &format!("[server]\ncors_origins = [\"{PAGE}\"]\n"));
    let mut connection = app.client().connect();
    let question = format!("OPTIONS {CHAT} HTTP/1.1\r\nhost: localhost\r\norigin: {PAGE}\r\naccess-control-request-method: POST\r\n");
    let question = format!("{question}connection: close\r\n\r\n").into_bytes();
    connection.write_all(&[question, chat_bytes(&[("connection", "close")], &chat_body("m"))].concat()).unwrap();
    let heard = read_rest(&mut connection);
    assert!(heard.starts_with("HTTP/1.1 200 OK") && heard.contains(PAGE), "{heard}");
    assert_eq!((heard.matches("200 OK").count(), upstream.count()), (1, 0), "{heard}");
}
