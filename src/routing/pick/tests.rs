//! The filters, the order of the chain, each strategy, and what holds for any chain.

use std::time::Duration;

use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};
use rand::SeedableRng;
use rand::rngs::SmallRng;

use super::super::explain::explain;
use super::super::fixture::{Lever, chain, observed, provider, target};
use super::*;
use crate::health::{KeyHealth, Pass, Vote};

mod crowd;

const NOW: Moment = Moment::from_millis(1_000);

fn after(seconds: u64) -> Moment {
    NOW.plus(Duration::from_secs(seconds))
}

fn ask<'a>(chain: &'a Chain, tried: &'a Tried, now: Moment) -> Ask<'a> {
    Ask::any(chain, tried, now)
}

/// One pick by a router that has made none before.
fn pick(ask: &Ask<'_>, rng: &mut SmallRng) -> Result<Choice, NoTarget> {
    super::pick(ask, &mut Turns::default(), rng)
}

fn rng() -> SmallRng {
    SmallRng::seed_from_u64(42)
}

fn picked(chain: &Chain, tried: &Tried, now: Moment) -> usize {
    pick(&ask(chain, tried, now), &mut rng()).expect("a target").taken.number
}

/// How often each target is picked in a thousand picks, each given back at once.
fn shares(chain: &Chain, now: Moment) -> Vec<u32> {
    let (tried, mut turns, mut rng) = (Tried::default(), Turns::default(), rng());
    let mut counts = vec![0; chain.targets().count()];
    for _ in 0..1_000 {
        counts[super::pick(&ask(chain, &tried, now), &mut turns, &mut rng).unwrap().taken.number] += 1;
    }
    counts
}

fn three(strategy: Strategy) -> Chain {
    let p = provider("p", 0);
    chain(strategy, vec![vec![target(&p, "a"), target(&p, "b"), target(&p, "c")]])
}

#[test]
fn ordered_is_as_written_and_goes_on_along_the_chain() {
    let p = provider("p", 0);
    let chain = chain(Strategy::Ordered, vec![vec![target(&p, "a"), target(&p, "b")], vec![target(&p, "c")]]);
    let mut tried = Tried::default();
    for expected in 0..3 {
        assert_eq!(picked(&chain, &tried, NOW), expected);
        tried.target(expected);
        assert_eq!((servable(&ask(&chain, &tried, NOW)), tried.has(expected), tried.has(expected + 1)), (2 - expected, true, false));
    }
    let none = pick(&ask(&chain, &tried, NOW), &mut rng()).unwrap_err();
    assert!(none.why.iter().all(|(_, why)| *why == Why::Tried));
    assert!(!none.all_resting() && none.all_resting_or_tried());
}

#[test]
fn weights_share_the_traffic() {
    let p = provider("p", 0);
    let chain = chain(Strategy::Weighted, vec![vec![Target { weight: 3, ..target(&p, "a") }, target(&p, "b")]]);
    assert_eq!(shares(&chain, NOW), [750, 250], "exactly, and in turns");
    let (tried, mut turns, mut rng) = (Tried::default(), Turns::default(), rng());
    let order = (0..8).map(|_| super::pick(&ask(&chain, &tried, NOW), &mut turns, &mut rng).unwrap().taken.number);
    assert_eq!(order.collect::<Vec<_>>(), [0, 0, 1, 0, 0, 0, 1, 0]);
}

#[test]
fn the_healthiest_is_the_less_loaded_of_two() {
    let chain = three(Strategy::Healthiest);
    let targets: Vec<_> = chain.targets().map(|(.., t)| Arc::clone(t)).collect();
    for (target, ms) in targets.iter().zip([10, 10, 500]) {
        observed(target, ms, NOW);
    }
    let even = shares(&chain, NOW);
    assert_eq!(even[2], 0, "the slowest of three loses against each: {even:?}");
    assert!(even[0] > 400 && even[1] > 400, "{even:?}");
    let _busy: Vec<_> = (0..4).map(|_| targets[0].vitals.enter()).collect();
    assert_eq!(shares(&chain, NOW)[2], 0, "5 x 10 ms is still less than 500 ms");
    assert!(shares(&chain, NOW)[1] > 600);
}

