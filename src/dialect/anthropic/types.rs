//! Anthropic's words for what the neutral shape has, and what each generation of its models takes.
//!
//! From <https://platform.claude.com/docs/en/api/messages>, <https://platform.claude.com/docs/en/about-claude/models/overview>,
//! <https://platform.claude.com/docs/en/build-with-claude/adaptive-thinking> and
//! <https://platform.claude.com/docs/en/build-with-claude/structured-outputs>.

use crate::dialect::chat::{Cache, Effort, Finish, Thinking};
use crate::dialect::node::Node;

/// Where a Claude model's name says no more than that it is one: it is taken for the newest.
const NEWEST: (u32, u32) = (u32::MAX, 0);
/// What a model of another vendor's is given where the caller sets no limit, as one is required.
const MODEST_LIMIT: u64 = 8_192;

/// What a model takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Abilities {
    /// Its most tokens of an answer: a limit is required, so this stands where the caller sets none.
    pub(super) most_tokens: u64,
    /// How it is made to think.
    pub(super) thinks: Thinks,
    /// Which of `temperature`, `top_p` and `top_k` it takes.
    pub(super) sampling: Sampling,
    /// Whether `output_config.format` and `strict` tools are known to it.
    pub(super) schema: bool,
    /// The hardest effort that it knows.
    pub(super) most_effort: Effort,
}

/// How a model is made to think.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Thinks {
    /// Not at all.
    Never,
    /// With a budget of tokens.
    ByBudget,
    /// As it sees fit, with an effort.
    Adaptively,
}

/// Which sampling fields a model takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sampling {
    /// All of them.
    All,
    /// `temperature` or `top_p`, not both.
    OneOf,
    /// None: since 4.7 they are refused.
    None,
}

/// What a model takes, by its name.
pub(super) fn abilities(model: &str) -> Abilities {
    // Another vendor's model behind this dialect: what the oldest of Anthropic's take, and thinking by a budget.
    let Some(version) = version(model) else {
        return Abilities {
            most_tokens: MODEST_LIMIT,
            thinks: Thinks::ByBudget,
            sampling: Sampling::All,
            schema: false,
            most_effort: Effort::High,
        };
    };
    Abilities {
        most_tokens: match version {
            (..=2, _) | (3, ..=4) => 4_096,
            (3, 5..=6) => 8_192,
            (4, 0..=1) if model.contains("opus") => 32_000,
            _ => 64_000,
        },
        thinks: match version {
            (..=2, _) | (3, ..=6) => Thinks::Never,
            (3, _) | (4, ..=5) => Thinks::ByBudget,
            _ => Thinks::Adaptively,
        },
        sampling: match version {
            (..=3, _) | (4, 0) => Sampling::All,
            (4, 1..=6) => Sampling::OneOf,
            _ => Sampling::None,
        },
        schema: version >= (4, 5),
        most_effort: if version >= (4, 7) { Effort::Max } else { Effort::High },
    }
}

/// The generation that a Claude model's name tells: `claude-3-5-haiku-20241022`, `claude-sonnet-4-20250514`,
/// `claude-opus-4-8`, `anthropic/claude-sonnet-4.5`. None for a name that isn't Claude's.
fn version(model: &str) -> Option<(u32, u32)> {
    let rest = &model[model.find("claude")? + "claude".len()..];
    let mut numbers = rest.split(['-', '.', '@', ':', '_']).skip_while(|part| part.parse::<u32>().is_err());
    let Some(major) = numbers.next().and_then(|part| part.parse().ok()) else { return Some(NEWEST) };
    // A date is no part of the version.
    let minor = numbers.next().filter(|part| part.len() <= 2).and_then(|part| part.parse().ok());
    Some((major, minor.unwrap_or(0)))
}

/// Tokens to think with, for models that want a budget: the least is 1,024.
pub(super) fn budget(effort: Effort) -> u64 {
    match effort {
        Effort::None | Effort::Minimal | Effort::Low => LEAST_BUDGET,
        Effort::Medium => 8_192,
        Effort::High => 16_384,
        Effort::XHigh | Effort::Max => 32_000,
    }
}

/// A smaller budget is refused.
pub(super) const LEAST_BUDGET: u64 = 1_024;

