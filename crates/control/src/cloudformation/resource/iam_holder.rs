//! Who holds policies: what the types of groups, roles and users, and of policies, have in common.

use super::call::call;
use super::change::Change;
use super::{deleted, document, is_absent};
use crate::api::{Ctx, Result};
use quarry_aws::iam::op;
use serde_json::{Map, Value, json};

/// A kind of IAM's identities.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holder {
    Group,
    Role,
    User,
}

pub const HOLDERS: [Holder; 3] = [Holder::Group, Holder::Role, Holder::User];

impl Holder {
    /// The property of a policy that lists some by their names.
    pub fn list(self) -> &'static str {
        match self {
            Self::Group => "Groups",
            Self::Role => "Roles",
            Self::User => "Users",
        }
    }

    /// The member of requests that names one.
    pub fn member(self) -> &'static str {
        match self {
            Self::Group => "GroupName",
            Self::Role => "RoleName",
            Self::User => "UserName",
        }
    }

    /// A request about the one of this name.
    pub fn named(self, name: &Value, more: Value) -> Value {
        let mut input = more;
        input[self.member()] = name.clone();
        input
    }

    /// Those that the properties of a policy list.
    pub fn listed(self, properties: &Map<String, Value>) -> Vec<Value> {
        properties.get(self.list()).and_then(Value::as_array).cloned().unwrap_or_default()
    }

    /// Puts an inline policy, which has `PolicyName` and `PolicyDocument`.
    pub fn put(self, ctx: &mut Ctx<'_>, name: &Value, policy: &Value) -> Result<()> {
        let text = document(&policy["PolicyDocument"]);
        let input = self.named(name, json!({"PolicyName": policy["PolicyName"], "PolicyDocument": text}));
        match self {
            Self::Group => call::<op::PutGroupPolicy>(ctx, input),
            Self::Role => call::<op::PutRolePolicy>(ctx, input),
            Self::User => call::<op::PutUserPolicy>(ctx, input),
        }?;
        Ok(())
    }

    /// Takes an inline policy away; one that is not there is gone.
    pub fn remove(self, ctx: &mut Ctx<'_>, name: &Value, policy_name: &Value) -> Result<()> {
        let input = self.named(name, json!({"PolicyName": policy_name}));
        deleted(match self {
            Self::Group => call::<op::DeleteGroupPolicy>(ctx, input),
            Self::Role => call::<op::DeleteRolePolicy>(ctx, input),
            Self::User => call::<op::DeleteUserPolicy>(ctx, input),
        })?;
        Ok(())
    }

    /// An inline policy's members; an error that [`is_absent`] says that there is none.
    pub fn inline(self, ctx: &mut Ctx<'_>, name: &Value, policy_name: &Value) -> Result<Value> {
        let input = self.named(name, json!({"PolicyName": policy_name}));
        match self {
            Self::Group => call::<op::GetGroupPolicy>(ctx, input),
            Self::Role => call::<op::GetRolePolicy>(ctx, input),
            Self::User => call::<op::GetUserPolicy>(ctx, input),
        }
    }

    pub fn attach(self, ctx: &mut Ctx<'_>, name: &Value, arn: &Value) -> Result<()> {
        let input = self.named(name, json!({"PolicyArn": arn}));
        match self {
            Self::Group => call::<op::AttachGroupPolicy>(ctx, input),
            Self::Role => call::<op::AttachRolePolicy>(ctx, input),
            Self::User => call::<op::AttachUserPolicy>(ctx, input),
        }?;
        Ok(())
    }

    /// Detaches a managed policy; one that is not attached is gone.
    pub fn detach(self, ctx: &mut Ctx<'_>, name: &Value, arn: &Value) -> Result<()> {
        let input = self.named(name, json!({"PolicyArn": arn}));
        deleted(match self {
            Self::Group => call::<op::DetachGroupPolicy>(ctx, input),
            Self::Role => call::<op::DetachRolePolicy>(ctx, input),
            Self::User => call::<op::DetachUserPolicy>(ctx, input),
        })?;
        Ok(())
    }

    /// ARNs of the managed policies.
    pub fn attached(self, ctx: &mut Ctx<'_>, name: &Value) -> Result<Vec<Value>> {
        let input = self.named(name, json!({}));
        let output = match self {
            Self::Group => call::<op::ListAttachedGroupPolicies>(ctx, input),
            Self::Role => call::<op::ListAttachedRolePolicies>(ctx, input),
            Self::User => call::<op::ListAttachedUserPolicies>(ctx, input),
        }?;
        let attached = output["AttachedPolicies"].as_array().into_iter().flatten();
        Ok(attached.map(|policy| policy["PolicyArn"].clone()).collect())
    }

    /// Gives a new one the policies of its properties `ManagedPolicyArns` and `Policies`.
    pub fn give(self, ctx: &mut Ctx<'_>, name: &Value, properties: &Map<String, Value>) -> Result<()> {
        for arn in properties.get("ManagedPolicyArns").and_then(Value::as_array).into_iter().flatten() {
            self.attach(ctx, name, arn)?;
        }
        for policy in properties.get("Policies").and_then(Value::as_array).into_iter().flatten() {
            self.put(ctx, name, policy)?;
        }
        Ok(())
    }

    /// Carries out what changed of these two properties.
    pub fn change(self, ctx: &mut Ctx<'_>, name: &Value, change: &Change<'_>) -> Result<()> {
        let (came, went) = change.list("ManagedPolicyArns");
        for arn in went {
            self.detach(ctx, name, &arn)?;
        }
        for arn in came {
            self.attach(ctx, name, &arn)?;
        }
        let (came, went) = change.list("Policies");
        for policy in &went {
            if came.iter().all(|other| other["PolicyName"] != policy["PolicyName"]) {
                self.remove(ctx, name, &policy["PolicyName"])?;
            }
        }
        for policy in &came {
            self.put(ctx, name, policy)?;
        }
        Ok(())
    }

    /// Takes all policies away from one that is to be deleted. `false`: it is gone already.
    pub fn strip(self, ctx: &mut Ctx<'_>, name: &Value) -> Result<bool> {
        let attached = match self.attached(ctx, name) {
            Err(error) if is_absent(&error) => return Ok(false),
            other => other?,
        };
        for arn in attached {
            self.detach(ctx, name, &arn)?;
        }
        let input = self.named(name, json!({}));
        let inline = match self {
            Self::Group => call::<op::ListGroupPolicies>(ctx, input),
            Self::Role => call::<op::ListRolePolicies>(ctx, input),
            Self::User => call::<op::ListUserPolicies>(ctx, input),
        }?;
        for policy in inline["PolicyNames"].as_array().into_iter().flatten() {
            self.remove(ctx, name, policy)?;
        }
        Ok(true)
    }
}

/// The property `PermissionsBoundary`, of a role or user as IAM describes it.
pub fn boundary(described: &Value) -> Option<(String, Value)> {
    let arn = described.pointer("/PermissionsBoundary/PermissionsBoundaryArn")?;
    Some(("PermissionsBoundary".to_owned(), arn.clone()))
}
