//! What the settings accept ahead of the code: keys whose feature isn't built yet. Deleting a row is how a feature
//! announces that it is there.
//!
//! Most simply have no effect, and `check` and the start-up log say so. A few promise safety (a limit that nobody keeps is
//! worse than none), so those are refused. Both only where the value differs from the default.

use super::raw::Section;

/// What a setting does until its feature is built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Until {
    /// Nothing; it is noted.
    NoEffect,
    /// It is refused.
    Refused,
}

/// The keys, by their pattern, and why.
pub(super) const LATER: &[(&str, Until, &str)] = &[
    ("server.tls", Until::Refused, "callers would be served without TLS; put a TLS proxy in front"),
    ("providers.*.http2", Until::NoEffect, "upstreams are called by HTTP/1.1"),
];

/// `[server.tls]`: refused by being there.
pub(super) fn tls(mut section: Section<'_>) {
    for key in ["cert", "key", "client_ca"] {
        section.optional_text(key);
    }
}
