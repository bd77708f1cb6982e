//! The questions, and what a store must answer.

use std::time::Duration;

use stagedoor::access::{Budget, Digest, VirtualKey, Window};
use stagedoor::base::{Secret, request_id};
use stagedoor::ledger::{Call, Entry, Key, Row, Transition};
use stagedoor::settings::Keep;
use stagedoor::store::{By, KeyChange, KeyRecord, NewKey, Page, Store, Terms};

use rand::SeedableRng;
use rand::rngs::SmallRng;

const HOUR: u64 = 3_600;
/// A moment at the start of an hour.
const NOON: u64 = 1_790_000_000 / HOUR * HOUR;

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub fn all(keep: &Keep) {
    actix_rt::System::new().block_on(async {
        let store = open(keep).await;
        keys(&store, &open(keep).await).await;
        rows_are_written_once(&store).await;
        two_gateways_add_up(&store, &open(keep).await).await;
        usage_is_of_exactly_its_time(&store).await;
        pages(&store).await;
        hostile_texts_are_only_texts(&store).await;
        old_rows_go(&store).await;
        store.close().await;
        // What was there is there.
        let again = open(keep).await;
        assert_eq!(again.keys().await.unwrap().len(), 3);
    });
}

async fn open(keep: &Keep) -> Store {
    let store = Store::open(keep).await.unwrap().unwrap();
    store.ready().await.unwrap();
    store
}

fn key(name: &str, created: u64) -> VirtualKey {
    VirtualKey {
        id: format!("id-{name}").into(),
        name: name.into(),
        models: vec!["gpt-*".into(), "a\"b".into()],
        rpm: 7,
        tpm: VirtualKey::MOST,
        concurrency: 3,
        budget: Some(Budget { nanos: 1_500_000_000, window: Window::Day, unpriced: true }),
        expires: Some(seconds(9_000_000_000)),
        revoked: None,
        created: seconds(created),
    }
}

async fn keys(store: &Store, other: &Store) {
    let (_, new) = NewKey::issue(key("one", 1), Secret::new("sk-sd-secret-one"));
    store.create_key(&new).await.unwrap();
    assert_eq!(store.keys().await.unwrap(), [KeyRecord::from(new.clone())]);
    assert_eq!((new.prefix.as_str(), new.digest), ("sk-sd-secret", Digest::of(b"sk-sd-secret-one")));
    let (seen, changed) = other.keys_since(-1).await.unwrap();
    assert_eq!(changed.len(), 1);
    assert_eq!(other.keys_since(seen).await.unwrap(), (seen, Vec::new()));

    let bare = VirtualKey { id: "id-two".into(), name: "two".into(), created: seconds(2), ..VirtualKey::default() };
    store.create_key(&NewKey::issue(bare.clone(), Secret::new("sk-sd-secret-two")).1).await.unwrap();
    let (second, changed) = other.keys_since(seen).await.unwrap();
    assert_eq!(changed.iter().map(|record| &record.key).collect::<Vec<_>>(), [&bare]);
    assert!(store.create_key(&NewKey::issue(bare, Secret::new("x")).1).await.is_err(), "an id is one key's");

    let terms = Terms { rpm: Some(0), budget: Some(None), expires: Some(None), name: Some("won".into()), ..Terms::default() };
    let changed = store.change_key("id-one", KeyChange::Terms(Box::new(terms))).await.unwrap().unwrap();
    let expected = VirtualKey { name: "won".into(), rpm: 0, budget: None, expires: None, ..key("one", 1) };
    assert_eq!(changed.key, expected);
    let rotated =
        store.change_key("id-one", KeyChange::rotate(&Secret::new("sk-sd-another"), seconds(20), seconds(30))).await.unwrap().unwrap();
    assert_eq!((rotated.digest, rotated.old), (Digest::of(b"sk-sd-another"), Some((Digest::of(b"sk-sd-secret-one"), seconds(50)))));
    store.change_key("id-one", KeyChange::Revoke(seconds(70))).await.unwrap();
    store.change_key("id-one", KeyChange::Revoke(seconds(90))).await.unwrap();
    let late = store.change_key("id-one", KeyChange::rotate(&Secret::new("sk-sd-late"), seconds(80), seconds(30))).await.unwrap().unwrap();
    assert_eq!((late.digest, late.old), (rotated.digest, rotated.old), "a key that has ended gets no other secret");
    let (_, changed) = other.keys_since(second).await.unwrap();
    assert_eq!(changed, [KeyRecord { key: VirtualKey { revoked: Some(seconds(70)), ..expected }, ..rotated }], "told once, as it is now");
    assert!(store.change_key("nobody", KeyChange::Revoke(seconds(1))).await.unwrap().is_none());
    assert!(store.key("id-two").await.unwrap().is_some() && store.key("nobody").await.unwrap().is_none());
}