#[test]
fn a_weight_divides_the_load() {
    let p = provider("p", 0);
    let chain = chain(Strategy::Healthiest, vec![vec![Target { weight: 3, ..target(&p, "a") }, target(&p, "b")]]);
    chain.targets().for_each(|(.., target)| observed(target, 10, NOW));
    let heavy = chain.targets().next().unwrap().2;
    let _one = heavy.vitals.enter();
    assert_eq!(shares(&chain, NOW), [1_000, 0], "two thirds of 10 ms are less than 10 ms");
    let _three = [heavy.vitals.enter(), heavy.vitals.enter()];
    assert_eq!(shares(&chain, NOW), [0, 1_000], "and four thirds are more");
}

#[test]
fn one_that_is_new_looks_fastest_but_not_while_it_is_being_tried() {
    for strategy in [Strategy::Fastest, Strategy::Healthiest] {
        let p = provider("p", 0);
        let chain = chain(strategy, vec![vec![target(&p, "known"), target(&p, "new")]]);
        observed(chain.targets().next().unwrap().2, 30, NOW);
        assert_eq!(shares(&chain, NOW), [0, 1_000], "{strategy:?}");
        let _trying = chain.targets().nth(1).unwrap().2.vitals.enter();
        assert_eq!(shares(&chain, NOW), [1_000, 0], "{strategy:?}");
    }
}

/// Whenever it is asked for chance, all permits that can be had are gone to others.
struct Thief<'a> {
    chain: &'a Chain,
    permits: Vec<crate::health::Permit>,
}

impl rand::TryRng for Thief<'_> {
    type Error = std::convert::Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
        self.permits.extend(self.chain.targets().filter_map(|(.., target)| target.vitals.claim(after(10))));
        Ok(u32::MAX)
    }

    fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
        self.try_next_u32().map(u64::from)
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Self::Error> {
        bytes.fill(0);
        Ok(())
    }
}

#[test]
fn who_loses_its_permits_to_others_meanwhile_goes_on() {
    let p = provider("p", 0);
    let chain = chain(Strategy::Healthiest, vec![vec![target(&p, "a"), target(&p, "b"), target(&p, "c"), target(&p, "well")]]);
    chain.targets().take(3).for_each(|(.., target)| Lever::of(&target.vitals).trip(NOW));
    let mut thief = Thief { chain: &chain, permits: Vec::new() };
    let tried = Tried::default();
    let choice = super::pick(&ask(&chain, &tried, after(10)), &mut Turns::default(), &mut thief).unwrap();
    assert_eq!((choice.taken.number, thief.permits.len()), (3, 3));
}

#[test]
fn one_that_fails_fast_does_not_look_fast() {
    let chain = three(Strategy::Healthiest);
    let targets: Vec<_> = chain.targets().map(|(.., t)| Arc::clone(t)).collect();
    for target in &targets {
        observed(target, 10, NOW);
    }
    observed(&targets[0], 1, NOW);
    let mut lever = Lever::of(&targets[0].vitals);
    for vote in [Vote::Success, Vote::Failure, Vote::Failure] {
        lever.tell(vote, false, Pass::Normal, NOW);
    }
    let shares = shares(&chain, NOW);
    assert_eq!(shares[0], 0, "{shares:?}");
}

