//! How long an upstream asks us to wait, in all the spellings that vendors use.

use std::time::Duration;

/// No wait is longer than a day.
pub(super) const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// The headers that can say so, as text.
#[derive(Clone, Copy, Debug, Default)]
pub struct Waits<'a> {
    /// `retry-after-ms` (OpenAI) or `x-ms-retry-after-ms` (Azure): milliseconds.
    pub millis: Option<&'a str>,
    /// `retry-after`: seconds, or a date (RFC 9110, section 10.2.3); a few write `20s`.
    pub after: Option<&'a str>,
}

/// The wait they ask for; None where they say nothing that can be read. `wall`: the time of day since the Unix epoch.
pub fn retry_after(waits: Waits<'_>, wall: Duration) -> Option<Duration> {
    let millis = waits.millis.and_then(seconds).map(|ms| ms / 1_000.0);
    let wait = match (millis, waits.after) {
        (Some(seconds), _) => Duration::try_from_secs_f64(seconds).unwrap_or(LONGEST),
        (None, Some(text)) => match (seconds(text), span(text)) {
            (Some(seconds), _) => Duration::try_from_secs_f64(seconds).unwrap_or(LONGEST),
            (None, Some(span)) => span,
            (None, None) => {
                let date = httpdate::parse_http_date(text.trim()).ok()?;
                date.duration_since(std::time::UNIX_EPOCH).ok()?.saturating_sub(wall)
            }
        },
        (None, None) => return None,
    };
    Some(wait.min(LONGEST))
}

/// The wait that a body asks for: Google tells it by a `RetryInfo` among an error's details, such as `"retryDelay": "34s"`.
/// <https://cloud.google.com/apis/design/errors#error_details>
pub fn retry_after_in(body: &[u8]) -> Option<Duration> {
    const NAME: &[u8] = b"\"retryDelay\"";
    let rest = &body[memchr::memmem::find(body, NAME)? + NAME.len()..];
    let mut pieces = rest.get(..rest.len().min(64))?.split(|byte| *byte == b'"');
    let colon = pieces.next()?.trim_ascii();
    let value = std::str::from_utf8(pieces.next()?).ok()?;
    pieces.next()?; // its closing quote
    (colon == b":").then(|| span(value))?
}

/// A time as Go writes it: numbers with units side by side, such as `6m0s` or `120ms`.
pub(super) fn span(text: &str) -> Option<Duration> {
    let mut rest = text.trim();
    let mut total = 0.0;
    while !rest.is_empty() {
        let (number, after) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit() && c != '.')?);
        let (unit, after) = after.split_at(after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len()));
        let scale = match unit.trim() {
            "d" => 86_400.0,
            "h" => 3_600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "µs" => 1e-6,
            "ns" => 1e-9,
            _ => return None,
        };
        total += seconds(number)? * scale;
        rest = after;
    }
    (!text.trim().is_empty()).then(|| Duration::try_from_secs_f64(total).unwrap_or(LONGEST).min(LONGEST))
}

fn seconds(text: &str) -> Option<f64> {
    let number: f64 = text.trim().parse().ok()?;
    (number.is_finite() && number >= 0.0).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WALL: Duration = Duration::from_secs(784_111_777); // Sun, 06 Nov 1994 08:49:37 GMT

    #[test]
    fn a_body_may_ask_for_a_wait() {
        let told = |body: &str| retry_after_in(body.as_bytes()).map(|wait| wait.as_millis());
        assert_eq!(
            told(r#"[{"error":{"details":[{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"34.5s"}]}}]"#),
            Some(34_500)
        );
        assert_eq!(told("{\"retryDelay\" :\n \"7s\"}"), Some(7_000));
        for odd in ["", "\"retryDelay\"", "\"retryDelay\":7", "\"retryDelay\":\"7s", "\"retryDelay\":\"soon\"", "\"retryDelay\",\"7s\""] {
            assert_eq!(told(odd), None, "{odd}");
        }
    }

    #[test]
    fn all_spellings() {
        let ms = |text| retry_after(Waits { millis: Some(text), after: Some("9") }, WALL);
        let after = |text| retry_after(Waits { millis: None, after: Some(text) }, WALL);
        assert_eq!(ms("1500"), Some(Duration::from_millis(1_500)));
        assert_eq!(ms("soon"), Some(Duration::from_secs(9)), "an unreadable one leaves the other");
        assert_eq!(after("20"), Some(Duration::from_secs(20)));
        assert_eq!(after(" 0.5 "), Some(Duration::from_millis(500)));
        assert_eq!(after("Sun, 06 Nov 1994 08:50:07 GMT"), Some(Duration::from_secs(30)));
        assert_eq!(after("Sun, 06 Nov 1994 08:00:00 GMT"), Some(Duration::ZERO), "a date gone by");
        assert_eq!(after("1e30"), Some(LONGEST));
        assert_eq!((after("20s"), after("1m0.5s")), (Some(Duration::from_secs(20)), Some(Duration::from_millis(60_500))));
        for bad in ["s", "1\u{b5}", "5 parsecs", "-1", "NaN", "inf", "", "later"] {
            assert_eq!(after(bad), None, "{bad}");
        }
        assert_eq!(retry_after(Waits::default(), WALL), None);
    }
}
