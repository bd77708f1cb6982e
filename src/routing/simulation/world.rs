//! The world of one seed: the queue of what happens next, and what follows from each event.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use super::super::heard;
use super::caller::{Call, Request};
use super::judge::Judge;
use super::post::{Actor, Cause, Message, Router};
use super::setting::{Board, Bound, Setting};
use super::upstream::Weather;
use crate::base::Moment;
use crate::health::{Admission, Force, Origin, Outcome, ProviderHealth, State, Told};

/// How long things go wrong.
const STORM: Moment = Moment::from_millis(30_000);
/// How long all are well after it: longer than any rest, and than any open period with its probes.
const CALM: Duration = Duration::from_secs(110);
/// How long a success may wait in a router.
const BATCH: Duration = Duration::from_millis(50);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Arrives,
    Leaves(u64),
    Continues(u64),
    FirstToken(u64),
    Ends(u64),
    Flush(usize),
    Read(usize),
    Tick(usize),
    Weather,
    Operator,
    Reload,
    Death,
    Probe(usize),
    Clears,
}

/// What a run came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Judged {
    pub(super) trace: u64,
    pub(super) requests: u64,
    pub(super) moves: u64,
}

/// See the module's text.
pub(super) struct World {
    now: Moment,
    queue: BinaryHeap<Reverse<(Moment, u64, Event)>>,
    /// Numbers for events, requests and calls.
    next: u64,
    rng: SmallRng,
    setting: Setting,
    board: Board,
    bound: Bound,
    actors: Vec<Actor>,
    routers: Vec<Router>,
    weather: Weather,
    requests: BTreeMap<u64, Request>,
    calls: BTreeMap<u64, Call>,
    judge: Judge,
    arrived: u64,
    /// Between two arrivals, on average.
    pace: Duration,
}

impl World {
    pub(super) fn new(seed: u64) -> Self {
        let mut rng = SmallRng::seed_from_u64(seed);
        let (setting, mut board) = (Setting::random(&mut rng), Board::default());
        let bound = board.bind(&setting);
        let actors = (0..setting.providers.len()).map(|place| {
            let health = machine(place, &setting, &board, &bound, Moment::START);
            Actor { health, mailbox: Default::default(), read_by: Moment::START }
        });
        let (actors, routers) = (actors.collect::<Vec<_>>(), (0..rng.random_range(1..=3)).map(|_| Router::default()).collect::<Vec<_>>());
        let pace = Duration::from_millis(rng.random_range(40..=300));
        let mut world = Self {
            now: Moment::START,
            queue: BinaryHeap::new(),
            next: 0,
            rng,
            setting,
            board,
            bound,
            actors,
            routers,
            weather: Weather::default(),
            requests: BTreeMap::new(),
            calls: BTreeMap::new(),
            judge: Judge::default(),
            arrived: 0,
            pace,
        };
        world.begin();
        world
    }

    fn begin(&mut self) {
        for place in 0..self.actors.len() {
            // The judge knows every breaker before anything moves one.
            self.judge.moved(place, &mut self.actors[place].health, &Cause::Roster, &[], self.now);
            self.after(self.now, Event::Tick(place), 100);
            if self.rng.random_bool(0.3) {
                self.after(self.now, Event::Probe(place), 5_000);
            }
        }
        for (event, most) in [(Event::Arrives, 10), (Event::Weather, 2_000), (Event::Operator, 20_000), (Event::Reload, 20_000)] {
            self.after(self.now, event, most);
        }
        self.after(self.now, Event::Death, 40_000);
        self.at(STORM, Event::Clears);
    }

    fn at(&mut self, time: Moment, event: Event) {
        self.next += 1;
        self.queue.push(Reverse((time, self.next, event)));
    }

    /// Within so many milliseconds.
    fn after(&mut self, from: Moment, event: Event, most_ms: u64) {
        let wait = Duration::from_micros(self.rng.random_range(1..=most_ms * 1_000));
        self.at(from.plus(wait), event);
    }

    pub(super) fn run(mut self) -> Judged {
        while let Some(Reverse((time, _, event))) = self.queue.pop() {
            self.now = self.now.max(time);
            self.judge.note(self.now.micros());
            self.happens(event);
            self.look_around();
        }
        self.look_back();
        Judged { trace: self.judge.trace, requests: self.arrived, moves: self.judge.moves }
    }

