//! ECS services.

use super::call::{call, refused, text};
use super::{Made, Progress, ResourceType, Wanted};
use crate::api::{Ctx, Result};
use quarry_aws::ecs::op;
use serde_json::{Map, Value, json};

/// `AWS::ECS::Service`.
pub struct Service;

impl ResourceType for Service {
    fn name(&self) -> &'static str {
        "AWS::ECS::Service"
    }

    fn properties(&self) -> &'static [&'static str] {
        &[
            "AvailabilityZoneRebalancing",
            "CapacityProviderStrategy",
            "Cluster",
            "DeploymentConfiguration",
            "DeploymentController",
            "DesiredCount",
            "EnableECSManagedTags",
            "EnableExecuteCommand",
            "HealthCheckGracePeriodSeconds",
            "LaunchType",
            "LoadBalancers",
            "NetworkConfiguration",
            "PlacementConstraints",
            "PlacementStrategies",
            "PlatformVersion",
            "PropagateTags",
            "Role",
            "SchedulingStrategy",
            "ServiceName",
            "ServiceRegistries",
            "Tags",
            "TaskDefinition",
        ]
    }

    fn attributes(&self) -> &'static [&'static str] {
        &["Name", "ServiceArn"]
    }

    fn settled(&self, ctx: &mut Ctx<'_>, made: &Made) -> Result<Progress> {
        let cluster = made.physical_id.rsplit('/').nth(1).unwrap_or("default");
        let output = call::<op::DescribeServices>(ctx, json!({"cluster": cluster, "services": [made.physical_id]}))?;
        let service = output.pointer("/services/0").cloned().unwrap_or_default();
        let deployments = service["deployments"].as_array().map_or(0, Vec::len);
        if service.pointer("/deployments/0/rolloutState").is_some_and(|state| state == "FAILED") {
            let reason = text(&service, "/deployments/0/rolloutStateReason").unwrap_or_default();
            return Err(refused(format!("Resource failed to stabilize: {reason}")));
        }
        let steady = deployments <= 1 && service["runningCount"] == service["desiredCount"];
        Ok(if steady { Progress::Done } else { Progress::Waiting })
    }

    fn create(&self, ctx: &mut Ctx<'_>, wanted: &Wanted) -> Result<Made> {
        let mut input = wanted.without(&["ServiceName", "PlacementStrategies", "Tags"]);
        if let Some(strategies) = wanted.properties.get("PlacementStrategies") {
            input.insert("placementStrategy".into(), strategies.clone());
        }
        input.insert("serviceName".into(), wanted.name("ServiceName", 255).into());
        input.insert("tags".into(), wanted.own_tags().into());
        let output = call::<op::CreateService>(ctx, input.into())?;
        let arn = text(&output, "/service/serviceArn")?;
        Ok(Made::new(&arn).with("Name", text(&output, "/service/serviceName")?).with("ServiceArn", arn))
    }

    fn delete(&self, ctx: &mut Ctx<'_>, made: &Made, properties: &Map<String, Value>) -> Result<Progress> {
        let cluster = properties.get("Cluster").cloned().unwrap_or_else(|| "default".into());
        let seen = call::<op::DescribeServices>(ctx, json!({"cluster": cluster, "services": [made.physical_id]}));
        let service = match seen {
            Ok(output) => output.pointer("/services/0").cloned().unwrap_or_default(),
            Err(error) if super::is_absent(&error) => return Ok(Progress::Done),
            Err(error) => return Err(error),
        };
        match service["status"].as_str() {
            Some("ACTIVE") => {
                let input = json!({"cluster": cluster, "service": made.physical_id, "force": true});
                call::<op::DeleteService>(ctx, input)?;
                Ok(Progress::Waiting)
            }
            Some("DRAINING") => Ok(Progress::Waiting),
            _ => Ok(Progress::Done),
        }
    }
}
