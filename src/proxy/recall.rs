//! What keys have spent in their budgets' windows that their accounts don't know: before this process began, as a restart is no new
//! budget, and before they were given the budget that they have now.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::edition::Edition;
use super::worker::Gateway;
use crate::access::{VirtualKey, Window};
use crate::actors::{Archive, Known};
use crate::store::Failed;

/// A store that doesn't answer is asked again after so long.
const AGAIN: Duration = Duration::from_secs(2);
/// How often new budgets are looked for: as often as the store is asked for changed keys.
const LOOK: Duration = Duration::from_millis(250);

/// The windows of keys' budgets, by the keys' ids; None: no budget.
type Windows = HashMap<Arc<str>, Option<Window>>;

/// Has the allowances know it, as soon as the store tells; `told` once the store was asked for the first time. What was spent
/// from `began` on they know themselves, but for what is spent before a budget is there: that is looked for from then on.
pub async fn recall(gateway: Arc<Gateway>, began: Duration, told: impl FnOnce()) {
    let mut told = Some(told);
    loop {
        let Some(archive) = &gateway.archive else { return };
        let recalled = ask(&gateway, archive, began).await;
        if let Some(told) = told.take() {
            told();
        }
        match recalled {
            Ok(windows) => {
                let gateway = Arc::downgrade(&gateway);
                return follow(gateway, began, windows).await;
            }
            Err(error) => tracing::warn!(%error, "what keys have spent isn't known yet: their budgets count from now"),
        }
        tokio::time::sleep(AGAIN).await;
    }
}

async fn ask(gateway: &Gateway, archive: &Archive, began: Duration) -> Result<Windows, Failed> {
    let (edition, known) = (gateway.edition.load_full(), Arc::clone(&archive.keys.known()));
    if !known.answers {
        return Err(Failed::Late(AGAIN));
    }
    let keys = by_id(&edition, &known);
    for (since, keys) in by_window(keys.values().map(|key| &***key), began) {
        let spent = sums(archive, since, Some(began)).await?;
        for key in keys {
            gateway.allowances.spent_before(key, nanos(&spent, key), gateway.now());
        }
    }
    Ok(keys.values().map(|key| (Arc::clone(&key.id), window(key))).collect())
}

/// All keys; one that the settings and the store know is the settings'.
fn by_id<'a>(edition: &'a Edition, known: &'a Known) -> BTreeMap<&'a str, &'a Arc<VirtualKey>> {
    let mut by_id: BTreeMap<&str, &Arc<VirtualKey>> = BTreeMap::new();
    for key in edition.keys.keys().chain(known.ring.keys()) {
        by_id.entry(&key.id).or_insert(key);
    }
    by_id
}

fn window(key: &VirtualKey) -> Option<Window> {
    key.budget.map(|budget| budget.window)
}

/// The keys that have budgets, by when the present windows of these began: the store tells of all keys at once, so it is asked once
/// for each.
fn by_window<'a>(keys: impl IntoIterator<Item = &'a VirtualKey>, wall: Duration) -> BTreeMap<Duration, Vec<&'a VirtualKey>> {
    let mut windows: BTreeMap<Duration, Vec<&VirtualKey>> = BTreeMap::new();
    for (key, window) in keys.into_iter().filter_map(|key| Some((key, window(key)?))) {
        windows.entry(window.began(wall)).or_default().push(key);
    }
    windows
}

/// What all keys have spent from `since` on and before `until`, in nano-dollars.
async fn sums(archive: &Archive, since: Duration, until: Option<Duration>) -> Result<BTreeMap<String, i64>, Failed> {
    tracing::debug!(since_s = since.as_secs(), "the store is asked what keys have spent");
    archive.ask(move |store| async move { store.spent(since, until).await }).await
}

/// What one of them has spent by these sums.
fn nanos(spent: &BTreeMap<String, i64>, key: &VirtualKey) -> u64 {
    spent.get(&*key.id).map_or(0, |nanos| u64::try_from(*nanos).unwrap_or(0))
}

/// Recalls what was spent of budgets that keys are given while this process runs, be it by another gateway or by a reload.
async fn follow(gateway: Weak<Gateway>, began: Duration, mut windows: Windows) {
    let mut seen: Option<(Weak<Edition>, Weak<Known>)> = None;
    loop {
        tokio::time::sleep(LOOK).await;
        let Some(gateway) = gateway.upgrade() else { return };
        let Some(archive) = &gateway.archive else { return };
        let (edition, known) = (gateway.edition.load_full(), Arc::clone(&archive.keys.known()));
        let now = (Arc::downgrade(&edition), Arc::downgrade(&known));
        if seen.as_ref().is_some_and(|seen| seen.0.ptr_eq(&now.0) && seen.1.ptr_eq(&now.1)) {
            continue;
        }
        // One that was made since this process began has all that it spent in its account.
        let is_known = |key: &&Arc<VirtualKey>| windows.get(&key.id).map_or(key.created >= began, |known| *known == window(key));
        let (mut told, new): (Vec<_>, Vec<_>) = by_id(&edition, &known).into_values().partition(is_known);
        if recall_of(&gateway, new.iter().map(|key| &***key)).await.is_ok() {
            told.extend(new);
            seen = Some(now);
        }
        windows.extend(told.into_iter().map(|key| (Arc::clone(&key.id), window(key))));
    }
}

/// Has these keys' accounts know what the ledger says that they have spent in their budgets' present windows, at least.
///
/// # Errors
/// Where the store can't tell.
pub async fn recall_of(gateway: &Gateway, keys: impl IntoIterator<Item = &VirtualKey>) -> Result<(), Failed> {
    let Some(archive) = &gateway.archive else { return Ok(()) };
    for (since, keys) in by_window(keys, gateway.clock.wall()) {
        archive.flush().await;
        let spent = sums(archive, since, None).await?;
        for key in keys {
            gateway.allowances.at_least(key, nanos(&spent, key), gateway.now());
        }
    }
    Ok(())
}
