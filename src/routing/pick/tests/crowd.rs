//! Many callers, three equal providers, one of which falls ill: the real picker over the real health machines, in virtual
//! time, told of ends as a gateway tells them (successes in batches of 50 ms, failures at once).

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use rand::RngExt;

use super::*;
use crate::health::{Failure, Origin, Outcome, ProviderHealth, Roster, Seat, Thresholds, Told};

const BATCH: Duration = Duration::from_millis(50);
/// What each provider takes when it is well.
const WELL: Duration = Duration::from_millis(200);
/// When the last of the three falls ill.
const ILL_FROM: Moment = Moment::from_millis(20_000);
const SETTLED: Duration = Duration::from_secs(5);

fn after(seconds: u64) -> Moment {
    Moment::from_millis(seconds * 1_000)
}

/// How a call to a target goes.
type Fate = fn(ill: bool, rng: &mut SmallRng) -> (Duration, Outcome);

struct Call {
    began: Moment,
    sent: Moment,
    tried: Tried,
    choice: Choice,
    outcome: Outcome,
}

/// A request as its caller saw it.
struct Served {
    began: Moment,
    took: Duration,
    /// The targets that it was sent to.
    sent_to: Vec<usize>,
}

struct Crowd {
    chain: Chain,
    healths: Vec<ProviderHealth>,
    turns: Turns,
    rng: SmallRng,
    now: Moment,
    /// Ends by their time, and among equals in order.
    ends: BinaryHeap<Reverse<(Moment, u64)>>,
    calls: std::collections::HashMap<u64, (Call, Vec<usize>)>,
    next: u64,
    waiting: Vec<(usize, Told)>,
    fate: Fate,
    served: Vec<Served>,
    /// While the third target is ill.
    ill: std::ops::Range<Moment>,
}

impl Crowd {
    fn new(strategy: Strategy, fate: Fate, seed: u64) -> Self {
        let targets: Vec<_> = (0..3).map(|n| target(&provider(&format!("p{n}"), 0), "m")).collect();
        let chain = chain(strategy, vec![targets]);
        let health = |target: &Arc<Target>| {
            let seat = Seat { model: "m".into(), vitals: Arc::clone(&target.vitals), rests: Arc::clone(&target.key_rests) };
            let roster = Roster { targets: vec![seat], keys: Vec::new() };
            ProviderHealth::new(&Thresholds::default(), Duration::ZERO, Arc::clone(&target.provider.vitals), roster, Moment::START)
        };
        let healths = chain.pools[0].targets.iter().map(health).collect();
        Self {
            chain,
            healths,
            turns: Turns::default(),
            rng: SmallRng::seed_from_u64(seed),
            now: Moment::START,
            ends: BinaryHeap::new(),
            calls: std::collections::HashMap::new(),
            next: 0,
            waiting: Vec::new(),
            fate,
            served: Vec::new(),
            ill: ILL_FROM..after(1_000),
        }
    }

    /// Requests come at random, so many a second, until `end`.
    fn run(&mut self, per_second: f64, end: Moment) {
        let (mut arrival, mut batch) = (Moment::START, Moment::START.plus(BATCH));
        while arrival < end {
            let first_end = self.ends.peek().map_or(end, |Reverse((at, _))| *at);
            if batch <= first_end.min(arrival) {
                self.now = batch;
                self.tell_all();
                self.healths.iter_mut().for_each(|health| drop(health.tick(batch)));
                batch = batch.plus(BATCH);
            } else if first_end <= arrival {
                self.now = first_end;
                if let Some(Reverse((_, number))) = self.ends.pop() {
                    self.ended(number);
                }
            } else {
                self.now = arrival;
                self.send(arrival, Tried::default(), Vec::new());
                let gap = -(1.0 - self.rng.random::<f64>()).ln() / per_second;
                arrival = arrival.plus(Duration::from_secs_f64(gap));
            }
        }
    }

    fn send(&mut self, began: Moment, tried: Tried, mut sent_to: Vec<usize>) {
        let ask = Ask::any(&self.chain, &tried, self.now);
        let Ok(choice) = super::super::pick(&ask, &mut self.turns, &mut self.rng) else { return };
        sent_to.push(choice.taken.number);
        let ill = choice.taken.number == 2 && self.ill.contains(&self.now);
        let (took, outcome) = (self.fate)(ill, &mut self.rng);
        self.next += 1;
        self.ends.push(Reverse((self.now.plus(took), self.next)));
        self.calls.insert(self.next, (Call { began, sent: self.now, tried, choice, outcome }, sent_to));
    }

    fn ended(&mut self, number: u64) {
        let Some((call, sent_to)) = self.calls.remove(&number) else { return };
        let Call { began, sent, mut tried, choice, outcome } = call;
        let Choice { taken, by_provider, by_target, in_flight, reserved: _ } = choice;
        drop(in_flight);
        let told = Told {
            origin: Origin::default(),
            target: Arc::clone(&taken.target.vitals),
            key: None,
            outcome: outcome.clone(),
            at: self.now,
            latency: self.now.since(sent),
            first_token: None,
            first_token_limit: Duration::from_secs(60),
            message: String::new(),
            by_provider,
            by_target,
        };
        let routine = outcome == Outcome::Ok && told.by_target.pass == Pass::Normal && told.by_provider.pass == Pass::Normal;
        self.waiting.push((taken.number, told));
        if !routine {
            self.tell_all();
        }
        if outcome == Outcome::Ok {
            self.served.push(Served { began, took: self.now.since(began), sent_to });
        } else {
            tried.target(taken.number);
            self.send(began, tried, sent_to);
        }
    }

