//! What lies between callers and providers: routers that hold routine reports back, mailboxes that are read a little later,
//! and the providers' machines behind them.

use std::collections::VecDeque;

use rand::RngExt;
use rand::rngs::SmallRng;

use super::super::Turns;
use crate::base::Moment;
use crate::health::{Admitted, Moved, Outcome, Pass, ProviderHealth, Told};

/// One worker's router.
#[derive(Debug, Default)]
pub(super) struct Router {
    pub(super) turns: Turns,
    /// What waits to be told, by the provider's place.
    pub(super) waiting: Vec<Vec<Told>>,
}

/// What a provider's actor is sent.
#[derive(Debug)]
pub(super) enum Message {
    Reports(Vec<Told>),
    Answered(Option<Admitted>, Option<Admitted>),
}

/// One provider's actor.
#[derive(Debug)]
pub(super) struct Actor {
    pub(super) health: ProviderHealth,
    pub(super) mailbox: VecDeque<Message>,
    /// When the last of its messages will be read: they are read in order.
    pub(super) read_by: Moment,
}

/// What a machine was told, for the judges: what may follow from it.
#[derive(Clone, Debug)]
pub(super) enum Cause {
    /// A call's end, and how both breakers had let it through.
    Told { outcome: Outcome, by_provider: (Pass, u32), by_target: (Pass, u32) },
    /// A probe's first content.
    Answered,
    /// Time.
    Tick,
    /// An operator.
    Order,
    /// An active probe that was answered.
    Probed,
    /// A reload, or a successor.
    Roster,
}

impl Router {
    /// Takes a call's end; what there is to send at once, as the gateway's router does it.
    pub(super) fn tell(&mut self, place: usize, told: Told) -> Option<Vec<Told>> {
        let routine = told.outcome == Outcome::Ok && told.by_target.pass == Pass::Normal && told.by_provider.pass == Pass::Normal;
        if self.waiting.len() <= place {
            self.waiting.resize_with(place + 1, Vec::new);
        }
        self.waiting[place].push(told);
        (!routine).then(|| std::mem::take(&mut self.waiting[place]))
    }
}

impl Actor {
    /// Reads one message; every report's moves are shown to `judge`.
    pub(super) fn read(&mut self, now: Moment, rng: &mut SmallRng, mut judge: impl FnMut(&mut ProviderHealth, &Cause, &[Moved])) {
        match self.mailbox.pop_front() {
            None => {}
            Some(Message::Answered(by_provider, by_target)) => {
                let moved = self.health.answered(by_provider, by_target, now);
                judge(&mut self.health, &Cause::Answered, &moved);
            }
            Some(Message::Reports(all)) => {
                for told in all {
                    let by = |by: &Admitted| (by.pass, by.epoch);
                    let cause =
                        Cause::Told { outcome: told.outcome.clone(), by_provider: by(&told.by_provider), by_target: by(&told.by_target) };
                    let moved = self.health.record(told, rng.random_range(-1.0..=1.0));
                    judge(&mut self.health, &cause, &moved);
                }
            }
        }
    }

    /// Permits that lie in the mailbox, unread.
    pub(super) fn permits(&self) -> impl Iterator<Item = &Admitted> {
        self.mailbox.iter().flat_map(|message| match message {
            Message::Reports(all) => all.iter().flat_map(|told| [&told.by_provider, &told.by_target]).collect::<Vec<_>>(),
            Message::Answered(by_provider, by_target) => by_provider.iter().chain(by_target).collect(),
        })
    }
}
