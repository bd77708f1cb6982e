//! Goes on with a stream that broke after content went out: asks another target for the rest, in the way that it understands,
//! until one says a word that the caller doesn't have yet, or nobody is left to ask.

use std::collections::HashSet;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;

use super::attempt::{Attempt, Ended};
use super::failover::origin;
use super::foreign::{Foreign, Half};
use super::live::Live;
use super::ongoing::Ongoing;
use super::prepared::Prepared;
use super::reckoning::{kept_prompt, reckoned};
use super::record::Record;
use super::tale::Tale;
use super::worker::Worker;
use crate::access::least_tokens;
use crate::actors::Pick;
use crate::base::Tariff;
use crate::dialect::carry::{Carried, carried};
use crate::dialect::{Counter, Tally, Vocabulary, Wire};
use crate::health::{Outcome, Pass};
use crate::routing::{Choice, Failed, Onward, Taken};
use crate::stream::{Seam, Way};
use crate::telemetry::RecoveryResult;

/// A stream that progresses is not cut by its request's deadline; nor is one that is being mended.
const LONG: Duration = Duration::from_secs(3600);
/// So many refused ways are remembered.
const MOST_REFUSALS: usize = 4_096;

/// What a stream's body keeps while it may have to be continued.
pub(super) struct Ground {
    pub(super) request: Rc<Prepared>,
    pub(super) onward: Onward,
}

/// How mending ended.
pub(super) struct Mended {
    /// The stream that goes on.
    pub(super) live: Option<Box<Live>>,
    pub(super) record: Box<Record>,
    pub(super) ground: Ground,
}

/// Mending under way.
pub(super) type Mending = Pin<Box<dyn Future<Output = Mended>>>;

/// The ways that targets have refused, by provider, model and way; so many at most, since a wildcard's callers choose the models.
#[derive(Debug, Default)]
pub(super) struct Refusals(Mutex<HashSet<(Arc<str>, String, Way)>>);

impl Refusals {
    fn knows(&self, taken: &Taken, model: &str, way: Way) -> bool {
        let key = (Arc::clone(&taken.target.provider.name), model.to_owned(), way);
        self.0.lock().is_ok_and(|known| known.contains(&key))
    }

    fn learn(&self, taken: &Taken, model: &str, way: Way) {
        if let Ok(mut known) = self.0.lock() {
            // What is forgotten is learnt again, at the cost of a refused call.
            if known.len() >= MOST_REFUSALS {
                known.clear();
            }
            known.insert((Arc::clone(&taken.target.provider.name), model.to_owned(), way));
        }
    }
}

/// A call that is to go on with what was said.
pub(super) struct Leg {
    pub(super) body: Bytes,
    /// What it takes to speak to a target of another dialect.
    pub(super) foreign: Option<Box<Foreign>>,
    /// In place of the base URL's path.
    pub(super) path: Option<String>,
    pub(super) way: Way,
    pub(super) tale: Box<Tale>,
    pub(super) tally: Tally,
    /// The comment at the seam.
    pub(super) mark: Bytes,
}

impl Leg {
    /// Where its words join.
    pub(super) fn seam(&self) -> Seam {
        Seam::new(self.tale.said.text().unwrap_or_default(), self.way)
    }
}

/// What broke.
pub(super) struct Broke {
    pub(super) taken: Taken,
    pub(super) tale: Box<Tale>,
    pub(super) tally: Tally,
    /// What its own part cost, where that is known.
    pub(super) cost: Option<i64>,
    /// What its tokens cost, where its target's own tag doesn't say it.
    pub(super) wild: Option<Arc<Tariff>>,
}

/// Mends a stream.
pub(super) fn mend(worker: Rc<Worker>, ground: Ground, broke: Broke, record: Box<Record>) -> Mending {
    Box::pin(async move {
        let mut mender = Mender { worker, ground, broke, record };
        mender.count().await;
        let live = mender.run().await;
        let Mender { record, ground, .. } = mender;
        Mended { live, record, ground }
    })
}

struct Mender {
    worker: Rc<Worker>,
    ground: Ground,
    broke: Broke,
    record: Box<Record>,
}

impl Mender {
    /// Counts what the upstream that broke didn't tell of its own part.
    async fn count(&mut self) {
        let request = &self.ground.request;
        let vocabulary = Vocabulary::of(request.upstream_model(&self.broke.taken.target));
        let prompt = kept_prompt(request.scan.messages.clone().and_then(|span| request.body.get(span)));
        reckoned(&mut self.broke, vocabulary, prompt).await;
    }

    async fn run(&mut self) -> Option<Box<Live>> {
        self.ground.onward.died(self.broke.taken.number);
        self.leave_out_who_never_goes_on();
        loop {
            let choice = match self.pick().await {
                Some(choice) => choice,
                None if self.ground.onward.nobody() => continue,
                None => return None,
            };
            // What its dialect can't say it can't go on with either.
            let Some(leg) = self.leg(&choice.taken).await else {
                self.ground.onward.failed(&choice.taken, &Outcome::Abandoned, false);
                continue;
            };
            let most = self.ground.request.most(&self.worker, &choice.taken.target);
            if !self.record.affords(most.unwrap_or(0)) || !self.ground.onward.call() {
                return None;
            }
            self.ground.onward.last_resort_used |= choice.by_target.pass == Pass::LeastBad || choice.by_provider.pass == Pass::LeastBad;
            if let Some(live) = self.ask(choice, leg).await {
                return Some(live);
            }
        }
    }

    fn leave_out_who_never_goes_on(&mut self) {
        for (number, _, target) in self.ground.request.chain.targets() {
            if !target.goes_on {
                self.ground.onward.tried.target(number);
            }
        }
    }