/// What a stop reason means. One that nobody knows is an end like any other.
pub(super) fn finish(reason: &str) -> Finish {
    match reason {
        "max_tokens" => Finish::Length,
        "stop_sequence" => Finish::StopText,
        "tool_use" => Finish::Calls,
        "refusal" => Finish::Filtered,
        "model_context_window_exceeded" => Finish::WindowFull,
        "pause_turn" => Finish::Paused,
        _ => Finish::Stop,
    }
}

/// A stop reason's name.
pub(super) fn finish_name(finish: Finish) -> &'static str {
    match finish {
        Finish::Stop => "end_turn",
        Finish::StopText => "stop_sequence",
        Finish::Length => "max_tokens",
        Finish::Calls => "tool_use",
        Finish::Filtered => "refusal",
        Finish::WindowFull => "model_context_window_exceeded",
        Finish::Paused => "pause_turn",
    }
}

/// The type of the error that stands for a status. <https://platform.claude.com/docs/en/api/errors>
pub fn error_type(status: u16) -> &'static str {
    match status {
        401 => "authentication_error",
        402 => "billing_error",
        403 => "permission_error",
        404 => "not_found_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        504 => "timeout_error",
        529 => "overloaded_error",
        400..=499 => "invalid_request_error",
        _ => "api_error",
    }
}

/// A `cache_control` object; whatever it says, it is a mark.
pub(in crate::dialect) fn cache(node: Node<'_>) -> Cache {
    let hour = node.members().and_then(|mut m| m.text("ttl")).is_some_and(|ttl| ttl == "1h");
    if hour { Cache::Hour } else { Cache::Short }
}

/// A `thinking` object; None where it says something else than the neutral shape can.
pub(in crate::dialect) fn thinking(node: Node<'_>) -> Option<Thinking> {
    let mut m = node.members()?;
    match &*m.text("type")? {
        "disabled" => Some(Thinking::Off),
        "adaptive" => Some(Thinking::Adaptive),
        "enabled" => m.count("budget_tokens").map(Thinking::Budget),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_by_name() {
        for (model, expected) in [
            ("claude-3-haiku-20240307", Some((3, 0))),
            ("claude-3-5-haiku-latest", Some((3, 5))),
            ("claude-3-7-sonnet-20250219", Some((3, 7))),
            ("claude-sonnet-4-20250514", Some((4, 0))),
            ("claude-opus-4-1-20250805", Some((4, 1))),
            ("claude-haiku-4-5", Some((4, 5))),
            ("anthropic/claude-sonnet-4.5", Some((4, 5))),
            ("anthropic.claude-opus-4-6-v1:0", Some((4, 6))),
            ("claude-mythos-5-2", Some((5, 2))),
            ("claude-sonnet-5", Some((5, 0))),
            ("claude-mythos-preview", Some(NEWEST)),
            ("kimi-k2", None),
        ] {
            assert_eq!(version(model), expected, "{model}");
        }
    }

    #[test]
    fn abilities_by_generation() {
        let told = |model| {
            let a = abilities(model);
            (a.most_tokens, a.thinks, a.sampling, a.schema)
        };
        assert_eq!(told("claude-3-haiku-20240307"), (4_096, Thinks::Never, Sampling::All, false));
        assert_eq!(told("claude-3-7-sonnet-latest"), (64_000, Thinks::ByBudget, Sampling::All, false));
        assert_eq!(told("claude-opus-4-1"), (32_000, Thinks::ByBudget, Sampling::OneOf, false));
        assert_eq!(told("claude-sonnet-4-20250514"), (64_000, Thinks::ByBudget, Sampling::All, false));
        assert_eq!(told("claude-haiku-4-5-20251001"), (64_000, Thinks::ByBudget, Sampling::OneOf, true));
        assert_eq!(told("claude-opus-4-6"), (64_000, Thinks::Adaptively, Sampling::OneOf, true));
        assert_eq!(told("claude-opus-4-8"), (64_000, Thinks::Adaptively, Sampling::None, true));
        assert_eq!(told("some-other"), (8_192, Thinks::ByBudget, Sampling::All, false));
    }

    #[test]
    fn stop_reasons_there_and_back() {
        for reason in ["end_turn", "max_tokens", "stop_sequence", "tool_use", "pause_turn", "refusal", "model_context_window_exceeded"] {
            assert_eq!(finish_name(finish(reason)), reason);
        }
        assert_eq!(finish("something_new"), Finish::Stop);
    }
}
