//! Container instances as EC2 shows them. They are launched and terminated by Auto Scaling only; each
//! stands for a share of this machine that placement counts.

use super::address;
use super::network_interface;
use super::resource::{Resource, error, find, new_id, page, required, select};
use super::subnet::SubnetRecord;
use crate::api::{Ctx, Result};
use crate::store::{Item, StoreError, Tx};
use quarry_aws::ec2::{
    AttributeBooleanValue, AttributeValue, DescribeInstanceAttributeRequest, DescribeInstanceStatusRequest,
    DescribeInstanceStatusResult, DescribeInstancesRequest, DescribeInstancesResult, IamInstanceProfile, Instance,
    InstanceAttribute, InstanceState, InstanceStateChange, InstanceStatus, InstanceStatusDetails,
    InstanceStatusSummary, Monitoring, Placement, Reservation, Tag, TerminateInstancesRequest,
    TerminateInstancesResult,
};
use quarry_wire::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::net::Ipv4Addr;

/// How long a terminated instance stays visible, as on EC2.
const SHOWN_AFTER_TERMINATION_MS: i64 = 3_600_000;

#[derive(Clone, Serialize, Deserialize)]
pub struct InstanceRecord {
    pub instance: Instance,
    pub terminated_at_ms: Option<i64>,
    /// In base64, as it was given.
    #[serde(default)]
    pub user_data: Option<String>,
}

/// What an instance is launched from.
pub struct Launch<'a> {
    pub image_id: &'a str,
    pub instance_type: &'a str,
    pub subnet: &'a str,
    pub security_groups: &'a [String],
    /// ARN of the instance profile.
    pub profile: Option<String>,
    pub key_name: Option<String>,
    /// In base64.
    pub user_data: Option<String>,
    pub tags: Vec<Tag>,
}

/// An instance type's size: vCPU as CPU units, and the memory that ECS may place tasks in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    pub cpu_units: u32,
    /// What the agent registers: the type's memory less what its system needs, in MiB.
    pub memory_mib: u32,
}

impl Item for InstanceRecord {
    const KIND: &'static str = "ec2.instance";
    fn key(&self) -> String {
        self.instance.instance_id.clone().unwrap_or_default()
    }
}

impl Resource for InstanceRecord {
    const TYPE: &'static str = "instance";
    const NOUN: &'static str = "instance ID";
    const NOT_FOUND: &'static str = "InvalidInstanceID.NotFound";

    fn tags(&mut self) -> &mut Option<Vec<Tag>> {
        &mut self.instance.tags
    }

    fn seen_tags(&self) -> &Option<Vec<Tag>> {
        &self.instance.tags
    }

    fn field(&self, name: &str) -> Option<Vec<String>> {
        let one = |v: &Option<String>| v.clone().into_iter().collect();
        Some(match name {
            "instance-id" => vec![self.key()],
            "instance-type" => one(&self.instance.instance_type),
            "image-id" => one(&self.instance.image_id),
            "subnet-id" | "network-interface.subnet-id" => one(&self.instance.subnet_id),
            "vpc-id" | "network-interface.vpc-id" => one(&self.instance.vpc_id),
            "private-ip-address" => one(&self.instance.private_ip_address),
            "instance-state-code" => self.instance.state.iter().filter_map(|s| Some(s.code?.to_string())).collect(),
            "key-name" => one(&self.instance.key_name),
            "private-dns-name" => one(&self.instance.private_dns_name),
            "architecture" => one(&self.instance.architecture),
            "reservation-id" => vec![self.key().replacen("i-", "r-", 1)],
            "iam-instance-profile.arn" => {
                self.instance.iam_instance_profile.iter().filter_map(|p| p.arn.clone()).collect()
            }
            "instance.group-name" => {
                self.instance.security_groups.iter().flatten().filter_map(|g| g.group_name.clone()).collect()
            }
            "instance-state-name" => self.instance.state.iter().filter_map(|s| s.name.clone()).collect(),
            "availability-zone" => self.instance.placement.iter().filter_map(|p| p.availability_zone.clone()).collect(),
            "instance.group-id" => {
                self.instance.security_groups.iter().flatten().filter_map(|g| g.group_id.clone()).collect()
            }
            _ => return None,
        })
    }
}

