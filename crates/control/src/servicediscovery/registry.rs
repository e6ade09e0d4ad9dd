//! What ECS does with a service registry: its tasks are instances that it registers, keeps the health of and
//! deregisters, each within the transaction in which the task changes.

use super::find;
use super::instance::{self, INIT_HEALTH};
use super::records::{Instance, Service, instance_key};
use crate::store::{StoreError, Tx};
use std::collections::BTreeMap;

/// The service with this ARN.
pub fn service(tx: &Tx<'_>, arn: &str) -> Result<Option<Service>, StoreError> {
    let found: Option<Service> = tx.get(find::id_of(Some(arn), "service/"))?;
    Ok(found.filter(|service| service.arn == arn))
}

/// Registers a task under its id; false where the service is gone.
pub fn register(
    tx: &Tx<'_>,
    arn: &str,
    task: &str,
    mut attributes: BTreeMap<String, String>,
    healthy: bool,
) -> Result<bool, StoreError> {
    let Some(mut service) = service(tx, arn)? else { return Ok(false) };
    if service.custom_health {
        attributes.insert(INIT_HEALTH.to_owned(), if healthy { "HEALTHY" } else { "UNHEALTHY" }.to_owned());
    }
    service.revision += 1;
    tx.put(&Instance {
        service_id: service.id.clone(),
        id: task.to_owned(),
        attributes,
        creator_request_id: Some(task.to_owned()),
        healthy,
        task: Some(task.to_owned()),
    })?;
    tx.put(&service)?;
    Ok(true)
}

/// Says how a registered task is. One that was deregistered by somebody else stays so.
pub fn set_health(tx: &Tx<'_>, arn: &str, task: &str, healthy: bool) -> Result<(), StoreError> {
    let Some(service) = service(tx, arn)? else { return Ok(()) };
    let found: Option<Instance> = tx.get(&instance_key(&service.id, task))?;
    match found {
        Some(found) => instance::set_health(tx, service, found, healthy),
        None => Ok(()),
    }
}

/// Takes a task away; returns whether it was there.
pub fn deregister(tx: &Tx<'_>, arn: &str, task: &str) -> Result<bool, StoreError> {
    instance::remove(tx, find::id_of(Some(arn), "service/"), task)
}

/// Every task that is registered: the service's id and the task's.
pub fn registered(tx: &Tx<'_>) -> Result<Vec<(String, String)>, StoreError> {
    let all: Vec<Instance> = tx.all()?;
    Ok(all.into_iter().filter_map(|instance| Some((instance.service_id, instance.task?))).collect())
}
