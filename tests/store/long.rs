//! A million rows, where `STAGEDOOR_TEST_LONG` is set; else some thousands, which are no proof of anything but that the question
//! is asked as written.

use std::time::{Duration, Instant};

use rand::SeedableRng;
use rand::rngs::SmallRng;
use stagedoor::base::request_id;
use stagedoor::ledger::{Entry, Key, Row};
use stagedoor::settings::Keep;
use stagedoor::store::{By, Page, Store};

/// When the first of them began.
const BEGAN: u64 = 1_790_000_000_000;
const DAY: u64 = 86_400_000;

#[test]
fn sums_and_the_newest_page_are_told_at_once() {
    let long = std::env::var_os("STAGEDOOR_TEST_LONG").is_some();
    let count: u64 = if long { 1_000_000 } else { 20_000 };
    let folder = tempfile::tempdir().unwrap();
    actix_rt::System::new().block_on(async {
        let store = Store::open(&Keep::Sqlite(folder.path().join("s.db"))).await.unwrap().unwrap();
        let mut rng = SmallRng::seed_from_u64(1);
        let began = Instant::now();
        let mut batch = Vec::new();
        for n in 0..count {
            batch.push(row(n, n * 7 * DAY / count, &mut rng));
            if batch.len() == 4_096 {
                store.write(std::mem::take(&mut batch), false).await.unwrap();
            }
        }
        store.write(batch, false).await.unwrap();
        let written = began.elapsed();
        let seven_days = Duration::from_millis(BEGAN);
        let began = Instant::now();
        let models = store.usage(By::Model, seven_days, None).await.unwrap();
        let summed = began.elapsed();
        let began = Instant::now();
        // In the middle of an hour: some rows are summed one by one.
        store.usage(By::Model, seven_days + Duration::from_secs(1_800), None).await.unwrap();
        let summed_partly = began.elapsed();
        let began = Instant::now();
        let newest = store.requests(&Page { limit: 50, ..Page::default() }).await.unwrap();
        let paged = began.elapsed();
        let total: i64 = models.iter().map(|line| line.counts.requests).sum();
        assert_eq!((models.len(), total, newest.len()), (7, count as i64, 50));
        eprintln!(
            "{count} rows written in {written:?} ({} us each); by model {summed:?}, from the middle of an hour {summed_partly:?}; newest 50 {paged:?}",
            written.as_micros() / u128::from(count)
        );
        if long {
            assert!(summed < Duration::from_secs(1) && summed_partly < Duration::from_secs(1), "{summed:?} {summed_partly:?}");
            assert!(paged < Duration::from_millis(50), "{paged:?}");
        }
    });
}

fn row(n: u64, after: u64, rng: &mut SmallRng) -> Row {
    let at = Duration::from_millis(BEGAN + after);
    let (models, keys, providers) = (["a", "b", "c", "d", "e", "f", "g"], ["k1", "k2", "k3"], ["p", "q"]);
    let key = keys[(n % 3) as usize];
    Row::Request(Box::new(Entry {
        id: request_id(at, rng),
        time_us: at.as_micros() as u64,
        key: Some(Key { id: key.into(), name: key.into() }),
        model: models[(n % 7) as usize].into(),
        provider: Some(providers[(n % 2) as usize].into()),
        upstream_model: Some("up".into()),
        status: 200,
        tokens_in: 100,
        tokens_out: 50,
        cost: Some(1_234),
        state: Some("exact".into()),
        source: Some("upstream".into()),
        latency_us: 1_000,
        attempts: 1,
        ..Entry::default()
    }))
}
