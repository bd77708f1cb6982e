//! A gateway in a process of its own, so that what it takes of the machine can be counted.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// The process; killed when dropped.
pub struct Gateway {
    child: Child,
    pub address: SocketAddr,
    _folder: tempfile::TempDir,
}

impl Gateway {
    /// Starts it by `command`, in a folder that holds `settings.toml`, on a free port.
    pub fn start(mut command: Command, settings: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("settings.toml"), settings).unwrap();
        command.current_dir(folder.path()).env("STAGEDOOR__SERVER__PORT", "0").env("STAGEDOOR_LOG", "error");
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let address = lines.find_map(|line| {
            let after = line.split_once("listens on http://")?.1;
            after.trim().parse().ok()
        });
        // What it says later is read, so that it never waits for a reader or loses it.
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, address: address.expect("the gateway tells where it listens"), _folder: folder }
    }

    /// A file that the kernel has about it.
    pub fn proc(&self, file: &str) -> PathBuf {
        format!("/proc/{}/{file}", self.child.id()).into()
    }

    /// A figure of its status, in KB.
    pub fn status(&self, name: &str) -> usize {
        let status = std::fs::read_to_string(self.proc("status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.unwrap().trim().trim_end_matches(" kB").parse().unwrap()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
