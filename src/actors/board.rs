//! The board: where provider actors publish their vitals and every thread finds them, by name. Looked up when routes are
//! built; the request path holds what it found.

use std::sync::Arc;

use dashmap::DashMap;

use crate::health::{Rest, Vitals};

/// The published state of a target.
#[derive(Clone, Debug)]
pub struct Posted {
    /// Its breaker, latency and calls under way.
    pub vitals: Arc<Vitals>,
    /// The rest of each of the provider's keys for this model; one where none is sent.
    pub key_rests: Arc<[Rest]>,
}

/// See the module's text. Entries stay, so that a breaker's state outlives an actor's restart.
#[derive(Debug, Default)]
pub struct Board {
    providers: DashMap<String, Arc<Vitals>>,
    targets: DashMap<(String, String), Posted>,
    keys: DashMap<(String, String), Arc<Rest>>,
}

impl Board {
    /// A provider's own vitals; new ones are closed and idle.
    pub fn provider(&self, name: &str) -> Arc<Vitals> {
        self.providers.entry(name.to_owned()).or_default().clone()
    }

    /// A target's.
    pub fn target(&self, provider: &str, model: &str, keys: usize) -> Posted {
        let fresh = || Posted { vitals: Arc::default(), key_rests: (0..keys.max(1)).map(|_| Rest::default()).collect() };
        self.targets.entry((provider.to_owned(), model.to_owned())).or_insert_with(fresh).clone()
    }

    /// A key's rest as a whole.
    pub fn key(&self, provider: &str, name: &str) -> Arc<Rest> {
        self.keys.entry((provider.to_owned(), name.to_owned())).or_default().clone()
    }
}
