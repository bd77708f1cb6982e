//! Small records, played again.

use std::fmt::Write as _;

use super::super::reader::tests::read;
use super::super::variant::{Change, changed};
use super::*;
use crate::health::{Failure, Thresholds};
use crate::routing::WhenAllOpen;
use crate::tuning::search;

const THRESHOLDS: &str = "consecutive_failures=3 failure_ratio=0.5 minimum_requests=10 window=30s slow_call=20s slow_ratio=0.8 \
    open_for=10s open_for_max=20s half_open_probes=1 close_after=1 ramp=0s";

/// A log in the making.
#[derive(Default)]
struct Log {
    text: String,
    seq: u64,
}

impl Log {
    /// Of a gateway with this chain.
    fn of(chain: &str) -> Self {
        let mut log = Self::default();
        for provider in ["alpha", "beta"] {
            log.line(&format!(
                r#"{{"message":"provider watched","seq":0,"provider":"{provider}","models":"m","thresholds":"{THRESHOLDS}","when_all_open":"least_bad","at_us":1,"at_unix_us":1700000000000001}}"#
            ));
        }
        if !chain.is_empty() {
            log.line(&format!(
                r#"{{"message":"chain","model":"m","chain":"{chain}","attempts":4,"same_target":0,"backoff_ms":1,"budget_ratio":200000,"budget_min":10}}"#
            ));
        }
        log
    }

    fn line(&mut self, line: &str) {
        writeln!(self.text, "{line}").unwrap();
    }

    /// A call at a second of the log, by a request of this name.
    fn call(&mut self, second: u64, request: &str, attempt: u32, target: &str, outcome: &str) -> &mut Self {
        let (provider, model) = target.split_once('/').unwrap();
        let (outcome, more) = match outcome.split_once(' ') {
            Some((outcome, kind)) => (outcome, format!(",\"kind\":\"{kind}\"")),
            None => (outcome, String::new()),
        };
        let (outcome, more) = match outcome.strip_prefix("broken_") {
            Some(outcome) => (outcome, format!("{more},\"first_token_us\":20000")),
            None => (outcome, more),
        };
        self.seq += 1;
        let start = second * 1_000_000 + u64::from(attempt) * 100_000;
        self.line(&format!(
            r#"{{"message":"attempt","seq":{},"request_id":"{request}","attempt":{attempt},"model":"m","stream":true,"provider":"{provider}","upstream_model":"{model}","outcome":"{outcome}","first_token_limit_ms":60000,"start_us":{start},"start_unix_us":{},"end_us":{},"state_in":"normal","epoch":0,"provider_state_in":"normal","provider_epoch":0,"seen_us":1{more}}}"#,
            self.seq,
            1_700_000_000_000_000 + start,
            start + 50_000
        ));
        self
    }

    /// One request a second from `from`: `x` fails at alpha and is served by beta, `o` is served by alpha.
    fn seconds(&mut self, from: u64, marks: &str) -> &mut Self {
        for (second, mark) in (from..).zip(marks.chars()) {
            let name = format!("r{second}");
            match mark {
                'x' => self.call(second, &name, 1, "alpha/m", "transient status_500").call(second, &name, 2, "beta/m", "ok"),
                _ => self.call(second, &name, 1, "alpha/m", "ok"),
            };
        }
        self
    }

    fn scene(&self) -> Scene {
        Scene::new(&read(self.text.lines()))
    }
}

const BOTH: &str = "ordered: 1,-,alpha/m 1,-,beta/m";

fn rules(scene: &Scene) -> Vec<Rule> {
    let rule = |provider: &crate::tuning::SceneProvider| Rule {
        thresholds: provider.thresholds.clone().unwrap_or_default(),
        when_all_open: provider.when_all_open,
    };
    scene.providers.iter().map(rule).collect()
}

fn under(scene: &Scene, changes: &[&str]) -> Figures {
    let changes: Vec<_> = changes.iter().map(|text| Change::read(text).unwrap()).collect();
    figures(scene, &changed(scene, &rules(scene), &changes).unwrap())
}

