//! Bounds what a failure that repeats may write: of each place in the code, so many warnings and errors a minute; the rest are
//! counted, and their count is told. Under a dead provider each request would otherwise write two lines, however many come.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use dashmap::DashMap;
use tracing::callsite::Identifier;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use crate::base::Moment;
use crate::clock::Clock;

/// So many lines of one place
const BURST: u64 = 200;
/// in this time.
const WINDOW: Duration = Duration::from_secs(60);
/// Of the lines that `tune` reads, so many: each that is missing leaves a gap in what it can check.
const RECORD_BURST: u64 = 1_000;
/// Whose those are.
const RECORD: [&str; 2] = ["stagedoor::actors::chronicle", "stagedoor::proxy::record"];

/// See the module's text.
#[derive(Clone, Debug)]
pub(super) struct Flood {
    places: Arc<DashMap<Identifier, Place>>,
    clock: Clock,
}

/// One place in the code.
#[derive(Clone, Debug)]
struct Place {
    /// Where it is.
    name: String,
    burst: u64,
    since: Moment,
    lines: u64,
    suppressed: u64,
}

impl Place {
    /// Whether one more line may be written.
    fn admits(&mut self, now: Moment) -> bool {
        if now.since(self.since) >= WINDOW {
            (self.since, self.lines) = (now, 0);
        }
        self.lines += 1;
        let admitted = self.lines <= self.burst;
        self.suppressed += u64::from(!admitted);
        admitted
    }
}

impl Flood {
    pub(super) fn new(clock: Clock) -> Self {
        Self { places: Arc::default(), clock }
    }

    /// What wasn't written since the last call, by its place.
    pub(super) fn suppressed(&self) -> Vec<(String, u64)> {
        let counts = self.places.iter_mut().map(|mut place| (place.name.clone(), std::mem::take(&mut place.suppressed)));
        counts.filter(|(_, count)| *count > 0).collect()
    }
}

impl<S: Subscriber> Layer<S> for Flood {
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        let about = event.metadata();
        if *about.level() > Level::WARN {
            return true;
        }
        let now = self.clock.now();
        let place = || {
            let mut name = about.target().to_owned();
            let _ = write!(name, ":{}", about.line().unwrap_or(0));
            let burst = if RECORD.contains(&about.target()) { RECORD_BURST } else { BURST };
            Place { name, burst, since: now, lines: 0, suppressed: 0 }
        };
        self.places.entry(about.callsite()).or_insert_with(place).admits(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_has_its_burst_each_minute_and_the_rest_is_counted() {
        let mut place = Place { name: String::new(), burst: BURST, since: Moment::START, lines: 0, suppressed: 0 };
        let written = |place: &mut Place, at| (0..1_000).filter(|_| place.admits(Moment::from_millis(at))).count();
        assert_eq!((written(&mut place, 0), written(&mut place, 59_999)), (200, 0));
        assert_eq!(place.suppressed, 1_800);
        assert_eq!((written(&mut place, 60_000), place.suppressed), (200, 2_600));
    }
}
