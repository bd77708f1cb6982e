//! Drives a request along its chain: pick, attempt, and what the plan says of a failure, until something is answered or
//! nothing is left to try.

mod hedge;

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::attempt::{Attempt, Ended};
use super::fault::Fault;
use super::foreign::Foreign;
use super::live::Live;
use super::ongoing::Ongoing;
use super::pipe::Pipe;
use super::prepared::{Asked, Prepared};
use super::record::{Calling, Record};
use super::worker::Worker;
use crate::access::least_tokens;
use crate::actors::Pick;
use crate::dialect::{Source, Usage};
use crate::health::{Failure, Origin, Outcome, Pass};
use crate::routing::{Around, Ask, Choice, Failed, Next, NoTarget, Onward, Plan, Stop, Taken, Tried, servable};
use crate::telemetry::Refused;

/// Where no target can be tried and nobody says for how long.
const SHORT_WAIT: Duration = Duration::from_secs(1);

/// A whole answer.
#[derive(Debug)]
pub struct Whole {
    /// Its body, as it came.
    pub body: Bytes,
    /// What it used, and how well that is known.
    pub used: (Usage, Source),
    /// What that cost, in nano-dollars, where its price is known.
    pub cost: Option<i64>,
    /// Its content type, where it isn't JSON.
    pub content_type: Option<String>,
    /// Whether what it used can be known at all: what pictures and sound cost only their vendor can say.
    pub metered: bool,
}

/// What a target answered.
pub enum Served {
    /// A whole answer.
    Whole(Whole),
    /// A stream whose first content is there.
    Stream(Stream),
    /// Bytes of any kind, the first of which are there.
    Piped(Box<Pipe>),
}

/// A stream on its way, and whom to ask next should it break.
pub struct Stream {
    pub(super) live: Box<Live>,
    pub(super) onward: Onward,
}

/// Runs a request along its chain.
///
/// # Errors
/// Where no target could serve it.
pub async fn run(worker: &Rc<Worker>, request: &Prepared, record: &mut Record) -> Result<Served, Fault> {
    let (budgets, retry) = (&request.chain.budgets, &request.chain.retry);
    budgets.extra.earn(retry.budget_ratio);
    if retry.hedge.is_some() {
        budgets.hedges.earn(retry.hedge_ratio);
    }
    let plan = Plan::new(retry.clone(), request.deadline);
    let plan = if request.asked.is_billed_once() { plan.billed_once() } else { plan };
    Drive { worker, request, record, plan, only: None, repeats: false, unfit: Vec::new(), dropped: Vec::new(), kept: None, last: None }
        .run()
        .await
}

/// What a call is on record as.
pub(super) fn origin(request: &Prepared, taken: &Taken, attempt: u32) -> Origin {
    let key = taken.key.and_then(|place| taken.target.provider.keys.get(place));
    Origin {
        request_id: Arc::clone(&request.id),
        model: Arc::clone(&request.chain.model),
        attempt,
        stream: request.scan.stream,
        hedge: false,
        target: Arc::clone(&taken.target.model),
        key: key.map(|key| Arc::clone(&key.name)),
    }
}

struct Drive<'a> {
    worker: &'a Rc<Worker>,
    request: &'a Prepared,
    record: &'a mut Record,
    plan: Plan,
    /// The target to be asked again,
    only: Option<Taken>,
    /// and whether by the same key: a repeat, once it is made.
    repeats: bool,
    /// Targets whose dialect can't say what is asked, and why.
    unfit: Vec<(String, String)>,
    /// What was left out for targets of another dialect, by their number.
    dropped: Vec<(usize, Vec<String>)>,
    /// The first upstream answer that the caller may see, should nothing serve.
    kept: Option<Fault>,
    last: Option<Outcome>,
}