#[test]
fn fastest_ignores_load_and_cheapest_prefers_the_price() {
    let chain_of = |strategy| {
        let p = provider("p", 0);
        let priced = |model: &str, price: Option<u64>| Target { price: Arc::new(price.into()), ..target(&p, model) };
        chain(
            strategy,
            vec![vec![
                priced("a", None),
                priced("b", Some(60_000_000_000)),
                priced("c", Some(12_500_000_000)),
                priced("d", Some(12_500_000_000)),
            ]],
        )
    };
    let fastest = chain_of(Strategy::Fastest);
    let targets: Vec<_> = fastest.targets().map(|(.., t)| Arc::clone(t)).collect();
    for (target, ms) in targets.iter().zip([30u64, 10, 20, 40]) {
        observed(target, ms, NOW);
    }
    let _busy: Vec<_> = (0..9).map(|_| targets[1].vitals.enter()).collect();
    assert_eq!(picked(&fastest, &Tried::default(), NOW), 1);
    let cheapest = chain_of(Strategy::Cheapest);
    let busy = cheapest.targets().nth(2).unwrap().2.vitals.enter();
    assert_eq!(picked(&cheapest, &Tried::default(), NOW), 3, "among equal prices the load decides");
    drop(busy);
    let mut tried = Tried::default();
    tried.target(2);
    tried.target(3);
    assert_eq!(picked(&cheapest, &tried, NOW), 1, "an unknown price is last");
}

#[test]
fn an_open_target_is_passed_over_until_its_period_ends_then_probed_first_and_once() {
    let chain = three(Strategy::Ordered);
    let (tried, first) = (Tried::default(), Arc::clone(chain.targets().next().unwrap().2));
    Lever::of(&first.vitals).trip(NOW);
    assert_eq!(picked(&chain, &tried, after(9)), 1);
    let probe = pick(&ask(&chain, &tried, after(10)), &mut rng()).unwrap();
    assert_eq!((probe.taken.number, probe.by_target.pass, probe.by_target.is_probe()), (0, Pass::Probe, true));
    assert_eq!(picked(&chain, &tried, after(10)), 1, "the one permit is out");
    drop(probe);
    assert_eq!(picked(&chain, &tried, after(10)), 0, "given back");
}

#[test]
fn the_providers_breaker_holds_for_all_its_targets() {
    let (p, q) = (provider("p", 0), provider("q", 0));
    let chain = chain(Strategy::Ordered, vec![vec![target(&p, "a"), target(&p, "b")], vec![target(&q, "c")]]);
    Lever::of(&p.vitals).trip(NOW);
    assert_eq!(picked(&chain, &Tried::default(), NOW), 2);
}

#[test]
fn slow_is_ranked_after_every_healthy_one_of_its_pool_and_before_the_next_pool() {
    let p = provider("p", 0);
    let chain = chain(Strategy::Ordered, vec![vec![target(&p, "slow"), target(&p, "good")], vec![target(&p, "other")]]);
    let slow = Arc::clone(chain.targets().next().unwrap().2);
    let mut lever = Lever::of(&slow.vitals);
    for _ in 0..5 {
        lever.tell(Vote::Success, true, Pass::Normal, NOW);
    }
    let mut tried = Tried::default();
    assert_eq!(picked(&chain, &tried, NOW), 1);
    tried.target(1);
    assert_eq!(picked(&chain, &tried, NOW), 0, "slow beats none");
}

#[test]
fn a_returning_target_takes_a_growing_share() {
    let p = provider("p", 0);
    let chain = chain(Strategy::Ordered, vec![vec![target(&p, "back")], vec![target(&p, "other")]]);
    let back = Arc::clone(chain.targets().next().unwrap().2);
    Lever::of(&back.vitals).returned(NOW);
    let closed = after(10);
    let share = |seconds| shares(&chain, closed.plus(Duration::from_secs(seconds)))[0];
    assert!((60..150).contains(&share(0)), "{}", share(0));
    assert!((480..620).contains(&share(5)), "{}", share(5));
    assert_eq!(share(10), 1_000);
    let mut tried = Tried::default();
    tried.target(1);
    assert!((0..50).all(|_| picked(&chain, &tried, closed) == 0), "where nothing else is left it serves all");
}

