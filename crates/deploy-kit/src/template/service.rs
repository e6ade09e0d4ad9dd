//! A service's stack.

use super::yaml::{Out, attribute, import, list, map, no_value, reference, sub, when};
use super::{Misplaced, routing, scaling, task};
use crate::manifest::{Count, Image, LaunchType, Placement, Service};
use std::collections::BTreeMap;

/// What a template needs to know besides the manifest.
#[derive(Clone, Debug, Default)]
pub struct Deployed {
    pub app: String,
    pub environment: String,
    /// Whether the environment's load balancer has an HTTPS listener.
    pub https: bool,
    /// The variables of the files that containers name, by container.
    pub env_files: BTreeMap<String, BTreeMap<String, String>>,
}

pub(super) struct Making<'a> {
    pub service: &'a Service,
    pub deployed: &'a Deployed,
}

/// The template of a service. Its parameters `ContainerImage` and those of built sidecars name images,
/// `RulePriority…` the places of its rules.
///
/// # Errors
/// A rule of `taskdef_overrides` names a place that is not there.
pub fn service(service: &Service, deployed: &Deployed) -> Result<String, Misplaced> {
    let making = Making { service, deployed };
    let mut resources = map! {};
    resources.explain(
        "What the containers write.",
        "LogGroup",
        map! {"Type" => "AWS::Logs::LogGroup", "Properties" => map! {
            "LogGroupName" => sub("/copilot/${AppName}-${EnvName}-${WorkloadName}"),
            "RetentionInDays" => service.log_retention,
        }},
    );
    resources.explain("By this role ECS starts the tasks.", "ExecutionRole", task::execution_role(&making));
    resources.explain("This role the containers have.", "TaskRole", task::task_role(&making));
    resources.set("TaskDefinition", task::definition(&making)?);
    if service.main.port.is_some() {
        resources.explain("The name <service>.<environment>.<application>.local.", "DiscoveryService", discovery());
    }
    let mut waits_for = Out::List(Vec::new());
    for (i, rule) in service.http.iter().flat_map(|http| http.rules.iter().enumerate()) {
        let suffix = routing::suffix(i);
        resources.set(format!("TargetGroup{suffix}"), routing::target_group(&making, rule));
        let mut id = format!("HTTPListenerRule{suffix}");
        resources.set(&id, routing::rule(&making, i, rule, false));
        // A rule that redirects does not bind the target group to the load balancer; the other one does.
        waits_for.push(&id);
        if deployed.https {
            id = format!("HTTPSListenerRule{suffix}");
            resources.set(&id, routing::rule(&making, i, rule, true));
            waits_for.push(&id);
        }
    }
    for (id, metric, value) in alarms(service) {
        resources.set(id, alarm(metric, value));
    }
    resources.explain("The tasks.", "Service", ecs_service(&making, waits_for));
    if let Count::Scaled(scaling) = &service.count {
        for (id, resource) in scaling::resources(scaling) {
            resources.set(id, resource);
        }
    }
    let mut document = map! {
        "AWSTemplateFormatVersion" => "2010-09-09",
        "Description" => format!("The service {} of {} in {}", service.name, deployed.app, deployed.environment),
        "Parameters" => parameters(&making),
        "Conditions" => conditions(&making),
        "Resources" => resources,
    };
    let outputs = outputs(&making);
    if !outputs.is_empty() {
        document.set("Outputs", outputs);
    }
    Ok(document.document())
}

fn parameters(making: &Making<'_>) -> Out {
    let (service, deployed) = (making.service, making.deployed);
    let text = |default: &str| map! {"Type" => "String", "Default" => default};
    let mut out = map! {
        "AppName" => text(&deployed.app),
        "EnvName" => text(&deployed.environment),
        "WorkloadName" => text(&service.name),
    };
    for container in service.containers() {
        let mut parameter = map! {
            "Type" => "String",
            "Description" => format!("The image of the container {}", container.name),
        };
        if let Image::Location(location) = &container.image {
            parameter.set("Default", location);
        }
        out.set(task::image_parameter(service, container), parameter);
    }
    for (i, rule) in service.http.iter().flat_map(|http| http.rules.iter().enumerate()) {
        let parameter = map! {
            "Type" => "Number",
            "MinValue" => 1u64,
            "MaxValue" => 50_000u64,
            "Description" => format!("The place of the rule for /{} among the rules of all services", rule.path),
        };
        out.set(format!("RulePriority{}", routing::suffix(i)), parameter);
    }
    let flag = |default: &str, description: &str| {
        map! {
            "Type" => "String", "Default" => default, "AllowedValues" => list!["true", "false"],
            "Description" => description,
        }
    };
    out.set("Paused", flag("false", "Whether no task runs for now"));
    if service.network.connect.is_some() && service.main.port.is_some() {
        let description = "Whether the short name is by Service Connect, or by the search domain of the tasks alone";
        out.set("ServiceConnect", flag("true", description));
    }
    out
}

