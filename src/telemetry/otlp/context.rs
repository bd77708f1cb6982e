//! A request's place in a trace that others began: W3C's `traceparent` (<https://www.w3.org/TR/trace-context/>), read strictly, as
//! it comes from callers, and written.

/// Whoever asked, as its header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parent {
    /// The trace's id.
    pub trace: [u8; 16],
    /// The span's that this one belongs to.
    pub span: [u8; 8],
    /// Whether it is recorded.
    pub sampled: bool,
}

impl Parent {
    /// What the header says; None where it says nothing that may be believed.
    pub fn read(text: &str) -> Option<Self> {
        let mut parts = text.split('-');
        let version = hex::<1>(parts.next()?)?;
        let (trace, span, [flags]) = (hex(parts.next()?)?, hex(parts.next()?)?, hex(parts.next()?)?);
        // What later versions add stands behind; this one has nothing there.
        let good = version != [0xff] && (version != [0] || parts.next().is_none()) && trace != [0; 16] && span != [0; 8];
        good.then_some(Self { trace, span, sampled: flags & 1 == 1 })
    }
}

/// The header for a call that is recorded.
pub fn traceparent(trace: &[u8; 16], span: &[u8; 8]) -> String {
    let mut text = String::with_capacity(55);
    text.push_str("00-");
    write_hex(&mut text, trace);
    text.push('-');
    write_hex(&mut text, span);
    text.push_str("-01");
    text
}

fn write_hex(text: &mut String, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
}

/// Bytes of exactly so many lower-case digits.
fn hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digit = |c: u8| match c {
        b'0'..=b'9' => Some(c - b'0'),
        b'a'..=b'f' => Some(c - b'a' + 10),
        _ => None,
    };
    let text = text.as_bytes();
    if text.len() != 2 * N {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// W3C's own example.
    const EXAMPLE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn the_example_is_read_and_written() {
        let parent = Parent::read(EXAMPLE).unwrap();
        assert_eq!((parent.trace[0], parent.span[7], parent.sampled), (0x4b, 0xb7, true));
        assert_eq!(traceparent(&parent.trace, &parent.span), EXAMPLE);
        assert!(!Parent::read(&EXAMPLE.replace("-01", "-00")).unwrap().sampled);
        assert!(Parent::read(&EXAMPLE.replacen("00", "cc", 1).replace("-01", "-01-what-comes")).is_some(), "a later version");
    }

    #[test]
    fn what_is_not_as_the_standard_has_it_is_no_parent() {
        for (from, to) in [
            ("00-", "ff-"),
            ("00-", "0-"),
            ("4bf92f3577b34da6a3ce929d0e0e4736", "00000000000000000000000000000000"),
            ("00f067aa0ba902b7", "0000000000000000"),
            ("4bf9", "4BF9"),
            ("4bf9", "4bf"),
            ("-01", ""),
            ("-01", "-1"),
            ("-01", "-01-more"),
            ("-01", "-0g"),
        ] {
            let text = EXAMPLE.replacen(from, to, 1);
            assert_eq!(Parent::read(&text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn nothing_breaks_it_and_what_is_written_is_read(text in "\\PC{0,80}", trace: [u8; 16], span: [u8; 8]) {
            let _ = Parent::read(&text);
            let known = trace != [0; 16] && span != [0; 8];
            prop_assert_eq!(Parent::read(&traceparent(&trace, &span)), known.then_some(Parent { trace, span, sampled: true }));
        }
    }
}
