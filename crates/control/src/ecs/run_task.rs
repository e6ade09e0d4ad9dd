//! RunTask.

use super::capacity::{Asked, Launch};
use super::records::{Cluster, LaunchType, RunToken, Tags, Task, TaskDefinition, run_token_key};
use super::room::Room;
use super::tasks::{self, NewTask};
use super::{find, providers, service_options as options, tags, view};
use crate::api::{Ctx, Result};
use quarry_aws::ecs::{Failure, RunTaskRequest, RunTaskResponse, Tag, TaskOverride, error};
use quarry_domain::container::{check_fargate_size, check_overrides};
use quarry_domain::placement::NoPlace;

const OFFERED: &[&str] = &[
    "capacityProviderStrategy",
    "clientToken",
    "cluster",
    "count",
    "enableECSManagedTags",
    "enableExecuteCommand",
    "group",
    "launchType",
    "networkConfiguration",
    "overrides",
    "placementConstraints",
    "placementStrategy",
    "platformVersion",
    "propagateTags",
    "referenceId",
    "startedBy",
    "tags",
    "taskDefinition",
];

pub fn handle(ctx: &mut Ctx<'_>, input: RunTaskRequest) -> Result<RunTaskResponse> {
    let cluster = find::cluster(ctx, input.cluster.as_deref())?;
    let definition = find::active_task_definition(ctx, input.task_definition.as_deref().unwrap_or_default())?;
    options::offered(&input, OFFERED, "")?;
    let token = Token::of(&cluster, &input)?;
    if let Some(known) = token.as_ref().map(|token| token.known(ctx, &cluster)).transpose()?.flatten() {
        return Ok(known);
    }
    let placement =
        [input.placement_constraints.as_ref().map(Vec::len), input.placement_strategy.as_ref().map(Vec::len)];
    let asked = Asked {
        launch_type: input.launch_type.as_deref(),
        strategy: input.capacity_provider_strategy.as_deref(),
        platform_version: input.platform_version.as_deref(),
        network: input.network_configuration.as_ref(),
        placement: placement.iter().flatten().any(|&n| n > 0),
    };
    let launch = Launch::of(ctx, &cluster, &definition, &asked)?;
    let count = input.count.unwrap_or(1);
    if !(1..=10).contains(&count) {
        return Err(error::invalid_parameter_exception("count must be between 1 and 10."));
    }
    let Common { overrides, tags, group } =
        Common::of(&definition, input.overrides, input.tags, input.propagate_tags.as_deref(), input.group)?;
    if launch.launch_type == LaunchType::Fargate {
        check_fargate_size(&definition.definition, &overrides).map_err(|invalid| error::client_exception(invalid.0))?;
    }
    options::exec_role(input.enable_execute_command, &definition, &overrides, "task couldn't be run")?;
    let strategies = options::strategies(input.placement_strategy.as_deref())?;
    let constraints = options::constraints(input.placement_constraints.as_deref(), &definition.definition)?;
    let mut room = Room::of(ctx.tx, &cluster.arn, &group, true)?;
    let mut grows = false;
    for share in launch.shares() {
        grows |= providers::grows(ctx.tx, &share.provider)?;
    }
    if launch.launch_type == LaunchType::Ec2 && room.is_empty() && !grows {
        return Err(error::invalid_parameter_exception("No Container Instances were found in your cluster."));
    }
    let managed = input.enable_ecs_managed_tags == Some(true);
    let new = NewTask {
        tags: managed_tags(tags, managed.then_some(cluster.name.as_str()), None),
        exec: input.enable_execute_command == Some(true),
        cluster: &cluster,
        definition: &definition,
        overrides,
        group,
        started_by: input.started_by,
        service: None,
        launch: &launch,
        on: None,
        strategies: &strategies,
        constraints: &constraints,
        asked: (
            input.placement_strategy.as_deref().unwrap_or_default(),
            input.placement_constraints.as_deref().unwrap_or_default(),
        ),
    };
    let (mut started, mut failures) = (Vec::new(), Vec::new());
    for _ in 0..count {
        match tasks::create(ctx, &new, &mut room)? {
            Ok(task) => started.push(task),
            Err(no_place) => failures.push(failure(ctx, &cluster.name, &definition, &no_place)),
        }
    }
    let ids: Vec<_> = started.iter().map(|task| task.id.clone()).collect();
    if let Some(Token { key, request }) = token
        && !ids.is_empty()
    {
        ctx.tx.put(&RunToken { key, request, tasks: ids })?;
    }
    let tasks = started.iter().map(shown).collect();
    Ok(RunTaskResponse { tasks: Some(tasks), failures: Some(failures) })
}