impl InstanceRecord {
    pub fn is_live(&self) -> bool {
        self.terminated_at_ms.is_none()
    }

    fn is_forgotten(&self, now_ms: i64) -> bool {
        self.terminated_at_ms.is_some_and(|at| now_ms - at > SHOWN_AFTER_TERMINATION_MS)
    }
}

/// The VPC of every live instance and of every subnet, by its id.
pub fn vpcs(tx: &Tx<'_>) -> Result<HashMap<String, String>, StoreError> {
    let instances: Vec<InstanceRecord> = tx.all()?;
    let subnets: Vec<SubnetRecord> = tx.all()?;
    let instances = instances.into_iter().map(|record| (record.instance.instance_id, record.instance.vpc_id));
    let subnets = subnets.into_iter().map(|record| (record.subnet.subnet_id, record.subnet.vpc_id));
    Ok(instances.chain(subnets).filter_map(|(id, vpc)| id.zip(vpc)).collect())
}

/// The private address of every live instance, by its id.
pub fn addresses(tx: &Tx<'_>) -> Result<HashMap<String, Ipv4Addr>, StoreError> {
    let live = tx.all::<InstanceRecord>()?.into_iter().filter(InstanceRecord::is_live).map(|record| record.instance);
    let parsed = |address: String| address.parse().ok();
    Ok(live.filter_map(|i| i.instance_id.zip(i.private_ip_address.and_then(parsed))).collect())
}

/// Starts an instance in a subnet; it runs at once.
pub fn launch(ctx: &mut Ctx<'_>, launch: Launch<'_>) -> Result<Instance> {
    let subnet = find::<SubnetRecord>(ctx, launch.subnet)?;
    let security_groups = network_interface::groups(ctx, &subnet.parent(), launch.security_groups)?;
    let address = network_interface::free_address(ctx, &subnet)?;
    let region = &ctx.platform.place().region;
    let instance = Instance {
        instance_id: Some(new_id(ctx, "i")),
        image_id: Some(launch.image_id.into()),
        instance_type: Some(launch.instance_type.into()),
        architecture: Some(if cfg!(target_arch = "aarch64") { "arm64" } else { "x86_64" }.into()),
        launch_time: Some(Timestamp::from_millis(ctx.platform.now_ms())),
        key_name: launch.key_name,
        iam_instance_profile: launch.profile.map(|arn| IamInstanceProfile { arn: Some(arn), id: None }),
        monitoring: Some(Monitoring { state: Some("disabled".into()) }),
        placement: Some(Placement {
            availability_zone: subnet.subnet.availability_zone.clone(),
            tenancy: Some("default".into()),
            ..Default::default()
        }),
        private_dns_name: Some(network_interface::private_dns_name(region, address)),
        private_ip_address: Some(address.to_string()),
        security_groups: Some(security_groups),
        state: Some(state(16, "running")),
        subnet_id: subnet.subnet.subnet_id.clone(),
        vpc_id: subnet.subnet.vpc_id.clone(),
        tags: Some(launch.tags),
        ..Default::default()
    };
    ctx.tx.put(&InstanceRecord { instance: instance.clone(), terminated_at_ms: None, user_data: launch.user_data })?;
    Ok(instance)
}

/// Ends an instance; it stays visible as terminated for an hour.
pub fn terminate(ctx: &mut Ctx<'_>, id: &str) -> Result<()> {
    let now = ctx.platform.now_ms();
    for record in ctx.tx.all::<InstanceRecord>()? {
        if record.is_forgotten(now) {
            ctx.tx.delete::<InstanceRecord>(&record.key())?;
        }
    }
    let mut record = find::<InstanceRecord>(ctx, id)?;
    address::forget_interface(ctx, &network_interface::interface_of(id))?;
    record.instance.state = Some(state(48, "terminated"));
    record.instance.private_ip_address = None;
    record.instance.subnet_id = None;
    record.instance.vpc_id = None;
    record.instance.security_groups = Some(Vec::new());
    record.terminated_at_ms = Some(now);
    ctx.tx.put(&record)?;
    Ok(())
}

