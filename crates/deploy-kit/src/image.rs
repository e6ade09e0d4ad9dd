//! From a Dockerfile and its context to an image in OCI format, as bytes.

mod layer;

use crate::context::{Context, Node, SourceError, clean};
use crate::dockerfile::{Dockerfile, DockerfileError, Instruction, Step};
use layer::{Entry, Files};
use ring::digest::{SHA256, digest};
use serde::Serialize;
use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

/// How to build.
#[derive(Clone, Debug)]
pub struct Options {
    /// The machine it is for, in images' words: `amd64`, `arm64`.
    pub architecture: String,
    /// Values for ARGs.
    pub arguments: BTreeMap<String, String>,
}

/// An image, ready to be pushed: first layers and configuration, then the manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuiltImage {
    /// The configuration's JSON.
    pub config: Vec<u8>,
    /// `sha256:…` of `config`.
    pub config_digest: String,
    /// Bottom first.
    pub layers: Vec<Layer>,
    /// The manifest's JSON, of media type [`MANIFEST_TYPE`].
    pub manifest: Vec<u8>,
    /// `sha256:…` of `manifest`: the image's digest.
    pub digest: String,
}

/// A layer, compressed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    /// `sha256:…` of `bytes`.
    pub digest: String,
    /// `sha256:…` of the tar stream in it.
    pub diff_id: String,
    pub bytes: Vec<u8>,
    pub media_type: &'static str,
}

/// Why there is no image.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    #[error(transparent)]
    Dockerfile(#[from] DockerfileError),
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
}

pub const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";
pub const CONFIG_TYPE: &str = "application/vnd.oci.image.config.v1+json";
pub const LAYER_TYPE: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// No image has a time of its own: equal input gives equal bytes.
const EPOCH: &str = "1970-01-01T00:00:00Z";

impl Default for Options {
    /// For this machine, without ARGs.
    fn default() -> Self {
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        Self { architecture: architecture.to_owned(), arguments: BTreeMap::new() }
    }
}

/// Builds an image. `name`: the Dockerfile's name in errors; `text`: what is in it.
///
/// # Errors
/// Something in the Dockerfile is wrong or not served (with its line), or a file cannot be read.
pub fn build(name: &str, text: &str, context: &Context, options: &Options) -> Result<BuiltImage, BuildError> {
    let dockerfile = Dockerfile::parse(name, text, &options.arguments)?;
    let mut builder = Builder { context, files: Files::default(), layers: Vec::new(), image: Config::new(options) };
    for step in &dockerfile.steps {
        builder.step(step).map_err(|error| match error {
            SourceError::Bad(message) => DockerfileError { file: name.to_owned(), line: step.line, message }.into(),
            SourceError::Io { path, error } => BuildError::Io { path, source: error },
        })?;
    }
    builder.finish()
}

struct Builder<'a> {
    context: &'a Context,
    /// What the layers so far put where.
    files: Files,
    layers: Vec<Layer>,
    image: Config,
}

/// The configuration, in the order of the OCI image specification. Maps are sorted.
#[derive(Serialize)]
struct Config {
    created: &'static str,
    architecture: String,
    os: &'static str,
    config: RunConfig,
    rootfs: RootFs,
    history: Vec<History>,
}

#[derive(Default, Serialize)]
#[serde(rename_all = "PascalCase")]
struct RunConfig {
    #[serde(skip_serializing_if = "String::is_empty")]
    user: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    exposed_ports: BTreeMap<String, Nothing>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    env: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    entrypoint: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    cmd: Vec<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    volumes: BTreeMap<String, Nothing>,
    #[serde(skip_serializing_if = "String::is_empty")]
    working_dir: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    labels: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    stop_signal: String,
}

#[derive(Serialize)]
struct Nothing {}

#[derive(Serialize)]
struct RootFs {
    #[serde(rename = "type")]
    kind: &'static str,
    diff_ids: Vec<String>,
}

#[derive(Serialize)]
struct History {
    created: &'static str,
    created_by: String,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    empty_layer: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Manifest<'a> {
    schema_version: u32,
    media_type: &'static str,
    config: Descriptor<'a>,
    layers: Vec<Descriptor<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor<'a> {
    media_type: &'static str,
    digest: &'a str,
    size: usize,
}

impl Config {
    fn new(options: &Options) -> Self {
        Self {
            created: EPOCH,
            architecture: options.architecture.clone(),
            os: "linux",
            config: RunConfig::default(),
            rootfs: RootFs { kind: "layers", diff_ids: Vec::new() },
            history: Vec::new(),
        }
    }
}

