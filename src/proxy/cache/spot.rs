//! What the cache has to do with one request: whether it may be given a stored answer, where its own is kept, and for how
//! long.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::super::shared::Link;
use super::answers::{Answers, Author, Stored, ended_well};
use super::key::Fingerprint;
use super::packed;
use crate::routing::Caching;

/// What is shared with other gateways is also kept here, for as long as it may take until it is there: an identical request that
/// comes right after finds it.
const ON_ITS_WAY: Duration = Duration::from_secs(2);

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
    /// Where other gateways look, too.
    shared: Option<Rc<Link>>,
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
    pub fn new((answers, shared): (&Arc<Answers>, Option<&Rc<Link>>), key: Fingerprint, wish: Wish, caching: &Caching) -> Self {
        let reads = wish != Wish::Refresh;
        let (answers, shared) = (Arc::clone(answers), shared.map(Rc::clone));
        Self { answers, shared, key, ttl: caching.ttl, reads, joins: reads && caching.coalesce }
    }

    /// What tells it from others.
    pub fn key(&self) -> Fingerprint {
        self.key
    }

    /// The stored answer, where one will do. Where it is shared, what doesn't come in time isn't there.
    pub async fn find(&self) -> Option<Arc<Stored>> {
        match (self.near(), &self.shared) {
            (None, Some(shared)) if self.reads => {
                let packed = shared.answer(&self.key.name()).await?;
                packed::unpack(&self.key, packed).map(Arc::new)
            }
            (near, _) => near,
        }
    }

    /// The same, of what this gateway has itself.
    pub fn near(&self) -> Option<Arc<Stored>> {
        if self.reads { self.answers.find(&self.key) } else { None }
    }

    /// Keeps a whole answer, where its end allows it.
    pub fn keep(&self, body: &[u8], author: Author) {
        if !self.fits(body.len()) || !ended_well(body) {
            return;
        }
        let mut ttl = self.ttl;
        if let Some(shared) = &self.shared {
            shared.keep_answer(self.key.name(), packed::pack(&self.key, body, &author), ttl);
            ttl = ttl.min(ON_ITS_WAY);
        }
        self.answers.keep(self.key, Arc::new(Stored::new(body, author, ttl)));
    }

    /// Whether an answer of so many bytes could be kept.
    pub(super) fn fits(&self, bytes: usize) -> bool {
        self.answers.fits(bytes) && (self.shared.is_none() || bytes <= packed::MOST)
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
        let spot = |wish| Spot::new((&answers, None), key, wish, &Caching::default());
        let author = Author { provider: "p".into(), model: "m".into() };
        spot(Wish::Refresh).keep(b"{}", author.clone());
        assert!(spot(Wish::Refresh).near().is_none() && !spot(Wish::Refresh).joins);
        assert_eq!(spot(Wish::Usual).near().unwrap().body, "{}");
        spot(Wish::Usual).keep(br#"{"finish_reason":"content_filter"}"#, author);
        assert_eq!(spot(Wish::Usual).near().unwrap().body, "{}", "what a filter cut is not kept");
    }
}
