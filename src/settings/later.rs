//! What the settings accept ahead of the code: keys whose feature isn't built yet. Deleting a row is how a feature
//! announces that it is there.
//!
//! They simply have no effect, and `check` and the start-up log say so where the value differs from the default.

/// The keys, by their pattern, and why they have no effect.
pub(super) const LATER: &[(&str, &str)] = &[("providers.*.http2", "upstreams are called by HTTP/1.1")];
