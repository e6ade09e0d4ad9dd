//! TLS in front of a plain server: what stands before it ends TLS with a certificate of an authority of its own.

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::oneshot;
use tokio_rustls::TlsAcceptor;

/// Passes what comes for `localhost` over TLS on to a plain server, until it is dropped.
pub struct Relay {
    pub address: SocketAddr,
    /// A file with the authority's certificate (PEM).
    pub bundle: PathBuf,
    end: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Relay {
    /// `dir`: where the authority's certificate is written.
    pub fn start(to: SocketAddr, dir: &Path) -> Self {
        let (config, authority) = certificates();
        let bundle = dir.join("authority.pem");
        std::fs::write(&bundle, authority).expect("the directory can be written");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        listener.set_nonblocking(true).expect("a listener can be without waiting");
        let address = listener.local_addr().expect("a listener has an address");
        let (end, ended) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                tokio::select! {
                    () = relay(listener, config, to) => {}
                    _ = ended => {}
                }
            });
        });
        Self { address, bundle, end: Some(end), thread: Some(thread) }
    }

    /// `https://localhost:…`
    pub fn url(&self) -> String {
        format!("https://localhost:{}", self.address.port())
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn relay(listener: TcpListener, config: ServerConfig, to: SocketAddr) {
    let listener = tokio::net::TcpListener::from_std(listener).expect("a listener of this runtime");
    let acceptor = TlsAcceptor::from(Arc::new(config));
    while let Ok((client, _)) = listener.accept().await {
        let acceptor = acceptor.clone();
        tokio::spawn(async move {
            // Who does not believe the certificate goes away.
            let Ok(mut client) = acceptor.accept(client).await else { return };
            let Ok(mut server) = tokio::net::TcpStream::connect(to).await else { return };
            let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
        });
    }
}

/// A certificate of `localhost` by a new authority, and that one's own.
fn certificates() -> (ServerConfig, String) {
    let mut authority = CertificateParams::new(Vec::new()).expect("no names are fine");
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority_key = KeyPair::generate().expect("a key");
    let pem = authority.self_signed(&authority_key).expect("a certificate").pem();
    let issuer = Issuer::new(authority, authority_key);
    let key = KeyPair::generate().expect("a key");
    let own = CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
    let own = own.signed_by(&key, &issuer).expect("a certificate");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring speaks TLS")
        .with_no_client_auth()
        .with_single_cert(vec![own.der().clone()], private)
        .expect("key and certificate belong together");
    (config, pem)
}