#[test]
fn whoever_is_left_serves_wherever_it_stands_in_the_chain() {
    let chain = three(Strategy::Ordered);
    let targets: Vec<_> = chain.targets().map(|(.., t)| Arc::clone(t)).collect();
    let mut levers: Vec<_> = targets.iter().map(|target| Lever::of(&target.vitals)).collect();
    [0, 1].into_iter().for_each(|open| levers[open].trip(after(9)));
    (0..3).for_each(|_| levers[2].tell(Vote::Success, true, Pass::Normal, after(9)));
    let all = |now, expected: usize| {
        (0..50).all(|seed| {
            let mut rng = SmallRng::seed_from_u64(seed);
            pick(&ask(&chain, &Tried::default(), now), &mut rng).unwrap().taken.number == expected
        })
    };
    assert!(targets[2].vitals.degraded() && all(after(9), 2), "one that is slow");
    levers[2].returned(NOW);
    assert!(targets[2].vitals.ramp(after(10)) < 0.2 && all(after(10), 2), "one that returns, beyond its share too");
    levers[2].trip(after(18));
    assert!(all(after(19), 0), "one whose open period is over");
}

#[test]
fn with_everything_open_the_least_bad_is_tried_or_refused() {
    let p = provider("p", 0);
    let chain = chain(Strategy::Healthiest, vec![vec![target(&p, "a"), target(&p, "b")]]);
    let targets: Vec<_> = chain.targets().map(|(.., t)| Arc::clone(t)).collect();
    Lever::of(&targets[0].vitals).trip(after(5));
    Lever::of(&targets[1].vitals).trip(NOW);
    let choice = pick(&ask(&chain, &Tried::default(), after(6)), &mut rng()).unwrap();
    assert_eq!((choice.taken.number, choice.by_target.pass), (1, Pass::LeastBad), "it recovers first");
    let tried = Tried::default();
    let refused = Ask { last_resort: false, ..ask(&chain, &tried, after(6)) };
    let none = pick(&refused, &mut rng()).unwrap_err();
    assert_eq!(none.retry_at(), Some(after(10)));
}

#[test]
fn refuse_means_no_last_resort() {
    let mut p = Arc::into_inner(provider("p", 0)).unwrap();
    p.when_all_open = WhenAllOpen::Refuse;
    let p = Arc::new(p);
    let chain = chain(Strategy::Healthiest, vec![vec![target(&p, "a")]]);
    Lever::of(&chain.targets().next().unwrap().2.vitals).trip(NOW);
    assert!(pick(&ask(&chain, &Tried::default(), NOW), &mut rng()).is_err());
}

#[test]
fn the_only_one_asked_for_is_the_one_taken() {
    let (chain, tried) = (three(Strategy::Ordered), Tried::default());
    for number in 0..3 {
        let only = Ask { only: Some(number), ..ask(&chain, &tried, NOW) };
        assert_eq!((servable(&only), pick(&only, &mut rng()).unwrap().taken.number), (1, number));
    }
}

#[test]
fn filters_before_any_hop() {
    let full = {
        let mut p = Arc::into_inner(provider("full", 0)).unwrap();
        p.max_concurrency = 1;
        Arc::new(p)
    };
    let p = provider("p", 0);
    let some = Some(Needs { vision: true, ..Needs::default() });
    let targets = vec![
        target(&full, "a"),
        Target { capabilities: some, ..target(&p, "no-tools") },
        Target { context_window: Some(8_000), ..target(&p, "small") },
        Target { context_window: Some(8_001), ..target(&p, "large") },
    ];
    let chain = chain(Strategy::Ordered, vec![targets]);
    let tried = Tried::default();
    let needs = Needs { tools: true, ..Needs::default() };
    let asked = Ask { needs, larger_than: Some(8_000), ..ask(&chain, &tried, NOW) };
    let held = pick(&asked, &mut rng()).unwrap();
    assert_eq!(held.taken.number, 0);
    assert_eq!(pick(&asked, &mut rng()).unwrap().taken.number, 3, "full, unfit and too small are passed over");
    let why: Vec<_> = refusal(&Ask { only: Some(60_000_000_000), ..asked.clone() }).why;
    assert_eq!(why.len(), 4);
    assert_eq!(standing(&asked, 0, &chain.pools[0].targets[0]), Standing::Out(Why::Full));
    assert_eq!(standing(&asked, 1, &chain.pools[0].targets[1]), Standing::Out(Why::Unfit("tools")));
    assert_eq!(standing(&asked, 2, &chain.pools[0].targets[2]), Standing::Out(Why::TooSmall));
    drop(held);
    assert_eq!(pick(&asked, &mut rng()).unwrap().taken.number, 0, "the place is given back");
}

