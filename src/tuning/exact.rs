//! The replay of a record under the settings that were in force: the same machines, told the same things in the same order,
//! have to make the same moves. That is how one knows that the record is whole and that the machines are what ran.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use super::record::{Call, Event, EventKind, Move, Ordered, ProviderRecord, Record, Resumed, Run, Watched};
use crate::health::{
    Admitted, Breaker, Moved, Origin, Pass, ProviderHealth, Published, Reason, Rest, Roster, Seat, Told, Transition, Vitals,
};

/// A breaker's drawn number is on record in this many steps from 0 to 1, so that it can be written exactly.
pub const DRAWN: i32 = 1_000_000;

/// Differences that are told; more are counted.
const TOLD: usize = 20;

/// How one provider's replay went.
#[derive(Debug, Default)]
pub struct Checked {
    /// The provider's name.
    pub provider: String,
    /// Moves on record that the replay made too.
    pub same: usize,
    /// What differs, in words; the first of them.
    pub differences: Vec<String>,
    /// How many differ.
    pub different: usize,
    /// Moves on record that can't be checked, since the record lacks what came before them.
    pub unchecked: usize,
}

/// Replays every provider's record.
pub fn check(record: &Record) -> Vec<Checked> {
    record.providers.iter().map(check_provider).collect()
}

fn check_provider(provider: &ProviderRecord) -> Checked {
    let mut checked = Checked { provider: provider.name.clone(), ..Checked::default() };
    for run in &provider.runs {
        match &run.watched {
            Some(watched) => check_run(provider, run, watched, &mut checked),
            None => checked.unchecked += run.moves.len(),
        }
    }
    checked
}

fn check_run(provider: &ProviderRecord, run: &Run, watched: &Watched, checked: &mut Checked) {
    let mut replay = Replay::new(provider, watched);
    let mut moves = &run.moves[..];
    for (event, seq) in run.events.iter().zip(1..) {
        // A line is missing: what follows can't be known.
        if event.seq != seq {
            break;
        }
        let count = moves.iter().take_while(|step| step.seq == event.seq).count();
        let (own, rest) = moves.split_at(count);
        moves = rest;
        let replayed = replay.event(event, own);
        checked.compare(provider, event.seq, own, &replay.named(&replayed));
    }
    checked.unchecked += moves.len();
}

impl Checked {
    fn compare(&mut self, provider: &ProviderRecord, seq: u64, recorded: &[Move], replayed: &[(Option<u32>, Transition)]) {
        let same = |(step, (target, made)): (&Move, &(Option<u32>, Transition))| {
            let whole = |period: Option<Duration>| period.map(|period| period.as_micros());
            (step.target, step.from, step.to, step.reason) == (*target, made.from, made.to, made.reason)
                && whole(step.period) == whole(made.period)
        };
        if recorded.len() == replayed.len() && recorded.iter().zip(replayed).all(same) {
            self.same += recorded.len();
            return;
        }
        self.different += recorded.len().max(replayed.len());
        if self.differences.len() < TOLD {
            let on_record = recorded.iter().map(|step| (step.target, step.from, step.to, step.reason, step.period));
            let made = replayed.iter().map(|(target, step)| (*target, step.from, step.to, step.reason, step.period));
            let (on_record, made) = (words(provider, on_record), words(provider, made));
            self.differences.push(format!("{} at {seq}: on record {on_record}; replayed {made}", provider.name));
        }
    }
}

type Step = (Option<u32>, crate::health::State, crate::health::State, Reason, Option<Duration>);

fn words(provider: &ProviderRecord, steps: impl Iterator<Item = Step>) -> String {
    let mut words = String::new();
    for (target, from, to, reason, period) in steps {
        let target = target.map_or("", |target| &provider.targets[target as usize]);
        let blank = if words.is_empty() { "" } else { ", " };
        // Writing to a String can't fail.
        let _ = write!(words, "{blank}{target} {} -> {} ({})", from.name(), to.name(), reason.name());
        let _ = period.map(|period| write!(words, " for {} us", period.as_micros()));
    }
    if words.is_empty() { "nothing".to_owned() } else { words }
}

/// One provider's machines, told again.
struct Replay {
    health: ProviderHealth,
    /// Of each target on record, whether or not it belongs to the provider at present.
    vitals: Vec<Arc<Vitals>>,
    names: Vec<Arc<str>>,
}

