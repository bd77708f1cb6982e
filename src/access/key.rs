//! The virtual keys in force, by digest: a key itself is never kept beyond its settings row, and a wrong one takes the same
//! road as a right one.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq;

use super::virtual_key::VirtualKey;

/// Whoever makes a request, known by its key; handlers take it as an argument, so that one without authorisation does not
/// compile.
#[derive(Clone, Debug)]
pub struct Principal(Option<Arc<VirtualKey>>);

impl Principal {
    /// Anyone, where no key is needed.
    pub fn open() -> Self {
        Self(None)
    }

    /// Its key; None in open mode.
    pub fn key(&self) -> Option<&Arc<VirtualKey>> {
        self.0.as_ref()
    }

    /// Whether it may use a public model.
    pub fn may_use(&self, model: &str) -> bool {
        self.0.as_ref().is_none_or(|key| key.may_use(model))
    }
}

impl From<Arc<VirtualKey>> for Principal {
    fn from(key: Arc<VirtualKey>) -> Self {
        Self(Some(key))
    }
}

/// What is kept of a key's secret.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    /// Of a key as it is sent.
    pub fn of(key: &[u8]) -> Self {
        Self(Sha256::digest(key).into())
    }
}

impl Digest {
    /// Some of it, as a number.
    pub(super) fn number(self) -> u64 {
        self.0.iter().take(8).fold(0, |number, byte| (number << 8) | u64::from(*byte))
    }

    /// As it is kept.
    pub fn to_hex(self) -> String {
        self.0.iter().fold(String::with_capacity(64), |mut text, byte| {
            for half in [byte >> 4, byte & 15] {
                text.push(char::from_digit(u32::from(half), 16).unwrap_or_default());
            }
            text
        })
    }

    /// As [`Digest::to_hex`] writes it.
    pub fn from_hex(text: &str) -> Option<Self> {
        let digits: Vec<u8> = text.chars().map(|c| c.to_digit(16).map(|digit| digit as u8)).collect::<Option<_>>()?;
        let bytes: Vec<u8> = digits.chunks(2).map(|pair| pair.iter().fold(0, |byte, digit| (byte << 4) | digit)).collect();
        Some(Self(bytes.try_into().ok()?))
    }
}

// A digest is no secret that opens anything, but a log is no place for it.
impl std::fmt::Debug for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Digest")
    }
}

/// A key in force, and until when.
#[derive(Clone, Debug)]
pub struct Entry {
    key: Arc<VirtualKey>,
    ends: Option<Duration>,
}

/// All keys in force.
#[derive(Clone, Debug, Default)]
pub struct KeyRing {
    by_digest: HashMap<Digest, Entry>,
}

impl KeyRing {
    /// Whether no key is known, not even one that has ended.
    pub fn is_empty(&self) -> bool {
        self.by_digest.is_empty()
    }

    /// Puts a key in force by its secret's digest, perhaps not for as long as the key itself; a secret that is known already
    /// stays the first one's.
    pub fn add(&mut self, digest: Digest, key: Arc<VirtualKey>, until: Option<Duration>) {
        let ends = key.ends().into_iter().chain(until).min();
        self.by_digest.entry(digest).or_insert(Entry { key, ends });
    }

    /// The keys, by each of their secrets.
    pub fn keys(&self) -> impl Iterator<Item = &Arc<VirtualKey>> {
        self.by_digest.values().map(|entry| &entry.key)
    }

    /// Whose secret of this digest is, whether or not it has ended.
    pub fn find(&self, digest: &Digest) -> Option<&Entry> {
        self.by_digest.get(digest)
    }
}

impl Entry {
    /// The key, unless it has ended by `wall`, which is only asked of one that ends.
    pub fn at(&self, wall: impl FnOnce() -> Duration) -> Option<&Arc<VirtualKey>> {
        self.ends.is_none_or(|ends| wall() < ends).then_some(&self.key)
    }
}

/// Whether two secrets are equal, in a time that tells nothing of where they differ.
pub fn same_secret(one: &[u8], other: &[u8]) -> bool {
    Digest::of(one).0.ct_eq(&Digest::of(other).0).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str, models: &[&str], expires: Option<u64>) -> Arc<VirtualKey> {
        let models = models.iter().map(|glob| (*glob).to_owned()).collect();
        Arc::new(VirtualKey { name: name.into(), models, expires: expires.map(Duration::from_secs), ..VirtualKey::default() })
    }

    #[test]
    fn a_key_opens_its_models_only() {
        let mut ring = KeyRing::default();
        ring.add(Digest::of(b"sk-team-key"), key("team", &["gpt-*"], None), None);
        ring.add(Digest::of(b"sk-app-key"), key("app", &["*"], None), None);
        ring.add(Digest::of(b"sk-app-key"), key("other", &["*"], None), None);
        let find = |sent: &str| ring.find(&Digest::of(sent.as_bytes())).and_then(|entry| entry.at(|| unreachable!("it doesn't end")));
        let team = Principal::from(Arc::clone(find("sk-team-key").unwrap()));
        assert!(team.may_use("gpt-4o") && !team.may_use("claude-sonnet"));
        assert_eq!(team.key().map(|key| &*key.name), Some("team"));
        let app = find("sk-app-key").unwrap();
        assert!(app.may_use("claude-sonnet") && &*app.name == "app");
        assert!(Principal::open().may_use("claude-sonnet") && Principal::open().key().is_none());
        for wrong in ["", "sk-team-ke", "sk-team-key ", "' OR 1=1 --"] {
            assert!(find(wrong).is_none(), "{wrong}");
        }
        assert!(same_secret(b"a", b"a") && !same_secret(b"a", b"b"));
    }

    #[test]
    fn a_key_ends_to_the_second() {
        let mut ring = KeyRing::default();
        ring.add(Digest::of(b"k"), key("k", &["*"], Some(5)), Some(Duration::from_secs(9)));
        ring.add(Digest::of(b"old"), key("k", &["*"], Some(5)), Some(Duration::from_secs(2)));
        let entry = ring.find(&Digest::of(b"k")).unwrap();
        assert!(entry.at(|| Duration::from_millis(4_999)).is_some() && entry.at(|| Duration::from_secs(5)).is_none());
        let old = ring.find(&Digest::of(b"old")).unwrap();
        assert!(old.at(|| Duration::from_secs(1)).is_some() && old.at(|| Duration::from_secs(2)).is_none());
        assert_eq!(format!("{:?}", Digest::of(b"k")), "Digest");
        assert_eq!(Digest::from_hex(&Digest::of(b"k").to_hex()), Some(Digest::of(b"k")));
        assert!(["", "0", "zz"].iter().all(|bad| Digest::from_hex(bad).is_none()));
    }
}
