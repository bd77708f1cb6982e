//! From when until when a certificate is valid: the one fact of it that has to be known before callers find it out, read from its
//! DER up to there and no further. Pure; what isn't a certificate is None.

use std::time::Duration;

use crate::base::date;

const INTEGER: u8 = 0x02;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
/// The version's tag; version 1 has none.
const VERSION: u8 = 0xa0;

/// A certificate's first and last moment, since the Unix epoch.
pub(super) fn validity(certificate: &[u8]) -> Option<(Duration, Duration)> {
    let mut signed = Der(Der(certificate).take(SEQUENCE)?);
    let mut fields = Der(signed.take(SEQUENCE)?);
    if fields.0.first() == Some(&VERSION) {
        fields.take(VERSION)?;
    }
    // Its number, its signature's algorithm and its issuer stand before.
    fields.take(INTEGER)?;
    fields.take(SEQUENCE)?;
    fields.take(SEQUENCE)?;
    let mut times = Der(fields.take(SEQUENCE)?);
    Some((time(&mut times)?, time(&mut times)?))
}

/// Values of DER, one after the other.
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (&tag, rest) = self.0.split_first()?;
        let (&first, rest) = rest.split_first()?;
        let (length, rest) = match first {
            0..=0x7f => (usize::from(first), rest),
            // The length's own length; four bytes are more than any certificate.
            0x81..=0x84 => {
                let (bytes, rest) = rest.split_at_checked(usize::from(first - 0x80))?;
                (bytes.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)), rest)
            }
            _ => return None,
        };
        let (value, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((tag, value))
    }

    fn take(&mut self, tag: u8) -> Option<&'a [u8]> {
        self.next().filter(|(found, _)| *found == tag).map(|(_, value)| value)
    }
}

/// `YYMMDDhhmmssZ` or `YYYYMMDDhhmmssZ`. What lies before the epoch is the epoch.
fn time(times: &mut Der<'_>) -> Option<Duration> {
    let (tag, value) = times.next()?;
    let text = std::str::from_utf8(value).ok().filter(|text| text.is_ascii())?;
    let (year, rest) = match tag {
        UTC_TIME => {
            let (year, rest) = text.split_at_checked(2)?;
            // RFC 5280: two digits from 50 on are of the last century.
            (year.parse::<u16>().ok()? + if year < "50" { 2000 } else { 1900 }, rest)
        }
        GENERALIZED_TIME => {
            let (year, rest) = text.split_at_checked(4)?;
            (year.parse().ok()?, rest)
        }
        _ => return None,
    };
    let digits = rest.strip_suffix('Z').filter(|digits| digits.len() == 10)?;
    let part = |at: usize| &digits[at..at + 2];
    let written = format!("{year:04}-{}-{}T{}:{}:{}Z", part(0), part(2), part(4), part(6), part(8));
    if year < 1970 { Some(Duration::ZERO) } else { date(&written) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn certificate(begin: i32, end: i32) -> Vec<u8> {
        let mut params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        (params.not_before, params.not_after) = (rcgen::date_time_ymd(begin, 2, 3), rcgen::date_time_ymd(end, 4, 5));
        params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    #[test]
    fn both_ways_of_writing_a_time_are_read() {
        // From 2050 on times have four digits.
        for (begin, end) in [(1999, 2020), (2026, 2049), (2049, 2051), (2050, 4096)] {
            let expected = [format!("{begin}-02-03"), format!("{end}-04-05")].map(|text| date(&text).unwrap());
            assert_eq!(validity(&certificate(begin, end)), Some((expected[0], expected[1])), "{begin} {end}");
        }
    }

    #[test]
    fn a_cut_certificate_is_none() {
        let whole = certificate(2026, 2030);
        assert!((0..whole.len()).all(|length| validity(&whole[..length]).is_none()));
        assert_eq!(validity(b"\x30\x80\x00\x00"), None, "no length");
    }

    proptest! {
        #[test]
        fn spoilt_bytes_are_no_panic(at in 0usize..400, byte in any::<u8>(), noise in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut spoilt = certificate(2026, 2030);
            let at = at % spoilt.len();
            spoilt[at] = byte;
            let _ = validity(&spoilt);
            let _ = validity(&noise);
        }
    }
}
