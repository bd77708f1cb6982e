use std::sync::Arc;

use super::super::lookout::Lookout;
use super::*;
use crate::actors::Board;
use crate::health::{Breaker, KeyHealth, Reason, State, Thresholds};
use crate::routing::{Provider, Target};
use crate::settings::{Settings, Source, load};

const S: fn(u64) -> Moment = |s| Moment::from_millis(s * 1_000);

fn settings(more: &str) -> Settings {
    let folder = tempfile::tempdir().unwrap();
    let text = format!(
        "[providers.p]\ndialect = \"openai\"\nbase_url = \"http://127.0.0.1:9/v1\"\n{more}\n\
         [models.a]\ntargets = [{{ provider = \"p\", model = \"m\" }}, {{ provider = \"p\", model = \"n\" }}]\n"
    );
    std::fs::write(folder.path().join("alone.toml"), text).unwrap();
    let source = Source { folder: folder.path().to_owned(), settings_file: Some("alone.toml".into()), ..Source::default() };
    load(&source).unwrap()
}

const KEYS: &str = "keys = [{ value = \"sk-the-first-of-the-tests\" }, { value = \"sk-the-second-of-the-tests\" }]";

/// A gateway: its table, how it names what is in it, and what it looks out with.
struct Gateway {
    routes: Routes,
    book: Book,
    lookout: Lookout,
}

impl Gateway {
    fn new(more: &str) -> Self {
        let settings = settings(more);
        let (routes, book) = (Routes::new(&settings, &Board::default(), Duration::ZERO), Book::of(&settings.providers));
        Self { routes, book, lookout: Lookout::default() }
    }

    fn provider(&self) -> &Arc<Provider> {
        &self.routes.providers[0].0
    }

    fn target(&self, place: usize) -> &Arc<Target> {
        &self.routes.providers[0].1[place]
    }

    fn says(&mut self, again: bool, now: Moment) -> Vec<Failing> {
        self.lookout.look(&self.routes, &self.book, again, now)
    }

    fn hears(&self, said: &[Failing], now: Moment) -> usize {
        take(said, &self.routes, &self.book, now)
    }
}

fn trip(vitals: &Vitals, now: Moment) -> Breaker {
    let mut breaker = Breaker::new(Thresholds::default(), now);
    breaker.trip(Reason::Hard, now, 0.0, &mut Vec::new());
    vitals.publish(&mut breaker, now);
    breaker
}

#[test]
fn an_open_breaker_is_told_once_and_makes_its_target_rank_last_elsewhere_for_as_long() {
    let (mut one, other) = (Gateway::new(KEYS), Gateway::new(KEYS));
    assert_eq!(one.says(true, S(1)), []);
    trip(&one.target(1).vitals, S(1));
    let said = one.says(false, S(2));
    assert_eq!((said.len(), said[0].model.as_deref(), said[0].left_ms), (1, Some("n"), 9_000));
    assert_eq!(one.says(false, S(3)), [], "it isn't news any more");
    let again = one.says(true, S(4));
    assert_eq!((again[0].age_ms, again[0].left_ms), (2_000, 7_000), "but said again, for who has missed it");
    assert_eq!(other.hears(&said, S(102)), 1);
    let doubted = |now| [0, 1].map(|place| other.target(place).vitals.doubted(now));
    assert_eq!((doubted(S(103)), doubted(S(112))), ([false, true], [false, false]));
    assert_eq!(other.target(1).vitals.state(S(103)), State::Closed, "its own breaker hasn't moved");
    assert_eq!(one.says(true, S(12)), [], "the period is over");
}

#[test]
fn a_providers_own_breaker_is_its_own_and_what_serves_here_is_believed_more() {
    let (mut one, other) = (Gateway::new(KEYS), Gateway::new(KEYS));
    trip(&one.provider().vitals, S(1));
    assert_eq!(other.hears(&one.says(false, S(1)), S(50)), 1);
    assert!(other.provider().vitals.hint().holds(S(51)) && !other.target(0).vitals.doubted(S(51)));
    other.provider().vitals.hint().served(S(52));
    assert!(!other.provider().vitals.hint().holds(S(53)));
    assert_eq!(other.hears(&one.says(true, S(5)), S(54)), 1);
    assert!(!other.provider().vitals.hint().holds(S(54)), "the same word again changes nothing");
}

#[test]
fn a_resting_key_is_left_alone_where_it_is_the_same_key() {
    let (mut one, same) = (Gateway::new(KEYS), Gateway::new(KEYS));
    let renewed = Gateway::new(&KEYS.replace("second", "third"));
    let (first, second) = (&one.target(0).key_rests[0], &one.provider().keys[1].rest);
    KeyHealth::default().limited(Some(Duration::from_secs(5)), S(1), first);
    KeyHealth::default().refused(true, Duration::from_secs(1_800), S(1), second);
    let said = one.says(false, S(1));
    assert_eq!(said.len(), 2);
    assert!(!format!("{said:?}").contains("sk-the"));
    assert_eq!((same.hears(&said, S(100)), renewed.hears(&said, S(100))), (2, 1), "a key that was changed is another");
    assert_eq!(same.target(0).key_rests[0].until(S(100)), Some(S(105)));
    assert_eq!(same.target(1).key_rests[0].until(S(100)), None, "with another model it works");
    let refused = &same.provider().keys[1].rest;
    assert!(refused.refused(S(159)) && !refused.refused(S(161)), "after a minute it is found out here");
    assert_eq!(one.says(true, S(61)), [], "by then nobody is told of it any more");
    assert!(!renewed.provider().keys[1].rest.refused(S(101)));
    let mut hearer = same;
    assert_eq!(hearer.says(true, S(101)), [], "what was heard isn't said on");
}

#[test]
fn what_is_not_here_is_not_meant() {
    let other = Gateway::new(KEYS);
    let at = other.book.at("p").unwrap().to_owned();
    let word = |provider: &str, at: &str, model: Option<&str>| Failing {
        provider: provider.into(),
        at: at.into(),
        model: model.map(str::to_owned),
        left_ms: u64::MAX,
        ..Failing::default()
    };
    let old = Failing { age_ms: 60_001, ..word("p", &at, None) };
    let others = [word("q", &at, None), word("p", "elsewhere", None), word("p", &at, Some("o")), old];
    let unknown = Failing { key: Some("0123456789abcdef".into()), ..word("p", &at, None) };
    let none = Failing { key: Some(String::new()), ..word("p", &at, Some("m")) };
    assert_eq!(other.hears(&others, S(1)) + other.hears(&[unknown, none.clone()], S(1)), 0);
    let open = Gateway::new("keys = []");
    assert_eq!(open.hears(&[none], S(1)), 1, "a target without keys rests itself");
    assert_eq!(open.target(0).key_rests[0].until(S(1)), Some(S(61)), "a minute at most");
}
