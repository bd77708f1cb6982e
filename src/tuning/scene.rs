//! A record made into a stage on which it can be played again: who could be called, how each of them was at every time, and
//! which requests came.
//!
//! How a target was at a time is taken from the call on record that is nearest to it: there is no better witness. Only calls
//! that say something about a target are witnesses; what the caller or a key was at fault for belongs to its request.

use std::collections::{BTreeMap, HashSet};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use super::record::{Call, EventKind, ModelRecord, Record, Run, Watched};
use super::spells::{Spell, spells};
use super::stands::Stands;
use crate::base::Moment;
use crate::health::{Outcome, State, Thresholds};
use crate::routing::{Retry, Strategy, WhenAllOpen};

/// Before the first request: time zero means "never" to the machines.
const LEAD: u64 = 1_000_000;

/// See the module's text. Times are counted from [`Scene::began_unix_us`].
#[derive(Debug, Default)]
pub struct Scene {
    /// The providers.
    pub providers: Vec<SceneProvider>,
    /// The targets, of all providers.
    pub targets: Vec<SceneTarget>,
    /// The public models.
    pub models: Vec<SceneModel>,
    /// The requests, in the order in which they came.
    pub requests: Vec<SceneRequest>,
    /// The time of day at time zero, in microseconds since 1970.
    pub began_unix_us: u64,
    /// When the last call ended.
    pub ended: Moment,
    /// Requests on record whose callers saw a failure.
    pub seen: u64,
    /// Whether a stream that breaks is seen to be continued elsewhere.
    pub continues: bool,
    /// The witnesses among each request's calls: target and place among its calls.
    witnesses: Vec<(u32, u32)>,
}

/// A provider.
#[derive(Debug)]
pub struct SceneProvider {
    /// Its name.
    pub name: Arc<str>,
    /// The thresholds in force at the record's end; None where they aren't on record.
    pub thresholds: Option<Thresholds>,
    /// What happens when nothing else is left.
    pub when_all_open: WhenAllOpen,
    /// Its targets, by their place.
    pub targets: Vec<usize>,
}

/// A target.
#[derive(Debug)]
pub struct SceneTarget {
    /// Its provider's number.
    pub provider: usize,
    /// The provider's own name for the model.
    pub name: Arc<str>,
    /// How calls to it went, in the order in which they began.
    pub calls: Vec<Witness>,
    /// When it was sick.
    pub spells: Vec<Spell>,
}

/// How one call went.
#[derive(Clone, Debug)]
pub struct Witness {
    /// When it began.
    pub at: Moment,
    /// Ok, or a failure of the target's.
    pub outcome: Outcome,
    /// From its start to its end.
    pub latency: Duration,
    /// From its start to its first content.
    pub first_token: Option<Duration>,
    /// The limit that its first token had.
    pub first_token_limit: Duration,
}

/// A public model.
#[derive(Debug)]
pub struct SceneModel {
    /// Its name.
    pub name: Arc<str>,
    /// Its chain.
    pub pools: Vec<ScenePool>,
    /// How often a request may call.
    pub retry: Retry,
    /// Whether the chain is a guess from the calls, since it isn't on record.
    pub guessed: bool,
}

/// A pool of a chain.
#[derive(Debug)]
pub struct ScenePool {
    /// How one is chosen.
    pub strategy: Strategy,
    /// The targets by number, each with its weight and price.
    pub members: Vec<(usize, u32, Option<u64>)>,
}

/// A request.
#[derive(Debug)]
pub struct SceneRequest {
    /// When it came.
    pub at: Moment,
    /// Its model's number.
    pub model: usize,
    /// Whether it asks for a stream.
    pub stream: bool,
    /// How it ends wherever it goes, where that was its own or its caller's doing, and after what time.
    pub own: Option<(Outcome, Duration)>,
    calls: Range<u32>,
}

impl SceneRequest {
    /// One that nothing is on record of but that it came.
    pub fn new(at: Moment, model: usize, stream: bool) -> Self {
        Self { at, model, stream, own: None, calls: 0..0 }
    }
}

impl Scene {
    /// From a record.
    pub fn new(record: &Record) -> Self {
        let mut scene = Self::default();
        let first = record.providers.iter().flat_map(|provider| &provider.runs).filter_map(first_unix_us);
        scene.began_unix_us = first.min().unwrap_or(LEAD).saturating_sub(LEAD);
        for provider in &record.providers {
            scene.add_provider(&provider.name, provider.runs.iter().rev().find_map(in_force));
            for name in &provider.targets {
                scene.target(&provider.name, name);
            }
        }
        let calls = scene.witness(record);
        for target in &mut scene.targets {
            target.spells = spells(&target.calls);
        }
        for model in &record.models {
            scene.add_model(model);
        }
        scene.guess_chains(&calls);
        scene.add_requests(record, calls);
        scene
    }

