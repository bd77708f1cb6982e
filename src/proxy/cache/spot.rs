//! What the cache has to do with one request: whether it may be given a stored answer, where its own is kept, and for how
//! long.

use std::sync::Arc;
use std::time::Duration;

use super::answers::{Answers, Author, Stored, ended_well};
use super::key::Fingerprint;
use crate::routing::Caching;

/// What a request asks of the cache by `x-stagedoor-cache`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Wish {
    /// As the settings say.
    #[default]
    Usual,
    /// Its answer is neither taken from the cache nor kept.
    NoStore,
    /// Its answer is asked for anew, and kept.
    Refresh,
    /// It may be answered from the cache though the settings leave it out.
    Exact,
}

/// See the module's text.
#[derive(Debug)]
pub struct Spot {
    answers: Arc<Answers>,
    key: Fingerprint,
    ttl: Duration,
    /// Whether a stored answer will do.
    pub reads: bool,
    /// Whether a call of an identical request will do.
    pub joins: bool,
}

impl Spot {
    /// Whether the cache has anything to do with a request; `cold`: its temperature is 0.
    pub fn wanted(wish: Wish, caching: &Caching, cold: bool) -> bool {
        match wish {
            Wish::NoStore => false,
            Wish::Refresh | Wish::Exact => true,
            Wish::Usual => caching.exact && (cold || !caching.only_deterministic),
        }
    }

    /// Of a request that it has to do with.
    pub fn new(answers: &Arc<Answers>, key: Fingerprint, wish: Wish, caching: &Caching) -> Self {
        let reads = wish != Wish::Refresh;
        Self { answers: Arc::clone(answers), key, ttl: caching.ttl, reads, joins: reads && caching.coalesce }
    }

    /// What tells it from others.
    pub fn key(&self) -> Fingerprint {
        self.key
    }

    /// The stored answer, where one will do.
    pub fn find(&self) -> Option<Arc<Stored>> {
        if self.reads { self.answers.find(&self.key) } else { None }
    }

    /// Keeps a whole answer, where its end allows it.
    pub fn keep(&self, body: &[u8], author: Author) {
        if self.fits(body.len()) && ended_well(body) {
            self.answers.keep(self.key, Arc::new(Stored::new(body, author, self.ttl)));
        }
    }

    /// Whether an answer of so many bytes could be kept.
    pub(super) fn fits(&self, bytes: usize) -> bool {
        self.answers.fits(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_answered_from_the_cache() {
        let off = Caching::default();
        let on = Caching { exact: true, ..Caching::default() };
        let careful = Caching { only_deterministic: true, ..on.clone() };
        for (wish, cold, expected) in [
            (Wish::Usual, false, [false, true, false]),
            (Wish::Usual, true, [false, true, true]),
            (Wish::NoStore, true, [false; 3]),
            (Wish::Refresh, false, [true; 3]),
            (Wish::Exact, false, [true; 3]),
        ] {
            assert_eq!([&off, &on, &careful].map(|caching| Spot::wanted(wish, caching, cold)), expected, "{wish:?} {cold}");
        }
    }

    #[test]
    fn a_refresh_writes_and_does_not_read() {
        let answers = Arc::new(Answers::new(1 << 20));
        let key = Fingerprint::of_body(b"one");
        let spot = |wish| Spot::new(&answers, key, wish, &Caching::default());
        let author = Author { provider: "p".into(), model: "m".into() };
        spot(Wish::Refresh).keep(b"{}", author.clone());
        assert!(spot(Wish::Refresh).find().is_none() && !spot(Wish::Refresh).joins);
        assert_eq!(spot(Wish::Usual).find().unwrap().body, "{}");
        spot(Wish::Usual).keep(br#"{"finish_reason":"content_filter"}"#, author);
        assert_eq!(spot(Wish::Usual).find().unwrap().body, "{}", "what a filter cut is not kept");
    }
}
