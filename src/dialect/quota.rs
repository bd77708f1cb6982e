//! What an answer's head says of its key's limits, in the spellings that vendors use: OpenAI's and its likes'
//! `x-ratelimit-remaining-requests`, Anthropic's `anthropic-ratelimit-requests-remaining`, the plain `x-ratelimit-remaining`,
//! the drafts' `ratelimit-remaining`; a reset as seconds, as `6m0s`, as a time of day. Never an error: what can't be read
//! isn't there.
//!
//! OpenAI: <https://platform.openai.com/docs/guides/rate-limits>, Anthropic: <https://docs.claude.com/en/api/rate-limits>,
//! Groq: <https://console.groq.com/docs/rate-limits>.

use std::time::Duration;

use super::retry_after::{LONGEST, span};
use crate::health::{Line, Said};

const PREFIXES: &[&str] = &["x-ratelimit-", "anthropic-ratelimit-", "ratelimit-", "x-rate-limit-"];
/// What one vendor may tell of several kinds, each limited by itself: input and output tokens, minutes and days.
const KINDS: &[&str] = &["input", "output", "second", "minute", "hour", "day", "project"];
/// Each kind, and the one without a word, of requests and of tokens.
const LINES: usize = 2 * (KINDS.len() + 1);
/// Scopes that mean the key as a whole, not the model alone.
const WHOLE: &[&str] = &["global", "account", "organization", "org", "workspace", "key", "user"];
/// Seconds that are a time of day, not a wait: 2001 and later.
const EPOCH: f64 = 1e9;

