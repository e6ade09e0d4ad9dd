//! Part 2 of the documents, first half: the stack by CloudFormation, and what it holds.

use crate::tour::STACK;
use crate::tour::platform::Quarry;
use crate::tour::report::Report;
use crate::tour::screen::Screen;
use anyhow::{Context, Result, bail, ensure};
use quarry_aws::cloudformation::op::{CreateStack, DescribeStackEvents, DescribeStacks};
use quarry_aws::cloudformation::{CreateStackInput, DescribeStackEventsInput, DescribeStacksInput};
use quarry_aws::ecs::op::{DescribeContainerInstances, ListContainerInstances, ListTasks};
use quarry_aws::ecs::{DescribeContainerInstancesRequest, ListContainerInstancesRequest, ListTasksRequest};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// The stack's outputs.
#[derive(Clone)]
pub struct Stack {
    pub cluster: String,
    pub load_balancer_arn: String,
    pub service_role: String,
    pub vpc: String,
}

/// The template that users deploy on AWS too.
const TEMPLATE: &str = include_str!("../../../../deploy/cloudformation/ecs.yml");

pub async fn deploy(screen: &Screen, report: &mut Report, quarry: &Quarry) -> Result<Stack> {
    screen.heading("Deploy the stack (CloudFormation)");
    let step = screen.step(format!("stack {STACK} from deploy/cloudformation/ecs.yml"));
    let aws = &quarry.aws;
    aws.call::<CreateStack>(CreateStackInput {
        stack_name: Some(STACK.into()),
        template_body: Some(TEMPLATE.into()),
        capabilities: Some(vec!["CAPABILITY_NAMED_IAM".into()]),
        ..Default::default()
    })
    .await?;
    let outputs = wait_until_created(quarry).await?;
    let output = |name: &str| outputs.get(name).cloned().with_context(|| format!("the stack has no output {name}"));
    let stack = Stack {
        cluster: output("ClusterName")?,
        load_balancer_arn: output("ALBArn")?,
        service_role: output("ECSRole")?,
        vpc: output("VPCId")?,
    };
    let url = output("Url")?;
    report.times.stack = step.done(format!("CREATE_COMPLETE, cluster {}, {url}", stack.cluster));

    let instances = aws
        .call::<ListContainerInstances>(ListContainerInstancesRequest {
            cluster: Some(stack.cluster.clone()),
            ..Default::default()
        })
        .await?
        .container_instance_arns
        .unwrap_or_default();
    ensure!(instances.len() == 2, "the stack should have brought 2 container instances, not {}", instances.len());
    let described = aws
        .call::<DescribeContainerInstances>(DescribeContainerInstancesRequest {
            cluster: Some(stack.cluster.clone()),
            container_instances: Some(instances),
            ..Default::default()
        })
        .await?;
    for instance in described.container_instances.unwrap_or_default() {
        let status = instance.status.unwrap_or_default();
        ensure!(status == "ACTIVE", "a container instance is {status}");
        screen.fact(format!("container instance {} is ACTIVE", instance.ec2_instance_id.unwrap_or_default()));
    }
    let tasks =
        aws.call::<ListTasks>(ListTasksRequest { cluster: Some(stack.cluster.clone()), ..Default::default() }).await?;
    ensure!(tasks.task_arns.unwrap_or_default().is_empty(), "a new cluster should run no task");
    screen.fact("no task runs yet");
    Ok(stack)
}

/// Waits for CREATE_COMPLETE and returns the outputs; on failure, the events that say why.
async fn wait_until_created(quarry: &Quarry) -> Result<BTreeMap<String, String>> {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let described = quarry
            .aws
            .call::<DescribeStacks>(DescribeStacksInput { stack_name: Some(STACK.into()), ..Default::default() })
            .await?;
        let stack = described.stacks.unwrap_or_default().into_iter().next().context("the stack is not listed")?;
        match stack.stack_status.as_deref().unwrap_or_default() {
            "CREATE_COMPLETE" => {
                let outputs = stack.outputs.unwrap_or_default().into_iter();
                return Ok(outputs.filter_map(|o| Some((o.output_key?, o.output_value?))).collect());
            }
            "CREATE_IN_PROGRESS" => {}
            status => bail!("the stack is {status}: {}", failures(quarry).await?),
        }
        ensure!(Instant::now() < deadline, "the stack was not complete within 60 s: {}", failures(quarry).await?);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn failures(quarry: &Quarry) -> Result<String> {
    let events = quarry
        .aws
        .call::<DescribeStackEvents>(DescribeStackEventsInput { stack_name: Some(STACK.into()), ..Default::default() })
        .await?;
    let events = events.stack_events.unwrap_or_default();
    let failed = events.iter().filter(|e| e.resource_status.as_deref().is_some_and(|s| s.ends_with("FAILED")));
    let reasons = failed.map(|e| {
        format!(
            "{}: {}",
            e.logical_resource_id.as_deref().unwrap_or_default(),
            e.resource_status_reason.as_deref().unwrap_or_default()
        )
    });
    Ok(reasons.collect::<Vec<_>>().join("; "))
}
