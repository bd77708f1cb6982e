//! A client for the settings' own gateway. Where that has TLS, whoever shows the very certificate that the settings name, and has its
//! key, is that gateway: whatever name it is asked by and whoever has signed it. Nobody else is.

use std::sync::Arc;
use std::time::Duration;

use awc::http::Version;
use awc::{Client, Connector};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, SignatureScheme};

use crate::settings::Settings;

/// None where TLS can't be set up.
pub(super) fn client(settings: &Settings, patience: Duration) -> Option<Client> {
    let client = Client::builder().disable_redirects().timeout(patience);
    let Some(tls) = &settings.server.tls else { return Some(client.finish()) };
    let crypto = Arc::new(ring::default_provider());
    let own = Arc::new(Own { certificate: tls.certificate().clone(), crypto: Arc::clone(&crypto) });
    let config = ClientConfig::builder_with_provider(crypto).with_safe_default_protocol_versions().ok()?;
    let config = config.dangerous().with_custom_certificate_verifier(own).with_no_client_auth();
    let connector = Connector::new().max_http_version(Version::HTTP_11).rustls_0_23(Arc::new(config));
    Some(client.connector(connector).finish())
}

#[derive(Debug)]
struct Own {
    certificate: CertificateDer<'static>,
    crypto: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Own {
    fn verify_server_cert(
        &self,
        shown: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if *shown == self.certificate { Ok(ServerCertVerified::assertion()) } else { Err(CertificateError::UnknownIssuer.into()) }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.crypto.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.crypto.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.crypto.signature_verification_algorithms.supported_schemes()
    }
}
