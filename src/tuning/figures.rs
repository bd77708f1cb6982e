//! What a play comes to: failures that callers would have seen, calls wasted on sick targets, how soon breakers noticed and
//! came back, and how often they were wrong.

use std::ops::Range;
use std::time::Duration;

use super::house::Rule;
use super::play::{End, Listener, World, play};
use super::scene::{Scene, Witness};
use super::spells::{Spell, sick};
use super::stands::Stands;
use crate::base::Moment;
use crate::health::{Moved, Outcome, ProviderHealth, State};

/// What a failure that a caller saw weighs beside a wasted call, and that beside a request kept from a well target.
const SEEN: u64 = 100;
const WASTED: u64 = 10;

/// The figures of one play.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    /// Each provider's, by its number.
    pub providers: Vec<ProviderFigures>,
    /// Requests that met no target at all.
    pub refused: u64,
    /// How each target's breaker, or its provider's, stood: by the target's number, from each time on.
    pub timelines: Vec<Vec<(Moment, State)>>,
}

/// One provider's part.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProviderFigures {
    /// Upstream calls.
    pub calls: u64,
    /// Of those, failed ones: wasted on a sick target.
    pub wasted: u64,
    /// Requests whose callers saw a failure, this provider's last.
    pub seen: u64,
    /// Requests that would have gone to a well target of it first, but for its breaker.
    pub kept: u64,
    /// Spells of its targets.
    pub spells: u64,
    /// Of those, spells in which no breaker opened.
    pub missed: u64,
    /// From a spell's beginning to the opening.
    pub eject: Times,
    /// From a spell's end to the closing.
    pub back: Times,
    /// Openings of a breaker whose target was well.
    pub false_ejections: u64,
}

/// Some durations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Times {
    /// How many.
    pub count: u32,
    /// Their sum.
    pub sum: Duration,
    /// The longest.
    pub worst: Duration,
}

impl Times {
    fn add(&mut self, time: Duration) {
        self.count += 1;
        self.sum = self.sum.saturating_add(time);
        self.worst = self.worst.max(time);
    }

    /// Their mean; None where there is none.
    pub fn mean(&self) -> Option<Duration> {
        (self.count > 0).then(|| self.sum / self.count)
    }
}

impl Figures {
    /// All of it in one number to compare: less is better. A failure that a caller saw weighs as much as ten wasted calls
    /// or a hundred requests that went to their second choice.
    pub fn cost(&self) -> u64 {
        let own = self.providers.iter().map(|own| own.seen * SEEN + own.wasted * WASTED + own.kept);
        self.refused * SEEN + own.sum::<u64>()
    }

    /// Failures that callers saw.
    pub fn seen(&self) -> u64 {
        self.refused + self.providers.iter().map(|own| own.seen).sum::<u64>()
    }
}

/// Plays the scene under these rules, one for each provider.
pub fn figures(scene: &Scene, rules: &[Rule]) -> Figures {
    let mut count = Count::new(scene);
    play(scene, rules, 0..scene.requests.len(), &mut Recorded { scene }, &mut count);
    count.finish()
}

/// What those of the scene's requests cost under these rules.
pub(super) fn cost(scene: &Scene, rules: &[Rule], requests: Range<usize>) -> u64 {
    let mut count = Count::new(scene);
    play(scene, rules, requests, &mut Recorded { scene }, &mut count);
    count.figures.cost()
}

/// The world as it is on record.
struct Recorded<'a> {
    scene: &'a Scene,
}

/// What a target without any witness is taken to do.
const UNKNOWN: Duration = Duration::from_millis(500);

impl World for Recorded<'_> {
    fn meets(&mut self, request: usize, target: usize, nth: usize, at: Moment) -> Witness {
        let own = self.scene.own_call(request, target, nth);
        own.or_else(|| nearest(&self.scene.targets[target].calls, at)).cloned().unwrap_or(Witness {
            at,
            outcome: Outcome::Ok,
            latency: UNKNOWN,
            first_token: None,
            first_token_limit: UNKNOWN,
        })
    }
}