/// What RunTask and StartTask have in common.
pub struct Common {
    pub overrides: TaskOverride,
    pub tags: Tags,
    pub group: String,
}

impl Common {
    pub fn of(
        definition: &TaskDefinition,
        overrides: Option<TaskOverride>,
        tags: Option<Vec<Tag>>,
        propagate: Option<&str>,
        group: Option<String>,
    ) -> Result<Self> {
        let overrides = overrides.unwrap_or_default();
        check_overrides(&definition.definition, &overrides)
            .map_err(|invalid| error::invalid_parameter_exception(invalid.0))?;
        let given = tags::read(tags)?;
        let tags = match propagate {
            None | Some("NONE") => given,
            Some("TASK_DEFINITION") => definition.tags.clone().into_iter().chain(given).collect(),
            Some(other) => {
                return Err(error::invalid_parameter_exception(format!("Invalid propagateTags '{other}' for a task.")));
            }
        };
        let group = group.unwrap_or_else(|| format!("family:{}", definition.family));
        if group.starts_with("service:") {
            return Err(error::invalid_parameter_exception("The task group name 'service:' is reserved."));
        }
        Ok(Self { overrides, tags, group })
    }
}

/// A request's `clientToken`: with it, a request that is sent again starts nothing again.
struct Token {
    key: String,
    /// The request, as JSON.
    request: String,
}

impl Token {
    fn of(cluster: &Cluster, input: &RunTaskRequest) -> Result<Option<Self>> {
        let Some(token) = input.client_token.as_deref() else { return Ok(None) };
        if token.len() > 64 || !token.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(error::invalid_parameter_exception(
                "clientToken must have at most 64 characters, all of them printable ASCII.",
            ));
        }
        let request = quarry_wire::json::to_value(input).to_string();
        Ok(Some(Self { key: run_token_key(&cluster.arn, token), request }))
    }

    /// The tasks that were started with it, as they are now.
    fn known(&self, ctx: &Ctx<'_>, cluster: &Cluster) -> Result<Option<RunTaskResponse>> {
        let Some(known) = ctx.tx.get::<RunToken>(&self.key)? else { return Ok(None) };
        if known.request != self.request {
            let arn = |id: &String| ctx.platform.place().arn("ecs", format_args!("task/{}/{id}", cluster.name));
            let arns: Vec<String> = known.tasks.iter().map(arn).collect();
            let conflict = error::conflict_exception(
                "The provided clientToken is already in use with a different RunTask request.",
            );
            return Err(conflict.with("resourceIds", arns));
        }
        let mut tasks = Vec::new();
        for id in &known.tasks {
            tasks.extend(find::task(ctx.tx, cluster, id)?.as_ref().map(shown));
        }
        Ok(Some(RunTaskResponse { tasks: Some(tasks), failures: Some(Vec::new()) }))
    }
}

/// Adds the tags that `enableECSManagedTags` asks for.
pub fn managed_tags(mut tags: Tags, cluster: Option<&str>, service: Option<&str>) -> Tags {
    if let Some(cluster) = cluster {
        tags.insert("aws:ecs:clusterName".into(), cluster.into());
        tags.extend(service.map(|service| ("aws:ecs:serviceName".into(), service.into())));
    }
    tags
}

/// A task as answers show it.
pub fn shown(task: &Task) -> quarry_aws::ecs::Task {
    view::task(task, true)
}

fn failure(ctx: &Ctx<'_>, cluster: &str, definition: &TaskDefinition, no_place: &NoPlace) -> Failure {
    match no_place {
        NoPlace::NoInstances => view::failure(&definition.arn, "RESOURCE:*"),
        NoPlace::NoCapacity => view::failure(&definition.arn, &no_place.to_string()),
        NoPlace::Closest { instance, lack } => {
            let arn = ctx.platform.place().arn("ecs", format_args!("container-instance/{cluster}/{instance}"));
            view::failure(&arn, lack.code())
        }
    }
}
