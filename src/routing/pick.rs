//! The choice of a target: filters first, then each pool's strategy, in the chain's order.

use std::sync::Arc;

use rand::{Rng, RngExt};

use super::chain::{Chain, Pool};
use super::keys::{take_key, usable_keys};
use super::policy::{Strategy, WhenAllOpen};
use super::target::{Needs, Target};
use super::turns::Turns;
use super::why::{NoTarget, Why};
use crate::access::Reservation;
use crate::base::Moment;
use crate::health::{Admission, Admitted, InFlight, Vitals};

/// What stands for a latency that isn't known, in microseconds: an unknown target is worth a try before a slow one.
const UNKNOWN_MICROS: f64 = 1_000.0;

/// What a request has used up: targets by their number in the chain, and keys.
#[derive(Clone, Debug, Default)]
pub struct Tried {
    targets: u64,
    /// Keys by the place in their pool; of a whole provider, or of one target only.
    keys: Vec<(KeyScope, u64)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum KeyScope {
    /// The provider's address, only ever compared.
    Provider(usize),
    Target(usize),
}

fn provider_scope(target: &Target) -> KeyScope {
    KeyScope::Provider(Arc::as_ptr(&target.provider) as usize)
}

impl Tried {
    /// Takes a target out for this request.
    pub fn target(&mut self, number: usize) {
        self.targets |= 1 << number;
    }

    /// Takes it in again.
    pub fn forget(&mut self, number: usize) {
        self.targets &= !(1 << number);
    }

    /// Whether the target was taken out.
    pub fn has(&self, number: usize) -> bool {
        self.targets & (1 << number) != 0
    }

    /// Takes a key out for this request: for one target (a rate limit), or for all of the provider's (a refusal).
    pub fn key(&mut self, taken: &Taken, whole_key: bool) {
        let Some(key) = taken.key else { return };
        let scope = if whole_key { provider_scope(&taken.target) } else { KeyScope::Target(taken.number) };
        match self.keys.iter_mut().find(|(at, _)| *at == scope) {
            Some((_, mask)) => *mask |= 1 << key.min(63),
            None => self.keys.push((scope, 1 << key.min(63))),
        }
    }

    pub(super) fn keys_of(&self, number: usize, target: &Target) -> u64 {
        let provider = provider_scope(target);
        let own = self.keys.iter().filter(|(at, _)| *at == provider || *at == KeyScope::Target(number));
        own.fold(0, |all, (_, mask)| all | mask)
    }
}

/// A request for a target.
#[derive(Clone, Debug)]
pub struct Ask<'a> {
    /// The pools in their order.
    pub chain: &'a Chain,
    /// What the request has used up.
    pub tried: &'a Tried,
    /// What it needs.
    pub needs: Needs,
    /// A window that was too small for it.
    pub larger_than: Option<u64>,
    /// Tokens that its prompt has at the least.
    pub prompt: u64,
    /// Tokens that it may cost: see [`crate::access::estimated_tokens`].
    pub tokens: u64,
    /// Whether it is compared by first-token time.
    pub stream: bool,
    /// The one target to be asked again; None: any.
    pub only: Option<usize>,
    /// Whether an open target may be tried where nothing else is left.
    pub last_resort: bool,
    /// The time.
    pub now: Moment,
}

impl<'a> Ask<'a> {
    /// What any request could ask for: nothing special of a target, no word of its own.
    pub fn any(chain: &'a Chain, tried: &'a Tried, now: Moment) -> Self {
        let needs = Needs::default();
        Self { chain, tried, needs, larger_than: None, prompt: 0, tokens: 0, stream: false, only: None, last_resort: true, now }
    }
}

/// Who was chosen.
#[derive(Clone, Debug)]
pub struct Taken {
    /// Its number in the chain.
    pub number: usize,
    /// The public model whose pool it is in.
    pub model: Arc<str>,
    /// The target.
    pub target: Arc<Target>,
    /// The key's place in the provider's pool; None where no key is sent.
    pub key: Option<usize>,
}