#[test]
fn a_prompt_that_cannot_fit_goes_to_a_larger_window_if_there_is_one() {
    let p = provider("p", 0);
    let small = || Target { context_window: Some(8_000), ..target(&p, "small") };
    let chains = [
        chain(Strategy::Ordered, vec![vec![small()], vec![Target { context_window: Some(9_000), ..target(&p, "large") }]]),
        chain(Strategy::Ordered, vec![vec![small()], vec![target(&p, "unknown")]]),
    ];
    let tried = Tried::default();
    for chain in &chains {
        let number = |prompt| pick(&Ask { prompt, ..ask(chain, &tried, NOW) }, &mut rng()).unwrap().taken.number;
        assert_eq!((number(0), number(8_000), number(8_001), number(9_000)), (0, 0, 1, 1));
        let other = Arc::clone(chain.targets().nth(1).unwrap().2);
        Lever::of(&other.vitals).trip(NOW);
        assert_eq!(number(8_001), 0, "the estimate may be wrong: the upstream has the last word");
    }
}

#[test]
fn a_missing_model_is_out() {
    let chain = three(Strategy::Ordered);
    let targets: Vec<_> = chain.targets().map(|(.., t)| Arc::clone(t)).collect();
    targets[0].vitals.absence().decide();
    assert_eq!(picked(&chain, &Tried::default(), NOW), 1);
    targets[1].vitals.absence().decide();
    targets[2].vitals.absence().decide();
    assert!(pick(&ask(&chain, &Tried::default(), NOW), &mut rng()).unwrap_err().all_missing());
}

#[test]
fn resting_and_refused_keys_are_not_sent() {
    let p = provider("p", 2);
    let chain = chain(Strategy::Ordered, vec![vec![target(&p, "a"), target(&p, "b")]]);
    let (tried, quarantine) = (Tried::default(), Duration::from_secs(1_800));
    let key = |now| pick(&ask(&chain, &tried, now), &mut rng()).map(|choice| (choice.taken.number, choice.taken.key));
    KeyHealth::default().limited(Some(Duration::from_secs(7)), NOW, &chain.pools[0].targets[0].key_rests[0]);
    assert!((0..50).all(|_| key(NOW).unwrap() == (0, Some(1))), "the other key of the pool");
    KeyHealth::default().refused(true, quarantine, NOW, &p.keys[1].rest);
    assert_eq!(key(NOW).unwrap(), (1, Some(0)), "a rest is of one model, a refusal of all");
    KeyHealth::default().refused(true, quarantine, NOW, &p.keys[0].rest);
    let none = key(NOW).unwrap_err();
    assert_eq!(none.why[0].1, Why::KeysRefused(after(1_800)));
    assert_eq!(none.retry_at(), Some(after(1_800)));
    assert!(!none.all_resting());
}

#[test]
fn all_keys_resting_tells_the_least_wait() {
    let p = provider("p", 2);
    let chain = chain(Strategy::Ordered, vec![vec![target(&p, "a")]]);
    for (key, seconds) in [(0, 30), (1, 7)] {
        KeyHealth::default().limited(Some(Duration::from_secs(seconds)), NOW, &chain.pools[0].targets[0].key_rests[key]);
    }
    let none = pick(&ask(&chain, &Tried::default(), NOW), &mut rng()).unwrap_err();
    assert!(none.all_resting());
    assert_eq!(none.retry_at(), Some(after(7)));
}