impl Replay {
    fn new(provider: &ProviderRecord, watched: &Watched) -> Self {
        let vitals: Vec<Arc<Vitals>> = provider.targets.iter().map(|_| Arc::default()).collect();
        let names: Vec<Arc<str>> = provider.targets.iter().map(|name| name.as_str().into()).collect();
        let own = Arc::default();
        for Resumed { target, published } in &watched.resumed {
            let vitals = target.map_or(&own, |target| &vitals[target as usize]);
            publish(vitals, watched, *published);
        }
        let roster = roster(&names, &vitals, watched);
        let health = ProviderHealth::new(&watched.thresholds, Duration::ZERO, own, roster, watched.at);
        Self { health, vitals, names }
    }

    fn event(&mut self, event: &Event, moves: &[Move]) -> Vec<Moved> {
        // Time that had passed without a move: windows have emptied by it.
        let mut moved = self.health.tick(event.seen);
        moved.extend(match &event.kind {
            EventKind::Call(call) => {
                let draw = moves.iter().find_map(|step| step.draw).unwrap_or(0);
                let told = self.told(call);
                self.health.record(told, f64::from(draw) / f64::from(DRAWN))
            }
            EventKind::Answered { target, by_target, by_provider, at } => {
                let probe = |vitals: &Arc<Vitals>, epoch: u32| Admitted::recorded(vitals, Pass::Probe, epoch);
                let by_target = by_target.map(|epoch| probe(&self.vitals[*target as usize], epoch));
                let by_provider = by_provider.map(|epoch| probe(&self.health.vitals, epoch));
                self.health.answered(by_provider, by_target, *at)
            }
            EventKind::Outside(at) => match moves.first() {
                Some(step) if step.reason == Reason::ActiveProbe => self.health.probed_well(*at),
                _ => self.health.tick(*at),
            },
            EventKind::Retuned(watched) => {
                let roster = roster(&self.names, &self.vitals, watched);
                self.health.retune(&watched.thresholds, Duration::ZERO, roster, watched.at);
                Vec::new()
            }
            EventKind::Ordered(Ordered { force, target, at }) => {
                let model = target.map(|target| Arc::clone(&self.names[target as usize]));
                self.health.force(*force, model.as_deref(), *at).unwrap_or_default()
            }
        });
        moved
    }

    fn told(&self, call: &Call) -> Told {
        let target = Arc::clone(&self.vitals[call.target as usize]);
        let (by_target, by_provider) = (call.by_target, call.by_provider);
        Told {
            origin: Origin::default(),
            by_target: Admitted::recorded(&target, by_target.0, by_target.1),
            by_provider: Admitted::recorded(&self.health.vitals, by_provider.0, by_provider.1),
            target,
            key: None,
            outcome: call.outcome.clone(),
            at: call.end,
            latency: call.end.since(call.start),
            first_token: call.first_token,
            first_token_limit: call.first_token_limit,
            message: String::new(),
        }
    }

    /// Moves by the numbers that the record has for targets.
    fn named(&self, moved: &[Moved]) -> Vec<(Option<u32>, Transition)> {
        let number = |place: usize| {
            let vitals = &self.health.targets[place].vitals;
            self.vitals.iter().position(|known| Arc::ptr_eq(known, vitals)).map(|number| number as u32)
        };
        moved.iter().map(|moved| (moved.target.and_then(number), moved.transition)).collect()
    }
}

fn roster(names: &[Arc<str>], vitals: &[Arc<Vitals>], watched: &Watched) -> Roster {
    let seat = |target: &u32| Seat {
        model: Arc::clone(&names[*target as usize]),
        vitals: Arc::clone(&vitals[*target as usize]),
        rests: [Arc::<Rest>::default()].into(),
    };
    Roster { targets: watched.targets.iter().map(seat).collect(), keys: Vec::new() }
}

/// Publishes what a predecessor had, for the machines to go on from.
fn publish(vitals: &Vitals, watched: &Watched, published: Published) {
    vitals.publish(&mut Breaker::resume(watched.thresholds.clone(), published, watched.at), watched.at);
}

#[cfg(test)]
mod tests {
    use super::super::reader::tests::{attempt, read};
    use super::*;

    const WATCHED: &str = r#"{"message":"provider watched","seq":0,"provider":"alpha","models":"a b","thresholds":"consecutive_failures=2 failure_ratio=0.5 minimum_requests=10 window=30s slow_call=20s slow_ratio=0.8 open_for=10s open_for_max=20s half_open_probes=1 close_after=2 ramp=10s","when_all_open":"refuse","at_us":1000,"at_unix_us":1700000000001000}"#;
    const MOVED: &str = r#"{"message":"breaker moved","seq":2,"provider":"alpha","model":"a","from":"closed","to":"open","reason":"consecutive_failures","period_us":10200000,"draw":200000,"at_us":25000,"at_unix_us":1700000000025000}"#;
    const OVER: &str = r#"{"message":"breaker moved","seq":3,"provider":"alpha","model":"a","from":"open","to":"half_open","reason":"period_over","at_us":10226000,"at_unix_us":1700000010226000}"#;

