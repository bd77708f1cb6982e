//! How long an upstream asks us to wait, in all the spellings that vendors use.

use std::time::Duration;

/// No wait is longer than a day.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// The headers that can say so, as text.
#[derive(Clone, Copy, Debug, Default)]
pub struct Waits<'a> {
    /// `retry-after-ms` (OpenAI) or `x-ms-retry-after-ms` (Azure): milliseconds.
    pub millis: Option<&'a str>,
    /// `retry-after`: seconds, or a date (RFC 9110, section 10.2.3).
    pub after: Option<&'a str>,
}

/// The wait they ask for; None where they say nothing that can be read. `wall`: the time of day since the Unix epoch.
pub fn retry_after(waits: Waits<'_>, wall: Duration) -> Option<Duration> {
    let millis = waits.millis.and_then(seconds).map(|ms| ms / 1_000.0);
    let wait = match (millis, waits.after) {
        (Some(seconds), _) => Duration::try_from_secs_f64(seconds).unwrap_or(LONGEST),
        (None, Some(text)) => match seconds(text) {
            Some(seconds) => Duration::try_from_secs_f64(seconds).unwrap_or(LONGEST),
            None => {
                let date = httpdate::parse_http_date(text.trim()).ok()?;
                date.duration_since(std::time::UNIX_EPOCH).ok()?.saturating_sub(wall)
            }
        },
        (None, None) => return None,
    };
    Some(wait.min(LONGEST))
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
        for bad in ["-1", "NaN", "inf", "", "later"] {
            assert_eq!(after(bad), None, "{bad}");
        }
        assert_eq!(retry_after(Waits::default(), WALL), None);
    }
}