    fn tell_all(&mut self) {
        for (number, told) in self.waiting.drain(..) {
            self.healths[number].record(told, 0.0);
        }
    }

    /// The share of the requests that began so and were sent to the third target, and their 99th percentile.
    fn between(&self, from: Moment, to: Moment) -> (f64, Duration) {
        let among: Vec<_> = self.served.iter().filter(|request| request.began >= from && request.began < to).collect();
        let to_third = among.iter().filter(|request| request.sent_to.contains(&2)).count();
        let mut took: Vec<_> = among.iter().map(|request| request.took).collect();
        took.sort_unstable();
        (to_third as f64 / among.len() as f64, took[took.len() * 99 / 100])
    }
}

/// Around a mean, with a long tail.
fn tailed(mean: Duration, sigma: f64, rng: &mut SmallRng) -> Duration {
    let (a, b): (f64, f64) = (1.0 - rng.random::<f64>(), rng.random());
    let normal = (-2.0 * a.ln()).sqrt() * (std::f64::consts::TAU * b).cos();
    mean.mul_f64((sigma * normal - sigma * sigma / 2.0).exp())
}

/// What each provider takes when it is well: always the same, or now and then more.
const SPREADS: [Fate; 2] = [|ill, _| (slower(WELL, ill), Outcome::Ok), |ill, rng| (tailed(slower(WELL, ill), 0.3, rng), Outcome::Ok)];

fn slower(time: Duration, ill: bool) -> Duration {
    if ill { time * 10 } else { time }
}

#[test]
fn one_of_three_that_turns_ten_times_slower_gets_a_hundredth_and_nobody_notices() {
    for (spread, rate, seed) in [(0, 20.0, 1), (0, 100.0, 2), (0, 400.0, 3), (1, 20.0, 4), (1, 100.0, 5), (1, 400.0, 6)] {
        let mut crowd = Crowd::new(Strategy::Healthiest, SPREADS[spread], seed);
        crowd.run(rate, after(100));
        let (before, well) = crowd.between(after(5), ILL_FROM);
        let (share, p99) = crowd.between(ILL_FROM.plus(SETTLED), after(90));
        eprintln!("{rate} calls/s, spread {spread}: share of the ill {before:.3} before, {share:.4} after 5 s; p99 {well:?} and {p99:?}");
        assert!((0.2..0.45).contains(&before), "{spread} {rate}: {before} while all were well");
        assert!(share <= 0.01, "{spread} {rate}: {share}");
        assert!(p99 <= well.mul_f64(1.5), "{spread} {rate}: {p99:?}, {well:?} while all were well");
    }
}

#[test]
fn once_well_again_it_has_its_share_again() {
    let mut crowd = Crowd::new(Strategy::Healthiest, SPREADS[1], 7);
    crowd.ill = ILL_FROM..after(40);
    crowd.run(100.0, after(140));
    let (share, _) = crowd.between(after(90), after(130));
    assert!((0.2..0.45).contains(&share), "{share}");
}

#[test]
fn one_that_fails_fast_gets_no_more_than_its_share() {
    let always: Fate =
        |ill, _| if ill { (Duration::from_millis(1), Outcome::Transient(Failure::Status(500))) } else { (WELL, Outcome::Ok) };
    // Too few failures for its breaker: what keeps it from looking fast is the choice alone.
    let often: Fate = |ill, rng| {
        if ill && rng.random::<f64>() < 0.3 {
            (Duration::from_millis(1), Outcome::Transient(Failure::Status(500)))
        } else {
            (WELL, Outcome::Ok)
        }
    };
    for (fate, rate, most) in [(always, 20.0, 0.02), (always, 300.0, 0.02), (often, 20.0, 0.34), (often, 300.0, 0.34)] {
        let mut crowd = Crowd::new(Strategy::Healthiest, fate, 8);
        crowd.run(rate, after(80));
        let (share, _) = crowd.between(ILL_FROM, after(70));
        eprintln!("{rate} calls/s: share of the one that fails fast {share:.4}, at most {most}");
        assert!(share <= most, "{rate}: {share}");
    }
}

/// A new target looks fast until it has answered: only by what waits for it can anyone tell that it may not be.
#[test]
fn nobody_rushes_to_a_new_target() {
    for strategy in [Strategy::Healthiest, Strategy::Fastest] {
        let mut crowd = Crowd::new(strategy, |ill, _| (if ill { Duration::from_secs(8) } else { WELL }, Outcome::Ok), 9);
        // Nothing is known of the third when it joins.
        crowd.ill = Moment::START..after(1_000);
        let known: Vec<_> = crowd.chain.pools[0].targets[..2].to_vec();
        known.iter().for_each(|target| observed(target, 200, Moment::START));
        crowd.run(100.0, after(20));
        let (share, _) = crowd.between(Moment::START, after(7));
        assert!(share < 0.34, "{strategy:?}: {share}");
        let (share, _) = crowd.between(after(9), after(11));
        assert!(share <= 0.01, "{strategy:?}: {share}");
    }
}
