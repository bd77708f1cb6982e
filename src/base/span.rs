//! Durations as text with a unit, as the settings and the log write them. A bare number is refused: nobody can tell whether
//! `30` means seconds or milliseconds.

use std::time::Duration;

/// Ten years: longer is a slip of the pen, and a deadline that far ahead still fits every clock.
const LONGEST: Duration = Duration::from_secs(3650 * 86_400);

/// Milliseconds in each unit that [`span`] writes, largest first.
const UNITS: [(&str, u128); 3] = [("h", 3_600_000), ("m", 60_000), ("s", 1_000)];

/// "250ms", "2s", "5m", "1h", "30d".
pub fn duration(text: &str) -> Option<Duration> {
    let (number, unit) = number_and_unit(text)?;
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

/// A duration as [`duration`] reads it, in the largest unit that holds it whole. What is below a millisecond is cut.
pub fn span(duration: Duration) -> String {
    let ms = duration.as_millis();
    match UNITS.iter().find(|(_, unit)| ms >= *unit && ms.is_multiple_of(*unit)) {
        Some((name, unit)) => format!("{}{name}", ms / unit),
        None if ms == 0 => "0s".to_owned(),
        None => format!("{ms}ms"),
    }
}

/// The digits and what follows them. No sign, no fraction, no blank between.
pub fn number_and_unit(text: &str) -> Option<(u64, &str)> {
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
    fn what_is_written_reads_back() {
        for (ms, text) in [(0, "0s"), (7, "7ms"), (1_500, "1500ms"), (10_000, "10s"), (90_000, "90s"), (120_000, "2m"), (86_400_000, "24h")]
        {
            let written = Duration::from_millis(ms);
            assert_eq!(span(written), text);
            assert_eq!(duration(text), Some(written));
        }
    }
}
