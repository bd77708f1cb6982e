//! Reads a record from the gateway's JSON log, line by line. Whatever else the log holds is passed over; what can't be read
//! is counted, never a reason to stop; what is kept is bounded.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use serde::Deserialize;

use super::record::{Call, Event, EventKind, ModelRecord, Move, Ordered, ProviderRecord, Record, Request, Resumed, Run, Watched};
use super::{chains, resumed, thresholds};
use crate::base::Moment;
use crate::health::{Failure, Force, Outcome, Pass, Reason, State};
use crate::routing::{Retry, WhenAllOpen};

/// Calls, and requests, that are kept: some hundred megabytes.
const MOST: usize = 1_000_000;

/// See the module's text.
#[derive(Debug)]
pub struct Reader {
    record: Record,
    providers: HashMap<String, usize>,
    models: HashMap<String, u32>,
    /// Added to the process's own time, the time of day: of the process that writes at present.
    unix_us: Option<u64>,
    calls: usize,
    most: usize,
}

impl Default for Reader {
    fn default() -> Self {
        Self { record: Record::default(), providers: HashMap::new(), models: HashMap::new(), unix_us: None, calls: 0, most: MOST }
    }
}

/// All that any line of the record has. What the line at hand lacks makes it a bad one where it is needed.
#[derive(Deserialize)]
struct Line {
    message: Option<String>,
    seq: Option<u64>,
    request_id: Option<String>,
    attempt: Option<u32>,
    model: Option<String>,
    stream: Option<bool>,
    provider: Option<String>,
    upstream_model: Option<String>,
    outcome: Option<String>,
    kind: Option<String>,
    wait_ms: Option<u64>,
    start_us: Option<u64>,
    start_unix_us: Option<u64>,
    end_us: Option<u64>,
    first_token_us: Option<u64>,
    first_token_limit_ms: Option<u64>,
    state_in: Option<String>,
    epoch: Option<u32>,
    provider_state_in: Option<String>,
    provider_epoch: Option<u32>,
    seen_us: Option<u64>,
    at_us: Option<u64>,
    at_unix_us: Option<u64>,
    from: Option<String>,
    to: Option<String>,
    reason: Option<String>,
    period_us: Option<u64>,
    draw: Option<i32>,
    models: Option<String>,
    thresholds: Option<String>,
    resumed: Option<String>,
    action: Option<String>,
    when_all_open: Option<String>,
    status: Option<u16>,
    chain: Option<String>,
    attempts: Option<u32>,
    same_target: Option<u32>,
    backoff_ms: Option<u64>,
    budget_ratio: Option<u32>,
    budget_min: Option<u64>,
}

impl Reader {
    /// Takes a line of the log.
    pub fn line(&mut self, line: &[u8]) {
        if line.trim_ascii().is_empty() {
            return;
        }
        let taken = match serde_json::from_slice::<Line>(line) {
            Ok(line) => self.take(line),
            Err(_) => None,
        };
        match taken {
            Some(true) => self.record.lines.used += 1,
            Some(false) => self.record.lines.other += 1,
            None => self.record.lines.bad += 1,
        }
    }

    /// Counts a line that was too long to be one.
    pub fn bad_line(&mut self) {
        self.record.lines.bad += 1;
    }

    /// What was read.
    pub fn finish(self) -> Record {
        self.record
    }

    /// Whether it belongs to the record; None where it should, but can't be read.
    fn take(&mut self, line: Line) -> Option<bool> {
        match line.message.as_deref() {
            Some("attempt") => self.attempt(&line)?,
            Some("probe answered") => self.answered(&line)?,
            Some("breaker moved" | "breaker moved: this won't mend by itself") => self.moved(&line)?,
            Some("provider watched" | "provider retuned") => self.watched(&line)?,
            Some("operator ordered") => self.ordered(&line)?,
            Some("request") => self.request(&line)?,
            Some("chain") => self.chain(&line)?,
            _ => return Some(false),
        }
        Some(true)
    }

