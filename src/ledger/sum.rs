//! Sums of rows by hour and by what they are asked by, so that a question about millions of rows reads a few.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::entry::Entry;

/// Microseconds of an hour.
const HOUR: u64 = 3_600_000_000;

/// What is summed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Requests.
    pub requests: i64,
    /// Of those, the ones that failed as their caller saw it.
    pub errors: i64,
    /// Tokens of prompts.
    pub tokens_in: i64,
    /// Tokens of answers.
    pub tokens_out: i64,
    /// Of the prompts', the cached ones.
    pub tokens_cached: i64,
    /// Of the answers', the reasoning.
    pub tokens_reasoning: i64,
    /// Nano-dollars, where prices are known.
    pub cost: i64,
    /// Requests that used something of unknown price.
    pub unpriced: i64,
}

impl Counts {
    /// Of one row.
    pub fn of(entry: &Entry) -> Self {
        let count = |tokens: u64| i64::try_from(tokens).unwrap_or(i64::MAX);
        Self {
            requests: 1,
            errors: entry.failed().into(),
            tokens_in: count(entry.tokens_in),
            tokens_out: count(entry.tokens_out),
            tokens_cached: count(entry.tokens_cached),
            tokens_reasoning: count(entry.tokens_reasoning),
            cost: entry.cost.unwrap_or(0),
            unpriced: entry.unpriced().into(),
        }
    }

    /// In the order of the store's columns.
    pub fn columns(&self) -> [i64; 8] {
        let Self { requests, errors, tokens_in, tokens_out, tokens_cached, tokens_reasoning, cost, unpriced } = *self;
        [requests, errors, tokens_in, tokens_out, tokens_cached, tokens_reasoning, cost, unpriced]
    }

    /// From [`Counts::columns`].
    pub fn from_columns([requests, errors, tokens_in, tokens_out, tokens_cached, tokens_reasoning, cost, unpriced]: [i64; 8]) -> Self {
        Self { requests, errors, tokens_in, tokens_out, tokens_cached, tokens_reasoning, cost, unpriced }
    }
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        let (mut sum, other) = (self.columns(), other.columns());
        for (sum, other) in sum.iter_mut().zip(other) {
            *sum = sum.saturating_add(other);
        }
        *self = Self::from_columns(sum);
    }
}

/// What rows are summed by. The order is that in which a store is told of them: two gateways that wait for each other's rows
/// would wait for ever in different ones.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Group {
    /// Hours since the Unix epoch.
    pub hour: i64,
    /// The key's id; empty in open mode.
    pub key_id: Arc<str>,
    /// The public model.
    pub model: Arc<str>,
    /// Who served; empty: nobody.
    pub provider: Arc<str>,
    /// The key's name.
    pub key_name: Arc<str>,
}

/// The sums of some rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    /// By what every row has.
    pub groups: BTreeMap<Group, Counts>,
    /// By hour and tag.
    pub tags: BTreeMap<(i64, String), Counts>,
}

/// Sums rows up.
pub fn by_group<'a>(entries: impl Iterator<Item = &'a Entry>) -> Sums {
    let mut sums = Sums::default();
    // Rows that follow one another are mostly of the same: its sum is looked up once.
    let mut last: Option<(Of<'a>, Counts)> = None;
    for entry in entries {
        let (of, counts) = (Of::row(entry), Counts::of(entry));
        for tag in entry.tags.iter().flat_map(|tags| tags.split(',')) {
            *sums.tags.entry((of.hour, tag.to_owned())).or_default() += counts;
        }
        match &mut last {
            Some((same, sum)) if *same == of => *sum += counts,
            _ => {
                let before = last.replace((of, counts));
                before.into_iter().for_each(|(of, sum)| of.add(sum, &mut sums));
            }
        }
    }
    last.into_iter().for_each(|(of, sum)| of.add(sum, &mut sums));
    sums
}

/// A row's group, as it lies in the row.
#[derive(PartialEq, Eq)]
struct Of<'a> {
    hour: i64,
    key_id: &'a str,
    model: &'a str,
    provider: &'a str,
    key_name: &'a str,
}

impl<'a> Of<'a> {
    fn row(entry: &'a Entry) -> Self {
        let (key_id, key_name) = entry.key.as_ref().map_or(("", ""), |key| (&*key.id, &*key.name));
        let provider = entry.provider.as_deref().unwrap_or_default();
        Self { hour: hour_of(entry.time_us), key_id, model: &entry.model, provider, key_name }
    }

    fn add(self, counts: Counts, sums: &mut Sums) {
        let Self { hour, key_id, model, provider, key_name } = self;
        let group = Group { hour, key_id: key_id.into(), model: model.into(), provider: provider.into(), key_name: key_name.into() };
        *sums.groups.entry(group).or_default() += counts;
    }
}

/// The hour of a time in microseconds since the Unix epoch.
pub fn hour_of(time_us: u64) -> i64 {
    i64::try_from(time_us / HOUR).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::Key;

    fn entry(time_us: u64, cost: Option<i64>) -> Entry {
        let key = Some(Key { id: "k".into(), name: "team".into() });
        Entry { time_us, cost, key, model: "m".into(), tokens_in: 3, tags: Some("a=1,b=2".into()), status: 200, ..Entry::default() }
    }

    #[test]
    fn rows_add_up() {
        let rows = [entry(5, Some(7)), entry(HOUR - 1, None), entry(HOUR, Some(1))];
        let sums = by_group(rows.iter());
        let again = by_group([&rows[0], &rows[2], &rows[1]].into_iter());
        assert_eq!(sums, again, "their order doesn't matter");
        let counts: Vec<_> =
            sums.groups.iter().map(|(group, counts)| (group.hour, counts.requests, counts.cost, counts.unpriced)).collect();
        assert_eq!(counts, [(0, 2, 7, 1), (1, 1, 1, 0)]);
        let tags: Vec<_> = sums.tags.iter().map(|((hour, tag), counts)| (*hour, tag.as_str(), counts.tokens_in)).collect();
        assert_eq!(tags, [(0, "a=1", 6), (0, "b=2", 6), (1, "a=1", 3), (1, "b=2", 3)]);
    }

    #[test]
    fn sums_never_wrap() {
        let mut most = Counts { cost: i64::MAX, ..Counts::default() };
        most += Counts { cost: 5, requests: 1, ..Counts::default() };
        assert_eq!((most.cost, most.requests), (i64::MAX, 1));
        assert_eq!(Counts::from_columns(most.columns()), most);
    }
}
