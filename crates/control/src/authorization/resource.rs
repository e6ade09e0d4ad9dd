//! What counts of a resource: its own policy, where its service has such, and its tags.

use super::permissions::compiled;
use crate::store::{StoreError, Tx};
use quarry_domain::arn::{resource_part, short_name};
use quarry_domain::policy::Policy;
use serde_json::Value;
use std::sync::Arc;

/// The policy of an ECR repository or a secret.
pub fn policy(tx: &Tx<'_>, arn: &str) -> Result<Option<Arc<Policy>>, StoreError> {
    let record = match service(arn) {
        "ecr" | "secretsmanager" => record(tx, arn)?,
        _ => None,
    };
    let document = record.as_ref().and_then(|record| record.get("policy")).and_then(Value::as_str);
    Ok(document.map(compiled))
}

/// The tags of a resource, where it is there and has some.
pub fn tags(tx: &Tx<'_>, arn: &str) -> Result<Vec<(String, String)>, StoreError> {
    let Some(record) = record(tx, arn)? else { return Ok(Vec::new()) };
    // Of the record itself, or of the shape in it that answers show.
    let nested = record.as_object().into_iter().flat_map(|members| members.values().filter_map(tags_of));
    Ok(tags_of(&record).or_else(|| nested.into_iter().next()).unwrap_or_default())
}

fn tags_of(record: &Value) -> Option<Vec<(String, String)>> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    match record.get("tags").or_else(|| record.get("Tags"))? {
        Value::Object(tags) => Some(tags.iter().filter_map(|(key, value)| Some((key.clone(), text(value)?))).collect()),
        Value::Array(tags) => {
            let pair = |tag: &Value| match tag {
                Value::Array(pair) => Some((text(pair.first()?)?, text(pair.get(1)?)?)),
                tag => {
                    let key = tag.get("Key").or_else(|| tag.get("key"))?;
                    let value = tag.get("Value").or_else(|| tag.get("value")).map_or(Some(String::new()), text);
                    Some((text(key)?, value?))
                }
            };
            Some(tags.iter().filter_map(pair).collect())
        }
        _ => None,
    }
}

fn service(arn: &str) -> &str {
    arn.split(':').nth(2).unwrap_or_default()
}

/// The stored record behind an ARN, as JSON.
fn record(tx: &Tx<'_>, arn: &str) -> Result<Option<Value>, StoreError> {
    let resource = resource_part(arn);
    let (kind, name) = resource.split_once(['/', ':']).unwrap_or((resource, ""));
    let found = |kind: &'static str, key: &str| tx.json(kind, key);
    match (service(arn), kind) {
        ("ecs", "cluster") => found("ecs.cluster", arn),
        ("ecs", "service") => found("ecs.service", arn),
        ("ecs", "task-definition") => found("ecs.task-definition", arn),
        ("ecs", "container-instance") => found("ecs.container-instance", arn),
        ("ecs", "capacity-provider") => found("ecs.capacity-provider", arn),
        ("ecs", "task") => found("ecs.task", short_name(arn)),
        ("elasticloadbalancing", _) => found("elbv2.tags", arn),
        ("ecr", "repository") => found("ecr.repository", name),
        // Six random characters end it.
        ("secretsmanager", "secret") => match name.len().checked_sub(7).and_then(|at| name.get(..at)) {
            Some(name) => found("secretsmanager.secret", name),
            None => Ok(None),
        },
        ("ssm", "parameter") => match found("ssm.parameter", name)? {
            Some(record) => Ok(Some(record)),
            None => found("ssm.parameter", &format!("/{name}")),
        },
        ("iam", "role") => found("iam.role", &short_name(arn).to_ascii_lowercase()),
        ("iam", "user") => found("iam.user", &short_name(arn).to_ascii_lowercase()),
        ("iam", "policy") => found("iam.policy", arn),
        ("iam", "instance-profile") => found("iam.instance-profile", &short_name(arn).to_ascii_lowercase()),
        ("cloudformation", "stack") => found("cloudformation.stack", arn),
        ("logs", "log-group") => found("logs.group", name.split(':').next().unwrap_or_default()),
        ("cloudwatch", "alarm") => found("cloudwatch.alarm", name),
        ("acm", _) => found("acm.certificate", arn),
        ("servicediscovery", "namespace") => found("servicediscovery.namespace", name),
        ("servicediscovery", "service") => found("servicediscovery.service", name),
        ("autoscaling", "autoScalingGroup") => found("autoscaling.group", short_name(arn)),
        ("ec2", kind) => match EC2.iter().find(|(of, _)| *of == kind) {
            Some((_, kind)) => found(kind, name),
            None => Ok(None),
        },
        _ => Ok(None),
    }
}

/// EC2's types, and the kinds of their records.
const EC2: [(&str, &str); 12] = [
    ("instance", "ec2.instance"),
    ("vpc", "ec2.vpc"),
    ("subnet", "ec2.subnet"),
    ("security-group", "ec2.security-group"),
    ("security-group-rule", "ec2.security-group-rule"),
    ("route-table", "ec2.route-table"),
    ("internet-gateway", "ec2.internet-gateway"),
    ("elastic-ip", "ec2.address"),
    ("natgateway", "ec2.nat-gateway"),
    ("vpc-endpoint", "ec2.vpc-endpoint"),
    ("launch-template", "ec2.launch-template"),
    ("network-interface", "ec2.network-interface"),
];