/// A target chosen, with everything claimed that the call holds until its end.
#[derive(Debug)]
pub struct Choice {
    /// Who.
    pub taken: Taken,
    /// How the provider's breaker let it through.
    pub by_provider: Admitted,
    /// How the target's breaker let it through.
    pub by_target: Admitted,
    /// Counted in flight until dropped.
    pub in_flight: (InFlight, InFlight),
    /// What it has taken of its key's own limits, where the key has any.
    pub reserved: Option<Reservation>,
}

/// A target's standing before strategy and chance.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Standing {
    Ready,
    /// Slow, or failing at another gateway: ranked after every ready one.
    Degraded,
    /// Returning: takes this share of its traffic.
    Ramping(f64),
    /// Its open period is over: tried first, with a permit.
    Due,
    Out(Why),
}

/// Chooses a target and claims it. `turns` are the caller's own from pick to pick.
pub fn pick<R: Rng + ?Sized>(ask: &Ask<'_>, turns: &mut Turns, rng: &mut R) -> Result<Choice, NoTarget> {
    let too_small = |target: &Target| target.context_window.is_some_and(|window| window < ask.prompt);
    if ask.chain.targets().any(|(.., target)| too_small(target)) {
        // An estimate only: where no larger window is to be had, the upstream has the last word.
        let larger_than = ask.larger_than.max(Some(ask.prompt - 1));
        if let Ok(choice) = among(&Ask { larger_than, last_resort: false, ..ask.clone() }, turns, rng) {
            return Ok(choice);
        }
    }
    among(ask, turns, rng)
}

fn among<R: Rng + ?Sized>(ask: &Ask<'_>, turns: &mut Turns, rng: &mut R) -> Result<Choice, NoTarget> {
    let (mut first, mut ramping) = (0, 0u64);
    for pool in &ask.chain.pools {
        let (mut due, mut ready, mut degraded) = (0u64, 0u64, 0u64);
        for (number, target) in numbered(pool, first) {
            match standing(ask, number, target) {
                Standing::Ready => ready |= 1 << number,
                Standing::Degraded => degraded |= 1 << number,
                Standing::Ramping(share) if rng.random::<f64>() < share => ready |= 1 << number,
                Standing::Ramping(_) => ramping |= 1 << number,
                Standing::Due => due |= 1 << number,
                Standing::Out(_) => {}
            }
        }
        for candidates in [due, ready, degraded] {
            if let Some(choice) = choose(ask, pool, first, candidates, turns, rng) {
                return Ok(choice);
            }
        }
        first += pool.targets.len();
    }
    // Every target takes less than its share or none at all: a returning one is better than a refusal.
    let returning = ask.chain.targets().filter(|(number, ..)| ramping & (1 << number) != 0);
    for (number, pool, target) in returning {
        if let Some(choice) = enter(ask, number, &pool.model, target, false, turns) {
            return Ok(choice);
        }
    }
    if ask.last_resort
        && let Some(choice) = least_bad(ask, turns)
    {
        return Ok(choice);
    }
    Err(refusal(ask))
}

/// A pool's targets with their numbers in the chain.
pub(super) fn numbered(pool: &Pool, first: usize) -> impl Iterator<Item = (usize, &Arc<Target>)> {
    (first..Chain::MOST_TARGETS).zip(&pool.targets)
}

fn choose<R: Rng + ?Sized>(
    ask: &Ask<'_>,
    pool: &Pool,
    first: usize,
    mut candidates: u64,
    turns: &mut Turns,
    rng: &mut R,
) -> Option<Choice> {
    while candidates != 0 {
        let number = match pool.strategy {
            _ if candidates.count_ones() == 1 => candidates.trailing_zeros() as usize,
            Strategy::Ordered => candidates.trailing_zeros() as usize,
            Strategy::Healthiest => better_of_two(ask, pool, first, candidates, rng),
            Strategy::Weighted => first + turns.target(&pool.model, candidates >> first, |place| i64::from(pool.targets[place].weight)),
            Strategy::Fastest | Strategy::Cheapest => least(ask, pool, first, candidates),
        };
        let target = &pool.targets[number - first];
        match enter(ask, number, &pool.model, target, false, turns) {
            Some(choice) => return Some(choice),
            // Its last permit or place went to another thread's request meanwhile.
            None => candidates &= !(1 << number),
        }
    }
    None
}