/// The call that began nearest to a time; of two as near the earlier.
fn nearest(calls: &[Witness], at: Moment) -> Option<&Witness> {
    let after = calls.partition_point(|call| call.at < at);
    let (before, after) = (after.checked_sub(1).map(|place| &calls[place]), calls.get(after));
    match (before, after) {
        (Some(before), Some(after)) if after.at.since(at) < at.since(before.at) => Some(after),
        (Some(before), _) => Some(before),
        (None, after) => after,
    }
}

/// Counts while it plays.
struct Count<'a> {
    scene: &'a Scene,
    figures: Figures,
    stands: Stands<'a>,
    /// By the model's number: who is asked first.
    first: Vec<Vec<usize>>,
}

impl<'a> Count<'a> {
    fn new(scene: &'a Scene) -> Self {
        let figures = Figures { providers: vec![ProviderFigures::default(); scene.providers.len()], refused: 0, timelines: Vec::new() };
        let first = scene.models.iter().map(|model| {
            let Some(pool) = model.pools.first() else { return Vec::new() };
            let ordered = pool.strategy == crate::routing::Strategy::Ordered;
            pool.members.iter().map(|(target, ..)| *target).take(if ordered { 1 } else { usize::MAX }).collect()
        });
        let first = first.collect();
        Self { scene, figures, stands: Stands::new(scene), first }
    }

    fn is_well(&self, target: usize, at: Moment) -> bool {
        !sick(&self.scene.targets[target].spells, at)
    }

    fn note(&mut self, provider: usize, moved: &[Moved], at: Moment) {
        let scene = self.scene;
        let places = &scene.providers[provider].targets;
        for Moved { target, transition } in moved {
            let meant = target.map_or(&places[..], |place| &places[place..=place]);
            if transition.from == State::Closed && meant.iter().all(|target| self.is_well(*target, at)) {
                self.figures.providers[provider].false_ejections += 1;
            }
            self.stands.step(provider, target.map(|place| places[place]), transition.to, at);
        }
    }

    fn finish(mut self) -> Figures {
        self.figures.timelines = self.stands.lines;
        for (number, target) in self.scene.targets.iter().enumerate() {
            let figures = &mut self.figures.providers[target.provider];
            for spell in &target.spells {
                figures.spells += 1;
                judge(&self.figures.timelines[number], spell, figures);
            }
        }
        self.figures
    }
}

/// How a target's breaker met a spell.
fn judge(line: &[(Moment, State)], spell: &Spell, figures: &mut ProviderFigures) {
    let at = |time: Moment| line.partition_point(|(since, _)| *since <= time).saturating_sub(1);
    let (begin, end) = (at(spell.from), at(spell.to));
    let opened = line[begin..=end].iter().find(|(_, state)| *state != State::Closed);
    match opened {
        Some((since, _)) => figures.eject.add(since.since(spell.from)),
        None => figures.missed += 1,
    }
    if line[end].1 != State::Closed
        && let Some((closed, _)) = line[end..].iter().find(|(_, state)| *state == State::Closed)
    {
        figures.back.add(closed.since(spell.to));
    }
}

impl Listener for Count<'_> {
    fn moved(&mut self, provider: usize, moved: &[Moved], _: i32, _: &ProviderHealth, at: Moment) {
        self.note(provider, moved, at);
    }

    fn ticked(&mut self, provider: usize, moved: &[Moved], _: &ProviderHealth, now: Moment) {
        self.note(provider, moved, now);
    }

    fn came(&mut self, request: usize, _: &[ProviderHealth]) {
        let request = &self.scene.requests[request];
        for target in &self.first[request.model] {
            if self.stands.of(*target) != State::Closed && self.is_well(*target, request.at) {
                self.figures.providers[self.scene.targets[*target].provider].kept += 1;
            }
        }
    }

    fn told(&mut self, provider: usize, told: &crate::health::Told, _: &ProviderHealth) {
        let failed = matches!(told.outcome, Outcome::Transient(_));
        self.figures.providers[provider].wasted += u64::from(failed);
    }

    fn called(&mut self, target: usize, _: Moment) {
        self.figures.providers[self.scene.targets[target].provider].calls += 1;
    }

    fn ended(&mut self, _: usize, end: End, _: Moment) {
        match end {
            End::Served => {}
            End::Failed(target) => self.figures.providers[self.scene.targets[target].provider].seen += 1,
            End::Refused => self.figures.refused += 1,
        }
    }
}

#[cfg(test)]
mod tests;
