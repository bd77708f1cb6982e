//! What must hold whatever happens: the properties of a breaker, of its permits and of a choice, each looked at where it could
//! break.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::super::{Ask, Choice, NoTarget, servable};
use super::post::Cause;
use crate::base::Moment;
use crate::health::{Admitted, Breaker, Moved, Outcome, Pass, ProviderHealth, Reason, State, Transition, Vitals, Vote};

/// A provider's place, and a model's place with it or none for the provider's own breaker.
type Scope = (usize, Option<usize>);

/// Remembers what each breaker was, and what became of everything, as a number.
#[derive(Debug, Default)]
pub(super) struct Judge {
    known: BTreeMap<Scope, (State, bool, u32)>,
    /// The last probe, where probes keep a distance.
    probed: BTreeMap<Scope, Moment>,
    /// Who has answered a probe of the present half-open state, which ends the distance.
    answered: BTreeSet<Scope>,
    /// Two runs of one seed end with the same.
    pub(super) trace: u64,
    /// Moves seen: a simulation in which nothing moves judges nothing.
    pub(super) moves: u64,
}

/// The model's place, by its name in [`super::setting`].
fn scope(provider: usize, health: &ProviderHealth, target: Option<usize>) -> Scope {
    let model = target.and_then(|place| health.targets[place].model.strip_prefix('m')?.parse().ok());
    (provider, model)
}

impl Judge {
    /// Adds something that happened to the trace (FNV-1a).
    pub(super) fn note(&mut self, word: u64) {
        self.trace = (self.trace ^ word).wrapping_mul(0x0100_0000_01b3);
    }

    /// Every breaker of a provider after it was told something.
    pub(super) fn moved(&mut self, provider: usize, health: &mut ProviderHealth, cause: &Cause, moved: &[Moved], now: Moment) {
        let places = std::iter::once(None).chain((0..health.targets.len()).map(Some));
        for place in places.collect::<Vec<_>>() {
            let scope = scope(provider, health, place);
            let moves: Vec<_> = moved.iter().filter(|step| step.target == place).map(|step| step.transition).collect();
            let (breaker, vitals) = match place {
                None => (&mut health.breaker, &health.vitals),
                Some(place) => {
                    let target = &mut health.targets[place];
                    (&mut target.breaker, &target.vitals)
                }
            };
            self.breaker(scope, breaker, vitals, cause, &moves, now);
        }
    }

    fn breaker(&mut self, scope: Scope, breaker: &mut Breaker, vitals: &Vitals, cause: &Cause, moves: &[Transition], now: Moment) {
        let published = vitals.published();
        let is = (breaker.state(), breaker.held(), breaker.epoch());
        assert_eq!((published.state, published.held, published.epoch), is, "{scope:?}: what is published is what is");
        assert_eq!((published.reason, published.until.is_some()), (breaker.reason(), breaker.until().is_some()), "{scope:?}");
        let was = *self.known.entry(scope).or_insert(is);
        assert_eq!(moves.first().map_or(is.0, |step| step.from), was.0, "{scope:?}: no move without a transition");
        assert_eq!(moves.last().map_or(was.0, |step| step.to), is.0, "{scope:?}: no transition without its move");
        assert!(moves.windows(2).all(|two| two[0].to == two[1].from), "{scope:?}: moves are a path: {moves:?}");
        for step in moves {
            assert!(may_follow(scope.1.is_none(), step, cause, was.2), "{scope:?}: {step:?} from {cause:?}");
            self.note(step.reason as u64);
            self.moves += 1;
        }
        let renewed = moves.iter().filter(|step| step.to != State::HalfOpen).count() as u32;
        let reset = u32::from(matches!(cause, Cause::Order) && moves.is_empty() && is.2 != was.2);
        assert_eq!(is.2.wrapping_sub(was.2), renewed + reset, "{scope:?}: a fresh epoch with each state but half-open");
        assert!(!moves.is_empty() || matches!(cause, Cause::Order) || was == is, "{scope:?}: {was:?} -> {is:?}");
        assert_eq!(breaker.reason(), moves.last().map_or(breaker.reason(), |step| Some(step.reason)));
        ends(breaker, now);
        counts(breaker, now);
        self.found_out(scope, cause, moves, is.2);
        self.known.insert(scope, is);
    }

    fn found_out(&mut self, scope: Scope, cause: &Cause, moves: &[Transition], epoch: u32) {
        if !moves.is_empty() {
            self.answered.remove(&scope);
        }
        let good = match cause {
            Cause::Told { outcome, by_provider, by_target } => {
                let by = if scope.1.is_none() { by_provider } else { by_target };
                // A failure that reached the provider is a success of its own breaker.
                *by == (Pass::Probe, epoch) && outcome.vote() != Vote::None
            }
            Cause::Answered => true,
            Cause::Tick | Cause::Probed | Cause::Order => false,
            // The distance itself may be another.
            Cause::Roster => {
                self.probed.remove(&scope);
                false
            }
        };
        if good {
            self.answered.insert(scope);
        }
    }