pub fn describe(ctx: &mut Ctx<'_>, input: DescribeInstancesRequest) -> Result<DescribeInstancesResult> {
    let mut found = select::<InstanceRecord>(ctx, input.instance_ids, input.filters)?;
    let now = ctx.platform.now_ms();
    found.retain(|record| !record.is_forgotten(now));
    let (instances, next_token) = page(found, input.max_results, input.next_token)?;
    let owner = &ctx.platform.place().account;
    let reservations = instances.into_iter().map(|record| Reservation {
        reservation_id: Some(record.key().replacen("i-", "r-", 1)),
        owner_id: Some(owner.clone()),
        groups: Some(Vec::new()),
        instances: Some(vec![record.instance]),
        ..Default::default()
    });
    Ok(DescribeInstancesResult { reservations: Some(reservations.collect()), next_token })
}

pub fn describe_status(
    ctx: &mut Ctx<'_>,
    input: DescribeInstanceStatusRequest,
) -> Result<DescribeInstanceStatusResult> {
    let mut found = select::<InstanceRecord>(ctx, input.instance_ids, input.filters)?;
    let (now, every) = (ctx.platform.now_ms(), input.include_all_instances == Some(true));
    found.retain(|record| record.is_live() || (every && !record.is_forgotten(now)));
    let (found, next_token) = page(found, input.max_results, input.next_token)?;
    let summary = |live: bool| {
        let word = |text: &str| Some(text.to_owned());
        let details =
            InstanceStatusDetails { name: word("reachability"), status: word("passed"), ..Default::default() };
        Some(match live {
            true => InstanceStatusSummary { status: word("ok"), details: Some(vec![details]) },
            false => InstanceStatusSummary { status: word("not-applicable"), details: None },
        })
    };
    let statuses = found.into_iter().map(|record| InstanceStatus {
        instance_status: summary(record.is_live()),
        system_status: summary(record.is_live()),
        availability_zone: record.instance.placement.and_then(|p| p.availability_zone),
        instance_id: record.instance.instance_id,
        instance_state: record.instance.state,
        ..Default::default()
    });
    Ok(DescribeInstanceStatusResult { instance_statuses: Some(statuses.collect()), next_token })
}

/// One attribute; those that an instance here cannot have are absent.
pub fn describe_attribute(ctx: &mut Ctx<'_>, input: DescribeInstanceAttributeRequest) -> Result<InstanceAttribute> {
    let record = find::<InstanceRecord>(ctx, &required(input.instance_id, "instanceId")?)?;
    let attribute = required(input.attribute, "attribute")?;
    let text = |value: Option<String>| Some(AttributeValue { value });
    let boolean = |value| Some(AttributeBooleanValue { value: Some(value) });
    let mut result = InstanceAttribute { instance_id: Some(record.key()), ..Default::default() };
    let instance = record.instance;
    match attribute.as_str() {
        "instanceType" => result.instance_type = text(instance.instance_type),
        "groupSet" => result.groups = instance.security_groups,
        "userData" => result.user_data = text(record.user_data),
        "disableApiTermination" => result.disable_api_termination = boolean(false),
        "disableApiStop" => result.disable_api_stop = boolean(false),
        "ebsOptimized" => result.ebs_optimized = boolean(false),
        "enaSupport" => result.ena_support = boolean(true),
        "sourceDestCheck" => result.source_dest_check = boolean(true),
        "instanceInitiatedShutdownBehavior" => {
            result.instance_initiated_shutdown_behavior = text(Some("terminate".into()));
        }
        "blockDeviceMapping" => result.block_device_mappings = Some(Vec::new()),
        "productCodes" => result.product_codes = Some(Vec::new()),
        "rootDeviceName" => result.root_device_name = text(None),
        "kernel" => result.kernel_id = text(None),
        "ramdisk" => result.ramdisk_id = text(None),
        "sriovNetSupport" => result.sriov_net_support = text(None),
        other => {
            let message = format!("Value ({other}) for parameter attribute is invalid. Unknown attribute.");
            return Err(error("InvalidParameterValue", message));
        }
    }
    Ok(result)
}

