//! Where a string's plain text ends: looked for in each string of each body and event, so eight bytes at once.

/// Bytes looked at together in a long string.
const BLOCK: usize = 64;

/// Where, from `at` on, the first byte stands that a string can't just hold: a quote, a backslash, a control character;
/// the text's length when there is none (`at`, where that is behind it). Most names are short and end within a word.
#[inline]
pub(in crate::dialect) fn next_special(bytes: &[u8], at: usize) -> usize {
    match word(bytes, at).map(specials) {
        Some(0) => further(bytes, at + 8),
        Some(marks) => at + place(marks),
        None => to_the_end(bytes, at),
    }
}

/// The same where the first word has none. Most other strings end within four words; long ones go on by blocks.
#[inline(never)]
fn further(bytes: &[u8], mut at: usize) -> usize {
    for _ in 1..4 {
        match word(bytes, at).map(specials) {
            Some(0) => at += 8,
            Some(marks) => return at + place(marks),
            None => return to_the_end(bytes, at),
        }
    }
    while let Some(block) = bytes.get(at..).and_then(|rest| rest.first_chunk::<BLOCK>()) {
        // without a branch, so that the compiler makes vector instructions of it
        if block.iter().fold(false, |any, byte| any | is_special(*byte)) {
            break;
        }
        at += BLOCK;
    }
    while let Some(marks) = word(bytes, at).map(specials) {
        if marks != 0 {
            return at + place(marks);
        }
        at += 8;
    }
    to_the_end(bytes, at)
}

/// The same for a text's last bytes.
#[inline(never)]
fn to_the_end(bytes: &[u8], mut at: usize) -> usize {
    while bytes.get(at).is_some_and(|byte| !is_special(*byte)) {
        at += 1;
    }
    at
}

#[inline]
fn word(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk().map(|word| u64::from_le_bytes(*word))
}

#[inline]
fn is_special(byte: u8) -> bool {
    (byte == b'"') | (byte == b'\\') | (byte < 0x20)
}

/// Eight bytes at once: the lowest bit set marks the first special byte. Only a special byte, or one above it, borrows, so a wrong
/// mark can only stand above a right one.
#[inline]
fn specials(word: u64) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    // With this bit turned, the control characters only change places among themselves, a quote becomes 0x20, right above them, and a
    // space 0x22: one subtraction finds both.
    let controls_and_quotes = (word ^ (ONES * 2)).wrapping_sub(ONES * 0x21);
    let backslashes = (word ^ (ONES * b'\\' as u64)).wrapping_sub(ONES);
    (controls_and_quotes | backslashes) & !word & (ONES << 7)
}

/// Where the first marked byte stands in its word.
#[inline]
fn place(marks: u64) -> usize {
    marks.trailing_zeros() as usize / 8
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn each_byte_is_told_at_each_place() {
        for byte in 0..=u8::MAX {
            // four words, a block, words, and a last part
            for at in 0..140 {
                let mut bytes = [b'a'; 140];
                bytes[at] = byte;
                let special = matches!(byte, b'"' | b'\\' | 0..0x20);
                assert_eq!(next_special(&bytes, 0), if special { at } else { 140 }, "{byte} at {at}");
            }
        }
    }

    proptest! {
        #[test]
        fn the_first_is_found(bytes in prop::collection::vec(prop_oneof![any::<u8>(), 0x1D_u8..0x24, 0x5A_u8..0x5F], 0..80), from in 0_usize..80) {
            let from = from.min(bytes.len());
            let first = bytes[from..].iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..0x20));
            prop_assert_eq!(next_special(&bytes, from), first.map_or(bytes.len(), |first| from + first));
        }
    }
}
