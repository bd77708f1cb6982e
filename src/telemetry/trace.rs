//! The log: key=value lines for people or one JSON document a line, written by a thread of its own so that a slow terminal
//! never holds up a worker. Level by STAGEDOOR_LOG (tracing's filter syntax), `info` without.

use std::io::IsTerminal;

use tracing_appender::non_blocking::{NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::FmtSpan;

/// Lines that may wait for a slow reader; more are dropped rather than held against requests.
const WAITING_LINES: usize = 100_000;

/// Starts the log on standard error. Keep the guard until the process ends: dropping it writes what still waits.
pub fn start(json: bool, filter: Option<&str>) -> WorkerGuard {
    let builder = NonBlockingBuilder::default().lossy(true).buffered_lines_limit(WAITING_LINES);
    let (writer, guard): (NonBlocking, _) = builder.finish(std::io::stderr());
    let filter = filter.and_then(|text| EnvFilter::try_new(text).ok()).unwrap_or_else(|| EnvFilter::new("info"));
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer).with_span_events(FmtSpan::NONE);
    // A second start (tests in one process) keeps the first one's log.
    let _ = if json {
        lines.json().flatten_event(true).with_current_span(false).try_init()
    } else {
        lines.with_ansi(std::io::stderr().is_terminal()).try_init()
    };
    guard
}
