//! A gateway on port 0, from settings as a user would write them.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use stagedoor::app::{App, Parts, Stopper};
use stagedoor::base::Secret;
use stagedoor::proxy::Gateway;
use stagedoor::settings::{Source, load};

use super::client::{Client, Reply};

thread_local! {
    /// The Redis of the gateways that this thread starts, and how many it has started.
    static SHARED: RefCell<Option<(String, usize)>> = const { RefCell::new(None) };
}

/// Plays a scenario whose gateways have a Redis, each a part of its own of it.
pub fn sharing(url: &str, scenario: impl FnOnce()) {
    SHARED.set(Some((url.to_owned(), 0)));
    scenario();
    SHARED.set(None);
}

/// A running gateway; stopped when dropped.
pub struct TestApp {
    pub address: SocketAddr,
    /// Where the admin plane listens, if it has an address of its own.
    pub admin_address: Option<SocketAddr>,
    /// What its workers share.
    pub gateway: Arc<Gateway>,
    stopper: Stopper,
    thread: Option<JoinHandle<()>>,
    folder: tempfile::TempDir,
}

/// The admin key of [`TestApp::administered`], as it is sent.
pub const ADMIN: &str = "Bearer admin-key-of-every-test";

impl TestApp {
    /// From the text of a settings file. The port is set to 0 and logs are off.
    pub fn start(settings: &str) -> Self {
        Self::with(settings, &[], Parts::default())
    }

    /// With an admin key.
    pub fn administered(settings: &str) -> Self {
        let admin_key = ADMIN.strip_prefix("Bearer ").map(Secret::new);
        Self::with(settings, &[], Parts { admin_key, ..Parts::default() })
    }

    /// With variables in the environment, and parts of the test's own (a resolver, a rehearsal script).
    pub fn with(settings: &str, env: &[(&str, &str)], mut parts: Parts) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("settings.toml");
        std::fs::write(&file, settings).unwrap();
        let mut env: BTreeMap<String, String> = env.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        env.insert("STAGEDOOR__SERVER__PORT".into(), "0".into());
        if !settings.contains("[store]") {
            // Most tests need no file on the disk.
            env.insert("STAGEDOOR__STORE__URL".into(), String::new());
        }
        SHARED.with_borrow_mut(|shared| {
            if let Some((url, apps)) = shared {
                // What one gateway of the scenario did is none of the next one's.
                env.insert("STAGEDOOR__SHARED__URL".into(), format!("{url}/{apps}"));
                // What a call did use is told to Redis behind its answer: on one connection before the next call asks.
                env.insert("STAGEDOOR__SERVER__WORKERS".into(), "1".into());
                *apps += 1;
            }
        });
        let source = Source { settings_file: Some(file), folder: folder.path().to_owned(), env, ..Source::default() };
        parts.source = Some(source.clone());
        let settings = load(&source).unwrap_or_else(|invalid| panic!("{invalid}"));
        let (tell, told) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            actix_rt::System::new().block_on(async move {
                let app = App::build(settings, parts).unwrap_or_else(|error| panic!("{error}"));
                tell.send((app.address(), app.admin_address(), app.gateway(), app.stopper())).unwrap();
                app.run_until_stopped().await.unwrap();
            });
        });
        let (address, admin_address, gateway, stopper) = told.recv_timeout(Duration::from_secs(10)).expect("the gateway starts");
        Self { address, admin_address, gateway, stopper, thread: Some(thread), folder }
    }

    /// A client of it.
    pub fn client(&self) -> Client {
        Client::new(self.address)
    }

    /// Writes a file into its folder, as an editor does: beside the old one, then in its place.
    pub fn write(&self, name: &str, text: &str) {
        let (new, file) = (self.folder.path().join("new"), self.folder.path().join(name));
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&new, text).unwrap();
        std::fs::rename(new, file).unwrap();
    }

    /// Writes other settings and has them put in force; the answer of POST /admin/reload.
    pub fn reload(&self, settings: &str) -> Reply {
        self.write("settings.toml", settings);
        self.admin("/admin/reload", "")
    }

    /// A POST to the admin plane with the admin key.
    pub fn admin(&self, path: &str, body: &str) -> Reply {
        Client::new(self.admin_address.unwrap_or(self.address)).post(path, &[("authorization", ADMIN)], body)
    }

    /// One plain chat call.
    pub fn chat(&self, model: &str) -> Reply {
        self.client().post("/v1/chat/completions", &[], &super::chat_body(model))
    }

    /// One streamed chat call, read to its end.
    pub fn stream(&self, model: &str) -> Reply {
        self.client().post("/v1/chat/completions", &[], &super::stream_body(model))
    }

    /// /health as JSON.
    pub fn health(&self) -> serde_json::Value {
        self.client().get("/health").json()
    }

    /// The value of a series in /metrics whose line begins so; 0 where there is none.
    pub fn metric(&self, series: &str) -> f64 {
        let page = self.client().get("/metrics").text();
        let line = page.lines().find(|line| line.strip_prefix(series).is_some_and(|rest| rest.starts_with(' ')));
        line.map_or(0.0, |line| line.rsplit(' ').next().unwrap().parse().unwrap())
    }

    /// Waits until a fact holds; fails after a while with what it was about.
    pub fn until(&self, what: &str, mut fact: impl FnMut(&Self) -> bool) {
        let end = Instant::now() + Duration::from_secs(10);
        while !fact(self) {
            assert!(Instant::now() < end, "still not so: {what}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for TestApp {
    fn drop(&mut self) {
        let stopper = self.stopper.clone();
        let stop = std::thread::spawn(move || actix_rt::System::new().block_on(async move { stopper.stop().await }));
        let stopped = stop.join().is_ok() && self.thread.take().is_none_or(|thread| thread.join().is_ok());
        if !std::thread::panicking() {
            assert!(stopped, "the gateway ended with a panic");
        }
    }
}
