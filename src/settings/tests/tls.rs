//! `[server.tls]`: files that belong together, and every way in which they don't.

use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};

use super::*;

struct Pair {
    cert: String,
    key: String,
}

fn pair(change: impl FnOnce(&mut CertificateParams)) -> Pair {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    change(&mut params);
    Pair { cert: params.self_signed(&key).unwrap().pem(), key: key.serialize_pem() }
}

/// Settings of these files; without a text there is no file.
fn bench(cert: Option<&str>, key: Option<&str>, more: &str) -> Bench {
    let mut bench = small_and(&format!("[server.tls]\ncert = \"c.pem\"\nkey = \"k.pem\"\n{more}"));
    for (name, text) in [("c.pem", cert), ("k.pem", key)] {
        if let Some(text) = text {
            bench = bench.file(name, text);
        }
    }
    bench
}

#[track_caller]
fn refused(bench: &Bench, path: &str, words: &str) {
    let invalid = load(&bench.source).expect_err("should be refused");
    let [problem] = &invalid.problems[..] else { panic!("{invalid}") };
    assert_eq!((problem.file.as_str(), problem.path.as_str()), ("alone.toml", path), "{invalid}");
    assert!(problem.message.contains(words) && !invalid.to_string().contains("MII"), "{invalid}");
}

#[test]
fn a_certificate_and_its_key_are_taken_and_never_shown() {
    let good = pair(|_| ());
    let settings = bench(Some(&good.cert), Some(&good.key), "").load();
    let tls = settings.server.tls.as_ref().unwrap();
    assert_eq!(tls.config().alpn_protocols, [b"http/1.1".to_vec()]);
    let shown = format!("{:?}", settings.server);
    assert!(shown.contains("Tls") && shown.len() < 2_000, "{shown}");
    assert!(small_and("").load().server.tls.is_none());
}

#[test]
fn what_does_not_belong_together_is_refused_in_one_line() {
    let (good, other) = (pair(|_| ()), pair(|_| ()));
    let (cert, key) = (good.cert.as_str(), good.key.as_str());
    refused(&bench(None, Some(key), ""), "server.tls.cert", "can't be read: entity not found");
    refused(&bench(Some(cert), None, ""), "server.tls.key", "can't be read: entity not found");
    refused(&bench(Some(key), Some(key), ""), "server.tls.cert", "holds no certificate in PEM form");
    refused(&bench(Some(cert), Some(cert), ""), "server.tls.key", "holds no private key in PEM form");
    refused(&bench(Some(cert), Some(&other.key), ""), "server.tls.key", "isn't the key of the first certificate");
    refused(&bench(Some(&cert[..cert.len() / 2]), Some(key), ""), "server.tls.cert", "");
    refused(&bench(Some(cert), Some(&key[..key.len() / 2]), ""), "server.tls.key", "");
    let locked = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIIB\n-----END ENCRYPTED PRIVATE KEY-----\n";
    refused(&bench(Some(cert), Some(locked), ""), "server.tls.key", "is encrypted");
    refused(&bench(Some(cert), Some(key), "client_ca = \"k.pem\""), "server.tls.client_ca", "holds no certificate");
    refused(&small_and("[server.tls]\ncert = \"c.pem\"").file("c.pem", cert), "server.tls", "`key` is missing");
    refused(&bench(Some(cert), Some(key), "ca = \"x\""), "server.tls.ca", "unknown key");
}

#[test]
fn a_certificate_out_of_its_time_is_refused_and_one_that_nears_its_end_told() {
    let over = pair(|params| params.not_after = rcgen::date_time_ymd(2021, 2, 3));
    refused(&bench(Some(&over.cert), Some(&over.key), ""), "server.tls.cert", "time was over at 2021-02-03T00:00:00Z");
    let early = pair(|params| params.not_before = rcgen::date_time_ymd(4000, 1, 1));
    refused(&bench(Some(&early.cert), Some(&early.key), ""), "server.tls.cert", "isn't valid before 4000-01-01T00:00:00Z");
    // rcgen's own time, in a few days.
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    let soon = epoch + Duration::from_secs(crate::clock::unix_seconds() + 5 * 86_400);
    let soon = pair(|params| params.not_after = soon);
    let notes = bench(Some(&soon.cert), Some(&soon.key), "").notes(NoteKind::Warning);
    assert!(notes.iter().any(|note| note.starts_with("server.tls.cert: its first certificate's time is over at")), "{notes:?}");
}

#[test]
fn other_files_are_a_change_in_force_at_once_and_only_its_begin_and_end_wait() {
    let (one, other) = (pair(|_| ()), pair(|_| ()));
    let before = bench(Some(&one.cert), Some(&one.key), "").load().written;
    let after = bench(Some(&other.cert), Some(&other.key), "").load().written;
    assert_eq!(before.changed(&after), ["server.tls.cert", "server.tls.key"]);
    assert!(before.waiting(&after).is_empty());
    let none = small_and("").load().written;
    assert_eq!(none.waiting(&after), ["server.tls.cert", "server.tls.key"]);
    assert_eq!(after.waiting(&none), ["server.tls.cert", "server.tls.key"]);
}

#[test]
fn authorities_for_callers_are_taken() {
    let good = pair(|_| ());
    let authority = pair(|params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained));
    let bench = bench(Some(&good.cert), Some(&good.key), "client_ca = \"a.pem\"").file("a.pem", &authority.cert);
    assert!(bench.load().server.tls.is_some());
}
