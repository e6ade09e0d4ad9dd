//! Where a database is, and how it is spoken to: in the clear, or over TLS.
//!
//! `sslmode=require` encrypts and believes the server whatever it shows, as libpq does without a root certificate;
//! `sslmode=verify-full` with `sslrootcert` (a file of PEM certificates) checks its certificate and its name.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use percent_encoding::percent_decode_str;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, InvalidDnsNameError, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::config::SslMode;
use tokio_postgres::tls::{ChannelBinding, MakeTlsConnect, TlsConnect, TlsStream};
use tokio_postgres::{Client, Config, NoTls, Socket};
use tokio_rustls::TlsConnector;

use super::Result;
use crate::contract::{Code, Problem};

const CONNECT_LIMIT: Duration = Duration::from_secs(3);

/// A database as its URL says.
#[derive(Clone)]
pub struct Target {
    config: Config,
    tls: Option<Tls>,
}

#[derive(Clone)]
struct Tls(TlsConnector);

/// One connection's handshake.
struct Handshake(TlsConnector, ServerName<'static>);

struct Encrypted(Box<tokio_rustls::client::TlsStream<Socket>>);

/// Takes any certificate: the connection cannot be listened to, but its other end may be anybody.
#[derive(Debug)]
struct Anybody(WebPkiSupportedAlgorithms);

impl Target {
    /// Reads a URL such as `postgres://user:password@host:5432/database?sslmode=require`. `program` is what the server
    /// calls its sessions.
    pub fn parse(url: &str, program: &str) -> Result<Target> {
        let bad = |message: String| Problem::new(Code::BadRequest, format!("the URL of the database: {message}"));
        let (mut rest, mut mode, mut roots) = (Vec::new(), None, None);
        let (head, query) = url.split_once('?').unwrap_or((url, ""));
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            match pair.split_once('=') {
                Some(("sslmode", value @ ("require" | "verify-ca" | "verify-full"))) => mode = Some(value),
                Some(("sslrootcert", file)) => roots = Some(percent_decode_str(file).decode_utf8_lossy().into_owned()),
                _ => rest.push(pair),
            }
        }
        let tls = match (mode, roots) {
            (None, None) => None,
            (Some("require"), None) => Some(anybody().map_err(|e| bad(e.to_string()))?),
            (Some("verify-full"), Some(file)) => Some(checked(&file).map_err(bad)?),
            (Some("verify-full"), None) => return Err(bad("sslmode=verify-full needs sslrootcert".to_owned())),
            _ => {
                let message = "sslrootcert goes with sslmode=verify-full, and sslmode=verify-ca is not spoken here";
                return Err(bad(message.to_owned()));
            }
        };
        let plain = if rest.is_empty() { head.to_owned() } else { format!("{head}?{}", rest.join("&")) };
        let mut config: Config = plain.parse().map_err(|e: tokio_postgres::Error| bad(e.to_string()))?;
        match tls {
            Some(_) => config.ssl_mode(SslMode::Require),
            None if config.get_ssl_mode() == SslMode::Require => {
                return Err(bad("TLS is asked for in a URL: postgres://…?sslmode=require".to_owned()));
            }
            None => config.ssl_mode(SslMode::Disable),
        };
        config.connect_timeout(CONNECT_LIMIT);
        config.application_name(program);
        Ok(Target { config, tls })
    }

    /// What was read of the URL.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Settings of the session, as `-c name=value`.
    pub fn options(&mut self, options: &str) {
        self.config.options(options);
    }

    /// A connection, which the runtime drives in the background.
    pub async fn connect(&self) -> std::result::Result<Client, tokio_postgres::Error> {
        // Whoever uses the client meets the error.
        match &self.tls {
            None => {
                let (client, connection) = self.config.connect(NoTls).await?;
                tokio::spawn(async move { drop(connection.await) });
                Ok(client)
            }
            Some(tls) => {
                let (client, connection) = self.config.connect(tls.clone()).await?;
                tokio::spawn(async move { drop(connection.await) });
                Ok(client)
            }
        }
    }
}

fn anybody() -> std::result::Result<Tls, rustls::Error> {
    let provider = Arc::new(ring::default_provider());
    let verifier = Arc::new(Anybody(provider.signature_verification_algorithms));
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let config = config.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth();
    Ok(Tls(Arc::new(config).into()))
}

fn checked(file: &str) -> std::result::Result<Tls, String> {
    let bad = |error: &dyn std::fmt::Display| format!("sslrootcert {file}: {error}");
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(file).map_err(|e| bad(&e))? {
        roots.add(certificate.map_err(|e| bad(&e))?).map_err(|e| bad(&e))?;
    }
    if roots.is_empty() {
        return Err(bad(&"it has no certificate"));
    }
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let config = config.with_safe_default_protocol_versions().map_err(|e| bad(&e))?;
    Ok(Tls(Arc::new(config.with_root_certificates(roots).with_no_client_auth()).into()))
}

impl MakeTlsConnect<Socket> for Tls {
    type Stream = Encrypted;
    type TlsConnect = Handshake;
    type Error = InvalidDnsNameError;

    fn make_tls_connect(&mut self, host: &str) -> std::result::Result<Handshake, InvalidDnsNameError> {
        Ok(Handshake(self.0.clone(), ServerName::try_from(host.to_owned())?))
    }
}

impl TlsConnect<Socket> for Handshake {
    type Stream = Encrypted;
    type Error = std::io::Error;
    type Future = Pin<Box<dyn Future<Output = std::io::Result<Encrypted>> + Send>>;

    fn connect(self, socket: Socket) -> Self::Future {
        Box::pin(async move { Ok(Encrypted(Box::new(self.0.connect(self.1, socket).await?))) })
    }
}

impl TlsStream for Encrypted {
    fn channel_binding(&self) -> ChannelBinding {
        ChannelBinding::none()
    }
}

impl AsyncRead for Encrypted {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut *self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Encrypted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut *self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut *self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut *self.0).poll_shutdown(cx)
    }
}

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> std::result::Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}
