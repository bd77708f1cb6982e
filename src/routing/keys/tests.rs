//! Which key is sent: shares by weight and by what is left, rests and limits, and what is put right at a call's end.

use std::sync::Arc;
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::SmallRng;

use super::super::fixture::{chain, provider, target};
use super::super::{Chain, Choice, KeySlot, NoTarget, Provider, Strategy, Tried, Turns, Why, heard, pick};
use super::*;
use crate::access::Limit;
use crate::health::{Failure, KeyHealth, Line};

const NOW: Moment = Moment::from_millis(1_000);

/// A router over one provider with one target and these keys, each with a weight, requests and tokens a minute.
struct Pool {
    chain: Chain,
    turns: Turns,
    rng: SmallRng,
}

impl Pool {
    fn new(keys: &[(u32, u64, u64)]) -> Self {
        let mut bare = Arc::into_inner(provider("p", 0)).unwrap();
        bare.keys = keys
            .iter()
            .enumerate()
            .map(|(place, (weight, rpm, tpm))| KeySlot {
                name: format!("key-{place}").into(),
                weight: *weight,
                rest: Arc::default(),
                limit: Limit::new(*rpm, *tpm).map(Arc::new),
            })
            .collect();
        let chain = chain(Strategy::Ordered, vec![vec![target(&Arc::new(bare), "a")]]);
        Self { chain, turns: Turns::default(), rng: SmallRng::seed_from_u64(7) }
    }

    fn provider(&self) -> Arc<Provider> {
        Arc::clone(&self.chain.pools[0].targets[0].provider)
    }

    fn pick(&mut self, tokens: u64, now: Moment) -> Result<Choice, NoTarget> {
        let tried = Tried::default();
        pick(&Ask { tokens, ..Ask::any(&self.chain, &tried, now) }, &mut self.turns, &mut self.rng)
    }

    /// How often each key is sent in so many calls, each of so many tokens.
    fn shares(&mut self, calls: usize, tokens: u64, now: Moment) -> Vec<usize> {
        let mut counts = vec![0; self.provider().keys.len()];
        for _ in 0..calls {
            counts[self.pick(tokens, now).unwrap().taken.key.unwrap()] += 1;
        }
        counts
    }
}

fn after(ms: u64) -> Moment {
    NOW.plus(Duration::from_millis(ms))
}

#[test]
fn weights_share_exactly_and_those_of_a_refused_key_go_to_the_others_alike() {
    let mut pool = Pool::new(&[(1, 0, 0), (1, 0, 0), (2, 0, 0)]);
    assert_eq!(pool.shares(400, 0, NOW), [100, 100, 200]);
    let mut even = Pool::new(&[(1, 0, 0), (1, 0, 0), (1, 0, 0)]);
    even.shares(50, 0, NOW);
    KeyHealth::default().refused(true, Duration::from_secs(60), NOW, &even.provider().keys[1].rest);
    let shares = even.shares(400, 0, NOW);
    assert!(shares[1] == 0 && shares[0].abs_diff(200) <= 1, "{shares:?}");
}

#[test]
fn a_key_without_room_is_out_until_there_is_room() {
    let mut pool = Pool::new(&[(1, 2, 0), (1, 0, 1_000)]);
    let mut sent = Vec::new();
    let why = loop {
        match pool.pick(400, NOW) {
            Ok(choice) => sent.push(choice.taken.key.unwrap()),
            Err(none) => break none.why[0].1.clone(),
        }
    };
    sent.sort_unstable();
    assert_eq!(sent, [0, 0, 1, 1], "two requests of the one, two times 400 tokens of the other");
    // 200 of 400 tokens are left, and 1,000 a minute are 200 in 12 s; of the requests the next comes after 30 s.
    assert_eq!(why, Why::KeysResting(after(12_000)));
    assert!(pool.pick(400, after(11_999)).is_err());
    assert_eq!(pool.pick(400, after(12_000)).unwrap().taken.key, Some(1));
    assert_eq!(pool.pick(400, after(30_000)).unwrap().taken.key, Some(0));
}

