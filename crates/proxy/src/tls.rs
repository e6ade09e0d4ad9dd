//! TLS settings of listeners, made from what a snapshot says, and those for connections to targets.

use quarry_domain::sealed::Key;
use quarry_domain::snapshot::{Tls, TlsCertificate};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{
    CipherSuite, ClientConfig, DigitallySignedStruct, ServerConfig, SignatureAlgorithm, SignatureScheme,
    SupportedProtocolVersion, version,
};
use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

/// Why a listener's TLS settings cannot be used.
#[derive(Clone, Debug, thiserror::Error)]
pub enum TlsError {
    #[error("the key file of this installation (vault.key) cannot be read: {0}")]
    NoKey(String),
    #[error("the private key of certificate {0} cannot be opened")]
    Sealed(String),
    #[error("certificate {0} cannot be used: {1}")]
    Certificate(String, String),
    #[error("security policy {0} leaves no protocol and cipher to speak")]
    Policy(String),
}

/// Settings by listener, kept while they stay the same: making them parses every key.
#[derive(Default)]
pub struct TlsSettings {
    made: HashMap<String, (Tls, bool, Arc<ServerConfig>)>,
}

/// Cipher suites by OpenSSL's names, which security policies use, best first.
const SUITES: [(&str, CipherSuite); 9] = [
    ("TLS_AES_128_GCM_SHA256", CipherSuite::TLS13_AES_128_GCM_SHA256),
    ("TLS_AES_256_GCM_SHA384", CipherSuite::TLS13_AES_256_GCM_SHA384),
    ("TLS_CHACHA20_POLY1305_SHA256", CipherSuite::TLS13_CHACHA20_POLY1305_SHA256),
    ("ECDHE-ECDSA-AES128-GCM-SHA256", CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256),
    ("ECDHE-RSA-AES128-GCM-SHA256", CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256),
    ("ECDHE-ECDSA-AES256-GCM-SHA384", CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384),
    ("ECDHE-RSA-AES256-GCM-SHA384", CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384),
    ("ECDHE-ECDSA-CHACHA20-POLY1305", CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256),
    ("ECDHE-RSA-CHACHA20-POLY1305", CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256),
];

/// OpenSSL's name of a suite.
pub fn openssl_name(suite: CipherSuite) -> &'static str {
    SUITES.iter().find(|(_, known)| *known == suite).map_or("", |(name, _)| name)
}

impl TlsSettings {
    /// The settings of one listener; where they cannot be used, `errors` says why. `key` opens private keys,
    /// `http2` offers HTTP/2 to clients.
    pub fn get(
        &mut self,
        listener: &str,
        tls: &Tls,
        http2: bool,
        key: &dyn Fn() -> Result<Key, TlsError>,
        errors: &mut HashMap<String, String>,
    ) -> Option<Arc<ServerConfig>> {
        let before = self.made.get(listener).filter(|(from, with, _)| from == tls && *with == http2);
        if let Some((.., config)) = before {
            return Some(config.clone());
        }
        match key().and_then(|key| server(tls, http2, &key)) {
            Ok(config) => {
                self.made.insert(listener.to_owned(), (tls.clone(), http2, config.clone()));
                Some(config)
            }
            Err(error) => {
                tracing::error!(listener, %error, "an HTTPS listener cannot be served");
                errors.insert(listener.to_owned(), format!("{error}."));
                None
            }
        }
    }

    /// Forgets listeners that are gone.
    pub fn retain(&mut self, is_there: impl Fn(&str) -> bool) {
        self.made.retain(|listener, _| is_there(listener));
    }
}

fn server(tls: &Tls, http2: bool, key: &Key) -> Result<Arc<ServerConfig>, TlsError> {
    let mut provider = ring::default_provider();
    let allowed = |suite: CipherSuite| tls.ciphers.iter().any(|name| name == openssl_name(suite));
    provider.cipher_suites.retain(|suite| allowed(suite.suite()));
    // As the policy has them, best first.
    let place = |suite: CipherSuite| tls.ciphers.iter().position(|name| name == openssl_name(suite));
    provider.cipher_suites.sort_by_key(|suite| place(suite.suite()));
    let versions: Vec<&'static SupportedProtocolVersion> = [("TLSv1.3", &version::TLS13), ("TLSv1.2", &version::TLS12)]
        .into_iter()
        .filter(|(name, version)| {
            let spoken = provider.cipher_suites.iter().any(|suite| suite.version() == *version);
            spoken && tls.protocols.iter().any(|protocol| protocol == name)
        })
        .map(|(_, version)| version)
        .collect();
    let policy = || TlsError::Policy(tls.policy.clone());
    if versions.is_empty() {
        return Err(policy());
    }
    let provider = Arc::new(provider);
    let mut certificates = Vec::new();
    for certificate in &tls.certificates {
        let names = certificate.names.clone();
        let key = Arc::new(certified(certificate, key, &provider)?);
        certificates.push(Own { names, key, arn: certificate.arn.as_str().into() });
    }
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&versions)
        .map_err(|_| policy())?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(Certificates(certificates)));
    config.ignore_client_order = true;
    if http2 {
        config.alpn_protocols.push(b"h2".to_vec());
    }
    config.alpn_protocols.push(b"http/1.1".to_vec());
    config.ticketer = ring::Ticketer::new().map_err(|_| policy())?;
    Ok(Arc::new(config))
}

