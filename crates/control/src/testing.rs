//! A platform on a directory of its own with fakes for the runtime, the images and the catalogue.
#![allow(dead_code)] // Each module's tests use what they need.

use crate::api::{Ctx, Operations, Result, internally};
use crate::machine::Machine;
use crate::platform::{Platform, PlatformConfig};
use quarry_domain::arn::Place;
use quarry_domain::door::TestDoor;
use quarry_domain::image::{
    CatalogError, Collected, ImageCatalog, ImageConfig, ImageRecord, ImageStore, LayerBlob, LayerError, LayerRecord,
    Layers, PullError, ResolvedImage, part_fits,
};
use quarry_domain::isolation::{Isolation, IsolationReport};
use quarry_domain::snapshot::Hub;
use quarry_domain::task::{
    ContainerStats, Exec, ExecSpec, LaunchError, ObservedTask, Signal, TaskEntry, TaskPhase, TaskRuntime, TaskSpec,
    Usage,
};
use quarry_wire::Operation;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A platform under test and what its fakes hold.
pub struct World {
    pub platform: Arc<Platform>,
    pub operations: Arc<Operations>,
    pub door: Arc<TestDoor>,
    pub runtime: Arc<FakeRuntime>,
    pub images: Arc<FakeImages>,
    pub catalog: Arc<FakeCatalog>,
    dir: Option<tempfile::TempDir>,
}

/// A runtime that remembers what it was asked for; tests decide what is seen.
pub struct FakeRuntime {
    pub launched: Mutex<Vec<TaskSpec>>,
    pub signals: Mutex<Vec<(String, Option<String>, Signal)>>,
    pub removed: Mutex<Vec<String>>,
    pub seen: Mutex<Vec<ObservedTask>>,
    /// By task.
    pub usage: Mutex<BTreeMap<String, Usage>>,
    /// By task id.
    pub stats: Mutex<BTreeMap<String, Vec<ContainerStats>>>,
    /// Bytes, by task id.
    pub written: Mutex<BTreeMap<String, u64>>,
    /// Task, container and offset.
    pub released: Mutex<Vec<(String, String, u64)>>,
    /// Nothing can be told of any task.
    pub blind: Mutex<bool>,
    wakes: Mutex<Vec<Box<dyn Fn() + Send + Sync>>>,
    report: IsolationReport,
    root: PathBuf,
}

/// An image store that knows the images in it.
#[derive(Default)]
pub struct FakeImages {
    pub images: Mutex<BTreeMap<String, ResolvedImage>>,
}

/// A catalogue in memory.
#[derive(Default)]
pub struct FakeCatalog {
    repositories: Mutex<BTreeMap<String, FakeRepository>>,
}

#[derive(Default)]
struct FakeRepository {
    immutable: bool,
    /// By digest: media type and bytes.
    manifests: BTreeMap<String, (String, Vec<u8>)>,
    /// Tag to digest.
    tags: BTreeMap<String, String>,
    layers: BTreeMap<String, Vec<u8>>,
    uploads: BTreeMap<String, Vec<u8>>,
}

impl World {
    /// On a fresh directory, with the operations that `register` adds.
    pub fn new(register: impl FnOnce(&mut Operations)) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let mut world = Self::open(dir.path(), register);
        world.dir = Some(dir);
        world
    }

    /// On an existing directory, as after a restart.
    pub fn open(dir: &Path, register: impl FnOnce(&mut Operations)) -> Self {
        let mut operations = Operations::default();
        register(&mut operations);
        let door = TestDoor::new(1_700_000_000_000);
        let runtime = Arc::new(FakeRuntime::new(dir));
        let (images, catalog) = (Arc::new(FakeImages::default()), Arc::new(FakeCatalog::default()));
        let platform = Platform::new(Self::config(dir), door.door(), runtime.clone(), images.clone(), catalog.clone())
            .expect("the store opens");
        Self { platform, operations: Arc::new(operations), door, runtime, images, catalog, dir: None }
    }

    /// After a crash, on the same directory: what runs goes on, all else that was not stored is lost.
    pub fn crashed(&self) -> Self {
        let (runtime, images, catalog) = (self.runtime.clone(), self.images.clone(), self.catalog.clone());
        let config = self.platform.config.clone();
        let platform = Platform::new(config, self.door.door(), runtime.clone(), images.clone(), catalog.clone())
            .expect("the store opens");
        let (operations, door) = (self.operations.clone(), self.door.clone());
        Self { platform, operations, door, runtime, images, catalog, dir: None }
    }

    pub fn config(dir: &Path) -> PlatformConfig {
        PlatformConfig {
            data_dir: dir.to_owned(),
            place: Place { account: "000000000000".into(), region: "us-east-1".into() },
            port: 4566,
            hub: Some(Hub { broker: dir.join("hub/s"), address: Ipv4Addr::new(198, 19, 0, 1) }),
            host_folders: vec!["/srv/shared".into()],
            quotas: Default::default(),
            scaling_speed: 1,
            outside: Vec::new(),
            machine: Machine { cpu: 4096, memory: 8192 },
        }
    }

    /// Calls an operation as a client would, in a transaction of its own.
    pub fn call<O: Operation>(&self, input: O::Input) -> Result<O::Output> {
        self.transact(|ctx| ctx.invoke::<O>(input))
    }

    /// Runs `f` in one transaction.
    pub fn transact<T>(&self, f: impl FnOnce(&mut Ctx<'_>) -> Result<T>) -> Result<T> {
        internally(&self.platform, &self.operations, f)
    }

    pub fn dir(&self) -> &Path {
        &self.platform.config.data_dir
    }
}

