//! When a target was sick, as its calls tell: the measure of how soon a breaker noticed, how soon it came back, and whether
//! it was wrong.

use super::scene::Witness;
use crate::base::Moment;
use crate::health::Outcome;

/// So many good calls in a row end a spell.
const WELL_AGAIN: usize = 3;
/// Fewer failures are no spell.
const FEWEST: usize = 3;

/// From when to when a target was sick: halfway between the calls that show the change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spell {
    /// Its beginning.
    pub from: Moment,
    /// Its end.
    pub to: Moment,
}

impl Spell {
    /// Whether it was sick then.
    pub fn holds(&self, at: Moment) -> bool {
        self.from <= at && at < self.to
    }
}

/// The spells among calls in the order in which they began: each begins with a failure and ends before three good calls in a
/// row, and at least three calls and half of all between failed. Failures apart from one another are the noise that a
/// target has when it is well.
pub(super) fn spells(calls: &[Witness]) -> Vec<Spell> {
    let mut spells = Vec::new();
    let mut place = 0;
    while let Some(first) = (place..calls.len()).find(|place| failed(&calls[*place])) {
        let (mut last, mut failures, mut good) = (first, 0, 0);
        for (place, call) in calls.iter().enumerate().skip(first) {
            if failed(call) {
                (last, failures, good) = (place, failures + 1, 0);
            } else {
                good += 1;
            }
            if good == WELL_AGAIN {
                break;
            }
        }
        if failures >= FEWEST && failures * 2 > last - first {
            let from = first.checked_sub(1).map_or(calls[first].at, |before| halfway(&calls[before], &calls[first]));
            let to = calls.get(last + 1).map_or(Moment::from_micros(u64::MAX), |after| halfway(&calls[last], after));
            spells.push(Spell { from, to });
        }
        place = last + 1;
    }
    spells
}

fn failed(call: &Witness) -> bool {
    call.outcome != Outcome::Ok
}

fn halfway(one: &Witness, other: &Witness) -> Moment {
    Moment::from_micros(one.at.micros().midpoint(other.at.micros()))
}

/// Whether a target was sick at a time.
pub(super) fn sick(spells: &[Spell], at: Moment) -> bool {
    let after = spells.partition_point(|spell| spell.from <= at);
    after.checked_sub(1).is_some_and(|place| spells[place].holds(at))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::health::Failure;

    /// One call a second, `x` for a failed one.
    fn calls(marks: &str) -> Vec<Witness> {
        let call = |(second, mark): (usize, char)| Witness {
            at: Moment::from_millis(second as u64 * 1_000),
            outcome: if mark == 'x' { Outcome::Transient(Failure::Status(500)) } else { Outcome::Ok },
            latency: Duration::from_millis(10),
            first_token: None,
            first_token_limit: Duration::from_secs(60),
        };
        marks.chars().enumerate().map(call).collect()
    }

    fn seconds(marks: &str) -> Vec<(f64, f64)> {
        let second = |at: Moment| at.micros() as f64 / 1e6;
        spells(&calls(marks)).iter().map(|spell| (second(spell.from), second(spell.to))).collect()
    }

    #[test]
    fn a_spell_begins_and_ends_halfway_between_the_calls_that_show_it() {
        assert_eq!(seconds("ooxxxoooo"), [(1.5, 4.5)]);
        assert_eq!(seconds("xxxooo"), [(0.0, 2.5)]);
        assert_eq!(seconds("ooxxxoooxxxxooo"), [(1.5, 4.5), (7.5, 11.5)]);
    }

    #[test]
    fn what_never_ends_is_sick_to_the_last() {
        let open = spells(&calls("oxxxx"));
        assert!(sick(&open, Moment::from_millis(9_000_000)) && !sick(&open, Moment::from_millis(400)));
    }

    #[test]
    fn good_calls_between_failures_do_not_end_it_and_noise_is_none() {
        assert_eq!(seconds("ooxoxxoxooo"), [(1.5, 7.5)]);
        assert_eq!(seconds("oxoooxoooxoooxooo"), []);
        assert_eq!(seconds("xxooo"), [], "two are too few");
        assert_eq!(seconds("xooxooxooxooo"), [], "less than half");
        assert_eq!(seconds(""), []);
    }

    #[test]
    fn a_time_is_in_a_spell_or_not() {
        let known = spells(&calls("ooxxxoooxxxxooo"));
        let at = |ms| sick(&known, Moment::from_millis(ms));
        assert_eq!([1_499, 1_500, 4_499, 4_500, 8_000, 12_000].map(at), [false, true, true, false, true, false]);
    }
}
