//! The ends of one worker's calls on their way to the provider actors: failures at once, successes in batches, since telling
//! another thread's actor after each call would cost a third of a request. Its router sends the batches; a call's end is put
//! down beside it rather than into its mailbox, which would cost another turn of it.

use std::cell::RefCell;
use std::sync::Arc;

use super::cast::Cast;
use super::provider::Reports;
use crate::health::{Outcome, Pass, Told};
use crate::telemetry::Metrics;

/// Successes that are sent before their time, so that a batch stays small.
const FULL: usize = 512;

/// See the module's text.
#[derive(Debug)]
pub struct Ends {
    cast: Arc<Cast>,
    metrics: Arc<Metrics>,
    /// What waits to be told, by the provider's place.
    waiting: RefCell<Vec<Vec<Told>>>,
}

impl Ends {
    /// Nothing waits.
    pub fn new(cast: Arc<Cast>, metrics: Arc<Metrics>) -> Self {
        Self { cast, metrics, waiting: RefCell::default() }
    }

    /// Tells a call's end to the provider at `place`.
    pub fn tell(&self, place: usize, told: Told) {
        // What moves a breaker can't wait, and takes along the successes before it, so that "in a row" means what happened.
        let routine = told.outcome == Outcome::Ok && told.by_target.pass == Pass::Normal && told.by_provider.pass == Pass::Normal;
        let now = {
            let mut all = self.waiting.borrow_mut();
            if place >= all.len() {
                all.resize_with(place + 1, Vec::new);
            }
            let waiting = &mut all[place];
            waiting.push(told);
            if !routine || waiting.len() >= FULL { std::mem::take(waiting) } else { Vec::new() }
        };
        self.send(place, now);
    }

    /// Sends everything that waits.
    pub fn send_all(&self) {
        let all: Vec<_> = self.waiting.borrow_mut().iter_mut().map(std::mem::take).collect();
        all.into_iter().enumerate().for_each(|(place, waiting)| self.send(place, waiting));
    }

    fn send(&self, place: usize, waiting: Vec<Told>) {
        let count = waiting.len() as u64;
        if count > 0 && !self.cast.tell(place, Reports(waiting)) {
            self.metrics.dropped_reports.inc_by(count);
        }
    }
}

impl Drop for Ends {
    fn drop(&mut self) {
        // Ends of calls that it takes along.
        let lost = self.waiting.get_mut().iter().map(|waiting| waiting.len() as u64).sum();
        self.metrics.dropped_reports.inc_by(lost);
    }
}