    async fn pick(&self) -> Option<Choice> {
        let Ground { request, onward } = &self.ground;
        let ask = || Pick {
            chain: Arc::clone(&request.chain),
            tried: onward.tried.clone(),
            needs: request.scan.needs,
            larger_than: onward.larger_than,
            prompt: least_tokens(request.scan.text_bytes),
            tokens: request.tokens,
            stream: true,
            only: onward.only(),
            last_resort: !onward.last_resort_used && onward.only().is_none(),
        };
        self.worker.pick(ask).await.ok()
    }

    /// One call.
    async fn ask(&mut self, choice: Choice, leg: Leg) -> Option<Box<Live>> {
        let (way, request) = (leg.way, Rc::clone(&self.ground.request));
        self.record.attempts += 1;
        let origin = origin(&request, &choice.taken, self.record.attempts);
        let ongoing = Ongoing::new(Rc::clone(&self.worker), choice, origin, self.record.calls.clone());
        let taken = ongoing.taken.clone();
        let deadline = ongoing.started.plus(LONG);
        let ended = Attempt::onward(&self.worker, &request, ongoing, deadline, leg).run().await;
        let (result, live) = match ended {
            Ended::Stream(live) => {
                self.record.served(&taken);
                self.record.recovered = true;
                (RecoveryResult::Ok, Some(live))
            }
            // A leg is always a stream.
            Ended::Whole(_) | Ended::Piped(_) => (RecoveryResult::Failed, None),
            Ended::Failed { outcome, message, .. } => (self.failed(&taken, way, outcome, message), None),
        };
        self.worker.gateway.metrics.recovery(way, result);
        self.log(&taken, way, result);
        live
    }

    /// The call to make; None where its dialect can't say what is asked.
    async fn leg(&self, taken: &Taken) -> Option<Leg> {
        let request = &self.ground.request;
        let said = self.broke.tale.said.text().unwrap_or_default();
        let model = request.upstream_model(&taken.target);
        let tokens = Counter::of(said);
        let (preferred, path) = self.way(taken, model);
        let half = |way| Half { way, said, tokens };
        let mut opened = None;
        if let Some(way) = preferred {
            opened = self.asked(taken, half(way)).await.map(|asked| (way, asked));
        }
        if opened.is_none() {
            opened = Some((Way::Splice, self.asked(taken, half(Way::Splice)).await?));
        }
        let (way, (body, foreign)) = opened?;
        let mut tale = self.broke.tale.clone();
        if !tale.begun.go_on(said) {
            return None;
        }
        let mut tally = self.broke.tally.clone();
        tally.next(request.scan.prompt_tokens() + if way == Way::Splice { 0 } else { tokens }, self.broke.cost);
        let (from, to, at) = (self.broke.taken.target.name(), taken.target.name(), said.chars().count());
        let mark = format!("stagedoor recovered from={from} to={to} at={at}");
        Some(Leg {
            body,
            foreign,
            path: path.filter(|_| Some(way) == preferred),
            way,
            tally,
            mark: tale.begun.mark(&mark, tale.numbered),
            tale,
        })
    }

    /// What the target is asked in a way; None where that isn't open.
    async fn asked(&self, taken: &Taken, half: Half<'_>) -> Option<(Bytes, Option<Box<Foreign>>)> {
        let request = &self.ground.request;
        match Foreign::at(&self.worker, request, &taken.target, Some(half)).await.ok()? {
            Some(foreign) => Some((foreign.body.clone(), Some(foreign))),
            None => {
                let upstream = self.worker.upstream(taken.target.provider.place);
                let usage = request.wire == Wire::OpenAi && upstream.is_some_and(|upstream| upstream.tells_usage());
                let (wire, model, Half { way, said, tokens }) = (request.wire, request.upstream_model(&taken.target), half);
                let carried = carried(&request.body, &request.scan, &Carried { wire, model, way, said, tokens, usage })?;
                Some((carried, None))
            }
        }
    }

    /// How the target is asked; None: plainly. Beside it, the path for that.
    fn way(&self, taken: &Taken, model: &str) -> (Option<Way>, Option<String>) {
        let edition = &self.worker.edition;
        let Some(provider) = edition.settings.providers.get(&*taken.target.provider.name) else { return (None, None) };
        let (way, path) = provider.continuations.of(model);
        let open = way.filter(|way| !self.ground.onward.plainly() && !edition.refusals.knows(taken, model, *way));
        (open, path.map(str::to_owned))
    }

    fn failed(&mut self, taken: &Taken, way: Way, outcome: Outcome, message: String) -> RecoveryResult {
        let refused = matches!(outcome, Outcome::CallerFault) && way != Way::Splice;
        if refused {
            self.worker.edition.refusals.learn(taken, self.ground.request.upstream_model(&taken.target), way);
        }
        self.ground.onward.failed(taken, &outcome, refused);
        let result = match &outcome {
            Outcome::CallerFault => RecoveryResult::Rejected,
            // The caller's leaving drops all of this: what is abandoned here said something else.
            Outcome::Abandoned => RecoveryResult::Differed,
            _ => RecoveryResult::Failed,
        };
        let name = outcome.name();
        self.record.failed(&Failed { target: taken.target.name(), outcome, name, message });
        result
    }

    fn log(&self, taken: &Taken, way: Way, result: RecoveryResult) {
        let (from, to) = (self.broke.taken.target.name(), taken.target.name());
        let at = self.broke.tale.said.text().map_or(0, |said| said.chars().count());
        let (way, result) = (way.name(), result.name());
        tracing::info!(request_id = %self.record.id, from, to, at, way, result, "stream recovery");
    }
}
