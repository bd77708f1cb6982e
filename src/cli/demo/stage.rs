//! What the demo plays on: three simulated providers on ports of their own, the gateway over them, and the director who
//! makes the first one sick and well again.

use std::error::Error;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use actix_rt::time::sleep;
use tokio::sync::mpsc;

use super::ear::News;
use crate::app::{App, CantRun, Parts};
use crate::base::Secret;
use crate::clock::{random_key, unix_seconds};
use crate::rehearsal::{Fault, FaultKind, Script, Simulator};
use crate::settings::{Settings, Source, load};
use crate::sim;

/// The providers, in the order in which the model's targets are written.
pub(super) const NAMES: [&str; 3] = ["alpha", "beta", "gamma"];
/// The public model.
pub(super) const MODEL: &str = "gpt-4o";
/// How fast each of them answers, in milliseconds.
const LATENCIES: [u64; 3] = [40, 60, 90];
/// Words of an answer: a stream of them takes about a third of a second.
const WORDS: u64 = 24;

/// All that runs, the gateway not yet.
pub(super) struct Stage {
    pub(super) app: App,
    pub(super) simulators: [Simulator; 3],
    /// What opens its dashboard.
    pub(super) admin_key: Secret,
}

impl Stage {
    pub(super) fn build(port: u16, heal_after: Duration) -> Result<Self, Box<dyn Error>> {
        let simulators = LATENCIES.map(|latency| Simulator::new(healthy(latency), latency, unix_seconds));
        let mut ports = Vec::new();
        for simulator in &simulators {
            let sim = sim::bind(simulator.clone(), 0)?;
            ports.push(sim.address.port());
            actix_rt::spawn(sim.server);
        }
        let admin_key = random_key();
        let settings = read(&written(port, &ports, heal_after))?;
        let app = App::build(settings, Parts { admin_key: Some(admin_key.clone()), ..Parts::default() }).map_err(|error| match error {
            CantRun::Bind { address, source } => format!("can't listen on {address}: {source}; choose another port with --port").into(),
            other => Box::<dyn Error>::from(other),
        })?;
        Ok(Self { app, simulators, admin_key })
    }
}

fn healthy(latency: u64) -> Script {
    Script { latency: Duration::from_millis(latency), jitter: 0.2, words: Some(WORDS), ..Script::default() }
}

/// The settings as a user would write them. The breaker's times are short, so that a round takes well under a minute.
fn written(port: u16, ports: &[u16], heal_after: Duration) -> String {
    let ms = heal_after.as_millis();
    let mut text = format!(
        "[server]\nport = {port}\nworkers = 2\nshutdown_grace = \"1s\"\n\
         [auth]\nmode = \"open\"\n[store]\nurl = \"\"\n\
         [breaker]\nopen_for = \"{}ms\"\nopen_for_max = \"{}ms\"\nramp = \"{}ms\"\n",
        ms / 5,
        ms / 3,
        ms / 3
    );
    for (name, port) in NAMES.iter().zip(ports) {
        // Writing to a String can't fail.
        let _ = write!(text, "[providers.{name}]\ndialect = \"openai\"\nbase_url = \"http://127.0.0.1:{port}/v1\"\nkeys = []\n");
    }
    let targets = NAMES.map(|name| format!("{{ provider = \"{name}\", model = \"{MODEL}\" }}")).join(", ");
    let _ = write!(text, "[models.\"{MODEL}\"]\nstrategy = \"ordered\"\ntargets = [{targets}]\n");
    text
}

/// Reads them by the usual way, from a file in a folder that is there for that moment. The environment has no say: the
/// demo is the same everywhere.
fn read(text: &str) -> Result<Settings, Box<dyn Error>> {
    let folder = std::env::temp_dir().join(format!("stagedoor-demo-{}", std::process::id()));
    std::fs::create_dir(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let file = PathBuf::from("demo.toml");
    let source = Source { settings_file: Some(file.clone()), folder: folder.clone(), ..Source::default() };
    let settings = match std::fs::write(folder.join(file), text) {
        Ok(()) => load(&source).map_err(|invalid| invalid.to_string()),
        Err(error) => Err(format!("{}: {error}", folder.display())),
    };
    // What is left behind is a few lines in a folder for such things.
    let _ = std::fs::remove_dir_all(&folder);
    Ok(settings?)
}

/// Round after round: well, sick, well again for as long as it was sick.
pub(super) async fn direct(simulator: Simulator, fail_after: Duration, heal_after: Duration, tell: mpsc::Sender<News>) {
    let well = simulator.script();
    let mut sick = well.clone();
    let kind = FaultKind::Status { status: 503, retry_after: None, body: None };
    sick.faults = vec![Fault { kind, from: Duration::ZERO, to: None, ratio: 1.0, after: 0, count: None, model: None, key: None }];
    loop {
        for (wait, script, said) in [
            (fail_after, &sick, "the provider alpha falls sick: it answers 503 to every call"),
            (heal_after, &well, "the provider alpha is well again; the gateway does not know yet"),
        ] {
            sleep(wait).await;
            simulator.set_script(script.clone());
            let _ = tell.send(News::Cue(said)).await;
        }
        sleep(heal_after).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_settings_are_valid_at_every_pace() {
        for heal_after in ["100ms", "3s", "15s", "1h"] {
            let heal_after = crate::base::duration(heal_after).unwrap();
            let settings = read(&written(0, &[1, 2, 3], heal_after)).unwrap();
            assert_eq!(settings.providers.len(), 3);
            assert_eq!(settings.models[MODEL].targets.len(), 3);
        }
    }
}
