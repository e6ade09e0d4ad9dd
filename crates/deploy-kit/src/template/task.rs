//! The task definition of a service, and the two roles of its tasks.

use super::overrides::{self, Misplaced};
use super::service::Making;
use super::yaml::{Out, attribute, import, list, map, reference, sub};
use crate::manifest::{Check, Container, Secret, Service, Value};
use std::collections::BTreeMap;

/// Whom the roles of tasks trust.
pub(super) const TASKS: &str = "ecs-tasks.amazonaws.com";

pub(super) fn definition(making: &Making<'_>) -> Result<Out, Misplaced> {
    let service = making.service;
    let containers: Out = service.containers().map(|c| container(making, c)).collect();
    let mut properties = map! {
        "Family" => sub("${AppName}-${EnvName}-${WorkloadName}"),
        "NetworkMode" => "awsvpc",
        "RequiresCompatibilities" => list![service.launch_type.ecs()],
        "RuntimePlatform" => map! {"OperatingSystemFamily" => "LINUX", "CpuArchitecture" => service.platform.ecs()},
        "Cpu" => service.cpu.to_string(),
        "Memory" => service.memory.to_string(),
    };
    properties.set_some("EphemeralStorage", service.storage.ephemeral.map(|gib| map! {"SizeInGiB" => gib}));
    properties.set("ExecutionRoleArn", attribute("ExecutionRole.Arn"));
    properties.set("TaskRoleArn", attribute("TaskRole.Arn"));
    if !service.storage.volumes.is_empty() {
        let volumes: Out = service.storage.volumes.iter().map(|volume| map! {"Name" => &volume.name}).collect();
        properties.set("Volumes", volumes);
    }
    properties.set("ContainerDefinitions", containers);
    overrides::apply(service, &mut properties)?;
    Ok(map! {"Type" => "AWS::ECS::TaskDefinition", "Properties" => properties})
}

/// The parameter that names a container's image.
pub fn image_parameter(service: &Service, container: &Container) -> String {
    if container.name == service.main.name {
        return "ContainerImage".into();
    }
    format!("{}Image", super::logical(&container.name))
}

fn container(making: &Making<'_>, container: &Container) -> Out {
    let (service, main) = (making.service, container.name == making.service.main.name);
    let mut out = map! {"Name" => if main { reference("WorkloadName") } else { (&container.name).into() }};
    out.set("Image", reference(&image_parameter(service, container)));
    if !container.essential {
        out.set("Essential", false);
    }
    let words = |words: &[String]| -> Option<Out> { (!words.is_empty()).then(|| words.iter().collect()) };
    out.set_some("EntryPoint", words(&container.entrypoint));
    out.set_some("Command", words(&container.command));
    let ports = ports(making, container);
    if !ports.is_empty() {
        out.set("PortMappings", ports);
    }
    out.set("Environment", environment(making, container));
    if !container.secrets.is_empty() {
        let secret = |(name, secret): (&String, &Secret)| map! {"Name" => name, "ValueFrom" => value_from(secret)};
        out.set("Secrets", container.secrets.iter().map(secret).collect::<Out>());
    }
    out.set_some("HealthCheck", container.check.as_ref().map(health_check));
    if !container.depends_on.is_empty() {
        let all = container.depends_on.iter();
        let all = all.map(|(name, condition)| map! {"ContainerName" => name, "Condition" => condition.ecs()});
        out.set("DependsOn", all.collect::<Out>());
    }
    if !container.labels.is_empty() {
        let labels = container.labels.iter().map(|(name, value)| super::yaml::entry(name, value));
        out.set("DockerLabels", Out::Map(labels.collect()));
    }
    let mut mounts = Out::List(Vec::new());
    let mut mount = |volume: &str, path: &str, read_only: bool| {
        mounts.push(map! {"SourceVolume" => volume, "ContainerPath" => path, "ReadOnly" => read_only});
    };
    if main {
        service.storage.volumes.iter().for_each(|v| mount(&v.name, &v.path, v.read_only));
    }
    container.mounts.iter().for_each(|m| mount(&m.volume, &m.path, m.read_only));
    if !mounts.is_empty() {
        out.set("MountPoints", mounts);
    }
    if main && service.storage.readonly_fs {
        out.set("ReadonlyRootFilesystem", true);
    }
    out.set(
        "LogConfiguration",
        map! {"LogDriver" => "awslogs", "Options" => map! {
            "awslogs-region" => reference("AWS::Region"),
            "awslogs-group" => reference("LogGroup"),
            "awslogs-stream-prefix" => "copilot",
        }},
    );
    out
}

/// The container's own port and those that rules lead to. The first one of the main container has a name, for
/// Service Connect.
fn ports(making: &Making<'_>, container: &Container) -> Out {
    let service = making.service;
    let mut ports: Vec<u16> = container.port.into_iter().collect();
    for rule in service.http.iter().flat_map(|http| &http.rules) {
        let (name, port) = service.target(rule);
        if name == container.name && !ports.contains(&port) {
            ports.push(port);
        }
    }
    let named = |(i, port): (usize, u16)| {
        let mut out = map! {"ContainerPort" => port, "Protocol" => "tcp"};
        if i == 0 && container.name == service.main.name {
            out.set("Name", "target");
        }
        out
    };
    ports.into_iter().enumerate().map(named).collect()
}

