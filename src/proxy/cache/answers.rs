//! The answers that are kept, in memory: bounded by their bytes, each for its own time. What is asked for least goes first.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use memchr::memmem;
use moka::Expiry;
use moka::sync::Cache;

use super::super::prepared::Prepared;
use super::key::Fingerprint;
use crate::routing::Target;
use crate::settings::Settings;

/// What an answer takes besides its bytes.
const ENTRY: usize = 256;

/// Who gave an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Author {
    /// The provider's name.
    pub provider: Arc<str>,
    /// Its own name for the model.
    pub model: Arc<str>,
}

impl Author {
    /// The target that answers this request.
    pub fn of(request: &Prepared, target: &Target) -> Self {
        Self { provider: Arc::clone(&target.provider.name), model: request.upstream_model(target).into() }
    }
}

/// A whole, good answer as it went out.
#[derive(Clone, Debug)]
pub struct Stored {
    /// Its body; of a stream all its events.
    pub body: Bytes,
    /// Who gave it.
    pub author: Author,
    ttl: Duration,
}

impl Stored {
    /// As it was read from elsewhere: it isn't kept here.
    pub(super) fn read(body: Bytes, author: Author) -> Self {
        Self { body, author, ttl: Duration::ZERO }
    }

    /// A copy of its own size: what came from a connection may hold more than it shows.
    pub fn new(body: &[u8], author: Author, ttl: Duration) -> Self {
        Self { body: Bytes::copy_from_slice(body), author, ttl }
    }
}

/// See the module's text.
#[derive(Debug)]
pub struct Answers {
    /// All together, in bytes.
    most: u64,
    /// Made when the first is kept.
    kept: OnceLock<Cache<Fingerprint, Arc<Stored>>>,
}

struct OwnTime;

impl Expiry<Fingerprint, Arc<Stored>> for OwnTime {
    fn expire_after_create(&self, _: &Fingerprint, stored: &Arc<Stored>, _: std::time::Instant) -> Option<Duration> {
        Some(stored.ttl)
    }

    fn expire_after_update(&self, _: &Fingerprint, stored: &Arc<Stored>, _: std::time::Instant, _: Option<Duration>) -> Option<Duration> {
        Some(stored.ttl)
    }
}

impl Answers {
    /// None yet, and never more than `most` bytes.
    pub fn new(most: u64) -> Self {
        Self { most, kept: OnceLock::new() }
    }

    /// The answer to this request.
    pub fn find(&self, key: &Fingerprint) -> Option<Arc<Stored>> {
        self.kept.get()?.get(key)
    }

    /// Keeps one, where it isn't larger than all may be together.
    pub fn keep(&self, key: Fingerprint, stored: Arc<Stored>) {
        if self.fits(stored.body.len()) {
            self.kept.get_or_init(|| self.cache()).insert(key, stored);
        }
    }

    /// Whether an answer of so many bytes could be kept.
    pub(super) fn fits(&self, bytes: usize) -> bool {
        (bytes + ENTRY) as u64 <= self.most
    }

    fn cache(&self) -> Cache<Fingerprint, Arc<Stored>> {
        let weight = |_: &Fingerprint, stored: &Arc<Stored>| u32::try_from(stored.body.len() + ENTRY).unwrap_or(u32::MAX);
        Cache::builder().max_capacity(self.most).weigher(weight).expire_after(OwnTime).build()
    }
}

/// Where the answers of one edition's models are kept: together, but for models that have a bound of their own.
#[derive(Debug)]
pub struct Shelves {
    common: Arc<Answers>,
    own: BTreeMap<String, Arc<Answers>>,
}