fn conditions(making: &Making<'_>) -> Out {
    let is = |name: &str| map! {"Fn::Equals" => list![reference(name), "true"]};
    let mut out = map! {"IsPaused" => is("Paused")};
    if making.service.network.connect.is_some() && making.service.main.port.is_some() {
        out.set("HasServiceConnect", is("ServiceConnect"));
    }
    out
}

fn discovery() -> Out {
    let record = |kind: &str| map! {"Type" => kind, "TTL" => 10u64};
    map! {"Type" => "AWS::ServiceDiscovery::Service", "Properties" => map! {
        "Name" => reference("WorkloadName"),
        "DnsConfig" => map! {
            "NamespaceId" => import("ServiceDiscoveryNamespaceID"),
            "RoutingPolicy" => "MULTIVALUE",
            "DnsRecords" => list![record("A"), record("SRV")],
        },
        "HealthCheckCustomConfig" => map! {"FailureThreshold" => 1u64},
    }}
}

/// The alarms that are made for a deployment: id, metric, percent.
fn alarms(service: &Service) -> Vec<(&'static str, &'static str, u64)> {
    let alarms = &service.deployment.alarms;
    let cpu = alarms.cpu.map(|value| ("CPUAlarm", "CPUUtilization", value));
    let memory = alarms.memory.map(|value| ("MemoryAlarm", "MemoryUtilization", value));
    cpu.into_iter().chain(memory).collect()
}

/// The name of an alarm; the service's own name is not known before it is there, and it names the alarm.
fn alarm_name(metric: &str) -> Out {
    sub(&format!("${{AppName}}-${{EnvName}}-${{WorkloadName}}-{metric}"))
}

fn alarm(metric: &str, percent: u64) -> Out {
    map! {"Type" => "AWS::CloudWatch::Alarm", "Properties" => map! {
        "AlarmName" => alarm_name(metric),
        "AlarmDescription" => "Rolls a deployment back",
        "Namespace" => "AWS/ECS",
        "MetricName" => metric,
        "Dimensions" => list![
            map! {"Name" => "ClusterName", "Value" => import("ClusterId")},
            map! {"Name" => "ServiceName", "Value" => service_name()},
        ],
        "Statistic" => "Average",
        "Period" => 60u64,
        "EvaluationPeriods" => 3u64,
        "Threshold" => percent,
        "ComparisonOperator" => "GreaterThanOrEqualToThreshold",
        "TreatMissingData" => "notBreaching",
    }}
}

/// A name for the service, where alarms must know it before it is there.
fn service_name() -> Out {
    sub("${AppName}-${EnvName}-${WorkloadName}")
}

