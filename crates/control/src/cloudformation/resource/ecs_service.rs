//! ECS services.

use super::call::{call, refused, text};
use super::change::{Change, retag};
use super::{Made, Ongoing, Progress, ResourceType, Wanted, absent, members};
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
            "ForceNewDeployment",
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

    fn mutable(&self) -> &'static [&'static str] {
        &[
            "AvailabilityZoneRebalancing",
            "CapacityProviderStrategy",
            "DeploymentConfiguration",
            "DeploymentController",
            "DesiredCount",
            "EnableECSManagedTags",
            "EnableExecuteCommand",
            "ForceNewDeployment",
            "HealthCheckGracePeriodSeconds",
            "LaunchType",
            "LoadBalancers",
            "NetworkConfiguration",
            "PlacementConstraints",
            "PlacementStrategies",
            "PlatformVersion",
            "PropagateTags",
            "ServiceRegistries",
            "Tags",
            "TaskDefinition",
        ]
    }

    fn conditional(&self) -> &'static [&'static str] {
        &["LaunchType"]
    }

    /// A launch type can become a capacity provider strategy, but not another launch type.
    fn replaces(&self, old: &Wanted, new: &Wanted) -> bool {
        new.differs(old, "LaunchType") && !new.properties.contains_key("CapacityProviderStrategy")
    }

    fn name_property(&self) -> Option<&'static str> {
        Some("ServiceName")
    }

    fn settled(&self, ctx: &mut Ctx<'_>, made: &Made) -> Result<Progress> {
        let service = describe(ctx, made)?;
        let deployments = service["deployments"].as_array().map_or(0, Vec::len);
        if service.pointer("/deployments/0/rolloutState").is_some_and(|state| state == "FAILED") {
            let reason = text(&service, "/deployments/0/rolloutStateReason").unwrap_or_default();
            return Err(refused(format!("Resource failed to stabilize: {reason}")));
        }
        // A deployment is completed when as many tasks run as are wanted and all of them are healthy; with blue/green, hooks
        // and the bake time come after that.
        let rolls = service.pointer("/deployments/0/rolloutState").is_some_and(|state| state == "IN_PROGRESS");
        let steady = deployments <= 1 && !rolls && service["runningCount"] == service["desiredCount"];
        Ok(if steady { Progress::Done } else { Progress::Waiting })
    }

    fn create(&self, ctx: &mut Ctx<'_>, wanted: &Wanted) -> Result<Made> {
        let mut input = wanted.without(&["ForceNewDeployment", "PlacementStrategies", "ServiceName", "Tags"]);
        if let Some(strategies) = wanted.properties.get("PlacementStrategies") {
            input.insert("placementStrategy".into(), strategies.clone());
        }
        if wanted.text("SchedulingStrategy").is_none_or(|strategy| strategy != "DAEMON") {
            input.entry("DesiredCount").or_insert(1.into());
        }
        input.insert("serviceName".into(), wanted.name("ServiceName", 255).into());
        input.insert("tags".into(), wanted.own_tags().into());
        let output = call::<op::CreateService>(ctx, input.into())?;
        let arn = text(&output, "/service/serviceArn")?;
        Ok(Made::new(&arn).with("Name", text(&output, "/service/serviceName")?).with("ServiceArn", arn))
    }

    fn update(&self, ctx: &mut Ctx<'_>, made: &Made, old: &Wanted, new: &Wanted) -> Result<Made> {
        let change = Change { made, old, new };
        let mut input = change.values(&[
            ("AvailabilityZoneRebalancing", "DISABLED".into()),
            ("CapacityProviderStrategy", json!([])),
            ("DeploymentConfiguration", json!({})),
            ("DeploymentController", json!({"Type": "ECS"})),
            ("EnableECSManagedTags", false.into()),
            ("EnableExecuteCommand", false.into()),
            ("HealthCheckGracePeriodSeconds", 0.into()),
            ("LoadBalancers", json!([])),
            ("PlacementConstraints", json!([])),
            ("PlatformVersion", "LATEST".into()),
            ("PropagateTags", "NONE".into()),
            ("ServiceRegistries", json!([])),
        ]);
        if let Some(strategies) = change.value("PlacementStrategies", json!([])) {
            input.insert("placementStrategy".into(), strategies);
        }
        for name in ["NetworkConfiguration", "TaskDefinition"] {
            if let Some(value) = change.kept(name)? {
                input.insert(name.into(), value);
            }
        }
        // Without a desired count the service keeps the one that it was scaled to.
        if change.differs("DesiredCount") {
            input.extend(new.pick(&["DesiredCount"]));
        }
        if change.differs("ForceNewDeployment") {
            let forced = new.properties.get("ForceNewDeployment");
            let forced = forced
                .is_some_and(|f| f["EnableForceNewDeployment"] != false && f["EnableForceNewDeployment"] != "false");
            input.insert("forceNewDeployment".into(), forced.into());
        }
        if !input.is_empty() {
            input.insert("cluster".into(), cluster_of(made).into());
            input.insert("service".into(), made.physical_id.clone().into());
            call::<op::UpdateService>(ctx, input.into())?;
        }
        retag::<op::TagResource, op::UntagResource>(ctx, &change, &json!({"resourceArn": made.physical_id}))?;
        Ok(made.clone())
    }

    /// Waits for the deployment that the update began. Another one in its place is a rollback.
    fn updated(&self, ctx: &mut Ctx<'_>, made: &Made, _new: &Wanted, ongoing: &mut Ongoing<'_>) -> Result<Progress> {
        let service = describe(ctx, made)?;
        let primary = service.pointer("/deployments/0/id").cloned().unwrap_or_default();
        let awaited = ongoing.state.entry("deployment").or_insert_with(|| primary.clone());
        if *awaited != primary {
            let reason = text(&service, "/deployments/0/rolloutStateReason").unwrap_or_default();
            let what = match reason.contains("circuit breaker") {
                true => "ECS Deployment Circuit Breaker was triggered",
                false => reason.trim_end_matches('.'),
            };
            return Err(refused(format!("Error occurred during operation '{what}'.")));
        }
        self.settled(ctx, made)
    }

    fn look(&self, ctx: &mut Ctx<'_>, made: &Made, properties: &Map<String, Value>) -> Result<Map<String, Value>> {
        let service = describe(ctx, made)?;
        if service["status"] != "ACTIVE" {
            return Err(absent("The service is not active"));
        }
        let mut seen = members(&service, self.properties());
        seen.insert("PlacementStrategies".into(), service["placementStrategy"].clone());
        // Named as the template may name it: by name or by ARN.
        for name in ["Cluster", "TaskDefinition"] {
            seen.remove(name);
        }
        let definition = members(&service, &["TaskDefinition"]);
        if properties
            .get("TaskDefinition")
            .is_some_and(|given| given.as_str().is_some_and(|arn| arn.starts_with("arn:")))
        {
            seen.extend(definition);
        }
        Ok(seen)
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

/// The name of a service's cluster: a part of its ARN.
fn cluster_of(made: &Made) -> &str {
    made.physical_id.rsplit('/').nth(1).unwrap_or("default")
}

fn describe(ctx: &mut Ctx<'_>, made: &Made) -> Result<Value> {
    let input = json!({"cluster": cluster_of(made), "services": [made.physical_id], "include": ["TAGS"]});
    let output = call::<op::DescribeServices>(ctx, input)?;
    output.pointer("/services/0").cloned().ok_or_else(|| absent("The service is not there"))
}
