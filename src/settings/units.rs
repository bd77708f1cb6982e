//! Durations, sizes and percentiles as text with a unit. A bare number is refused: nobody can tell whether `30` means
//! seconds or milliseconds.

use std::time::Duration;

/// What a duration looks like, for messages.
pub(super) const DURATION: &str = "a whole number with a unit, such as \"250ms\", \"2s\", \"5m\", \"1h\" or \"30d\"";
/// What a size looks like, for messages.
pub(super) const SIZE: &str = "a whole number with a unit, such as \"512KiB\", \"32MiB\", \"1GiB\" or \"4096B\"";

/// Ten years: longer is a slip of the pen, and a deadline that far ahead still fits every clock.
const LONGEST: Duration = Duration::from_secs(3650 * 86_400);
/// More than any body or buffer will ever be, and small enough to fit in an `i64`.
const LARGEST: u64 = 1 << 50;

/// "250ms", "2s", "5m", "1h", "30d".
pub(crate) fn duration(text: &str) -> Option<Duration> {
    let (number, unit) = split(text)?;
    let duration = match unit {
        "ms" => Duration::from_millis(number),
        "s" => Duration::from_secs(number),
        "m" => Duration::from_secs(number.checked_mul(60)?),
        "h" => Duration::from_secs(number.checked_mul(3600)?),
        "d" => Duration::from_secs(number.checked_mul(86_400)?),
        _ => return None,
    };
    (duration <= LONGEST).then_some(duration)
}

/// "512KiB", "32MiB", "1GiB", "4096B", in bytes.
pub(super) fn size(text: &str) -> Option<u64> {
    let (number, unit) = split(text)?;
    let factor = match unit {
        "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    number.checked_mul(factor).filter(|bytes| *bytes <= LARGEST)
}

/// "p95", "p99.9": a percentile above 0 and below 100.
pub(super) fn is_percentile(text: &str) -> bool {
    let Some(digits) = text.strip_prefix('p') else { return false };
    let plain = digits.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    plain && digits.parse::<f64>().is_ok_and(|p| p > 0.0 && p < 100.0)
}

/// The digits and what follows them. No sign, no fraction, no blank between.
fn split(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit())?;
    let (digits, unit) = text.split_at(end);
    Some((digits.parse().ok()?, unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_unit() {
        assert_eq!(duration("250ms"), Some(Duration::from_millis(250)));
        assert_eq!(duration("2s"), Some(Duration::from_secs(2)));
        assert_eq!(duration("5m"), Some(Duration::from_secs(300)));
        assert_eq!(duration("1h"), Some(Duration::from_secs(3600)));
        assert_eq!(duration("30d"), Some(Duration::from_secs(2_592_000)));
        assert_eq!(duration("0s"), Some(Duration::ZERO));
        for bad in ["", "5", "s", "1.5s", "-1s", "+1s", "5 s", "5S", "5sec", "1h30m", " 5s", "99999999999999999999s", "9999999d", "٣s"] {
            assert_eq!(duration(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn sizes_have_a_unit() {
        assert_eq!(size("512KiB"), Some(512 * 1024));
        assert_eq!(size("32MiB"), Some(32 << 20));
        assert_eq!(size("1GiB"), Some(1 << 30));
        assert_eq!(size("4096B"), Some(4096));
        for bad in ["", "32", "32MB", "32mib", "1.5MiB", "-1B", "32 MiB", "99999999999999999GiB"] {
            assert_eq!(size(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn percentiles() {
        assert!(is_percentile("p95") && is_percentile("p99.9"));
        for bad in ["95", "p0", "p100", "p", "pNaN", "p1e1", "p-5"] {
            assert!(!is_percentile(bad), "{bad:?}");
        }
    }
}