fn ecs_service(making: &Making<'_>, waits_for: Out) -> Out {
    let service = making.service;
    let mut properties = map! {};
    if !alarms(service).is_empty() {
        properties.set("ServiceName", service_name());
    }
    properties.set("Cluster", import("ClusterId"));
    properties.set("TaskDefinition", reference("TaskDefinition"));
    let count = match &service.count {
        Count::Fixed(number) | Count::Spot(number) => when("IsPaused", 0u64, *number),
        // Scaling decides, from its least number on.
        Count::Scaled(_) => when("IsPaused", 0u64, no_value()),
    };
    properties.set("DesiredCount", count);
    match &service.count {
        Count::Spot(_) => {
            properties
                .set("CapacityProviderStrategy", list![map! {"CapacityProvider" => "FARGATE_SPOT", "Weight" => 1u64}]);
        }
        Count::Scaled(scaling) if scaling.range.spot_from.is_some() => {
            let base = scaling.range.spot_from.unwrap_or(1).saturating_sub(1);
            let spot = map! {"CapacityProvider" => "FARGATE_SPOT", "Weight" => 1u64};
            let own = map! {"CapacityProvider" => "FARGATE", "Base" => base, "Weight" => 0u64};
            properties.set("CapacityProviderStrategy", if base == 0 { list![spot] } else { list![own, spot] });
        }
        _ if service.launch_type == LaunchType::Ec2 => {
            let own = map! {"CapacityProvider" => import("ContainerInstances"), "Weight" => 1u64};
            properties.set("CapacityProviderStrategy", list![own]);
        }
        _ => properties.set("LaunchType", "FARGATE"),
    }
    properties.set("NetworkConfiguration", network(service));
    properties.set("DeploymentConfiguration", deployment(service));
    properties.set("EnableExecuteCommand", service.exec);
    properties.set("PropagateTags", "SERVICE");
    if let (Some(http), Some(load_balancers)) = (&service.http, routing::load_balancers(making)) {
        properties.set("HealthCheckGracePeriodSeconds", http.grace_period);
        properties.set("LoadBalancers", load_balancers);
    }
    if let Some(port) = service.main.port {
        properties
            .set("ServiceRegistries", list![map! {"RegistryArn" => attribute("DiscoveryService.Arn"), "Port" => port}]);
        if let Some(connect) = &service.network.connect {
            properties.explain(
                "On Quarry tasks find the short name by their search domain instead.",
                "ServiceConnectConfiguration",
                when("HasServiceConnect", service_connect(connect.alias.as_deref(), port), no_value()),
            );
        }
    }
    let mut out = map! {"Type" => "AWS::ECS::Service"};
    if !waits_for.is_empty() {
        out.set("DependsOn", waits_for);
    }
    out.set("Properties", properties);
    out
}

fn service_connect(alias: Option<&str>, port: u16) -> Out {
    let name = || alias.map_or_else(|| reference("WorkloadName"), Out::from);
    map! {
        "Enabled" => true,
        "Namespace" => sub("${EnvName}.${AppName}.local"),
        "Services" => list![map! {
            "PortName" => "target",
            // The plain name is the one of Cloud Map's service.
            "DiscoveryName" => sub("${WorkloadName}-connect"),
            "ClientAliases" => list![map! {"Port" => port, "DnsName" => name()}],
        }],
    }
}

fn network(service: &Service) -> Out {
    let (subnets, public) = match service.network.placement {
        Placement::Public => ("PublicSubnets", "ENABLED"),
        Placement::Private => ("PrivateSubnets", "DISABLED"),
    };
    let mut groups = list![import("EnvironmentSecurityGroup")];
    service.network.security_groups.iter().for_each(|group| groups.push(group));
    let mut out = map! {};
    // On container instances there is no choice.
    if service.launch_type == LaunchType::Fargate {
        out.set("AssignPublicIp", public);
    }
    out.set("Subnets", map! {"Fn::Split" => list![",", import(subnets)]});
    out.set("SecurityGroups", groups);
    map! {"AwsvpcConfiguration" => out}
}

fn deployment(service: &Service) -> Out {
    let (least, most) = if service.deployment.recreate { (0u64, 100u64) } else { (100, 200) };
    let mut out = map! {
        "MinimumHealthyPercent" => least,
        "MaximumPercent" => most,
        "DeploymentCircuitBreaker" => map! {"Enable" => true, "Rollback" => true},
    };
    if service.deployment.has_alarms() {
        let mut names: Out = service.deployment.alarms.names.iter().collect();
        alarms(service).iter().for_each(|(id, ..)| names.push(reference(id)));
        out.set("Alarms", map! {"AlarmNames" => names, "Enable" => true, "Rollback" => true});
    }
    out
}

fn outputs(making: &Making<'_>) -> Out {
    let service = making.service;
    let mut out = map! {};
    if let Some(http) = &service.http {
        let rule = &http.rules[0];
        if let Some(name) = rule.aliases.first() {
            out.set(
                "Url",
                map! {"Description" => "Where it answers", "Value" => format!("https://{name}/{}", rule.path)},
            );
        }
        let description = "The path at the environment's load balancer that leads here";
        out.set("Path", map! {"Description" => description, "Value" => format!("/{}", rule.path)});
    }
    if service.main.port.is_some() {
        let endpoint = sub("${WorkloadName}.${EnvName}.${AppName}.local");
        out.set("DiscoveryEndpoint", map! {"Description" => "By this name tasks find it", "Value" => endpoint});
    }
    out
}
