//! A registry on loopback, and a client that sends one request per connection.
#![allow(dead_code)]

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use quarry_domain::door::Door;
use quarry_domain::image::{ImageCatalog, RegistryAccess, RegistryAuth, RegistryUse};
use quarry_registry::{Digest, Registry, RegistryConfig};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use tokio::net::{TcpListener, TcpStream};

pub const ACCOUNT: &str = "123456789012";
pub const REGION: &str = "eu-west-1";
pub const OCI: &str = "application/vnd.oci.image.manifest.v1+json";
pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// Lets everyone in, or only those with this header; nobody reads blobs of the repository `closed`.
pub struct Auth(pub Option<&'static str>);

impl RegistryAuth for Auth {
    fn allows(&self, authorization: Option<&str>, wanted: Option<RegistryUse<'_>>) -> RegistryAccess {
        match self.0.is_none_or(|wanted| authorization == Some(wanted)) {
            true => match wanted {
                Some(RegistryUse { action, repository: Some("closed") }) if action.contains(":Get") => {
                    RegistryAccess::Denied(format!("not authorized to perform: {action}"))
                }
                _ => RegistryAccess::Allowed,
            },
            false => RegistryAccess::Unknown,
        }
    }

    fn allows_download(&self, repository: &str, digest: &str, grant: &str) -> bool {
        grant == format!("{repository}/{digest}")
    }
}

pub struct Server {
    pub registry: Arc<Registry>,
    pub port: u16,
    pub data: PathBuf,
    accepting: tokio::task::JoinHandle<()>,
}

pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// Status and the specification's code.
    pub fn error(&self) -> (u16, String) {
        (self.status.as_u16(), self.json()["errors"][0]["code"].as_str().unwrap().to_owned())
    }
}

impl Server {
    pub async fn start(data: &Path) -> Self {
        Self::start_with(data, Auth(None), |_| ()).await
    }

    pub async fn start_with(data: &Path, auth: Auth, adjust: impl FnOnce(&mut RegistryConfig)) -> Self {
        Self::open(data, auth, Door::system(), adjust).await
    }

    /// With a clock that the test moves.
    pub async fn start_with_door(data: &Path, door: Door) -> Self {
        Self::open(data, Auth(None), door, |_| ()).await
    }

    async fn open(data: &Path, auth: Auth, door: Door, adjust: impl FnOnce(&mut RegistryConfig)) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut config = RegistryConfig::new(ACCOUNT, REGION, Arc::new(AtomicU16::new(0)));
        config.port.store(port, Ordering::Relaxed);
        adjust(&mut config);
        let registry = Registry::open(data, config, door).unwrap();
        let auth = Arc::new(auth);
        let serving = registry.clone();
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (registry, auth) = (serving.clone(), auth.clone());
                tokio::spawn(async move {
                    let service = hyper::service::service_fn(move |request| {
                        let (registry, auth) = (registry.clone(), auth.clone());
                        async move { Ok::<_, std::convert::Infallible>(registry.handle(request, &*auth).await) }
                    });
                    let _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        Self { registry, port, data: data.to_owned(), accepting }
    }

    pub fn create(&self, name: &str) {
        self.registry.create_repository(name, false).unwrap();
    }

    pub async fn call(&self, method: &str, path: &str, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Answer {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).await.unwrap();
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let mut request = Request::builder()
            .method(Method::from_bytes(method.as_bytes()).unwrap())
            .uri(path)
            .header("host", format!("localhost:{}", self.port));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = sender.send_request(request.body(Full::new(body.into())).unwrap()).await.unwrap();
        let (head, body) = response.into_parts();
        Answer { status: head.status, headers: head.headers, body: body.collect().await.unwrap().to_bytes() }
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.call("GET", path, &[], "").await
    }

    /// Pushes a blob in two requests, as clients do.
    pub async fn push_blob(&self, repository: &str, bytes: &[u8]) -> Digest {
        let digest = Digest::of(bytes);
        let begun = self.call("POST", &format!("/v2/{repository}/blobs/uploads/"), &[], "").await;
        assert_eq!(begun.status, 202);
        let path = format!("{}?digest={digest}", begun.header("location"));
        let done = self.call("PUT", &path, &[], bytes.to_vec()).await;
        assert_eq!(done.status, 201, "{:?}", done.body);
        assert_eq!(done.header("docker-content-digest"), digest.as_str());
        digest
    }

    /// Pushes an image of one layer; returns its digest.
    pub async fn push_image(&self, repository: &str, tag: &str, layer: &[u8]) -> Digest {
        let config = config(std::env::consts::ARCH, layer);
        self.push_blob(repository, layer).await;
        self.push_blob(repository, &config).await;
        let manifest = manifest(&config, layer);
        let path = format!("/v2/{repository}/manifests/{tag}");
        let put = self.call("PUT", &path, &[("content-type", OCI)], manifest.clone()).await;
        assert_eq!(put.status, 201, "{:?}", put.body);
        Digest::of(&manifest)
    }

    /// File names under a directory of the registry.
    pub fn files(&self, dir: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.data.join("registry").join(dir)).unwrap();
        let mut names: Vec<String> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// A configuration for an uncompressed layer.
pub fn config(arch: &str, layer: &[u8]) -> Vec<u8> {
    let arch = match arch {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    serde_json::to_vec(&serde_json::json!({
        "architecture": arch,
        "os": "linux",
        "config": {
            "Entrypoint": ["/api"], "Cmd": ["--listen", "0.0.0.0:3000"], "Env": ["A=1", "B="],
            "WorkingDir": "", "User": "1000", "StopSignal": "SIGINT", "Volumes": null, "ExposedPorts": {"3000/tcp": {}},
        },
        "rootfs": { "type": "layers", "diff_ids": [Digest::of(layer).as_str()] },
    }))
    .unwrap()
}

pub fn manifest(config: &[u8], layer: &[u8]) -> Vec<u8> {
    serde_json::to_vec(&serde_json::json!({
        "schemaVersion": 2,
        "mediaType": OCI,
        "config": {
            "mediaType": "application/vnd.oci.image.config.v1+json",
            "digest": Digest::of(config).as_str(), "size": config.len(),
        },
        "layers": [{
            "mediaType": "application/vnd.oci.image.layer.v1.tar",
            "digest": Digest::of(layer).as_str(), "size": layer.len(),
        }],
    }))
    .unwrap()
}