#[test]
fn a_spell_is_noticed_and_ended_as_the_thresholds_say() {
    let scene = Log::of(BOTH).seconds(10, &format!("{}{}{}", "o".repeat(20), "x".repeat(20), "o".repeat(40))).scene();
    assert_eq!((scene.requests.len(), scene.seen, scene.targets[0].spells.len()), (80, 0, 1));
    let now = under(&scene, &[]);
    let alpha = &now.providers[0];
    // Three failures open it; probes after about 10 and 30 s; the spell lasts from 29.6 to 49.6 s.
    assert_eq!((alpha.spells, alpha.missed, alpha.eject.count, alpha.false_ejections), (1, 0, 1, 0));
    assert!((2_400..2_700).contains(&alpha.eject.worst.as_millis()), "{alpha:?}");
    assert_eq!((alpha.wasted, alpha.seen, now.refused), (4, 0, 0), "{alpha:?}");
    assert!(alpha.kept > 0 && alpha.back.count == 1, "{alpha:?}");
    assert_eq!(now.cost(), 40 + alpha.kept);
    let sooner = under(&scene, &["breaker.consecutive_failures=1"]).providers.remove(0);
    assert!(sooner.eject.worst < alpha.eject.worst && sooner.wasted < alpha.wasted, "{sooner:?}");
    let later = under(&scene, &["breaker.open_for=1m", "breaker.open_for_max=1m"]).providers.remove(0);
    assert!(later.kept > alpha.kept && later.wasted == 3, "{later:?}");
    let never = under(&scene, &["breaker.consecutive_failures=1000", "breaker.minimum_requests=1000"]).providers.remove(0);
    assert_eq!((never.wasted, never.missed, never.eject.count), (20, 1, 0), "every one is called in vain, as on record");
}

#[test]
fn an_opening_over_noise_is_wrong() {
    let scene = Log::of(BOTH).seconds(10, "ooooooooooxooooooooooooooooooo").scene();
    assert_eq!(under(&scene, &[]).providers[0].false_ejections, 0);
    let hasty = under(&scene, &["breaker.consecutive_failures=1"]);
    assert_eq!((hasty.providers[0].false_ejections, hasty.providers[0].spells), (1, 0));
    assert!(hasty.cost() > under(&scene, &[]).cost());
}

#[test]
fn with_nothing_behind_a_sick_target_callers_see_it() {
    let mut log = Log::of("ordered: 1,-,alpha/m");
    for second in 10..40 {
        log.call(second, &format!("r{second}"), 1, "alpha/m", "transient status_500");
    }
    let scene = log.scene();
    assert_eq!(scene.seen, 30);
    let now = under(&scene, &[]);
    assert_eq!((now.seen(), now.refused), (30, 0), "the last resort is tried, in vain");
    let refusing = under(&scene, &["breaker.when_all_open=refuse"]);
    assert_eq!((refusing.seen(), refusing.refused > 15), (30, true), "{refusing:?}");
    assert!(refusing.providers[0].wasted < now.providers[0].wasted);
}

#[test]
fn a_stream_that_breaks_is_seen_whoever_is_behind() {
    let mut log = Log::of(BOTH);
    log.call(10, "r", 1, "alpha/m", "broken_transient reset").call(20, "s", 1, "alpha/m", "ok");
    let scene = log.scene();
    assert_eq!((scene.seen, under(&scene, &[]).providers[0].seen), (1, 1));
    log.call(30, "t", 1, "alpha/m", "broken_transient reset").call(30, "t", 2, "beta/m", "ok").call(40, "u", 1, "beta/m", "ok");
    let scene = log.scene();
    assert_eq!((scene.seen, under(&scene, &[]).seen()), (1, 0), "this gateway goes on elsewhere, as its record shows");
}

#[test]
fn what_is_no_threshold_s_affair_is_left_alone() {
    let mut log = Log::of(BOTH);
    for second in 10..30 {
        log.call(second, &format!("own{second}"), 1, "alpha/m", "caller_fault");
        log.call(second, &format!("left{second}"), 1, "alpha/m", "abandoned");
        log.call(second, &format!("key{second}"), 1, "alpha/m", "key_fault");
        log.call(second, &format!("ours{second}"), 1, "alpha/m", "transient no_descriptor");
    }
    let scene = log.scene();
    assert_eq!((scene.requests.len(), scene.seen), (40, 0), "keys, or the gateway's own want, are no request here");
    let now = under(&scene, &["breaker.consecutive_failures=1"]);
    assert_eq!((now.cost(), now.providers[0].calls), (0, 40));
}