    fn watched(&mut self, line: &Line) -> Option<()> {
        let at = line.at_us?;
        self.unix_us = Some(line.at_unix_us?.saturating_sub(at));
        let thresholds = thresholds::read(line.thresholds.as_deref()?)?;
        let when_all_open = WhenAllOpen::named(line.when_all_open.as_deref()?)?;
        let provider = self.provider(line.provider.as_deref()?);
        let names = line.models.as_deref()?.split(' ').filter(|name| !name.is_empty());
        let targets = names.map(|name| target(&mut self.record.providers[provider], name)).collect();
        let resumed = resumed::read(line.resumed.as_deref().unwrap_or_default())?;
        let resumed = resumed.into_iter().map(|(model, published)| {
            let target = (!model.is_empty()).then(|| target(&mut self.record.providers[provider], model));
            Resumed { target, published }
        });
        let resumed = resumed.collect();
        let watched = Watched { at: Moment::from_micros(at), thresholds, when_all_open, targets, resumed };
        let (unix_us, seen) = (self.unix_us?, line.seen_us.map(Moment::from_micros));
        let runs = &mut self.record.providers[provider].runs;
        match (line.seq, runs.last_mut()) {
            (Some(seq), Some(run)) if seq > 0 => {
                run.events.push(Event { seq, seen: seen.unwrap_or(watched.at), kind: EventKind::Retuned(watched) });
            }
            _ => runs.push(Run { watched: Some(watched), unix_us, ..Run::default() }),
        }
        Some(())
    }

    fn attempt(&mut self, line: &Line) -> Option<()> {
        let call = Call {
            request: number(line.request_id.as_deref()?),
            attempt: line.attempt?,
            model: 0,
            target: 0,
            stream: line.stream?,
            outcome: outcome(line)?,
            start: Moment::from_micros(line.start_us?),
            end: Moment::from_micros(line.end_us?),
            first_token: line.first_token_us.map(Duration::from_micros),
            first_token_limit: Duration::from_millis(line.first_token_limit_ms?),
            by_target: (pass(line.state_in.as_deref()?)?, line.epoch?),
            by_provider: (pass(line.provider_state_in.as_deref()?)?, line.provider_epoch?),
        };
        let (seq, seen) = (line.seq?, Moment::from_micros(line.seen_us?));
        let (provider, name) = (line.provider.as_deref()?, line.upstream_model.as_deref()?);
        let offset = line.start_unix_us?.saturating_sub(line.start_us?);
        if self.calls >= self.most {
            self.record.lines.beyond += 1;
            return Some(());
        }
        self.calls += 1;
        self.unix_us = Some(offset);
        let model = self.model(line.model.as_deref()?);
        let target = self.target(provider, name);
        self.run(provider, offset).events.push(Event { seq, seen, kind: EventKind::Call(Call { model, target, ..call }) });
        Some(())
    }

    fn answered(&mut self, line: &Line) -> Option<()> {
        let (seq, seen, at) = (line.seq?, Moment::from_micros(line.seen_us?), Moment::from_micros(line.at_us?));
        let provider = line.provider.as_deref()?;
        let target = self.target(provider, line.upstream_model.as_deref()?);
        let kind = EventKind::Answered { target, by_target: line.epoch, by_provider: line.provider_epoch, at };
        let unix_us = self.unix_us.unwrap_or(0);
        self.run(provider, unix_us).events.push(Event { seq, seen, kind });
        Some(())
    }

    fn ordered(&mut self, line: &Line) -> Option<()> {
        let (seq, at, provider) = (line.seq?, Moment::from_micros(line.at_us?), line.provider.as_deref()?);
        let force = Force::named(line.action.as_deref()?)?;
        let target = line.upstream_model.as_deref().map(|name| self.target(provider, name));
        let unix_us = self.unix_us.unwrap_or(0);
        self.run(provider, unix_us).events.push(Event { seq, seen: at, kind: EventKind::Ordered(Ordered { force, target, at }) });
        Some(())
    }

    fn moved(&mut self, line: &Line) -> Option<()> {
        let (seq, at, provider) = (line.seq?, Moment::from_micros(line.at_us?), line.provider.as_deref()?);
        let (from, to) = (State::named(line.from.as_deref()?)?, State::named(line.to.as_deref()?)?);
        let reason = Reason::named(line.reason.as_deref()?)?;
        let model = line.model.as_deref()?;
        let target = (!model.is_empty()).then(|| self.target(provider, model));
        let (period, draw) = (line.period_us.map(Duration::from_micros), line.draw);
        let unix_us = line.at_unix_us?.saturating_sub(line.at_us?);
        let run = self.run(provider, unix_us);
        // What isn't told by another line is told by what it moved.
        if run.events.last().is_none_or(|event| event.seq < seq) {
            run.events.push(Event { seq, seen: Moment::START, kind: EventKind::Outside(at) });
        }
        run.moves.push(Move { seq, target, from, to, reason, period, draw, at });
        Some(())
    }

