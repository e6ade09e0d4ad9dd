//! AWS Identity and Access Management: roles with their policies, customer managed policies and
//! instance profiles. One file per resource. The policies are kept and checked for their form; what
//! they allow is not evaluated: whoever has the installation's credentials may do everything.

pub mod document;
mod entity;
mod instance_profile;
mod policy;
mod role;
mod role_policy;
mod user;

#[cfg(test)]
mod tests;

use crate::api::Operations;
use quarry_aws::iam::op::*;

/// Serves the operations of this service.
pub fn register(operations: &mut Operations) {
    operations.serve::<CreateRole>(role::create);
    operations.serve::<GetRole>(role::get);
    operations.serve::<ListRoles>(role::list);
    operations.serve::<DeleteRole>(role::delete);
    operations.serve::<UpdateAssumeRolePolicy>(role::update_trust);
    operations.serve::<TagRole>(role::tag);
    operations.serve::<UntagRole>(role::untag);
    operations.serve::<ListRoleTags>(role::list_tags);
    operations.serve::<CreateServiceLinkedRole>(role::create_service_linked);
    operations.serve::<PutRolePolicy>(role_policy::put);
    operations.serve::<GetRolePolicy>(role_policy::get);
    operations.serve::<DeleteRolePolicy>(role_policy::delete);
    operations.serve::<ListRolePolicies>(role_policy::list);
    operations.serve::<AttachRolePolicy>(role_policy::attach);
    operations.serve::<DetachRolePolicy>(role_policy::detach);
    operations.serve::<ListAttachedRolePolicies>(role_policy::list_attached);
    operations.serve::<CreatePolicy>(policy::create);
    operations.serve::<GetPolicy>(policy::get);
    operations.serve::<GetPolicyVersion>(policy::get_version);
    operations.serve::<ListPolicyVersions>(policy::list_versions);
    operations.serve::<ListPolicies>(policy::list);
    operations.serve::<DeletePolicy>(policy::delete);
    operations.serve::<CreateInstanceProfile>(instance_profile::create);
    operations.serve::<GetInstanceProfile>(instance_profile::get);
    operations.serve::<ListInstanceProfiles>(instance_profile::list);
    operations.serve::<ListInstanceProfilesForRole>(instance_profile::list_for_role);
    operations.serve::<AddRoleToInstanceProfile>(instance_profile::add_role);
    operations.serve::<RemoveRoleFromInstanceProfile>(instance_profile::remove_role);
    operations.serve::<DeleteInstanceProfile>(instance_profile::delete);
    operations.serve::<GetUser>(user::get);
}
