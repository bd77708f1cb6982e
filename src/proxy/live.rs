//! A stream after its commit: pieces of the upstream's body on their way to the caller, until the terminal event, a failure
//! or a clock.

use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;

use super::attempt::{cut_off, message_of};
use super::client::Incoming;
use super::ongoing::Ongoing;
use super::reader::{Progress, Reader};
use super::reckoning::{Reckoning, own_cost};
use super::recovery::Broke;
use super::watch::Watch;
use super::worker::Worker;
use crate::base::{Moment, Tariff};
use crate::dialect::{Source, Tally, Usage};
use crate::health::Outcome;
use crate::ledger::plus;
use crate::routing::Taken;
use crate::stream::Input;
use crate::telemetry::Strand;

/// After every choice has its finish reason, the terminal event has this long.
const GRACE: Duration = Duration::from_secs(2);
/// After the terminal event, the body's own end has this long; then the connection isn't used again.
const TRAILER: Duration = Duration::from_secs(1);

/// What comes next.
pub(super) enum Piece {
    /// Bytes for the caller.
    Bytes(Bytes),
    /// None, and the time has come at which the caller of this wanted to know.
    Nothing,
    /// The stream is whole.
    End,
    /// It broke: in words without secrets, and whether a clock ended it.
    Broken {
        /// What is told to the caller.
        message: String,
        /// Whether a clock ended it.
        timeout: bool,
    },
}

/// See the module's text.
pub(super) struct Live {
    worker: Rc<Worker>,
    incoming: Option<Incoming>,
    reader: Reader,
    ongoing: Ongoing,
    /// What its tokens cost, where its target's own tag doesn't say it.
    wild: Option<Arc<Tariff>>,
    watch: Watch,
    /// When the upstream last said something.
    last_piece: Moment,
    /// When anything at all last came from it.
    fed: Moment,
    /// When content came last, and where the time to the next is counted.
    last_content: Moment,
    intervals: Arc<Strand>,
    state: State,
}

enum State {
    Flowing,
    Whole,
    Broken { message: String, timeout: bool },
    Over,
}

impl Live {
    /// `finished`: its whole body is in the reader.
    pub(super) fn new(
        worker: Rc<Worker>,
        incoming: Incoming,
        reader: Reader,
        ongoing: Ongoing,
        wild: Option<Arc<Tariff>>,
        (watch, finished): (Watch, bool),
    ) -> Self {
        let now = worker.gateway.clock.now();
        let intervals = worker.strand(&ongoing.taken.target);
        let mut live = Self {
            worker,
            incoming: Some(incoming),
            reader,
            ongoing,
            wild,
            watch,
            last_piece: now,
            fed: now,
            last_content: now,
            intervals,
            state: State::Flowing,
        };
        live.reader.said = 0;
        if finished {
            live.whole();
        }
        live
    }

    /// Who serves it.
    pub(super) fn taken(&self) -> &Taken {
        &self.ongoing.taken
    }

    /// Time from the attempt's start to the first content.
    pub(super) fn first_token(&self) -> Option<Duration> {
        self.ongoing.first_token
    }

    /// Whether what is said is kept, so that somebody else could go on.
    pub(super) fn may_be_continued(&self) -> bool {
        self.reader.keeps_tale()
    }

    /// The number of the next event, where they are numbered.
    pub(super) fn events(&self) -> u64 {
        self.reader.events()
    }

    /// Whether events with an `id` went out.
    pub(super) fn numbered(&self) -> bool {
        self.reader.numbered()
    }

    /// What broke and can be continued: once, and only where it can.
    pub(super) fn broke(&mut self) -> Option<Broke> {
        let taken = self.ongoing.taken.clone();
        let (tale, tally) = self.reader.take_tale()?;
        match tale.said.text() {
            Ok(_) => Some(Broke { taken, tale, cost: self.own_cost(&tally), tally, wild: self.wild.clone() }),
            Err(barred) => {
                tracing::info!(request_id = %self.ongoing.request_id(), from = taken.target.name(), why = barred.name(), "stream not continued");
                None
            }
        }
    }

    /// What the request has used so far.
    pub(super) fn used(&self) -> (Usage, Source) {
        self.reader.tally().total()
    }

    /// What that cost, in nano-dollars, where the price of all of it is known.
    pub(super) fn cost(&self) -> Option<i64> {
        let tally = self.reader.tally();
        plus(tally.spent(), self.own_cost(tally))
    }

    fn own_cost(&self, tally: &Tally) -> Option<i64> {
        own_cost(tally, &self.ongoing.taken, self.wild.as_deref())
    }

    /// Whether its upstream has told what all of it used.
    pub(super) fn is_settled(&self) -> bool {
        self.reader.tally().settled().is_some()
    }

    /// The same, to be counted where it isn't.
    pub(super) fn reckoning(&self) -> Reckoning {
        Reckoning::new(self.reader.tally().clone(), self.ongoing.taken.clone(), self.wild.clone())
    }