/// What was read so far; made of the headers one by one.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Quota {
    lines: [Written; LINES],
    whole_key: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Written {
    remaining: Option<u64>,
    /// Of a limit that fills up continuously: a plain `x-ratelimit-limit` is of a window that is over at its reset.
    limit: Option<u64>,
    reset: Option<Reset>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Reset {
    In(Duration),
    /// Since the Unix epoch.
    At(Duration),
}

#[derive(Clone, Copy)]
enum Part {
    Remaining,
    Limit,
    Reset,
}

impl Quota {
    /// Whether a header, its name in lower case, may speak of limits.
    pub fn concerns(name: &str) -> bool {
        PREFIXES.iter().any(|prefix| name.starts_with(prefix))
    }

    /// Takes a header. One that can't be read says nothing.
    pub fn note(&mut self, name: &str, value: &str) {
        let Some(words) = PREFIXES.iter().find_map(|prefix| name.strip_prefix(prefix)) else { return };
        let value = value.trim();
        match words {
            "scope" => self.whole_key |= WHOLE.iter().any(|scope| value.eq_ignore_ascii_case(scope)),
            "global" => self.whole_key |= value.eq_ignore_ascii_case("true"),
            _ => {
                let Some((line, part)) = place(words) else { return };
                let line = &mut self.lines[line];
                match part {
                    Part::Remaining => line.remaining = count(value).or(line.remaining),
                    Part::Limit if words.contains('-') => line.limit = count(value).or(line.limit),
                    Part::Limit => {}
                    Part::Reset => line.reset = reset(value).or(line.reset),
                }
            }
        }
    }

    /// Whether a 429 with this head is about the whole key.
    pub fn whole_key(&self) -> bool {
        self.whole_key
    }

    /// What is left: of several limits of one kind the tightest. `wall`: the time of day since the Unix epoch. None where
    /// nothing is said of it.
    pub fn said(&self, wall: Duration) -> Option<Said> {
        let tightest = |lines: &[Written]| {
            let told = lines.iter().filter_map(|line| {
                Some(Line { remaining: line.remaining?, limit: line.limit, reset: line.reset.map(|reset| reset.from(wall)) })
            });
            told.min_by_key(|line| (line.remaining, std::cmp::Reverse(line.reset)))
        };
        let (requests, tokens) = self.lines.split_at(LINES / 2);
        let said = Said { requests: tightest(requests), tokens: tightest(tokens) };
        (said != Said::default()).then_some(said)
    }

    /// What a 429 without Retry-After asks to wait: the longest reset among the limits that may be spent.
    pub fn wait(&self, wall: Duration) -> Option<Duration> {
        let spent = self.lines.iter().filter(|line| line.remaining.is_none_or(|left| left == 0));
        let waits = spent.filter_map(|line| line.reset).map(|reset| reset.from(wall));
        waits.max().filter(|wait| !wait.is_zero()).map(|wait| wait.min(LONGEST))
    }
}

impl Reset {
    fn from(self, wall: Duration) -> Duration {
        match self {
            Self::In(wait) => wait,
            Self::At(time) => time.saturating_sub(wall),
        }
    }
}

/// Which line, and which part of it, a name without its prefix speaks of.
fn place(words: &str) -> Option<(usize, Part)> {
    let (mut part, mut kind, mut tokens) = (None, 0, 0);
    for word in words.split('-') {
        match word {
            "remaining" => part = Some(Part::Remaining),
            "limit" => part = Some(Part::Limit),
            "reset" => part = Some(Part::Reset),
            "tokens" => tokens = LINES / 2,
            "requests" | "after" => {}
            _ => kind = 1 + KINDS.iter().position(|known| *known == word)?,
        }
    }
    Some((kind + tokens, part?))
}

/// The whole number that a value begins with: the drafts go on with their window, as in `100;w=60`.
fn count(value: &str) -> Option<u64> {
    let end = value.find(|c: char| !c.is_ascii_digit()).unwrap_or(value.len());
    let (digits, rest) = value.split_at(end);
    let goes_on = rest.is_empty() || rest.starts_with(['.', ',', ';', ' ']);
    digits.parse().ok().filter(|_| goes_on)
}

fn reset(value: &str) -> Option<Reset> {
    if let Ok(number) = value.parse::<f64>() {
        // OpenRouter tells it in milliseconds.
        let number = if number >= EPOCH * 1e3 { number / 1e3 } else { number };
        let time = Duration::try_from_secs_f64(number).ok()?;
        return Some(if number >= EPOCH { Reset::At(time) } else { Reset::In(time.min(LONGEST)) });
    }
    if let Some(wait) = span(value) {
        return Some(Reset::In(wait));
    }
    if let Ok(time) = value.parse::<jiff::Timestamp>() {
        return Duration::try_from(time.as_duration()).ok().map(Reset::At);
    }
    let date = httpdate::parse_http_date(value).ok()?;
    date.duration_since(std::time::UNIX_EPOCH).ok().map(Reset::At)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop_assert, prop_oneof, proptest};
    use proptest::strategy::{Just, Strategy};

    use super::*;

    const WALL: Duration = Duration::from_secs(1_760_000_000); // 2025-10-09T08:53:20Z

    fn quota(headers: &[(&str, &str)]) -> Quota {
        let mut quota = Quota::default();
        for (name, value) in headers {
            assert!(Quota::concerns(name), "{name}");
            quota.note(name, value);
        }
        quota
    }

    fn line(remaining: u64, limit: Option<u64>, reset_ms: Option<u64>) -> Option<Line> {
        Some(Line { remaining, limit, reset: reset_ms.map(Duration::from_millis) })
    }

    #[test]
    fn openais_spelling() {
        let said = quota(&[
            ("x-ratelimit-limit-requests", "60"),
            ("x-ratelimit-limit-tokens", "150000"),
            ("x-ratelimit-remaining-requests", "59"),
            ("x-ratelimit-remaining-tokens", "149984"),
            ("x-ratelimit-reset-requests", "120ms"),
            ("x-ratelimit-reset-tokens", "6m0s"),
        ]);
        let expected = Said { requests: line(59, Some(60), Some(120)), tokens: line(149_984, Some(150_000), Some(360_000)) };
        assert_eq!(said.said(WALL), Some(expected));
    }

    #[test]
    fn anthropics_spelling_and_its_tightest_tokens() {
        let said = quota(&[
            ("anthropic-ratelimit-requests-limit", "50"),
            ("anthropic-ratelimit-requests-remaining", "0"),
            ("anthropic-ratelimit-requests-reset", "2025-10-09T08:53:50Z"),
            ("anthropic-ratelimit-tokens-remaining", "9000"),
            ("anthropic-ratelimit-input-tokens-remaining", "8000"),
            ("anthropic-ratelimit-output-tokens-remaining", "1000"),
            ("anthropic-ratelimit-output-tokens-reset", "2025-10-09T08:53:20.5Z"),
        ]);
        let expected = Said { requests: line(0, Some(50), Some(30_000)), tokens: line(1_000, None, Some(500)) };
        assert_eq!(said.said(WALL), Some(expected));
        assert_eq!(said.wait(WALL), Some(Duration::from_secs(30)));
    }

    #[test]
    fn plain_and_drafted_spellings() {
        for (remaining, reset, expected) in [
            (("x-ratelimit-remaining", "3"), ("x-ratelimit-reset", "12"), line(3, None, Some(12_000))),
            (("x-rate-limit-remaining", "3"), ("x-rate-limit-reset", "1760000005"), line(3, None, Some(5_000))),
            (("ratelimit-remaining", "3"), ("ratelimit-reset", "0.5"), line(3, None, Some(500))),
            (("x-ratelimit-remaining", "3"), ("x-ratelimit-limit", "9"), line(3, None, None)),
            (("x-ratelimit-remaining", "3, 3;w=60"), ("x-ratelimit-reset", "1760000007000"), line(3, None, Some(7_000))),
            (("x-ratelimit-remaining", "3.0"), ("x-ratelimit-reset-after", "1h2m3.5s"), line(3, None, Some(3_723_500))),
            (("x-ratelimit-remaining", "3"), ("x-ratelimit-reset", "Thu, 09 Oct 2025 08:53:21 GMT"), line(3, None, Some(1_000))),
            (("x-ratelimit-remaining", "3"), ("x-ratelimit-reset", "1759999999"), line(3, None, Some(0))),
            (("x-ratelimit-remaining", "3"), ("x-ratelimit-reset", "soon"), line(3, None, None)),
            (("x-ratelimit-remaining-requests-day", "3"), ("x-ratelimit-reset-requests-day", "9s"), line(3, None, Some(9_000))),
        ] {
            assert_eq!(quota(&[remaining, reset]).said(WALL).unwrap().requests, expected, "{remaining:?} {reset:?}");
        }
        for nothing in ["", "-1", "many", "3x", "99999999999999999999999"] {
            assert_eq!(quota(&[("x-ratelimit-remaining", nothing)]).said(WALL), None, "{nothing}");
        }
        assert_eq!(quota(&[("x-ratelimit-over-limit", "1"), ("x-ratelimit-remaining-images", "0")]).said(WALL), None);
        assert!(!Quota::concerns("retry-after") && !Quota::concerns("x-request-id"));
    }

    #[test]
    fn a_wait_is_of_what_may_be_spent() {
        let spent = ("x-ratelimit-remaining-tokens", "0");
        let left = ("x-ratelimit-remaining-requests", "9");
        let resets = [("x-ratelimit-reset-requests", "40s"), ("x-ratelimit-reset-tokens", "7s")];
        let wait = |headers: &[&[(&str, &str)]]| quota(&headers.concat()).wait(WALL).map(|wait| wait.as_secs());
        assert_eq!(wait(&[&resets]), Some(40), "who says nothing of what is left may have nothing");
        assert_eq!(wait(&[&[spent, left], &resets]), Some(7));
        assert_eq!(wait(&[&[left], &resets[..1]]), None);
        assert_eq!(wait(&[&[("x-ratelimit-reset", "0")]]), None);
        assert_eq!(wait(&[&[("x-ratelimit-reset", "9000h")]]), Some(86_400));
    }

    #[test]
    fn a_scope_tells_whether_the_key_is_meant() {
        assert!(quota(&[("x-ratelimit-scope", "Account")]).whole_key() && quota(&[("x-ratelimit-global", "true")]).whole_key());
        assert!(!quota(&[("x-ratelimit-scope", "model")]).whole_key() && !quota(&[]).whole_key());
    }

    fn names() -> impl Strategy<Value = String> {
        let words = prop_oneof![
            Just("remaining"),
            Just("limit"),
            Just("reset"),
            Just("requests"),
            Just("tokens"),
            Just("input"),
            Just("day"),
            Just("after"),
            Just("x"),
        ];
        (0..PREFIXES.len(), proptest::collection::vec(words, 0..4))
            .prop_map(|(prefix, words)| format!("{}{}", PREFIXES[prefix], words.join("-")))
    }

    fn values() -> impl Strategy<Value = String> {
        prop_oneof![
            "[0-9]{1,25}",
            "[0-9.]{1,6}[dhmsu ]{1,2}[0-9]{0,30}(ms|s|h)?",
            "[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]{0,12}Z?",
            any::<String>()
        ]
    }

    proptest! {
        #[test]
        fn any_headers_never_panic_and_no_wait_exceeds_a_day(headers in proptest::collection::vec((names(), values()), 0..12), wall in any::<u32>()) {
            let mut quota = Quota::default();
            for (name, value) in &headers {
                quota.note(name, value);
            }
            let wall = Duration::from_secs(u64::from(wall));
            let _ = quota.said(wall);
            prop_assert!(quota.wait(wall).is_none_or(|wait| wait <= LONGEST));
        }
    }
}