fn better_of_two<R: Rng + ?Sized>(ask: &Ask<'_>, pool: &Pool, first: usize, candidates: u64, rng: &mut R) -> usize {
    let count = candidates.count_ones();
    let one = rng.random_range(0..count);
    let other = (one + rng.random_range(1..count)) % count;
    let (one, other) = (nth_bit(candidates, one), nth_bit(candidates, other));
    if is_better(ask, &pool.targets[one - first], &pool.targets[other - first]) { one } else { other }
}

/// Whether `one` should take the call rather than `other`: it isn't much slower, however busy the other is, and has no more
/// load.
fn is_better(ask: &Ask<'_>, one: &Target, other: &Target) -> bool {
    let (a, b) = (&one.vitals, &other.vitals);
    if a.is_behind(b, ask.stream, ask.now) || b.is_behind(a, ask.stream, ask.now) {
        return b.is_behind(a, ask.stream, ask.now);
    }
    // The first call to a new target finds out how fast it is; the others meanwhile take it to be like the one beside it.
    let like = |own: &Vitals, beside: &Vitals| match own.in_flight() {
        0 => UNKNOWN_MICROS,
        _ => beside.peak(ask.stream, ask.now).unwrap_or(UNKNOWN_MICROS),
    };
    load(ask, one, like(a, b)) <= load(ask, other, like(b, a))
}

fn load(ask: &Ask<'_>, target: &Target, unknown: f64) -> f64 {
    target.vitals.load(ask.stream, unknown, ask.now) / f64::from(target.weight.max(1))
}

fn least(ask: &Ask<'_>, pool: &Pool, first: usize, candidates: u64) -> usize {
    let scored = bits(candidates).map(|number| (number, score(ask, pool, &pool.targets[number - first])));
    scored.min_by(|(_, a), (_, b)| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1))).map_or(first, |(number, _)| number)
}

/// What targets are compared by under the pool's strategy, and among equals: less is better.
pub(super) fn score(ask: &Ask<'_>, pool: &Pool, target: &Target) -> (f64, f64) {
    let load = load(ask, target, UNKNOWN_MICROS);
    match pool.strategy {
        Strategy::Healthiest | Strategy::Ordered => (load, 0.0),
        Strategy::Weighted => (1.0 / f64::from(target.weight.max(1)), load),
        // Of a new one that is being tried nothing is known until it answers.
        Strategy::Fastest if target.vitals.in_flight() > 0 => (target.vitals.peak(ask.stream, ask.now).unwrap_or(f64::INFINITY), load),
        Strategy::Fastest => (target.vitals.peak(ask.stream, ask.now).unwrap_or(UNKNOWN_MICROS), load),
        Strategy::Cheapest => (target.price.compared().map_or(f64::INFINITY, |nano| nano as f64), load),
    }
}

