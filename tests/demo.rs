//! `stagedoor demo` as a newcomer meets it: the curl line works, the first provider's sickness is seen and no caller notices.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

fn demo(arguments: &[&str]) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stagedoor"));
    command.arg("demo").args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().expect("the binary starts")
}

/// Asks what the curl line asks.
fn as_curl_does(line: &str) -> String {
    let address = line.split("http://").nth(1).and_then(|rest| rest.split('/').next()).unwrap();
    let body = line.split("-d '").nth(1).and_then(|rest| rest.split('\'').next()).unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let head = "POST /v1/chat/completions HTTP/1.1\r\nconnection: close\r\ncontent-type: application/json";
    write!(stream, "{head}\r\nhost: {address}\r\ncontent-length: {}\r\n\r\n{body}", body.len()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// The place of the first line after `from` that has all of these in it.
fn after(lines: &[String], from: usize, parts: &[&str]) -> usize {
    let found = lines.iter().skip(from).position(|line| parts.iter().all(|part| line.contains(part)));
    from + found.unwrap_or_else(|| panic!("no line with {parts:?} after line {from} of\n{}", lines.join("\n")))
}

#[test]
fn a_provider_fails_and_heals_and_no_caller_notices() {
    let mut child = demo(&["--port", "0", "--seconds", "9", "--fail-after", "1s", "--heal-after", "3s"]);
    let mut output = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut lines: Vec<String> = output.by_ref().take(3).map(Result::unwrap).collect();
    let curl = lines.iter().find(|line| line.contains("curl")).expect("a curl line").clone();
    let answer = as_curl_does(&curl);
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("x-stagedoor-provider: "), "{answer}");
    lines.extend(output.map(Result::unwrap));
    assert!(child.wait().unwrap().success());

    after(&lines, 0, &["your request"]);
    let serves = after(&lines, 0, &["alpha serves"]);
    after(&lines, 0, &["stream from "]);
    let sick = after(&lines, serves, &["alpha falls sick"]);
    after(&lines, sick, &["by failover", "alpha failed (503)", "then from beta"]);
    after(&lines, sick, &["beta serves"]);
    let open = after(&lines, sick, &["breaker of alpha: closed -> open (consecutive_failures)"]);
    after(&lines, open, &["-- in 5 s", "alpha open", "beta closed"]);
    let closed = after(&lines, open, &["breaker of alpha: half_open -> closed (probes_succeeded)"]);
    after(&lines, closed, &["alpha serves"]);
    let last = &lines[after(&lines, closed, &["After 9 s"])];
    assert!(last.ends_with("callers were answered, 0 failed."), "{last}");
    let escapes = lines.iter().filter(|line| line.contains('\x1b')).count();
    assert_eq!(escapes, 0, "colours only on a terminal");
}

#[test]
fn a_taken_port_is_one_clear_line() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let output = demo(&["--port", &port]).wait_with_output().unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(3));
    assert!(told.lines().count() == 1 && told.contains("--port"), "{told}");
}
