//! What is stored of launch configurations, groups, their instances and activities.

use super::error::validation;
use super::lifecycle::{self, Wait};
use super::plan::{self, Policy};
use super::source::Version;
use super::{policy, scheduled};
use crate::api::{Ctx, Result};
use crate::store::{Item, StoreError, Tx};
use quarry_aws::autoscaling::{Activity, AutoScalingGroup, Instance, LaunchConfiguration};
use quarry_domain::scaling::History;
use serde::{Deserialize, Serialize};

#[derive(Clone, Serialize, Deserialize)]
pub struct LaunchConfigurationRecord {
    pub configuration: LaunchConfiguration,
}

#[derive(Clone, Serialize, Deserialize)]
pub struct GroupRecord {
    /// As it is described, without its instances.
    pub group: AutoScalingGroup,
    /// In the order of `VPCZoneIdentifier`.
    pub subnets: Vec<SubnetRef>,
    /// It goes when its instances are gone.
    pub deleting: bool,
    /// What its policies did last.
    #[serde(default)]
    pub history: History,
    /// Until when no simple policy is executed.
    #[serde(default)]
    pub cooldown_until_ms: i64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubnetRef {
    pub id: String,
    pub zone: String,
}

/// An instance of a group, from its launch to its termination.
#[derive(Clone, Serialize, Deserialize)]
pub struct MemberRecord {
    pub instance: Instance,
    pub group: String,
    pub subnet: String,
    pub launched_ms: i64,
    /// The ECS cluster that it has still to join.
    pub joins: Option<String>,
    /// Its stack has still to be told that it is there.
    pub signals: Option<StackResource>,
    /// The lifecycle hooks that hold it.
    #[serde(default)]
    pub waits: Vec<Wait>,
    /// A hook gave it up: if it was being launched, it is ended.
    #[serde(default)]
    pub abandoned: bool,
    /// Why it is being ended, and the activity that says so.
    #[serde(default)]
    pub ending: Option<String>,
    /// ARNs of the target groups that it is registered with.
    #[serde(default)]
    pub targets: Vec<String>,
}

/// The stack's resource that a group is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StackResource {
    pub stack: String,
    pub logical_id: String,
}

#[derive(Clone, Serialize, Deserialize)]
pub struct ActivityRecord {
    pub activity: Activity,
}

impl Item for LaunchConfigurationRecord {
    const KIND: &'static str = "autoscaling.launch-configuration";
    fn key(&self) -> String {
        self.configuration.launch_configuration_name.clone().unwrap_or_default()
    }
}

impl Item for GroupRecord {
    const KIND: &'static str = "autoscaling.group";
    fn key(&self) -> String {
        self.group.auto_scaling_group_name.clone().unwrap_or_default()
    }
}

impl Item for MemberRecord {
    const KIND: &'static str = "autoscaling.instance";
    fn key(&self) -> String {
        self.instance.instance_id.clone().unwrap_or_default()
    }
    fn parent(&self) -> String {
        self.group.clone()
    }
}

impl Item for ActivityRecord {
    const KIND: &'static str = "autoscaling.activity";
    fn key(&self) -> String {
        self.activity.activity_id.clone().unwrap_or_default()
    }
    fn parent(&self) -> String {
        self.activity.auto_scaling_group_name.clone().unwrap_or_default()
    }
}

impl GroupRecord {
    pub fn desired(&self) -> i32 {
        self.group.desired_capacity.unwrap_or_default()
    }

    /// What the planner wants to know of it.
    pub fn wanted(&self) -> plan::Group {
        let policies = self.group.termination_policies.iter().flatten().filter_map(|name| Policy::parse(name));
        plan::Group {
            desired: if self.deleting { 0 } else { self.desired().max(0) as usize },
            subnets: self.subnets.clone(),
            policies: policies.collect(),
            protects: !self.deleting,
        }
    }

    /// The resource of a stack that it is, by the tags that CloudFormation gives it.
    pub fn stack_resource(&self) -> Option<StackResource> {
        let tags = self.group.tags.as_deref().unwrap_or_default();
        let tag = |key: &str| tags.iter().find(|t| t.key.as_deref() == Some(key))?.value.clone();
        Some(StackResource {
            stack: tag("aws:cloudformation:stack-name")?,
            logical_id: tag("aws:cloudformation:logical-id")?,
        })
    }
}

impl MemberRecord {
    /// What the planner wants to know of it.
    pub fn seen(&self, current: &Version) -> plan::Member {
        plan::Member {
            id: self.key(),
            subnet: self.subnet.clone(),
            zone: self.instance.availability_zone.clone().unwrap_or_default(),
            launched_ms: self.launched_ms,
            protected: self.instance.protected_from_scale_in == Some(true),
            current: self.instance.launch_configuration_name == current.configuration
                && self.instance.launch_template == current.template,
        }
    }

    pub fn is_in_service(&self) -> bool {
        self.instance.lifecycle_state.as_deref() == Some("InService")
    }

    /// It does not count any longer.
    pub fn is_ending(&self) -> bool {
        self.ending.is_some()
    }

    pub fn is_unhealthy(&self) -> bool {
        self.instance.health_status.as_deref() == Some("Unhealthy")
    }
}

pub fn find_group(ctx: &Ctx<'_>, name: &str) -> Result<GroupRecord> {
    ctx.tx
        .get::<GroupRecord>(name)?
        .ok_or_else(|| validation(format!("AutoScalingGroup name not found - AutoScalingGroup {name} not found")))
}

/// A group that can still be changed.
pub fn find_active(ctx: &Ctx<'_>, name: &str) -> Result<GroupRecord> {
    let record = find_group(ctx, name)?;
    if record.deleting {
        return Err(validation(format!("AutoScalingGroup {name} is pending delete and cannot be changed.")));
    }
    Ok(record)
}

pub fn members(tx: &Tx<'_>, group: &str) -> Result<Vec<MemberRecord>, StoreError> {
    tx.children::<MemberRecord>(group)
}

/// Takes a group out of the store with all that belongs to it.
pub fn remove_group(ctx: &mut Ctx<'_>, name: &str) -> Result<()> {
    for activity in ctx.tx.children::<ActivityRecord>(name)? {
        ctx.tx.delete::<ActivityRecord>(&activity.key())?;
    }
    lifecycle::remove_all(ctx.tx, name)?;
    scheduled::remove_all(ctx.tx, name)?;
    policy::remove_all(ctx, name)?;
    ctx.tx.delete::<GroupRecord>(name)?;
    Ok(())
}
