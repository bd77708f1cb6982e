//! The settings that routing reads: how a target is chosen, how long a call may take, how often it is repeated.

use std::time::Duration;

/// `models.X.strategy`: how one of a pool's targets is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strategy {
    /// Power of two choices on load.
    Healthiest,
    /// By weight.
    Weighted,
    /// Least latency.
    Fastest,
    /// Least price, then load.
    Cheapest,
    /// As written.
    Ordered,
}

impl Strategy {
    /// All of them with their names in the settings.
    pub const NAMES: [(&'static str, Self); 5] = [
        ("healthiest", Self::Healthiest),
        ("weighted", Self::Weighted),
        ("fastest", Self::Fastest),
        ("cheapest", Self::Cheapest),
        ("ordered", Self::Ordered),
    ];

    /// As the settings write it.
    pub fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(_, strategy)| *strategy == self).map_or("", |(name, _)| name)
    }

    /// The one that the settings write so.
    pub fn named(name: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(known, _)| *known == name).map(|(_, strategy)| *strategy)
    }
}

/// `breaker.when_all_open`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenAllOpen {
    /// Try the target that recovers soonest, once.
    LeastBad,
    /// Refuse with 503.
    Refuse,
}

impl WhenAllOpen {
    /// As the settings write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::LeastBad => "least_bad",
            Self::Refuse => "refuse",
        }
    }

    /// The one that the settings write so.
    pub fn named(name: &str) -> Option<Self> {
        [Self::LeastBad, Self::Refuse].into_iter().find(|policy| policy.name() == name)
    }
}

/// `[timeouts]` with overrides merged in.
#[derive(Clone, Debug, PartialEq)]
pub struct Timeouts {
    /// DNS, TCP and TLS together.
    pub connect: Duration,
    /// Until the response head.
    pub first_byte: Duration,
    /// Until a stream's first content.
    pub first_token: Duration,
    /// Silence between two pieces of a stream.
    pub idle: Duration,
    /// The whole request, all attempts.
    pub total: Duration,
}

/// `[retry]` with overrides merged in. Shares are in millionths.
#[derive(Clone, Debug, PartialEq)]
pub struct Retry {
    /// Upstream calls per request at most, first included.
    pub attempts: u32,
    /// Of those, repeats on one target.
    pub same_target: u32,
    /// Before a repeat: full jitter up to this, doubling.
    pub backoff: Duration,
    /// A Retry-After up to this is waited out before another target is tried.
    pub wait: Duration,
    /// Repeats and hedges may be this share of live requests ...
    pub budget_ratio: u32,
    /// ... but always this many a second.
    pub budget_min: u64,
    /// A second target is started when the first is later than this share of its recent calls; None: never.
    pub hedge: Option<u32>,
    /// At most this share of requests is hedged.
    pub hedge_ratio: u32,
}

impl Default for Retry {
    /// The built-in defaults.
    fn default() -> Self {
        Self {
            attempts: 4,
            same_target: 1,
            backoff: Duration::from_millis(100),
            wait: Duration::ZERO,
            budget_ratio: 200_000,
            budget_min: 10,
            hedge: None,
            hedge_ratio: 50_000,
        }
    }
}

impl Retry {
    /// Whether the buckets that another's requests fill are theirs too: a share of its own wants a bucket of its own.
    pub fn shares_budget(&self, other: &Self) -> bool {
        let terms = |retry: &Self| (retry.budget_ratio, retry.budget_min, retry.hedge_ratio);
        terms(self) == terms(other)
    }
}

/// `[stream]` with overrides merged in.
#[derive(Clone, Debug, PartialEq)]
pub struct Streaming {
    /// Whether a stream that breaks after content went out is continued.
    pub recovery: bool,
    /// Whether tool calls are withheld until they are whole.
    pub hold_tools: bool,
    /// How long the first content is withheld.
    pub hold: Duration,
    /// How long a caller who left may come back; zero: not at all.
    pub resume_window: Duration,
    /// The most that a request may ask for.
    pub resume_max: Duration,
    /// What is kept of one stream for that, in bytes.
    pub resume_buffer: usize,
}

/// `[cache]` with overrides merged in: which answers are kept, and for how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caching {
    /// Whether a request gets the stored answer to the same one.
    pub exact: bool,
    /// Only where the request says temperature 0, or asks for it.
    pub only_deterministic: bool,
    /// How long an answer is kept.
    pub ttl: Duration,
    /// All answers that are kept together, in bytes.
    pub max: u64,
    /// Whether identical requests in flight share one upstream call.
    pub coalesce: bool,
}

impl Default for Caching {
    /// The built-in defaults.
    fn default() -> Self {
        Self { exact: false, only_deterministic: false, ttl: Duration::from_secs(600), max: 256 << 20, coalesce: true }
    }
}

impl Default for Streaming {
    /// The built-in defaults.
    fn default() -> Self {
        Self {
            recovery: true,
            hold_tools: false,
            hold: Duration::ZERO,
            resume_window: Duration::ZERO,
            resume_max: Duration::from_secs(300),
            resume_buffer: 4 << 20,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_are_found_by_their_names() {
        assert_eq!(Strategy::NAMES.map(|(_, strategy)| strategy.name()), ["healthiest", "weighted", "fastest", "cheapest", "ordered"]);
        assert!(Strategy::NAMES.iter().all(|(name, strategy)| Strategy::named(name) == Some(*strategy)));
        assert_eq!([WhenAllOpen::LeastBad, WhenAllOpen::Refuse].map(WhenAllOpen::name), ["least_bad", "refuse"]);
        let named = ["least_bad", "refuse", "hope"].map(WhenAllOpen::named);
        assert_eq!((named, Strategy::named("luck")), ([Some(WhenAllOpen::LeastBad), Some(WhenAllOpen::Refuse), None], None));
    }

    #[test]
    fn only_equal_terms_share_a_budget() {
        let usual = Retry::default();
        assert!(usual.shares_budget(&Retry { attempts: 9, wait: Duration::from_secs(1), ..usual.clone() }));
        for other in [
            Retry { budget_ratio: 1, ..usual.clone() },
            Retry { budget_min: 1, ..usual.clone() },
            Retry { hedge_ratio: 1, ..usual.clone() },
        ] {
            assert!(!usual.shares_budget(&other) && !other.shares_budget(&usual));
        }
    }
}
