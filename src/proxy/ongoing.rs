//! One upstream call under way: holds its claims, measures it, and tells its end exactly once, whatever ends it.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix_web::http::header::{HeaderName, HeaderValue};

use super::entry::Calls;
use super::prepared::Prepared;
use super::trace::{Leaf, Spent, Trace};
use super::worker::Worker;
use crate::access::Reservation;
use crate::actors::Answered;
use crate::base::Moment;
use crate::dialect::Usage;
use crate::health::{Admitted, InFlight, Origin, Outcome, Pass, Told};
use crate::ledger::Call;
use crate::routing::{Choice, Taken, heard, settle};

/// See the module's text. Dropped without an end it tells that the call was abandoned.
pub(super) struct Ongoing {
    worker: Rc<Worker>,
    /// Who is called.
    pub(super) taken: Taken,
    /// When the call began.
    pub(super) started: Moment,
    /// Time to its first content.
    pub(super) first_token: Option<Duration>,
    /// What it used, as its answer says.
    pub(super) used: Option<Usage>,
    /// Its own part of the request's trace, where that is traced.
    pub(super) leaf: Option<Box<Leaf>>,
    request_id: Arc<str>,
    /// To its response's head, and the status there.
    answered: Option<(Duration, u16)>,
    calls: Calls,
    reserved: Option<Reservation>,
    /// Of two calls side by side, whether the other has won.
    lost: Option<Rc<Cell<bool>>>,
    /// Gone with the call's end.
    claims: Option<Claims>,
}

/// What a call holds until its end, and is on record as.
struct Claims {
    origin: Origin,
    by_provider: Admitted,
    by_target: Admitted,
    in_flight: (InFlight, InFlight),
}

impl Ongoing {
    pub(super) fn new(worker: Rc<Worker>, choice: Choice, origin: Origin, calls: Calls) -> Self {
        let started = worker.gateway.clock.now();
        let Choice { taken, by_provider, by_target, in_flight, reserved } = choice;
        let request_id = Arc::clone(&origin.request_id);
        let leaf = calls.trace.as_ref().map(|_| Trace::leaf(&worker));
        let claims = Some(Claims { origin, by_provider, by_target, in_flight });
        Self {
            worker,
            taken,
            started,
            first_token: None,
            used: None,
            leaf,
            request_id,
            answered: None,
            calls,
            reserved,
            lost: None,
            claims,
        }
    }

    /// The same beside another: dropped after `lost` is true, it was outpaced.
    pub(super) fn beside(mut self, lost: &Rc<Cell<bool>>) -> Self {
        self.lost = Some(Rc::clone(lost));
        self
    }

    /// Its response's head is there.
    pub(super) fn responded(&mut self, status: u16) {
        self.answered = Some((self.worker.gateway.clock.now().since(self.started), status));
    }

    /// Its first content is there: a probe has shown what it was for.
    pub(super) fn answers(&mut self) {
        let Some(Claims { origin, by_provider, by_target, .. }) = &mut self.claims else { return };
        let (by_provider, by_target) = (by_provider.answered(), by_target.answered());
        if by_provider.is_some() || by_target.is_some() {
            let target = &self.taken.target;
            let told = Answered { origin: origin.clone(), by_provider, by_target };
            // A full mailbox drops the report, and the permits with it.
            if !self.worker.gateway.cast.tell(target.provider.place, told) {
                self.worker.gateway.metrics.dropped_reports.inc();
            }
        }
    }

    /// The id of the request that it is made for.
    pub(super) fn request_id(&self) -> &str {
        &self.request_id
    }

    /// The call goes on elsewhere: what is left here has nothing to tell any more.
    pub(super) fn handed_over(&mut self) -> Self {
        Self {
            worker: Rc::clone(&self.worker),
            taken: self.taken.clone(),
            started: self.started,
            first_token: self.first_token,
            used: self.used,
            leaf: self.leaf.take(),
            request_id: Arc::clone(&self.request_id),
            answered: self.answered,
            calls: self.calls.clone(),
            reserved: self.reserved.take(),
            lost: None,
            claims: self.claims.take(),
        }
    }

