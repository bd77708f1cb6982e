//! demo, next
use clap::Args;
use std::process::ExitCode;
#[derive(Args, Clone)]
pub(super) struct Options {}
pub(super) fn run(_: &Options) -> ExitCode {
    ExitCode::SUCCESS
}