fn certified(certificate: &TlsCertificate, key: &Key, provider: &CryptoProvider) -> Result<CertifiedKey, TlsError> {
    let arn = &certificate.arn;
    let unusable = |error: String| TlsError::Certificate(arn.clone(), error);
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(certificate.chain.as_bytes()).collect();
    let chain = chain.map_err(|e| unusable(e.to_string()))?;
    let clear =
        key.open(&TlsCertificate::key_context(arn), &certificate.key).map_err(|_| TlsError::Sealed(arn.clone()))?;
    let private = PrivateKeyDer::from_pem_slice(clear.bytes()).map_err(|e| unusable(e.to_string()))?;
    CertifiedKey::from_der(chain, private, provider).map_err(|e| unusable(e.to_string()))
}

/// The default certificate, then those chosen by name.
#[derive(Debug)]
struct Certificates(Vec<Own>);

#[derive(Debug)]
struct Own {
    names: Vec<String>,
    key: Arc<CertifiedKey>,
    arn: Arc<str>,
}

thread_local! {
    /// The certificate that was chosen last on this thread, and whether by name.
    static CHOSEN: RefCell<Option<Chosen>> = const { RefCell::new(None) };
}

/// A certificate that a client is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chosen {
    pub arn: Arc<str>,
    /// It is for the name that the client asked for; else it is the default one.
    pub by_name: bool,
}

/// The certificate that `f`, which takes a client's greeting, has chosen.
pub fn choosing<T>(f: impl FnOnce() -> T) -> (T, Option<Chosen>) {
    CHOSEN.take();
    let made = f();
    (made, CHOSEN.take())
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let spoken = |key: &CertifiedKey| key.key.choose_scheme(hello.signature_schemes()).is_some();
        let name = hello.server_name().map(str::to_ascii_lowercase);
        let is_for = |names: &[String]| name.as_deref().is_some_and(|name| names.iter().any(|n| covers(n, name)));
        let mut fitting: Vec<_> = self.0.iter().filter(|own| is_for(&own.names) && spoken(&own.key)).collect();
        // Of several for one name, ECDSA is the better one.
        fitting.sort_by_key(|own| own.key.key.algorithm() != SignatureAlgorithm::ECDSA);
        let chosen = fitting.first().copied().or(self.0.first())?;
        CHOSEN.set(Some(Chosen { arn: chosen.arn.clone(), by_name: !fitting.is_empty() }));
        Some(chosen.key.clone())
    }
}

/// Whether a certificate's name is for a host: a wildcard stands for one label.
pub fn covers(pattern: &str, host: &str) -> bool {
    match pattern.strip_prefix("*.") {
        Some(rest) => host.split_once('.').is_some_and(|(label, parent)| !label.is_empty() && parent == rest),
        None => pattern == host,
    }
}

/// Settings for targets that speak TLS: as an Application Load Balancer, whatever certificate they show
/// is taken.
pub fn client(http2: bool) -> Arc<ClientConfig> {
    static MADE: [OnceLock<Arc<ClientConfig>>; 2] = [OnceLock::new(), OnceLock::new()];
    MADE[usize::from(http2)].get_or_init(|| make_client(http2)).clone()
}

fn make_client(http2: bool) -> Arc<ClientConfig> {
    let provider = Arc::new(ring::default_provider());
    let verifier = Arc::new(Anyone(provider.clone()));
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider speaks TLS 1.2 and 1.3")
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    config.enable_sni = false;
    config.alpn_protocols.push(if http2 { b"h2".to_vec() } else { b"http/1.1".to_vec() });
    Arc::new(config)
}

#[derive(Debug)]
struct Anyone(Arc<CryptoProvider>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wildcard_stands_for_one_label() {
        assert!(covers("www.example.com", "www.example.com"));
        assert!(covers("*.example.com", "www.example.com"));
        for (pattern, host) in [
            ("*.example.com", "example.com"),
            ("*.example.com", "a.b.example.com"),
            ("*.example.com", ".example.com"),
            ("example.com", "www.example.com"),
        ] {
            assert!(!covers(pattern, host), "{pattern} {host}");
        }
    }
}
