//! A provider's or caller's key: a type that can't be printed, compared by chance or serialised.

use secrecy::{ExposeSecret, SecretString};

/// A credential. `Debug` shows `[REDACTED]`; there is no `Display`, no `Serialize`, no `Deref`. Its memory is wiped on drop.
#[derive(Clone)]
pub struct Secret(SecretString);

impl Secret {
    /// Takes a credential over.
    pub fn new(value: impl Into<String>) -> Self {
        Self(SecretString::from(value.into()))
    }

    /// The credential itself. Its callers are few: the outgoing header, the digest of a caller's key, the scrubbing of
    /// upstream texts.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[REDACTED]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_nothing() {
        assert_eq!(format!("{:?}", Secret::new("sk-live-1234")), "[REDACTED]");
    }
}