    fn storm(&self) -> bool {
        self.now < STORM
    }

    fn over(&self) -> bool {
        self.now >= STORM.plus(CALM)
    }

    fn happens(&mut self, event: Event) {
        match event {
            Event::Arrives => self.arrives(),
            Event::Leaves(request) => self.leaves(request),
            Event::Continues(request) => self.goes_on(request),
            Event::FirstToken(call) => self.first_token(call),
            Event::Ends(call) => self.ends(call),
            Event::Flush(router) => self.flush(router),
            Event::Read(place) => self.reads(place),
            Event::Tick(place) => self.ticks(place),
            // What was still to come of the storm doesn't.
            Event::Weather | Event::Operator | Event::Reload | Event::Death if !self.storm() => {}
            Event::Weather => {
                self.weather.change(&mut self.rng);
                self.again_in_the_storm(event, 1_500);
            }
            Event::Operator => self.orders(),
            Event::Reload => self.reloads(),
            Event::Death => self.dies(),
            Event::Probe(place) => self.probes(place),
            Event::Clears => self.clears(),
        }
    }

    fn again_in_the_storm(&mut self, event: Event, most_ms: u64) {
        if self.storm() {
            self.after(self.now, event, most_ms);
        }
    }

    fn arrives(&mut self) {
        let chain = Arc::clone(&self.bound.chains[self.rng.random_range(0..self.bound.chains.len())]);
        let router = self.rng.random_range(0..self.routers.len());
        let request = Request::new(&chain, self.rng.random_bool(0.6), router, self.now);
        self.next += 1;
        let id = self.next;
        self.requests.insert(id, request);
        self.arrived += 1;
        if self.storm() && self.rng.random_bool(0.05) {
            self.after(self.now, Event::Leaves(id), 1_500);
        }
        self.goes_on(id);
        if !self.over() {
            let pace = if self.storm() { self.pace } else { Duration::from_millis(600) };
            self.after(self.now, Event::Arrives, pace.as_millis() as u64 * 2);
        }
    }

    /// The request picks and calls.
    fn goes_on(&mut self, id: u64) {
        let Some(request) = self.requests.get_mut(&id) else { return };
        let (setting, judge) = (&self.setting, &mut self.judge);
        let gap = |place: usize| setting.providers[place].thresholds.probe_gap;
        let turns = &mut self.routers[request.router].turns;
        let choice = request.next(turns, &mut self.rng, self.now, &mut |ask, picked| judge.picked(ask, picked, gap));
        let Some(choice) = choice else {
            self.is_over(id);
            return;
        };
        let (stream, router, deadline) = (request.stream, request.router, request.plan.deadline());
        let script = self.weather.answer(&choice.taken, stream, deadline, self.now, &mut self.rng);
        self.next += 1;
        let call = self.next;
        if let Some(first) = script.first_token {
            self.at(self.now.plus(first), Event::FirstToken(call));
        }
        self.at(self.now.plus(script.ends), Event::Ends(call));
        let call_under_way = Call {
            request: id,
            router,
            taken: choice.taken,
            by_provider: choice.by_provider,
            by_target: choice.by_target,
            in_flight: choice.in_flight,
            started: self.now,
            first_token: None,
            outcome: script.outcome,
        };
        self.calls.insert(call, call_under_way);
    }