#[test]
fn what_was_tried_tells_the_others_apart() {
    let pool = Pool::new(&[(1, 0, 0), (1, 0, 0)]);
    let target = Arc::clone(&pool.chain.pools[0].targets[0]);
    let taken = |key| Taken { number: 0, model: "m".into(), target: Arc::clone(&target), key: Some(key) };
    let mut tried = Tried::default();
    tried.key(&taken(0), false);
    let usable = |tried: &Tried| usable_keys(&Ask::any(&pool.chain, tried, NOW), 0, &target);
    assert_eq!(usable(&tried), Ok(Some(0b10)));
    let minute = Duration::from_secs(60);
    KeyHealth::default().refused(true, minute, NOW, &pool.provider().keys[1].rest);
    assert_eq!(usable(&tried), Err(Why::KeysTried), "the one that was tried may serve others");
    KeyHealth::default().refused(true, minute * 2, NOW, &pool.provider().keys[0].rest);
    assert_eq!(usable(&tried), Err(Why::KeysRefused(after(60_000))));
    let other = Pool::new(&[(1, 0, 0)]);
    tried.key(&taken(0), true);
    let used = Taken { target: Arc::clone(&other.chain.pools[0].targets[0]), ..taken(0) };
    tried.key(&used, true);
    assert_eq!(usable_keys(&Ask::any(&other.chain, &tried, NOW), 0, &used.target), Err(Why::KeysTried));
}

#[test]
fn where_the_room_of_every_key_went_to_others_none_is_taken() {
    let mut pool = Pool::new(&[(1, 1, 0), (1, 1, 0)]);
    (0..2).for_each(|_| drop(pool.pick(1, NOW).unwrap()));
    let tried = Tried::default();
    let ask = Ask { tokens: 1, ..Ask::any(&pool.chain, &tried, NOW) };
    for usable in [0b01, 0b10, 0b11] {
        assert!(take_key(&ask, &pool.chain.pools[0].targets[0], usable, &mut pool.turns).is_none(), "{usable:b}");
    }
}

#[test]
fn more_room_is_more_calls() {
    let mut pool = Pool::new(&[(1, 100, 0), (1, 900, 0)]);
    let shares = pool.shares(100, 0, NOW);
    assert!((8..=12).contains(&shares[0]), "{shares:?}");
    // A weight still counts: a third of the room, with nine times the weight.
    let mut weighted = Pool::new(&[(9, 300, 0), (3, 900, 0)]);
    let shares = weighted.shares(100, 0, NOW);
    assert!((45..=55).contains(&shares[0]), "{shares:?}");
}

fn say(pool: &Pool, key: usize, remaining: u64, reset: Option<u64>, now: Moment) {
    let line = Line { remaining, limit: None, reset: reset.map(Duration::from_millis) };
    let taken = Taken { number: 0, model: "m".into(), target: Arc::clone(&pool.chain.pools[0].targets[0]), key: Some(key) };
    told(&taken, &Said { requests: Some(line), tokens: None }, now);
}

#[test]
fn a_key_with_the_least_share_of_what_the_best_has_is_sent_and_below_it_not() {
    for (left, sent) in [(10, 1), (9, 0)] {
        let mut pool = Pool::new(&[(1, 0, 0), (1, 0, 0)]);
        say(&pool, 0, 320, Some(60_000), NOW);
        say(&pool, 1, left, Some(60_000), NOW);
        assert_eq!(pool.shares(20, 0, NOW)[1], sent, "{left} of 320");
    }
}

#[test]
fn calls_go_where_the_answers_say_that_most_is_left() {
    let mut pool = Pool::new(&[(1, 0, 0), (1, 0, 0), (1, 0, 0)]);
    say(&pool, 0, 1_000, Some(60_000), NOW);
    say(&pool, 1, 3_000, Some(60_000), NOW);
    say(&pool, 2, 50, Some(60_000), NOW);
    let shares = pool.shares(200, 0, NOW);
    assert!((45..=55).contains(&shares[0]) && shares[2] == 0, "{shares:?}");
    say(&pool, 1, 0, Some(10_000), NOW);
    assert_eq!(pool.shares(100, 0, after(9_999))[1], 0, "told that nothing is left, it rests until its reset");
    say(&pool, 0, 40, Some(60_000), after(10_000));
    let shares = pool.shares(90, 0, after(10_000));
    assert!(shares[1] >= 45, "after it, it may have plenty: {shares:?}");
    say(&pool, 0, 0, Some(20_000), after(11_000));
    say(&pool, 1, 0, Some(5_000), after(11_000));
    say(&pool, 2, 0, Some(9_000), after(11_000));
    let none = pool.pick(0, after(11_000)).unwrap_err();
    assert!(none.all_resting());
    assert_eq!(none.retry_at(), Some(after(16_000)));
}

