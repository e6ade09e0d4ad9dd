//! How many tasks and services each cluster has.

use super::records::{Cluster, LastStatus, LaunchType, Service, ServiceStatus, Task};
use crate::store::tally::Tally;
use crate::store::{StoreError, Tx};
use std::collections::HashMap;

/// Of one cluster and launch type.
#[derive(Clone, Copy, Default)]
pub struct Counts {
    pub running_tasks: i32,
    pub pending_tasks: i32,
    pub active_services: i32,
    pub draining_services: i32,
}

/// By the cluster's ARN and launch type.
type All = HashMap<(String, LaunchType), Counts>;

#[derive(Default)]
struct OfTasks(All);

#[derive(Default)]
struct OfServices(All);

/// What a cluster has of a launch type.
pub fn of(tx: &Tx<'_>, cluster: &Cluster, launch_type: LaunchType) -> Result<Counts, StoreError> {
    let key = (cluster.arn.clone(), launch_type);
    let tasks = tx.tally(|OfTasks(all)| all.get(&key).copied().unwrap_or_default())?;
    let services = tx.tally(|OfServices(all)| all.get(&key).copied().unwrap_or_default())?;
    Ok(Counts { active_services: services.active_services, draining_services: services.draining_services, ..tasks })
}

impl OfTasks {
    fn change(&mut self, task: &Task, by: i32) {
        let counts = self.0.entry((task.cluster_arn.clone(), task.launch_type)).or_default();
        if task.status == LastStatus::Running {
            counts.running_tasks += by;
        }
        if task.status.is_pending() {
            counts.pending_tasks += by;
        }
    }
}

impl OfServices {
    fn change(&mut self, service: &Service, by: i32) {
        // A deleted one has no deployment any more.
        let launch_type = service.primary().map_or(LaunchType::Ec2, |primary| primary.launch.launch_type);
        let counts = self.0.entry((service.cluster_arn.clone(), launch_type)).or_default();
        match service.status {
            ServiceStatus::Active => counts.active_services += by,
            ServiceStatus::Draining => counts.draining_services += by,
            ServiceStatus::Inactive => {}
        }
    }
}

impl Tally for OfTasks {
    type Of = Task;

    fn add(&mut self, task: &Task) {
        self.change(task, 1);
    }

    fn remove(&mut self, task: &Task) {
        self.change(task, -1);
    }
}

impl Tally for OfServices {
    type Of = Service;

    fn add(&mut self, service: &Service) {
        self.change(service, 1);
    }

    fn remove(&mut self, service: &Service) {
        self.change(service, -1);
    }
}
