//! Takes what another gateway says of providers and their keys: as a hint, never as this gateway's own finding. An open breaker
//! there makes a target rank last here, a key that rests there is left alone here, both for a minute at the most; then this
//! gateway finds out by itself.

use std::time::Duration;

use super::bulletin::{Book, Failing};
use crate::actors::Routes;
use crate::base::Moment;
use crate::health::{BELIEVED, Vitals};

/// Of one bulletin, so much is taken.
const MOST: usize = 1_024;

/// Takes them; gives how many were about something that is here, too.
pub(super) fn take(failing: &[Failing], routes: &Routes, book: &Book, now: Moment) -> usize {
    failing.iter().take(MOST).filter(|word| take_one(word, routes, book, now).is_some()).count()
}

fn take_one(word: &Failing, routes: &Routes, book: &Book, now: Moment) -> Option<()> {
    let (provider, targets) = routes.providers.iter().find(|(provider, _)| *provider.name == word.provider)?;
    // One of the same name that is elsewhere is another.
    if book.at(&provider.name) != Some(&word.at) {
        return None;
    }
    let target = match &word.model {
        Some(model) => Some(targets.iter().find(|target| *target.model == **model)?),
        None => None,
    };
    let (age, left) = (Duration::from_millis(word.age_ms), Duration::from_millis(word.left_ms));
    let believed = BELIEVED.checked_sub(age)?;
    let until = now.plus(left.min(believed));
    let Some(key) = &word.key else {
        let vitals: &Vitals = target.map_or(&provider.vitals, |target| &target.vitals);
        vitals.hint().failing(ago(age, now), until);
        return Some(());
    };
    let own = |name: &str| book.key(&provider.name, name) == Some(key);
    let place = match provider.keys.is_empty() {
        true => key.is_empty().then_some(0)?,
        false => provider.keys.iter().position(|slot| own(&slot.name))?,
    };
    let rest = match target {
        Some(target) => target.key_rests.get(place)?,
        None => &provider.keys.get(place)?.rest,
    };
    rest.hold_hinted(until, word.refused);
    Some(())
}

fn ago(age: Duration, now: Moment) -> Moment {
    Moment::from_micros(now.micros().saturating_sub(age.as_micros() as u64))
}

#[cfg(test)]
mod tests;
