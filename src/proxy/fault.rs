//! How a request ends that no target could serve. The edge turns each into the caller's wire shape.

use std::time::Duration;

use bytes::Bytes;

/// See the module's text. Messages hold no secrets and no upstream text that may hold one.
#[derive(Clone, Debug)]
pub enum Fault {
    /// The upstream refused the request itself: its own answer, as it is.
    PassedOn {
        /// Its status.
        status: u16,
        /// Its content type.
        content_type: Option<String>,
        /// Its body.
        body: Bytes,
    },
    /// Every target failed, or all calls that a request may make were made.
    AllFailed {
        /// Each target and its reason, the last one's first.
        message: String,
        /// Whether the last one was a time-out, or the request's own deadline passed.
        timeout: bool,
    },
    /// No target could be tried.
    NoTarget {
        /// Each target and why it is out.
        message: String,
        /// When it is worth trying again.
        wait: Duration,
    },
    /// Every target is out of quota.
    RateLimited {
        /// Each target and its reason.
        message: String,
        /// The least wait.
        wait: Duration,
    },
    /// The gateway itself has no file descriptor left for a call.
    Overloaded,
    /// No target declares what the request needs.
    Unfit {
        /// Each target and its reason.
        message: String,
    },
    /// Every target's provider says that it doesn't have the model.
    ModelMissing {
        /// Each target and its reason.
        message: String,
    },
}

impl Fault {
    /// Of a call that another request made for this one too, and that nobody can say any more of.
    pub(super) fn lost() -> Self {
        Self::AllFailed { message: "the call that this request shared with identical ones was lost".to_owned(), timeout: false }
    }

    /// Of a request whose time was over while it waited for an identical one's call.
    pub fn waited_out() -> Self {
        Self::AllFailed { message: "the request's time was over while it waited for an identical one's call".to_owned(), timeout: true }
    }

    /// A word for the log.
    pub fn label(&self) -> &'static str {
        match self {
            Self::PassedOn { .. } => "passed_on",
            Self::AllFailed { timeout: false, .. } => "all_targets_failed",
            Self::AllFailed { timeout: true, .. } => "upstream_timeout",
            Self::NoTarget { .. } => "no_healthy_target",
            Self::RateLimited { .. } => "upstream_rate_limited",
            Self::Overloaded => "overloaded",
            Self::Unfit { .. } => "no_fitting_target",
            Self::ModelMissing { .. } => "model_missing",
        }
    }
}
