//! Two readings compared: which paths are told, which of them wait for a restart, and that no secret is among them.

use super::*;

const BASE: &str = r#"
[server]
port = 9000
[providers.p]
dialect = "openai"
base_url = "http://127.0.0.1:9/v1"
keys = [{ env = "A" }, { file = "b.txt" }]
[models.m]
targets = [{ provider = "p", model = "x" }]
"#;

fn bench(text: &str) -> Bench {
    Bench::alone(text).env("A", "sk-first-secret-of-all").file("b.txt", "sk-second-secret-of-all")
}

fn changed(old: &Bench, new: &Bench) -> Vec<String> {
    old.load().written.changed(&new.load().written)
}

/// What a change of the text is told as.
fn told(from: &str, to: &str) -> Vec<String> {
    assert!(BASE.contains(from));
    changed(&bench(BASE), &bench(&BASE.replace(from, to)))
}

#[test]
fn each_change_is_told_by_its_path() {
    for (from, to, paths) in [
        ("", "# a comment\n", vec![]),
        ("port = 9000", "port = 9001", vec!["server.port"]),
        (
            "[models.m]",
            "[providers.p.breaker]\nopen_for = \"1s\"\nramp = \"0s\"\n[models.m]",
            vec!["providers.p.breaker.open_for", "providers.p.breaker.ramp"],
        ),
        ("[models.m]", "[breaker]\nopen_for = \"1s\"\n[models.m]", vec!["breaker.open_for"]),
        ("[models.m]", "[models.\"n.1\"]\ntargets = [{ provider = \"p\", model = \"y\" }]\n[models.m]", vec!["models.\"n.1\""]),
        (
            "[models.m]",
            "[providers.q]\ndialect = \"openai\"\nbase_url = \"http://127.0.0.1:8/v1\"\nkeys = []\n[models.m]",
            vec!["providers.q"],
        ),
        ("model = \"x\"", "model = \"y\"", vec!["models.m.targets[0].model"]),
        (", { file = \"b.txt\" }", "", vec!["providers.p.keys"]),
        ("{ env = \"A\" }", "{ env = \"A\", weight = 2 }", vec!["providers.p.keys[0].weight"]),
    ] {
        let known = if from.is_empty() { changed(&bench(BASE), &bench(&format!("{to}{BASE}"))) } else { told(from, to) };
        assert_eq!(known, paths, "{to}");
        if !from.is_empty() {
            let back = changed(&bench(&BASE.replace(from, to)), &bench(BASE));
            assert_eq!(back, paths, "back from {to}");
        }
    }
}

#[test]
fn a_secret_that_was_rotated_behind_its_name_is_told_without_itself() {
    for (new, path) in [
        (bench(BASE).env("A", "sk-another-secret"), "providers.p.keys[0]"),
        (bench(BASE).file("b.txt", "sk-another-secret"), "providers.p.keys[1]"),
        (bench(BASE).env("A", ""), "providers.p.keys[0]"),
    ] {
        assert_eq!(changed(&bench(BASE), &new), [path]);
    }
    let shown = format!("{:?}", bench(BASE).load().written);
    assert!(!shown.contains("sk-") && !shown.contains("9000"), "{shown}");
}

#[test]
fn what_a_variable_overrides_is_told_as_the_key_it_is() {
    assert_eq!(changed(&bench(BASE), &bench(BASE).env("STAGEDOOR__BREAKER__RAMP", "1s")), ["breaker.ramp"]);
}

#[test]
fn what_waits_for_a_restart() {
    let text = BASE.replace("port = 9000", "port = 1\nhost = \"localhost\"\nworkers = 3\nmax_body = \"1MiB\"");
    let new = bench(&format!("{text}[admin]\nlisten = \"127.0.0.1:2\"\n[telemetry]\nlog = \"json\"\nmetrics = \"admin\"\n"));
    let waiting = bench(BASE).load().written.waiting(&new.load().written);
    assert_eq!(waiting, ["admin.listen", "server.host", "server.port", "server.workers", "telemetry.log"]);
}

#[test]
fn a_reading_knows_its_files() {
    let bench = bench(BASE);
    let before = read(&bench.source).files;
    assert_eq!(before, read(&bench.source).files);
    assert!(before.may_be("alone.toml".as_ref()) && before.may_be("b.txt".as_ref()) && before.may_be(".env".as_ref()));
    let own = bench.folder.path();
    assert_eq!(before.folders(), [own.to_owned(), own.join("settings")].into(), "a price table may come");
    std::fs::write(bench.folder.path().join("b.txt"), "sk-rotated").unwrap();
    assert_ne!(before, read(&bench.source).files);
}

#[test]
fn a_reload_is_judged_by_the_host_that_is_bound() {
    // Written for loopback, but the socket is where everybody reaches it until a restart.
    let exposed = |mut bench: Bench| {
        bench.source.bound = Some(Bound { serving: "0.0.0.0".into(), admin: String::new() });
        bench
    };
    assert!(exposed(small_and("")).mistakes().contains("auth.keys: no caller key is known"));
    assert!(exposed(small_and("[auth]\nmode = \"open\"")).mistakes().contains("auth.mode"));
    let weak = "[admin]\nkey = { value = \"short\" }\n[auth]\nmode = \"keys\"";
    assert!(exposed(small_and(weak)).mistakes().contains("admin.key: the key has less than"));
    small_and(weak).load();
    let mut listening = small_and(weak);
    listening.source.bound = Some(Bound { serving: "127.0.0.1".into(), admin: "0.0.0.0:8001".into() });
    assert!(listening.mistakes().contains("admin.key: the key has less than"));
    let listen = format!("{}\n[auth]\nmode = \"open\"", weak.replace("\n[auth]\nmode = \"keys\"", "\nlisten = \"0.0.0.0:8001\""));
    assert!(small_and(&listen).mistakes().contains("admin.key: the key has less than"));
}
