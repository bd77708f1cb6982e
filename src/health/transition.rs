//! A breaker's states, the reasons for each move between them, what they mean for a call, and what an operator may order.

use std::time::Duration;

use crate::base::Moment;

/// The three states.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Serving.
    Closed,
    /// Refusing until its time.
    Open,
    /// Letting a bounded number of probes through.
    HalfOpen,
}

impl State {
    /// The state's name in /health, metrics and logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
        }
    }

    /// The one of this name.
    pub fn named(name: &str) -> Option<Self> {
        [Self::Closed, Self::Open, Self::HalfOpen].into_iter().find(|state| state.name() == name)
    }
}

/// Why a breaker moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Too many failures in a row.
    Consecutive,
    /// Too large a share of the window failed.
    Ratio,
    /// A failure that won't mend by itself, such as a wrong certificate.
    Hard,
    /// Several models of the provider tripped within a window.
    SeveralModels,
    /// The open period ended.
    PeriodOver,
    /// A call made though the breaker was open, since nothing else was left, succeeded.
    LeastBadSucceeded,
    /// A probe failed.
    ProbeFailed,
    /// Enough probes succeeded.
    ProbesSucceeded,
    /// An active probe found the provider answering before the open period was over.
    ActiveProbe,
    /// An operator opened it, until told otherwise.
    OperatorOpen,
    /// An operator closed it, until told otherwise.
    OperatorClose,
    /// An operator made it as new.
    OperatorReset,
}

impl Reason {
    /// All of them, so that one can be published as a number, and counted from nought on.
    pub const ALL: [Self; 12] = [
        Self::Consecutive,
        Self::Ratio,
        Self::Hard,
        Self::SeveralModels,
        Self::PeriodOver,
        Self::LeastBadSucceeded,
        Self::ProbeFailed,
        Self::ProbesSucceeded,
        Self::ActiveProbe,
        Self::OperatorOpen,
        Self::OperatorClose,
        Self::OperatorReset,
    ];

    /// The reason's name in /health, metrics and logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Consecutive => "consecutive_failures",
            Self::Ratio => "failure_ratio",
            Self::Hard => "hard_failure",
            Self::SeveralModels => "several_models",
            Self::PeriodOver => "period_over",
            Self::LeastBadSucceeded => "least_bad_succeeded",
            Self::ProbeFailed => "probe_failed",
            Self::ProbesSucceeded => "probes_succeeded",
            Self::ActiveProbe => "active_probe",
            Self::OperatorOpen => "operator_open",
            Self::OperatorClose => "operator_close",
            Self::OperatorReset => "operator_reset",
        }
    }

    /// The state that it leads to, always the same.
    pub fn leads_to(self) -> State {
        match self {
            Self::Consecutive | Self::Ratio | Self::Hard | Self::SeveralModels | Self::ProbeFailed | Self::OperatorOpen => State::Open,
            Self::PeriodOver | Self::LeastBadSucceeded | Self::ActiveProbe => State::HalfOpen,
            Self::ProbesSucceeded | Self::OperatorClose | Self::OperatorReset => State::Closed,
        }
    }

    /// The one of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.name() == name)
    }
}

/// One move of a breaker. An operator's may lead to the state that it leaves: open until a time, then open for good.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Transition {
    /// The state left.
    pub from: State,
    /// The state entered.
    pub to: State,
    /// Why.
    pub reason: Reason,
    /// The open period as drawn, where `to` is open; an operator's has none, since it has no end.
    pub period: Option<Duration>,
}

/// Whether a call may pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// Closed.
    Admit,
    /// The open period is over and a permit is free to be claimed.
    Due,
    /// Half-open, all permits taken, or the last one too short a while ago.
    Busy,
    /// Open until then.
    Refuse(Moment),
    /// Held open by an operator.
    Held,
}

/// What an operator orders: `action` of POST /admin/breakers/{provider}.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Force {
    /// Open, without an end and without probes, until closed or reset.
    Open,
    /// Closed, and no failure opens it, until opened or reset.
    Close,
    /// As new: closed, nothing counted.
    Reset,
}

impl Force {
    /// Its name in the admin plane and on record.
    pub fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Close => "close",
            Self::Reset => "reset",
        }
    }

    /// By its name in the admin plane.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "open" => Some(Self::Open),
            "close" => Some(Self::Close),
            "reset" => Some(Self::Reset),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_and_reasons_are_found_by_their_names() {
        assert_eq!([State::Closed, State::Open, State::HalfOpen].map(State::name), ["closed", "open", "half_open"]);
        let named = ["half_open", "open", "closed", "ajar"].map(State::named);
        assert_eq!(named, [Some(State::HalfOpen), Some(State::Open), Some(State::Closed), None]);
        assert_eq!(Reason::ALL.map(|reason| Reason::named(reason.name())), Reason::ALL.map(Some));
        assert_eq!(Reason::named("luck"), None);
    }

    #[test]
    fn orders_are_found_by_their_names() {
        for order in [Force::Open, Force::Close, Force::Reset] {
            assert_eq!(Force::named(order.name()), Some(order));
        }
    }
}
