//! Auto Scaling groups.

use super::call::{call, refused};
use super::change::Change;
use super::{Made, Ongoing, Progress, ResourceType, Wanted, absent, members};
use crate::api::{Ctx, Result};
use crate::cloudformation::duration;
use crate::cloudformation::template::text_of;
use quarry_aws::autoscaling::op;
use quarry_wire::Operation;
use serde_json::{Map, Value, json};
use std::time::Duration;

/// `AWS::AutoScaling::AutoScalingGroup`.
pub struct AutoScalingGroup;

impl ResourceType for AutoScalingGroup {
    fn name(&self) -> &'static str {
        "AWS::AutoScaling::AutoScalingGroup"
    }

    fn properties(&self) -> &'static [&'static str] {
        &[
            "AutoScalingGroupName",
            "AvailabilityZones",
            "CapacityRebalance",
            "Cooldown",
            "DefaultInstanceWarmup",
            "DesiredCapacity",
            "HealthCheckGracePeriod",
            "HealthCheckType",
            "LaunchConfigurationName",
            "LaunchTemplate",
            "MaxInstanceLifetime",
            "MaxSize",
            "MinSize",
            "NewInstancesProtectedFromScaleIn",
            "TargetGroupARNs",
            "Tags",
            "TerminationPolicies",
            "VPCZoneIdentifier",
        ]
    }

    fn required(&self) -> &'static [&'static str] {
        &["MinSize", "MaxSize"]
    }

    fn attributes(&self) -> &'static [&'static str] {
        &["AutoScalingGroupARN"]
    }

    fn mutable(&self) -> &'static [&'static str] {
        &[
            "AvailabilityZones",
            "CapacityRebalance",
            "Cooldown",
            "DefaultInstanceWarmup",
            "DesiredCapacity",
            "HealthCheckGracePeriod",
            "HealthCheckType",
            "LaunchConfigurationName",
            "LaunchTemplate",
            "MaxInstanceLifetime",
            "MaxSize",
            "MinSize",
            "NewInstancesProtectedFromScaleIn",
            "TargetGroupARNs",
            "Tags",
            "TerminationPolicies",
            "VPCZoneIdentifier",
        ]
    }

    fn conditional(&self) -> &'static [&'static str] {
        &["LaunchConfigurationName", "LaunchTemplate", "VPCZoneIdentifier"]
    }

    /// AutoScalingReplacingUpdate: another group takes its place.
    fn replaces(&self, old: &Wanted, new: &Wanted) -> bool {
        let policy = new.update_policy.as_ref().map(|policy| &policy["AutoScalingReplacingUpdate"]["WillReplace"]);
        policy.is_some_and(is_true) && self.conditional().iter().any(|name| new.differs(old, name))
    }

    fn name_property(&self) -> Option<&'static str> {
        Some("AutoScalingGroupName")
    }

    fn settled(&self, ctx: &mut Ctx<'_>, made: &Made) -> Result<Progress> {
        let group = describe(ctx, &made.physical_id)?.unwrap_or_default();
        let ready = group["Instances"]
            .as_array()
            .map_or(0, |all| all.iter().filter(|instance| instance["LifecycleState"] == "InService").count());
        let desired = group["DesiredCapacity"].as_u64().unwrap_or(0);
        Ok(if ready as u64 >= desired { Progress::Done } else { Progress::Waiting })
    }

    fn create(&self, ctx: &mut Ctx<'_>, wanted: &Wanted) -> Result<Made> {
        let mut input = settings(wanted.without(&["AutoScalingGroupName", "Tags"]));
        let name = wanted.name("AutoScalingGroupName", 255);
        input.insert("Tags".into(), wanted.tags().into_iter().map(propagated).collect());
        input.insert("AutoScalingGroupName".into(), name.clone().into());
        call::<op::CreateAutoScalingGroup>(ctx, input.into())?;
        let described = describe(ctx, &name)?.unwrap_or_default();
        Ok(Made::new(name).with("AutoScalingGroupARN", described["AutoScalingGroupARN"].clone()))
    }

    fn update(&self, ctx: &mut Ctx<'_>, made: &Made, old: &Wanted, new: &Wanted) -> Result<Made> {
        // An update that is undone may have left them suspended.
        suspend::<op::ResumeProcesses>(ctx, made, &suspended(old))?;
        let change = Change { made, old, new };
        let mut input = change.values(&[
            ("CapacityRebalance", false.into()),
            ("Cooldown", 300.into()),
            ("DefaultInstanceWarmup", (-1).into()),
            ("HealthCheckGracePeriod", 0.into()),
            ("HealthCheckType", "EC2".into()),
            ("MaxInstanceLifetime", 0.into()),
            ("NewInstancesProtectedFromScaleIn", false.into()),
            ("TerminationPolicies", json!(["Default"])),
        ]);
        for name in ["AvailabilityZones", "LaunchConfigurationName", "LaunchTemplate", "VPCZoneIdentifier"] {
            if change.differs(name) {
                input.extend(new.pick(&[name]));
            }
        }
        // Sizes are set anew with every update, whatever the group was scaled to meanwhile, unless the update
        // policy says that those of the template count only when they change.
        let policy = new.update_policy.as_ref().map(|policy| &policy["AutoScalingScheduledAction"]);
        let keep = policy.is_some_and(|policy| is_true(&policy["IgnoreUnmodifiedGroupSizeProperties"]));
        for name in ["DesiredCapacity", "MaxSize", "MinSize"] {
            if !keep || change.differs(name) {
                input.extend(new.pick(&[name]));
            }
        }
        let mut input = settings(input);
        input.insert("AutoScalingGroupName".into(), made.physical_id.clone().into());
        call::<op::UpdateAutoScalingGroup>(ctx, input.into())?;
        let (came, went) = change.list("TargetGroupARNs");
        if !went.is_empty() {
            let input = json!({"AutoScalingGroupName": made.physical_id, "TargetGroupARNs": went});
            call::<op::DetachLoadBalancerTargetGroups>(ctx, input)?;
        }
        if !came.is_empty() {
            let input = json!({"AutoScalingGroupName": made.physical_id, "TargetGroupARNs": came});
            call::<op::AttachLoadBalancerTargetGroups>(ctx, input)?;
        }
        if let Some(tags) = change.tags() {
            let here = |mut tag: Value| {
                tag["ResourceId"] = made.physical_id.clone().into();
                tag["ResourceType"] = "auto-scaling-group".into();
                tag
            };
            if !tags.gone.is_empty() {
                let gone: Vec<Value> = tags.gone.iter().map(|key| here(json!({"Key": key}))).collect();
                call::<op::DeleteTags>(ctx, json!({"Tags": gone}))?;
            }
            if !tags.set.is_empty() {
                let set: Vec<Value> = tags.set.into_iter().map(propagated).map(here).collect();
                call::<op::CreateOrUpdateTags>(ctx, json!({"Tags": set}))?;
            }
        }
        Ok(made.clone())
    }

    /// Replaces the instances batch by batch, where the update policy says so.
    fn updated(&self, ctx: &mut Ctx<'_>, made: &Made, new: &Wanted, ongoing: &mut Ongoing<'_>) -> Result<Progress> {
        let policy = new.update_policy.as_ref().map(|policy| policy["AutoScalingRollingUpdate"].clone());
        match policy {
            Some(Value::Object(policy)) => {
                let held = suspended(new);
                if ongoing.state.is_empty() {
                    suspend::<op::SuspendProcesses>(ctx, made, &held)?;
                }
                let progress = roll(ctx, made, &policy, ongoing)?;
                if progress == Progress::Done {
                    suspend::<op::ResumeProcesses>(ctx, made, &held)?;
                }
                Ok(progress)
            }
            _ => self.settled(ctx, made),
        }
    }

    fn look(&self, ctx: &mut Ctx<'_>, made: &Made, properties: &Map<String, Value>) -> Result<Map<String, Value>> {
        let group = describe(ctx, &made.physical_id)?.ok_or_else(|| absent("The group is not there"))?;
        let mut seen = members(&group, self.properties());
        seen.insert("Cooldown".into(), group["DefaultCooldown"].clone());
        if properties.get("VPCZoneIdentifier").is_some_and(Value::is_array) {
            let subnets = group["VPCZoneIdentifier"].as_str().unwrap_or_default();
            seen.insert("VPCZoneIdentifier".into(), subnets.split(',').map(Value::from).collect());
        }
        Ok(seen)
    }

    fn delete(&self, ctx: &mut Ctx<'_>, made: &Made, _properties: &Map<String, Value>) -> Result<Progress> {
        match describe(ctx, &made.physical_id)? {
            None => Ok(Progress::Done),
            Some(group) if group["Status"].is_string() => Ok(Progress::Waiting),
            Some(_) => {
                let input = json!({"AutoScalingGroupName": made.physical_id, "ForceDelete": true});
                call::<op::DeleteAutoScalingGroup>(ctx, input)?;
                Ok(if describe(ctx, &made.physical_id)?.is_none() { Progress::Done } else { Progress::Waiting })
            }
        }
    }
}

