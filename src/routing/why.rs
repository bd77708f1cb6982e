//! Why no call is made: the reason of each target that is out, in words and as a time to come again.

use crate::base::Moment;

/// Why a target is out.
#[derive(Clone, Debug, PartialEq)]
pub enum Why {
    /// This request has had it.
    Tried,
    /// Its breaker, or its provider's, is open until then.
    Open(Moment),
    /// An operator holds its breaker, or its provider's, open.
    Held,
    /// Half-open, and its probes are under way.
    Probing,
    /// Every key that could be used rests until then, out of quota.
    KeysResting(Moment),
    /// Every key was refused; the first of them may be sent again then.
    KeysRefused(Moment),
    /// Every key was tried by this request.
    KeysTried,
    /// The provider says that it doesn't have the model.
    Missing,
    /// The provider has as many calls under way as it may.
    Full,
    /// Its window isn't larger than one that was too small.
    TooSmall,
    /// It doesn't declare what the request needs.
    Unfit(&'static str),
}

impl Why {
    /// A few words for messages, /v1/route and logs.
    pub fn text(&self, now: Moment) -> String {
        let wait = |until: &Moment| format!("{:.1} s", until.since(now).as_secs_f64());
        match self {
            Self::Tried => "already tried by this request".into(),
            Self::Open(until) => format!("breaker open for {}", wait(until)),
            Self::Held => "breaker held open by an operator".into(),
            Self::Probing => "breaker half-open, its probes are under way".into(),
            Self::KeysResting(until) => format!("rate-limited for {}", wait(until)),
            Self::KeysRefused(_) => "its keys were refused".into(),
            Self::KeysTried => "no other key".into(),
            Self::Missing => "the provider says that it has no such model".into(),
            Self::Full => "at its concurrency limit".into(),
            Self::TooSmall => "its context window is too small".into(),
            Self::Unfit(need) => format!("does not declare {need}"),
        }
    }

    /// When it may be asked again, where a time is known.
    pub fn retry_at(&self) -> Option<Moment> {
        match self {
            Self::Open(at) | Self::KeysResting(at) | Self::KeysRefused(at) => Some(*at),
            _ => None,
        }
    }
}

/// No target can be tried.
#[derive(Debug)]
pub struct NoTarget {
    /// Each target of the chain and why it is out, in order.
    pub why: Vec<(String, Why)>,
}

impl NoTarget {
    /// The earliest time at which one could be tried.
    pub fn retry_at(&self) -> Option<Moment> {
        self.why.iter().filter_map(|(_, why)| why.retry_at()).min()
    }

    /// Whether every target that wasn't tried is out of quota.
    pub fn all_resting(&self) -> bool {
        let mut untried = self.why.iter().filter(|(_, why)| *why != Why::Tried).peekable();
        untried.peek().is_some() && untried.all(|(_, why)| matches!(why, Why::KeysResting(_)))
    }

    /// Whether every target's provider says that it doesn't have the model.
    pub fn all_missing(&self) -> bool {
        !self.why.is_empty() && self.why.iter().all(|(_, why)| *why == Why::Missing)
    }

    /// Whether no target can do what the request needs, however long it waits.
    /// `besides`: whether a target, by name, was found unfit without being asked.
    pub fn all_unfit(&self, besides: impl Fn(&str) -> bool) -> bool {
        let unfit = |(name, why): &(String, Why)| matches!(why, Why::Unfit(_) | Why::TooSmall) || besides(name);
        !self.why.is_empty() && self.why.iter().all(unfit)
    }

    /// Whether every target was tried or is out of quota.
    pub fn all_resting_or_tried(&self) -> bool {
        self.why.iter().all(|(_, why)| matches!(why, Why::KeysResting(_) | Why::KeysTried | Why::Tried))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: Moment = Moment::from_millis(5_000);

    #[test]
    fn what_all_have_in_common_is_what_the_caller_is_told() {
        let all = |why: &[Why]| {
            let none = NoTarget { why: why.iter().map(|why| ("p/m".to_owned(), why.clone())).collect() };
            [none.all_resting(), none.all_missing(), none.all_unfit(|_| false), none.all_resting_or_tried()]
        };
        let resting = Why::KeysResting(AT);
        for (why, [is_resting, missing, unfit, resting_or_tried]) in [
            (&[][..], [false, false, false, true]),
            (&[resting.clone(), resting.clone()], [true, false, false, true]),
            (&[resting.clone(), Why::Tried], [true, false, false, true]),
            (&[Why::Tried, Why::KeysTried], [false, false, false, true]),
            (&[resting.clone(), Why::Full], [false; 4]),
            (&[Why::Missing, Why::Missing], [false, true, false, false]),
            (&[Why::Missing, Why::TooSmall], [false; 4]),
            (&[Why::TooSmall, Why::Unfit("tools")], [false, false, true, false]),
            (&[Why::TooSmall, resting], [false; 4]),
        ] {
            assert_eq!(all(why), [is_resting, missing, unfit, resting_or_tried], "{why:?}");
        }
    }
}