impl FakeRuntime {
    fn new(root: &Path) -> Self {
        Self {
            launched: Mutex::default(),
            signals: Mutex::default(),
            removed: Mutex::default(),
            seen: Mutex::default(),
            usage: Mutex::default(),
            stats: Mutex::default(),
            written: Mutex::default(),
            released: Mutex::default(),
            blind: Mutex::default(),
            wakes: Mutex::default(),
            report: IsolationReport {
                isolation: Isolation::Rootless,
                limits: false,
                low_ports: false,
                findings: Vec::new(),
            },
            root: root.to_owned(),
        }
    }

    /// Sets what is seen of a task and wakes who subscribed.
    pub fn show(&self, task: ObservedTask) {
        let mut seen = self.seen.lock().expect("unpoisoned");
        seen.retain(|other| other.id != task.id);
        seen.push(task);
        drop(seen);
        for wake in self.wakes.lock().expect("unpoisoned").iter() {
            wake();
        }
    }
}

impl TaskRuntime for FakeRuntime {
    fn isolation(&self) -> &IsolationReport {
        &self.report
    }

    fn launch(&self, spec: &TaskSpec) -> Result<(), LaunchError> {
        self.launched.lock().expect("unpoisoned").push(spec.clone());
        let mut seen = self.seen.lock().expect("unpoisoned");
        if !seen.iter().any(|task| task.id == spec.id) {
            let phase = TaskPhase::Starting;
            seen.push(ObservedTask { id: spec.id.clone(), phase, containers: Vec::new(), entry: None });
        }
        Ok(())
    }

    fn observe(&self) -> std::io::Result<Vec<ObservedTask>> {
        if *self.blind.lock().expect("unpoisoned") {
            return Err(std::io::Error::other("too many open files"));
        }
        Ok(self.seen.lock().expect("unpoisoned").clone())
    }

    fn observe_one(&self, id: &str) -> Option<ObservedTask> {
        self.observe().ok()?.into_iter().find(|task| task.id == id)
    }

    fn signal(&self, id: &str, container: Option<&str>, signal: Signal) -> std::io::Result<()> {
        let container = container.map(str::to_owned);
        self.signals.lock().expect("unpoisoned").push((id.to_owned(), container, signal));
        Ok(())
    }

    /// Runs nothing.
    fn exec(&self, id: &str, _spec: &ExecSpec) -> std::io::Result<Exec> {
        Err(std::io::Error::other(format!("task {id} is not a real one")))
    }

    fn remove(&self, id: &str) -> std::io::Result<()> {
        self.seen.lock().expect("unpoisoned").retain(|task| task.id != id);
        self.removed.lock().expect("unpoisoned").push(id.to_owned());
        Ok(())
    }

    fn subscribe(&self, wake: Box<dyn Fn() + Send + Sync>) {
        self.wakes.lock().expect("unpoisoned").push(wake);
    }

    fn usage(&self, id: &str) -> Option<Usage> {
        self.usage.lock().expect("unpoisoned").get(id).copied()
    }

    fn stats(&self, id: &str) -> Vec<ContainerStats> {
        self.stats.lock().expect("unpoisoned").get(id).cloned().unwrap_or_default()
    }

    fn written(&self, id: &str) -> Option<u64> {
        self.written.lock().expect("unpoisoned").get(id).copied()
    }