    fn request(&mut self, line: &Line) -> Option<()> {
        let at = Moment::from_micros(line.start_us?.saturating_add(self.unix_us.unwrap_or(0)));
        let (id, stream, status) = (number(line.request_id.as_deref()?), line.stream?, line.status?);
        // Written with quotes, since a caller chose it.
        let name = line.model.as_deref()?.trim_matches('"').to_owned();
        if self.record.requests.len() >= self.most {
            self.record.lines.beyond += 1;
            return Some(());
        }
        let model = self.model(&name);
        self.record.requests.push(Request { id, model, at, stream, status });
        Some(())
    }

    fn chain(&mut self, line: &Line) -> Option<()> {
        let pools = chains::read(line.chain.as_deref()?)?;
        let backoff = Duration::from_millis(line.backoff_ms?);
        let (budget_ratio, budget_min) = (line.budget_ratio?, line.budget_min?);
        let (attempts, same_target) = (line.attempts?, line.same_target?);
        let retry = Retry { attempts, same_target, backoff, budget_ratio, budget_min, ..Retry::default() };
        let model = self.model(line.model.as_deref()?);
        self.record.models[model as usize].chain = Some((pools, retry));
        Some(())
    }

    fn provider(&mut self, name: &str) -> usize {
        if let Some(place) = self.providers.get(name) {
            return *place;
        }
        let place = self.record.providers.len();
        self.providers.insert(name.to_owned(), place);
        self.record.providers.push(ProviderRecord { name: name.to_owned(), targets: Vec::new(), runs: Vec::new() });
        place
    }

    fn target(&mut self, provider: &str, name: &str) -> u32 {
        let place = self.provider(provider);
        target(&mut self.record.providers[place], name)
    }

    fn model(&mut self, name: &str) -> u32 {
        if let Some(place) = self.models.get(name) {
            return *place;
        }
        let place = self.record.models.len() as u32;
        self.models.insert(name.to_owned(), place);
        self.record.models.push(ModelRecord { name: name.to_owned(), chain: None });
        place
    }

    /// The provider's present run; where the record has begun in its midst, one without a beginning.
    fn run(&mut self, provider: &str, unix_us: u64) -> &mut Run {
        let place = self.provider(provider);
        let runs = &mut self.record.providers[place].runs;
        if runs.is_empty() {
            runs.push(Run { unix_us, ..Run::default() });
        }
        let last = runs.len() - 1;
        &mut runs[last]
    }
}

fn target(provider: &mut ProviderRecord, name: &str) -> u32 {
    let place = provider.targets.iter().position(|known| known == name).unwrap_or_else(|| {
        provider.targets.push(name.to_owned());
        provider.targets.len() - 1
    });
    place as u32
}

/// A number that stands for a request's id: two requests share one by chance once in many lifetimes.
fn number(id: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    id.hash(&mut hasher);
    hasher.finish()
}

fn pass(name: &str) -> Option<Pass> {
    [Pass::Normal, Pass::Probe, Pass::LeastBad].into_iter().find(|pass| pass.name() == name)
}

fn outcome(line: &Line) -> Option<Outcome> {
    Some(match line.outcome.as_deref()? {
        "ok" => Outcome::Ok,
        "transient" => Outcome::Transient(Failure::named(line.kind.as_deref()?)?),
        "rate_limited" => Outcome::RateLimited { wait: line.wait_ms.map(Duration::from_millis), whole_key: false },
        "key_fault" => Outcome::KeyFault { sure: false },
        "too_long" => Outcome::TooLong,
        "caller_fault" => Outcome::CallerFault,
        "model_missing" => Outcome::ModelMissing,
        "abandoned" => Outcome::Abandoned,
        _ => return None,
    })
}

#[cfg(test)]
pub(super) mod tests;
