//! When a provider rests and how long a call may take: `[breaker]`, `[timeouts]`, `[retry]` and their overrides. Each is
//! read against a base: the built-in defaults, or what the section above it says.

use std::time::Duration;

use crate::health::Thresholds;

use super::raw::{MOST, Section};
use super::types::{Retry, TimeoutOverrides, Timeouts, WhenAllOpen};
use super::units;

/// All that `[breaker]` says.
#[derive(Clone)]
pub(super) struct Breaker {
    pub(super) thresholds: Thresholds,
    pub(super) when_all_open: WhenAllOpen,
    pub(super) key_quarantine: Duration,
    active_probe: bool,
    probe_every: Duration,
}

impl Breaker {
    /// The built-in defaults.
    pub(super) fn built_in() -> Self {
        Self {
            thresholds: Thresholds::default(),
            when_all_open: WhenAllOpen::LeastBad,
            key_quarantine: Duration::from_secs(1800),
            active_probe: false,
            probe_every: Duration::from_secs(10),
        }
    }

    /// How often an open provider is probed; None: by real calls only.
    pub(super) fn probe_every(&self) -> Option<Duration> {
        self.active_probe.then_some(self.probe_every)
    }

    /// `base` with what the section overrides.
    pub(super) fn read(mut s: Section<'_>, base: &Breaker) -> Self {
        let t = &base.thresholds;
        let thresholds = Thresholds {
            consecutive_failures: s.whole("consecutive_failures", t.consecutive_failures.into(), 1..=1_000_000) as u32,
            failure_ratio: share(&mut s, "failure_ratio", t.failure_ratio),
            minimum_requests: s.whole("minimum_requests", t.minimum_requests.into(), 1..=1_000_000) as u32,
            window: s.period("window", t.window),
            slow_call: s.period("slow_call", t.slow_call),
            slow_ratio: share(&mut s, "slow_ratio", t.slow_ratio),
            open_for: s.period("open_for", t.open_for),
            open_for_max: s.period("open_for_max", t.open_for_max),
            half_open_probes: s.whole("half_open_probes", t.half_open_probes.into(), 1..=65_535) as u16,
            close_after: s.whole("close_after", t.close_after.into(), 1..=1_000_000) as u32,
            ramp: s.duration("ramp", t.ramp),
            probe_gap: t.probe_gap,
        };
        // Where neither is written here, the section above has been told already.
        let own = s.has("open_for") || s.has("open_for_max");
        if own && thresholds.open_for_max < thresholds.open_for {
            s.problem("open_for_max", "is shorter than `open_for`; raise it or lower `open_for`");
        }
        let policies = [("least_bad", WhenAllOpen::LeastBad), ("refuse", WhenAllOpen::Refuse)];
        let when_all_open = s.choice("when_all_open", &policies, base.when_all_open);
        let probe_gap = if when_all_open == WhenAllOpen::Refuse { Duration::from_secs(1) } else { Duration::ZERO };
        Self {
            thresholds: Thresholds { probe_gap, ..thresholds },
            when_all_open,
            key_quarantine: s.period("key_quarantine", base.key_quarantine),
            active_probe: s.choice("probe", &[("passive", false), ("active", true)], base.active_probe),
            probe_every: s.period("probe_every", base.probe_every),
        }
    }
}

/// The built-in `[timeouts]`.
pub(super) fn built_in_timeouts() -> Timeouts {
    Timeouts {
        connect: Duration::from_secs(3),
        first_byte: Duration::from_secs(120),
        first_token: Duration::from_secs(60),
        idle: Duration::from_secs(30),
        total: Duration::from_secs(600),
    }
}

/// `[timeouts]` and `[providers.X.timeouts]`: `base` with what the section overrides.
pub(super) fn timeouts(s: Section<'_>, base: &Timeouts) -> Timeouts {
    let own = timeout_overrides(s);
    Timeouts {
        connect: own.connect.unwrap_or(base.connect),
        first_byte: own.first_byte.unwrap_or(base.first_byte),
        first_token: own.first_token.unwrap_or(base.first_token),
        idle: own.idle.unwrap_or(base.idle),
        total: own.total.unwrap_or(base.total),
    }
}

/// `[models.X.timeouts]`.
pub(super) fn timeout_overrides(mut s: Section<'_>) -> TimeoutOverrides {
    TimeoutOverrides {
        connect: s.optional_period("connect"),
        first_byte: s.optional_period("first_byte"),
        first_token: s.optional_period("first_token"),
        idle: s.optional_period("idle"),
        total: s.optional_period("total"),
    }
}

/// `[retry]` and `[models.X.retry]`: `base` with what the section overrides.
pub(super) fn retry(mut s: Section<'_>, base: &Retry) -> Retry {
    let retry = Retry {
        attempts: s.whole("attempts", base.attempts.into(), 1..=1000) as u32,
        same_target: s.whole("same_target", base.same_target.into(), 0..=1000) as u32,
        backoff: s.duration("backoff", base.backoff),
        wait: s.duration("wait", base.wait),
        budget_ratio: millionths(&mut s, "budget_ratio", base.budget_ratio),
        budget_min: s.whole("budget_min", base.budget_min, 0..=MOST),
        hedge: hedge(&mut s, base.hedge),
        hedge_ratio: millionths(&mut s, "hedge_ratio", base.hedge_ratio),
    };
    // Where neither is written here, the section above has been told already.
    if retry.hedge.is_some() && retry.attempts < 2 && (s.has("hedge") || s.has("attempts")) {
        s.warn("hedge", "has no effect: it takes a second call, and `attempts` allows one");
    }
    retry
}

/// "off", or a percentile in millionths.
fn hedge(s: &mut Section<'_>, base: Option<u32>) -> Option<u32> {
    let text = s.text("hedge", "off");
    match text.as_str() {
        _ if !s.has("hedge") => base,
        "off" => None,
        text => units::percentile(text).or_else(|| {
            s.problem("hedge", "must be \"off\" or a percentile such as \"p95\"");
            base
        }),
    }
}

/// A share from 0 to 1, in millionths.
fn millionths(s: &mut Section<'_>, key: &'static str, default: u32) -> u32 {
    (s.number(key, f64::from(default) / 1e6, 0.0..=1.0) * 1e6).round() as u32
}

/// A share above zero: at zero, a breaker would trip on calls that went well.
fn share(s: &mut Section<'_>, key: &'static str, default: f64) -> f64 {
    let share = s.number(key, default, 0.0..=1.0);
    if share > 0.0 {
        return share;
    }
    s.problem(key, "must be above 0: at 0 every call would count as too many");
    default
}
