//! The log: key=value lines for people or one JSON document a line, written by a thread of its own so that a slow terminal
//! never holds up a worker. Level by STAGEDOOR_LOG (tracing's filter syntax), `info` without.
//!
//! What isn't written is counted: lines that a slow reader has no room for, and those of a flood (see there).

mod flood;

use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::fmt::format::FmtSpan;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

use self::flood::Flood;
use crate::clock::Clock;

/// Lines that may wait for a slow reader; more are dropped rather than held against requests. Their places are there from the
/// start, 32 bytes each: a quarter of a megabyte.
const WAITING_LINES: usize = 8_192;

/// How often is told what wasn't written.
const TELLING: Duration = Duration::from_secs(10);

/// Lines that weren't written, of the process: of floods, and for want of room.
static SUPPRESSED: AtomicU64 = AtomicU64::new(0);
static DROPPED: AtomicU64 = AtomicU64::new(0);

/// The log while it is kept; dropped, it writes what still waits.
pub struct Log {
    flood: Flood,
    dropped: ErrorCounter,
    _writer: WorkerGuard,
}

/// Starts the log on standard error.
pub fn start(json: bool, filter: Option<&str>) -> Log {
    let builder = NonBlockingBuilder::default().lossy(true).buffered_lines_limit(WAITING_LINES);
    let (writer, guard): (NonBlocking, _) = builder.finish(std::io::stderr());
    let log = Log { flood: Flood::new(Clock::start()), dropped: writer.error_counter(), _writer: guard };
    let filter = filter.and_then(|text| EnvFilter::try_new(text).ok()).unwrap_or_else(|| EnvFilter::new("info"));
    let lines = tracing_subscriber::fmt::layer().with_writer(writer).with_span_events(FmtSpan::NONE);
    let lines = if json {
        lines.json().flatten_event(true).with_current_span(false).boxed()
    } else {
        lines.with_ansi(std::io::stderr().is_terminal()).boxed()
    };
    // A second start (tests in one process) keeps the first one's log.
    let _ = tracing_subscriber::registry().with(filter).with(log.flood.clone()).with(lines).try_init();
    log
}

impl Log {
    /// Tells every now and then what wasn't written, for ever.
    pub async fn watch(self: Arc<Self>) {
        loop {
            tokio::time::sleep(TELLING).await;
            self.tell();
        }
    }

    fn tell(&self) {
        for (place, count) in self.flood.suppressed() {
            SUPPRESSED.fetch_add(count, Ordering::Relaxed);
            tracing::warn!(suppressed = count, like = place, "lines like many before them weren't written");
        }
        let dropped = self.dropped.dropped_lines() as u64;
        let new = dropped.saturating_sub(DROPPED.swap(dropped, Ordering::Relaxed));
        if new > 0 {
            tracing::warn!(dropped = new, "the log's reader is too slow: lines were dropped");
        }
    }
}

/// Lines that weren't written so far: of floods, and for want of room. Known anew every ten seconds.
pub fn unwritten() -> [(&'static str, u64); 2] {
    [("flood", SUPPRESSED.load(Ordering::Relaxed)), ("slow_reader", DROPPED.load(Ordering::Relaxed))]
}
