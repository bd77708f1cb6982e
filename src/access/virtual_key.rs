//! A virtual key as the gateway knows it: whose it is and what it may do. Not its secret, of which nobody keeps more than a
//! digest: what is here can be logged.

use std::sync::Arc;
use std::time::Duration;

use super::glob::glob_matches;

/// The terms of a key, from the settings or from the store. Times are since the Unix epoch; a limit of 0 is none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VirtualKey {
    /// What limits, budgets and the ledger know it by: it stays while its name or its secret changes.
    pub id: Arc<str>,
    /// Its name in logs and metrics.
    pub name: Arc<str>,
    /// Public models that it may use; globs.
    pub models: Vec<String>,
    /// Requests a minute.
    pub rpm: u64,
    /// Tokens a minute.
    pub tpm: u64,
    /// Requests at once.
    pub concurrency: u64,
    /// What it may spend.
    pub budget: Option<Budget>,
    /// From then on it is refused.
    pub expires: Option<Duration>,
    /// Since when it is revoked.
    pub revoked: Option<Duration>,
    /// When it was made; the epoch for those from settings.
    pub created: Duration,
}

/// What a key may spend in each of its windows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// In nano-dollars; above zero.
    pub nanos: u64,
    /// When it begins anew.
    pub window: Window,
    /// Whether models without a known price may be used.
    pub unpriced: bool,
}

/// The largest budget.
const MOST_USD: f64 = 1e9;

/// When a budget begins anew, by UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Window {
    /// At midnight.
    Day,
    /// On Monday.
    Week,
    /// On the first.
    Month,
    /// Never.
    Total,
}

impl Budget {
    /// Of so many dollars; Some(None): none is set. None where that is no amount.
    pub fn of_usd(usd: f64, window: Window, unpriced: bool) -> Option<Option<Self>> {
        let nanos = (0.0..=MOST_USD).contains(&usd).then(|| (usd * 1e9).round() as u64)?;
        Some((nanos > 0).then_some(Self { nanos, window, unpriced }))
    }
}

impl Window {
    /// When the one began in which a time lies, since the Unix epoch.
    pub fn began(self, now: Duration) -> Duration {
        const DAY: u64 = 86_400;
        let days = now.as_secs() / DAY;
        let day = match self {
            Self::Day => days,
            // The epoch was a Thursday.
            Self::Week => (days + 3).saturating_sub((days + 3) % 7).saturating_sub(3),
            Self::Month => days.saturating_sub(day_of_month(now)),
            Self::Total => 0,
        };
        Duration::from_secs(day * DAY)
    }

    /// All, by their name in settings and the admin plane.
    pub const ALL: [(&'static str, Self); 4] = [("day", Self::Day), ("week", Self::Week), ("month", Self::Month), ("total", Self::Total)];

    /// Its name.
    pub fn name(self) -> &'static str {
        Self::ALL[self as usize].0
    }

    /// The one of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|(known, _)| *known == name).map(|(_, window)| window)
    }
}

/// Days that have passed of a time's month.
fn day_of_month(now: Duration) -> u64 {
    let seconds = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    let time = jiff::Timestamp::from_second(seconds).unwrap_or_default().to_zoned(jiff::tz::TimeZone::UTC);
    u64::try_from(time.day() - 1).unwrap_or_default()
}

impl VirtualKey {
    /// The largest limit that can be set.
    pub const MOST: u64 = 1_000_000_000_000_000;

    /// Whether it may use a public model.
    pub fn may_use(&self, model: &str) -> bool {
        self.models.iter().any(|glob| glob_matches(glob, model))
    }

    /// Whether anything limits how much it may use.
    pub fn is_limited(&self) -> bool {
        self.rpm > 0 || self.tpm > 0 || self.concurrency > 0 || self.budget.is_some()
    }

    /// Whether it can list these: up to 1000 names or patterns of 1 to 256 bytes.
    pub fn may_list(models: &[String]) -> bool {
        models.len() <= 1_000 && models.iter().all(|glob| (1..=256).contains(&glob.len()))
    }

    /// Whether it is refused by then, whatever its secret is.
    pub fn has_ended(&self, now: Duration) -> bool {
        self.ends().is_some_and(|end| end <= now)
    }

    /// From when on it is refused.
    pub fn ends(&self) -> Option<Duration> {
        [self.expires, self.revoked].into_iter().flatten().min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_have_names() {
        for (name, window) in Window::ALL {
            assert_eq!((window.name(), Window::named(name)), (name, Some(window)));
        }
        assert_eq!(Window::named("hour"), None);
    }

    #[test]
    fn windows_begin_by_utc() {
        let time = |text| crate::base::date(text).unwrap();
        for (now, window, began) in [
            ("2026-11-26T12:00:00Z", Window::Day, "2026-11-26"),
            ("2026-11-26T12:00:00Z", Window::Week, "2026-11-23"),
            ("2026-11-23", Window::Week, "2026-11-23"),
            ("2026-11-22T23:59:59Z", Window::Week, "2026-11-16"),
            ("2026-11-26T12:00:00Z", Window::Month, "2026-11-01"),
            ("2024-02-29", Window::Month, "2024-02-01"),
            ("2026-11-26T12:00:00Z", Window::Total, "1970-01-01"),
            ("1970-01-01T12:00:00Z", Window::Week, "1970-01-01"),
        ] {
            assert_eq!(window.began(time(now)), time(began), "{now} {window:?}");
        }
    }

    #[test]
    fn a_budget_is_an_amount_of_dollars() {
        let budget = |usd| Budget::of_usd(usd, Window::Day, false).map(|budget| budget.map(|budget| budget.nanos));
        assert_eq!((budget(1.5), budget(0.0)), (Some(Some(1_500_000_000)), Some(None)));
        assert!([-1.0, f64::NAN, f64::INFINITY, 1e10].into_iter().all(|bad| budget(bad).is_none()));
    }

    #[test]
    fn a_key_ends_by_what_comes_first() {
        let seconds = |n| Some(Duration::from_secs(n));
        let key = |expires, revoked| VirtualKey { expires, revoked, ..VirtualKey::default() };
        assert_eq!(key(None, None).ends(), None);
        assert_eq!((key(seconds(5), None).ends(), key(seconds(5), seconds(3)).ends()), (seconds(5), seconds(3)));
        let ended = |at| key(seconds(5), None).has_ended(Duration::from_secs(at));
        assert_eq!((ended(4), ended(5), key(None, None).has_ended(Duration::MAX)), (false, true, false));
    }

    #[test]
    fn an_allow_list_holds_names_and_not_too_many() {
        let list = |count: usize, length: usize| VirtualKey::may_list(&vec!["x".repeat(length); count]);
        assert!(list(0, 0) && list(1, 1) && list(1_000, 256));
        assert!(!list(1, 0) && !list(1, 257) && !list(1_001, 1));
    }
}
