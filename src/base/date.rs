//! Times of day as text, RFC 3339 in UTC: what the settings, the admin plane and the command line read and write.

use std::time::Duration;

/// "2030-01-02T03:04:05Z", with any offset, or "2030-01-02" for the midnight that begins it, as time since the Unix epoch. None
/// where it isn't one, or lies before the epoch.
pub fn date(text: &str) -> Option<Duration> {
    let midnight;
    let text = if text.len() == 10 {
        midnight = format!("{text}T00:00:00Z");
        &midnight
    } else {
        text
    };
    let time = text.parse::<jiff::Timestamp>().ok()?;
    Some(Duration::from_micros(u64::try_from(time.as_microsecond()).ok()?))
}

/// A time since the Unix epoch as [`date`] reads it, to the millisecond where it isn't whole.
pub fn written_date(time: Duration) -> String {
    let ms = i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
    jiff::Timestamp::from_millisecond(ms).unwrap_or(jiff::Timestamp::MAX).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        let seconds = Duration::from_secs;
        assert_eq!(date("1970-01-02"), Some(seconds(86_400)));
        assert_eq!(date("1970-01-01T00:00:01.5Z"), Some(Duration::from_millis(1_500)));
        assert_eq!(date("1970-01-01T02:00:01+02:00"), Some(seconds(1)));
        for bad in ["", "1969-12-31", "2030-13-01", "30d", "tomorrow", "2030-01-01T00:00:00", "2030/01/01"] {
            assert_eq!(date(bad), None, "{bad}");
        }
        for ms in [0, 1, 86_400_000, 1_790_000_000_123] {
            let time = Duration::from_millis(ms);
            assert_eq!(date(&written_date(time)), Some(time));
        }
        assert_eq!(written_date(seconds(1)), "1970-01-01T00:00:01Z");
        assert!(written_date(Duration::MAX).starts_with("9999-"));
    }
}
