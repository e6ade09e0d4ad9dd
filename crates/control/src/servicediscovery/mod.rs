//! AWS Cloud Map: namespaces, services and instances, and the names that tasks find them by.
//!
//! What changes namespaces and instances is asynchronous, as on AWS: a handler checks and stores an
//! [`operation`], and [`reconcile`] carries it out. One resource, one file.

mod attributes;
mod check;
mod discover;
pub mod dns;
mod filter;
mod find;
mod instance;
mod namespace;
mod operation;
pub mod reconcile;
pub mod records;
pub mod registry;
mod service;
mod tags;

#[cfg(test)]
mod tests;

use crate::api::Operations;
use quarry_aws::servicediscovery::op;

pub use namespace::names_of_vpc;

/// Serves the operations of this service.
pub fn register(operations: &mut Operations) {
    operations.serve::<op::CreateHttpNamespace>(namespace::create_http);
    operations.serve::<op::CreatePrivateDnsNamespace>(namespace::create_private_dns);
    operations.serve::<op::CreateService>(service::create);
    operations.serve::<op::DeleteNamespace>(namespace::delete);
    operations.serve::<op::DeleteService>(service::delete);
    operations.serve::<op::DeleteServiceAttributes>(attributes::delete);
    operations.serve::<op::DeregisterInstance>(instance::deregister);
    operations.serve::<op::DiscoverInstances>(discover::instances);
    operations.serve::<op::DiscoverInstancesRevision>(discover::revision);
    operations.serve::<op::GetInstance>(instance::get);
    operations.serve::<op::GetInstancesHealthStatus>(instance::health_status);
    operations.serve::<op::GetNamespace>(namespace::get);
    operations.serve::<op::GetOperation>(operation::get);
    operations.serve::<op::GetService>(service::get);
    operations.serve::<op::GetServiceAttributes>(attributes::get);
    operations.serve::<op::ListInstances>(instance::list);
    operations.serve::<op::ListNamespaces>(namespace::list);
    operations.serve::<op::ListOperations>(operation::list);
    operations.serve::<op::ListServices>(service::list);
    operations.serve::<op::ListTagsForResource>(tags::list);
    operations.serve::<op::RegisterInstance>(instance::register);
    operations.serve::<op::TagResource>(tags::tag);
    operations.serve::<op::UntagResource>(tags::untag);
    operations.serve::<op::UpdateHttpNamespace>(namespace::update_http);
    operations.serve::<op::UpdateInstanceCustomHealthStatus>(instance::update_custom_health);
    operations.serve::<op::UpdatePrivateDnsNamespace>(namespace::update_private_dns);
    operations.serve::<op::UpdateService>(service::update);
    operations.serve::<op::UpdateServiceAttributes>(attributes::update);
}
