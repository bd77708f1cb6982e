//! Upstreams behind TLS with certificates that are good, expired, another host's, or nobody's.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::faults::provider_at;
use super::upstream::answer;

/// The test's own certificate authority, in a file that `ca_file` can name.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    _folder: tempfile::TempDir,
    pub file: PathBuf,
}

impl Authority {
    pub fn new() -> Self {
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "the test's authority");
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ca.pem");
        std::fs::write(&file, issuer.pem()).unwrap();
        Self { issuer, _folder: folder, file }
    }

    /// A good certificate for a host.
    pub fn sign(&self, host: &str) -> Identity {
        self.sign_with(host, |_| ())
    }

    /// One whose time is over.
    pub fn sign_expired(&self, host: &str) -> Identity {
        self.sign_with(host, |params| {
            params.not_before = rcgen::date_time_ymd(2020, 1, 1);
            params.not_after = rcgen::date_time_ymd(2021, 1, 1);
        })
    }

    /// One whose time is still to come.
    pub fn sign_early(&self, host: &str) -> Identity {
        self.sign_with(host, |params| {
            params.not_before = rcgen::date_time_ymd(4000, 1, 1);
            params.not_after = rcgen::date_time_ymd(4001, 1, 1);
        })
    }

    fn sign_with(&self, host: &str, change: impl FnOnce(&mut CertificateParams)) -> Identity {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![host.to_owned()]).unwrap();
        change(&mut params);
        Identity::new(&params.signed_by(&key, &self.issuer).unwrap(), &key)
    }

    /// The line of a provider's table that trusts it.
    pub fn trusted(&self) -> String {
        format!("ca_file = \"{}\"", self.file.display())
    }
}

/// A certificate and its key.
pub struct Identity {
    pub certificate: CertificateDer<'static>,
    key: Vec<u8>,
    pem: (String, String),
}

impl Identity {
    fn new(certificate: &rcgen::Certificate, key: &KeyPair) -> Self {
        let pem = (certificate.pem(), key.serialize_pem());
        Self { certificate: certificate.der().clone(), key: key.serialize_der(), pem }
    }

    /// Both in PEM form.
    pub fn pem(&self) -> (String, String) {
        self.pem.clone()
    }

    /// The key as rustls takes it.
    pub fn private_key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::Pkcs8(self.key.clone().into())
    }
}

/// One that nobody but itself has signed.
pub fn self_signed(host: &str) -> Identity {
    let key = KeyPair::generate().unwrap();
    Identity::new(&CertificateParams::new(vec![host.to_owned()]).unwrap().self_signed(&key).unwrap(), &key)
}

/// An upstream behind TLS that answers `secure`.
pub struct TlsUpstream {
    pub address: SocketAddr,
    /// Requests that came through a handshake.
    served: Arc<AtomicUsize>,
    /// Connections whose first byte was no handshake's.
    plain: Arc<AtomicUsize>,
}

impl TlsUpstream {
    pub fn start(identity: Identity) -> Self {
        let key = PrivateKeyDer::Pkcs8(identity.key.into());
        let crypto = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(crypto).with_safe_default_protocol_versions().unwrap();
        let config = Arc::new(config.with_no_client_auth().with_single_cert(vec![identity.certificate], key).unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let upstream = Self { address: listener.local_addr().unwrap(), served: Arc::default(), plain: Arc::default() };
        let (served, plain) = (Arc::clone(&upstream.served), Arc::clone(&upstream.plain));
        // Ends with the test's process.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (config, served, plain) = (Arc::clone(&config), Arc::clone(&served), Arc::clone(&plain));
                std::thread::spawn(move || serve(stream, config, &served, &plain));
            }
        });
        upstream
    }

    /// The provider `p` at it.
    pub fn provider(&self, more: &str) -> String {
        provider_at("p", &format!("https://localhost:{}/v1", self.address.port()), more)
    }

    pub fn served(&self) -> usize {
        self.served.load(Ordering::SeqCst)
    }

    pub fn plain(&self) -> usize {
        self.plain.load(Ordering::SeqCst)
    }
}

fn serve(stream: TcpStream, config: Arc<ServerConfig>, served: &AtomicUsize, plain: &AtomicUsize) {
    let mut first = [0];
    if stream.peek(&mut first).is_ok_and(|count| count == 1) && first[0] != 0x16 {
        plain.fetch_add(1, Ordering::SeqCst);
        return;
    }
    let mut stream = StreamOwned::new(ServerConnection::new(config).unwrap(), stream);
    let mut got = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(count) = stream.read(&mut buffer) {
        if count == 0 {
            return;
        }
        got.extend_from_slice(&buffer[..count]);
        // The test's bodies end with the messages' array.
        if got.ends_with(b"]}") {
            served.fetch_add(1, Ordering::SeqCst);
            got.clear();
            if stream.write_all(&answer("secure")).is_err() {
                return;
            }
        }
    }
}
