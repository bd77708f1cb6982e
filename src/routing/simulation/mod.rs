//! A whole gateway in virtual time: many callers, routers and providers' machines over upstreams that flap, slow down, hang,
//! limit, refuse keys and come back, while operators, reloads and actors' deaths come between. Everything is drawn from one
//! seed, so that what breaks can be looked at again; after each event all that must hold is judged.
//!
//! 200 seeds run with the other tests. More: `STAGEDOOR_SIM_SEEDS=10000 cargo test --release --lib simulation` (read when the
//! test is compiled, since nothing here may look at its environment), or one alone: `STAGEDOOR_SIM_SEEDS=17..18`.

mod caller;
mod judge;
mod post;
mod setting;
mod upstream;
mod world;

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use world::{Judged, World};

/// How many seeds, or which.
const SEEDS: Option<&str> = option_env!("STAGEDOOR_SIM_SEEDS");

fn seeds() -> Range<u64> {
    let number = |text: &str| text.parse().expect("STAGEDOOR_SIM_SEEDS is a number or a range");
    match SEEDS.map(|seeds| seeds.split_once("..").ok_or(seeds)) {
        None => 0..200,
        Some(Ok((first, end))) => number(first)..number(end),
        Some(Err(count)) => 0..number(count),
    }
}

fn run(seed: u64) -> Judged {
    std::panic::catch_unwind(|| World::new(seed).run()).unwrap_or_else(|_| panic!("seed {seed}: a judge objects, see above"))
}

#[test]
fn what_must_hold_holds_whatever_happens() {
    let seeds = seeds();
    let next = AtomicU64::new(seeds.start);
    let share = || {
        let (mut requests, mut moves) = (0, 0);
        while let Some(seed) = Some(next.fetch_add(1, Ordering::Relaxed)).filter(|seed| *seed < seeds.end) {
            let judged = run(seed);
            requests += judged.requests;
            moves += judged.moves;
        }
        (requests, moves)
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let shares: Vec<_> = std::thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(share)).collect();
        running.into_iter().map(|thread| thread.join().expect("no judge objects")).collect()
    });
    let count = seeds.end - seeds.start;
    let (requests, moves) = shares.iter().fold((0, 0), |sum, share| (sum.0 + share.0, sum.1 + share.1));
    eprintln!("{count} seeds: {requests} requests, {moves} moves of breakers");
    assert!(requests > 100 * count && moves > 5 * count, "too little happened");
}

#[test]
fn one_seed_is_one_story() {
    for seed in 0..10 {
        assert_eq!(run(seed), run(seed));
    }
    assert_ne!(run(1).trace, run(2).trace);
}
