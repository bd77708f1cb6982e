//! A stream from its head up to its first content: until that is there, a failure is the next target's chance, and the caller has
//! seen nothing.

use std::pin::pin;
use std::rc::Rc;

use bytes::Bytes;
use futures_util::StreamExt;

use super::{Attempt, Ended, Failing, message_of};
use crate::base::Moment;
use crate::dialect::endpoint::completion_events;
use crate::dialect::{Tally, Wire};
use crate::health::Failure;
use crate::proxy::client::Response;
use crate::proxy::failover::Whole;
use crate::proxy::live::Live;
use crate::proxy::prepared::Asked;
use crate::proxy::reader::{Progress, Reader, Reading};
use crate::proxy::stitch::Stitch;
use crate::proxy::tale::Tale;
use crate::proxy::watch::Watch;
use crate::stream::Input;

impl Attempt<'_> {
    pub(super) async fn first_content(&mut self, mut response: Response) -> Result<Ended, Failing> {
        if response.head.is_html() || !response.head.is_readable() {
            return Err(Failure::ContentType.into());
        }
        let timeouts = self.ongoing.taken.target.timeouts.clone();
        let (mut at, mut late) = (self.ongoing.started.plus(timeouts.first_token), Failure::FirstTokenTimeout);
        let mut reader = Reader::new(self.reading(self.worker.edition.settings.server.max_event));
        let mut opening = true;
        loop {
            let progress = match self.before(at, late, pin!(response.body.next())).await? {
                Some(Ok(piece)) if opening && piece.trim_ascii_start().starts_with(b"{") => {
                    return self.unstreamed(response, piece).await;
                }
                Some(Ok(piece)) if opening && !piece.trim_ascii().is_empty() => {
                    opening = false;
                    match &self.foreign {
                        None => reader.open(piece, self.codes()),
                        Some(foreign) => {
                            let rest = std::mem::replace(&mut response.body, Box::pin(futures_util::stream::empty()));
                            response.body = foreign.stream(self.request, piece, rest, self.worker.edition.settings.server.max_event);
                            continue;
                        }
                    }
                }
                Some(Ok(piece)) => reader.open(piece, self.codes()),
                Some(Err(failure)) => reader.end(cut_off(failure), self.codes()),
                None => reader.end(Input::Eof, self.codes()),
            };
            let finished = is_finished(progress)?;
            if reader.committed() {
                let finished = finished || self.hold(&mut response, &mut reader).await?;
                return Ok(self.go_live(response, reader, finished));
            }
            if reader.was_lively() && reader.stirs() {
                // It answers, though what it says is withheld: from here on silence counts.
                (at, late) = (self.now().plus(timeouts.idle), Failure::IdleTimeout);
            }
        }
    }

    /// Withholds the first content for `stream.hold`, so that a failure until then goes unseen. True when the stream is whole.
    async fn hold(&mut self, response: &mut Response, reader: &mut Reader) -> Result<bool, Failing> {
        let hold = self.request.chain.streaming.hold;
        self.first_content = Some(self.now());
        if hold.is_zero() || self.leg.is_some() {
            return Ok(false);
        }
        if reader.has_rest() && is_finished(reader.rest(self.codes()))? {
            return Ok(true);
        }
        // A stream that progresses is never cut: where the time is over, it only isn't withheld any more.
        let until = self.now().plus(hold).min(self.deadline).min(self.own_deadline());
        let idle = self.ongoing.taken.target.timeouts.idle;
        let mut silent = self.now().plus(idle);
        while self.now() < until && reader.waiting() < self.worker.edition.settings.server.max_event {
            let progress = match self.before(until.min(silent), Failure::IdleTimeout, pin!(response.body.next())).await {
                Err(_) if self.now() >= until => break,
                Err(failing) => return Err(failing),
                Ok(Some(Ok(piece))) => reader.feed(piece, self.codes()),
                Ok(Some(Err(failure))) => reader.end(cut_off(failure), self.codes()),
                Ok(None) => reader.end(Input::Eof, self.codes()),
            };
            if is_finished(progress)? {
                return Ok(true);
            }
            if reader.was_lively() {
                silent = self.now().plus(idle);
            }
        }
        Ok(false)
    }

    fn now(&self) -> Moment {
        self.worker.gateway.clock.now()
    }

    /// A JSON answer to a request for a stream becomes a stream.
    async fn unstreamed(&mut self, mut response: Response, first: Bytes) -> Result<Ended, Failing> {
        let rest = std::mem::replace(&mut response.body, Box::pin(futures_util::stream::empty()));
        response.body = Box::pin(futures_util::stream::iter([Ok(first)]).chain(rest));
        let Whole { body, .. } = self.whole(&mut response).await?;
        let events = match self.request.asked {
            Asked::Passed(_) => Some(completion_events(&body).into()),
            Asked::Chat | Asked::Tokens => self.request.wire.unstreamed(&body),
        };
        let Some(events) = events else { return Err(Failure::Malformed.into()) };
        let mut reader = Reader::new(self.reading(self.worker.edition.settings.server.max_response));
        match reader.feed(events, self.codes()) {
            Progress::Finished => {
                response.body = Box::pin(futures_util::stream::empty());
                Ok(self.go_live(response, reader, true))
            }
            Progress::Differs => Err(Failing::differs()),
            Progress::More | Progress::Failed(_) => Err(Failure::Malformed.into()),
        }
    }

    fn reading(&mut self, max_event: usize) -> Reading {
        let scan = &self.request.scan;
        let wire = self.request.wire;
        let wants_usage = wire == Wire::OpenAi && scan.include_usage;
        let stitch = self.leg.as_ref().map(|leg| Box::new(Stitch::new(leg.seam(), leg.mark.clone(), wants_usage)));
        let (tally, tale) = match &self.leg {
            Some(leg) => (leg.tally.clone(), Some(leg.tale.clone())),
            None => (Tally::new(scan.prompt_tokens()), self.tale()),
        };
        let hold_tools = self.request.chain.streaming.hold_tools;
        let hide_usage = wire == Wire::OpenAi && !scan.include_usage;
        let shown = wants_usage && self.worker.edition.settings.telemetry.cost_in_usage;
        let priced = if shown { self.tariff() } else { None };
        Reading { wire, max_event, choices: scan.n, hide_usage, hold_tools, tally, priced, tale, stitch }
    }

    /// What is said is kept only where somebody else could go on with it.
    fn tale(&self) -> Option<Box<Tale>> {
        let mut others = self.request.chain.targets().filter(|(number, ..)| *number != self.ongoing.taken.number);
        let kept = self.request.recovery && self.request.asked == Asked::Chat && others.any(|(.., target)| target.goes_on);
        kept.then(|| Box::new(Tale::new(&self.request.scan, self.request.wire)))
    }

    fn go_live(&mut self, response: Response, reader: Reader, finished: bool) -> Ended {
        let now = self.first_content.unwrap_or_else(|| self.now());
        self.ongoing.first_token = Some(now.since(self.ongoing.started));
        self.ongoing.answers();
        // A wildcard's price goes by the request's name for the model, which the stream doesn't keep.
        let wild = if &*self.ongoing.taken.target.model == "*" { self.tariff() } else { None };
        let ongoing = self.ongoing.handed_over();
        let watch = std::mem::replace(&mut self.watch, Watch::new(self.worker.gateway.clock));
        Ended::Stream(Box::new(Live::new(Rc::clone(self.worker), response.body, reader, ongoing, wild, (watch, finished))))
    }
}

/// Whether the stream is whole; its failure, where it failed.
fn is_finished(progress: Progress) -> Result<bool, Failing> {
    match progress {
        Progress::More => Ok(false),
        Progress::Finished => Ok(true),
        Progress::Failed(outcome) => Err(Failing::new(outcome.clone(), message_of(&outcome))),
        Progress::Differs => Err(Failing::differs()),
    }
}

/// What a stream's reader is told of a body that failed.
pub(in crate::proxy) fn cut_off(failure: Failure) -> Input {
    if failure == Failure::TooLarge { Input::TooLarge } else { Input::Reset }
}
