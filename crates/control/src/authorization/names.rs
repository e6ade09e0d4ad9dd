//! Names in requests, made into what stands in ARNs, where that takes a look at what is stored.

use crate::api::Result;
use crate::autoscaling::records::{GroupRecord, LaunchConfigurationRecord, MemberRecord};
use crate::cloudformation::records::{ChangeSet, Stack};
use crate::ecs::records::{DefinitionStatus, TaskDefinition};
use crate::iam;
use crate::platform::Platform;
use crate::store::Tx;
use crate::{ec2, secretsmanager, ssm};
use quarry_domain::arn::{resource_part, short_name};

/// Functions of templates, see `models/actions.toml`.
pub const FUNCTIONS: [&str; 22] = [
    "name",
    "role",
    "user",
    "userboundary",
    "iamgroup",
    "profile",
    "profilerole",
    "boundary",
    "secret",
    "parameter",
    "stack",
    "changed",
    "group",
    "groupof",
    "configuration",
    "template",
    "groupid",
    "kindof",
    "kind",
    "definition",
    "rolesof",
    "loggroup",
];

/// The values of a function of a value; `*` stands for itself.
pub fn call(platform: &Platform, tx: &Tx<'_>, function: &str, value: String) -> Result<Vec<String>> {
    if value == "*" {
        return Ok(vec![value]);
    }
    let one = |text: String| Ok(vec![text]);
    let place = platform.place();
    match function {
        // The short name of an ARN.
        "name" => one(short_name(&value).to_owned()),
        // Path and name.
        "role" => one(iam::role_path(tx, short_name(&value))?.unwrap_or_else(|| format!("/{}", short_name(&value)))),
        "user" => one(iam::user_path(tx, &value)?.unwrap_or_else(|| format!("/{value}"))),
        "iamgroup" => one(iam::group_path(tx, &value)?.unwrap_or_else(|| format!("/{value}"))),
        "userboundary" => Ok(iam::user_boundary(tx, &value)?.into_iter().collect()),
        "profile" => one(iam::profile_path(tx, &value)?.unwrap_or_else(|| format!("/{value}"))),
        "profilerole" => Ok(iam::profile_role(tx, short_name(&value))?.into_iter().collect()),
        "boundary" => Ok(iam::boundary(tx, &value)?.into_iter().collect()),
        "secret" => match secretsmanager::arn_of(platform, tx, &value)? {
            Some(arn) => one(arn),
            None if value.starts_with("arn:") => one(value),
            None => one(place.arn("secretsmanager", format_args!("secret:{value}"))),
        },
        "parameter" => {
            let name = ssm::plain_name(&value);
            let name = name.split(':').next().unwrap_or_default();
            one(name.trim_start_matches('/').to_owned())
        }
        "stack" => match value.strip_prefix("arn:") {
            Some(_) => one(value),
            // The one that lives; else the name says enough.
            None => {
                let stacks = tx.children::<Stack>(&value)?;
                let live = stacks.into_iter().rev().find(|stack| stack.deleted_ms.is_none());
                one(live.map_or_else(|| format!("{value}/*"), |stack| stack.id))
            }
        },
        "changed" if resource_part(&value).starts_with("changeSet/") => {
            let set: Option<ChangeSet> = tx.get(&value)?;
            Ok(vec![set.map_or_else(|| "*".to_owned(), |set| set.stack_id)])
        }
        "changed" => call(platform, tx, "stack", value),
        "group" => {
            let known = tx.get::<GroupRecord>(&value)?.and_then(|record| record.group.auto_scaling_group_arn);
            let unknown = || place.arn("autoscaling", format_args!("autoScalingGroup:*:autoScalingGroupName/{value}"));
            one(known.unwrap_or_else(unknown))
        }
        "groupof" => match tx.get::<MemberRecord>(&value)? {
            Some(member) => call(platform, tx, "group", member.group),
            None => one(place.arn("autoscaling", "autoScalingGroup:*:autoScalingGroupName/*")),
        },
        "configuration" => {
            let known: Option<LaunchConfigurationRecord> = tx.get(&value)?;
            let known = known.and_then(|record| record.configuration.launch_configuration_arn);
            let unknown =
                || place.arn("autoscaling", format_args!("launchConfiguration:*:launchConfigurationName/{value}"));
            one(known.unwrap_or_else(unknown))
        }
        "template" => one(ec2::launch_template::id_of(tx, &value)?.unwrap_or(value)),
        "groupid" => one(ec2::security_group::id_of(tx, &value)?.unwrap_or(value)),
        "kindof" => one(place.arn("ec2", format_args!("{}/{value}", kind_of(&value)))),
        "kind" => one(match value.as_str() {
            "network" => "net".to_owned(),
            "gateway" => "gwy".to_owned(),
            _ => "app".to_owned(),
        }),
        // Family and revision.
        "definition" => {
            let named = definition_name(&value);
            match find_definition(tx, place, named)? {
                Some(definition) => one(format!("{}:{}", definition.family, definition.revision)),
                None => one(named.to_owned()),
            }
        }
        "rolesof" => {
            let definition = find_definition(tx, place, definition_name(&value))?;
            let roles = definition.map(|known| {
                [known.definition.task_role_arn, known.definition.execution_role_arn].into_iter().flatten().collect()
            });
            Ok(roles.unwrap_or_default())
        }
        "loggroup" => one(match resource_part(&value).strip_prefix("log-group:") {
            Some(name) => name.split(':').next().unwrap_or_default().to_owned(),
            None => value,
        }),
        other => unreachable!("the table of actions has no function {other}"),
    }
}

/// EC2's type of a resource by its id.
fn kind_of(id: &str) -> &str {
    let prefix = id.split('-').next().unwrap_or_default();
    match prefix {
        "i" => "instance",
        "vpc" => "vpc",
        "subnet" => "subnet",
        "sg" => "security-group",
        "sgr" => "security-group-rule",
        "rtb" => "route-table",
        "igw" => "internet-gateway",
        "eipalloc" => "elastic-ip",
        "nat" => "natgateway",
        "vpce" => "vpc-endpoint",
        "lt" => "launch-template",
        "eni" => "network-interface",
        "acl" => "network-acl",
        "dopt" => "dhcp-options",
        "pl" => "prefix-list",
        "ami" => "image",
        _ => "*",
    }
}

fn definition_name(value: &str) -> &str {
    let resource = resource_part(value);
    resource.strip_prefix("task-definition/").unwrap_or(resource)
}

fn find_definition(tx: &Tx<'_>, place: &quarry_domain::arn::Place, named: &str) -> Result<Option<TaskDefinition>> {
    if named.contains(':') {
        return Ok(tx.get(&place.arn("ecs", format_args!("task-definition/{named}")))?);
    }
    let all = tx.children::<TaskDefinition>(named)?;
    Ok(all.into_iter().rev().find(|definition| definition.status == DefinitionStatus::Active))
}
