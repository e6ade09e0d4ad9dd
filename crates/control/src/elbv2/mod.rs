//! Elastic Load Balancing: Application Load Balancers, their listeners and rules, target groups and
//! their targets. The data plane is told by snapshots (module `link`); what it reports of targets
//! comes back through `Platform::live`.

pub(crate) mod actions;
mod add_listener_certificates;
mod add_tags;
mod conditions;
mod create_listener;
mod create_load_balancer;
mod create_rule;
mod create_target_group;
mod delete_listener;
mod delete_load_balancer;
mod delete_rule;
mod delete_target_group;
mod deregister_targets;
mod describe_account_limits;
mod describe_capacity_reservation;
mod describe_listener_attributes;
mod describe_listener_certificates;
mod describe_listeners;
mod describe_load_balancer_attributes;
mod describe_load_balancers;
mod describe_rules;
mod describe_ssl_policies;
mod describe_tags;
mod describe_target_group_attributes;
mod describe_target_groups;
mod describe_target_health;
pub(crate) mod errors;
pub(crate) mod find;
pub(crate) mod limits;
mod listener_attributes;
pub mod listeners;
mod load_balancer_attributes;
mod load_balancers;
mod modify_listener;
mod modify_listener_attributes;
mod modify_load_balancer_attributes;
mod modify_rule;
mod modify_target_group;
mod modify_target_group_attributes;
mod page;
pub mod records;
mod register_targets;
mod remove_listener_certificates;
mod remove_tags;
pub(crate) mod rules;
mod set_ip_address_type;
mod set_rule_priorities;
mod set_security_groups;
mod set_subnets;
mod ssl_policies;
pub(crate) mod tags;
mod target_group_attributes;
mod target_groups;
pub mod targets;
pub mod uses;
pub mod weights;

#[cfg(test)]
pub(crate) mod tests;
#[cfg(test)]
mod tests_attributes;
#[cfg(test)]
mod tests_https;
#[cfg(test)]
mod tests_targets;

use crate::api::Operations;
use crate::store::{StoreError, Tx};
use quarry_aws::elbv2::op;

/// Serves the operations of this service.
pub fn register(operations: &mut Operations) {
    operations.serve::<op::AddListenerCertificates>(add_listener_certificates::handle);
    operations.serve::<op::AddTags>(add_tags::handle);
    operations.serve::<op::CreateListener>(create_listener::handle);
    operations.serve::<op::CreateLoadBalancer>(create_load_balancer::handle);
    operations.serve::<op::CreateRule>(create_rule::handle);
    operations.serve::<op::CreateTargetGroup>(create_target_group::handle);
    operations.serve::<op::DeleteListener>(delete_listener::handle);
    operations.serve::<op::DeleteLoadBalancer>(delete_load_balancer::handle);
    operations.serve::<op::DeleteRule>(delete_rule::handle);
    operations.serve::<op::DeleteTargetGroup>(delete_target_group::handle);
    operations.serve::<op::DeregisterTargets>(deregister_targets::handle);
    operations.serve::<op::DescribeAccountLimits>(describe_account_limits::handle);
    operations.serve::<op::DescribeCapacityReservation>(describe_capacity_reservation::handle);
    operations.serve::<op::DescribeListenerAttributes>(describe_listener_attributes::handle);
    operations.serve::<op::DescribeListenerCertificates>(describe_listener_certificates::handle);
    operations.serve::<op::DescribeListeners>(describe_listeners::handle);
    operations.serve::<op::DescribeLoadBalancerAttributes>(describe_load_balancer_attributes::handle);
    operations.serve::<op::DescribeLoadBalancers>(describe_load_balancers::handle);
    operations.serve::<op::DescribeRules>(describe_rules::handle);
    operations.serve::<op::DescribeSSLPolicies>(describe_ssl_policies::handle);
    operations.serve::<op::DescribeTags>(describe_tags::handle);
    operations.serve::<op::DescribeTargetGroupAttributes>(describe_target_group_attributes::handle);
    operations.serve::<op::DescribeTargetGroups>(describe_target_groups::handle);
    operations.serve::<op::DescribeTargetHealth>(describe_target_health::handle);
    operations.serve::<op::ModifyListener>(modify_listener::handle);
    operations.serve::<op::ModifyListenerAttributes>(modify_listener_attributes::handle);
    operations.serve::<op::ModifyLoadBalancerAttributes>(modify_load_balancer_attributes::handle);
    operations.serve::<op::ModifyRule>(modify_rule::handle);
    operations.serve::<op::ModifyTargetGroup>(modify_target_group::handle);
    operations.serve::<op::ModifyTargetGroupAttributes>(modify_target_group_attributes::handle);
    operations.serve::<op::RegisterTargets>(register_targets::handle);
    operations.serve::<op::RemoveListenerCertificates>(remove_listener_certificates::handle);
    operations.serve::<op::RemoveTags>(remove_tags::handle);
    operations.serve::<op::SetIpAddressType>(set_ip_address_type::handle);
    operations.serve::<op::SetRulePriorities>(set_rule_priorities::handle);
    operations.serve::<op::SetSecurityGroups>(set_security_groups::handle);
    operations.serve::<op::SetSubnets>(set_subnets::handle);
}

/// Every listener with its load balancer, oldest first.
pub fn all_listeners(tx: &Tx<'_>) -> Result<Vec<(records::LoadBalancer, records::Listener)>, StoreError> {
    let mut all = Vec::new();
    for balancer in tx.all::<records::LoadBalancer>()? {
        for listener in tx.children::<records::Listener>(&balancer.arn)? {
            all.push((balancer.clone(), listener));
        }
    }
    Ok(all)
}