    /// How the `nth` call of the request's own record to that target went, if there was one.
    pub(super) fn own_call(&self, request: usize, target: usize, nth: usize) -> Option<&Witness> {
        let own = self.witnesses_of(request).iter().filter(|(to, _)| *to as usize == target);
        own.map(|(_, place)| &self.targets[target].calls[*place as usize]).nth(nth)
    }

    /// How all calls of the request's own record went.
    pub(super) fn own_calls(&self, request: usize) -> impl Iterator<Item = &Witness> {
        self.witnesses_of(request).iter().map(|(target, place)| &self.targets[*target as usize].calls[*place as usize])
    }

    fn witnesses_of(&self, request: usize) -> &[(u32, u32)] {
        let Range { start, end } = self.requests[request].calls;
        &self.witnesses[start as usize..end as usize]
    }

    fn add_provider(&mut self, name: &str, watched: Option<&Watched>) -> usize {
        self.providers.push(SceneProvider {
            name: name.into(),
            thresholds: watched.map(|watched| watched.thresholds.clone()),
            when_all_open: watched.map_or(WhenAllOpen::LeastBad, |watched| watched.when_all_open),
            targets: Vec::new(),
        });
        self.providers.len() - 1
    }

    fn target(&mut self, provider: &str, name: &str) -> usize {
        let known = self.providers.iter().position(|known| &*known.name == provider);
        let provider = known.unwrap_or_else(|| self.add_provider(provider, None));
        let own = &self.providers[provider].targets;
        if let Some(target) = own.iter().find(|target| &*self.targets[**target].name == name) {
            return *target;
        }
        self.targets.push(SceneTarget { provider, name: name.into(), calls: Vec::new(), spells: Vec::new() });
        self.providers[provider].targets.push(self.targets.len() - 1);
        self.targets.len() - 1
    }

