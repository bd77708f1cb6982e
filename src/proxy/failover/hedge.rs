//! Two attempts side by side: where the first is later than its target nearly ever is, a second target is called, the first
//! of the two to commit wins, and the other is let go at once. Apart from the usual road, which only asks whether to take
//! this one.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;

use super::{Drive, Ended, Ongoing};
use crate::base::Moment;
use crate::dialect::Usage;
use crate::health::Pass;
use crate::proxy::foreign::Foreign;
use crate::proxy::watch::Watch;
use crate::routing::{Choice, Taken, beside};
use crate::telemetry::{Hedged, Metrics};

/// Tells how it ended, whatever ends it.
struct Told<'a> {
    metrics: &'a Metrics,
    result: Hedged,
}

impl Drop for Told<'_> {
    fn drop(&mut self) {
        self.metrics.hedge(self.result);
    }
}

impl Drive<'_> {
    /// When a second target is to be called beside this one; None: never.
    pub(super) fn hedge_at(&self, choice: &Choice) -> Option<Moment> {
        let share = self.request.chain.retry.hedge?;
        // A probe that is let go tells nothing, and whoever is tried as a last resort has nobody beside it.
        if choice.by_target.pass != Pass::Normal || choice.by_provider.pass != Pass::Normal || !self.plan.may_hedge() {
            return None;
        }
        let late = choice.taken.target.vitals.percentile(self.request.scan.stream, share)?;
        Some(self.worker.gateway.clock.now().plus(late))
    }

    /// Makes a call, and from `at` on another beside it; the one that ended it, and how.
    pub(super) async fn hedged(&mut self, first: Ongoing, foreign: Option<Box<Foreign>>, at: Moment) -> (Taken, Ended) {
        let lost = Rc::new(Cell::new(false));
        let one = first.taken.clone();
        let mut first = self.attempt(first.beside(&lost), foreign);
        let mut first = pin!(first.run());
        let mut watch = Watch::new(self.worker.gateway.clock);
        let early = poll_fn(|cx| match first.as_mut().poll(cx) {
            Poll::Ready(ended) => Poll::Ready(Some(ended)),
            Poll::Pending => watch.poll(at, cx).map(|()| None),
        });
        if let Some(ended) = early.await {
            return (one, ended);
        }
        let Some((choice, foreign)) = self.second(&one).await else { return (one, first.await) };
        let worker = self.worker;
        // Both may come to be billed.
        let both = [&one, &choice.taken].map(|taken| self.request.most(worker, &taken.target).unwrap_or(0));
        if !self.record.affords(both[0].saturating_add(both[1])) {
            worker.gateway.metrics.hedge(Hedged::Refused);
            return (one, first.await);
        }
        let mut told = Told { metrics: &worker.gateway.metrics, result: Hedged::Left };
        self.plan.hedging();
        self.record.attempts += 1;
        let second = self.ongoing(choice, true).beside(&lost);
        let two = second.taken.clone();
        self.record.calling[1] = self.calling(&two);
        let mut second = self.attempt(second, foreign);
        let mut second = pin!(second.run());
        let (by_first, ended) = either(first.as_mut(), second.as_mut()).await;
        let (taken, other) = if by_first { (one, two) } else { (two, one) };
        let (by_first, taken, ended) = match ended {
            Ended::Failed { outcome, message, passed } if self.plan.fell_out(&taken, &outcome) => {
                self.note(&taken, outcome, message, passed);
                self.record.calling[usize::from(!by_first)] = None;
                (!by_first, other, if by_first { second.await } else { first.await })
            }
            ended => {
                lost.set(true);
                let prompt = Usage { input: self.request.scan.prompt_tokens(), ..Usage::default() };
                let cost = worker.cost(&other.target, self.request.upstream_model(&other.target), &prompt);
                self.record.outpaced(&other, prompt, cost);
                (by_first, taken, ended)
            }
        };
        told.result = match (&ended, by_first) {
            (Ended::Failed { .. }, _) => Hedged::Failed,
            (Ended::Whole(_) | Ended::Stream(_) | Ended::Piped(_), true) => Hedged::Lost,
            (Ended::Whole(_) | Ended::Stream(_) | Ended::Piped(_), false) => Hedged::Won,
        };
        (taken, ended)
    }

    /// Who is called beside a late one; None where nobody healthy is left, or the budget is.
    async fn second(&mut self, late: &Taken) -> Option<(Choice, Option<Box<Foreign>>)> {
        let tried = beside(&self.ask(&self.plan.tried, None), late.number)?;
        let (budgets, least) = (&self.request.chain.budgets, self.request.chain.retry.budget_min);
        let now = self.worker.gateway.clock.now();
        if !budgets.hedges.spend(0, now) || !budgets.extra.spend(least, now) {
            self.worker.gateway.metrics.hedge(Hedged::Refused);
            return None;
        }
        let choice = self.pick(&tried, None, false).await.ok()?;
        self.fitting(choice).await
    }
}

/// The first of two to be ready; whether that is the first one.
async fn either<T>(mut one: Pin<&mut impl Future<Output = T>>, mut two: Pin<&mut impl Future<Output = T>>) -> (bool, T) {
    poll_fn(|cx| match one.as_mut().poll(cx) {
        Poll::Ready(done) => Poll::Ready((true, done)),
        Poll::Pending => two.as_mut().poll(cx).map(|done| (false, done)),
    })
    .await
}
