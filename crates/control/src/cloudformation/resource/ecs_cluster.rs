//! ECS clusters.

use super::call::{call, text};
use super::{Made, Progress, ResourceType, Wanted, deleted};
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
        &["ClusterName", "ClusterSettings", "Configuration", "ServiceConnectDefaults", "Tags"]
    }

    fn attributes(&self) -> &'static [&'static str] {
        &["Arn"]
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

    fn delete(&self, ctx: &mut Ctx<'_>, made: &Made, _properties: &Map<String, Value>) -> Result<Progress> {
        deleted(call::<op::DeleteCluster>(ctx, json!({"cluster": made.physical_id})))
    }
}