    fn failed(seq: u64) -> String {
        attempt(seq, "transient", r#","kind":"status_503""#)
    }

    fn checked(lines: &[&str]) -> Checked {
        check(&read(lines.iter().copied())).remove(0)
    }

    #[test]
    fn the_same_moves_are_the_same() {
        let checked = checked(&[WATCHED, &failed(1), &failed(2), MOVED, OVER]);
        assert_eq!((checked.same, checked.different, checked.unchecked), (2, 0, 0), "{:?}", checked.differences);
    }

    #[test]
    fn every_kind_of_difference_is_told() {
        for (what, lines) in [
            ("a move that isn't made", vec![WATCHED, &failed(1), MOVED]),
            ("one that isn't on record", vec![WATCHED, &failed(1), &failed(2)]),
            ("another reason", vec![WATCHED, &failed(1), &failed(2), &MOVED.replace("consecutive_failures", "failure_ratio")]),
            ("another period", vec![WATCHED, &failed(1), &failed(2), &MOVED.replace("10200000", "10200001")]),
            ("another target", vec![WATCHED, &failed(1), &failed(2), &MOVED.replace("\"a\"", "\"b\"")]),
            ("an end that comes too early", vec![WATCHED, &failed(1), &failed(2), MOVED, &OVER.replace("10226000", "9000000")]),
        ] {
            let checked = checked(&lines);
            assert!(checked.different > 0 && !checked.differences.is_empty(), "{what}");
        }
        let told = checked(&[WATCHED, &failed(1), &failed(2), &MOVED.replace("10200000", "7")]).differences.remove(0);
        assert_eq!(
            told,
            "alpha at 2: on record a closed -> open (consecutive_failures) for 7 us; replayed a closed -> open (consecutive_failures) for 10200000 us"
        );
    }

    #[test]
    fn an_active_probe_an_order_and_new_settings_are_told_again() {
        let probed = OVER.replace("period_over", "active_probe").replace("10226000", "3000000");
        let checked = checked(&[WATCHED, &failed(1), &failed(2), MOVED, &probed]);
        assert_eq!((checked.same, checked.different), (2, 0), "{:?}", checked.differences);
        let retuned = WATCHED.replace("watched", "retuned").replace("\"seq\":0", "\"seq\":1").replace("failures=2", "failures=1");
        let checked = self::checked(&[WATCHED, &retuned, &failed(2), MOVED]);
        assert_eq!((checked.same, checked.different), (1, 0), "{:?}", checked.differences);
        let ordered = r#"{"message":"operator ordered","seq":2,"provider":"alpha","action":"reset","at_us":19000}"#;
        let late = failed(3).replace("\"epoch\":0", "\"epoch\":1").replace("\"provider_epoch\":0", "\"provider_epoch\":1");
        let checked = self::checked(&[WATCHED, &failed(1), ordered, &late, &MOVED.replace("\"seq\":2", "\"seq\":3")]);
        assert_eq!((checked.same, checked.different), (0, 1), "the reset has forgotten the first failure: {:?}", checked.differences);
    }

    #[test]
    fn what_another_actor_left_open_goes_on() {
        let resumed =
            WATCHED.replace("\"when_all_open\"", "\"resumed\":\"a=open,false,1,9000,500,consecutive_failures,10000000\",\"when_all_open\"");
        let over = OVER.replace("\"seq\":3", "\"seq\":1").replace("10226000", "9500");
        let probe = attempt(2, "ok", "").replace("\"normal\",\"epoch\":0", "\"probe\",\"epoch\":1");
        let probe2 = attempt(3, "ok", "").replace("\"normal\",\"epoch\":0", "\"probe\",\"epoch\":1");
        let closed = r#"{"message":"breaker moved","seq":3,"provider":"alpha","model":"a","from":"half_open","to":"closed","reason":"probes_succeeded","at_us":35000,"at_unix_us":1700000000035000}"#;
        let checked = checked(&[&resumed, &over, &probe, &probe2, closed]);
        assert_eq!((checked.same, checked.different), (2, 0), "{:?}", checked.differences);
    }

    #[test]
    fn what_lacks_its_past_is_not_judged() {
        let begun_later = checked(&[&failed(1), &failed(2), MOVED, OVER]);
        let gap = checked(&[WATCHED, &failed(2), MOVED, OVER]);
        for checked in [begun_later, gap] {
            assert_eq!((checked.same, checked.different, checked.unchecked), (0, 0, 2));
        }
    }
}