impl<'a> Drive<'a> {
    async fn run(&mut self) -> Result<Served, Fault> {
        loop {
            let only = self.only.as_ref().map(|taken| taken.number);
            let choice = match self.pick(&self.plan.tried, only, !self.plan.last_resort_used && only.is_none()).await {
                Ok(choice) => choice,
                Err(no_target) => match self.only.take() {
                    // Its gate closed meanwhile, or it has no other key.
                    Some(taken) => match self.plan.leave(&taken) {
                        Next::Stop(_) => return Err(self.final_fault(None)),
                        Next::OtherTarget | Next::OtherKey | Next::Repeat { .. } => continue,
                    },
                    None => return Err(self.final_fault(Some(&no_target))),
                },
            };
            let Some((choice, foreign)) = self.fitting(choice).await else {
                self.only = None;
                continue;
            };
            self.plan.last_resort_used |= choice.by_target.pass == Pass::LeastBad || choice.by_provider.pass == Pass::LeastBad;
            self.plan.calling();
            if std::mem::take(&mut self.repeats) && self.only.is_some() {
                self.worker.gateway.metrics.retry(self.plan.failures.last().map_or("", |failed| &failed.name));
            }
            let hedge_at = self.hedge_at(&choice);
            self.record.attempts += 1;
            let ongoing = self.ongoing(choice, false);
            let before = ongoing.started;
            self.record.calling = [self.calling(&ongoing.taken), None];
            let (taken, ended) = match hedge_at {
                None => (ongoing.taken.clone(), self.attempt(ongoing, foreign).run().await),
                Some(at) => Box::pin(self.hedged(ongoing, foreign, at)).await,
            };
            self.record.upstream_us += self.worker.gateway.clock.now().since(before).as_micros() as u64;
            self.record.calling = [None, None];
            match ended {
                Ended::Whole(whole) => {
                    self.record.served(&taken);
                    self.record.spent(whole.used, whole.cost);
                    self.record.unmetered = !whole.metered;
                    self.told_dropped(&taken);
                    return Ok(Served::Whole(whole));
                }
                Ended::Stream(live) => {
                    self.record.served(live.taken());
                    self.told_dropped(live.taken());
                    return Ok(Served::Stream(Stream { live, onward: self.plan.onward() }));
                }
                Ended::Piped(pipe) => {
                    self.record.served(pipe.taken());
                    let input = self.request.scan.prompt_tokens();
                    self.record.spent((Usage { input, ..Usage::default() }, Source::Estimated), None);
                    self.record.unmetered = true;
                    return Ok(Served::Piped(pipe));
                }
                Ended::Failed { outcome, message, passed } => self.failed(&taken, outcome, message, passed).await?,
            }
        }
    }

    /// What its upstream bills even if nobody waits for the answer.
    fn calling(&self, taken: &Taken) -> Option<Calling> {
        let metered = !self.request.asked.is_billed_once();
        let prompt = self.request.scan.prompt_tokens();
        (self.request.asked != Asked::Tokens).then(|| Calling { taken: taken.clone(), prompt, metered })
    }

    fn ongoing(&self, choice: Choice, hedge: bool) -> Ongoing {
        let origin = Origin { hedge, ..origin(self.request, &choice.taken, self.record.attempts) };
        Ongoing::new(Rc::clone(self.worker), choice, origin, self.record.calls.clone())
    }

