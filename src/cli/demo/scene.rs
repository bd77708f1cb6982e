//! What the demo knows at a moment: turns news into sentences, and counts who serves. Knows nothing of terminals.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;

use super::ear::{Moved, News, Request};
use super::traffic::{OWN, Tally};
use crate::actors::{Describe, Description};
use crate::base::Moment;
use crate::clock::Clock;
use crate::health::State;
use crate::proxy::Gateway;

/// "Lately" is this many seconds.
pub(super) const LATELY: usize = 5;

/// How a sentence is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tone {
    /// By the way.
    Plain,
    /// Something works again.
    Good,
    /// Something broke.
    Bad,
    /// Something is being tried.
    Wary,
}

/// A sentence and its time.
#[derive(Clone, Debug)]
pub(super) struct Line {
    /// Since the demo's start.
    pub(super) at: Duration,
    pub(super) text: String,
    pub(super) tone: Tone,
}

/// The picture at a moment.
#[derive(Debug)]
pub(super) struct Picture {
    pub(super) at: Duration,
    pub(super) rows: Vec<Row>,
    pub(super) answered: u64,
    pub(super) failed: u64,
}

/// One provider in it.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) name: &'static str,
    pub(super) breaker: State,
    /// Until its open period ends.
    pub(super) again_in: Option<Duration>,
    /// Requests that it answered lately.
    pub(super) served: u32,
    /// A time-decayed mean, milliseconds.
    pub(super) latency: Option<u64>,
    /// The kind, and how long ago.
    pub(super) last_error: Option<(String, Duration)>,
}

/// See the module's text.
pub(super) struct Scene {
    clock: Clock,
    began: Moment,
    second: usize,
    parts: Vec<Part>,
}

struct Part {
    name: &'static str,
    /// By the second.
    served: [u32; LATELY],
    closed: bool,
    /// Whether it was said that it serves.
    announced: bool,
}

impl Scene {
    pub(super) fn new(gateway: &Gateway, names: [&'static str; 3]) -> Self {
        let parts = names.map(|name| Part { name, served: [0; LATELY], closed: true, announced: false });
        Self { clock: gateway.clock, began: gateway.clock.now(), second: 0, parts: parts.into() }
    }

    /// The sentences that some news come to.
    pub(super) fn hear(&mut self, news: News) -> Vec<Line> {
        let at = self.clock.now().since(self.began);
        let said = match news {
            News::Cue(text) => vec![(text.to_owned(), Tone::Plain)],
            News::Moved(moved) => vec![self.moved(&moved)],
            News::CallerFailed(why) => vec![(format!("A CALLER'S REQUEST FAILED: {why}"), Tone::Bad)],
            News::Request(request) => self.request(&request),
        };
        said.into_iter().map(|(text, tone)| Line { at, text, tone }).collect()
    }

    fn moved(&mut self, moved: &Moved) -> (String, Tone) {
        let Moved { provider, from, to, reason, period_ms } = moved;
        let closed = to == State::Closed.name();
        if let Some(part) = self.parts.iter_mut().find(|part| part.name == provider) {
            part.closed = closed;
            part.announced &= closed;
        }
        let (then, tone) = match period_ms {
            Some(ms) => (format!("; rests {:.1} s", *ms as f64 / 1e3), Tone::Bad),
            None if closed => ("; its share of the calls grows back".to_owned(), Tone::Good),
            None => ("; the next calls are probes".to_owned(), Tone::Wary),
        };
        (format!("breaker of {provider}: {from} -> {to} ({reason}){then}"), tone)
    }

    fn request(&mut self, request: &Request) -> Vec<(String, Tone)> {
        let mut said = Vec::new();
        let served = self.parts.iter_mut().find(|part| Some(part.name) == request.provider.as_deref());
        if let Some(part) = served {
            part.served[self.second % LATELY] += 1;
            // A probe is not yet serving.
            if part.closed && !part.announced {
                part.announced = true;
                said.push((format!("{} serves", part.name), Tone::Good));
            }
        }
        let own = request.id.starts_with(OWN);
        let failed_over = request.route.contains('!');
        if own && !failed_over && !request.stream {
            return said;
        }
        let whose = if own { "" } else { "your request: " };
        let kind = if request.stream { "stream" } else { "answer" };
        let first = request.first_token_ms.map_or_else(String::new, |ms| format!(", first word after {ms} ms"));
        let text = format!("{whose}{kind} {}{first}, done after {} ms", road(request), request.latency_ms);
        said.push((text, if failed_over { Tone::Wary } else { Tone::Plain }));
        said
    }

    /// A second is over.
    pub(super) fn next_second(&mut self) {
        self.second += 1;
        for part in &mut self.parts {
            part.served[self.second % LATELY] = 0;
            part.announced &= part.served.iter().any(|count| *count > 0);
        }
    }

    /// The picture now, with /health's figures.
    pub(super) async fn look(&self, gateway: &Arc<Gateway>, tally: &Tally) -> Picture {
        let described = join_all((0..gateway.cast.len()).filter_map(|place| Some(gateway.cast.at(place)?.send(Describe)))).await;
        let now = self.clock.now();
        let find = |name: &str| described.iter().flatten().find(|described| &*described.name == name);
        let rows = self.parts.iter().filter_map(|part| Some(row(part, find(part.name)?, now))).collect();
        Picture { at: now.since(self.began), rows, answered: tally.answered.get(), failed: tally.failed.get() }
    }
}

fn row(part: &Part, described: &Description, now: Moment) -> Row {
    Row {
        name: part.name,
        breaker: described.breaker,
        again_in: described.retry_at.filter(|_| described.breaker == State::Open).map(|at| at.since(now)),
        served: part.served.iter().sum(),
        latency: described.latency.map(|latency| latency.ewma),
        last_error: described.last_error.as_ref().map(|error| (error.kind.clone(), now.since(error.at))),
    }
}

/// `alpha/gpt-4o!503,beta/gpt-4o` in words.
fn road(request: &Request) -> String {
    if request.route.is_empty() {
        return format!("{} by the gateway itself, no provider was called", request.status);
    }
    let hops = request.route.split(',').map(|hop| {
        let provider = hop.split('/').next().unwrap_or(hop);
        match hop.rsplit_once('!') {
            Some((_, why)) => format!("{provider} failed ({why})"),
            None => format!("from {provider}"),
        }
    });
    let hops: Vec<_> = hops.collect();
    match (hops.split_last(), request.status) {
        (Some((last, [])), _) => last.clone(),
        (Some((last, failed)), 200) => format!("by failover: {}, then {last}", failed.join(", ")),
        _ => format!("{} with {}", hops.join(", "), request.status),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn road_of(route: &str, status: u64) -> String {
        road(&Request { route: route.into(), status, ..Request::default() })
    }

    #[test]
    fn a_route_reads_as_a_sentence() {
        assert_eq!(road_of("alpha/m", 200), "from alpha");
        assert_eq!(road_of("alpha/m!503,beta/m", 200), "by failover: alpha failed (503), then from beta");
        assert_eq!(road_of("", 404), "404 by the gateway itself, no provider was called");
        assert_eq!(road_of("alpha/m!503,beta/m!reset", 502), "alpha failed (503), beta failed (reset) with 502");
    }
}
