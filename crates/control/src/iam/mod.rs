//! AWS Identity and Access Management: users with their keys, groups, roles, the policies of all three, managed policies and instance
//! profiles. One file per resource. What the policies allow is evaluated by [`crate::authorization`].

mod access_key;
mod account;
mod attached;
mod aws_managed;
pub mod document;
mod entity;
mod group;
mod group_policy;
mod instance_profile;
mod lookup;
mod policy;
mod policy_version;
mod role;
mod role_policy;
mod service_linked_role;
mod simulate;
mod user;
mod user_policy;

#[cfg(test)]
mod tests;

pub use access_key::{KeyUse, Usable, usable as usable_key};
pub use lookup::{
    Policies, RoleUse, boundary, document_of_policy, group_path, policies_of_role, policies_of_user, profile_path,
    profile_role, role_path, user_boundary, user_path,
};

use crate::api::Operations;
use quarry_aws::iam::op::*;

/// Serves the operations of this service.
pub fn register(operations: &mut Operations) {
    operations.serve::<CreateRole>(role::create);
    operations.serve::<GetRole>(role::get);
    operations.serve::<ListRoles>(role::list);
    operations.serve::<DeleteRole>(role::delete);
    operations.serve::<UpdateAssumeRolePolicy>(role::update_trust);
    operations.serve::<UpdateRole>(role::update);
    operations.serve::<UpdateRoleDescription>(role::update_description);
    operations.serve::<PutRolePermissionsBoundary>(role::put_boundary);
    operations.serve::<DeleteRolePermissionsBoundary>(role::delete_boundary);
    operations.serve::<TagRole>(role::tag);
    operations.serve::<UntagRole>(role::untag);
    operations.serve::<ListRoleTags>(role::list_tags);
    operations.serve::<CreateServiceLinkedRole>(service_linked_role::create);
    operations.serve::<DeleteServiceLinkedRole>(service_linked_role::delete);
    operations.serve::<GetServiceLinkedRoleDeletionStatus>(service_linked_role::deletion_status);
    operations.serve::<PutRolePolicy>(role_policy::put);
    operations.serve::<GetRolePolicy>(role_policy::get);
    operations.serve::<DeleteRolePolicy>(role_policy::delete);
    operations.serve::<ListRolePolicies>(role_policy::list);
    operations.serve::<AttachRolePolicy>(role_policy::attach);
    operations.serve::<DetachRolePolicy>(role_policy::detach);
    operations.serve::<ListAttachedRolePolicies>(role_policy::list_attached);
    operations.serve::<CreatePolicy>(policy::create);
    operations.serve::<GetPolicy>(policy::get);
    operations.serve::<GetPolicyVersion>(policy_version::get);
    operations.serve::<ListPolicyVersions>(policy_version::list);
    operations.serve::<ListPolicies>(policy::list);
    operations.serve::<DeletePolicy>(policy::delete);
    operations.serve::<CreatePolicyVersion>(policy_version::create);
    operations.serve::<DeletePolicyVersion>(policy_version::delete);
    operations.serve::<SetDefaultPolicyVersion>(policy_version::set_default);
    operations.serve::<ListEntitiesForPolicy>(policy::list_entities);
    operations.serve::<TagPolicy>(policy::tag);
    operations.serve::<UntagPolicy>(policy::untag);
    operations.serve::<ListPolicyTags>(policy::list_tags);
    operations.serve::<CreateInstanceProfile>(instance_profile::create);
    operations.serve::<GetInstanceProfile>(instance_profile::get);
    operations.serve::<ListInstanceProfiles>(instance_profile::list);
    operations.serve::<ListInstanceProfilesForRole>(instance_profile::list_for_role);
    operations.serve::<AddRoleToInstanceProfile>(instance_profile::add_role);
    operations.serve::<RemoveRoleFromInstanceProfile>(instance_profile::remove_role);
    operations.serve::<DeleteInstanceProfile>(instance_profile::delete);
    operations.serve::<TagInstanceProfile>(instance_profile::tag);
    operations.serve::<UntagInstanceProfile>(instance_profile::untag);
    operations.serve::<ListInstanceProfileTags>(instance_profile::list_tags);
    operations.serve::<ListAccountAliases>(account::list_aliases);
    operations.serve::<SimulatePrincipalPolicy>(simulate::principal);
    operations.serve::<SimulateCustomPolicy>(simulate::custom);
    operations.serve::<GetContextKeysForPrincipalPolicy>(simulate::keys_of_principal);
    operations.serve::<GetContextKeysForCustomPolicy>(simulate::keys_of_custom);
    operations.serve::<CreateUser>(user::create);
    operations.serve::<GetUser>(user::get);
    operations.serve::<ListUsers>(user::list);
    operations.serve::<UpdateUser>(user::update);
    operations.serve::<DeleteUser>(user::delete);
    operations.serve::<PutUserPermissionsBoundary>(user::put_boundary);
    operations.serve::<DeleteUserPermissionsBoundary>(user::delete_boundary);
    operations.serve::<TagUser>(user::tag);
    operations.serve::<UntagUser>(user::untag);
    operations.serve::<ListUserTags>(user::list_tags);
    operations.serve::<PutUserPolicy>(user_policy::put);
    operations.serve::<GetUserPolicy>(user_policy::get);
    operations.serve::<DeleteUserPolicy>(user_policy::delete);
    operations.serve::<ListUserPolicies>(user_policy::list);
    operations.serve::<AttachUserPolicy>(user_policy::attach);
    operations.serve::<DetachUserPolicy>(user_policy::detach);
    operations.serve::<ListAttachedUserPolicies>(user_policy::list_attached);
    operations.serve::<CreateGroup>(group::create);
    operations.serve::<GetGroup>(group::get);
    operations.serve::<ListGroups>(group::list);
    operations.serve::<ListGroupsForUser>(group::list_for_user);
    operations.serve::<UpdateGroup>(group::update);
    operations.serve::<DeleteGroup>(group::delete);
    operations.serve::<AddUserToGroup>(group::add_user);
    operations.serve::<RemoveUserFromGroup>(group::remove_user);
    operations.serve::<PutGroupPolicy>(group_policy::put);
    operations.serve::<GetGroupPolicy>(group_policy::get);
    operations.serve::<DeleteGroupPolicy>(group_policy::delete);
    operations.serve::<ListGroupPolicies>(group_policy::list);
    operations.serve::<AttachGroupPolicy>(group_policy::attach);
    operations.serve::<DetachGroupPolicy>(group_policy::detach);
    operations.serve::<ListAttachedGroupPolicies>(group_policy::list_attached);
    operations.serve::<CreateAccessKey>(access_key::create);
    operations.serve::<ListAccessKeys>(access_key::list);
    operations.serve::<UpdateAccessKey>(access_key::update);
    operations.serve::<DeleteAccessKey>(access_key::delete);
    operations.serve::<GetAccessKeyLastUsed>(access_key::last_used);
}
