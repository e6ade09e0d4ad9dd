//! Capacity providers, and the clusters that use them.

use super::call::{call, text};
use super::change::{Change, retag};
use super::{Made, Progress, ResourceType, Wanted, absent, deleted, is_absent, members};
use crate::api::{Ctx, Result};
use quarry_aws::ecs::op;
use serde_json::{Map, Value, json};

/// `AWS::ECS::CapacityProvider`.
pub struct CapacityProvider;

/// `AWS::ECS::ClusterCapacityProviderAssociations`.
pub struct Associations;

impl ResourceType for CapacityProvider {
    fn name(&self) -> &'static str {
        "AWS::ECS::CapacityProvider"
    }

    fn properties(&self) -> &'static [&'static str] {
        &["AutoScalingGroupProvider", "Name", "Tags"]
    }

    fn required(&self) -> &'static [&'static str] {
        &["AutoScalingGroupProvider"]
    }

    fn mutable(&self) -> &'static [&'static str] {
        &["AutoScalingGroupProvider", "Tags"]
    }

    fn conditional(&self) -> &'static [&'static str] {
        &["AutoScalingGroupProvider"]
    }

    fn replaces(&self, old: &Wanted, new: &Wanted) -> bool {
        let group = |wanted: &Wanted| wanted.properties["AutoScalingGroupProvider"]["AutoScalingGroupArn"].clone();
        group(old) != group(new)
    }

    fn name_property(&self) -> Option<&'static str> {
        Some("Name")
    }

    fn create(&self, ctx: &mut Ctx<'_>, wanted: &Wanted) -> Result<Made> {
        let name = wanted.text("Name").unwrap_or_else(|| unreserved(wanted.generated(255)));
        let provider = &wanted.properties["AutoScalingGroupProvider"];
        let arn = text(provider, "/AutoScalingGroupArn")?;
        let mut provider = provider.clone();
        // Templates may name the group by its name, as Ref gives it.
        provider["AutoScalingGroupArn"] = group_arn(ctx, &arn)?.into();
        let input = json!({"name": name, "autoScalingGroupProvider": provider, "tags": wanted.own_tags()});
        let output = call::<op::CreateCapacityProvider>(ctx, input)?;
        let arn = text(&output, "/capacityProvider/capacityProviderArn")?;
        Ok(Made::new(name).with(ARN, arn))
    }

    fn update(&self, ctx: &mut Ctx<'_>, made: &Made, old: &Wanted, new: &Wanted) -> Result<Made> {
        let change = Change { made, old, new };
        if let Some(mut provider) = change.kept("AutoScalingGroupProvider")? {
            provider.as_object_mut().into_iter().for_each(|p| drop(p.remove("AutoScalingGroupArn")));
            let input = json!({"name": made.physical_id, "autoScalingGroupProvider": provider});
            call::<op::UpdateCapacityProvider>(ctx, input)?;
        }
        retag::<op::TagResource, op::UntagResource>(ctx, &change, &json!({"resourceArn": made.attributes[ARN]}))?;
        Ok(made.clone())
    }

    fn look(&self, ctx: &mut Ctx<'_>, made: &Made, _properties: &Map<String, Value>) -> Result<Map<String, Value>> {
        let seen = describe(ctx, &made.physical_id)?.ok_or_else(|| absent("The capacity provider is not there"))?;
        let mut seen = members(&seen, self.properties());
        if let Some(provider) = seen.get_mut("AutoScalingGroupProvider").and_then(Value::as_object_mut) {
            provider.remove("autoScalingGroupArn");
        }
        Ok(seen)
    }

    fn delete(&self, ctx: &mut Ctx<'_>, made: &Made, _properties: &Map<String, Value>) -> Result<Progress> {
        if describe(ctx, &made.physical_id)?.is_none() {
            return Ok(Progress::Done);
        }
        deleted(call::<op::DeleteCapacityProvider>(ctx, json!({"capacityProvider": made.physical_id})))?;
        Ok(if describe(ctx, &made.physical_id)?.is_none() { Progress::Done } else { Progress::Waiting })
    }
}