    fn release_log(&self, id: &str, container: &str, offset: u64) -> std::io::Result<()> {
        let released = (id.to_owned(), container.to_owned(), offset);
        self.released.lock().expect("unpoisoned").push(released);
        Ok(())
    }

    fn collect(&self, _idle: Duration) -> std::io::Result<usize> {
        Ok(0)
    }

    fn log_path(&self, id: &str, container: &str) -> PathBuf {
        self.root.join(format!("{id}-{container}.log"))
    }

    fn connect(&self, _entry: &TaskEntry, port: u16) -> std::io::Result<TcpStream> {
        TcpStream::connect((Ipv4Addr::LOCALHOST, port))
    }

    fn volume_path(&self, name: &str) -> std::io::Result<PathBuf> {
        let path = self.root.join("volumes").join(name);
        std::fs::create_dir_all(&path)?;
        Ok(path)
    }
}

impl FakeImages {
    /// Makes an image known under a name; it has one layer and runs `/app`.
    pub fn add(&self, name: &str) {
        let image = ResolvedImage {
            digest: format!("sha256:{:064x}", name.len()),
            config: ImageConfig { entrypoint: vec!["/app".into()], ..ImageConfig::default() },
            layers: vec![LayerBlob {
                digest: format!("sha256:{:064x}", 1),
                diff_id: format!("sha256:{:064x}", 2),
                media_type: "application/vnd.oci.image.layer.v1.tar+gzip".into(),
                path: PathBuf::from("/nonexistent/layer"),
            }],
        };
        self.images.lock().expect("unpoisoned").insert(name.to_owned(), image);
    }
}

impl ImageStore for FakeImages {
    fn resolve(&self, image: &str) -> Result<ResolvedImage, PullError> {
        let images = self.images.lock().expect("unpoisoned");
        images.get(image).cloned().ok_or_else(|| PullError::NoRepository { repository: image.to_owned() })
    }
}

impl FakeCatalog {
    fn with<T>(
        &self,
        name: &str,
        f: impl FnOnce(&mut FakeRepository) -> Result<T, CatalogError>,
    ) -> Result<T, CatalogError> {
        let mut repositories = self.repositories.lock().expect("unpoisoned");
        f(repositories.get_mut(name).ok_or_else(|| CatalogError::NoRepository(name.to_owned()))?)
    }
}

impl FakeRepository {
    fn upload(&mut self, id: &str) -> Result<&mut Vec<u8>, LayerError> {
        self.uploads.get_mut(id).ok_or(LayerError::NoUpload)
    }
}

/// It does not mind small parts.
impl Layers for FakeCatalog {
    fn layer(&self, repository: &str, digest: &str) -> Result<Option<LayerRecord>, LayerError> {
        let mut repositories = self.repositories.lock().expect("unpoisoned");
        let repository = of(&mut repositories, repository)?;
        let named = |(_, bytes): &(String, Vec<u8>)| String::from_utf8_lossy(bytes).contains(digest);
        let in_image = repository.manifests.values().any(named);
        Ok(repository.layers.get(digest).map(|bytes| LayerRecord { size: bytes.len() as u64, in_image }))
    }

    fn begin_layer(&self, repository: &str) -> Result<String, LayerError> {
        let mut repositories = self.repositories.lock().expect("unpoisoned");
        let repository = of(&mut repositories, repository)?;
        let id = format!("00000000-0000-0000-0000-{:012}", repository.uploads.len());
        repository.uploads.insert(id.clone(), Vec::new());
        Ok(id)
    }

    fn add_layer_part(
        &self,
        repository: &str,
        upload: &str,
        bounds: (u64, u64),
        bytes: &[u8],
    ) -> Result<u64, LayerError> {
        let mut repositories = self.repositories.lock().expect("unpoisoned");
        let filling = of(&mut repositories, repository)?.upload(upload)?;
        if !part_fits(filling.len() as u64, bounds, bytes.len()) {
            return Err(LayerError::BadPart { received: filling.len() as u64 });
        }
        filling.extend(bytes);
        Ok(filling.len() as u64)
    }

    fn finish_layer(&self, repository: &str, upload: &str, digests: &[String]) -> Result<String, LayerError> {
        let mut repositories = self.repositories.lock().expect("unpoisoned");
        let repository = of(&mut repositories, repository)?;
        let bytes = repository.upload(upload)?.clone();
        let actual = format!("sha256:{}", quarry_wire::hash::sha256(&bytes));
        match () {
            () if bytes.is_empty() => Err(LayerError::Empty),
            () if digests.iter().any(|digest| *digest != actual) => Err(LayerError::WrongDigest(actual)),
            () if repository.layers.contains_key(&actual) => Err(LayerError::Exists(actual)),
            () => {
                repository.uploads.remove(upload);
                repository.layers.insert(actual.clone(), bytes);
                Ok(actual)
            }
        }
    }
}