/// The group as the service sees it; `None` when it is gone.
fn describe(ctx: &mut Ctx<'_>, name: &str) -> Result<Option<Value>> {
    let output = call::<op::DescribeAutoScalingGroups>(ctx, json!({"AutoScalingGroupNames": [name]}))?;
    Ok(output.pointer("/AutoScalingGroups/0").cloned())
}

/// The settings of a group as the service names and writes them.
fn settings(mut input: Map<String, Value>) -> Map<String, Value> {
    if let Some(cooldown) = input.remove("Cooldown") {
        input.insert("DefaultCooldown".into(), cooldown);
    }
    if let Some(Value::Array(subnets)) = input.get("VPCZoneIdentifier") {
        let subnets = subnets.iter().filter_map(text_of).collect::<Vec<_>>().join(",");
        input.insert("VPCZoneIdentifier".into(), subnets.into());
    }
    input
}

/// Tags say themselves whether instances get them; those of the stack go on to instances.
fn propagated(mut tag: Value) -> Value {
    if tag.get("PropagateAtLaunch").is_none() {
        tag["PropagateAtLaunch"] = true.into();
    }
    tag
}

fn resize(ctx: &mut Ctx<'_>, made: &Made, least: &Value, desired: &Value) -> Result<()> {
    let input = json!({"AutoScalingGroupName": made.physical_id, "MinSize": least, "DesiredCapacity": desired});
    call::<op::UpdateAutoScalingGroup>(ctx, input)?;
    Ok(())
}