/// A row of a request that began then.
fn row(at: Duration, model: &str) -> Entry {
    let id = request_id(at, &mut SmallRng::from_rng(&mut rand::rng()));
    let call = Call {
        place: 1,
        provider: "p".into(),
        key: Some("K".into()),
        model: "up".into(),
        start_us: 5,
        outcome: "transient".into(),
        kind: Some("status_500".into()),
        status: Some(500),
        head_us: Some(3),
        first_token_us: None,
        total_us: 9,
        breaker: "normal".into(),
        hedge: true,
    };
    Entry {
        id,
        request_id: Some("mine".into()),
        time_us: at.as_millis() as u64 * 1_000,
        key: Some(Key { id: "id-one".into(), name: "one".into() }),
        model: model.into(),
        provider: Some("q".into()),
        upstream_model: Some("up".into()),
        provider_key: None,
        status: 200,
        error: String::new(),
        stream: true,
        tokens_in: 10,
        tokens_out: 5,
        tokens_cached: 4,
        tokens_cache_written: 3,
        tokens_reasoning: 2,
        cost: Some(1_000),
        state: Some("exact".into()),
        source: Some("upstream".into()),
        latency_us: 77,
        first_token_us: Some(33),
        attempts: 2,
        cache: None,
        tags: Some("feature=x,team=a".into()),
        recovered: true,
        calls: vec![call],
    }
}

fn rows(entries: &[Entry]) -> Vec<Row> {
    entries.iter().map(|entry| Row::Request(Box::new(entry.clone()))).collect()
}

async fn count(store: &Store, model: &str) -> i64 {
    let lines = store.usage(By::Model, Duration::ZERO, None).await.unwrap();
    lines.iter().find(|line| line.name == model).map_or(0, |line| line.counts.requests)
}

async fn rows_are_written_once(store: &Store) {
    let entries: Vec<Entry> = (0..300).map(|n| row(seconds(NOON) + Duration::from_millis(n), "once")).collect();
    let all = rows(&entries);
    store.write(all[..200].to_vec(), false).await.unwrap();
    store.write(all.clone(), true).await.unwrap();
    // As if the answer to the first had been lost, and nobody said so.
    store.write(all[100..].to_vec(), false).await.unwrap();
    store.write(vec![all[0].clone(), all[0].clone()], false).await.unwrap();
    assert_eq!(count(store, "once").await, 300);
    let kept = store.requests(&Page { model: Some("once".into()), oldest_first: true, limit: 1_000, ..Page::default() }).await.unwrap();
    assert_eq!(kept, entries);
    let moved = Transition {
        id: request_id(seconds(NOON), &mut SmallRng::from_rng(&mut rand::rng())),
        time_us: 1,
        seq: 2,
        provider: "p".into(),
        model: String::new(),
        from: "closed".into(),
        to: "open".into(),
        reason: "failure_ratio".into(),
        period_us: Some(5),
        settings: "abc".into(),
    };
    let moved = vec![Row::Transition(Box::new(moved))];
    store.write(moved.clone(), false).await.unwrap();
    store.write(moved.clone(), false).await.unwrap();
}

async fn two_gateways_add_up(store: &Store, other: &Store) {
    let write = |store: Store, from: u64| async move {
        for batch in 0..10 {
            let at = seconds(NOON) + Duration::from_millis(from + batch);
            let entries: Vec<Entry> = (0..20).map(|n| row(at, if n % 2 == 0 { "even" } else { "odd" })).collect();
            store.write(rows(&entries), false).await.unwrap();
        }
    };
    futures_util::future::join(write(store.clone(), 0), write(other.clone(), 50)).await;
    assert_eq!((count(store, "even").await, count(store, "odd").await), (200, 200));
}