    /// Whether nothing comes after what was handed over.
    pub(super) fn is_whole(&self) -> bool {
        matches!(self.state, State::Whole)
    }

    /// When anything at all last came: to the piece at hand, the time.
    pub(super) fn fed(&self) -> Moment {
        self.fed
    }

    /// The next piece. `also`: a time at which the caller of this wants to be told that there is none.
    pub(super) fn poll(&mut self, also: Option<Moment>, cx: &mut Context<'_>) -> Poll<Piece> {
        loop {
            if let Some(bytes) = self.reader.take() {
                return Poll::Ready(Piece::Bytes(bytes));
            }
            match std::mem::replace(&mut self.state, State::Over) {
                State::Flowing => self.state = State::Flowing,
                State::Whole | State::Over => return Poll::Ready(Piece::End),
                State::Broken { message, timeout } => return Poll::Ready(Piece::Broken { message, timeout }),
            }
            let Some(incoming) = &mut self.incoming else { return Poll::Ready(Piece::End) };
            let came = if self.reader.has_rest() { None } else { Some(incoming.poll_next_unpin(cx)) };
            let progress = match came {
                None => self.rest(),
                Some(Poll::Ready(Some(Ok(piece)))) => self.feed(piece),
                Some(Poll::Ready(Some(Err(failure)))) => self.end(cut_off(failure)),
                Some(Poll::Ready(None)) => self.end(Input::Eof),
                Some(Poll::Pending) => {
                    let silent = self.last_piece.plus(self.patience());
                    let first = also.map_or(silent, |also| also.min(silent));
                    match self.watch.poll(first, cx) {
                        Poll::Ready(()) if self.worker.gateway.clock.now() >= silent => self.end(Input::Silence),
                        Poll::Ready(()) => return Poll::Ready(Piece::Nothing),
                        Poll::Pending => return Poll::Pending,
                    }
                }
            };
            match progress {
                Progress::More => {}
                Progress::Finished => self.whole(),
                Progress::Failed(outcome) => self.broken(outcome),
                // Told apart before the commit: whoever is relayed says what follows.
                Progress::Differs => self.broken(Outcome::Abandoned),
            }
        }
    }

    fn patience(&self) -> Duration {
        let idle = self.ongoing.taken.target.timeouts.idle;
        if self.reader.finished() { GRACE.min(idle) } else { idle }
    }

    fn feed(&mut self, piece: Bytes) -> Progress {
        let progress = self.reader.feed(piece, self.worker.codes(&self.ongoing.taken.target));
        self.fed = self.worker.gateway.clock.now();
        if self.reader.was_lively() {
            self.last_piece = self.fed;
            let said = std::mem::take(&mut self.reader.said);
            if said > 0 {
                self.intervals.add(self.fed.since(self.last_content), said);
                self.last_content = self.fed;
            }
        }
        progress
    }

    /// What came in one piece with the first content, and is no interval.
    fn rest(&mut self) -> Progress {
        let progress = self.reader.rest(self.worker.codes(&self.ongoing.taken.target));
        self.reader.said = 0;
        progress
    }

    /// Reads what is at hand, where nobody takes it any more: of what its upstream has told and billed nothing stays uncounted.
    pub(super) fn read_up(&mut self) {
        if self.reader.has_rest() && self.rest() == Progress::Finished {
            self.take_counts();
            self.ongoing.end(Outcome::Ok, "");
        }
    }

    fn end(&mut self, input: Input) -> Progress {
        self.reader.end(input, self.worker.codes(&self.ongoing.taken.target))
    }

    /// What the reader has counted on the way.
    fn take_counts(&mut self) {
        self.ongoing.used = self.reader.tally().settled().or(self.ongoing.used);
        self.worker.gateway.metrics.dropped_events.inc_by(std::mem::take(&mut self.reader.dropped));
    }

    fn whole(&mut self) {
        self.take_counts();
        self.ongoing.end(Outcome::Ok, "");
        self.state = State::Whole;
        // The body's own end has to be read for its connection to serve again; nobody waits for that.
        if let Some(mut incoming) = self.incoming.take() {
            let mut context = Context::from_waker(futures_util::task::noop_waker_ref());
            if let Poll::Ready(None | Some(Err(_))) = incoming.poll_next_unpin(&mut context) {
                return;
            }
            actix_rt::spawn(async move {
                let _ = tokio::time::timeout(TRAILER, incoming.next()).await;
            });
        }
    }

    fn broken(&mut self, outcome: Outcome) {
        self.take_counts();
        self.incoming = None;
        let message = message_of(&outcome);
        let timeout = matches!(outcome, Outcome::Transient(failure) if failure.is_timeout());
        self.ongoing.end(outcome, &message);
        self.state = State::Broken { message: format!("{} {message}", self.ongoing.taken.target.name()), timeout };
    }
}
