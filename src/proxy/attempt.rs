//! One upstream call, from the request's head to a whole answer or a stream's first content: its clocks, and the rule that
//! awc's word for the end of a body is never proof that it is whole.

mod opening;
mod passed;
mod refusal;
mod words;

pub(super) use opening::cut_off;
pub(super) use words::{describe, message_of};

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;

use super::client::{Call, Response};
use super::failover::Whole;
use super::fault::Fault;
use super::foreign::Foreign;
use super::form::Form;
use super::live::Live;
use super::ongoing::Ongoing;
use super::pipe::Pipe;
use super::prepared::{Asked, Prepared};
use super::reckoning::whole;
use super::recovery::Leg;
use super::socket::unless_cut;
use super::watch::Watch;
use super::worker::Worker;
use crate::base::{Dollars, Moment, Tariff};
use crate::dialect::endpoint::Reply;
use crate::dialect::fault::error_in_answer;
use crate::dialect::scan::{Answer, NotJson, answer, error_parts, rewritten, rewritten_with_usage, usage_span};
use crate::dialect::{Source, Usage, Wire, with_cost};
use crate::health::{Failure, Outcome};
use crate::routing::told;

/// A larger answer is scanned off the worker's thread.
const LARGE: usize = 1 << 20;
/// Where Responses are asked for, of those who speak them.
const RESPONSES: &str = "/responses";

/// How a call ended, or that it goes on as a stream.
pub(super) enum Ended {
    /// A whole answer.
    Whole(Whole),
    /// A stream whose first content is there.
    Stream(Box<Live>),
    /// Bytes of any kind, the first of which are there.
    Piped(Box<Pipe>),
    /// No answer.
    Failed {
        /// What it means.
        outcome: Outcome,
        /// In words without secrets.
        message: String,
        /// The upstream's own answer, where the caller may see it.
        passed: Option<Fault>,
    },
}

/// A call's failure on its way out.
struct Failing {
    outcome: Outcome,
    message: String,
    passed: Option<Fault>,
    /// What it refused is the question for the usage, which the caller didn't ask.
    usage_unwanted: bool,
}

impl Failing {
    fn new(outcome: Outcome, message: impl Into<String>) -> Self {
        Self { outcome, message: message.into(), passed: None, usage_unwanted: false }
    }

    /// The target is well: it only can't go on with what another one said.
    fn differs() -> Self {
        Self::new(Outcome::Abandoned, "says something else than was said")
    }
}

impl From<Failure> for Failing {
    fn from(failure: Failure) -> Self {
        Self::new(Outcome::Transient(failure), describe(failure))
    }
}

/// One call under its clocks.
pub(super) struct Attempt<'a> {
    worker: &'a Rc<Worker>,
    request: &'a Prepared,
    ongoing: Ongoing,
    watch: Watch,
    deadline: Moment,
    /// What it takes to speak to a target of another dialect.
    foreign: Option<Box<Foreign>>,
    /// What it is to go on with; None: nothing was said yet.
    leg: Option<Leg>,
    /// When its first content came.
    first_content: Option<Moment>,
}

impl<'a> Attempt<'a> {
    pub(super) fn new(
        worker: &'a Rc<Worker>,
        request: &'a Prepared,
        ongoing: Ongoing,
        foreign: Option<Box<Foreign>>,
        deadline: Moment,
    ) -> Self {
        let watch = Watch::new(worker.gateway.clock);
        Self { worker, request, ongoing, watch, deadline, foreign, leg: None, first_content: None }
    }

    /// A call that is to go on with what another one said.
    pub(super) fn onward(worker: &'a Rc<Worker>, request: &'a Prepared, ongoing: Ongoing, deadline: Moment, mut leg: Leg) -> Self {
        let foreign = leg.foreign.take();
        Self { leg: Some(leg), ..Self::new(worker, request, ongoing, foreign, deadline) }
    }

