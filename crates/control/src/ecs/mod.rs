//! Amazon Elastic Container Service: one operation, one file; the reconciler in [`reconcile`].

mod account_settings;
mod capacity;
pub mod container_instances;
mod create_cluster;
mod create_service;
mod delete_account_setting;
mod delete_cluster;
mod delete_service;
mod delete_task_definitions;
mod deregister_container_instance;
mod deregister_task_definition;
mod describe_capacity_providers;
mod describe_clusters;
mod describe_container_instances;
mod describe_services;
mod describe_task_definition;
mod describe_tasks;
mod events;
mod find;
mod list_account_settings;
mod list_clusters;
mod list_container_instances;
mod list_services;
mod list_services_by_namespace;
mod list_tags_for_resource;
mod list_task_definition_families;
mod list_task_definitions;
mod list_tasks;
pub mod metadata;
mod network;
mod page;
mod put_account_setting;
mod put_account_setting_default;
mod put_cluster_capacity_providers;
pub mod reconcile;
pub mod records;
mod register_task_definition;
mod registries;
mod run_task;
mod service_options;
mod services;
mod stop_task;
mod tag_resource;
mod tags;
mod task_role;
pub mod tasks;
mod untag_resource;
mod update_cluster;
mod update_cluster_settings;
mod update_container_instances_state;
mod update_service;
mod view;

#[cfg(test)]
pub(crate) mod tests;

use crate::api::Operations;
use quarry_aws::ecs::op;

/// Serves the operations of ECS.
pub fn register(operations: &mut Operations) {
    operations.serve::<op::CreateCluster>(create_cluster::handle);
    operations.serve::<op::CreateService>(create_service::handle);
    operations.serve::<op::DeleteAccountSetting>(delete_account_setting::handle);
    operations.serve::<op::DeleteCluster>(delete_cluster::handle);
    operations.serve::<op::DeleteService>(delete_service::handle);
    operations.serve::<op::DeleteTaskDefinitions>(delete_task_definitions::handle);
    operations.serve::<op::DeregisterContainerInstance>(deregister_container_instance::handle);
    operations.serve::<op::DeregisterTaskDefinition>(deregister_task_definition::handle);
    operations.serve::<op::DescribeCapacityProviders>(describe_capacity_providers::handle);
    operations.serve::<op::DescribeClusters>(describe_clusters::handle);
    operations.serve::<op::DescribeContainerInstances>(describe_container_instances::handle);
    operations.serve::<op::DescribeServices>(describe_services::handle);
    operations.serve::<op::DescribeTaskDefinition>(describe_task_definition::handle);
    operations.serve::<op::DescribeTasks>(describe_tasks::handle);
    operations.serve::<op::ListAccountSettings>(list_account_settings::handle);
    operations.serve::<op::ListClusters>(list_clusters::handle);
    operations.serve::<op::ListContainerInstances>(list_container_instances::handle);
    operations.serve::<op::ListServices>(list_services::handle);
    operations.serve::<op::ListServicesByNamespace>(list_services_by_namespace::handle);
    operations.serve::<op::ListTagsForResource>(list_tags_for_resource::handle);
    operations.serve::<op::ListTaskDefinitionFamilies>(list_task_definition_families::handle);
    operations.serve::<op::ListTaskDefinitions>(list_task_definitions::handle);
    operations.serve::<op::ListTasks>(list_tasks::handle);
    operations.serve::<op::PutAccountSetting>(put_account_setting::handle);
    operations.serve::<op::PutAccountSettingDefault>(put_account_setting_default::handle);
    operations.serve::<op::PutClusterCapacityProviders>(put_cluster_capacity_providers::handle);
    operations.serve::<op::RegisterTaskDefinition>(register_task_definition::handle);
    operations.serve::<op::RunTask>(run_task::handle);
    operations.serve::<op::StopTask>(stop_task::handle);
    operations.serve::<op::TagResource>(tag_resource::handle);
    operations.serve::<op::UntagResource>(untag_resource::handle);
    operations.serve::<op::UpdateCluster>(update_cluster::handle);
    operations.serve::<op::UpdateClusterSettings>(update_cluster_settings::handle);
    operations.serve::<op::UpdateContainerInstancesState>(update_container_instances_state::handle);
    operations.serve::<op::UpdateService>(update_service::handle);
}
