//! What an attempt tells its provider actor. Classified before it is counted: each of the eight outcomes answers what
//! happened, whose fault it was and whether another target may be tried; every `match` on them is exhaustive.

use std::time::Duration;

/// The end of one upstream call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A whole answer, or a stream with its terminal event.
    Ok,
    /// The provider's or the network's fault; another attempt may go well.
    Transient(Failure),
    /// The key has no quota at this moment.
    RateLimited {
        /// What the upstream asked us to wait, if it said so.
        wait: Option<Duration>,
        /// The code accuses the whole key, not only the key for this model.
        whole_key: bool,
    },
    /// The key was refused.
    KeyFault {
        /// The code names the key or its quota; an unspecific 401 or 403 may be something else.
        sure: bool,
    },
    /// The request is longer than the model's window.
    TooLong,
    /// The request itself was refused.
    CallerFault,
    /// The provider doesn't have this model.
    ModelMissing,
    /// The caller left, or the request's own deadline ended the call.
    Abandoned,
}

/// Why a call failed that another target may do well.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Failure {
    /// No connection: refused, unreachable.
    Connect,
    /// The name can't be resolved.
    Dns,
    /// The TLS handshake failed.
    Tls,
    /// No connection within `connect`.
    ConnectTimeout,
    /// The connection ended before the response head.
    ResetBeforeHead,
    /// The connection ended inside the answer.
    ResetInBody,
    /// A status that stands for a fault of the upstream.
    Status(u16),
    /// The same with a Retry-After: asking again at once is what it asks not to do.
    StatusLater(u16),
    /// No response head within `first_byte`.
    HeadTimeout,
    /// No content of a stream within `first_token`.
    FirstTokenTimeout,
    /// Silence inside an answer for `idle`.
    IdleTimeout,
    /// No whole answer, and no content of a stream, within the target's own `total`, which is less than the request has.
    TotalTimeout,
    /// An answer that ended too early, was empty, or a stream without its terminal event.
    Truncated,
    /// An answer that can't be read, or isn't one.
    Malformed,
    /// An error inside a 200: its whole body, or an event of its stream.
    ErrorBody,
    /// A redirect; never followed, since it would carry the key away.
    Redirect,
    /// A content type, or content encoding, that can't be an answer.
    ContentType,
    /// A head, body or event over the limit.
    TooLarge,
    /// A 404 or 405 that speaks of neither model nor content: a wrong base URL, or a proxy's page.
    WrongPlace,
    /// It doesn't offer what was asked (another endpoint than chat) for this model: nothing is wrong with what it does offer.
    NotOffered,
    /// The gateway had no file descriptor left to call it with.
    NoDescriptor,
}

impl Failure {
    /// Whether it is the gateway's own, so that nothing was learnt of the target.
    pub fn is_ours(self) -> bool {
        self == Self::NoDescriptor
    }

    /// Whether the failure accuses the whole provider, not the target alone.
    pub fn accuses_provider(self) -> bool {
        matches!(self, Self::Connect | Self::Dns | Self::Tls | Self::ConnectTimeout)
    }

    /// Whether the call never left: nothing was asked of the upstream, so nothing can have been counted there.
    pub fn never_left(self) -> bool {
        matches!(self, Self::Connect | Self::Dns | Self::Tls | Self::ConnectTimeout | Self::NoDescriptor)
    }

    /// Whether it won't mend by itself, so that one is enough to trip: a certificate stays wrong.
    pub fn is_hard(self) -> bool {
        self == Self::Tls
    }

    /// Whether the same target may be asked again at once: nothing was taken up, or the fault is usually short. Never after
    /// a time-out, which would double the wait.
    pub fn repeatable(self) -> bool {
        matches!(self, Self::Connect | Self::ResetBeforeHead | Self::Status(500 | 502 | 503))
    }

    /// Whether the upstream may have done the work, and billed it, though no answer came: the request went out whole, and
    /// nothing says that it was refused.
    pub fn may_be_billed(self) -> bool {
        match self {
            Self::ResetBeforeHead | Self::ResetInBody | Self::Truncated | Self::Malformed | Self::TooLarge => true,
            Self::HeadTimeout | Self::FirstTokenTimeout | Self::IdleTimeout | Self::TotalTimeout => true,
            Self::Status(status) | Self::StatusLater(status) => matches!(status, 502 | 504),
            Self::Connect | Self::Dns | Self::Tls | Self::ConnectTimeout | Self::NoDescriptor => false,
            Self::ErrorBody | Self::Redirect | Self::ContentType | Self::WrongPlace | Self::NotOffered => false,
        }
    }

    /// Whether a clock of ours ended the call.
    pub fn is_timeout(self) -> bool {
        matches!(self, Self::ConnectTimeout | Self::HeadTimeout | Self::FirstTokenTimeout | Self::IdleTimeout | Self::TotalTimeout)
    }

