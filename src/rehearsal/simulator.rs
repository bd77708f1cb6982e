//! The simulated upstream itself: takes a call, waits, answers as its script says, and counts.
//!
//! One mutex holds what changes (script, tallies, chance, counts); it is never held across an await and a call takes it a
//! few times for well under a microsecond, which is plenty for an upstream that plays pretend.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use serde::Serialize;
use serde_json::Value;

use super::act::{Act, Reply};
use super::faults::{self, Call, Tally};
use super::media::form;
use super::script::{FaultKind, Script};
use super::waits::Waits;
use crate::base::Moment;

/// A simulated upstream. Clones are the same one.
#[derive(Clone)]
pub struct Simulator {
    theatre: Arc<Theatre>,
}

/// What happened so far. `calls` is always `served + aborted + open`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Stats {
    /// Calls that came.
    pub calls: u64,
    /// Calls that got what the script had for them, faults included.
    pub served: u64,
    /// Calls whose caller left before that: a dropped call or stream.
    pub aborted: u64,
    /// Calls and streams under way.
    pub open: u64,
    /// Calls that a fault struck.
    pub faulted: u64,
}

impl Simulator {
    /// A simulator that plays `script`. The same seed and calls give the same answers; `now_unix` dates them.
    pub fn new(script: Script, seed: u64, now_unix: fn() -> u64) -> Self {
        let scene = Scene::new(script);
        let tallies = vec![Tally::default(); scene.script.faults.len()];
        let state = State {
            scene: Arc::new(scene),
            set_at: Moment::START,
            tallies,
            chance: SmallRng::seed_from_u64(seed),
            stats: Stats::default(),
        };
        // tokio's clock, because the waits are tokio's: both stand still together in tests.
        Self { theatre: Arc::new(Theatre { epoch: tokio::time::Instant::now(), now_unix, state: Mutex::new(state) }) }
    }

    /// Plays `script` from now on: its times and counts begin anew. Streams under way go on as they began.
    pub fn set_script(&self, script: Script) {
        let scene = Scene::new(script);
        let mut state = self.theatre.lock();
        state.tallies = vec![Tally::default(); scene.script.faults.len()];
        state.set_at = self.theatre.now();
        state.scene = Arc::new(scene);
    }

    /// The script that is played.
    pub fn script(&self) -> Script {
        self.theatre.lock().scene.script.clone()
    }

    /// The counts at this moment.
    pub fn stats(&self) -> Stats {
        self.theatre.lock().stats
    }

    /// Answers one call, in its time. `path` is with or without `/v1`; the method is known from the path.
    pub async fn call(&self, path: &str, body: Bytes, authorization: Option<&str>) -> Reply {
        let asked: Value = if body.starts_with(b"--") { form(&body) } else { serde_json::from_slice(&body).unwrap_or_default() };
        drop(body);
        let (visit, mut act) = self.theatre.admit(&asked, authorization);
        let served = act.perform(path, &asked);
        drop(asked);
        act.pause().await;
        act.reply(served, visit)
    }
}

impl fmt::Debug for Simulator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Simulator").field("stats", &self.stats()).finish_non_exhaustive()
    }
}

/// What all clones share.
struct Theatre {
    epoch: tokio::time::Instant,
    now_unix: fn() -> u64,
    state: Mutex<State>,
}

/// What changes.
struct State {
    scene: Arc<Scene>,
    set_at: Moment,
    tallies: Vec<Tally>,
    chance: SmallRng,
    stats: Stats,
}

/// A script made ready: its text is shared by the streams that say it.
pub(super) struct Scene {
    pub(super) script: Script,
    pub(super) text: Option<Arc<str>>,
}

impl Scene {
    fn new(script: Script) -> Self {
        Self { text: script.text.as_deref().map(Arc::from), script }
    }
}

impl Theatre {
    /// A panic elsewhere leaves nothing half done in here: each hold is a few assignments.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Moment {
        Moment::START.plus(self.epoch.elapsed())
    }

    /// Counts a call in and decides its fate.
    fn admit(self: &Arc<Self>, asked: &Value, authorization: Option<&str>) -> (Visit, Act) {
        let call = Call { model: asked["model"].as_str(), key: authorization.map(bearer) };
        let (now, created) = (self.now(), (self.now_unix)());
        let mut state = self.lock();
        let State { scene, set_at, tallies, chance, stats } = &mut *state;
        let fault = faults::strike(&scene.script.faults, tallies, call, now.since(*set_at), chance);
        stats.calls += 1;
        stats.open += 1;
        stats.faulted += u64::from(fault.is_some());
        let factor = if let Some(FaultKind::Slow { factor }) = fault { factor } else { 1.0 };
        let act = Act {
            scene: scene.clone(),
            fault,
            waits: Waits::new(&scene.script, factor, chance.random()),
            chance: SmallRng::seed_from_u64(chance.random()),
            created,
        };
        (Visit { theatre: self.clone(), served: false }, act)
    }
}

/// The key in an authorization header.
fn bearer(authorization: &str) -> &str {
    match authorization.split_once(' ') {
        Some((scheme, key)) if scheme.eq_ignore_ascii_case("bearer") => key.trim(),
        _ => authorization,
    }
}

/// A call that is counted as open until this is dropped, and then as served or aborted.
pub(super) struct Visit {
    theatre: Arc<Theatre>,
    served: bool,
}

impl Visit {
    pub(super) fn served(&mut self) {
        self.served = true;
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        let stats = &mut self.theatre.lock().stats;
        stats.open -= 1;
        if self.served {
            stats.served += 1;
        } else {
            stats.aborted += 1;
        }
    }
}
