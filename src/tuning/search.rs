//! Looks for thresholds that would have done better: one key after the other, over values that an operator could mean, until
//! no single change helps any more. The same record gives the same finds.

use std::collections::HashMap;
use std::ops::Range;

use super::figures::{Figures, cost, figures};
use super::house::Rule;
use super::scene::Scene;
use super::thresholds;
use super::variant::{Change, is_consistent};
use crate::health::Outcome;

/// What is tried for each key. Beyond these lie settings that no outage makes wise.
const VALUES: [(&str, &[&str]); 9] = [
    ("open_for", &["1s", "2s", "3s", "5s", "10s", "15s", "20s", "30s", "60s"]),
    ("open_for_max", &["2s", "5s", "10s", "20s", "40s", "60s", "2m"]),
    ("consecutive_failures", &["2", "3", "4", "5", "8", "12"]),
    ("failure_ratio", &["0.2", "0.3", "0.5", "0.7"]),
    ("minimum_requests", &["5", "10", "20", "40"]),
    ("window", &["10s", "20s", "30s", "60s", "2m"]),
    ("close_after", &["1", "2", "3", "5"]),
    ("half_open_probes", &["1", "2", "3", "5"]),
    ("ramp", &["0s", "2s", "5s", "10s", "30s"]),
];
/// Times that all keys are gone through.
const ROUNDS: usize = 3;
/// Requests that each try plays: of a longer record, the stretch with the most failures.
const MOST: usize = 50_000;

/// Which value each key has: 0 for the one in force, else its place in the list, from 1.
type Point = [usize; VALUES.len()];

/// What a search has found.
#[derive(Clone, Debug)]
pub struct Found {
    /// What to change.
    pub changes: Vec<Change>,
    /// What comes of it, over the whole record.
    pub figures: Figures,
}

/// The best that was found, and the best of those that change only two keys, and one; only those that beat what is in
/// force, best first. `progress` is told after each try how many there were.
pub fn search(scene: &Scene, rules: &[Rule], progress: impl FnMut(usize)) -> Vec<Found> {
    let mut search = Search { scene, rules, stretch: stretch(scene), tried: HashMap::new(), progress };
    let start = Point::default();
    let single = search.single();
    for from in [start, single] {
        let best = search.descend(from);
        search.prune(best);
    }
    let limit = search.cost(&start).unwrap_or(u64::MAX);
    let mut points: Vec<Point> = Vec::new();
    for most in [VALUES.len(), 2, 1] {
        let point = search.best(most, limit);
        points.extend(point.filter(|point| !points.contains(point)));
    }
    let found = points.iter().filter_map(|point| {
        let changed = search.rules(point)?;
        Some(Found { changes: changes(point), figures: figures(scene, &changed) })
    });
    let now = figures(scene, rules).cost();
    let mut found: Vec<_> = found.filter(|found| found.figures.cost() < now).collect();
    found.sort_by_key(|found| found.figures.cost());
    found
}

struct Search<'a, P> {
    scene: &'a Scene,
    rules: &'a [Rule],
    stretch: Range<usize>,
    /// None: the settings would refuse it.
    tried: HashMap<Point, Option<u64>>,
    progress: P,
}

impl<P: FnMut(usize)> Search<'_, P> {
    fn rules(&self, point: &Point) -> Option<Vec<Rule>> {
        let mut rules = self.rules.to_vec();
        for rule in &mut rules {
            for ((key, values), place) in VALUES.iter().zip(point).filter(|(_, place)| **place > 0) {
                thresholds::set(&mut rule.thresholds, key, values[place - 1])?;
            }
        }
        rules.iter().all(is_consistent).then_some(rules)
    }

    fn cost(&mut self, point: &Point) -> Option<u64> {
        if let Some(known) = self.tried.get(point) {
            return *known;
        }
        let cost = self.rules(point).map(|rules| cost(self.scene, &rules, self.stretch.clone()));
        self.tried.insert(*point, cost);
        (self.progress)(self.tried.len());
        cost
    }

    /// The best change of one key alone.
    fn single(&mut self) -> Point {
        let mut best = Point::default();
        for (key, (_, values)) in VALUES.iter().enumerate() {
            for place in 1..=values.len() {
                let mut point = Point::default();
                point[key] = place;
                best = self.better(point, best);
            }
        }
        best
    }

    /// The one that costs less; of equals the second.
    fn better(&mut self, point: Point, best: Point) -> Point {
        let (cost, least) = (self.cost(&point), self.cost(&best));
        if cost.is_some_and(|cost| least.is_none_or(|least| cost < least)) { point } else { best }
    }

    fn descend(&mut self, mut best: Point) -> Point {
        for _ in 0..ROUNDS {
            let before = best;
            for key in 0..VALUES.len() {
                for place in 0..=VALUES[key].1.len() {
                    let mut point = best;
                    point[key] = place;
                    best = self.better(point, best);
                }
            }
            if best == before {
                break;
            }
        }
        best
    }

    /// Takes back every change that does no good.
    fn prune(&mut self, mut best: Point) {
        for key in 0..VALUES.len() {
            let mut point = best;
            point[key] = 0;
            best = self.better(best, point);
        }
    }

    /// The best of all that was tried with so many changes at most, if it beats `limit`: of equals the one that changes
    /// least.
    fn best(&self, most: usize, limit: u64) -> Option<Point> {
        let changes = |point: &Point| point.iter().filter(|place| **place > 0).count();
        let good = self.tried.iter().filter_map(|(point, cost)| Some(((*cost)?, changes(point), *point)));
        let best = good.filter(|(cost, count, _)| *cost < limit && *count <= most).min();
        best.map(|(.., point)| point)
    }
}

fn changes(point: &Point) -> Vec<Change> {
    let changed = VALUES.iter().zip(point).filter(|(_, place)| **place > 0);
    changed.map(|((key, values), place)| Change { provider: None, key: (*key).into(), value: values[place - 1].into() }).collect()
}

/// The requests that are played: all, or as many as can be of those that met the most failures.
fn stretch(scene: &Scene) -> Range<usize> {
    let count = scene.requests.len();
    if count <= MOST {
        return 0..count;
    }
    let failed = |request: usize| scene.own_calls(request).any(|call| call.outcome != Outcome::Ok);
    let failed: Vec<u64> = (0..count).map(|request| u64::from(failed(request))).collect();
    let mut sum: u64 = failed[..MOST].iter().sum();
    let (mut best, mut begin) = (sum, 0);
    for end in MOST..count {
        sum = sum + failed[end] - failed[end - MOST];
        if sum > best {
            (best, begin) = (sum, end + 1 - MOST);
        }
    }
    begin..begin + MOST
}
