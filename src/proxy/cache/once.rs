//! `idempotency-key`: a caller's own name for a request that isn't streamed. While it is under way nobody else may use the
//! name; its good answer is given again for a day; what failed may be asked again. A name stands for one body.
//!
//! Bounded: of the answers, those are let go first that nobody asks for.

use std::sync::Arc;
use std::time::Duration;

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;

use super::super::resume::Owner;
use super::answers::{Answers, Author, Stored};
use super::key::Fingerprint;

/// How long an answer is given again.
const DAY: Duration = Duration::from_secs(86_400);
/// The bodies of all such answers together, in bytes.
const TOGETHER: u64 = 64 << 20;

/// All names. Touched only by requests that have one.
#[derive(Debug)]
pub struct Onces {
    under_way: DashMap<Fingerprint, Fingerprint>,
    /// By the name, and by the name and the body: the first says which body it stands for.
    bodies: moka::sync::Cache<Fingerprint, Fingerprint>,
    answers: Answers,
}

impl Default for Onces {
    fn default() -> Self {
        // As many names as answers of no size would be.
        let bodies = moka::sync::Cache::builder().max_capacity(TOGETHER / 256).time_to_live(DAY).build();
        Self { under_way: DashMap::new(), bodies, answers: Answers::new(TOGETHER) }
    }
}

/// Why a request can't have its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Twice {
    /// One of that name is under way.
    UnderWay,
    /// The name stands for another body.
    OtherBody,
}

/// A request's hold on its name; let go when dropped.
#[derive(Debug)]
pub struct Once {
    onces: Arc<Onces>,
    name: Fingerprint,
    body: Fingerprint,
    /// The answer to an earlier one of that name.
    pub earlier: Option<Arc<Stored>>,
}

impl Onces {
    /// Takes the name that a request gives itself.
    ///
    /// # Errors
    /// Where it is taken.
    pub fn begin(self: &Arc<Self>, owner: &Owner, path: &str, name: &[u8], body: &[u8]) -> Result<Once, Twice> {
        let (name, body) = (Fingerprint::of_name(owner, path, name), Fingerprint::of_body(body));
        match self.under_way.entry(name) {
            Entry::Occupied(other) if *other.get() == body => return Err(Twice::UnderWay),
            Entry::Occupied(_) => return Err(Twice::OtherBody),
            Entry::Vacant(free) => _ = free.insert(body),
        }
        let mut once = Once { onces: Arc::clone(self), name, body, earlier: None };
        match self.bodies.get(&name) {
            Some(other) if other != body => Err(Twice::OtherBody),
            Some(_) => {
                once.earlier = self.answers.find(&name);
                Ok(once)
            }
            None => Ok(once),
        }
    }
}

impl Once {
    /// The request has its answer.
    pub fn answered(&self, body: &[u8], author: &Author) {
        if self.earlier.is_none() {
            self.onces.bodies.insert(self.name, self.body);
            self.onces.answers.keep(self.name, Arc::new(Stored::new(body, author.clone(), DAY)));
        }
    }
}

impl Drop for Once {
    fn drop(&mut self) {
        self.onces.under_way.remove(&self.name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begin(onces: &Arc<Onces>, owner: &str, name: &str, body: &str) -> Result<Once, Twice> {
        onces.begin(&Some(owner.into()), "/chat/completions", name.as_bytes(), body.as_bytes())
    }

    fn author() -> Author {
        Author { provider: "p".into(), model: "m".into() }
    }

    #[test]
    fn a_name_is_one_requests_and_its_answer_is_given_again() {
        let onces = Arc::<Onces>::default();
        let first = begin(&onces, "a", "1", "body").unwrap();
        assert_eq!(begin(&onces, "a", "1", "body").unwrap_err(), Twice::UnderWay);
        assert_eq!(begin(&onces, "a", "1", "other").unwrap_err(), Twice::OtherBody);
        for (owner, name) in [("b", "1"), ("a", "2")] {
            assert!(begin(&onces, owner, name, "body").unwrap().earlier.is_none());
        }
        first.answered(b"{}", &author());
        drop(first);
        let again = begin(&onces, "a", "1", "body").unwrap();
        assert_eq!(again.earlier.as_ref().unwrap().body, "{}");
        drop(again);
        assert_eq!(begin(&onces, "a", "1", "other").unwrap_err(), Twice::OtherBody);
        assert!(begin(&onces, "a", "1", "body").unwrap().earlier.is_some(), "who was refused holds nothing");
    }

    #[test]
    fn what_failed_may_be_asked_again() {
        let onces = Arc::<Onces>::default();
        drop(begin(&onces, "a", "1", "body").unwrap());
        assert!(begin(&onces, "a", "1", "other").unwrap().earlier.is_none());
        assert!(onces.under_way.is_empty());
    }
}
