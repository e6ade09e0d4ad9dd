//! ECS clusters.

use super::call::{call, text};
use super::change::{Change, retag};
use super::{Made, Progress, ResourceType, Wanted, absent, deleted, members};
use crate::api::{Ctx, Result};
use quarry_aws::ecs::op;
use serde_json::{Map, Value, json};

/// `AWS::ECS::Cluster`.
pub struct Cluster;

impl ResourceType for Cluster {
    fn name(&self) -> &'static str {
        "AWS::ECS::Cluster"
    }

    fn properties(&self) -> &'static [&'static str] {
        &[
            "CapacityProviders",
            "ClusterName",
            "ClusterSettings",
            "Configuration",
            "DefaultCapacityProviderStrategy",
            "ServiceConnectDefaults",
            "Tags",
        ]
    }

    fn attributes(&self) -> &'static [&'static str] {
        &["Arn"]
    }

    fn mutable(&self) -> &'static [&'static str] {
        &[
            "CapacityProviders",
            "ClusterSettings",
            "Configuration",
            "DefaultCapacityProviderStrategy",
            "ServiceConnectDefaults",
            "Tags",
        ]
    }

    fn name_property(&self) -> Option<&'static str> {
        Some("ClusterName")
    }

    fn create(&self, ctx: &mut Ctx<'_>, wanted: &Wanted) -> Result<Made> {
        let mut input = wanted.without(&["ClusterName", "ClusterSettings", "Tags"]);
        if let Some(settings) = wanted.properties.get("ClusterSettings") {
            input.insert("settings".into(), settings.clone());
        }
        let name = wanted.name("ClusterName", 255);
        input.insert("clusterName".into(), name.clone().into());
        input.insert("tags".into(), wanted.own_tags().into());
        let output = call::<op::CreateCluster>(ctx, input.into())?;
        Ok(Made::new(name).with("Arn", text(&output, "/cluster/clusterArn")?))
    }

    fn update(&self, ctx: &mut Ctx<'_>, made: &Made, old: &Wanted, new: &Wanted) -> Result<Made> {
        let change = Change { made, old, new };
        let cluster = &made.physical_id;
        if change.any(&["ClusterSettings", "Configuration", "ServiceConnectDefaults"]) {
            let mut input = new.pick(&["Configuration", "ServiceConnectDefaults"]);
            let off = json!([{"Name": "containerInsights", "Value": "disabled"}]);
            if let Some(settings) = change.value("ClusterSettings", off) {
                input.insert("settings".into(), settings);
            }
            input.insert("cluster".into(), cluster.clone().into());
            call::<op::UpdateCluster>(ctx, input.into())?;
        }
        if change.any(&["CapacityProviders", "DefaultCapacityProviderStrategy"]) {
            let list = |name: &str| new.properties.get(name).cloned().unwrap_or_else(|| json!([]));
            let input = json!({
                "cluster": cluster,
                "capacityProviders": list("CapacityProviders"),
                "defaultCapacityProviderStrategy": list("DefaultCapacityProviderStrategy"),
            });
            call::<op::PutClusterCapacityProviders>(ctx, input)?;
        }
        let arn = json!({"resourceArn": made.attributes["Arn"]});
        retag::<op::TagResource, op::UntagResource>(ctx, &change, &arn)?;
        Ok(made.clone())
    }

    fn look(&self, ctx: &mut Ctx<'_>, made: &Made, _properties: &Map<String, Value>) -> Result<Map<String, Value>> {
        let input = json!({"clusters": [made.physical_id], "include": ["SETTINGS", "CONFIGURATIONS", "TAGS"]});
        let output = call::<op::DescribeClusters>(ctx, input)?;
        let cluster = &output["clusters"][0];
        if cluster["status"] != "ACTIVE" {
            return Err(absent("The cluster is not there"));
        }
        let mut seen = members(
            cluster,
            &["CapacityProviders", "ClusterName", "Configuration", "DefaultCapacityProviderStrategy", "Tags"],
        );
        seen.insert("ClusterSettings".into(), cluster["settings"].clone());
        Ok(seen)
    }

    fn delete(&self, ctx: &mut Ctx<'_>, made: &Made, _properties: &Map<String, Value>) -> Result<Progress> {
        let cluster = json!({"cluster": made.physical_id});
        match call::<op::DeleteCluster>(ctx, cluster.clone()) {
            // Those of instances that are terminated stop by themselves.
            Err(error) if error.code == "ClusterContainsTasksException" => {
                let wanted = call::<op::ListTasks>(ctx, cluster)?;
                if wanted["taskArns"].as_array().is_some_and(|arns| !arns.is_empty()) {
                    Err(error)
                } else {
                    Ok(Progress::Waiting)
                }
            }
            other => deleted(other),
        }
    }
}