    fn first_token(&mut self, id: u64) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        call.first_token = Some(self.now);
        let (by_provider, by_target) = (call.by_provider.answered(), call.by_target.answered());
        let place = call.taken.target.provider.place;
        if by_provider.is_some() || by_target.is_some() {
            self.send(place, Message::Answered(by_provider, by_target));
        }
    }

    fn ends(&mut self, id: u64) {
        let Some(call) = self.calls.remove(&id) else { return };
        let (taken, outcome, request, started) = (call.taken.clone(), call.outcome.clone(), call.request, call.first_token);
        self.tell(call);
        let Some(asking) = self.requests.get_mut(&request) else { return };
        // What was begun can't be repeated.
        if outcome == Outcome::Ok || started.is_some() {
            self.is_over(request);
            return;
        }
        match asking.failed(&taken, &outcome, self.now, self.rng.random()) {
            Some(then) => self.at(then, Event::Continues(request)),
            None => self.is_over(request),
        }
    }

    fn leaves(&mut self, id: u64) {
        if self.requests.remove(&id).is_none() {
            return;
        }
        let own = self.calls.iter().find(|(_, call)| call.request == id).map(|(call, _)| *call);
        if let Some(mut call) = own.and_then(|call| self.calls.remove(&call)) {
            call.outcome = Outcome::Abandoned;
            self.tell(call);
        }
    }

    fn is_over(&mut self, id: u64) {
        let Some(request) = self.requests.remove(&id) else { return };
        assert!(request.plan.calls() <= request.attempts(), "{request:?}");
        assert!(request.made <= request.attempts() + request.for_keys, "{request:?}");
        self.judge.note(u64::from(request.made));
    }

    fn tell(&mut self, call: Call) {
        drop(call.in_flight);
        heard(&call.taken, &call.outcome, call.started, self.now);
        let target = &call.taken.target;
        let place = target.provider.place;
        let told = Told {
            origin: Origin::default(),
            target: Arc::clone(&target.vitals),
            key: call.taken.key.map(|key| Arc::clone(&target.provider.keys[key].rest)),
            outcome: call.outcome,
            at: self.now,
            latency: self.now.since(call.started),
            first_token: call.first_token.map(|at| at.since(call.started)),
            first_token_limit: target.timeouts.first_token,
            message: String::new(),
            by_provider: call.by_provider,
            by_target: call.by_target,
        };
        match self.routers[call.router].tell(place, told) {
            Some(all) => self.send(place, Message::Reports(all)),
            None => self.at(self.now.plus(BATCH), Event::Flush(call.router)),
        }
    }

    fn flush(&mut self, router: usize) {
        for place in 0..self.routers[router].waiting.len() {
            let all = std::mem::take(&mut self.routers[router].waiting[place]);
            if !all.is_empty() {
                self.send(place, Message::Reports(all));
            }
        }
    }

    /// Now and then a mailbox is full, and what was told is lost with the permits in it.
    fn send(&mut self, place: usize, message: Message) {
        if self.storm() && self.rng.random_bool(0.01) {
            return;
        }
        let actor = &mut self.actors[place];
        actor.read_by = actor.read_by.max(self.now.plus(Duration::from_micros(self.rng.random_range(0..=5_000))));
        actor.mailbox.push_back(message);
        let then = actor.read_by;
        self.at(then, Event::Read(place));
    }

    fn reads(&mut self, place: usize) {
        let (now, judge) = (self.now, &mut self.judge);
        self.actors[place].read(now, &mut self.rng, |health, cause, moved| judge.moved(place, health, cause, moved, now));
    }

    fn ticks(&mut self, place: usize) {
        let health = &mut self.actors[place].health;
        let moved = health.tick(self.now);
        self.judge.moved(place, health, &Cause::Tick, &moved, self.now);
        if !self.over() {
            self.after(self.now, Event::Tick(place), if self.storm() { 1_000 } else { 6_000 });
        }
    }

    fn probes(&mut self, place: usize) {
        if self.weather.reachable(place) {
            let health = &mut self.actors[place].health;
            let moved = health.probed_well(self.now);
            self.judge.moved(place, health, &Cause::Probed, &moved, self.now);
        }
        self.again_in_the_storm(Event::Probe(place), 5_000);
    }

    fn orders(&mut self) {
        let place = self.rng.random_range(0..self.actors.len());
        let force = [Force::Open, Force::Close, Force::Reset, Force::Reset][self.rng.random_range(0..4)];
        let models = self.actors[place].health.targets.len();
        let model = (models > 0 && self.rng.random_bool(0.5)).then(|| self.rng.random_range(0..models));
        self.force(place, force, model);
        self.again_in_the_storm(Event::Operator, 15_000);
    }

    fn force(&mut self, place: usize, force: Force, model: Option<usize>) {
        let health = &mut self.actors[place].health;
        let model = model.map(|model| Arc::clone(&health.targets[model].model));
        let moved = health.force(force, model.as_deref(), self.now).expect("its own model");
        self.judge.moved(place, health, &Cause::Order, &moved, self.now);
    }

    fn reloads(&mut self) {
        self.setting.edit(&mut self.rng);
        self.reload();
        self.again_in_the_storm(Event::Reload, 15_000);
    }

    fn reload(&mut self) {
        self.bound = self.board.bind(&self.setting);
        for (place, actor) in self.actors.iter_mut().enumerate() {
            let (setting, roster) = (&self.setting.providers[place], self.bound.rosters[place].clone());
            actor.health.retune(&setting.thresholds, setting.quarantine, roster, self.now);
            self.judge.moved(place, &mut actor.health, &Cause::Roster, &[], self.now);
        }
    }

    /// An actor panics: what it hadn't read is gone, and its successor goes on from the board.
    fn dies(&mut self) {
        let place = self.rng.random_range(0..self.actors.len());
        let health = machine(place, &self.setting, &self.board, &self.bound, self.now);
        let actor = &mut self.actors[place];
        actor.mailbox.clear();
        actor.health = health;
        self.judge.moved(place, &mut actor.health, &Cause::Roster, &[], self.now);
        self.again_in_the_storm(Event::Death, 30_000);
    }

    /// The storm is over: everyone is well, nobody is held any more, and what a person would mend is mended.
    fn clears(&mut self) {
        self.weather.clear();
        for place in 0..self.actors.len() {
            let health = &self.actors[place].health;
            let models = (0..health.targets.len()).filter(|model| health.targets[*model].breaker.held()).map(Some);
            let held: Vec<_> = models.chain(health.breaker.held().then_some(None)).collect();
            held.into_iter().for_each(|model| self.force(place, Force::Reset, model));
        }
        self.reload();
    }

    /// After each event: what is counted is what there is.
    fn look_around(&self) {
        let calls = self.calls.values().flat_map(|call| [&call.by_provider, &call.by_target]);
        let waiting = self.routers.iter().flat_map(|router| router.waiting.iter().flatten());
        let waiting = waiting.flat_map(|told| [&told.by_provider, &told.by_target]);
        let unread = self.actors.iter().flat_map(Actor::permits);
        let permits: Vec<_> = calls.chain(waiting).chain(unread).filter_map(|by| Some((by.vitals()?, by.epoch))).collect();
        for (scope, vitals) in &self.board.vitals {
            let out = permits.iter().filter(|(own, epoch)| Arc::ptr_eq(own, vitals) && *epoch == vitals.epoch());
            assert_eq!(usize::from(vitals.probes()), out.count(), "{scope:?}: permits");
            let under_way = self.calls.values().filter(|call| {
                let target = &call.taken.target;
                target.provider.place == scope.0 && scope.1.is_none_or(|model| target.place == model)
            });
            assert_eq!(vitals.in_flight() as usize, under_way.count(), "{scope:?}: in flight");
        }
    }

    /// At the end: nothing is left behind, and whoever could be asked has returned.
    fn look_back(&self) {
        assert!(self.requests.is_empty() && self.calls.is_empty());
        for vitals in self.board.vitals.values() {
            assert_eq!((vitals.in_flight(), vitals.probes()), (0, 0));
        }
        for (place, actor) in self.actors.iter().enumerate() {
            let breakers = actor.health.targets.iter().map(|target| (&target.breaker, &target.vitals));
            for (breaker, vitals) in breakers.chain([(&actor.health.breaker, &actor.health.vitals)]) {
                // Nobody came by, but whoever comes may pass.
                let free = matches!(vitals.admit(self.now), Admission::Admit | Admission::Due);
                assert!(free && breaker.state() != State::Open, "{place}: stuck: {breaker:?}");
            }
        }
        for target in self.bound.chains.iter().flat_map(|chain| &chain.pools[0].targets) {
            assert_eq!(target.vitals.published().state, State::Closed, "{} was asked often enough", target.name());
        }
    }
}

fn machine(place: usize, setting: &Setting, board: &Board, bound: &Bound, now: Moment) -> ProviderHealth {
    let (own, vitals) = (&setting.providers[place], &board.vitals[&(place, None)]);
    ProviderHealth::new(&own.thresholds, own.quarantine, Arc::clone(vitals), bound.rosters[place].clone(), now)
}
