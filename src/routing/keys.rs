//! Which of a provider's keys a call is sent with: those that rest, were refused or have no room are out; the rest share the
//! calls by weight times what each has left, so that a 429 is avoided rather than repaired.

use super::pick::{Ask, Taken, bits};
use super::target::Target;
use super::turns::Turns;
use super::why::Why;
use crate::access::Reservation;
use crate::base::Moment;
use crate::health::{Outcome, Rest, Room, Said};

/// Keys of one pool that a request can tell apart.
pub(super) const MOST_KEYS: usize = 64;
/// Into how many steps a key's share of its weight is divided by what it has left.
const STEPS: u64 = 1_024;
/// A key of which nothing is known is taken to have as many calls left as the best of the others, and so many at least.
const PLENTY: u64 = 100;
/// A key that has less than this part of what the best has left waits until more has come back.
const LEAST_SHARE: u64 = STEPS / 32;

/// How a key stands for one call to one target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KeyStanding {
    /// It can be sent; so many calls like this one are known to be left, `u64::MAX` where nothing is known.
    Usable(u64),
    /// This request has sent it.
    Tried,
    /// Out of quota until then, by a 429, by what its answers said, or by its own limits.
    Resting(Moment),
    /// Refused until then.
    Refused(Moment),
}

/// How the key at `place` stands.
pub(super) fn key_standing(ask: &Ask<'_>, tried: u64, target: &Target, place: usize) -> KeyStanding {
    let Some(slot) = target.provider.keys.get(place) else { return KeyStanding::Tried };
    let own = target.key_rests.get(place);
    let resting = own.and_then(|rest| rest.until(ask.now)).max(slot.rest.until(ask.now));
    if let Some(until) = resting {
        return if slot.rest.refused(ask.now) { KeyStanding::Refused(until) } else { KeyStanding::Resting(until) };
    }
    if tried & (1 << place) != 0 {
        return KeyStanding::Tried;
    }
    let told = own.map_or(Room::UNKNOWN, |rest| rest.quota.room(ask.tokens, ask.now));
    let own = slot.limit.as_ref().map_or(Ok(u64::MAX), |limit| limit.room(ask.tokens, ask.now));
    match (told.until, own) {
        (None, Ok(calls)) => KeyStanding::Usable(calls.min(told.calls)),
        (until, own) => KeyStanding::Resting(until.max(own.err()).unwrap_or(ask.now)),
    }
}

/// The keys that can be sent, as bits; None where the provider's calls carry no key.
///
/// # Errors
/// Why none can.
pub(super) fn usable_keys(ask: &Ask<'_>, number: usize, target: &Target) -> Result<Option<u64>, Why> {
    let pool = &target.provider.keys;
    if pool.is_empty() {
        return keyless(ask, target.key_rests.first().map(|rest| &**rest)).map(|()| None);
    }
    let tried = ask.tried.keys_of(number, target);
    let (mut usable, mut used, mut resting, mut refused) = (0u64, false, None, None);
    let earlier = |known: Option<Moment>, until: Moment| Some(known.map_or(until, |at| at.min(until)));
    for place in 0..pool.len().min(MOST_KEYS) {
        match key_standing(ask, tried, target, place) {
            KeyStanding::Usable(_) => usable |= 1 << place,
            KeyStanding::Tried => used = true,
            KeyStanding::Resting(until) => resting = earlier(resting, until),
            KeyStanding::Refused(until) => refused = earlier(refused, until),
        }
    }
    match (usable, resting, refused) {
        (0, Some(until), _) => Err(Why::KeysResting(until)),
        (0, None, Some(until)) if !used => Err(Why::KeysRefused(until)),
        (0, None, _) => Err(Why::KeysTried),
        _ => Ok(Some(usable)),
    }
}

/// Without a key the target itself is what rests.
fn keyless(ask: &Ask<'_>, rest: Option<&Rest>) -> Result<(), Why> {
    match rest.and_then(|rest| Some((rest.resting(ask.tokens, ask.now)?, rest.refused(ask.now)))) {
        None => Ok(()),
        Some((until, true)) => Err(Why::KeysRefused(until)),
        Some((until, false)) => Err(Why::KeysResting(until)),
    }
}

/// Takes one of the usable keys, with the room that the call needs; None where their room went to others meanwhile.
pub(super) fn take_key(ask: &Ask<'_>, target: &Target, mut usable: u64, turns: &mut Turns) -> Option<(usize, Option<Reservation>)> {
    while usable != 0 {
        let place = choose(ask, target, usable, turns);
        match target.provider.keys.get(place)?.limit.as_ref().map(|limit| limit.reserve(ask.tokens, ask.now)) {
            None => return Some((place, None)),
            Some(Ok(reserved)) => return Some((place, Some(reserved))),
            Some(Err(_)) => usable &= !(1 << place),
        }
    }
    None
}

fn choose(ask: &Ask<'_>, target: &Target, usable: u64, turns: &mut Turns) -> usize {
    if usable.count_ones() == 1 {
        return usable.trailing_zeros() as usize;
    }
    let keys = &target.provider.keys;
    let mut left = [0; MOST_KEYS];
    for place in bits(usable) {
        if let KeyStanding::Usable(calls) = key_standing(ask, 0, target, place) {
            left[place] = calls;
        }
    }
    let known = bits(usable).map(|place| left[place]).filter(|calls| *calls != u64::MAX).max();
    let any_unknown = bits(usable).any(|place| left[place] == u64::MAX);
    let most = known.unwrap_or(0).max(if any_unknown { PLENTY } else { 0 });
    let share = |place: usize| key_share(left[place], most);
    let roomy = bits(usable).filter(|place| share(*place) >= LEAST_SHARE).fold(0, |mask, place| mask | 1 << place);
    // With nothing left anywhere they are alike again.
    let roomy = if roomy == 0 { usable } else { roomy };
    turns.key(&target.provider.name, roomy, |place| i64::from(keys[place].weight) * share(place) as i64)
}

/// The part of its weight that a key with so many calls left gets beside one with the most, in steps.
fn key_share(left: u64, most: u64) -> u64 {
    (u128::from(left.min(most)) * u128::from(STEPS) / u128::from(most.max(1))) as u64
}

/// Takes what the head of a call's answer says of its key.
pub fn told(taken: &Taken, said: &Said, now: Moment) {
    if let Some(rest) = taken.target.key_rests.get(taken.key.unwrap_or(0)) {
        rest.quota.tell(said, now);
    }
}

/// Puts right what a call has taken of its key's limits. What was refused cost a request and no tokens; what never left
/// cost nothing; else it is `used`, the tokens that the answer counts, or where nothing does the estimate stands.
pub fn settle(reserved: Reservation, outcome: &Outcome, used: Option<u64>, now: Moment) {
    match (outcome, used) {
        (Outcome::Transient(failure), _) if failure.never_left() => reserved.give_back(now),
        (Outcome::RateLimited { .. } | Outcome::KeyFault { .. } | Outcome::TooLong | Outcome::CallerFault | Outcome::ModelMissing, _) => {
            reserved.settle(0, now);
        }
        (Outcome::Ok | Outcome::Transient(_) | Outcome::Abandoned, Some(used)) => reserved.settle(used, now),
        (Outcome::Ok | Outcome::Transient(_) | Outcome::Abandoned, None) => drop(reserved),
    }
}

#[cfg(test)]
mod tests;