#[test]
fn a_provider_that_cannot_be_reached_is_shut_as_a_whole() {
    let mut log = Log::of("ordered: 1,-,alpha/m 1,-,alpha/n 1,-,beta/m");
    for second in 10..30 {
        let name = format!("r{second}");
        log.call(second, &name, 1, "alpha/m", "transient connect").call(second, &name, 2, "alpha/n", "transient connect");
        log.call(second, &name, 3, "beta/m", "ok");
    }
    let scene = log.scene();
    let now = under(&scene, &[]);
    let open = |target: usize| now.timelines[target].iter().any(|(_, state)| *state == State::Open);
    let place = |name: &str| (0..scene.targets.len()).find(|target| scene.target_name(*target) == name).unwrap();
    assert!(open(place("alpha/m")) && open(place("alpha/n")) && !open(place("beta/m")));
    assert!(now.providers[0].wasted < 20, "{:?}", now.providers[0]);
}

#[test]
fn a_chain_that_is_not_on_record_is_guessed_from_the_calls() {
    let scene = Log::of("").seconds(10, "oooxxo").scene();
    assert!(scene.models[0].guessed);
    let order: Vec<_> = scene.models[0].pools[0].members.iter().map(|(target, ..)| scene.target_name(*target)).collect();
    assert_eq!(order, ["alpha/m", "beta/m"]);
    assert_eq!(under(&scene, &[]).seen(), 0);
}

#[test]
fn a_request_without_a_call_came_too() {
    let mut log = Log::of(BOTH);
    log.seconds(10, "ooo");
    log.line(r#"{"message":"request","request_id":"x","model":"\"m\"","status":503,"stream":false,"start_us":11500000}"#);
    log.line(r#"{"message":"request","request_id":"y","model":"\"m\"","status":200,"stream":false,"start_us":11600000}"#);
    let scene = log.scene();
    assert_eq!((scene.requests.len(), scene.seen), (4, 1));
    assert_eq!(under(&scene, &[]).seen(), 0, "played again it is served");
}

#[test]
fn one_id_for_several_requests_is_several_requests() {
    let mut log = Log::of(BOTH);
    for second in 10..15 {
        log.call(second, "same", 1, "alpha/m", "transient status_500").call(second, "same", 2, "beta/m", "ok");
    }
    assert_eq!(log.scene().requests.len(), 5);
}

#[test]
fn the_nearest_call_is_the_witness() {
    let witness = |ms: u64, outcome: Outcome| Witness {
        at: Moment::from_millis(ms),
        outcome,
        latency: UNKNOWN,
        first_token: None,
        first_token_limit: UNKNOWN,
    };
    let failed = Outcome::Transient(Failure::Status(500));
    let calls = [witness(100, Outcome::Ok), witness(200, failed.clone()), witness(400, Outcome::Ok)];
    let at = |ms| nearest(&calls, Moment::from_millis(ms)).map(|call| call.at.millis());
    assert_eq!([0, 100, 149, 150, 151, 300, 301, 9_000].map(at), [100, 100, 100, 100, 200, 200, 400, 400].map(Some));
    assert!(nearest(&[], Moment::START).is_none());
}

#[test]
fn a_search_finds_the_same_each_time_and_nothing_where_all_is_well() {
    let sick = Log::of(BOTH).seconds(10, &format!("{}{}{}", "o".repeat(10), "x".repeat(30), "o".repeat(20))).scene();
    let (one, other) = (search(&sick, &rules(&sick), |_| {}), search(&sick, &rules(&sick), |_| {}));
    let told = |found: &[crate::tuning::Found]| found.iter().map(|found| (found.changes.clone(), found.figures.cost())).collect::<Vec<_>>();
    assert_eq!(told(&one), told(&other));
    let now = under(&sick, &[]).cost();
    assert!(!one.is_empty() && one.iter().all(|found| found.figures.cost() < now));
    assert!(one.windows(2).all(|pair| pair[0].figures.cost() <= pair[1].figures.cost()));
    let well = Log::of(BOTH).seconds(10, &"o".repeat(30)).scene();
    assert!(search(&well, &rules(&well), |_| {}).is_empty());
}

#[test]
fn thresholds_that_are_not_on_record_are_none() {
    let mut log = Log { text: String::new(), seq: 0 };
    log.seconds(10, "oxo");
    let scene = log.scene();
    assert_eq!(scene.providers[0].thresholds, None);
    assert_eq!((rules(&scene)[0].thresholds.clone(), scene.providers[0].when_all_open), (Thresholds::default(), WhenAllOpen::LeastBad));
}
