//! The virtual keys known to the gateway, by digest: a key itself is never kept beyond its settings row, and a wrong one
//! takes the same road as a right one.

use std::collections::HashMap;
use std::sync::Arc;

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// Whoever makes a request, known by its key; handlers take it as an argument, so that one without authorisation does not
/// compile.
#[derive(Clone, Debug)]
pub struct Principal {
    /// The key's name in logs; None in open mode.
    pub name: Option<Arc<str>>,
    models: Option<Arc<[String]>>,
}

impl Principal {
    /// Anyone, where no key is needed.
    pub fn open() -> Self {
        Self { name: None, models: None }
    }

    /// Whether it may use a public model.
    pub fn may_use(&self, model: &str) -> bool {
        self.models.as_ref().is_none_or(|globs| globs.iter().any(|glob| glob_matches(glob, model)))
    }
}

/// All keys in force.
#[derive(Debug, Default)]
pub struct KeyRing {
    by_digest: HashMap<[u8; 32], Principal>,
}

impl KeyRing {
    /// From rows of name, key and allowed models (globs).
    pub fn new<'a>(rows: impl IntoIterator<Item = (&'a str, &'a str, &'a [String])>) -> Self {
        let by_digest = rows.into_iter().map(|(name, key, models)| {
            let models = (!models.iter().any(|glob| glob == "*")).then(|| models.to_vec().into());
            (digest(key.as_bytes()), Principal { name: Some(name.into()), models })
        });
        Self { by_digest: by_digest.collect() }
    }

    /// Whether no key is known.
    pub fn is_empty(&self) -> bool {
        self.by_digest.is_empty()
    }

    /// Whose key this is.
    pub fn find(&self, key: &[u8]) -> Option<&Principal> {
        self.by_digest.get(&digest(key))
    }
}

/// Whether two secrets are equal, in a time that tells nothing of where they differ.
pub fn same_secret(one: &[u8], other: &[u8]) -> bool {
    digest(one).ct_eq(&digest(other)).into()
}

fn digest(key: &[u8]) -> [u8; 32] {
    Sha256::digest(key).into()
}

/// Whether a name matches a pattern in which each `*` stands for any characters.
pub fn glob_matches(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = name.strip_prefix(first) else { return false };
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn globs() {
        for (pattern, name, expected) in [
            ("*", "", true),
            ("gpt-4o", "gpt-4o", true),
            ("gpt-4o", "gpt-4o-mini", false),
            ("gpt-*", "gpt-4o", true),
            ("*-mini", "gpt-4o-mini", true),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-c", false),
            ("ab*ba", "aba", false),
            ("", "a", false),
        ] {
            assert_eq!(glob_matches(pattern, name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn a_key_opens_its_models_only() {
        let some = ["gpt-*".to_owned()];
        let all = ["*".to_owned()];
        let ring = KeyRing::new([("team", "sk-team-key", &some[..]), ("app", "sk-app-key", &all[..])]);
        let team = ring.find(b"sk-team-key").unwrap();
        assert!(team.may_use("gpt-4o") && !team.may_use("claude-sonnet"));
        assert_eq!(team.name.as_deref(), Some("team"));
        assert!(ring.find(b"sk-app-key").unwrap().may_use("claude-sonnet"));
        for wrong in ["", "sk-team-ke", "sk-team-key ", "' OR 1=1 --"] {
            assert!(ring.find(wrong.as_bytes()).is_none(), "{wrong}");
        }
        assert!(same_secret(b"a", b"a") && !same_secret(b"a", b"b"));
    }

    proptest! {
        #[test]
        fn a_pattern_made_from_a_name_matches_it(name in "[a-c/.-]{0,12}", cuts in proptest::collection::vec(0usize..13, 0..4)) {
            let mut pattern = name.clone();
            for cut in cuts {
                let at = cut.min(pattern.len());
                pattern.insert(at, '*');
            }
            prop_assert!(glob_matches(&pattern, &name));
        }
    }
}
