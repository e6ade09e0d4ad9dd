//! Puts control together: every operation, every reconciler.

use crate::api::Operations;
use crate::endpoint::Auth;
use crate::platform::Platform;
use crate::{
    acm, applicationautoscaling, autoscaling, cloudformation, cloudtrail, cloudwatch, cut, ec2, ecr, ecs, elbv2, iam,
    link, logs, secretsmanager, servicediscovery, ssm, sts, xray,
};
use quarry_domain::image::{RegistryAccess, RegistryAuth, RegistryUse};
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;

/// The running control part.
pub struct Control {
    platform: Arc<Platform>,
    operations: Arc<Operations>,
    link: link::Link,
    threads: Vec<JoinHandle<()>>,
}

/// What every reconciler looks like: it runs until the platform stops.
type Reconciler = fn(Arc<Platform>, Arc<Operations>);

/// Each by the name of its thread.
const RECONCILERS: [(&str, Reconciler); 12] = [
    ("ecs", ecs::reconcile::run),
    ("capacity", ecs::reconcile::capacity::run),
    ("storage", ecs::reconcile::storage::run),
    ("autoscaling", autoscaling::reconcile::run),
    ("cloudformation", |platform, operations| cloudformation::reconcile::run(&platform, &operations)),
    ("cloudwatch", cloudwatch::run),
    ("cut", cut::driver::run),
    ("ecr", |platform, _| ecr::lifecycle::run(&platform)),
    ("logs", logs::follow::run),
    ("metricfilters", logs::metric_filters::run),
    ("secretsmanager", |platform, _| secretsmanager::purge::run(&platform)),
    ("servicediscovery", servicediscovery::reconcile::run),
];

/// All operations that are served.
pub fn operations() -> Operations {
    let mut operations = Operations::default();
    acm::register(&mut operations);
    applicationautoscaling::register(&mut operations);
    autoscaling::register(&mut operations);
    cloudformation::register(&mut operations);
    cloudtrail::register(&mut operations);
    cloudwatch::register(&mut operations);
    ec2::register(&mut operations);
    ecr::register(&mut operations);
    ecs::register(&mut operations);
    elbv2::register(&mut operations);
    iam::register(&mut operations);
    logs::register(&mut operations);
    secretsmanager::register(&mut operations);
    servicediscovery::register(&mut operations);
    ssm::register(&mut operations);
    sts::register(&mut operations);
    xray::register(&mut operations);
    operations
}

/// Starts the link to the proxies and the reconcilers.
pub fn start(platform: Arc<Platform>) -> io::Result<Control> {
    let operations = Arc::new(operations());
    ecr::reconcile(&platform, &operations);
    let link = link::server::start(platform.clone(), operations.clone())?;
    let mut threads = Vec::new();
    for (name, run) in RECONCILERS {
        let (platform, operations) = (platform.clone(), operations.clone());
        let thread = std::thread::Builder::new().name(name.into()).spawn(move || run(platform, operations))?;
        threads.push(thread);
    }
    Ok(Control { platform, operations, link, threads })
}

/// Who may push and pull.
pub fn registry_auth(platform: Arc<Platform>, auth: Auth) -> Arc<dyn RegistryAuth> {
    match auth {
        Auth::On => Arc::new(ecr::TokenAuth::new(platform)),
        Auth::Off => Arc::new(Everyone),
    }
}

struct Everyone;

impl RegistryAuth for Everyone {
    fn allows(&self, _authorization: Option<&str>, _wanted: Option<RegistryUse<'_>>) -> RegistryAccess {
        RegistryAccess::Allowed
    }

    fn allows_download(&self, _repository: &str, _digest: &str, _grant: &str) -> bool {
        true
    }
}

impl Control {
    pub fn operations(&self) -> Arc<Operations> {
        self.operations.clone()
    }

    /// Ends the reconcilers; what they were doing they go on with at the next start.
    pub fn stop(self) {
        self.platform.store.stop();
        self.platform.seen.stop();
        self.link.join();
        for thread in self.threads {
            if thread.join().is_err() {
                tracing::error!("a reconciler had panicked");
            }
        }
        self.platform.audit.flush();
    }
}