pub(super) fn standing(ask: &Ask<'_>, number: usize, target: &Target) -> Standing {
    if ask.tried.has(number) || ask.only.is_some_and(|only| only != number) {
        return Standing::Out(Why::Tried);
    }
    if target.vitals.absence().holds(ask.now) {
        return Standing::Out(Why::Missing);
    }
    if let Some(need) = target.capabilities.and_then(|declared| ask.needs.missing_in(declared)) {
        return Standing::Out(Why::Unfit(need));
    }
    if let (Some(small), Some(window)) = (ask.larger_than, target.context_window)
        && window <= small
    {
        return Standing::Out(Why::TooSmall);
    }
    let limit = target.provider.max_concurrency;
    if limit > 0 && target.provider.vitals.in_flight() as usize >= limit {
        return Standing::Out(Why::Full);
    }
    if let Err(why) = usable_keys(ask, number, target) {
        return Standing::Out(why);
    }
    match (target.provider.vitals.admit(ask.now), target.vitals.admit(ask.now)) {
        (Admission::Held, _) | (_, Admission::Held) => Standing::Out(Why::Held),
        (Admission::Refuse(a), Admission::Refuse(b)) => Standing::Out(Why::Open(a.max(b))),
        (Admission::Refuse(until), _) | (_, Admission::Refuse(until)) => Standing::Out(Why::Open(until)),
        (Admission::Busy, _) | (_, Admission::Busy) => Standing::Out(Why::Probing),
        (Admission::Due, _) | (_, Admission::Due) => Standing::Due,
        (Admission::Admit, Admission::Admit) => {
            let share = target.provider.vitals.ramp(ask.now).min(target.vitals.ramp(ask.now));
            if share < 1.0 {
                Standing::Ramping(share)
            } else if target.vitals.doubted(ask.now) || target.provider.vitals.hint().holds(ask.now) {
                Standing::Degraded
            } else {
                Standing::Ready
            }
        }
    }
}

/// Passes both gates and takes a key with the room that the call needs; None if one of them closed meanwhile.
fn enter(ask: &Ask<'_>, number: usize, model: &Arc<str>, target: &Arc<Target>, force: bool, turns: &mut Turns) -> Option<Choice> {
    let usable = usable_keys(ask, number, target).ok()?;
    let by_provider = Admitted::at(&target.provider.vitals, force, ask.now)?;
    let by_target = Admitted::at(&target.vitals, force, ask.now)?;
    let in_flight = (target.provider.vitals.enter_within(target.provider.max_concurrency)?, target.vitals.enter());
    let (key, reserved) = match usable {
        None => (None, None),
        Some(usable) => take_key(ask, target, usable, turns).map(|(key, reserved)| (Some(key), reserved))?,
    };
    target.vitals.sent(ask.now);
    if let Some(rest) = target.key_rests.get(key.unwrap_or(0)) {
        rest.quota.take(ask.tokens);
    }
    let taken = Taken { number, model: Arc::clone(model), target: Arc::clone(target), key };
    Some(Choice { taken, by_provider, by_target, in_flight, reserved })
}

/// The open target that recovers soonest.
fn least_bad(ask: &Ask<'_>, turns: &mut Turns) -> Option<Choice> {
    let open = ask.chain.targets().filter_map(|(number, pool, target)| match standing(ask, number, target) {
        Standing::Out(Why::Open(until)) if target.provider.when_all_open == WhenAllOpen::LeastBad => Some((until, number, pool, target)),
        _ => None,
    });
    let mut open: Vec<_> = open.collect();
    open.sort_by_key(|(until, ..)| *until);
    open.into_iter().find_map(|(_, number, pool, target)| enter(ask, number, &pool.model, target, true, turns))
}

fn refusal(ask: &Ask<'_>) -> NoTarget {
    let why = ask.chain.targets().map(|(number, _, target)| match standing(ask, number, target) {
        Standing::Out(why) => (target.name(), why),
        // It became free between the two looks; the caller is told to come again.
        Standing::Ready | Standing::Degraded | Standing::Ramping(_) | Standing::Due => (target.name(), Why::Probing),
    });
    NoTarget { why: why.collect() }
}

/// How many targets could be tried now.
pub fn servable(ask: &Ask<'_>) -> usize {
    ask.chain.targets().filter(|(number, _, target)| !matches!(standing(ask, *number, target), Standing::Out(_))).count()
}

/// The places of a mask's bits, lowest first.
pub(super) fn bits(mut mask: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let next = (mask != 0).then(|| mask.trailing_zeros() as usize)?;
        mask &= mask - 1;
        Some(next)
    })
}

fn nth_bit(mask: u64, n: u32) -> usize {
    bits(mask).nth(n as usize).unwrap_or_else(|| mask.trailing_zeros() as usize)
}

#[cfg(test)]
mod tests;