    fn attempt(&self, ongoing: Ongoing, foreign: Option<Box<Foreign>>) -> Attempt<'a> {
        Attempt::new(self.worker, self.request, ongoing, foreign, self.plan.deadline())
    }

    /// What a choice needs to be called in its own dialect. None where that can't say what is asked: then it is left out.
    async fn fitting(&mut self, choice: Choice) -> Option<(Choice, Option<Box<Foreign>>)> {
        match Foreign::at(self.worker, self.request, &choice.taken.target, None).await {
            Ok(None) => Some((choice, None)),
            Ok(Some(mut foreign)) => {
                self.dropped.push((choice.taken.number, std::mem::take(&mut foreign.dropped)));
                Some((choice, Some(foreign)))
            }
            Err(unfit) => {
                let Choice { taken, reserved, .. } = choice;
                if let Some(reserved) = reserved {
                    reserved.give_back(self.worker.gateway.clock.now());
                }
                self.plan.tried.target(taken.number);
                self.record.unfit(&taken);
                self.unfit.push((taken.target.name(), unfit.to_string()));
                None
            }
        }
    }

    fn told_dropped(&mut self, taken: &Taken) {
        let place = self.dropped.iter().position(|(number, _)| *number == taken.number);
        self.record.dropped = place.map(|place| self.dropped.swap_remove(place).1).unwrap_or_default();
    }

    async fn pick(&self, tried: &Tried, only: Option<usize>, last_resort: bool) -> Result<Choice, NoTarget> {
        let ask = || Pick {
            chain: Arc::clone(&self.request.chain),
            tried: tried.clone(),
            needs: self.request.scan.needs,
            larger_than: self.plan.larger_than,
            prompt: least_tokens(self.request.scan.text_bytes),
            tokens: self.request.tokens,
            stream: self.request.scan.stream,
            only,
            last_resort,
        };
        self.worker.pick(ask).await
    }

    /// The same question, asked of the board without taking anything.
    fn ask<'t>(&self, tried: &'t Tried, only: Option<usize>) -> Ask<'t>
    where
        'a: 't,
    {
        Ask {
            chain: &self.request.chain,
            tried,
            needs: self.request.scan.needs,
            larger_than: self.plan.larger_than,
            prompt: least_tokens(self.request.scan.text_bytes),
            tokens: self.request.tokens,
            stream: self.request.scan.stream,
            only,
            last_resort: false,
            now: self.worker.gateway.clock.now(),
        }
    }

    /// Notes a failure.
    fn note(&mut self, taken: &Taken, outcome: Outcome, message: String, passed: Option<Fault>) {
        let failed = Failed { target: taken.target.name(), outcome: outcome.clone(), name: outcome.name(), message };
        self.record.failed(&failed);
        self.plan.failures.push(failed);
        if self.kept.is_none() && passed.is_some() {
            self.kept = passed;
            self.record.served_by = Some(taken.clone());
        }
        self.last = Some(outcome);
    }

    /// Notes a failure and does what the plan says.
    async fn failed(&mut self, taken: &Taken, outcome: Outcome, message: String, passed: Option<Fault>) -> Result<(), Fault> {
        self.note(taken, outcome.clone(), message, passed);
        let around = self.around(taken, &outcome);
        let next = self.plan.after(taken, &outcome, &around);
        (self.only, self.repeats) = (None, false);
        match next {
            Next::OtherTarget => {}
            Next::OtherKey => self.only = Some(taken.clone()),
            Next::Repeat { after } => {
                tokio::time::sleep(after).await;
                // Waiting for the upstream to recover is not the gateway's own time.
                self.record.upstream_us += after.as_micros() as u64;
                (self.only, self.repeats) = (Some(taken.clone()), true);
            }
            Next::Stop(Stop::PassOn | Stop::Exhausted | Stop::Ambiguous) => return Err(self.final_fault(None)),
            Next::Stop(Stop::Deadline) => {
                let message = self.message(None);
                return Err(Fault::AllFailed { message: format!("the request's time was over. {message}"), timeout: true });
            }
        }
        Ok(())
    }

    /// What could still serve after this failure of `taken`.
    fn around(&self, taken: &Taken, outcome: &Outcome) -> Around<'a> {
        let mut tried = self.plan.tried.clone();
        // The actor may not have been told of the key's end yet.
        match outcome {
            Outcome::RateLimited { whole_key, .. } => tried.key(taken, *whole_key),
            Outcome::KeyFault { .. } => tried.key(taken, true),
            Outcome::Ok | Outcome::Transient(_) | Outcome::TooLong => {}
            Outcome::CallerFault | Outcome::ModelMissing | Outcome::Abandoned => {}
        }
        let again = servable(&self.ask(&tried, Some(taken.number))) > 0;
        tried.target(taken.number);
        let behind = servable(&self.ask(&tried, None));
        let budget = &self.request.chain.budgets.extra;
        Around { behind, again, budget, now: self.worker.gateway.clock.now(), draw: self.worker.draw() }
    }

    /// What the caller is told when nothing serves.
    fn final_fault(&mut self, no_target: Option<&NoTarget>) -> Fault {
        if let Some(kept) = self.kept.take() {
            return kept;
        }
        let message = self.message(no_target);
        let failures = &self.plan.failures;
        let now = self.worker.gateway.clock.now();
        let rested = no_target.and_then(NoTarget::retry_at).map(|at| at.since(now));
        if failures.is_empty() {
            let wait = rested.unwrap_or(SHORT_WAIT);
            return match no_target {
                Some(no_target) if no_target.all_missing() => Fault::ModelMissing { message },
                Some(no_target) if no_target.all_unfit(|name| self.is_unfit(name)) => Fault::Unfit { message },
                Some(no_target) if no_target.all_resting() => Fault::RateLimited { message, wait },
                _ => Fault::NoTarget { message, wait },
            };
        }
        if failures.iter().all(|failed| matches!(failed.outcome, Outcome::Transient(failure) if failure.is_ours())) {
            self.worker.gateway.metrics.refuse(Refused::Descriptors);
            return Fault::Overloaded;
        }
        let limited = |outcome: &Outcome| matches!(outcome, Outcome::RateLimited { .. });
        if failures.iter().all(|failed| limited(&failed.outcome)) && no_target.is_none_or(NoTarget::all_resting_or_tried) {
            let asked = failures.iter().filter_map(|failed| match failed.outcome {
                Outcome::RateLimited { wait, .. } => wait,
                _ => None,
            });
            let wait = asked.chain(rested).min().unwrap_or(Duration::from_secs(5));
            return Fault::RateLimited { message, wait };
        }
        if failures.iter().all(|failed| failed.outcome == Outcome::ModelMissing) {
            return Fault::ModelMissing { message };
        }
        if failures.iter().all(|failed| failed.outcome == Outcome::Transient(Failure::NotOffered)) {
            return Fault::Unfit { message };
        }
        let timeout = matches!(self.last, Some(Outcome::Transient(failure)) if failure.is_timeout());
        Fault::AllFailed { message, timeout }
    }

    /// Whether a target's dialect can't say what is asked.
    fn is_unfit(&self, name: &str) -> bool {
        self.unfit.iter().any(|(unfit, _)| unfit == name)
    }

    /// Each target and its reason, the last failure first.
    fn message(&self, no_target: Option<&NoTarget>) -> String {
        let now = self.worker.gateway.clock.now();
        let failures = self.plan.failures.iter().rev().map(|failed| format!("{} {}", failed.target, failed.message));
        let tried = |name: &str| self.is_unfit(name) || self.plan.failures.iter().any(|failed| failed.target == name);
        let unfit = self.unfit.iter().map(|(name, why)| format!("{name}: {why}"));
        let out = no_target.into_iter().flat_map(|no_target| &no_target.why).filter(|(name, _)| !tried(name));
        let out = out.map(|(name, why)| format!("{name}: {}", why.text(now)));
        failures.chain(unfit).chain(out).collect::<Vec<_>>().join("; ")
    }
}
