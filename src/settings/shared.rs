//! `[shared]`: where several gateways keep what they have in common.

use super::raw::Section;
use super::types::Shared;
use crate::base::Secret;

/// `[shared]`.
pub(super) fn shared(mut s: Section<'_>) -> Shared {
    let url = s.text("url", "");
    if url.is_empty() {
        return Shared { url: None };
    }
    // The address may hold a password: it is never shown.
    if !url.starts_with("redis://") || redis::Client::open(url.as_str()).is_err() {
        s.problem("url", "must be empty or an address such as \"redis://127.0.0.1:6379\"; TLS to Redis isn't built yet");
        return Shared { url: None };
    }
    Shared { url: Some(Secret::new(&url)) }
}
