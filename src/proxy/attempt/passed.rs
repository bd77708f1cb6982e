//! What is particular to the answers of other endpoints than chat: plain words, sound, events of their own; and what a refusal there
//! says of the target.

use std::pin::pin;

use futures_util::StreamExt;

use super::refusal::MOST_OF_A_REFUSAL;
use super::{Attempt, Ended, Failing, describe};
use crate::dialect::endpoint::{Endpoint, Reply};
use crate::dialect::fault::error_in_answer;
use crate::dialect::scan::{answer, error_parts};
use crate::dialect::{Source, Usage};
use crate::health::{Failure, Outcome};
use crate::proxy::client::Response;
use crate::proxy::failover::Whole;
use crate::proxy::pipe::Pipe;
use crate::proxy::prepared::Asked;
use crate::proxy::socket::unless_cut;

impl Attempt<'_> {
    fn endpoint(&self) -> Option<Endpoint> {
        match self.request.asked {
            Asked::Passed(endpoint) => Some(endpoint),
            Asked::Chat | Asked::Tokens => None,
        }
    }

    /// Whether the answer is handed on as it comes.
    pub(super) fn is_piped(&self, response: &Response) -> bool {
        let Some(endpoint) = self.endpoint() else { return false };
        let row = endpoint.row();
        matches!(row.reply, Reply::Bytes) || row.billed_once && response.head.is_events()
    }

    /// Whether the answer is a text that isn't JSON, and so doesn't show by itself that it is whole.
    pub(super) fn is_in_words(&self, response: &Response) -> bool {
        let words = self.endpoint().is_some_and(|endpoint| matches!(endpoint.row().reply, Reply::Words));
        words && !response.head.is_json() && !response.head.is_html()
    }

    /// Whether what isn't told of an answer's usage can be estimated.
    pub(super) fn is_metered(&self) -> bool {
        self.endpoint().is_none_or(|endpoint| !endpoint.row().billed_once)
    }

    /// A whole answer in plain words.
    pub(super) fn in_words(&self, response: &Response, body: bytes::Bytes) -> Result<Whole, Failing> {
        if std::str::from_utf8(&body).is_err() {
            return Err(Failure::Malformed.into());
        }
        // Silence has no words: an empty text with a length of its own is an answer.
        if body.is_empty() && response.head.promised() != Some(0) {
            return Err(Failure::Truncated.into());
        }
        let content_type = response.head.content_type().unwrap_or("text/plain; charset=utf-8").to_owned();
        let input = self.request.scan.prompt_tokens();
        let used = (Usage { input, ..Usage::default() }, Source::Estimated);
        Ok(Whole { body, used, cost: None, content_type: Some(content_type), metered: false })
    }

    /// Waits for the first bytes of an answer that is handed on as it comes.
    pub(super) async fn piped(&mut self, mut response: Response) -> Result<Ended, Failing> {
        if response.head.is_html() || !response.head.is_readable() {
            return Err(Failure::ContentType.into());
        }
        let timeouts = self.ongoing.taken.target.timeouts.clone();
        if response.head.is_json() {
            // An error with a 200, or something that isn't what was asked for.
            let body = self.read(&mut response, MOST_OF_A_REFUSAL, timeouts.idle).await?;
            if !answer(&body).is_ok_and(|seen| seen.error.is_some()) {
                return Err(Failure::ContentType.into());
            }
            let outcome = error_in_answer(&error_parts(&body), self.codes());
            return Err(Failing::new(outcome, describe(Failure::ErrorBody)));
        }
        let mut incoming = if response.ends_by_closing { response.body } else { unless_cut(response.body) };
        let at = self.ongoing.started.plus(timeouts.first_byte);
        let first = loop {
            match self.before(at, Failure::HeadTimeout, pin!(incoming.next())).await? {
                Some(Ok(piece)) if piece.is_empty() => {}
                Some(Ok(piece)) => break piece,
                Some(Err(failure)) => return Err(failure.into()),
                None => return Err(Failure::Truncated.into()),
            }
        };
        let content_type = response.head.content_type().map(str::to_owned);
        let promised = response.head.promised();
        Ok(Ended::Piped(Box::new(Pipe { first, incoming, ongoing: self.ongoing.handed_over(), content_type, promised })))
    }

    /// What a refusal means there: an endpoint that a target doesn't have, or has for other models, says nothing of its chats. A
    /// vendor tells it by a 404, or (OpenAI: "You are not allowed to generate embeddings from this model") by a 403.
    pub(super) fn of_endpoint(&self, status: u16, outcome: Outcome) -> Outcome {
        let not_offered = match outcome {
            Outcome::KeyFault { sure: false } => status == 403,
            Outcome::Transient(_) => matches!(status, 404 | 405 | 410 | 501),
            Outcome::ModelMissing => true,
            Outcome::CallerFault => matches!(status, 404 | 405 | 410),
            Outcome::Ok | Outcome::RateLimited { .. } | Outcome::KeyFault { .. } | Outcome::TooLong | Outcome::Abandoned => false,
        };
        if not_offered && self.endpoint().is_some() { Outcome::Transient(Failure::NotOffered) } else { outcome }
    }
}
