//! HTTP/1.1 with kept-alive connections, plain for the local endpoint and registry, over TLS for others.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client as Pool;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};

/// Largest answer that is read, in bytes.
const MAX_ANSWER: usize = 256 << 20;
/// Longest wait for a connection.
const CONNECT: Duration = Duration::from_secs(5);

/// The endpoint is not an address that can be spoken to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{endpoint:?} is not an endpoint: {reason}")]
pub struct InvalidEndpoint {
    pub endpoint: String,
    pub reason: String,
}

/// No answer came.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct TransportError {
    pub message: String,
    /// Whether the request certainly did not reach the server.
    pub unsent: bool,
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// Connections to any endpoints. Clones share them.
#[derive(Clone, Debug)]
pub(crate) struct Transport {
    pool: Pool<HttpsConnector<HttpConnector>, Full<Bytes>>,
}

/// An endpoint and the connections to it. Clones share them.
#[derive(Clone, Debug)]
pub(crate) struct Endpoint {
    transport: Transport,
    /// `http` or `https`
    scheme: &'static str,
    /// `127.0.0.1:4566`
    authority: String,
    timeout: Duration,
}

/// A whole answer.
pub(crate) struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Transport {
    /// For `https` too: servers are believed by the certificates of a file (PEM), else by the system's.
    pub fn trusting(bundle: Option<&Path>) -> Result<Self, String> {
        let mut roots = RootCertStore::empty();
        if let Some(bundle) = bundle {
            let unusable =
                |e: rustls::pki_types::pem::Error| format!("cannot use the certificates of {}: {e}", bundle.display());
            for certificate in CertificateDer::pem_file_iter(bundle).map_err(unusable)? {
                let certificate = certificate.map_err(unusable)?;
                roots.add(certificate).map_err(|e| format!("cannot use a certificate of {}: {e}", bundle.display()))?;
            }
        } else {
            // Some that cannot be read do no harm to the others.
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
        if roots.is_empty() {
            return Err("this machine has no certificates to believe servers by: install ca-certificates, or name a \
                        file of them in AWS_CA_BUNDLE"
                .into());
        }
        Ok(Self::with(roots))
    }

    /// For `http` alone: no server of `https` is believed.
    fn plain() -> Self {
        Self::with(RootCertStore::empty())
    }

    fn with(roots: RootCertStore) -> Self {
        let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        // The provider has cipher suites for each of its versions.
        let config = config.expect("ring speaks TLS 1.2 and 1.3").with_root_certificates(roots).with_no_client_auth();
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(CONNECT));
        connector.set_nodelay(true);
        connector.enforce_http(false);
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(config)
            .https_or_http()
            .enable_http1()
            .wrap_connector(connector);
        Self { pool: Pool::builder(TokioExecutor::new()).build(connector) }
    }

    /// An endpoint reached by these connections.
    pub fn endpoint(&self, endpoint: &str) -> Result<Endpoint, InvalidEndpoint> {
        let (scheme, authority) = parsed(endpoint)?;
        Ok(Endpoint { transport: self.clone(), scheme, authority, timeout: Duration::from_secs(60) })
    }
}

impl Endpoint {
    /// An endpoint with connections of its own; for `https`, `AWS_CA_BUNDLE` names whom to believe.
    pub fn new(endpoint: &str) -> Result<Self, InvalidEndpoint> {
        let bundle = std::env::var_os("AWS_CA_BUNDLE").filter(|path| !path.is_empty()).map(PathBuf::from);
        Self::trusting(endpoint, bundle.as_deref())
    }

    /// The same, with a file of certificates to believe servers by; without one the system's.
    pub fn trusting(endpoint: &str, bundle: Option<&Path>) -> Result<Self, InvalidEndpoint> {
        let (scheme, _) = parsed(endpoint)?;
        let transport = if scheme == "https" {
            Transport::trusting(bundle).map_err(|reason| InvalidEndpoint { endpoint: endpoint.to_owned(), reason })?
        } else {
            Transport::plain()
        };
        transport.endpoint(endpoint)
    }

    pub fn authority(&self) -> &str {
        &self.authority
    }

    pub fn set_timeout(&mut self, timeout: Duration) {
        self.timeout = timeout;
    }

    /// Sends a request to a path of the endpoint and reads the whole answer.
    pub async fn send(
        &self,
        method: http::Method,
        path_and_query: &str,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<Answer, TransportError> {
        let failed = |what: &str, source: Option<Box<dyn std::error::Error + Send + Sync>>, unsent| TransportError {
            message: format!("{what} {}://{}{path_and_query}", self.scheme, self.authority),
            unsent,
            source,
        };
        let uri = format!("{}://{}{path_and_query}", self.scheme, self.authority);
        let request = Request::builder().method(method).uri(uri).body(Full::new(body));
        let mut request = request.map_err(|e| failed("not a valid request:", Some(e.into()), true))?;
        *request.headers_mut() = headers;
        let exchange = async {
            let answer = self.transport.pool.request(request).await.map_err(|e| {
                let unsent = e.is_connect();
                failed(if unsent { "cannot connect to" } else { "no answer from" }, Some(e.into()), unsent)
            })?;
            let (parts, body) = answer.into_parts();
            let body = Limited::new(body, MAX_ANSWER).collect().await;
            let body = body.map_err(|e| failed("the answer broke off:", Some(e), false))?;
            Ok(Answer { status: parts.status, headers: parts.headers, body: body.to_bytes() })
        };
        match tokio::time::timeout(self.timeout, exchange).await {
            Ok(answer) => answer,
            Err(_) => Err(failed("no answer in time from", None, false)),
        }
    }
}

/// Scheme and authority of `http://host:port` or `https://host`.
fn parsed(endpoint: &str) -> Result<(&'static str, String), InvalidEndpoint> {
    let invalid = |reason: &str| InvalidEndpoint { endpoint: endpoint.to_owned(), reason: reason.to_owned() };
    let uri: Uri = endpoint.parse().map_err(|_| invalid("not a URL"))?;
    let scheme = match uri.scheme_str() {
        Some("http") => "http",
        Some("https") => "https",
        _ => return Err(invalid("it must begin with http:// or https://")),
    };
    if !matches!(uri.path_and_query().map(|p| p.as_str()), None | Some("/" | "")) {
        return Err(invalid("it must not have a path"));
    }
    let authority = uri.authority().ok_or_else(|| invalid("no host"))?;
    if authority.as_str().contains('@') {
        return Err(invalid("it must not carry a user name"));
    }
    Ok((scheme, authority.to_string()))
}