impl Shelves {
    /// As the settings say; those of `before` where their bound is the same.
    pub fn new(settings: &Settings, before: Option<&Self>) -> Self {
        let kept = |most: u64, before: Option<&Arc<Answers>>| {
            let same = before.filter(|answers| answers.most == most);
            same.map_or_else(|| Arc::new(Answers::new(most)), Arc::clone)
        };
        let bound = settings.caching.max;
        let own = settings.models.iter().filter(|(_, model)| model.caching.max != bound);
        let own = own.map(|(name, model)| (name.clone(), kept(model.caching.max, before.and_then(|before| before.own.get(name)))));
        Self { own: own.collect(), common: kept(bound, before.map(|before| &before.common)) }
    }

    /// Where a public model's are.
    pub fn of(&self, model: &str) -> &Arc<Answers> {
        self.own.get(model).unwrap_or(&self.common)
    }
}

/// Whether what an answer says of its own end allows to give it again: an answer that a filter cut or an error ended is told
/// to its caller as it is, and the next one asks anew.
pub(super) fn ended_well(body: &[u8]) -> bool {
    const GOOD: [(&str, &[&str]); 2] = [
        ("\"finish_reason\"", &["null", "\"stop\"", "\"length\"", "\"tool_calls\"", "\"function_call\""]),
        ("\"stop_reason\"", &["null", "\"end_turn\"", "\"max_tokens\"", "\"stop_sequence\"", "\"tool_use\""]),
    ];
    GOOD.iter().all(|(name, good)| {
        memmem::find_iter(body, name).all(|at| {
            let rest = body[at + name.len()..].trim_ascii_start();
            // Inside a list it is a word like any other.
            let Some(value) = rest.strip_prefix(b":").map(<[u8]>::trim_ascii_start) else { return true };
            good.iter().any(|good| value.starts_with(good.as_bytes()))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(bytes: usize) -> Arc<Stored> {
        let author = Author { provider: "p".into(), model: "m".into() };
        Arc::new(Stored::new(&vec![b'x'; bytes], author, Duration::from_secs(60)))
    }

    fn key(number: usize) -> Fingerprint {
        Fingerprint::of_body(&number.to_le_bytes())
    }

    #[test]
    fn never_more_is_kept_than_the_bound() {
        let answers = Answers::new(64 << 10);
        for number in 0..1_000 {
            answers.keep(key(number), stored(1_000));
        }
        let cache = answers.kept.get().unwrap();
        cache.run_pending_tasks();
        assert!(cache.weighted_size() <= 64 << 10 && cache.entry_count() > 20, "{}", cache.weighted_size());
        let found = (0..1_000).filter(|number| answers.find(&key(*number)).is_some()).count();
        assert!((20..=52).contains(&found), "{found}");
    }

    #[test]
    fn what_is_larger_than_all_together_is_not_kept() {
        let answers = Answers::new(1_000);
        answers.keep(key(1), stored(1_000));
        assert!(answers.kept.get().is_none() && answers.find(&key(1)).is_none());
        answers.keep(key(1), stored(500));
        assert_eq!(answers.find(&key(1)).unwrap().body.len(), 500);
        assert!(answers.find(&key(2)).is_none());
    }

    #[test]
    fn how_an_answer_ended_decides() {
        for good in [
            r#"{"choices":[{"finish_reason":"stop"},{"finish_reason" : "length"}]}"#,
            r#"{"choices":[{"finish_reason":"tool_calls","content":"a \"finish_reason\":\"error\" in words"}]}"#,
            "data: {\"choices\":[{\"finish_reason\":null}]}\n\ndata: {\"choices\":[{\"finish_reason\":\"stop\"}]}\n\n",
            r#"{"stop_reason":"end_turn"}"#,
            r#"{"content":["finish_reason","error"]}"#,
            "{}",
        ] {
            assert!(ended_well(good.as_bytes()), "{good}");
        }
        for bad in [
            r#"{"choices":[{"finish_reason":"stop"},{"finish_reason":"content_filter"}]}"#,
            r#"{"choices":[{"finish_reason":"error"}]}"#,
            r#"{"stop_reason":"refusal"}"#,
            r#"{"finish_reason":"#,
        ] {
            assert!(!ended_well(bad.as_bytes()), "{bad}");
        }
    }
}