    /// Makes the call. Once: what it ended with is told.
    pub(super) async fn run(&mut self) -> Ended {
        match self.answer().await {
            Ok(Ended::Whole(whole)) => {
                self.ongoing.end(Outcome::Ok, "");
                Ended::Whole(whole)
            }
            // A stream's reader owns the call by now.
            Ok(other) => other,
            Err(Failing { outcome, message, passed, .. }) => {
                self.ongoing.end(outcome.clone(), &message);
                Ended::Failed { outcome, message, passed }
            }
        }
    }

    /// What few requests come to is boxed: a request's future is as large as its largest state, and is copied when it begins.
    async fn answer(&mut self) -> Result<Ended, Failing> {
        let mut response = self.head().await?;
        if response.status != 200 {
            let failing = Box::pin(self.refusal(response)).await;
            if !failing.usage_unwanted {
                return Err(failing);
            }
            // What it refused is what the gateway added: the request itself is still to be asked.
            if self.foreign.is_some() {
                let again = Foreign::at(self.worker, self.request, &self.ongoing.taken.target, None).await;
                self.foreign = again.map_err(|unfit| Failing::new(Outcome::CallerFault, unfit.to_string()))?;
            }
            response = self.head().await?;
            if response.status != 200 {
                let failing = Box::pin(self.refusal(response)).await;
                // It wasn't that, then: the refusal only quoted its name, and a caller can make any upstream do so.
                if failing.outcome == Outcome::CallerFault
                    && let Some(upstream) = self.worker.upstream(self.ongoing.taken.target.provider.place)
                {
                    upstream.ask_usage_again();
                }
                return Err(failing);
            }
        }
        if self.request.scan.stream {
            Box::pin(self.first_content(response)).await
        } else if self.is_piped(&response) {
            Box::pin(self.piped(response)).await
        } else {
            self.whole(&mut response).await.map(Ended::Whole)
        }
    }

    async fn head(&mut self) -> Result<Response, Failing> {
        let request = self.request;
        let (target, key) = (Arc::clone(&self.ongoing.taken.target), self.ongoing.taken.key);
        let timeouts = &target.timeouts;
        let upstream = self.worker.upstream(target.provider.place).ok_or(Failure::Connect)?;
        let (scan, model) = (&request.scan, request.upstream_model(&target));
        let form = request.form.as_ref().map(|kind| Form::new(&request.body, scan, model, kind));
        let body = match (&self.leg, &self.foreign) {
            _ if form.is_some() => Bytes::new(),
            (Some(leg), _) => leg.body.clone(),
            (None, Some(foreign)) => foreign.body.clone(),
            (None, None) if scan.stream && request.wire == Wire::OpenAi && upstream.tells_usage() => {
                rewritten_with_usage(&request.body, scan, model)
            }
            (None, None) => rewritten(&request.body, scan, model),
        };
        let base = self.leg.as_ref().and_then(|leg| leg.path.clone());
        let base = base.as_deref();
        // Made for one call.
        let own = self.foreign.as_mut().map(|foreign| std::mem::take(&mut foreign.headers));
        let headers = own.as_ref().unwrap_or(&request.headers);
        let native = request.wire == Wire::Responses && self.foreign.is_none();
        let traced = self.ongoing.headers(request, headers);
        let headers = traced.as_ref().unwrap_or(headers);
        let path = match request.asked {
            Asked::Chat if native => Cow::Borrowed(RESPONSES),
            Asked::Chat => upstream.dialect().chat_path(model, scan.stream),
            // Of other targets it isn't asked: see `foreign`.
            Asked::Tokens => upstream.dialect().count_path(model).unwrap_or_default(),
            Asked::Passed(endpoint) => Cow::Borrowed(endpoint.row().path),
        };
        // There Azure names no deployment in its path.
        let model = if native { "" } else { model };
        let call = Call { path: &path, model, base, body, form, key, headers, connect: timeouts.connect };
        let (at, late) = if request.scan.stream && timeouts.first_token < timeouts.first_byte {
            (timeouts.first_token, Failure::FirstTokenTimeout)
        } else {
            (timeouts.first_byte, Failure::HeadTimeout)
        };
        let at = self.ongoing.started.plus(at);
        let (result, stale) = self.before(at, late, pin!(upstream.call(&call))).await?;
        if stale > 0 {
            self.worker.gateway.metrics.stale_reuse.inc_by(u64::from(stale));
        }
        let response = result?;
        self.ongoing.responded(response.status);
        // A 429 has a better word for it.
        if let Some(quota) = response.head.quota().filter(|_| response.status != 429) {
            let clock = self.worker.gateway.clock;
            quota.said(clock.wall()).into_iter().for_each(|said| told(&self.ongoing.taken, &said, clock.now()));
        }
        Ok(response)
    }

