//! Certificates, sealed as control seals them, and clients that trust them.

use super::{Dir, PATIENCE};
use quarry_domain::door::Door;
use quarry_domain::sealed::Key;
use quarry_domain::snapshot::{Listener, ListenerProtocol, Tls, TlsCertificate};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, StreamOwned};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::sync::Arc;

pub const KEY: [u8; 32] = [7; 32];

/// A certificate as a snapshot has it, and its own DER.
pub fn certificate(arn: &str, names: &[&str]) -> (TlsCertificate, CertificateDer<'static>) {
    let names: Vec<String> = names.iter().map(|n| n.to_string()).collect();
    let made = rcgen::generate_simple_self_signed(names.clone()).unwrap();
    let key = Key::new(&KEY).seal(
        &Door::system(),
        &TlsCertificate::key_context(arn),
        made.signing_key.serialize_pem().as_bytes(),
    );
    let certificate = TlsCertificate { arn: arn.into(), names, chain: made.cert.pem(), key };
    (certificate, made.cert.der().clone())
}

/// Turns a listener into an HTTPS one.
pub fn secure(listener: &mut Listener, certificates: Vec<TlsCertificate>) {
    listener.protocol = ListenerProtocol::Https;
    listener.tls = Some(Tls {
        policy: "ELBSecurityPolicy-TLS13-1-2-2021-06".into(),
        protocols: vec!["TLSv1.2".into(), "TLSv1.3".into()],
        ciphers: ["TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "ECDHE-ECDSA-AES128-GCM-SHA256"]
            .map(String::from)
            .to_vec(),
        certificates,
    });
}

/// Puts the key of this installation where control puts it.
pub fn put_key(dir: &Dir) {
    std::fs::write(dir.0.join("vault.key"), KEY).unwrap();
}

/// Trusts one certificate only.
pub fn trusting(der: &CertificateDer<'static>, alpn: &[&str]) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(der.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|p| p.as_bytes().to_vec()).collect();
    Arc::new(config)
}

pub type Secure = StreamOwned<ClientConnection, TcpStream>;

pub fn connect(port: u16, name: &str, config: &Arc<ClientConfig>) -> Secure {
    let tcp = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    tcp.set_read_timeout(Some(PATIENCE)).unwrap();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    StreamOwned::new(ClientConnection::new(config.clone(), name).unwrap(), tcp)
}

/// Sends a request that asks for the connection to be closed, and reads all that comes.
pub fn ask(client: &mut Secure, request: &str) -> std::io::Result<String> {
    client.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    client.read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// What a target needs to speak TLS.
pub fn server(names: &[&str], alpn: &[&str]) -> Arc<ServerConfig> {
    let made = rcgen::generate_simple_self_signed(names.iter().map(|n| n.to_string()).collect::<Vec<_>>()).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    config.alpn_protocols = alpn.iter().map(|p| p.as_bytes().to_vec()).collect();
    Arc::new(config)
}
