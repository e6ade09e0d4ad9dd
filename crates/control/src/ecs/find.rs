//! From the names and ARNs of requests to records, with ECS's errors for what is not there.

use super::records::{Cluster, ContainerInstance, Service, StoppedTask, Task, TaskDefinition};
use crate::api::{Ctx, Result};
use crate::store::{StoreError, Tx};
use quarry_aws::ecs::error;
use quarry_domain::arn::{resource_part, short_name};

/// The cluster of a request, `default` if none is named. An inactive one counts as missing.
pub fn cluster(ctx: &Ctx<'_>, name: Option<&str>) -> Result<Cluster> {
    let found = cluster_or_inactive(ctx, name.unwrap_or("default"))?.filter(|cluster| cluster.active);
    found.ok_or_else(|| error::cluster_not_found_exception("Cluster not found."))
}

/// Also an inactive one.
pub fn cluster_or_inactive(ctx: &Ctx<'_>, name: &str) -> Result<Option<Cluster>> {
    let name = if name.is_empty() { "default" } else { name };
    if name.starts_with("arn:") && !resource_part(name).starts_with("cluster/") {
        return Err(error::invalid_parameter_exception("Invalid identifier: Identifier is for another resource type."));
    }
    Ok(ctx.tx.get(&cluster_arn(ctx, short_name(name)))?)
}

pub fn cluster_arn(ctx: &Ctx<'_>, name: &str) -> String {
    ctx.platform.place().arn("ecs", format_args!("cluster/{name}"))
}

/// A service by name or ARN, whatever its status.
pub fn service(ctx: &Ctx<'_>, cluster: &Cluster, name: &str) -> Result<Option<Service>> {
    Ok(ctx.tx.get(&service_arn(ctx, cluster, short_name(name)))?)
}

pub fn service_arn(ctx: &Ctx<'_>, cluster: &Cluster, name: &str) -> String {
    ctx.platform.place().arn("ecs", format_args!("service/{}/{name}", cluster.name))
}

/// A task of the cluster, live or stopped, by id or ARN.
pub fn task(tx: &Tx<'_>, cluster: &Cluster, id: &str) -> Result<Option<Task>> {
    let id = short_name(id);
    let live: Option<Task> = tx.get(id)?;
    let found = match live {
        Some(task) => Some(task),
        None => tx.get::<StoppedTask>(id)?.map(|StoppedTask(task)| task),
    };
    Ok(found.filter(|task| task.cluster_arn == cluster.arn))
}

/// A container instance of the cluster by id or ARN.
pub fn container_instance(tx: &Tx<'_>, cluster: &Cluster, id: &str) -> Result<Option<ContainerInstance>, StoreError> {
    let id = short_name(id);
    Ok(tx.children::<ContainerInstance>(&cluster.arn)?.into_iter().find(|instance| instance.id == id))
}

/// A task definition by `family`, `family:revision` or ARN; without a revision the latest active one.
pub fn task_definition(ctx: &Ctx<'_>, name: &str) -> Result<Option<TaskDefinition>> {
    let resource = resource_part(name);
    let named = resource.strip_prefix("task-definition/").unwrap_or(resource);
    match named.rsplit_once(':') {
        Some((family, revision)) => {
            let Ok(revision) = revision.parse::<i32>() else {
                return Err(error::client_exception(format!("Invalid revision number. Number: {revision}")));
            };
            Ok(ctx.tx.get(&task_definition_arn(ctx, family, revision))?)
        }
        None => {
            let all = ctx.tx.children::<TaskDefinition>(named)?;
            Ok(all.into_iter().rev().find(|d| d.status == super::records::DefinitionStatus::Active))
        }
    }
}

/// One that tasks may be started from.
pub fn active_task_definition(ctx: &Ctx<'_>, name: &str) -> Result<TaskDefinition> {
    let found = task_definition(ctx, name)?.ok_or_else(|| error::client_exception("TaskDefinition not found."))?;
    if found.status != super::records::DefinitionStatus::Active {
        return Err(error::client_exception("TaskDefinition is inactive"));
    }
    Ok(found)
}

pub fn task_definition_arn(ctx: &Ctx<'_>, family: &str, revision: i32) -> String {
    ctx.platform.place().arn("ecs", format_args!("task-definition/{family}:{revision}"))
}
