//! `[server.tls]`: the gateway's own certificate with its key, and whose certificates callers need, read and tried as a whole: what
//! is in force belongs together and is valid now, or the settings are refused. Read again at each reload.
//!
//! No message shows anything of a file: one of them is a secret.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{RootCertStore, ServerConfig};

use super::raw::Section;
use super::secrets::Vault;
use super::validity::validity;
use crate::base::written_date;
use crate::clock::unix_seconds;

/// A certificate with less time left than this is worth a word.
const SOON: Duration = Duration::from_secs(14 * 86_400);

/// How connections begin.
#[derive(Clone)]
pub struct Tls {
    config: Arc<ServerConfig>,
    certificate: CertificateDer<'static>,
}

impl Tls {
    /// For a handshake.
    pub fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.config)
    }

    /// What callers are shown, without those that vouch for it.
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }
}

// Nothing in it is for people, and the key for nobody.
impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").finish_non_exhaustive()
    }
}

/// `[server.tls]`.
pub(super) fn tls(mut s: Section<'_>, vault: &Vault<'_>) -> Option<Tls> {
    let [cert, key, authorities] = ["cert", "key", "client_ca"].map(|name| file(&mut s, name, vault));
    for (name, file) in [("cert", &cert), ("key", &key)] {
        if matches!(file, File::Unnamed) {
            s.missing(name, &format!("{name} = \"PATH\", a file in PEM form"));
        }
    }
    let chain = cert.held().and_then(|pem| chain(&s, "cert", pem));
    let key = key.held().and_then(|pem| private_key(&s, pem));
    let callers = match authorities {
        File::Unnamed => Some(WebPkiClientVerifier::no_client_auth()),
        File::Unreadable => None,
        File::Held(pem) => callers(&s, &pem),
    };
    let (chain, key, callers) = (chain?, key?, callers?);
    let certificate = chain.first()?.clone();
    if !is_in_time(&s, &certificate) {
        return None;
    }
    config(&s, chain, key, callers).map(|config| Tls { config: Arc::new(config), certificate })
}

enum File {
    Unnamed,
    Unreadable,
    Held(Vec<u8>),
}

impl File {
    fn held(&self) -> Option<&[u8]> {
        match self {
            File::Held(pem) => Some(pem),
            File::Unnamed | File::Unreadable => None,
        }
    }
}

fn file(s: &mut Section<'_>, name: &'static str, vault: &Vault<'_>) -> File {
    let Some(path) = s.optional_text(name) else { return File::Unnamed };
    match vault.reader.read(&vault.locate(&path)) {
        Ok(bytes) => {
            vault.note(&s.path().key(name), &bytes);
            File::Held(bytes)
        }
        Err(error) => {
            s.problem(name, format!("can't be read: {}", error.kind()));
            File::Unreadable
        }
    }
}

/// The certificates of a file, at least one.
fn chain(s: &Section<'_>, name: &'static str, pem: &[u8]) -> Option<Vec<CertificateDer<'static>>> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match chain {
        Ok(chain) if !chain.is_empty() => return Some(chain),
        Ok(_) => s.problem(name, "holds no certificate in PEM form (-----BEGIN CERTIFICATE-----)"),
        Err(_) => s.problem(name, "holds a certificate that is cut or spoilt; write it anew"),
    }
    None
}

fn private_key(s: &Section<'_>, pem: &[u8]) -> Option<PrivateKeyDer<'static>> {
    let encrypted = pem.windows(ENCRYPTED.len()).any(|window| window == ENCRYPTED);
    match PrivateKeyDer::from_pem_slice(pem) {
        Ok(key) => return Some(key),
        Err(_) if encrypted => {
            s.problem("key", "is encrypted, and there is nobody to ask for its password: store it decrypted (openssl pkey)")
        }
        Err(pem::Error::NoItemsFound) => s.problem("key", "holds no private key in PEM form (-----BEGIN PRIVATE KEY-----)"),
        Err(_) => s.problem("key", "holds a private key that is cut or spoilt; write it anew"),
    }
    None
}

const ENCRYPTED: &[u8] = b"ENCRYPTED PRIVATE KEY-----";

/// Who vouches for callers.
fn callers(s: &Section<'_>, pem: &[u8]) -> Option<Arc<dyn ClientCertVerifier>> {
    let mut roots = RootCertStore::empty();
    for certificate in chain(s, "client_ca", pem)? {
        if roots.add(certificate).is_err() {
            s.problem("client_ca", "holds a certificate that can't vouch for others");
            return None;
        }
    }
    let crypto = Arc::new(rustls::crypto::ring::default_provider());
    match WebPkiClientVerifier::builder_with_provider(Arc::new(roots), crypto).build() {
        Ok(callers) => Some(callers),
        Err(error) => {
            s.problem("client_ca", format!("can't be used: {error}"));
            None
        }
    }
}

/// Whether a certificate's time has come and isn't over; says so where it isn't, or soon.
fn is_in_time(s: &Section<'_>, certificate: &CertificateDer<'_>) -> bool {
    let Some((begin, end)) = validity(certificate) else {
        s.problem("cert", "its first certificate can't be read");
        return false;
    };
    let now = Duration::from_secs(unix_seconds());
    if now < begin {
        s.problem("cert", format!("its first certificate isn't valid before {}", written_date(begin)));
    } else if now > end {
        s.problem("cert", format!("its first certificate's time was over at {}; put a new one there", written_date(end)));
    } else if end - now < SOON {
        s.warn("cert", format!("its first certificate's time is over at {}", written_date(end)));
    }
    (begin..=end).contains(&now)
}

fn config(
    s: &Section<'_>,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    callers: Arc<dyn ClientCertVerifier>,
) -> Option<ServerConfig> {
    let crypto = Arc::new(rustls::crypto::ring::default_provider());
    let identity = match CertifiedKey::from_der(chain, key, &crypto) {
        Ok(identity) => identity,
        Err(rustls::Error::InconsistentKeys(_)) => {
            s.problem("key", "isn't the key of the first certificate in `cert`");
            return None;
        }
        Err(_) => {
            s.problem("key", "is of a kind that can't be used; RSA from 2048 bits, ECDSA with P-256 or P-384, and Ed25519 can");
            return None;
        }
    };
    let builder = ServerConfig::builder_with_provider(crypto).with_safe_default_protocol_versions();
    // ring has both protocol versions: this can only fail with a provider that has none.
    let builder = builder.map_err(|error| s.problem("cert", format!("TLS can't be set up: {error}"))).ok()?;
    let mut config = builder.with_client_cert_verifier(callers).with_cert_resolver(Arc::new(SingleCertAndKey::from(identity)));
    // HTTP/2 isn't offered: a caller that never reads holds a stream for ever there, as TCP's own clock doesn't see it.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Some(config)
}
