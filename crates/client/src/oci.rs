//! Push to and pull from a registry that speaks the OCI distribution protocol.

use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use serde_json::{Value, json};

use crate::http::{Answer, Endpoint, InvalidEndpoint, TransportError};

/// Bytes per PATCH.
const CHUNK: usize = 8 << 20;
/// More pages of tags than this are a fault of the registry.
const MAX_PAGES: usize = 1000;

/// The media type of an OCI image manifest.
pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// The media type of an OCI image configuration.
pub const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
/// The media type of a gzipped layer.
pub const LAYER_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// An image as it is pushed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OciImage {
    /// The image configuration, JSON text.
    pub config: Bytes,
    pub layers: Vec<OciLayer>,
}

/// A layer as it is pushed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OciLayer {
    pub media_type: String,
    /// `sha256:` and 64 hex digits, of `bytes`.
    pub digest: String,
    pub bytes: Bytes,
}

/// A manifest as it was pulled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    pub media_type: String,
    pub digest: String,
    pub bytes: Bytes,
}

/// How to prove to the registry who asks.
#[derive(Clone, PartialEq, Eq)]
pub enum Auth {
    Anonymous,
    /// ECR's: the user is `AWS`, the password from GetAuthorizationToken.
    Basic {
        user: String,
        password: String,
    },
}

/// Why a push or a pull failed.
#[derive(Debug, thiserror::Error)]
pub enum OciError {
    #[error(transparent)]
    Endpoint(#[from] InvalidEndpoint),
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// The registry refused: its code (`NAME_UNKNOWN`) and message.
    #[error("{what}: {status} {code} {message}")]
    Refused { what: String, status: u16, code: String, message: String },
    /// The registry's answer goes against the protocol.
    #[error("{0}")]
    Protocol(String),
    /// Content does not have the digest it should have.
    #[error("{what} has the digest {found}, not {expected}")]
    Digest { what: String, expected: String, found: String },
}

/// A registry.
#[derive(Clone)]
pub struct Registry {
    endpoint: Endpoint,
    auth: Auth,
}

/// Pushes an image to `http://registry_base/v2/` and returns its manifest's digest.
pub async fn push_image(
    registry_base: &str,
    name: &str,
    tag: &str,
    image: &OciImage,
    auth: Auth,
) -> Result<String, OciError> {
    Registry::new(registry_base, auth)?.push_image(name, tag, image).await
}

/// `sha256:` and the hex digits of the content's hash.
pub fn digest_of(bytes: &[u8]) -> String {
    format!("sha256:{}", quarry_wire::hash::sha256(bytes))
}

impl OciLayer {
    pub fn new(media_type: impl Into<String>, bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        OciLayer { media_type: media_type.into(), digest: digest_of(&bytes), bytes }
    }
}

impl OciImage {
    /// The manifest, JSON text.
    pub fn manifest(&self) -> Bytes {
        let layers: Vec<Value> = self
            .layers
            .iter()
            .map(|l| json!({"mediaType": l.media_type, "digest": l.digest, "size": l.bytes.len()}))
            .collect();
        let config = json!({
            "mediaType": CONFIG,
            "digest": digest_of(&self.config),
            "size": self.config.len(),
        });
        let manifest = json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers});
        Bytes::from(manifest.to_string())
    }
}

impl Registry {
    /// A registry at `http://host:port`, or `host:port`.
    pub fn new(base: &str, auth: Auth) -> Result<Self, OciError> {
        let base = if base.contains("://") { base.to_owned() } else { format!("http://{base}") };
        Ok(Registry { endpoint: Endpoint::new(base.trim_end_matches('/'))?, auth })
    }

    /// A registry at `https://host` that is believed by the certificates of a file; without one by the system's.
    pub fn trusting(base: &str, auth: Auth, bundle: Option<&Path>) -> Result<Self, OciError> {
        Ok(Registry { endpoint: Endpoint::trusting(base.trim_end_matches('/'), bundle)?, auth })
    }

