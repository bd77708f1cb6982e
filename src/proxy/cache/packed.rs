//! An answer as it lies where several gateways look: who gave it, its body, and a digest of both and of the request that it answers.
//! What was cut, changed or put under another name has another digest, and is no answer.

use bytes::Bytes;

use super::answers::{Author, Stored};
use super::key::Fingerprint;

/// A body that is larger isn't shared: its way would take longer than anybody waits.
pub(super) const MOST: usize = 4 << 20;
/// What it may be with all that is around it.
pub(in crate::proxy) const MOST_PACKED: usize = MOST + 4_096;

const MARK: &[u8; 4] = b"sda1";
const DIGEST: usize = 32;

/// As it is sent.
pub(super) fn pack(key: &Fingerprint, body: &[u8], author: &Author) -> Vec<u8> {
    let mut packed = Vec::with_capacity(MARK.len() + DIGEST + 4 + author.provider.len() + author.model.len() + body.len());
    packed.extend_from_slice(MARK);
    packed.extend_from_slice(&[0; DIGEST]);
    for name in [&author.provider, &author.model] {
        // Names from settings; a longer one would read as a broken entry, which is a miss.
        packed.extend_from_slice(&u16::try_from(name.len()).unwrap_or(u16::MAX).to_le_bytes());
        packed.extend_from_slice(name.as_bytes());
    }
    packed.extend_from_slice(body);
    let digest = digest(key, &packed[MARK.len() + DIGEST..]);
    packed[MARK.len()..MARK.len() + DIGEST].copy_from_slice(digest.as_bytes());
    packed
}

/// What was packed under this key; None: it isn't that.
pub(super) fn unpack(key: &Fingerprint, packed: Vec<u8>) -> Option<Stored> {
    let told = packed.strip_prefix(MARK)?.first_chunk::<DIGEST>()?;
    let mut rest = &packed[MARK.len() + DIGEST..];
    if digest(key, rest) != *told {
        return None;
    }
    let (provider, model) = (name(&mut rest)?, name(&mut rest)?);
    let author = Author { provider: provider.into(), model: model.into() };
    let at = packed.len() - rest.len();
    Some(Stored::read(Bytes::from(packed).slice(at..), author))
}

fn digest(key: &Fingerprint, rest: &[u8]) -> blake3::Hash {
    blake3::keyed_hash(key.bytes(), rest)
}

fn name<'a>(rest: &mut &'a [u8]) -> Option<&'a str> {
    let (length, after) = rest.split_first_chunk::<2>()?;
    let (name, after) = after.split_at_checked(usize::from(u16::from_le_bytes(*length)))?;
    *rest = after;
    std::str::from_utf8(name).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(name: &str) -> Fingerprint {
        Fingerprint::of_body(name.as_bytes())
    }

    fn author() -> Author {
        Author { provider: "openai".into(), model: "gpt-4o".into() }
    }

    #[test]
    fn what_was_packed_comes_out_under_its_own_key_alone() {
        for body in [&b""[..], b"{\"choices\":[]}", &[0; 70_000]] {
            let packed = pack(&key("a"), body, &author());
            let stored = unpack(&key("a"), packed.clone()).unwrap();
            assert_eq!((&stored.body[..], stored.author), (body, author()));
            assert!(unpack(&key("b"), packed).is_none(), "another request's");
        }
    }

    proptest! {
        #[test]
        fn what_was_changed_or_cut_is_no_answer(at in any::<prop::sample::Index>(), flip in 1u8.., cut in any::<prop::sample::Index>()) {
            let packed = pack(&key("a"), b"an answer of some length", &author());
            let mut changed = packed.clone();
            changed[at.index(packed.len())] ^= flip;
            prop_assert!(unpack(&key("a"), changed).is_none());
            prop_assert!(unpack(&key("a"), packed[..cut.index(packed.len())].to_vec()).is_none());
            prop_assert!(unpack(&key("a"), [&packed[..], b" "].concat()).is_none());
        }

        #[test]
        fn what_is_something_else_is_no_answer(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(unpack(&key("a"), bytes.clone()).is_none());
            prop_assert!(unpack(&key("a"), [&MARK[..], &bytes].concat()).is_none());
        }
    }
}