impl Builder<'_> {
    fn step(&mut self, step: &Step) -> Result<(), SourceError> {
        let layers = self.layers.len();
        let config = &mut self.image.config;
        match &step.instruction {
            Instruction::Copy { sources, target, owner, mode, unpacks } => {
                let found = self.found(sources, *unpacks)?;
                self.copy(found, target, *owner, *mode)?;
            }
            Instruction::Env(pairs) => {
                for (name, value) in pairs {
                    let prefix = format!("{name}=");
                    config.env.retain(|entry| !entry.starts_with(&prefix));
                    config.env.push(format!("{prefix}{value}"));
                }
            }
            Instruction::Expose(ports) => config.exposed_ports.extend(ports.iter().map(|p| (p.clone(), Nothing {}))),
            Instruction::Workdir(path) => {
                let path = absolute(&config.working_dir, path)?;
                self.image.config.working_dir = format!("/{path}");
                self.files.add_dir(&path)?;
                self.close_layer()?;
            }
            Instruction::User(user) => config.user.clone_from(user),
            Instruction::Entrypoint(words) => config.entrypoint.clone_from(words),
            Instruction::Cmd(words) => config.cmd.clone_from(words),
            Instruction::Label(pairs) => config.labels.extend(pairs.iter().cloned()),
            Instruction::Volume(paths) => config.volumes.extend(paths.iter().map(|p| (p.clone(), Nothing {}))),
            Instruction::StopSignal(signal) => config.stop_signal.clone_from(signal),
        }
        self.image.history.push(History {
            created: EPOCH,
            created_by: step.text.clone(),
            empty_layer: self.layers.len() == layers,
        });
        Ok(())
    }

    /// What the sources name; an archive that would be unpacked is refused.
    fn found(&self, sources: &[String], unpacks: bool) -> Result<Vec<(String, Node)>, SourceError> {
        let mut found = Vec::new();
        for source in sources {
            found.extend(self.context.find(source)?);
        }
        for (path, node) in found.iter().filter(|_| unpacks) {
            if node.is_archive()? {
                let message =
                    format!("{path} is an archive, which ADD unpacks: unpack it before, and COPY what is in it");
                return Err(SourceError::Bad(message));
            }
        }
        Ok(found)
    }

    fn copy(
        &mut self,
        found: Vec<(String, Node)>,
        target: &str,
        owner: (u32, u32),
        mode: Option<u32>,
    ) -> Result<(), SourceError> {
        let into_dir = target.ends_with('/') || target == "." || target.ends_with("/.");
        let target = absolute(&self.image.config.working_dir, target)?;
        if found.len() > 1 && !into_dir {
            return Err(SourceError::Bad(format!(
                "the pattern names {} files, so its target is a directory: write /{target}/",
                found.len()
            )));
        }
        let into_dir = into_dir || self.files.is_dir(&target);
        for (path, node) in found {
            match node {
                Node::Dir { .. } => {
                    // Of a directory the contents are copied, not itself.
                    self.files.add_dir(&target)?;
                    let prefix = if path.is_empty() { 0 } else { path.len() + 1 };
                    for (below, node) in self.context.below(&path)? {
                        self.files.add(&join(&target, &below[prefix..]), Entry::new(node, owner, mode))?;
                    }
                }
                node => {
                    let name = path.rsplit('/').next().unwrap_or(&path);
                    let at = if into_dir { join(&target, name) } else { target.clone() };
                    self.files.add(&at, Entry::new(node, owner, mode))?;
                }
            }
        }
        self.close_layer()
    }

    /// Makes a layer of what was added since the last one, if anything was.
    fn close_layer(&mut self) -> Result<(), SourceError> {
        if let Some((diff_id, bytes)) = self.files.close_layer()? {
            self.image.rootfs.diff_ids.push(diff_id.clone());
            self.layers.push(Layer { digest: sha256(&bytes), diff_id, bytes, media_type: LAYER_TYPE });
        }
        Ok(())
    }

    fn finish(self) -> Result<BuiltImage, BuildError> {
        let json = |error: serde_json::Error| BuildError::Io { path: PathBuf::new(), source: error.into() };
        let config = serde_json::to_vec(&self.image).map_err(json)?;
        let config_digest = sha256(&config);
        let layers = self.layers.iter();
        let layers = layers.map(|l| Descriptor { media_type: l.media_type, digest: &l.digest, size: l.bytes.len() });
        let manifest = Manifest {
            schema_version: 2,
            media_type: MANIFEST_TYPE,
            config: Descriptor { media_type: CONFIG_TYPE, digest: &config_digest, size: config.len() },
            layers: layers.collect(),
        };
        let manifest = serde_json::to_vec(&manifest).map_err(json)?;
        Ok(BuiltImage { config_digest, digest: sha256(&manifest), manifest, config, layers: self.layers })
    }
}

/// `path` seen from `base`, without the leading slash.
fn absolute(base: &str, path: &str) -> Result<String, SourceError> {
    let whole = if path.starts_with('/') { path.to_owned() } else { format!("{base}/{path}") };
    clean(&whole).ok_or_else(|| SourceError::Bad(format!("{path} leads above the image's root")))
}

fn join(dir: &str, name: &str) -> String {
    if dir.is_empty() { name.to_owned() } else { format!("{dir}/{name}") }
}

/// `sha256:` and the hexadecimal digest.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    let mut text = "sha256:".to_owned();
    for byte in digest(&SHA256, bytes).as_ref() {
        use std::fmt::Write;
        let _ = write!(text, "{byte:02x}");
    }
    text
}
