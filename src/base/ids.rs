//! Request ids: UUID version 7 (RFC 9562), which sort by time, to the quarter of a microsecond.

use std::time::Duration;

use rand::{Rng, RngExt};

/// A new id from the time of day and a generator, in the usual text form.
pub fn request_id<R: Rng + ?Sized>(wall: Duration, rng: &mut R) -> String {
    let millis = u64::try_from(wall.as_millis()).unwrap_or(u64::MAX);
    // RFC 9562, section 6.2, method 3: what follows the milliseconds is time, too, so that of one caller's the later sorts later.
    let (a, b) = ((u64::from(wall.subsec_nanos() % 1_000_000) * 4_096 / 1_000_000) as u16, rng.random::<u64>());
    let mut bytes = [0u8; 16];
    bytes[..6].copy_from_slice(&millis.to_be_bytes()[2..]);
    bytes[6..8].copy_from_slice(&((a & 0x0fff) | 0x7000).to_be_bytes());
    bytes[8..].copy_from_slice(&((b & (u64::MAX >> 2)) | (1 << 63)).to_be_bytes());
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(36);
    for (place, byte) in bytes.into_iter().enumerate() {
        if matches!(place, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        text.push(char::from(HEX[usize::from(byte >> 4)]));
        text.push(char::from(HEX[usize::from(byte & 15)]));
    }
    text
}

/// When an id of [`request_id`] was made, to the millisecond; the epoch for what is none.
pub fn id_time(id: &str) -> Duration {
    let digits = id.bytes().filter(|byte| *byte != b'-').take(12);
    let ms = digits.map(|byte| char::from(byte).to_digit(16)).try_fold(0u64, |ms, digit| Some((ms << 4) | u64::from(digit?)));
    Duration::from_millis(ms.unwrap_or_default())
}

/// Whether a caller's own request id may be kept: `[A-Za-z0-9._-]{1,64}`.
pub fn is_request_id(text: &[u8]) -> bool {
    (1..=64).contains(&text.len()) && text.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand::rngs::SmallRng;

    #[test]
    fn ids_are_version_7_and_sort_by_time() {
        let mut rng = SmallRng::seed_from_u64(7);
        let ids: Vec<_> = (0..50u64).map(|ms| request_id(Duration::from_millis(1_790_000_000_000 + ms), &mut rng)).collect();
        assert!(ids.is_sorted());
        let within: Vec<_> = (0..999u64).map(|us| request_id(Duration::from_micros(1_790_000_000_000_000 + us), &mut rng)).collect();
        assert!(within.is_sorted() && within[998] < ids[1], "within a millisecond, too");
        assert_eq!(id_time(&ids[7]), Duration::from_millis(1_790_000_000_007));
        assert_eq!(id_time("no id at all"), Duration::ZERO);
        for id in &ids {
            assert_eq!((id.len(), &id[14..15]), (36, "7"), "{id}");
            assert!("89ab".contains(&id[19..20]), "{id}");
            assert!(is_request_id(id.as_bytes()));
        }
    }

    #[test]
    fn a_callers_id_is_kept_only_if_harmless() {
        assert!(is_request_id(b"a.B_9-"));
        assert!(!is_request_id(b"") && !is_request_id(&[b'a'; 65]) && is_request_id(&[b'a'; 64]));
        assert!(!is_request_id(b"a b") && !is_request_id(b"a\r\nx: y") && !is_request_id("ü".as_bytes()));
    }
}