    /// Whom a request was sent to, or why to nobody.
    pub(super) fn picked(&mut self, ask: &Ask<'_>, picked: &Result<Choice, NoTarget>, gap: impl Fn(usize) -> Duration) {
        let Ok(choice) = picked else {
            self.note(1);
            assert_eq!(servable(ask), 0, "nobody, though someone could serve");
            return;
        };
        let taken = &choice.taken;
        let (target, provider) = (&taken.target, &taken.target.provider);
        self.note(2 + taken.number as u64);
        assert!(!ask.tried.has(taken.number) && ask.only.is_none_or(|only| only == taken.number));
        assert!(provider.max_concurrency == 0 || provider.vitals.in_flight() as usize <= provider.max_concurrency);
        assert!(!target.vitals.absence().holds(ask.now));
        if let Some(key) = taken.key {
            let rests = [provider.keys[key].rest.until(ask.now), target.key_rests[key].until(ask.now)];
            assert_eq!(rests, [None, None], "a key that rests");
        }
        let scopes = [
            ((provider.place, None), &provider.vitals, &choice.by_provider),
            ((provider.place, Some(target.place)), &target.vitals, &choice.by_target),
        ];
        for (scope, vitals, by) in scopes {
            passed(vitals, by, ask);
            let gap = gap(provider.place);
            if by.is_probe() && gap > Duration::ZERO {
                let last = self.probed.insert(scope, ask.now);
                let apart = last.is_none_or(|last| ask.now.since(last) >= gap);
                assert!(apart || self.answered.contains(&scope), "{scope:?}: probes too close to each other");
            }
        }
    }
}

/// An open period ends, unless an operator holds it, within the longest that the thresholds draw.
fn ends(breaker: &Breaker, now: Moment) {
    if breaker.state() == State::Open {
        assert_eq!(breaker.until().is_none(), breaker.held());
        let longest = now.plus(breaker.thresholds().open_for_max.mul_f64(1.1));
        assert!(breaker.until().is_none_or(|until| until <= longest), "an open period ends: {breaker:?}");
    }
}

/// Counts fit each other, and a clock that steps back changes nothing.
fn counts(breaker: &mut Breaker, now: Moment) {
    let tally = breaker.tally(now);
    assert!(tally.failures <= tally.calls && tally.slow <= tally.calls);
    let mut back = breaker.clone();
    let earlier = Moment::from_micros(now.micros() / 2);
    let mut moves = Vec::new();
    if breaker.until().is_none_or(|until| until > earlier) {
        back.tick(earlier, &mut moves);
    }
    assert_eq!((moves.len(), back.state(), back.tally(earlier), back.epoch()), (0, breaker.state(), tally, breaker.epoch()));
}

fn passed(vitals: &Arc<Vitals>, by: &Admitted, ask: &Ask<'_>) {
    let published = vitals.published();
    assert_eq!(by.epoch, published.epoch);
    assert_eq!(by.is_probe(), by.pass == Pass::Probe);
    match by.pass {
        Pass::Normal => assert_eq!(published.state, State::Closed),
        Pass::Probe => {
            let due = published.state == State::HalfOpen || published.until.is_some_and(|until| ask.now >= until);
            assert!(due && !published.held && published.state != State::Closed, "{published:?}");
        }
        Pass::LeastBad => assert!(ask.last_resort && published.state == State::Open && !published.held),
    }
}

/// Whether a move may follow from what the machine was told.
fn may_follow(own: bool, step: &Transition, cause: &Cause, epoch: u32) -> bool {
    use State::{Closed, HalfOpen, Open};
    let told = match cause {
        Cause::Told { outcome, by_provider, by_target } => Some((outcome, if own { by_provider } else { by_target })),
        _ => None,
    };
    let failed = told.is_some_and(|(outcome, _)| matches!(outcome.vote(), Vote::Failure | Vote::HardFailure));
    let current = told.is_none_or(|(_, by)| by.1 == epoch);
    let probe = told.is_some_and(|(_, by)| by.0 == Pass::Probe);
    match (step.from, step.to, step.reason) {
        (Closed, Open, Reason::Consecutive | Reason::Ratio) => failed && current,
        (Closed, Open, Reason::Hard) => failed && current && told.is_some_and(|(outcome, _)| outcome.vote() == Vote::HardFailure),
        (Closed, Open, Reason::SeveralModels) => failed && own,
        (Open, HalfOpen, Reason::PeriodOver) => current && !matches!(cause, Cause::Order | Cause::Probed | Cause::Roster),
        (Open, HalfOpen, Reason::LeastBadSucceeded) => {
            current && told.is_some_and(|(outcome, by)| by.0 == Pass::LeastBad && (own || *outcome == Outcome::Ok))
        }
        (Open, HalfOpen, Reason::ActiveProbe) => matches!(cause, Cause::Probed),
        (HalfOpen, Open, Reason::ProbeFailed) => failed && current && probe,
        // A failure that reached the provider is a success of its own breaker: it spoke with us.
        (HalfOpen, Closed, Reason::ProbesSucceeded) => matches!(cause, Cause::Answered) || current && probe && (own || !failed),
        (_, Open, Reason::OperatorOpen) | (_, Closed, Reason::OperatorClose | Reason::OperatorReset) => matches!(cause, Cause::Order),
        _ => false,
    }
}