    /// The failure's name in /health, the route header and the log.
    pub fn name(self) -> String {
        match self {
            Self::Connect => "connect".into(),
            Self::Dns => "dns".into(),
            Self::Tls => "tls".into(),
            Self::ConnectTimeout => "connect_timeout".into(),
            Self::ResetBeforeHead | Self::ResetInBody => "reset".into(),
            Self::Status(code) | Self::StatusLater(code) => format!("status_{code}"),
            Self::HeadTimeout => "head_timeout".into(),
            Self::FirstTokenTimeout => "first_token_timeout".into(),
            Self::IdleTimeout => "idle_timeout".into(),
            Self::TotalTimeout => "total_timeout".into(),
            Self::Truncated => "truncated".into(),
            Self::Malformed => "malformed".into(),
            Self::ErrorBody => "error_body".into(),
            Self::Redirect => "redirect".into(),
            Self::ContentType => "content_type".into(),
            Self::TooLarge => "too_large".into(),
            Self::WrongPlace => "wrong_place".into(),
            Self::NotOffered => "not_offered".into(),
            Self::NoDescriptor => "no_descriptor".into(),
        }
    }
}

impl Failure {
    /// One that [`Failure::name`] names so. What two share stands for one of them: they count alike.
    pub fn named(name: &str) -> Option<Self> {
        if let Some(code) = name.strip_prefix("status_") {
            return code.parse().ok().map(Self::Status);
        }
        let all = [
            Self::Connect,
            Self::Dns,
            Self::Tls,
            Self::ConnectTimeout,
            Self::ResetInBody,
            Self::HeadTimeout,
            Self::FirstTokenTimeout,
            Self::IdleTimeout,
            Self::TotalTimeout,
            Self::Truncated,
            Self::Malformed,
            Self::ErrorBody,
            Self::Redirect,
            Self::ContentType,
            Self::TooLarge,
            Self::WrongPlace,
            Self::NotOffered,
            Self::NoDescriptor,
        ];
        all.into_iter().find(|failure| failure.name() == name)
    }
}

impl Outcome {
    /// The outcome's label in metrics and logs.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Transient(_) => "transient",
            Self::RateLimited { .. } => "rate_limited",
            Self::KeyFault { .. } => "key_fault",
            Self::TooLong => "too_long",
            Self::CallerFault => "caller_fault",
            Self::ModelMissing => "model_missing",
            Self::Abandoned => "abandoned",
        }
    }

    /// A failure's own name, else the label.
    pub fn name(&self) -> String {
        match self {
            Self::Transient(failure) => failure.name(),
            other => other.label().to_owned(),
        }
    }

    /// All labels, so that each series exists from the start.
    pub const LABELS: [&'static str; 8] =
        ["ok", "transient", "rate_limited", "key_fault", "too_long", "caller_fault", "model_missing", "abandoned"];

    /// How the outcome counts for a breaker.
    pub fn vote(&self) -> Vote {
        match self {
            Self::Ok => Vote::Success,
            Self::Transient(failure) if failure.is_ours() => Vote::None,
            Self::Transient(failure) if failure.is_hard() => Vote::HardFailure,
            // The target answered, and what it said was about the request: it lives.
            Self::CallerFault | Self::TooLong | Self::Transient(Failure::NotOffered) => Vote::Alive,
            Self::Transient(_) => Vote::Failure,
            Self::RateLimited { .. } | Self::KeyFault { .. } | Self::ModelMissing | Self::Abandoned => Vote::None,
        }
    }
}

/// An outcome as a breaker sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vote {
    /// Counted, and ends a run of failures.
    Success,
    /// Counted against it.
    Failure,
    /// Trips at once.
    HardFailure,
    /// Not counted in the window, yet a probe that ends so has shown that the target answers.
    Alive,
    /// Nothing is known.
    None,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_failure_is_found_by_its_name() {
        use Failure::*;
        let named = ["connect", "dns", "tls", "connect_timeout", "reset", "head_timeout", "first_token_timeout", "idle_timeout"];
        let more = [
            "total_timeout",
            "truncated",
            "malformed",
            "error_body",
            "redirect",
            "content_type",
            "too_large",
            "wrong_place",
            "not_offered",
            "no_descriptor",
        ];
        for name in named.into_iter().chain(more).chain(["status_500", "status_504"]) {
            assert_eq!(Failure::named(name).map(Failure::name).as_deref(), Some(name));
        }
        assert_eq!((Failure::named("status_503"), Failure::named("status_x"), Failure::named("luck")), (Some(Status(503)), None, None));
        assert_eq!([StatusLater(503), ResetBeforeHead, ResetInBody].map(Failure::name), ["status_503", "reset", "reset"]);
        let clocks = named.into_iter().chain(more).filter(|name| Failure::named(name).is_some_and(Failure::is_timeout));
        assert_eq!(clocks.collect::<Vec<_>>(), ["connect_timeout", "head_timeout", "first_token_timeout", "idle_timeout", "total_timeout"]);
    }

    #[test]
    fn an_outcome_is_named_by_its_label_or_its_failure() {
        let all = [
            Outcome::Ok,
            Outcome::Transient(Failure::Connect),
            Outcome::RateLimited { wait: None, whole_key: false },
            Outcome::KeyFault { sure: true },
            Outcome::TooLong,
            Outcome::CallerFault,
            Outcome::ModelMissing,
            Outcome::Abandoned,
        ];
        assert_eq!(all.each_ref().map(Outcome::label), Outcome::LABELS);
        assert_eq!((all[1].name(), all[2].name()), ("connect".to_owned(), "rate_limited".to_owned()));
    }
}
