//! What gateways say to each other, as it is sent: JSON, every part of which may be missing, so that gateways of two versions
//! understand each other as far as they can. Times are spans, since no two clocks agree. No secret is in it, and no digest that
//! could stand for one: a provider's key is named by a short digest made for this alone.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::settings::Provider;

/// One gateway's word.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Bulletin {
    /// Who says it: of one process.
    pub(super) from: String,
    /// Callers' keys have changed in the store.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) keys: bool,
    /// Callers' keys that are revoked, by their ids: for whoever can't ask the store now.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) revoked: Vec<String>,
    /// Breakers that are open, and provider keys that rest.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) failing: Vec<Failing>,
}

/// A breaker that is open, or a provider's key that rests.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Failing {
    /// The provider's name.
    pub(super) provider: String,
    /// And what tells it from another of that name: a digest of its address.
    pub(super) at: String,
    /// The provider's own name for the model; None: all of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) model: Option<String>,
    /// The key's digest, `""` where none is sent; None: it is about a breaker.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) key: Option<String>,
    /// Whether the key was refused.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) refused: bool,
    /// Since when, in milliseconds.
    pub(super) age_ms: u64,
    /// And for how long yet.
    pub(super) left_ms: u64,
}

/// By what providers and their keys are known to other gateways, under the settings in force.
#[derive(Clone, Debug, Default)]
pub(super) struct Book(BTreeMap<String, Page>);

#[derive(Clone, Debug)]
struct Page {
    at: String,
    /// The keys' names, each with its digest.
    keys: Vec<(String, String)>,
}

impl Book {
    pub(super) fn of(providers: &BTreeMap<String, Provider>) -> Self {
        let page = |provider: &Provider| Page {
            at: short(&blake3::hash(provider.base_url.as_bytes())),
            keys: provider.keys.iter().map(|key| (key.name.clone(), digest(key.secret.expose()))).collect(),
        };
        Self(providers.iter().map(|(name, provider)| (name.clone(), page(provider))).collect())
    }

    /// A provider's address.
    pub(super) fn at(&self, provider: &str) -> Option<&str> {
        self.0.get(provider).map(|page| page.at.as_str())
    }

    /// A key's digest.
    pub(super) fn key(&self, provider: &str, name: &str) -> Option<&str> {
        let keys = &self.0.get(provider)?.keys;
        keys.iter().find(|(own, _)| own == name).map(|(_, digest)| digest.as_str())
    }
}

/// Says whether two gateways have the same key, and nothing else: 64 bits of a digest made for this alone.
fn digest(secret: &str) -> String {
    short(&blake3::Hash::from(blake3::derive_key("stagedoor: which of a provider's keys rests", secret.as_bytes())))
}

fn short(hash: &blake3::Hash) -> String {
    hash.to_hex()[..16].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_another_version_says_is_understood_as_far_as_it_goes() {
        let said = r#"{"from":"b","weather":[1],"failing":[{"provider":"p","colour":"red","left_ms":5}]}"#;
        let read: Bulletin = serde_json::from_str(said).unwrap();
        let failing = Failing { provider: "p".into(), left_ms: 5, ..Failing::default() };
        assert_eq!(read, Bulletin { from: "b".into(), failing: vec![failing], ..Bulletin::default() });
        assert_eq!(serde_json::to_string(&Bulletin { from: "a".into(), ..Bulletin::default() }).unwrap(), r#"{"from":"a"}"#);
    }

    #[test]
    fn a_keys_digest_tells_keys_apart_and_is_no_other_digest_of_it() {
        let secret = "sk-live-0123456789";
        assert_eq!((digest(secret), digest(secret).len()), (digest(secret), 16));
        assert_ne!(digest(secret), digest("sk-live-0123456780"));
        assert!(!blake3::hash(secret.as_bytes()).to_hex().contains(&digest(secret)));
    }
}