/// The processes that stand still during a rolling update.
fn suspended(wanted: &Wanted) -> Vec<Value> {
    let policy = wanted.update_policy.as_ref().map(|policy| &policy["AutoScalingRollingUpdate"]["SuspendProcesses"]);
    policy.and_then(Value::as_array).cloned().unwrap_or_default()
}

/// Suspends processes of a group, or resumes them; the operation is one of the two.
fn suspend<O: Operation>(ctx: &mut Ctx<'_>, made: &Made, processes: &[Value]) -> Result<()> {
    if !processes.is_empty() {
        let input = json!({"AutoScalingGroupName": made.physical_id, "ScalingProcesses": processes});
        call::<O>(ctx, input)?;
    }
    Ok(())
}

fn is_true(value: &Value) -> bool {
    text_of(value).is_some_and(|text| text == "true")
}

/// One look at a rolling update: the instances that were there before go in batches, each when those that took
/// the places of the batch before are in service, have signalled if they are to, and the pause is over.
fn roll(ctx: &mut Ctx<'_>, made: &Made, policy: &Map<String, Value>, ongoing: &mut Ongoing<'_>) -> Result<Progress> {
    let number = |name: &str, default: u64| {
        policy.get(name).and_then(text_of).and_then(|text| text.parse().ok()).unwrap_or(default)
    };
    let group = describe(ctx, &made.physical_id)?.ok_or_else(|| absent("The group is not there"))?;
    let instances = group["Instances"].as_array().cloned().unwrap_or_default();
    let ids = |instances: &[Value]| -> Vec<Value> { instances.iter().map(|i| i["InstanceId"].clone()).collect() };
    let size = |name: &str| group[name].as_u64().unwrap_or(0);
    let desired = size("DesiredCapacity");
    let (minimum, batch) = (number("MinInstancesInService", 0), number("MaxBatchSize", 1).max(1));
    if !ongoing.state.contains_key("old") {
        if instances.len() as u64 > desired {
            // First it shrinks, if it is to.
            return Ok(Progress::Waiting);
        }
        let same = |instance: &&Value| {
            ["LaunchConfigurationName", "LaunchTemplate"].iter().all(|name| instance[name] == group[name])
        };
        let old: Vec<Value> = instances.iter().filter(|i| !same(i)).cloned().collect();
        // With no instance to spare, the group has more of them for the time being.
        let needed = (minimum + batch.min(old.len() as u64)).min(size("MaxSize"));
        let added = if old.is_empty() { 0 } else { needed.saturating_sub(desired) };
        if added > 0 {
            ongoing.state.insert("sizes".into(), json!([group["MinSize"], desired]));
            resize(ctx, made, &json!(needed), &json!(needed))?;
        }
        ongoing.state.insert("old".into(), ids(&old).into());
        ongoing.state.insert("replaced".into(), added.into());
        ongoing.state.insert("since".into(), 0.into());
        if added > 0 {
            return Ok(Progress::Waiting);
        }
    }
    let old = ongoing.state["old"].as_array().cloned().unwrap_or_default();
    let left: Vec<Value> = ids(&instances).into_iter().filter(|id| old.contains(id)).collect();
    let serving = instances.iter().filter(|i| i["LifecycleState"] == "InService").count() as u64;
    let replaced = ongoing.state["replaced"].as_u64().unwrap_or(0);
    let wait = policy.get("WaitOnResourceSignals").is_some_and(is_true);
    let pause = policy.get("PauseTime").and_then(text_of).map_or(
        Ok(Duration::from_secs(if wait { 300 } else { 0 })),
        |text| {
            duration::seconds(&text)
                .map(Duration::from_secs)
                .ok_or_else(|| refused(format!("PauseTime {text} is not a duration")))
        },
    )?;
    let since = Duration::from_millis(ongoing.state["since"].as_u64().unwrap_or(0));
    // Another process counts from its own start.
    let waited = ongoing.elapsed.checked_sub(since).unwrap_or(ongoing.elapsed);
    if replaced > 0 {
        let failed = ongoing.signals.values().filter(|success| !**success).count() as u64;
        let good = ongoing.signals.len() as u64 - failed;
        let share = number("MinSuccessfulInstancesPercent", 100);
        let enough = good * 100 >= replaced * share;
        if wait && failed * 100 > replaced * (100 - share.min(100)) {
            return Err(refused(format!(
                "Received {failed} FAILURE signal(s) out of {replaced}. Unable to satisfy {share}% MinSuccessfulInstancesPercent requirement"
            )));
        }
        if wait && !enough {
            if waited < pause {
                return Ok(Progress::Waiting);
            }
            return Err(refused(format!(
                "Failed to receive {} resource signal(s) for the current batch. Each resource signal timeout is counted as a FAILURE.",
                replaced - good
            )));
        }
        let active = (desired * number("MinActiveInstancesPercent", 100).min(100)).div_ceil(100);
        if serving < active || (!wait && waited < pause) {
            return Ok(Progress::Waiting);
        }
    }
    if left.is_empty() {
        if serving < desired {
            return Ok(Progress::Waiting);
        }
        if let Some(sizes) = ongoing.state.remove("sizes") {
            resize(ctx, made, &sizes[0], &sizes[1])?;
        }
        return Ok(Progress::Done);
    }
    let room = serving.saturating_sub(minimum).min(batch) as usize;
    if room == 0 && serving >= desired {
        return Err(refused("MinInstancesInService must be less than the autoscaling group's MaxSize"));
    }
    for id in left.iter().take(room) {
        let input = json!({"InstanceId": id, "ShouldDecrementDesiredCapacity": false});
        call::<op::TerminateInstanceInAutoScalingGroup>(ctx, input)?;
    }
    ongoing.state.insert("old".into(), left[room.min(left.len())..].to_vec().into());
    ongoing.state.insert("replaced".into(), (replaced + room.min(left.len()) as u64).into());
    ongoing.state.insert("since".into(), (ongoing.elapsed.as_millis() as u64).into());
    Ok(Progress::Waiting)
}