async fn usage_is_of_exactly_its_time(store: &Store) {
    let at = |seconds_after: u64| seconds(NOON + 100 * HOUR + seconds_after);
    let entry = |after, cost| Entry { cost, tags: None, ..row(at(after), "timed") };
    let failed = Entry { status: 502, error: "all_targets_failed".into(), ..entry(2 * HOUR, Some(0)) };
    let left = Entry { status: 499, ..entry(2 * HOUR + 5, None) };
    let cut = Entry { error: "broke".into(), ..entry(3 * HOUR, None) };
    let entries = [entry(0, Some(7)), entry(1_800, Some(5)), entry(HOUR, None), failed, left, cut];
    store.write(rows(&entries), false).await.unwrap();
    let used = async |since, until: Option<u64>| {
        let lines = store.usage(By::Model, at(since), until.map(at)).await.unwrap();
        let counts = lines.iter().find(|line| line.name == "timed").map(|line| line.counts).unwrap_or_default();
        (counts.requests, counts.errors, counts.cost, counts.unpriced)
    };
    assert_eq!(used(0, None).await, (6, 2, 12, 3));
    assert_eq!(used(1, None).await, (5, 2, 5, 3));
    assert_eq!(used(0, Some(1_800)).await, (1, 0, 7, 0));
    assert_eq!(used(1_800, Some(2 * HOUR + 1)).await, (3, 1, 5, 1));
    assert_eq!(used(0, Some(3 * HOUR)).await, (5, 1, 12, 2));
    for (_, by) in By::ALL.into_iter().filter(|(_, by)| *by != By::Tag) {
        for since in [0, 1, 1_801] {
            let mut sum = 0;
            store.usage(by, at(since), Some(at(9 * HOUR))).await.unwrap().iter().for_each(|line| sum += line.counts.requests);
            assert_eq!(sum, store.total(at(since), Some(at(9 * HOUR))).await.unwrap().requests, "{by:?}");
        }
    }
    let keys = store.usage(By::Key, at(0), Some(at(9 * HOUR))).await.unwrap();
    assert_eq!((keys[0].name.as_str(), keys[0].key_id.as_str()), ("one", "id-one"));
    let days = store.usage(By::Day, at(1), Some(at(9 * HOUR))).await.unwrap();
    assert!(days.iter().all(|day| day.name.len() == 10 && day.name.starts_with("2026-")), "{days:?}");
    // In the hour of its rows, tags are read from them.
    store.write(rows(&[row(at(20 * HOUR + 5), "tagged")]), false).await.unwrap();
    for since in [20 * HOUR, 20 * HOUR + 1] {
        let tags = store.usage(By::Tag, at(since), Some(at(20 * HOUR + 9))).await.unwrap();
        let tags: Vec<_> = tags.iter().map(|line| (line.name.as_str(), line.counts.requests)).collect();
        assert_eq!(tags, [("feature=x", 1), ("team=a", 1)]);
    }
    assert_eq!(store.spent(at(0), None).await.unwrap()["id-one"], 12 + 1_000);
}

async fn pages(store: &Store) {
    let newest = Page { limit: 3, ..Page::default() };
    let first = store.requests(&newest).await.unwrap();
    assert!(first.windows(2).all(|pair| pair[0].id > pair[1].id));
    let next = store.requests(&Page { beyond: Some(first[2].id.clone()), ..newest.clone() }).await.unwrap();
    assert!(next[0].id < first[2].id && next.len() == 3);
    let of = async |page: Page| store.requests(&Page { limit: 1_000, ..page }).await.unwrap().len();
    let timed = Page { model: Some("timed".into()), ..Page::default() };
    assert_eq!(of(timed.clone()).await, 6);
    assert_eq!(of(Page { status: Some(502), ..timed.clone() }).await, 1);
    assert_eq!(of(Page { key: Some("one".into()), provider: Some("q".into()), ..timed.clone() }).await, 6);
    assert_eq!(of(Page { key: Some("id-one".into()), ..timed.clone() }).await, 6);
    assert_eq!(of(Page { provider: Some("nobody".into()), ..timed.clone() }).await, 0);
    assert_eq!(of(Page { since: Some(seconds(NOON + 102 * HOUR)), until: Some(seconds(NOON + 103 * HOUR)), ..timed }).await, 2);
}

async fn hostile_texts_are_only_texts(store: &Store) {
    let hostile = "'; DROP TABLE requests; -- \u{202e}\"%_\\\u{1f3ad}";
    let entry = Entry { error: format!("{hostile}\0"), upstream_model: Some("a\0b".into()), ..row(seconds(NOON), hostile) };
    store.write(rows(&[entry]), false).await.unwrap();
    let found = store.requests(&Page { model: Some(hostile.into()), limit: 5, ..Page::default() }).await.unwrap();
    assert_eq!((found.len(), &*found[0].model, found[0].upstream_model.as_deref()), (1, hostile, Some("a\u{fffd}b")));
    let key = VirtualKey { id: "id-3".into(), name: hostile.into(), created: seconds(3), ..VirtualKey::default() };
    store.create_key(&NewKey::issue(key, Secret::new("s")).1).await.unwrap();
    assert_eq!(&*store.key("id-3").await.unwrap().unwrap().key.name, hostile);
    assert!(store.key(hostile).await.unwrap().is_none());
}

async fn old_rows_go(store: &Store) {
    let before = store.total(Duration::ZERO, None).await.unwrap();
    let late = seconds(NOON + 100 * HOUR + 1_900);
    let newer = store.total(seconds(NOON + 100 * HOUR), None).await.unwrap();
    assert!(newer.requests < before.requests);
    let mut rounds = 0;
    while store.forget(late, 100).await.unwrap() {
        rounds += 1;
    }
    assert!(rounds >= 7, "a few at a time: {rounds}");
    // Whole hours go: those that were begun stay whole.
    assert_eq!(store.total(Duration::ZERO, None).await.unwrap(), newer);
    let oldest = store.requests(&Page { oldest_first: true, limit: 1, ..Page::default() }).await.unwrap();
    assert_eq!(oldest[0].time_us, (NOON + 100 * HOUR) * 1_000_000);
}