    /// When the target's own time for a whole call is over. Where it is less than the request has, others get what is left.
    fn own_deadline(&self) -> Moment {
        self.ongoing.started.plus(self.ongoing.taken.target.timeouts.total)
    }

    /// Waits for `work` until a clock of the target's, or the request's own deadline, passes.
    async fn before<T>(&mut self, at: Moment, late: Failure, mut work: Pin<&mut impl Future<Output = T>>) -> Result<T, Failing> {
        let own = self.own_deadline();
        let first = at.min(own).min(self.deadline);
        let watch = &mut self.watch;
        let done = poll_fn(|cx| match work.as_mut().poll(cx) {
            Poll::Ready(done) => Poll::Ready(Some(done)),
            Poll::Pending => watch.poll(first, cx).map(|()| None),
        });
        match done.await {
            Some(done) => Ok(done),
            // The caller's patience says nothing about the target.
            None if self.deadline < at && self.deadline <= own => Err(Failing::new(Outcome::Abandoned, "the request's time was over")),
            None if own < at => Err(Failure::TotalTimeout.into()),
            None => Err(late.into()),
        }
    }

    /// Reads a body whole, up to `most` bytes.
    async fn read(&mut self, response: &mut Response, most: usize, idle: Duration) -> Result<Bytes, Failing> {
        let (mut first, mut rest) = (Bytes::new(), BytesMut::new());
        loop {
            let at = self.worker.gateway.clock.now().plus(idle);
            match self.before(at, Failure::IdleTimeout, pin!(response.body.next())).await? {
                None => break,
                Some(Err(failure)) => return Err(failure.into()),
                Some(Ok(piece)) if first.len().max(rest.len()) + piece.len() > most => return Err(Failure::TooLarge.into()),
                Some(Ok(piece)) if first.is_empty() => first = piece,
                Some(Ok(piece)) => {
                    if rest.is_empty() {
                        rest.extend_from_slice(&first);
                    }
                    rest.extend_from_slice(&piece);
                }
            }
        }
        let body = if rest.is_empty() { first } else { rest.freeze() };
        if response.head.promised().is_some_and(|count| count != body.len()) {
            return Err(Failure::Truncated.into());
        }
        Ok(body)
    }

