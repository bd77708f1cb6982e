//! Thresholds as one line of text, in the words of the settings: what a provider's actor puts on record when it starts, so
//! that whoever reads the record knows the settings in force; and a short fingerprint of it for the lines that follow.

use std::fmt::Write as _;

use crate::base::{duration, span};
use crate::health::Thresholds;

/// The keys of `[breaker]` that are thresholds.
pub(super) const KEYS: [&str; 11] = [
    "consecutive_failures",
    "failure_ratio",
    "minimum_requests",
    "window",
    "slow_call",
    "slow_ratio",
    "open_for",
    "open_for_max",
    "half_open_probes",
    "close_after",
    "ramp",
];

/// A key of `[breaker]` and its value, as written.
pub(super) fn pairs(thresholds: &Thresholds) -> [(&'static str, String); 11] {
    let t = thresholds;
    let values = [
        t.consecutive_failures.to_string(),
        t.failure_ratio.to_string(),
        t.minimum_requests.to_string(),
        span(t.window),
        span(t.slow_call),
        t.slow_ratio.to_string(),
        span(t.open_for),
        span(t.open_for_max),
        t.half_open_probes.to_string(),
        t.close_after.to_string(),
        span(t.ramp),
    ];
    let mut place = 0..;
    values.map(|value| (place.next().map_or("", |place| KEYS[place]), value))
}

/// `consecutive_failures=5 failure_ratio=0.5 … ramp=10s`.
pub fn line(thresholds: &Thresholds) -> String {
    let mut line = String::new();
    for (key, value) in pairs(thresholds) {
        let blank = if line.is_empty() { "" } else { " " };
        // Writing to a String can't fail.
        let _ = write!(line, "{blank}{key}={value}");
    }
    line
}

/// The thresholds that [`line`] wrote; None where a key is missing, unknown or unreadable.
pub(super) fn read(line: &str) -> Option<Thresholds> {
    let mut thresholds = Thresholds::default();
    let mut count = 0;
    for word in line.split(' ') {
        let (key, value) = word.split_once('=')?;
        set(&mut thresholds, key, value)?;
        count += 1;
    }
    (count == KEYS.len()).then_some(thresholds)
}

/// Puts a value as written at a key; None where it is none of the keys, or can't be read.
pub(super) fn set(t: &mut Thresholds, key: &str, value: &str) -> Option<()> {
    match key {
        "consecutive_failures" => t.consecutive_failures = value.parse().ok()?,
        "failure_ratio" => t.failure_ratio = value.parse().ok()?,
        "minimum_requests" => t.minimum_requests = value.parse().ok()?,
        "window" => t.window = duration(value)?,
        "slow_call" => t.slow_call = duration(value)?,
        "slow_ratio" => t.slow_ratio = value.parse().ok()?,
        "open_for" => t.open_for = duration(value)?,
        "open_for_max" => t.open_for_max = duration(value)?,
        "half_open_probes" => t.half_open_probes = value.parse().ok()?,
        "close_after" => t.close_after = value.parse().ok()?,
        "ramp" => t.ramp = duration(value)?,
        _ => return None,
    }
    Some(())
}

/// Whether each of them is one that the settings would take.
pub(super) fn valid(t: &Thresholds) -> bool {
    let counts = [t.consecutive_failures, t.minimum_requests, t.close_after, t.half_open_probes.into()];
    let spans = [t.window, t.slow_call, t.open_for, t.open_for_max];
    let share = |share: f64| share > 0.0 && share <= 1.0;
    counts.iter().all(|count| (1..=1_000_000).contains(count))
        && spans.iter().all(|span| !span.is_zero())
        && share(t.failure_ratio)
        && share(t.slow_ratio)
}

/// Eight hexadecimal digits that stand for the thresholds: the same in every build (FNV-1a over [`line()`]).
pub fn fingerprint(thresholds: &Thresholds) -> String {
    let step = |hash: u32, byte: u8| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
    format!("{:08x}", line(thresholds).bytes().fold(0x811c_9dc5, step))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_is_on_record_reads_back() {
        let odd = Thresholds { failure_ratio: 0.333, window: Duration::from_millis(1_500), ramp: Duration::ZERO, ..Thresholds::default() };
        for thresholds in [Thresholds::default(), odd] {
            assert_eq!(read(&line(&thresholds)), Some(thresholds));
        }
    }

    #[test]
    fn half_a_line_is_no_line() {
        let line = line(&Thresholds::default());
        assert_eq!(read(""), None);
        assert_eq!(read(line.split_once(' ').unwrap().1), None);
        assert_eq!(read(&line.replace("ramp", "lamp")), None);
        assert_eq!(read(&line.replace("10s", "ten")), None);
    }

    #[test]
    fn the_fingerprint_is_the_same_everywhere_and_tells_settings_apart() {
        let own = fingerprint(&Thresholds::default());
        assert_eq!(own, "2f5f9a7a");
        assert_ne!(fingerprint(&Thresholds { close_after: 3, ..Thresholds::default() }), own);
    }
}
