//! What belongs to an application as a whole in a region, and what a task group has.

use super::task::{TASKS, trust};
use super::yaml::{Out, attribute, list, map, reference, sub};

/// The template of an application's regional resources: a repository for each service and built sidecar.
/// `repositories`: names as `posts`; the repository is `<app>/posts`.
pub fn application(app: &str, repositories: &[String]) -> String {
    let mut resources = map! {};
    for name in repositories {
        let repository = map! {
            "Type" => "AWS::ECR::Repository",
            "Properties" => map! {"RepositoryName" => format!("{app}/{name}"), "EmptyOnDelete" => true},
        };
        resources.set(format!("Repository{}", super::logical(name)), repository);
    }
    if repositories.is_empty() {
        // A stack without any resource cannot be.
        resources.set("None", map! {"Type" => "AWS::CloudFormation::WaitConditionHandle"});
    }
    map! {
        "AWSTemplateFormatVersion" => "2010-09-09",
        "Description" => format!("The repositories of {app}"),
        "Resources" => resources,
    }
    .document()
}

/// The template of a group of tasks that are run once: repository, log group, roles, task definition.
/// With an empty `ContainerImage` there is the repository alone, into which the image is pushed.
/// `words`: entry point and command, empty for the image's own.
#[must_use]
pub fn task_group(
    name: &str,
    (cpu, memory): (u64, u64),
    (entrypoint, command): (&[String], &[String]),
    variables: &[(String, String)],
    secrets: &[(String, String)],
) -> String {
    let condition = |mut resource: Out| {
        resource.set("Condition", "HasImage");
        resource
    };
    let role = |properties: Out| condition(map! {"Type" => "AWS::IAM::Role", "Properties" => properties});
    let mut execution = map! {
        "AssumeRolePolicyDocument" => trust(TASKS),
        "ManagedPolicyArns" => list![sub(
            "arn:${AWS::Partition}:iam::aws:policy/service-role/AmazonECSTaskExecutionRolePolicy"
        )],
    };
    if !secrets.is_empty() {
        let arn = |(_, name): &(String, String)| match name.strip_prefix("arn:") {
            Some(_) => name.into(),
            None => sub(&format!(
                "arn:${{AWS::Partition}}:ssm:${{AWS::Region}}:${{AWS::AccountId}}:parameter/{}",
                name.trim_start_matches('/')
            )),
        };
        let statement = map! {
            "Effect" => "Allow",
            "Action" => list!["ssm:GetParameters", "secretsmanager:GetSecretValue"],
            "Resource" => secrets.iter().map(arn).collect::<Out>(),
        };
        execution.set("Policies", list![super::task::policy("Secrets", list![statement])]);
    }
    let mut container = map! {
        "Name" => name,
        "Image" => reference("ContainerImage"),
        "LogConfiguration" => map! {"LogDriver" => "awslogs", "Options" => map! {
            "awslogs-region" => reference("AWS::Region"),
            "awslogs-group" => reference("LogGroup"),
            "awslogs-stream-prefix" => "copilot-task",
        }},
    };
    let words = |words: &[String]| -> Option<Out> { (!words.is_empty()).then(|| words.iter().collect()) };
    container.set_some("EntryPoint", words(entrypoint));
    container.set_some("Command", words(command));
    let pairs = |pairs: &[(String, String)], value: &'static str| -> Option<Out> {
        let all = pairs.iter().map(|(name, text)| map! {"Name" => name, value => text});
        (!pairs.is_empty()).then(|| all.collect())
    };
    container.set_some("Environment", pairs(variables, "Value"));
    container.set_some("Secrets", pairs(secrets, "ValueFrom"));
    let definition = condition(map! {"Type" => "AWS::ECS::TaskDefinition", "Properties" => map! {
        "Family" => format!("copilot-{name}"),
        "NetworkMode" => "awsvpc",
        "RequiresCompatibilities" => list!["FARGATE"],
        "Cpu" => cpu.to_string(),
        "Memory" => memory.to_string(),
        "ExecutionRoleArn" => attribute("ExecutionRole.Arn"),
        "TaskRoleArn" => attribute("TaskRole.Arn"),
        "ContainerDefinitions" => list![container],
    }});
    let log_group = map! {"Type" => "AWS::Logs::LogGroup", "Properties" => map! {
        "LogGroupName" => format!("/copilot/{name}"),
        "RetentionInDays" => 30u64,
    }};
    map! {
        "AWSTemplateFormatVersion" => "2010-09-09",
        "Description" => format!("The task {name}"),
        "Parameters" => map! {"ContainerImage" => map! {"Type" => "String", "Default" => ""}},
        "Conditions" => map! {
            "HasImage" => map! {"Fn::Not" => list![map! {"Fn::Equals" => list![reference("ContainerImage"), ""]}]},
        },
        "Resources" => map! {
            "Repository" => map! {"Type" => "AWS::ECR::Repository", "Properties" => map! {
                "RepositoryName" => format!("copilot-{name}"), "EmptyOnDelete" => true,
            }},
            "LogGroup" => log_group,
            "ExecutionRole" => role(execution),
            "TaskRole" => role(map! {"AssumeRolePolicyDocument" => trust(TASKS)}),
            "TaskDefinition" => definition,
        },
    }
    .document()
}
