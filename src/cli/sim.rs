//! `stagedoor sim`: the simulated upstream behind a port. `GET /__sim/stats` tells what reached it, `POST /__sim/script` gives
//! it a new script (JSON).

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::serve::stop_signal;
use super::{CANT_RUN, failed};
use crate::rehearsal::{Script, Simulator};
use crate::sim;

#[derive(Args, Clone)]
pub(super) struct Options {
    /// The port on 127.0.0.1; 0 takes a free one
    #[arg(long, default_value_t = 9100)]
    port: u16,
    /// What it plays: a TOML file
    #[arg(long, value_name = "FILE")]
    script: Option<PathBuf>,
    /// What its chance begins with
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

pub(super) fn run(options: &Options) -> ExitCode {
    let script = match &options.script {
        None => Script::default(),
        Some(path) => match std::fs::read_to_string(path) {
            Err(error) => {
                eprintln!("stagedoor: {}: {error}", path.display());
                return ExitCode::from(CANT_RUN);
            }
            Ok(text) => match Script::from_toml(&text) {
                Ok(script) => script,
                Err(invalid) => {
                    eprintln!("stagedoor: {}: {invalid}", path.display());
                    return ExitCode::from(CANT_RUN);
                }
            },
        },
    };
    let simulator = Simulator::new(script, options.seed, crate::clock::unix_seconds);
    let ran = actix_rt::System::new().block_on(async {
        let sim = sim::bind(simulator, options.port)?;
        println!("stagedoor sim listens on http://{}/v1", sim.address);
        let handle = sim.server.handle();
        actix_rt::spawn(async move {
            stop_signal().await;
            handle.stop(false).await;
        });
        sim.server.await
    });
    match ran {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&format!("can't listen on 127.0.0.1:{}: {error}", options.port)),
    }
}
