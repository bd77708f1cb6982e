//! Looks at the board for what other gateways should hear of: breakers that have opened, keys that have begun to rest. Of this
//! gateway's own findings only, never of what it has heard itself. Pure but for the board's atomics: `now` is an argument.

use std::collections::HashMap;

use super::bulletin::{Book, Failing};
use crate::actors::Routes;
use crate::base::Moment;
use crate::health::{BELIEVED, State, Vitals};

/// Of a flood, so much is said at once.
const AT_ONCE: usize = 256;

/// What it is about: a provider's place, a target's, a key's. The board's places stay, names may be many.
type About = (usize, Option<usize>, Option<usize>);

/// See the module's text.
#[derive(Debug, Default)]
pub(super) struct Lookout {
    seen: HashMap<About, Seen>,
}

#[derive(Clone, Copy, Debug)]
struct Seen {
    /// When it was first seen so.
    since: Moment,
    until: Moment,
    /// By the last look.
    there: bool,
}

impl Lookout {
    /// What is to be said: what is new since the last look, or with `again` all that is still worth it.
    pub(super) fn look(&mut self, routes: &Routes, book: &Book, again: bool, now: Moment) -> Vec<Failing> {
        self.seen.values_mut().for_each(|seen| seen.there = false);
        let mut said = Vec::new();
        for (provider, targets) in &routes.providers {
            let Some(at) = book.at(&provider.name) else { continue };
            let about = |model: Option<&str>| Failing {
                provider: provider.name.to_string(),
                at: at.to_owned(),
                model: model.map(str::to_owned),
                ..Failing::default()
            };
            let mut see = |place: (Option<usize>, Option<usize>), failing: Option<(Moment, bool)>, word: &dyn Fn() -> Option<Failing>| {
                let Some((until, refused)) = failing else { return };
                let (seen, new) = self.see((provider.place, place.0, place.1), until, now);
                let age = now.since(seen.since);
                if (new || again) && age < BELIEVED && said.len() < AT_ONCE {
                    let timed = |word| Failing { refused, age_ms: ms(age), left_ms: ms(seen.until.since(now)), ..word };
                    said.extend(word().map(timed));
                }
            };
            let key = |place: usize| match provider.keys.get(place) {
                Some(key) => book.key(&provider.name, &key.name).map(str::to_owned),
                None => Some(String::new()),
            };
            see((None, None), open(&provider.vitals, now), &|| Some(about(None)));
            for (place, slot) in provider.keys.iter().enumerate() {
                see((None, Some(place)), slot.rest.own(now), &|| Some(Failing { key: Some(key(place)?), ..about(None) }));
            }
            for target in targets {
                see((Some(target.place), None), open(&target.vitals, now), &|| Some(about(Some(&target.model))));
                for (place, rest) in target.key_rests.iter().enumerate() {
                    let word = || Some(Failing { key: Some(key(place)?), ..about(Some(&target.model)) });
                    see((Some(target.place), Some(place)), rest.own(now), &word);
                }
            }
        }
        self.seen.retain(|_, seen| seen.there);
        said
    }

    /// Whether it was so before.
    fn see(&mut self, about: About, until: Moment, now: Moment) -> (Seen, bool) {
        let fresh = Seen { since: now, until, there: true };
        let seen = self.seen.entry(about).or_insert(Seen { until: Moment::START, ..fresh });
        let new = until > seen.until;
        if new {
            *seen = fresh;
        }
        seen.there = true;
        (*seen, new)
    }
}

/// Until when a breaker is open by this gateway's own finding. An operator's order is for this gateway alone.
fn open(vitals: &Vitals, now: Moment) -> Option<(Moment, bool)> {
    let published = vitals.published();
    let until = published.until.filter(|until| *until > now)?;
    (published.state == State::Open && !published.held).then_some((until, false))
}

fn ms(span: std::time::Duration) -> u64 {
    span.as_millis() as u64
}
