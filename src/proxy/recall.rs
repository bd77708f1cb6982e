//! What keys had spent in their budgets' windows before this process began: a restart is no new budget.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;
use std::time::Duration;

use super::worker::Gateway;
use crate::access::VirtualKey;
use crate::actors::Archive;
use crate::store::Failed;

/// A store that doesn't answer is asked again after so long.
const AGAIN: Duration = Duration::from_secs(2);

/// Has the allowances know it, as soon as the store tells; `told` once the store was asked for the first time. What was spent
/// from `began` on they know themselves.
pub async fn recall(gateway: Arc<Gateway>, began: Duration, told: impl FnOnce()) {
    let mut told = Some(told);
    loop {
        let Some(archive) = &gateway.archive else { return };
        let recalled = ask(&gateway, archive, began).await;
        if let Some(told) = told.take() {
            told();
        }
        match recalled {
            Ok(()) => return,
            Err(error) => tracing::warn!(%error, "what keys have spent isn't known yet: their budgets count from now"),
        }
        tokio::time::sleep(AGAIN).await;
    }
}

async fn ask(gateway: &Gateway, archive: &Archive, began: Duration) -> Result<(), Failed> {
    let (edition, known) = (gateway.edition.load_full(), Arc::clone(&archive.keys.known()));
    if !known.answers {
        return Err(Failed::Late(AGAIN));
    }
    let mut by_id: BTreeMap<&str, &Arc<VirtualKey>> = BTreeMap::new();
    for key in edition.keys.keys().chain(known.ring.keys()).filter(|key| key.budget.is_some()) {
        by_id.entry(&key.id).or_insert(key);
    }
    let window = |key: &VirtualKey| key.budget.map_or(began, |budget| budget.window.began(began));
    let mut spent: BTreeMap<Duration, BTreeMap<String, i64>> = BTreeMap::new();
    for key in by_id.values() {
        let since = window(key);
        if let Entry::Vacant(place) = spent.entry(since) {
            let asked = archive.ask(move |store| async move { store.spent(since, Some(began)).await });
            place.insert(asked.await?);
        }
        let nanos = spent.get(&since).and_then(|spent| spent.get(&*key.id)).copied().unwrap_or(0);
        gateway.allowances.spent_before(key, u64::try_from(nanos).unwrap_or(0), gateway.now());
    }
    Ok(())
}
