//! A gateway's own record, read: what its breakers were told, in order, how they moved, and where requests could have gone.
//! Names are numbers here, so that a long record fits.

use std::time::Duration;

use super::chains::Pool;
use crate::base::Moment;
use crate::health::{Force, Outcome, Pass, Published, Reason, State, Thresholds};
use crate::routing::{Retry, WhenAllOpen};

/// See the module's text.
#[derive(Debug, Default)]
pub struct Record {
    /// The providers, in the order in which they appear.
    pub providers: Vec<ProviderRecord>,
    /// The public models, likewise.
    pub models: Vec<ModelRecord>,
    /// Requests that ended, those without a single call included.
    pub requests: Vec<Request>,
    /// What was read to make it.
    pub lines: Lines,
}

/// What a record was made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lines {
    /// Lines that belong to it.
    pub used: u64,
    /// Other lines of the gateway's log.
    pub other: u64,
    /// Lines that are no JSON object, or lack what they need.
    pub bad: u64,
    /// Lines after the most that are kept.
    pub beyond: u64,
}

/// A public model.
#[derive(Debug)]
pub struct ModelRecord {
    /// Its name.
    pub name: String,
    /// Its chain as last put on record; None where it wasn't.
    pub chain: Option<(Vec<Pool>, Retry)>,
}

/// A request's end.
#[derive(Clone, Copy, Debug)]
pub struct Request {
    /// Its id's number.
    pub id: u64,
    /// Its public model.
    pub model: u32,
    /// When it came, by the time of day.
    pub at: Moment,
    /// Whether it asked for a stream.
    pub stream: bool,
    /// Whether it was served or went wrong by its own fault.
    pub status: u16,
}

/// What is on record of a provider.
#[derive(Debug)]
pub struct ProviderRecord {
    /// Its name.
    pub name: String,
    /// Its own names for the models that were called.
    pub targets: Vec<String>,
    /// Each life of its actor.
    pub runs: Vec<Run>,
}

/// One life of a provider's actor, as far as it is on record.
#[derive(Debug, Default)]
pub struct Run {
    /// How it began; None where the record begins later.
    pub watched: Option<Watched>,
    /// Added to the process's own time, the time of day: both in microseconds.
    pub unix_us: u64,
    /// What its breakers were told, in order.
    pub events: Vec<Event>,
    /// How they moved, in order.
    pub moves: Vec<Move>,
}

/// The state in which an actor began, or went on after a reload.
#[derive(Clone, Debug, PartialEq)]
pub struct Watched {
    /// When.
    pub at: Moment,
    /// The thresholds in force.
    pub thresholds: Thresholds,
    /// What happens when nothing else is left.
    pub when_all_open: WhenAllOpen,
    /// Its targets.
    pub targets: Vec<u32>,
    /// The breakers that went on where an earlier actor's had ended; the others were new.
    pub resumed: Vec<Resumed>,
}

/// A breaker that went on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Resumed {
    /// The target's number; None: the provider's own.
    pub target: Option<u32>,
    /// Where it went on.
    pub published: Published,
}

/// What an operator ordered.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ordered {
    /// The order.
    pub force: Force,
    /// The target's number; None: the whole provider.
    pub target: Option<u32>,
    /// When.
    pub at: Moment,
}

/// One thing that a provider's breakers were told.
#[derive(Debug)]
pub struct Event {
    /// Its number in the run.
    pub seq: u64,
    /// The latest time that had passed before.
    pub seen: Moment,
    /// What.
    pub kind: EventKind,
}

/// See [`Event`].
#[derive(Debug)]
pub enum EventKind {
    /// A call's end.
    Call(Call),
    /// A probe's first content; with the epochs in which it was let through.
    Answered {
        /// The target's number.
        target: u32,
        /// By its breaker, if by a permit.
        by_target: Option<u32>,
        /// By the provider's, if by a permit.
        by_provider: Option<u32>,
        /// When.
        at: Moment,
    },
    /// Nothing but what moved: by time, or by an active probe.
    Outside(Moment),
    /// An operator's order.
    Ordered(Ordered),
    /// New thresholds or targets by a reload.
    Retuned(Watched),
}

/// The end of a call.
#[derive(Debug)]
pub struct Call {
    /// Its request's number.
    pub request: u64,
    /// Which of the request's calls it was.
    pub attempt: u32,
    /// The public model that was asked for.
    pub model: u32,
    /// The target's number.
    pub target: u32,
    /// Whether a stream was asked for.
    pub stream: bool,
    /// How it ended.
    pub outcome: Outcome,
    /// When it began.
    pub start: Moment,
    /// When it ended.
    pub end: Moment,
    /// From its start to its first content.
    pub first_token: Option<Duration>,
    /// The limit that its first token had.
    pub first_token_limit: Duration,
    /// How, and in which epoch, the target's breaker let it through.
    pub by_target: (Pass, u32),
    /// How the provider's did.
    pub by_provider: (Pass, u32),
}

/// A breaker's move.
#[derive(Clone, Debug, PartialEq)]
pub struct Move {
    /// The event that it follows from.
    pub seq: u64,
    /// The target's number; None: the provider's own breaker.
    pub target: Option<u32>,
    /// The state left.
    pub from: State,
    /// The state entered.
    pub to: State,
    /// Why.
    pub reason: Reason,
    /// The open period as drawn.
    pub period: Option<Duration>,
    /// The number drawn for it, in millionths from -1 to 1.
    pub draw: Option<i32>,
    /// When.
    pub at: Moment,
}

impl Record {
    /// Calls on record.
    pub fn calls(&self) -> impl Iterator<Item = &Call> {
        let events = self.providers.iter().flat_map(|provider| &provider.runs).flat_map(|run| &run.events);
        events.filter_map(|event| match &event.kind {
            EventKind::Call(call) => Some(call),
            _ => None,
        })
    }
}
