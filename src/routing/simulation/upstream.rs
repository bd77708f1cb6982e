//! The providers' side: each target has a mood that the weather changes, and each call gets an answer by it.

use std::collections::BTreeMap;
use std::time::Duration;

use rand::RngExt;
use rand::rngs::SmallRng;

use super::super::Taken;
use crate::base::Moment;
use crate::health::{Failure, Outcome};

/// How a target answers for a while.
#[derive(Clone, Copy, Debug)]
enum Mood {
    /// Well, in about so many milliseconds.
    Well(u64),
    /// Every call fails so.
    Failing(Failure),
    /// So many of a hundred calls fail so.
    Flaky(u32, Failure),
    /// Well and failing by turns of so many milliseconds.
    Flapping(u64, Failure),
    /// Never answers: our clocks end the call.
    Hanging,
    /// Out of quota.
    Limited { wait_ms: Option<u64>, whole_key: bool },
    /// Finds fault with the request.
    Picky(bool),
    /// Has lost the model.
    Missing,
    /// Streams break after their first content.
    Breaking,
}

/// What a call will meet.
#[derive(Clone, Debug)]
pub(super) struct Script {
    /// Its first content; streams only.
    pub(super) first_token: Option<Duration>,
    /// Its end.
    pub(super) ends: Duration,
    pub(super) outcome: Outcome,
}

/// The moods of all targets, and of their providers and keys.
#[derive(Debug, Default)]
pub(super) struct Weather {
    moods: BTreeMap<(usize, usize), Mood>,
    /// Providers that can't be reached.
    away: BTreeMap<usize, Failure>,
    /// Keys that are refused, and whether that is said clearly.
    refused: BTreeMap<(usize, usize), bool>,
}

const FAILURES: [Failure; 13] = [
    Failure::Status(500),
    Failure::Status(503),
    Failure::StatusLater(503),
    Failure::Status(529),
    Failure::ResetBeforeHead,
    Failure::ResetInBody,
    Failure::IdleTimeout,
    Failure::TotalTimeout,
    Failure::Truncated,
    Failure::Malformed,
    Failure::ErrorBody,
    Failure::WrongPlace,
    Failure::Connect,
];

fn failure(rng: &mut SmallRng) -> Failure {
    FAILURES[rng.random_range(0..FAILURES.len())]
}

impl Mood {
    fn random(rng: &mut SmallRng) -> Self {
        match rng.random_range(0..14) {
            0..=2 => Self::Well(rng.random_range(5..=120)),
            3 => Self::Well(rng.random_range(400..=3_000)),
            4 | 5 => Self::Failing(failure(rng)),
            6 | 7 => Self::Flaky(rng.random_range(5..=80), failure(rng)),
            8 => Self::Flapping(rng.random_range(100..=5_000), failure(rng)),
            9 => Self::Hanging,
            10 => {
                let wait_ms = rng.random_bool(0.6).then(|| rng.random_range(100..=20_000));
                Self::Limited { wait_ms, whole_key: rng.random_bool(0.3) }
            }
            11 => Self::Picky(rng.random_bool(0.5)),
            12 => Self::Breaking,
            _ if rng.random_bool(0.2) => Self::Missing,
            _ => Self::Well(20),
        }
    }
}

impl Weather {
    /// Something changes.
    pub(super) fn change(&mut self, rng: &mut SmallRng) {
        let provider = rng.random_range(0..4);
        match rng.random_range(0..10) {
            0 => {
                let all = [Failure::Connect, Failure::Dns, Failure::ConnectTimeout, Failure::Tls];
                self.away.insert(provider, all[rng.random_range(0..all.len())]);
            }
            1 | 2 => _ = self.away.remove(&provider),
            3 => _ = self.refused.insert((provider, rng.random_range(0..3)), rng.random_bool(0.5)),
            4 => self.refused.clear(),
            _ => _ = self.moods.insert((provider, rng.random_range(0..3)), Mood::random(rng)),
        }
    }

