//! `quarry svc adopt`: a manifest for a service that runs already.

use crate::copilot::env::AccountArguments;
use crate::copilot::session::Session;
use crate::copilot::state::ServiceRecord;
use crate::copilot::workspace::Workspace;
use crate::copilot::{Common, Local, app};
use anyhow::{Context as _, Result, bail};
use quarry_aws::ecs::op::{DescribeServices, DescribeTaskDefinition};
use quarry_aws::ecs::{DescribeServicesRequest, DescribeTaskDefinitionRequest};
use quarry_aws::elbv2::op::{DescribeListeners, DescribeRules, DescribeTargetGroupAttributes, DescribeTargetGroups};
use quarry_aws::elbv2::{
    Action, DescribeListenersInput, DescribeRulesInput, DescribeTargetGroupAttributesInput, DescribeTargetGroupsInput,
};
use quarry_deploy_kit::adopt::{Found, adopt};
use serde_json::json;

#[derive(clap::Args)]
#[command(after_help = "Examples:
  quarry svc adopt --cluster BreakTheMonolith-Demo --service posts
  quarry svc adopt --cluster prod --service posts --name posts --profile work --region eu-west-1")]
pub struct AdoptArguments {
    /// The application; this directory's if it is not given.
    #[arg(long, short)]
    app: Option<String>,
    /// The cluster where it runs.
    #[arg(long)]
    cluster: String,
    /// ECS's name of it.
    #[arg(long)]
    service: String,
    /// What it is called from now on; as it was if it is not given.
    #[arg(long, short)]
    name: Option<String>,
    #[command(flatten)]
    account: AccountArguments,
    #[command(flatten)]
    common: Common,
}

pub async fn run(arguments: AdoptArguments, local: Local<'_>) -> Result<()> {
    let home = Session::open(&arguments.common, local).await?;
    let mut workspace = Workspace::find()?;
    let app = workspace.app(arguments.app.as_deref())?;
    home.state().application(&app).await?;
    let name = arguments.name.unwrap_or_else(|| arguments.service.to_ascii_lowercase());
    app::check_name(&name).context("say what it is to be called with --name")?;
    let path = Workspace::manifest_of(&name);
    if workspace.read(&path)?.is_some() {
        bail!("{path} is there already: take another --name");
    }
    let session = arguments.account.open(home.clone()).await?;
    let found = found(&session, &arguments.cluster, &arguments.service).await?;
    let adopted = adopt(&name, &found)?;
    workspace.claim(&app)?;
    workspace.write_new(&path, &adopted.manifest)?;
    let record = ServiceRecord { app: app.clone(), name: name.clone(), kind: adopted.kind.name().into() };
    home.state().put_service(&record).await?;
    if arguments.common.json {
        let left: Vec<_> = adopted.left.iter().map(|(field, why)| json!({"field": field, "why": why})).collect();
        println!(
            "{}",
            serde_json::to_string_pretty(&json!({"name": name, "app": app, "manifest": path, "left": left}))?
        );
        return Ok(());
    }
    home.say.done(format!("Wrote the manifest for service {name} at {path}"));
    if !adopted.left.is_empty() {
        home.say.line("\nNot taken over:");
        adopted.left.iter().for_each(|(field, why)| home.say.line(format!("  {field}: {why}")));
        home.say.line("");
    }
    home.say.next(&[
        format!("Look through {path}, and give it a Dockerfile (image.build) when you want it built."),
        format!(
            "Run `quarry svc deploy --name {name} --env test`; the service {} goes on beside it.",
            arguments.service
        ),
        "When the new one answers, delete the old one by what made it.".into(),
    ]);
    Ok(())
}

async fn found(session: &Session, cluster: &str, name: &str) -> Result<Found> {
    let aws = &session.aws;
    let input = DescribeServicesRequest {
        cluster: Some(cluster.into()),
        services: Some(vec![name.into()]),
        ..Default::default()
    };
    let services = aws.call::<DescribeServices>(input).await?.services.unwrap_or_default();
    let service = services.into_iter().find(|service| service.status.as_deref() != Some("INACTIVE"));
    let service = service.with_context(|| format!("there is no service {name} in the cluster {cluster}"))?;
    let input =
        DescribeTaskDefinitionRequest { task_definition: service.task_definition.clone(), ..Default::default() };
    let definition = aws.call::<DescribeTaskDefinition>(input).await?.task_definition.unwrap_or_default();
    let mut found = Found { definition, ..Found::default() };
    let arn = service.load_balancers.iter().flatten().find_map(|balancer| balancer.target_group_arn.clone());
    found.service = service;
    let Some(arn) = arn else { return Ok(found) };
    let input = DescribeTargetGroupsInput { target_group_arns: Some(vec![arn.clone()]), ..Default::default() };
    found.group = aws.call::<DescribeTargetGroups>(input).await?.target_groups.unwrap_or_default().pop();
    let input = DescribeTargetGroupAttributesInput { target_group_arn: Some(arn.clone()) };
    let attributes = aws.call::<DescribeTargetGroupAttributes>(input).await?.attributes.unwrap_or_default();
    found.attributes = attributes.into_iter().filter_map(|a| Some((a.key?, a.value?))).collect();
    for balancer in found.group.iter().flat_map(|group| group.load_balancer_arns.iter().flatten()) {
        let input = DescribeListenersInput { load_balancer_arn: Some(balancer.clone()), ..Default::default() };
        let pages = aws.paginate::<DescribeListeners>(input).await?;
        for listener in pages.into_iter().flat_map(|page| page.listeners.unwrap_or_default()) {
            let input = DescribeRulesInput { listener_arn: listener.listener_arn, ..Default::default() };
            let pages = aws.paginate::<DescribeRules>(input).await?;
            for rule in pages.into_iter().flat_map(|page| page.rules.unwrap_or_default()) {
                if !rule.actions.iter().flatten().any(|action| forwards(action, &arn)) {
                    continue;
                }
                match rule.is_default {
                    Some(true) => found.is_default = true,
                    _ => found.rules.push(rule),
                }
            }
        }
    }
    Ok(found)
}

/// Whether an action sends requests to a target group.
fn forwards(action: &Action, group: &str) -> bool {
    let mut weighted = action.forward_config.iter().flat_map(|forward| forward.target_groups.iter().flatten());
    action.target_group_arn.as_deref() == Some(group)
        || weighted.any(|one| one.target_group_arn.as_deref() == Some(group) && one.weight != Some(0))
}
