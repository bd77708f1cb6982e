//! A scene played: every request picks, calls, fails over and repeats by the code that serves real ones, at the scene's own
//! times. What a call meets is told by a world; what happens is told to a witness.
//!
//! Left out, since no threshold changes it: keys and quotas, concurrency limits, hedges, what the caller's own request
//! lacks. Ends of calls are told at once, not in batches of 50 ms.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ops::Range;
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use super::exact::DRAWN;
use super::house::{House, Rule, deadline};
use super::scene::{Scene, Witness};
use crate::base::Moment;
use crate::health::{Admitted, InFlight, Moved, Origin, Outcome, Pass, ProviderHealth, Told};
use crate::routing::{Around, Ask, Next, Plan, Taken, Tried, Turns, pick, servable};

/// How often time is let pass, as a provider's actor does.
const TICK: Duration = Duration::from_millis(100);
/// Any number would do: the same for every play, so that they differ by their rules alone.
const SEED: u64 = 7;

/// What a call meets.
pub(crate) trait World {
    /// How a call of the request to the target goes that begins then; `nth` of its calls to it, from 0.
    fn meets(&mut self, request: usize, target: usize, nth: usize, at: Moment) -> Witness;
}

/// Who is told what happens. All is optional.
pub(crate) trait Listener {
    /// Whose call it is, for its report.
    fn origin(&mut self, _request: usize, _attempt: u32, _target: usize) -> Origin {
        Origin::default()
    }
    /// A call's end is about to be counted.
    fn told(&mut self, _provider: usize, _told: &Told, _health: &ProviderHealth) {}
    /// A probe has its first content.
    fn answered(&mut self, _provider: usize, _by: (&Origin, &Option<Admitted>, &Option<Admitted>), _now: Moment) {}
    /// Breakers have moved by what was told last; `draw` in steps.
    fn moved(&mut self, _provider: usize, _moved: &[Moved], _draw: i32, _health: &ProviderHealth, _at: Moment) {}
    /// Time was let pass.
    fn ticked(&mut self, _provider: usize, _moved: &[Moved], _health: &ProviderHealth, _now: Moment) {}
    /// A request begins.
    fn came(&mut self, _request: usize, _healths: &[ProviderHealth]) {}
    /// A call begins.
    fn called(&mut self, _target: usize, _at: Moment) {}
    /// A request has ended: served, or with the target that failed it last (None: none could be tried).
    fn ended(&mut self, _request: usize, _end: End, _at: Moment) {}
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// With an answer, or as it would have anywhere.
    Served,
    /// With a failure, this target's last.
    Failed(usize),
    /// No target could be tried.
    Refused,
}

/// Plays those of the scene's requests.
pub(crate) fn play(scene: &Scene, rules: &[Rule], requests: Range<usize>, world: &mut impl World, listener: &mut impl Listener) {
    let house = House::new(scene, rules);
    let ticked = vec![Moment::START; house.healths.len()];
    let rng = SmallRng::seed_from_u64(SEED);
    Play {
        scene,
        house,
        world,
        listener,
        queue: BinaryHeap::new(),
        order: 0,
        live: Vec::new(),
        free: Vec::new(),
        ticked,
        turns: Turns::default(),
        rng,
    }
    .run(requests);
}

/// What is due at a time, for the live request at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    /// Its call has its first content.
    Content(usize),
    /// Its call has ended.
    End(usize),
    /// It repeats a call.
    Repeat(usize),
    /// An open period is over.
    Nothing,
}

/// A request under way.
struct Live {
    request: usize,
    plan: Plan,
    only: Option<Taken>,
    attempts: u32,
    /// Targets called so far.
    called: Vec<usize>,
    call: Option<Under>,
}

/// A call under way.
struct Under {
    taken: Taken,
    target: usize,
    by_provider: Admitted,
    by_target: Admitted,
    in_flight: (InFlight, InFlight),
    meets: Witness,
    origin: Origin,
}

struct Play<'a, W, L> {
    scene: &'a Scene,
    house: House,
    world: &'a mut W,
    listener: &'a mut L,
    queue: BinaryHeap<Reverse<(Moment, u64, Due)>>,
    /// Of what is queued for the same time: first come, first served.
    order: u64,
    live: Vec<Option<Live>>,
    free: Vec<usize>,
    ticked: Vec<Moment>,
    turns: Turns,
    rng: SmallRng,
}