    /// Takes every call's evidence down; gives the calls by their requests.
    fn witness<'a>(&mut self, record: &'a Record) -> Vec<Told<'a>> {
        let mut calls = Vec::new();
        for provider in &record.providers {
            let targets: Vec<_> = provider.targets.iter().map(|name| self.target(&provider.name, name)).collect();
            for run in &provider.runs {
                let own = run.events.iter().filter_map(|event| match &event.kind {
                    EventKind::Call(call) => Some(call),
                    _ => None,
                });
                let shift = |at: Moment| self.since_began(at.micros().saturating_add(run.unix_us));
                calls.extend(own.map(|call| Told {
                    call,
                    at: shift(call.start),
                    end: shift(call.end),
                    target: targets[call.target as usize],
                    place: None,
                }));
            }
        }
        calls.sort_by_key(|told| told.at);
        for told in &mut calls {
            self.ended = self.ended.max(told.end);
            let says_something = match told.call.outcome {
                Outcome::Ok => true,
                Outcome::Transient(failure) => !failure.is_ours(),
                Outcome::RateLimited { .. } | Outcome::KeyFault { .. } | Outcome::TooLong => false,
                Outcome::CallerFault | Outcome::ModelMissing | Outcome::Abandoned => false,
            };
            if says_something {
                let own = &mut self.targets[told.target].calls;
                told.place = Some(own.len() as u32);
                own.push(witness(told));
            }
        }
        calls
    }

    fn since_began(&self, unix_us: u64) -> Moment {
        Moment::from_micros(unix_us.saturating_sub(self.began_unix_us))
    }

    fn add_model(&mut self, model: &ModelRecord) {
        let (pools, retry) = model.chain.clone().unwrap_or_default();
        let pools = pools.into_iter().map(|pool| ScenePool {
            strategy: pool.strategy,
            members: pool.members.iter().map(|m| (self.target(&m.provider, &m.model), m.weight, m.price)).collect(),
        });
        let pools = pools.collect();
        self.models.push(SceneModel { name: model.name.as_str().into(), pools, retry, guessed: model.chain.is_none() });
    }

    /// Where a chain isn't on record: its targets in the order in which requests tried them.
    fn guess_chains(&mut self, calls: &[Told<'_>]) {
        let mut tried: Vec<BTreeMap<usize, (u64, u64)>> = self.models.iter().map(|_| BTreeMap::new()).collect();
        for told in calls {
            let (attempts, count) = tried[told.call.model as usize].entry(told.target).or_default();
            *attempts += u64::from(told.call.attempt);
            *count += 1;
        }
        for (model, tried) in self.models.iter_mut().zip(tried) {
            if !model.guessed || tried.is_empty() {
                continue;
            }
            let mut members: Vec<_> = tried.into_iter().collect();
            // By the mean place of its attempts.
            members.sort_by(|(_, (a, n)), (_, (b, m))| (u128::from(*a) * u128::from(*m)).cmp(&(u128::from(*b) * u128::from(*n))));
            let members = members.into_iter().map(|(target, _)| (target, 1, None)).collect();
            model.pools = vec![ScenePool { strategy: Strategy::Ordered, members }];
        }
    }

    fn add_requests(&mut self, record: &Record, mut calls: Vec<Told<'_>>) {
        calls.sort_by_key(|told| (told.call.request, told.at, told.call.attempt));
        let mut known = HashSet::new();
        // A caller may use one id for several requests: each begins with its first attempt.
        for own in calls.chunk_by(|a, b| a.call.request == b.call.request && a.call.attempt < b.call.attempt) {
            known.insert(own[0].call.request);
            self.add_request(own);
        }
        // Refused, since nothing could be called.
        for refused in record.requests.iter().filter(|request| request.status == 503 && !known.contains(&request.id)) {
            let (at, model) = (self.since_began(refused.at.micros()), refused.model as usize);
            self.requests.push(SceneRequest::new(at, model, refused.stream));
            self.seen += 1;
        }
        self.requests.retain(|request| !self.models[request.model].pools.is_empty());
        self.requests.sort_by_key(|request| request.at);
        self.ended = self.requests.last().map_or(self.ended, |request| self.ended.max(request.at));
    }

    fn add_request(&mut self, own: &[Told<'_>]) {
        let (first, last) = (&own[0], &own[own.len() - 1]);
        let is = |told: &Told<'_>, outcome: &Outcome| told.call.outcome == *outcome;
        let begin = self.witnesses.len() as u32;
        self.witnesses.extend(own.iter().filter_map(|told| Some((told.target as u32, told.place?))));
        let by_itself = own.iter().find(|told| is(told, &Outcome::CallerFault) || is(told, &Outcome::TooLong));
        let served = own.iter().any(|told| is(told, &Outcome::Ok));
        let left = (!served && is(last, &Outcome::Abandoned)).then_some(last);
        let ends = by_itself.or(left).map(|told| (told.call.outcome.clone(), told.end.since(told.at)));
        let end = self.witnesses.len() as u32;
        if begin == end && ends.is_none() {
            // Keys and quotas alone: no threshold of a breaker would have changed that.
            return;
        }
        self.seen += u64::from(ends.is_none() && !served);
        let broke = |told: &Told<'_>| told.call.first_token.is_some() && matches!(told.call.outcome, Outcome::Transient(_));
        self.continues |= own[..own.len() - 1].iter().any(broke);
        let (model, stream) = (first.call.model as usize, first.call.stream);
        self.requests.push(SceneRequest { at: first.at, model, stream, own: ends, calls: begin..end });
    }

    /// How each target's breaker, or its provider's, stood by the record: as [`super::Figures::timelines`].
    pub fn recorded(&self, record: &Record) -> Vec<Vec<(Moment, State)>> {
        let mut stands = Stands::new(self);
        for (number, provider) in record.providers.iter().enumerate() {
            for run in &provider.runs {
                // A new actor's breakers are new, but for those that went on.
                let began = run.watched.as_ref().map_or(run.moves.first().map(|step| step.at), |watched| Some(watched.at));
                let shift = |at: Moment| self.since_began(at.micros().saturating_add(run.unix_us));
                let resumed = run.watched.iter().flat_map(|watched| &watched.resumed);
                let place = |target: Option<u32>| target.map(|target| self.known_target(number, &provider.targets[target as usize]));
                stands.anew(number, began.map_or(Moment::START, shift));
                for known in resumed {
                    stands.step(number, place(known.target), known.published.state, began.map_or(Moment::START, shift));
                }
                for step in &run.moves {
                    stands.step(number, place(step.target), step.to, shift(step.at));
                }
            }
        }
        stands.lines
    }

    fn known_target(&self, provider: usize, name: &str) -> usize {
        let own = &self.providers[provider].targets;
        own.iter().copied().find(|target| &*self.targets[*target].name == name).unwrap_or_default()
    }

    /// The names of targets, as messages and charts have them.
    pub fn target_name(&self, target: usize) -> String {
        let target = &self.targets[target];
        format!("{}/{}", self.providers[target.provider].name, target.name)
    }
}

/// A call on record, placed on the stage.
struct Told<'a> {
    call: &'a Call,
    at: Moment,
    end: Moment,
    target: usize,
    /// Among its target's witnesses.
    place: Option<u32>,
}

fn witness(told: &Told<'_>) -> Witness {
    let Call { outcome, first_token, first_token_limit, .. } = told.call;
    Witness {
        at: told.at,
        outcome: outcome.clone(),
        latency: told.end.since(told.at),
        first_token: *first_token,
        first_token_limit: *first_token_limit,
    }
}

fn first_unix_us(run: &Run) -> Option<u64> {
    let calls = run.events.iter().filter_map(|event| match &event.kind {
        EventKind::Call(call) => Some(call.start.micros()),
        _ => None,
    });
    calls.min().map(|first| first.saturating_add(run.unix_us))
}

/// The settings that were in force last.
fn in_force(run: &Run) -> Option<&Watched> {
    let retuned = run.events.iter().rev().find_map(|event| match &event.kind {
        EventKind::Retuned(watched) => Some(watched),
        _ => None,
    });
    retuned.or(run.watched.as_ref())
}