    async fn whole(&mut self, response: &mut Response) -> Result<Whole, Failing> {
        if !response.head.is_readable() {
            return Err(Failure::ContentType.into());
        }
        let idle = self.ongoing.taken.target.timeouts.idle;
        let words = self.is_in_words(response);
        if words && !response.ends_by_closing {
            let body = std::mem::replace(&mut response.body, Box::pin(futures_util::stream::empty()));
            response.body = unless_cut(body);
        }
        let body = self.read(response, self.worker.edition.settings.server.max_response, idle).await?;
        if words {
            return self.in_words(response, body);
        }
        let (body, seen) = match self.translated(response, &body).await? {
            // What was written here needn't be read again.
            Some((body, usage)) => (body, Ok(Answer::written(usage))),
            None if body.len() <= LARGE => (body.clone(), answer(&body)),
            None => {
                // Other requests of this worker don't wait for it.
                let scanned = body.clone();
                let scanned = actix_rt::task::spawn_blocking(move || answer(&scanned)).await;
                (body, scanned.map_err(|_| Failing::from(Failure::Malformed))?)
            }
        };
        // No call uses nothing: an answer that says so was translated from one that said nothing.
        let told = seen.as_ref().ok().and_then(|seen| seen.usage).filter(|usage| self.foreign.is_none() || usage.total() > 0);
        self.check_answer(response, &body, seen)?;
        self.ongoing.used = told;
        let used = match (self.request.asked, told) {
            // To count costs nothing.
            (Asked::Tokens, _) => (Usage::default(), Source::Exact),
            (Asked::Chat | Asked::Passed(_), Some(usage)) => (usage, Source::Exact),
            (Asked::Chat | Asked::Passed(_), None) => (whole(self.request, &self.ongoing.taken.target, &body).await, Source::Estimated),
        };
        let target = &self.ongoing.taken.target;
        let metered = told.is_some() || self.is_metered();
        let cost = if metered { self.worker.cost(target, self.request.upstream_model(target), &used.0) } else { None };
        let shown =
            cost.filter(|_| told.is_some() && self.request.wire != Wire::Gemini && self.worker.edition.settings.telemetry.cost_in_usage);
        let body = match (shown, shown.and_then(|_| usage_span(&body))) {
            (Some(cost), Some(span)) => {
                let object = with_cost(&body[span.clone()], Dollars(cost));
                [&body[..span.start], &object, &body[span.end..]].concat().into()
            }
            _ => body,
        };
        Ok(Whole { body, used, cost, content_type: None, metered })
    }

    /// An answer of another dialect in the caller's, and what it used where it says that; None for what is read as it is.
    async fn translated(&self, response: &Response, body: &Bytes) -> Result<Option<(Bytes, Option<Usage>)>, Failing> {
        let Some(foreign) = self.foreign.as_ref().filter(|_| !body.is_empty()) else { return Ok(None) };
        let unreadable = if response.head.is_html() { Failure::ContentType } else { Failure::Malformed };
        foreign.answer(&self.request.body, body).await.map_err(|_| unreadable.into())
    }

    /// What the target's tokens cost, to be kept.
    fn tariff(&self) -> Option<Arc<Tariff>> {
        let target = &self.ongoing.taken.target;
        self.worker.tariff(target, self.request.upstream_model(target))
    }

    /// Whether a 200's body is an answer.
    fn check_answer(&self, response: &Response, body: &[u8], seen: Result<Answer, NotJson>) -> Result<(), Failing> {
        if body.is_empty() {
            return Err(Failure::Truncated.into());
        }
        let Ok(seen) = seen else {
            return Err(if response.head.is_html() { Failure::ContentType } else { Failure::Malformed }.into());
        };
        if seen.error.is_some() {
            let outcome = error_in_answer(&error_parts(body), self.codes());
            return Err(Failing::new(outcome, describe(Failure::ErrorBody)));
        }
        let whole = match (self.request.asked, self.request.wire) {
            (Asked::Tokens, Wire::Gemini) => memchr::memmem::find(body, b"\"totalTokens\"").is_some(),
            (Asked::Tokens, _) => memchr::memmem::find(body, b"\"input_tokens\"").is_some(),
            (Asked::Chat, wire) => wire.is_answer(&seen),
            (Asked::Passed(endpoint), _) => match endpoint.row().reply {
                Reply::Json(shown) => shown(&seen),
                Reply::Words | Reply::Bytes => true,
            },
        };
        if whole { Ok(()) } else { Err(Failure::Malformed.into()) }
    }

    fn codes(&self) -> &BTreeMap<String, String> {
        self.worker.codes(&self.ongoing.taken.target)
    }
}