/// Ends instances. Their group notices and, as on AWS, launches others in their place.
pub fn terminate_instances(ctx: &mut Ctx<'_>, input: TerminateInstancesRequest) -> Result<TerminateInstancesResult> {
    let mut changes = Vec::new();
    for id in required(input.instance_ids, "InstanceId")? {
        let before = find::<InstanceRecord>(ctx, &id)?;
        let previous_state = before.instance.state.clone();
        if before.is_live() {
            terminate(ctx, &id)?;
        }
        let current_state = if before.is_live() { Some(state(32, "shutting-down")) } else { previous_state.clone() };
        changes.push(InstanceStateChange { instance_id: Some(id), previous_state, current_state });
    }
    Ok(TerminateInstancesResult { terminating_instances: Some(changes) })
}

/// The size of an instance type. Types outside the table are refused rather than guessed.
pub fn size(instance_type: &str) -> Result<Size> {
    // vCPU and GiB of each type, as AWS lists them.
    let (vcpu, gib) = match instance_type {
        "t2.micro" | "t3.micro" => (if instance_type.starts_with("t2") { 1 } else { 2 }, 1.0),
        "t2.small" => (1, 2.0),
        "t3.small" => (2, 2.0),
        "t2.medium" | "t3.medium" => (2, 4.0),
        "t2.large" | "t3.large" | "m4.large" | "m5.large" => (2, 8.0),
        "m3.medium" => (1, 3.75),
        "m3.large" => (2, 7.5),
        "m3.xlarge" => (4, 15.0),
        "m3.2xlarge" => (8, 30.0),
        "m4.xlarge" | "m5.xlarge" => (4, 16.0),
        "m4.2xlarge" | "m5.2xlarge" => (8, 32.0),
        "m4.4xlarge" => (16, 64.0),
        "m4.10xlarge" => (40, 160.0),
        "c3.large" | "c4.large" => (2, 3.75),
        "c5.large" => (2, 4.0),
        "c3.xlarge" | "c4.xlarge" => (4, 7.5),
        "c3.2xlarge" | "c4.2xlarge" => (8, 15.0),
        "c3.4xlarge" | "c4.4xlarge" => (16, 30.0),
        "c3.8xlarge" => (32, 60.0),
        "c4.8xlarge" => (36, 60.0),
        "r3.large" => (2, 15.25),
        "r3.xlarge" => (4, 30.5),
        "r3.2xlarge" => (8, 61.0),
        "r3.4xlarge" => (16, 122.0),
        "r3.8xlarge" => (32, 244.0),
        "i2.xlarge" => (4, 30.5),
        "i2.2xlarge" => (8, 61.0),
        "i2.4xlarge" => (16, 122.0),
        "i2.8xlarge" => (32, 244.0),
        other => return Err(error("InvalidInstanceType", format!("The instance type '{other}' is not supported"))),
    };
    // What remains for tasks: a t2.micro's agent registers 983 of 1024 MiB.
    let memory_mib = (gib * 1024.0 * 983.0 / 1024.0) as u32;
    Ok(Size { cpu_units: vcpu * 1024, memory_mib })
}

fn state(code: i32, name: &str) -> InstanceState {
    InstanceState { code: Some(code), name: Some(name.into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_t2_micro_holds_what_its_agent_registers() {
        assert_eq!(size("t2.micro").unwrap(), Size { cpu_units: 1024, memory_mib: 983 });
        assert_eq!(size("x9.huge").unwrap_err().code, "InvalidInstanceType");
    }
}
