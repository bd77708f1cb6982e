//! Which fault strikes a call. Age, tallies and chance come in as arguments, so that windows, counts and ratios are tested
//! without waiting.

use std::time::Duration;

use rand::RngExt;
use rand::rngs::SmallRng;

use super::script::{Fault, FaultKind};

/// What one fault has seen since its script was set.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tally {
    /// Calls that it could be about.
    seen: u64,
    /// Calls that it struck.
    struck: u64,
}

/// What a fault asks of a call.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Call<'a> {
    pub(super) model: Option<&'a str>,
    pub(super) key: Option<&'a str>,
}

/// The first fault that applies to a call which comes `age` after the script was set. Every fault's tally counts the call,
/// whichever strikes: "after 3 calls" means the caller's calls.
pub(super) fn strike(faults: &[Fault], tallies: &mut [Tally], call: Call<'_>, age: Duration, chance: &mut SmallRng) -> Option<FaultKind> {
    let mut kind = None;
    for (fault, tally) in faults.iter().zip(tallies) {
        if !concerns(fault, call) {
            continue;
        }
        tally.seen += 1;
        if kind.is_none() && due(fault, tally, age) && (fault.ratio >= 1.0 || chance.random::<f64>() < fault.ratio) {
            tally.struck += 1;
            kind = Some(fault.kind.clone());
        }
    }
    kind
}

fn concerns(fault: &Fault, call: Call<'_>) -> bool {
    let same = |asked: &Option<String>, has: Option<&str>| asked.as_deref().is_none_or(|asked| has == Some(asked));
    same(&fault.model, call.model) && same(&fault.key, call.key)
}

fn due(fault: &Fault, tally: &Tally, age: Duration) -> bool {
    age >= fault.from
        && fault.to.is_none_or(|to| age < to)
        && tally.seen > fault.after
        && fault.count.is_none_or(|count| tally.struck < count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    fn fault(kind: FaultKind) -> Fault {
        Fault { kind, from: Duration::ZERO, to: None, ratio: 1.0, after: 0, count: None, model: None, key: None }
    }

    fn struck(faults: &[Fault], calls: usize, call: Call<'_>) -> Vec<Option<FaultKind>> {
        let mut tallies = vec![Tally::default(); faults.len()];
        let mut chance = SmallRng::seed_from_u64(1);
        (0..calls).map(|_| strike(faults, &mut tallies, call, Duration::ZERO, &mut chance)).collect()
    }

    #[test]
    fn after_and_count_bound_the_calls() {
        let faults = [Fault { after: 2, count: Some(3), ..fault(FaultKind::Hang) }];
        let hit: Vec<bool> = struck(&faults, 8, Call::default()).iter().map(Option::is_some).collect();
        assert_eq!(hit, [false, false, true, true, true, false, false, false]);
    }

    #[test]
    fn the_first_that_applies_wins() {
        let faults = [Fault { count: Some(1), ..fault(FaultKind::Hang) }, fault(FaultKind::Empty)];
        assert_eq!(struck(&faults, 2, Call::default()), [Some(FaultKind::Hang), Some(FaultKind::Empty)]);
    }

    #[test]
    fn a_window_is_open_at_its_end() {
        let faults = [Fault { from: Duration::from_secs(1), to: Some(Duration::from_secs(2)), ..fault(FaultKind::Hang) }];
        let mut chance = SmallRng::seed_from_u64(1);
        let mut at = |ms| strike(&faults, &mut [Tally::default()], Call::default(), Duration::from_millis(ms), &mut chance).is_some();
        assert_eq!([at(999), at(1000), at(1999), at(2000)], [false, true, true, false]);
    }

    #[test]
    fn a_model_or_a_key_narrows_it() {
        let faults = [Fault { model: Some("a".into()), key: Some("k".into()), ..fault(FaultKind::Hang) }];
        let hit = |model, key| struck(&faults, 1, Call { model, key })[0].is_some();
        assert!(hit(Some("a"), Some("k")));
        assert!(!hit(Some("b"), Some("k")) && !hit(Some("a"), None) && !hit(None, Some("k")));
    }

    #[test]
    fn a_ratio_is_about_kept_and_repeatable() {
        let faults = [Fault { ratio: 0.3, ..fault(FaultKind::Hang) }];
        let runs = [struck(&faults, 2000, Call::default()), struck(&faults, 2000, Call::default())];
        let hits = runs[0].iter().flatten().count();
        assert!((500..700).contains(&hits), "{hits}");
        assert_eq!(runs[0], runs[1]);
        assert!(struck(&[Fault { ratio: 0.0, ..fault(FaultKind::Hang) }], 100, Call::default()).iter().all(Option::is_none));
    }
}
