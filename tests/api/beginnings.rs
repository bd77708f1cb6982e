//! What a newcomer's first commands do: `init`, and `check --live`, which asks the providers.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::support::faults::{closed_port, provider_at};
use super::support::{Process, Upstream, answer, plain, status};

fn run(folder: &Path, args: &[&str]) -> (Option<i32>, String) {
    let done = Command::new(env!("CARGO_BIN_EXE_stagedoor")).args(args).env_clear().current_dir(folder).output().unwrap();
    (done.status.code(), format!("{}{}", String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr)))
}

#[test]
fn init_writes_a_file_that_check_takes_and_never_writes_over_one() {
    let folder = tempfile::tempdir().unwrap();
    for (args, name) in [(&["init"][..], "settings/default.toml"), (&["init", "--settings", "mine/s.toml"][..], "mine/s.toml")] {
        let (code, said) = run(folder.path(), args);
        assert!(code == Some(0) && said.contains(name), "{said}");
        let path = folder.path().join(name);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), include_str!("../../settings/default.toml"));
        std::fs::write(&path, "# mine\n").unwrap();
        let (code, said) = run(folder.path(), args);
        assert!(code == Some(3) && said.contains("is there already"), "{said}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "# mine\n");
        std::fs::remove_file(&path).unwrap();
    }
    run(folder.path(), &["init", "--settings", "s.toml"]);
    let (code, said) = run(folder.path(), &["check", "--settings", "s.toml"]);
    assert!(code == Some(0) && said.contains("ok: 7 models"), "{said}");
}

fn keyed(name: &str, url: &str, keys: &[&str]) -> String {
    let keys = keys.iter().map(|key| format!("{{ name = \"{key}\", value = \"sk-{key}\" }}"));
    provider_at(name, url, "").replace("keys = []", &format!("keys = [{}]", keys.collect::<Vec<_>>().join(", ")))
}

#[test]
fn check_live_asks_each_provider_once_with_each_key() {
    let good = Upstream::by(|call| match call.header("authorization").as_deref() {
        Some("Bearer sk-fresh") => plain(r#"{"object":"list","data":[]}"#),
        _ => status(401, "invalid_api_key", ""),
    });
    let model = "[models.m]\ntargets = [{ provider = \"a\", model = \"up\" }]\n";
    let well = keyed("a", &good.url(), &["fresh"]) + model;
    let ended =
        Process::run(&["check", "--live", "--settings", "s.toml"], &[], |folder| std::fs::write(folder.join("s.toml"), &well).unwrap())
            .finish();
    assert_eq!(ended.code, Some(0), "{}{}", ended.stdout, ended.stderr);
    assert!(
        ended.stdout.contains("live: providers.a: answers with the key fresh (200)") && ended.stdout.contains("ok: 1 models"),
        "{}",
        ended.stdout
    );
    let asked: Vec<_> = good.calls().iter().map(|call| call.head.lines().next().unwrap().to_owned()).collect();
    assert_eq!(asked, ["GET /v1/models HTTP/1.1"]);

    let dead = format!("http://{}/v1", closed_port());
    let ill = keyed("a", &good.url(), &["fresh", "stale"]) + &provider_at("b", &dead, "") + model;
    let ended = Process::run(&["check", "--live", "--json", "--settings", "s.toml"], &[], |folder| {
        std::fs::write(folder.join("s.toml"), &ill).unwrap()
    })
    .finish();
    assert_eq!(ended.code, Some(1), "{}{}", ended.stdout, ended.stderr);
    let told: Value = serde_json::from_str(&ended.stdout).unwrap();
    let rows: Vec<_> = told["live"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| (row["provider"].as_str(), row["key"].as_str(), row["ok"].as_bool(), row["status"].as_u64()))
        .collect();
    assert_eq!(
        rows,
        [
            (Some("a"), Some("fresh"), Some(true), Some(200)),
            (Some("a"), Some("stale"), Some(false), Some(401)),
            (Some("b"), None, Some(false), None)
        ]
    );
    assert_eq!(told["ok"], false);
    assert!(!ended.stdout.contains("sk-"), "no key is told: {}", ended.stdout);
}

#[test]
fn check_without_live_asks_nobody() {
    let upstream = Upstream::answering(answer("hi"));
    let text = keyed("a", &upstream.url(), &["k"]) + "[models.m]\ntargets = [{ provider = \"a\", model = \"up\" }]\n";
    let ended = Process::with_settings("check", &text, &[]).finish();
    assert_eq!((ended.code, upstream.count()), (Some(0), 0), "{}", ended.stderr);
}

/// `check` and `serve` agree on what can't be had; neither leaves anything behind.
#[test]
fn check_finds_what_serve_would_stumble_over() {
    let upstream = Upstream::answering(answer("hi"));
    let model = upstream.provider("p") + "[models.m]\ntargets = [{ provider = \"p\", model = \"up\" }]\n";
    let keys = "[[auth.keys]]\nname = \"a\"\nkey = { value = \"sk-app-0123456789abcdef0123456789\" }\n";
    for (more, path) in [
        // An address that is kept for documents, so nobody's own.
        (format!("{keys}[server]\nhost = \"192.0.2.1\"\nport = 8000\n"), "server.host"),
        ("[admin]\nlisten = \"192.0.2.1:8001\"\n".to_owned(), "admin.listen"),
        ("[store]\nurl = \"sqlite:///dev/null/data/s.db\"\n".to_owned(), "store.url"),
    ] {
        let text = more + &model;
        let checked = Process::with_settings("check", &text, &[]).finish();
        assert!(checked.code == Some(1) && checked.stderr.contains(path), "{path}: {}{}", checked.stdout, checked.stderr);
        let port = if path == "server.host" { "8000" } else { "0" };
        assert_eq!(Process::with_settings("serve", &text, &[("STAGEDOOR__SERVER__PORT", port)]).finish().code, Some(3), "{path}");
    }
}

#[test]
fn check_does_not_mind_the_gateway_beside_it() {
    let upstream = Upstream::answering(answer("hi"));
    let text = upstream.provider("p") + "[models.m]\ntargets = [{ provider = \"p\", model = \"up\" }]\n";
    let running = Process::serve(&text, &[]);
    let port = running.address().port().to_string();
    let checked = Process::with_settings("check", &text, &[("STAGEDOOR__SERVER__PORT", &port)]).finish();
    assert_eq!(checked.code, Some(0), "{}", checked.stderr);
}