    /// Everyone is well again.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Whether an active probe of the provider would be answered.
    pub(super) fn reachable(&self, provider: usize) -> bool {
        !self.away.contains_key(&provider)
    }

    /// What a call to `taken` at `now` meets.
    pub(super) fn answer(&self, taken: &Taken, stream: bool, deadline: Moment, now: Moment, rng: &mut SmallRng) -> Script {
        let place = taken.target.provider.place;
        let quick = Duration::from_millis(rng.random_range(0..=30));
        let ends = |after: Duration, outcome| Script { first_token: None, ends: after, outcome };
        let script = if let Some(failure) = self.away.get(&place) {
            let after = if failure.is_timeout() { taken.target.timeouts.connect } else { quick };
            ends(after, Outcome::Transient(*failure))
        } else if let Some(sure) = taken.key.and_then(|key| self.refused.get(&(place, key))) {
            ends(quick, Outcome::KeyFault { sure: *sure })
        } else {
            let mood = self.moods.get(&(place, taken.target.place)).copied().unwrap_or(Mood::Well(20));
            self.by_mood(mood, quick, stream, now, rng)
        };
        cut(script, taken, stream, deadline, now)
    }

    fn by_mood(&self, mood: Mood, quick: Duration, stream: bool, now: Moment, rng: &mut SmallRng) -> Script {
        let failing = |failure| Script { first_token: None, ends: quick, outcome: Outcome::Transient(failure) };
        let well = |ms: u64, rng: &mut SmallRng| {
            let start = Duration::from_millis(ms * rng.random_range(50..=200) / 100);
            let more = Duration::from_millis(rng.random_range(0..=800));
            match stream {
                true => Script { first_token: Some(start), ends: start + more, outcome: Outcome::Ok },
                false => Script { first_token: None, ends: start + more / 4, outcome: Outcome::Ok },
            }
        };
        match mood {
            Mood::Well(ms) => well(ms, rng),
            Mood::Failing(failure) => failing(failure),
            Mood::Flaky(share, failure) if rng.random_range(0..100) < share => failing(failure),
            Mood::Flapping(period, failure) if (now.millis() / period).is_multiple_of(2) => failing(failure),
            Mood::Flaky(..) | Mood::Flapping(..) => well(30, rng),
            Mood::Hanging => Script { first_token: None, ends: Duration::from_secs(3_600), outcome: Outcome::Ok },
            Mood::Limited { wait_ms, whole_key } => {
                let outcome = Outcome::RateLimited { wait: wait_ms.map(Duration::from_millis), whole_key };
                Script { first_token: None, ends: quick, outcome }
            }
            Mood::Picky(long) => {
                let outcome = if long { Outcome::TooLong } else { Outcome::CallerFault };
                Script { first_token: None, ends: quick, outcome }
            }
            Mood::Missing => Script { first_token: None, ends: quick, outcome: Outcome::ModelMissing },
            Mood::Breaking if stream => Script { outcome: Outcome::Transient(Failure::ResetInBody), ..well(30, rng) },
            Mood::Breaking => failing(Failure::ResetInBody),
        }
    }
}

/// Our own clocks: they end what takes too long.
fn cut(script: Script, taken: &Taken, stream: bool, deadline: Moment, now: Moment) -> Script {
    let timeouts = &taken.target.timeouts;
    let (begins, limit, failure) = match stream {
        true => (script.first_token.unwrap_or(script.ends), timeouts.first_token, Failure::FirstTokenTimeout),
        false => (script.ends, timeouts.first_byte, Failure::HeadTimeout),
    };
    let left = deadline.since(now);
    match () {
        _ if begins > limit.min(left) && left <= limit => Script { first_token: None, ends: left, outcome: Outcome::Abandoned },
        _ if begins > limit => Script { first_token: None, ends: limit, outcome: Outcome::Transient(failure) },
        () => script,
    }
}
