//! `RegisterTargets`.

use super::records::TargetType;
use super::{errors, find, targets};
use crate::api::{Ctx, Result};
use quarry_aws::ec2;
use quarry_aws::elbv2::{RegisterTargetsInput, RegisterTargetsOutput};

pub fn handle(ctx: &mut Ctx<'_>, input: RegisterTargetsInput) -> Result<RegisterTargetsOutput> {
    let group = find::target_group(ctx.tx, input.target_group_arn.as_deref())?;
    let wanted = input.targets.unwrap_or_default();
    if wanted.is_empty() {
        return Err(errors::validation("At least one target must be specified"));
    }
    let mut instances = Vec::new();
    for target in wanted {
        let id = target.id.unwrap_or_default();
        let port = match target.port {
            Some(port) => errors::in_range(port, "targets.1.member.port", 1, 65_535)? as u16,
            None => group.port,
        };
        targets::add(ctx.tx, &group, &id, port, target.availability_zone)?;
        instances.push(id);
    }
    if group.target_type == TargetType::Instance {
        check_running(ctx, &instances)?;
    }
    Ok(RegisterTargetsOutput::default())
}

fn check_running(ctx: &mut Ctx<'_>, ids: &[String]) -> Result<()> {
    let input = ec2::DescribeInstancesRequest { instance_ids: Some(ids.to_vec()), ..Default::default() };
    let reservations = match ctx.invoke::<ec2::op::DescribeInstances>(input) {
        Ok(output) => output.reservations.unwrap_or_default(),
        Err(error) if error.status < 500 => return Err(errors::invalid_target(error.message)),
        Err(error) => return Err(error),
    };
    let running = |id: &str| {
        reservations.iter().filter_map(|r| r.instances.as_ref()).flatten().any(|instance| {
            instance.instance_id.as_deref() == Some(id)
                && instance.state.as_ref().and_then(|state| state.name.as_deref()) == Some("running")
        })
    };
    let stopped: Vec<&str> = ids.iter().map(String::as_str).filter(|id| !running(id)).collect();
    if stopped.is_empty() {
        return Ok(());
    }
    Err(errors::invalid_target(format!(
        "The following targets are not in a running state and cannot be registered: '{}'",
        stopped.join(", ")
    )))
}