/// What Copilot tells every container of its surroundings, then the manifest's own variables.
fn environment(making: &Making<'_>, container: &Container) -> Out {
    let mut all: BTreeMap<&str, Out> = BTreeMap::from([
        ("COPILOT_APPLICATION_NAME", reference("AppName")),
        ("COPILOT_ENVIRONMENT_NAME", reference("EnvName")),
        ("COPILOT_SERVICE_NAME", reference("WorkloadName")),
        ("COPILOT_SERVICE_DISCOVERY_ENDPOINT", sub("${EnvName}.${AppName}.local")),
    ]);
    if making.service.http.is_some() {
        all.insert("COPILOT_LB_DNS", import("PublicLoadBalancerDNS"));
    }
    if let Some(file) = making.deployed.env_files.get(&container.name) {
        all.extend(file.iter().map(|(name, value)| (name.as_str(), Out::from(value))));
    }
    for (name, value) in &container.variables {
        let value = match value {
            Value::Text(text) => text.into(),
            Value::Export(export) => map! {"Fn::ImportValue" => export},
        };
        all.insert(name, value);
    }
    all.into_iter().map(|(name, value)| map! {"Name" => name, "Value" => value}).collect()
}

fn value_from(secret: &Secret) -> Out {
    match secret {
        Secret::Parameter(name) => name.into(),
        Secret::Secret(arn) if arn.starts_with("arn:") => arn.into(),
        Secret::Secret(name) => sub(&format!(
            "arn:${{AWS::Partition}}:secretsmanager:${{AWS::Region}}:${{AWS::AccountId}}:secret:{}",
            plain(name)
        )),
        Secret::Export(export) => map! {"Fn::ImportValue" => export},
    }
}

/// A text inside Fn::Sub: its own `${` is no reference.
fn plain(text: &str) -> String {
    text.replace("${", "${!")
}

fn health_check(check: &Check) -> Out {
    map! {
        "Command" => check.command.iter().collect::<Out>(),
        "Interval" => check.interval,
        "Retries" => check.retries,
        "Timeout" => check.timeout,
        "StartPeriod" => check.start_period,
    }
}

/// The trust of a role of a service's, such as `ecs-tasks.amazonaws.com`.
pub(super) fn trust(service: &str) -> Out {
    map! {
        "Version" => "2012-10-17",
        "Statement" => list![map! {
            "Effect" => "Allow",
            "Principal" => map! {"Service" => service},
            "Action" => "sts:AssumeRole",
        }],
    }
}

/// The role by which ECS pulls images, writes logs and reads the secrets of this service, and of no other.
pub(super) fn execution_role(making: &Making<'_>) -> Out {
    let mut properties = map! {
        "AssumeRolePolicyDocument" => trust(TASKS),
        "ManagedPolicyArns" => list![sub(
            "arn:${AWS::Partition}:iam::aws:policy/service-role/AmazonECSTaskExecutionRolePolicy"
        )],
    };
    let secrets = || making.service.containers().flat_map(|container| container.secrets.values());
    let parameters: Out = secrets()
        .filter_map(|secret| match secret {
            Secret::Parameter(arn) if arn.starts_with("arn:") => Some(arn.into()),
            Secret::Parameter(name) => {
                let name = plain(name.trim_start_matches('/'));
                Some(sub(&format!("arn:${{AWS::Partition}}:ssm:${{AWS::Region}}:${{AWS::AccountId}}:parameter/{name}")))
            }
            _ => None,
        })
        .collect();
    let values: Out = secrets()
        .filter_map(|secret| match secret {
            // The ARN alone, without the JSON key and version that may follow it.
            Secret::Secret(arn) if arn.starts_with("arn:") => {
                Some(arn.split(':').take(7).collect::<Vec<_>>().join(":").into())
            }
            Secret::Secret(name) => {
                let name = plain(name.split(':').next().unwrap_or(name));
                let arn = "arn:${AWS::Partition}:secretsmanager:${AWS::Region}:${AWS::AccountId}:secret";
                Some(sub(&format!("{arn}:{name}-*")))
            }
            _ => None,
        })
        .collect();
    let exported: Vec<Out> = secrets()
        .filter_map(|secret| match secret {
            Secret::Export(export) => Some(map! {"Fn::ImportValue" => export}),
            _ => None,
        })
        .collect();
    let mut statements = Out::List(Vec::new());
    let mut allow = |actions: Out, resources: Out| {
        if !resources.is_empty() {
            statements.push(map! {"Effect" => "Allow", "Action" => actions, "Resource" => resources});
        }
    };
    allow(list!["ssm:GetParameters"], parameters);
    allow(list!["secretsmanager:GetSecretValue"], values);
    // What an export holds is not known here: the ARN of a parameter or of a secret.
    allow(list!["ssm:GetParameters", "secretsmanager:GetSecretValue"], exported.into_iter().collect());
    if !statements.is_empty() {
        properties.set("Policies", list![policy("Secrets", statements)]);
    }
    map! {"Type" => "AWS::IAM::Role", "Properties" => properties}
}

/// The role that the containers themselves have.
pub(super) fn task_role(making: &Making<'_>) -> Out {
    let mut properties = map! {"AssumeRolePolicyDocument" => trust(TASKS)};
    if making.service.exec {
        let actions = list![
            "ssmmessages:CreateControlChannel",
            "ssmmessages:CreateDataChannel",
            "ssmmessages:OpenControlChannel",
            "ssmmessages:OpenDataChannel",
        ];
        let statement = map! {"Effect" => "Allow", "Action" => actions, "Resource" => "*"};
        properties.set("Policies", list![policy("ExecuteCommand", list![statement])]);
    }
    map! {"Type" => "AWS::IAM::Role", "Properties" => properties}
}

pub(super) fn policy(name: &str, statements: Out) -> Out {
    map! {
        "PolicyName" => name,
        "PolicyDocument" => map! {"Version" => "2012-10-17", "Statement" => statements},
    }
}
