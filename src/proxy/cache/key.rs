//! What tells requests apart: a BLAKE3 digest of who asks, where, for which public model and in which form, and of the
//! body's own bytes. Nothing is canonicalised: a body that is written otherwise is another request.

use blake3::Hasher;

use super::super::resume::Owner;
use crate::dialect::scan::Scan;

/// See the module's text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// Of a request. `scan` must be this body's. The members `stream` and `stream_options` count as the form of the answer:
    /// streamed or not, and streamed with which options.
    pub fn of(owner: &Owner, path: &str, model: &str, body: &[u8], scan: &Scan) -> Self {
        let mut digest = Self::scope(owner, path);
        part(&mut digest, model.as_bytes());
        let options = scan.stream_options.clone().filter(|_| scan.stream).and_then(|span| body.get(span));
        part(&mut digest, if scan.stream { b"stream" } else { b"" });
        part(&mut digest, options.unwrap_or_default());
        let mut cuts = scan.stream_cuts.clone();
        if let [Some(first), Some(second)] = &cuts
            && first.start > second.start
        {
            cuts.swap(0, 1);
        }
        let mut at = 0;
        for cut in cuts.iter().flatten() {
            digest.update(body.get(at..cut.start).unwrap_or_default());
            at = at.max(cut.end);
        }
        digest.update(body.get(at..).unwrap_or_default());
        Self(digest.finalize().into())
    }

    /// Of a caller's own name for a request to a path.
    pub(super) fn of_name(owner: &Owner, path: &str, name: &[u8]) -> Self {
        let mut digest = Self::scope(owner, path);
        part(&mut digest, name);
        Self(digest.finalize().into())
    }

    /// Of a whole body.
    pub(super) fn of_body(body: &[u8]) -> Self {
        Self(blake3::hash(body).into())
    }

    /// By what it is known outside of this process.
    pub(super) fn name(&self) -> String {
        blake3::Hash::from(self.0).to_hex().to_string()
    }

    /// Its bytes.
    pub(super) fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    fn scope(owner: &Owner, path: &str) -> Hasher {
        let mut digest = Hasher::new();
        // Without a key is no key's name.
        part(&mut digest, if owner.is_some() { b"key" } else { b"" });
        part(&mut digest, owner.as_deref().unwrap_or_default().as_bytes());
        part(&mut digest, path.as_bytes());
        digest
    }
}

/// A part with its length before it: where one ends and the next begins is part of what is said.
fn part(digest: &mut Hasher, bytes: &[u8]) {
    digest.update(&(bytes.len() as u64).to_le_bytes());
    digest.update(bytes);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::dialect::scan::request;

    const BODY: &str = r#"{"model":"m","messages":[{"role":"user","content":"hi"}]}"#;

    fn of(owner: Option<&str>, path: &str, model: &str, body: &str) -> Fingerprint {
        Fingerprint::of(&owner.map(Into::into), path, model, body.as_bytes(), &request(body.as_bytes()).unwrap())
    }

    fn body(body: &str) -> Fingerprint {
        of(None, "/chat/completions", "m", body)
    }

    fn with(member: &str) -> String {
        BODY.replacen('{', &format!("{{{member},"), 1)
    }

    #[test]
    fn who_where_what_and_how_tell_requests_apart() {
        let all = [
            of(None, "/chat/completions", "m", BODY),
            of(Some(""), "/chat/completions", "m", BODY),
            of(Some("a"), "/chat/completions", "m", BODY),
            of(Some("b"), "/chat/completions", "m", BODY),
            of(None, "/completions", "m", BODY),
            of(None, "/chat/completions", "n", BODY),
            body(&BODY.replace("hi", "ho")),
            body(&BODY.replace(",", ", ")),
            body(&with(r#""seed":1"#)),
            body(&with(r#""stream":true"#)),
            body(&with(r#""stream":true,"stream_options":{"include_usage":true}"#)),
            body(&with(r#""stream":true,"stream_options":{"include_usage":false}"#)),
        ];
        for (place, one) in all.iter().enumerate() {
            assert!(all[place + 1..].iter().all(|other| other != one), "{place}");
        }
    }

    #[test]
    fn where_the_form_stands_and_that_no_stream_is_asked_for_says_nothing() {
        let plain = [body(BODY), body(&with(r#""stream":false"#)), body(&BODY.replace("]}", r#"],"stream":null}"#))];
        assert!(plain.iter().all(|one| *one == plain[0]));
        let options = body(&BODY.replace("]}", r#"],"stream_options":{"include_usage":true}}"#));
        assert_eq!(options, plain[0], "they are a stream's");
        let streams = [body(&with(r#""stream":true"#)), body(&BODY.replace("]}", r#"], "stream" : true }"#).replace(" }", "}"))];
        assert_eq!(streams[0], streams[1]);
    }

    proptest! {
        #[test]
        fn two_bodies_that_differ_in_a_member_differ(a in "[a-z]{0,9}", b in "[a-z]{0,9}", stream in any::<bool>()) {
            let written = |text: &str| {
                let form = if stream { r#""stream":true,"# } else { "" };
                format!(r#"{{{form}"user":"{text}","model":"m","messages":[{{}}]}}"#)
            };
            prop_assert_eq!(body(&written(&a)) == body(&written(&b)), a == b);
        }
    }
}
