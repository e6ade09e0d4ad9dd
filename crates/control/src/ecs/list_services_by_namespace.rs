//! ListServicesByNamespace: the services whose registry is in a namespace.

use super::page::page;
use super::records::{Service, ServiceStatus};
use crate::api::{Ctx, Result};
use crate::servicediscovery::records::Namespace;
use crate::servicediscovery::registry;
use quarry_aws::ecs::{ListServicesByNamespaceRequest, ListServicesByNamespaceResponse, error};

pub fn handle(ctx: &mut Ctx<'_>, input: ListServicesByNamespaceRequest) -> Result<ListServicesByNamespaceResponse> {
    let named = input.namespace.unwrap_or_default();
    let namespace = ctx.tx.all::<Namespace>()?.into_iter().find(|known| known.arn == named || known.name == named);
    let namespace =
        namespace.ok_or_else(|| error::namespace_not_found_exception("The specified namespace wasn't found."))?;
    let mut arns = Vec::new();
    for service in ctx.tx.all::<Service>()?.into_iter().filter(|service| service.status != ServiceStatus::Inactive) {
        let arn =
            service.config.service_registries.iter().flatten().find_map(|registry| registry.registry_arn.as_deref());
        let found = arn.map(|arn| registry::service(ctx.tx, arn)).transpose()?.flatten();
        if found.is_some_and(|found| found.namespace_id == namespace.id) {
            arns.push(service.arn);
        }
    }
    let (arns, next_token) = page(arns, String::clone, input.next_token.as_deref(), input.max_results, 100)?;
    Ok(ListServicesByNamespaceResponse { service_arns: Some(arns), next_token })
}