#[test]
fn without_a_key_the_target_itself_rests() {
    let p = provider("p", 0);
    let chain = chain(Strategy::Ordered, vec![vec![target(&p, "a"), target(&p, "b")]]);
    KeyHealth::default().limited(Some(Duration::from_secs(7)), NOW, &chain.pools[0].targets[0].key_rests[0]);
    assert_eq!(picked(&chain, &Tried::default(), NOW), 1);
    assert_eq!(picked(&chain, &Tried::default(), after(7)), 0);
    KeyHealth::default().refused(true, Duration::from_secs(60), NOW, &chain.pools[0].targets[1].key_rests[0]);
    let none = pick(&ask(&chain, &Tried::default(), NOW), &mut rng()).unwrap_err();
    assert_eq!(none.why.iter().map(|(_, why)| why.clone()).collect::<Vec<_>>(), [Why::KeysResting(after(7)), Why::KeysRefused(after(60))]);
}

#[test]
fn what_was_tried_is_kept_apart() {
    let (p, q) = (provider("p", 3), provider("q", 3));
    let [a, b, c] = [target(&p, "a"), target(&p, "b"), target(&q, "c")].map(Arc::new);
    let taken = |number, target: &Arc<Target>, key| Taken { number, model: "m".into(), target: Arc::clone(target), key: Some(key) };
    let mut tried = Tried::default();
    [(0, &a, 2), (1, &b, 1), (1, &b, 0)].into_iter().for_each(|(number, target, key)| tried.key(&taken(number, target, key), false));
    let keys = |tried: &Tried| (tried.keys_of(0, &a), tried.keys_of(1, &b), tried.keys_of(2, &c));
    assert_eq!(keys(&tried), (0b100, 0b011, 0));
    tried.key(&taken(0, &a, 1), true);
    assert_eq!(keys(&tried), (0b110, 0b011, 0), "refused, it is out for all of its provider's targets");
    tried.key(&taken(2, &c, 2), true);
    tried.key(&taken(2, &c, 1), true);
    assert_eq!(keys(&tried), (0b110, 0b011, 0b110), "and for nobody else's");
    (1..4).for_each(|number| tried.target(number));
    tried.forget(2);
    assert_eq!((0..5).map(|number| tried.has(number)).collect::<Vec<_>>(), [false, true, false, true, false]);
}

#[test]
fn a_request_does_not_send_a_key_twice() {
    let (p, q) = (provider("p", 3), provider("q", 3));
    let chain = chain(Strategy::Ordered, vec![vec![target(&p, "a"), target(&p, "b"), target(&q, "c")]]);
    let mut tried = Tried::default();
    let mut seen = Vec::new();
    while seen.len() < 3 {
        let choice = pick(&ask(&chain, &tried, NOW), &mut rng()).unwrap();
        assert_eq!(choice.taken.number, 0);
        assert!(!seen.contains(&choice.taken.key));
        tried.key(&choice.taken, true);
        seen.push(choice.taken.key);
    }
    assert_eq!(picked(&chain, &tried, NOW), 2, "keys of the whole provider are used up");
    let mut limited = Tried::default();
    limited.key(&pick(&ask(&chain, &limited, NOW), &mut rng()).unwrap().taken, false);
    assert_eq!(limited.keys_of(1, &chain.pools[0].targets[1]), 0, "a rate limit is of one model");
}

