//! A request that was let in: what is asked, of which chain, in whose words, and by when.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix_web::http::header::{HeaderName, HeaderValue};
use bytes::Bytes;

use super::cache::{Author, Once, Spot};
use crate::base::Moment;
use crate::dialect::Wire;
use crate::dialect::endpoint::Endpoint;
use crate::dialect::scan::Scan;
use crate::routing::{Chain, Target};

/// What is asked of a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// A chat's next answer.
    Chat,
    /// How many tokens the request has (Anthropic's alone).
    Tokens,
    /// What another endpoint of OpenAI's gives; it is passed on, never translated.
    Passed(Endpoint),
}

impl Asked {
    /// Its name in traces, by the conventions where they have one.
    pub fn operation(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::Tokens => "count_tokens",
            Self::Passed(Endpoint::Embeddings) => "embeddings",
            Self::Passed(Endpoint::Completions) => "text_completion",
            Self::Passed(Endpoint::Moderations) => "moderation",
            Self::Passed(Endpoint::Rerank) => "rerank",
            Self::Passed(Endpoint::Images) => "image_generation",
            Self::Passed(Endpoint::Speech) => "speech",
            Self::Passed(Endpoint::Transcriptions) => "transcription",
        }
    }

    /// Whether it is asked by a form.
    pub fn is_form(self) -> bool {
        matches!(self, Self::Passed(endpoint) if endpoint.row().form)
    }

    /// Whether its answer may be streamed as a chat's is.
    pub fn streams(self) -> bool {
        match self {
            Self::Chat => true,
            Self::Tokens => false,
            Self::Passed(endpoint) => endpoint.row().streams,
        }
    }

    /// Whether a call that may have been billed is never followed by another.
    pub(super) fn is_billed_once(self) -> bool {
        matches!(self, Self::Passed(endpoint) if endpoint.row().billed_once)
    }

    /// Whether its answer may be stored.
    pub fn is_kept(self) -> bool {
        match self {
            Self::Chat | Self::Tokens => true,
            Self::Passed(endpoint) => endpoint.row().kept,
        }
    }
}

/// A request that was let in, ready to be sent to any target of its chain.
#[derive(Debug)]
pub struct Prepared {
    /// Its id.
    pub id: Arc<str>,
    /// What its caller speaks.
    pub wire: Wire,
    /// What it asks.
    pub asked: Asked,
    /// Its chain.
    pub chain: Arc<Chain>,
    /// What a wildcard row's `*` stands for.
    pub wildcard: Option<Arc<str>>,
    /// The body as it came.
    pub body: Bytes,
    /// What was read of it.
    pub scan: Scan,
    /// Of a form, its content type.
    pub form: Option<HeaderValue>,
    /// Tokens that it may cost.
    pub tokens: u64,
    /// The caller's headers that pass.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Whether its stream is continued if it breaks.
    pub recovery: bool,
    /// How long its stream can be come back to with nobody reading it; None: not at all.
    pub resume: Option<Duration>,
    /// What the cache has to do with it; None: nothing.
    pub cache: Option<Rc<Spot>>,
    /// Its hold on the name that its caller gave it.
    pub once: Option<Once>,
    /// By when it must be answered, or its stream have begun.
    pub deadline: Moment,
}

impl Prepared {
    /// Keeps its whole answer for whom it may be given again.
    pub fn keep(&self, body: &[u8], author: &Author) {
        if let Some(spot) = &self.cache {
            spot.keep(body, author.clone());
        }
        if let Some(once) = &self.once {
            once.answered(body, author);
        }
    }

    /// Its messages as they were written.
    pub fn messages(&self) -> Option<&[u8]> {
        self.body.get(self.scan.messages.clone()?)
    }

    /// What a target calls the model that was asked for.
    pub fn upstream_model<'a>(&'a self, target: &'a Target) -> &'a str {
        match &self.wildcard {
            Some(inner) if &*target.model == "*" => inner,
            _ => &target.model,
        }
    }
}