fn of<'a>(
    repositories: &'a mut BTreeMap<String, FakeRepository>,
    name: &str,
) -> Result<&'a mut FakeRepository, LayerError> {
    repositories.get_mut(name).ok_or_else(|| LayerError::NoRepository(name.to_owned()))
}

impl ImageCatalog for FakeCatalog {
    fn create_repository(&self, name: &str, immutable_tags: bool) -> Result<(), CatalogError> {
        let mut repositories = self.repositories.lock().expect("unpoisoned");
        if repositories.contains_key(name) {
            return Err(CatalogError::RepositoryExists(name.to_owned()));
        }
        repositories.insert(name.to_owned(), FakeRepository { immutable: immutable_tags, ..Default::default() });
        Ok(())
    }

    fn set_immutable_tags(&self, name: &str, immutable_tags: bool) -> Result<(), CatalogError> {
        self.with(name, |repository| {
            repository.immutable = immutable_tags;
            Ok(())
        })
    }

    fn delete_repository(&self, name: &str, force: bool) -> Result<(), CatalogError> {
        let mut repositories = self.repositories.lock().expect("unpoisoned");
        match repositories.get(name) {
            None => Err(CatalogError::NoRepository(name.to_owned())),
            Some(repository) if !force && !repository.manifests.is_empty() => {
                Err(CatalogError::NotEmpty(name.to_owned()))
            }
            Some(_) => {
                repositories.remove(name);
                Ok(())
            }
        }
    }

    fn repositories(&self) -> Result<Vec<String>, CatalogError> {
        Ok(self.repositories.lock().expect("unpoisoned").keys().cloned().collect())
    }

    fn images(&self, repository: &str) -> Result<Vec<ImageRecord>, CatalogError> {
        self.with(repository, |repository| {
            let record = |(digest, (media_type, bytes)): (&String, &(String, Vec<u8>))| {
                let tags: BTreeSet<_> = repository.tags.iter().filter(|(_, d)| *d == digest).map(|(t, _)| t).collect();
                ImageRecord {
                    digest: digest.clone(),
                    tags: tags.into_iter().cloned().collect(),
                    media_type: media_type.clone(),
                    size: bytes.len() as u64,
                    pushed_at_ms: 0,
                }
            };
            Ok(repository.manifests.iter().map(record).collect())
        })
    }

    fn manifest(&self, repository: &str, reference: &str) -> Result<(String, String, Vec<u8>), CatalogError> {
        self.with(repository, |repository| {
            let digest = repository.tags.get(reference).cloned().unwrap_or_else(|| reference.to_owned());
            let found = repository.manifests.get(&digest);
            let (media_type, bytes) = found.ok_or_else(|| CatalogError::NoImage(format!("{reference} not found")))?;
            Ok((media_type.clone(), digest, bytes.clone()))
        })
    }

    fn put_manifest(
        &self,
        repository: &str,
        tag: Option<&str>,
        media_type: &str,
        bytes: &[u8],
    ) -> Result<String, CatalogError> {
        self.with(repository, |repository| {
            let digest = format!("sha256:{}", quarry_wire::hash::sha256(bytes));
            if let Some(tag) = tag {
                let other = repository.tags.get(tag).is_some_and(|old| *old != digest);
                if repository.immutable && other {
                    return Err(CatalogError::TagImmutable(format!("the tag {tag} cannot be moved")));
                }
                repository.tags.insert(tag.to_owned(), digest.clone());
            }
            repository.manifests.insert(digest.clone(), (media_type.to_owned(), bytes.to_vec()));
            Ok(digest)
        })
    }

    fn collect(&self) -> Result<Collected, CatalogError> {
        Ok(Collected::default())
    }

    fn delete_image(&self, repository: &str, reference: &str) -> Result<(), CatalogError> {
        self.with(repository, |repository| {
            if repository.tags.remove(reference).is_some() {
                return Ok(());
            }
            repository.manifests.remove(reference).ok_or_else(|| CatalogError::NoImage(reference.to_owned()))?;
            repository.tags.retain(|_, digest| digest != reference);
            Ok(())
        })
    }
}