#[test]
fn explain_tells_the_order_and_why() {
    let p = provider("p", 0);
    let chain = chain(Strategy::Ordered, vec![vec![target(&p, "open"), target(&p, "good")], vec![target(&p, "back")]]);
    let targets: Vec<_> = chain.targets().map(|(.., t)| Arc::clone(t)).collect();
    Lever::of(&targets[0].vitals).trip(after(8));
    Lever::of(&targets[2].vitals).returned(NOW);
    let tried = Tried::default();
    let rows = explain(&ask(&chain, &tried, after(10)));
    let told: Vec<_> = rows.iter().map(|row| (&*row.model, row.state)).collect();
    assert_eq!(told, [("good", "ready"), ("back", "ramping"), ("open", "out")]);
    assert_eq!(rows[2].reason, "breaker open for 8.0 s");
    assert_eq!(explain(&ask(&chain, &tried, after(18)))[0].state, "due");
}

#[test]
fn explain_goes_along_the_chain_then_to_those_that_return_and_those_that_are_out() {
    let p = provider("p", 0);
    let pools = [["ready", "slow", "returning"], ["due", "also returning", "well"], ["open", "tried", "last"]];
    let chain = chain(Strategy::Healthiest, pools.iter().map(|pool| pool.iter().map(|model| target(&p, model)).collect()).collect());
    let targets: Vec<_> = chain.targets().map(|(.., t)| Arc::clone(t)).collect();
    let mut levers: Vec<_> = targets.iter().map(|target| Lever::of(&target.vitals)).collect();
    (0..3).for_each(|_| levers[1].tell(Vote::Success, true, Pass::Normal, after(9)));
    [2, 4].into_iter().for_each(|place| levers[place].returned(NOW));
    levers[3].trip(NOW);
    levers[6].trip(after(9));
    // By their loads alone those of each kind would stand the other way round.
    for (place, ms) in [(0, 50), (2, 900), (4, 10), (6, 900), (7, 10)] {
        observed(&targets[place], ms, after(10));
    }
    let mut tried = Tried::default();
    tried.target(7);
    let rows = explain(&ask(&chain, &tried, after(10)));
    let told: Vec<_> = rows.iter().map(|row| (&*row.model, row.state)).collect();
    let serving = [("ready", "ready"), ("slow", "degraded"), ("due", "due"), ("well", "ready"), ("last", "ready")];
    let others = [("returning", "ramping"), ("also returning", "ramping"), ("open", "out"), ("tried", "out")];
    assert_eq!(told, [&serving[..], &others[..]].concat());
}

#[test]
fn explain_puts_those_that_are_out_behind_the_longest_chain() {
    let p = provider("p", 0);
    let chain = chain(Strategy::Ordered, (0..40).map(|number| vec![target(&p, &format!("m{number}"))]).collect());
    Lever::of(&chain.targets().next().unwrap().2.vitals).trip(NOW);
    let rows = explain(&ask(&chain, &Tried::default(), NOW));
    assert_eq!((rows.len(), &*rows[0].model, rows[39].state), (40, "m1", "out"));
}

#[test]
fn explain_tells_how_each_key_stands() {
    let p = provider("p", 4);
    let chain = chain(Strategy::Ordered, vec![vec![target(&p, "a")]]);
    let rests = &chain.pools[0].targets[0].key_rests;
    KeyHealth::default().limited(Some(Duration::from_secs(7)), NOW, &rests[1]);
    KeyHealth::default().refused(true, Duration::from_secs(60), NOW, &p.keys[2].rest);
    let line = crate::health::Line { remaining: 12, limit: None, reset: None };
    rests[3].quota.tell(&crate::health::Said { requests: Some(line), tokens: None }, NOW);
    let tried = Tried::default();
    let rows = explain(&ask(&chain, &tried, NOW));
    let told: Vec<_> =
        rows[0].keys.iter().map(|key| (&*key.name, key.status, key.wait.map(|wait| wait.as_secs()), key.calls_left)).collect();
    let expected = [
        ("key-0", "active", None, None),
        ("key-1", "cooling", Some(7), None),
        ("key-2", "disabled", Some(60), None),
        ("key-3", "active", None, Some(12)),
    ];
    assert_eq!(told, expected);
}

