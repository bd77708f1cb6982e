//! A caller by TLS that sees the bytes: trusts one authority, and may have a certificate of its own.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use super::client::{Reply, complete, parse};
use super::tls::{Authority, Identity};

/// A connection after its handshake's begin; the first write or read goes through with it.
pub type Connection = StreamOwned<ClientConnection, TcpStream>;

/// See the module's text.
#[derive(Clone)]
pub struct SecureClient {
    address: SocketAddr,
    config: Arc<ClientConfig>,
}

impl SecureClient {
    /// One that shows this certificate where it is asked for one. It would speak HTTP/2, too.
    pub fn new(address: SocketAddr, authority: &Authority, own: Option<&Identity>) -> Self {
        let crypto = Arc::new(rustls::crypto::ring::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(&authority.file).unwrap()).unwrap();
        let config = ClientConfig::builder_with_provider(crypto).with_safe_default_protocol_versions().unwrap();
        let config = config.with_root_certificates(roots);
        let mut config = match own {
            Some(own) => config.with_client_auth_cert(vec![own.certificate.clone()], own.private_key()).unwrap(),
            None => config.with_no_client_auth(),
        };
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Self { address, config: Arc::new(config) }
    }

    pub fn connect(&self) -> Connection {
        let socket = TcpStream::connect(self.address).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        socket.set_nodelay(true).unwrap();
        let name = "localhost".try_into().unwrap();
        StreamOwned::new(ClientConnection::new(Arc::clone(&self.config), name).unwrap(), socket)
    }

    pub fn get(&self, path: &str) -> io::Result<Reply> {
        ask(&mut self.connect(), &format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n"))
    }

    pub fn post(&self, path: &str, headers: &str, body: &str) -> io::Result<Reply> {
        ask(&mut self.connect(), &post(path, headers, body))
    }
}

/// A POST of JSON, as it is sent.
pub fn post(path: &str, headers: &str, body: &str) -> String {
    let head = format!("POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n{headers}");
    format!("{head}content-length: {}\r\n\r\n{body}", body.len())
}

/// Sends bytes and reads one answer; the connection stays open.
pub fn ask(connection: &mut Connection, request: &str) -> io::Result<Reply> {
    connection.write_all(request.as_bytes())?;
    connection.flush()?;
    let mut got = Vec::new();
    let mut buffer = [0; 16 * 1024];
    while !complete(&got) {
        match connection.read(&mut buffer) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(count) => got.extend_from_slice(&buffer[..count]),
            Err(error) => return Err(error),
        }
    }
    Ok(parse(&got))
}