    /// The same registry with another limit for one exchange; 60 s unless set.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.endpoint.set_timeout(timeout);
        self
    }

    /// Uploads what the registry lacks, then the manifest under a tag; returns its digest.
    pub async fn push_image(&self, name: &str, tag: &str, image: &OciImage) -> Result<String, OciError> {
        for layer in &image.layers {
            self.push_blob(name, &layer.digest, &layer.bytes).await?;
        }
        self.push_blob(name, &digest_of(&image.config), &image.config).await?;
        let manifest = image.manifest();
        let digest = digest_of(&manifest);
        let path = format!("/v2/{name}/manifests/{tag}");
        let types = [(header::CONTENT_TYPE, MANIFEST.to_owned())];
        let answer = self.send(Method::PUT, &path, &types, manifest).await?;
        expect(&answer, &[StatusCode::CREATED], || format!("pushing {name}:{tag}"))?;
        Ok(digest)
    }

    /// Uploads a blob unless the registry has it; whether it was uploaded.
    pub async fn push_blob(&self, name: &str, digest: &str, bytes: &Bytes) -> Result<bool, OciError> {
        let found = digest_of(bytes);
        if found != digest {
            return Err(OciError::Digest { what: "a blob".to_owned(), expected: digest.to_owned(), found });
        }
        let path = format!("/v2/{name}/blobs/{digest}");
        let answer = self.send(Method::HEAD, &path, &[], Bytes::new()).await?;
        match answer.status {
            StatusCode::OK => return Ok(false),
            StatusCode::NOT_FOUND => {}
            _ => expect(&answer, &[], || format!("asking for {digest} in {name}"))?,
        }
        let path = format!("/v2/{name}/blobs/uploads/");
        let answer = self.send(Method::POST, &path, &[], Bytes::new()).await?;
        expect(&answer, &[StatusCode::ACCEPTED], || format!("beginning an upload to {name}"))?;
        let mut location = self.location(&answer)?;
        let mut start = 0;
        while start < bytes.len() {
            let end = bytes.len().min(start + CHUNK);
            let about = [
                (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
                (header::CONTENT_RANGE, format!("{start}-{}", end - 1)),
            ];
            let answer = self.send(Method::PATCH, &location, &about, bytes.slice(start..end)).await?;
            expect(&answer, &[StatusCode::ACCEPTED], || format!("uploading {digest} to {name}"))?;
            location = self.location(&answer)?;
            start = end;
        }
        let separator = if location.contains('?') { '&' } else { '?' };
        let finish = format!("{location}{separator}digest={digest}");
        let answer = self.send(Method::PUT, &finish, &[], Bytes::new()).await?;
        expect(&answer, &[StatusCode::CREATED], || format!("completing {digest} in {name}"))?;
        Ok(true)
    }

    /// The manifest of a tag or a digest, checked against its digest.
    pub async fn get_manifest(&self, name: &str, reference: &str) -> Result<Manifest, OciError> {
        let path = format!("/v2/{name}/manifests/{reference}");
        let accept = format!(
            "{MANIFEST}, application/vnd.oci.image.index.v1+json, \
             application/vnd.docker.distribution.manifest.v2+json, \
             application/vnd.docker.distribution.manifest.list.v2+json"
        );
        let answer = self.send(Method::GET, &path, &[(header::ACCEPT, accept)], Bytes::new()).await?;
        let what = || format!("the manifest {name}:{reference}");
        expect(&answer, &[StatusCode::OK], what)?;
        let digest = digest_of(&answer.body);
        let named = reference.starts_with("sha256:").then_some(reference);
        let stated = text(&answer, "docker-content-digest");
        if let Some(expected) = [named, stated].into_iter().flatten().find(|e| *e != digest) {
            let (expected, found) = (expected.to_owned(), digest.clone());
            return Err(OciError::Digest { what: what(), expected, found });
        }
        let media_type = text(&answer, "content-type").unwrap_or(MANIFEST).to_owned();
        Ok(Manifest { media_type, digest, bytes: answer.body })
    }

    /// A blob, checked against its digest.
    pub async fn get_blob(&self, name: &str, digest: &str) -> Result<Bytes, OciError> {
        let path = format!("/v2/{name}/blobs/{digest}");
        let answer = self.send(Method::GET, &path, &[], Bytes::new()).await?;
        let what = || format!("the blob {digest} of {name}");
        expect(&answer, &[StatusCode::OK], what)?;
        let found = digest_of(&answer.body);
        if found != digest {
            return Err(OciError::Digest { what: what(), expected: digest.to_owned(), found });
        }
        Ok(answer.body)
    }

    /// All tags of a repository.
    pub async fn list_tags(&self, name: &str) -> Result<Vec<String>, OciError> {
        let mut tags = Vec::new();
        let mut path = format!("/v2/{name}/tags/list");
        for _ in 0..MAX_PAGES {
            let answer = self.send(Method::GET, &path, &[], Bytes::new()).await?;
            expect(&answer, &[StatusCode::OK], || format!("the tags of {name}"))?;
            let page: Value = serde_json::from_slice(&answer.body)
                .map_err(|e| OciError::Protocol(format!("the tags of {name} are not JSON: {e}")))?;
            let found = page["tags"].as_array().into_iter().flatten();
            tags.extend(found.filter_map(|t| t.as_str().map(str::to_owned)));
            let next = text(&answer, "link").and_then(|l| l.strip_prefix('<')?.split_once('>'));
            match next {
                Some((next, rest)) if rest.contains("next") => path = self.local(next)?,
                _ => return Ok(tags),
            }
        }
        Err(OciError::Protocol(format!("the tags of {name} do not end after {MAX_PAGES} pages")))
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        about: &[(header::HeaderName, String)],
        body: Bytes,
    ) -> Result<Answer, OciError> {
        let mut headers = HeaderMap::new();
        let usable = |value: &str| {
            HeaderValue::from_str(value).map_err(|_| OciError::Protocol("a header cannot be sent".to_owned()))
        };
        headers.insert(header::HOST, usable(self.endpoint.authority())?);
        if let Auth::Basic { user, password } = &self.auth {
            let mut value = usable(&format!("Basic {}", BASE64.encode(format!("{user}:{password}"))))?;
            value.set_sensitive(true);
            headers.insert(header::AUTHORIZATION, value);
        }
        for (name, value) in about {
            headers.insert(name.clone(), usable(value)?);
        }
        Ok(self.endpoint.send(method, path, headers, body).await?)
    }

    fn location(&self, answer: &Answer) -> Result<String, OciError> {
        let location = text(answer, "location")
            .ok_or_else(|| OciError::Protocol("the registry names no upload location".to_owned()))?;
        self.local(location)
    }

    /// The path of an address, which must be this registry's: credentials go nowhere else.
    fn local(&self, address: &str) -> Result<String, OciError> {
        let foreign = || OciError::Protocol(format!("the registry points elsewhere: {address}"));
        let uri: Uri = address.parse().map_err(|_| foreign())?;
        if uri.authority().is_some_and(|a| a.as_str() != self.endpoint.authority()) {
            return Err(foreign());
        }
        uri.path_and_query().map(|p| p.as_str().to_owned()).filter(|p| p.starts_with('/')).ok_or_else(foreign)
    }
}

impl std::fmt::Debug for Auth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Auth::Anonymous => f.write_str("Anonymous"),
            Auth::Basic { user, .. } => write!(f, "Basic({user})"),
        }
    }
}

fn text<'a>(answer: &'a Answer, name: &str) -> Option<&'a str> {
    answer.headers.get(name)?.to_str().ok()
}

fn expect(answer: &Answer, wanted: &[StatusCode], what: impl Fn() -> String) -> Result<(), OciError> {
    if wanted.contains(&answer.status) {
        return Ok(());
    }
    let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let error = &body["errors"][0];
    let member = |name: &str| error[name].as_str().unwrap_or_default().to_owned();
    Err(OciError::Refused {
        what: what(),
        status: answer.status.as_u16(),
        code: member("code"),
        message: member("message"),
    })
}
