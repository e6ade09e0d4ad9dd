//! What every operation and reconciler can reach: the store, the place, the other parts.

use crate::audit;
use crate::authorization;
use crate::cloudwatch::store::MetricStore;
use crate::cut::figures::Watching;
use crate::ecs::exec::Sessions;
use crate::ecs::stats::Samples;
use crate::elbv2::limits::Quotas;
use crate::link::hits::Hits;
use crate::logs::live_tail;
use crate::machine::Machine;
use crate::store::{Store, StoreError};
use crate::vault::Vault;
use crate::wake::Wake;
use crate::xray::store::TraceStore;
use quarry_domain::arn::Place;
use quarry_domain::door::Door;
use quarry_domain::image::{ImageCatalog, ImageStore};
use quarry_domain::link::{Counters, CutReport, ListenerStatus, TargetReport};
use quarry_domain::outside::AllowOutside;
use quarry_domain::snapshot::Hub;
use quarry_domain::task::TaskRuntime;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};

/// The port of the AWS endpoint on the hub. It is the same whatever [`PlatformConfig::port`] is: running
/// tasks have it in their environment, and `serve` may come back on another port.
pub const HUB_ENDPOINT_PORT: u16 = 4566;

/// Settled once at start.
#[derive(Clone, Debug)]
pub struct PlatformConfig {
    pub data_dir: PathBuf,
    pub place: Place,
    /// The port of the AWS endpoint and the registry on loopback.
    pub port: u16,
    /// The hub network, where tasks have namespaces.
    pub hub: Option<Hub>,
    /// What tasks without a container instance may take.
    pub machine: Machine,
    /// How many times faster than on AWS alarms are evaluated and services scaled, 1 to 60: of
    /// CloudWatch's minutes, and of cooldowns, each lasts that much less. 1 is AWS's own timing.
    pub scaling_speed: u32,
    /// Folders of this machine that tasks may see as volumes, with all below them: whole paths without links.
    pub host_folders: Vec<PathBuf>,
    /// What lies outside and may be reached from tasks.
    pub outside: Vec<AllowOutside>,
    pub quotas: Quotas,
}

impl PlatformConfig {
    /// How long one of CloudWatch's minutes lasts, in ms.
    pub fn minute_ms(&self) -> i64 {
        60_000 / i64::from(self.scaling_speed.clamp(1, 60))
    }
}

/// Shared by all operations and reconcilers.
pub struct Platform {
    pub config: PlatformConfig,
    pub door: Door,
    pub store: Store,
    /// Seals what must not be in the store in clear.
    pub vault: Vault,
    pub metrics: MetricStore,
    pub traces: TraceStore,
    /// What was called.
    pub audit: audit::Trail,
    /// What sessions of roles may do.
    pub permissions: authorization::Cache,
    pub runtime: Arc<dyn TaskRuntime>,
    pub images: Arc<dyn ImageStore>,
    pub catalog: Arc<dyn ImageCatalog>,
    /// What tasks were told of their containers' use.
    pub samples: Mutex<Samples>,
    /// Sessions of ExecuteCommand.
    pub sessions: Sessions,
    pub live_tails: live_tail::Sessions,
    live: Mutex<Live>,
    /// Rises when [`Live`] changes or the runtime reports a change; while a cut holds clients' writes, what the proxies say of
    /// that raises [`cuts`](Self::cuts) alone.
    pub seen: Wake,
    /// Rises when a proxy has said something that a cut may wait for.
    pub cuts: Wake,
}

/// What was last reported from the outside and is not stored: it is reported again after a restart.
#[derive(Debug, Default)]
pub struct Live {
    /// By target group ARN and registration. Written by [`report`](Self::report) and [`report_all`](Self::report_all).
    pub targets: HashMap<(String, u64), TargetReport>,
    /// Target groups of which a target is in another state than when the scheduler last looked.
    pub news: BTreeSet<String>,
    /// By listener ARN.
    pub listeners: HashMap<String, ListenerStatus>,
    /// By proxy: the version of the snapshot it has in force.
    pub applied: BTreeMap<String, u64>,
    /// By proxy.
    pub counters: BTreeMap<String, Counters>,
    /// By connected proxy and cut: what it reported last.
    pub cuts: BTreeMap<String, BTreeMap<String, CutReport>>,
    /// By cut: the newest version of its scope that was published, and the snapshot in which it was first.
    pub published_cuts: BTreeMap<String, (u64, u64)>,
    /// Proxies whose process lives, or may live, and that are not connected.
    pub silent_proxies: BTreeSet<String>,
    /// How often rules were taken.
    pub hits: Hits,
    /// By cut: how it goes.
    pub watched: BTreeMap<String, Watching>,
}

impl Live {
    /// Takes in what is said of one target. Returns whether it is news.
    pub fn report(&mut self, report: TargetReport) -> bool {
        let key = (report.target_group_arn.clone(), report.registration);
        let before = self.targets.insert(key, report.clone());
        let differs = before.as_ref() != Some(&report);
        if before.is_none_or(|before| before.state != report.state) {
            self.news.insert(report.target_group_arn);
        }
        differs
    }

    /// Takes in what is said of all targets.
    pub fn report_all(&mut self, reports: HashMap<(String, u64), TargetReport>) {
        for (key, report) in &reports {
            if self.targets.get(key).is_none_or(|before| before.state != report.state) {
                self.news.insert(key.0.clone());
            }
        }
        self.news.extend(self.targets.keys().filter(|key| !reports.contains_key(*key)).map(|(group, _)| group.clone()));
        self.targets = reports;
    }
}

impl Platform {
    pub fn new(
        config: PlatformConfig,
        door: Door,
        runtime: Arc<dyn TaskRuntime>,
        images: Arc<dyn ImageStore>,
        catalog: Arc<dyn ImageCatalog>,
    ) -> Result<Arc<Self>, StoreError> {
        let store = Store::open(&config.data_dir.join("control.db"))?;
        let vault = Vault::open(&config.data_dir, &door).map_err(StoreError::Key)?;
        let audit = audit::Trail::new(&config.data_dir);
        let metrics = MetricStore::open(&config.data_dir.join("metrics.db"))?;
        let traces = TraceStore::open(&config.data_dir.join("traces.db"))?;
        let seen = Wake::default();
        let wake = seen.clone();
        runtime.subscribe(Box::new(move || wake.signal()));
        Ok(Arc::new(Self {
            config,
            door,
            store,
            vault,
            metrics,
            traces,
            audit,
            permissions: authorization::Cache::default(),
            runtime,
            images,
            catalog,
            samples: Mutex::default(),
            sessions: Sessions::default(),
            live_tails: live_tail::Sessions::default(),
            live: Mutex::default(),
            seen,
            cuts: Wake::default(),
        }))
    }

    pub fn place(&self) -> &Place {
        &self.config.place
    }

    pub fn now_ms(&self) -> i64 {
        self.door.now_ms()
    }

    /// What is reported right now.
    pub fn live(&self) -> MutexGuard<'_, Live> {
        self.live.lock().unwrap_or_else(|e| e.into_inner())
    }
}
