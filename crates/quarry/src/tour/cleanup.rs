//! Part 5 of the documents: everything is deleted in their order, and nothing is left.

use crate::tour::board::NAMES;
use crate::tour::platform::Quarry;
use crate::tour::report::Report;
use crate::tour::screen::Screen;
use crate::tour::split::{Services, wait_for_no_task};
use crate::tour::{STACK, ecs};
use anyhow::{Context, Result, bail, ensure};
use quarry_aws::cloudformation::op::{DeleteStack, DescribeStacks};
use quarry_aws::cloudformation::{DeleteStackInput, DescribeStacksInput};
use quarry_aws::ecr::DeleteRepositoryRequest;
use quarry_aws::ecr::op::DeleteRepository;
use quarry_aws::ecs::op::{DeleteService, DeregisterTaskDefinition, ListTaskDefinitions};
use quarry_aws::ecs::{DeleteServiceRequest, DeregisterTaskDefinitionRequest, ListTaskDefinitionsRequest};
use quarry_aws::elbv2::op::{DeleteListener, DeleteTargetGroup};
use quarry_aws::elbv2::{DeleteListenerInput, DeleteTargetGroupInput};
use std::time::{Duration, Instant};

pub async fn run(screen: &Screen, report: &mut Report, quarry: Quarry, services: Services) -> Result<()> {
    screen.heading("Clean up");
    let start = Instant::now();
    let aws = &quarry.aws;
    let stack = &services.stack;

    let all: Vec<_> = services.services.iter().chain([&services.web, &services.monolith]).collect();
    let step = screen.step("delete the services and wait for their tasks to end");
    for service in &all {
        aws.call::<DeleteService>(DeleteServiceRequest {
            cluster: Some(stack.cluster.clone()),
            service: Some(service.name.clone()),
            force: Some(true),
        })
        .await?;
    }
    for service in &all {
        wait_for_no_task(&quarry, stack, &service.name).await?;
        let status = ecs::describe(&quarry, stack, &service.name).await?.status.unwrap_or_default();
        ensure!(status == "INACTIVE" || status == "DRAINING", "{} is {status} after its deletion", service.name);
    }
    step.done(format!("{} services", all.len()));

    let step = screen.step("delete the listener and the target groups");
    aws.call::<DeleteListener>(DeleteListenerInput { listener_arn: Some(services.listener_arn.clone()) }).await?;
    let groups = all.iter().map(|s| &s.target_group_arn).chain([&services.drop_traffic_arn]);
    for group in groups {
        aws.call::<DeleteTargetGroup>(DeleteTargetGroupInput { target_group_arn: Some(group.clone()) }).await?;
    }
    step.done("");

    let step = screen.step(format!("delete the stack {STACK}"));
    delete_stack(&quarry).await?;
    step.done("gone");

    let step = screen.step("deregister the task definitions, delete the repositories");
    let listed = aws.call::<ListTaskDefinitions>(ListTaskDefinitionsRequest::default()).await?;
    for arn in listed.task_definition_arns.unwrap_or_default() {
        aws.call::<DeregisterTaskDefinition>(DeregisterTaskDefinitionRequest { task_definition: Some(arn) }).await?;
    }
    for name in NAMES {
        aws.call::<DeleteRepository>(DeleteRepositoryRequest {
            repository_name: Some(name.into()),
            force: Some(true),
            ..Default::default()
        })
        .await?;
    }
    step.done("");

    let step = screen.step("stop Quarry and look for anything left behind");
    let left = quarry.destroy()?;
    ensure!(left.is_empty(), "left behind: {}", left.join(", "));
    report.leftovers = Some(left);
    step.done("no process, mount, network namespace, control group or file");
    report.times.cleanup = start.elapsed();
    Ok(())
}

async fn delete_stack(quarry: &Quarry) -> Result<()> {
    let before = quarry
        .aws
        .call::<DescribeStacks>(DescribeStacksInput { stack_name: Some(STACK.into()), ..Default::default() })
        .await?;
    let id = before.stacks.unwrap_or_default().into_iter().find_map(|s| s.stack_id).context("the stack has no id")?;
    quarry.aws.call::<DeleteStack>(DeleteStackInput { stack_name: Some(STACK.into()), ..Default::default() }).await?;
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let described = quarry
            .aws
            .call::<DescribeStacks>(DescribeStacksInput { stack_name: Some(id.clone()), ..Default::default() })
            .await?;
        let stack = described.stacks.unwrap_or_default().into_iter().next().context("the stack is not listed by id")?;
        match stack.stack_status.as_deref().unwrap_or_default() {
            "DELETE_COMPLETE" => return Ok(()),
            "DELETE_FAILED" => bail!("the stack: {}", stack.stack_status_reason.unwrap_or_default()),
            _ => ensure!(Instant::now() < deadline, "the stack was not gone within 60 s"),
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
