//! Whom the gateway trusts by TLS: upstreams are always verified, by the compiled-in roots and a provider's own, as its `ca_file`
//! holds them. There is no way to turn that off.

use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

use super::client::Unusable;
use crate::settings::Provider;

/// TLS to a provider.
///
/// # Errors
/// Where `anchors` can't be read.
pub(super) fn tls(provider: &Provider, anchors: Option<&[u8]>) -> Result<Arc<ClientConfig>, Unusable> {
    let mut roots = everyone();
    if let (Some(path), Some(anchors)) = (&provider.ca_file, anchors) {
        let wrong = |why: String| Unusable::CaFile(provider.name.clone(), path.display().to_string(), why);
        let mut found = 0;
        for certificate in CertificateDer::pem_slice_iter(anchors) {
            let certificate = certificate.map_err(|error| wrong(error.to_string()))?;
            roots.add(certificate).map_err(|error| wrong(error.to_string()))?;
            found += 1;
        }
        if found == 0 {
            return Err(wrong("no certificate in it".into()));
        }
    }
    trusting(roots)
}

/// The trust anchors that need no file.
pub(super) fn everyone() -> RootCertStore {
    RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() }
}

/// TLS towards whoever these vouch for.
pub(super) fn trusting(roots: RootCertStore) -> Result<Arc<ClientConfig>, Unusable> {
    let crypto = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(crypto).with_safe_default_protocol_versions();
    // ring has both protocol versions: this can only fail with a provider that has none.
    let builder = builder.map_err(|error| Unusable::Tls(error.to_string()))?;
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