/// Where the ARN is kept. It is no attribute of the type.
const ARN: &str = "CapacityProviderArn";

/// Names of capacity providers must not begin with `aws`, `ecs` or `fargate`.
fn unreserved(name: String) -> String {
    let lower = name.to_ascii_lowercase();
    if ["aws", "ecs", "fargate"].iter().any(|prefix| lower.starts_with(prefix)) {
        let name: String = name.chars().take(252).collect();
        return format!("cp-{name}");
    }
    name
}

fn group_arn(ctx: &mut Ctx<'_>, name_or_arn: &str) -> Result<String> {
    if name_or_arn.starts_with("arn:") {
        return Ok(name_or_arn.to_owned());
    }
    let input = json!({"AutoScalingGroupNames": [name_or_arn]});
    let output = call::<quarry_aws::autoscaling::op::DescribeAutoScalingGroups>(ctx, input)?;
    text(&output, "/AutoScalingGroups/0/AutoScalingGroupARN")
}

/// The provider, unless it is gone.
fn describe(ctx: &mut Ctx<'_>, name: &str) -> Result<Option<Value>> {
    let input = json!({"capacityProviders": [name], "include": ["TAGS"]});
    let output = call::<op::DescribeCapacityProviders>(ctx, input)?;
    let found = output.pointer("/capacityProviders/0").cloned();
    Ok(found.filter(|provider| provider["status"] != "INACTIVE"))
}

impl ResourceType for Associations {
    fn name(&self) -> &'static str {
        "AWS::ECS::ClusterCapacityProviderAssociations"
    }

    fn properties(&self) -> &'static [&'static str] {
        &["CapacityProviders", "Cluster", "DefaultCapacityProviderStrategy"]
    }

    fn required(&self) -> &'static [&'static str] {
        &["Cluster", "DefaultCapacityProviderStrategy"]
    }

    fn mutable(&self) -> &'static [&'static str] {
        &["CapacityProviders", "DefaultCapacityProviderStrategy"]
    }

    fn create(&self, ctx: &mut Ctx<'_>, wanted: &Wanted) -> Result<Made> {
        associate(ctx, wanted)?;
        Ok(Made::new(wanted.needed("Cluster")?))
    }

    fn update(&self, ctx: &mut Ctx<'_>, made: &Made, _old: &Wanted, new: &Wanted) -> Result<Made> {
        associate(ctx, new)?;
        Ok(made.clone())
    }

    fn look(&self, ctx: &mut Ctx<'_>, made: &Made, _properties: &Map<String, Value>) -> Result<Map<String, Value>> {
        let output = call::<op::DescribeClusters>(ctx, json!({"clusters": [made.physical_id]}))?;
        let cluster = output.pointer("/clusters/0").ok_or_else(|| absent("The cluster is not there"))?;
        Ok(members(cluster, &["CapacityProviders", "DefaultCapacityProviderStrategy"]))
    }

    fn delete(&self, ctx: &mut Ctx<'_>, made: &Made, _properties: &Map<String, Value>) -> Result<Progress> {
        let none = json!({
            "cluster": made.physical_id,
            "capacityProviders": [],
            "defaultCapacityProviderStrategy": [],
        });
        match call::<op::PutClusterCapacityProviders>(ctx, none) {
            // By services that go with the stack, or their last tasks.
            Err(error) if error.code == "ResourceInUseException" => Ok(Progress::Waiting),
            Err(error) if !is_absent(&error) && error.code != "ClusterNotFoundException" => Err(error),
            _ => Ok(Progress::Done),
        }
    }
}

fn associate(ctx: &mut Ctx<'_>, wanted: &Wanted) -> Result<()> {
    let list = |name: &str| wanted.properties.get(name).cloned().unwrap_or_else(|| json!([]));
    let input = json!({
        "cluster": wanted.needed("Cluster")?,
        "capacityProviders": list("CapacityProviders"),
        "defaultCapacityProviderStrategy": list("DefaultCapacityProviderStrategy"),
    });
    call::<op::PutClusterCapacityProviders>(ctx, input)?;
    Ok(())
}