    /// Tells the call's end.
    pub(super) fn end(&mut self, outcome: Outcome, message: &str) {
        let Some(Claims { origin, by_provider, by_target, in_flight }) = self.claims.take() else { return };
        // Not counted in flight any more once its end is known; the permits go with the report.
        drop(in_flight);
        let now = self.worker.gateway.clock.now();
        heard(&self.taken, &outcome, self.started, now);
        if let Some(reserved) = self.reserved.take() {
            settle(reserved, &outcome, self.used.map(|used| used.total()), now);
        }
        // The first one's success is told by the request's own row.
        if self.calls.are_kept() && !(origin.attempt == 1 && outcome == Outcome::Ok) {
            self.calls.keep(self.call(&origin, &outcome, by_target.pass, now));
        }
        self.trace(&origin, &outcome, by_target.pass, now);
        let target = &self.taken.target;
        self.worker.edition.target_metrics[target.provider.place][target.place].ended(&outcome, self.first_token);
        let told = Told {
            origin,
            target: Arc::clone(&target.vitals),
            key: self.taken.key.and_then(|place| target.provider.keys.get(place)).map(|key| Arc::clone(&key.rest)),
            outcome,
            at: now,
            latency: now.since(self.started),
            first_token: self.first_token,
            first_token_limit: target.timeouts.first_token,
            message: message.to_owned(),
            by_provider,
            by_target,
        };
        self.worker.tell(target.provider.place, told);
    }
}

impl Ongoing {
    /// The headers that it is sent with, where they aren't those that pass: with its place in the request's trace.
    pub(super) fn headers(&mut self, request: &Prepared, passing: &[(HeaderName, HeaderValue)]) -> Option<Vec<(HeaderName, HeaderValue)>> {
        let (trace, leaf) = (self.calls.trace.as_ref()?, self.leaf.as_mut()?);
        Some(trace.headers(leaf, passing, request.upstream_model(&self.taken.target), request.scan.max_tokens))
    }

    fn trace(&self, origin: &Origin, outcome: &Outcome, pass: Pass, now: Moment) {
        let (Some(trace), Some(leaf)) = (&self.calls.trace, &self.leaf) else { return };
        let settings = self.worker.edition.settings.providers.get(&*self.taken.target.provider.name);
        let spent = Spent { base_url: settings.map_or("", |provider| &provider.base_url), stream: origin.stream, used: self.used };
        trace.called(leaf, &self.call(origin, outcome, pass, now), &spent);
    }

    /// Its row in the ledger.
    fn call(&self, origin: &Origin, outcome: &Outcome, pass: Pass, now: Moment) -> Call {
        let micros = |time: Duration| time.as_micros() as u64;
        let kind = match outcome {
            Outcome::Transient(failure) => Some(failure.name()),
            _ => None,
        };
        Call {
            place: origin.attempt,
            provider: Arc::clone(&self.taken.target.provider.name),
            key: origin.key.clone(),
            model: Arc::clone(&origin.target),
            start_us: micros(self.worker.gateway.clock.wall_at(self.started)),
            outcome: outcome.label().into(),
            kind,
            status: self.answered.map(|(_, status)| status),
            head_us: self.answered.map(|(head, _)| micros(head)),
            first_token_us: self.first_token.map(micros),
            total_us: micros(now.since(self.started)),
            breaker: pass.name().into(),
            hedge: origin.hedge,
        }
    }
}

impl Drop for Ongoing {
    fn drop(&mut self) {
        let outpaced = self.lost.take().is_some_and(|lost| lost.get());
        self.end(Outcome::Abandoned, if outpaced { "another target answered first" } else { "the caller left" });
    }
}
