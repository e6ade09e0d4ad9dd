//! `quarry logs`: what a service's containers wrote, from CloudWatch Logs.

use crate::ecs;
use crate::table::short;
use anyhow::{Context, Result, bail};
use quarry_aws::ecs::op::{DescribeServices, DescribeTaskDefinition};
use quarry_aws::ecs::{DescribeServicesRequest, DescribeTaskDefinitionRequest, Service};
use quarry_aws::logs::op::FilterLogEvents;
use quarry_aws::logs::{FilterLogEventsRequest, FilteredLogEvent};
use quarry_client::Client;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::time::Duration;

/// How often new lines are asked for.
const PAUSE: Duration = Duration::from_millis(500);
/// A line may come so much later than others of its time, in milliseconds: on AWS they come in batches of 5 s.
const LATE: i64 = 10_000;

pub struct Request {
    pub service: String,
    pub cluster: Option<String>,
    pub follow: bool,
    /// A filter pattern of CloudWatch Logs.
    pub filter: Option<String>,
    pub json: bool,
}

/// A log group, and what the names of a container's streams in it begin with.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Source {
    group: String,
    prefix: String,
}

pub async fn run(aws: &Client, request: &Request) -> Result<()> {
    let service = find(aws, request).await?;
    let sources = sources(aws, &service).await?;
    // Ids and times of the lines that were shown and may come again.
    let mut shown: BTreeMap<String, i64> = BTreeMap::new();
    let mut since = None;
    loop {
        let mut found = Vec::new();
        for source in &sources {
            found.extend(events(aws, source, request.filter.as_ref(), since).await?);
        }
        found.sort_by_key(|event| event.timestamp);
        for event in found {
            let at = event.timestamp.unwrap_or_default();
            if shown.insert(event.event_id.clone().unwrap_or_default(), at).is_none() {
                print(&event, request.json)?;
            }
        }
        if !request.follow {
            return Ok(());
        }
        since = shown.values().max().map(|newest| (newest - LATE).max(0));
        shown.retain(|_, at| Some(*at) >= since);
        tokio::time::sleep(PAUSE).await;
    }
}

async fn find(aws: &Client, request: &Request) -> Result<Service> {
    let clusters = ecs::clusters(aws, request.cluster.as_deref()).await?;
    let mut found = Vec::new();
    for cluster in &clusters {
        let input = DescribeServicesRequest {
            cluster: Some(cluster.clone()),
            services: Some(vec![request.service.clone()]),
            ..Default::default()
        };
        found.extend(aws.call::<DescribeServices>(input).await?.services.unwrap_or_default());
    }
    found.retain(|s| s.status.as_deref() != Some("INACTIVE"));
    if found.len() > 1 {
        let names: Vec<_> = found.iter().filter_map(|s| s.cluster_arn.as_deref()).map(short).collect();
        bail!("several clusters have a service {}: say which with --cluster ({})", request.service, names.join(", "));
    }
    found.pop().with_context(|| format!("there is no service {}: `quarry ls` lists them", request.service))
}

async fn sources(aws: &Client, service: &Service) -> Result<BTreeSet<Source>> {
    let input =
        DescribeTaskDefinitionRequest { task_definition: service.task_definition.clone(), ..Default::default() };
    let described = aws.call::<DescribeTaskDefinition>(input).await?;
    let definition = described.task_definition.context("the service has no task definition")?;
    let mut sources = BTreeSet::new();
    for container in definition.container_definitions.unwrap_or_default() {
        let Some(log) = container.log_configuration else { continue };
        let options = log.options.unwrap_or_default();
        if let (Some("awslogs"), Some(group)) = (log.log_driver.as_deref(), options.get("awslogs-group")) {
            let name = container.name.unwrap_or_default();
            let prefix = options.get("awslogs-stream-prefix").map_or(String::new(), |p| format!("{p}/{name}/"));
            sources.insert(Source { group: group.clone(), prefix });
        }
    }
    if sources.is_empty() {
        bail!(
            "no container of {} has a logConfiguration with the awslogs driver: add one to its task definition",
            service.service_name.as_deref().unwrap_or_default()
        );
    }
    Ok(sources)
}

async fn events(
    aws: &Client,
    source: &Source,
    filter: Option<&String>,
    since: Option<i64>,
) -> Result<Vec<FilteredLogEvent>> {
    let input = FilterLogEventsRequest {
        log_group_name: Some(source.group.clone()),
        log_stream_name_prefix: Some(source.prefix.clone()).filter(|p| !p.is_empty()),
        filter_pattern: filter.cloned(),
        start_time: since,
        ..Default::default()
    };
    let pages = aws.paginate::<FilterLogEvents>(input).await?;
    Ok(pages.into_iter().flat_map(|p| p.events.unwrap_or_default()).collect())
}

fn print(event: &FilteredLogEvent, json: bool) -> Result<()> {
    let mut out = std::io::stdout().lock();
    if json {
        writeln!(out, "{}", serde_json::to_string(event)?)?;
    } else {
        let stream = event.log_stream_name.as_deref().unwrap_or_default();
        writeln!(out, "{}  {}", short(stream), event.message.as_deref().unwrap_or_default())?;
    }
    Ok(())
}
