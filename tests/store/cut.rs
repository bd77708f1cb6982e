//! Row 51: the power goes. What the disk hadn't made safe yet is gone, in whole or in part: of SQLite's write-ahead log any tail,
//! or any of it as garbage. What is left must be whole batches from the first on, and sums that are sums of the rows.

use std::path::Path;
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use stagedoor::base::request_id;
use stagedoor::ledger::{Entry, Row};
use stagedoor::settings::Keep;
use stagedoor::store::{By, Page, Store};

/// Rows of each batch.
const BATCH: usize = 7;
const BATCHES: usize = 40;

#[test]
fn row_51_what_a_power_cut_leaves_is_whole_batches_and_their_sums() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s.db");
    let mut rng = SmallRng::seed_from_u64(51);
    let mut written = Vec::new();
    actix_rt::System::new().block_on(async {
        let store = Store::open(&Keep::Sqlite(path.clone())).await.unwrap().unwrap();
        store.ready().await.unwrap();
        for batch in 0..BATCHES {
            let rows: Vec<Row> = (0..BATCH).map(|number| row(batch, number, &mut rng)).collect();
            written.extend(rows.iter().map(|row| row.id().to_owned()));
            store.write(rows, false).await.unwrap();
        }
        // The store is still open: its log isn't in the file yet.
        let (file, log) = (std::fs::read(&path).unwrap(), std::fs::read(log_of(&path)).unwrap());
        assert!(log.len() > 100_000, "{}", log.len());
        let mut kept = Vec::new();
        for round in 0..40 {
            let cut = if round == 0 { log.len() } else { rng.random_range(0..=log.len()) };
            let mut left = log[..cut].to_vec();
            if round % 2 == 1 {
                // The length was made safe, the contents weren't.
                left.resize(log.len(), 0);
                let garbage = cut..log.len().min(cut + 9_000);
                left[garbage].iter_mut().for_each(|byte| *byte = rng.random());
            }
            let place = folder.path().join(format!("cut-{round}.db"));
            std::fs::write(&place, &file).unwrap();
            std::fs::write(log_of(&place), &left).unwrap();
            kept.push(survivors(&place, &written).await);
        }
        assert_eq!(kept[0], written.len(), "nothing cut, nothing lost");
        assert!(kept.iter().any(|kept| *kept < written.len()) && kept.iter().any(|kept| *kept > 0));
        store.close().await;
    });
}

fn log_of(path: &Path) -> std::path::PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push("-wal");
    name.into()
}

/// How many rows are there; the store is sound, and takes the rest again.
async fn survivors(place: &Path, written: &[String]) -> usize {
    let store = Store::open(&Keep::Sqlite(place.to_owned())).await.unwrap().unwrap();
    store.ready().await.unwrap();
    let all = Page { oldest_first: true, limit: 10_000, ..Page::default() };
    let kept: Vec<String> = store.requests(&all).await.unwrap().into_iter().map(|entry| entry.id).collect();
    let mut first: Vec<String> = written[..kept.len()].to_vec();
    first.sort();
    assert_eq!(kept, first, "the first ones, without a gap");
    assert_eq!(kept.len() % BATCH, 0, "whole batches");
    let total = store.total(Duration::ZERO, None).await.unwrap();
    let by_tag = store.usage(By::Tag, Duration::ZERO, None).await.unwrap();
    assert_eq!((total.requests, total.cost), (kept.len() as i64, 5 * kept.len() as i64), "sums are of the rows");
    assert_eq!(by_tag.iter().map(|line| line.counts.requests).sum::<i64>(), kept.len() as i64);
    // What the journal still has is loaded after that, each once.
    let again = written.iter().map(|id| Row::Request(Box::new(Entry { id: id.clone(), cost: Some(5), ..Entry::default() })));
    store.write(again.collect::<Vec<_>>(), true).await.unwrap();
    assert_eq!(store.total(Duration::ZERO, None).await.unwrap().requests, written.len() as i64);
    store.close().await;
    kept.len()
}

fn row(batch: usize, number: usize, rng: &mut SmallRng) -> Row {
    let at = Duration::from_millis(1_790_000_000_000 + (batch * 100 + number) as u64);
    Row::Request(Box::new(Entry {
        id: request_id(at, rng),
        time_us: at.as_micros() as u64,
        model: "m".into(),
        status: 200,
        tokens_in: 3,
        cost: Some(5),
        tags: Some("a=1".into()),
        error: "x".repeat(200),
        ..Entry::default()
    }))
}