/// Three keys with 60 calls a minute each and 150 callers' calls a minute: an upstream that counts strictly is never
/// asked for more than a key has, since each answer tells what is left.
#[test]
fn a_429_is_avoided_rather_than_repaired() {
    let mut pool = Pool::new(&[(1, 0, 0), (1, 0, 0), (5, 0, 0)]);
    let (mut refused, mut served) = (0, 0);
    let mut upstream: Vec<_> = (0..3).map(|_| crate::access::Bucket::new(std::num::NonZeroU64::new(60).unwrap())).collect();
    let mut answers: Vec<(Moment, Taken)> = Vec::new();
    for call in 0..3_000u64 {
        let now = after(call * 400);
        let come = answers.iter().position(|(at, _)| *at > now).unwrap_or(answers.len());
        for (at, taken) in answers.drain(..come) {
            let bucket = &upstream[taken.key.unwrap()];
            let requests = Line { remaining: bucket.left(at), limit: Some(60), reset: Some(bucket.full_at(at).since(at)) };
            told(&taken, &Said { requests: Some(requests), tokens: None }, at);
        }
        let Ok(choice) = pool.pick(0, now) else { continue };
        match upstream[choice.taken.key.unwrap()].take(1, now) {
            Ok(_) => served += 1,
            Err(_) => refused += 1,
        }
        answers.push((now.plus(Duration::from_millis(1_500)), choice.taken));
    }
    assert_eq!((refused, served), (0, 3_000));
}

#[test]
fn limits_hold_for_all_workers_at_once() {
    let pool = Pool::new(&[(1, 40, 0), (1, 60, 0)]);
    let chain = &pool.chain;
    let served: usize = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..4u64)
            .map(|seed| {
                scope.spawn(move || {
                    let (tried, mut turns, mut rng) = (Tried::default(), Turns::default(), SmallRng::seed_from_u64(seed));
                    (0..200).filter(|_| pick(&Ask::any(chain, &tried, NOW), &mut turns, &mut rng).is_ok()).count()
                })
            })
            .collect();
        workers.into_iter().map(|worker| worker.join().unwrap()).sum()
    });
    assert_eq!(served, 100);
}

#[test]
fn a_calls_end_puts_its_limit_right() {
    let ends: [(Outcome, Option<u64>, u64); 7] = [
        (Outcome::Ok, Some(50), 950),
        (Outcome::Ok, None, 600),
        (Outcome::Abandoned, None, 600),
        (Outcome::Transient(Failure::Truncated), Some(70), 930),
        (Outcome::Transient(Failure::Status(500)), None, 600),
        (Outcome::Transient(Failure::Connect), None, 1_000),
        (Outcome::RateLimited { wait: None, whole_key: false }, None, 1_000),
    ];
    for (outcome, used, left) in ends {
        let mut pool = Pool::new(&[(1, 10, 1_000)]);
        let reserved = pool.pick(400, NOW).unwrap().reserved.unwrap();
        settle(reserved, &outcome, used, NOW);
        let limit = pool.provider().keys[0].limit.clone().unwrap();
        let requests = if outcome == Outcome::Transient(Failure::Connect) { 10 } else { 9 };
        assert_eq!(limit.room(1, NOW), Ok(requests), "{outcome:?}");
        assert!(limit.room(left, NOW).is_ok() && (left == 1_000 || limit.room(left + 1, NOW).is_err()), "{outcome:?}");
    }
}

#[test]
fn what_was_just_heard_holds_until_the_actor_has_decided() {
    let mut pool = Pool::new(&[(1, 0, 0), (1, 0, 0)]);
    let first = pool.pick(0, NOW).unwrap().taken;
    heard(&first, &Outcome::KeyFault { sure: true }, NOW, NOW);
    let other = 1 - first.key.unwrap();
    assert_eq!(pool.shares(20, 0, NOW)[other], 20);
    heard(
        &Taken { key: Some(other), ..first.clone() },
        &Outcome::RateLimited { wait: Some(Duration::from_millis(300)), whole_key: true },
        NOW,
        NOW,
    );
    let none = pool.pick(0, NOW).unwrap_err();
    assert_eq!(none.why[0].1, Why::KeysResting(after(300)), "one of the two only rests");
    assert!(pool.pick(0, after(300)).is_ok(), "no longer than it was asked to");
    heard(&first, &Outcome::KeyFault { sure: false }, NOW, after(2_000));
    assert_eq!(pool.shares(10, 0, after(2_000)), [5, 5], "an unspecific refusal isn't sure");
}
