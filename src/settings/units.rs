//! Durations, sizes and percentiles as text with a unit. A bare number is refused: nobody can tell whether `30` means
//! seconds or milliseconds.

pub(super) use crate::base::duration;
use crate::base::number_and_unit;

/// What a duration looks like, for messages.
pub(super) const DURATION: &str = "a whole number with a unit, such as \"250ms\", \"2s\", \"5m\", \"1h\" or \"30d\"";
/// What a size looks like, for messages.
pub(super) const SIZE: &str = "a whole number with a unit, such as \"512KiB\", \"32MiB\", \"1GiB\" or \"4096B\"";

/// More than any body or buffer will ever be, and small enough to fit in an `i64`.
const LARGEST: u64 = 1 << 50;

/// "512KiB", "32MiB", "1GiB", "4096B", in bytes.
pub(super) fn size(text: &str) -> Option<u64> {
    let (number, unit) = number_and_unit(text)?;
    let factor = match unit {
        "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    number.checked_mul(factor).filter(|bytes| *bytes <= LARGEST)
}

/// "p95", "p99.9": a percentile above 0 and below 100, in millionths.
pub(super) fn percentile(text: &str) -> Option<u32> {
    let digits = text.strip_prefix('p')?;
    let plain = digits.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    let share = digits.parse::<f64>().ok().filter(|_| plain)? / 100.0;
    let millionths = (share * 1e6).round() as u32;
    (1..1_000_000).contains(&millionths).then_some(millionths)
}

#[cfg(test)]
mod tests {
    use super::*;

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
        assert_eq!((percentile("p95"), percentile("p99.9"), percentile("p50")), (Some(950_000), Some(999_000), Some(500_000)));
        for bad in ["95", "p0", "p100", "p", "pNaN", "p1e1", "p-5", "p99.99999"] {
            assert_eq!(percentile(bad), None, "{bad:?}");
        }
    }
}
