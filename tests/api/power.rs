//! Row 51: the machine's power goes. The real gateway runs with a shim before its libc, which keeps what the gateway has the disk
//! sync and nothing else; then it is killed, and another begins with what that disk has.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use super::durability::{Locked, ids, settings};
use super::support::{Client, Process, Upstream, answer, chat_body};

const ADMIN: [(&str, &str); 1] = [("authorization", "Bearer admin-key-of-every-test")];

/// The shim, compiled; None where there is no C compiler, which is said, and is a failure where all tests are to run.
fn shim(folder: &Path) -> Option<PathBuf> {
    let (source, made) = (concat!(env!("CARGO_MANIFEST_DIR"), "/tests/api/support/power.c"), folder.join("power.so"));
    let Ok(done) = Command::new("cc").args(["-O1", "-shared", "-fPIC", "-o"]).arg(&made).args([source, "-ldl"]).status() else {
        assert!(std::env::var_os("STAGEDOOR_TEST_ALL").is_none(), "cc is missing");
        println!("skipped: cc is missing");
        return None;
    };
    assert!(done.success());
    Some(made)
}

fn serve(upstream: &Upstream, root: &Path, durability: &str, env: &[(&str, &str)]) -> Process {
    let text = settings(upstream, &format!("{}/s.db", root.display()));
    Process::serve(&text.replace("[store]\n", &format!("[store]\ndurability = \"{durability}\"\n")), env)
}

/// What the gateway after the cut has of what the one before had counted as kept: rows of the store, of the journal, and a key.
fn left_of(durability: &str, shim: &Path) -> [(usize, usize); 3] {
    let folder = tempfile::tempdir().unwrap();
    let [root, disk, after] = ["data", "disk", "after"].map(|name| folder.path().join(name));
    std::fs::create_dir_all(&root).unwrap();
    std::fs::create_dir_all(&after).unwrap();
    std::fs::create_dir_all(disk.join("names")).unwrap();
    let upstream = Upstream::answering(answer("hi"));
    let path = |path: &Path| path.display().to_string();
    let env = [("LD_PRELOAD", path(shim)), ("CUT_ROOT", path(&root)), ("CUT_DISK", path(&disk))];
    let process = serve(&upstream, &root, durability, &env.each_ref().map(|(name, value)| (*name, value.as_str())));
    let client = process.client();
    let key = client.post("/admin/keys", &ADMIN, r#"{"name": "kept"}"#);
    assert_eq!(key.status, 201, "{}", key.text());
    let key = format!("Bearer {}", key.json()["key"].as_str().unwrap());
    let call = |client: &Client| {
        let reply = client.post("/v1/chat/completions", &[("authorization", &key)], &chat_body("m"));
        assert_eq!(reply.status, 200, "{}", reply.text());
        reply.header("x-request-id").unwrap().to_owned()
    };
    // To be told of a row is to be told that it is kept.
    let mut stored = HashSet::new();
    for _ in 0..20 {
        call(&client);
        stored.extend(ids(&client).into_keys());
    }
    assert_eq!(stored.len(), 20);
    let locked = Locked::on(&root.join("s.db"));
    let journaled: HashSet<String> = (0..20).map(|_| call(&client)).collect();
    let end = Instant::now() + Duration::from_secs(10);
    while client.get("/health").json()["ledger"]["journaled"] != 20 {
        assert!(Instant::now() < end, "{}", client.get("/health").text());
        std::thread::sleep(Duration::from_millis(20));
    }
    process.signal("KILL");
    process.gone();
    drop(locked);
    for name in std::fs::read_dir(disk.join("names")).unwrap().map(|entry| entry.unwrap().file_name()) {
        // Of a file that was never synced only the name is left.
        if std::fs::copy(disk.join(&name), after.join(&name)).is_err() {
            std::fs::write(after.join(&name), "").unwrap();
        }
    }
    let process = serve(&upstream, &after, durability, &[]);
    let client = process.client();
    let there: HashSet<String> = ids(&client).into_keys().collect();
    let keys = client.call("GET", "/admin/keys", &ADMIN, "").json()["data"].as_array().map_or(0, Vec::len);
    let of = |kept: &HashSet<String>| (kept.len(), kept.intersection(&there).count());
    [of(&stored), of(&journaled), (1, keys)]
}

#[test]
fn row_51_a_power_cut_takes_nothing_that_was_kept_where_the_host_is_to_be_survived() {
    let folder = tempfile::tempdir().unwrap();
    let Some(shim) = shim(folder.path()) else { return };
    let host = left_of("host", &shim);
    println!("rows of the store, of the journal, keys: kept and left with host {host:?}");
    assert!(host.iter().all(|(kept, left)| kept == left), "{host:?}");
    // The same cut does take what a process alone is to survive: it is one.
    let process = left_of("process", &shim);
    println!("with process {process:?}");
    assert!(process[0].1 < process[0].0, "{process:?}");
    assert_eq!(process[1], (20, 20), "the journal is made safe in any case");
}
