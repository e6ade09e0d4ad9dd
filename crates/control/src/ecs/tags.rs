//! Tags of any resource of the service.

use super::find;
use super::records::{CapacityProvider, Cluster, ContainerInstance, Service, StoppedTask, Tags, Task};
use crate::api::{Ctx, Result};
use quarry_aws::ecs::{Tag, error};
use quarry_domain::arn::{resource_part, short_name};

/// The tags of a request.
pub fn read(tags: Option<Vec<Tag>>) -> Result<Tags> {
    let mut read = Tags::new();
    for Tag { key, value } in tags.unwrap_or_default() {
        let (key, value) = (key.unwrap_or_default(), value.unwrap_or_default());
        if key.is_empty() || key.chars().count() > 128 || value.chars().count() > 256 {
            return Err(error::invalid_parameter_exception(format!("Invalid tag '{key}'.")));
        }
        if key.to_ascii_lowercase().starts_with("aws:") {
            return Err(error::invalid_parameter_exception("Tag keys beginning with aws: are reserved."));
        }
        if read.insert(key.clone(), value).is_some() {
            return Err(error::invalid_parameter_exception(format!("Duplicate tag key '{key}'.")));
        }
    }
    if read.len() > 50 {
        return Err(error::invalid_parameter_exception("At most 50 tags are allowed."));
    }
    Ok(read)
}

/// As responses show them.
pub fn show(tags: &Tags) -> Vec<Tag> {
    tags.iter().map(|(key, value)| Tag { key: Some(key.clone()), value: Some(value.clone()) }).collect()
}

/// Changes the tags of the resource with this ARN and returns them.
pub fn change(ctx: &Ctx<'_>, arn: &str, f: impl FnOnce(&mut Tags) -> Result<()>) -> Result<Tags> {
    let not_found = || error::resource_not_found_exception("The specified resource was not found.");
    macro_rules! change {
        ($record:expr, $field:ident) => {{
            let mut record = $record.ok_or_else(not_found)?;
            let before = record.$field.clone();
            f(&mut record.$field)?;
            // What only looks may not write.
            if record.$field != before {
                ctx.tx.put(&record)?;
            }
            Ok(record.$field)
        }};
    }
    let resource = resource_part(arn);
    let Some((kind, _)) = resource.split_once('/').filter(|_| arn.starts_with("arn:")) else {
        return Err(error::invalid_parameter_exception(format!("The resource ARN '{arn}' is invalid.")));
    };
    match kind {
        "capacity-provider" => change!(ctx.tx.get::<CapacityProvider>(arn)?, tags),
        "cluster" => change!(ctx.tx.get::<Cluster>(arn)?, tags),
        "service" => change!(ctx.tx.get::<Service>(arn)?, tags),
        "task-definition" => change!(find::task_definition(ctx, arn)?, tags),
        "container-instance" => change!(ctx.tx.get::<ContainerInstance>(arn)?, tags),
        "task" => match ctx.tx.get::<Task>(short_name(arn))? {
            Some(task) => change!(Some(task), tags),
            None => {
                let StoppedTask(mut task) = ctx.tx.get(short_name(arn))?.ok_or_else(not_found)?;
                let before = task.tags.clone();
                f(&mut task.tags)?;
                let tags = task.tags.clone();
                if tags != before {
                    ctx.tx.put(&StoppedTask(task))?;
                }
                Ok(tags)
            }
        },
        _ => Err(error::invalid_parameter_exception(format!("The resource ARN '{arn}' is invalid."))),
    }
}
