//! The board: where provider actors publish their vitals and every thread finds them, by name. Looked up when routes are
//! built; the request path holds what it found.
//!
//! A provider and a target get their place when their name is first posted and keep it for the process's life, reloads
//! included: calls under way tell their end by place, also after the settings have changed.

use std::sync::{Arc, Mutex, PoisonError};

use dashmap::DashMap;

use crate::access::Limit;
use crate::health::{Rest, Vitals};
use crate::routing::Budgets;

/// The published state of a provider.
#[derive(Clone, Debug)]
pub struct PostedProvider {
    /// Its place among all providers there ever were.
    pub place: usize,
    /// Its own breaker and calls under way.
    pub vitals: Arc<Vitals>,
}

/// The published state of a target.
#[derive(Clone, Debug)]
pub struct Posted {
    /// Its place among all targets that its provider ever had.
    pub place: usize,
    /// Its breaker, latency and calls under way.
    pub vitals: Arc<Vitals>,
    /// The rest of each of the keys asked for, for this model; one where none is sent.
    pub key_rests: Arc<[Arc<Rest>]>,
}

/// See the module's text. Entries stay, so that a breaker's state outlives an actor's restart.
#[derive(Debug, Default)]
pub struct Board {
    providers: DashMap<String, PostedProvider>,
    targets: DashMap<(String, String), (usize, Arc<Vitals>)>,
    keys: DashMap<(String, String), Arc<Rest>>,
    /// By provider, model and key; the empty name stands for none.
    key_rests: DashMap<(String, String, String), Arc<Rest>>,
    limits: DashMap<(String, String), Arc<Limit>>,
    /// By the public model whose terms are its own; the empty name stands for all others.
    budgets: DashMap<String, Arc<Budgets>>,
    /// The names by their places.
    names: Mutex<Vec<(String, Vec<String>)>>,
}

impl Board {
    /// A provider's own; new ones are closed and idle.
    pub fn provider(&self, name: &str) -> PostedProvider {
        let fresh = || {
            let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
            names.push((name.to_owned(), Vec::new()));
            PostedProvider { place: names.len() - 1, vitals: Arc::default() }
        };
        self.providers.entry(name.to_owned()).or_insert_with(fresh).clone()
    }

    /// A target's, with the keys of these names in their order.
    pub fn target<'a>(&self, provider: &str, model: &str, keys: impl IntoIterator<Item = &'a str>) -> Posted {
        let at = self.provider(provider).place;
        let fresh = || {
            let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
            let own = &mut names[at].1;
            own.push(model.to_owned());
            (own.len() - 1, Arc::default())
        };
        let (place, vitals) = self.targets.entry((provider.to_owned(), model.to_owned())).or_insert_with(fresh).clone();
        let rest = |key: &str| self.key_rests.entry((provider.to_owned(), model.to_owned(), key.to_owned())).or_default().clone();
        let mut key_rests: Vec<_> = keys.into_iter().map(rest).collect();
        if key_rests.is_empty() {
            key_rests.push(rest(""));
        }
        Posted { place, vitals, key_rests: key_rests.into() }
    }

    /// A key's rest as a whole.
    pub fn key(&self, provider: &str, name: &str) -> Arc<Rest> {
        self.keys.entry((provider.to_owned(), name.to_owned())).or_default().clone()
    }

    /// A key's own limits, where it has any: what was used of them is kept as long as they stay what they are.
    pub fn limit(&self, provider: &str, name: &str, rpm: u64, tpm: u64) -> Option<Arc<Limit>> {
        let fresh = Limit::new(rpm, tpm)?;
        let mut kept = self.limits.entry((provider.to_owned(), name.to_owned())).or_insert_with(|| Arc::new(fresh));
        if kept.per_minute() != (rpm, tpm) {
            *kept = Arc::new(Limit::new(rpm, tpm)?);
        }
        Some(Arc::clone(&kept))
    }

    /// What a public model's requests may spend beyond one call each; without a name, those of all models on common terms.
    pub fn budgets(&self, model: Option<&str>) -> Arc<Budgets> {
        self.budgets.entry(model.unwrap_or_default().to_owned()).or_default().clone()
    }

    /// All providers by their place, each with its targets' models by theirs.
    pub fn names(&self) -> Vec<(String, Vec<String>)> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
