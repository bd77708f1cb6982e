//! The metrics' labels, and the enums whose names they are. None comes from a caller: a caller could make series without end.

use prometheus_client::encoding::EncodeLabelSet;

/// The model label of requests that name none of the settings' models.
pub const UNKNOWN_MODEL: &str = "unknown";

/// The kinds of tokens; `cached` and `cache_write` are parts of `input`, `reasoning` of `output`.
pub(super) const TOKENS: [&str; 5] = ["input", "cached", "cache_write", "output", "reasoning"];

/// How an active probe ends.
pub(super) const PROBED: [&str; 2] = ["bad", "good"];

/// Which limit a request was refused by, before anything was done for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// `server.max_requests`.
    MaxRequests,
    /// `server.max_streams`.
    MaxStreams,
    /// Memory is short.
    Memory,
    /// File descriptors are short.
    Descriptors,
    /// A key's requests a minute.
    Rpm,
    /// A key's tokens a minute.
    Tpm,
    /// A key's requests at once.
    Concurrency,
    /// A key's budget.
    Budget,
    /// A key's budget, of a model without a known price.
    Unpriced,
    /// The wrong keys of one address.
    WrongKeys,
}

impl Refused {
    /// All of them with their names in /metrics, in the order of their declaration.
    pub(super) const KINDS: [&'static str; 10] =
        ["max_requests", "max_streams", "memory", "descriptors", "rpm", "tpm", "concurrency", "budget", "unpriced", "wrong_keys"];
}

/// What the cache had to do with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cached {
    /// It was given a stored answer.
    Hit,
    /// It made a call whose answer may be stored.
    Miss,
    /// It shared a call that an identical one made.
    Coalesced,
}

impl Cached {
    pub(super) const NAMES: [&'static str; 3] = ["hit", "miss", "coalesced"];

    /// Its name in heads, labels and the log.
    pub fn name(self) -> &'static str {
        Self::NAMES[self as usize]
    }
}

/// How a second call beside a late one ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hedged {
    /// It answered first.
    Won,
    /// The late one answered first.
    Lost,
    /// Neither answered.
    Failed,
    /// The caller left before either did.
    Left,
    /// It wasn't made: the budget was spent.
    Refused,
}

impl Hedged {
    /// All of them with their names in /metrics, in the order of their declaration.
    pub(super) const NAMES: [&'static str; 5] = ["won", "lost", "failed", "left", "refused"];
}

/// What became of a span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exported {
    /// The collector has it.
    Sent,
    /// The queue was full, or the collector away for too long.
    Dropped,
    /// The collector refused it.
    Refused,
}

impl Exported {
    pub(super) const NAMES: [&'static str; 3] = ["sent", "dropped", "refused"];
}

/// How a call ended that was to go on with a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecoveryResult {
    /// Its words were stitched on.
    Ok,
    /// It failed before its first new word.
    Failed,
    /// The target refused to be asked so.
    Rejected,
    /// It said something else than was said.
    Differed,
}

impl RecoveryResult {
    pub(super) const ALL: [Self; 4] = [Self::Ok, Self::Failed, Self::Rejected, Self::Differed];

    /// Its name in labels and the log.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Failed => "failed",
            Self::Rejected => "rejected",
            Self::Differed => "differed",
        }
    }
}

macro_rules! labels {
    ($($set:ident { $($label:ident: $kind:ty),* })*) => {
        $(
            #[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
            pub(super) struct $set {
                $(pub(super) $label: $kind),*
            }
        )*
    };
}

labels! {
    RequestLabels { model: String, status: String, stream: &'static str }
    AttemptLabels { provider: String, model: String, outcome: &'static str }
    ModelLabel { model: String }
    TokenLabels { model: String, kind: &'static str }
    ProviderLabel { provider: String }
    TargetLabels { provider: String, model: String }
    TransitionLabels { provider: String, model: String, to: &'static str, reason: &'static str }
    ResultLabel { result: &'static str }
    KindLabel { kind: &'static str }
    ProbeLabels { provider: String, result: &'static str }
    RecoveryLabels { way: &'static str, result: &'static str }
    ReasonLabel { reason: String }
    ActorLabel { actor: &'static str }
}