#[test]
fn a_chain_without_a_target_serves_nobody() {
    assert!(three(Strategy::Ordered).is_served());
    assert!(!chain(Strategy::Ordered, vec![vec![], vec![]]).is_served());
}

#[test]
fn explain_orders_as_each_strategy_chooses() {
    let healthiest = three(Strategy::Healthiest);
    let targets: Vec<_> = healthiest.targets().map(|(.., t)| Arc::clone(t)).collect();
    for (target, ms) in targets.iter().zip([20, 900, 10]) {
        observed(target, ms, NOW);
    }
    let _busy: Vec<_> = (0..99).map(|_| (targets[0].vitals.enter(), targets[2].vitals.enter())).collect();
    let tried = Tried::default();
    let rows = explain(&ask(&healthiest, &tried, NOW));
    let told: Vec<_> = rows.iter().map(|row| (&*row.model, row.reason.as_str())).collect();
    assert_eq!(told, [("c", "healthy"), ("a", "healthy"), ("b", "much slower than another: tried now and then")]);
    assert!(shares(&healthiest, NOW)[1] == 0, "however busy the others are");
    let p = provider("p", 0);
    let weighted = [("a", 1), ("b", 3), ("c", 2)].map(|(model, weight)| Target { weight, ..target(&p, model) });
    let weighted = chain(Strategy::Weighted, vec![weighted.into()]);
    let rows = explain(&ask(&weighted, &tried, NOW));
    assert_eq!(rows.iter().map(|row| &*row.model).collect::<String>(), "bca");
}

proptest! {
    /// Whatever is open, resting or tried: what is picked was eligible, every target is reached before giving up, and
    /// nothing claimed is kept.
    #[test]
    fn every_eligible_target_is_reached_once(
        states in proptest::collection::vec(0u8..4, 1..12),
        cut in 1usize..4,
        strategy in 0usize..5,
        seed in any::<u64>(),
    ) {
        let strategy = [Strategy::Healthiest, Strategy::Weighted, Strategy::Fastest, Strategy::Cheapest, Strategy::Ordered][strategy];
        let p = provider("p", 0);
        let targets: Vec<Target> = (0..states.len()).map(|n| target(&p, &format!("t{n}"))).collect();
        for (state, target) in states.iter().zip(&targets) {
            let mut lever = Lever::of(&target.vitals);
            match state {
                1 => lever.trip(after(5)),
                2 => lever.trip(Moment::START),
                3 => target.vitals.absence().decide(),
                _ => {}
            }
        }
        let mut pools: Vec<Vec<Target>> = Vec::new();
        for (n, target) in targets.into_iter().enumerate() {
            if n % cut == 0 { pools.push(Vec::new()); }
            pools.last_mut().unwrap().push(target);
        }
        let chain = chain(strategy, pools);
        let (mut tried, mut rng) = (Tried::default(), SmallRng::seed_from_u64(seed));
        let mut reached = Vec::new();
        while let Ok(choice) = pick(&Ask { last_resort: false, ..ask(&chain, &tried, after(10)) }, &mut rng) {
            let number = choice.taken.number;
            prop_assert!(matches!(states[number], 0 | 2), "t{} was {}", number, states[number]);
            prop_assert_eq!(choice.by_target.is_probe(), states[number] == 2);
            prop_assert!(!reached.contains(&number));
            reached.push(number);
            tried.target(number);
        }
        let eligible = states.iter().filter(|state| matches!(state, 0 | 2)).count();
        prop_assert_eq!(reached.len(), eligible);
        prop_assert!(chain.targets().all(|(.., t)| t.vitals.in_flight() == 0));
        // A pool is used up before the next is tried.
        let pools: Vec<usize> = reached.iter().map(|number| number / cut).collect();
        prop_assert!(pools.is_sorted(), "{:?}", reached);
    }
}
