//! How a key that the gateway makes looks: `sk-sd-`, 43 characters of chance, and 6 by which a mistyped or made-up one is told
//! without asking anybody.

use rand::RngExt;

use super::key::Digest;
use crate::base::Secret;

const PREFIX: &str = "sk-sd-";
/// 43 of 62 characters each: 256 bits.
const CHANCE: usize = 43;
const CHECK: usize = 6;
const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// What of a key may be shown, to tell it from others.
const SHOWN: usize = PREFIX.len() + 6;

/// A new key, drawn from a generator that nobody can guess.
pub fn issue(rng: &mut impl rand::CryptoRng) -> Secret {
    let mut key = String::with_capacity(PREFIX.len() + CHANCE + CHECK);
    key.push_str(PREFIX);
    for _ in 0..CHANCE {
        key.push(char::from(ALPHABET[rng.random_range(0..ALPHABET.len())]));
    }
    let check = check(key.as_bytes());
    key.extend(check.map(char::from));
    Secret::new(key)
}

/// Whether what was sent can be a key that some gateway has made.
pub fn is_issued(sent: &[u8]) -> bool {
    if sent.len() != PREFIX.len() + CHANCE + CHECK || !sent.starts_with(PREFIX.as_bytes()) {
        return false;
    }
    let (key, sum) = sent.split_at(sent.len() - CHECK);
    key[PREFIX.len()..].iter().all(u8::is_ascii_alphanumeric) && sum == check(key)
}

/// How a key begins.
pub fn shown_prefix(key: &Secret) -> &str {
    key.expose().get(..SHOWN).unwrap_or_default()
}

fn check(key: &[u8]) -> [u8; CHECK] {
    let mut number = Digest::of(key).number();
    std::array::from_fn(|_| {
        let digit = ALPHABET[(number % 62) as usize];
        number /= 62;
        digit
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    #[test]
    fn a_key_is_told_from_what_is_none() {
        let mut rng = StdRng::seed_from_u64(5);
        for _ in 0..50 {
            let key = issue(&mut rng);
            let text = key.expose();
            assert_eq!(text.len(), 55);
            assert!(is_issued(text.as_bytes()), "{text}");
            assert_eq!(shown_prefix(&key), &text[..12]);
            for place in 0..text.len() {
                let mut wrong = text.as_bytes().to_vec();
                wrong[place] = if wrong[place] == b'x' { b'y' } else { b'x' };
                assert!(!is_issued(&wrong), "{place}");
            }
            assert!(!is_issued(&text.as_bytes()[1..]) && !is_issued(format!("{text}0").as_bytes()));
        }
        assert!(!is_issued(b"") && !is_issued(&[b's'; 55]));
    }
}
