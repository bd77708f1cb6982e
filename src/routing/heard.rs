//! What a call's end says of its key or its target for good, kept by whoever hears it until the provider's actor has decided: a
//! request that begins meanwhile doesn't send the key again, nor asks for a model that isn't there.

use super::pick::Taken;
use crate::base::Moment;
use crate::health::Outcome;

/// Takes the end of a call that began then. What it holds back ends by itself where the actor never hears of it.
pub fn heard(taken: &Taken, outcome: &Outcome, begun: Moment, now: Moment) {
    let target = &taken.target;
    let own = || target.key_rests.get(taken.key.unwrap_or(0)).map(|rest| &**rest);
    let whole = || taken.key.and_then(|place| target.provider.keys.get(place)).map(|slot| &*slot.rest).or_else(own);
    match outcome {
        Outcome::RateLimited { wait, whole_key } => {
            if let Some(own) = own() {
                own.quota.forget();
            }
            if let Some(rest) = if *whole_key { whole() } else { own() } {
                rest.hold_limited(*wait, now);
            }
        }
        Outcome::KeyFault { sure: true } => {
            if let Some(rest) = whole() {
                rest.hold_refused(now);
            }
        }
        // One name behind a wildcard says nothing of the others.
        Outcome::ModelMissing if &*target.model != "*" => target.vitals.absence().hold(begun, now),
        Outcome::KeyFault { sure: false }
        | Outcome::Ok
        | Outcome::Transient(_)
        | Outcome::TooLong
        | Outcome::CallerFault
        | Outcome::ModelMissing
        | Outcome::Abandoned => {}
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::super::fixture::{provider, target};
    use super::*;

    const NOW: Moment = Moment::from_millis(1_000);

    #[test]
    fn a_missing_model_is_held_at_once_but_not_behind_a_wildcard() {
        for (model, held) in [("up", true), ("*", false)] {
            let target = Arc::new(target(&provider("p", 0), model));
            let taken = Taken { number: 0, model: "m".into(), target: Arc::clone(&target), key: None };
            heard(&taken, &Outcome::ModelMissing, NOW, NOW);
            assert_eq!(target.vitals.absence().holds(NOW), held, "{model}");
        }
        let target = Arc::new(target(&provider("p", 0), "up"));
        let taken = Taken { number: 0, model: "m".into(), target: Arc::clone(&target), key: None };
        target.vitals.absence().renew(NOW);
        heard(&taken, &Outcome::ModelMissing, Moment::from_millis(999), NOW.plus(Duration::from_millis(1)));
        assert!(!target.vitals.absence().holds(NOW.plus(Duration::from_millis(1))), "it began before it was put right");
    }
}