impl<W: World, L: Listener> Play<'_, W, L> {
    fn run(mut self, requests: Range<usize>) {
        let scene = self.scene;
        let mut requests = requests.map(|number| (number, &scene.requests[number])).peekable();
        loop {
            let next_due = self.queue.peek().map(|Reverse((at, ..))| *at);
            match requests.peek() {
                Some((number, request)) if next_due.is_none_or(|due| request.at < due) => {
                    self.pass(request.at);
                    self.came(*number, request.at);
                    requests.next();
                }
                _ => {
                    let Some(Reverse((at, _, due))) = self.queue.pop() else { return };
                    self.pass(at);
                    self.due(due, at);
                }
            }
        }
    }

    fn later(&mut self, at: Moment, due: Due) {
        self.order += 1;
        self.queue.push(Reverse((at, self.order, due)));
    }

    /// Lets time pass for everyone, as often as the actors do.
    fn pass(&mut self, now: Moment) {
        for provider in 0..self.ticked.len() {
            if now.since(self.ticked[provider]) >= TICK {
                self.tick(provider, now);
            }
        }
    }

    fn tick(&mut self, provider: usize, now: Moment) {
        self.ticked[provider] = now;
        let health = &mut self.house.healths[provider];
        let moved = health.tick(now);
        self.listener.ticked(provider, &moved, health, now);
    }

    fn came(&mut self, request: usize, at: Moment) {
        self.listener.came(request, &self.house.healths);
        let chain = &self.house.chains[self.scene.requests[request].model];
        chain.budgets.extra.earn(chain.retry.budget_ratio);
        let plan = Plan::new(chain.retry.clone(), deadline(at));
        let live = Live { request, plan, only: None, attempts: 0, called: Vec::new(), call: None };
        let place = self.free.pop().unwrap_or(self.live.len());
        if place == self.live.len() {
            self.live.push(None);
        }
        self.go_on(place, live, at);
    }

    /// The next call of a request, if there is one.
    fn go_on(&mut self, place: usize, mut live: Live, now: Moment) {
        let request = &self.scene.requests[live.request];
        let chain = &self.house.chains[request.model];
        let choice = loop {
            let ask = Ask {
                stream: request.stream,
                only: live.only.as_ref().map(|taken| taken.number),
                last_resort: !live.plan.last_resort_used && live.only.is_none(),
                ..Ask::any(chain, &live.plan.tried, now)
            };
            match pick(&ask, &mut self.turns, &mut self.rng) {
                Ok(choice) => break choice,
                Err(_) => match live.only.take().map(|taken| live.plan.leave(&taken)) {
                    Some(Next::OtherTarget | Next::OtherKey | Next::Repeat { .. }) => {}
                    Some(Next::Stop(_)) | None => {
                        let end = live.called.last().map_or(End::Refused, |target| End::Failed(*target));
                        return self.ended(place, &live, end, now);
                    }
                },
            }
        };
        live.plan.last_resort_used |= choice.by_target.pass == Pass::LeastBad || choice.by_provider.pass == Pass::LeastBad;
        live.plan.calling();
        live.attempts += 1;
        let target = self.scene.providers[choice.taken.target.provider.place].targets[choice.taken.target.place];
        let nth = live.called.iter().filter(|called| **called == target).count();
        live.called.push(target);
        let mut meets = self.world.meets(live.request, target, nth, now);
        if let Some((outcome, latency)) = &request.own {
            meets = Witness { outcome: outcome.clone(), latency: *latency, first_token: None, ..meets };
        }
        meets.first_token = meets.first_token.filter(|_| request.stream);
        self.listener.called(target, now);
        let origin = self.listener.origin(live.request, live.attempts, target);
        if let Some(first) = meets.first_token {
            self.later(now.plus(first.min(meets.latency)), Due::Content(place));
        }
        self.later(now.plus(meets.latency), Due::End(place));
        let (by_provider, by_target, in_flight) = (choice.by_provider, choice.by_target, choice.in_flight);
        live.call = Some(Under { taken: choice.taken, target, by_provider, by_target, in_flight, meets, origin });
        self.live[place] = Some(live);
    }

    fn due(&mut self, due: Due, now: Moment) {
        match due {
            Due::Content(place) => self.content(place, now),
            Due::End(place) => {
                if let Some(live) = self.live[place].take() {
                    self.call_ended(place, live, now);
                }
            }
            Due::Repeat(place) => {
                if let Some(live) = self.live[place].take() {
                    self.go_on(place, live, now);
                }
            }
            Due::Nothing => (0..self.ticked.len()).for_each(|provider| self.tick(provider, now)),
        }
    }

    fn content(&mut self, place: usize, now: Moment) {
        let Some(call) = self.live[place].as_mut().and_then(|live| live.call.as_mut()) else { return };
        let (by_provider, by_target) = (call.by_provider.answered(), call.by_target.answered());
        if by_provider.is_none() && by_target.is_none() {
            return;
        }
        let provider = call.taken.target.provider.place;
        self.listener.answered(provider, (&call.origin, &by_provider, &by_target), now);
        let health = &mut self.house.healths[provider];
        let moved = health.answered(by_provider, by_target, now);
        self.listener.moved(provider, &moved, 0, health, now);
    }

    fn call_ended(&mut self, place: usize, mut live: Live, now: Moment) {
        let Some(Under { taken, target, by_provider, by_target, in_flight, meets, origin }) = live.call.take() else { return };
        drop(in_flight);
        let outcome = meets.outcome;
        // What went out can't be taken back: unless it is continued, a stream that breaks later is its caller's failure.
        let broke = meets.first_token.is_some() && outcome != Outcome::Ok && !self.scene.continues;
        let told = Told {
            origin,
            target: std::sync::Arc::clone(&taken.target.vitals),
            key: None,
            outcome: outcome.clone(),
            at: now,
            latency: meets.latency,
            first_token: meets.first_token,
            first_token_limit: meets.first_token_limit,
            message: String::new(),
            by_provider,
            by_target,
        };
        self.tell(taken.target.provider.place, told);
        match outcome {
            Outcome::Transient(_) if broke => self.ended(place, &live, End::Failed(target), now),
            Outcome::Transient(_) => self.failed(place, live, taken, &outcome, now),
            _ => self.ended(place, &live, End::Served, now),
        }
    }

    fn tell(&mut self, provider: usize, told: Told) {
        let (draw, at) = (self.rng.random_range(-DRAWN..=DRAWN), told.at);
        let health = &mut self.house.healths[provider];
        self.listener.told(provider, &told, health);
        let moved = health.record(told, f64::from(draw) / f64::from(DRAWN));
        self.listener.moved(provider, &moved, draw, health, at);
        for period in moved.iter().filter_map(|moved| moved.transition.period) {
            self.later(at.plus(period), Due::Nothing);
        }
    }

    fn failed(&mut self, place: usize, mut live: Live, taken: Taken, outcome: &Outcome, now: Moment) {
        let chain = &self.house.chains[self.scene.requests[live.request].model];
        let mut tried: Tried = live.plan.tried.clone();
        let again = servable(&Ask { only: Some(taken.number), last_resort: false, ..Ask::any(chain, &tried, now) }) > 0;
        tried.target(taken.number);
        let behind = servable(&Ask { last_resort: false, ..Ask::any(chain, &tried, now) });
        let around = Around { behind, again, budget: &chain.budgets.extra, now, draw: self.rng.random() };
        live.only = None;
        match live.plan.after(&taken, outcome, &around) {
            Next::OtherTarget => self.go_on(place, live, now),
            Next::OtherKey => {
                live.only = Some(taken);
                self.go_on(place, live, now);
            }
            Next::Repeat { after } => {
                live.only = Some(taken);
                self.live[place] = Some(live);
                self.later(now.plus(after), Due::Repeat(place));
            }
            Next::Stop(_) => {
                let end = live.called.last().map_or(End::Refused, |target| End::Failed(*target));
                self.ended(place, &live, end, now);
            }
        }
    }

    fn ended(&mut self, place: usize, live: &Live, end: End, now: Moment) {
        self.listener.ended(live.request, end, now);
        self.free.push(place);
    }
}
