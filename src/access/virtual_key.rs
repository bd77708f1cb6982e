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

impl Window {
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

impl VirtualKey {
    /// Whether it may use a public model.
    pub fn may_use(&self, model: &str) -> bool {
        self.models.iter().any(|glob| glob_matches(glob, model))
    }

    /// Whether anything limits how much it may use.
    pub fn is_limited(&self) -> bool {
        self.rpm > 0 || self.tpm > 0 || self.concurrency > 0 || self.budget.is_some()
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
    fn a_key_ends_by_what_comes_first() {
        let seconds = |n| Some(Duration::from_secs(n));
        let key = |expires, revoked| VirtualKey { expires, revoked, ..VirtualKey::default() };
        assert_eq!(key(None, None).ends(), None);
        assert_eq!((key(seconds(5), None).ends(), key(seconds(5), seconds(3)).ends()), (seconds(5), seconds(3)));
    }
}
